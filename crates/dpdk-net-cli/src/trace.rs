//! `dpdk-net trace`: connections of a running process, as they go.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::failure::{Failure, Result};

const AFTER_HELP: &str = "\
Examples:
  dpdk-net trace --socket /run/app.sock --port 443 --connections 1 -w conn.qlog
      The next connection of port 443, or one that there is, from now to its end.
  dpdk-net trace --socket /run/app.sock --peer 198.18.0.1 --new --for 30s -w peer.qlog
      Connections with that host that begin within half a minute.
  dpdk-net plot conn.qlog
      A picture of what was traced.

A process has the socket that its file names as `[control] socket`. Ctrl-C ends a trace; what has been written is whole.

Exit code: 0 when all went well, 1 when the process cannot be asked or the file not be written, 2 for a mistake on the command
line.";

/// Trace connections of a running process: segments, acknowledgments, windows, round trips, recovery
///
/// Writes qlog: a JSON text a line and an event each. What is traced goes a slower way through the stack, all else does not.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct TraceArgs {
    /// The process's control socket
    #[arg(long, value_name = "PATH", env = "DPDK_NET_SOCKET")]
    socket: PathBuf,

    /// Where the trace goes; `-` is stdout
    #[arg(short, long, value_name = "FILE")]
    write: PathBuf,

    /// The local address, `:PORT`, or both
    #[arg(long, value_name = "ADDRESS")]
    local: Option<String>,

    /// The peer's address, `:PORT`, or both
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,

    /// The port of either side
    #[arg(long, value_name = "PORT")]
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
        Some(all @ 1..) => Ok(Duration::from_millis(all)),
        _ => Err("give a number and ms, s, m or h: 500ms, 30s, 5m".to_owned()),
    }
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

/// Traces until it is over.
pub(crate) fn run(args: &TraceArgs) -> Result {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| Failure::new(format!("cannot start: {error}"), ""))?;
    runtime.block_on(trace(args))
}

async fn trace(args: &TraceArgs) -> Result {
    let stream = UnixStream::connect(&args.socket)
        .await
        .map_err(|error| refused(&args.socket, &error))?;
    let broken = |error: std::io::Error| {
        let name = args.socket.display();
        Failure::new(
            format!("the process behind {name} does not answer: {error}"),
            "",
        )
    };
    let (rx, mut tx) = stream.into_split();
    let mut rx = BufReader::new(rx);
    tx.write_all(format!("{}\n", question(args)).as_bytes())
        .await
        .map_err(broken)?;
    let mut answer = Vec::new();
    (&mut rx)
        .take(1 << 20)
        .read_until(b'\n', &mut answer)
        .await
        .map_err(broken)?;
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|error| broken(std::io::Error::new(ErrorKind::InvalidData, error)))?;
    if answer.get("ok") != Some(&Value::Bool(true)) {
        let why = answer
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("it does not say why");
        return Err(Failure::usage(format!("the process refuses: {why}"), ""));
    }
    let name = args.write.display();
    let unwritten =
        |error: std::io::Error| Failure::new(format!("{name} cannot be written: {error}"), "");
    let mut file: Box<dyn AsyncWrite + Unpin> = match args.write.as_os_str() == "-" {
        true => Box::new(tokio::io::stdout()),
        false => Box::new(File::create(&args.write).await.map_err(unwritten)?),
    };
    let mut counts = Counts::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = tokio::select! {
            read = rx.read(&mut buffer) => read.map_err(broken)?,
            _ = tokio::signal::ctrl_c() => break,
        };
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            break;
        }
        counts.take(piece);
        match file.write_all(piece).await {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            written => written.map_err(unwritten)?,
        }
    }
    // What is in hand of the last event may be half of it.
    if !counts.partial.is_empty() {
        drop(tx);
        rx.read_until(b'\n', &mut counts.partial)
            .await
            .map_err(broken)?;
        let rest = counts.partial.split_off(counts.written);
        counts.take(&rest);
        file.write_all(&rest).await.map_err(unwritten)?;
    }
    file.flush().await.map_err(unwritten)?;
    let Counts {
        events,
        connections,
        missed,
        ..
    } = counts;
    eprintln!("{connections} connections, {events} events traced, {missed} missed");
    Ok(())
}

fn refused(path: &Path, error: &std::io::Error) -> Failure {
    let name = path.display();
    let remedy = match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            "no process listens there; it has the socket that its file names as `[control] socket`"
        }
        ErrorKind::PermissionDenied => {
            "only the user that the process runs as, and root, may ask it"
        }
        _ => "",
    };
    Failure::new(format!("{name} cannot be connected to: {error}"), remedy)
}

/// What has been written.
#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    events: usize,
    missed: u64,
    /// The beginning of a line whose end has not come, all of which has been written.
    partial: Vec<u8>,
    written: usize,
}

impl Counts {
    fn take(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(part);
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                self.line(&line);
            }
        }
        self.written = self.partial.len();
    }

    fn line(&mut self, line: &[u8]) {
        let has = |text: &[u8]| line.windows(text.len()).any(|it| it == text);
        // All that is in a line but these is numbers and names.
        self.events += usize::from(has(b"\"data\":{"));
        self.connections += usize::from(has(b"\"tcp:connection_started\""));
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
        for wrong in ["", "s", "0s", "-1s", "5d", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn lines_are_counted_however_they_are_cut() {
        let text = "\u{1e}{\"time\":0,\"name\":\"tcp:connection_started\",\"data\":{}}\n\
                    \u{1e}{\"time\":1,\"name\":\"tcp:events_missed\",\"data\":{\"count\":17}}\n\u{1e}{\"ti";
        for size in [1, 7, 1_000] {
            let mut counts = Counts::default();
            text.as_bytes()
                .chunks(size)
                .for_each(|piece| counts.take(piece));
            assert_eq!(
                (counts.connections, counts.events, counts.missed),
                (1, 2, 17)
            );
            assert_eq!(counts.partial, b"\x1e{\"ti");
        }
    }
}
