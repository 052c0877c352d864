//! `dpdk-net check`: what is wrong with a file, and what it comes to.

use std::path::PathBuf;

use clap::Args;
use dpdk_net::ConfiguredApp;
use dpdk_net::config::{File, Machine};

use super::{fail, site, tell, warn};
use crate::failure::{Failure, Result};
use crate::output::{self, When};

const AFTER_HELP: &str = "\
Examples:
  dpdk-net check dpdk-net.toml
      Every mistake in the file, what this machine does not have, and else the plan. What may not be meant so is told
      as a warning, and is no failure.
  dpdk-net check --no-machine dpdk-net.toml
      The file alone, as in CI for a machine that is elsewhere.
  sudo dpdk-net check --probe dpdk-net.toml
      Starts DPDK and the ports as well, to see whether they have what the file asks for, and ends.
  DPDK_NET__PORT__0__QUEUES=4 dpdk-net check dpdk-net.toml
      With a setting from the environment over the file's.

Exit code: 0 when nothing is wrong, 1 for mistakes in the file or what the machine does not have, 2 for a mistake on
the command line.";

/// Check a configuration file, and show what it comes to
///
/// All mistakes are shown at once, each with the line that it is about and what was probably meant.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CheckArgs {
    /// The TOML or JSON file
    file: PathBuf,

    /// Look at the file alone, not at this machine
    #[arg(long, conflicts_with = "probe")]
    no_machine: bool,

    /// Start DPDK and the ports with what the file asks for, and end
    #[arg(long)]
    probe: bool,

    /// Write the settings as JSON, with those from the environment, instead of the plan
    #[arg(long)]
    json: bool,
}

/// Checks the file.
pub(crate) fn run(args: &CheckArgs, color: When) -> Result {
    let file = File::read(&args.file).map_err(|problems| {
        tell(&problems, color);
        Failure::told()
    })?;
    let json = file.to_json();
    let sites = site::check(&file);
    if let Err(problems) = File::refused(sites) {
        tell(&problems, color);
        return Err(Failure::told());
    }
    if args.no_machine {
        warn(file.warnings(), color);
        return match args.json {
            true => output::print(&format!("{json:#}\n")),
            false => output::print("nothing is wrong with the file\n"),
        };
    }
    let app = ConfiguredApp::new(file, Machine::this()).map_err(|error| fail(error, color))?;
    warn(app.warnings(), color);
    let text = match args.json {
        true => format!("{json:#}\n"),
        false => app.plan().to_string(),
    };
    output::print(&text)?;
    if args.probe {
        let probed = app.probe().map_err(|error| fail(error, color))?;
        output::print(&format!("\nProbed:\n{probed}"))?;
    }
    Ok(())
}
