//! `stats`: what is counted.

use serde_json::{Value, json};

use crate::app::Context;
use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const STATS: Command = Command {
    name: "stats",
    help: "what each queue has counted",
    run: stats,
};

fn stats(app: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    value(app.contexts().iter().map(queue).collect())
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
