//! The dashboard and the rules speak of what there is.

use std::collections::{BTreeMap, BTreeSet};

use dpdk_net::metrics::{HistogramSnapshot, catalogue, drop_causes};
use serde_json::Value;

use crate::names::series;

const DASHBOARD: &str = "../../ops/grafana/dpdk-net.json";
const RULES: &str = "../../ops/prometheus/alerts.yml";
const CASES: &str = "../../ops/prometheus/alerts_test.yml";

/// How long the ranges of rules are at least, in seconds: four scrapes of one a minute, so that one that is missed is no matter.
const RANGE: u64 = 240;

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// A metric in a query: its name, the labels by which it is selected, and where its name begins.
struct Selected<'a> {
    name: &'a str,
    labels: Vec<&'a str>,
    at: usize,
}

/// The metrics of ours in a query.
fn selected(query: &str) -> Vec<Selected<'_>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut all = Vec::new();
    let mut from = 0;
    while let Some(found) = query[from..].find("dpdk_net") {
        let at = from + found;
        let rest = &query[at..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        let inner = behind.strip_prefix('{').and_then(|it| it.split_once('}'));
        let matchers = inner.map_or("", |(inner, _)| inner).split(',');
        let labels = matchers.map(|it| it.split(['=', '!']).next().unwrap().trim());
        all.push(Selected {
            name,
            labels: labels.filter(|label| !label.is_empty()).collect(),
            at,
        });
        from = at + end;
    }
    all
}

/// The groupings of a query: the labels of each `by (..)`, and where what is grouped begins and ends.
fn grouped(query: &str) -> Vec<(Vec<&str>, std::ops::Range<usize>)> {
    let mut all = Vec::new();
    for (at, found) in query.match_indices(" by (") {
        let rest = &query[at + found.len()..];
        let (labels, behind) = rest.split_once(')').expect("it is closed");
        let begin = query.len() - behind.len();
        assert!(
            behind.starts_with(" ("),
            "what is grouped stands behind: {query}"
        );
        let mut depth = 0;
        let end = behind.find(|c| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            depth == 0 && c == ')'
        });
        let end = begin + end.expect("it is closed");
        all.push((labels.split(',').map(str::trim).collect(), begin..end));
    }
    all
}

/// What there is to be queried: of each series its labels.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let mut known = BTreeMap::new();
    for entry in catalogue() {
        for series in series(&entry) {
            let le = series.ends_with("_bucket").then_some("le");
            let labels = entry.labels.iter().copied().chain(ADDED).chain(le);
            known.insert(series, labels.map(str::to_owned).collect());
        }
    }
    known
}

type Known = BTreeMap<String, BTreeSet<String>>;

/// What a query speaks of that is not there, if there is something: a metric, a label of it, or one by which it is grouped.
fn missing(query: &str, known: &Known) -> Option<String> {
    let groups = grouped(query);
    for Selected { name, labels, at } in selected(query) {
        let Some(own) = known.get(name) else {
            return Some(name.to_owned());
        };
        let around = groups.iter().filter(|(_, inner)| inner.contains(&at));
        let mut all = labels.iter().chain(around.flat_map(|(labels, _)| labels));
        if let Some(label) = all.find(|label| !own.contains(**label)) {
            return Some(format!("{name}{{{label}}}"));
        }
    }
    None
}

/// Makes sure that a query speaks of what there is; of how many metrics.
#[track_caller]
fn check(query: &str, known: &Known) -> usize {
    assert_eq!(missing(query, known), None, "{query}");
    selected(query).len()
}

/// The labels that all results of a query have.
fn results(query: &str, known: &Known) -> BTreeSet<String> {
    // Either side may be the result.
    let sides = query.split(" or ").map(|side| {
        let groups = grouped(side);
        let sets: Vec<BTreeSet<String>> = if groups.is_empty() {
            let names = selected(side).into_iter();
            names.map(|it| known[it.name].clone()).collect()
        } else {
            let labels = groups.into_iter().map(|(labels, _)| labels);
            labels
                .map(|labels| labels.into_iter().map(str::to_owned).collect())
                .collect()
        };
        common(sets)
    });
    common(sides)
}

fn common(sets: impl IntoIterator<Item = BTreeSet<String>>) -> BTreeSet<String> {
    let sets = sets.into_iter();
    sets.reduce(|one, other| &one & &other).unwrap_or_default()
}

#[test]
fn a_query_is_checked_metric_by_metric() {
    let known = known();
    let missing = |query: &str| missing(query, &known);
    for query in [
        "dpdk_net_queue_drops_total{cause=\"vlan\"} / on (port) dpdk_net_port_rx_errors_total",
        "sum by (port, le) (rate(dpdk_net_worker_busy_turn_seconds_bucket{le=\"+Inf\"}[5m]))",
    ] {
        assert_eq!(missing(query), None, "{query}");
    }
    for (query, what) in [
        ("dpdk_net_queue_drop_total", "dpdk_net_queue_drop_total"),
        // Another metric of the query has the label.
        (
            "dpdk_net_queue_drops_total{cause!~\"a\"} + dpdk_net_queue_rx_packets_total{cause=\"a\"}",
            "dpdk_net_queue_rx_packets_total{cause}",
        ),
        (
            "sum by (port) (dpdk_net_port_rx_errors_total) / sum by (queue) (dpdk_net_port_tx_errors_total)",
            "dpdk_net_port_tx_errors_total{queue}",
        ),
        (
            "dpdk_net_worker_busy_turn_seconds_count{le=\"1\"}",
            "dpdk_net_worker_busy_turn_seconds_count{le}",
        ),
    ] {
        assert_eq!(missing(query).as_deref(), Some(what), "{query}");
    }
    let either =
        "sum by (port, queue) (dpdk_net_queue_drops_total) or dpdk_net_port_rx_errors_total";
    assert!(results(either, &known).contains("port") && !results(either, &known).contains("queue"));
}

/// The seconds of the ranges in a query.
fn ranges(query: &str) -> Vec<u64> {
    let ranges = query.split('[').skip(1);
    let ranges = ranges.map(|range| range.split_once(']').unwrap().0);
    let seconds = |range: &str| {
        let (number, unit) = range.split_at(range.len() - 1);
        let unit = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            other => panic!("{other}"),
        };
        number.parse::<u64>().unwrap() * unit
    };
    ranges.map(seconds).collect()
}

#[test]
fn the_dashboard_shows_what_there_is() {
    let text = std::fs::read_to_string(DASHBOARD).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let known = known();
    let panels = dashboard["panels"].as_array().unwrap();
    let (mut queries, mut ids) = (0, BTreeSet::new());
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            assert!(check(query, &known) > 0, "{query}");
            let legend = target["legendFormat"].as_str().unwrap();
            let labels = results(query, &known);
            for label in legend.split("{{").skip(1) {
                let label = label.split_once("}}").unwrap().0;
                assert!(labels.contains(label), "{legend}: {query}");
            }
            queries += 1;
        }
    }
    assert!(queries > 40, "{queries}");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["definition"].as_str().unwrap_or_default();
        check(query, &known);
    }
}

/// The rules of a file: what kind each is of, its name, its query, and all of it.
fn rules(text: &str) -> impl Iterator<Item = (&str, &str, &str, &str)> {
    text.split("\n      - ").skip(1).map(|rule| {
        let (kind, rest) = rule.split_once(": ").unwrap();
        let name = rest.lines().next().unwrap();
        let (_, query) = rest.split_once("expr: ").unwrap();
        let ends = ["\n        for:", "\n        labels:"];
        let end = ends.iter().filter_map(|end| query.find(end)).min();
        (kind, name, &query[..end.unwrap_or(query.len())], rule)
    })
}

/// The matchers of a query: label, whether by a regular expression, and the value.
fn matchers(query: &str) -> Vec<(&str, bool, &str)> {
    let mut parts = query.split('"');
    let mut all = Vec::new();
    while let (Some(before), Some(value)) = (parts.next(), parts.next()) {
        let matcher = before.rsplit(['{', ',']).next().unwrap().trim();
        let label = matcher.trim_end_matches(['=', '~', '!']);
        all.push((label, matcher.ends_with('~'), value));
    }
    all
}

/// The alternatives of a regular expression of letters, `.*` and groups of alternatives.
fn alternatives(regex: &str) -> Vec<String> {
    let (mut depth, mut all) = (0, vec![String::new()]);
    for c in regex.chars() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        match c {
            '|' if depth == 0 => all.push(String::new()),
            c => all.last_mut().unwrap().push(c),
        }
    }
    let expand = |one: String| {
        let Some((before, rest)) = one.split_once('(') else {
            return vec![one];
        };
        let (group, behind) = rest.split_once(')').expect("it is closed");
        let inner = alternatives(group).into_iter();
        let whole = inner.flat_map(|it| alternatives(&format!("{before}{it}{behind}")));
        whole.collect()
    };
    all.into_iter().flat_map(expand).collect()
}

/// Whether an alternative is all of a name, as Prometheus matches.
fn is_like(name: &str, pattern: &str) -> bool {
    match pattern.split_once(".*") {
        None => name == pattern,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| is_like(&rest[at..], tail))),
    }
}

/// Mempools as an application calls them: those of queue 0 of port 0, what is to be sent, and the one for all queues.
const POOLS: [&str; 4] = [
    "dpdk-net-0-0",
    "dpdk-net-payload-0",
    "dpdk-net-refs-0",
    "dpdk-net-0-all",
];

/// The values that a query selects by and that nothing has, of the labels whose values are known.
fn unknown_values(query: &str) -> Vec<String> {
    let mut unknown = Vec::new();
    for (label, is_regex, value) in matchers(query) {
        let known: Vec<&str> = match label {
            "cause" => drop_causes().iter().map(|cause| cause.name).collect(),
            "pool" => POOLS.to_vec(),
            _ => continue,
        };
        let wanted = match is_regex {
            true => alternatives(value),
            false => vec![value.to_owned()],
        };
        let is_unknown = |it: &String| !known.iter().any(|name| is_like(name, it));
        unknown.extend(wanted.into_iter().filter(is_unknown));
    }
    unknown
}

#[test]
fn a_value_that_nothing_has_is_found_in_any_alternative() {
    assert_eq!(alternatives("a|b(c|d)|.*e"), ["a", "bc", "bd", ".*e"]);
    for (pattern, like) in [
        ("tcp_checksum", true),
        (".*checksum", true),
        ("tcp_.*", true),
        (".*p_c.*", true),
        ("tcp", false),
        ("checksum", false),
    ] {
        assert_eq!(is_like("tcp_checksum", pattern), like, "{pattern}");
    }
    let query =
        "dpdk_net_queue_drops_total{port=\"p\",cause=~\"vlan|link_(no_way|no_route)|.*sum\"}";
    assert_eq!(unknown_values(query), ["link_no_way"]);
    assert_eq!(
        unknown_values("x{cause!=\"vlan\",cause=\"vlam\"}"),
        ["vlam"]
    );
}

#[test]
fn the_cases_of_the_alerts_speak_of_what_there_is_and_each_alert_has_both_kinds() {
    let rules_text = std::fs::read_to_string(RULES).unwrap();
    let alerts = rules(&rules_text).filter(|(kind, ..)| *kind == "alert");
    let alerts: BTreeSet<&str> = alerts.map(|(_, name, ..)| name).collect();
    let text = std::fs::read_to_string(CASES).unwrap();
    let known = known();
    let mut series = 0;
    for line in text.lines() {
        if let Some(query) = line.trim().strip_prefix("- series: ") {
            assert_eq!(check(query, &known), 1, "{line}");
            assert_eq!(unknown_values(query), [""; 0], "{line}");
            series += 1;
        }
    }
    assert!(series > 15, "{series}");
    let (mut quiet, mut fires) = (BTreeSet::new(), BTreeSet::new());
    for case in text.split("alertname: ").skip(1) {
        let mut lines = case.lines().map(str::trim);
        let name = lines.next().unwrap();
        let kind = match lines.next() {
            Some("exp_alerts: []") => &mut quiet,
            Some("exp_alerts:") => &mut fires,
            other => panic!("{other:?}"),
        };
        kind.insert(name);
    }
    assert_eq!((&quiet, &fires), (&alerts, &alerts));
}

#[test]
fn the_rules_speak_of_what_there_is() {
    let text = std::fs::read_to_string(RULES).unwrap();
    let mut known = known();
    let mut names = BTreeSet::new();
    // As they are written, in seconds of nanoseconds.
    let bounds = HistogramSnapshot::default();
    let bounds = bounds.octaves().filter_map(|(bound, _)| bound);
    let bounds = bounds.map(|bound| format!("{:?}", bound as f64 / 1e9));
    let bounds: BTreeSet<String> = bounds.collect();
    for (kind, name, query, rule) in rules(&text) {
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        assert!(check(query, &known) > 0, "{rule}");
        assert_eq!(unknown_values(query), [""; 0], "{name}");
        for range in ranges(query) {
            assert!(range >= RANGE, "{name} looks at {range} s");
        }
        let labels = results(query, &known);
        for label in rule.split("$labels.").skip(1) {
            let end = label.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            let label = &label[..end];
            assert!(labels.contains(label), "{name} has no label {label}");
        }
        for bound in query.split("le=\"").skip(1) {
            let bound = bound.split_once('"').unwrap().0;
            assert!(bounds.contains(bound), "{name}: no bucket ends at {bound}");
        }
        match kind {
            "record" => {
                known.insert(name.to_owned(), labels);
            }
            "alert" => assert!(
                rule.contains("severity: ") && rule.contains("summary: "),
                "{rule}"
            ),
            other => panic!("{other}"),
        }
    }
    assert!(names.len() > 10);
}
