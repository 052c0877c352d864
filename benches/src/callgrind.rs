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
    let text = annotate(out, "--inclusive=yes")?;
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

/// Where instructions went: exclusive counts of functions.
#[derive(Debug, Clone)]
pub struct Profile {
    /// All of them.
    pub total: u64,
    functions: Vec<(String, u64)>,
}

impl Profile {
    /// Those of functions whose names have any of these words, whatever their case.
    pub fn of(&self, words: &[&str]) -> u64 {
        let has = |name: &str| {
            let name = name.to_ascii_lowercase();
            words.iter().any(|word| name.contains(word))
        };
        let own = self.functions.iter().filter(|(name, _)| has(name));
        own.map(|(_, count)| count).sum()
    }
}

/// As [`run`], and by function.
///
/// # Errors
/// As [`run`].
pub fn profile(args: &[String], measured: &str) -> anyhow::Result<Profile> {
    let dir = tempfile::tempdir().context("a directory for callgrind's output")?;
    let out = dir.path().join("callgrind.out");
    let total = record(args, measured, &out)?;
    let functions = annotate(&out, "--inclusive=no")?;
    let functions = functions.lines().filter_map(|line| {
        let count = line.split_whitespace().next()?.replace(',', "");
        Some((line.to_owned(), count.parse().ok()?))
    });
    // The line of the totals has no function.
    let functions = functions.filter(|(line, _)| line.contains(':'));
    Ok(Profile {
        total,
        functions: functions.collect(),
    })
}

/// What `callgrind_annotate` says of a file.
fn annotate(out: &Path, how: &str) -> anyhow::Result<String> {
    let output = Command::new("callgrind_annotate")
        .args([how, "--threshold=100"])
        .arg(out)
        .output()
        .context("running callgrind_annotate (part of valgrind)")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
