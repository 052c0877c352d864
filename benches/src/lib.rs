//! What the benchmarks share: the rows they print, medians, CPU time, instruction counts by callgrind, a client over
//! rings, servers over a veth pair.
//!
//! A benchmark prints a row per figure, as text or as one JSON object a line. It never fails by a clock.
#![forbid(unsafe_code)]

pub mod callgrind;
pub mod client;
pub mod cpu;
pub mod host;
pub mod report;
pub mod veth;

use anyhow::Context;

pub use report::{Report, Row};

/// The median of `samples`; 0 where there are none.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

/// Runs one case of this benchmark in a process of its own, as EAL starts once a process, and returns the figure that it prints last.
///
/// # Errors
/// The case failed, with what it printed.
pub fn in_process(case: &str) -> anyhow::Result<f64> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--case", case])
        .output()
        .context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|line| line.parse().ok());
    figure.with_context(|| {
        let told = String::from_utf8_lossy(&output.stderr);
        format!("the case {case} failed:\n{text}{told}")
    })
}
