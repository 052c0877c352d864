//! A connection with what its state machine does not tell: sequence numbers for the guards of
//! [`input`](super::input), what the application has done, and what is owed to the peer.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::tcp::Flags as SegmentFlags;

use super::conn::{Conn, Wish};
use super::segment::Control;
use super::seq;
use super::table::FlowKey;
use super::{EventKey, Keepalive, TcpState};
use crate::error::Error;
use crate::event::{ListenerId, Readiness, TcpId};
use crate::time::{Duration, Instant};
use crate::wheel::TimerId;

bitflags::bitflags! {
    /// What is true of a flow.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct FlowFlags: u16 {
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
        /// An ACK found no room and must still be sent.
        const ACK_OWED = 1 << 6;
        /// The application shut the receiving side.
        const READ_SHUT = 1 << 7;
        /// The application shut the sending side.
        const WRITE_SHUT = 1 << 8;
        /// The peer's FIN has come, and all before it.
        const FIN_RECEIVED = 1 << 9;
        /// No state machine runs any more: the connection is over and only what was received is left.
        const OVER = 1 << 10;
        /// Opened from here and not established yet.
        const CONNECTING = 1 << 11;
    }
}

/// Keep-alive of one connection.
#[derive(Debug)]
pub(crate) struct KeepaliveState {
    pub(crate) config: Keepalive,
    /// Probes since the peer was heard last.
    pub(crate) probes: u8,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) key: FlowKey,
    pub(crate) flags: FlowFlags,
    /// Readiness to be told by the event that is queued.
    pub(crate) pending: Readiness,
    /// The last window field that the state machine was given.
    pub(crate) snd_wnd: u16,
    /// The peer's window scale.
    pub(crate) snd_shift: u8,
    /// Our window scale, zero unless both sides have one.
    pub(crate) rcv_shift: u8,
    /// Which engine: the path MTU.
    pub(crate) engine: u8,
    /// Our initial sequence number.
    pub(crate) iss: u32,
    /// The peer's initial sequence number.
    pub(crate) irs: u32,
    /// Bytes the application has written, modulo 2^32.
    pub(crate) written: u32,
    /// Bytes the application has read, modulo 2^32.
    pub(crate) read: u32,
    /// The highest sequence number that was sent, plus one.
    pub(crate) snd_max: u32,
    /// The largest window the peer has offered.
    pub(crate) max_snd_wnd: u32,
    /// The right edge of the window that was offered last.
    pub(crate) rcv_edge: u32,
    /// How far the state machine takes data, at least: it goes by what it offered last, and the scale's rounding may have
    /// taken that back a little.
    pub(crate) takes_to: u32,
    /// The acknowledgment number that the state machine has sent last.
    pub(crate) acked: Option<u32>,
    /// When what is not acknowledged has to be, if nothing else is sent before.
    pub(crate) ack_due: Option<Instant>,
    pub(crate) timer: TimerId,
    /// When the peer was heard last, or when the first of what is unacknowledged was written, whichever is later.
    pub(crate) heard: Instant,
    /// When a challenge ACK may be sent again.
    pub(crate) challenge_after: Instant,
    pub(crate) conn: Conn,
    /// The MAC address of the next hop, to be looked up again after `mac_until`.
    pub(crate) mac: MacAddr,
    pub(crate) mac_until: Instant,
    /// End of the present state: of connecting, of an orphan's FIN-WAIT-2, of TIME-WAIT.
    pub(crate) expires: Option<Instant>,
    /// Where it is to be accepted.
    pub(crate) listener: Option<ListenerId>,
    /// What the application has not been told yet.
    pub(crate) error: Option<Error>,
    pub(crate) linger: Option<Duration>,
    pub(crate) keepalive: Option<Box<KeepaliveState>>,
}

impl Flow {
    pub(crate) fn new(key: FlowKey, conn: Conn, timer: TimerId, iss: u32, now: Instant) -> Self {
        Flow {
            key,
            flags: FlowFlags::empty(),
            pending: Readiness::empty(),
            snd_wnd: 0,
            snd_shift: 0,
            rcv_shift: 0,
            engine: 0,
            iss,
            irs: 0,
            written: 0,
            read: 0,
            snd_max: iss,
            max_snd_wnd: 0,
            rcv_edge: 0,
            takes_to: 0,
            acked: None,
            ack_due: None,
            timer,
            heard: now,
            challenge_after: Instant::ZERO,
            conn,
            mac: MacAddr::ZERO,
            mac_until: Instant::ZERO,
            expires: None,
            listener: None,
            error: None,
            linger: None,
            keepalive: None,
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
    pub(super) fn notify(&mut self, id: TcpId, ready: Readiness, events: &mut VecDeque<EventKey>) {
        let unheld = FlowFlags::UNACCEPTED | FlowFlags::ORPHAN;
        if ready.is_empty() || self.flags.intersects(unheld) {
            return;
        }
        self.pending |= ready;
        if !self.has(FlowFlags::EVENT) {
            self.flags |= FlowFlags::EVENT;
            events.push_back(EventKey::Flow(id));
        }
    }

    #[inline]
    pub(crate) fn has(&self, flags: FlowFlags) -> bool {
        self.flags.contains(flags)
    }

    #[inline]
    pub(crate) fn state(&self) -> TcpState {
        if self.has(FlowFlags::OVER) {
            TcpState::Closed
        } else {
            self.conn.state()
        }
    }

    /// RCV.NXT: what the peer is expected to send next. Of meaning once its SYN has come.
    #[inline]
    pub(crate) fn rcv_nxt(&self) -> u32 {
        let received = self.read.wrapping_add(self.conn.recv_queue() as u32);
        let fin = u32::from(self.has(FlowFlags::FIN_RECEIVED));
        self.irs
            .wrapping_add(1)
            .wrapping_add(received)
            .wrapping_add(fin)
    }

    /// SND.UNA: the oldest sequence number that is not acknowledged.
    #[inline]
    pub(crate) fn snd_una(&self, state: TcpState) -> u32 {
        if matches!(state, TcpState::SynSent | TcpState::SynReceived) {
            return self.iss;
        }
        let acknowledged = self.written.wrapping_sub(self.conn.send_queue() as u32);
        let fin = u32::from(matches!(state, TcpState::FinWait2 | TcpState::TimeWait));
        self.iss
            .wrapping_add(1)
            .wrapping_add(acknowledged)
            .wrapping_add(fin)
    }

    /// What is left of the window that was offered last.
    #[inline]
    pub(crate) fn rcv_window(&self) -> u32 {
        let rcv_nxt = self.rcv_nxt();
        if seq::lt(rcv_nxt, self.rcv_edge) {
            self.rcv_edge.wrapping_sub(rcv_nxt)
        } else {
            0
        }
    }

    /// Whether something that was sent or is to be sent is not acknowledged.
    #[inline]
    pub(crate) fn has_unacknowledged(&self, state: TcpState) -> bool {
        match state {
            TcpState::Closed | TcpState::TimeWait | TcpState::FinWait2 => false,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => true,
            TcpState::SynSent | TcpState::SynReceived => true,
            TcpState::Established | TcpState::CloseWait => self.conn.send_queue() > 0,
        }
    }

    /// What its state machine would wish after having found nothing to send, where that is plain without asking it: all
    /// that was written is acknowledged, what was received may still wait for its ACK (RFC 9293 section 3.8.6.3), and
    /// the window is not worth telling.
    #[inline(always)]
    pub(super) fn rests(&mut self, now: Instant, ack_delay: Duration) -> Option<Wish> {
        if self.conn.send_queue() > 0 || self.state() != TcpState::Established {
            return None;
        }
        // The window is told when it has doubled; rounding by its scale may hide two steps.
        let free = (self.conn.recv_capacity() - self.conn.recv_queue()) as u32;
        if self.rcv_window() <= free / 2 + (2 << self.rcv_shift) {
            return None;
        }
        let waiting = self.rcv_nxt().wrapping_sub(self.acked?);
        if waiting == 0 {
            return Some(Wish::Never);
        }
        if waiting > u32::from(self.conn.peer_mss()) {
            return None;
        }
        let due = *self.ack_due.get_or_insert(now + ack_delay);
        (now < due).then_some(Wish::At(due))
    }

    /// An ACK of all that has come, from the present state.
    pub(crate) fn ack(&self) -> Control {
        let mut control = Control::new(self.key, SegmentFlags::ACK, self.snd_max, self.rcv_nxt());
        control.window = u16::try_from(self.rcv_window() >> self.rcv_shift).unwrap_or(u16::MAX);
        control.hop_limit = self.conn.ttl();
        control
    }

    /// The peer's last ACK once more, the window changed in some bits.
    pub(super) fn last_ack(&self, changed: u16) -> Control {
        let key = FlowKey::new(self.key.remote(), self.key.local());
        let una = self.snd_una(self.state());
        let mut ack = Control::new(key, SegmentFlags::ACK, self.rcv_nxt(), una);
        ack.window = self.snd_wnd ^ changed;
        ack
    }

    /// The RST that ends it from here.
    pub(crate) fn reset(&self) -> Control {
        let mut control = Control::new(
            self.key,
            SegmentFlags::RST | SegmentFlags::ACK,
            self.snd_max,
            self.rcv_nxt(),
        );
        control.hop_limit = self.conn.ttl();
        control
    }

    /// What would not block now.
    pub(crate) fn readiness(&self) -> Readiness {
        let state = self.state();
        let mut ready = Readiness::empty();
        let ended = self
            .flags
            .intersects(FlowFlags::FIN_RECEIVED | FlowFlags::READ_SHUT | FlowFlags::OVER);
        if self.conn.recv_queue() > 0 || ended || self.error.is_some() {
            ready |= Readiness::READABLE;
        }
        let can_send = matches!(state, TcpState::Established | TcpState::CloseWait);
        if can_send && self.conn.send_queue() < self.conn.send_capacity()
            || self.error.is_some()
            || self
                .flags
                .intersects(FlowFlags::WRITE_SHUT | FlowFlags::OVER)
        {
            ready |= Readiness::WRITABLE;
        }
        if state.is_synchronized() {
            ready |= Readiness::CONNECTED;
        }
        if matches!(state, TcpState::Closed | TcpState::TimeWait) {
            ready |= Readiness::CLOSED;
        }
        ready
    }

    /// Whether enough room has become free to be worth waking a writer: a third, as with Linux.
    #[inline]
    pub(crate) fn is_writable_again(&self) -> bool {
        let capacity = self.conn.send_capacity();
        self.has(FlowFlags::BLOCKED) && capacity - self.conn.send_queue() >= capacity / 3
    }
}
