//! BBR version 1 (draft-cardwell-iccrg-bbr-congestion-control-00): a model of the path, its bottleneck bandwidth and
//! least round-trip time, sets both the rate of sending and the window. Losses and marks do not enter the model, so random
//! loss costs what is retransmitted and no more.
//!
//! The section numbers are those of the draft.

use super::{Ack, CongestionControl, MAX_WINDOW, RateSample, micros, pacing_quantum};
use crate::tcp::windowed::Windowed;
use crate::time::{Duration, Instant};

/// Gains are in 1/256.
const UNIT: u32 = 256;
/// 2/ln 2 (section 4.3.2.1), the least that doubles the rate each round trip.
const HIGH_GAIN: u32 = 739;
/// The inverse: gets rid of the queue in a round trip.
const DRAIN_GAIN: u32 = 88;
/// Section 4.2.3.2: room for delayed and stretched acknowledgments.
const CWND_GAIN: u32 = 2 * UNIT;
/// Section 4.3.3.1: probe for more, drain what that queued, cruise.
const CYCLE: [u32; 8] = [
    UNIT * 5 / 4,
    UNIT * 3 / 4,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
    UNIT,
];
/// Section 4.1.1.3: the filter of the bandwidth, in round trips.
const BANDWIDTH_ROUNDS: u32 = 10;
/// Section 4.1.2.3: the filter of the round-trip time.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// Section 4.3.4: how long little is in flight to see the least round-trip time.
const PROBE_RTT: Duration = Duration::from_millis(200);
/// Segments in flight that keep acknowledgments coming.
const MIN_SEGMENTS: u32 = 4;
/// How long the most that was acknowledged in one go counts: twice as many round trips at most, and once at least.
const AGGREGATION_ROUNDS: u8 = 5;
/// No aggregation counts that is longer than this, in microseconds.
const MAX_AGGREGATION: u64 = 100_000;
/// Sent so much slower than the bandwidth, in percent: what is estimated too high builds no queue.
const MARGIN: u64 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Startup,
    Drain,
    ProbeBandwidth,
    ProbeRtt,
}

/// How much more is acknowledged at times than the bandwidth accounts for, because links, receivers and hosts that wait for
/// their core let acknowledgments come together (draft-ietf-ccwg-bbr, `BBRUpdateACKAggregation`). The window has room for as
/// much, or the sender would fall silent between two such bursts.
#[derive(Debug)]
struct Aggregation {
    /// Since when acknowledgments came faster than the bandwidth, and how much they acknowledged.
    since: Instant,
    acked: u64,
    /// The most of this window of round trips and of the one before, in bytes.
    most: [u32; 2],
    rounds: u8,
}

impl Aggregation {
    fn new(now: Instant) -> Self {
        Aggregation {
            since: now,
            acked: 0,
            most: [0; 2],
            rounds: 0,
        }
    }

    fn update(&mut self, ack: &Ack, bandwidth: u64, cwnd: u32, round_start: bool) {
        if round_start {
            self.rounds += 1;
            if self.rounds >= AGGREGATION_ROUNDS {
                self.rounds = 0;
                self.most = [0, self.most[0]];
            }
        }
        let elapsed = u64::from(micros(ack.now - self.since));
        let mut expected = bandwidth.saturating_mul(elapsed) / 1_000_000;
        if self.acked <= expected {
            (self.since, self.acked, expected) = (ack.now, 0, 0);
        }
        self.acked += u64::from(ack.acked);
        let extra = (self.acked - expected).min(cwnd.into()) as u32;
        self.most[0] = self.most[0].max(extra);
    }

    fn get(&self, bandwidth: u64) -> u32 {
        let most = bandwidth.saturating_mul(MAX_AGGREGATION) / 1_000_000;
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        self.most[0].max(self.most[1]).min(most)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Recovery {
    None,
    /// Begun since the last acknowledgment.
    Entered,
    /// The first round: as much is sent as is delivered (section 4.2.3.4).
    Conserving,
    /// Past the first round, or after a time-out.
    Growing,
}

/// State of BBR.
#[derive(Debug)]
pub(crate) struct Bbr {
    /// Bytes per second over rounds.
    bandwidth: Windowed<u64>,
    pacing_rate: u64,
    /// The bandwidth that was not exceeded by a quarter for `full_rounds`.
    full_bandwidth: u64,
    /// What must be delivered, at the sending of a segment, for its acknowledgment to end the round.
    next_round_delivered: u64,
    /// Delivered as of the last acknowledgment.
    delivered: u64,
    /// Samples of segments sent before this was delivered tell of our own limits, not of the path's.
    limited_until: u64,
    min_rtt_at: Instant,
    cycle_at: Instant,
    aggregation: Aggregation,
    probe_rtt_done: Option<Instant>,
    round: u32,
    /// In microseconds, `u32::MAX` without a sample.
    min_rtt: u32,
    cwnd: u32,
    /// The window before recovery or the probe of the round-trip time.
    prior_cwnd: u32,
    initial_cwnd: u32,
    mss: u32,
    full_rounds: u8,
    cycle: u8,
    mode: Mode,
    recovery: Recovery,
    round_start: bool,
    probe_rtt_round_done: bool,
    seen_rtt: bool,
    idle_restart: bool,
    /// A time-out is being recovered from, with the window that it left.
    timed_out: bool,
}

impl Bbr {
    pub(super) fn new(mss: u32, cwnd: u32, now: Instant) -> Self {
        let mut bbr = Bbr {
            bandwidth: Windowed::new(0, 0),
            pacing_rate: 0,
            full_bandwidth: 0,
            next_round_delivered: 0,
            delivered: 0,
            limited_until: 0,
            min_rtt_at: now,
            cycle_at: now,
            aggregation: Aggregation::new(now),
            probe_rtt_done: None,
            round: 0,
            min_rtt: u32::MAX,
            cwnd,
            prior_cwnd: 0,
            initial_cwnd: cwnd,
            mss,
            full_rounds: 0,
            cycle: 0,
            mode: Mode::Startup,
            recovery: Recovery::None,
            round_start: false,
            probe_rtt_round_done: false,
            seen_rtt: false,
            idle_restart: false,
            timed_out: false,
        };
        // Section 4.2.1: nothing is known, a millisecond is the guess.
        bbr.guess_rate(1_000);
        bbr
    }

    fn guess_rate(&mut self, rtt: u32) {
        let rate = u64::from(self.cwnd) * 1_000_000 / u64::from(rtt.max(1));
        self.pacing_rate = rate * u64::from(HIGH_GAIN) / u64::from(UNIT);
    }

    fn is_full(&self) -> bool {
        self.full_rounds >= 3
    }

    fn min_cwnd(&self) -> u32 {
        MIN_SEGMENTS * self.mss
    }

    fn pacing_gain(&self) -> u32 {
        match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => DRAIN_GAIN,
            Mode::ProbeBandwidth => CYCLE[usize::from(self.cycle % 8)],
            Mode::ProbeRtt => UNIT,
        }
    }

    fn cwnd_gain(&self) -> u32 {
        match self.mode {
            Mode::Startup | Mode::Drain => HIGH_GAIN,
            Mode::ProbeBandwidth => CWND_GAIN,
            Mode::ProbeRtt => UNIT,
        }
    }

    /// Section 4.2.3.2: what is in flight at `gain` times the bandwidth-delay product, and the quanta that are on their way
    /// through both hosts.
    fn inflight(&self, gain: u32) -> u32 {
        let bandwidth = self.bandwidth.get();
        if self.min_rtt == u32::MAX || bandwidth == 0 {
            return self.initial_cwnd;
        }
        let product = bandwidth.saturating_mul(u64::from(self.min_rtt)) / 1_000_000;
        let product = product.saturating_mul(u64::from(gain)) / u64::from(UNIT);
        let quanta = 3 * u64::from(pacing_quantum(self.pacing_rate, self.mss));
        let inflight = u32::try_from(product.saturating_add(quanta)).unwrap_or(u32::MAX);
        inflight.clamp(self.min_cwnd(), MAX_WINDOW)
    }

    /// Section 4.1.1: rounds, and the bandwidth as the most that was delivered in the last ones.
    fn update_bandwidth(&mut self, ack: &Ack, sample: &RateSample) {
        if sample.prior_delivered >= self.next_round_delivered {
            self.next_round_delivered = ack.delivered;
            self.round = self.round.wrapping_add(1);
            self.round_start = true;
            if self.recovery == Recovery::Conserving {
                self.recovery = Recovery::Growing;
            }
        }
        // Shorter than a round trip: acknowledgments that came compressed (delivery rate draft, section 3.3).
        let interval = micros(sample.interval);
        if interval == 0 || interval < micros(ack.min_rtt) {
            return;
        }
        let rate = u64::from(sample.delivered) * 1_000_000 / u64::from(interval);
        let limited = sample.app_limited || sample.prior_delivered < self.limited_until;
        if rate >= self.bandwidth.get() || !limited {
            self.bandwidth
                .update(BANDWIDTH_ROUNDS, self.round, rate, |new, old| new >= old);
        }
        if self.round_start && !limited && !self.is_full() {
            self.check_full();
        }
    }

    /// Section 4.3.2.2: the pipe is full if the bandwidth did not grow by a quarter in three rounds.
    fn check_full(&mut self) {
        let bandwidth = self.bandwidth.get();
        if bandwidth >= self.full_bandwidth.saturating_mul(5) / 4 {
            self.full_bandwidth = bandwidth;
            self.full_rounds = 0;
        } else {
            self.full_rounds += 1;
        }
    }

    /// Section 4.3.3: on to the next gain.
    fn update_cycle(&mut self, ack: &Ack) {
        if self.mode != Mode::ProbeBandwidth {
            return;
        }
        let full_length = micros(ack.now - self.cycle_at) > self.min_rtt;
        let gain = self.pacing_gain();
        let over = match gain {
            UNIT => full_length,
            _ if gain > UNIT => {
                full_length && (ack.lost > 0 || ack.prior_in_flight >= self.inflight(gain))
            }
            _ => full_length || ack.prior_in_flight <= self.inflight(UNIT),
        };
        if over {
            self.cycle = (self.cycle + 1) % 8;
            self.cycle_at = ack.now;
        }
    }

    fn enter_probe_bandwidth(&mut self, now: Instant) {
        self.mode = Mode::ProbeBandwidth;
        self.cycle_at = now;
        // Anywhere but in the phase that drains, so that flows that share a path probe at different times. The clock's
        // low digits are random enough for that.
        let pick = (now.as_nanos().wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61) as u8;
        self.cycle = match pick {
            1 => 0,
            pick => pick,
        };
    }

    fn update_mode(&mut self, ack: &Ack) {
        if self.mode == Mode::Startup && self.is_full() {
            self.mode = Mode::Drain;
        }
        if self.mode == Mode::Drain && ack.in_flight <= self.inflight(UNIT) {
            self.enter_probe_bandwidth(ack.now);
        }
    }

    /// Sections 4.1.2 and 4.3.4.
    fn update_min_rtt(&mut self, ack: &Ack) {
        let expired = ack.now - self.min_rtt_at > MIN_RTT_WINDOW;
        if let Some(rtt) = ack.rtt.map(micros)
            && (rtt <= self.min_rtt || expired)
        {
            self.min_rtt = rtt.max(1);
            self.min_rtt_at = ack.now;
        }
        if expired && !self.idle_restart && self.mode != Mode::ProbeRtt {
            self.save_cwnd();
            self.mode = Mode::ProbeRtt;
            self.probe_rtt_done = None;
        }
        if self.mode == Mode::ProbeRtt {
            self.probe_rtt(ack);
        }
    }

    fn probe_rtt(&mut self, ack: &Ack) {
        // The window is so small that it limits the rate.
        self.limited_until = ack.delivered + u64::from(ack.in_flight);
        match self.probe_rtt_done {
            None => {
                if ack.in_flight <= self.min_cwnd() {
                    self.probe_rtt_done = Some(ack.now + PROBE_RTT);
                    self.probe_rtt_round_done = false;
                    self.next_round_delivered = ack.delivered;
                }
            }
            Some(done) => {
                self.probe_rtt_round_done |= self.round_start;
                if self.probe_rtt_round_done && ack.now >= done {
                    self.leave_probe_rtt(ack.now);
                }
            }
        }
    }

    fn leave_probe_rtt(&mut self, now: Instant) {
        self.min_rtt_at = now;
        self.probe_rtt_done = None;
        self.cwnd = self.cwnd.max(self.prior_cwnd);
        if self.is_full() {
            self.enter_probe_bandwidth(now);
        } else {
            self.mode = Mode::Startup;
        }
    }

    /// Section 4.2.1.
    fn update_rate(&mut self, ack: &Ack) {
        if !self.seen_rtt && !ack.srtt.is_zero() {
            self.seen_rtt = true;
            self.guess_rate(micros(ack.srtt));
        }
        let rate = u128::from(self.bandwidth.get()) * u128::from(self.pacing_gain());
        let rate = rate * u128::from(100 - MARGIN) / u128::from(100 * UNIT);
        let rate = u64::try_from(rate).unwrap_or(u64::MAX);
        if rate > 0 && (self.is_full() || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// Section 4.2.3.
    fn update_cwnd(&mut self, ack: &Ack) {
        let mut cwnd = self.cwnd;
        if self.recovery != Recovery::None && ack.lost > 0 {
            cwnd = cwnd.saturating_sub(ack.lost).max(self.mss);
        }
        if self.recovery == Recovery::Entered {
            self.recovery = Recovery::Conserving;
            self.next_round_delivered = ack.delivered;
            cwnd = ack
                .in_flight
                .saturating_add(ack.acked)
                .max(self.known(cwnd));
        }
        if self.recovery == Recovery::Conserving {
            cwnd = cwnd.max(ack.in_flight.saturating_add(ack.acked));
        } else {
            let mut target = self.inflight(self.cwnd_gain());
            if self.is_full() {
                let extra = self.aggregation.get(self.bandwidth.get());
                target = target.saturating_add(extra).min(MAX_WINDOW);
            }
            let grown = cwnd.saturating_add(ack.acked);
            if self.is_full() {
                cwnd = grown.min(target);
            } else if cwnd < target || ack.delivered < u64::from(self.initial_cwnd) {
                cwnd = grown;
            }
        }
        // Conserving may not end in so few segments that none is left to tell of the loss of the others.
        cwnd = cwnd.clamp(self.min_cwnd(), MAX_WINDOW.max(self.min_cwnd()));
        if self.mode == Mode::ProbeRtt {
            cwnd = cwnd.min(self.min_cwnd());
        }
        self.cwnd = cwnd;
    }

    /// As much of the window as the path is known to hold without a queue. Where losses are frequent a window below it, at
    /// the beginning of each recovery, would leave the path idle; the pacing bounds the rate.
    fn known(&self, cwnd: u32) -> u32 {
        if self.is_full() && !self.timed_out {
            cwnd.min(self.inflight(UNIT))
        } else {
            0
        }
    }

    fn save_cwnd(&mut self) {
        self.prior_cwnd = if self.recovery == Recovery::None && self.mode != Mode::ProbeRtt {
            self.cwnd
        } else {
            self.prior_cwnd.max(self.cwnd)
        };
    }

    /// Section 4.2.3.4: the window as it was before the recovery.
    fn restore_cwnd(&mut self) {
        self.timed_out = false;
        if self.recovery != Recovery::None {
            self.recovery = Recovery::None;
            if self.mode != Mode::ProbeRtt {
                self.cwnd = self.cwnd.max(self.prior_cwnd);
            }
        }
    }
}

impl CongestionControl for Bbr {
    fn name(&self) -> &'static str {
        "bbr"
    }

    fn phase(&self) -> &'static str {
        match self.mode {
            Mode::Startup => "startup",
            Mode::Drain => "drain",
            Mode::ProbeBandwidth => "probe bw",
            Mode::ProbeRtt => "probe rtt",
        }
    }

    fn cwnd(&self) -> u32 {
        self.cwnd
    }

    fn ssthresh(&self) -> u32 {
        u32::MAX
    }

    fn on_ack(&mut self, ack: &Ack) {
        self.mss = ack.mss;
        self.delivered = ack.delivered;
        self.round_start = false;
        if self.timed_out {
            // The window that a time-out leaves limits the rate: what is delivered meanwhile neither tells that the pipe
            // is full nor replaces what is known of it.
            self.limited_until = ack.delivered + u64::from(ack.in_flight);
        }
        if let Some(sample) = &ack.rate {
            self.update_bandwidth(ack, sample);
        }
        if ack.acked > 0 {
            let bandwidth = self.bandwidth.get();
            self.aggregation
                .update(ack, bandwidth, self.cwnd, self.round_start);
        }
        self.update_cycle(ack);
        self.update_mode(ack);
        self.update_min_rtt(ack);
        if ack.acked > 0 {
            self.idle_restart = false;
        }
        self.update_rate(ack);
        self.update_cwnd(ack);
    }

    fn on_congestion(&mut self, _now: Instant, _flight_size: u32, _mss: u32, ecn: bool) {
        if !ecn {
            self.save_cwnd();
            self.recovery = Recovery::Entered;
        }
    }

    fn set_cwnd(&mut self, _cwnd: u32) {}

    fn on_recovery_exit(&mut self, _now: Instant) {
        self.restore_cwnd();
    }

    fn on_rto(&mut self, _now: Instant, _flight_size: u32, in_flight: u32, mss: u32, _first: bool) {
        self.save_cwnd();
        self.recovery = Recovery::Growing;
        // The rounds in which nothing came say nothing of the pipe being full.
        self.full_bandwidth = 0;
        self.next_round_delivered = self.delivered;
        self.limited_until = self.delivered + 1;
        self.timed_out = true;
        self.cwnd = in_flight.saturating_add(mss);
    }

    fn undo(&mut self, _now: Instant) {
        self.restore_cwnd();
    }

    #[cfg(test)]
    fn can_undo(&self) -> bool {
        self.recovery != Recovery::None
    }

    fn on_idle_restart(&mut self, _now: Instant, _idle: Duration, _rto: Duration, _mss: u32) {}

    fn on_mss(&mut self, _old: u32, new: u32) {
        self.mss = new;
        self.cwnd = self.cwnd.max(new);
    }

    /// Section 4.3.5: after idleness the pipe is refilled at the bandwidth, whatever the phase.
    fn on_sent(&mut self, now: Instant, _bytes: u32, in_flight: u32) {
        if in_flight != 0 || self.delivered == 0 {
            return;
        }
        self.idle_restart = true;
        match self.mode {
            Mode::ProbeBandwidth => {
                let rate = self.bandwidth.get() * (100 - MARGIN) / 100;
                self.pacing_rate = rate.max(u64::from(self.mss));
            }
            Mode::ProbeRtt if self.probe_rtt_done.is_some_and(|done| now >= done) => {
                self.leave_probe_rtt(now);
            }
            _ => {}
        }
    }

    fn pacing_rate(&self) -> Option<u64> {
        Some(self.pacing_rate)
    }

    fn uses_prr(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
