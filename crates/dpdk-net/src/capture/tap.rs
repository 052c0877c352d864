//! A tap: where one capture takes frames from one queue, and a ring of bytes to whoever writes them down.
//!
//! What holds
//! - the worker's end, [`Tap`], never waits: a frame for which the ring has no room is counted as lost;
//! - each record in the ring is a header and the bytes of a frame. The header comes first and may be there alone for a moment;
//! - a tap is over when the reader says so, or is gone. The worker lets go of it when it is told to look
//!   ([`State::taps`](crate::shard::State)), and then the reader finds the ring abandoned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dpdk_net_packet::bpf::Program;
use dpdk_net_packet::pcapng::Direction;
use rtrb::{Consumer, Producer, RingBuffer};

use super::causes::Cause;

/// What a capture wants of the frames of a queue.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) program: Option<Arc<Program>>,
    pub(super) snaplen: usize,
    pub(super) received: bool,
    pub(super) sent: bool,
    /// Only what the stack dropped.
    pub(super) dropped: bool,
}

/// What both ends know.
#[derive(Debug, Default)]
struct Shared {
    /// The reader has enough.
    over: AtomicBool,
    // Written by the worker alone.
    seen: AtomicU64,
    accepted: AtomicU64,
    lost: AtomicU64,
}

/// Frames that a tap has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Frames of a wanted direction.
    pub(super) seen: u64,
    /// Those that are wanted.
    pub(super) accepted: u64,
    /// Wanted ones that there was no room for.
    pub(super) lost: u64,
}

/// A frame as it is told to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Since 1970 UTC.
    pub(super) nanos: u64,
    pub(super) original_len: u32,
    pub(super) captured_len: u32,
    /// Lost since the one before.
    pub(super) lost: u32,
    pub(super) cause: Option<Cause>,
    pub(super) direction: Direction,
}

impl Record {
    const LEN: usize = 24;

    /// Bytes that it takes in the ring.
    pub(super) fn size(&self) -> usize {
        Self::LEN + self.captured_len as usize
    }

    fn encode(&self) -> [u8; Self::LEN] {
        let sent = u16::from(self.direction == Direction::Out);
        let mut bytes = [0; Self::LEN];
        let words = [self.original_len, self.captured_len, self.lost];
        bytes[..8].copy_from_slice(&self.nanos.to_ne_bytes());
        bytes[8..20].copy_from_slice(words.map(u32::to_ne_bytes).as_flattened());
        bytes[20..22].copy_from_slice(&Cause::encode(self.cause).to_ne_bytes());
        bytes[22..].copy_from_slice(&sent.to_ne_bytes());
        bytes
    }

    fn decode(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        let [original, captured, lost, [w, x, y, z]] = [0, 4, 8, 12].map(|at| {
            let word = rest.get(at..).and_then(|rest| rest.first_chunk::<4>());
            word.copied().unwrap_or_default()
        });
        Self {
            nanos: u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
            original_len: u32::from_ne_bytes(original),
            captured_len: u32::from_ne_bytes(captured),
            lost: u32::from_ne_bytes(lost),
            cause: Cause::decode(u16::from_ne_bytes([w, x])),
            direction: match u16::from_ne_bytes([y, z]) {
                0 => Direction::In,
                _ => Direction::Out,
            },
        }
    }
}

/// The worker's end.
#[derive(Debug)]
pub(crate) struct Tap {
    pub(super) wanted: Wanted,
    ring: Producer<u8>,
    shared: Arc<Shared>,
    /// Lost since the last frame that was not.
    lost: u32,
}

/// The reader's end.
#[derive(Debug)]
pub(super) struct TapReader {
    ring: Consumer<u8>,
    shared: Arc<Shared>,
}

/// A tap with a ring of so many bytes.
pub(super) fn tap(wanted: Wanted, buffer: usize) -> (Tap, TapReader) {
    let (mut producer, mut consumer) = RingBuffer::new(buffer);
    // Written and read once, so that its pages are there before the worker comes to them.
    if let Ok(all) = producer.write_chunk(buffer) {
        all.commit_all();
    }
    if let Ok(all) = consumer.read_chunk(buffer) {
        all.commit_all();
    }
    let shared = Arc::<Shared>::default();
    let tap = Tap {
        wanted,
        ring: producer,
        shared: shared.clone(),
        lost: 0,
    };
    let reader = TapReader {
        ring: consumer,
        shared,
    };
    (tap, reader)
}

/// The worker is the only one who writes. Who finds this added finds what was added before.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed) + n, Ordering::Release);
}

impl Tap {
    /// Whether nobody wants anything of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.shared.over.load(Ordering::Relaxed) || self.ring.is_abandoned()
    }

    pub(super) fn wants(&self, direction: Direction) -> bool {
        match direction {
            Direction::In => self.wanted.received,
            Direction::Out => self.wanted.sent,
        }
    }

    /// Whether the filter takes a frame, by its beginning; `None` where it looks further than that.
    pub(super) fn accepts(&self, head: &[u8], original_len: u32) -> Option<bool> {
        match &self.wanted.program {
            Some(program) => Some(program.run_on_head(head, original_len)? != 0),
            None => Some(true),
        }
    }

    /// So many frames of a direction that it wants have come by: to be told before any of them is pushed.
    pub(super) fn saw(&mut self, frames: usize) {
        add(&self.shared.seen, frames as u64);
    }

    /// Takes a frame that was [accepted](Self::accepts), or its first bytes. `false` if it was lost.
    pub(super) fn push(&mut self, frame: &[u8], record: &Record) -> bool {
        add(&self.shared.accepted, 1);
        let bytes = frame.get(..self.wanted.snaplen).unwrap_or(frame);
        let size = Record::LEN + bytes.len();
        if self.ring.cached_slots() < size && self.ring.slots() < size {
            add(&self.shared.lost, 1);
            self.lost = self.lost.saturating_add(1);
            return false;
        }
        let record = Record {
            captured_len: bytes.len() as u32,
            lost: std::mem::take(&mut self.lost),
            ..*record
        };
        // There is room for both.
        let _ = self.ring.push_entire_slice(&record.encode());
        let _ = self.ring.push_entire_slice(bytes);
        true
    }
}

impl TapReader {
    /// Has enough. What is in the ring stays.
    pub(super) fn finish(&self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }

    /// Whether nothing comes any more but what is in the ring.
    pub(super) fn is_complete(&self) -> bool {
        self.ring.is_abandoned()
    }

    /// What was counted, at any moment: no more is lost than was accepted, and no more accepted than seen.
    pub(super) fn counts(&self) -> Counts {
        // What is counted first is read last.
        let lost = self.shared.lost.load(Ordering::Acquire);
        let accepted = self.shared.accepted.load(Ordering::Acquire);
        let seen = self.shared.seen.load(Ordering::Acquire);
        Counts {
            seen,
            accepted,
            lost,
        }
    }

    /// Bytes that wait in the ring.
    pub(super) fn waiting(&self) -> usize {
        self.ring.slots()
    }

    /// Takes the next frame, its bytes to the end of `out`.
    pub(super) fn pop(&mut self, out: &mut Vec<u8>) -> Option<Record> {
        let mut header = [0; Record::LEN];
        {
            let chunk = self.ring.read_chunk(Record::LEN).ok()?;
            let (first, second) = chunk.as_slices();
            let (start, end) = header.split_at_mut_checked(first.len())?;
            start.copy_from_slice(first);
            end.copy_from_slice(second);
        }
        let record = Record::decode(header);
        let chunk = self.ring.read_chunk(record.size()).ok()?;
        let (first, second) = chunk.as_slices();
        let skip = first.len().min(Record::LEN);
        out.extend(first.iter().skip(skip));
        out.extend(second.get(Record::LEN - skip..).unwrap_or_default());
        chunk.commit_all();
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(snaplen: usize) -> Wanted {
        Wanted {
            program: None,
            snaplen,
            received: true,
            sent: true,
            dropped: false,
        }
    }

    fn record(nanos: u64, frame: &[u8]) -> Record {
        Record {
            nanos,
            original_len: frame.len() as u32,
            captured_len: 0,
            lost: 0,
            cause: Cause::decode((nanos % 3) as u16),
            direction: if nanos.is_multiple_of(2) {
                Direction::In
            } else {
                Direction::Out
            },
        }
    }

    proptest! {
        /// Frames come out as they went in, whole, in order, and those that are missing are told where they are missing.
        #[test]
        fn what_is_not_lost_comes_out_in_order(
            frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..100), 0..4_usize), 1..200),
            buffer in 32..400_usize,
            snaplen in 1..120_usize,
        ) {
            let (mut tap, mut reader) = tap(wanted(snaplen), buffer);
            let mut due = std::collections::VecDeque::new();
            let mut lost = [0, 0];
            for (nanos, (frame, reads)) in frames.iter().enumerate() {
                let record = record(nanos as u64, frame);
                let short = &frame[..frame.len().min(snaplen)];
                let fits = tap.ring.slots() >= Record::LEN + short.len();
                prop_assert_eq!(tap.push(frame, &record), fits);
                if fits {
                    let lost = std::mem::take(&mut lost[0]);
                    due.push_back((Record { captured_len: short.len() as u32, lost, ..record }, short));
                } else {
                    lost = lost.map(|lost| lost + 1);
                }
                for _ in 0..*reads {
                    let mut out = vec![7];
                    let read = reader.pop(&mut out);
                    prop_assert_eq!(read.map(|read| (read, &out[1..])), due.pop_front());
                }
            }
            let counts = Counts { seen: 0, accepted: frames.len() as u64, lost: lost[1].into() };
            prop_assert_eq!(reader.counts(), counts);
        }
    }

    #[test]
    fn a_tap_is_over_when_its_reader_has_enough_or_is_gone() {
        let (tap, reader) = super::tap(wanted(1), 100);
        assert!(!tap.is_over() && !reader.is_complete());
        reader.finish();
        assert!(tap.is_over() && !reader.is_complete());
        drop(tap);
        assert!(reader.is_complete());
        let (tap, reader) = super::tap(wanted(1), 100);
        drop(reader);
        assert!(tap.is_over());
    }
}
