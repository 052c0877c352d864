//! `dpdk-net devices`: what there is for DPDK to drive, and the lines of a configuration that take it.
//!
//! Without `--probe` it reads sysfs and no more.

mod found;
mod probe;
mod report;
mod virtuals;

use clap::Args;

use self::found::Found;
use crate::failure::Result;
use crate::machine::Machine;
use crate::output::{self, Paint};

const AFTER_HELP: &str = "\
Examples:
  dpdk-net devices
      PCI network devices, interfaces of the kernel, and virtual devices that DPDK can make,
      each with the lines for a configuration.
  sudo dpdk-net devices --probe
      The ports that DPDK makes of the NICs that are bound to it: limits and offloads.
  dpdk-net devices --probe --vdev net_null0 --json
      Those of a virtual device, for programs.

Exit code: 0 when all went well, 1 when DPDK could not start, 2 for a mistake on the command line.";

/// List what there is to drive: NICs, interfaces of the kernel, virtual devices
///
/// Of a NIC: its address, ids and name, NUMA node, driver and interface, and whether DPDK could have it, with the
/// command that hands it over. Of an interface: its kind, queues, MTU and MAC address. With --probe DPDK is
/// started, with files of its own, and says itself what its ports can do; a NIC that the kernel has is not touched.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct DevicesArgs {
    /// Start DPDK and list the ports as it sees them
    #[arg(long)]
    probe: bool,

    /// A virtual device to probe, as EAL's --vdev takes it; repeat for several
    #[arg(long = "vdev", value_name = "DEVICE", requires = "probe")]
    vdevs: Vec<String>,

    /// Write it as JSON
    #[arg(long)]
    json: bool,
}

/// Prints what is found.
pub(crate) fn run(args: &DevicesArgs, paint: Paint) -> Result {
    let machine = Machine::here();
    let mut found = Found::read(&machine);
    if args.probe {
        found.ports = Some(probe::ports(&machine, &args.vdevs)?);
    }
    let text = if args.json {
        output::json(&found)?
    } else {
        report::text(&found, paint)
    };
    output::print(&text)
}
