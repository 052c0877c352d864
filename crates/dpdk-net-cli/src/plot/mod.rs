//! `dpdk-net plot`: a traced connection as a picture.
//!
//! `read.rs` reads a qlog file, `connection.rs` makes series of events, `chart.rs` panels with axes of series, `svg.rs` the text of it.

mod chart;
mod connection;
mod read;
mod svg;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;

use self::connection::Connection;
use crate::failure::{Failure, Result};
use crate::output;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net trace --port 80 -w conn.qlog && dpdk-net plot conn.qlog -o conn.svg
      Traces connections of port 80 and plots the one that moved most.
  dpdk-net plot conn.qlog --list
      The connections in the file.
  dpdk-net plot conn.qlog --connection 2 -o - | rsvg-convert -o conn.png
      The third of them, as PNG by a program of librsvg.

docs/tracing.md says how to read it.

Exit code: 0 when all went well, 1 for a file that cannot be read or written, 2 for a mistake on the command line.";

/// Plot a traced connection: sequence numbers, windows and round trips over time
///
/// Reads a qlog file that `dpdk-net trace` or a program has written, and writes one picture, as SVG.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct PlotArgs {
    /// The qlog file
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Where the picture goes; `-` is stdout [default: the file's name with .svg]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Which connection, by its number in the file [default: the one that moved most]
    #[arg(long, value_name = "NUMBER")]
    connection: Option<usize>,

    /// List the connections in the file instead
    #[arg(long, conflicts_with_all = ["output", "connection"])]
    list: bool,
}

/// Plots.
pub(crate) fn run(args: &PlotArgs) -> Result {
    let name = args.file.display();
    let file = File::open(&args.file)
        .map_err(|error| Failure::new(format!("{name} cannot be read: {error}"), ""))?;
    let found = read::read(BufReader::new(file)).map_err(|problem| {
        Failure::new(
            format!("{name}, {problem}"),
            "a file of `dpdk-net trace -w FILE` is expected, or another of the same events",
        )
    })?;
    if let Some(warning) = &found.warning {
        eprintln!("warning: {name}, {warning}");
    }
    if args.list {
        let lines = found.connections.iter().enumerate();
        let text: String = lines
            .map(|(number, it)| format!("{number}: {}\n", it.summary()))
            .collect();
        return output::print(&text);
    }
    let connection = chosen(args, &found.connections)?;
    let picture = chart::picture(connection);
    let output = args
        .output
        .clone()
        .unwrap_or_else(|| args.file.with_extension("svg"));
    if output.as_os_str() == "-" {
        return output::print(&picture);
    }
    std::fs::write(&output, picture).map_err(|error| {
        Failure::new(
            format!("{} cannot be written: {error}", output.display()),
            "",
        )
    })
}

/// The connection to plot.
fn chosen<'a>(args: &PlotArgs, all: &'a [Connection]) -> Result<&'a Connection> {
    let none = || {
        Failure::new(
            format!("{} has no connection in it", args.file.display()),
            "",
        )
    };
    match args.connection {
        None => all
            .iter()
            .max_by_key(|it| it.sent_bytes.max(it.received_bytes))
            .ok_or_else(none),
        Some(number) => all.get(number).ok_or_else(|| {
            Failure::usage(
                format!("there is no connection {number} in {}", args.file.display()),
                format!("it has {}, counted from 0; `--list` shows them", all.len()),
            )
        }),
    }
}
