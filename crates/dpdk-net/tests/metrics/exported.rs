//! The same figures through the `metrics` facade, OpenTelemetry and JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dpdk_net::metrics::{Family, Kind, Registry, to_json};
use dpdk_net::rte::ring;
use dpdk_net::{App, AppBuilder, IdlePolicy};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString,
    Unit,
};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use crate::common::{SERVER_V4, eal};
use crate::figure;

/// An application without a peer, and what it needs.
fn app() -> (AppBuilder, impl Sized) {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ports = eal.ports();
    let port = ports.iter().find(|it| it.id == rings.ids()[0]).unwrap();
    let app = App::builder()
        .port(port.name.clone())
        .with_eal(eal)
        .address(format!("{SERVER_V4}/24"))
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 100 })
        .link_timeout(Duration::ZERO);
    (app, rings)
}

/// The figures of the registry before and after something was done; a figure of it is between the two.
fn around<T>(registry: &Registry, what: impl FnOnce() -> T) -> (Vec<Family>, T, Vec<Family>) {
    let before = registry.gather();
    let done = what();
    (before, done, registry.gather())
}

/// A name that was described, with its unit.
type Described = (String, Option<Unit>);

/// What a recorder has been told, by name and labels; and what was described.
#[derive(Default, Clone)]
struct Told(
    Arc<Mutex<BTreeMap<String, f64>>>,
    Arc<Mutex<Vec<Described>>>,
);

struct Cell(Told, String);

impl CounterFn for Cell {
    fn increment(&self, _: u64) {
        panic!("counts are absolute");
    }
    fn absolute(&self, value: u64) {
        self.0
            .0
            .lock()
            .unwrap()
            .insert(self.1.clone(), value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, _: f64) {
        panic!("levels are set");
    }
    fn decrement(&self, _: f64) {
        panic!("levels are set");
    }
    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl Told {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        Arc::new(Cell(
            self.clone(),
            format!("{} {}", key.name(), labels.join(",")),
        ))
    }

    fn describe(&self, key: &KeyName, unit: Option<Unit>) {
        self.1.lock().unwrap().push((key.as_str().to_owned(), unit));
    }
}

impl Recorder for Told {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }
    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&key, unit);
    }
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        panic!("the facade's histograms take single values");
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        panic!("the facade's histograms take single values");
    }
}

#[test]
fn the_facade_is_told_all_figures() {
    let (app, _keep) = app();
    let (before, told, after) = app
        .run(async |ctx| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let told = Told::default();
            let publish = || metrics::with_local_recorder(&told, || ctx.metrics().publish());
            let (before, (), after) = around(ctx.metrics(), publish);
            (before, told, after)
        })
        .unwrap();
    let figures = told.0.lock().unwrap().clone();
    let own = "port=net_ring_server,queue=0";
    let of = |name: &str| figures[&format!("{name} {own}")];
    let between = |name: &str| {
        let total = format!("{name}_total");
        let bounds = [&before, &after].map(|it| figure(it, &total, &[]) as f64);
        assert!(
            (bounds[0]..=bounds[1]).contains(&of(name)),
            "{name}: {bounds:?}"
        );
    };
    between("dpdk_net_worker_turns");
    between("dpdk_net_worker_empty_polls");
    assert_eq!(
        of("dpdk_net_worker_busy_turn_seconds_count")
            + of("dpdk_net_worker_idle_turn_seconds_count"),
        of("dpdk_net_worker_turns")
    );
    assert!(of("dpdk_net_worker_idle_turn_seconds_sum") > 0.0);
    let all = format!("dpdk_net_worker_idle_turn_seconds_bucket {own},le=+Inf");
    assert_eq!(figures[&all], of("dpdk_net_worker_idle_turn_seconds_count"));
    assert!(figures["dpdk_net_uptime_seconds "] > 0.0);
    let described = told.1.lock().unwrap();
    assert!(described.contains(&("dpdk_net_queue_rx_bytes".to_owned(), Some(Unit::Bytes))));
    let families = after.len()
        + 2 * after
            .iter()
            .filter(|it| it.metric.kind == Kind::Histogram)
            .count();
    assert_eq!(described.len(), families, "each once");
}

#[test]
fn the_facade_is_told_that_the_levels_of_a_listener_that_is_gone_are_zero() {
    let (app, _keep) = app();
    let told = app
        .run(async |ctx| {
            let [kept, gone] = ["[::]:80", "[::]:81"].map(dpdk_net::net::TcpListener::bind);
            let (_kept, gone) = (kept.await.unwrap(), gone.await.unwrap());
            let told = Told::default();
            let publish = || {
                metrics::with_local_recorder(&told, || ctx.metrics().publish());
                told.0.lock().unwrap().clone()
            };
            let before = publish();
            drop(gone);
            tokio::time::sleep(Duration::from_millis(20)).await;
            (before, publish())
        })
        .unwrap();
    let (before, after) = told;
    let level = |told: &BTreeMap<String, f64>, port: u16| {
        let labels = format!("port=net_ring_server,queue=0,listener=[::]:{port}");
        told[&format!("dpdk_net_listener_backlog {labels}")]
    };
    assert!(level(&before, 80) > 0.0 && level(&before, 81) > 0.0);
    assert_eq!(
        (level(&after, 80), level(&after, 81)),
        (level(&before, 80), 0.0)
    );
}

#[test]
fn a_registry_tells_nothing_when_its_application_has_ended() {
    let (app, _keep) = app();
    let registry = app
        .run(async |ctx| {
            let recent = ctx.metrics().recent(Duration::from_secs(3_600));
            assert!(recent.len() > 100);
            ctx.metrics().clone()
        })
        .unwrap();
    assert!(registry.gather().is_empty());
    assert!(registry.recent(Duration::from_secs(3_600)).is_empty());
}

#[test]
fn opentelemetry_observes_all_figures() {
    let (app, _keep) = app();
    let (before, exported, after, kept, exporter) = app
        .run(async |ctx| {
            let exporter = InMemoryMetricExporter::default();
            let reader = PeriodicReader::builder(exporter.clone()).build();
            let provider = SdkMeterProvider::builder().with_reader(reader).build();
            ctx.metrics().observe(&provider.meter("test"));
            tokio::time::sleep(Duration::from_millis(120)).await;
            let (before, (), after) = around(ctx.metrics(), || provider.force_flush().unwrap());
            let exported = exporter.get_finished_metrics().unwrap();
            (before, exported, after, provider, exporter)
        })
        .unwrap();
    let scopes = exported.iter().flat_map(|it| it.scope_metrics());
    let mut figures: BTreeMap<&str, (f64, usize, &str)> = BTreeMap::new();
    for metric in scopes.flat_map(|it| it.metrics()) {
        let (sum, points) = match metric.data() {
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                assert!(sum.is_monotonic());
                let all = sum.data_points().map(|point| point.value() as f64);
                (all.sum(), sum.data_points().count())
            }
            AggregatedMetrics::F64(MetricData::Sum(sum)) => {
                let all = sum.data_points().map(|point| point.value());
                (all.sum(), sum.data_points().count())
            }
            AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                let all = gauge.data_points().map(|point| point.value());
                (all.sum(), gauge.data_points().count())
            }
            other => panic!("{}: {other:?}", metric.name()),
        };
        figures.insert(metric.name(), (sum, points, metric.unit()));
    }
    let turns = figures["dpdk_net_worker_turns"].0;
    let bounds = [&before, &after].map(|it| figure(it, "dpdk_net_worker_turns_total", &[]) as f64);
    assert!(
        (bounds[0]..=bounds[1]).contains(&turns),
        "{turns}: {bounds:?}"
    );
    assert_eq!(figures["dpdk_net_queue_rx_bytes"].2, "By");
    let (idle, _, unit) = figures["dpdk_net_worker_idle_turn_seconds_sum"];
    assert!(idle > 0.0 && unit == "s");
    let counts =
        ["busy", "idle"].map(|it| figures[&*format!("dpdk_net_worker_{it}_turn_seconds_count")].0);
    assert_eq!(counts[0] + counts[1], turns, "one reading serves all");
    assert!(figures["dpdk_net_worker_idle_turn_seconds_bucket"].1 > 20);
    // Nothing more is told once the application has ended, its version and its age neither, and nothing fails.
    exporter.reset();
    kept.force_flush().unwrap();
    let later = exporter.get_finished_metrics().unwrap();
    let scopes = later.iter().flat_map(|it| it.scope_metrics());
    let told: Vec<_> = scopes.flat_map(|it| it.metrics()).collect();
    assert!(told.is_empty(), "{told:?}");
    kept.shutdown().unwrap();
}

#[test]
fn json_has_all_figures() {
    let (app, _keep) = app();
    let (families, json) = app
        .run(async |ctx| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let families = ctx.metrics().gather();
            let json = to_json(&families);
            (families, json)
        })
        .unwrap();
    let all = json.as_array().unwrap();
    assert_eq!(all.len(), families.len());
    let of = |name: &str| all.iter().find(|it| it["name"] == name).unwrap();
    let turns = of("dpdk_net_worker_turns_total");
    assert_eq!(turns["type"], "counter");
    let labels = serde_json::json!({ "port": "net_ring_server", "queue": "0" });
    assert_eq!(turns["samples"][0]["labels"], labels);
    let count = figure(&families, "dpdk_net_worker_turns_total", &[]);
    assert_eq!(turns["samples"][0]["value"], count);
    let idle = of("dpdk_net_worker_idle_turn_seconds");
    assert_eq!(
        (&idle["type"], &idle["unit"]),
        (&"histogram".into(), &"seconds".into())
    );
    let value = &idle["samples"][0]["value"];
    let buckets = value["buckets"].as_array().unwrap();
    let counted: u64 = buckets.iter().map(|it| it[1].as_u64().unwrap()).sum();
    assert_eq!(counted, value["count"].as_u64().unwrap());
    let [p50, p99] = ["p50", "p99"].map(|it| value[it].as_f64().unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 < 1.9, "{value}");
}
