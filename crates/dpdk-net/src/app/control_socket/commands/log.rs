//! `log`: what is logged, told and changed while the application runs.

use serde::Deserialize;
use serde_json::json;

use crate::app::control_socket::command::{Command, Question, Reply, members, value};
use crate::app::log;
use crate::app::subsystem::Application;

pub(in crate::app::control_socket) const LOG: Command = Command {
    name: "log",
    help: "the log's filter; with \"filter\" it is changed, until it is changed again or the file is read anew with another",
    run: log,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    /// As tracing-subscriber's `EnvFilter` takes it.
    filter: Option<String>,
}

fn log(_: &Application, question: &Question) -> Result<Reply, String> {
    let Members { filter } = members(question)?;
    let running = log::running()?;
    let before = running.filter()?;
    if let Some(text) = &filter {
        running.set_filter(text)?;
        tracing::info!(
            before,
            filter = text,
            "the log's filter was changed by the control socket"
        );
    }
    value(json!({ "filter": running.filter()?, "before": filter.map(|_| before) }))
}
