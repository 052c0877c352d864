//! The application that runs: how its control socket is found, and what to do where it can't be asked.

use std::path::PathBuf;

use clap::Args;
use dpdk_net::control::{Client, ControlError, find};
use serde_json::Value;

use crate::failure::{Failure, Result};

/// What is told of an application that counts nothing.
pub(crate) const UNCOUNTED: &str =
    "nothing is counted: the application is built without the feature `metrics`";

/// Whether the application counts nothing, by its answer to `queues`.
pub(crate) fn is_uncounted(queues: &Value) -> bool {
    queues["counted"] == false
}

/// Which application is asked.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Which {
    /// The application's control socket [default: the only NAME.sock in /run/dpdk-net or $XDG_RUNTIME_DIR/dpdk-net]
    #[arg(long, value_name = "PATH", env = "DPDK_NET_SOCKET", hide_env = true)]
    pub(crate) socket: Option<PathBuf>,
}

impl Which {
    /// Connects to it.
    pub(crate) fn connect(&self) -> Result<Client> {
        Ok(self.try_connect()?)
    }

    /// The same, for who can deal with an error.
    pub(crate) fn try_connect(&self) -> Result<Client, ControlError> {
        match &self.socket {
            Some(path) => Client::connect(path),
            None => find().and_then(Client::connect),
        }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let remedy = match &error {
            ControlError::NoneFound(_) => {
                "in its file: [control] socket = \"/run/dpdk-net/NAME.sock\"; in its program: AppBuilder::control_socket\n\
                 where its socket is elsewhere: --socket PATH"
            }
            ControlError::Several(_) => "say which: --socket PATH",
            ControlError::NoSocket(_) | ControlError::NobodyListens(_) => {
                "start the application, or name another one's: --socket PATH"
            }
            ControlError::Stranger { .. } => {
                "stop that process, if it should not be there, or name another one's: --socket PATH"
            }
            ControlError::TooLong(_) => "ask for less: fewer names, or a shorter filter",
            ControlError::Denied(_) => "run this with sudo, or as that user",
            ControlError::OtherVersion(_) => "use the dpdk-net that the application was built with",
            _ => "",
        };
        match error {
            ControlError::TooLong(_) => Self::usage(error.to_string(), remedy),
            _ => Self::new(error.to_string(), remedy),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_application_that_does_not_say_counts() {
        let answers = [
            json!({}),
            json!({ "counted": true }),
            json!({ "counted": false }),
        ];
        assert_eq!(answers.each_ref().map(is_uncounted), [false, false, true]);
    }

    #[test]
    fn what_can_not_be_asked_says_what_to_do() {
        let which = Which {
            socket: Some("/nonexistent/x.sock".into()),
        };
        let failure = which.connect().unwrap_err();
        assert_eq!(
            failure.to_string(),
            "there is no socket /nonexistent/x.sock\n  start the application, or name another one's: --socket PATH"
        );
        assert_eq!(failure.exit_code(), 1);
    }
}
