//! A qlog file of TCP connections, as series over time.
//!
//! Times are in seconds from the first event of the connection, positions in bytes from the beginning of a direction's data.

use std::fmt;
use std::io::{BufRead, Read};

use serde_json::{Map, Value};

/// The longest line, in bytes. Records are a few hundred.
const LONGEST: u64 = 1 << 20;

/// What is wrong with a file, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    line: usize,
    what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// What is in a file.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) connections: Vec<Connection>,
    /// What is missing at its end.
    pub(crate) warning: Option<Problem>,
}

/// A piece of the stream at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    pub(crate) at: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// One direction of a connection's data.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Data that left or came for the first time, and what was sent before.
    pub(crate) first: Vec<Piece>,
    pub(crate) again: Vec<Piece>,
    /// SACK blocks that were told.
    pub(crate) sacked: Vec<Piece>,
    /// What is thought lost.
    pub(crate) lost: Vec<Piece>,
    /// What is acknowledged, and how far the receiver's window reaches.
    pub(crate) acked: Vec<(f64, f64)>,
    pub(crate) window: Vec<(f64, f64)>,
    place: Place,
}

/// Where sequence numbers are in a stream of more than 4 GiB.
#[derive(Debug, Default)]
struct Place {
    known: Option<(u32, i64)>,
}

impl Place {
    fn begin(&mut self, first: u32) {
        self.known.get_or_insert((first, 0));
    }

    /// The position of a sequence number that is less than 2 GiB from the last one.
    fn of(&mut self, seq: u32) -> f64 {
        let (near, position) = *self.known.get_or_insert((seq, 0));
        let position = position + i64::from(seq.wrapping_sub(near) as i32);
        self.known = Some((seq, position));
        position as f64
    }
}

/// A span of time during which something was being repaired.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repair {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Whether a timeout had begun it.
    pub(crate) timeout: bool,
}

/// A connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    group: String,
    pub(crate) title: String,
    began: Option<f64>,
    /// The time of the last event.
    pub(crate) end: f64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) segments_again: u64,
    pub(crate) lost: u64,
    pub(crate) missed: u64,
    pub(crate) closed: Option<String>,
    pub(crate) sent: Stream,
    pub(crate) received: Stream,
    pub(crate) cwnd: Vec<(f64, f64)>,
    pub(crate) ssthresh: Vec<(f64, f64)>,
    pub(crate) in_flight: Vec<(f64, f64)>,
    pub(crate) rtt: Vec<(f64, f64)>,
    pub(crate) srtt: Vec<(f64, f64)>,
    pub(crate) repairs: Vec<Repair>,
    /// When the retransmission timer ran out, and when a tail loss probe was due.
    pub(crate) timeouts: Vec<f64>,
    pub(crate) probes: Vec<f64>,
}

impl Connection {
    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "{}: {} B sent, {} B received in {:.3} s, {} segments sent again",
            self.title, self.sent_bytes, self.received_bytes, self.end, self.segments_again
        );
        if let Some(closed) = &self.closed {
            text += &format!(", closed ({closed})");
        }
        if self.missed > 0 {
            text += &format!(", {} events missing", self.missed);
        }
        text
    }
}

/// Reads a file of JSON texts, a line each, with or without record separators.
///
/// # Errors
/// The first line that can't be read. One that is cut off at the end is a warning.
pub(crate) fn read(mut file: impl BufRead) -> Result<Found, Problem> {
    let mut connections: Vec<Connection> = Vec::new();
    let mut line = 0;
    let mut text = Vec::new();
    let mut warning = None;
    loop {
        line += 1;
        text.clear();
        let problem = |what: String| Problem { line, what };
        let read = (&mut file).take(LONGEST).read_until(b'\n', &mut text);
        if read.map_err(|error| problem(error.to_string()))? == 0 {
            break;
        }
        let whole = text.last() == Some(&b'\n');
        let record = text.strip_prefix(b"\x1e").unwrap_or(&text).trim_ascii();
        if record.is_empty() {
            continue;
        }
        let value: Value = match serde_json::from_slice(record) {
            Ok(value) => value,
            Err(_) if !whole && text.len() as u64 == LONGEST => {
                return Err(problem(format!("it is longer than {LONGEST} bytes")));
            }
            Err(_) if !whole && line > 1 => {
                warning = Some(problem("it is cut off, and left out".to_owned()));
                break;
            }
            Err(error) => return Err(problem(format!("it is no JSON: {error}"))),
        };
        let Some(record) = value.as_object() else {
            return Err(problem("it is no JSON object".to_owned()));
        };
        if line == 1 {
            let known = record.contains_key("file_schema") || record.contains_key("qlog_version");
            if !known {
                return Err(problem("it is no header of a qlog file".to_owned()));
            }
            continue;
        }
        event(&mut connections, record).map_err(problem)?;
    }
    if line == 1 {
        let what = "the file is empty".to_owned();
        return Err(Problem { line, what });
    }
    for it in &mut connections {
        let end = it.end;
        if let Some(open) = it
            .repairs
            .last_mut()
            .filter(|repair| repair.to == f64::INFINITY)
        {
            open.to = end;
        }
    }
    Ok(Found {
        connections,
        warning,
    })
}

fn event(all: &mut Vec<Connection>, record: &Map<String, Value>) -> Result<(), String> {
    let at = record
        .get("time")
        .and_then(Value::as_f64)
        .filter(|at| at.is_finite());
    let at = at.ok_or("there is no \"time\", in milliseconds")? / 1_000.0;
    let name = record.get("name").and_then(Value::as_str);
    let name = name.ok_or("there is no \"name\"")?;
    let data = record.get("data").and_then(Value::as_object);
    let data = data.ok_or("there is no \"data\"")?;
    let group = record.get("group_id").and_then(Value::as_str).unwrap_or("");
    let found = all.iter().rposition(|it| it.group == group);
    let index = found.unwrap_or_else(|| {
        let title = group.split_once(':').map_or(group, |(_, ends)| ends);
        all.push(Connection {
            group: group.to_owned(),
            title: title.to_owned(),
            ..Connection::default()
        });
        all.len() - 1
    });
    let Some(it) = all.get_mut(index) else {
        return Ok(());
    };
    let at = at - *it.began.get_or_insert(at);
    it.end = it.end.max(at);
    it.take(name, at, &Data(data))
}

/// The members of an event.
struct Data<'a>(&'a Map<String, Value>);

impl Data<'_> {
    fn number(&self, name: &str) -> Result<Option<f64>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if (0.0..1e18).contains(&number) => Ok(Some(number)),
                _ => Err(format!("\"{name}\" is {value}, which is no amount")),
            },
        }
    }

    fn seq(&self, name: &str) -> Result<u32, String> {
        self.0.get(name).and_then(seq).ok_or_else(|| {
            let given = self
                .0
                .get(name)
                .map_or("missing".to_owned(), |value| format!("{value}"));
            format!("\"{name}\" is {given}; it has to be a number of 32 bits")
        })
    }

    fn is(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    fn has_flag(&self, flag: &str) -> bool {
        let flags = self.0.get("flags").and_then(Value::as_array);
        flags.is_some_and(|flags| flags.iter().any(|it| it == flag))
    }

    fn sack(&self) -> Result<Vec<(u32, u32)>, String> {
        let Some(blocks) = self.0.get("sack") else {
            return Ok(Vec::new());
        };
        let pair = |block: &Value| match block.as_array().map(Vec::as_slice) {
            Some([from, to]) => Some((seq(from)?, seq(to)?)),
            _ => None,
        };
        let all = blocks
            .as_array()
            .and_then(|all| all.iter().map(pair).collect());
        all.ok_or_else(|| format!("\"sack\" is {blocks}; it has to be pairs of sequence numbers"))
    }
}

fn seq(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

impl Connection {
    fn take(&mut self, name: &str, at: f64, data: &Data<'_>) -> Result<(), String> {
        match name {
            "tcp:connection_started" => {
                self.sent
                    .place
                    .begin(data.seq("initial_seq")?.wrapping_add(1));
                match data.seq("remote_initial_seq")? {
                    // Not known yet.
                    0 => {}
                    first => self.received.place.begin(first.wrapping_add(1)),
                }
            }
            "tcp:segment_sent" => self.segment(at, data, true)?,
            "tcp:segment_received" => self.segment(at, data, false)?,
            "recovery:metrics_updated" => self.metrics(at, data)?,
            "recovery:packet_lost" => {
                let (from, len) = (data.seq("seq")?, data.seq("length")?);
                let from = self.sent.place.of(from);
                let to = from + f64::from(len);
                self.sent.lost.push(Piece { at, from, to });
                self.lost += 1;
            }
            "recovery:congestion_state_updated" => self.congestion(at, data.text("new")),
            "recovery:loss_timer_updated" => match data.text("timer_type") {
                "rto" => self.timeouts.push(at),
                "tlp" => self.probes.push(at),
                _ => {}
            },
            "tcp:events_missed" => self.missed += data.number("count")?.unwrap_or(1.0) as u64,
            "tcp:connection_closed" => self.closed = Some(data.text("trigger").to_owned()),
            // Others are of no interest here.
            _ => {}
        }
        Ok(())
    }

    fn segment(&mut self, at: f64, data: &Data<'_>, sent: bool) -> Result<(), String> {
        let (seq, len, ack) = (data.seq("seq")?, data.seq("length")?, data.seq("ack")?);
        let (own, other) = match sent {
            true => (&mut self.sent, &mut self.received),
            false => (&mut self.received, &mut self.sent),
        };
        if data.has_flag("syn") {
            own.place.begin(seq.wrapping_add(1));
        }
        if len > 0 {
            let from = own.place.of(seq);
            let to = from + f64::from(len);
            let piece = Piece { at, from, to };
            // What came before what has come already was late: sent again, or overtaken.
            let high = own.first.last().map_or(f64::NEG_INFINITY, |last| last.to);
            let again = if sent {
                data.is("retransmission")
            } else {
                to <= high
            };
            if again {
                own.again.push(piece);
            } else {
                own.first.push(piece);
            }
            if sent {
                self.sent_bytes += u64::from(len);
                self.segments_again += u64::from(again);
            } else {
                self.received_bytes += u64::from(len);
            }
        }
        if data.has_flag("ack") && !data.has_flag("rst") {
            let acked = other.place.of(ack);
            push_step(&mut other.acked, at, acked);
            let window = data.number("window")?.unwrap_or_default();
            push_step(&mut other.window, at, acked + window);
        }
        for (from, to) in data.sack()? {
            let piece = Piece {
                at,
                from: other.place.of(from),
                to: other.place.of(to),
            };
            other.sacked.push(piece);
        }
        Ok(())
    }

    fn metrics(&mut self, at: f64, data: &Data<'_>) -> Result<(), String> {
        let series = [
            ("congestion_window", &mut self.cwnd),
            ("ssthresh", &mut self.ssthresh),
            ("bytes_in_flight", &mut self.in_flight),
            ("latest_rtt", &mut self.rtt),
            ("smoothed_rtt", &mut self.srtt),
        ];
        for (name, series) in series {
            if let Some(value) = data.number(name)? {
                series.push((at, value));
            }
        }
        Ok(())
    }

    fn congestion(&mut self, at: f64, state: &str) {
        let open = self
            .repairs
            .last_mut()
            .filter(|repair| repair.to == f64::INFINITY);
        let timeout = match state {
            "recovery" => false,
            "loss" => true,
            _ => {
                if let Some(open) = open {
                    open.to = at;
                }
                return;
            }
        };
        if let Some(open) = open {
            if open.timeout == timeout {
                return;
            }
            open.to = at;
        }
        let to = f64::INFINITY;
        self.repairs.push(Repair {
            from: at,
            to,
            timeout,
        });
    }
}

/// A point, if it is another value than the last.
fn push_step(series: &mut Vec<(f64, f64)>, at: f64, value: f64) {
    if series.last().is_none_or(|&(_, last)| last != value) {
        series.push((at, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "\u{1e}{\"file_schema\":\"urn:ietf:params:qlog:file:sequential\"}\n";

    fn record(name: &str, data: &str) -> String {
        format!(
            "\u{1e}{{\"time\":1500.5,\"name\":\"{name}\",\"group_id\":\"0:a-b\",\"data\":{data}}}\n"
        )
    }

    fn of(text: &str) -> Result<Found, String> {
        read(text.as_bytes()).map_err(|problem| problem.to_string())
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let sent = |data: &str| HEADER.to_owned() + &record("tcp:segment_sent", data);
        for (text, why) in [
            (String::new(), "line 1: the file is empty"),
            ("PNG".to_owned(), "line 1: it is no JSON"),
            ("[]\n".to_owned(), "line 1: it is no JSON object"),
            (
                "{\"a\":1}\n".to_owned(),
                "line 1: it is no header of a qlog file",
            ),
            (
                HEADER.to_owned() + "\n{\n" + HEADER,
                "line 3: it is no JSON",
            ),
            (HEADER.to_owned() + "{}\n", "line 2: there is no \"time\""),
            (
                HEADER.to_owned() + "{\"time\":1}\n",
                "line 2: there is no \"name\"",
            ),
            (
                HEADER.to_owned() + "{\"time\":1,\"name\":\"x\"}\n",
                "line 2: there is no \"data\"",
            ),
            (sent("{\"seq\":1}"), "line 2: \"length\" is missing"),
            (
                sent("{\"seq\":-1,\"length\":1,\"ack\":1}"),
                "line 2: \"seq\" is -1",
            ),
            (
                sent("{\"seq\":1,\"length\":4294967296,\"ack\":1}"),
                "\"length\" is 4294967296",
            ),
            (
                sent("{\"seq\":1,\"length\":1,\"ack\":1,\"sack\":[[1]]}"),
                "line 2: \"sack\" is [[1]]",
            ),
            (
                HEADER.to_owned() + &record("recovery:metrics_updated", "{\"ssthresh\":\"x\"}"),
                "\"ssthresh\" is \"x\"",
            ),
        ] {
            let told = of(&text).unwrap_err();
            assert!(told.contains(why), "{told}, not {why}");
        }
        let long = HEADER.to_owned() + &"x".repeat(LONGEST as usize + 1);
        assert!(of(&long).unwrap_err().contains("longer than"));
    }

    #[test]
    fn what_is_cut_off_at_the_end_is_left_out_with_a_warning() {
        let data = "{\"seq\":1,\"length\":1,\"ack\":1}";
        let text = HEADER.to_owned() + &record("tcp:segment_sent", data) + "\u{1e}{\"time\":3";
        let found = of(&text).unwrap();
        assert_eq!(found.connections.len(), 1);
        assert_eq!(
            found.warning.unwrap().to_string(),
            "line 3: it is cut off, and left out"
        );
    }

    #[test]
    fn positions_go_on_where_sequence_numbers_come_around() {
        let mut place = Place::default();
        place.begin(u32::MAX - 9);
        assert_eq!(place.of(u32::MAX - 9), 0.0);
        assert_eq!(place.of(0), 10.0);
        assert_eq!(place.of(1 << 30), 10.0 + f64::from(1u32 << 30));
        assert_eq!(place.of(u32::MAX), 9.0);
    }

    #[test]
    fn recovery_lasts_until_another_state_is_told() {
        let mut it = Connection::default();
        for (at, state) in [
            (1.0, "recovery"),
            (2.0, "recovery"),
            (3.0, "loss"),
            (4.0, "slow_start"),
        ] {
            it.congestion(at, state);
        }
        let (first, second) = (it.repairs[0], it.repairs[1]);
        assert_eq!((first.from, first.to, first.timeout), (1.0, 3.0, false));
        assert_eq!((second.from, second.to, second.timeout), (3.0, 4.0, true));
    }

    #[test]
    fn connections_are_told_apart_and_summed_up() {
        let data = |seq: u32, again: bool| {
            format!(
                "{{\"seq\":{seq},\"length\":100,\"ack\":1,\"flags\":[\"ack\"],\"retransmission\":{again}}}"
            )
        };
        let text = HEADER.to_owned()
            + &record("tcp:segment_sent", &data(1, false))
            + &record("tcp:segment_sent", &data(1, true))
            + &record("tcp:connection_closed", "{\"trigger\":\"fin\"}").replace("0:a-b", "1:c-d");
        let found = of(&text).unwrap();
        let [first, second] = &found.connections[..] else {
            panic!("two connections");
        };
        assert_eq!(
            (first.title.as_str(), first.sent_bytes, first.segments_again),
            ("a-b", 200, 1)
        );
        assert!(
            second.summary().ends_with("closed (fin)"),
            "{}",
            second.summary()
        );
    }
}
