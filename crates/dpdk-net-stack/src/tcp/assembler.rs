//! Segments received out of order (RFC 9293 section 3.10.7.4), and what SACK has to say of them (RFC 2018, RFC 2883).
//!
//! Of overlapping segments the bytes that came first stay. Memory is bounded with every cost counted, so segments of
//! one byte exhaust the bound and not the machine. What is in order goes to the [`RecvBuf`](super::recv_buf::RecvBuf);
//! which sequence numbers are acceptable has been checked before.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use arrayvec::ArrayVec;
use bytes::Bytes;

use super::chunk::{COPY_BELOW, Chunk, MAX_CHUNK};

/// What a chunk is charged beside its bytes: its entries in both trees, whose nodes may be less than half full, and
/// what the allocator adds.
pub(crate) const CHUNK_COST: usize = 240;
/// Neighbouring chunks are made one by copying up to this many bytes.
const JOIN: usize = 2_048;
/// The smallest allocation that is made for a chunk that grows.
const GROW: usize = 64;
/// How many of the ranges that grew last are known. Only 4 fit a segment, but some of them may become one.
const RECENT: usize = 8;

/// Payload of a segment.
#[derive(Debug, Clone)]
pub(crate) enum Payload<'a> {
    /// Bytes to copy.
    Copy(&'a [u8]),
    /// Bytes to keep, and how much memory stays taken because of them.
    Keep(Bytes, usize),
}

impl Payload<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Payload::Copy(data) => data,
            Payload::Keep(data, _) => data,
        }
    }
}

/// What became of a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Bytes that were not there before and are now.
    pub(crate) new: usize,
    /// The first contiguous range of the segment that had been received before: the DSACK block (RFC 2883 section 4).
    pub(crate) duplicate: Option<(u32, u32)>,
    /// Whether bytes were not taken because of the memory bound.
    pub(crate) dropped: bool,
}

/// Segments received out of order. Made when the first gap shows.
#[derive(Debug)]
pub(crate) struct Assembler {
    /// The next byte in order, as sequence number and as position. Positions do not wrap: they count bytes of the
    /// stream from an origin so far down that segments from before the gap have one too.
    rcv_nxt: u32,
    base: u64,
    /// What was received, as start and end of maximal ranges: none touches the next one.
    ranges: BTreeMap<u64, u64>,
    /// The bytes of the ranges by their start, without gap or overlap, none empty.
    chunks: BTreeMap<u64, Chunk>,
    /// Positions within the ranges in which segments arrived last, the latest first.
    recent: ArrayVec<u64, RECENT>,
    bytes: usize,
    heap: usize,
    /// Ranges that segments have had looked at, and bytes that were moved for them.
    #[cfg(test)]
    work: (usize, usize),
}

impl Assembler {
    /// An empty one. Allocates nothing.
    pub(crate) const fn new() -> Self {
        Assembler {
            rcv_nxt: 0,
            base: 1 << 32,
            ranges: BTreeMap::new(),
            chunks: BTreeMap::new(),
            recent: ArrayVec::new_const(),
            bytes: 0,
            heap: 0,
            #[cfg(test)]
            work: (0, 0),
        }
    }

    /// Tests see what segments cost.
    #[inline]
    fn count_work(&mut self, ranges: usize, moved: usize) {
        #[cfg(test)]
        {
            self.work.0 += ranges;
            self.work.1 += moved;
        }
        #[cfg(not(test))]
        let _ = (ranges, moved);
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes kept.
    #[inline]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory taken, with all that belongs to it.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.heap
    }

    /// Sequence number of the first byte kept: in-order bytes before it are nowhere in here.
    #[cfg(test)]
    pub(crate) fn first(&self) -> Option<u32> {
        let (&at, _) = self.ranges.first_key_value()?;
        Some(self.seq(at))
    }

    fn seq(&self, at: u64) -> u32 {
        self.rcv_nxt.wrapping_add(at.wrapping_sub(self.base) as u32)
    }

    /// Tells that all before `rcv_nxt` was received in order.
    fn advance(&mut self, rcv_nxt: u32) {
        if self.is_empty() {
            self.base = 1 << 32;
            self.recent.clear();
        } else {
            // Signed: a caller that goes back is harmless.
            let step = rcv_nxt.wrapping_sub(self.rcv_nxt) as i32;
            self.base = self.base.wrapping_add_signed(i64::from(step));
        }
        self.rcv_nxt = rcv_nxt;
    }

    /// What was received already of a segment that begins at `rcv_nxt`: its first contiguous range, the DSACK block.
    pub(crate) fn repeated(&mut self, rcv_nxt: u32, end: u32) -> Option<(u32, u32)> {
        self.advance(rcv_nxt);
        let len = u64::from(end.wrapping_sub(rcv_nxt));
        let (&from, &to) = self.ranges.first_key_value()?;
        let to = to.min(self.base + len);
        (from < to).then(|| (self.seq(from), self.seq(to)))
    }

    /// Takes a segment of which no byte is 2^31 or more from `rcv_nxt`. What is before `rcv_nxt` is a duplicate.
    ///
    /// No byte is taken that would make [`heap_bytes`](Self::heap_bytes) exceed `limit`, except for those that begin at
    /// `rcv_nxt`: they close the gap, and are to be taken by [`take_ready`](Self::take_ready) right away.
    pub(crate) fn insert(
        &mut self,
        rcv_nxt: u32,
        seq: u32,
        data: &Payload<'_>,
        limit: usize,
    ) -> Inserted {
        self.advance(rcv_nxt);
        let mut outcome = Inserted::default();
        let offset = seq.wrapping_sub(rcv_nxt) as i32;
        let start = self.base.wrapping_add_signed(i64::from(offset));
        let end = start + data.as_slice().len() as u64;
        let mut at = start;
        if at == end {
            return outcome;
        }
        if at < self.base {
            at = end.min(self.base);
            outcome.duplicate = Some((seq, self.seq(at)));
        }
        if at == end {
            return outcome;
        }
        // The range that grows: the one that `at` is in or at the end of, or else a new one.
        let (mut first, mut last) = (at, at);
        if let Some((&from, &to)) = self.ranges.range(..=at).next_back()
            && to >= at
        {
            (first, last) = (from, to);
            if to > at {
                let had = (self.seq(at), self.seq(to.min(end)));
                outcome.duplicate.get_or_insert(had);
            }
            at = to;
        }
        let known = last;
        while at < end {
            self.count_work(1, 0);
            let next = self
                .ranges
                .range(at..)
                .next()
                .map(|(&from, &to)| (from, to));
            let until = match next {
                Some((from, _)) => from.min(end),
                None => end,
            };
            // Empty only if a range begins right where the last one ended, and such are one range.
            let piece = (at - start) as usize..(until - start) as usize;
            let new = piece.len();
            if !self.store(at, data, piece, limit) {
                outcome.dropped = true;
                break;
            }
            outcome.new += new;
            self.bytes += new;
            (at, last) = (until, until);
            if let Some((from, to)) = next
                && from == until
            {
                self.ranges.remove(&from);
                last = to;
                at = to;
                if end > from {
                    let had = (self.seq(from), self.seq(to.min(end)));
                    outcome.duplicate.get_or_insert(had);
                }
            }
        }
        if last > known {
            self.ranges.insert(first, last);
        }
        if last > first {
            self.touch(first, last);
        }
        outcome
    }

    /// Puts the range at the head of those that are reported.
    fn touch(&mut self, first: u64, last: u64) {
        if self.recent.first() == Some(&first) {
            return;
        }
        let base = self.base;
        self.recent
            .retain(|at| *at >= base && !(first..last).contains(at));
        if self.recent.is_full() {
            self.recent.pop();
        }
        self.recent.insert(0, first);
    }

    /// Stores bytes of which none is there yet. False if the bound does not allow it.
    fn store(
        &mut self,
        at: u64,
        data: &Payload<'_>,
        piece: core::ops::Range<usize>,
        limit: usize,
    ) -> bool {
        let limit = if at == self.base { usize::MAX } else { limit };
        let room = limit.saturating_sub(self.heap);
        if let Payload::Keep(data, held) = data
            && piece.len() >= COPY_BELOW
            && CHUNK_COST + held <= room
        {
            let chunk = Chunk::Shared {
                data: data.slice(piece),
                held: *held,
            };
            self.add(at, chunk);
            return true;
        }
        let bytes = &data.as_slice()[piece];
        let end = at + bytes.len() as u64;
        // To be appended to the chunk before, if there is one.
        let mut capacity = bytes.len();
        if let Some((&from, Chunk::Owned(chunk))) = self.chunks.range_mut(..at).next_back()
            && from + chunk.len() as u64 == at
        {
            let len = chunk.len() + bytes.len();
            let before = chunk.capacity();
            if len <= before {
                chunk.extend_from_slice(bytes);
                self.join_next(from, end, room);
                return true;
            }
            if len <= JOIN {
                let wanted = (2 * before).clamp(GROW, JOIN).max(len);
                let wanted = if wanted - before <= room { wanted } else { len };
                if wanted - before > room {
                    return false;
                }
                let moved = chunk.len();
                chunk.reserve_exact(wanted - moved);
                chunk.extend_from_slice(bytes);
                self.heap += chunk.capacity() - before;
                self.count_work(0, moved);
                self.join_next(from, end, room.saturating_sub(wanted - before));
                return true;
            }
            // More is likely to follow where some has.
            let ahead = (2 * before).min(MAX_CHUNK).max(bytes.len());
            if CHUNK_COST + ahead <= room {
                capacity = ahead;
            }
        } else if let Some(Chunk::Owned(chunk)) = self.chunks.get_mut(&end)
            && chunk.len() + bytes.len() <= JOIN
        {
            // Or put before the chunk after.
            let before = chunk.capacity();
            let len = chunk.len() + bytes.len();
            if len > before && len - before > room {
                return false;
            }
            let wanted = (2 * before).clamp(GROW, JOIN).max(len);
            let wanted = if wanted.saturating_sub(before) <= room {
                wanted
            } else {
                len
            };
            chunk.reserve_exact(wanted - chunk.len());
            chunk.splice(..0, bytes.iter().copied());
            self.heap += chunk.capacity() - before;
            self.count_work(0, len);
            if let Some(chunk) = self.chunks.remove(&end) {
                self.chunks.insert(at, chunk);
            }
            return true;
        }
        if CHUNK_COST + capacity > room {
            return false;
        }
        let mut chunk = Vec::with_capacity(capacity);
        chunk.extend_from_slice(bytes);
        self.add(at, Chunk::Owned(chunk));
        true
    }

    fn add(&mut self, at: u64, chunk: Chunk) {
        self.heap += CHUNK_COST + chunk.heap_bytes();
        self.chunks.insert(at, chunk);
    }

    /// Makes the chunk at `at`, which is our own and ends at `end`, and the one after it one, if both are short.
    fn join_next(&mut self, at: u64, end: u64, room: usize) {
        let short = (JOIN as u64).saturating_sub(end - at) as usize;
        let Some(Chunk::Owned(next)) = self.chunks.get(&end) else {
            return;
        };
        // Before the next one's memory is free there is both.
        if next.len() > short || next.len() > room {
            return;
        }
        let Some(next) = self.chunks.remove(&end) else {
            return;
        };
        self.heap -= CHUNK_COST + next.heap_bytes();
        if let Some(Chunk::Owned(chunk)) = self.chunks.get_mut(&at) {
            let before = chunk.capacity();
            chunk.reserve_exact(next.len());
            chunk.extend_from_slice(next.as_slice());
            self.heap += chunk.capacity() - before;
            let moved = chunk.len();
            self.count_work(0, moved);
        }
    }

    /// Takes the chunk that continues the stream at `rcv_nxt`, if that byte is here; what lies before it goes. To be
    /// called, with `rcv_nxt` moved on by what was taken, until there is no more.
    pub(crate) fn take_ready(&mut self, rcv_nxt: u32) -> Option<Chunk> {
        if self.is_empty() {
            return None;
        }
        self.advance(rcv_nxt);
        while let Some((&at, &end)) = self.ranges.first_key_value()
            && at <= self.base
        {
            let (from, mut chunk) = self.chunks.pop_first()?;
            debug_assert_eq!(from, at);
            let len = chunk.len();
            self.bytes -= len;
            self.heap -= CHUNK_COST + chunk.heap_bytes();
            self.ranges.pop_first();
            let until = from + len as u64;
            if until < end {
                self.ranges.insert(until, end);
            }
            if until > self.base {
                if from < self.base {
                    chunk.trim_front((self.base - from) as usize);
                }
                return Some(chunk);
            }
        }
        None
    }

    /// Appends the ranges to report until `out` is full (RFC 2018 section 4): the one in which the latest segment
    /// arrived, then those reported last before. A DSACK block goes before them (RFC 2883 section 4): whoever has one
    /// puts it into `out` first.
    pub(crate) fn sack_blocks(&self, out: &mut ArrayVec<(u32, u32), 4>) {
        let mut reported = ArrayVec::<u64, 4>::new();
        let recent = self.recent.iter().filter_map(|at| {
            self.ranges
                .range(..=at)
                .next_back()
                .filter(|(_, end)| *end > at)
        });
        // Should all that were reported have become one, the lowest of the others are told.
        for (&at, &end) in recent.chain(self.ranges.iter().take(4)) {
            if out.is_full() {
                return;
            }
            if at > self.base && !reported.contains(&at) {
                reported.push(at);
                out.push((self.seq(at), self.seq(end)));
            }
        }
    }
}

#[cfg(test)]
mod tests;
