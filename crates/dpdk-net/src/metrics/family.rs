//! What is gathered: families of samples, and the sink that takes them in.

use std::collections::HashMap;
use std::fmt;

use dpdk_net_stack::metrics::{HistogramSnapshot, Kind, Metric};

/// A metric, and what it was when it was read: one sample for each set of labels.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Family {
    /// What the name begins with: `dpdk_net_tcp`.
    pub group: &'static str,
    /// Its declaration.
    pub metric: &'static Metric,
    /// In the order of ports and queues.
    pub samples: Vec<Sample>,
}

impl Family {
    /// The full name, without `_total`: group, name and unit, `dpdk_net_tcp_retransmits`. What a name ends with already is not
    /// repeated.
    pub fn base_name(&self) -> String {
        base_name(self.group, self.metric)
    }

    /// The full name, as it is queried: with `_total` if it is a counter.
    pub fn name(&self) -> String {
        full_name(self.group, self.metric)
    }
}

/// Names and values of a sample's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// One figure of a [`Family`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Sample {
    /// Names and values of the labels; no two samples of a family have the same ones.
    pub labels: Vec<(&'static str, String)>,
    /// What it was.
    pub value: Value,
}

/// What a metric was.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count, or a level, in what the metric's [`Unit`](dpdk_net_stack::metrics::Unit) says.
    Integer(u64),
    /// A level in the unit's [base](dpdk_net_stack::metrics::Unit::base).
    Number(f64),
    /// How often it was how much.
    Histogram(Box<HistogramSnapshot>),
}

impl From<u64> for Value {
    fn from(count: u64) -> Self {
        Self::Integer(count)
    }
}

impl From<usize> for Value {
    fn from(count: usize) -> Self {
        Self::Integer(count as u64)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Integer(is.into())
    }
}

impl From<f64> for Value {
    fn from(level: f64) -> Self {
        Self::Number(level)
    }
}

impl From<HistogramSnapshot> for Value {
    fn from(histogram: HistogramSnapshot) -> Self {
        Self::Histogram(Box::new(histogram))
    }
}

/// A whole number in a metric's unit, or what it is in the unit's base where that is another one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Told {
    Integer(u64),
    Number(f64),
}

impl Told {
    pub(super) fn new(metric: &Metric, raw: u64) -> Self {
        match metric.unit.per_base() {
            1 => Self::Integer(raw),
            many => Self::Number(raw as f64 / many as f64),
        }
    }

    pub(super) fn as_f64(self) -> f64 {
        match self {
            Self::Integer(count) => count as f64,
            Self::Number(level) => level,
        }
    }
}

/// Takes samples in, and sorts them into families in the order in which those come first.
#[derive(Default)]
pub struct Families {
    all: Vec<Family>,
    places: HashMap<(&'static str, &'static str), usize>,
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families")
            .field("count", &self.all.len())
            .finish_non_exhaustive()
    }
}

impl Families {
    /// Adds a sample of a metric, whose name begins with `group`: letters, digits and underscores. What comes under a name that
    /// another declaration has already is left out, and so is a value that the metric's kind does not have.
    pub fn add(
        &mut self,
        group: &'static str,
        metric: &'static Metric,
        labels: impl Into<Vec<(&'static str, String)>>,
        value: impl Into<Value>,
    ) {
        let value = value.into();
        let histogram = matches!(value, Value::Histogram(_));
        if histogram != matches!(metric.kind, Kind::Histogram) {
            return;
        }
        let place = *self.places.entry((group, metric.name)).or_insert_with(|| {
            self.all.push(Family {
                group,
                metric,
                samples: Vec::new(),
            });
            self.all.len() - 1
        });
        if let Some(family) = self.all.get_mut(place)
            && family.metric == metric
        {
            family.samples.push(Sample {
                labels: labels.into(),
                value,
            });
        }
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Family> {
        self.all
    }
}

pub(super) fn base_name(group: &str, metric: &Metric) -> String {
    let mut name = format!("{group}_{}", metric.name);
    let unit = metric.unit.base();
    if !unit.is_empty() && !name.ends_with(unit) {
        name.push('_');
        name.push_str(unit);
    }
    name
}

pub(super) fn full_name(group: &str, metric: &Metric) -> String {
    let mut name = base_name(group, metric);
    if matches!(metric.kind, Kind::Counter) {
        name.push_str("_total");
    }
    name
}
