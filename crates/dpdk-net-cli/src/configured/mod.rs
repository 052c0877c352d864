//! Commands about a configuration file: `check`, `schema` and `run`.

mod check;
mod run;
mod schema;
mod site;

pub(crate) use check::{CheckArgs, run as check};
pub(crate) use run::{RunArgs, run as serve};
pub(crate) use schema::{SchemaArgs, run as schema};

use std::io::IsTerminal;

use dpdk_net::Error;
use dpdk_net::config::{File, Problem, Problems};

use crate::failure::Failure;
use crate::output::When;

/// Writes problems with a file to standard error, with the lines that they are about.
fn tell(problems: &Problems, color: When) {
    let width = terminal_width().unwrap_or(100);
    let paint = color.paint_for(std::io::stderr().is_terminal());
    eprint!("{}", problems.render(paint.is_on(), width));
}

/// Tells of what is no mistake, and not meant so perhaps.
fn warn(warnings: Vec<Problem>, color: When) {
    if let Err(warnings) = File::refused(warnings) {
        tell(&warnings, color);
    }
}

/// Columns of the terminal that standard error is, if it is one.
fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stderr()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Tells of an error of an application that a file describes. Problems with the file speak for themselves.
fn fail(error: Error, color: When) -> Failure {
    match error {
        Error::Config(problems) => {
            tell(&problems, color);
            Failure::told()
        }
        other => Failure::new(other.to_string(), ""),
    }
}
