//! Figures as observable instruments of OpenTelemetry.

use std::time::Duration;

use dpdk_net_stack::metrics::{Kind, Metric};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};

use super::Registry;
use super::family::{Labels, Told};
use super::{catalogue, flat};

/// How old figures may be that an instrument tells: one reading serves all instruments of an export.
const AGE: Duration = Duration::from_millis(100);

impl Registry {
    /// Makes an observable instrument on `meter` for each metric: those of dpdk-net and those that collectors have at the time of the
    /// call. They are read when the meter's provider collects. Of a histogram, which can't be observed, there are its count, sum and
    /// cumulative buckets (`_count`, `_sum`, `_bucket` with the attribute `le`). Names are those of Prometheus without `_total`, which
    /// an exporter to Prometheus adds.
    ///
    /// The instruments last as long as the provider; once the application has ended they tell nothing.
    pub fn observe(&self, meter: &Meter) {
        let own = catalogue().into_iter().map(|it| (it.group, it.metric));
        let mut all: Vec<(&'static str, &'static Metric)> = own.collect();
        for family in self.gather() {
            let known = |(group, metric): &(_, &Metric)| {
                *group == family.group && metric.name == family.metric.name
            };
            if !all.iter().any(known) {
                all.push((family.group, family.metric));
            }
        }
        for (group, metric) in all {
            for &(part, kind) in flat::parts(metric) {
                self.instrument(meter, group, metric, part, kind);
            }
        }
    }

    fn instrument(
        &self,
        meter: &Meter,
        group: &'static str,
        metric: &'static Metric,
        part: &'static str,
        kind: Kind,
    ) {
        let name = flat::name(group, metric, part);
        let counts = matches!(part, "_count" | "_bucket");
        let unit = match metric.unit.base() {
            _ if counts => "1",
            "bytes" => "By",
            "seconds" => "s",
            _ => "1",
        };
        let registry = self.clone();
        let each = move |tell: &mut dyn FnMut(&Labels, Told)| {
            let families = registry.recent(AGE);
            let mut families = families.iter();
            let own = families.find(|it| it.group == group && it.metric.name == metric.name);
            if let Some(family) = own {
                flat::figures(family, part, tell);
            }
        };
        match kind {
            Kind::Counter if counts || metric.unit.per_base() == 1 => {
                let instrument = meter.u64_observable_counter(name).with_unit(unit);
                let callback = move |observer: &dyn AsyncInstrument<u64>| {
                    each(&mut |labels, told| {
                        if let Told::Integer(count) = told {
                            observer.observe(count, &attributes(labels));
                        }
                    });
                };
                let instrument = instrument.with_description(metric.help);
                instrument.with_callback(callback).build();
            }
            Kind::Counter => {
                let instrument = meter.f64_observable_counter(name).with_unit(unit);
                let instrument = instrument.with_description(metric.help);
                instrument.with_callback(levels(each)).build();
            }
            _ => {
                let instrument = meter.f64_observable_gauge(name).with_unit(unit);
                let instrument = instrument.with_description(metric.help);
                instrument.with_callback(levels(each)).build();
            }
        }
    }
}

/// A callback that observes figures as they are told.
fn levels(
    each: impl Fn(&mut dyn FnMut(&Labels, Told)) + Send + Sync + 'static,
) -> impl Fn(&dyn AsyncInstrument<f64>) + Send + Sync + 'static {
    move |observer| {
        each(&mut |labels, told| observer.observe(told.as_f64(), &attributes(labels)));
    }
}

fn attributes(labels: &Labels) -> Vec<KeyValue> {
    let labels = labels.iter();
    labels
        .map(|(name, value)| KeyValue::new(*name, value.clone()))
        .collect()
}
