//! Why a question has no answer.

use std::io;
use std::path::PathBuf;

use super::{LONGEST_QUESTION, VERSION};

/// Why a question to a control socket has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no such socket.
    #[error("there is no socket {}", .0.display())]
    NoSocket(PathBuf),
    /// What is there is left of an application that has ended.
    #[error("nobody listens at {}: the application has ended", .0.display())]
    NobodyListens(PathBuf),
    /// The socket is somebody else's.
    #[error("{} is for the user that the application runs as, and for root", .0.display())]
    Denied(PathBuf),
    /// Who listens there is neither root nor oneself, so whatever it answers is not to be believed.
    #[error(
        "who listens at {} runs as the user {uid}, neither root nor you: it is not asked. Root asks it if the socket's directory is that user's own",
        path.display()
    )]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// The user's number.
        uid: u32,
    },
    /// No application was found.
    #[error("no application with a control socket was found in {}", directories(.0))]
    NoneFound(Vec<PathBuf>),
    /// Several applications were found: these are their sockets.
    #[error("there are several applications: {}", directories(.0))]
    Several(Vec<PathBuf>),
    /// The question has so many bytes, more than an application reads.
    #[error("the question has {0} bytes, at most {LONGEST_QUESTION} can be")]
    TooLong(usize),
    /// The connection ended before the answer did.
    #[error("the application closed the connection")]
    Closed,
    /// No answer in time.
    #[error("the application has not answered for {0} s")]
    Silent(u64),
    /// What came is no answer.
    #[error("what came is no answer: {0}")]
    BadAnswer(String),
    /// The application speaks another version of the protocol.
    #[error("the application speaks version {0} of the protocol, not {VERSION}")]
    OtherVersion(u64),
    /// The application refuses the question.
    #[error("{0}")]
    Refused(String),
    /// The connection broke.
    #[error("{}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
}

fn directories(all: &[PathBuf]) -> String {
    let all = all.iter().map(|one| one.display().to_string());
    all.collect::<Vec<_>>().join(", ")
}
