//! How a figure is declared: once, with its name, help, unit and the name that Linux gives it.
//!
//! [`counters!`](crate::counters) makes of one declaration the snapshot that is public, with a [`Metric`] for each field, and the
//! plain integers that the packet path adds to. Without the feature `metrics` the latter have no size and adding does nothing, so
//! **nothing but a snapshot may depend on them**. What gathers the figures of several stacks, and names them in full, is not here.

mod declare;
mod histogram;

pub use histogram::{Histogram, HistogramSnapshot};

use core::fmt;
use core::ops::AddAssign;

/// Whether anything is counted: the feature `metrics`. Without it counters stay zero and histograms empty; gauges are unaffected.
pub const ENABLED: bool = cfg!(feature = "metrics");

/// How a figure behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, from zero at the start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution: how many values fell into which range.
    Histogram,
}

/// What the integers of a figure are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unit {
    /// A number of what the name says: segments, connections, events.
    None,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// Millionths of a second, told in seconds.
    Microseconds,
    /// Billionths of a second, told in seconds.
    Nanoseconds,
    /// Cycles of the time-stamp counter.
    Cycles,
}

impl Unit {
    /// The base unit that figures are told in, as Prometheus and OpenMetrics name it; empty for a number.
    pub const fn base(self) -> &'static str {
        match self {
            Unit::None => "",
            Unit::Bytes => "bytes",
            Unit::Seconds | Unit::Microseconds | Unit::Nanoseconds => "seconds",
            Unit::Cycles => "cycles",
        }
    }

    /// How many of one are one of the [base unit](Self::base): a million microseconds are a second.
    pub const fn per_base(self) -> u64 {
        match self {
            Unit::None | Unit::Bytes | Unit::Seconds | Unit::Cycles => 1,
            Unit::Microseconds => 1_000_000,
            Unit::Nanoseconds => 1_000_000_000,
        }
    }
}

/// Without the feature nothing is left of what counts.
#[cfg(not(feature = "metrics"))]
const _: () = assert!(size_of::<Count>() + size_of::<Histogram>() == 0);

/// What is known of a figure beside its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name within its group: letters, digits and underscores.
    pub name: &'static str,
    /// What it tells, in one line.
    pub help: &'static str,
    /// What its integers are in.
    pub unit: Unit,
    /// How it behaves.
    pub kind: Kind,
    /// The name that `nstat` of Linux prints for it, where the same thing is counted. Where Linux counts IPv6 apart (`Ip6..`, `Udp6..`,
    /// `Icmp6..`), it is that of IPv4, and this is both.
    pub linux: Option<&'static str>,
}

/// A counter on the packet path: a plain integer, or nothing at all without the feature `metrics`.
#[derive(Clone, Copy, Default)]
pub struct Count {
    #[cfg(feature = "metrics")]
    value: u64,
}

impl Count {
    /// What has been counted; always 0 without the feature `metrics`.
    #[inline]
    pub const fn get(self) -> u64 {
        #[cfg(feature = "metrics")]
        return self.value;
        #[cfg(not(feature = "metrics"))]
        return 0;
    }
}

impl AddAssign<u64> for Count {
    #[inline(always)]
    fn add_assign(&mut self, more: u64) {
        #[cfg(feature = "metrics")]
        {
            self.value += more;
        }
        #[cfg(not(feature = "metrics"))]
        let _ = more;
    }
}

impl fmt::Debug for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
