//! `dpdk-net`: the command-line tool.
//!
//! Each command is a module; this file reads the command line, sets up the log and turns an error into an exit
//! code: 0 when all went well, 1 for what the machine or the network refused, 2 for a mistake on the command line.
#![forbid(unsafe_code)]

mod demo;
mod failure;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Result};

/// tokio networking on DPDK: the command-line tool
#[derive(Debug, Parser)]
#[command(name = "dpdk-net", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(Box<demo::DemoArgs>),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result {
    match cli.command {
        Command::Demo(args) => {
            start_log(&args.log_level)?;
            demo::run(*args)
        }
    }
}

fn start_log(filter: &str) -> Result {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::usage(
            format!("--log-level {filter}: {error}"),
            "give error, warn, info, debug or trace, or a filter such as dpdk_net=debug,dpdk=info",
        )
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}
