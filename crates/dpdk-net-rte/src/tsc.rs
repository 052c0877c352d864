//! The time-stamp counter: the clock of the packet path.
//!
//! What lives here: reading the counter, its frequency as DPDK measured it, and nanoseconds from it. It assumes an
//! invariant counter that runs alike on all cores, as DPDK does. What does not live here: timers (the stack has its
//! own wheel) and wall-clock time.

use std::fmt;

use dpdk_net_sys as sys;

use crate::Eal;

/// The counter now, in cycles (`rte_rdtsc`).
#[inline]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC is part of every x86-64 and has no memory effects.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: reads a counter register; needs no EAL.
    unsafe {
        sys::dn_rdtsc()
    }
}

/// Cycles a second, as the EAL measured them at start (`rte_get_tsc_hz`).
pub fn hz(_eal: &Eal) -> u64 {
    // SAFETY: the EAL is initialised, as there is a handle to it; reads a variable set at initialisation.
    unsafe { sys::rte_get_tsc_hz() }
}

/// Nanoseconds since its creation, from the time-stamp counter. Never goes back on one thread.
#[derive(Clone, Copy)]
pub struct TscClock {
    start: u64,
    /// Nanoseconds a cycle as a fixed-point number with [`SHIFT`] fractional bits.
    multiplier: u64,
}

/// Enough fraction for an error below 1 ns in a second at 1 GHz and above.
const SHIFT: u32 = 32;

impl TscClock {
    /// A clock that starts at 0 now.
    pub fn new(eal: &Eal) -> Self {
        Self::with_frequency(hz(eal))
    }

    fn with_frequency(hz: u64) -> Self {
        let multiplier = (1_000_000_000_u128 << SHIFT) / u128::from(hz.max(1));
        Self {
            start: now(),
            multiplier: u64::try_from(multiplier).unwrap_or(u64::MAX),
        }
    }

    /// Nanoseconds since the clock was made. Saturates after 584 years.
    #[inline]
    pub fn nanos(&self) -> u64 {
        self.at(now())
    }

    /// The time of a counter value taken with [`now`]; 0 if it was taken before the clock was made.
    #[inline]
    pub fn at(&self, cycles: u64) -> u64 {
        // Counters of different cores may be some cycles apart: never below zero.
        let cycles = cycles.saturating_sub(self.start);
        ((u128::from(cycles) * u128::from(self.multiplier)) >> SHIFT) as u64
    }
}

impl fmt::Debug for TscClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TscClock")
            .field("nanos", &self.nanos())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_counts_nanoseconds_at_any_frequency() {
        for hz in [1_000_000_000, 2_100_000_000, 3_333_333_333, 25_000_000] {
            let clock = TscClock {
                start: 1_000,
                ..TscClock::with_frequency(hz)
            };
            for seconds in [1, 60, 86_400, 86_400 * 365] {
                let nanos = clock.at(1_000 + hz * seconds);
                let wanted = seconds * 1_000_000_000;
                // 2^-32 of a nanosecond is lost a cycle at most.
                let slack = ((hz * seconds) >> SHIFT) + 1;
                assert!(
                    nanos <= wanted && wanted - nanos <= slack,
                    "{hz} Hz, {seconds} s: {nanos}"
                );
            }
        }
    }

    #[test]
    fn a_counter_from_before_the_clock_is_time_zero() {
        let clock = TscClock {
            start: 1_000,
            multiplier: 1 << SHIFT,
        };
        assert_eq!(clock.at(999), 0);
        assert_eq!(clock.at(1_001), 1);
    }
}
