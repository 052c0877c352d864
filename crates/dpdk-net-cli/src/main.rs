//! `dpdk-net`: the command-line tool.
//!
//! Each command is a module; this file reads the command line, sets up the log and turns an error into an exit
//! code: 0 when all went well, 1 for what the machine or the network refused, 2 for a mistake on the command line.
#![forbid(unsafe_code)]

mod capture;
mod completions;
mod configured;
mod demo;
mod devices;
mod doctor;
mod ending;
mod failure;
mod machine;
mod man;
mod output;
mod plot;
mod running;
mod ss;
mod stats;
mod top;
mod trace;
mod whole;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::failure::{Failure, Result};
use crate::output::When;

/// tokio networking on DPDK: the command-line tool
///
/// dpdk-net runs TCP/IP in user space on a port that DPDK drives. `dpdk-net doctor` says whether this machine
/// is fit for it, `dpdk-net devices` what there is to drive, and `dpdk-net demo` serves a web site on it; `dpdk-net run`
/// serves what a configuration file says. Of an application that runs, `dpdk-net ss`, `dpdk-net stats` and `dpdk-net top`
/// show what it does.
#[derive(Debug, Parser)]
#[command(name = "dpdk-net", version)]
#[command(after_long_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Whether to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, global = true)]
    color: When,
}

const AFTER_HELP: &str = "\
Examples:
  dpdk-net doctor
      Could the demo run here, and if not, what mends it?
  dpdk-net demo
      A web site on a TAP device, with no NIC, no hugepages and no root.
  dpdk-net check dpdk-net.toml && dpdk-net run dpdk-net.toml
      A server of static files or a reverse proxy, from a file alone.
  dpdk-net top
      The queues of an application that runs.

`dpdk-net COMMAND --help` has more examples.

Exit code: 0 when all went well, 1 for what the machine or the network refused, 2 for a mistake on the command line.";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(Box<demo::DemoArgs>),
    Run(configured::RunArgs),
    Check(configured::CheckArgs),
    Schema(configured::SchemaArgs),
    Capture(Box<capture::CaptureArgs>),
    Devices(devices::DevicesArgs),
    Doctor(doctor::DoctorArgs),
    Ss(Box<ss::SsArgs>),
    Stats(stats::StatsArgs),
    Top(top::TopArgs),
    Trace(trace::TraceArgs),
    Plot(plot::PlotArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

fn main() -> ExitCode {
    let color = When::of_arguments(std::env::args_os().skip(1));
    let matches = Cli::command().color(color.choice()).get_matches();
    let ended = match Cli::from_arg_matches(&matches) {
        Ok(cli) => run(cli),
        Err(error) => error.exit(),
    };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            if !failure.was_told() {
                eprintln!("error: {failure}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Demo(args) => {
            start_log(&args.log_level)?;
            demo::run(*args).map(|()| ExitCode::SUCCESS)
        }
        Command::Run(args) => configured::serve(&args, cli.color),
        Command::Check(args) => configured::check(&args, cli.color).map(|()| ExitCode::SUCCESS),
        Command::Schema(args) => configured::schema(&args).map(|()| ExitCode::SUCCESS),
        Command::Capture(args) => capture::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Devices(args) => {
            devices::run(&args, cli.color.paint()).map(|()| ExitCode::SUCCESS)
        }
        Command::Doctor(args) => {
            let ready = doctor::run(&args, cli.color.paint())?;
            Ok(ExitCode::from(u8::from(!ready)))
        }
        Command::Ss(args) => ss::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Stats(args) => stats::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Top(args) => top::run(&args, cli.color.paint()).map(|()| ExitCode::SUCCESS),
        Command::Trace(args) => trace::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Plot(args) => plot::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Completions(args) => {
            completions::run(&args, Cli::command()).map(|()| ExitCode::SUCCESS)
        }
        Command::Man(args) => man::run(&args, Cli::command()).map(|()| ExitCode::SUCCESS),
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
