//! The sending side's judgement: congestion control, the phase of loss recovery, and what is kept to find out that a
//! recovery was in vain. It decides how much may be in flight; what is sent is decided in [`output`](super::output).

use core::num::NonZeroU64;

use super::black_hole::Suspicion;
use super::cc::{Ack, Algorithm, CongestionControl, Controller, RateSample};
use super::fast::Tab;
use super::scoreboard::{Delivery, Mark, Sent};
use super::seq;
use crate::time::{Duration, Instant};

/// Where loss recovery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nothing is thought lost.
    Open,
    /// Losses are being repaired (RFC 6675), until everything sent before `high` is acknowledged.
    Recovery,
    /// The retransmission timer has expired, until everything sent before `high` is acknowledged.
    Loss,
}

/// F-RTO's progress (RFC 5682 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Frto {
    Off,
    /// The first segment was sent again; nothing else is, before its acknowledgment has come.
    Waiting,
    /// It was acknowledged, and not all the rest with it: new data is sent to see what happens.
    Probing,
}

/// What the sender knows of the path.
#[derive(Debug)]
pub(crate) struct Sender {
    pub(crate) control: Controller,
    /// Bytes delivered in all, and when the last of them were (draft-cheng-iccrg-delivery-rate-estimation).
    pub(crate) delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    /// Until so much is delivered, samples tell what the application sent, not what the path can carry.
    app_limited: u64,
    pub(crate) phase: Phase,
    /// SND.NXT when the phase began.
    pub(crate) high: u32,
    /// Proportional rate reduction (RFC 6937): delivered and sent since recovery began, and what was in flight then.
    prr_delivered: u32,
    prr_out: u32,
    prr_flight: u32,
    /// Duplicate ACKs in a row from a peer without SACK.
    pub(crate) dupacks: u16,
    /// The most that was in flight before an acknowledgment, of the last round trip, and where that ends.
    peak: (u32, u32),
    /// Of reordering (RFC 8985 section 6.2, step 4): the window's multiple, and recoveries until it is one again.
    reordering: bool,
    window_steps: u8,
    window_lasts: u8,
    /// The window was widened for a DSACK at this SND.NXT; once a round trip is enough.
    widened_at: Option<u32>,
    /// Retransmissions of this phase, and those on their way when it began, that no DSACK has told to be in vain. `None` once
    /// that can't be told any more.
    undo_left: Option<u32>,
    /// Our timestamp when the first of these left (RFC 3522).
    pub(crate) undo_timestamp: Option<u32>,
    pub(crate) frto: Frto,
    /// A tail loss probe is out: SND.NXT then, and whether it was a retransmission.
    pub(crate) probe: Option<(u32, bool)>,
    pub(crate) suspicion: Suspicion,
    /// No more reactions to ECE before this is acknowledged (RFC 3168 section 6.1.2).
    pub(crate) ecn_high: Option<u32>,
    /// When the next segment may leave, where sending is paced.
    paced_until: Instant,
    /// `SO_MAX_PACING_RATE`, `u64::MAX` if there is none.
    pacing_max: u64,
    pub(crate) last_sent: Instant,
    /// When the oldest byte that is unacknowledged was sent for the first time or, if it had been sent again by the time that
    /// it became the oldest, for the last time before.
    pub(crate) oldest_sent: Instant,
    /// The last sample of the delivery rate.
    pub(crate) rate: Option<RateSample>,
    pub(crate) totals: Totals,
    /// Since when something is unacknowledged, and how long something was before.
    busy_since: Option<Instant>,
    busy_nanos: u64,
}

/// What a connection has sent since its beginning, for those who watch it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Bytes of data, those sent again included.
    pub(crate) bytes: u64,
    /// Bytes sent again.
    pub(crate) bytes_again: u64,
    /// Segments with data or a FIN.
    pub(crate) data_segments: u32,
    /// Of these, those sent again.
    pub(crate) retransmits: u32,
    /// DSACKs.
    pub(crate) duplicates: u32,
}

/// Retransmissions that were on their way when a phase began: our timestamp when the first of them left, and how many there
/// are at most. Their acknowledgments tell nothing of what the phase is about.
pub(crate) type Again = (Option<u32>, u32);

/// What stays of the sender of a connection that has been silent for so long that all else would be forgotten anyway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) totals: Totals,
    pub(crate) delivered: u64,
    pub(crate) busy_nanos: u64,
    pub(crate) last_sent: Instant,
    /// The last sample of the delivery rate, in bytes a second, and whether the application limited it.
    pub(crate) rate: Option<NonZeroU64>,
    pub(crate) app_limited: bool,
}

/// Duplicates after which a segment is lost (RFC 5681 section 3.2).
pub(crate) const DUP_THRESHOLD: u32 = 3;
/// Recoveries for which a widened reordering window lasts (RFC 8985 section 6.2, step 4).
const WINDOW_LASTS: u8 = 16;
/// Data that is paced may leave so much ahead of its time: the timers are no finer.
const PACING_QUANTUM: Duration = Duration::from_millis(1);
/// What left late may be caught up with, so much of it: a timer is up to two ticks late, and a worker that shares its core
/// waits for a scheduler's slice or two. Without it the rate achieved stays below the rate wanted, and a model of the path
/// that is made of the rate achieved shrinks with each round trip. The window bounds what leaves at once.
const PACING_CREDIT: Duration = Duration::from_millis(10);

impl Sender {
    pub(crate) fn new(
        algorithm: Algorithm,
        mss: u32,
        now: Instant,
        pacing_max: Option<u64>,
    ) -> Self {
        Sender {
            control: Controller::new(algorithm, mss, now),
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
            app_limited: 0,
            phase: Phase::Open,
            high: 0,
            prr_delivered: 0,
            prr_out: 0,
            prr_flight: 0,
            dupacks: 0,
            peak: (0, 0),
            reordering: false,
            window_steps: 1,
            window_lasts: 0,
            widened_at: None,
            undo_left: None,
            undo_timestamp: None,
            frto: Frto::Off,
            probe: None,
            suspicion: Suspicion::None,
            ecn_high: None,
            paced_until: now,
            pacing_max: pacing_max.unwrap_or(u64::MAX),
            last_sent: now,
            oldest_sent: now,
            rate: None,
            totals: Totals::default(),
            busy_since: None,
            busy_nanos: 0,
        }
    }

    pub(crate) fn on_mss(&mut self, old: u32, new: u32) {
        self.control.on_mss(old, new);
    }

    /// What a new one has to know that takes its place, everything being acknowledged. `rto` is the retransmission timeout.
    ///
    /// Errors: whether to ask again later. Not where this one has learnt something of the path, which is worth more than
    /// its memory.
    pub(crate) fn past(&self, now: Instant, rto: Duration, mss: u32) -> Result<Past, bool> {
        if self.control.ssthresh() != u32::MAX
            || self.calm_window().is_none()
            || self.pacing_max != u64::MAX
            || self.reordering
        {
            return Err(false);
        }
        // The window would be halved with each timeout of silence (RFC 5681 section 4.1, RFC 2861), down to the initial one.
        let timeouts = (now - self.last_sent).as_nanos() / rto.as_nanos().max(1);
        let window = self.control.cwnd() >> timeouts.min(31);
        if timeouts == 0 || window > super::cc::initial_window(mss) {
            return Err(true);
        }
        Ok(Past {
            totals: self.totals,
            delivered: self.delivered,
            busy_nanos: self.busy_nanos,
            last_sent: self.last_sent,
            rate: self
                .rate
                .and_then(|rate| NonZeroU64::new(rate.bytes_per_second()?)),
            app_limited: self.rate.is_some_and(|rate| rate.app_limited),
        })
    }

    /// Goes on where another one had stopped.
    pub(crate) fn resume(&mut self, past: &Past) {
        self.totals = past.totals;
        self.delivered = past.delivered;
        self.busy_nanos = past.busy_nanos;
        self.last_sent = past.last_sent;
        self.rate = past.rate.map(|rate| RateSample {
            delivered: u32::try_from(rate.get()).unwrap_or(u32::MAX),
            interval: Duration::from_secs(1),
            prior_delivered: past.delivered,
            app_limited: past.app_limited,
        });
    }

    /// Sets or lifts the bound on the pacing rate. What was held back by the old one is not any more.
    pub(crate) fn limit_pacing(&mut self, now: Instant, rate: Option<u64>) {
        self.pacing_max = rate.unwrap_or(u64::MAX);
        self.paced_until = self.paced_until.min(now);
    }

    /// Bytes a second that sending is paced at, if it is.
    #[inline]
    pub(crate) fn pacing_rate(&self) -> Option<u64> {
        match self.control.pacing_rate() {
            Some(rate) => Some(rate.min(self.pacing_max)),
            None => (self.pacing_max != u64::MAX).then_some(self.pacing_max),
        }
    }

    /// An acknowledgment comes while so much is in flight. The most of it in this round trip or, before there was more, in
    /// the last one: RFC 7661 section 4.2's pipeACK.
    #[inline]
    pub(crate) fn peak_flight(&mut self, flight: u32, snd_una: u32, snd_nxt: u32) -> u32 {
        let (peak, until) = self.peak;
        if flight > peak || seq::has_passed(until, snd_una, snd_nxt) {
            self.peak = (flight, snd_nxt);
        }
        self.peak.0
    }

    pub(crate) fn has_seen_reordering(&self) -> bool {
        self.reordering
    }

    /// Everything that was sent is acknowledged.
    #[inline]
    pub(crate) fn became_idle(&mut self, now: Instant) {
        if let Some(since) = self.busy_since.take() {
            self.busy_nanos += now.nanos_since(since);
        }
    }

    /// How long something was unacknowledged, over all; `alone` if it is now, on a calm connection.
    pub(crate) fn busy_time(&self, now: Instant, tab: &Tab, alone: bool) -> Duration {
        let since = match tab.acked {
            0 => self.busy_since,
            _ => None,
        };
        let since = since.or(alone.then_some(tab.sent_at));
        let present = since.map_or(0, |since| now.nanos_since(since));
        let before = self.busy_nanos + u64::from(tab.busy_micros) * 1_000;
        Duration::from_nanos(before + present)
    }

    /// Bytes that duplicate ACKs of a peer without SACK tell to have arrived.
    #[inline]
    pub(crate) fn guessed(&self, mss: u16) -> u32 {
        u32::from(self.dupacks) * u32::from(mss)
    }

    /// What may be in flight, if nothing is being repaired or probed for, and if it is of no interest to the algorithm
    /// when what was sent, unless the window kept something back.
    pub(crate) fn calm_window(&self) -> Option<u32> {
        if self.phase != Phase::Open
            || self.dupacks != 0
            || self.probe.is_some()
            || self.suspicion != Suspicion::None
        {
            return None;
        }
        self.control.plain_window()
    }

    /// What may be in flight.
    #[inline]
    pub(crate) fn window(&self) -> u32 {
        self.control.cwnd()
    }

    /// Notes bytes that leave; returns the record that they are to be kept in.
    #[inline]
    pub(crate) fn stamp(
        &mut self,
        now: Instant,
        (start, end): (u32, u32),
        in_flight: u32,
        idle: bool,
    ) -> Sent {
        self.control
            .on_sent(now, end.wrapping_sub(start), in_flight);
        if idle {
            (self.first_sent_at, self.delivered_at) = (now, now);
            self.busy_since = Some(now);
            self.oldest_sent = now;
        }
        let mut marks = Mark::empty();
        if self.app_limited > self.delivered {
            marks |= Mark::APP_LIMITED;
        }
        self.last_sent = now;
        self.totals.bytes += u64::from(end.wrapping_sub(start));
        self.prr_out = self.prr_out.saturating_add(end.wrapping_sub(start));
        Sent {
            start,
            end,
            marks,
            sacked_to: end,
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        }
    }

    /// From when on pacing lets something leave.
    #[inline]
    pub(crate) fn paced_from(&self) -> Instant {
        self.paced_until - PACING_QUANTUM
    }

    /// How much may leave at once, of `limit` bytes: where sending is paced what the rate gives in a millisecond, or two
    /// segments (as Linux, `tcp_tso_autosize`), so that a queue on the way sees no longer bursts than it would of single ones.
    #[inline]
    pub(crate) fn burst(&self, limit: u32, mss: u32) -> u32 {
        match self.pacing_rate() {
            Some(rate) => {
                let bytes = u32::try_from(rate / 1_000).unwrap_or(u32::MAX);
                limit.min((bytes / mss).max(2).saturating_mul(mss))
            }
            None => limit,
        }
    }

    /// Takes what leaves off the rate.
    #[inline]
    pub(crate) fn pace(&mut self, now: Instant, bytes: u32) {
        if let Some(rate) = self.pacing_rate() {
            let nanos = u64::from(bytes) * 1_000_000_000 / rate.max(1);
            self.paced_until =
                self.paced_until.max(now - PACING_CREDIT) + Duration::from_nanos(nanos);
        }
    }

    /// The application has no more to send although more might be in flight.
    #[inline]
    pub(crate) fn set_app_limited(&mut self, in_flight: u32) {
        self.app_limited = (self.delivered + u64::from(in_flight)).max(1);
    }

    /// Takes over what a calm connection has sent, the last of it acknowledged at `acked_at`; returns the record of what is
    /// outstanding (SND.UNA to SND.NXT), if anything is. Samples of the delivery rate would have told what the application
    /// sent.
    pub(crate) fn settle_tab(
        &mut self,
        tab: &Tab,
        acked_at: Instant,
        (snd_una, snd_nxt): (u32, u32),
    ) -> Option<Sent> {
        let outstanding = snd_nxt.wrapping_sub(snd_una);
        self.totals.bytes += u64::from(tab.bytes);
        self.totals.data_segments = self.totals.data_segments.wrapping_add(tab.segments);
        self.last_sent = tab.sent_at;
        if tab.acked > 0 {
            self.delivered += u64::from(tab.acked);
            (self.delivered_at, self.first_sent_at) = (acked_at, tab.sent_at);
            self.busy_since = None;
            self.busy_nanos += u64::from(tab.busy_micros) * 1_000;
            self.control.on_unlimited_ack(acked_at);
        }
        if tab.segments > 0 {
            self.set_app_limited(outstanding);
        }
        if outstanding == 0 {
            return None;
        }
        self.busy_since.get_or_insert(tab.sent_at);
        self.oldest_sent = tab.sent_at;
        (self.delivered_at, self.first_sent_at) = (tab.sent_at, tab.sent_at);
        let mut marks = Mark::empty();
        if self.app_limited > self.delivered {
            marks |= Mark::APP_LIMITED;
        }
        Some(Sent {
            start: snd_una,
            end: snd_nxt,
            marks,
            sacked_to: snd_nxt,
            sent_at: tab.sent_at,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
        })
    }

    /// Takes what an acknowledgment delivered, and makes a sample of the delivery rate of it.
    #[inline]
    pub(crate) fn on_delivery(&mut self, now: Instant, delivery: &Delivery) -> Option<RateSample> {
        if delivery.bytes == 0 {
            return None;
        }
        self.delivered += u64::from(delivery.bytes);
        self.delivered_at = now;
        let newest = delivery.newest.as_ref()?;
        self.first_sent_at = newest.sent_at;
        let sending = newest.sent_at - newest.first_sent_at;
        let acknowledging = now - newest.delivered_at;
        self.rate = Some(RateSample {
            delivered: u32::try_from(self.delivered - newest.delivered).unwrap_or(u32::MAX),
            interval: sending.max(acknowledging),
            prior_delivered: newest.delivered,
            app_limited: newest.marks.contains(Mark::APP_LIMITED),
        });
        self.rate
    }

    /// How long a segment may come late before it is lost (RFC 8985 section 6.2, step 4).
    pub(crate) fn reordering_window(
        &mut self,
        sacked_records: u32,
        min_rtt: Duration,
        srtt: Duration,
    ) -> Duration {
        if !self.reordering && (self.phase != Phase::Open || sacked_records >= DUP_THRESHOLD) {
            return Duration::ZERO;
        }
        (min_rtt / 4 * u32::from(self.window_steps)).min(srtt)
    }

    /// The network was seen to deliver out of order.
    pub(crate) fn saw_reordering(&mut self) {
        self.reordering = true;
    }

    /// A DSACK: something was sent again in vain (RFC 2883). `true` if all of this phase was.
    pub(crate) fn on_duplicate(&mut self, snd_una: u32, snd_nxt: u32) -> bool {
        self.totals.duplicates = self.totals.duplicates.wrapping_add(1);
        let passed = |at| seq::has_passed(at, snd_una, snd_nxt);
        if self.widened_at.is_none_or(passed) {
            self.widened_at = Some(snd_nxt);
            self.window_steps = self.window_steps.saturating_add(1).min(20);
            self.window_lasts = WINDOW_LASTS;
            self.reordering = true;
        }
        match &mut self.undo_left {
            Some(left) if *left > 0 => {
                *left -= 1;
                *left == 0
            }
            _ => false,
        }
    }

    /// Something was sent again.
    pub(crate) fn on_retransmit(&mut self, timestamp: u32, bytes: u32) {
        self.totals.retransmits = self.totals.retransmits.wrapping_add(1);
        self.totals.bytes_again += u64::from(bytes);
        if let Some(left) = &mut self.undo_left {
            *left += 1;
        }
        self.undo_timestamp.get_or_insert(timestamp);
    }

    fn begin(&mut self, phase: Phase, snd_nxt: u32, again: Again) {
        self.phase = phase;
        self.high = snd_nxt;
        (self.undo_timestamp, self.undo_left) = (again.0, Some(again.1));
        self.frto = Frto::Off;
    }

    /// Losses were found: recovery begins (RFC 6675 section 5, RFC 6937).
    pub(crate) fn enter_recovery(
        &mut self,
        now: Instant,
        snd_nxt: u32,
        flight: u32,
        mss: u32,
        again: Again,
    ) {
        self.begin(Phase::Recovery, snd_nxt, again);
        (self.prr_delivered, self.prr_out, self.prr_flight) = (0, 0, flight.max(1));
        self.control.on_congestion(now, flight, mss, false);
    }

    /// The retransmission timer has expired (RFC 5681 section 3.1).
    /// `flight` is all that was sent and not acknowledged, `in_flight` what of it may still arrive.
    pub(crate) fn enter_loss(
        &mut self,
        now: Instant,
        snd_nxt: u32,
        flight: u32,
        in_flight: u32,
        mss: u32,
        again: Again,
    ) {
        // The window has been cut for these losses already, if they are the same (RFC 6582 section 3.2, step 4).
        let first = self.phase == Phase::Open;
        if self.phase != Phase::Loss {
            self.begin(Phase::Loss, snd_nxt, again);
        }
        self.dupacks = 0;
        self.probe = None;
        self.control.on_rto(now, flight, in_flight, mss, first);
    }

    /// The window that PRR allows after an acknowledgment in recovery (RFC 6937 section 3, with SSRB).
    pub(crate) fn reduce(&mut self, delivered: u32, in_flight: u32, mss: u32, advanced: bool) {
        self.prr_delivered = self.prr_delivered.saturating_add(delivered);
        let target = self.control.ssthresh();
        let more = if in_flight > target {
            let due = u64::from(self.prr_delivered) * u64::from(target);
            let due = due.div_ceil(u64::from(self.prr_flight)) as u32;
            // In segments, rounded up: with few of them in flight waiting for a whole one would take long.
            due.next_multiple_of(mss.max(1))
                .saturating_sub(self.prr_out)
        } else {
            let mut limit = self
                .prr_delivered
                .saturating_sub(self.prr_out)
                .max(delivered);
            if advanced {
                limit = limit.saturating_add(mss);
            }
            (target - in_flight).min(limit)
        };
        // The first retransmission leaves at once.
        let more = if self.prr_out == 0 {
            more.max(mss)
        } else {
            more
        };
        self.control.set_cwnd(in_flight.saturating_add(more));
    }

    /// Everything that was sent before the phase is acknowledged.
    pub(crate) fn leave(&mut self, now: Instant) {
        if self.phase != Phase::Open {
            self.control.on_recovery_exit(now);
            self.window_lasts = self.window_lasts.saturating_sub(1);
            if self.window_lasts == 0 {
                self.window_steps = 1;
            }
        }
        self.phase = Phase::Open;
        self.frto = Frto::Off;
        self.dupacks = 0;
        (self.undo_left, self.undo_timestamp) = (None, None);
    }

    /// Nothing was lost: the window is what it was (RFC 4015).
    pub(crate) fn undo(&mut self, now: Instant) {
        self.control.undo(now);
        self.phase = Phase::Open;
        self.dupacks = 0;
        self.frto = Frto::Off;
        (self.undo_left, self.undo_timestamp) = (None, None);
    }

    pub(crate) fn on_ack(&mut self, ack: &Ack) {
        self.control.on_ack(ack);
    }
}

#[cfg(test)]
mod tests;
