//! What is gathered: families of samples, and the sink that takes them in.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};

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

/// A sample that was left out: with it no reader would take what is told, that of other metrics included.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Refused {
    /// The metric's name.
    pub metric: String,
    /// What is wrong with it.
    pub why: RefusedWhy,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.metric, self.why)
    }
}

impl std::error::Error for Refused {}

/// What is wrong with a sample.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedWhy {
    /// The name can't be one.
    #[error("a name has letters, digits and underscores, and begins with no digit")]
    Name,
    /// The name, or one of those that a counter's or a histogram's figures have, is another metric's.
    #[error("{0} is another metric's name already, or what one of its figures is called")]
    NameTaken(String),
    /// The name of a label can't be one.
    #[error(
        "the label {0:?}: a name has letters, digits and underscores, and begins with no digit and not with two underscores"
    )]
    LabelName(String),
    /// A histogram's buckets have this label.
    #[error("the label \"le\" is that of a histogram's buckets")]
    LabelLe,
    /// A sample has a label twice.
    #[error("the label {0:?} is there twice")]
    LabelTwice(String),
    /// There is a sample with these labels.
    #[error("there is a sample with these labels already: {0}")]
    Twice(String),
    /// A histogram's value for something else, or something else's for a histogram; or what a counter can't have counted.
    #[error("{0}")]
    Value(&'static str),
}

/// Refusals that are kept.
const REFUSALS: usize = 64;

/// Takes samples in, and sorts them into families in the order in which those come first.
#[derive(Default)]
pub struct Families {
    all: Vec<Family>,
    places: HashMap<(&'static str, &'static str), usize>,
    /// What the families and their figures are called.
    names: HashSet<String>,
    /// Of each family, what its samples' labels come to: a number, so that nothing is copied.
    labels: Vec<HashSet<u64>>,
    hasher: RandomState,
    refused: Vec<Refused>,
}

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Families")
            .field("count", &self.all.len())
            .finish_non_exhaustive()
    }
}

impl Families {
    /// Adds a sample of a metric, whose name begins with `group`. What no reader of metrics would take is left out, and
    /// [`refused`](Self::refused) says what and why: names that can't be, a name that another metric has, labels that are there already, a
    /// value that the metric's kind does not have.
    pub fn add(
        &mut self,
        group: &'static str,
        metric: &'static Metric,
        labels: impl Into<Vec<(&'static str, String)>>,
        value: impl Into<Value>,
    ) {
        let (labels, value) = (labels.into(), value.into());
        if let Err(why) = self.try_add(group, metric, labels, value) {
            let metric = full_name(group, metric);
            let refused = Refused { metric, why };
            if self.refused.len() < REFUSALS && !self.refused.contains(&refused) {
                self.refused.push(refused);
            }
        }
    }

    /// What was left out: each mistake once, the first 64 of them. The registry writes them to the log, at the level of errors.
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }

    fn try_add(
        &mut self,
        group: &'static str,
        metric: &'static Metric,
        labels: Labels,
        value: Value,
    ) -> Result<(), RefusedWhy> {
        check_value(metric.kind, &value).map_err(RefusedWhy::Value)?;
        check_labels(metric.kind, &labels)?;
        let place = match self.places.get(&(group, metric.name)) {
            Some(place) => *place,
            None => self.make(group, metric)?,
        };
        let (Some(family), Some(known)) = (self.all.get_mut(place), self.labels.get_mut(place))
        else {
            return Ok(());
        };
        if family.metric != metric {
            return Err(RefusedWhy::NameTaken(family.name()));
        }
        if !known.insert(self.hasher.hash_one(in_order(&labels)))
            && let Some(twice) = family.samples.iter().find(|it| same(&it.labels, &labels))
        {
            return Err(RefusedWhy::Twice(format!("{:?}", twice.labels)));
        }
        family.samples.push(Sample { labels, value });
        Ok(())
    }

    /// Makes a family, if nothing is called as it or its figures are.
    fn make(&mut self, group: &'static str, metric: &'static Metric) -> Result<usize, RefusedWhy> {
        let base = base_name(group, metric);
        if !is_name(&base) {
            return Err(RefusedWhy::Name);
        }
        let figures: &[&str] = match metric.kind {
            Kind::Counter => &["", "_total"],
            Kind::Gauge => &[""],
            Kind::Histogram => &["", "_bucket", "_sum", "_count"],
        };
        let names = || figures.iter().map(|figure| format!("{base}{figure}"));
        if let Some(taken) = names().find(|name| self.names.contains(name)) {
            return Err(RefusedWhy::NameTaken(taken));
        }
        let place = self.all.len();
        self.names.extend(names());
        self.places.insert((group, metric.name), place);
        self.labels.push(HashSet::new());
        self.all.push(Family {
            group,
            metric,
            samples: Vec::new(),
        });
        Ok(place)
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Family> {
        self.all
    }
}

/// Letters, digits and underscores, and no digit first: what both formats take.
fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    let first = chars.next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn check_labels(kind: Kind, labels: &Labels) -> Result<(), RefusedWhy> {
    for (at, (name, _)) in labels.iter().enumerate() {
        let own = || (*name).to_owned();
        if !is_name(name) || name.starts_with("__") {
            return Err(RefusedWhy::LabelName(own()));
        }
        if *name == "le" && matches!(kind, Kind::Histogram) {
            return Err(RefusedWhy::LabelLe);
        }
        if labels.iter().take(at).any(|(before, _)| before == name) {
            return Err(RefusedWhy::LabelTwice(own()));
        }
    }
    Ok(())
}

fn check_value(kind: Kind, value: &Value) -> Result<(), &'static str> {
    match (kind, value) {
        (Kind::Histogram, Value::Histogram(_)) => Ok(()),
        (Kind::Histogram, _) => Err("a histogram's value is a histogram"),
        (_, Value::Histogram(_)) => Err("a histogram is the value of a metric of that kind alone"),
        (Kind::Counter, Value::Number(count)) if !(*count >= 0.0 && count.is_finite()) => {
            Err("a counter is finite and not below zero")
        }
        _ => Ok(()),
    }
}

/// The labels by their names: in which order they are does not tell samples apart.
fn in_order(labels: &Labels) -> Vec<&(&'static str, String)> {
    let mut labels: Vec<_> = labels.iter().collect();
    labels.sort_unstable();
    labels
}

fn same(one: &Labels, other: &Labels) -> bool {
    in_order(one) == in_order(other)
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

#[cfg(test)]
mod tests {
    use dpdk_net_stack::metrics::Unit;

    use super::*;

    macro_rules! metric {
        ($name:literal, $kind:ident, $unit:ident) => {{
            static METRIC: Metric = Metric {
                name: $name,
                help: "It is.",
                unit: Unit::$unit,
                kind: Kind::$kind,
                linux: None,
            };
            &METRIC
        }};
    }

    fn label(name: &'static str, value: &str) -> (&'static str, String) {
        (name, value.to_owned())
    }

    /// Why a sample is left out behind others that are not.
    #[track_caller]
    fn refusal(
        families: &mut Families,
        group: &'static str,
        metric: &'static Metric,
        labels: &[(&'static str, String)],
        value: impl Into<Value>,
    ) -> RefusedWhy {
        let samples = |families: &Families| -> usize {
            let all = families.all.iter();
            all.map(|family| family.samples.len()).sum()
        };
        let before = (families.refused().len(), samples(families));
        families.add(group, metric, labels, value);
        let after = (families.refused().len(), samples(families));
        assert_eq!(after, (before.0 + 1, before.1));
        let refused = families.refused().last().unwrap();
        assert_eq!(refused.metric, full_name(group, metric));
        assert!(refused.to_string().starts_with(&refused.metric));
        refused.why.clone()
    }

    #[test]
    fn samples_with_the_same_labels_are_refused_in_whatever_order_those_are() {
        let mut families = Families::default();
        let requests = metric!("requests", Counter, None);
        let labels = [label("site", "a"), label("code", "200")];
        families.add("shop", requests, labels.clone(), 1_u64);
        let other = [label("site", "200"), label("code", "a")];
        families.add("shop", requests, other, 1_u64);
        assert_eq!(families.refused(), []);
        let turned = [label("code", "200"), label("site", "a")];
        for again in [labels, turned] {
            families.add("shop", requests, again, 2_u64);
        }
        // The same mistake is told once.
        let [refused] = families.refused() else {
            panic!("{:?}", families.refused());
        };
        let told = refused.to_string();
        assert!(told.contains("shop_requests_total"), "{told}");
        assert!(told.contains("(\"site\", \"a\")"), "{told}");
        assert_eq!(families.into_vec()[0].samples.len(), 2);
    }

    #[test]
    fn names_and_labels_that_no_reader_takes_are_refused() {
        let mut families = Families::default();
        let fine = metric!("requests", Counter, None);
        for (group, metric) in [
            ("my shop", fine),
            ("9shop", fine),
            ("", metric!("a-b", Gauge, None)),
            ("shop", metric!("caf\u{e9}", Gauge, None)),
        ] {
            let why = refusal(&mut families, group, metric, &[], 1_u64);
            assert_eq!(why, RefusedWhy::Name, "{group}");
        }
        for name in ["", "my label", "1st", "__name__", "a-b"] {
            let why = refusal(&mut families, "shop", fine, &[label(name, "x")], 1_u64);
            assert_eq!(why, RefusedWhy::LabelName(name.to_owned()));
        }
        let twice = [label("a", "1"), label("a", "2")];
        let why = refusal(&mut families, "shop", fine, &twice, 1_u64);
        assert_eq!(why, RefusedWhy::LabelTwice("a".to_owned()));
        let histogram = metric!("time", Histogram, Nanoseconds);
        let value = || HistogramSnapshot::default();
        let le = [label("le", "1")];
        let why = refusal(&mut families, "shop", histogram, &le, value());
        assert_eq!(why, RefusedWhy::LabelLe);
    }

    #[test]
    fn a_name_that_another_metric_or_its_figures_have_is_refused() {
        let mut families = Families::default();
        families.add(
            "shop",
            metric!("time", Histogram, None),
            [],
            HistogramSnapshot::default(),
        );
        families.add("shop", metric!("requests", Counter, None), [], 1_u64);
        families.add("shop", metric!("orders_late", Counter, None), [], 1_u64);
        for (group, metric, name) in [
            (
                "shop",
                metric!("time_count", Gauge, None),
                "shop_time_count",
            ),
            ("shop_time", metric!("sum", Gauge, None), "shop_time_sum"),
            (
                "shop",
                metric!("requests", Gauge, None),
                "shop_requests_total",
            ),
            (
                "shop",
                metric!("requests_total", Gauge, None),
                "shop_requests_total",
            ),
            (
                "shop_orders",
                metric!("late", Counter, None),
                "shop_orders_late",
            ),
        ] {
            let metric: &'static Metric = metric;
            let why = match refusal(&mut families, group, metric, &[], 1_u64) {
                RefusedWhy::NameTaken(name) => name,
                other => panic!("{other:?}"),
            };
            assert_eq!(why, name);
        }
    }

    #[test]
    fn values_are_those_of_their_kind() {
        let mut families = Families::default();
        let (counter, gauge) = (
            metric!("count", Counter, None),
            metric!("level", Gauge, None),
        );
        let histogram = metric!("time", Histogram, None);
        let is_value = |why| matches!(why, RefusedWhy::Value(_));
        for count in [-1.0, f64::NAN, f64::INFINITY] {
            let mut families = Families::default();
            assert!(is_value(refusal(
                &mut families,
                "shop",
                counter,
                &[],
                count
            )));
        }
        assert!(is_value(refusal(
            &mut families,
            "shop",
            histogram,
            &[],
            1_u64
        )));
        let value = HistogramSnapshot::default();
        assert!(is_value(refusal(&mut families, "shop", gauge, &[], value)));
        for level in [-1.0, f64::NAN] {
            let mut families = Families::default();
            families.add("shop", gauge, [], level);
            assert_eq!(families.refused(), []);
        }
    }
}
