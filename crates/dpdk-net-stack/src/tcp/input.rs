//! A received segment on its way to a connection, and the guards that it has to pass first.
//!
//! The state machine behind the seam believes too much: a RST or SYN anywhere in the window, an acknowledgment of data
//! that was never sent, a FIN beyond the window. What it would get wrong is decided here (RFC 5961, RFC 9293 section
//! 3.10.7.4); what passes is given to it as it came.

use dpdk_net_packet::tcp::{Flags, HEADER_LEN, Segment};
use dpdk_net_packet::{IpPacket, Protocol, ipv4, ipv6};

use super::flow::{Flow, FlowFlags};
use super::options::{self, SynOptions, window_scale_for};
use super::segment::Control;
use super::table::{FlowKey, FlowRef};
use super::time_wait::TimeWaitId;
use super::watch::{Sent, Watched};
use super::{Tcp, TcpState, seq};
use crate::emit::{self, IpMeta};
use crate::error::Error;
use crate::event::{Readiness, TcpId};
use crate::icmp::{ErrorKind, ErrorReport};
use crate::link::{Link, Queue};
use crate::time::{Duration, Instant};

/// Challenge ACKs of one connection are at least this far apart (Linux' `tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);
/// How often progress of a connection is told to the neighbour cache.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);

/// What becomes of a segment.
enum Verdict {
    /// It is given to the state machine as it is.
    Pass,
    /// It is given to the state machine with this acknowledgment number and window, and with or without its FIN.
    Patch {
        ack: u32,
        window: u16,
        fin: bool,
    },
    Drop,
    Challenge,
    /// The peer reset the connection.
    Reset,
    /// Data for which there is no application any more.
    NoReader,
}

impl Tcp {
    /// A TCP segment for one of our addresses, checksum verified, and the flow it was looked up to be of.
    pub(crate) fn segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        (ip, segment): (&IpPacket<'_>, &Segment<'_>),
        key: FlowKey,
        found: Option<FlowRef>,
    ) {
        self.stats.rx_segments += 1;
        match found {
            Some(FlowRef::Conn(id)) => self.flow_segment(now, link, id, ip, segment),
            Some(FlowRef::Half(id)) => self.half_segment(now, link, id, (ip, segment)),
            Some(FlowRef::TimeWait(id)) => self.time_wait_segment(now, link, id, segment),
            None => self.new_segment(now, link, key, (ip, segment)),
        }
    }

    /// A segment of a connection.
    pub(crate) fn flow_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        ip: &IpPacket<'_>,
        segment: &Segment<'_>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state();
        if state == TcpState::TimeWait {
            return self.flow_in_time_wait(now, link, id, segment);
        }
        let patch = match judge(flow, state, segment) {
            Verdict::Pass => None,
            Verdict::Patch { ack, window, fin } => Some((ack, window, fin)),
            verdict => return self.refuse_segment(now, link, id, state, segment, verdict),
        };
        self.deliver(now, link, id, state, ip, segment, patch);
    }

    /// A segment that the state machine must not see.
    #[cold]
    fn refuse_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        state: TcpState,
        segment: &Segment<'_>,
        verdict: Verdict,
    ) {
        match verdict {
            Verdict::Pass | Verdict::Patch { .. } | Verdict::Drop => {}
            Verdict::Challenge => {
                if segment.flags().rst() {
                    self.stats.rx_rst_out_of_place += 1;
                } else if segment.flags().syn() {
                    self.stats.rx_syn_out_of_place += 1;
                } else {
                    self.stats.rx_ack_out_of_place += 1;
                }
                self.challenge(now, link, id);
            }
            Verdict::Reset => {
                self.stats.rx_resets += 1;
                // As Linux: after the peer's FIN it is a broken pipe.
                let error = if state == TcpState::CloseWait {
                    Error::BrokenPipe
                } else {
                    Error::ConnectionReset
                };
                let over = matches!(state, TcpState::Closing | TcpState::LastAck);
                self.finish(id, (!over).then_some(error));
            }
            Verdict::NoReader => {
                self.stats.orphans_reset += 1;
                self.abort(now, link, id, None);
            }
        }
    }

    /// Gives a segment to the state machine and does what follows from it.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, and all of it is about one segment"
    )]
    #[inline(always)]
    fn deliver(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        state: TcpState,
        ip: &IpPacket<'_>,
        segment: &Segment<'_>,
        patch: Option<(u32, u16, bool)>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let plain = ip.header_len()
            == if ip.is_v6() {
                ipv6::HEADER_LEN
            } else {
                ipv4::HEADER_LEN
            };
        // The state machine drops a segment for one bad option.
        let odd = segment.header_len() > HEADER_LEN
            && options::first_odd(&segment.bytes()[HEADER_LEN..segment.header_len()]).is_some();
        let packet = if patch.is_none() && plain && !odd {
            ip.bytes()
        } else {
            rewrite(&mut self.scratch, ip, segment, patch);
            &self.scratch
        };
        let (recv_before, send_before) = (flow.conn.recv_queue(), flow.conn.send_queue());
        let mut sent = Sent::default();
        self.reply.clear();
        let Some(engine) = self.engines.get_mut(usize::from(flow.engine)) else {
            return;
        };
        let mut reply = Watched {
            to: &mut self.reply,
            sent: &mut sent,
            key: flow.key,
            snd_max: flow.snd_max,
            checksum: self.tx_checksum,
        };
        flow.conn.ingress(engine, now, packet, &mut reply);

        let after = flow.state();
        let flags = segment.flags();
        let mut ready = Readiness::empty();
        if state == TcpState::SynSent
            && flags.syn()
            && after != TcpState::SynSent
            && after != TcpState::Closed
        {
            synchronize(flow, segment);
        }
        if matches!(
            after,
            TcpState::CloseWait | TcpState::Closing | TcpState::TimeWait | TcpState::LastAck
        ) && !flow.has(FlowFlags::FIN_RECEIVED)
        {
            flow.flags |= FlowFlags::FIN_RECEIVED;
            ready |= Readiness::READABLE;
        }
        sent.apply(flow);
        let (recv_after, send_after) = (flow.conn.recv_queue(), flow.conn.send_queue());
        if !flags.syn() {
            let window = patch.map_or(segment.window(), |(_, window, _)| window);
            flow.snd_wnd = window;
            flow.max_snd_wnd = flow.max_snd_wnd.max(u32::from(window) << flow.snd_shift);
        }
        if recv_after > recv_before {
            ready |= Readiness::READABLE;
        }
        if send_after < send_before && flow.is_writable_again() {
            flow.flags.remove(FlowFlags::BLOCKED);
            ready |= Readiness::WRITABLE;
        }
        if flow.has(FlowFlags::CONNECTING) && after.is_synchronized() {
            flow.flags.remove(FlowFlags::CONNECTING);
            flow.expires = None;
            ready |= Readiness::CONNECTED | Readiness::WRITABLE;
        }
        if after == TcpState::TimeWait {
            ready |= Readiness::CLOSED;
        }
        // Something of ours was acknowledged: the way there works (RFC 4861 section 7.3.1).
        let confirm =
            send_after < send_before && flow.heard + CONFIRM_INTERVAL <= now || state != after;
        flow.heard = now;
        if let Some(keepalive) = &mut flow.keepalive {
            keepalive.probes = 0;
        }
        if after == TcpState::FinWait2 && state != after && flow.has(FlowFlags::ORPHAN) {
            flow.expires = Some(now + self.config.fin_wait2_timeout);
        }
        flow.notify(id, ready, &mut self.events);
        if !matches!(after, TcpState::Closed | TcpState::TimeWait) {
            flow.mark_dirty(id, &mut self.dirty);
        }
        if confirm {
            link.confirm(now, ip.src());
        }
        if !self.reply.is_empty() {
            self.send_reply(now, link, id, ip);
        }
        match after {
            TcpState::Closed => {
                let error = (state == TcpState::SynSent).then_some(Error::ConnectionRefused);
                self.finish(id, error);
            }
            TcpState::TimeWait => self.enter_time_wait(now, link, id),
            _ => {}
        }
    }

    /// Sends what the state machine answered at once.
    fn send_reply(&mut self, now: Instant, link: &mut Link, id: TcpId, ip: &IpPacket<'_>) {
        let reply = core::mem::take(&mut self.reply);
        let header = if ip.is_v6() {
            ipv6::HEADER_LEN
        } else {
            ipv4::HEADER_LEN
        };
        if let Some(segment) = reply.get(header..) {
            let meta = IpMeta {
                dont_fragment: true,
                ..IpMeta::new(ip.dst(), ip.src(), Protocol::Tcp)
            };
            let result = link.output(now, Queue::Replies, &meta, segment.len(), |buf| {
                buf.copy_from_slice(segment)
            });
            match result {
                Ok(()) => self.stats.tx_segments += 1,
                // No room: an ACK will follow when there is some.
                Err(_) => {
                    if let Some(flow) = self.flows.get_mut(id) {
                        flow.flags |= FlowFlags::ACK_OWED;
                    }
                    self.mark_dirty(id);
                }
            }
        }
        self.reply = reply;
    }

    /// Answers a segment that is out of place with an ACK (RFC 5961), so many a second over all and for each.
    fn challenge(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        if now < flow.challenge_after || !self.challenges.take(now) {
            self.stats.challenge_acks_limited += 1;
            return;
        }
        flow.challenge_after = now + CHALLENGE_INTERVAL;
        let ack = flow.ack();
        self.stats.challenge_acks += 1;
        let _ = self.send_control(now, link, &ack);
    }

    /// A segment of a connection in TIME-WAIT that the application still holds.
    fn flow_in_time_wait(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        segment: &Segment<'_>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let key = flow.key;
        let ack = flow.ack();
        match in_time_wait(segment, ack.ack) {
            InTimeWait::Reset => self.finish(id, None),
            InTimeWait::New => {
                self.stats.time_wait_reused += 1;
                self.finish(id, None);
                self.reopen(now, link, key, segment, ack.seq);
            }
            InTimeWait::FinAgain => {
                flow.expires = Some(now + self.config.time_wait);
                let _ = self.send_control(now, link, &ack);
            }
            InTimeWait::Answer => self.challenge(now, link, id),
            InTimeWait::Ignore => {}
        }
    }

    /// A segment of a connection in TIME-WAIT that the application has let go of.
    fn time_wait_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TimeWaitId,
        segment: &Segment<'_>,
    ) {
        let Some(&entry) = self.time_waits.entries.get(id) else {
            return;
        };
        let mut ack = Control::new(entry.key, Flags::ACK, entry.snd_nxt, entry.rcv_nxt);
        ack.window = entry.window;
        ack.hop_limit = entry.hop_limit;
        match in_time_wait(segment, entry.rcv_nxt) {
            InTimeWait::Reset => self.remove_time_wait(id),
            InTimeWait::New => {
                self.stats.time_wait_reused += 1;
                self.remove_time_wait(id);
                self.reopen(now, link, entry.key, segment, entry.snd_nxt);
            }
            InTimeWait::FinAgain => {
                self.arm_time_wait(id, now + self.config.time_wait);
                let _ = self.send_control(now, link, &ack);
            }
            InTimeWait::Answer => {
                if self.challenges.take(now) {
                    self.stats.challenge_acks += 1;
                    let _ = self.send_control(now, link, &ack);
                } else {
                    self.stats.challenge_acks_limited += 1;
                }
            }
            InTimeWait::Ignore => {}
        }
    }

    /// A new connection takes the place of one in TIME-WAIT: its sequence numbers start above the old ones (RFC 1122
    /// section 4.2.2.13).
    fn reopen(
        &mut self,
        now: Instant,
        link: &mut Link,
        key: FlowKey,
        segment: &Segment<'_>,
        snd_nxt: u32,
    ) {
        let above = snd_nxt.wrapping_add(65_537);
        let isn = seq::max(self.initial_sequence(now, &key), above);
        if self.refuse_new || !self.syn(now, link, key, segment, isn) {
            self.stats.no_connection += 1;
            self.refuse(now, link, key, segment);
        }
    }

    /// An ICMP error about a segment of ours (RFC 5927: only if it quotes one that is in flight).
    pub(crate) fn on_error(&mut self, now: Instant, link: &mut Link, report: &ErrorReport) {
        let key = FlowKey::new(report.local, report.remote);
        let Some(FlowRef::Conn(id)) = self.table.get(&key) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state();
        let una = flow.snd_una(state);
        if let Some(quoted) = report.seq {
            let in_flight = seq::le(una, quoted)
                && seq::lt(quoted, seq::max(flow.snd_max, una.wrapping_add(1)));
            if !in_flight {
                return;
            }
        }
        if let ErrorKind::PacketTooBig { mtu } = report.kind {
            link.note_path_mtu(now, report.remote.ip(), mtu as usize);
            let mtu = link.path_mtu(now, report.remote.ip());
            self.narrow(now, id, mtu);
            return;
        }
        let Some(error) = report.kind.to_error() else {
            return;
        };
        // Hard only while connecting: RFC 1122 section 4.2.3.9 wants established ones to live on (RFC 5927 section 4).
        if flow.has(FlowFlags::CONNECTING) {
            self.finish(id, Some(error));
        }
    }

    /// Lets a connection send smaller segments from now on.
    pub(super) fn narrow(&mut self, now: Instant, id: TcpId, mtu: usize) {
        let Ok(mtu) = u16::try_from(mtu) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let current = self
            .engines
            .get(usize::from(flow.engine))
            .map_or(0, |engine| engine.mtu());
        if mtu >= current {
            return;
        }
        let fits = |engine: &super::Engine| engine.mtu() == mtu;
        let index = match self.engines.iter().position(fits) {
            Some(index) => index,
            None if self.engines.len() < 64 => {
                self.engines.push(super::Engine::new(mtu, now));
                self.engines.len() - 1
            }
            // More widths of path than anyone has: the widest that is narrower than this one.
            None => {
                let narrower = self
                    .engines
                    .iter()
                    .enumerate()
                    .filter(|(_, engine)| engine.mtu() < mtu);
                match narrower.max_by_key(|(_, engine)| engine.mtu()) {
                    Some((index, _)) => index,
                    None => return,
                }
            }
        };
        flow.engine = index as u8;
        self.mark_dirty(id);
    }
}

/// What a segment may do to a connection that is not in TIME-WAIT.
#[inline(always)]
fn judge(flow: &Flow, state: TcpState, segment: &Segment<'_>) -> Verdict {
    let flags = segment.flags();
    match state {
        TcpState::Closed => return Verdict::Drop,
        // The state machine checks acknowledgment numbers itself, and there is no window yet.
        TcpState::SynSent => return Verdict::Pass,
        _ => {}
    }
    let rcv_nxt = flow.rcv_nxt();
    if flags.rst() {
        // RFC 5961 section 3.2: exactly in sequence, or else the peer has to say it again.
        let offset = segment.seq().wrapping_sub(rcv_nxt);
        return if offset == 0 {
            Verdict::Reset
        } else if offset < flow.rcv_window() {
            Verdict::Challenge
        } else {
            Verdict::Drop
        };
    }
    if flags.syn()
        && flags.ack()
        && state == TcpState::SynReceived
        && flow.has(FlowFlags::CONNECTING)
        && segment.seq() == flow.irs
        && segment.ack() == flow.iss.wrapping_add(1)
    {
        // The SYNs have crossed, and this is the answer to ours: an ACK, where the state machine knows the SYN already.
        return Verdict::Patch {
            ack: segment.ack(),
            window: segment.window() >> flow.snd_shift,
            fin: false,
        };
    }
    if flags.syn() {
        // RFC 5961 section 4.2. A repeated SYN-ACK, whose ACK was lost, gets its ACK this way too.
        return Verdict::Challenge;
    }
    if !flags.ack() {
        return Verdict::Drop;
    }
    let len = segment.payload().len() as u32;
    let end = segment.seq().wrapping_add(len);
    if flow.acked.is_none() && len > 0 && seq::lt(flow.rcv_edge, end) {
        // The window of a SYN has no scale, but the state machine applies it, and would take more than it has room for.
        return Verdict::Drop;
    }
    if flow.has(FlowFlags::FIN_RECEIVED) && seq::lt(rcv_nxt, end) {
        // Nothing comes after the end of a stream (RFC 9293 section 3.10.7.4, seventh); the state machine would deliver it.
        return Verdict::Drop;
    }
    // RFC 5961 section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
    let una = flow.snd_una(state);
    let ack = segment.ack();
    if seq::lt(flow.snd_max, ack) {
        return Verdict::Challenge;
    }
    if flow.has(FlowFlags::ORPHAN) && len > 0 && seq::lt(rcv_nxt, end) {
        // RFC 1122 section 4.2.2.13: data after close can't be delivered, and the peer should know.
        return Verdict::NoReader;
    }
    // The FIN of a segment of which the window has only a part would be taken for the end of that part.
    let fin_beyond = flags.fin() && seq::lt(flow.takes_to, end);
    if seq::lt(ack, una) && state != TcpState::SynReceived {
        if una.wrapping_sub(ack) > flow.max_snd_wnd.max(65_535) {
            return Verdict::Challenge;
        }
        if len == 0 && !flags.fin() {
            return Verdict::Drop;
        }
        // An old acknowledgment is to be ignored, not the data that it came with (RFC 9293 section 3.10.7.4).
        return Verdict::Patch {
            ack: una,
            window: flow.snd_wnd,
            fin: flags.fin() && !fin_beyond,
        };
    }
    if matches!(state, TcpState::FinWait1 | TcpState::Closing)
        && (ack, len) == (una, 0)
        && flow.conn.send_queue() == 0
    {
        // All that it can be a duplicate acknowledgment for is our FIN. At the third the state machine would stop its
        // retransmission timer for a fast retransmit of data, find none, and never send the FIN again. It does not count
        // one that changes the window, which is of no use to us any more.
        return Verdict::Patch {
            ack,
            window: flow.snd_wnd ^ 1,
            fin: flags.fin() && !fin_beyond,
        };
    }
    if fin_beyond {
        return Verdict::Patch {
            ack,
            window: segment.window(),
            fin: false,
        };
    }
    Verdict::Pass
}

/// Takes over what a SYN-ACK (or a SYN that crossed ours) says.
fn synchronize(flow: &mut Flow, segment: &Segment<'_>) {
    flow.irs = segment.seq();
    flow.snd_wnd = segment.window();
    flow.max_snd_wnd = segment.window().into();
    let capacity = flow.conn.recv_capacity();
    flow.rcv_edge = segment
        .seq()
        .wrapping_add(1)
        .wrapping_add(capacity.min(65_535) as u32);
    flow.takes_to = flow.rcv_edge;
    let options = SynOptions::of(segment);
    flow.conn.set_peer_mss(options.mss);
    if let Some(shift) = options.wscale {
        flow.snd_shift = shift;
        flow.rcv_shift = window_scale_for(capacity);
    }
}

enum InTimeWait {
    Reset,
    /// A SYN of a new connection.
    New,
    FinAgain,
    Answer,
    Ignore,
}

/// RFC 9293 section 3.10.7.4 for TIME-WAIT, with RFC 1122's and RFC 6191's reuse by a SYN whose sequence number is
/// above all that the old connection has used.
fn in_time_wait(segment: &Segment<'_>, rcv_nxt: u32) -> InTimeWait {
    let flags = segment.flags();
    let len = segment.payload().len() as u32;
    if flags.rst() {
        if segment.seq() == rcv_nxt {
            InTimeWait::Reset
        } else {
            InTimeWait::Ignore
        }
    } else if flags.syn() && !flags.ack() && !flags.fin() && seq::le(rcv_nxt, segment.seq()) {
        InTimeWait::New
    } else if flags.fin() && segment.seq().wrapping_add(len).wrapping_add(1) == rcv_nxt {
        InTimeWait::FinAgain
    } else if flags.syn() || len > 0 || segment.seq() != rcv_nxt {
        InTimeWait::Answer
    } else {
        InTimeWait::Ignore
    }
}

/// Writes the segment anew, behind a plain IP header, with other figures where `patch` has them. Checksums are not
/// filled in: whoever reads it does not look at them.
fn rewrite(
    buf: &mut alloc::vec::Vec<u8>,
    ip: &IpPacket<'_>,
    segment: &Segment<'_>,
    patch: Option<(u32, u16, bool)>,
) {
    let meta = IpMeta {
        dont_fragment: true,
        ..IpMeta::new(ip.src(), ip.dst(), Protocol::Tcp)
    };
    let bytes = segment.bytes();
    let header = meta.ip_header_len();
    // The Ethernet header that is written too is cut off again.
    buf.clear();
    buf.resize(14 + header + bytes.len(), 0);
    let at = emit::write_headers(
        buf,
        Default::default(),
        Default::default(),
        &meta,
        0,
        bytes.len(),
    );
    buf[at..].copy_from_slice(bytes);
    if let Some((ack, window, fin)) = patch
        && let Some(tcp) = buf
            .get_mut(at..)
            .and_then(|tcp| tcp.first_chunk_mut::<HEADER_LEN>())
    {
        tcp[8..12].copy_from_slice(&ack.to_be_bytes());
        tcp[14..16].copy_from_slice(&window.to_be_bytes());
        if !fin {
            tcp[13] &= !Flags::FIN.0;
        }
        if segment.flags().syn() {
            tcp[13] &= !Flags::SYN.0;
            tcp[4..8].copy_from_slice(&segment.seq().wrapping_add(1).to_be_bytes());
        }
    }
    if let Some(options) = buf.get_mut(at + HEADER_LEN..at + segment.header_len()) {
        while let Some(odd) = options::first_odd(options) {
            options[odd].fill(options::NOP);
        }
    }
    buf.drain(..14);
}
