//! A received segment of a connection: what RFC 9293 section 3.10.7.4 and RFC 5961 say about it, state by state.
//!
//! Acknowledgments go on to [`ack`](super::ack), data to [`receive`](super::receive); TIME-WAIT is in
//! [`time_wait`](super::time_wait).

use dpdk_net_packet::IpPacket;
use dpdk_net_packet::tcp::{Flags, Segment};

use super::ack::Acknowledgment;
use super::flow::{Flow, FlowFlags, Wait, coarse_clock};
use super::options::{SegmentOptions, SynOptions, window_scale_for};
use super::receive::{Context, More};
use super::table::{FlowKey, FlowRef};
use super::trace::{CloseReason, DropReason, TraceData};
use super::{Settings, Tcp, TcpState, seq};
use crate::error::Error;
use crate::event::{Readiness, TcpId};
use crate::icmp::{ErrorKind, ErrorReport};
use crate::link::Link;
use crate::time::{Duration, Instant};

/// Challenge ACKs of one connection are at least this far apart (Linux' `tcp_invalid_ratelimit`).
const CHALLENGE_INTERVAL: Duration = Duration::from_millis(500);
/// How often progress of a connection is told to the neighbour cache.
const CONFIRM_INTERVAL: Duration = Duration::from_secs(1);
/// A timestamp that is older than 24 days says nothing any more (RFC 7323 section 5.5).
const PAWS_LIFETIME: u32 = ((24 * 24 * 3_600 * 1_000_000_000u64) >> 30) as u32;
/// The codepoint of an IP packet that met congestion (RFC 3168 section 5).
const CE: u8 = 3;

/// Why a segment is not taken.
enum Refusal {
    Drop,
    /// It is out of place: the peer is told where we stand (RFC 5961).
    Challenge,
    /// The same, for a segment that took sequence space or asks for an answer.
    Answer,
    /// Its timestamp is older than what has come.
    Old,
    /// The peer reset the connection.
    Reset,
    /// Data for which there is no application any more.
    NoReader,
}

impl Refusal {
    fn reason(&self) -> DropReason {
        match self {
            Refusal::Drop => DropReason::Unexpected,
            Refusal::Challenge => DropReason::Challenged,
            Refusal::Answer => DropReason::OutOfWindow,
            Refusal::Old => DropReason::OldTimestamp,
            Refusal::Reset => DropReason::Reset,
            Refusal::NoReader => DropReason::NoReader,
        }
    }
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
        match found {
            Some(FlowRef::Conn(id)) => {
                self.flow_segment(now, link, id, (ip.ecn(), segment), &mut More::new());
            }
            Some(FlowRef::Half(id)) => self.half_segment(now, link, id, (ip, segment)),
            Some(FlowRef::TimeWait(id)) => self.time_wait_segment(now, link, id, segment),
            None => self.new_segment(now, link, key, (ip, segment)),
        }
        // What is another worker's is counted there.
        self.stats.rx_segments += u64::from(self.strayed.is_empty());
    }

    /// Counts a segment for one of our addresses that was malformed, or whose checksum was wrong.
    pub(crate) fn count_in_error(&mut self) {
        self.stats.rx_segments += 1;
        self.stats.rx_errors += 1;
    }

    /// A segment of a connection, the bytes behind the IP header. `false`, and nothing is done, if it is not just what
    /// was expected: then it is one for [`flow_segment`](Self::flow_segment).
    #[inline(never)]
    pub(crate) fn expected(&mut self, now: Instant, id: TcpId, segment: &[u8]) -> bool {
        let Some(flow) = self.flows.as_it_is(id) else {
            return true;
        };
        let Some(taken) = flow.take_expected(now, &self.settings, &mut self.pool, segment) else {
            return false;
        };
        if taken.ready.is_empty() {
            flow.relax_in_crowd(&mut self.pool);
        }
        flow.notify(id, taken.ready, &mut self.events);
        if taken.ask {
            flow.mark_dirty(id, &mut self.dirty);
        } else {
            flow.arm(&mut self.wheel, flow.ack_at);
        }
        true
    }

    /// A segment of a connection, the ECN field it came with, and payload behind it that has nothing more to tell.
    #[inline(never)]
    pub(crate) fn flow_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        (ecn, segment): (u8, &Segment<'_>),
        more: &mut More<'_>,
    ) {
        let arrived = self.arrived.take();
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state;
        flow.segments_in = flow.segments_in.wrapping_add(1 + more.len() as u32);
        if flow.has(FlowFlags::TRACED)
            && let Some(trace) = self.traces.of(flow)
        {
            let pieces = more.iter().map(|(data, _)| data.len());
            trace.received(now, flow, (ecn, segment), pieces);
        }
        match state {
            TcpState::Closed => return,
            TcpState::TimeWait => return self.flow_in_time_wait(now, link, id, segment),
            TcpState::SynSent => return self.syn_sent_segment(now, link, id, segment),
            _ => {}
        }
        let options = SegmentOptions::of(segment);
        if let Err(refusal) = check(flow, now, segment, &options) {
            return self.refuse_segment(now, link, id, segment, refusal);
        }
        let mut ready = Readiness::empty();
        let both_opened = state == TcpState::SynReceived;
        if both_opened {
            // Both had sent a SYN; ours is acknowledged now.
            flow.established(now, segment);
            ready |= Readiness::CONNECTED | Readiness::WRITABLE;
        }
        let (start, data) = (segment.seq(), segment.payload());
        let flags = segment.flags();
        if let Some(timestamps) = options.timestamps
            && seq::le(start, flow.acked)
        {
            // RFC 7323 section 4.3: what is echoed is of the segment that the next ACK answers.
            (flow.ts_recent, flow.ts_recent_at) = (timestamps.value, coarse_clock(now));
        }
        if flow.has(FlowFlags::ECN) {
            if flags.contains(Flags::CWR) {
                flow.flags.remove(FlowFlags::ECE);
            }
            if ecn == CE {
                self.stats.rx_ce += 1;
                flow.flags |= FlowFlags::ECE | FlowFlags::ACK_NOW;
            }
        }
        let mut context = Context {
            now,
            config: &self.settings,
            pool: &mut self.pool,
            arrived,
            lro_segment: self.lro_segment,
            stats: &mut self.stats,
            rtts: &mut self.distributions.rtt,
        };
        let advanced = flow.acknowledge(
            &mut context,
            &Acknowledgment {
                seq: start,
                ack: segment.ack(),
                window: segment.window(),
                has_data: !data.is_empty() || flags.fin(),
                echo: flags.contains(Flags::ECE),
                options: &options,
            },
        );
        if advanced {
            if flow.is_writable_again() {
                flow.flags.remove(FlowFlags::BLOCKED);
                ready |= Readiness::WRITABLE;
            }
            flow.after_fin_acknowledged();
        }
        if (!data.is_empty() || flags.fin()) && !flow.has(FlowFlags::FIN_RECEIVED) {
            ready |= flow.receive(&mut context, start, data, flags.fin());
            let mut at = start.wrapping_add(data.len() as u32);
            for (data, arrived) in more.drain(..) {
                context.arrived = arrived;
                ready |= flow.receive(&mut context, at, data, false);
                at = at.wrapping_add(data.len() as u32);
            }
        }
        let after = flow.state;
        if after == TcpState::TimeWait {
            ready |= Readiness::CLOSED;
        }
        if after == TcpState::FinWait2 && state != after && flow.has(FlowFlags::ORPHAN) {
            flow.expires = now + self.settings.fin_wait2_timeout;
        }
        // Something of ours was acknowledged: the way there works (RFC 4861 section 7.3.1).
        let confirm = advanced && now - flow.heard >= CONFIRM_INTERVAL || state != after;
        flow.heard = now;
        if let Some(rare) = &mut flow.rare
            && let Some(keepalive) = &mut rare.keepalive
        {
            keepalive.probes = 0;
        }
        flow.notify(id, ready, &mut self.events);
        flow.mark_dirty(id, &mut self.dirty);
        let traced = flow.has(FlowFlags::TRACED);
        if confirm {
            link.confirm(now, &flow.key.way());
            self.flows.moved(state, after);
        }
        if traced {
            self.observe(now, id);
        }
        if both_opened {
            self.report_established(id, false);
        }
        match after {
            TcpState::Closed => self.finish(now, id, CloseReason::Fin, None),
            TcpState::TimeWait => self.enter_time_wait(now, link, id),
            _ => {}
        }
    }

    /// Counts a segment that is dropped without an answer.
    #[cold]
    pub(super) fn count_unused(&mut self, segment: &Segment<'_>) {
        if segment.flags().rst() {
            self.stats.rx_rst_out_of_window += 1;
        } else {
            self.stats.unexpected += 1;
        }
    }

    /// Does what a segment deserves that is not taken.
    #[cold]
    fn refuse_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        segment: &Segment<'_>,
        refusal: Refusal,
    ) {
        self.record(now, id, |_| TraceData::Dropped(refusal.reason()));
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let refusal = match refusal {
            Refusal::Old => {
                self.stats.paws_drops += 1;
                if segment.payload().is_empty() && !segment.flags().fin() {
                    Refusal::Challenge
                } else {
                    Refusal::Answer
                }
            }
            other => other,
        };
        match refusal {
            Refusal::Drop | Refusal::Old => self.count_unused(segment),
            Refusal::Challenge => {
                if segment.flags().rst() {
                    self.stats.rx_rst_out_of_place += 1;
                } else if segment.flags().syn() {
                    self.stats.rx_syn_out_of_place += 1;
                } else {
                    self.stats.rx_ack_out_of_place += 1;
                }
                self.challenge(now, link, id);
            }
            Refusal::Answer => {
                self.stats.rx_out_of_window += 1;
                let end = segment.seq().wrapping_add(segment.payload().len() as u32);
                if !segment.payload().is_empty() && seq::le(end, flow.rcv_nxt) {
                    self.stats.duplicate_data += 1;
                    flow.rare().duplicate = Some((segment.seq(), end));
                }
                flow.flags |= FlowFlags::ACK_NOW;
                flow.heard = now;
                self.mark_dirty(id);
            }
            Refusal::Reset => {
                self.stats.rx_resets += 1;
                // As Linux: after the peer's FIN it is a broken pipe.
                let error = match flow.state {
                    TcpState::CloseWait => Some(Error::BrokenPipe),
                    TcpState::Closing | TcpState::LastAck => None,
                    TcpState::SynReceived => Some(Error::ConnectionRefused),
                    _ => Some(Error::ConnectionReset),
                };
                self.finish(now, id, CloseReason::ResetByPeer, error);
            }
            Refusal::NoReader => {
                self.stats.orphans_reset += 1;
                self.stats.data_after_close += 1;
                self.abort(now, link, id, None);
            }
        }
    }

    /// A segment of a connection that was opened from here and has not been answered (RFC 9293 section 3.10.7.3).
    fn syn_sent_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        segment: &Segment<'_>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let (flags, ack) = (segment.flags(), segment.ack());
        if flags.ack() && (seq::le(ack, flow.iss) || seq::lt(flow.snd_nxt, ack)) {
            if flags.rst() {
                self.count_unused(segment);
            } else {
                let key = flow.key;
                self.stats.rx_ack_out_of_place += 1;
                self.refuse(now, link, key, segment);
            }
            return;
        }
        if flags.rst() {
            if flags.ack() {
                self.stats.rx_resets += 1;
                let reason = CloseReason::ResetByPeer;
                self.finish(now, id, reason, Some(Error::ConnectionRefused));
            } else {
                self.count_unused(segment);
            }
            return;
        }
        if !flags.syn() {
            self.count_unused(segment);
            return;
        }
        let offer = SynOptions::of(segment);
        flow.synchronize(now, &self.settings, segment, &offer);
        if self.settings.ecn_allowed()
            && flow.has(FlowFlags::ECN_ASKED)
            && flags.ack()
            && flags.contains(Flags::ECE)
            && !flags.contains(Flags::CWR)
        {
            flow.flags |= FlowFlags::ECN;
        }
        flow.set_mss(link.path_mtu(now, &flow.key.way()));
        let mut ready = Readiness::empty();
        if flags.ack() {
            let echo = offer.timestamps.map_or(0, |ts| ts.echo);
            let rtt = if !flow.has(FlowFlags::SYN_AGAIN) {
                Some(now - flow.tune_at)
            } else if flow.has(FlowFlags::TIMESTAMPS) && echo != 0 {
                let elapsed = flow.timestamp(now).wrapping_sub(echo);
                Some(Duration::from_millis(elapsed.clamp(1, 60_000).into()))
            } else {
                None
            };
            if let Some(rtt) = rtt {
                let micros = flow.rtt.sample(now, rtt, 1);
                self.distributions.rtt.record(micros.into());
            }
            flow.established(now, segment);
            // The window of a SYN is not scaled (RFC 7323 section 2.2).
            flow.snd_wnd = segment.window().into();
            flow.max_snd_wnd = flow.snd_wnd;
            flow.flags |= FlowFlags::ACK_NOW;
            ready |= Readiness::CONNECTED | Readiness::WRITABLE;
            let mut context = Context {
                now,
                config: &self.settings,
                pool: &mut self.pool,
                arrived: None,
                lro_segment: 0,
                stats: &mut self.stats,
                rtts: &mut self.distributions.rtt,
            };
            let data = segment.payload();
            if !data.is_empty() || flags.fin() {
                // RFC 9293 section 3.10.7.3, fourth: data on the SYN counts from behind it.
                ready |= flow.receive(&mut context, flow.rcv_nxt, data, flags.fin());
            }
        } else {
            // Both at once (RFC 9293 section 3.5, figure 7).
            flow.state = TcpState::SynReceived;
            flow.flags |= FlowFlags::SYN_DUE;
            flow.backoff = 0;
        }
        flow.heard = now;
        flow.notify(id, ready, &mut self.events);
        flow.mark_dirty(id, &mut self.dirty);
        link.confirm(now, &flow.key.way());
        let (after, traced) = (flow.state, flow.has(FlowFlags::TRACED));
        self.flows.moved(TcpState::SynSent, after);
        if traced {
            self.observe(now, id);
        }
        if flags.ack() {
            self.report_established(id, false);
        }
    }

    /// Answers a segment that is out of place with an ACK (RFC 5961), so many a second over all and for each.
    pub(super) fn challenge(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        if now < flow.rare().challenge_after || !self.challenges.take(now) {
            self.stats.challenge_acks_limited += 1;
            return;
        }
        flow.rare().challenge_after = now + CHALLENGE_INTERVAL;
        let ack = flow.ack(now);
        self.stats.challenge_acks += 1;
        let _ = self.send_control(now, link, &ack);
        self.record(now, id, |flow| TraceData::Sent(ack.traced(flow.rcv_shift)));
    }

    /// An ICMP error about a segment of ours (RFC 5927: only if it quotes one that is in flight).
    pub(crate) fn on_error(&mut self, now: Instant, link: &mut Link, report: &ErrorReport) {
        let key = FlowKey::new(report.local, report.remote);
        let Some(FlowRef::Conn(id)) = self.lookup(&key) else {
            return;
        };
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        // RFC 792: at least 64 bits of what was sent are quoted. Who quotes less may have guessed the ports.
        let Some(quoted) = report.seq else {
            return;
        };
        let end = seq::max(flow.snd_nxt, flow.snd_una.wrapping_add(1));
        if !(seq::le(flow.snd_una, quoted) && seq::lt(quoted, end)) {
            self.stats.icmp_out_of_window += 1;
            return;
        }
        if let ErrorKind::PacketTooBig { mtu } = report.kind {
            link.note_path_mtu(now, &key.way(), mtu as usize);
            let mtu = link.path_mtu(now, &key.way());
            self.narrow(id, mtu);
            return;
        }
        let Some(error) = report.kind.to_error() else {
            return;
        };
        // Hard only while connecting: RFC 1122 section 4.2.3.9 wants established ones to live on (RFC 5927 section 5.2).
        if flow.has(FlowFlags::CONNECTING) {
            let reason = CloseReason::Failed(error.clone());
            self.finish(now, id, reason, Some(error));
        } else {
            let since = flow.snd_una;
            flow.rare().soft_error = Some((error, since));
        }
    }

    /// Lets a connection send smaller segments from now on; what was too large is sent again at once, cut smaller, and
    /// counts as no congestion (RFC 1191 section 6.4, RFC 8201 section 5.4).
    pub(super) fn narrow(&mut self, id: TcpId, mtu: usize) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let old = flow.mss;
        flow.set_mss(mtu);
        let mss = flow.mss;
        if mss < old {
            if let Some(busy) = &mut flow.busy {
                busy.sent.lose_longer_than(mss.into());
            }
            self.mark_dirty(id);
        }
    }
}

impl Flow {
    /// Takes over what a SYN says, or a SYN-ACK.
    pub(super) fn synchronize(
        &mut self,
        now: Instant,
        config: &Settings,
        segment: &Segment<'_>,
        offer: &SynOptions,
    ) {
        self.irs = segment.seq();
        self.synchronized_at(self.irs, now, config, offer);
        self.snd_wnd = segment.window().into();
        self.max_snd_wnd = self.snd_wnd;
        (self.snd_wl1, self.snd_wl2) = (segment.seq(), segment.ack());
    }

    /// Sets everything that follows from the peer's initial sequence number and what both sides offered.
    pub(super) fn synchronized_at(
        &mut self,
        irs: u32,
        now: Instant,
        config: &Settings,
        offer: &SynOptions,
    ) {
        self.irs = irs;
        self.rcv_nxt = irs.wrapping_add(1);
        self.acked = self.rcv_nxt;
        self.tune_from = self.rcv_nxt;
        self.rcv_edge = self
            .rcv_nxt
            .wrapping_add(self.recv_max.min(u16::MAX.into()));
        if let Some(shift) = offer.wscale {
            self.snd_shift = shift;
            self.rcv_shift = window_scale_for(self.most_recv(config));
        }
        self.flags.set(FlowFlags::SACK, offer.sack && config.sack);
        if config.timestamps
            && let Some(timestamps) = offer.timestamps
        {
            self.flags |= FlowFlags::TIMESTAMPS;
            (self.ts_recent, self.ts_recent_at) = (timestamps.value, coarse_clock(now));
        }
        // RFC 9293 section 3.7.1: what counts where the peer says nothing.
        let default = if self.key.is_v6() { 1_220 } else { 536 };
        self.peer_mss = offer.mss.unwrap_or(default).max(super::flow::MIN_MSS);
    }

    /// Our SYN is acknowledged.
    pub(super) fn established(&mut self, now: Instant, segment: &Segment<'_>) {
        self.state = TcpState::Established;
        self.snd_una = segment.ack();
        self.snd_wnd = u32::from(segment.window()) << self.snd_shift;
        self.max_snd_wnd = self.max_snd_wnd.max(self.snd_wnd);
        (self.snd_wl1, self.snd_wl2) = (segment.seq(), segment.ack());
        self.flags
            .remove(FlowFlags::CONNECTING | FlowFlags::SYN_DUE);
        self.expires = Instant::MAX;
        if self.has(FlowFlags::SYN_AGAIN) {
            self.rtt.after_lost_syn();
            self.flags.set(FlowFlags::SYN_LOST, self.backoff > 1);
        }
        self.backoff = 0;
        (self.wait, self.wait_until) = (Wait::Nothing, Instant::MAX);
        self.tune_at = now;
    }
}

/// Whether a segment may be taken by a connection that has seen the peer's SYN and is not in TIME-WAIT.
#[inline]
fn check(
    flow: &mut Flow,
    now: Instant,
    segment: &Segment<'_>,
    options: &SegmentOptions,
) -> Result<(), Refusal> {
    let flags = segment.flags();
    let (start, ack) = (segment.seq(), segment.ack());
    let len = segment.payload().len() as u32;
    let space = len + u32::from(flags.fin());
    if flow.has(FlowFlags::TIMESTAMPS) && !flags.rst() && !flags.syn() {
        let Some(timestamps) = options.timestamps else {
            // RFC 7323 section 3.2: who agreed to timestamps sends them.
            return Err(Refusal::Drop);
        };
        if seq::lt(timestamps.value, flow.ts_recent)
            && coarse_clock(now).wrapping_sub(flow.ts_recent_at) < PAWS_LIFETIME
        {
            // RFC 7323 section 5.3: an old duplicate.
            return Err(Refusal::Old);
        }
    }
    if flags.rst() {
        // RFC 5961 section 3.2: exactly in sequence, or else the peer has to say it again.
        return Err(if start == flow.rcv_nxt {
            Refusal::Reset
        } else if flow.is_acceptable(start, 0) {
            Refusal::Challenge
        } else {
            Refusal::Drop
        });
    }
    if flags.syn() {
        // The SYNs have crossed, and this is the answer to ours: as an ACK, the SYN is known already.
        let answer = flow.state == TcpState::SynReceived
            && flags.ack()
            && start == flow.irs
            && ack == flow.iss.wrapping_add(1);
        // RFC 5961 section 4.2. A repeated SYN-ACK, whose ACK was lost, gets its ACK this way too.
        return if answer {
            Ok(())
        } else {
            Err(Refusal::Challenge)
        };
    }
    if !flow.is_acceptable(start, space) {
        // An ACK without data is answered too, for it may be a keep-alive probe (RFC 1122 section 4.2.3.6), but not
        // often: the peer may do the same.
        return Err(if space > 0 {
            Refusal::Answer
        } else {
            Refusal::Challenge
        });
    }
    if !flags.ack() {
        return Err(Refusal::Drop);
    }
    if flow.state == TcpState::SynReceived {
        return if ack == flow.iss.wrapping_add(1) {
            Ok(())
        } else {
            Err(Refusal::Challenge)
        };
    }
    // RFC 5961 section 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT.
    if seq::lt(flow.snd_nxt, ack) {
        return Err(Refusal::Challenge);
    }
    if seq::lt(ack, flow.snd_una)
        && flow.snd_una.wrapping_sub(ack) > flow.max_snd_wnd.max(u16::MAX.into())
    {
        return Err(Refusal::Challenge);
    }
    if len > 0 && flow.has(FlowFlags::ORPHAN) && seq::lt(flow.rcv_nxt, start.wrapping_add(len)) {
        // RFC 1122 section 4.2.2.13: data after close can't be delivered, and the peer should know.
        return Err(Refusal::NoReader);
    }
    Ok(())
}
