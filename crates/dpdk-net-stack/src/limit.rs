//! A limit on how often something is done a second, whoever asks for it.

use crate::time::{Duration, Instant};

/// At most so many a second, counted from the first of each second.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    left: u32,
    until: Instant,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32) -> Self {
        RateLimit {
            per_second,
            left: 0,
            until: Instant::ZERO,
        }
    }

    /// Whether one more may be done now; if so it counts.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now >= self.until {
            self.until = now + Duration::from_secs(1);
            self.left = self.per_second;
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
        let mut limit = RateLimit::new(3);
        let start = Instant::from_secs(9);
        let taken = (0..100)
            .filter(|i| limit.take(start + Duration::from_millis(i * 9)))
            .count();
        assert_eq!(taken, 3);
        assert!(limit.take(start + Duration::from_secs(1)));
    }
}
