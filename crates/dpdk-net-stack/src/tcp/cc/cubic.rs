//! CUBIC (RFC 9438): after a reduction the window follows a cubic function of time back to where it was, and past it.
//!
//! Integers only: time in units of 2^-14 s (61 us), windows in bytes. The cube of the largest time that counts, 128 s, is
//! 63 bits; in 128 s the function covers 838,000 segments, more than the largest window has.

use super::window::{Saved, Window};
use super::{Ack, CongestionControl, MAX_WINDOW, scale};
use crate::time::{Duration, Instant, duration_nanos};

/// The furthest from the plateau that counts.
const MAX_TIME: u64 = (1 << 21) - 1;

/// State of CUBIC.
#[derive(Debug)]
pub(crate) struct Cubic {
    window: Window,
    curve: Curve,
    /// Where the window stopped growing because the application had nothing to send.
    stalled: Option<Instant>,
    /// What is left of the divisions that make the window and the estimate grow.
    cwnd_rest: u32,
    est_rest: u32,
    undo: Option<(Saved, Curve)>,
}

/// The window as a function of time; lengths in bytes.
#[derive(Debug, Clone, Copy, Default)]
struct Curve {
    /// When this congestion avoidance began; `None` before.
    epoch: Option<Instant>,
    /// The plateau: the window at the last reduction, or less (fast convergence).
    w_max: u32,
    /// The window before the last reduction.
    cwnd_prior: u32,
    /// The plateau of this epoch.
    origin: u32,
    /// Time from the epoch to the plateau.
    k: u32,
    /// The window that Reno would have.
    w_est: u32,
}

impl Curve {
    /// RFC 9438 section 4.2: congestion avoidance begins with the window `cwnd`.
    fn begin(&mut self, now: Instant, cwnd: u32, mss: u32) {
        self.epoch = Some(now);
        self.w_est = cwnd;
        // Without a reduction to come back from (section 4.8, and after HyStart++) the plateau is here.
        self.origin = self.w_max.max(cwnd);
        self.k = time_to_grow(self.origin - cwnd, mss);
    }

    /// Equation 1: `W_cubic(t)`.
    fn at(&self, t: u64, mss: u32) -> u32 {
        let k = u64::from(self.k);
        let delta = growth(t.abs_diff(k), mss);
        if t < k {
            self.origin.saturating_sub(delta)
        } else {
            self.origin.saturating_add(delta)
        }
    }

    /// RFC 9438 sections 4.6 and 4.7: what a reduction of the window `cwnd` leaves.
    fn reduce(&mut self, cwnd: u32) {
        // Fast convergence: a plateau that is lower than the last one leaves room for others.
        self.w_max = if cwnd < self.w_max {
            scale(cwnd, 17, 20)
        } else {
            cwnd
        };
        self.cwnd_prior = cwnd;
        self.epoch = None;
    }
}

/// `C * d^3` in bytes, with `C` = 0.4 segments per cubic second.
fn growth(d: u64, mss: u32) -> u32 {
    let d = d.min(MAX_TIME);
    let cube = (d * d * d) >> 20;
    let bytes = (cube * u64::from(mss.min(u32::from(u16::MAX))) * 2 / 5) >> 22;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Equation 2: `K`, the time to grow by `bytes`.
fn time_to_grow(bytes: u32, mss: u32) -> u32 {
    let cube = ((u64::from(bytes) * 5 / 2) << 12) / u64::from(mss.max(1));
    let cube = if cube >> 33 == 0 {
        cube << 30
    } else {
        u64::MAX >> 1
    };
    cbrt(cube)
}

/// The cube root, rounded down, digit by digit in base 2.
fn cbrt(x: u64) -> u32 {
    let mut root = 0u64;
    for bit in (0..22).rev() {
        let next = root | 1 << bit;
        // At most 2^66: checked.
        if next.checked_pow(3).is_some_and(|cube| cube <= x) {
            root = next;
        }
    }
    root as u32
}

/// A duration in units of 2^-14 s; 18 minutes are for ever.
fn ticks(duration: Duration) -> u64 {
    // 2^14 / 10^9 is 2^5 / 5^9.
    let nanos = duration_nanos(duration).min(1 << 40);
    (nanos << 5) / 1_953_125
}

impl Cubic {
    pub(super) fn new(cwnd: u32) -> Self {
        Cubic {
            window: Window::new(cwnd),
            curve: Curve::default(),
            stalled: None,
            cwnd_rest: 0,
            est_rest: 0,
            undo: None,
        }
    }

    pub(super) fn set_ssthresh(&mut self, ssthresh: u32) {
        self.window.ssthresh = ssthresh;
    }

    /// RFC 9438 section 5.8 (and 4.2): time in which the application limits the flow does not count.
    #[inline]
    pub(super) fn pause(&mut self, now: Instant) {
        if self.curve.epoch.is_some() && self.stalled.is_none() && !self.window.in_slow_start() {
            self.stalled = Some(now);
        }
    }

    fn avoid_congestion(&mut self, ack: &Ack, acked: u32) {
        if !ack.cwnd_limited {
            return self.pause(ack.now);
        }
        let cwnd = self.window.cwnd;
        let stalled = self.stalled.take();
        let epoch = match self.curve.epoch {
            Some(epoch) => match stalled {
                Some(stalled) => {
                    let epoch = epoch + (ack.now - stalled);
                    self.curve.epoch = Some(epoch);
                    epoch
                }
                None => epoch,
            },
            None => {
                self.curve.begin(ack.now, cwnd, ack.mss);
                (self.cwnd_rest, self.est_rest) = (0, 0);
                ack.now
            }
        };
        let t = ticks(ack.now - epoch);

        // Section 4.3, equation 4: alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until the window is what it was, then 1.
        let mut grown = u64::from(acked) * u64::from(ack.mss);
        if self.curve.w_est < self.curve.cwnd_prior {
            grown = grown * 9 / 17;
        }
        let (grown, rest) = divide(grown, self.est_rest, cwnd);
        self.est_rest = rest;
        self.curve.w_est = self.curve.w_est.saturating_add(grown).min(MAX_WINDOW);

        self.window.cwnd = if self.curve.at(t, ack.mss) < self.curve.w_est {
            cwnd.max(self.curve.w_est)
        } else {
            // Sections 4.4 and 4.5: towards the window of a round-trip time from now, by at most half a window in that
            // time.
            let target = self.curve.at(t + ticks(ack.srtt), ack.mss);
            let target = target.clamp(cwnd, cwnd.saturating_add(cwnd / 2));
            let grown = u64::from(target - cwnd) * u64::from(acked);
            let (grown, rest) = divide(grown, self.cwnd_rest, cwnd);
            self.cwnd_rest = rest;
            cwnd.saturating_add(grown).min(MAX_WINDOW)
        };
    }
}

/// `(dividend + rest) / divisor` and what is left of it.
fn divide(dividend: u64, rest: u32, divisor: u32) -> (u32, u32) {
    let divisor = u64::from(divisor.max(1));
    let dividend = dividend + u64::from(rest);
    let quotient = u32::try_from(dividend / divisor).unwrap_or(u32::MAX);
    (quotient, (dividend % divisor) as u32)
}

/// Section 4.6: beta is 0.7.
fn reduced(window: u32) -> u32 {
    scale(window, 7, 10)
}

impl CongestionControl for Cubic {
    fn name(&self) -> &'static str {
        "cubic"
    }

    fn phase(&self) -> &'static str {
        self.window.phase()
    }

    fn cwnd(&self) -> u32 {
        self.window.cwnd
    }

    fn ssthresh(&self) -> u32 {
        self.window.ssthresh
    }

    fn on_ack(&mut self, ack: &Ack) {
        if ack.in_recovery || ack.acked == 0 || !ack.may_grow {
            return;
        }
        let acked = self.window.slow_start(ack);
        if acked != 0 {
            self.avoid_congestion(ack, acked);
        }
    }

    fn on_congestion(&mut self, _now: Instant, flight_size: u32, mss: u32, ecn: bool) {
        self.undo = (!ecn).then(|| (self.window.save(), self.curve));
        let window = self.window.loss_window(flight_size);
        self.curve.reduce(window);
        self.stalled = None;
        self.window.reduce(reduced(window), mss, ecn);
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.window.cwnd = cwnd;
    }

    fn on_recovery_exit(&mut self, _now: Instant) {
        self.window.exit_recovery();
    }

    fn on_rto(&mut self, _now: Instant, flight_size: u32, in_flight: u32, mss: u32, first: bool) {
        let window = self.window.loss_window(flight_size);
        if first {
            self.undo = Some((self.window.save(), self.curve));
            self.curve.reduce(window);
        }
        // Section 4.8: the next congestion avoidance has no plateau to come back to.
        self.curve.w_max = 0;
        self.curve.epoch = None;
        self.stalled = None;
        self.window
            .collapse(first.then(|| reduced(window)), in_flight, mss);
    }

    fn undo(&mut self, _now: Instant) {
        // Section 4.9.
        if let Some((window, curve)) = self.undo.take() {
            self.window.restore(window);
            self.curve = curve;
            self.stalled = None;
        }
    }

    #[cfg(test)]
    fn can_undo(&self) -> bool {
        self.undo.is_some()
    }

    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration, mss: u32) {
        // Idle time does not count, wherever it began.
        if self.curve.epoch.is_some() {
            let began = now - idle;
            self.stalled = Some(self.stalled.map_or(began, |stalled| stalled.min(began)));
        }
        let before = self.window.cwnd;
        self.window.restart(idle, rto, mss);
        if self.window.cwnd < before {
            // Slow start leads back, and then the function begins anew.
            self.curve.epoch = None;
            self.stalled = None;
        }
    }

    fn on_mss(&mut self, old: u32, new: u32) {
        self.window.rescale(old, new);
        if new < old {
            self.curve.w_max = scale(self.curve.w_max, new, old);
            self.curve.cwnd_prior = scale(self.curve.cwnd_prior, new, old);
        }
        self.curve.epoch = None;
        self.stalled = None;
        self.undo = None;
    }
}

#[cfg(test)]
mod tests;
