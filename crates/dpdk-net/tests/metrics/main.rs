//! The registry and what comes of it: figures that are what the kernel at the other end saw, and the server that tells them. The
//! kernel is the peer over a TAP device or a veth pair, which needs root.

#[path = "../common/mod.rs"]
mod common;
mod counted;
#[cfg(all(feature = "metrics-facade", feature = "opentelemetry"))]
mod exported;
mod exposition;
#[cfg(feature = "control")]
mod links;
mod names;
mod ops;
mod scraped;

use dpdk_net::metrics::{Family, Value};

/// The sum of a metric's samples, by its full name, whose labels contain these.
#[track_caller]
fn figure(families: &[Family], name: &str, labels: &[(&str, &str)]) -> u64 {
    let family = families.iter().find(|family| family.name() == name);
    let family = family.unwrap_or_else(|| panic!("there is no {name}"));
    let samples = family.samples.iter().filter(|sample| {
        let mut labels = labels.iter();
        labels.all(|(name, value)| sample.labels.contains(&(name, (*value).to_owned())))
    });
    let counts: Vec<u64> = samples
        .map(|sample| match sample.value {
            Value::Integer(count) => count,
            ref other => panic!("{name} is {other:?}"),
        })
        .collect();
    assert!(!counts.is_empty(), "there is no {name} with {labels:?}");
    counts.iter().sum()
}
