//! The command `trace`: connections as they go, as qlog.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::app::control_socket::command::{Command, Question, Reply, members};
use crate::app::subsystem::Application;
use crate::trace::{ConnectionTracer, TraceOptions};

pub(in crate::app::control_socket) const TRACE: Command = Command {
    name: "trace",
    help: "connections as they go, segment by segment: qlog follows the answer until one side closes the connection",
    run: trace,
};

/// How often workers are asked for what they have recorded.
const PERIOD: Duration = Duration::from_millis(10);
/// How long a reader may take nothing before it is given up.
const STALL: Duration = Duration::from_secs(30);
/// The longest trace, in milliseconds: a day.
const LONGEST: u64 = 86_400_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    local: Option<End>,
    peer: Option<End>,
    port: Option<Port>,
    connections: Option<usize>,
    present: Option<bool>,
    new: Option<bool>,
    events: Option<usize>,
    duration_ms: Option<u64>,
}

/// A port, which is not 0.
type Port = std::num::NonZeroU16;

/// An address, a port, or both.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct End {
    ip: Option<IpAddr>,
    port: Option<Port>,
}

/// It is none.
struct NotAnEnd(String);

impl fmt::Display for NotAnEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no address or port: 198.18.0.1, :80, 198.18.0.1:80 or [fd00::1]:80, say",
            self.0
        )
    }
}

impl TryFrom<String> for End {
    type Error = NotAnEnd;

    fn try_from(text: String) -> Result<Self, NotAnEnd> {
        let wrong = || NotAnEnd(text.chars().take(80).collect());
        if let Ok(ip) = text.parse() {
            let (ip, port) = (Some(ip), None);
            return Ok(Self { ip, port });
        }
        let (ip, port) = match text.strip_prefix(':') {
            Some(port) => (None, port.parse().map_err(|_| wrong())?),
            None => {
                let both: SocketAddr = text.parse().map_err(|_| wrong())?;
                (Some(both.ip()), both.port())
            }
        };
        let port = Some(Port::new(port).ok_or_else(wrong)?);
        Ok(Self { ip, port })
    }
}

/// Begins a trace; what is recorded follows the answer until the time is up, all connections have ended, or the reader has enough.
fn trace(app: &Application, question: &Question) -> Result<Reply, String> {
    let (options, duration) = options(question)?;
    let tracer = app.trace(&options).map_err(|error| error.to_string())?;
    let began = json!({
        "format": "application/qlog+json-seq",
        "present": tracer.connections(),
    });
    let until = duration.map(|duration| Instant::now() + duration);
    Ok(Reply::Stream(
        began,
        Box::new(move |stream| Box::pin(write(tracer, stream, until))),
    ))
}

/// Which connections, and for how long.
fn options(question: &Question) -> Result<(TraceOptions, Option<Duration>), String> {
    let asked: Members = members(question)?;
    let mut options = TraceOptions::default();
    let filter = &mut options.filter;
    if let Some(End { ip, port }) = asked.local {
        (filter.local_ip, filter.local_port) = (ip, port.map(Port::get));
    }
    if let Some(End { ip, port }) = asked.peer {
        (filter.peer_ip, filter.peer_port) = (ip, port.map(Port::get));
    }
    filter.port = asked.port.map(Port::get);
    options.connections = asked.connections.unwrap_or(options.connections);
    options.events = asked.events.unwrap_or(options.events);
    options.present = asked.present.unwrap_or(options.present);
    options.new = asked.new.unwrap_or(options.new);
    let duration = asked.duration_ms.map(|millis| match millis {
        1..=LONGEST => Ok(Duration::from_millis(millis)),
        _ => Err(format!(
            "\"duration_ms\" is {millis}; it has to be from 1 to {LONGEST}"
        )),
    });
    Ok((options, duration.transpose()?))
}

/// Readers that traces are written to.
static READERS: AtomicUsize = AtomicUsize::new(0);

/// One of them.
struct Reader;

impl Reader {
    fn new() -> Self {
        READERS.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        READERS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until the last of all traces has been written, or for so long.
pub(in crate::app::control_socket) async fn all_written(patience: Duration) {
    let written = async {
        while READERS.load(Ordering::Relaxed) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = timeout(patience, written).await;
}

/// Writes what is recorded. The reader says that it has enough by closing its side, or by saying anything: it is sent what there is
/// by then, with the end of each trace.
async fn write(
    mut tracer: ConnectionTracer,
    mut stream: UnixStream,
    until: Option<Instant>,
) -> io::Result<()> {
    let _reader = Reader::new();
    let (mut rx, mut tx) = stream.split();
    let mut text = tracer.qlog_header();
    let mut stopped = false;
    loop {
        let goes_on = tracer.take_qlog(&mut text);
        match send(&mut tx, text.as_bytes(), STALL).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                tracing::warn!("a trace has ended: its reader took nothing for {STALL:?}");
                return Ok(());
            }
            sent => sent?,
        }
        text.clear();
        if !goes_on {
            return Ok(());
        }
        if stopped {
            continue;
        }
        let next = Instant::now() + PERIOD;
        let enough = tokio::select! {
            _ = rx.read_u8() => true,
            () = sleep_until(until.map_or(next, |until| until.min(next))) => {
                until.is_some_and(|until| Instant::now() >= until)
            }
        };
        if enough {
            tracer.stop();
            stopped = true;
        }
    }
}

/// Sends all of it.
///
/// # Errors
/// `TimedOut` where nothing is taken for so long; however slowly it is taken otherwise.
async fn send(
    tx: &mut (impl AsyncWrite + Unpin),
    mut bytes: &[u8],
    stall: Duration,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = timeout(stall, tx.write(bytes)).await??;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn asked(question: Value) -> Result<(TraceOptions, Option<Duration>), String> {
        options(question.as_object().unwrap())
    }

    #[test]
    fn addresses_and_ports_are_each_of_their_own() {
        let question = json!({ "local": ":80", "peer": "fd00::1", "connections": 3, "new": false, "events": 100,
            "duration_ms": 5_000 });
        let (options, duration) = asked(question).unwrap();
        let filter = options.filter;
        assert_eq!((filter.local_ip, filter.local_port), (None, Some(80)));
        assert_eq!(
            (filter.peer_ip, filter.peer_port),
            ("fd00::1".parse().ok(), None)
        );
        assert_eq!((options.connections, options.events), (3, 100));
        assert!(options.present && !options.new);
        assert_eq!(duration, Some(Duration::from_secs(5)));
        let (options, _) = asked(json!({ "peer": "[fd00::1]:9", "port": 7 })).unwrap();
        assert_eq!(options.filter.peer_port, Some(9));
        assert_eq!(options.filter.port, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_may_be_slow_as_long_as_it_takes_something() {
        let (mut rx, mut tx) = tokio::io::duplex(100);
        let slowly = async {
            let mut all = Vec::new();
            while all.len() < 1_000 {
                sleep(Duration::from_secs(20)).await;
                let mut some = [0; 100];
                let read = rx.read(&mut some).await.unwrap();
                all.extend(some.iter().take(read));
            }
            all
        };
        let stall = Duration::from_secs(30);
        let (sent, read) = tokio::join!(send(&mut tx, &[7; 1_000], stall), slowly);
        assert_eq!((sent.is_ok(), read), (true, vec![7; 1_000]));
        // And now nobody reads.
        let sent = send(&mut tx, &[7; 1_000], stall).await;
        assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_can_t_be_is_refused_with_what_can() {
        for (question, why) in [
            (json!({ "locl": ":80" }), "locl"),
            (json!({ "local": 80 }), "string"),
            (json!({ "local": "host:80" }), "is no address or port"),
            (json!({ "peer": ":0" }), "is no address or port"),
            (json!({ "peer": "1.2.3.4:99999" }), "is no address or port"),
            (json!({ "port": 0 }), "nonzero"),
            (json!({ "port": "80" }), "nonzero"),
            (json!({ "connections": -1 }), "-1"),
            (json!({ "events": 1.5 }), "1.5"),
            (json!({ "new": 1 }), "boolean"),
            (json!({ "duration_ms": 0 }), "from 1 to 86400000"),
        ] {
            let told = asked(question).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
