//! QUIC and Redis on dpdk-net and on the kernel.
//!
//! - Bulk over one stream of quinn, both ends on one thread: over a pair of ring ports, and over the kernel's loopback. What QUIC itself costs
//!   is in both; the rest is the sockets'.
//! - The Redis example over a veth pair with redis-benchmark at the kernel's end: the same server on our sockets and on the kernel's.
#![forbid(unsafe_code)]

mod bulk;
#[path = "../../examples/redis/mod.rs"]
mod redis;
mod wire;

use clap::Parser;
use dpdk_net_bench::{Report, median};

/// QUIC and Redis on dpdk-net and on the kernel: time, CPU time and requests a second
#[derive(Debug, Parser)]
#[command(name = "quic")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Skip the rows over a veth pair (they need root and redis-benchmark)
    #[arg(long)]
    no_wire: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Megabytes that go over a stream
    #[arg(long, default_value_t = 500)]
    megabytes: usize,
    /// Requests of a run of redis-benchmark
    #[arg(long, default_value_t = 200_000)]
    requests: u32,
    /// Run bulk in this process: `ours` (EAL starts once a process) or `kernel`
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Be a Redis server: of `kernel`, or of dpdk-net on this interface
    #[arg(long, hide = true)]
    serve: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(on) = &args.serve {
        return wire::serve(on);
    }
    let bytes = args.megabytes * 1_000_000;
    match args.case.as_deref() {
        Some("ours") => return bulk::ours(bytes),
        Some("kernel") => return bulk::kernel(bytes),
        Some(other) => anyhow::bail!("a case is `ours` or `kernel`, not {other:?}"),
        None => {}
    }
    let report = Report::new("quic", args.json);
    let (mut ours, mut kernel) = (Vec::new(), Vec::new());
    // They take turns, so that what else the machine does befalls both.
    for _ in 0..args.runs {
        ours.push(bulk::in_process("ours", args.megabytes)?);
        kernel.push(bulk::in_process("kernel", args.megabytes)?);
    }
    let of = |runs: &[bulk::Figures], figure: fn(&bulk::Figures) -> f64| {
        median(runs.iter().map(figure).collect())
    };
    report.versus(
        "quinn on dpdk-net over rings, bulk, both ends on one thread",
        of(&ours, |run| run.megabytes_per_second),
        "MB/s",
        "quinn on the kernel's UDP over loopback",
        of(&kernel, |run| run.megabytes_per_second),
    );
    report.versus(
        "quinn on dpdk-net over rings, bulk, CPU time of both ends",
        of(&ours, |run| run.cpu_ns_per_kilobyte),
        "ns/kB",
        "quinn on the kernel's UDP over loopback, user and system",
        of(&kernel, |run| run.cpu_ns_per_kilobyte),
    );
    if !args.no_wire {
        wire::rows(&report, args.requests, args.runs)?;
    }
    Ok(())
}
