//! What the loss-based algorithms have in common: window and threshold, slow start with HyStart++, the restart after
//! idleness and a new segment size. How the window grows past slow start, and by how much it is reduced, is theirs.

use super::hystart::{Growth, HyStart};
use super::{Ack, MAX_WINDOW, initial_window, scale};
use crate::time::{Duration, duration_nanos};

/// Bytes of one acknowledgment that count in slow start, in segments: `L` of RFC 9406 section 4.2 without pacing.
const LIMIT: u32 = 8;

#[derive(Debug)]
pub(super) struct Window {
    pub(super) cwnd: u32,
    /// `u32::MAX` in the first slow start.
    pub(super) ssthresh: u32,
    hystart: HyStart,
    /// In fast recovery, where the window is PRR's.
    recovery: bool,
}

/// What a reduction overwrote.
#[derive(Debug, Clone, Copy)]
pub(super) struct Saved {
    cwnd: u32,
    ssthresh: u32,
}

impl Window {
    pub(super) fn new(cwnd: u32) -> Self {
        Window {
            cwnd,
            ssthresh: u32::MAX,
            hystart: HyStart::new(),
            recovery: false,
        }
    }

    pub(super) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    pub(super) fn phase(&self) -> &'static str {
        if self.recovery {
            "recovery"
        } else if !self.in_slow_start() {
            "congestion avoidance"
        } else if self.ssthresh == u32::MAX && self.hystart.is_conservative() {
            "conservative slow start"
        } else {
            "slow start"
        }
    }

    /// Grows by what slow start makes of an acknowledgment, and tells how many bytes of it are left for congestion
    /// avoidance.
    #[inline]
    pub(super) fn slow_start(&mut self, ack: &Ack) -> u32 {
        if !self.in_slow_start() {
            return ack.acked;
        }
        // RFC 9406 section 4.3: HyStart++ is for the first slow start only.
        let growth = if self.ssthresh == u32::MAX {
            self.hystart.on_ack(ack)
        } else {
            Growth::Full
        };
        let divisor = match growth {
            Growth::Full => 1,
            Growth::Conservative(divisor) => divisor,
            Growth::Over => {
                self.ssthresh = self.cwnd;
                return ack.acked;
            }
        };
        if !ack.cwnd_limited {
            return 0;
        }
        let counted = ack.acked.min(LIMIT.saturating_mul(ack.mss));
        let room = self.ssthresh.min(MAX_WINDOW).saturating_sub(self.cwnd);
        let grown = (counted / divisor).min(room);
        self.cwnd += grown;
        if self.in_slow_start() {
            0
        } else {
            counted - grown
        }
    }

    /// What a reduction starts from. The window, unless less than half of it was used: then what was in flight
    /// (RFC 7661 section 4.4.1). RFC 9438 section 4.6 allows the window where it does not grow unused, as here.
    pub(super) fn loss_window(&self, flight_size: u32) -> u32 {
        if flight_size < self.cwnd / 2 {
            flight_size
        } else {
            self.cwnd
        }
    }

    /// Reduces the threshold, and the window if nobody else does.
    pub(super) fn reduce(&mut self, ssthresh: u32, mss: u32, ecn: bool) {
        self.ssthresh = ssthresh.max(mss.saturating_mul(2));
        if ecn {
            self.cwnd = self.cwnd.min(self.ssthresh);
        } else {
            self.recovery = true;
        }
    }

    /// RFC 5681 section 3.1, equation 4 and the loss window after it.
    pub(super) fn collapse(&mut self, ssthresh: Option<u32>, in_flight: u32, mss: u32) {
        if let Some(ssthresh) = ssthresh {
            self.ssthresh = ssthresh.max(mss.saturating_mul(2));
        }
        self.cwnd = in_flight.saturating_add(mss);
        self.recovery = false;
    }

    /// RFC 6937 section 3: the window is the threshold when fast recovery ends. After a time-out it has grown by itself.
    pub(super) fn exit_recovery(&mut self) {
        if core::mem::take(&mut self.recovery) {
            self.cwnd = self.ssthresh;
        }
    }

    pub(super) fn save(&self) -> Saved {
        Saved {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
        }
    }

    pub(super) fn restore(&mut self, saved: Saved) {
        self.cwnd = self.cwnd.max(saved.cwnd);
        self.ssthresh = self.ssthresh.max(saved.ssthresh);
        self.recovery = false;
    }

    /// RFC 5681 section 4.1 asks for the restart window after an RTO without sending; RFC 2861's way there is to halve
    /// the window per RTO, and to remember in the threshold what it was.
    pub(super) fn restart(&mut self, idle: Duration, rto: Duration, mss: u32) {
        let periods = duration_nanos(idle) / duration_nanos(rto).max(1);
        let floor = initial_window(mss).min(self.cwnd);
        if periods == 0 || self.cwnd <= floor {
            return;
        }
        if self.ssthresh != u32::MAX {
            self.ssthresh = self.ssthresh.max(scale(self.cwnd, 3, 4));
        }
        let shift = u32::try_from(periods).unwrap_or(u32::MAX);
        self.cwnd = self.cwnd.checked_shr(shift).unwrap_or(0).max(floor);
    }

    /// As many segments as before if they become smaller; as many bytes, two segments at least, if they grow.
    pub(super) fn rescale(&mut self, old: u32, new: u32) {
        if new < old {
            self.cwnd = scale(self.cwnd, new, old);
            if self.ssthresh != u32::MAX {
                self.ssthresh = scale(self.ssthresh, new, old);
            }
        }
        self.cwnd = self.cwnd.max(new);
        self.ssthresh = self.ssthresh.max(new.saturating_mul(2));
    }
}
