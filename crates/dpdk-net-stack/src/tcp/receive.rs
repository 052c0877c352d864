//! Data on its way in: what is taken of a segment, when it is acknowledged, and how much more the peer may send.

use alloc::boxed::Box;
use core::ops::Range;

use bytes::Bytes;
use dpdk_net_packet::tcp::{Flags, Segment};

use super::assembler::{Assembler, Payload};
use super::busy::Gaps;
use super::chunk::COPY_BELOW;
use super::flow::{Flow, FlowFlags};
use super::pool::Pool;
use super::{Settings, Tcp, TcpState, seq};
use crate::event::{Readiness, TcpId};
use crate::metrics::Histogram;
use crate::stats::TcpCounters;
use crate::time::{Duration, Instant};

/// What all connections share while a segment is dealt with.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) config: &'a Settings,
    pub(crate) pool: &'a mut Pool,
    pub(crate) arrived: Option<Arrived>,
    /// Payload bytes of each of the segments that the NIC coalesced into this one; 0 if it did not tell.
    pub(crate) lro_segment: u16,
    pub(crate) stats: &'a mut TcpCounters,
    pub(crate) rtts: &'a mut Histogram,
}

/// The payload of a segment in the buffer that it came in.
#[derive(Debug)]
pub(crate) struct Arrived {
    data: Bytes,
    /// Memory that stays taken because of it.
    held: usize,
}

/// Payload behind that of a segment, in order: of segments merged with it, or of a frame in several pieces of memory.
pub(crate) type More<'a> = arrayvec::ArrayVec<(&'a [u8], Option<Arrived>), MOST_MORE>;

/// Pieces dealt with at once: a large frame of 64 KiB in mbufs of 2 KiB has 33.
const MOST_MORE: usize = 64;

/// `payload`, which lies in `memory`, if that can be `share`d: then it need not be copied.
#[inline]
pub(crate) fn arrived(
    memory: &[u8],
    payload: &[u8],
    share: impl FnOnce(Range<usize>) -> Option<(Bytes, usize)>,
) -> Option<Arrived> {
    if payload.len() < COPY_BELOW {
        return None;
    }
    let start = payload.as_ptr().addr().wrapping_sub(memory.as_ptr().addr());
    share(start..start.wrapping_add(payload.len()))
        .map(|(data, held)| Arrived { data, held })
        // A buffer far larger than what is in it would hold on to too much.
        .filter(|arrived| arrived.held <= 2 * payload.len() + SLACK)
}

/// Memory that a packet buffer may have beyond twice its payload to be kept: headers and headroom.
const SLACK: usize = 512;

/// Round trips shorter than this are taken for it where buffers are tuned: the clock of a turn is no finer.
const LEAST_ROUND: Duration = Duration::from_micros(100);

/// Segments acknowledged at once after one that was out of order: the peer's window has become small, and an
/// acknowledgment that waits for a second segment costs it much of a round trip (as Linux).
const QUICK_ACKS: u8 = 16;

impl Tcp {
    /// Whether a segment is the next of its connection, and brings data and nothing else that is new but an acknowledgment: then
    /// payload that follows it can be taken with it.
    pub(crate) fn takes_more(&self, id: TcpId, segment: &Segment<'_>) -> bool {
        let flags = Flags(segment.flags().0 & !Flags::PSH.0);
        self.flows.get(id).is_some_and(|flow| {
            // All states in which data comes.
            let receives = matches!(
                flow.state(),
                TcpState::Established | TcpState::FinWait1 | TcpState::FinWait2
            );
            receives
                && segment.seq() == flow.rcv_nxt
                && flags == Flags::ACK
                && !segment.payload().is_empty()
        })
    }
}

impl Flow {
    /// Whether a segment that takes `len` of sequence space from `start` has something within the receive window (RFC
    /// 9293 section 3.10.7.4, first). With the window closed the next byte is let through, for its acknowledgment.
    #[inline]
    pub(crate) fn is_acceptable(&self, start: u32, len: u32) -> bool {
        let end = start.wrapping_add(len);
        let behind = if len == 0 {
            seq::lt(start, self.rcv_nxt)
        } else {
            seq::le(end, self.rcv_nxt)
        };
        let ahead = seq::le(self.rcv_edge, start) && start != self.rcv_nxt;
        // A peer may number an ACK by the very edge of the window.
        !behind && (!ahead || len == 0 && start == self.rcv_edge)
    }

    /// Takes the data of an acceptable segment, and its FIN. Tells what the application may want to know.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        context: &mut Context<'_>,
        start: u32,
        data: &[u8],
        fin: bool,
    ) -> Readiness {
        let gaps = self.busy.as_ref().is_some_and(|busy| busy.gaps.is_some());
        let room = self.rcv_window() as usize;
        if start != self.rcv_nxt || gaps || data.len() > room {
            return self.receive_odd(context, start, data, fin);
        }
        if !data.is_empty() {
            self.append(context, data);
            self.rcv_nxt = start.wrapping_add(data.len() as u32);
            self.received += data.len() as u64;
            self.acknowledge_soon(context, data.len());
        }
        let mut ready = Readiness::empty();
        if !data.is_empty() {
            ready |= Readiness::READABLE;
        }
        if fin {
            ready |= self.receive_fin();
        }
        ready
    }

    /// Keeps data that is next in order.
    #[inline]
    fn append(&mut self, context: &mut Context<'_>, data: &[u8]) {
        if self.has(FlowFlags::READ_SHUT) {
            return;
        }
        let most = 2 * self.recv_max as usize;
        let busy = self.busy_mut(context.pool);
        match context.arrived.take() {
            // Only a segment of which nothing was cut off. Memory is bounded, whatever the buffers' size.
            Some(Arrived { data: kept, held })
                if kept.len() == data.len() && busy.recv.heap_bytes() + held <= most =>
            {
                context.stats.rx_kept += 1;
                busy.recv.push(kept, held);
            }
            _ => busy.recv.push_copy(data),
        }
    }

    /// Out of order, repeated, or more than the window holds.
    #[cold]
    fn receive_odd(
        &mut self,
        context: &mut Context<'_>,
        start: u32,
        data: &[u8],
        fin: bool,
    ) -> Readiness {
        self.flags |= FlowFlags::ACK_NOW;
        self.quick_acks = QUICK_ACKS;
        let (mut start, mut data, mut fin) = (start, data, fin);
        let end = start.wrapping_add(data.len() as u32);
        if seq::lt(start, self.rcv_nxt) {
            let repeated_to = seq::min(end, self.rcv_nxt);
            if seq::lt(start, repeated_to) {
                context.stats.duplicate_data += 1;
                self.rare().duplicate = Some((start, repeated_to));
            }
            let skip = repeated_to.wrapping_sub(start) as usize;
            data = data.get(skip..).unwrap_or_default();
            start = repeated_to;
            if seq::lt(start, self.rcv_nxt) {
                return Readiness::empty();
            }
        }
        let room = if seq::lt(start, self.rcv_edge) {
            self.rcv_edge.wrapping_sub(start) as usize
        } else {
            0
        };
        if data.len() > room {
            data = &data[..room];
            fin = false;
        }
        let mut ready = Readiness::empty();
        if start == self.rcv_nxt {
            if !data.is_empty() {
                self.note_repeated(context, start.wrapping_add(data.len() as u32));
                self.append(context, data);
                self.rcv_nxt = start.wrapping_add(data.len() as u32);
                self.received += data.len() as u64;
                self.note_segment(context, data.len());
                ready |= Readiness::READABLE;
            }
            ready |= self.close_gaps();
            if fin && !self.has(FlowFlags::FIN_RECEIVED) {
                let fin_at = start.wrapping_add(data.len() as u32);
                if fin_at == self.rcv_nxt {
                    ready |= self.receive_fin();
                }
            }
            return ready;
        }
        if !self.has(FlowFlags::SACK) {
            let rare = self.rare();
            rare.owed_acks = rare.owed_acks.saturating_add(1);
        }
        // Ahead of what is expected. The window bounds the bytes, and twice that the memory with all that belongs to it.
        let (rcv_nxt, limit) = (self.rcv_nxt, 2 * self.recv_max as usize);
        let busy = self.busy_mut(context.pool);
        let gaps = busy.gaps.get_or_insert_with(|| {
            Box::new(Gaps {
                assembler: Assembler::new(),
                fin: None,
            })
        });
        if fin {
            gaps.fin = Some(start.wrapping_add(data.len() as u32));
        }
        if !data.is_empty() {
            let payload = match context.arrived.take() {
                Some(Arrived { data: kept, held }) if kept.len() == data.len() => {
                    Payload::Keep(kept, held)
                }
                _ => Payload::Copy(data),
            };
            let inserted = gaps.assembler.insert(rcv_nxt, start, &payload, limit);
            context.stats.out_of_order += u64::from(inserted.new > 0);
            context.stats.out_of_order_dropped += u64::from(inserted.dropped);
            if let Some(range) = inserted.duplicate {
                context.stats.duplicate_data += 1;
                self.rare().duplicate = Some(range);
            }
            self.widen(context, start.wrapping_add(data.len() as u32));
        }
        ready
    }

    /// A segment from `rcv_nxt` to `end` closes a gap. What lies behind it may have been received before (RFC 2883 section
    /// 4.2.2); one range a segment is told of.
    fn note_repeated(&mut self, context: &mut Context<'_>, end: u32) {
        let gaps = self.busy.as_mut().and_then(|busy| busy.gaps.as_mut());
        let repeated = gaps.and_then(|gaps| gaps.assembler.repeated(self.rcv_nxt, end));
        if let Some(range) = repeated {
            context.stats.duplicate_data += 1;
            self.rare().duplicate.get_or_insert(range);
        }
    }

    /// Bytes up to `end` have come ahead of a gap. While it lasts nothing can be read, and the reader's speed tells nothing;
    /// but a peer that fills the window behind it must not be stopped by it, or what is repaired late is never found out by
    /// what is sent after it. So the buffer grows, if the reader had kept up.
    fn widen(&mut self, context: &mut Context<'_>, end: u32) {
        let ahead = end.wrapping_sub(self.rcv_nxt);
        if ahead > self.recv_max / 2 && (self.recv_queue() as u32) < self.recv_max / 8 {
            let most = self.most_recv(context.config) as u32;
            let wanted = self.recv_max.saturating_mul(2).min(most);
            self.grow_recv(wanted, context.pool, context.stats);
        }
    }

    /// Takes what has become next in order out of the gaps' other side.
    fn close_gaps(&mut self) -> Readiness {
        let mut ready = Readiness::empty();
        let shut = self.has(FlowFlags::READ_SHUT);
        let Some(busy) = &mut self.busy else {
            return ready;
        };
        let Some(gaps) = &mut busy.gaps else {
            return ready;
        };
        while let Some(chunk) = gaps.assembler.take_ready(self.rcv_nxt) {
            self.rcv_nxt = self.rcv_nxt.wrapping_add(chunk.len() as u32);
            self.received += chunk.len() as u64;
            ready |= Readiness::READABLE;
            if !shut {
                busy.recv.push_chunk(chunk);
            }
        }
        let fin = gaps.fin == Some(self.rcv_nxt);
        if fin || gaps.assembler.is_empty() && gaps.fin.is_none() {
            busy.gaps = None;
        }
        if fin {
            ready |= self.receive_fin();
        }
        ready
    }

    /// The peer has no more to send, and all of it is here.
    fn receive_fin(&mut self) -> Readiness {
        if self.has(FlowFlags::FIN_RECEIVED) {
            return Readiness::empty();
        }
        self.rcv_nxt = self.rcv_nxt.wrapping_add(1);
        self.rcv_edge = seq::max(self.rcv_edge, self.rcv_nxt);
        self.flags |= FlowFlags::FIN_RECEIVED | FlowFlags::ACK_NOW;
        self.state = match self.state {
            TcpState::SynReceived | TcpState::Established => TcpState::CloseWait,
            TcpState::FinWait1 => TcpState::Closing,
            TcpState::FinWait2 => TcpState::TimeWait,
            other => other,
        };
        Readiness::READABLE
    }

    /// Takes note of how large the peer's segments are.
    #[inline]
    fn note_segment(&mut self, context: &Context<'_>, len: usize) {
        let mut len = u16::try_from(len)
            .unwrap_or(u16::MAX)
            .min(context.config.most_mss(self.key.is_v6()));
        if context.lro_segment != 0 {
            len = len.min(context.lro_segment);
        }
        self.rcv_mss = self.rcv_mss.max(len);
    }

    /// Data came in order: it is acknowledged with the second full segment, or soon (RFC 5681 section 4.2, RFC 9293
    /// section 3.8.6.3).
    #[inline]
    fn acknowledge_soon(&mut self, context: &Context<'_>, len: usize) {
        self.note_segment(context, len);
        let waiting = self.rcv_nxt.wrapping_sub(self.acked);
        if waiting >= 2 * u32::from(self.rcv_mss)
            || self.quick_acks > 0
            || self.has(FlowFlags::QUICKACK)
        {
            self.flags |= FlowFlags::ACK_NOW;
            self.quick_acks = self.quick_acks.saturating_sub(1);
        } else if self.ack_at == Instant::MAX {
            self.ack_at = context.now + context.config.ack_delay;
        }
    }

    /// The application has read: the buffer grows if it reads fast, and the peer is told if that is worth a segment.
    #[inline]
    pub(crate) fn after_read(
        &mut self,
        now: Instant,
        config: &Settings,
        pool: &mut Pool,
        stats: &mut TcpCounters,
    ) -> bool {
        if now >= self.tune_at {
            self.tune(now, config, pool, stats);
        }
        let (window, room) = (self.rcv_window(), self.recv_room());
        // As Linux: when the window has doubled. It is never told in small pieces (RFC 9293 section 3.8.6.2.2).
        if room < window.saturating_mul(2)
            || room - window < u32::from(self.rcv_mss).min(self.recv_max / 2).max(1)
            || !self.state.is_synchronized()
            || self.has(FlowFlags::FIN_RECEIVED)
        {
            return false;
        }
        self.flags |= FlowFlags::ACK_NOW;
        true
    }

    /// Once a round trip: a reader that took most of the buffer gets a larger one (dynamic right-sizing, as Linux does).
    fn tune(&mut self, now: Instant, config: &Settings, pool: &mut Pool, stats: &mut TcpCounters) {
        let read = self.rcv_nxt.wrapping_sub(self.recv_queue() as u32);
        let took = read.wrapping_sub(self.tune_from);
        self.tune_from = read;
        self.tune_at = now + self.rtt.srtt().unwrap_or_default().max(LEAST_ROUND);
        let most = self.most_recv(config) as u32;
        // Twice for the sender's window, which may double in a round trip, and twice for what is on its way meanwhile.
        self.grow_recv(took.saturating_mul(4).min(most), pool, stats);
    }

    /// Lets the buffer hold `wanted` bytes, if it held less and as far as all buffers together may grow.
    fn grow_recv(&mut self, wanted: u32, pool: &mut Pool, stats: &mut TcpCounters) {
        if let Some(more @ 1..) = wanted.checked_sub(self.recv_max) {
            self.recv_max += pool.take_growth(&mut self.grown, more, stats);
        }
    }
}
