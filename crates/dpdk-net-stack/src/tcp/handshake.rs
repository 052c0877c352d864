//! From a SYN to a connection: answering SYNs, repeating the answers, and what the ACK makes of them.

use core::net::IpAddr;

use dpdk_net_packet::IpPacket;
use dpdk_net_packet::tcp::{Flags, Segment};

use super::flow::{Flow, FlowFlags, timestamp_clock};
use super::listener::{Half, HalfId};
use super::options::{SegmentOptions, SynOptions, Timestamps, window_scale_for};
use super::receive::More;
use super::segment::Control;
use super::sockopt::TcpOptions;
use super::table::{FlowKey, FlowRef};
use super::trace::Handshake;
use super::{Tcp, TcpState, TimerKey};
use crate::event::{ListenerId, TcpId};
use crate::link::Link;
use crate::time::Instant;

/// What a SYN is answered with.
struct Answer {
    key: FlowKey,
    iss: u32,
    irs: u32,
    peer: SynOptions,
    ecn: bool,
    listener: ListenerId,
}

/// What is known of a connection whose handshake has just been completed, from the SYN queue or from a cookie.
struct Opening {
    key: FlowKey,
    listener: ListenerId,
    irs: u32,
    iss: u32,
    peer: SynOptions,
    /// The window field of the SYN, or what is known instead.
    window: u16,
    /// When the SYN-ACK was sent last, if that is known.
    answered_at: Option<Instant>,
    /// How often the SYN-ACK was sent again.
    retries: u8,
    /// ECN is on.
    ecn: bool,
}

impl Tcp {
    /// A segment of no connection.
    pub(crate) fn new_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        key: FlowKey,
        (ip, segment): (&IpPacket<'_>, &Segment<'_>),
    ) {
        if self.steered.is_some() && self.is_elsewhere(&key) {
            return;
        }
        let flags = segment.flags();
        let is_syn = flags.syn() && !flags.ack() && !flags.rst() && !flags.fin();
        if is_syn && can_connect(key.local_addr(), key.remote_addr()) {
            let isn = self.initial_sequence(now, &key);
            if !self.refuse_new && self.syn(now, link, key, segment, isn)
                || self.is_for_listener_elsewhere(&key)
            {
                return;
            }
        }
        if !flags.ack() && !is_syn && self.listeners.lookup(key.local()).is_some() {
            // RFC 9293 section 3.10.7.2, fourth: what is neither SYN nor ACK, or is SYN and FIN at once, is dropped by
            // who listens.
            self.stats.no_connection += 1;
            return;
        }
        if flags.ack() && !flags.syn() && !flags.rst() {
            let (irs, iss) = (segment.seq().wrapping_sub(1), segment.ack().wrapping_sub(1));
            let listener = self.listeners.lookup(key.local());
            let cookie = self.read_cookie(now, &key, irs, iss);
            if cookie.is_some() && listener.is_none() && self.is_for_listener_elsewhere(&key) {
                return;
            }
            if let (Some(mut peer), Some(listener)) = (cookie, listener) {
                // Whoever sends timestamps now was offered them then (RFC 7323 section 3.2).
                peer.timestamps = SegmentOptions::of(segment).timestamps;
                let opening = Opening {
                    key,
                    listener,
                    irs,
                    iss,
                    peer,
                    window: segment.window(),
                    answered_at: None,
                    retries: 0,
                    ecn: false,
                };
                self.stats.syn_cookies_valid += 1;
                match self.claim(&key) {
                    Err(other) => self.stray_to(other),
                    Ok(()) if self.complete(now, link, &opening, (ip, segment)) => {}
                    Ok(()) => self.release(&key),
                }
                return;
            }
        }
        self.stats.no_connection += 1;
        self.refuse(now, link, key, segment);
    }

    /// Answers a segment of no connection with a RST, so many a second.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        link: &mut Link,
        key: FlowKey,
        segment: &Segment<'_>,
    ) {
        if let Some(reset) = Control::reset_for(key, segment) {
            if self.resets.take(now) {
                self.stats.tx_resets += 1;
                let _ = self.send_control(now, link, &reset);
            } else {
                self.stats.resets_limited += 1;
            }
        }
    }

    /// Takes a SYN into the SYN queue and answers it; `false` if nobody listens.
    pub(crate) fn syn(
        &mut self,
        now: Instant,
        link: &mut Link,
        key: FlowKey,
        segment: &Segment<'_>,
        isn: u32,
    ) -> bool {
        let Some(id) = self.listeners.lookup(key.local()) else {
            return false;
        };
        // As Linux: with no room to accept, the SYN is dropped and the client asks again.
        let Some(listener) = self.listeners.map.get_mut(id) else {
            return true;
        };
        if listener.is_full() {
            listener.drops += 1;
            self.stats.accept_overflows += 1;
            self.stats.listen_drops += 1;
            return true;
        }
        let peer = SynOptions::of(segment);
        if self.syn_queue.is_full() {
            self.stats.syn_cookies_sent += 1;
            let cookie = self.make_cookie(now, &key, segment.seq(), &peer);
            let answer = Answer {
                key,
                iss: cookie,
                irs: segment.seq(),
                peer,
                ecn: false,
                listener: id,
            };
            self.send_syn_ack(now, link, &answer);
            return true;
        }
        if let Err(other) = self.claim(&key) {
            self.stray_to(other);
            return true;
        }
        self.stats.syn_received += 1;
        let wheel = &mut self.wheel;
        let half = self.syn_queue.insert_with_key(|half| Half {
            key,
            listener: id,
            irs: segment.seq(),
            iss: isn,
            peer,
            // RFC 3168 section 6.1.1.
            ecn: self.settings.ecn_allowed() && segment.flags().contains(Flags::ECE | Flags::CWR),
            window: segment.window(),
            retries: 0,
            answered_at: now,
            timer: wheel.insert(TimerKey::Half(half)),
        });
        self.enter(&key, FlowRef::Half(half));
        if let Some(listener) = self.listeners.map.get_mut(id) {
            listener.half_open += 1;
        }
        self.answer(now, link, half);
        true
    }

    /// Sends the SYN-ACK of a half-open connection and waits for its ACK.
    fn answer(&mut self, now: Instant, link: &mut Link, id: HalfId) {
        let Some(half) = self.syn_queue.entries.get_mut(id) else {
            return;
        };
        half.answered_at = now;
        let Half {
            key,
            irs,
            iss,
            peer,
            retries,
            timer,
            listener,
            ecn,
            ..
        } = *half;
        let answer = Answer {
            key,
            iss,
            irs,
            peer,
            ecn,
            listener,
        };
        self.send_syn_ack(now, link, &answer);
        self.wheel
            .arm(timer, now + self.settings.syn_timeout(retries));
    }

    fn send_syn_ack(&mut self, now: Instant, link: &mut Link, answer: &Answer) {
        let Answer { key, peer, .. } = answer;
        let listener = self.listeners.map.get(answer.listener);
        let options = listener.map(|listener| listener.options);
        let options = options.unwrap_or_default();
        let (seq, ack) = (answer.iss, answer.irs.wrapping_add(1));
        let mut control = Control::new(*key, Flags::SYN | Flags::ACK, seq, ack);
        control.window = options.first_window(&self.settings);
        if answer.ecn {
            control.flags = control.flags | Flags::ECE;
        }
        let offset = self.timestamp_offset(key);
        let tci = link.tci(&key.way());
        control.options = SynOptions {
            mss: Some(options.offered_mss(&self.settings, tci, key.is_v6())),
            // RFC 7323 section 1.3, RFC 2018 section 2: offered back only to who offered.
            wscale: peer
                .wscale
                .map(|_| window_scale_for(options.most_recv(&self.settings))),
            sack: peer.sack && self.settings.sack,
            timestamps: peer
                .timestamps
                .filter(|_| self.settings.timestamps)
                .map(|theirs| Timestamps {
                    value: timestamp_clock(now).wrapping_add(offset),
                    echo: theirs.value,
                }),
        };
        control.hop_limit = options.hop_limit();
        control.tos = options.tos;
        let _ = self.send_control(now, link, &control);
    }

    pub(super) fn half_timer(&mut self, now: Instant, link: &mut Link, id: HalfId) {
        let Some(half) = self.syn_queue.entries.get_mut(id) else {
            return;
        };
        self.stats.retransmission_timeouts += 1;
        if half.retries >= self.settings.syn_ack_retries
            || !self.listeners.map.contains_key(half.listener)
        {
            self.stats.syn_expired += 1;
            self.remove_half(id);
            return;
        }
        half.retries += 1;
        self.answer_again(now, link, id);
    }

    fn answer_again(&mut self, now: Instant, link: &mut Link, id: HalfId) {
        self.stats.retransmits += 1;
        self.stats.syn_retransmits += 1;
        self.stats.syn_ack_retransmits += 1;
        self.answer(now, link, id);
    }

    fn remove_half(&mut self, id: HalfId) {
        if let Some(half) = self.syn_queue.entries.remove(id) {
            self.leave(&half.key, FlowRef::Half(id));
            self.wheel.remove(half.timer);
            if let Some(listener) = self.listeners.map.get_mut(half.listener) {
                listener.half_open -= 1;
            }
        }
    }

    /// A segment for a half-open connection (RFC 9293 section 3.10.7.4, SYN-RECEIVED).
    pub(crate) fn half_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: HalfId,
        (ip, segment): (&IpPacket<'_>, &Segment<'_>),
    ) {
        let Some(&half) = self.syn_queue.entries.get(id) else {
            return;
        };
        let flags = segment.flags();
        let offset = segment.seq().wrapping_sub(half.irs.wrapping_add(1));
        let in_window = (offset as usize) < self.settings.recv_buffer.min(65_535);
        if flags.rst() {
            // RFC 5961 section 3.2.
            if offset == 0 {
                self.stats.half_open_resets += 1;
                self.stats.attempt_fails += 1;
                self.remove_half(id);
            } else if in_window {
                self.stats.rx_rst_out_of_place += 1;
                self.half_challenge(now, link, &half);
            } else {
                self.count_unused(segment);
            }
            return;
        }
        if flags.syn() {
            if !flags.ack() && segment.seq() == half.irs {
                // Repeated: our answer was lost. What is echoed is of the later one.
                if let Some(half) = self.syn_queue.entries.get_mut(id) {
                    half.peer.timestamps = SynOptions::of(segment).timestamps;
                }
                self.answer_again(now, link, id);
            } else {
                self.stats.rx_syn_out_of_place += 1;
                self.half_challenge(now, link, &half);
            }
            return;
        }
        // RFC 9293 section 3.10.7.4: the sequence number is looked at first.
        if !in_window {
            if segment.payload().is_empty() && !flags.fin() {
                self.stats.rx_ack_out_of_place += 1;
            } else {
                self.stats.rx_out_of_window += 1;
            }
            self.half_challenge(now, link, &half);
            return;
        }
        if !flags.ack() {
            self.count_unused(segment);
            return;
        }
        if segment.ack() != half.iss.wrapping_add(1) {
            self.stats.rx_ack_out_of_place += 1;
            self.refuse(now, link, half.key, segment);
            return;
        }
        if !self.listeners.map.contains_key(half.listener) {
            self.remove_half(id);
            self.refuse(now, link, half.key, segment);
            return;
        }
        let opening = Opening {
            key: half.key,
            listener: half.listener,
            irs: half.irs,
            iss: half.iss,
            peer: half.peer,
            window: half.window,
            answered_at: Some(half.answered_at),
            retries: half.retries,
            ecn: half.ecn,
        };
        if self.complete(now, link, &opening, (ip, segment)) {
            self.remove_half(id);
        }
    }

    /// The handshake is complete: a connection comes into being and takes the segment that completed it. `false` if
    /// there is no room now; the client will send again.
    fn complete(
        &mut self,
        now: Instant,
        link: &mut Link,
        opening: &Opening,
        (ip, segment): (&IpPacket<'_>, &Segment<'_>),
    ) -> bool {
        let Some(listener) = self.listeners.map.get_mut(opening.listener) else {
            return false;
        };
        // As Linux: the ACK is dropped, the SYN-ACK repeated, and the client sends its data again.
        let full = listener.is_full();
        if full || self.flows.len() >= self.settings.max_connections {
            let cause = if full {
                &mut self.stats.accept_overflows
            } else {
                &mut self.stats.too_many
            };
            *cause += 1;
            self.stats.listen_drops += 1;
            listener.drops += 1;
            return false;
        }
        let options = listener.options;
        let id = self.establish(now, opening, &options);
        if let Some(flow) = self.flows.get_mut(id) {
            flow.tci = link.tci(&opening.key.way());
            flow.set_mss(link.path_mtu(now, &opening.key.way()));
        }
        if self.traces.is_watching() {
            let window = options.first_window(&self.settings);
            let handshake = opening.answered_at.map(|at| Handshake {
                at,
                windows: (opening.window, window),
                again: opening.retries > 0,
            });
            self.watch(now, id, handshake.as_ref());
        }
        self.report_established(id, true);
        self.flow_segment(now, link, id, (ip.ecn(), segment), &mut More::new());
        true
    }

    fn half_challenge(&mut self, now: Instant, link: &mut Link, half: &Half) {
        if !self.challenges.take(now) {
            self.stats.challenge_acks_limited += 1;
            return;
        }
        self.stats.challenge_acks += 1;
        let (seq, ack) = (half.iss.wrapping_add(1), half.irs.wrapping_add(1));
        let mut control = Control::new(half.key, Flags::ACK, seq, ack);
        control.window = u16::try_from(self.settings.initial_recv_window()).unwrap_or(u16::MAX);
        let offset = self.timestamp_offset(&half.key);
        control.options.timestamps = half.peer.timestamps.map(|theirs| Timestamps {
            value: timestamp_clock(now).wrapping_add(offset),
            echo: theirs.value,
        });
        let _ = self.send_control(now, link, &control);
    }

    /// Makes a connection of a half-open one and puts it into the accept queue.
    fn establish(&mut self, now: Instant, half: &Opening, options: &TcpOptions) -> TcpId {
        let ts_offset = self.timestamp_offset(&half.key);
        let (wheel, settings) = (&mut self.wheel, &self.settings);
        let rtts = &mut self.distributions.rtt;
        let id = self.flows.insert_with_key(|id| {
            let timer = wheel.insert(TimerKey::Flow(id));
            let state = TcpState::Established;
            let mut flow = Flow::new((id, half.key), state, timer, half.iss, settings, now);
            flow.flags |= FlowFlags::UNACCEPTED;
            flow.flags.set(FlowFlags::ECN, half.ecn);
            flow.adopt(now, options);
            flow.ts_offset = ts_offset;
            flow.synchronized_at(half.irs, now, settings, &half.peer);
            flow.snd_una = half.iss.wrapping_add(1);
            flow.snd_nxt = flow.snd_una;
            (flow.snd_wnd, flow.max_snd_wnd) = (half.window.into(), half.window.into());
            (flow.snd_wl1, flow.snd_wl2) = (half.irs, flow.snd_una);
            if half.retries > 0 {
                flow.rtt.after_lost_syn();
                flow.flags.set(FlowFlags::SYN_LOST, half.retries > 1);
            }
            // Across a repeated SYN-ACK it would be ambiguous (RFC 6298 section 3).
            if let Some(answered_at) = half.answered_at.filter(|_| half.retries == 0) {
                let micros = flow.rtt.sample(now, now - answered_at, 1);
                rtts.record(micros.into());
            }
            flow
        });
        self.enter(&half.key, FlowRef::Conn(id));
        self.stats.passive_opens += 1;
        if let Some(listener) = self.listeners.map.get_mut(half.listener) {
            listener.queue.push_back((id, now));
            self.listeners.waiting += 1;
            if !listener.event {
                listener.event = true;
                self.listener_events.push_back(half.listener);
            }
        }
        id
    }
}

/// Whether there can be a connection between these.
pub(crate) fn can_connect(local: IpAddr, remote: IpAddr) -> bool {
    local.is_ipv4() == remote.is_ipv4() && !local.is_unspecified() && !remote.is_unspecified()
}
