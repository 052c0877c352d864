//! A limit on how often something is done a second, whoever asks for it.

use crate::random::Random;
use crate::time::{Duration, Instant};

/// Smaller limits are what they are.
const VARIED: u32 = 16;

/// At most so many a second, counted from the first of each second.
///
/// How many it is differs from second to second, between half of the limit and all of it. A limit that strangers share and
/// whose number they know tells each of them what the others were answered, and so what a connection or a port is that
/// they only guess (CVE-2016-5696, CVE-2020-25705).
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    left: u32,
    until: Instant,
    random: Random,
}

impl RateLimit {
    /// `purpose` is what is limited.
    pub(crate) fn new(per_second: u32, seed: &[u8; 32], purpose: &str) -> Self {
        RateLimit {
            per_second,
            left: 0,
            until: Instant::ZERO,
            random: Random::new(seed, purpose),
        }
    }

    /// Changes the limit, from the next second on.
    pub(crate) fn set(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Whether one more may be done now; if so it counts.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now >= self.until {
            self.until = now + Duration::from_secs(1);
            let less = match self.per_second {
                0..VARIED => 0,
                most => self.random.below(u64::from(most / 2) + 1) as u32,
            };
            self.left = self.per_second - less;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_in_a_second_and_again_in_the_next() {
        let mut limit = RateLimit::new(3, &[7; 32], "test");
        let start = Instant::from_secs(9);
        let taken = (0..100)
            .filter(|i| limit.take(start + Duration::from_millis(i * 9)))
            .count();
        assert_eq!(taken, 3);
        assert!(limit.take(start + Duration::from_secs(1)));
    }

    #[test]
    fn how_many_it_is_cannot_be_foretold_but_is_half_of_the_limit_at_least() {
        let mut limit = RateLimit::new(1_000, &[7; 32], "test");
        let mut seen = std::collections::BTreeSet::new();
        for second in 1..=100 {
            let now = Instant::from_secs(second);
            let taken = (0..2_000).filter(|_| limit.take(now)).count();
            assert!((500..=1_000).contains(&taken), "{taken}");
            seen.insert(taken);
        }
        assert!(seen.len() > 50, "{seen:?}");
        let mut off = RateLimit::new(0, &[7; 32], "test");
        assert!(!off.take(Instant::from_secs(1)));
    }
}
