//! `dpdk-net schema`: the JSON Schema of configuration files.

use clap::Args;
use dpdk_net::config;

use crate::failure::Result;
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net schema > dpdk-net.schema.json
      For an editor that completes and checks: `#:schema ./dpdk-net.schema.json` as the first line of a TOML file
      (Even Better TOML, taplo), or \"$schema\" in the settings of a JSON editor.

Exit code: 0 when all went well, 2 for a mistake on the command line.";

/// Write the JSON Schema of configuration files to stdout
///
/// It is made of the types that read the files, and holds for TOML as well as for JSON.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct SchemaArgs {}

/// Writes it.
pub(crate) fn run(_: &SchemaArgs) -> Result {
    output::print(&format!("{:#}\n", config::schema()))
}
