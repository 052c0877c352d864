//! The service's side of a capture, as it comes: blocks to the files until it is over.

use std::path::Path;
use std::time::Duration;

use dpdk_net::packet::pcapng::{Block, kind};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::files::Files;
use crate::failure::{Failure, Result};

/// How long the service may take to answer, and to end a capture.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that are read at once.
const READ: usize = 256 * 1024;

/// What a capture came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Frames that were written.
    pub(super) captured: u64,
    /// Frames that the service had no room for; `None` where it did not tell.
    pub(super) lost: Option<u64>,
}

/// Asks the service and writes what it sends, until it ends or SIGINT, SIGTERM or SIGHUP comes.
pub(super) async fn capture(socket: &Path, question: &Value, files: Files) -> Result<Outcome> {
    let cannot = |what: &str, error: std::io::Error| {
        let remedy = "is the service running, has it a control socket there ([control] socket), and are you its user or root?";
        Failure::new(
            format!("cannot {what} {}: {error}", socket.display()),
            remedy,
        )
    };
    let mut signals = Signals::new()?;
    let connection = UnixStream::connect(socket)
        .await
        .map_err(|error| cannot("connect to", error))?;
    let (rx, mut tx) = connection.into_split();
    let mut rx = BufReader::with_capacity(READ, rx);
    let question = format!("{question}\n");
    tx.write_all(question.as_bytes())
        .await
        .map_err(|error| cannot("ask", error))?;
    let mut line = Vec::new();
    let answer = timeout(
        PATIENCE,
        (&mut rx).take(READ as u64).read_until(b'\n', &mut line),
    )
    .await;
    let answer = answer.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
    answer.map_err(|error| cannot("hear from", error))?;
    accepted(&line)?;

    let mut written = Written {
        files,
        rest: Vec::new(),
        captured: 0,
        lost: None,
        full: false,
    };
    let mut ending = false;
    loop {
        let patience = if ending { PATIENCE } else { Duration::MAX };
        let came = tokio::select! {
            biased;
            () = signals.any() => {
                if ending {
                    break;
                }
                None
            }
            came = timeout(patience, rx.fill_buf()) => Some(came),
        };
        match came {
            None => {}
            // It was told to end, and does not.
            Some(Err(_)) => break,
            Some(Ok(came)) => {
                let came = came.map_err(|error| cannot("read from", error))?;
                if came.is_empty() {
                    break;
                }
                let len = came.len();
                written.take(came)?;
                rx.consume(len);
                if !written.full {
                    continue;
                }
            }
        }
        if !ending {
            ending = true;
            // What it still holds comes, and its figures.
            tx.shutdown()
                .await
                .map_err(|error| cannot("end the capture at", error))?;
        }
    }
    written.files.flush()?;
    Ok(Outcome {
        captured: written.captured,
        lost: written.lost,
    })
}

/// What has come, and what of it has been written.
struct Written {
    files: Files,
    /// The begin of a block.
    rest: Vec<u8>,
    captured: u64,
    lost: Option<u64>,
    /// No further file may be begun.
    full: bool,
}

impl Written {
    fn take(&mut self, bytes: &[u8]) -> Result {
        self.rest.extend(bytes);
        let rest = std::mem::take(&mut self.rest);
        let mut left = &rest[..];
        let strange =
            |error| Failure::new(format!("the service sends something else: {error}"), "");
        while let Some(block) = Block::first(left).map_err(strange)? {
            left = left.get(block.bytes.len()..).unwrap_or_default();
            self.block(&block)?;
        }
        self.rest = left.to_vec();
        self.files.flush()
    }

    fn block(&mut self, block: &Block<'_>) -> Result {
        let is_packet = block.kind == kind::PACKET;
        if let Some((_, told)) = block.as_statistics() {
            *self.lost.get_or_insert(0) += told.lost;
        }
        if self.full && is_packet {
            return Ok(());
        }
        match self.files.write(block)? {
            true => self.captured += u64::from(is_packet),
            false => self.full = true,
        }
        Ok(())
    }
}

/// Whether the service does what it was asked, by its first line.
fn accepted(line: &[u8]) -> Result {
    let answer: Value = serde_json::from_slice(line).map_err(|_| {
        let said = String::from_utf8_lossy(line);
        Failure::new(
            format!(
                "no control socket of dpdk-net: it answers {:?}",
                said.trim_end()
            ),
            "",
        )
    })?;
    if answer["ok"] == true {
        return Ok(());
    }
    let why = answer["error"].as_str().unwrap_or("it does not say why");
    Err(Failure::new(format!("the service refused: {why}"), ""))
}

/// Those that end a capture.
struct Signals([tokio::signal::unix::Signal; 3]);

impl Signals {
    fn new() -> Result<Self> {
        let of = |kind| {
            signal(kind).map_err(|error| Failure::new(format!("cannot hear signals: {error}"), ""))
        };
        Ok(Self([
            of(SignalKind::interrupt())?,
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
        ]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_and_what_is_no_answer_too() {
        assert!(accepted(b"{\"version\":1,\"ok\":true,\"result\":{}}\n").is_ok());
        let refused =
            accepted(b"{\"version\":1,\"ok\":false,\"error\":\"there is no port\"}\n").unwrap_err();
        assert_eq!(refused.what(), "the service refused: there is no port");
        for line in [&b"220 mail\r\n"[..], b""] {
            assert!(
                accepted(line)
                    .unwrap_err()
                    .what()
                    .contains("no control socket")
            );
        }
    }
}
