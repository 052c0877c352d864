//! NewReno: additive increase, halving on loss (RFC 5681, RFC 6582), with byte counting (RFC 3465) and HyStart++.

use super::window::{Saved, Window};
use super::{Ack, CongestionControl, MAX_WINDOW};
use crate::time::{Duration, Instant};

/// State of NewReno.
#[derive(Debug)]
pub(crate) struct NewReno {
    window: Window,
    /// Acknowledged since the window last grew in congestion avoidance.
    bytes_acked: u32,
    undo: Option<Saved>,
}

impl NewReno {
    pub(super) fn new(cwnd: u32) -> Self {
        NewReno {
            window: Window::new(cwnd),
            bytes_acked: 0,
            undo: None,
        }
    }

    pub(super) fn set_ssthresh(&mut self, ssthresh: u32) {
        self.window.ssthresh = ssthresh;
    }
}

impl CongestionControl for NewReno {
    fn name(&self) -> &'static str {
        "reno"
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
        if acked == 0 || !ack.cwnd_limited {
            return;
        }
        // RFC 3465 section 2.1: a segment more per window of data acknowledged.
        let window = &mut self.window;
        self.bytes_acked = self.bytes_acked.saturating_add(acked);
        if self.bytes_acked >= window.cwnd {
            self.bytes_acked -= window.cwnd;
            window.cwnd = window.cwnd.saturating_add(ack.mss).min(MAX_WINDOW);
        }
    }

    fn on_congestion(&mut self, _now: Instant, flight_size: u32, mss: u32, ecn: bool) {
        self.undo = (!ecn).then(|| self.window.save());
        let ssthresh = self.window.loss_window(flight_size) / 2;
        self.window.reduce(ssthresh, mss, ecn);
        self.bytes_acked = 0;
    }

    fn set_cwnd(&mut self, cwnd: u32) {
        self.window.cwnd = cwnd;
    }

    fn on_recovery_exit(&mut self, _now: Instant) {
        self.window.exit_recovery();
    }

    fn on_rto(&mut self, _now: Instant, flight_size: u32, in_flight: u32, mss: u32, first: bool) {
        let ssthresh = first.then(|| self.window.loss_window(flight_size) / 2);
        if first {
            self.undo = Some(self.window.save());
        }
        self.window.collapse(ssthresh, in_flight, mss);
        self.bytes_acked = 0;
    }

    fn undo(&mut self, _now: Instant) {
        if let Some(saved) = self.undo.take() {
            self.window.restore(saved);
        }
    }

    #[cfg(test)]
    fn can_undo(&self) -> bool {
        self.undo.is_some()
    }

    fn on_idle_restart(&mut self, _now: Instant, idle: Duration, rto: Duration, mss: u32) {
        self.window.restart(idle, rto, mss);
    }

    fn on_mss(&mut self, old: u32, new: u32) {
        self.window.rescale(old, new);
        self.undo = None;
    }
}
