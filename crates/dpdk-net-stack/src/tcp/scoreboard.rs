//! What has been sent and is not acknowledged, segment by segment: when it was sent, whether the peer has it (SACK, RFC
//! 2018), whether it is thought lost (RACK, RFC 8985), and what the delivery rate is to be measured from.
//!
//! Records lie in sequence order and cover exactly SND.UNA to SND.NXT. A record may be longer than a segment: it is split
//! where an acknowledgment or a retransmission ends within it. Nothing here walks over all records for an acknowledgment:
//! a SACK block costs what is new in it, loss detection what is newly lost.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::seq;
use crate::time::{Duration, Instant};

bitflags::bitflags! {
    /// What is true of a record.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct Mark: u8 {
        /// The peer has it out of order.
        const SACKED = 1;
        /// Thought lost and not sent again since.
        const LOST = 1 << 1;
        /// Sent more than once.
        const RETRANSMITTED = 1 << 2;
        /// The application had no more to send when it left.
        const APP_LIMITED = 1 << 3;
    }
}

/// A sent piece of the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) start: u32,
    /// After its last byte, FIN included.
    pub(crate) end: u32,
    pub(crate) marks: Mark,
    /// Of a SACKED one: no byte from its end to here is without SACK.
    pub(crate) sacked_to: u32,
    pub(crate) sent_at: Instant,
    /// Bytes delivered when it left.
    pub(crate) delivered: u64,
    /// When these were delivered.
    pub(crate) delivered_at: Instant,
    /// When the first of what was in flight had left.
    pub(crate) first_sent_at: Instant,
}

impl Sent {
    #[inline]
    pub(crate) fn len(&self) -> u32 {
        self.end.wrapping_sub(self.start)
    }

    #[inline]
    fn has(&self, mark: Mark) -> bool {
        self.marks.intersects(mark)
    }
}

/// What an acknowledgment delivered, added up while records are looked at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivery {
    /// Bytes delivered that were not known to be.
    pub(crate) bytes: u32,
    /// Of these, the record that was sent last.
    pub(crate) newest: Option<Sent>,
    /// When the newest of these left that was sent only once: what a round trip is measured from.
    pub(crate) once_sent_at: Option<Instant>,
    /// Whether something was among them that had been sent more than once.
    pub(crate) retransmitted: bool,
    /// The highest end of a record among them that was sent only once and has not been SACKed before.
    pub(crate) original_end: Option<u32>,
    /// Whether something sent once was delivered after something behind it: the network reorders.
    pub(crate) reordered: bool,
}

impl Delivery {
    #[inline]
    fn add(&mut self, record: &Sent, highest: u32) {
        self.bytes += record.len();
        if record.has(Mark::RETRANSMITTED) {
            self.retransmitted = true;
        } else {
            self.once_sent_at = self.once_sent_at.max(Some(record.sent_at));
            self.original_end = Some(record.end);
            if seq::lt(record.end, highest) {
                self.reordered = true;
            }
        }
        let newer = self.newest.is_none_or(|newest| {
            newest.sent_at < record.sent_at
                || newest.sent_at == record.sent_at && seq::lt(newest.end, record.end)
        });
        if newer {
            self.newest = Some(*record);
        }
    }
}

/// So many records may come of blocks that end anywhere.
const FEW: usize = 64;

/// The most recently sent segment that was delivered (RFC 8985 section 6.2).
#[derive(Debug, Clone, Copy)]
struct Rack {
    sent_at: Instant,
    end: u32,
    rtt: Duration,
}

/// SACK blocks of an acknowledgment, at most four.
pub(crate) type Blocks = arrayvec::ArrayVec<(u32, u32), 4>;

/// The records of a connection.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    records: VecDeque<Sent>,
    /// Bytes marked as SACKED.
    sacked: u32,
    /// Bytes marked as LOST.
    lost: u32,
    /// Bytes that were ever marked so, wrapping.
    marked_lost: u32,
    /// Records marked as SACKED.
    sacked_records: u32,
    /// After the highest byte known to be delivered.
    highest: u32,
    /// No record before it is LOST.
    lost_from: u32,
    /// No record before it was sent once and is neither SACKED nor LOST.
    open_from: u32,
    /// Retransmissions, oldest first: where they started and when they left.
    again: VecDeque<(u32, Instant)>,
    rack: Option<Rack>,
    /// Records that SACK blocks have had looked at.
    #[cfg(test)]
    work: usize,
}

/// Where a retransmission belongs among the others: those that left at once lie in the order of their sequence numbers,
/// which is that in which losses are told from each other (RFC 8985 section 6.2, `RACK_sent_after`).
fn place_of(again: &VecDeque<(u32, Instant)>, start: u32, sent_at: Instant) -> usize {
    again.partition_point(|&(from, at)| at < sent_at || at == sent_at && seq::lt(from, start))
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Bytes the peer has out of order.
    #[inline]
    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes thought lost and not sent again.
    #[inline]
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    /// Records the peer has out of order.
    pub(crate) fn sacked_records(&self) -> u32 {
        self.sacked_records
    }

    /// Whether the peer has the next that it must have, and does not acknowledge it: it has thrown away what it had told
    /// to have (RFC 2018 section 8).
    pub(crate) fn is_reneged(&self) -> bool {
        let front = self.records.front();
        front.is_some_and(|front| front.has(Mark::SACKED))
    }

    /// Records that were sent again and have not arrived as far as is known.
    pub(crate) fn sent_again_records(&self) -> u32 {
        let again = |record: &&Sent| {
            record.has(Mark::RETRANSMITTED) && !record.has(Mark::LOST) && !record.has(Mark::SACKED)
        };
        self.records.iter().filter(again).count() as u32
    }

    /// Retransmissions that may not have arrived yet: when the first of them left, and how many there are at most.
    pub(crate) fn again(&self) -> (Option<Instant>, u32) {
        let first = self.again.front().map(|&(_, at)| at);
        (first, self.again.len() as u32)
    }

    /// Whether nothing is SACKED, LOST or sent again.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.sacked | self.lost == 0 && self.again.is_empty()
    }

    /// Takes out what is outstanding if it is one record and was sent only once, where [`is_plain`](Self::is_plain). Tells
    /// when it left.
    pub(crate) fn take_single(&mut self) -> Option<Instant> {
        let single = self.records.front()?;
        if self.records.len() > 1 || single.has(Mark::RETRANSMITTED) {
            return None;
        }
        let sent_at = single.sent_at;
        self.records.clear();
        Some(sent_at)
    }

    /// Records in all.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn front(&self) -> Option<&Sent> {
        self.records.front()
    }

    pub(crate) fn back(&self) -> Option<&Sent> {
        self.records.back()
    }

    /// Forgets everything, but keeps a modest allocation.
    pub(crate) fn clear(&mut self) {
        self.records.clear();
        self.again.clear();
        self.records.shrink_to(64);
        self.again.shrink_to(16);
        (self.sacked, self.lost, self.sacked_records) = (0, 0, 0);
        self.rack = None;
    }

    /// Bytes of heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.records.capacity() * size_of::<Sent>()
            + self.again.capacity() * size_of::<(u32, Instant)>()
    }

    /// Notes something sent for the first time; it starts where the last record ends.
    #[inline(always)]
    pub(crate) fn push(&mut self, record: Sent) {
        if self.records.is_empty() {
            self.highest = record.start;
            self.lost_from = record.start;
            self.open_from = record.start;
        }
        self.records.push_back(record);
    }

    /// As [`push`](Self::push), of what is several segments on the wire, of up to `mss` of the `data` bytes each: each is
    /// lost or delivered by itself. The FIN is of the last one.
    #[inline]
    pub(crate) fn push_segments(&mut self, mut record: Sent, mut data: u32, mss: u32) {
        let end = record.end;
        while data > mss {
            record.end = record.start.wrapping_add(mss);
            record.sacked_to = record.end;
            self.push(record);
            (record.start, record.end) = (record.end, end);
            data -= mss;
        }
        record.sacked_to = end;
        self.push(record);
    }

    /// The record that `at` lies in.
    fn index_of(&self, at: u32) -> usize {
        match self.records.front() {
            Some(front) if seq::le(front.end, at) => self
                .records
                .partition_point(|record| seq::le(record.end, at)),
            _ => 0,
        }
    }

    /// Makes two records of one, the second starting at `at`.
    fn split(&mut self, index: usize, at: u32) {
        if let Some(record) = self.records.get_mut(index)
            && seq::lt(record.start, at)
            && seq::lt(at, record.end)
        {
            let mut second = *record;
            record.end = at;
            second.start = at;
            if record.has(Mark::SACKED) {
                self.sacked_records += 1;
            }
            if record.has(Mark::RETRANSMITTED) && !record.has(Mark::LOST | Mark::SACKED) {
                // The entry of the whole stands for the first part only.
                let sent_at = record.sent_at;
                let place = place_of(&self.again, at, sent_at);
                self.again.insert(place, (at, sent_at));
            }
            self.records.insert(index + 1, second);
        }
    }

    /// Everything before `ack` was acknowledged.
    #[inline]
    pub(crate) fn acknowledge(&mut self, ack: u32, delivery: &mut Delivery) {
        while let Some(front) = self.records.front_mut() {
            if seq::le(ack, front.start) {
                break;
            }
            let mut record = *front;
            if seq::lt(ack, record.end) {
                record.end = ack;
                front.start = ack;
                if front.has(Mark::RETRANSMITTED) && !front.has(Mark::LOST | Mark::SACKED) {
                    let sent_at = front.sent_at;
                    let place = place_of(&self.again, ack, sent_at);
                    self.again.insert(place, (ack, sent_at));
                }
            } else {
                self.records.pop_front();
                if record.has(Mark::SACKED) {
                    self.sacked_records -= 1;
                }
            }
            if record.has(Mark::SACKED) {
                self.sacked -= record.len();
            } else {
                if record.has(Mark::LOST) {
                    self.lost -= record.len();
                }
                delivery.add(&record, self.highest);
            }
        }
        self.highest = seq::max(self.highest, ack);
        self.lost_from = seq::max(self.lost_from, ack);
        self.open_from = seq::max(self.open_from, ack);
        if self.records.is_empty() {
            self.again.clear();
        }
    }

    /// The peer has these blocks, which lie between SND.UNA and SND.NXT. Where there are many records one is split only at a
    /// multiple of `mss` from its start, as segments are; of one that a block has less of the rest is sent again, if it
    /// comes to that. Otherwise a peer could have a record made for each byte.
    pub(crate) fn sack(&mut self, blocks: &Blocks, mss: u32, delivery: &mut Delivery) {
        let mss = mss.max(1);
        for &(start, end) in blocks {
            self.sack_range(start, end, mss, delivery);
        }
        for &(_, end) in blocks {
            self.highest = seq::max(self.highest, end);
        }
    }

    fn sack_range(&mut self, start: u32, end: u32, mss: u32, delivery: &mut Delivery) {
        if !seq::lt(start, end) {
            return;
        }
        let mss = if self.records.len() < FEW { 1 } else { mss };
        let mut index = self.index_of(start);
        if let Some(record) = self.records.get(index)
            && seq::lt(record.start, start)
        {
            let before = start.wrapping_sub(record.start).next_multiple_of(mss);
            let at = record.start.wrapping_add(before);
            if !record.has(Mark::SACKED) && before < record.len() && seq::lt(at, end) {
                self.split(index, at);
            }
            index += 1;
        }
        let first = index;
        while let Some(record) = self.records.get(index).copied() {
            if seq::le(end, record.start) {
                break;
            }
            self.count_work();
            if record.has(Mark::SACKED) {
                index = self.index_behind(index, record.sacked_to);
                continue;
            }
            if seq::lt(end, record.end) {
                let part = end.wrapping_sub(record.start) / mss * mss;
                if part == 0 {
                    break;
                }
                self.split(index, record.start.wrapping_add(part));
            }
            let Some(record) = self.records.get_mut(index) else {
                break;
            };
            if record.has(Mark::LOST) {
                self.lost -= record.len();
                record.marks.remove(Mark::LOST);
            }
            record.marks |= Mark::SACKED;
            record.sacked_to = record.end;
            self.sacked += record.len();
            self.sacked_records += 1;
            let record = *record;
            delivery.add(&record, self.highest);
            index += 1;
        }
        self.shorten(first, index);
    }

    /// The record behind `to`, where all from the record at `index` to there is SACKED.
    fn index_behind(&self, index: usize, to: u32) -> usize {
        match self.records.get(index + 1) {
            Some(next) if next.start == to => index + 1,
            _ => self.index_of(to),
        }
    }

    /// Records `first` to `end` are SACKED: who comes by again passes over them in one step.
    fn shorten(&mut self, first: usize, end: usize) {
        let Some(last) = self.records.range(first.min(end)..end).next_back() else {
            return;
        };
        let (mut index, to) = (first, last.end);
        while index < end
            && let Some(record) = self.records.get_mut(index)
        {
            let next = core::mem::replace(&mut record.sacked_to, to);
            self.count_work();
            index = self.index_behind(index, next);
        }
    }

    /// Tests see how many records SACK blocks have had looked at.
    #[inline]
    fn count_work(&mut self) {
        #[cfg(test)]
        {
            self.work += 1;
        }
    }

    /// Takes note of what was delivered last (RFC 8985 section 6.2, steps 1 and 2). `is_original` tells by timestamps
    /// whether the acknowledgment of something sent again is of its first sending.
    pub(crate) fn update_rack(
        &mut self,
        now: Instant,
        delivery: &Delivery,
        min_rtt: Duration,
        is_original: bool,
    ) {
        let Some(newest) = &delivery.newest else {
            return;
        };
        let rtt = now - newest.sent_at;
        if newest.has(Mark::RETRANSMITTED) && (is_original || rtt < min_rtt) {
            return;
        }
        let later = self.rack.is_none_or(|rack| {
            rack.sent_at < newest.sent_at
                || rack.sent_at == newest.sent_at && seq::lt(rack.end, newest.end)
        });
        if later {
            self.rack = Some(Rack {
                sent_at: newest.sent_at,
                end: newest.end,
                rtt,
            });
        }
    }

    /// Marks as lost what was sent long enough before something that was delivered (RFC 8985 section 6.2, step 5). Tells
    /// the bytes newly lost, and when to look again.
    pub(crate) fn detect_losses(
        &mut self,
        now: Instant,
        window: Duration,
    ) -> (u32, Option<Instant>) {
        let Some(rack) = self.rack else {
            return (0, None);
        };
        let patience = rack.rtt + window;
        let mut newly = 0;
        let mut again_at = None;
        let later = |sent_at: Instant, end: u32| {
            rack.sent_at > sent_at || rack.sent_at == sent_at && seq::lt(end, rack.end)
        };
        let mut index = self.index_of(self.open_from);
        while let Some(record) = self.records.get_mut(index) {
            if !record.has(Mark::SACKED | Mark::LOST | Mark::RETRANSMITTED) {
                if !later(record.sent_at, record.end) {
                    break;
                }
                if now < record.sent_at + patience {
                    again_at = Some(record.sent_at + patience);
                    break;
                }
                record.marks |= Mark::LOST;
                newly += record.len();
                self.lost_from = seq::min(self.lost_from, record.start);
            }
            self.open_from = record.end;
            index += 1;
        }
        while let Some(&(start, sent_at)) = self.again.front() {
            let index = self.index_of(start);
            // An entry may have been overtaken: acknowledged, SACKed, or lost and sent once more.
            let current = self.records.get_mut(index).filter(|record| {
                record.start == start
                    && record.sent_at == sent_at
                    && !record.has(Mark::SACKED | Mark::LOST)
            });
            if let Some(record) = current {
                if !later(sent_at, record.end) {
                    break;
                }
                if now < sent_at + patience {
                    again_at = again_at.max(Some(sent_at + patience));
                    break;
                }
                record.marks |= Mark::LOST;
                newly += record.len();
                self.lost_from = seq::min(self.lost_from, start);
            }
            self.again.pop_front();
        }
        self.count_lost(newly);
        (newly, again_at)
    }

    /// Makes the first record one of at most so many bytes, and another one of the rest.
    pub(crate) fn split_first(&mut self, len: u32) {
        if let Some(at) = self
            .records
            .front()
            .map(|front| front.start.wrapping_add(len))
        {
            self.split(0, at);
        }
    }

    /// Thinks the first record lost, or as much of it as a segment holds; tells its bytes.
    pub(crate) fn lose_first(&mut self, mss: u32) -> u32 {
        let Some(front) = self.records.front() else {
            return 0;
        };
        if front.has(Mark::LOST | Mark::SACKED) {
            return 0;
        }
        if front.len() > mss {
            let at = front.start.wrapping_add(mss);
            self.split(0, at);
        }
        let Some(front) = self.records.front_mut() else {
            return 0;
        };
        front.marks |= Mark::LOST;
        let len = front.len();
        self.lost_from = front.start;
        self.count_lost(len);
        len
    }

    /// The retransmission timer has expired: what the peer does not have is thought lost, the first record and what left
    /// longer ago than `recent`, a round trip and the reordering window; the rest may be on its way (RFC 8985 section 6.3,
    /// `RACK_mark_losses_on_RTO`). If the first record is SACKED the peer has dropped what it told to have, and none of it
    /// counts any more (RFC 2018 section 8).
    pub(crate) fn lose_on_timeout(&mut self, now: Instant, recent: Option<Duration>) {
        let reneged = self.is_reneged();
        if reneged {
            (self.sacked, self.sacked_records) = (0, 0);
        }
        let recent = recent.filter(|_| !reneged);
        let mut newly = 0;
        for (index, record) in self.records.iter_mut().enumerate() {
            if reneged {
                record.marks.remove(Mark::SACKED);
            }
            let spared = index > 0 && recent.is_some_and(|time| now < record.sent_at + time);
            if !spared && !record.has(Mark::SACKED | Mark::LOST) {
                record.marks |= Mark::LOST;
                newly += record.len();
            }
        }
        self.count_lost(newly);
        self.look_at_all();
    }

    /// Thinks lost what is longer than a segment may be now, as it can't have got through (RFC 1191 section 6.4).
    pub(crate) fn lose_longer_than(&mut self, mss: u32) -> u32 {
        let mut newly = 0;
        for record in &mut self.records {
            if record.len() > mss && !record.has(Mark::SACKED | Mark::LOST) {
                record.marks |= Mark::LOST;
                newly += record.len();
                self.lost_from = seq::min(self.lost_from, record.start);
            }
        }
        self.count_lost(newly);
        newly
    }

    fn count_lost(&mut self, newly: u32) {
        self.lost += newly;
        self.marked_lost = self.marked_lost.wrapping_add(newly);
    }

    /// Bytes that were ever thought lost, wrapping: another count tells that there are new ones.
    pub(crate) fn marked_lost(&self) -> u32 {
        self.marked_lost
    }

    /// What is thought lost, in order: at most `most` ranges, the last of which may take in what lies between.
    pub(crate) fn lost_ranges(&self, most: usize) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let lost = self.records.iter().filter(|record| record.has(Mark::LOST));
        for record in lost {
            let full = ranges.len() >= most;
            match ranges.last_mut() {
                Some((_, end)) if *end == record.start || full => *end = record.end,
                _ => ranges.push((record.start, record.end)),
            }
        }
        ranges
    }

    /// Nothing is thought lost any more: it only came late (RFC 4015).
    pub(crate) fn unlose(&mut self) {
        for record in &mut self.records {
            record.marks.remove(Mark::LOST);
        }
        self.lost = 0;
        self.look_at_all();
    }

    /// Has all records looked at when losses are looked for, those sent again in the order in which they left.
    fn look_at_all(&mut self) {
        if let Some(front) = self.records.front() {
            self.lost_from = front.start;
            self.open_from = front.start;
        }
        self.again.clear();
        let again = self.records.iter().filter(|record| {
            record.has(Mark::RETRANSMITTED) && !record.has(Mark::SACKED | Mark::LOST)
        });
        self.again
            .extend(again.map(|record| (record.start, record.sent_at)));
        self.again.make_contiguous().sort_by_key(|(_, at)| *at);
    }

    /// What is to be sent again first, at most `max` bytes of it.
    pub(crate) fn next_lost(&mut self, max: u32) -> Option<(u32, u32)> {
        if self.lost == 0 {
            return None;
        }
        let mut index = self.index_of(self.lost_from);
        while let Some(record) = self.records.get(index) {
            if record.has(Mark::LOST) {
                self.lost_from = record.start;
                let len = record.len().min(max);
                return Some((record.start, record.start.wrapping_add(len)));
            }
            index += 1;
        }
        // The bytes are counted with the marks; if they ever disagreed the count must not stall the connection.
        debug_assert!(false, "{} bytes lost and none marked", self.lost);
        self.lost = 0;
        None
    }

    /// Notes that `start` to `end`, which begins a record, was sent again.
    pub(crate) fn sent_again(&mut self, start: u32, end: u32, stamp: Sent) {
        let index = self.index_of(start);
        self.split(index, start);
        let index = self.index_of(start);
        self.split(index, end);
        let Some(record) = self.records.get_mut(index) else {
            return;
        };
        if record.has(Mark::LOST) {
            self.lost -= record.len();
        }
        let (start, end) = (record.start, record.end);
        *record = Sent {
            start,
            end,
            marks: Mark::RETRANSMITTED
                | (stamp.marks & Mark::APP_LIMITED)
                | (record.marks & Mark::SACKED),
            sacked_to: record.sacked_to,
            ..stamp
        };
        self.again.push_back((start, stamp.sent_at));
    }
}

#[cfg(test)]
mod tests;
