//! The round-trip time of a connection and its retransmission time-out (RFC 6298), in integers.

use super::windowed::Windowed;
use crate::time::{Duration, Instant, duration_nanos};

/// Fractions of a microsecond that the averages keep: 1/64.
const FRACTION: u32 = 6;
/// The longest round-trip time that counts. Fits the averages with their fractions.
const MAX_RTT: u32 = 60_000_000;
/// How long the least round-trip time holds, in milliseconds: routes change.
const MIN_RTT_WINDOW: u32 = 300_000;
/// RFC 6298 section 2.1: without a sample.
const INITIAL_RTO_NANOS: u64 = 1_000_000_000;

/// RFC 6298 section 5.7: a quarter of the time-out after a SYN that was lost, in microseconds.
const AFTER_LOST_SYN: u32 = 750_000;

/// The estimator.
#[derive(Debug, Clone)]
pub(crate) struct Rtt {
    /// In 1/64 us, both; `srtt` is zero before the first sample.
    srtt: u32,
    rttvar: u32,
    /// In microseconds.
    latest: u32,
    /// In microseconds, over milliseconds.
    min: Windowed<u32>,
}

impl Rtt {
    /// Without a sample.
    pub(crate) fn new() -> Self {
        Rtt {
            srtt: 0,
            rttvar: 0,
            latest: 0,
            min: Windowed::new(u32::MAX, 0),
        }
    }

    /// Takes a sample, which must not be that of a retransmitted segment unless timestamps tell it (Karn).
    ///
    /// `expected_samples` is how many are taken in a round-trip time, half the segments in flight, rounded up: each then
    /// counts for less, so that the averages remember as long as with one of them (RFC 7323 appendix G). 1 is RFC 6298.
    /// Tells how many microseconds it took.
    #[inline]
    pub(crate) fn sample(&mut self, now: Instant, rtt: Duration, expected_samples: u32) -> u32 {
        let micros = micros(rtt);
        self.sample_micros(now, micros, expected_samples);
        micros
    }

    /// As [`sample`](Self::sample) with 1, of the round trip that began at `from`. Tells how many microseconds it took.
    #[inline]
    pub(crate) fn sample_since(&mut self, now: Instant, from: Instant) -> u32 {
        let micros = now.nanos_since(from) / 1_000;
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        self.sample_micros(now, micros, 1);
        micros
    }

    #[inline(always)]
    fn sample_micros(&mut self, now: Instant, micros: u32, expected_samples: u32) {
        let rtt = micros.clamp(1, MAX_RTT);
        let clock = now.as_millis() as u32;
        let first = self.srtt == 0;
        self.latest = rtt;
        if first {
            self.min = Windowed::new(rtt, clock);
        } else {
            self.min
                .update(MIN_RTT_WINDOW, clock, rtt, |new, old| new <= old);
        }
        let rtt = rtt << FRACTION;
        if first {
            self.srtt = rtt;
            self.rttvar = rtt / 2;
            return;
        }
        // Sections 2.3 and 3: beta is 1/4, alpha 1/8; the variance goes first.
        let samples = u64::from(expected_samples.clamp(1, 1 << 16));
        let error = rtt.abs_diff(self.srtt);
        self.rttvar = approach(self.rttvar, error, 4 * samples);
        self.srtt = approach(self.srtt, rtt, 8 * samples).max(1);
    }

    /// The SYN was sent again, and nothing was measured: the time-out is three seconds until something is (RFC 6298
    /// section 5.7).
    pub(crate) fn after_lost_syn(&mut self) {
        if self.srtt == 0 {
            self.rttvar = AFTER_LOST_SYN << FRACTION;
        }
    }

    /// The smoothed round-trip time.
    pub(crate) fn srtt(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| unscaled(self.srtt))
    }

    /// The mean deviation, zero before the first sample.
    pub(crate) fn rttvar(&self) -> Duration {
        unscaled(self.rttvar)
    }

    /// The last sample.
    pub(crate) fn latest(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_micros(self.latest.into()))
    }

    /// The least one of the last five minutes.
    pub(crate) fn min_rtt(&self) -> Option<Duration> {
        (self.srtt != 0).then(|| Duration::from_micros(self.min.get().into()))
    }

    /// The time-out without back-off: `SRTT + 4 * RTTVAR`, where the second term is `min` at least, and all of it `max` at
    /// most. So `min` is a floor of the time-out, and it is the room for jitter too: a path whose round-trip time never
    /// varied does not time out at the first acknowledgment that is late by a millisecond.
    pub(crate) fn rto(&self, min: Duration, max: Duration) -> Duration {
        Duration::from_nanos(self.rto_nanos(duration_nanos(min), duration_nanos(max)))
    }

    /// As [`rto`](Self::rto), all in nanoseconds.
    #[inline]
    pub(crate) fn rto_nanos(&self, min: u64, max: u64) -> u64 {
        if self.srtt == 0 {
            let assumed = unscaled_nanos(self.rttvar) * 4;
            return INITIAL_RTO_NANOS.max(assumed).max(min).min(max);
        }
        let variance = unscaled_nanos(self.rttvar) * 4;
        unscaled_nanos(self.srtt)
            .saturating_add(variance.max(min))
            .min(max)
    }

    /// The smoothed round-trip time in nanoseconds, zero before the first sample.
    #[inline]
    pub(crate) fn srtt_nanos(&self) -> u64 {
        unscaled_nanos(self.srtt)
    }
}

/// `value` moved towards `target` by one in `divisor` of the way, rounded to nearest.
#[inline(always)]
fn approach(value: u32, target: u32, divisor: u64) -> u32 {
    if divisor.is_power_of_two() {
        // Nearly always, and where the divisor is known a shift.
        let way = i64::from(target) - i64::from(value);
        let step = (way + (divisor / 2) as i64) >> divisor.trailing_zeros();
        return (i64::from(value) + step) as u32;
    }
    let step = (u64::from(target.abs_diff(value)) + divisor / 2) / divisor;
    if target >= value {
        value + step as u32
    } else {
        value - step as u32
    }
}

fn unscaled(value: u32) -> Duration {
    Duration::from_nanos(unscaled_nanos(value))
}

#[inline]
fn unscaled_nanos(value: u32) -> u64 {
    (u64::from(value) * 1_000) >> FRACTION
}

fn micros(duration: Duration) -> u32 {
    let micros = duration
        .as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(u64::from(duration.subsec_micros()));
    u32::try_from(micros).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_micros(1);
    const MAX: Duration = Duration::from_secs(60);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn near(a: Duration, micros: f64) {
        let got = a.as_nanos() as f64 / 1e3;
        assert!((got - micros).abs() < 1.0, "{got} us instead of {micros}");
    }

    #[test]
    fn one_second_is_the_timeout_before_the_first_sample() {
        let rtt = Rtt::new();
        assert_eq!(rtt.rto(ms(5), MAX), Duration::from_secs(1));
        assert_eq!(rtt.rto(ms(5), ms(200)), ms(200));
        assert_eq!(
            (rtt.srtt(), rtt.min_rtt(), rtt.latest()),
            (None, None, None)
        );
    }

    #[test]
    fn samples_are_averaged_as_section_2_says() {
        let mut rtt = Rtt::new();
        let (mut srtt, mut var) = (0.0f64, 0.0f64);
        for (step, sample) in [40_000u32, 55_000, 31_000, 31_500, 120_000, 40_000, 40_001]
            .into_iter()
            .enumerate()
        {
            let r = f64::from(sample);
            if step == 0 {
                (srtt, var) = (r, r / 2.0);
            } else {
                var = 0.75 * var + 0.25 * (srtt - r).abs();
                srtt = 0.875 * srtt + 0.125 * r;
            }
            rtt.sample(
                Instant::from_millis(step as u64 * 40),
                Duration::from_micros(sample.into()),
                1,
            );
            near(rtt.srtt().unwrap(), srtt);
            near(rtt.rttvar(), var);
            let rto = rtt.rto(MIN, MAX).as_nanos() as f64 / 1e3;
            assert!((rto - (srtt + 4.0 * var)).abs() < 5.0, "{rto}");
            assert_eq!(rtt.latest(), Some(Duration::from_micros(sample.into())));
        }
    }

    #[test]
    fn the_timeout_has_the_floor_above_the_round_trip_and_a_ceiling() {
        let mut rtt = Rtt::new();
        for step in 0..200 {
            rtt.sample(Instant::from_millis(step), ms(40), 1);
        }
        near(rtt.rto(Duration::ZERO, MAX), 40_000.0);
        assert_eq!(rtt.rto(ms(5), MAX), ms(45));
        assert_eq!(rtt.rto(ms(5), ms(30)), ms(30));
        rtt.sample(Instant::from_millis(300), Duration::MAX, 1);
        assert_eq!(rtt.latest(), Some(Duration::from_secs(60)));
        assert!(rtt.rto(ms(5), MAX) <= MAX);
    }

    #[test]
    fn many_samples_a_round_trip_remember_as_long_as_one() {
        // A step of the round-trip time, then one round trip of samples: 32 of them count as one does.
        let (mut one, mut many) = (Rtt::new(), Rtt::new());
        for rtt in [&mut one, &mut many] {
            for step in 0..400 {
                rtt.sample(Instant::from_millis(step), ms(20), 1);
            }
        }
        one.sample(Instant::from_millis(500), ms(40), 1);
        for _ in 0..32 {
            many.sample(Instant::from_millis(500), ms(40), 32);
        }
        let (one, many) = (one.srtt().unwrap(), many.srtt().unwrap());
        near(one, 22_500.0);
        assert!(many > ms(22) && many <= one, "{many:?}");
    }

    #[test]
    fn the_least_round_trip_time_is_forgotten_after_five_minutes() {
        let mut rtt = Rtt::new();
        rtt.sample(Instant::from_secs(1), ms(10), 1);
        for second in 2..300 {
            rtt.sample(Instant::from_secs(second), ms(30), 1);
            assert_eq!(rtt.min_rtt(), Some(ms(10)));
        }
        rtt.sample(Instant::from_secs(302), ms(30), 1);
        assert_eq!(rtt.min_rtt(), Some(ms(30)));
    }

    #[test]
    fn averages_reach_a_constant_whatever_the_number_of_samples() {
        for samples in [1, 3, 64, 1_000] {
            let mut rtt = Rtt::new();
            rtt.sample(Instant::ZERO, ms(100), samples);
            for _ in 0..200_000 {
                rtt.sample(Instant::ZERO, ms(1), samples);
            }
            // Within the rounding: half of 8 * samples, in 1/64 us.
            let error = rtt.srtt().unwrap() - ms(1);
            assert!(
                error <= Duration::from_micros(1 + samples as u64 / 16),
                "{error:?}"
            );
        }
    }

    #[test]
    fn it_is_compact() {
        assert!(size_of::<Rtt>() <= 40, "{}", size_of::<Rtt>());
    }
}
