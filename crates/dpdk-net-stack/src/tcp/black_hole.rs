//! Paths that swallow full segments while nobody says why (RFC 2923 section 2.1, RFC 4821 section 7.7, RFC 8899 section
//! 4.3): segments are made smaller there.
//!
//! Timeouts alone are no evidence: a path that loses much, or that is down for a while, has them too. So only the first
//! segment is made smaller at first. If that gets through, and full ones still don't, it is their size.

use super::Settings;
use super::flow::{Flow, FlowFlags};
use super::scoreboard::Delivery;
use crate::time::Duration;

/// Timeouts in a row after which full segments are suspected.
const TIMEOUTS: u8 = 3;
/// And the least that the timeout has been backed off to by then: on a short path three go by in a moment, in which a burst
/// of losses is the likelier cause.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between the least that a path must carry and what an Ethernet does lies what tunnels leave of 1,500 bytes.
const TUNNELLED: u16 = 1_200;

/// What is thought of the size of segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Suspicion {
    #[default]
    None,
    /// A segment of `size` bytes is sent instead of one of `failed` that did not get through.
    Asked { size: u16, failed: u16 },
    /// It was acknowledged, and nothing as long as `failed` has been since.
    Passed { size: u16, failed: u16 },
}

impl Flow {
    /// To be called when the retransmission timer has run out, before anything is sent again. `true` if full segments have
    /// been found to be too large for the path: they are smaller now.
    pub(crate) fn suspect_black_hole(&mut self, config: &Settings) -> bool {
        if self.backoff < TIMEOUTS || self.retransmission_timeout(config) < PATIENCE {
            return false;
        }
        let (options, headers) = self.overhead();
        let least = if self.key.is_v6() { 1_220 } else { 536 };
        let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) else {
            return false;
        };
        let first = busy.sent.front().map_or(0, |first| first.len());
        if let Suspicion::Passed { size, .. } = sender.suspicion {
            if first > size.into() {
                sender.suspicion = Suspicion::None;
                self.set_mss(usize::from(size) + headers);
                return true;
            }
            return false;
        }
        // Options are deducted: 1,280 bytes is all that IPv6 promises.
        let smaller = [TUNNELLED.max(least), least].map(|size| size - options);
        let smaller = smaller.into_iter().find(|size| first > (*size).into());
        if let Some(size) = smaller {
            busy.sent.split_first(size.into());
            let failed = u16::try_from(first).unwrap_or(u16::MAX);
            sender.suspicion = Suspicion::Asked { size, failed };
        }
        false
    }

    /// The IP packet that a full segment makes, in bytes.
    pub(super) fn largest_packet(&self) -> usize {
        usize::from(self.mss) + self.overhead().1
    }

    /// Bytes of options on each segment, and of all headers.
    fn overhead(&self) -> (u16, usize) {
        let options = if self.has(FlowFlags::TIMESTAMPS) {
            12
        } else {
            0
        };
        let headers = if self.key.is_v6() { 60 } else { 40 };
        (options, headers + usize::from(options))
    }
}

impl Suspicion {
    /// What it has become by an acknowledgment, on a connection with segments of `mss`.
    pub(crate) fn after(self, delivery: &Delivery, advanced: bool, mss: u32) -> Self {
        let (Suspicion::Asked { size, failed } | Suspicion::Passed { size, failed }) = self else {
            return self;
        };
        let longest = delivery.newest.map_or(0, |newest| newest.len());
        // So much at once is not made of pieces alone.
        if longest >= failed.into() || delivery.bytes > 2 * mss {
            Suspicion::None
        } else if advanced {
            Suspicion::Passed { size, failed }
        } else {
            self
        }
    }
}

#[cfg(test)]
mod tests;
