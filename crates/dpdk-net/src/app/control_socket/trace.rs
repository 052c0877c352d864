//! The command `trace`: connections as they go, as qlog.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep, timeout};

use super::command::{Question, Reply};
use crate::app::subsystem::Application;
use crate::trace::{ConnectionTracer, TraceOptions};

/// How often workers are asked for what they have recorded.
const PERIOD: Duration = Duration::from_millis(10);
/// How long a reader may take nothing before it is given up.
const STALL: Duration = Duration::from_secs(30);
/// The longest trace, in milliseconds: a day.
const LONGEST: u64 = 86_400_000;

/// What a question may have beside `command` and `version`.
const MEMBERS: &[&str] = &[
    "local",
    "peer",
    "port",
    "connections",
    "present",
    "new",
    "events",
    "duration_ms",
];

/// Begins a trace; what is recorded follows the answer until the time is up, all connections have ended, or the reader has enough.
pub(super) fn trace(app: &Application, question: &Question) -> Result<Reply, String> {
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
fn options(question: &Map<String, Value>) -> Result<(TraceOptions, Option<Duration>), String> {
    let known = |name: &str| MEMBERS.contains(&name) || name == "command" || name == "version";
    if let Some(name) = question.keys().find(|name| !known(name)) {
        return Err(format!(
            "there is no \"{name}\" to a trace: {}",
            MEMBERS.join(", ")
        ));
    }
    let mut options = TraceOptions::default();
    let filter = &mut options.filter;
    (filter.local_ip, filter.local_port) = address(question, "local")?;
    (filter.peer_ip, filter.peer_port) = address(question, "peer")?;
    filter.port = number(question, "port", 1..=u64::from(u16::MAX))?.map(|port| port as u16);
    if let Some(most) = number(question, "connections", 1..=256)? {
        options.connections = most as usize;
    }
    if let Some(events) = number(question, "events", 1..=65_536)? {
        options.events = events as usize;
    }
    options.present = switch(question, "present", options.present)?;
    options.new = switch(question, "new", options.new)?;
    let duration = number(question, "duration_ms", 1..=LONGEST)?;
    Ok((options, duration.map(Duration::from_millis)))
}

/// An address, a port, or both.
fn address(
    question: &Map<String, Value>,
    name: &str,
) -> Result<(Option<IpAddr>, Option<u16>), String> {
    let Some(value) = question.get(name) else {
        return Ok((None, None));
    };
    let wrong = || {
        format!(
            "\"{name}\" is {value}; it has to be an address, \":PORT\", or both: \"198.18.0.1\", \":80\", \"198.18.0.1:80\", \"[fd00::1]:80\""
        )
    };
    let text = value.as_str().ok_or_else(wrong)?;
    if let Ok(ip) = text.parse() {
        return Ok((Some(ip), None));
    }
    let (ip, port) = match text.strip_prefix(':') {
        Some(port) => (None, port.parse().map_err(|_| wrong())?),
        None => {
            let both: SocketAddr = text.parse().map_err(|_| wrong())?;
            (Some(both.ip()), both.port())
        }
    };
    if port == 0 {
        return Err(wrong());
    }
    Ok((ip, Some(port)))
}

fn number(
    question: &Map<String, Value>,
    name: &str,
    range: std::ops::RangeInclusive<u64>,
) -> Result<Option<u64>, String> {
    let Some(value) = question.get(name) else {
        return Ok(None);
    };
    match value.as_u64().filter(|number| range.contains(number)) {
        Some(number) => Ok(Some(number)),
        None => Err(format!(
            "\"{name}\" is {value}; it has to be a number from {} to {}",
            range.start(),
            range.end()
        )),
    }
}

fn switch(question: &Map<String, Value>, name: &str, default: bool) -> Result<bool, String> {
    match question.get(name) {
        None => Ok(default),
        Some(Value::Bool(on)) => Ok(*on),
        Some(value) => Err(format!("\"{name}\" is {value}; it has to be true or false")),
    }
}

/// Writes what is recorded. The reader says that it has enough by closing its side, or by saying anything.
async fn write(
    mut tracer: ConnectionTracer,
    mut stream: UnixStream,
    until: Option<Instant>,
) -> io::Result<()> {
    let (mut rx, mut tx) = stream.split();
    let mut text = tracer.qlog_header();
    loop {
        let goes_on = tracer.take_qlog(&mut text);
        match timeout(STALL, tx.write_all(text.as_bytes())).await {
            Ok(written) => written?,
            Err(_) => {
                tracing::warn!("a trace has ended: its reader took nothing for {STALL:?}");
                return Ok(());
            }
        }
        text.clear();
        if !goes_on || until.is_some_and(|until| Instant::now() >= until) {
            return Ok(());
        }
        tokio::select! {
            _ = rx.read_u8() => return Ok(()),
            () = sleep(PERIOD) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(question: Value) -> Result<(TraceOptions, Option<Duration>), String> {
        options(question.as_object().unwrap())
    }

    #[test]
    fn addresses_and_ports_are_each_of_their_own() {
        let question = json!({ "command": "trace", "version": 1, "local": ":80", "peer": "fd00::1", "connections": 3,
            "new": false, "events": 100, "duration_ms": 5_000 });
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

    #[test]
    fn what_can_t_be_is_refused_with_what_can() {
        for (question, why) in [
            (json!({ "locl": ":80" }), "no \"locl\""),
            (json!({ "local": 80 }), "has to be an address"),
            (json!({ "local": "host:80" }), "has to be an address"),
            (json!({ "peer": ":0" }), "has to be an address"),
            (json!({ "peer": "1.2.3.4:99999" }), "has to be an address"),
            (json!({ "port": 0 }), "from 1 to 65535"),
            (json!({ "port": "80" }), "from 1 to 65535"),
            (json!({ "connections": 257 }), "from 1 to 256"),
            (json!({ "connections": -1 }), "from 1 to 256"),
            (json!({ "events": 1e9 }), "from 1 to 65536"),
            (json!({ "new": 1 }), "true or false"),
            (json!({ "duration_ms": 0 }), "from 1 to 86400000"),
        ] {
            let told = asked(question).unwrap_err();
            assert!(told.contains(why), "{told}");
        }
    }
}
