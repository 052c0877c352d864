//! Ticks at equal distances.

use std::time::{Duration, Instant};

use super::{Sleep, sleep_until};

/// What becomes of ticks that came due while nobody waited for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum MissedTicks {
    /// They come one after the other, a turn of the worker between two, until it has caught up. The default, as tokio's.
    #[default]
    Burst,
    /// One comes, and the next is a whole period after it.
    Delay,
    /// One comes, and the next is where it would have been without the delay.
    Skip,
}

/// The first tick at once, and one each `period` from then on. A period of zero counts as a nanosecond: a tick a turn.
pub fn interval(period: Duration) -> Interval {
    interval_at(Instant::now(), period)
}

/// As [`interval`], with the first tick at `start`.
pub fn interval_at(start: Instant, period: Duration) -> Interval {
    Interval {
        sleep: sleep_until(start),
        period: period.max(Duration::from_nanos(1)),
        missed: MissedTicks::default(),
    }
}

/// See [`interval`].
#[derive(Debug)]
pub struct Interval {
    sleep: Sleep,
    period: Duration,
    missed: MissedTicks,
}

impl Interval {
    /// The distance of two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// What becomes of ticks that nobody waited for.
    #[must_use]
    pub fn missed_ticks(mut self, missed: MissedTicks) -> Self {
        self.missed = missed;
        self
    }

    /// Waits for the next tick, and for a turn of the worker at least; tells when it was due.
    ///
    /// Cancel safe: a tick that was not waited for to its end comes with the next call.
    pub async fn tick(&mut self) -> Instant {
        (&mut self.sleep).await;
        let due = self.sleep.deadline();
        let now = Instant::now();
        let next = due.checked_add(self.period);
        let next = match self.missed {
            MissedTicks::Burst => next,
            MissedTicks::Delay if next.is_some_and(|next| next > now) => next,
            MissedTicks::Delay => now.checked_add(self.period),
            MissedTicks::Skip => {
                let late = now.saturating_duration_since(due).as_nanos();
                let into = u64::try_from(late % self.period.as_nanos()).unwrap_or(0);
                now.checked_add(self.period.saturating_sub(Duration::from_nanos(into)))
            }
        };
        // A period that leads beyond the clock's end: never.
        self.sleep
            .reset(next.unwrap_or_else(|| super::after(Duration::MAX)));
        due
    }
}
