//! `dpdk-net completions`: what a shell completes after `dpdk-net`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::failure::Result;
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net completions bash > ~/.local/share/bash-completion/completions/dpdk-net
  dpdk-net completions zsh > ~/.zfunc/_dpdk-net
      For zsh, ~/.zfunc must be in fpath before compinit.
  dpdk-net completions fish > ~/.config/fish/completions/dpdk-net.fish

Exit code: 0 when all went well, 2 for a mistake on the command line.";

/// Write a shell's completions to stdout
///
/// Once a shell has read them it completes commands, options and their values. They belong to this release: write
/// them again after an update.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Writes those of `program`.
pub(crate) fn run(args: &CompletionsArgs, mut program: Command) -> Result {
    let name = program.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, name, &mut script);
    output::print(&String::from_utf8_lossy(&script))
}
