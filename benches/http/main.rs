//! One axum program on the kernel's TCP and on dpdk-net.
//!
//! - In one process over a pair of ring ports: the server's time and instructions a request, against the CPU time of the same program on
//!   the kernel's loopback.
//! - Over a veth pair with wrk and h2load at the kernel's end: requests a second, and the server's CPU time a request.
#![forbid(unsafe_code)]

mod kernel;
mod rings;
mod wire;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use dpdk_net_bench::client::STEP;
use dpdk_net_bench::{Report, callgrind, median};

/// What a client asks, as wrk does.
pub(crate) const REQUEST: &[u8] = b"GET /hello HTTP/1.1\r\nHost: 198.18.0.2\r\n\r\n";
/// What the answer ends with.
pub(crate) const ANSWER: &[u8] = b"\r\n\r\nhello\n";
const REQUESTS: usize = 5_000;

/// The program.
pub(crate) fn site() -> Router {
    Router::new().route("/hello", get(|| async { "hello\n" }))
}

/// axum on dpdk-net and on the kernel: time, instructions and requests a second
#[derive(Debug, Parser)]
#[command(name = "http")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Skip the instruction counts (they need valgrind and take minutes)
    #[arg(long)]
    no_instructions: bool,
    /// Skip the rows over a veth pair (they need root, wrk and h2load)
    #[arg(long)]
    no_wire: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds that wrk and h2load run
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Run one case in this process: CONNECTIONS:REQUESTS (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Be a server: of `kernel`, or of dpdk-net on this interface
    #[arg(long, hide = true)]
    serve: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(on) = &args.serve {
        return wire::serve(on);
    }
    if let Some(case) = &args.case {
        let parts: Vec<usize> = case.split(':').map(str::parse).collect::<Result<_, _>>()?;
        let [connections, requests] = parts[..] else {
            anyhow::bail!("a case is CONNECTIONS:REQUESTS, not {case:?}");
        };
        println!("{}", rings::run(connections, requests)?);
        return Ok(());
    }
    let report = Report::new("http", args.json);
    for connections in [1, 10, 100] {
        let row = format!("axum on dpdk-net, HTTP/1.1, {connections} connections");
        let runs = (0..args.runs).map(|_| rings::in_process(connections, 100_000));
        let ours = median(runs.collect::<anyhow::Result<_>>()?);
        let runs = (0..args.runs).map(|_| kernel::run(connections));
        let kernel = median(runs.collect::<anyhow::Result<_>>()?);
        let rival = format!("kernel TCP with tokio, {connections} connections, CPU time");
        report.versus(&row, ours, "ns/request", rival, kernel);
        if !args.no_instructions && connections == 10 {
            let case = format!("{connections}:{REQUESTS}");
            let count = callgrind::run(
                &["--case".into(), case],
                "http::rings::measured",
                Some(STEP),
            )?;
            report.row(&row, count as f64 / REQUESTS as f64, "instr/request");
        }
    }
    if !args.no_wire {
        wire::rows(&report, args.seconds, args.runs)?;
    }
    Ok(())
}
