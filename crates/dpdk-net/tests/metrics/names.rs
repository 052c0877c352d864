//! Names and labels: the catalogue, what an application tells, and the documentation say the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

use dpdk_net::metrics::{Entry, Family, Kind, catalogue, drop_causes};
use dpdk_net::rte::ring;
use dpdk_net::{App, IdlePolicy};

use crate::common::{SERVER_V4, eal};

const DOCUMENT: &str = "../../docs/metrics.md";

/// What is told of a metric.
pub(crate) fn series(entry: &Entry) -> Vec<String> {
    match entry.metric.kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"]
            .map(|part| entry.name() + part)
            .into(),
        _ => vec![entry.name()],
    }
}

#[test]
fn names_are_well_formed_and_no_two_are_the_same() {
    let mut seen = BTreeSet::new();
    for entry in catalogue() {
        let name = entry.name();
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.starts_with("dpdk_net_") && name.chars().all(lower),
            "{name}"
        );
        assert!(!name.contains("__"), "{name}");
        let help = entry.metric.help;
        assert!(
            help.ends_with('.') && !help.contains('\n'),
            "{name}: {help}"
        );
        for series in series(&entry) {
            assert!(seen.insert(series.clone()), "{series} is there twice");
        }
        if let Some(linux) = entry.metric.linux {
            assert!(
                linux.chars().all(|c| c.is_ascii_alphanumeric()),
                "{name}: {linux}"
            );
        }
    }
}

/// What an application tells that has done nothing yet.
fn told() -> Vec<Family> {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ports = eal.ports();
    let port = ports.iter().find(|it| it.id == rings.ids()[0]).unwrap();
    let app = App::builder()
        .with_eal(eal)
        .port(port.name.clone())
        .address(format!("{SERVER_V4}/24"))
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 100 })
        .link_timeout(Duration::ZERO);
    app.run(async |ctx| {
        let _listener = dpdk_net::net::TcpListener::bind("[::]:80").await.unwrap();
        ctx.metrics().gather()
    })
    .unwrap()
}

#[test]
fn an_application_tells_what_the_catalogue_says() {
    let catalogue = catalogue();
    let known: BTreeMap<String, &Entry> = catalogue.iter().map(|it| (it.name(), it)).collect();
    let families = told();
    let mut last = None;
    for family in &families {
        let name = family.name();
        let entry = known
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is unknown"));
        assert_eq!(family.metric, entry.metric, "{name}");
        let mut labels = BTreeSet::new();
        for sample in &family.samples {
            let names: Vec<&str> = sample.labels.iter().map(|(name, _)| *name).collect();
            assert_eq!(names, entry.labels, "{name}");
            assert!(
                labels.insert(&sample.labels),
                "{name}{:?} twice",
                sample.labels
            );
        }
        let place = catalogue.iter().position(|it| it.name() == name);
        assert!(place > last, "{name} is not in order");
        last = place;
    }
    let told: BTreeSet<String> = families.iter().map(Family::name).collect();
    // What this driver, and a single worker, do not have.
    let without =
        |name: &str| name.starts_with("dpdk_net_steering_") || name.contains("link_speed");
    let missing: Vec<&String> = known
        .keys()
        .filter(|name| !told.contains(*name) && !without(name))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// The table of all metrics in the documentation.
fn table() -> String {
    let mut text = String::new();
    let mut group = "";
    for entry in catalogue() {
        if entry.group != group {
            group = entry.group;
            let _ = write!(
                text,
                "\n### `{group}`\n\n| name | type | labels | Linux | |\n|---|---|---|---|---|\n"
            );
        }
        let kind = match entry.metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let unit = match entry.metric.unit.base() {
            "" => String::new(),
            unit => format!(", {unit}"),
        };
        let labels = entry.labels.join(", ");
        let linux = entry
            .metric
            .linux
            .map_or(String::new(), |it| format!("`{it}`"));
        let help = entry.metric.help.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| `{}` | {kind}{unit} | {labels} | {linux} | {help} |",
            entry.name()
        );
    }
    text.push_str("\n### Causes of drops\n\n| cause | Linux | |\n|---|---|---|\n");
    for cause in drop_causes() {
        let linux = cause.linux.map_or(String::new(), |it| format!("`{it}`"));
        let _ = writeln!(text, "| `{}` | {linux} | {} |", cause.name, cause.help);
    }
    text
}

#[test]
fn the_document_has_the_table_of_all_metrics() {
    const BEGIN: &str = "<!-- The table: DPDK_NET_DOCS=write cargo nextest run -p dpdk-net --test metrics the_document -->\n";
    const END: &str = "\n<!-- End of the table -->";
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    let whole = format!("{before}{BEGIN}{}{END}{after}", table());
    if whole == text {
        return;
    }
    if std::env::var("DPDK_NET_DOCS").as_deref() == Ok("write") {
        std::fs::write(DOCUMENT, whole).unwrap();
        return;
    }
    panic!("{DOCUMENT} is not up to date: DPDK_NET_DOCS=write writes it");
}
