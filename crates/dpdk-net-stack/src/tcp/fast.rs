//! The common case: a connection on which everything arrives, in order, and is acknowledged at once.
//!
//! A segment that is exactly what was expected (Van Jacobson's header prediction) and one that carries all there is to
//! send are dealt with here, by the same rules as in [`input`](super::input), [`ack`](super::ack),
//! [`receive`](super::receive) and [`output`](super::output), of which only those parts are left that such a segment can
//! need. Whoever is in doubt says so before anything is changed, and the segment goes the long way. Nothing here is
//! needed for TCP to work.
//!
//! That nothing is amiss is found out once, at the end of the long way ([`Flow::settle`]), and holds until the next one
//! begins ([`Flow::rouse`]): the connection is *calm* meanwhile. What is outstanding is one record then, in the flow
//! itself, and neither the scoreboard nor congestion control is touched: all that they would be told is put down in the
//! [`Tab`]. This spares half the memory that a request touches, which is most of its time where there are many
//! connections.

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::gso::Checksums;
use dpdk_net_packet::tcp::{Flags, HEADER_LEN};

use super::ack::TICK_NANOS;
use super::cc::initial_window;
use super::chunk::COPY_BELOW;
use super::flow::{Flow, FlowFlags, Wait, coarse_clock, timestamp_clock};
use super::header::Header;
use super::options::TIMESTAMPS_LEN;
use super::pool::Pool;
use super::rare::Rare;
use super::{Nanos, Settings, TcpState, TimerKey, seq};
use crate::event::Readiness;
use crate::time::Instant;
use crate::wheel::Wheel;

/// A TCP header with timestamps and nothing else.
const TCP_LEN: usize = HEADER_LEN + TIMESTAMPS_LEN;
/// What stands before the timestamps themselves (RFC 7323 appendix A).
const TIMESTAMPS_START: u32 = 0x0101_080a;
/// Data offset and flags of a segment with timestamps and an acknowledgment: PSH says nothing.
const EXPECTED: u32 = 0x8010;
const IGNORED: u32 = Flags::PSH.0 as u32;
/// How often progress is told to the neighbour cache, in nanoseconds: that is the long way's.
const CONFIRM_NANOS: u64 = 1_000_000_000;
/// So much on the tab is told when the timer runs, lest it overflow.
const LONG_TAB: u32 = 1 << 28;

/// With any of these a connection is not calm.
const NOT_CALM: FlowFlags = FlowFlags::UNACCEPTED
    .union(FlowFlags::ORPHAN)
    .union(FlowFlags::BLOCKED)
    .union(FlowFlags::RESET_OWED)
    .union(FlowFlags::READ_SHUT)
    .union(FlowFlags::WRITE_SHUT)
    .union(FlowFlags::FIN_RECEIVED)
    .union(FlowFlags::OVER)
    .union(FlowFlags::CONNECTING)
    .union(FlowFlags::ECN)
    .union(FlowFlags::PROBE)
    .union(FlowFlags::PERSIST)
    .union(FlowFlags::CWND_LIMITED)
    .union(FlowFlags::PACED)
    .union(FlowFlags::QUICKACK)
    .union(FlowFlags::TRACED);

/// What a calm connection has sent and got acknowledged, and has not told its [`Sender`](super::sender::Sender).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tab {
    /// When data was sent last: all that is outstanding left then.
    pub(crate) sent_at: Instant,
    /// Bytes sent and segments they were sent in.
    pub(crate) bytes: u32,
    pub(crate) segments: u32,
    /// Bytes acknowledged.
    pub(crate) acked: u32,
    /// For how long something was outstanding, in microseconds.
    pub(crate) busy_micros: u32,
}

/// What an expected segment leaves to be done.
pub(super) struct Taken {
    pub(super) ready: Readiness,
    /// Whether the connection has something to send.
    pub(super) ask: bool,
}

/// A segment that leaves: all there is to send.
pub(super) struct Sent {
    seq: u32,
    /// Bytes of data.
    len: u32,
    window: u16,
}

#[inline(always)]
fn word(bytes: &[u8; TCP_LEN], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

impl Flow {
    #[inline(always)]
    pub(super) fn is_calm(&self) -> bool {
        self.calm != 0
    }

    /// Finds out whether nothing is amiss, and nothing will be while less than half of the congestion window is used: then
    /// it need not grow, and acknowledgments are of no interest to its algorithm.
    pub(super) fn settle(&mut self, config: &Settings) {
        if self.state != TcpState::Established
            || self.flags.intersects(NOT_CALM)
            || !self.flags.contains(FlowFlags::TIMESTAMPS)
            || self.quick_acks != 0
            || self.backoff != 0
            || matches!(self.wait, Wait::Persist | Wait::Reorder)
            || self.is_calm()
        {
            return;
        }
        let (Some(sender), rare) = (&self.sender, self.rare.as_deref()) else {
            return;
        };
        let Some(cwnd) = sender.calm_window() else {
            return;
        };
        // A buffer that holds less than the window wants grows, which is the long way's.
        let grown = self.send_max >= config.full_send(cwnd)
            || rare.is_some_and(|rare| rare.send_max.is_some());
        let outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
        if !grown || outstanding > cwnd / 2 || !rare.is_none_or(Rare::is_calm) {
            return;
        }
        let mut sent_at = sender.last_sent;
        match &mut self.busy {
            Some(busy) if busy.gaps.is_some() || !busy.sent.is_plain() => return,
            Some(busy) if outstanding != 0 => match busy.sent.take_single() {
                Some(at) => sent_at = at,
                None => return,
            },
            Some(_) => {}
            None if outstanding != 0 => return,
            None => {}
        }
        self.tab = Tab {
            sent_at,
            ..Tab::default()
        };
        (self.wait, self.wait_until) = (Wait::Nothing, Instant::MAX);
        self.calm = cwnd / 2;
    }

    /// Something may be amiss from now on: the long way begins, and has to know all.
    #[cold]
    #[inline(never)]
    pub(super) fn rouse(&mut self, nanos: &Nanos) {
        if !self.is_calm() {
            return;
        }
        (self.wait, self.wait_until) = self.calm_wait(nanos);
        self.calm = 0;
        let Some(sender) = &mut self.sender else {
            return;
        };
        let outstanding = (self.snd_una, self.snd_nxt);
        let record = sender.settle_tab(&self.tab, self.heard, outstanding);
        if let (Some(record), Some(busy)) = (record, &mut self.busy) {
            busy.sent.push(record);
        }
    }

    /// What a calm connection waits for, and until when. It could have been set when data was sent: nothing that it depends
    /// on has changed since, as all that was outstanding left then. As [`restart_timer`](Self::restart_timer).
    pub(super) fn calm_wait(&self, nanos: &Nanos) -> (Wait, Instant) {
        if self.snd_una == self.snd_nxt {
            return (Wait::Nothing, Instant::MAX);
        }
        // A segment that is alone may be acknowledged late (RFC 9293 section 3.8.6.3).
        let late = if self.is_calm_alone() {
            nanos.peer_ack_delay
        } else {
            0
        };
        let rto = self.rtt.rto_nanos(nanos.min_rto, nanos.max_rto);
        let rto = rto.saturating_add(late).min(nanos.max_rto);
        let srtt = self.rtt.srtt_nanos();
        let (wait, nanos) = if srtt != 0 && self.flags.contains(FlowFlags::SACK) {
            let probe = (srtt * 2).max(TICK_NANOS).saturating_add(late);
            (Wait::Probe, probe.min(rto))
        } else {
            (Wait::Retransmit, rto)
        };
        (wait, self.tab.sent_at.after_nanos(nanos))
    }

    /// Whether what a calm connection has outstanding is one segment.
    #[inline(always)]
    fn is_calm_alone(&self) -> bool {
        self.snd_nxt.wrapping_sub(self.snd_una) <= self.mss.into()
    }

    /// Arms the timer of a calm connection that has just sent something.
    #[inline(always)]
    pub(super) fn arm_calm(&mut self, wheel: &mut Wheel<TimerKey>, nanos: &Nanos, now: Instant) {
        // It waits for that long at least, and nearly always the timer runs for less.
        let least = now.after_nanos(nanos.peer_ack_delay.min(nanos.max_rto));
        if self.timer_at > least || !self.is_calm_alone() {
            self.arm_calm_now(wheel, nanos);
        }
    }

    #[inline(never)]
    fn arm_calm_now(&mut self, wheel: &mut Wheel<TimerKey>, nanos: &Nanos) {
        let (_, at) = self.calm_wait(nanos);
        self.arm(wheel, at);
    }

    /// The timer of a calm connection has run out: when it is to run out next, if nothing is due.
    pub(super) fn calm_until(&self, nanos: &Nanos, now: Instant) -> Option<Instant> {
        let (_, at) = self.calm_wait(nanos);
        let at = at.min(self.ack_at).min(self.expires);
        let short = self.tab.bytes < LONG_TAB && self.tab.busy_micros < LONG_TAB;
        (self.is_calm() && now < at && self.rare.is_none() && short).then_some(at)
    }

    /// Takes a segment that is exactly what was expected. `None`, and nothing is changed, if it is not.
    #[inline(always)]
    pub(super) fn take_expected(
        &mut self,
        now: Instant,
        config: &Settings,
        pool: &mut Pool,
        segment: &[u8],
    ) -> Option<Taken> {
        let (header, data) = segment.split_first_chunk::<TCP_LEN>()?;
        let (start, ack) = (word(header, 4), word(header, 8));
        let control = word(header, 12);
        let stamp = word(header, HEADER_LEN + 4);
        let len = data.len() as u32;
        let outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
        let advance = ack.wrapping_sub(self.snd_una);
        let odd = (control >> 16 & !IGNORED ^ EXPECTED)
            | (word(header, HEADER_LEN) ^ TIMESTAMPS_START)
            | (start ^ self.rcv_nxt);
        if odd != 0
            || !self.is_calm()
            || advance != 0 && advance != outstanding
            || len >= COPY_BELOW as u32
            || seq::lt(stamp, self.ts_recent)
            || len > self.rcv_window()
            // With nothing new in it, it is a duplicate or a window update.
            || len | advance == 0
            || now.nanos_since(self.heard) >= CONFIRM_NANOS
        {
            return None;
        }
        if advance != 0 {
            self.busy.as_deref_mut()?.send.ack(ack);
            let micros = self.rtt.sample_since(now, self.tab.sent_at);
            self.tab.busy_micros = self.tab.busy_micros.wrapping_add(micros);
            self.tab.acked = self.tab.acked.wrapping_add(advance);
            self.snd_una = ack;
        }
        self.segments_in = self.segments_in.wrapping_add(1);
        // RFC 7323 section 4.3: what is echoed is of the segment that the next ACK answers.
        if seq::le(start, self.acked) {
            (self.ts_recent, self.ts_recent_at) = (stamp, coarse_clock(now));
        }
        // RFC 9293 section 3.10.7.4. Nothing that came before acknowledges more.
        if seq::le(self.snd_wl1, start) {
            (self.snd_wl1, self.snd_wl2) = (start, ack);
            self.snd_wnd = (control & 0xffff) << self.snd_shift;
            self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        }
        self.heard = now;
        let mut ready = Readiness::empty();
        if len > 0 {
            self.busy_mut(pool).recv.push_copy(data);
            self.rcv_nxt = start.wrapping_add(len);
            self.received += u64::from(len);
            if len > self.rcv_mss.into() {
                self.rcv_mss = (len as u16).min(config.most_mss(self.key.is_v6()));
            }
            ready = Readiness::READABLE;
            let waiting = self.rcv_nxt.wrapping_sub(self.acked);
            if waiting >= 2 * u32::from(self.rcv_mss) {
                self.flags |= FlowFlags::ACK_NOW;
            } else if self.ack_at == Instant::MAX {
                self.ack_at = now.after_nanos(config.nanos.ack_delay);
            }
        }
        let ask = self.snd_nxt != self.write_end || self.has(FlowFlags::ACK_NOW);
        Some(Taken { ready, ask })
    }

    /// Decides to send all there is to send in one segment, and takes it for sent. `None`, and nothing is changed, if
    /// there is nothing or it can't be done so simply.
    #[inline(always)]
    pub(super) fn send_all(&mut self, now: Instant, config: &Settings) -> Option<Sent> {
        let start = self.snd_nxt;
        let len = self.write_end.wrapping_sub(start);
        let flight = start.wrapping_sub(self.snd_una);
        let end_flight = self.write_end.wrapping_sub(self.snd_una);
        // Nothing is more than anything.
        if len.wrapping_sub(1) >= self.mss.into()
            || end_flight > self.calm.min(self.snd_wnd)
            || self.busy.is_none()
        {
            return None;
        }
        if flight == 0 {
            // RFC 5681 section 4.1: after so long a time the window has to be reduced, if it is larger than the initial one.
            let since = now.nanos_since(self.tab.sent_at);
            let nanos = &config.nanos;
            if since > nanos.min_rto
                && self.calm > initial_window(self.mss.into()) / 2
                && since > self.rtt.rto_nanos(nanos.min_rto, nanos.max_rto)
            {
                return None;
            }
        } else if now != self.tab.sent_at || !self.flags.contains(FlowFlags::NODELAY) {
            // What is outstanding is one record, of one time.
            return None;
        }
        self.tab.sent_at = now;
        self.tab.bytes = self.tab.bytes.wrapping_add(len);
        self.tab.segments = self.tab.segments.wrapping_add(1);
        self.snd_nxt = self.write_end;
        self.segments_out = self.segments_out.wrapping_add(1);
        let window = self.advertise();
        self.acked = self.rcv_nxt;
        self.ack_at = Instant::MAX;
        self.flags.remove(FlowFlags::ACK_NOW);
        Some(Sent {
            seq: start,
            len,
            window,
        })
    }

    /// Bytes of the frame that the segment makes.
    #[inline(always)]
    pub(super) fn frame_len(&self, sent: &Sent) -> usize {
        self.key.header_len() + TCP_LEN + sent.len as usize
    }

    /// Writes the frame.
    #[inline(always)]
    pub(super) fn write_all(
        &self,
        now: Instant,
        sent: &Sent,
        from: MacAddr,
        frame: &mut [u8],
        checksums: Checksums,
    ) {
        let len = TCP_LEN + sent.len as usize;
        let header = Header {
            dst: self.mac,
            src: from,
            ttl: self.ttl,
            traffic_class: self.tos,
            len,
            checksum: checksums.ip,
        };
        let Some(segment) = self.key.write_header(frame, &header) else {
            return;
        };
        let Some((tcp, data)) = segment.split_first_chunk_mut::<TCP_LEN>() else {
            return;
        };
        tcp[0..4].copy_from_slice(&self.key.ports().to_be_bytes());
        tcp[4..8].copy_from_slice(&sent.seq.to_be_bytes());
        tcp[8..12].copy_from_slice(&self.rcv_nxt.to_be_bytes());
        let control = (EXPECTED | IGNORED) << 16 | u32::from(sent.window);
        tcp[12..16].copy_from_slice(&control.to_be_bytes());
        let sum = self.key.first_checksum(len, checksums.transport);
        tcp[16..20].copy_from_slice(&(u32::from(sum) << 16).to_be_bytes());
        tcp[20..24].copy_from_slice(&TIMESTAMPS_START.to_be_bytes());
        let stamp = timestamp_clock(now).wrapping_add(self.ts_offset);
        tcp[24..28].copy_from_slice(&stamp.to_be_bytes());
        tcp[28..32].copy_from_slice(&self.ts_recent.to_be_bytes());
        if let Some(busy) = &self.busy {
            busy.send.copy_to(sent.seq, data);
        }
        if checksums.transport {
            self.key.fill_checksum(segment);
        }
    }
}
