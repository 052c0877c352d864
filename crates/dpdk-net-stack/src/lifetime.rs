//! For how long what was configured, leased or advertised may be used (RFC 4862 section 5.5.4).

use crate::time::{Duration, Instant};

/// For how long an address may be used, from the moment on in which that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lifetimes {
    /// For how long it may be chosen for what is new; then it is deprecated. [`Duration::MAX`] is for ever, 0 is not at
    /// all.
    pub preferred: Duration,
    /// For how long it may be used at all; then it is removed. [`Duration::MAX`] is for ever.
    pub valid: Duration,
}

impl Lifetimes {
    /// An address that is there to stay.
    pub const FOREVER: Self = Self {
        preferred: Duration::MAX,
        valid: Duration::MAX,
    };

    /// Valid, and preferred all the time, for so long.
    pub const fn of(valid: Duration) -> Self {
        Self {
            preferred: valid,
            valid,
        }
    }
}

/// Until when an address may be used. [`Instant::MAX`] is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) preferred_until: Instant,
    pub(crate) valid_until: Instant,
}

impl Lifetime {
    pub(crate) const FOREVER: Self = Self {
        preferred_until: Instant::MAX,
        valid_until: Instant::MAX,
    };

    pub(crate) fn from(now: Instant, lifetimes: Lifetimes) -> Self {
        Self {
            preferred_until: now + lifetimes.preferred.min(lifetimes.valid),
            valid_until: now + lifetimes.valid,
        }
    }

    pub(crate) fn is_preferred(&self, now: Instant) -> bool {
        now < self.preferred_until
    }

    /// What is left of it.
    pub(crate) fn left(&self, now: Instant) -> Lifetimes {
        Lifetimes {
            preferred: left(now, self.preferred_until),
            valid: left(now, self.valid_until),
        }
    }
}

/// The time until then, [`Duration::MAX`] if that is never.
pub(crate) fn left(now: Instant, until: Instant) -> Duration {
    if until == Instant::MAX {
        Duration::MAX
    } else {
        until.saturating_duration_since(now)
    }
}
