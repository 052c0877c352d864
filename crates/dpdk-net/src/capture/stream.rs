//! Writing a capture: frames from the rings of all queues, in the order of their times, as pcapng to a writer.
//!
//! Of several queues the frames that were taken last are held back for one round, until those of the others that are older have
//! come. What is held of a queue is bounded by [`SHARE`]: what is more waits in its ring, and newer frames of the others with it.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use dpdk_net_packet::pcapng::{self, Packet, Statistics};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::tap::{Record, TapReader};
use super::watch::unix_nanos;
use super::{Capture, CaptureConfig, Captured, Directions};

/// How often the rings are looked at.
const ROUND: Duration = Duration::from_millis(10);

/// Bytes of a round after which the next one follows at once.
const BUSY: usize = 64 * 1024;

/// Bytes that are written at once, about.
const WRITE: usize = 64 * 1024;

/// Bytes of each queue that are held at a time, as they are in its ring; one frame may be more.
const SHARE: usize = 1024 * 1024;

/// Memory that is kept for the next round, in bytes and in frames.
const KEPT: (usize, usize) = (SHARE, 16 * 1024);

/// How long workers may take to let go.
const LET_GO: Duration = Duration::from_secs(1);

/// A frame that is to be written.
struct Held {
    record: Record,
    /// Index of its queue, and where its bytes begin.
    source: usize,
    at: usize,
}

/// What is held of a queue.
#[derive(Clone, Copy, Default)]
struct Share {
    /// Bytes, as they were in the ring.
    held: usize,
    /// The time of the newest frame that was taken.
    newest: u64,
}

/// Frames that were taken from the rings and have not been written.
struct Waiting {
    frames: Vec<Held>,
    /// What is in them.
    bytes: Vec<u8>,
    /// By queue.
    shares: Vec<Share>,
}

/// What a round has taken.
struct Taken {
    /// Bytes.
    came: usize,
    /// A ring has more, which there was no room for.
    more: bool,
    /// Frames that are due, the first ones of those that wait.
    due: usize,
}

impl Waiting {
    fn new(sources: usize) -> Self {
        Self {
            frames: Vec::new(),
            bytes: Vec::new(),
            shares: vec![Share::default(); sources],
        }
    }

    /// Takes what is in the rings, as far as there is room, and puts what is due first: those that were held back, and what is older
    /// than that; if it is the `last` time, all. What may still be older than a frame keeps it from being due.
    fn take<'a>(&mut self, readers: impl Iterator<Item = &'a mut TapReader>, last: bool) -> Taken {
        let held_back = self.frames.iter().map(|held| held.record.nanos).max();
        let before = self.bytes.len();
        // Nothing that is left in a ring is older.
        let mut limit = None;
        for ((source, reader), share) in readers.enumerate().zip(&mut self.shares) {
            // What comes meanwhile is the next round's.
            let mut left = reader.waiting();
            while left > 0 && share.held < SHARE {
                let at = self.bytes.len();
                let Some(record) = reader.pop(&mut self.bytes) else {
                    left = 0;
                    break;
                };
                left = left.saturating_sub(record.size());
                share.held += record.size();
                share.newest = share.newest.max(record.nanos);
                self.frames.push(Held { record, source, at });
            }
            if left > 0 {
                limit = Some(limit.unwrap_or(u64::MAX).min(share.newest));
            }
        }
        let all = self.shares.len() == 1 || last && limit.is_none();
        if self.shares.len() > 1 {
            self.frames.sort_by_key(|held| held.record.nanos);
        }
        let until = match last {
            true => limit,
            false => held_back.map(|held_back| held_back.min(limit.unwrap_or(u64::MAX))),
        };
        let due = match until {
            _ if all => self.frames.len(),
            Some(until) => self
                .frames
                .partition_point(|held| held.record.nanos <= until),
            None => 0,
        };
        for held in self.frames.iter().take(due) {
            if let Some(share) = self.shares.get_mut(held.source) {
                share.held = share.held.saturating_sub(held.record.size());
            }
        }
        Taken {
            came: self.bytes.len() - before,
            more: limit.is_some(),
            due,
        }
    }

    /// Keeps the bytes of what is still held, and no others; what a large round took is given back.
    fn keep(&mut self) {
        let (bytes, frames) = KEPT;
        self.frames.shrink_to(frames);
        if self.frames.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(bytes);
            return;
        }
        let len = |held: &Held| held.record.captured_len as usize;
        let mut kept = Vec::with_capacity(self.frames.iter().map(len).sum());
        for held in &mut self.frames {
            let end = held.at + len(held);
            let data = self.bytes.get(held.at..end).unwrap_or_default();
            held.at = kept.len();
            kept.extend(data);
        }
        self.bytes = kept;
    }
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
        let mut waiting = Waiting::new(self.sources.len());
        loop {
            let complete = self
                .sources
                .iter()
                .all(|source| source.reader.is_complete());
            let taken = self.round(&mut waiting, false, &mut writer).await?;
            if complete || writer.room == 0 {
                break;
            }
            let pause = async {
                match taken.more || taken.came >= BUSY {
                    true => tokio::task::yield_now().await,
                    false => sleep(ROUND).await,
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
        while self.round(&mut waiting, true, &mut writer).await?.more && writer.room > 0 {
            tokio::task::yield_now().await;
        }
        let captured = self.end(&mut writer);
        writer.flush().await?;
        Ok(captured)
    }

    /// Takes what is in the rings, as far as there is room, and writes what is due.
    async fn round<W: AsyncWrite + Unpin>(
        &mut self,
        waiting: &mut Waiting,
        last: bool,
        writer: &mut Writer<W>,
    ) -> io::Result<Taken> {
        let readers = self.sources.iter_mut().map(|source| &mut source.reader);
        let taken = waiting.take(readers, last);
        let Waiting { frames, bytes, .. } = &mut *waiting;
        for Held { record, source, at } in frames.drain(..taken.due) {
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
        waiting.keep();
        Ok(taken)
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

#[cfg(test)]
mod tests {
    use dpdk_net_packet::pcapng::Direction;

    use super::super::tap::{Tap, Wanted, tap};
    use super::*;

    const FRAME: usize = 1_000;
    const RING: usize = 8 * SHARE;

    fn tap_of(snaplen: usize, buffer: usize) -> (Tap, TapReader) {
        let wanted = Wanted {
            program: None,
            snaplen,
            received: true,
            sent: true,
            dropped: false,
        };
        tap(wanted, buffer)
    }

    fn ring() -> (Tap, TapReader) {
        tap_of(FRAME, RING)
    }

    fn record(nanos: u64) -> Record {
        Record {
            nanos,
            original_len: FRAME as u32,
            captured_len: 0,
            lost: 0,
            cause: None,
            direction: Direction::In,
        }
    }

    /// Fills a ring with frames of these times; how many there was room for.
    fn fill(tap: &mut Tap, times: impl Iterator<Item = u64>) -> usize {
        let mut push = |nanos: u64| tap.push(&[nanos as u8; FRAME], &record(nanos));
        times.take_while(|nanos| push(*nanos)).count()
    }

    /// One round after the other until nothing comes any more: the times and first bytes of frames as they are written, and how many
    /// bytes were held at most.
    fn rounds(waiting: &mut Waiting, readers: &mut [TapReader], last: bool) -> (Vec<u64>, usize) {
        let (mut written, mut most) = (Vec::new(), 0);
        for _ in 0..1_000 {
            let taken = waiting.take(readers.iter_mut(), last);
            most = most.max(waiting.bytes.len());
            for held in waiting.frames.drain(..taken.due) {
                let data = &waiting.bytes[held.at..][..FRAME];
                assert_eq!(data, [held.record.nanos as u8; FRAME]);
                written.push(held.record.nanos);
            }
            waiting.keep();
            if !taken.more && waiting.frames.is_empty() {
                break;
            }
        }
        (written, most)
    }

    #[test]
    fn what_is_held_of_a_full_ring_is_bounded_and_given_back() {
        let (mut tap, reader) = ring();
        let count = fill(&mut tap, 0..);
        assert!(count * FRAME > RING * 9 / 10);
        let (mut waiting, mut readers) = (Waiting::new(1), [reader]);
        let (written, most) = rounds(&mut waiting, &mut readers, false);
        assert_eq!(written, Vec::from_iter(0..count as u64));
        assert!(most <= SHARE, "{most}");
        // One frame that is more than a share.
        let (mut huge, reader) = tap_of(3 * SHARE, 3 * SHARE);
        assert!(huge.push(&vec![0; 2 * SHARE], &record(1)));
        let taken = waiting.take([reader].iter_mut(), false);
        assert_eq!((taken.due, taken.more), (1, false));
        waiting.frames.clear();
        waiting.keep();
        assert!(waiting.bytes.capacity() <= SHARE);
    }

    #[test]
    fn frames_of_full_rings_are_written_in_the_order_of_their_times() {
        for last in [false, true] {
            // The second ring has what came after all that the first one has, the third a few all the time, the last one nothing.
            let rings = [ring(), ring(), ring(), ring()];
            let (taps, readers): (Vec<_>, Vec<_>) = rings.into_iter().unzip();
            let mut taps = taps;
            let first = fill(&mut taps[0], 0..) as u64;
            let second = fill(&mut taps[1], first..) as u64;
            let few = (0..).step_by(100).take_while(|at| *at < first + second);
            let few: Vec<u64> = few.collect();
            assert_eq!(fill(&mut taps[2], few.iter().copied()), few.len());
            let (mut waiting, mut readers) = (Waiting::new(4), readers);
            let (written, most) = rounds(&mut waiting, &mut readers, last);
            let mut wanted: Vec<u64> = (0..first + second).chain(few).collect();
            wanted.sort_unstable();
            assert!(written == wanted, "{} of {}", written.len(), wanted.len());
            assert!(most <= 3 * SHARE, "{most}");
        }
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_for_ever() {
        let (taps, readers): (Vec<_>, Vec<_>) = [ring(), ring()].into_iter().unzip();
        let (mut taps, mut readers) = (taps, readers);
        let some = fill(&mut taps[0], (1_000_000..).take(2_000));
        let rest = fill(&mut taps[0], 0..);
        let others = fill(&mut taps[1], 500_000..);
        let mut waiting = Waiting::new(2);
        let (written, _) = rounds(&mut waiting, &mut readers, false);
        assert_eq!(written.len(), some + rest + others);
    }
}
