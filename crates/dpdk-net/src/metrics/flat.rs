//! Families as plain figures, for what takes no histogram that somebody else has filled.

use std::borrow::Cow;

use dpdk_net_stack::metrics::{Kind, Metric};

use super::family::{Family, Labels, Told, Value, base_name};

/// The figures that a metric is made of: how each one's name ends, and how it behaves.
pub(super) fn parts(metric: &Metric) -> &'static [(&'static str, Kind)] {
    match metric.kind {
        Kind::Counter => &[("", Kind::Counter)],
        Kind::Gauge => &[("", Kind::Gauge)],
        Kind::Histogram => &[
            ("_count", Kind::Counter),
            ("_sum", Kind::Counter),
            ("_bucket", Kind::Counter),
        ],
    }
}

/// What a figure is called: the name without `_total`, and what its part adds.
pub(super) fn name(group: &str, metric: &Metric, part: &str) -> String {
    base_name(group, metric) + part
}

/// Tells what each sample was of the part whose name ends so; buckets are cumulative and have the label `le`, as in Prometheus' text.
pub(super) fn figures(family: &Family, part: &str, mut tell: impl FnMut(&Labels, Told)) {
    for sample in &family.samples {
        match &sample.value {
            Value::Integer(raw) => tell(&sample.labels, Told::new(family.metric, *raw)),
            Value::Number(level) => tell(&sample.labels, Told::Number(*level)),
            Value::Histogram(histogram) => match part {
                "_count" => tell(&sample.labels, Told::Integer(histogram.count())),
                "_sum" => tell(&sample.labels, Told::new(family.metric, histogram.sum())),
                _ => {
                    let mut below = 0;
                    for (bound, count) in histogram.octaves() {
                        below += count;
                        let bound = match bound.map(|bound| Told::new(family.metric, bound)) {
                            Some(Told::Integer(bound)) => Cow::from(bound.to_string()),
                            Some(Told::Number(bound)) => Cow::from(bound.to_string()),
                            None => Cow::from("+Inf"),
                        };
                        let mut labels = sample.labels.clone();
                        labels.push(("le", bound.into_owned()));
                        tell(&labels, Told::Integer(below));
                    }
                }
            },
        }
    }
}
