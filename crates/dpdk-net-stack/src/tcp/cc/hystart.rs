//! HyStart++ (RFC 9406): leaves slow start when the round-trip time rises, by way of Conservative Slow Start, which goes
//! back to slow start if it was jitter only.

use super::{Ack, micros};
use crate::tcp::seq;

/// Section 4.3's constants, times in microseconds.
const MIN_RTT_THRESH: u32 = 4_000;
const MAX_RTT_THRESH: u32 = 16_000;
const MIN_RTT_DIVISOR: u32 = 8;
const N_RTT_SAMPLE: u8 = 8;
const CSS_GROWTH_DIVISOR: u32 = 4;
const CSS_ROUNDS: u8 = 5;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first acknowledgment.
    New,
    SlowStart,
    Conservative,
}

/// How the window may grow by an acknowledgment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    Full,
    /// By so many times less.
    Conservative(u32),
    /// Slow start is over: congestion avoidance.
    Over,
}

#[derive(Debug)]
pub(super) struct HyStart {
    /// The round ends when this is acknowledged.
    window_end: u32,
    /// The least round-trip times of the last round and this one, `u32::MAX` without a sample.
    last_min: u32,
    current_min: u32,
    /// The one that made slow start conservative.
    baseline: u32,
    samples: u8,
    conservative_rounds: u8,
    phase: Phase,
}

impl HyStart {
    pub(super) fn new() -> Self {
        HyStart {
            window_end: 0,
            last_min: u32::MAX,
            current_min: u32::MAX,
            baseline: u32::MAX,
            samples: 0,
            conservative_rounds: 0,
            phase: Phase::New,
        }
    }

    pub(super) fn is_conservative(&self) -> bool {
        self.phase == Phase::Conservative
    }

    /// To be called for each acknowledgment in slow start (section 4.2).
    pub(super) fn on_ack(&mut self, ack: &Ack) -> Growth {
        if self.phase == Phase::New {
            self.phase = Phase::SlowStart;
            self.window_end = ack.snd_nxt;
        } else if seq::has_passed(self.window_end, ack.snd_una, ack.snd_nxt) {
            if self.phase == Phase::Conservative {
                self.conservative_rounds += 1;
                if self.conservative_rounds >= CSS_ROUNDS {
                    return Growth::Over;
                }
            }
            self.window_end = ack.snd_nxt;
            self.last_min = self.current_min;
            self.current_min = u32::MAX;
            self.samples = 0;
        }
        if let Some(rtt) = ack.rtt {
            self.current_min = self.current_min.min(micros(rtt));
            self.samples = self.samples.saturating_add(1);
        }
        if self.samples >= N_RTT_SAMPLE {
            self.judge();
        }
        match self.phase {
            Phase::Conservative => Growth::Conservative(CSS_GROWTH_DIVISOR),
            Phase::New | Phase::SlowStart => Growth::Full,
        }
    }

    fn judge(&mut self) {
        if self.phase == Phase::Conservative {
            if self.current_min < self.baseline {
                self.baseline = u32::MAX;
                self.phase = Phase::SlowStart;
            }
        } else if self.last_min != u32::MAX {
            let threshold = (self.last_min / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH);
            if self.current_min >= self.last_min.saturating_add(threshold) {
                self.baseline = self.current_min;
                self.conservative_rounds = 0;
                self.phase = Phase::Conservative;
            }
        }
    }
}
