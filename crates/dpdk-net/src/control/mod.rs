//! Asking a running application by its control socket.
//!
//! An application listens where [`AppBuilder::control_socket`](crate::AppBuilder::control_socket) or a file's `[control] socket` says; a question and
//! its answer are a line of JSON each. [`Client`] asks, [`find`] looks where applications are. What can be asked, and how the
//! protocol goes on, is in `docs/control.md`.
//!
//! The other end is `app/control_socket/`.

mod client;
mod error;
mod find;

pub use client::{Client, ControlStream};
pub use error::ControlError;
pub use find::{default_path, directories, find};

/// The protocol's version. It becomes another one where a member changes its meaning or goes; members that are added leave it as it is.
pub const VERSION: u32 = 1;

/// The longest question, in bytes with the end of its line.
pub const LONGEST_QUESTION: usize = 64 * 1024;
