//! Servers in processes of their own at one end of a veth pair, wrk and h2load at the other.

use anyhow::Context;
use dpdk_net::net::TcpListener;
use dpdk_net_bench::veth::{self, SERVER};
use dpdk_net_bench::{Report, median};

/// The server's part: `kernel`, or the interface that dpdk-net drives.
pub(crate) fn serve(on: &str) -> anyhow::Result<()> {
    if on == "kernel" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        return runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("0.0.0.0:80").await?;
            println!("ready");
            Ok(axum::serve(listener, crate::site()).await?)
        });
    }
    veth::app("http", on).run(|ctx| async move {
        let listener = TcpListener::bind("0.0.0.0:80").await?;
        println!("ready");
        axum::serve(listener, crate::site())
            .with_graceful_shutdown(ctx.shutdown())
            .await?;
        anyhow::Ok(())
    })?
}

/// What a load has come to.
struct Load {
    per_second: f64,
    /// ns of the server's process a request, user and system.
    cpu_ns: f64,
}

impl Load {
    fn median(runs: &[Self]) -> Self {
        Self {
            per_second: median(runs.iter().map(|run| run.per_second).collect()),
            cpu_ns: median(runs.iter().map(|run| run.cpu_ns).collect()),
        }
    }
}

/// Rows of each load: ours against the kernel's, which take turns, so that what else the machine does befalls both.
pub(crate) fn rows(report: &Report, seconds: u32, runs: usize) -> anyhow::Result<()> {
    let wrk = format!("wrk -t 1 -c 32 -d {seconds} http://{SERVER}/hello");
    let h2load = format!("h2load -D {seconds} -t 1 -c 8 -m 16 http://{SERVER}/hello");
    for (name, command) in [
        ("wrk, HTTP/1.1, 32 connections", wrk),
        ("h2load, HTTP/2, 8 connections of 16 streams", h2load),
    ] {
        let (mut ours, mut kernel) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            ours.push(load(false, &command)?);
            kernel.push(load(true, &command)?);
        }
        let (ours, kernel) = (Load::median(&ours), Load::median(&kernel));
        report.versus(
            format!("axum on dpdk-net over af_packet, {name}"),
            ours.per_second,
            "requests/s",
            "kernel TCP with tokio over veth",
            kernel.per_second,
        );
        report.versus(
            format!("axum on dpdk-net over af_packet, {name}, CPU time of the server's process"),
            ours.cpu_ns,
            "ns/request",
            "kernel TCP with tokio, without what the kernel does elsewhere",
            kernel.cpu_ns,
        );
    }
    Ok(())
}

fn load(kernel: bool, command: &str) -> anyhow::Result<Load> {
    let (told, used) = veth::load(kernel, command)?;
    let requests = requests(&told).with_context(|| format!("no figures in:\n{told}"))?;
    Ok(Load {
        per_second: requests.1,
        cpu_ns: used.as_nanos() as f64 / requests.0,
    })
}

/// Requests in all and a second, from what wrk or h2load says; nothing if any of them failed.
fn requests(told: &str) -> Option<(f64, f64)> {
    let failed = ["Non-2xx", "Socket errors"]
        .iter()
        .any(|error| told.contains(error));
    let lost = told.contains("requests:") && !told.contains(" 0 failed, 0 errored, 0 timeout");
    if failed || lost {
        return None;
    }
    let number = |text: &str| text.trim().parse().ok();
    if let Some(line) = told.lines().find(|line| line.starts_with("finished in")) {
        let per_second = line.split(", ").nth(1)?.strip_suffix(" req/s")?;
        let line = told.lines().find(|line| line.starts_with("requests:"))?;
        let done = line
            .split(", ")
            .find_map(|part| part.strip_suffix(" succeeded"))?;
        return Some((number(done)?, number(per_second)?));
    }
    let per_second = told
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let all = told.lines().find(|line| line.contains(" requests in "))?;
    let all = all.trim().split(' ').next()?;
    Some((number(all)?, number(per_second)?))
}
