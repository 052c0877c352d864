//! `help`: what can be asked.

use serde_json::json;

use crate::app::control_socket::command::{COMMANDS, Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const HELP: Command = Command {
    name: "help",
    help: "what can be asked",
    run: help,
};

fn help(_: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    let all = COMMANDS.iter();
    value(
        all.map(|command| json!({ "command": command.name, "help": command.help }))
            .collect(),
    )
}
