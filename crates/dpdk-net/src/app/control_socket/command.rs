//! What the control socket can be asked: the table of commands, and what a question has to be.

use std::future::Future;
use std::io;
use std::pin::Pin;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::net::UnixStream;

use super::commands;
use crate::app::subsystem::Application;
use crate::control::VERSION;

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
pub(super) struct Command {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) run: fn(&Application, &Question) -> Result<Reply, String>,
}

/// All commands, by their names.
pub(super) const COMMANDS: &[Command] = &[
    commands::capture::CAPTURE,
    #[cfg(feature = "config")]
    commands::config::CONFIG,
    commands::help::HELP,
    #[cfg(feature = "config")]
    commands::log::LOG,
    commands::neigh::NEIGH,
    commands::ports::PORTS,
    commands::queues::QUEUES,
    commands::route::ROUTE,
    commands::shutdown::SHUTDOWN,
    commands::ss::SS,
    commands::stats::STATS,
    commands::trace::TRACE,
    commands::version::VERSION,
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
    if let Some(version) = question.get("version")
        && version.as_u64() != Some(VERSION.into())
    {
        return Err(format!(
            "version {version} is not spoken here, {VERSION} is"
        ));
    }
    let name = match question.get("command") {
        Some(Value::String(name)) => name,
        Some(other) => return Err(format!("\"command\" is a text, not {other}")),
        None => return Err(format!("there is no \"command\": one of {}", known())),
    };
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(app, question),
        None => Err(format!("there is no command {name:?}: {}", known())),
    }
}

/// The members of a question that are its command's own, as `T` has them. One that `T` does not know is an error.
pub(super) fn members<T: DeserializeOwned>(question: &Question) -> Result<T, String> {
    let own = question
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "command" | "version"));
    let own: Question = own.map(|(name, it)| (name.clone(), it.clone())).collect();
    serde_path_to_error::deserialize(Value::Object(own)).map_err(|error| {
        let path = error.path().to_string();
        match path.as_str() {
            "." => error.into_inner().to_string(),
            _ => format!("\"{path}\": {}", error.into_inner()),
        }
    })
}

/// Refuses members, where a command has none of its own.
pub(super) fn no_members(question: &Question) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct None {}
    members::<None>(question).map(|None {}| ())
}

/// An answer of one line.
pub(super) fn value(result: Value) -> Result<Reply, String> {
    Ok(Reply::Value(result))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(text: &str) -> Question {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_member_that_nobody_knows_is_named() {
        assert_eq!(
            no_members(&question(r#"{"command":"help","version":1}"#)),
            Ok(())
        );
        let told = no_members(&question(r#"{"command":"help","verbose":true}"#)).unwrap_err();
        assert!(told.contains("unknown field `verbose`"), "{told}");
    }

    #[test]
    fn a_member_of_the_wrong_type_is_named() {
        #[derive(serde::Deserialize, Debug)]
        #[serde(deny_unknown_fields)]
        struct Members {
            #[allow(dead_code, reason = "it is never read")]
            limit: usize,
        }
        let told = members::<Members>(&question(r#"{"limit":"many"}"#)).unwrap_err();
        assert!(
            told.starts_with("\"limit\": invalid type: string"),
            "{told}"
        );
    }

    #[test]
    fn the_table_is_in_order_and_each_command_is_there_once() {
        let names: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(names, sorted);
    }

    #[test]
    fn a_question_has_to_be_an_object_with_a_known_command_of_this_version() {
        let app = Application::nowhere();
        for (line, why) in [
            ("stats", "no JSON"),
            ("", "no JSON"),
            (r#"{"command":"stats"} {}"#, "no JSON"),
            ("[]", "no object"),
            ("{}", "no \"command\""),
            (r#"{"command":7}"#, "\"command\" is a text, not 7"),
            (r#"{"command":"reboot"}"#, "no command \"reboot\""),
            (r#"{"command":"help","version":2}"#, "version 2"),
            (r#"{"command":"help","version":"1"}"#, "version \"1\""),
            (r#"{"command":"help","version":null}"#, "version null"),
            (r#"{"command":"ss","limit":0}"#, "limit"),
            (r#"{"command":"ss","limit":-1}"#, "limit"),
            (r#"{"command":"ss","states":["open"]}"#, "states[0]"),
            (r#"{"command":"ss","local":"localhost"}"#, "local"),
            (r#"{"command":"ss","after":"elsewhere"}"#, "after"),
            (r#"{"command":"ss","sockets":"raw"}"#, "sockets"),
            (r#"{"command":"neigh","port":"eth7"}"#, "eth7"),
        ] {
            let told = match answer(line.as_bytes(), &app) {
                Err(told) => told,
                Ok(_) => panic!("{line} is answered"),
            };
            assert!(told.contains(why), "{line}: {told}");
        }
    }

    #[test]
    fn a_version_may_be_given() {
        let Ok(Reply::Value(answer)) = answer(
            br#"{"version":1,"command":"version"}"#,
            &Application::nowhere(),
        ) else {
            panic!("it is answered");
        };
        assert_eq!(answer["protocol"], json!(1));
    }
}
