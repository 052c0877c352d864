//! `test`: every test under cargo-nextest, then the doctests, then one line with the sum.
//!
//! Many tests start DPDK, make TAP devices and network namespaces, so they want root. Without root they
//! run as root of a user namespace of their own; with `CI=true` that is an error, so that no continuous
//! integration passes on less than all of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::ops::AddAssign;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::process::{self, Usage};
use crate::setup::{self, Scope};

/// Makes the namespaces' `/run` writable (for `ip netns` and DPDK's files) and loopback usable.
const NAMESPACE_SCRIPT: &str = "mount -t tmpfs tmpfs /run && ip link set lo up && exec \"$@\"";
const NAMESPACE: &[&str] = &["--user", "--map-root-user", "--net", "--mount", "--"];

#[derive(Clone, Default)]
struct Selection {
    packages: Vec<String>,
    filters: Vec<String>,
    nextest: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
    /// Of those that passed, the ones that failed first.
    flaky: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
        self.flaky += other.flaky;
    }
}

pub(crate) fn command(args: &[String]) -> Result<()> {
    let selection = Selection::parse(args)?;
    let ci = std::env::var_os("CI")
        .is_some_and(|value| !value.is_empty() && value != "false" && value != "0");
    let profile = std::env::var("NEXTEST_PROFILE")
        .unwrap_or_else(|_| if ci { "ci" } else { "default" }.to_owned());

    setup::ensure(Scope::Everything, false)?;
    let namespaced = !setup::is_root();
    if namespaced {
        without_root(ci)?;
    }
    tun_device()?;

    let started = Instant::now();
    let mut tally = run_nextest(&selection, &profile, namespaced)?;
    tally += run_doctests(&selection)?;
    if tally.passed + tally.failed == 0 {
        bail!(
            "no test has a name that contains {}",
            selection.filters.join(" or ")
        );
    }
    if tally.flaky > 0 {
        println!(
            "\n{} of the tests failed at first and passed when they were run again: look for FLAKY above",
            tally.flaky
        );
    }
    println!(
        "\n{} passed, {} failed, {} skipped in {} s",
        tally.passed,
        tally.failed,
        tally.skipped,
        started.elapsed().as_secs()
    );
    if tally.failed > 0 {
        bail!("{} test(s) failed", tally.failed);
    }
    Ok(())
}

impl Selection {
    fn parse(args: &[String]) -> Result<Self> {
        let mut selection = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--" => selection.nextest = args.by_ref().cloned().collect(),
                "-p" | "--package" => match args.next() {
                    Some(package) => selection.packages.push(package.clone()),
                    None => {
                        return Err(Usage(format!("`{arg}` wants the name of a package")).into());
                    }
                },
                flag if flag.starts_with('-') => {
                    return Err(Usage(format!(
                        "`test` does not know `{flag}`; options of nextest go after `--`"
                    ))
                    .into());
                }
                filter => selection.filters.push(filter.to_owned()),
            }
        }
        Ok(selection)
    }

    /// The packages in cargo's words; all features, so that one build serves every test.
    fn scope(&self) -> Vec<&str> {
        let mut scope = vec!["--all-features"];
        if self.packages.is_empty() {
            scope.push("--workspace");
        }
        for package in &self.packages {
            scope.extend(["--package", package]);
        }
        scope
    }
}

/// Refuses in CI, and makes sure that a namespace can be had elsewhere.
fn without_root(ci: bool) -> Result<()> {
    if ci {
        bail!(
            "CI is set and this is not root: tests that need devices and namespaces could not all run.\n\
             Run the job as root (or unset CI to run what a user namespace allows)"
        );
    }
    let mut probe = Command::new("unshare");
    probe
        .args(NAMESPACE)
        .args(["sh", "-c", NAMESPACE_SCRIPT, "sh", "true"]);
    if !process::succeeds(&mut probe) {
        bail!(
            "the tests need root, or a user namespace to be root in, and `{}` fails here.\n\
             Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, \
             kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces > 0), \
             or run as root: sudo --preserve-env=PATH cargo xtask test",
            process::show(&probe)
        );
    }
    eprintln!("test: not root, so the tests run as root of a user namespace of their own");
    Ok(())
}

/// The kernel's end of most tests is a TAP device.
fn tun_device() -> Result<()> {
    let tun = Path::new("/dev/net/tun");
    if !tun.exists() && setup::is_root() {
        process::succeeds(Command::new("modprobe").arg("tun"));
    }
    if !tun.exists() {
        bail!(
            "/dev/net/tun is missing: load the driver with `modprobe tun` (in a container: start it with \
             `--device /dev/net/tun --cap-add NET_ADMIN`)"
        );
    }
    Ok(())
}

fn run_nextest(selection: &Selection, profile: &str, namespaced: bool) -> Result<Tally> {
    // nextest keeps its store below the workspace, wherever cargo builds.
    let report = process::workspace_root()
        .join("target/nextest")
        .join(profile)
        .join("junit.xml");
    // A report of an earlier run must not be taken for this one's.
    if report.exists() {
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
    }
    let arguments = |command: &mut Command| {
        command.args(["nextest", "run", "--profile", profile, "--no-tests=pass"]);
        command
            .args(selection.scope())
            .args(&selection.filters)
            .args(&selection.nextest);
    };
    let mut run;
    if namespaced {
        // The namespace has no way out to a registry, so everything is built before.
        process::run(
            process::cargo()
                .args(["test", "--no-run"])
                .args(selection.scope()),
        )?;
        let cargo = process::cargo();
        run = Command::new("unshare");
        run.current_dir(process::workspace_root());
        run.args(NAMESPACE)
            .args(["sh", "-c", NAMESPACE_SCRIPT, "sh"])
            .arg(cargo.get_program())
            .arg("--offline");
    } else {
        run = process::cargo();
    }
    arguments(&mut run);
    let line = process::show(&run);
    eprintln!("+ {line}");
    let status = run
        .status()
        .with_context(|| format!("cannot run `{line}`"))?;

    let Ok(xml) = fs::read_to_string(&report) else {
        if status.success() && !selection.filters.is_empty() {
            return Ok(Tally::default());
        }
        bail!("`{line}` did not get as far as running tests: {status}");
    };
    let tally = junit_tally(&xml).with_context(|| format!("{} has no totals", report.display()))?;
    if !status.success() && tally.failed == 0 {
        bail!("`{line}` failed, though no test did: {status}");
    }
    Ok(tally)
}

/// nextest cannot run doctests. They run without root: an example in the documentation needs none.
fn run_doctests(all: &Selection) -> Result<Tally> {
    // Cargo refuses a package without a library by name, though not as one of the workspace.
    let crates = process::workspace_root().join("crates");
    let documented = |package: &String| crates.join(package).join("src/lib.rs").is_file();
    let selection = Selection {
        packages: all
            .packages
            .iter()
            .filter(|p| documented(p))
            .cloned()
            .collect(),
        ..all.clone()
    };
    if selection.packages.is_empty() && !all.packages.is_empty() {
        return Ok(Tally::default());
    }
    let mut run = process::cargo();
    run.args(["test", "--doc", "--no-fail-fast"])
        .args(selection.scope());
    if !selection.filters.is_empty() {
        run.arg("--").args(&selection.filters);
    }
    let line = process::show(&run);
    eprintln!("+ {line}");
    let mut child = run
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{line}`"))?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for text in BufReader::new(stdout).lines() {
            let text = text.with_context(|| format!("cannot read the output of `{line}`"))?;
            println!("{text}");
            tally += libtest_tally(&text).unwrap_or_default();
        }
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() && tally.failed == 0 {
        bail!("`{line}` failed before running the doctests: {status}");
    }
    Ok(tally)
}

/// The totals of a JUnit report: attributes of its `testsuites` element, skipped tests not among them.
fn junit_tally(xml: &str) -> Option<Tally> {
    let element = &xml[xml.find("<testsuites ")?..];
    let element = &element[..element.find('>')?];
    let attribute = |name: &str| -> Option<u64> {
        let start = element.find(&format!(" {name}=\""))? + name.len() + 3;
        element[start..].split('"').next()?.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    let skipped = xml.matches("<skipped").count() as u64;
    let cases = xml.split("<testcase ");
    let flaky = cases.filter(|case| case.contains("<flaky")).count() as u64;
    Some(Tally {
        passed: attribute("tests")?.checked_sub(failed + skipped)?,
        failed,
        skipped,
        flaky,
    })
}

/// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn libtest_tally(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |name: &str| -> Option<u64> {
        counts
            .split("; ")
            .find_map(|part| part.trim().strip_suffix(name)?.trim().parse().ok())
    };
    Some(Tally {
        passed: count("passed")?,
        failed: count("failed")?,
        skipped: count("ignored")?,
        flaky: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(args: &[&str]) -> Vec<String> {
        args.iter().map(|&arg| arg.to_owned()).collect()
    }

    #[test]
    fn arguments_become_packages_filters_and_nextest_options() {
        let selection = Selection::parse(&strings(&[
            "-p",
            "dpdk-net",
            "echo",
            "ping",
            "--",
            "--retries",
            "2",
        ]))
        .unwrap();
        assert_eq!(
            selection.scope(),
            ["--all-features", "--package", "dpdk-net"]
        );
        assert_eq!(selection.filters, ["echo", "ping"]);
        assert_eq!(selection.nextest, ["--retries", "2"]);
    }

    #[test]
    fn an_unknown_option_and_a_missing_package_are_usage_errors() {
        for args in [&["--frob"][..], &["-p"]] {
            let error = Selection::parse(&strings(args)).err().unwrap();
            assert!(error.is::<Usage>(), "{args:?}: {error}");
        }
    }

    #[test]
    fn a_junit_report_is_counted_with_failures_and_errors() {
        let xml = r#"<?xml version="1.0"?><testsuites name="nextest-run" tests="12" failures="2" errors="1" uuid="x">
            <testsuite name="a" tests="12" disabled="0" errors="0" failures="2">
            <testcase name="steady"></testcase>
            <testcase name="wavers"><flakyFailure/><flakyFailure/></testcase></testsuite></testsuites>"#;
        assert_eq!(
            junit_tally(xml),
            Some(Tally {
                passed: 9,
                failed: 3,
                skipped: 0,
                flaky: 1
            })
        );
        assert_eq!(junit_tally("<testsuite tests=\"1\"/>"), None);
    }

    #[test]
    fn a_libtest_result_line_is_counted() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.1s";
        assert_eq!(
            libtest_tally(line),
            Some(Tally {
                passed: 3,
                failed: 1,
                skipped: 2,
                flaky: 0
            })
        );
        assert_eq!(libtest_tally("test src/lib.rs - (line 3) ... ok"), None);
    }
}
