//! `config`: the file that the application was made of.

use serde_json::json;

use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const CONFIG: Command = Command {
    name: "config",
    help: "the settings of the file, as it was read last",
    run: config,
};

fn config(app: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    match app.file() {
        Some(file) => value(json!({ "name": file.name(), "settings": file.to_json() })),
        None => Err("the application is not of a file".to_owned()),
    }
}
