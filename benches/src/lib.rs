//! What the benchmarks share: the rows they print, medians, CPU time, instruction counts by callgrind, servers over a veth pair.
//!
//! A benchmark prints a row per figure, as text or as one JSON object a line. It never fails by a clock.
#![forbid(unsafe_code)]

pub mod callgrind;
pub mod cpu;
pub mod host;
pub mod report;
pub mod veth;

pub use report::{Report, Row};

/// The median of `samples`; 0 where there are none.
pub fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}
