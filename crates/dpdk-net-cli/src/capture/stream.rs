//! The service's side of a capture, as it comes: blocks to the files until it is over.

use std::io::BufRead;

use dpdk_net::control::Client;
use dpdk_net::packet::pcapng::{Block, kind};
use serde_json::Value;

use super::files::Files;
use crate::ending::{Ending, finish};
use crate::failure::{Failure, Result};

/// What a capture came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Frames that were written.
    pub(super) captured: u64,
    /// Frames that the service had no room for: where it did not tell in the end, those that are known of.
    pub(super) lost: u64,
    /// Why it did not tell.
    pub(super) untold: Option<Untold>,
}

/// Why the service's figures are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Untold {
    /// A second signal did not wait for them.
    Cut,
    /// The service is gone.
    Gone,
}

/// Asks the service and writes what it sends, until it ends or SIGINT, SIGTERM or SIGHUP comes.
pub(super) fn capture(client: Client, question: &Value, files: Files) -> Result<Outcome> {
    let ending = Ending::new()?;
    let (_, mut stream) = client.stream(question)?;
    let cut = ending.begin(&stream)?;
    let mut written = Written {
        files,
        rest: Vec::new(),
        captured: 0,
        known_lost: 0,
        lost: None,
        full: false,
    };
    loop {
        let came = match stream.fill_buf() {
            Ok(came) => came,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // The service is gone: what has come is all there is.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => {
                return Err(Failure::new(format!("the capture broke off: {error}"), ""));
            }
        };
        if came.is_empty() {
            break;
        }
        let len = came.len();
        written.take(came)?;
        stream.consume(len);
        if written.full {
            // What it still holds is not written, but its figures are.
            finish(stream.get_ref());
        }
    }
    Ok(written.outcome(cut.was_cut()))
}

/// What has come, and what of it has been written.
struct Written {
    files: Files,
    /// The begin of a block.
    rest: Vec<u8>,
    captured: u64,
    /// Frames that were lost before those that have come.
    known_lost: u64,
    /// What the service tells in the end.
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
        self.known_lost += block.lost_before().unwrap_or(0);
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

    fn outcome(&self, cut: bool) -> Outcome {
        Outcome {
            captured: self.captured,
            lost: self.lost.unwrap_or(self.known_lost),
            untold: match self.lost {
                Some(_) => None,
                None if cut => Some(Untold::Cut),
                None => Some(Untold::Gone),
            },
        }
    }
}
