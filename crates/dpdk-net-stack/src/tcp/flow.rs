//! A connection with what its state machine does not tell: sequence numbers for the guards of
//! [`input`](super::input), what the application has done, and what is owed to the peer.

use alloc::boxed::Box;

use dpdk_net_packet::tcp::{Flags as SegmentFlags, HEADER_LEN, Segment};
use dpdk_net_packet::{checksum, ipv4, ipv6};

use super::conn::{Conn, Emit};
use super::segment::Control;
use super::seq;
use super::table::FlowKey;
use super::{Keepalive, TcpState};
use crate::error::Error;
use crate::event::{ListenerId, Readiness};
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
    /// The last window field received, as it came.
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
    pub(crate) timer: TimerId,
    /// When the peer was heard last, or when the first of what is unacknowledged was written, whichever is later.
    pub(crate) heard: Instant,
    /// When a challenge ACK may be sent again.
    pub(crate) challenge_after: Instant,
    pub(crate) conn: Conn,
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
            timer,
            heard: now,
            challenge_after: Instant::ZERO,
            conn,
            expires: None,
            listener: None,
            error: None,
            linger: None,
            keepalive: None,
        }
    }

    pub(crate) fn has(&self, flags: FlowFlags) -> bool {
        self.flags.contains(flags)
    }

    pub(crate) fn state(&self) -> TcpState {
        if self.has(FlowFlags::OVER) {
            TcpState::Closed
        } else {
            self.conn.state()
        }
    }

    /// RCV.NXT: what the peer is expected to send next. Of meaning once its SYN has come.
    pub(crate) fn rcv_nxt(&self) -> u32 {
        let received = self.read.wrapping_add(self.conn.recv_queue() as u32);
        let fin = u32::from(self.has(FlowFlags::FIN_RECEIVED));
        self.irs
            .wrapping_add(1)
            .wrapping_add(received)
            .wrapping_add(fin)
    }

    /// SND.UNA: the oldest sequence number that is not acknowledged.
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
    pub(crate) fn rcv_window(&self) -> u32 {
        let rcv_nxt = self.rcv_nxt();
        if seq::lt(rcv_nxt, self.rcv_edge) {
            self.rcv_edge.wrapping_sub(rcv_nxt)
        } else {
            0
        }
    }

    /// Whether something that was sent or is to be sent is not acknowledged.
    pub(crate) fn has_unacknowledged(&self, state: TcpState) -> bool {
        match state {
            TcpState::Closed | TcpState::TimeWait | TcpState::FinWait2 => false,
            TcpState::FinWait1 | TcpState::Closing | TcpState::LastAck => true,
            TcpState::SynSent | TcpState::SynReceived => true,
            TcpState::Established | TcpState::CloseWait => self.conn.send_queue() > 0,
        }
    }

    /// An ACK of all that has come, from the present state.
    pub(crate) fn ack(&self) -> Control {
        let mut control = Control::new(self.key, SegmentFlags::ACK, self.snd_max, self.rcv_nxt());
        control.window = u16::try_from(self.rcv_window() >> self.rcv_shift).unwrap_or(u16::MAX);
        control.hop_limit = self.conn.ttl();
        control
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
    pub(crate) fn is_writable_again(&self) -> bool {
        let capacity = self.conn.send_capacity();
        self.has(FlowFlags::BLOCKED) && capacity - self.conn.send_queue() >= capacity / 3
    }
}

/// What a sent segment tells about the sender's state, written down as the segment leaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    /// Sequence number after the segment's last byte, SYN and FIN counted.
    pub(crate) end: u32,
    /// Acknowledgment number and window, if it has them and is no SYN.
    pub(crate) ack: Option<(u32, u16)>,
    /// Segments seen.
    pub(crate) count: u32,
}

impl Sent {
    /// Reads the IP packet of a segment that the state machine wrote.
    fn note(&mut self, packet: &[u8]) {
        let header = ip_header_len(packet);
        let Some(Ok(segment)) = packet.get(header..).map(Segment::parse) else {
            return;
        };
        let len = packet.len() - header - segment.header_len().max(HEADER_LEN);
        let flags = segment.flags();
        let control = u32::from(flags.syn()) + u32::from(flags.fin());
        self.end = segment.seq().wrapping_add(len as u32).wrapping_add(control);
        self.ack = (flags.ack() && !flags.syn()).then(|| (segment.ack(), segment.window()));
        self.count += 1;
    }

    /// Writes it into the flow.
    pub(crate) fn apply(&self, flow: &mut Flow) {
        if self.count == 0 {
            return;
        }
        flow.snd_max = seq::max(flow.snd_max, self.end);
        if let Some((ack, window)) = self.ack {
            let edge = ack.wrapping_add(u32::from(window) << flow.rcv_shift);
            flow.rcv_edge = seq::max(flow.rcv_edge, edge);
        }
    }
}

/// Passes a segment on and writes down what it tells.
pub(crate) struct Watched<'a, E> {
    pub(crate) to: E,
    pub(crate) sent: &'a mut Sent,
    /// The flow's highest sequence number sent so far.
    pub(crate) snd_max: u32,
    /// Whether checksums are filled in here and not by the NIC.
    pub(crate) checksum: bool,
}

/// Gives an ACK without data the sequence number SND.NXT (RFC 9293 section 3.10.7.4).
///
/// After a retransmission timeout the state machine goes back to SND.UNA and numbers its ACKs from there. To a peer that
/// has all the data such an ACK is a duplicate, which it answers but does not look into: if both sides have gone back,
/// neither ever learns what has arrived.
fn renumber_ack(packet: &mut [u8], snd_max: u32, fill_checksum: bool) {
    let header = ip_header_len(packet);
    let Some(Ok(segment)) = packet.get(header..).map(Segment::parse) else {
        return;
    };
    let flags = segment.flags();
    let control = flags.syn() || flags.fin() || flags.rst() || !flags.ack();
    if control || !segment.payload().is_empty() || !seq::lt(segment.seq(), snd_max) {
        return;
    }
    let (old, mut sum) = (segment.seq().to_be_bytes(), segment.checksum());
    let new = snd_max.to_be_bytes();
    for at in [0, 2] {
        let word = |bytes: [u8; 4]| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        sum = checksum::update(sum, word(old), word(new));
    }
    packet[header + 4..header + 8].copy_from_slice(&new);
    if fill_checksum {
        packet[header + 16..header + 18].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Length of the IP header of a packet that the state machine wrote: without options or extensions.
fn ip_header_len(packet: &[u8]) -> usize {
    let v6 = packet.first().is_some_and(|b| b >> 4 == 6);
    if v6 {
        ipv6::HEADER_LEN
    } else {
        ipv4::HEADER_LEN
    }
}

impl<E: Emit> Emit for Watched<'_, E> {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let sent = &mut *self.sent;
        let (snd_max, checksum) = (self.snd_max, self.checksum);
        self.to.emit(len, |packet| {
            let result = fill(packet);
            renumber_ack(packet, snd_max, checksum);
            sent.note(packet);
            result
        })
    }
}

impl<E: Emit> Emit for &mut E {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        (**self).emit(len, fill)
    }
}
