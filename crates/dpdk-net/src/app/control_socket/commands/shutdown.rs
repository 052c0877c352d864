//! `shutdown`: ends the application.

use serde_json::json;

use crate::app::control_socket::command::{Command, Question, Reply, no_members, value};
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const SHUTDOWN: Command = Command {
    name: "shutdown",
    help: "ends the application as SIGTERM does",
    run: shutdown,
};

fn shutdown(app: &Application, question: &Question) -> Result<Reply, String> {
    no_members(question)?;
    app.request_shutdown();
    value(json!({}))
}
