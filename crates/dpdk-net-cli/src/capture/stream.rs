//! The service's side of a capture, as it comes: blocks to the files until it is over.

use std::io::BufRead;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use dpdk_net::control::{Client, ControlStream};
use dpdk_net::packet::pcapng::{Block, kind};
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use super::files::Files;
use crate::failure::{Failure, Result};

/// How long the service may take to end a capture.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a capture came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// Frames that were written.
    pub(super) captured: u64,
    /// Frames that the service had no room for; `None` where it did not tell.
    pub(super) lost: Option<u64>,
}

/// Asks the service and writes what it sends, until it ends or SIGINT, SIGTERM or SIGHUP comes.
pub(super) fn capture(client: Client, question: &Value, files: Files) -> Result<Outcome> {
    let ending = Ending::new()?;
    let (_, mut stream) = client.stream(question)?;
    ending.begin(&stream)?;
    let mut written = Written {
        files,
        rest: Vec::new(),
        captured: 0,
        lost: None,
        full: false,
    };
    loop {
        let came = match stream.fill_buf() {
            Ok(came) => came,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
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
    written.files.flush()?;
    Ok(Outcome {
        captured: written.captured,
        lost: written.lost,
    })
}

/// Has the service end the capture: it sends what it still holds and closes.
fn finish(connection: &UnixStream) {
    // Where the connection is gone already, reading tells.
    let _ = connection.shutdown(Shutdown::Write);
}

/// What has the capture end: the first signal in good order, another one at once.
struct Ending {
    runtime: tokio::runtime::Runtime,
    signals: [Signal; 3],
}

impl Ending {
    /// Signals are heard from here on.
    fn new() -> Result<Self> {
        let cannot = |error| Failure::new(format!("cannot hear signals: {error}"), "");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(cannot)?;
        let of = |kind| signal(kind).map_err(cannot);
        let guard = runtime.enter();
        let signals = [
            of(SignalKind::interrupt())?,
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
        ];
        drop(guard);
        Ok(Self { runtime, signals })
    }

    /// Ends this one.
    fn begin(mut self, stream: &ControlStream) -> Result {
        let cannot = |error| Failure::new(format!("cannot hear signals: {error}"), "");
        let connection = stream.get_ref().try_clone().map_err(cannot)?;
        let thread = std::thread::Builder::new().name("signals".to_owned());
        let hear = move || {
            self.runtime.block_on(async {
                any(&mut self.signals).await;
                finish(&connection);
                let _ = timeout(PATIENCE, any(&mut self.signals)).await;
                let _ = connection.shutdown(Shutdown::Both);
            });
        };
        thread.spawn(hear).map(drop).map_err(cannot)
    }
}

async fn any(signals: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
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
