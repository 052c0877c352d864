//! Names and helps, and the names of Linux.

use std::collections::BTreeSet;

use dpdk_net_stack::metrics::{Kind, Metric};
use dpdk_net_stack::{Gauges, Stats, TcpHistograms};

/// The names that `nstat -az` prints (Linux 6.18), and TcpCurrEstab, which it leaves out as it is no counter.
const LINUX: &str = include_str!("nstat.txt");

/// Every figure of a stack, with its group.
fn all() -> Vec<(&'static str, &'static Metric)> {
    let (counters, gauges) = (Stats::default(), Gauges::default());
    let counters = counters.metrics().map(|(group, metric, _)| (group, metric));
    let gauges = gauges.metrics().map(|(group, metric, _)| (group, metric));
    let histograms = TcpHistograms::METRICS.iter().map(|metric| ("tcp", metric));
    counters.chain(gauges).chain(histograms).collect()
}

#[test]
fn a_name_is_one_for_prometheus_and_unique_in_its_group() {
    let mut seen = BTreeSet::new();
    for (group, metric) in all() {
        let name = metric.name;
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fits),
            "{name}"
        );
        assert!(!name.ends_with("_total"), "{name}");
        assert!(seen.insert((group, name)), "{group}.{name} is there twice");
    }
    assert!(seen.len() > 150, "{}", seen.len());
}

#[test]
fn a_help_is_one_line_that_ends_as_a_sentence() {
    for (_, Metric { name, help, .. }) in all() {
        assert!(
            help.ends_with('.') && !help.contains('\n'),
            "{name}: {help:?}"
        );
        assert_eq!(help.trim(), *help, "{name}");
        assert!(!help.contains("  "), "{name}: {help:?}");
    }
    let (_, retransmits) = all()
        .into_iter()
        .find(|(_, it)| it.name == "retransmits")
        .unwrap();
    assert_eq!(
        retransmits.help,
        "Segments sent again, SYNs, SYN-ACKs and probes of the tail included."
    );
    assert_eq!(retransmits.linux, Some("TcpRetransSegs"));
}

#[test]
fn each_name_of_linux_is_one_that_linux_has_and_means_one_figure() {
    let known: BTreeSet<_> = LINUX.lines().collect();
    let mut seen = BTreeSet::new();
    for (group, metric) in all() {
        if let Some(linux) = metric.linux {
            assert!(known.contains(linux), "{group}.{}: {linux}", metric.name);
            assert!(
                seen.insert(linux),
                "{group}.{}: {linux} is another one's",
                metric.name
            );
        }
    }
    assert!(seen.len() > 40, "{}", seen.len());
}

#[test]
fn the_kind_is_that_of_the_group_and_units_have_a_base() {
    let stats = Stats::default();
    assert!(
        stats
            .metrics()
            .all(|(_, metric, _)| metric.kind == Kind::Counter)
    );
    assert!(
        Gauges::default()
            .metrics()
            .all(|(_, metric, _)| metric.kind == Kind::Gauge)
    );
    assert!(
        TcpHistograms::METRICS
            .iter()
            .all(|metric| metric.kind == Kind::Histogram)
    );
    let rtt = TcpHistograms::METRICS[0].unit;
    assert_eq!((rtt.base(), rtt.per_base()), ("seconds", 1_000_000));
    let names: Vec<_> = stats.tcp.iter().map(|(name, _)| name).collect();
    let declared: Vec<_> = dpdk_net_stack::TcpStats::METRICS
        .iter()
        .map(|it| it.name)
        .collect();
    assert_eq!(names, declared);
}
