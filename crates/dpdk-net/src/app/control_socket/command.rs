//! What the control socket can be asked.

use std::future::Future;
use std::io;
use std::pin::Pin;

use serde_json::{Map, Value, json};
use tokio::net::UnixStream;

use super::VERSION;
use crate::app::Context;
use crate::app::subsystem::Application;

/// What a command gives.
pub(super) enum Reply {
    /// One line.
    Value(Value),
    /// One line, and then what this writes to the connection, which is over when it ends.
    Stream(Value, Box<dyn FnOnce(UnixStream) -> Streaming>),
}

/// A connection that is written to until one side has enough.
pub(super) type Streaming = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// The question that a command is called with: its members, `command` among them.
pub(super) type Question = Map<String, Value>;

/// A command: its name, what it is for, and what it does. An error says what is wrong with the question.
struct Command {
    name: &'static str,
    help: &'static str,
    run: fn(&Application, &Question) -> Result<Reply, String>,
}

/// All commands, by their names.
const COMMANDS: &[Command] = &[
    Command {
        name: "capture",
        help: "the frames of the queues as pcapng, until the asker closes its side",
        run: super::capture::capture,
    },
    Command {
        name: "config",
        help: "the settings that the application runs with",
        run: config,
    },
    Command {
        name: "help",
        help: "what can be asked",
        run: help,
    },
    Command {
        name: "ports",
        help: "each port: its device, link and addresses",
        run: ports,
    },
    Command {
        name: "shutdown",
        help: "ends the application as SIGTERM does",
        run: shutdown,
    },
    Command {
        name: "stats",
        help: "what each queue has counted",
        run: stats,
    },
    Command {
        name: "version",
        help: "of the protocol and of dpdk-net",
        run: version,
    },
];

/// What a question is answered with, or why it is not.
pub(super) fn answer(line: &[u8], app: &Application) -> Result<Reply, String> {
    let question: Value = serde_json::from_slice(line)
        .map_err(|error| format!("it is no JSON: {error}; as in {{\"command\":\"stats\"}}"))?;
    let known = || {
        let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        names.join(", ")
    };
    let Some(question) = question.as_object() else {
        return Err("it is no object; as in {\"command\":\"stats\"}".to_owned());
    };
    let Some(name) = question.get("command").and_then(Value::as_str) else {
        return Err(format!("there is no \"command\": one of {}", known()));
    };
    if let Some(version) = question.get("version")
        && version.as_u64() != Some(VERSION.into())
    {
        return Err(format!(
            "version {version} is not spoken here, {VERSION} is"
        ));
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(app, question),
        None => Err(format!("there is no command {name:?}: {}", known())),
    }
}

fn value(result: Value) -> Result<Reply, String> {
    Ok(Reply::Value(result))
}

fn config(app: &Application, _: &Question) -> Result<Reply, String> {
    match app.file() {
        Some(file) => value(json!({ "name": file.name(), "settings": file.to_json() })),
        None => Err("the application is not of a file".to_owned()),
    }
}

fn help(_: &Application, _: &Question) -> Result<Reply, String> {
    let all = COMMANDS.iter();
    value(
        all.map(|command| json!({ "command": command.name, "help": command.help }))
            .collect(),
    )
}

fn ports(app: &Application, _: &Question) -> Result<Reply, String> {
    let all = app.contexts().iter();
    value(all.filter(|ctx| ctx.queue() == 0).map(port).collect())
}

fn shutdown(app: &Application, _: &Question) -> Result<Reply, String> {
    app.request_shutdown();
    value(json!({}))
}

fn stats(app: &Application, _: &Question) -> Result<Reply, String> {
    value(app.contexts().iter().map(queue).collect())
}

fn version(_: &Application, _: &Question) -> Result<Reply, String> {
    value(json!({
        "protocol": VERSION,
        "dpdk_net": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
    }))
}

fn port(context: &Context) -> Value {
    let control = context.port();
    let link = control.link().ok();
    json!({
        "port": context.port_name(),
        "device": control.name(),
        "mac": control.mac().ok().map(|mac| mac.to_string()),
        "mtu": control.mtu().ok(),
        "queues": control.queue_counts().0,
        "link_up": link.map(|link| link.up),
        "addresses": context.addresses(),
    })
}

fn queue(context: &Context) -> Value {
    let stats = context.handle().stats();
    let worker = stats.worker;
    json!({
        "port": context.port_name(),
        "queue": context.queue(),
        "rx_frames": worker.rx_frames,
        "tx_frames": worker.tx_frames,
        "turns": worker.turns,
        "busy_turns": worker.busy_turns,
        "tx_ring_full": worker.tx_ring_full,
        "no_mbufs": worker.no_mbufs,
        "handed_over": worker.handed_over,
        "connections": context.handle().connection_count(),
    })
}
