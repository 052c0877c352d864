//! DHCP clients, sans-io: [`v4`] (RFC 2131) and [`v6`] (RFC 8415).
//!
//! A client reads no clock and has no socket: messages and the time come in as arguments, messages go out by
//! `poll_transmit`, and what becomes of its lease is told by `poll_event`. `next_timeout` says when `handle_timeout` is
//! due. So a lease of days is tested in a moment, and a run is repeated from its seed.
//!
//! The formats of messages are the `dhcproto` crate's. What comes in is sieved before it is read: options that mean
//! nothing here, or whose length is not what their kind has, never get to the parser.
//!
//! `AppBuilder` drives them ([`AppBuilder::dhcp4`](crate::AppBuilder::dhcp4), [`dhcp6`](crate::AppBuilder::dhcp6)); who
//! builds workers otherwise drives them likewise, over sockets of its own.

mod names;
pub mod v4;
pub mod v6;

use dpdk_net_stack::{Duration, Instant};

/// What the clients take where chance is to decide: transaction ids and when to send again.
///
/// SplitMix64 of a seed from the operating system. On a shared link everybody hears the ids; they keep apart
/// transactions, and are no defence.
#[derive(Debug, Clone)]
pub(crate) struct Entropy(u64);

impl Entropy {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// A time below `bound`.
    pub(crate) fn below(&mut self, bound: Duration) -> Duration {
        let bound = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
        let below = (u128::from(self.next_u64()) * u128::from(bound)) >> 64;
        Duration::from_nanos(below as u64)
    }

    /// `time`, up to `spread` shorter or longer.
    pub(crate) fn around(&mut self, time: Duration, spread: Duration) -> Duration {
        time.saturating_sub(spread) + self.below(spread * 2)
    }
}

/// No more than so many messages in as many seconds, all of which may be sent at once (RFC 8415 section 14.1).
#[derive(Debug, Clone)]
pub(crate) struct Rate {
    most: u32,
    /// When as many as may be could be sent at once again.
    full: Instant,
}

impl Rate {
    pub(crate) const fn new(most: u32) -> Self {
        Self {
            most,
            full: Instant::ZERO,
        }
    }

    /// Takes one. If there is none: when there is.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        const EACH: Duration = Duration::from_secs(1);
        let full = self.full.max(now) + EACH;
        let room = now + EACH * self.most;
        if full > room {
            return Err(now + full.saturating_duration_since(room));
        }
        self.full = full;
        Ok(())
    }
}

/// A lifetime of so many seconds as it stands in messages: all ones is for ever.
fn seconds(secs: u32) -> Duration {
    match secs {
        u32::MAX => Duration::MAX,
        secs => Duration::from_secs(secs.into()),
    }
}

/// The earlier of both.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    a.into_iter().chain(b).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_its_burst_and_then_one_a_second() {
        let mut rate = Rate::new(3);
        let at = |millis| Instant::from_secs(100) + Duration::from_millis(millis);
        assert_eq!([0; 3].map(|_| rate.take(at(0))), [Ok(()); 3]);
        assert_eq!(rate.take(at(400)), Err(at(1_000)));
        assert_eq!(rate.take(at(1_000)), Ok(()));
        assert_eq!(rate.take(at(1_000)), Err(at(2_000)));
        // Silence brings no more than the burst.
        assert_eq!([0; 3].map(|_| rate.take(at(90_000))), [Ok(()); 3]);
        assert!(rate.take(at(90_000)).is_err());
    }
}
