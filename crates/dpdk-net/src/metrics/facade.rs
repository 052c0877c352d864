//! Figures through the `metrics` facade: whatever exporter the application has installed takes them.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use dpdk_net_stack::metrics::{Kind, Metric};
use metrics::{Key, KeyName, Label, Level, Metadata, SharedString, Unit, with_recorder};
use tokio::task::JoinHandle;

use super::Registry;
use super::family::Told;
use super::flat;
use crate::app::{Application, Subsystem, SubsystemFuture};

const METADATA: Metadata<'static> =
    Metadata::new("dpdk_net", Level::INFO, Some("dpdk_net::metrics"));

impl Registry {
    /// Reads all figures and hands them to the recorder of the [`metrics`] facade: counters as absolute values, and of a
    /// histogram, which the facade has only where each value is recorded, its count, sum and cumulative buckets (`_count`, `_sum`,
    /// `_bucket` with the label `le`). Names are those of Prometheus without `_total`.
    ///
    /// A level that was told before and is not any more, that of a listener that is gone, say, is told once more as zero: the facade can't
    /// take it back. Exporters that forget what is silent forget it then.
    pub fn publish(&self) {
        self.publish_described(&mut HashSet::new());
    }

    /// As [`publish`](Self::publish); describes what is not among `described` yet.
    fn publish_described(&self, described: &mut HashSet<String>) {
        let families = self.gather();
        let mut published = self.inner.published.lock();
        let mut levels = HashMap::with_capacity(published.levels.len());
        with_recorder(|recorder| {
            for family in &families {
                for (part, kind) in flat::parts(family.metric) {
                    let name = flat::name(family.group, family.metric, part);
                    // What is in fractions can't be a counter of the facade.
                    let counts = matches!(kind, Kind::Counter) && is_whole(family.metric, part);
                    if described.insert(name.clone()) {
                        let help = SharedString::const_str(family.metric.help);
                        let (key, unit) = (KeyName::from(name.clone()), unit(family.metric, part));
                        match counts {
                            true => recorder.describe_counter(key, unit, help),
                            false => recorder.describe_gauge(key, unit, help),
                        }
                    }
                    flat::figures(family, part, |labels, told| {
                        let labels = labels.iter();
                        let labels = labels.map(|(name, value)| Label::new(*name, value.clone()));
                        let key = Key::from_parts(name.clone(), labels.collect::<Vec<_>>());
                        match told {
                            Told::Integer(count) if counts => {
                                recorder.register_counter(&key, &METADATA).absolute(count);
                            }
                            told => {
                                recorder.register_gauge(&key, &METADATA).set(told.as_f64());
                                levels.insert(key.get_hash(), key);
                            }
                        }
                    });
                }
            }
            let before = published.levels.iter();
            for (_, gone) in before.filter(|(hash, _)| !levels.contains_key(*hash)) {
                recorder.register_gauge(gone, &METADATA).set(0.0);
            }
        });
        published.levels = levels;
    }
}

/// What was told last.
#[derive(Default)]
pub(super) struct Published {
    /// The levels, by their keys' hashes: they would stay as they are for ever.
    levels: HashMap<u64, Key>,
}

fn is_whole(metric: &Metric, part: &str) -> bool {
    metric.unit.per_base() == 1 || matches!(part, "_count" | "_bucket")
}

fn unit(metric: &Metric, part: &str) -> Option<Unit> {
    if matches!(part, "_count" | "_bucket") {
        return Some(Unit::Count);
    }
    match metric.unit.base() {
        "bytes" => Some(Unit::Bytes),
        "seconds" => Some(Unit::Seconds),
        _ => Some(Unit::Count),
    }
}

/// Publishes once in an interval.
#[derive(Debug)]
pub(crate) struct Publisher {
    interval: Duration,
    task: Option<JoinHandle<()>>,
}

impl Publisher {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            task: None,
        }
    }
}

impl Subsystem for Publisher {
    fn name(&self) -> &str {
        "metrics facade"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        let registry = app.metrics();
        // An interval of nothing would be no interval.
        let mut ticks = tokio::time::interval(self.interval.max(Duration::from_millis(1)));
        self.task = Some(tokio::task::spawn_local(async move {
            let mut described = HashSet::new();
            loop {
                ticks.tick().await;
                registry.publish_described(&mut described);
            }
        }));
        Box::pin(async { Ok(()) })
    }

    fn stop(&mut self) -> SubsystemFuture<'_> {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        Box::pin(async { Ok(()) })
    }
}
