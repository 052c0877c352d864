//! A connection: its sequence numbers, windows, timers and flags (the transmission control block of RFC 9293 section
//! 3.3.1). What takes a segment, gives one, or deals with an acknowledgment is in [`receive`](super::receive),
//! [`output`](super::output) and [`ack`](super::ack).
//!
//! What holds: SND.UNA <= SND.NXT <= `write_end` (+ 1 with a FIN). SND.NXT never goes back: what is sent again is found
//! in the scoreboard. Buffers and records are in [`Busy`], which exists only while there are bytes; what few connections
//! need is in [`Rare`].

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::tcp::Flags as SegmentFlags;

use super::busy::Busy;
use super::fast::Tab;
use super::options::Timestamps;
use super::rare::Rare;
use super::rtt::Rtt;
use super::scoreboard::Blocks;
use super::segment::Control;
use super::sender::{Past, Sender};
use super::table::FlowKey;
use super::{Settings, TcpState, TimerKey, seq};
use crate::event::{Readiness, TcpId};
use crate::time::Instant;
use crate::wheel::{TimerId, Wheel};

bitflags::bitflags! {
    /// What is true of a flow.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct FlowFlags: u32 {
        /// In the list of flows that are to be asked for segments.
        const DIRTY = 1;
        /// In the queue of events.
        const EVENT = 1 << 1;
        /// In the accept queue of its listener, or on the way there.
        const UNACCEPTED = 1 << 2;
        /// The application has let go of it.
        const ORPHAN = 1 << 3;
        /// The application wrote and not all of it fitted.
        const BLOCKED = 1 << 4;
        /// A RST must still be sent; then the flow is freed.
        const RESET_OWED = 1 << 5;
        /// An ACK is to be sent at once.
        const ACK_NOW = 1 << 6;
        /// The application shut the receiving side.
        const READ_SHUT = 1 << 7;
        /// The application shut the sending side: a FIN follows what is written.
        const WRITE_SHUT = 1 << 8;
        /// The peer's FIN has come, and all before it.
        const FIN_RECEIVED = 1 << 9;
        /// The connection is over and only what was received is left.
        const OVER = 1 << 10;
        /// Opened from here and not established yet.
        const CONNECTING = 1 << 11;
        /// The FIN has been sent once.
        const FIN_SENT = 1 << 12;
        /// Timestamps are on (RFC 7323 section 3).
        const TIMESTAMPS = 1 << 13;
        /// The peer takes SACK blocks (RFC 2018).
        const SACK = 1 << 14;
        /// ECN is on (RFC 3168).
        const ECN = 1 << 15;
        /// A CE mark has come and no CWR since: ECE is to be set.
        const ECE = 1 << 16;
        /// The window was reduced for an ECE: CWR is to be set on the next new data.
        const CWR = 1 << 17;
        /// Nagle's algorithm is off.
        const NODELAY = 1 << 18;
        /// The SYN is to be sent, for the first time or again.
        const SYN_DUE = 1 << 19;
        /// A tail loss probe is to be sent (RFC 8985 section 7).
        const PROBE = 1 << 20;
        /// A zero-window probe is to be sent (RFC 9293 section 3.8.6.1).
        const PERSIST = 1 << 21;
        /// The congestion window kept something back since the last acknowledgment.
        const CWND_LIMITED = 1 << 22;
        /// A segment smaller than the MSS may go although something is unacknowledged: it has waited long enough.
        const SHORT = 1 << 23;
        /// ECN was asked for in the SYN.
        const ECN_ASKED = 1 << 24;
        /// The handshake's segment was sent more than once: its round trip tells nothing.
        const SYN_AGAIN = 1 << 25;
        /// Pacing kept something back.
        const PACED = 1 << 26;
        /// Every segment is acknowledged at once (`TCP_QUICKACK`).
        const QUICKACK = 1 << 27;
        /// The SYN, or our answer to one, was lost more than once: data starts with a single segment (RFC 5681 section
        /// 3.1; one loss is forgiven since the timeout is a second, RFC 6928 section 2).
        const SYN_LOST = 1 << 28;
        /// In the list of those that have, or had lately, buffers of the pool.
        const LENT = 1 << 29;
        /// It is traced: everything goes the long way, where it is recorded.
        const TRACED = 1 << 30;
    }
}

/// What the one retransmission timer of a connection runs for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Nothing,
    /// The retransmission timeout (RFC 6298).
    Retransmit,
    /// A tail loss probe (RFC 8985 section 7.3).
    Probe,
    /// Something may have been reordered or lost; it is lost then (RFC 8985 section 6.2).
    Reorder,
    /// The peer's window is too small (RFC 9293 section 3.8.6.1).
    Persist,
}

/// One connection.
///
/// Its order is that of memory: of what a calm connection needs nothing is among what it does not, at the end, and
/// [`warm`](Self::warm) reaches all of it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    /// While nothing is amiss, the bytes that may be in flight so that nothing will be; zero otherwise.
    pub(crate) calm: u32,
    pub(crate) flags: FlowFlags,
    pub(crate) id: TcpId,
    /// The MAC address of the next hop, to be looked up again after `mac_until`.
    pub(crate) mac: MacAddr,
    pub(crate) ttl: u8,
    /// The DSCP, in the upper six bits.
    pub(crate) tos: u8,

    /// SND.UNA: the oldest sequence number that is not acknowledged.
    pub(crate) snd_una: u32,
    /// SND.NXT: after the highest that was sent.
    pub(crate) snd_nxt: u32,
    /// After the last byte that the application has written.
    pub(crate) write_end: u32,
    /// SND.WND, in bytes.
    pub(crate) snd_wnd: u32,
    pub(crate) snd_wl1: u32,
    pub(crate) snd_wl2: u32,
    /// The largest window the peer has offered.
    pub(crate) max_snd_wnd: u32,
    /// RCV.NXT: what the peer is expected to send next.
    pub(crate) rcv_nxt: u32,
    /// The right edge of the window that was offered last. Never moves back.
    pub(crate) rcv_edge: u32,
    /// The acknowledgment number that was sent last (Last.ACK.sent of RFC 7323).
    pub(crate) acked: u32,
    /// TS.Recent, and the [coarse time](coarse_clock) at which it was set.
    pub(crate) ts_recent: u32,
    pub(crate) ts_recent_at: u32,
    /// Added to the clock to make our timestamps (RFC 7323 section 5.4).
    pub(crate) ts_offset: u32,
    /// Bytes that may be received and not read: grows with use.
    pub(crate) recv_max: u32,
    /// Bytes that may be written and not acknowledged: grows with use.
    pub(crate) send_max: u32,
    /// Receive buffer tuning: where the reader was when the present round trip began, and when that was.
    pub(crate) tune_from: u32,

    pub(crate) tune_at: Instant,
    /// When `wait` is over.
    pub(crate) wait_until: Instant,
    /// When what is not acknowledged has to be; `MAX` if all is.
    pub(crate) ack_at: Instant,
    /// What the timer is armed for; `MAX` if it is not. So most of the time its place on the wheel need not be touched.
    pub(crate) timer_at: Instant,
    /// When the peer was heard last, or when the first of what is unacknowledged was written, whichever is later.
    pub(crate) heard: Instant,
    pub(crate) mac_until: Instant,
    pub(crate) busy: Option<Box<Busy>>,
    /// Congestion control and loss recovery, once something was sent.
    pub(crate) sender: Option<Box<Sender>>,

    /// What was sent and acknowledged while nothing was amiss.
    pub(crate) tab: Tab,
    pub(crate) rtt: Rtt,
    pub(crate) timer: TimerId,

    pub(crate) state: TcpState,
    /// Readiness to be told by the event that is queued.
    pub(crate) pending: Readiness,
    /// The peer's window scale.
    pub(crate) snd_shift: u8,
    /// Our window scale, zero unless both sides have one.
    pub(crate) rcv_shift: u8,
    /// Timeouts in a row.
    pub(crate) backoff: u8,
    /// So many segments more are acknowledged at once each.
    pub(crate) quick_acks: u8,
    pub(crate) wait: Wait,
    /// Bytes of data in a full segment, options deducted.
    pub(crate) mss: u16,
    /// The largest segment that has come: what is taken for the peer's full segment.
    pub(crate) rcv_mss: u16,
    /// The largest segment that the peer takes, by its SYN.
    pub(crate) peer_mss: u16,
    /// Tag control information of its frames, 0 for none: that of the interface that leads to the next hop.
    pub(crate) tci: u16,
    /// Segments sent and received, and bytes received in order, since the beginning.
    pub(crate) segments_out: u32,
    pub(crate) segments_in: u32,
    pub(crate) received: u64,
    pub(crate) rare: Option<Box<Rare>>,
    /// What stays of the sender where there is none any more.
    pub(crate) past: Option<Box<Past>>,
    /// End of the present state: of connecting, of an orphan's FIN-WAIT-2, of TIME-WAIT. `MAX` if there is none.
    pub(crate) expires: Instant,
    pub(crate) iss: u32,
    pub(crate) irs: u32,
    /// How much of the buffers is beyond their first size, to be given back.
    pub(crate) grown: u32,
    /// When it came into being, in milliseconds, wrapping.
    pub(crate) opened: u32,
}

/// The clock of timestamps: a millisecond (RFC 7323 section 5.4).
pub(crate) fn timestamp_clock(now: Instant) -> u32 {
    now.as_millis() as u32
}

/// A clock of about a second, for what only has to be known roughly.
pub(crate) fn coarse_clock(now: Instant) -> u32 {
    (now.as_nanos() >> 30) as u32
}

impl Flow {
    pub(crate) fn new(
        (id, key): (TcpId, FlowKey),
        state: TcpState,
        timer: TimerId,
        iss: u32,
        config: &Settings,
        now: Instant,
    ) -> Self {
        Flow {
            key,
            id,
            flags: if config.nodelay {
                FlowFlags::NODELAY
            } else {
                FlowFlags::empty()
            },
            state,
            pending: Readiness::empty(),
            snd_shift: 0,
            rcv_shift: 0,
            snd_una: iss,
            snd_nxt: iss,
            write_end: iss.wrapping_add(1),
            snd_wnd: 0,
            snd_wl1: 0,
            snd_wl2: 0,
            max_snd_wnd: 0,
            rcv_nxt: 0,
            rcv_edge: 0,
            acked: 0,
            iss,
            irs: 0,
            ts_recent: 0,
            ts_recent_at: 0,
            ts_offset: 0,
            mss: 536,
            peer_mss: 536,
            tci: 0,
            rcv_mss: 0,
            ttl: 64,
            tos: 0,
            backoff: 0,
            quick_acks: 0,
            wait: Wait::Nothing,
            timer,
            timer_at: Instant::MAX,
            wait_until: Instant::MAX,
            ack_at: Instant::MAX,
            rtt: Rtt::new(),
            recv_max: config.initial_recv_window(),
            send_max: config.initial_send_buffer(),
            tune_from: 0,
            tune_at: now,
            heard: now,
            mac: MacAddr::ZERO,
            mac_until: Instant::ZERO,
            expires: Instant::MAX,
            segments_out: 0,
            segments_in: 0,
            received: 0,
            calm: 0,
            tab: Tab::default(),
            busy: None,
            sender: None,
            past: None,
            grown: 0,
            opened: now.as_millis() as u32,
            rare: None,
        }
    }

    /// Puts it into the list of flows that are asked for segments.
    #[inline]
    pub(super) fn mark_dirty(&mut self, id: TcpId, dirty: &mut VecDeque<TcpId>) {
        if !self.has(FlowFlags::DIRTY) {
            self.flags |= FlowFlags::DIRTY;
            dirty.push_back(id);
        }
    }

    /// Tells the application, if it has the connection, of readiness: once until it takes the event.
    #[inline]
    pub(super) fn notify(&mut self, id: TcpId, ready: Readiness, events: &mut VecDeque<TcpId>) {
        let unheld = FlowFlags::UNACCEPTED | FlowFlags::ORPHAN;
        if ready.is_empty() || self.flags.intersects(unheld) {
            return;
        }
        self.pending |= ready;
        if !self.has(FlowFlags::EVENT) {
            self.flags |= FlowFlags::EVENT;
            events.push_back(id);
        }
    }

    /// Arms the timer for `at`. One that runs for less is left alone: what it finds nothing to do for costs less than to
    /// move it each time.
    #[inline(always)]
    pub(super) fn arm(&mut self, wheel: &mut Wheel<TimerKey>, at: Instant) {
        if at < self.timer_at {
            self.timer_at = wheel.arm(self.timer, at);
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: FlowFlags) -> bool {
        self.flags.contains(flags)
    }

    /// `Closed` once the connection is over.
    #[inline]
    pub(crate) fn state(&self) -> TcpState {
        self.state
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Bytes received in order and not yet read.
    #[inline]
    pub(crate) fn recv_queue(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.recv.len())
    }

    /// Bytes written and not yet acknowledged.
    #[inline]
    pub(crate) fn send_queue(&self) -> usize {
        self.data_left(self.snd_una) as usize
    }

    /// Bytes written from there on, which is SND.UNA or SND.NXT.
    #[inline]
    pub(crate) fn data_left(&self, from: u32) -> u32 {
        // Our SYN comes before the data. Later on its number is not to be compared with: they come around.
        let syn = matches!(
            self.state,
            TcpState::SynSent | TcpState::SynReceived | TcpState::FinWait1
        );
        let from = from.wrapping_add(u32::from(syn && from == self.iss));
        if seq::lt(from, self.write_end) {
            self.write_end.wrapping_sub(from)
        } else {
            0
        }
    }

    /// How much more may be written.
    #[inline]
    pub(crate) fn send_room(&self) -> usize {
        let room = (self.send_max as usize).saturating_sub(self.send_queue());
        match &self.rare {
            Some(rare) => match rare.notsent_lowat {
                Some(lowat) => room.min(lowat.saturating_sub(self.unsent()) as usize),
                None => room,
            },
            None => room,
        }
    }

    /// Bytes that were sent and are neither acknowledged nor SACKed nor thought lost ("pipe" of RFC 6675).
    #[inline]
    pub(crate) fn in_flight(&self) -> u32 {
        let outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
        let (sacked, lost) = self
            .busy
            .as_ref()
            .map_or((0, 0), |busy| (busy.sent.sacked(), busy.sent.lost()));
        let guessed = self
            .sender
            .as_ref()
            .map_or(0, |sender| sender.guessed(self.mss));
        outstanding.saturating_sub(sacked + lost + guessed)
    }

    /// What is left of the window that was offered last (RCV.WND).
    #[inline]
    pub(crate) fn rcv_window(&self) -> u32 {
        if seq::lt(self.rcv_nxt, self.rcv_edge) {
            self.rcv_edge.wrapping_sub(self.rcv_nxt)
        } else {
            0
        }
    }

    /// The receive buffer's free part.
    #[inline]
    pub(crate) fn recv_room(&self) -> u32 {
        self.recv_max.saturating_sub(self.recv_queue() as u32)
    }

    /// Moves the right edge of the receive window as far as there is room, and returns the window field to send. The
    /// edge never moves back, and not by less than a segment (RFC 9293 section 3.8.6.2.2).
    #[inline(always)]
    pub(crate) fn advertise(&mut self) -> u16 {
        let window = self.rcv_window();
        let room = self.recv_room();
        let step = u32::from(self.rcv_mss.max(1)).min(self.recv_max / 2);
        let field = if room >= window.saturating_add(step) {
            room >> self.rcv_shift
        } else {
            // Rounded up, for the edge must not move back (RFC 7323 section 2.4).
            (window + (1 << self.rcv_shift) - 1) >> self.rcv_shift
        };
        let field = u16::try_from(field).unwrap_or(u16::MAX);
        let edge = self
            .rcv_nxt
            .wrapping_add(u32::from(field) << self.rcv_shift);
        self.rcv_edge = seq::max(self.rcv_edge, edge);
        field
    }

    /// Whether something that was sent or is to be sent is not acknowledged.
    #[inline]
    /// Since when something has been unacknowledged (RFC 9293 section 3.8.3, RFC 5482 section 1). Where nothing was sent, or the
    /// peer's window is closed, it is the peer's silence that counts: a peer that answers may keep its window closed for as
    /// long as it likes (RFC 9293 section 3.8.6.1).
    pub(crate) fn unacknowledged_since(&self) -> Instant {
        match &self.sender {
            Some(sender) if self.snd_una != self.snd_nxt && self.snd_wnd > 0 => sender.oldest_sent,
            _ => self.heard,
        }
    }

    pub(crate) fn has_unacknowledged(&self) -> bool {
        match self.state {
            TcpState::Closed | TcpState::TimeWait | TcpState::FinWait2 => false,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => true,
            TcpState::SynSent | TcpState::SynReceived => true,
            TcpState::Established | TcpState::CloseWait => self.snd_una != self.write_end,
        }
    }

    /// The timestamps option of a segment that leaves now.
    #[inline]
    pub(crate) fn timestamps(&self, now: Instant) -> Option<Timestamps> {
        self.has(FlowFlags::TIMESTAMPS).then(|| Timestamps {
            value: self.timestamp(now),
            echo: self.ts_recent,
        })
    }

    #[inline]
    pub(crate) fn timestamp(&self, now: Instant) -> u32 {
        timestamp_clock(now).wrapping_add(self.ts_offset)
    }

    /// SACK blocks to be told, a range received twice first (RFC 2883 section 4).
    pub(crate) fn sack_blocks(&self) -> Blocks {
        let mut blocks = Blocks::new();
        if !self.has(FlowFlags::SACK) {
            return blocks;
        }
        let most = if self.has(FlowFlags::TIMESTAMPS) {
            3
        } else {
            4
        };
        if let Some(duplicate) = self.rare.as_ref().and_then(|rare| rare.duplicate) {
            blocks.push(duplicate);
        }
        if let Some(gaps) = self.busy.as_ref().and_then(|busy| busy.gaps.as_ref()) {
            let mut ranges = Blocks::new();
            gaps.assembler.sack_blocks(&mut ranges);
            for range in ranges {
                if blocks.len() < most {
                    blocks.push(range);
                }
            }
        }
        blocks
    }

    /// An ACK of all that has come, from the present state. The window offered is the one that was told last.
    pub(crate) fn ack(&self, now: Instant) -> Control {
        let mut control = Control::new(self.key, SegmentFlags::ACK, self.snd_nxt, self.rcv_nxt);
        control.window = u16::try_from(self.rcv_window() >> self.rcv_shift).unwrap_or(u16::MAX);
        control.hop_limit = self.ttl;
        control.tos = self.tos;
        control.options.timestamps = self.timestamps(now);
        control
    }

    /// The RST that ends it from here.
    pub(crate) fn reset(&self, now: Instant) -> Control {
        let mut control = self.ack(now);
        control.flags = SegmentFlags::RST | SegmentFlags::ACK;
        control.window = 0;
        control
    }

    /// What would not block now.
    pub(crate) fn readiness(&self) -> Readiness {
        let mut ready = Readiness::empty();
        let ended = self
            .flags
            .intersects(FlowFlags::FIN_RECEIVED | FlowFlags::READ_SHUT | FlowFlags::OVER);
        let error = self.rare.as_ref().is_some_and(|rare| rare.error.is_some());
        if ended || error || self.recv_queue() > 0 {
            ready |= Readiness::READABLE;
        }
        let can_send = matches!(self.state, TcpState::Established | TcpState::CloseWait);
        if can_send && self.send_room() > 0
            || error
            || self
                .flags
                .intersects(FlowFlags::WRITE_SHUT | FlowFlags::OVER)
        {
            ready |= Readiness::WRITABLE;
        }
        if self.state.is_synchronized() {
            ready |= Readiness::CONNECTED;
        }
        if matches!(self.state, TcpState::Closed | TcpState::TimeWait) {
            ready |= Readiness::CLOSED;
        }
        ready
    }

    /// Whether enough room has become free to be worth waking a writer: a third, as with Linux.
    #[inline]
    pub(crate) fn is_writable_again(&self) -> bool {
        if !self.has(FlowFlags::BLOCKED) {
            return false;
        }
        let most = self.send_max as usize;
        let lowat = self.rare.as_ref().and_then(|rare| rare.notsent_lowat);
        match lowat {
            Some(lowat) => {
                self.unsent() <= lowat / 2 && most.saturating_sub(self.send_queue()) >= most / 3
            }
            None => self.send_room() >= most / 3,
        }
    }

    /// Sets what a full segment holds, from the peer's MSS option and the path's MTU (RFC 6691, RFC 9293 section 3.7.1).
    pub(crate) fn set_mss(&mut self, path_mtu: usize) {
        let headers = if self.key.is_v6() { 60 } else { 40 };
        let by_path = path_mtu
            .saturating_sub(headers)
            .clamp(1, usize::from(u16::MAX)) as u16;
        let options = if self.has(FlowFlags::TIMESTAMPS) {
            12
        } else {
            0
        };
        let chosen = self.rare.as_ref().and_then(|rare| rare.max_segment);
        let mss = self
            .peer_mss
            .min(by_path)
            .min(chosen.unwrap_or(u16::MAX))
            .saturating_sub(options)
            .max(MIN_MSS);
        let old = core::mem::replace(&mut self.mss, mss);
        if let Some(sender) = &mut self.sender
            && old != mss
        {
            sender.on_mss(old.into(), mss.into());
        }
    }
}

/// No segment is made smaller than this for options or paths: what remains of the smallest MSS that Linux takes (88)
/// less the options.
pub(crate) const MIN_MSS: u16 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_no_more_memory_than_is_said() {
        // ARCHITECTURE.md and docs/performance.md have the figure.
        assert_eq!(size_of::<Flow>(), 328);
    }
}
