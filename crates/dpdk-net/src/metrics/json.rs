//! Families as JSON.

use dpdk_net_stack::metrics::{HistogramSnapshot, Kind, Metric};
use serde_json::{Map, Value as Json, json};

use super::family::{Family, Told, Value};

/// Shares of which a histogram tells what they did not exceed.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// Families as JSON: an array of objects with `name`, `type`, `unit`, `linux` (the name that Linux has for it, or null), `help`
/// and `samples`. A sample has `labels`, an object, and `value`: a number, or of a histogram an object with `count`, `sum`,
/// `buckets` (pairs of an upper bound, null for the last, and how many were at most that and above the bound before; empty ones are
/// left out) and the quantiles `p50`, `p90`, `p99` and `p999` (null without values or in the last bucket).
pub fn to_json(families: &[Family]) -> Json {
    families.iter().map(family).collect()
}

fn family(family: &Family) -> Json {
    let metric = family.metric;
    let samples = family.samples.iter().map(|sample| {
        let labels = sample.labels.iter();
        let labels: Map<String, Json> = labels
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        let value = match &sample.value {
            Value::Integer(raw) => told(metric, *raw),
            Value::Number(level) => json!(level),
            Value::Histogram(it) => histogram(metric, it),
        };
        json!({ "labels": labels, "value": value })
    });
    json!({
        "name": family.name(),
        "type": match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        },
        "unit": metric.unit.base(),
        "linux": metric.linux,
        "help": metric.help,
        "samples": samples.collect::<Json>(),
    })
}

fn told(metric: &Metric, raw: u64) -> Json {
    match Told::new(metric, raw) {
        Told::Integer(count) => count.into(),
        Told::Number(level) => level.into(),
    }
}

fn histogram(metric: &Metric, histogram: &HistogramSnapshot) -> Json {
    let buckets = histogram.buckets().filter(|(_, count)| *count > 0);
    let buckets: Json = buckets
        .map(|(bound, count)| json!([bound.map(|bound| told(metric, bound)), count]))
        .collect();
    let mut object = Map::new();
    object.insert("count".to_owned(), histogram.count().into());
    object.insert("sum".to_owned(), told(metric, histogram.sum()));
    object.insert("buckets".to_owned(), buckets);
    for (name, share) in QUANTILES {
        let bound = histogram.quantile(share).filter(|bound| *bound != u64::MAX);
        let bound = bound.map(|bound| told(metric, bound));
        object.insert(name.to_owned(), bound.into());
    }
    object.into()
}
