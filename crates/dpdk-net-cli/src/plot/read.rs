//! A qlog file of TCP connections, event by event.

use std::fmt;
use std::io::{BufRead, Read};

use serde_json::{Map, Value};

use super::connection::Connection;

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
    connections.iter_mut().for_each(Connection::finish);
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
    let found = all.iter().rposition(|it| it.group() == group);
    let index = found.unwrap_or_else(|| {
        all.push(Connection::new(group));
        all.len() - 1
    });
    match all.get_mut(index) {
        Some(it) => it.event(at, name, &Data(data)),
        None => Ok(()),
    }
}

/// The members of an event.
pub(super) struct Data<'a>(pub(super) &'a Map<String, Value>);

impl Data<'_> {
    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, String> {
        match self.0.get(name) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if (0.0..1e18).contains(&number) => Ok(Some(number)),
                _ => Err(format!("\"{name}\" is {value}, which is no amount")),
            },
        }
    }

    pub(super) fn seq(&self, name: &str) -> Result<u32, String> {
        self.0.get(name).and_then(seq).ok_or_else(|| {
            let given = self
                .0
                .get(name)
                .map_or("missing".to_owned(), |value| format!("{value}"));
            format!("\"{name}\" is {given}; it has to be a number of 32 bits")
        })
    }

    /// The same, of one that may be missing.
    pub(super) fn seq_or(&self, name: &str) -> Result<Option<u32>, String> {
        match self.0.contains_key(name) {
            true => self.seq(name).map(Some),
            false => Ok(None),
        }
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).and_then(Value::as_str).unwrap_or("")
    }

    pub(super) fn has_flag(&self, flag: &str) -> bool {
        let flags = self.0.get("flags").and_then(Value::as_array);
        flags.is_some_and(|flags| flags.iter().any(|it| it == flag))
    }

    pub(super) fn sack(&self) -> Result<Vec<(u32, u32)>, String> {
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
