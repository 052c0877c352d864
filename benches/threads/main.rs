//! What it costs to use a worker from other threads: its sockets, tasks that it is given to spawn, and channels.
//!
//! - Echo of 64 bytes over ring ports: answered on the worker, by the threads of a multi-thread runtime over the worker, and by the
//!   kernel's TCP with the same runtime.
//! - A task that another thread has a worker spawn, against tokio's `spawn` on a current-thread runtime: one at a time, and a hundred.
//! - A message from thread to thread and on one thread, against tokio's `mpsc`: one by one, and in batches.
//!
//! All that is timed runs in spawned tasks: tokio's `block_on` looks at its own future once in 61 tasks.
#![forbid(unsafe_code)]

mod channels;
mod sockets;
mod tasks;

use clap::Parser;
use dpdk_net_bench::{Report, in_process, median};

use sockets::Answering;

/// Sockets, tasks and channels from other threads.
#[derive(Debug, Parser)]
#[command(name = "threads")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Divide the amounts by a hundred: to see that it works, not for figures
    #[arg(long)]
    smoke: bool,
    /// Run one case in this process: WHAT:KIND:COUNT:AMOUNT (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        println!("{}", run(case)?);
        return Ok(());
    }
    let report = Report::new("threads", args.json);
    let amount = |full: usize| if args.smoke { full / 100 } else { full };
    let measure = |case: String| -> anyhow::Result<f64> {
        let samples = (0..args.runs).map(|_| in_process(&case));
        Ok(median(samples.collect::<anyhow::Result<_>>()?))
    };

    for connections in [1, 32] {
        let requests = amount(200_000);
        let on = |who: Answering| measure(format!("echo:{}:{connections}:{requests}", who.name()));
        let worker = on(Answering::Worker)?;
        let row = |who: &str| format!("echo, {connections} connections, {who}");
        report.row(row("on the worker"), worker, "ns/request");
        let threads = on(Answering::Threads)?;
        let rival = "on the worker";
        report.versus(row("by 2 threads"), threads, "ns/request", rival, worker);
        let kernel = on(Answering::Kernel)?;
        let rival = "kernel TCP, 2 threads of tokio";
        report.versus(row("by 2 threads"), threads, "ns/request", rival, kernel);
    }
    for (batch, what) in [(1, "one at a time"), (100, "a hundred at a time")] {
        let tasks = amount(100_000);
        for (there, how) in [("", "who spawns sleeps"), ("-polling", "who spawns polls")] {
            let ours = measure(format!("spawn:ours{there}:{batch}:{tasks}"))?;
            for (kind, rival) in [
                ("idle", "tokio's spawn, the runtime asleep between"),
                ("busy", "tokio's spawn, the runtime kept awake"),
            ] {
                let other = measure(format!("spawn:{kind}{there}:{batch}:{tasks}"))?;
                let row = format!("spawn_on and join, {what}, {how}");
                report.versus(row, ours, "ns/task", rival, other);
            }
        }
    }
    for (place, what) in [
        ("within", "on one thread"),
        ("across", "between two threads that sleep"),
        ("polling", "between two threads that poll"),
    ] {
        for (batch, how) in [(1, "one by one"), (32, "32 at a time")] {
            let messages = amount(2_000_000);
            let on = |kind: &str| measure(format!("channel:{kind}-{place}:{batch}:{messages}"));
            let (ours, tokio) = (on("ours")?, on("tokio")?);
            let row = format!("channel, {what}, {how}");
            report.versus(row, ours, "ns/message", "tokio's mpsc", tokio);
        }
    }
    Ok(())
}

/// One case, in this process.
fn run(case: &str) -> anyhow::Result<f64> {
    let parts: Vec<&str> = case.split(':').collect();
    let [what, kind, count, amount] = parts[..] else {
        anyhow::bail!("a case is WHAT:KIND:COUNT:AMOUNT, not {case:?}");
    };
    let (count, amount): (usize, usize) = (count.parse()?, amount.parse()?);
    match what {
        "echo" => sockets::run(Answering::of(kind)?, count, amount),
        "spawn" => tasks::run(kind, count, amount),
        "channel" => channels::run(kind, count, amount),
        _ => anyhow::bail!("there is no case {what:?}"),
    }
}

/// Keeps a runtime awake, as a driver does: it polls, and lets what was woken run in between.
fn keep_awake(runtime: &tokio::runtime::Runtime) {
    drop(runtime.spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    }));
}
