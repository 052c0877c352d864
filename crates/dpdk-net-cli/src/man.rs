//! `dpdk-net man`: manual pages, made of the same text as `--help`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::failure::{Failure, Result};
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net man | man -l -
      The page of dpdk-net itself.
  dpdk-net man doctor | man -l -
      That of a command.
  sudo dpdk-net man --out /usr/local/share/man/man1
      All of them, for `man dpdk-net` and `man dpdk-net-doctor`.

Exit code: 0 when all went well, 1 when a page cannot be written, 2 for a mistake on the command line.";

/// Write manual pages
///
/// One page to stdout, or all of them into a directory: dpdk-net.1, and one for each command.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct ManArgs {
    /// The command whose page is written [default: dpdk-net itself]
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Option<String>,

    /// Write all pages into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A manual page.
struct Page {
    /// `dpdk-net-doctor`.
    name: String,
    roff: String,
}

/// Writes those of `program`.
pub(crate) fn run(args: &ManArgs, program: Command) -> Result {
    let pages = pages(program)
        .map_err(|error| Failure::new(format!("a page cannot be made: {error}"), ""))?;
    if let Some(directory) = &args.out {
        return write(&pages, directory);
    }
    let wanted = match &args.command {
        Some(command) => format!("dpdk-net-{command}"),
        None => "dpdk-net".into(),
    };
    match pages.iter().find(|page| page.name == wanted) {
        Some(page) => output::print(&page.roff),
        None => {
            let commands: Vec<&str> = pages
                .iter()
                .filter_map(|page| page.name.strip_prefix("dpdk-net-"))
                .collect();
            Err(Failure::usage(
                format!(
                    "there is no command `{}`",
                    args.command.as_deref().unwrap_or("")
                ),
                format!("there are: {}", commands.join(", ")),
            ))
        }
    }
}

fn write(pages: &[Page], directory: &Path) -> Result {
    let failed = |path: &Path, error: io::Error| {
        Failure::new(
            format!("cannot write {}: {error}", path.display()),
            "give a directory that you may write to",
        )
    };
    fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for page in pages {
        let path = directory.join(format!("{}.1", page.name));
        fs::write(&path, &page.roff).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

/// The page of the program and those of its commands.
fn pages(mut program: Command) -> io::Result<Vec<Page>> {
    program.build();
    let name = program.get_name().to_owned();
    let commands: Vec<Command> = program
        .get_subcommands()
        .filter(|command| command.get_name() != "help")
        .map(|command| {
            command
                .clone()
                .display_name(format!("{name}-{}", command.get_name()))
        })
        .collect();
    let names: Vec<String> = std::iter::once(name.clone())
        .chain(
            commands
                .iter()
                .map(|command| format!("{name}-{}", command.get_name())),
        )
        .collect();
    let all = std::iter::once(program.clone()).chain(commands);
    all.zip(&names)
        .map(|(command, name)| page(command, name, &names))
        .collect()
}

fn page(command: Command, name: &str, all: &[String]) -> io::Result<Page> {
    let after = command
        .get_after_long_help()
        .or(command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let has_commands = command.get_subcommands().next().is_some();
    let version = command.get_version().map(str::to_owned);
    let man = Man::new(command);
    let mut roff = Vec::new();
    man.render_name_section(&mut roff)?;
    man.render_synopsis_section(&mut roff)?;
    man.render_description_section(&mut roff)?;
    man.render_options_section(&mut roff)?;
    if has_commands {
        man.render_subcommands_section(&mut roff)?;
    }
    // Without a date, so that a page is the same whenever it is made.
    let release = concat!("dpdk-net ", env!("CARGO_PKG_VERSION"));
    let title = format!(".TH \"{name}\" \"1\" \"\" \"{release}\" \"dpdk-net\"\n");
    let mut roff = title + &String::from_utf8_lossy(&roff);
    let (examples, exit) = after.split_once("\nExit code: ").unwrap_or((&after, ""));
    if let Some(examples) = examples.trim_end().strip_prefix("Examples:\n") {
        roff.push_str(".SH EXAMPLES\n.nf\n");
        roff.extend(examples.lines().map(escaped));
        roff.push_str(".fi\n");
    }
    if !exit.is_empty() {
        roff.push_str(".SH \"EXIT STATUS\"\n");
        roff.push_str(&escaped(exit));
    }
    if let Some(version) = version {
        roff.push_str(".SH VERSION\n");
        roff.push_str(&escaped(&version));
    }
    let others: Vec<String> = all
        .iter()
        .filter(|other| *other != name)
        .map(|other| format!("{other}(1)"))
        .collect();
    roff.push_str(".SH \"SEE ALSO\"\n");
    roff.push_str(&escaped(&others.join(", ")));
    Ok(Page {
        name: name.to_owned(),
        roff,
    })
}

/// A line of text in roff, in which these mean something else: a backslash, a dot at the beginning, and characters
/// that are made typographic, so that a command would no longer be one when it is copied.
fn escaped(line: &str) -> String {
    let guard = if line.starts_with('.') { "\\&" } else { "" };
    let line = line
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('`', "\\(ga");
    format!("{guard}{line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_is_escaped() {
        assert_eq!(escaped(".x --a \\n"), "\\&.x \\-\\-a \\en\n");
        assert_eq!(escaped("'a' `b`"), "\\(aqa\\(aq \\(gab\\(ga\n");
        assert_eq!(escaped("  $ ls"), "  $ ls\n");
    }
}
