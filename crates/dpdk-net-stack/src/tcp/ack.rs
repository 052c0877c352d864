//! What an acknowledgment does: bytes are let go, losses found and repaired, the windows moved, timers set (RFC 9293
//! section 3.10.7.4 fifth, RFC 5681, 6298, 6582, 6675, 6937, 8985, 5682, 4015, 2883, 3168).

use super::black_hole::Suspicion;
use super::cc::{Ack, CongestionControl};
use super::flow::{Flow, FlowFlags, Wait};
use super::options::SegmentOptions;
use super::receive::Context;
use super::scoreboard::{Blocks, Delivery, Scoreboard};
use super::sender::{Again, DUP_THRESHOLD, Frto, Phase, Sender};
use super::{Settings, TcpState, seq};
use crate::time::{Duration, Instant};

/// What an acknowledgment says.
pub(crate) struct Acknowledgment<'a> {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    /// The window field.
    pub(crate) window: u16,
    /// Whether the segment has data or a FIN: then it is no duplicate ACK.
    pub(crate) has_data: bool,
    /// ECN-Echo.
    pub(crate) echo: bool,
    pub(crate) options: &'a SegmentOptions,
}

/// The wheel's tick: no timer is finer.
pub(super) const TICK_NANOS: u64 = 2_000_000;

impl Flow {
    /// Takes an acknowledgment that is neither too old nor of what was never sent. `true` if something was
    /// acknowledged cumulatively for the first time.
    #[inline]
    pub(crate) fn acknowledge(
        &mut self,
        context: &mut Context<'_>,
        segment: &Acknowledgment<'_>,
    ) -> bool {
        let ack = segment.ack;
        let late = seq::lt(ack, self.snd_una);
        if late && segment.options.sack.is_empty() {
            return false;
        }
        // Of a late one only what it says of single segments can be news (RFC 6675 section 4, Update), as with Linux.
        let was_closed = self.snd_wnd == 0;
        let window_moved = !late && self.update_window(segment);
        if was_closed && window_moved {
            // What was sent can be acknowledged from now on.
            if let Some(sender) = &mut self.sender {
                sender.oldest_sent = context.now;
            }
        }
        if self.snd_una == self.snd_nxt {
            // Nothing is outstanding, so nothing is learnt but the window, and whether a probe was in vain (RFC 8985
            // section 7.4.2, cases 1 and 3).
            if !segment.has_data
                && let Some(sender) = &mut self.sender
                && sender.probe.is_some_and(|(high, _)| high == ack)
            {
                sender.probe = None;
            }
            return false;
        }
        let now = context.now;
        let advanced = !late && ack != self.snd_una;
        let mss = u32::from(self.mss);
        let prior_flight = self.in_flight();
        let prior_outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
        let mut delivery = Delivery::default();
        let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) else {
            return false;
        };
        let peak_flight = sender.peak_flight(prior_flight, self.snd_una, self.snd_nxt);
        if advanced {
            busy.sent.acknowledge(ack, &mut delivery);
            let of_data = seq::min(ack, self.write_end);
            if seq::lt(busy.send.base(), of_data) {
                busy.send.ack(of_data);
            }
            self.snd_una = ack;
            if let Some(oldest) = busy.sent.front() {
                sender.oldest_sent = sender.oldest_sent.max(oldest.sent_at);
            }
        }
        let mut duplicate = None;
        if !segment.options.sack.is_empty() && self.flags.contains(FlowFlags::SACK) {
            let sent = (self.snd_una, self.snd_nxt);
            let (blocks, range) = valid_blocks(&segment.options.sack, ack, sent);
            duplicate = range;
            if !blocks.is_empty() {
                busy.sent.sack(&blocks, mss, &mut delivery);
            }
        }

        // The round trip. An acknowledgment that tells of a duplicate was sent because of that duplicate, after others that
        // were lost, and a late one was overtaken: neither what it acknowledges nor what it echoes tells of the path.
        let told = duplicate.is_none() && !late;
        let rtt = delivery.once_sent_at.filter(|_| told).map(|at| now - at);
        let echo = segment.options.timestamps.map_or(0, |ts| ts.echo);
        if advanced && (rtt.is_some() || echo != 0 || !told) {
            // Otherwise the timeout stays backed off: it may be that it is the round trip which is longer, and that nothing
            // sent in time will ever tell (RFC 6298 section 5, Karn's algorithm).
            self.backoff = 0;
        }
        if let Some(rtt) = rtt {
            let samples = (busy.sent.len() as u32 >> 1) + 1;
            let micros = self.rtt.sample(now, rtt, samples);
            context.rtts.record(micros.into());
        } else if advanced && delivery.retransmitted && echo != 0 && told {
            // RFC 7323 section 4.1: the timestamp tells which of the sendings is acknowledged.
            let elapsed = super::flow::timestamp_clock(now)
                .wrapping_add(self.ts_offset)
                .wrapping_sub(echo);
            if elapsed < 1 << 24 {
                let elapsed = Duration::from_millis(elapsed.max(1).into());
                let micros = self.rtt.sample(now, elapsed, 1);
                context.rtts.record(micros.into());
            }
        }
        let rate = sender.on_delivery(now, &delivery);
        if sender.suspicion != Suspicion::None {
            sender.suspicion = sender.suspicion.after(&delivery, advanced, mss);
        }

        // Losses that were none.
        let mut undone = false;
        if sender.phase != Phase::Open
            && advanced
            && delivery.retransmitted
            && echo != 0
            && sender
                .undo_timestamp
                .is_some_and(|first| seq::lt(echo, first))
        {
            // RFC 3522: of what was sent again, what was sent first is acknowledged, before anything was sent again.
            undone = true;
            context.stats.undone_by_timestamp += 1;
        }
        if let Some((start, end)) = duplicate {
            context.stats.rx_dsack += 1;
            if sender.on_duplicate(self.snd_una, self.snd_nxt) && sender.phase != Phase::Open {
                context.stats.undone_by_dsack += u64::from(!undone);
                undone = true;
            }
            if let Some((high, true)) = sender.probe
                && seq::le(end, high)
                && seq::lt(start, high)
            {
                // RFC 8985 section 7.4.2: the probe was not needed.
                sender.probe = None;
            }
        }
        if delivery.reordered {
            context.stats.reordering += 1;
            sender.saw_reordering();
        }
        if sender.phase == Phase::Loss
            && sender.frto != Frto::Off
            && advanced
            && delivery
                .original_end
                .is_some_and(|end| seq::le(end, sender.high))
        {
            // RFC 5682 section 3.1 step 3 b: what was never sent again has arrived.
            context.stats.spurious_timeouts += u64::from(!undone);
            undone = true;
        }
        if undone {
            sender.undo(now);
            busy.sent.unlose();
        }

        // Losses.
        let mut newly_lost = 0;
        let mut look_again = None;
        if self.flags.contains(FlowFlags::SACK) {
            if busy.sent.sacked() > 0 || sender.phase != Phase::Open {
                let min_rtt = self.rtt.min_rtt().unwrap_or_default();
                let srtt = self.rtt.srtt().unwrap_or_default();
                let original = sender
                    .undo_timestamp
                    .is_some_and(|at| echo != 0 && seq::lt(echo, at));
                busy.sent.update_rack(now, &delivery, min_rtt, original);
                let window = sender.reordering_window(busy.sent.sacked_records(), min_rtt, srtt);
                (newly_lost, look_again) = busy.sent.detect_losses(now, window);
            }
        } else {
            newly_lost = without_sack(
                sender,
                &mut busy.sent,
                mss,
                &delivery,
                advanced,
                !advanced && !segment.has_data && !window_moved,
            );
        }
        let outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
        let flight = outstanding
            .saturating_sub(busy.sent.sacked() + busy.sent.lost() + sender.guessed(self.mss));

        // Where recovery stands.
        let mut begins = newly_lost > 0;
        if sender.phase != Phase::Open {
            if seq::le(sender.high, self.snd_una) {
                // What is lost now was sent after the last reduction.
                begins = busy.sent.lost() > 0;
                sender.leave(now);
            } else {
                sender.frto = match sender.frto {
                    Frto::Waiting if advanced => Frto::Probing,
                    // SACK tells what arrives; only the first segment's acknowledgment tells what to do (RFC 5682 section
                    // 3.1, step 2).
                    Frto::Waiting if self.flags.contains(FlowFlags::SACK) => Frto::Waiting,
                    _ => Frto::Off,
                };
            }
        }
        if sender.phase == Phase::Open && begins {
            context.stats.recoveries += 1;
            let again = on_their_way(&busy.sent, self.ts_offset);
            sender.enter_recovery(now, self.snd_nxt, prior_outstanding, mss, again);
        }
        if sender.phase == Phase::Recovery && sender.control.uses_prr() {
            // A duplicate ACK without SACK stands for a segment (RFC 6937 section 3).
            let sack = self.flags.contains(FlowFlags::SACK);
            let delivered = if sack || advanced {
                delivery.bytes
            } else {
                mss
            };
            sender.reduce(delivered, flight, mss, advanced && newly_lost == 0);
        }

        // A probe of the tail that was needed has repaired a loss, if nothing has told otherwise by the time that more is
        // acknowledged (RFC 8985 section 7.4.2, case 2).
        if let Some((high, again)) = sender.probe
            && advanced
            && (seq::lt(high, ack) || !again && high == ack)
        {
            if again && duplicate.is_none() && sender.phase == Phase::Open {
                context.stats.tail_loss_repairs += 1;
                sender
                    .control
                    .on_congestion(now, prior_outstanding, mss, false);
                sender.control.on_recovery_exit(now);
            }
            sender.probe = None;
        }

        // Explicit congestion (RFC 3168 section 6.1.2): once a window.
        if segment.echo
            && !late
            && self.flags.contains(FlowFlags::ECN)
            && sender.phase == Phase::Open
            && sender
                .ecn_high
                .is_none_or(|high| seq::has_passed(high, self.snd_una, self.snd_nxt))
        {
            context.stats.ecn_reductions += 1;
            sender.ecn_high = Some(self.snd_nxt);
            sender
                .control
                .on_congestion(now, prior_outstanding, mss, true);
            sender.control.on_recovery_exit(now);
            self.flags |= FlowFlags::CWR;
        }

        if delivery.bytes > 0 || newly_lost > 0 {
            let cwnd = sender.control.cwnd();
            // RFC 7661 section 4.3: a window of which half was used in the last round trip may grow.
            let limited = self.flags.contains(FlowFlags::CWND_LIMITED)
                || cwnd < sender.control.ssthresh() && peak_flight.saturating_mul(2) > cwnd;
            sender.on_ack(&Ack {
                now,
                acked: delivery.bytes,
                may_grow: advanced || sender.has_seen_reordering(),
                lost: newly_lost,
                in_flight: flight,
                prior_in_flight: prior_flight,
                rtt,
                srtt: self.rtt.srtt().unwrap_or_default(),
                min_rtt: self.rtt.min_rtt().unwrap_or_default(),
                rate,
                delivered: sender.delivered,
                snd_una: self.snd_una,
                snd_nxt: self.snd_nxt,
                cwnd_limited: limited,
                in_recovery: sender.phase == Phase::Recovery,
                mss,
            });
            self.flags.remove(FlowFlags::CWND_LIMITED);
            // The buffer lets the window fill, and as much again be written meanwhile. What waits behind a gap is in it, but
            // not in the window.
            let waiting = busy.sent.sacked().saturating_add(busy.sent.lost());
            let wanted = sender.control.cwnd().saturating_mul(2);
            let wanted = wanted.saturating_add(waiting.saturating_mul(2));
            if wanted > self.send_max {
                self.grow_send_buffer(context, wanted);
            }
        }
        if advanced || delivery.bytes > 0 || newly_lost > 0 {
            self.restart_timer(context.config, now, look_again);
        }
        advanced
    }

    fn grow_send_buffer(&mut self, context: &mut Context<'_>, wanted: u32) {
        let most = self.rare.as_ref().and_then(|rare| rare.send_max);
        let most = most.unwrap_or(context.config.send_buffer as u32);
        if let Some(more @ 1..) = wanted.min(most).checked_sub(self.send_max) {
            let pool = &mut *context.pool;
            self.send_max += pool.take_growth(&mut self.grown, more, context.stats);
        }
    }

    /// RFC 9293 section 3.10.7.4: the window is taken from the segment that was sent last. `true` if it is another one.
    #[inline]
    fn update_window(&mut self, segment: &Acknowledgment<'_>) -> bool {
        let newer = seq::lt(self.snd_wl1, segment.seq)
            || self.snd_wl1 == segment.seq && seq::le(self.snd_wl2, segment.ack);
        if !newer {
            return false;
        }
        (self.snd_wl1, self.snd_wl2) = (segment.seq, segment.ack);
        let window = u32::from(segment.window) << self.snd_shift;
        let moved = window != self.snd_wnd;
        self.snd_wnd = window;
        self.max_snd_wnd = self.max_snd_wnd.max(window);
        if moved && self.wait == Wait::Persist {
            // What is sent next decides whether there is still to be waited.
            (self.wait, self.wait_until, self.backoff) = (Wait::Nothing, Instant::MAX, 0);
        }
        moved
    }

    /// The retransmission timeout that counts from now, back-off included (RFC 6298).
    pub(crate) fn retransmission_timeout(&self, config: &Settings) -> Duration {
        Duration::from_nanos(self.timeout_nanos(config, self.is_alone()))
    }

    #[inline]
    fn timeout_nanos(&self, config: &Settings, is_alone: bool) -> u64 {
        let nanos = &config.nanos;
        let mut rto = self.rtt.rto_nanos(nanos.min_rto, nanos.max_rto);
        // A segment that is alone may be acknowledged late (RFC 9293 section 3.8.6.3).
        if is_alone {
            rto = rto.saturating_add(nanos.peer_ack_delay);
        }
        // No `max_rto` is so long that the product is not.
        let shift = self.backoff.min(16);
        rto.min(u64::MAX >> 16)
            .wrapping_shl(shift.into())
            .min(nanos.max_rto)
    }

    #[inline]
    fn is_alone(&self) -> bool {
        self.busy.as_ref().is_none_or(|busy| busy.sent.len() <= 1)
    }

    /// Sets the retransmission timer after something was acknowledged, or was sent with no timer running (RFC 6298
    /// section 5, RFC 8985 section 7.2).
    pub(crate) fn restart_timer(
        &mut self,
        config: &Settings,
        now: Instant,
        look_again: Option<Instant>,
    ) {
        if self.snd_una == self.snd_nxt {
            (self.wait, self.wait_until) = (Wait::Nothing, Instant::MAX);
            if let Some(sender) = &mut self.sender {
                sender.became_idle(now);
            }
            return;
        }
        let is_alone = self.is_alone();
        let rto = now.after_nanos(self.timeout_nanos(config, is_alone));
        if let Some(at) = look_again
            && at < rto
        {
            (self.wait, self.wait_until) = (Wait::Reorder, at);
            return;
        }
        (self.wait, self.wait_until) = (Wait::Retransmit, rto);
        let srtt = self.rtt.srtt_nanos();
        if self.backoff == 0
            && self.flags.contains(FlowFlags::SACK)
            && srtt != 0
            && let Some(sender) = &self.sender
            && sender.phase == Phase::Open
            && sender.probe.is_none()
            && self
                .busy
                .as_ref()
                .is_some_and(|busy| busy.sent.sacked() == 0)
        {
            let mut timeout = (srtt * 2).max(TICK_NANOS);
            if is_alone {
                timeout = timeout.saturating_add(config.nanos.peer_ack_delay);
            }
            // Section 7.2: where the timeout would be sooner the probe goes out in its stead, and the timeout runs after it.
            (self.wait, self.wait_until) = (Wait::Probe, now.after_nanos(timeout).min(rto));
        }
    }

    /// The timer of a gap in what was acknowledged has run out: what has not come by now is lost (RFC 8985 section 6.2).
    pub(crate) fn on_reorder_timer(&mut self, config: &Settings, now: Instant) {
        let prior_flight = self.in_flight();
        let mss = u32::from(self.mss);
        let mut look_again = None;
        if let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) {
            let min_rtt = self.rtt.min_rtt().unwrap_or_default();
            let srtt = self.rtt.srtt().unwrap_or_default();
            let window = sender.reordering_window(busy.sent.sacked_records(), min_rtt, srtt);
            let newly_lost;
            (newly_lost, look_again) = busy.sent.detect_losses(now, window);
            if newly_lost > 0 && sender.phase == Phase::Open {
                let outstanding = self.snd_nxt.wrapping_sub(self.snd_una);
                let again = on_their_way(&busy.sent, self.ts_offset);
                sender.enter_recovery(now, self.snd_nxt, outstanding, mss, again);
            }
            if sender.phase == Phase::Recovery && sender.control.uses_prr() {
                let flight = prior_flight.saturating_sub(newly_lost);
                sender.reduce(0, flight, mss, false);
            }
        }
        self.restart_timer(config, now, look_again);
    }

    /// The retransmission timer has run out (RFC 6298 section 5.4 to 5.7).
    pub(crate) fn on_retransmission_timeout(&mut self, config: &Settings, now: Instant) {
        let mss = u32::from(self.mss);
        let flight = self.snd_nxt.wrapping_sub(self.snd_una);
        let first = self.backoff == 0;
        self.backoff = self.backoff.saturating_add(1);
        if let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) {
            let min_rtt = self.rtt.min_rtt().unwrap_or_default();
            let srtt = self.rtt.srtt().unwrap_or_default();
            let window = sender.reordering_window(busy.sent.sacked_records(), min_rtt, srtt);
            let again = on_their_way(&busy.sent, self.ts_offset);
            let recent = self.rtt.latest().map(|rtt| rtt + window);
            busy.sent.lose_on_timeout(now, recent);
            let in_flight = flight.saturating_sub(busy.sent.sacked() + busy.sent.lost());
            let anew = sender.phase != Phase::Loss;
            sender.enter_loss(now, self.snd_nxt, flight, in_flight, mss, again);
            // F-RTO wants the first timeout of its kind, and something sent beyond the first segment. Where some of that may
            // still arrive, it tells nothing if it does.
            sender.frto = if first && anew && in_flight == 0 && busy.sent.len() > 1 {
                Frto::Waiting
            } else {
                Frto::Off
            };
        }
        self.restart_timer(config, now, None);
    }

    /// Whether our FIN is acknowledged.
    #[inline]
    pub(crate) fn is_fin_acknowledged(&self) -> bool {
        self.has(FlowFlags::FIN_SENT) && self.snd_una == self.write_end.wrapping_add(1)
    }

    /// Goes on where our FIN has been acknowledged (RFC 9293 section 3.10.7.4).
    #[inline]
    pub(crate) fn after_fin_acknowledged(&mut self) {
        if self.is_fin_acknowledged() {
            self.state = match self.state {
                TcpState::FinWait1 => TcpState::FinWait2,
                TcpState::Closing => TcpState::TimeWait,
                TcpState::LastAck => TcpState::Closed,
                other => other,
            };
        }
    }
}

/// Retransmissions on their way, as a phase of recovery has to know of them.
fn on_their_way(sent: &Scoreboard, ts_offset: u32) -> Again {
    let (first, count) = sent.again();
    let stamp = |at| super::flow::timestamp_clock(at).wrapping_add(ts_offset);
    (first.map(stamp), count)
}

/// Sorts SACK blocks: those that tell something, and one that tells of something received twice (RFC 2883 section 4).
/// What contradicts itself or what was sent is passed over, and what is acknowledged by now cut off.
fn valid_blocks(
    blocks: &Blocks,
    ack: u32,
    (snd_una, snd_nxt): (u32, u32),
) -> (Blocks, Option<(u32, u32)>) {
    let mut duplicate = None;
    let mut valid = Blocks::new();
    for (index, &(start, end)) in blocks.iter().enumerate() {
        if !seq::lt(start, end) || seq::lt(snd_nxt, end) {
            continue;
        }
        if index == 0 {
            let below = seq::le(end, ack);
            let within = blocks
                .get(1)
                .is_some_and(|&(from, to)| seq::le(from, start) && seq::le(end, to));
            if below || within {
                duplicate = Some((start, end));
                continue;
            }
        }
        if seq::le(ack, start) && seq::lt(snd_una, end) {
            valid.push((seq::max(start, snd_una), end));
        }
    }
    (valid, duplicate)
}

/// Finds losses by duplicate ACKs, of a peer that sends no SACK (RFC 5681 section 3.2, RFC 6582). Tells the bytes
/// newly lost.
fn without_sack(
    sender: &mut Sender,
    sent: &mut Scoreboard,
    mss: u32,
    delivery: &Delivery,
    advanced: bool,
    duplicate: bool,
) -> u32 {
    if advanced {
        let segments = delivery.bytes.div_ceil(mss.max(1));
        return match sender.phase {
            // A partial acknowledgment: the next one is missing too (RFC 6582 section 3.2). Those that duplicates told of
            // are among what is acknowledged now.
            Phase::Recovery
                if sent
                    .front()
                    .is_some_and(|first| seq::lt(first.start, sender.high)) =>
            {
                let counted = u32::from(sender.dupacks).saturating_sub(segments.saturating_sub(1));
                sender.dupacks = counted as u16;
                sent.lose_first(mss)
            }
            _ => {
                sender.dupacks = 0;
                0
            }
        };
    }
    // No more can have left the network than is in it, and the first is still missing.
    if !duplicate || usize::from(sender.dupacks) + 1 >= sent.len() {
        return 0;
    }
    sender.dupacks += 1;
    if u32::from(sender.dupacks) >= DUP_THRESHOLD && sender.phase == Phase::Open {
        return sent.lose_first(mss);
    }
    0
}

#[cfg(test)]
mod tests;
