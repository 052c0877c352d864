//! `cargo xtask`: the developer's commands, from a fresh machine to a measured change.
//!
//! Each command is one file. This one holds the usage text and sends the arguments on. Nothing here
//! depends on DPDK: `setup` has to run where libdpdk is still missing.
#![forbid(unsafe_code)]

mod bench;
mod conformance;
mod demo;
mod process;
mod setup;
mod test;

use std::process::ExitCode;

const USAGE: &str = "\
Developer commands of dpdk-net.

Usage: cargo xtask COMMAND [ARGS]

  setup [--build] [--dry-run]    install the Debian packages that are missing, and cargo-nextest
                                 --build    only what building and the demo need
                                 --dry-run  say what is missing and change nothing
  demo [--] [ARGS]               build `dpdk-net` and run `dpdk-net demo ARGS`
                                 (`cargo xtask demo --help` explains ARGS)
  test [-p PKG] [FILTER]... [-- NEXTEST-ARGS]
                                 set up, then run every test and doctest, or those whose name
                                 contains a FILTER
  bench [NAME] [--json] [-- ARGS]
                                 run the benchmarks, or the one called NAME
                                 --json  one JSON object a line
                                 --list  the names
  conformance [--check]          write docs/conformance.md, the table of RFC requirements and tests
                                 --check  say whether it is what the tests say, and change nothing
  help                           this text

Environment:
  CI=true             nothing is skipped for want of a privilege: it is an error instead
  NEXTEST_PROFILE     profile of .config/nextest.toml (CI=true sets `ci`)
  CARGO_TARGET_DIR    where cargo builds, as always
";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next();
    let rest: Vec<String> = args.collect();
    let done = match command.as_deref() {
        Some("setup") => setup::command(&rest),
        Some("demo") => demo::command(&rest),
        Some("test") => test::command(&rest),
        Some("bench") => bench::command(&rest),
        Some("conformance") => conformance::command(&rest),
        Some("help" | "--help" | "-h") => {
            print!("{USAGE}");
            Ok(())
        }
        None => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
        Some(other) => Err(process::Usage(format!("there is no command `{other}`")).into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            if error.is::<process::Usage>() {
                eprintln!("\nFor the commands and their options: cargo xtask help");
                return ExitCode::from(2);
            }
            ExitCode::FAILURE
        }
    }
}
