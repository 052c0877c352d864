//! What TLS costs: handshakes, requests and bulk with and without it, on dpdk-net and on the kernel's TCP.
//!
//! Both ends are in one process and on one thread: over a pair of ring ports, or over the kernel's loopback with tokio's current-thread
//! runtime. So a figure is what both ends cost together, cryptography included, which is the same code on either side of a ratio.
#![forbid(unsafe_code)]

mod ends;
mod kernel;
mod rings;

use anyhow::Context;
use clap::Parser;
use dpdk_net_bench::{Report, callgrind, median};

use ends::Case;

/// The function that is measured, as callgrind names it.
const MEASURED: &str = "tls::rings::measured";

/// TLS on dpdk-net and on the kernel: handshakes, requests, bulk, and what it costs against plain TCP
#[derive(Debug, Parser)]
#[command(name = "tls")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Skip the instruction counts (they need valgrind and take minutes)
    #[arg(long)]
    no_instructions: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Run one case in this process: WHAT:TLS:COUNT (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<Case>,
    /// On the kernel's TCP
    #[arg(long, hide = true)]
    kernel: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = args.case {
        let seconds = match args.kernel {
            true => kernel::run(case)?,
            false => rings::run(case)?,
        };
        println!("{seconds}");
        return Ok(());
    }
    let report = Report::new("tls", args.json);
    for (name, case) in [
        ("TCP connections, without TLS", "handshake:plain:4000"),
        ("handshakes, TLS 1.3, ECDSA P-256", "handshake:1.3:1000"),
        ("handshakes, TLS 1.3, resumed", "resume:1.3:1000"),
        ("handshakes, TLS 1.2, ECDSA P-256", "handshake:1.2:1000"),
        ("handshakes, TLS 1.2, resumed", "resume:1.2:1000"),
        (
            "requests of 64 and answers of 128 bytes, 10 connections, without TLS",
            "request:plain:50000",
        ),
        (
            "requests of 64 and answers of 128 bytes, 10 connections, TLS 1.3",
            "request:1.3:50000",
        ),
        ("bulk, without TLS", "bulk:plain:256"),
        ("bulk, TLS 1.3", "bulk:1.3:256"),
    ] {
        let case: Case = case.parse().map_err(anyhow::Error::msg)?;
        let (mut ours, mut kernel) = (Vec::new(), Vec::new());
        // By turns, so that what else the machine does befalls both.
        for _ in 0..args.runs {
            ours.push(in_process(case, false)?);
            kernel.push(in_process(case, true)?);
        }
        let (ours, kernel) = (case.rate(median(ours)), case.rate(median(kernel)));
        let unit = case.what.unit();
        report.versus(name, ours, unit, "kernel TCP over loopback, tokio", kernel);
    }
    if !args.no_instructions {
        instructions(&report)?;
    }
    Ok(())
}

/// Seconds that a case takes, in a process of its own.
fn in_process(case: Case, kernel: bool) -> anyhow::Result<f64> {
    let mut command = std::process::Command::new(std::env::current_exe()?);
    command.args(["--case", &case.to_string()]);
    if kernel {
        command.arg("--kernel");
    }
    let output = command.output().context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|line| line.parse().ok());
    figure.with_context(|| {
        let told = String::from_utf8_lossy(&output.stderr);
        format!("{case} failed:\n{text}{told}")
    })
}

/// Instructions of both ends. Not of bulk: valgrind counts one for each byte of a copy, and has no VAES for the ciphers.
fn instructions(report: &Report) -> anyhow::Result<()> {
    for (name, case) in [
        ("a TCP connection, without TLS", "handshake:plain:200"),
        ("a handshake, TLS 1.3, ECDSA P-256", "handshake:1.3:50"),
        ("a handshake, TLS 1.3, resumed", "resume:1.3:50"),
        ("a request, without TLS", "request:plain:5000"),
        ("a request, TLS 1.3", "request:1.3:5000"),
    ] {
        let case: Case = case.parse().map_err(anyhow::Error::msg)?;
        let count = callgrind::run(&["--case".into(), case.to_string()], MEASURED, None)?;
        report.row(name, count as f64 / case.count as f64, "instr");
    }
    Ok(())
}
