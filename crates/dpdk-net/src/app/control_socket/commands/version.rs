//! `version`: who answers.

use serde_json::json;

use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;
use crate::control;

pub(in crate::app::control_socket) const VERSION: Command = Command {
    name: "version",
    help: "of the protocol and of dpdk-net, and the process's id",
    run: version,
};

fn version(_: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    value(json!({
        "protocol": control::VERSION,
        "dpdk_net": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
    }))
}
