//! The dashboard and the rules speak of what there is.

use std::collections::{BTreeMap, BTreeSet};

use dpdk_net::metrics::catalogue;
use serde_json::Value;

use crate::names::series;

const DASHBOARD: &str = "../../ops/grafana/dpdk-net.json";
const RULES: &str = "../../ops/prometheus/alerts.yml";

/// Labels that Prometheus adds.
const ADDED: [&str; 3] = ["job", "instance", "le"];

/// The words of a query that are names of ours, and the labels that it speaks of.
fn words(query: &str) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let names = query
        .split(|c| !word(c))
        .filter(|it| it.starts_with("dpdk_net"));
    let mut labels = BTreeSet::new();
    for selector in query.split('{').skip(1) {
        let inner = selector.split_once('}').map_or("", |(inner, _)| inner);
        for matcher in inner.split(',') {
            labels.insert(matcher.split(['=', '!']).next().unwrap().trim());
        }
    }
    for grouping in query.split(" by (").skip(1) {
        let inner = grouping.split_once(')').unwrap().0;
        labels.extend(inner.split(',').map(str::trim));
    }
    labels.retain(|label| !label.is_empty());
    (names.collect(), labels)
}

/// What there is to be queried: of each series its labels.
fn known() -> BTreeMap<String, BTreeSet<&'static str>> {
    let mut known = BTreeMap::new();
    for entry in catalogue() {
        for series in series(&entry) {
            known.insert(series, entry.labels.iter().copied().chain(ADDED).collect());
        }
    }
    known
}

/// Makes sure that a query speaks of nothing else; the metrics that it has.
fn check(query: &str, known: &BTreeMap<String, BTreeSet<&str>>) -> usize {
    let (names, labels) = words(query);
    let mut any: BTreeSet<&str> = BTreeSet::new();
    for name in &names {
        let own = known
            .get(*name)
            .unwrap_or_else(|| panic!("there is no {name}: {query}"));
        any.extend(own.iter());
    }
    for label in labels {
        assert!(
            any.contains(label),
            "no metric has the label {label}: {query}"
        );
    }
    names.len()
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
            let grouped = words(query).1;
            let legend = target["legendFormat"].as_str().unwrap();
            for label in legend.split("{{").skip(1) {
                let label = label.split_once("}}").unwrap().0;
                let names = words(query).0;
                let own = |name: &&str| known[*name].contains(label);
                assert!(names.iter().any(own), "{legend}: {query}");
                let aggregated = query.contains(" by (");
                assert!(!aggregated || grouped.contains(label), "{legend}: {query}");
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

#[test]
fn the_rules_speak_of_what_there_is() {
    let text = std::fs::read_to_string(RULES).unwrap();
    let mut known = known();
    let mut names = BTreeSet::new();
    for rule in text.split("\n      - ").skip(1) {
        let (kind, rest) = rule.split_once(": ").unwrap();
        let name = rest.lines().next().unwrap();
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        let (_, query) = rest.split_once("expr: ").unwrap();
        let ends = ["\n        for:", "\n        labels:"];
        let end = ends.iter().filter_map(|end| query.find(end)).min();
        let query = &query[..end.unwrap_or(query.len())];
        assert!(check(query, &known) > 0, "{rule}");
        let (used, grouped) = words(query);
        let own: BTreeSet<&str> = used.iter().flat_map(|it| known[*it].clone()).collect();
        let aggregated = query.contains(" by (");
        for label in rule.split("$labels.").skip(1) {
            let label = label
                .split(|c: char| !c.is_ascii_alphanumeric())
                .next()
                .unwrap();
            let there = if aggregated {
                grouped.contains(label)
            } else {
                own.contains(label)
            };
            assert!(there, "{name} has no label {label}");
        }
        match kind {
            "record" => {
                let labels = if aggregated { grouped } else { own };
                let labels = labels.iter().map(|it| {
                    let mut all = known.values().flatten();
                    *all.find(|known| known == &it).unwrap()
                });
                let labels = labels.collect();
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
