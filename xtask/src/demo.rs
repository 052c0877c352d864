//! `demo`: from a checkout to a running server in one command.

use anyhow::Result;

use crate::process;
use crate::setup::{self, Scope};

/// Builds `dpdk-net` and becomes `dpdk-net demo ARGS`, so Ctrl-C and the exit code are the demo's own.
pub(crate) fn command(args: &[String]) -> Result<()> {
    setup::ensure(Scope::Build, false)?;
    process::run(process::cargo().args(["build", "--release", "--package", "dpdk-net-cli"]))?;
    let program = process::target_dir()?.join("release").join("dpdk-net");
    // `cargo xtask demo -- ARGS` and `cargo xtask demo ARGS` mean the same.
    let args = args.strip_prefix(&["--".to_owned()]).unwrap_or(args);
    Err(process::exec(
        std::process::Command::new(program).arg("demo").args(args),
    ))
}
