//! Writing a capture: frames from the rings of all queues, in the order of their times, as pcapng to a writer.
//!
//! Of several queues the frames that were taken last are held back for one round, until those of the others that are older have
//! come. What is held is bounded by the rings' sizes.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use dpdk_net_packet::pcapng::{self, Packet, Statistics};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::tap::Record;
use super::watch::unix_nanos;
use super::{Capture, CaptureConfig, Captured, Directions};

/// How often the rings are looked at.
const ROUND: Duration = Duration::from_millis(10);

/// Bytes of a round after which the next one follows at once.
const BUSY: usize = 64 * 1024;

/// Bytes that are written at once, about.
const WRITE: usize = 64 * 1024;

/// How long workers may take to let go.
const LET_GO: Duration = Duration::from_secs(1);

/// A frame that is to be written.
struct Held {
    record: Record,
    /// Index of its queue, and where its bytes begin.
    source: usize,
    at: usize,
}

/// What becomes a file.
struct Writer<W> {
    out: W,
    bytes: Vec<u8>,
    patience: Duration,
    /// Frames that may still be written.
    room: u64,
    /// Frames that were written, by interface.
    delivered: Vec<u64>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn flush(&mut self) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            match timeout(self.patience, self.out.write(rest)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = rest.get(written?..).unwrap_or_default(),
                Err(_) => {
                    let what = "whoever takes the capture has taken nothing for too long";
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
            }
        }
        self.bytes.clear();
        match timeout(self.patience, self.out.flush()).await {
            Ok(flushed) => flushed,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

impl Capture {
    /// Writes frames until `until` resolves, the count is reached or the workers have ended; then what is still in the buffers,
    /// and statistics of each port.
    ///
    /// Dropping the future ends the capture where it is; what has been written then may break off within a block.
    ///
    /// # Errors
    /// What the writer says; [`TimedOut`](io::ErrorKind::TimedOut) where it takes nothing for
    /// [`patience`](CaptureConfig::patience).
    pub async fn write_to<W: AsyncWrite + Unpin>(
        mut self,
        out: W,
        until: impl Future<Output = ()>,
    ) -> io::Result<Captured> {
        let mut writer = Writer {
            out,
            bytes: Vec::with_capacity(WRITE),
            patience: self.config.patience,
            room: self.config.count.unwrap_or(u64::MAX),
            delivered: vec![0; self.interfaces.len()],
        };
        self.begin(&mut writer.bytes);
        writer.flush().await?;
        let mut until = pin!(until);
        let (mut held, mut bytes) = (Vec::new(), Vec::new());
        loop {
            let complete = self
                .sources
                .iter()
                .all(|source| source.reader.is_complete());
            let came = self
                .round(&mut held, &mut bytes, false, &mut writer)
                .await?;
            if complete || writer.room == 0 {
                break;
            }
            let pause = async {
                match came {
                    BUSY.. => tokio::task::yield_now().await,
                    _ => sleep(ROUND).await,
                }
            };
            tokio::select! {
                biased;
                () = &mut until => break,
                () = pause => {}
            }
        }
        self.finish();
        let let_go = async {
            while !self
                .sources
                .iter()
                .all(|source| source.reader.is_complete())
            {
                sleep(Duration::from_millis(1)).await;
            }
        };
        // A worker whose program computes for longer has its last frames left out.
        let _ = timeout(LET_GO, let_go).await;
        self.round(&mut held, &mut bytes, true, &mut writer).await?;
        let captured = self.end(&mut writer);
        writer.flush().await?;
        Ok(captured)
    }

    /// Takes what is in the rings and writes what is due: all of it in the last round. Tells how many bytes there were.
    async fn round<W: AsyncWrite + Unpin>(
        &mut self,
        held: &mut Vec<Held>,
        bytes: &mut Vec<u8>,
        last: bool,
        writer: &mut Writer<W>,
    ) -> io::Result<usize> {
        // What was held back is due now, and what is older than that.
        let due = held.iter().map(|held| held.record.nanos).max();
        let before = bytes.len();
        for (index, source) in self.sources.iter_mut().enumerate() {
            // What comes meanwhile is the next round's.
            let mut left = source.reader.waiting();
            while left > 0 {
                let at = bytes.len();
                let Some(record) = source.reader.pop(bytes) else {
                    break;
                };
                left = left.saturating_sub(record.size());
                held.push(Held {
                    record,
                    source: index,
                    at,
                });
            }
        }
        let came = bytes.len() - before;
        let all = last || self.sources.len() == 1;
        if !all || last {
            held.sort_by_key(|held| held.record.nanos);
        }
        let count = match due {
            _ if all => held.len(),
            Some(due) => held.partition_point(|held| held.record.nanos <= due),
            None => 0,
        };
        for Held { record, source, at } in held.drain(..count) {
            let end = at + record.captured_len as usize;
            if writer.room > 0
                && let (Some(source), Some(data)) = (self.sources.get(source), bytes.get(at..end))
            {
                packet(
                    &mut writer.bytes,
                    (source.interface, source.queue),
                    &record,
                    data,
                );
                writer.room -= 1;
                if let Some(delivered) = writer.delivered.get_mut(source.interface as usize) {
                    *delivered += 1;
                }
            }
            if writer.bytes.len() >= WRITE {
                writer.flush().await?;
            }
        }
        writer.flush().await?;
        keep(held, bytes);
        Ok(came)
    }

    /// What a file begins with.
    fn begin(&self, out: &mut Vec<u8>) {
        let application = concat!("dpdk-net ", env!("CARGO_PKG_VERSION"));
        pcapng::section(
            out,
            std::env::consts::ARCH,
            std::env::consts::OS,
            application,
        );
        let CaptureConfig {
            filter,
            directions,
            dropped_only,
            snaplen,
            ..
        } = &self.config;
        for interface in &self.interfaces {
            let which = match (dropped_only, directions) {
                (true, _) => "received frames that were dropped",
                (false, Directions::Both) => "both directions",
                (false, Directions::In) => "received frames",
                (false, Directions::Out) => "sent frames",
            };
            pcapng::interface(
                out,
                &pcapng::Interface {
                    name: &interface.name,
                    description: &format!("DPDK port {}, {which}", interface.device),
                    snaplen: *snaplen,
                    filter: filter
                        .as_ref()
                        .map(|filter| filter.text.as_str())
                        .filter(|text| !text.is_empty()),
                },
            );
        }
    }

    /// What it ends with.
    fn end<W>(&self, writer: &mut Writer<W>) -> Captured {
        let ended = unix_nanos();
        let mut all = Captured::default();
        for (index, delivered) in writer.delivered.iter().enumerate() {
            let mut told = Statistics {
                started: self.started,
                ended,
                delivered: *delivered,
                ..Statistics::default()
            };
            for source in self
                .sources
                .iter()
                .filter(|source| source.interface as usize == index)
            {
                let counts = source.reader.counts();
                told.received += counts.seen;
                told.accepted += counts.accepted;
                told.lost += counts.lost;
            }
            all.seen += told.received;
            all.accepted += told.accepted;
            all.lost += told.lost;
            all.delivered += told.delivered;
            pcapng::statistics(&mut writer.bytes, index as u32, &told);
        }
        all
    }
}

fn packet(out: &mut Vec<u8>, (interface, queue): (u32, u16), record: &Record, data: &[u8]) {
    let cause = record
        .cause
        .map(|cause| format!("queue {queue}, dropped: {}", cause.name()));
    pcapng::packet(
        out,
        &Packet {
            interface,
            nanos: record.nanos,
            original_len: record.original_len,
            data,
            direction: record.direction,
            queue: queue.into(),
            lost: record.lost.into(),
            comment: cause.as_deref(),
        },
    );
}

/// Keeps the bytes of what is still held, and no others.
fn keep(held: &mut [Held], bytes: &mut Vec<u8>) {
    if held.is_empty() {
        bytes.clear();
        return;
    }
    let mut kept = Vec::new();
    for held in held {
        let end = held.at + held.record.captured_len as usize;
        let data = bytes.get(held.at..end).unwrap_or_default();
        held.at = kept.len();
        kept.extend(data);
    }
    *bytes = kept;
}
