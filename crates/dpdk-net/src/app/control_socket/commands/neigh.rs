//! `neigh`: who has which MAC address.

use dpdk_net_stack::{NeighborInfo, NeighborState};
use serde::Deserialize;
use serde_json::{Value, json};

use super::first_queues;
use crate::app::control_socket::command::{Command, Question, Reply, members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const NEIGH: Command = Command {
    name: "neigh",
    help: "the neighbours that each port knows, or that of one \"port\"",
    run: neigh,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    port: Option<String>,
}

fn neigh(app: &Application, question: &Question) -> Result<Reply, String> {
    let Members { port } = members(question)?;
    let mut all = Vec::new();
    for context in first_queues(app, port.as_deref())? {
        let known = context.handle().neighbors();
        all.extend(known.iter().map(|it| neighbor(context.port_name(), it)));
    }
    value(all.into())
}

fn neighbor(port: &str, it: &NeighborInfo) -> Value {
    json!({
        "port": port,
        "address": it.addr,
        "vlan": it.vlan,
        "mac": it.mac.map(|mac| mac.to_string()),
        "state": state(it.state),
    })
}

/// In the words of `ip neigh`.
fn state(state: NeighborState) -> &'static str {
    match state {
        NeighborState::Incomplete => "incomplete",
        NeighborState::Reachable => "reachable",
        NeighborState::Stale => "stale",
        NeighborState::Delay => "delay",
        NeighborState::Probe => "probe",
        NeighborState::Static => "permanent",
        _ => "unknown",
    }
}
