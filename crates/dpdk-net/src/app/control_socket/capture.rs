//! `capture`: an answer of one line, and then frames as pcapng until the asker closes its side, or all.
//!
//! The filter comes compiled: what reads tcpdump's language is in the asker's process. What came is verified here.

use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::UnixStream;

use super::command::{Question, Reply, Streaming};
use crate::app::subsystem::Application;
use crate::capture::{Capture, CaptureConfig, Directions, Filter, Instruction, Program};

/// What a question may have.
const MEMBERS: &str =
    "command, version, filter, program, direction, dropped, snaplen, ports, queues, count, buffer";

pub(super) fn capture(app: &Application, question: &Question) -> Result<Reply, String> {
    let config = read(question)?;
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

fn read(question: &Question) -> Result<CaptureConfig, String> {
    let mut config = CaptureConfig::default();
    let (mut text, mut program) = (String::new(), None);
    for (name, value) in question {
        match name.as_str() {
            "command" | "version" => {}
            "filter" => text = string(name, value)?,
            "program" => program = Some(instructions(value)?),
            "direction" => {
                config.directions = match string(name, value)?.as_str() {
                    "in" => Directions::In,
                    "out" => Directions::Out,
                    "inout" => Directions::Both,
                    other => return Err(format!("\"direction\" is {other:?}: in, out or inout")),
                };
            }
            "dropped" => {
                let is_bool = || format!("{name:?} is {value}: true or false");
                config.dropped_only = value.as_bool().ok_or_else(is_bool)?;
            }
            "snaplen" => config.snaplen = number(name, value)?,
            "ports" => config.ports = list(name, value, string)?,
            "queues" => config.queues = list(name, value, number)?,
            "count" => config.count = Some(number(name, value)?),
            "buffer" => config.buffer = number(name, value)?,
            other => return Err(format!("\"capture\" knows no {other:?}: {MEMBERS}")),
        }
    }
    if let Some(instructions) = program {
        let program =
            Program::new(&instructions).map_err(|error| format!("\"program\": {error}"))?;
        config.filter = Some(Filter { text, program });
    } else if !text.is_empty() {
        return Err(
            "\"filter\" is for the file alone: there has to be a \"program\" made of it".to_owned(),
        );
    }
    Ok(config)
}

fn string(name: &str, value: &Value) -> Result<String, String> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| format!("{name:?} is {value}: a string is needed"))
}

fn number<T: TryFrom<u64>>(name: &str, value: &Value) -> Result<T, String> {
    let number = value.as_u64().and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("{name:?} is {value}: no number that can be"))
}

fn list<T>(
    name: &str,
    value: &Value,
    of: impl Fn(&str, &Value) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let list = value.as_array();
    let list = list.ok_or_else(|| format!("{name:?} is {value}: a list is needed"))?;
    list.iter().map(|value| of(name, value)).collect()
}

/// `[[code, jt, jf, k], ..]`, as `tcpdump -ddd` prints them.
fn instructions(value: &Value) -> Result<Vec<Instruction>, String> {
    list("program", value, |name, value| {
        let four = value
            .as_array()
            .and_then(|parts| <&[Value; 4]>::try_from(&parts[..]).ok());
        let [code, jt, jf, k] =
            four.ok_or_else(|| format!("{name:?} has {value}: [code, jt, jf, k] is needed"))?;
        Ok(Instruction {
            code: number(name, code)?,
            jt: number(name, jt)?,
            jf: number(name, jf)?,
            k: number(name, k)?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(question: Value) -> Result<CaptureConfig, String> {
        read(question.as_object().unwrap())
    }

    #[test]
    fn a_question_is_read_as_it_is_meant() {
        let config = told(json!({
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
        let all = told(json!({ "command": "capture" })).unwrap();
        assert!(all.filter.is_none() && all.count.is_none() && !all.dropped_only);
    }

    #[test]
    fn what_is_wrong_with_a_question_is_told() {
        for (question, part) in [
            (
                json!({ "colour": 1 }),
                "knows no \"colour\": command, version, filter",
            ),
            (
                json!({ "snaplen": "96" }),
                "\"snaplen\" is \"96\": no number",
            ),
            (json!({ "snaplen": -1 }), "\"snaplen\" is -1"),
            (json!({ "queues": [65536] }), "\"queues\" is 65536"),
            (json!({ "queues": 1 }), "a list is needed"),
            (json!({ "ports": [1] }), "a string is needed"),
            (json!({ "dropped": 1 }), "true or false"),
            (json!({ "direction": "up" }), "in, out or inout"),
            (json!({ "filter": "ip" }), "there has to be a \"program\""),
            (json!({ "program": [] }), "the program is empty"),
            (json!({ "program": [[6, 0, 0]] }), "[code, jt, jf, k]"),
            (json!({ "program": [[6, 256, 0, 0]] }), "\"program\" is 256"),
            (
                json!({ "program": [[5, 0, 0, 9], [6, 0, 0, 0]] }),
                "instruction 0: jumps behind the end",
            ),
        ] {
            let error = told(question.clone()).unwrap_err();
            assert!(error.contains(part), "{question}: {error}");
        }
    }
}
