//! Histograms count every value once, in the bucket that it belongs to.

use dpdk_net_stack::metrics::{Histogram, HistogramSnapshot};
use proptest::prelude::*;

fn of(values: &[u64]) -> HistogramSnapshot {
    let mut histogram = Histogram::new();
    values.iter().for_each(|value| histogram.record(*value));
    histogram.snapshot()
}

/// Values of all sizes, and those at the edges of buckets.
fn value() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32, 0..3u64).prop_map(|(bits, shift, more)| match bits % 3 {
        0 => bits >> shift,
        1 => (1u64 << shift).wrapping_add(more).wrapping_sub(1),
        _ => bits % 64,
    })
}

proptest! {
    #[test]
    fn count_and_sum_are_those_of_the_values(values in prop::collection::vec(value(), 0..200)) {
        let told = of(&values);
        prop_assert_eq!(told.count(), values.len() as u64);
        prop_assert_eq!(told.sum(), values.iter().fold(0u64, |sum, value| sum.wrapping_add(*value)));
        prop_assert_eq!(told.buckets().map(|(_, count)| count).sum::<u64>(), told.count());
        prop_assert_eq!(told.octaves().map(|(_, count)| count).sum::<u64>(), told.count());
    }

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_it_does_not_exceed(value in value()) {
        let told = of(&[value]);
        let first = |buckets: Vec<(Option<u64>, u64)>| {
            let belongs = buckets.iter().position(|(bound, _)| bound.is_none_or(|bound| value <= bound));
            let is = buckets.iter().position(|(_, count)| *count == 1);
            (belongs, is)
        };
        let (belongs, is) = first(told.buckets().collect());
        prop_assert_eq!(belongs, is);
        let (belongs, is) = first(told.octaves().collect());
        prop_assert_eq!(belongs, is);
    }

    #[test]
    fn a_quantile_is_at_most_a_quarter_above_the_value_of_that_rank(
        mut values in prop::collection::vec(0..1_800_000_000u64, 1..100),
        q in 0.0..=1.0f64,
    ) {
        let told = of(&values);
        values.sort_unstable();
        let rank = (values.len() as f64 * q).ceil().max(1.0) as usize;
        let (exact, estimate) = (values[rank - 1], told.quantile(q).unwrap());
        prop_assert!(exact <= estimate && estimate <= exact + exact / 4, "{} {}", exact, estimate);
    }

    #[test]
    fn merged_is_as_if_one_had_counted_all(
        one in prop::collection::vec(value(), 0..50),
        other in prop::collection::vec(value(), 0..50),
    ) {
        let mut merged = of(&one);
        merged.merge(&of(&other));
        prop_assert_eq!(merged, of(&[one, other].concat()));
    }
}

#[test]
fn bounds_grow_by_a_quarter_at_most_and_the_last_bucket_has_none() {
    let told = HistogramSnapshot::default();
    let bounds: Vec<_> = told.buckets().map(|(bound, _)| bound).collect();
    let (last, bounds) = bounds.split_last().unwrap();
    assert_eq!(*last, None);
    let bounds: Vec<u64> = bounds.iter().map(|bound| bound.unwrap()).collect();
    assert_eq!(bounds[..9], [0, 1, 2, 3, 4, 5, 6, 7, 9]);
    assert_eq!(bounds.last(), Some(&(7 * (1 << 28) - 1)));
    for pair in bounds.windows(2).skip(4) {
        let (low, high) = (pair[0] + 1, pair[1]);
        assert!(high > pair[0] && high - low <= low / 4, "{pair:?}");
    }
    let octaves: Vec<_> = told.octaves().map(|(bound, _)| bound).collect();
    assert_eq!(
        (octaves.len(), octaves[0], octaves[1], octaves[29]),
        (30, Some(3), Some(7), None)
    );
    assert_eq!((told.count(), told.quantile(0.5)), (0, None));
    // What is too large for any other bucket is counted too.
    let told = of(&[u64::MAX, 1 << 40]);
    assert_eq!((told.count(), told.quantile(0.5)), (2, Some(u64::MAX)));
}

#[test]
fn a_histogram_is_small() {
    assert!(size_of::<Histogram>() < 1024);
}
