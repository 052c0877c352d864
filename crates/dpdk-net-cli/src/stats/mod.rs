//! `dpdk-net stats`: the figures of a running application, once or again and again with their rates.

mod figures;
mod print;

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use dpdk_net::control::Client;
use serde_json::{Value, json};

use self::figures::{Figure, Names};
use crate::failure::{Failure, Result};
use crate::output;
use crate::running::{self, UNCOUNTED, Which};

const AFTER_HELP: &str = "\
Examples:
  dpdk-net stats
      All figures that are not zero; those of queues summed over these.
  dpdk-net stats 'dpdk_net_tcp_*' --by-queue --zeros
      Those of TCP, each queue's by itself.
  dpdk-net stats --watch=5 TcpRetransSegs 'Udp*'
      Every five seconds: the count, what was added, and how much that is a second.
  dpdk-net stats --watch
      The same each second of all that have not been zero all the time, as far as the terminal has room.
  dpdk-net stats --linux
      As `nstat -az` would name them, as far as Linux counts the same thing.

Exit code: 0 when all went well, 1 when no application can be asked, 2 for a mistake on the command line.";

/// Show the figures of a running application
///
/// A NAME is that of a figure, or the one that Linux has for it, with * and ? for what may be anything. What a figure
/// means is in docs/metrics.md, and in the `help` of --json.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct StatsArgs {
    /// Again and again, with rates
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    #[arg(value_parser = seconds)]
    watch: Option<Duration>,

    /// Each queue and cause by itself, not their sum
    #[arg(short = 'q', long)]
    by_queue: bool,

    /// Those that are zero too; with --watch and no NAME, those that have been zero all the time
    #[arg(short, long)]
    zeros: bool,

    /// By Linux' names, as nstat has them; only figures that Linux has too
    #[arg(long)]
    linux: bool,

    /// Write them as JSON, as the control socket tells them: a line each time with --watch
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    which: Which,

    /// Which figures [default: all]
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// A time of 0.1 s to a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number of seconds")?;
    match seconds {
        0.1..=86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("it is not 0.1 to 86400".to_owned()),
    }
}

/// Prints them.
pub(crate) fn run(args: &StatsArgs) -> Result {
    args.check()?;
    let mut client = args.which.connect()?;
    // What was asked as JSON is what the control socket tells.
    let uncounted =
        !args.json && running::is_uncounted(&client.ask(&json!({ "command": "queues" }))?);
    let note = if uncounted {
        format!("{UNCOUNTED}\n")
    } else {
        String::new()
    };
    let Some(interval) = args.watch else {
        let families = args.ask(&mut client)?;
        if args.json {
            return output::print(&output::json(&families)?);
        }
        let mut figures = args.figures(&families);
        if !args.zeros {
            figures.retain(|figure| figure.value != 0.0);
        }
        let text = print::once(&figures);
        return output::print(&format!("{note}{text}"));
    };
    let mut before: Option<(Instant, Vec<Figure>)> = None;
    let mut seen = Seen::default();
    let clear = std::io::stdout().is_terminal() && !args.json;
    loop {
        let now = Instant::now();
        let families = args.ask(&mut client)?;
        if args.json {
            output::print(&format!("{families}\n"))?;
        } else {
            let mut figures = args.figures(&families);
            // What is named is wanted, zero or not.
            if !args.zeros && args.names.is_empty() {
                seen.retain(&mut figures);
            }
            let text = match &before {
                Some((then, old)) => print::rates(&figures, old, now - *then),
                None => print::rates(&figures, &figures, interval),
            };
            // ECMA-48: home, and erase what is below.
            let text = format!("{note}{text}");
            let text = match clear {
                true => format!("\u{1b}[H\u{1b}[J{}", print::cut(&text, terminal())),
                false => text,
            };
            output::print(&text)?;
            before = Some((now, figures));
        }
        if output::is_gone() {
            return Ok(());
        }
        std::thread::sleep(interval.saturating_sub(now.elapsed()));
    }
}

/// The columns and rows of the terminal that is stdout; `None` where it has none or does not say.
fn terminal() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    let is_told = size.ws_col > 0 && size.ws_row > 0;
    is_told.then_some((size.ws_col.into(), size.ws_row.into()))
}

/// Figures that were not zero once: a rate of zero has been something else, and what is watched stays where it is.
#[derive(Debug, Default)]
struct Seen(HashSet<String>);

impl Seen {
    /// Leaves those that are not zero, or were not before.
    fn retain(&mut self, figures: &mut Vec<Figure>) {
        figures.retain(|figure| {
            if self.0.contains(&figure.name) {
                return true;
            }
            figure.value != 0.0 && self.0.insert(figure.name.clone())
        });
    }
}

impl StatsArgs {
    /// That the interval was not taken for a name.
    fn check(&self) -> Result {
        let is_number = |name: &&String| {
            name.starts_with(|first: char| first.is_ascii_digit()) && name.parse::<f64>().is_ok()
        };
        match self.names.iter().find(is_number) {
            Some(number) if self.watch.is_some() => Err(Failure::usage(
                format!(
                    "`{number}` is taken for the name of a figure: the interval wants an equals sign"
                ),
                format!("--watch={number}"),
            )),
            _ => Ok(()),
        }
    }

    fn ask(&self, client: &mut Client) -> Result<Value> {
        let mut question = json!({ "command": "stats" });
        if !self.names.is_empty() {
            question["names"] = json!(self.names);
        }
        let families = client.ask(&question)?;
        if families.as_array().is_some_and(Vec::is_empty) && !self.names.is_empty() {
            let names = self.names.join(" ");
            return Err(Failure::new(
                format!("no figure is like {names}"),
                "dpdk-net stats --zeros lists all",
            ));
        }
        Ok(families)
    }

    fn figures(&self, families: &Value) -> Vec<Figure> {
        let names = if self.linux { Names::Linux } else { Names::Own };
        figures::read(families, names, self.by_queue)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: StatsArgs,
    }

    #[test]
    fn an_interval_that_was_taken_for_a_name_is_told() {
        let check = |line: &str| Line::parse_from(line.split(' ')).args.check();
        for line in ["stats --watch 5", "stats -w 0.5 Tcp*"] {
            let failure = check(line).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            let number = line.split(' ').nth(2).unwrap();
            let told = failure.to_string();
            assert!(told.ends_with(&format!("\n  --watch={number}")), "{told}");
        }
        for line in ["stats --watch=5 Tcp*", "stats --watch inf", "stats 5"] {
            assert_eq!(check(line), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_was_not_zero_once_is_watched_from_then_on() {
        let mut seen = Seen::default();
        let mut shown = |values: [f64; 3]| {
            let figure = |(name, value): (&str, f64)| Figure {
                name: name.to_owned(),
                value,
                counts: true,
            };
            let mut figures: Vec<_> = ["a", "b", "c"]
                .into_iter()
                .zip(values)
                .map(figure)
                .collect();
            seen.retain(&mut figures);
            figures.into_iter().map(|it| it.name).collect::<String>()
        };
        assert_eq!(shown([0.0, 1.0, 0.0]), "b");
        assert_eq!(shown([2.0, 0.0, 0.0]), "ab");
        assert_eq!(shown([0.0, 0.0, 0.0]), "ab");
    }

    #[test]
    fn an_interval_is_a_tenth_of_a_second_to_a_day() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["0", "-1", "NaN", "inf", "1s", "86401"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
