//! `capture`: an answer of one line, and then frames as pcapng until the asker closes its side, or all.
//!
//! The filter comes compiled: what reads tcpdump's language is in the asker's process. What came is verified here.

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;

use crate::app::control_socket::command::{Command, Question, Reply, Streaming, members};
use crate::app::subsystem::Application;
use crate::capture::{Capture, CaptureConfig, Directions, Filter, Instruction, Program};

pub(in crate::app::control_socket) const CAPTURE: Command = Command {
    name: "capture",
    help: "the frames of the queues as pcapng, until the asker closes its side: docs/capture.md",
    run: capture,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Members {
    /// `[code, jt, jf, k]` each, as `tcpdump -ddd` prints them.
    program: Option<Vec<(u16, u8, u8, u32)>>,
    /// What it was compiled of.
    filter: String,
    direction: Direction,
    dropped: bool,
    snaplen: Option<u32>,
    ports: Vec<String>,
    queues: Vec<u16>,
    count: Option<u64>,
    /// Bytes.
    buffer: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum Direction {
    In,
    Out,
    #[default]
    Inout,
}

fn capture(app: &Application, question: &Question) -> Result<Reply, String> {
    let config = config(members(question)?)?;
    let capture = app.capture(config).map_err(|error| error.to_string())?;
    let told = json!({
        "format": "pcapng",
        "ports": capture.ports().collect::<Vec<_>>(),
        "queues": capture.queues(),
    });
    let stream = |connection| -> Streaming { Box::pin(stream(capture, connection)) };
    Ok(Reply::Stream(told, Box::new(stream)))
}

async fn stream(capture: Capture, connection: UnixStream) -> std::io::Result<()> {
    let (mut rx, mut tx) = connection.into_split();
    match capture.write_to(&mut tx, closed(&mut rx)).await {
        Ok(captured) => tracing::info!(
            frames = captured.delivered,
            lost = captured.lost,
            "a capture has ended"
        ),
        Err(error) => tracing::warn!(%error, "a capture was ended"),
    }
    Ok(())
}

/// Waits until the other side says no more: it has enough, or is gone.
async fn closed(rx: &mut (impl AsyncRead + Unpin)) {
    let mut ignored = [0; 64];
    while matches!(rx.read(&mut ignored).await, Ok(1..)) {}
}

fn config(members: Members) -> Result<CaptureConfig, String> {
    let instruction = |(code, jt, jf, k)| Instruction { code, jt, jf, k };
    let filter = match members.program {
        Some(program) => {
            let program: Vec<_> = program.into_iter().map(instruction).collect();
            Some(Filter {
                program: Program::new(&program).map_err(|error| format!("\"program\": {error}"))?,
                text: members.filter,
            })
        }
        None if members.filter.is_empty() => None,
        None => {
            let what = "\"filter\" is for the file alone: there has to be a \"program\" made of it";
            return Err(what.to_owned());
        }
    };
    let default = CaptureConfig::default();
    Ok(CaptureConfig {
        filter,
        directions: match members.direction {
            Direction::In => Directions::In,
            Direction::Out => Directions::Out,
            Direction::Inout => Directions::Both,
        },
        dropped_only: members.dropped,
        snaplen: members.snaplen.unwrap_or(default.snaplen),
        ports: members.ports,
        queues: members.queues,
        count: members.count,
        buffer: members.buffer.unwrap_or(default.buffer),
        ..default
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn told(question: &Value) -> Result<CaptureConfig, String> {
        config(members(question.as_object().unwrap())?)
    }

    #[test]
    fn a_question_is_read_as_it_is_meant() {
        let config = told(&json!({
            "command": "capture", "version": 1, "filter": "ip", "snaplen": 96, "direction": "in", "dropped": true,
            "program": [[0x28, 0, 0, 12], [0x15, 0, 1, 0x800], [6, 0, 0, 65535], [6, 0, 0, 0]],
            "ports": ["net0"], "queues": [0, 2], "count": 5, "buffer": 65536,
        }))
        .unwrap();
        let filter = config.filter.unwrap();
        assert_eq!((filter.text.as_str(), filter.program.len()), ("ip", 4));
        assert_eq!(
            (config.snaplen, config.count, config.buffer),
            (96, Some(5), 65_536)
        );
        assert_eq!(
            (config.directions, config.dropped_only),
            (Directions::In, true)
        );
        assert_eq!(
            (config.ports, config.queues),
            (vec!["net0".to_owned()], vec![0, 2])
        );
        let all = told(&json!({ "command": "capture" })).unwrap();
        assert!(all.filter.is_none() && all.count.is_none() && !all.dropped_only);
    }

    #[test]
    fn what_is_wrong_with_a_question_is_told() {
        for (question, part) in [
            (json!({ "colour": 1 }), "unknown field `colour`"),
            (json!({ "snaplen": "96" }), "\"snaplen\": invalid type"),
            (json!({ "snaplen": -1 }), "\"snaplen\": invalid value"),
            (json!({ "queues": [65536] }), "\"queues[0]\": invalid value"),
            (json!({ "queues": 1 }), "\"queues\": invalid type"),
            (json!({ "ports": [1] }), "\"ports[0]\": invalid type"),
            (json!({ "dropped": 1 }), "\"dropped\": invalid type"),
            (
                json!({ "direction": "up" }),
                "expected one of `in`, `out`, `inout`",
            ),
            (json!({ "filter": "ip" }), "there has to be a \"program\""),
            (json!({ "program": [] }), "the program is empty"),
            (json!({ "program": [[6, 0, 0]] }), "\"program[0]\""),
            (json!({ "program": [[6, 256, 0, 0]] }), "\"program[0][1]\""),
            (
                json!({ "program": [[5, 0, 0, 9], [6, 0, 0, 0]] }),
                "instruction 0: jumps behind the end",
            ),
        ] {
            let error = told(&question).unwrap_err();
            assert!(error.contains(part), "{question}: {error}");
        }
    }
}
