//! Congestion control: how much may be in flight, and at what rate it is sent.
//!
//! One file per algorithm, all behind [`CongestionControl`]; a connection holds a [`Controller`]. What was lost, what is
//! retransmitted and the window within fast recovery (PRR) are decided by whoever calls this. Windows are in bytes.
//! Nothing here reads a clock, allocates per acknowledgment or touches a packet.

mod bbr;
mod cubic;
mod hystart;
#[cfg(test)]
mod model;
mod newreno;
mod window;

use alloc::boxed::Box;
use core::fmt;
use core::str::FromStr;

use bbr::Bbr;
use cubic::Cubic;
use newreno::NewReno;

use crate::config::ConfigError;
use crate::time::{Duration, Instant};

/// A congestion control algorithm, by the name that `TCP_CONGESTION` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// `cubic`: CUBIC (RFC 9438) with HyStart++ (RFC 9406).
    #[default]
    Cubic,
    /// `reno`: NewReno (RFC 5681) with HyStart++ (RFC 9406).
    NewReno,
    /// `bbr`: BBR version 1, which paces by a model of the path and does not slow down for random loss.
    Bbr,
}

impl Algorithm {
    /// The name as `TCP_CONGESTION` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Cubic => "cubic",
            Algorithm::NewReno => "reno",
            Algorithm::Bbr => "bbr",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = ConfigError;

    /// Reads `cubic`, `reno` or `bbr`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr]
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| ConfigError::UnknownCongestionAlgorithm(text.into()))
    }
}

/// One acknowledgment as congestion control sees it. All sizes are in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ack {
    /// When it came.
    pub(crate) now: Instant,
    /// Newly delivered, cumulatively or by SACK.
    pub(crate) acked: u32,
    /// Whether loss-based windows may grow by it: it acknowledges more cumulatively, as RFC 5681 section 3.1 asks for, or
    /// the network reorders, so that what comes by SACK first is as good.
    pub(crate) may_grow: bool,
    /// Newly marked lost.
    pub(crate) lost: u32,
    /// In flight afterwards: sent, less what was delivered or lost (RFC 6675's pipe).
    pub(crate) in_flight: u32,
    /// In flight before.
    pub(crate) prior_in_flight: u32,
    /// The round-trip time that this acknowledgment tells, never that of a retransmission.
    pub(crate) rtt: Option<Duration>,
    /// The smoothed round-trip time, zero if there is none yet.
    pub(crate) srtt: Duration,
    /// The least round-trip time of the last minutes, zero if there is none yet.
    pub(crate) min_rtt: Duration,
    /// The delivery rate that it tells.
    pub(crate) rate: Option<RateSample>,
    /// Delivered since the connection began, this acknowledgment included.
    pub(crate) delivered: u64,
    /// The oldest sequence number not acknowledged, afterwards.
    pub(crate) snd_una: u32,
    /// The next sequence number to be sent.
    pub(crate) snd_nxt: u32,
    /// Whether it was the window that kept more from being sent, and not the application or the peer.
    pub(crate) cwnd_limited: bool,
    /// Whether this is fast recovery, where PRR sets the window of loss-based algorithms. The slow start that repairs
    /// what a time-out declared lost is not: there the window grows.
    pub(crate) in_recovery: bool,
    /// The sender's maximum segment size.
    pub(crate) mss: u32,
}

/// A sample of the delivery rate (draft-cheng-iccrg-delivery-rate-estimation): what was delivered between the sending of
/// a segment and its acknowledgment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateSample {
    /// Bytes delivered in `interval`.
    pub(crate) delivered: u32,
    /// The longer one of the time it took to send and the time it took to be acknowledged.
    pub(crate) interval: Duration,
    /// Bytes delivered since the connection began when the segment was sent.
    pub(crate) prior_delivered: u64,
    /// Whether the application had not enough to send when the segment was sent, so that the path may be faster.
    pub(crate) app_limited: bool,
}

impl RateSample {
    /// The rate, `None` if it took no time.
    pub(crate) fn bytes_per_second(&self) -> Option<u64> {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        (u64::from(self.delivered) * 1_000_000_000).checked_div(nanos)
    }
}

/// The window of one connection, and its rate.
pub(crate) trait CongestionControl: fmt::Debug + Send + Sync {
    /// The name as `TCP_CONGESTION` has it.
    fn name(&self) -> &'static str;

    /// What it is doing, for people.
    fn phase(&self) -> &'static str;

    /// The congestion window in bytes, at least one segment.
    fn cwnd(&self) -> u32;

    /// The slow start threshold in bytes, `u32::MAX` if there is none.
    fn ssthresh(&self) -> u32;

    /// An acknowledgment. In fast recovery loss-based algorithms leave the window alone.
    fn on_ack(&mut self, ack: &Ack);

    /// Fast recovery begins, or the peer echoed a congestion mark (`ecn`, RFC 3168): at most once per round trip.
    /// Loss-based algorithms reduce the threshold, which is PRR's target; with a mark the window too, at once.
    /// `flight_size` is RFC 5681's: all that was sent and not acknowledged cumulatively, lost or not.
    fn on_congestion(&mut self, now: Instant, flight_size: u32, mss: u32, ecn: bool);

    /// PRR's window in fast recovery (RFC 6937). Algorithms that don't use PRR ignore it.
    fn set_cwnd(&mut self, cwnd: u32);

    /// Fast recovery or the repair after a time-out is complete, all that was in flight at its beginning is acknowledged.
    fn on_recovery_exit(&mut self, now: Instant);

    /// The retransmission timer expired (RFC 5681 section 3.1). The window is one segment beside what is `in_flight` and
    /// may still arrive (RFC 8985 section 6.3). `first` tells whether the window was not yet reduced for what is in flight:
    /// neither by an earlier time-out of the same segment nor by the fast recovery it ends.
    fn on_rto(&mut self, now: Instant, flight_size: u32, in_flight: u32, mss: u32, first: bool);

    /// The last reduction for a loss was a mistake (RFC 4015, RFC 5682): window and threshold as before. Does nothing
    /// if there is none to be undone.
    fn undo(&mut self, now: Instant);

    /// Whether [`undo`](Self::undo) has anything to undo.
    #[cfg(test)]
    fn can_undo(&self) -> bool;

    /// Data is about to be sent after `idle`, the time since the last one was sent, of more than an RTO with nothing in
    /// flight.
    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration, mss: u32);

    /// The maximum segment size changed with the path's MTU.
    fn on_mss(&mut self, old: u32, new: u32);

    /// Data was sent; `in_flight` is what was in flight before it.
    fn on_sent(&mut self, now: Instant, bytes: u32, in_flight: u32) {
        let _ = (now, bytes, in_flight);
    }

    /// Bytes per second to be paced at, if at all. See [`pacing_quantum`].
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Whether PRR sets the window in fast recovery.
    fn uses_prr(&self) -> bool {
        true
    }
}

/// The algorithm of one connection with its state.
#[derive(Debug)]
pub(crate) enum Controller {
    NewReno(NewReno),
    Cubic(Cubic),
    /// On the heap: it is large, and the others are the common ones.
    Bbr(Box<Bbr>),
}

impl Controller {
    /// For a new connection, with the initial window.
    pub(crate) fn new(algorithm: Algorithm, mss: u32, now: Instant) -> Self {
        let cwnd = initial_window(mss);
        Controller::with_window(algorithm, mss, cwnd, now)
    }

    /// Another algorithm takes over a connection (`TCP_CONGESTION`): it begins with the window there is.
    pub(crate) fn switch(&mut self, algorithm: Algorithm, mss: u32, now: Instant) {
        if algorithm.name() != self.name() {
            let (cwnd, ssthresh) = (self.cwnd(), self.ssthresh());
            *self = Controller::with_window(algorithm, mss, cwnd, now);
            match self {
                Controller::NewReno(reno) => reno.set_ssthresh(ssthresh),
                Controller::Cubic(cubic) => cubic.set_ssthresh(ssthresh),
                Controller::Bbr(_) => {}
            }
        }
    }

    /// The window, of an algorithm that need not see acknowledgments of what the window did not limit.
    #[inline]
    pub(crate) fn plain_window(&self) -> Option<u32> {
        match self {
            Controller::NewReno(reno) => Some(reno.cwnd()),
            Controller::Cubic(cubic) => Some(cubic.cwnd()),
            Controller::Bbr(_) => None,
        }
    }

    /// An acknowledgment that [`on_ack`](CongestionControl::on_ack) need not see, of less than half a window.
    #[inline]
    pub(crate) fn on_unlimited_ack(&mut self, now: Instant) {
        if let Controller::Cubic(cubic) = self {
            cubic.pause(now);
        }
    }

    fn with_window(algorithm: Algorithm, mss: u32, cwnd: u32, now: Instant) -> Self {
        match algorithm {
            Algorithm::NewReno => Controller::NewReno(NewReno::new(cwnd)),
            Algorithm::Cubic => Controller::Cubic(Cubic::new(cwnd)),
            Algorithm::Bbr => Controller::Bbr(Box::new(Bbr::new(mss, cwnd, now))),
        }
    }
}

macro_rules! each {
    ($controller:expr, $cc:ident => $call:expr) => {
        match $controller {
            Controller::NewReno($cc) => $call,
            Controller::Cubic($cc) => $call,
            Controller::Bbr($cc) => $call,
        }
    };
}

impl CongestionControl for Controller {
    fn name(&self) -> &'static str {
        each!(self, cc => cc.name())
    }

    fn phase(&self) -> &'static str {
        each!(self, cc => cc.phase())
    }

    #[inline]
    fn cwnd(&self) -> u32 {
        each!(self, cc => cc.cwnd())
    }

    fn ssthresh(&self) -> u32 {
        each!(self, cc => cc.ssthresh())
    }

    #[inline]
    fn on_ack(&mut self, ack: &Ack) {
        each!(self, cc => cc.on_ack(ack));
    }

    fn on_congestion(&mut self, now: Instant, flight_size: u32, mss: u32, ecn: bool) {
        each!(self, cc => cc.on_congestion(now, flight_size, mss, ecn));
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        each!(self, cc => cc.set_cwnd(cwnd));
    }

    fn on_recovery_exit(&mut self, now: Instant) {
        each!(self, cc => cc.on_recovery_exit(now));
    }

    fn on_rto(&mut self, now: Instant, flight_size: u32, in_flight: u32, mss: u32, first: bool) {
        each!(self, cc => cc.on_rto(now, flight_size, in_flight, mss, first));
    }

    fn undo(&mut self, now: Instant) {
        each!(self, cc => cc.undo(now));
    }

    #[cfg(test)]
    fn can_undo(&self) -> bool {
        each!(self, cc => cc.can_undo())
    }

    fn on_idle_restart(&mut self, now: Instant, idle: Duration, rto: Duration, mss: u32) {
        each!(self, cc => cc.on_idle_restart(now, idle, rto, mss));
    }

    fn on_mss(&mut self, old: u32, new: u32) {
        each!(self, cc => cc.on_mss(old, new));
    }

    #[inline]
    fn on_sent(&mut self, now: Instant, bytes: u32, in_flight: u32) {
        each!(self, cc => cc.on_sent(now, bytes, in_flight));
    }

    #[inline]
    fn pacing_rate(&self) -> Option<u64> {
        each!(self, cc => cc.pacing_rate())
    }

    #[inline]
    fn uses_prr(&self) -> bool {
        each!(self, cc => cc.uses_prr())
    }
}

/// RFC 6928 section 2: ten segments, at most 14,600 bytes, and two segments whatever their size.
pub(crate) fn initial_window(mss: u32) -> u32 {
    mss.saturating_mul(10)
        .min(mss.saturating_mul(2).max(14_600))
}

/// What may be sent in one go at a rate: as much as goes in the millisecond that timers are apart, and two segments at
/// least.
pub(crate) fn pacing_quantum(rate: u64, mss: u32) -> u32 {
    let quantum = u32::try_from(rate / 1_000).unwrap_or(u32::MAX);
    quantum.max(mss.saturating_mul(2)).min(MAX_WINDOW)
}

/// No window is larger: the most that TCP can have outstanding (RFC 7323 section 2.3).
const MAX_WINDOW: u32 = 1 << 30;

/// Microseconds, saturating: the 71 minutes that fit are for ever.
fn micros(duration: Duration) -> u32 {
    let micros = duration
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(duration.subsec_micros()));
    u32::try_from(micros).unwrap_or(u32::MAX)
}

/// `value * numerator / denominator` without overflow; the value itself if the denominator is zero.
fn scale(value: u32, numerator: u32, denominator: u32) -> u32 {
    match (u64::from(value) * u64::from(numerator)).checked_div(u64::from(denominator)) {
        Some(scaled) => u32::try_from(scaled).unwrap_or(u32::MAX),
        None => value,
    }
}

#[cfg(test)]
mod tests;
