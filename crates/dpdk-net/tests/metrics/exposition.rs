//! A strict reader of Prometheus' text format and of OpenMetrics: it accepts what `promtool check metrics` does, and less.

use std::collections::{BTreeMap, BTreeSet};

/// What was told: of each series, as it is written (`name{label="value"}`), its value.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    pub(crate) series: BTreeMap<String, f64>,
    /// The families, by the names that stand behind `# TYPE`, and their types.
    pub(crate) types: BTreeMap<String, String>,
}

impl Exposition {
    /// The sum of a metric's series whose labels contain these.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted = |series: &str| {
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            let all = |(key, value): &(&str, &str)| rest.contains(&format!("{key}=\"{value}\""));
            own == name && labels.iter().all(all)
        };
        let found: Vec<f64> = self
            .series
            .iter()
            .filter_map(|(series, value)| wanted(series).then_some(*value))
            .collect();
        assert!(!found.is_empty(), "there is no {name} with {labels:?}");
        found.iter().sum()
    }
}

fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    chars
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A sample's name, labels and value.
fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line}");
    let mut labels = Vec::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, after) = rest.split_once("=\"").expect(line);
            assert!(is_name(label), "{line}");
            let (mut value, mut escaped, mut end) = (String::new(), false, None);
            for (at, c) in after.char_indices() {
                match (escaped, c) {
                    (false, '\\') => escaped = true,
                    (false, '"') => {
                        end = Some(at);
                        break;
                    }
                    (true, c) => {
                        assert!(['\\', '"', 'n'].contains(&c), "{line}");
                        value.push(c);
                        escaped = false;
                    }
                    (false, c) => value.push(c),
                }
            }
            labels.push((label.to_owned(), value));
            rest = &after[end.expect(line) + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').expect(line);
    }
    let value = rest.strip_prefix(' ').expect(line);
    assert!(!value.contains(' '), "a time stamp: {line}");
    let value = match value {
        "+Inf" => f64::INFINITY,
        value => value.parse().expect(line),
    };
    let names: BTreeSet<&String> = labels.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), labels.len(), "a label twice: {line}");
    (name.to_owned(), labels, value)
}

/// A histogram's series of one set of labels.
#[derive(Default)]
struct Series {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: Option<f64>,
}

/// Reads all of a text, and panics at what is amiss.
pub(crate) fn read(text: &str, open_metrics: bool) -> Exposition {
    let mut out = Exposition::default();
    let body = match open_metrics {
        true => text.strip_suffix("# EOF\n").expect("it ends with # EOF"),
        false => text,
    };
    assert!(body.is_empty() || body.ends_with('\n'));
    let mut lines = body.lines().peekable();
    while let Some(line) = lines.next() {
        let (family, kind) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
            .unwrap_or_else(|| panic!("a family begins with its type: {line}"));
        assert!(is_name(family), "{line}");
        let before = out.types.insert(family.to_owned(), kind.to_owned());
        assert!(before.is_none(), "twice: {line}");
        let unit = lines.next_if(|line| line.starts_with("# UNIT "));
        if let Some(unit) = unit {
            assert!(open_metrics, "{unit}");
            let unit = unit.strip_prefix(&format!("# UNIT {family} ")).expect(unit);
            assert!(family.ends_with(&format!("_{unit}")), "{family} in {unit}");
        }
        let help = lines.next().unwrap_or_default();
        let help = help.strip_prefix(&format!("# HELP {family} ")).expect(help);
        assert!(
            !help.is_empty() && help.ends_with(['.', ')', ':']),
            "{family}: {help}"
        );
        assert_eq!(
            family.ends_with("_total"),
            kind == "counter" && !open_metrics,
            "{line}"
        );
        let mut histograms: BTreeMap<Vec<(String, String)>, Series> = BTreeMap::new();
        let mut any = false;
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            any = true;
            let (name, mut labels, value) = sample(line);
            let (series, _) = line.rsplit_once(' ').unwrap();
            let before = out.series.insert(series.to_owned(), value);
            assert!(before.is_none(), "twice: {series}");
            match kind {
                "counter" => {
                    let own = if open_metrics {
                        format!("{family}_total")
                    } else {
                        family.to_owned()
                    };
                    assert_eq!(name, own);
                    assert!(value.is_finite() && value >= 0.0, "{line}");
                }
                "gauge" => assert_eq!(name, family),
                "histogram" => {
                    let bound = labels.iter().position(|(name, _)| name == "le");
                    let bound = bound.map(|at| labels.remove(at).1);
                    let series = histograms.entry(labels).or_default();
                    match (name.strip_prefix(family).expect(line), bound) {
                        ("_bucket", Some(bound)) => {
                            let bound = match bound.as_str() {
                                "+Inf" => f64::INFINITY,
                                bound => bound.parse().expect(line),
                            };
                            series.buckets.push((bound, value));
                        }
                        ("_sum", None) => series.sum = Some(value),
                        ("_count", None) => series.count = Some(value),
                        _ => panic!("{line}"),
                    }
                }
                other => panic!("no type: {other}"),
            }
        }
        assert!(any, "{family} has no samples");
        for (labels, series) in histograms {
            let pairs = series.buckets.windows(2);
            for pair in pairs {
                assert!(pair[0].0 < pair[1].0, "{family}{labels:?}: bounds ascend");
                assert!(
                    pair[0].1 <= pair[1].1,
                    "{family}{labels:?}: buckets are cumulative"
                );
            }
            let (bound, last) = *series.buckets.last().expect("there are buckets");
            assert_eq!(bound, f64::INFINITY, "{family}{labels:?}");
            assert_eq!(series.count, Some(last), "{family}{labels:?}");
            assert!(
                series.sum.is_some_and(|sum| sum >= 0.0),
                "{family}{labels:?}"
            );
        }
    }
    out
}
