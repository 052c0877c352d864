//! The Redis example in a process of its own at one end of a veth pair, redis-benchmark at the other.

use std::pin::pin;

use anyhow::Context;
use dpdk_net_bench::veth::{self, SERVER};
use dpdk_net_bench::{Report, median};

use crate::redis::{Limits, Server};

const PORT: u16 = 6379;

const LIMITS: Limits = Limits {
    max_memory: 1 << 30,
    max_request: 64 << 20,
    max_reply: 512 << 20,
    max_clients: 10_000,
};

/// The program on one network or the other.
macro_rules! serve_on {
    ($listener:ty, $shutdown:expr) => {{
        let server = Server::new(LIMITS);
        let listener = <$listener>::bind(("0.0.0.0", PORT)).await?;
        println!("ready");
        let mut shutdown = pin!($shutdown);
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    stream.set_nodelay(true)?;
                    tokio::spawn(server.clone().serve(stream));
                }
                () = &mut shutdown => return anyhow::Ok(()),
            }
        }
    }};
}

/// The server's part: `kernel`, or the interface that dpdk-net drives.
pub(crate) fn serve(on: &str) -> anyhow::Result<()> {
    if on == "kernel" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime
            .block_on(async { serve_on!(tokio::net::TcpListener, std::future::pending()) });
    }
    veth::app("redis", on)
        .run(|ctx| async move { serve_on!(dpdk_net::net::TcpListener, ctx.shutdown()) })?
}

/// Rows of each load: ours against the kernel's, which take turns, so that what else the machine does befalls both.
pub(crate) fn rows(report: &Report, requests: u32, runs: usize) -> anyhow::Result<()> {
    for (name, options) in [
        ("GET, 32 connections", "-c 32 -t get"),
        ("SET, 32 connections", "-c 32 -t set"),
        ("GET, 8 connections of 16 requests", "-c 8 -P 16 -t get"),
    ] {
        let command = format!("redis-benchmark -h {SERVER} -n {requests} {options} --csv");
        let measured = |kernel| -> anyhow::Result<(f64, f64)> {
            let (told, used) = veth::load(kernel, &command)?;
            let per_second =
                per_second(&told).with_context(|| format!("no figures in:\n{told}"))?;
            Ok((per_second, used.as_nanos() as f64 / f64::from(requests)))
        };
        let (mut ours, mut kernel) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(measured(false)?);
            kernel.push(measured(true)?);
        }
        let of = |runs: &[(f64, f64)], figure: fn(&(f64, f64)) -> f64| {
            median(runs.iter().map(figure).collect())
        };
        report.versus(
            format!("Redis example on dpdk-net over af_packet, {name}"),
            of(&ours, |run| run.0),
            "requests/s",
            "kernel TCP with tokio over veth",
            of(&kernel, |run| run.0),
        );
        report.versus(
            format!(
                "Redis example on dpdk-net over af_packet, {name}, CPU time of the server's process"
            ),
            of(&ours, |run| run.1),
            "ns/request",
            "kernel TCP with tokio, without what the kernel does elsewhere",
            of(&kernel, |run| run.1),
        );
    }
    Ok(())
}

/// The second field of the line behind the heading.
fn per_second(told: &str) -> Option<f64> {
    let line = told.lines().find(|line| !line.starts_with("\"test\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}
