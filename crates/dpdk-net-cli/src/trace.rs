//! `dpdk-net trace`: connections of a running process, as they go.

use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use dpdk_net::trace::TraceOptions;
use serde_json::{Map, Value, json};

use crate::ending::Ending;
use crate::failure::{Failure, Result};
use crate::running::Which;
use crate::whole::Whole;

const AFTER_HELP: &str = "\
Examples:
  dpdk-net trace --port 443 --connections 1 -w conn.qlog
      The next connection of port 443, or one that there is, from now to its end.
  dpdk-net trace --peer 198.18.0.1 --new --for 30s -w peer.qlog
      Connections with that host that begin within half a minute.
  dpdk-net plot conn.qlog
      A picture of what was traced.

Ctrl-C ends a trace, a second one at once; what has been written is whole.

Exit code: 0 when all went well, 1 when the process cannot be asked, ends without a word or gives the trace up, or the file
cannot be written, 2 for a mistake on the command line.";

/// Trace connections of a running process: segments, acknowledgments, windows, round trips, recovery
///
/// Writes qlog: a JSON text a line and an event each. What is traced goes a slower way through the stack, all else does not.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct TraceArgs {
    #[command(flatten)]
    which: Which,

    /// Where the trace goes; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,

    /// The local address, `:PORT`, or both
    #[arg(long, value_name = "ADDRESS", value_parser = end)]
    local: Option<String>,

    /// The peer's address, `:PORT`, or both
    #[arg(long, value_name = "ADDRESS", value_parser = end)]
    peer: Option<String>,

    /// The port of either side
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// How many connections at most, over all queues
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    connections: usize,

    /// New connections only, none that there are
    #[arg(long, conflicts_with = "present")]
    new: bool,

    /// Connections that there are only, no new ones
    #[arg(long)]
    present: bool,

    /// How long, such as 500ms, 30s or 5m [default: until all have ended, or Ctrl-C]
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    duration: Option<Duration>,

    /// Events of a connection that may wait in the process until they are written
    #[arg(long, value_name = "NUMBER", default_value_t = 16_384)]
    events: usize,
}

/// The longest that a service traces, in milliseconds: a day.
const LONGEST: u64 = 86_400_000;

/// A number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit.trim() {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(millis))
    {
        Some(all @ 1..=LONGEST) => Ok(Duration::from_millis(all)),
        Some(all) if all > LONGEST => Err("a trace lasts 24h at most".to_owned()),
        _ => Err("give a number and ms, s, m or h: 500ms, 30s, 5m".to_owned()),
    }
}

/// An address, a port or both: what the service takes.
fn end(text: &str) -> Result<String, String> {
    let port = |text: &str| text.parse::<std::num::NonZeroU16>().is_ok();
    let is_one = match text.strip_prefix(':') {
        Some(rest) => port(rest),
        None if text.parse::<IpAddr>().is_ok() => true,
        None => text.parse::<SocketAddr>().is_ok_and(|it| it.port() != 0),
    };
    is_one.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "{text:?} is no address or port: 198.18.0.1, :80, 198.18.0.1:80 or [fd00::1]:80, say"
        )
    })
}

/// What is asked.
fn question(args: &TraceArgs) -> Value {
    let mut question = Map::new();
    let mut set = |name: &str, value: Value| question.insert(name.to_owned(), value);
    set("command", json!("trace"));
    set("version", json!(1));
    set("connections", json!(args.connections));
    set("events", json!(args.events));
    set("present", json!(!args.new));
    set("new", json!(!args.present));
    for (name, value) in [("local", &args.local), ("peer", &args.peer)] {
        if let Some(value) = value {
            set(name, json!(value));
        }
    }
    if let Some(port) = args.port {
        set("port", json!(port));
    }
    if let Some(duration) = args.duration {
        set("duration_ms", json!(duration.as_millis() as u64));
    }
    Value::Object(question)
}

/// Whether there can be such a trace, wherever it is asked for.
fn check(args: &TraceArgs) -> Result {
    let mut options = TraceOptions::default();
    options.connections = args.connections;
    options.events = args.events;
    let checked = options.check();
    checked.map_err(|error| {
        let what = format!(
            "--connections {}, --events {}",
            args.connections, args.events
        );
        Failure::usage(format!("{what}: {error}"), "")
    })
}

/// Traces until it is over.
pub(crate) fn run(args: &TraceArgs) -> Result {
    check(args)?;
    let ending = Ending::new()?;
    let (_, mut stream) = args.which.connect()?.stream(&question(args))?;
    let name = args.write.display();
    let unwritten = |error| Failure::new(format!("{name} cannot be written: {error}"), "");
    let mut file = Whole::create(&args.write).map_err(unwritten)?;
    let cut = ending.begin(&stream)?;
    let mut records = Records::default();
    let mut buffer = vec![0; 256 * 1024];
    let mut is_wanted = true;
    while is_wanted {
        let read = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            // The application has ended.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(Failure::new(
                    format!("the trace has broken off: {error}"),
                    "",
                ));
            }
        };
        let whole = records.take(buffer.get(..read).unwrap_or_default());
        match file.write(&whole) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => is_wanted = false,
            written => written.map_err(unwritten)?,
        }
    }
    let Counts {
        events,
        connections,
        missed,
        ..
    } = records.counts;
    eprintln!("{connections} connections, {events} events traced, {missed} missed");
    let why = if cut.was_cut() {
        "it was ended before the service had sent what it still held"
    } else if is_wanted && !records.is_complete() {
        "the service ended or gave the trace up"
    } else {
        return Ok(());
    };
    Err(Failure::new(why, "what has been written is whole"))
}

/// What comes, as records.
#[derive(Debug, Default)]
struct Records {
    counts: Counts,
    /// The beginning of a record whose end has not come.
    partial: Vec<u8>,
}

impl Records {
    /// The records that are whole with this piece.
    fn take(&mut self, piece: &[u8]) -> Vec<u8> {
        let Some(last) = piece.iter().rposition(|byte| *byte == b'\n') else {
            self.partial.extend(piece);
            return Vec::new();
        };
        let (rest, begin) = piece.split_at(last + 1);
        let mut whole = std::mem::replace(&mut self.partial, begin.to_vec());
        whole.extend(rest);
        let lines = whole.split_inclusive(|byte| *byte == b'\n');
        lines.for_each(|line| self.counts.line(line));
        whole
    }

    /// Whether the service has said all that it had to: it tells the end of each trace, also where it ends it itself.
    fn is_complete(&self) -> bool {
        self.counts.open == 0 && self.partial.is_empty()
    }
}

/// What has been written.
#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    /// Those whose end has not been told.
    open: usize,
    events: usize,
    missed: u64,
}

impl Counts {
    fn line(&mut self, line: &[u8]) {
        let has = |text: &[u8]| line.windows(text.len()).any(|it| it == text);
        // All that is in a line but these is numbers and names.
        self.events += usize::from(has(b"\"data\":{"));
        if has(b"\"tcp:connection_started\"") {
            self.connections += 1;
            self.open += 1;
        }
        if has(b"\"tcp:connection_closed\"") || has(b"\"tcp:trace_ended\"") {
            self.open = self.open.saturating_sub(1);
        }
        if has(b"\"tcp:events_missed\"") {
            let digits = line
                .split(|byte| !byte.is_ascii_digit())
                .rfind(|it| !it.is_empty());
            let number =
                digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
            self.missed += number.unwrap_or(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("5 m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in [
            "",
            "s",
            "0s",
            "-1s",
            "5d",
            "99999999999999999999s",
            "25h",
            "86400001ms",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_end_is_an_address_a_port_or_both() {
        for text in [
            "198.18.0.1",
            "fd00::1",
            ":80",
            "198.18.0.1:80",
            "[fd00::1]:80",
        ] {
            assert_eq!(end(text).as_deref(), Ok(text));
        }
        for text in ["", ":", ":0", ":65536", "host:80", "198.18.0.1:0", "80"] {
            assert!(end(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let text = "\u{1e}{\"time\":0,\"name\":\"tcp:connection_started\",\"data\":{}}\n\
                    \u{1e}{\"time\":1,\"name\":\"tcp:events_missed\",\"data\":{\"count\":17}}\n\u{1e}{\"ti";
        for size in [1, 7, 1_000] {
            let mut records = Records::default();
            let pieces = text.as_bytes().chunks(size);
            let written: Vec<u8> = pieces.flat_map(|piece| records.take(piece)).collect();
            let Counts {
                connections,
                open,
                events,
                missed,
            } = records.counts;
            assert_eq!((connections, open, events, missed), (1, 1, 2, 17));
            // Whole records, whatever comes of the one that is under way.
            assert_eq!(records.partial, b"\x1e{\"ti");
            assert_eq!([written, records.partial].concat(), text.as_bytes());
        }
    }

    #[test]
    fn it_is_complete_once_each_connection_has_its_end() {
        let record =
            |name: &str| format!("\u{1e}{{\"time\":0,\"name\":\"{name}\",\"data\":{{}}}}\n");
        let mut records = Records::default();
        assert!(records.is_complete(), "none was traced");
        for (name, is_complete) in [
            ("tcp:connection_started", false),
            ("tcp:connection_started", false),
            ("tcp:segment_sent", false),
            ("tcp:connection_closed", false),
            ("tcp:trace_ended", true),
        ] {
            let record = record(name);
            let (begin, rest) = record.split_at(20);
            records.take(begin.as_bytes());
            assert!(!records.is_complete(), "{name} is under way");
            records.take(rest.as_bytes());
            assert_eq!(records.is_complete(), is_complete, "{name}");
        }
    }
}
