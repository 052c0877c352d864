//! Histograms of integers whose buckets are a quarter of a power of two wide.

use core::fmt;

/// Values below this have a bucket each, and each power of two from it on has so many.
const STEPS: u64 = 4;
/// The last one takes all that is larger than what the others take.
const BUCKETS: usize = 120;

/// A distribution on the packet path: a plain array, or nothing at all without the feature `metrics`.
///
/// A bucket's upper bound is at most a quarter above its lower one. Values from 1,879,048,192 (7 * 2^28) on share the last bucket: half
/// an hour in microseconds, 1.9 s in nanoseconds.
#[derive(Clone)]
pub struct Histogram {
    #[cfg(feature = "metrics")]
    counts: [u64; BUCKETS],
    #[cfg(feature = "metrics")]
    sum: u64,
}

impl Histogram {
    /// An empty one.
    pub const fn new() -> Self {
        Histogram {
            #[cfg(feature = "metrics")]
            counts: [0; BUCKETS],
            #[cfg(feature = "metrics")]
            sum: 0,
        }
    }

    /// Counts a value.
    #[inline(always)]
    pub fn record(&mut self, value: u64) {
        #[cfg(feature = "metrics")]
        {
            // In range by construction: no bounds check is left.
            self.counts[index(value)] += 1;
            self.sum = self.sum.wrapping_add(value);
        }
        #[cfg(not(feature = "metrics"))]
        let _ = value;
    }

    /// What has been counted; empty without the feature `metrics`.
    pub const fn snapshot(&self) -> HistogramSnapshot {
        #[cfg(feature = "metrics")]
        let (counts, sum) = (self.counts, self.sum);
        #[cfg(not(feature = "metrics"))]
        let (counts, sum) = ([0; BUCKETS], 0);
        HistogramSnapshot { counts, sum }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// What a [`Histogram`] has counted.
#[derive(Clone, PartialEq, Eq)]
pub struct HistogramSnapshot {
    counts: [u64; BUCKETS],
    sum: u64,
}

impl HistogramSnapshot {
    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The sum of all values (it wraps after 2^64).
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Each bucket from the least: the largest value that falls into it, `None` for the last one, and how many did. Buckets that are
    /// empty are among them, and do not overlap.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let counts = self.counts.iter().enumerate();
        counts.map(|(index, count)| (upper(index), *count))
    }

    /// As [`buckets`](Self::buckets), four at a time: the bounds are 3, 7, 15, and so on. 30 of them, for those who pay by the bucket.
    pub fn octaves(&self) -> impl Iterator<Item = (Option<u64>, u64)> + '_ {
        let octaves = self.counts.chunks(STEPS as usize).enumerate();
        octaves.map(|(octave, counts)| {
            let last = (octave + 1) * STEPS as usize - 1;
            (upper(last), counts.iter().sum())
        })
    }

    /// A value that at least the share `q` (0 to 1) of all values do not exceed: the upper bound of a bucket, so up to a quarter too
    /// large; `u64::MAX` in the last one. `None` if there are no values.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        let beyond = (count as f64 * (1.0 - q.clamp(0.0, 1.0))) as u64;
        let wanted = (count - beyond).max(1);
        let mut seen = 0;
        self.buckets()
            .find(|(_, count)| {
                seen += count;
                seen >= wanted
            })
            .filter(|_| count > 0)
            .map(|(bound, _)| bound.unwrap_or(u64::MAX))
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &HistogramSnapshot) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

impl Default for HistogramSnapshot {
    fn default() -> Self {
        HistogramSnapshot {
            counts: [0; BUCKETS],
            sum: 0,
        }
    }
}

impl fmt::Debug for HistogramSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Upper bound and count of those that are not empty.
        let filled = self.buckets().filter(|(_, count)| *count > 0);
        f.debug_map().entries(filled).finish()
    }
}

/// The bucket of a value.
#[cfg(feature = "metrics")]
#[inline(always)]
const fn index(value: u64) -> usize {
    let shift = (value | STEPS).ilog2() - STEPS.ilog2();
    let index = (shift as u64 * STEPS + (value >> shift)) as usize;
    if index < BUCKETS { index } else { BUCKETS - 1 }
}

/// The least value of a bucket.
const fn lower(index: usize) -> u64 {
    let (octave, step) = (index as u64 / STEPS, index as u64 % STEPS);
    match octave {
        0 => step,
        octave => (STEPS + step) << (octave - 1),
    }
}

/// The largest value of a bucket, `None` for the last one.
const fn upper(index: usize) -> Option<u64> {
    if index + 1 < BUCKETS {
        Some(lower(index + 1) - 1)
    } else {
        None
    }
}
