//! What goes to stdout: colours where they are wanted, JSON, and no complaint when the reader has gone.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ColorChoice, ValueEnum};
use serde::Serialize;

use crate::failure::{Failure, Result};

/// Makes a file for its owner alone, or empties one that is there: what is captured and traced is what others said.
pub(crate) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl When {
    /// What the arguments say, before they are parsed: errors and help are coloured too. What is malformed is
    /// left for the parser to refuse.
    pub(crate) fn of_arguments(arguments: impl IntoIterator<Item = std::ffi::OsString>) -> Self {
        let mut arguments = arguments.into_iter();
        let mut when = Self::Auto;
        while let Some(argument) = arguments.next() {
            let argument = argument.to_string_lossy();
            let value = match argument.split_once('=') {
                _ if argument == "--" => break,
                Some(("--color", value)) => value.to_owned(),
                None if argument == "--color" => match arguments.next() {
                    Some(value) => value.to_string_lossy().into_owned(),
                    None => break,
                },
                _ => continue,
            };
            when = Self::from_str(&value, false).unwrap_or(when);
        }
        when
    }

    /// For clap's own output, which looks at the terminal and NO_COLOR by itself.
    pub(crate) fn choice(self) -> ColorChoice {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
    }

    /// For what this program writes to stdout.
    pub(crate) fn paint(self) -> Paint {
        self.paint_for(std::io::stdout().is_terminal())
    }

    /// For what it writes to a terminal, or to something else.
    pub(crate) fn paint_for(self, terminal: bool) -> Paint {
        match self {
            Self::Always => Paint::on(),
            Self::Never => Paint::off(),
            Self::Auto => Paint {
                on: terminal
                    && !is_set("NO_COLOR")
                    && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            },
        }
    }
}

/// <https://no-color.org>: set and not empty.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// The few colours that are used.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Colour {
    Bold,
    Cyan,
    Green,
    Red,
    Yellow,
}

/// Colours text, or leaves it alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    pub(crate) fn on() -> Self {
        Self { on: true }
    }

    pub(crate) fn off() -> Self {
        Self { on: false }
    }

    pub(crate) fn is_on(self) -> bool {
        self.on
    }

    /// The text in that colour: SGR of ECMA-48.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        let code = match colour {
            Colour::Bold => 1,
            Colour::Red => 31,
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Cyan => 36,
        };
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Nobody reads stdout any more.
static GONE: AtomicBool = AtomicBool::new(false);

/// Writes to stdout. That nobody reads to the end (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result {
    let mut stdout = std::io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {
            GONE.store(true, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => Err(Failure::new(format!("cannot write to stdout: {error}"), "")),
        Ok(()) => Ok(()),
    }
}

/// Whether nobody reads stdout any more: for what would go on for ever.
pub(crate) fn is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}

/// A value as JSON, for people to read too.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("cannot write JSON: {error}"), ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_say_whether_there_are_colours() {
        let of = |arguments: &[&str]| When::of_arguments(arguments.iter().map(Into::into));
        assert_eq!(of(&["doctor"]), When::Auto);
        assert_eq!(of(&["doctor", "--color", "never"]), When::Never);
        assert_eq!(of(&["--color=always", "doctor"]), When::Always);
        assert_eq!(of(&["--color=purple"]), When::Auto);
        assert_eq!(of(&["--color"]), When::Auto);
        assert_eq!(of(&["--", "--color=always"]), When::Auto);
    }
}
