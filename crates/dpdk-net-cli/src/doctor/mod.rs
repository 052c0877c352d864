//! `dpdk-net doctor`: what this machine lacks, for which use, and the command that mends it.
//!
//! It reads and changes nothing, and does not start DPDK. Each check is a function from a [`Machine`] to findings.

mod checks;
mod finding;
mod report;

use clap::Args;

use self::finding::{Use, Verdict};
use crate::failure::Result;
use crate::machine::Machine;
use crate::output::Paint;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net doctor
      Could `dpdk-net demo` run here? All findings, and a verdict for each use.
  dpdk-net doctor --for nic
      The same for a NIC; `sudo dpdk-net doctor --for nic` judges with root's rights.
  dpdk-net doctor --json | jq '.findings[] | select(.level == \"error\")'
      For programs.

Exit code: 0 when the demo could run, 1 when something is in its way, 2 for a mistake on the command line.";

/// Look at this machine: what is missing, what it means, and the command that mends it
///
/// Hugepages, drivers, IOMMU, NUMA, rights, DPDK's drivers, what the kernel can do, CPUs, the clock, and what
/// earlier runs left behind. Each finding is ok, a note, a warning or an error for the use that is asked about;
/// commands are for root unless they say `sudo`. Nothing is changed, and DPDK is not started.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct DoctorArgs {
    /// What DPDK is to drive
    #[arg(long = "for", value_name = "USE", value_enum, default_value_t = Use::Tap)]
    wanted: Use,

    /// Write the findings as JSON
    #[arg(long)]
    json: bool,
}

/// Prints what is found; `false` if the demo could not run.
pub(crate) fn run(args: &DoctorArgs, paint: Paint) -> Result<bool> {
    let findings = checks::all(&Machine::here());
    let text = if args.json {
        report::json(&findings, args.wanted)?
    } else {
        report::text(&findings, args.wanted, paint)
    };
    crate::output::print(&text)?;
    Ok(Verdict::of(&findings, args.wanted).ready)
}
