//! The best value of a sliding window of time, out of three samples (Kathleen Nichols' filter): the best one, and the
//! best ones after it. Cheap, and never worse than what the last quarter of the window had.

/// Best, second best and third best, in the order of their times. Times are 32 bits that wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Windowed<T> {
    samples: [(T, u32); 3],
}

impl<T: Copy> Windowed<T> {
    pub(crate) fn new(value: T, now: u32) -> Self {
        Windowed {
            samples: [(value, now); 3],
        }
    }

    /// The best value.
    pub(crate) fn get(&self) -> T {
        self.samples[0].0
    }

    /// Takes a sample. `better` tells whether its first argument is as good as the second, or better.
    #[inline(always)]
    pub(crate) fn update(&mut self, window: u32, now: u32, value: T, better: fn(T, T) -> bool) {
        // Nearly always: it is no better than the last, and the first still holds.
        if !better(value, self.samples[2].0) && now.wrapping_sub(self.samples[0].1) <= window / 4 {
            return;
        }
        self.update_slowly(window, now, value, better);
    }

    #[inline(never)]
    fn update_slowly(&mut self, window: u32, now: u32, value: T, better: fn(T, T) -> bool) {
        let sample = (value, now);
        let [first, second, third] = &mut self.samples;
        if better(value, first.0) || now.wrapping_sub(third.1) > window {
            self.samples = [sample; 3];
            return;
        }
        if better(value, second.0) {
            (*second, *third) = (sample, sample);
        } else if better(value, third.0) {
            *third = sample;
        }
        let age = now.wrapping_sub(first.1);
        if age > window {
            (*first, *second, *third) = (*second, *third, sample);
            if now.wrapping_sub(first.1) > window {
                (*first, *second, *third) = (*second, *third, sample);
            }
        } else if second.1 == first.1 && age > window / 4 {
            (*second, *third) = (sample, sample);
        } else if third.1 == second.1 && age > window / 2 {
            *third = sample;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_at_least_as_good_as_that_of_the_last_quarter_and_never_older_than_the_window() {
        const WINDOW: u32 = 100;
        let mut seed = 7u64;
        let start = u32::MAX - 3_000;
        let mut all = std::vec::Vec::new();
        let mut filter = Windowed::new(1_000u32, start);
        all.push((1_000u32, start));
        for step in 1..10_000u32 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let now = start.wrapping_add(step);
            let value = 1_000 + (seed >> 40) as u32 % 1_000 + step / 4;
            filter.update(WINDOW, now, value, |new, old| new <= old);
            all.push((value, now));
            let within = |age: u32| {
                all.iter()
                    .rev()
                    .take_while(|(_, at)| now.wrapping_sub(*at) <= age)
                    .map(|(value, _)| *value)
                    .min()
            };
            assert!(Some(filter.get()) >= within(WINDOW), "{step}");
            assert!(Some(filter.get()) <= within(WINDOW / 4), "{step}");
        }
    }
}
