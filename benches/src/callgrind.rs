//! Instruction counts by `valgrind --tool=callgrind`: repeatable on a noisy machine.
//!
//! A benchmark runs its own executable again under callgrind and reads the totals of the output file.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// Runs this executable with `args` under callgrind and returns the instructions of the function `measured`
/// and all that it called, less those of the functions `excluded`, none of which is called by another of them.
///
/// All are paths as a demangled symbol has them, of functions that are never inlined.
///
/// # Errors
/// valgrind is missing or cannot run the program, or its output has no totals.
pub fn run<'a>(
    args: &[String],
    measured: &str,
    excluded: impl IntoIterator<Item = &'a str>,
) -> anyhow::Result<u64> {
    let dir = tempfile::tempdir().context("a directory for callgrind's output")?;
    let out = dir.path().join("callgrind.out");
    let total = record(args, measured, &out)?;
    let mut left = total;
    for name in excluded {
        left = left.saturating_sub(inclusive(&out, name)?);
    }
    Ok(left)
}

/// Runs this executable with `args` under callgrind, into the file `out`, and returns the instructions of the function `measured` and all
/// that it called.
fn record(args: &[String], measured: &str, out: &Path) -> anyhow::Result<u64> {
    let exe = std::env::current_exe().context("the path of this benchmark")?;
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(format!("--toggle-collect={measured}"))
        .arg(exe)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .context("running valgrind (apt install valgrind, or cargo xtask setup)")?;
    if !output.status.success() {
        bail!(
            "the benchmark failed under callgrind ({}):\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = std::fs::read_to_string(out).context("reading callgrind's output")?;
    text.lines()
        .find_map(|line| {
            line.strip_prefix("summary:")
                .or_else(|| line.strip_prefix("totals:"))
        })
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .filter(|&total| total > 0)
        .with_context(|| format!("callgrind saw no function {measured}"))
}

/// The inclusive count of the function whose symbol is `name`, by `callgrind_annotate`.
fn inclusive(out: &Path, name: &str) -> anyhow::Result<u64> {
    let output = Command::new("callgrind_annotate")
        // Without the lines of sources, which have counts too.
        .args(["--inclusive=yes", "--threshold=100", "--auto=no"])
        .arg(out)
        .output()
        .context("running callgrind_annotate (part of valgrind)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .filter(|line| line.contains(name))
        .filter_map(|line| {
            line.split_whitespace()
                .next()?
                .replace(',', "")
                .parse()
                .ok()
        })
        .max()
        .with_context(|| format!("callgrind saw no function {name}"))
}
