//! The worker's side of captures: it shows frames to the taps of its queue, what comes in together with what the stack made of it.
//!
//! A queue that nobody captures has no [`Watch`]; that it has none is asked once a turn and once a burst that is sent. A frame
//! that is captured is given to the stack by itself, so that it is known what was counted for it: segments that follow one
//! another are not merged meanwhile. Frames that no filter takes go to the stack in bursts, as ever.
//!
//! Filters are shown what lies in a frame's first mbuf, where they find what they look for as a rule. Only a frame that is taken is
//! copied, and no more of it than is kept; one of several mbufs is put together whole where a filter looks further.
//!
//! Frames are shown as they are on the wire: a VLAN tag that the NIC takes out or puts in is in them. What the NIC is asked to do
//! to what is sent, checksums and cutting, has not been done yet.

use std::time::{SystemTime, UNIX_EPOCH};

use dpdk_net_packet::ethernet;
use dpdk_net_packet::pcapng::Direction;
use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Mbuf, RxMbuf, TxBatch};
use dpdk_net_stack::{Instant, Stack};

use super::causes::{Cause, Causes};
use super::tap::{Record, Tap};
use crate::device::{BURST, Transmit};
use crate::stats::WorkerCounters;

/// Where a VLAN tag goes.
const ADDRESSES: usize = 12;

/// How long the time of day is reckoned from one look at the system's clock, in nanoseconds: what the counter's frequency is
/// known badly by, a thousandth perhaps, has not become much until then.
const RECKONED: u64 = 10_000_000;

/// Bytes of a frame that filters are shown first where it has to be copied for them: all headers, as a rule.
const HEAD: usize = 256;

/// By so much, in nanoseconds, time does not go back because of a new look. By more it does: the system's clock was set.
const SLACK: u64 = 1_000_000;

/// The time of day by the packet path's clock.
struct TimeOfDay {
    clock: TscClock,
    /// A moment by the clock, and since 1970.
    known: (u64, u64),
    last: u64,
}

impl TimeOfDay {
    fn new(clock: TscClock) -> Self {
        Self {
            clock,
            known: look(clock),
            last: 0,
        }
    }

    /// The time of day of a moment by the clock.
    fn at(&mut self, nanos: u64) -> u64 {
        if nanos.saturating_sub(self.known.0) > RECKONED {
            self.known = look(self.clock);
        }
        let (then, day) = self.known;
        // The moment may be before the look.
        let time = day.wrapping_add(nanos.wrapping_sub(then));
        self.last = match self.last.checked_sub(time) {
            Some(..SLACK) => self.last,
            _ => time,
        };
        self.last
    }
}

/// Both clocks at one moment, as far as the thread goes on meanwhile.
fn look(clock: TscClock) -> (u64, u64) {
    const TRIES: usize = 3;
    let looks = std::array::from_fn::<_, TRIES, _>(|_| {
        let (before, day, after) = (clock.nanos(), unix_nanos(), clock.nanos());
        (after.saturating_sub(before), before, day)
    });
    let best = looks.into_iter().min();
    best.map_or((0, 0), |(_, at, day)| (at, day))
}

/// Nanoseconds since 1970 UTC, by the system's clock.
pub(super) fn unix_nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// What a watch counted since it was last asked.
#[derive(Default)]
struct Counts {
    captured: u64,
    lost: u64,
    filtered: u64,
}

/// A frame that was offered to the driver, and how its bytes are kept.
struct Offered {
    index: usize,
    /// Which taps take it.
    taps: u32,
    original_len: u32,
    at: usize,
    len: usize,
}

/// Those who watch one queue pair.
pub(crate) struct Watch {
    taps: Vec<Tap>,
    time: TimeOfDay,
    /// The beginning of a frame that does not lie in one piece, and the frame.
    head: Vec<u8>,
    whole: Vec<u8>,
    /// Frames that have to be kept until the driver has taken them.
    bytes: Vec<u8>,
    offered: Vec<Offered>,
    counts: Counts,
}

impl Watch {
    pub(crate) fn new(clock: TscClock) -> Self {
        Self {
            taps: Vec::new(),
            time: TimeOfDay::new(clock),
            head: Vec::new(),
            whole: Vec::new(),
            bytes: Vec::new(),
            offered: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes more of them in and lets those go that are over; whether any is left.
    pub(crate) fn change(&mut self, more: Vec<Tap>) -> bool {
        self.taps.extend(more);
        self.taps.retain(|tap| !tap.is_over());
        !self.taps.is_empty()
    }

    /// Gives the stack what came in, and shows it. `part` is called after each part of the frames that the stack has been
    /// given, with the index of its first one.
    pub(crate) fn ingest(
        &mut self,
        stack: &mut Stack,
        now: Instant,
        frames: &[RxMbuf],
        mut part: impl FnMut(&mut Stack, usize),
    ) {
        if frames.is_empty() {
            return;
        }
        let nanos = self.time.at(now.as_nanos());
        let snaplen = snaplen(&self.taps);
        // Before any of them is shown: what was taken was seen, whenever somebody asks.
        self.saw(Direction::In, frames.len());
        let mut begin = 0;
        let mut known = None;
        for (index, frame) in frames.iter().enumerate() {
            let frame_of = Frame::new(frame.as_mbuf(), frame.as_mbuf().vlan_tci());
            let spare = (&mut self.head, &mut self.whole);
            let taken = accepting(&self.taps, Direction::In, &frame_of, spare);
            if taken == 0 {
                continue;
            }
            if let Some(before) = frames.get(begin..index)
                && !before.is_empty()
            {
                stack.ingest(now, before);
                part(stack, begin);
                known = None;
            }
            let before = known.take().unwrap_or_else(|| Causes::of(&stack.stats()));
            stack.ingest(now, std::slice::from_ref(frame));
            part(stack, index);
            let after = Causes::of(&stack.stats());
            let cause = before.grown(&after);
            let record = record(nanos, frame_of.wire_len, cause, Direction::In);
            known = Some(after);
            begin = index + 1;
            let bytes = frame_of.bytes(snaplen, &mut self.whole);
            show(&mut self.taps, taken, bytes, &record, &mut self.counts);
        }
        if let Some(rest) = frames.get(begin..)
            && !rest.is_empty()
        {
            stack.ingest(now, rest);
            part(stack, begin);
        }
    }

    /// Offers frames to a driver, and shows those that it takes.
    pub(crate) fn burst(&mut self, queue: &mut dyn Transmit, batch: &mut TxBatch<BURST>) -> usize {
        self.bytes.clear();
        self.offered.clear();
        let snaplen = snaplen(&self.taps);
        for (index, packet) in batch.iter().enumerate() {
            let mbuf = packet.as_mbuf();
            let frame = Frame::new(mbuf, mbuf.asked_vlan());
            let spare = (&mut self.head, &mut self.whole);
            let taps = accepting(&self.taps, Direction::Out, &frame, spare);
            if taps != 0 {
                let at = self.bytes.len();
                frame.copy(snaplen, &mut self.bytes);
                self.offered.push(Offered {
                    index,
                    taps,
                    original_len: frame.wire_len,
                    at,
                    len: self.bytes.len() - at,
                });
            }
        }
        let offered = batch.len();
        let sent = queue.burst(batch);
        // Those that could not be sent are gone without having been.
        let weeded = match offered.saturating_sub(batch.len()) > sent {
            true => queue.weeded(),
            false => &[],
        };
        self.saw(Direction::Out, sent);
        let nanos = self.time.at(self.time.clock.nanos());
        for offered in &self.offered {
            let before = weeded.partition_point(|index| *index < offered.index);
            if weeded.get(before) == Some(&offered.index) || offered.index - before >= sent {
                continue;
            }
            let frame = self.bytes.get(offered.at..offered.at + offered.len);
            let record = record(nanos, offered.original_len, None, Direction::Out);
            let frame = frame.unwrap_or_default();
            show(
                &mut self.taps,
                offered.taps,
                frame,
                &record,
                &mut self.counts,
            );
        }
        sent
    }

    /// So many frames have come by.
    fn saw(&mut self, direction: Direction, frames: usize) {
        for tap in self.taps.iter_mut().filter(|tap| tap.wants(direction)) {
            tap.saw(frames);
            self.counts.filtered += frames as u64;
        }
    }

    /// Adds what was counted since the last call.
    pub(crate) fn count(&mut self, worker: &mut WorkerCounters) {
        let counts = std::mem::take(&mut self.counts);
        worker.captured += counts.captured;
        worker.capture_lost += counts.lost;
        worker.capture_filtered += counts
            .filtered
            .saturating_sub(counts.captured + counts.lost);
    }
}

fn record(nanos: u64, original_len: u32, cause: Option<Cause>, direction: Direction) -> Record {
    Record {
        nanos,
        original_len,
        captured_len: 0,
        lost: 0,
        cause,
        direction,
    }
}

fn snaplen(taps: &[Tap]) -> usize {
    let lens = taps.iter().map(|tap| tap.wanted.snaplen);
    lens.max().unwrap_or(0)
}

/// Which taps take a frame, a bit each. Where a filter looks further than to the frame's beginning, the frame is put together.
fn accepting(
    taps: &[Tap],
    direction: Direction,
    frame: &Frame<'_>,
    (head, whole): (&mut Vec<u8>, &mut Vec<u8>),
) -> u32 {
    let (head, is_all) = frame.head(head);
    // Once for all of them.
    let mut put_together = false;
    let mut accepts = |tap: &Tap| {
        if !tap.wants(direction) {
            return false;
        }
        match tap.accepts(head, frame.wire_len) {
            Some(accepts) => accepts,
            None if is_all => false,
            None => {
                if !std::mem::replace(&mut put_together, true) {
                    whole.clear();
                    frame.copy(usize::MAX, whole);
                }
                tap.accepts(whole, frame.wire_len).unwrap_or(false)
            }
        }
    };
    let bits = taps.iter().enumerate().filter(|(_, tap)| accepts(tap));
    bits.fold(0, |all, (index, _)| all | 1 << index)
}

fn show(taps: &mut [Tap], which: u32, frame: &[u8], record: &Record, counts: &mut Counts) {
    for (index, tap) in taps.iter_mut().enumerate() {
        let dropped = record.cause.is_some() || !tap.wanted.dropped;
        if which & 1 << index != 0 && dropped {
            match tap.push(frame, record) {
                true => counts.captured += 1,
                false => counts.lost += 1,
            }
        }
    }
}

/// A packet with its tag in it, as it is on the wire.
struct Frame<'a> {
    mbuf: &'a Mbuf,
    tag: Option<u16>,
    wire_len: u32,
}

impl<'a> Frame<'a> {
    fn new(mbuf: &'a Mbuf, tag: Option<u16>) -> Self {
        let len = mbuf.pkt_len() + if tag.is_some() { 4 } else { 0 };
        Self {
            mbuf,
            tag,
            wire_len: u32::try_from(len).unwrap_or(u32::MAX),
        }
    }

    /// Its beginning and whether that is all of it: what lies in the first mbuf, or some of that, put together in `spare`.
    fn head(&self, spare: &'a mut Vec<u8>) -> (&'a [u8], bool) {
        if self.tag.is_none() {
            return (self.mbuf.data(), self.mbuf.is_contiguous());
        }
        spare.clear();
        self.copy(HEAD, spare);
        let is_all = spare.len() == self.wire_len as usize;
        (spare.as_slice(), is_all)
    }

    /// Its first bytes, at least so many if it has them: where they lie, or put together in `spare`.
    fn bytes(&self, limit: usize, spare: &'a mut Vec<u8>) -> &'a [u8] {
        let first = self.mbuf.data();
        if self.tag.is_none() && (self.mbuf.is_contiguous() || first.len() >= limit) {
            return first;
        }
        spare.clear();
        self.copy(limit, spare);
        spare
    }

    /// Adds its first bytes to `out`, up to so many.
    fn copy(&self, limit: usize, out: &mut Vec<u8>) {
        let mut left = limit;
        let mut add = |bytes: &[u8]| {
            let some = bytes.get(..left).unwrap_or(bytes);
            out.extend(some);
            left -= some.len();
            left > 0
        };
        for (index, segment) in self.mbuf.segments().enumerate() {
            let more = match self.tag {
                Some(tci) if index == 0 => {
                    let (addresses, behind) = segment.split_at(segment.len().min(ADDRESSES));
                    let [a, b] = ethernet::TYPE_VLAN.to_be_bytes();
                    let [c, d] = tci.to_be_bytes();
                    add(addresses) && add(&[a, b, c, d]) && add(behind)
                }
                _ => add(segment),
            };
            if !more {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests;
