//! Goodput of one stream over a lossy relay between two interfaces: our stack and the kernel, then the kernel and itself over the
//! same relay with the same congestion control.
//!
//! Each measurement is a process of its own with namespaces of its own, so that nothing is remembered of the one before. Needs root.
#![forbid(unsafe_code)]

mod case;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use dpdk_net_bench::{Report, median};

use case::{Case, Who};

/// Goodput over a lossy relay: our TCP to and from the kernel's, and the kernel's with itself.
#[derive(Debug, Parser)]
#[command(name = "relay")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Runs of which the median is printed, each with a seed of its own
    #[arg(long, default_value_t = 3)]
    runs: u64,
    /// How long a run sends, in seconds
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// Rate of the link in Mbit/s
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Delays of one way in ms
    #[arg(long, value_delimiter = ',', default_values = ["1", "20"])]
    delay: Vec<u64>,
    /// Shares of the frames lost in each direction, in percent
    #[arg(long, value_delimiter = ',', default_values = ["0", "0.1", "1", "3", "10"])]
    loss: Vec<f64>,
    /// Congestion control
    #[arg(long, value_delimiter = ',', default_values = ["cubic", "bbr"])]
    cc: Vec<String>,
    /// Who sends to whom, against the kernel to itself: `sending` and `receiving` is what our stack does
    #[arg(long, value_delimiter = ',', default_values = ["sending"])]
    ours: Vec<Who>,
    /// Seed of the first run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Run one case in this process: WHO:CC:DELAY_MS:LOSS_PERCENT:RATE_MBIT:SECONDS:SEED
    #[arg(long, hide = true)]
    case: Option<Case>,
    /// With --case: a packet capture at the sender's side of the relay
    #[arg(long, hide = true)]
    capture: Option<PathBuf>,
    /// With --case, where our stack sends: its view of the connection every 50 ms
    #[arg(long, hide = true)]
    trace: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        println!(
            "{}",
            case.run(args.capture.as_deref(), args.trace.as_deref())?
        );
        return Ok(());
    }
    let report = Report::new("relay", args.json);
    for cc in &args.cc {
        for &delay_ms in &args.delay {
            for &loss_percent in &args.loss {
                let case = |who, seed| Case {
                    who,
                    cc: cc.clone(),
                    delay_ms,
                    loss_percent,
                    rate_mbit: args.rate,
                    seconds: args.seconds,
                    seed,
                };
                // By turns: what else the machine does is the same for all.
                let mut kernel = Vec::new();
                let mut ours = vec![Vec::new(); args.ours.len()];
                for seed in args.seed..args.seed + args.runs {
                    kernel.push(in_process(&case(Who::Kernel, seed))?);
                    for (&who, figures) in args.ours.iter().zip(&mut ours) {
                        figures.push(in_process(&case(who, seed))?);
                    }
                }
                let kernel = median(kernel);
                for (who, figures) in args.ours.iter().zip(ours) {
                    let row = format!("{who}, {cc}, {delay_ms} ms one way, {loss_percent} % loss");
                    report.versus(
                        row,
                        median(figures),
                        "Mbit/s",
                        "the kernel to itself",
                        kernel,
                    );
                }
            }
        }
    }
    Ok(())
}

/// One case in a process of its own: EAL starts once a process.
fn in_process(case: &Case) -> anyhow::Result<f64> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--case", &case.to_string()])
        .output()
        .context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|line| line.parse().ok());
    figure.with_context(|| {
        format!(
            "the case {case} failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}
