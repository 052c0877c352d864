//! Every key: a value that it can have is read and shown, one that it can't have is told with its path. A key of the schema
//! that has no sample, or no wrong value here, fails.

use std::collections::BTreeMap;

use dpdk_net_config::samples::{Sample, samples};
use dpdk_net_config::{File, Format, schema};
use serde_json::Value as Json;
use toml::{Table, Value};

/// Paths of all keys that are no tables, the elements of lists at their first place, with their schemas.
fn leaves(schema: &Json, path: &str, found: &mut BTreeMap<String, Json>) {
    if let Some(items) = schema.get("items") {
        return leaves(items, &format!("{path}[0]"), found);
    }
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        found.insert(path.to_owned(), schema.clone());
        return;
    };
    for (key, inner) in properties {
        let path = match path {
            "" => key.clone(),
            path => format!("{path}.{key}"),
        };
        leaves(inner, &path, found);
    }
}

fn keys() -> BTreeMap<String, Json> {
    let mut found = BTreeMap::new();
    leaves(&schema(), "", &mut found);
    found
}

/// The steps of a path: keys and places in lists.
fn steps(path: &str) -> Vec<String> {
    let apart = path.replace('[', ".").replace(']', "");
    apart.split('.').map(str::to_owned).collect()
}

/// The sample's file with another value.
fn with(sample: &Sample, value: &str) -> String {
    let mut file: Value = sample.toml.parse::<Table>().unwrap().into();
    let mut node = &mut file;
    for step in steps(&sample.path) {
        node = match node {
            Value::Table(table) => &mut table[step.as_str()],
            Value::Array(items) => &mut items[step.parse::<usize>().unwrap()],
            _ => panic!("{}", sample.path),
        };
    }
    *node = value
        .parse()
        .unwrap_or_else(|error| panic!("{value}: {error}"));
    toml::to_string(&file).unwrap()
}

/// Wrong values of each key with this type, as the schema has it, and the kind of problem.
fn wrong(path: &str, schema: &Json) -> Vec<(String, &'static str)> {
    let mut wrong: Vec<(String, &str)> = Vec::new();
    let mut add = |value: &str, kind| wrong.push((value.to_owned(), kind));
    if schema.get("enum").is_some() {
        add("\"no such word\"", "bad-value");
        add("7", "wrong-type");
    } else if schema["type"] == "boolean" {
        add("\"perhaps\"", "wrong-type");
        add("1", "wrong-type");
    } else if schema["type"] == "integer" {
        let bound = |name: &str| schema[name].as_i64().unwrap();
        add(&(bound("minimum") - 1).to_string(), "bad-value");
        add(&(bound("maximum") + 1).to_string(), "bad-value");
        add("\"many\"", "wrong-type");
        add("1.5", "wrong-type");
    } else if let Some(range) = schema.get("x-range") {
        // Sizes and times: what is behind the largest, and what has no unit or another's.
        let largest = range[1].as_str().unwrap();
        add(&format!("\"1{largest}\""), "bad-value");
        add("\"3 apples\"", "bad-value");
        add("true", "wrong-type");
    } else {
        add("true", "wrong-type");
    }
    let special = SPECIAL.iter().filter(|(key, ..)| path.ends_with(key));
    wrong.extend(special.map(|(_, value, kind)| ((*value).to_owned(), *kind)));
    wrong
}

/// Wrong values that the type alone does not tell, by how the path ends.
const SPECIAL: &[(&str, &str, &str)] = &[
    ("dpdk.file_prefix", "\"\"", "bad-value"),
    ("dpdk.allow[0]", "\"eth0\"", "bad-value"),
    ("dpdk.block[0]", "\"0000:00:1f\"", "bad-value"),
    ("dpdk.vdevs[0]", "\"tap0\"", "contradiction"),
    ("dpdk.args[0]", "\"--no-huge\"", "contradiction"),
    ("].pci", "\"1\"", "bad-value"),
    ("].vdev", "\"eth0\"", "contradiction"),
    ("].interface", "\"sixteen-bytes-xx\"", "contradiction"),
    ("].mac", "\"02:00\"", "bad-value"),
    ("].mac", "\"ff:ff:ff:ff:ff:ff\"", "contradiction"),
    ("rss.key", "\"0102\"", "bad-value"),
    ("ethernet.dst", "\"02\"", "bad-value"),
    (".ether_type", "65536", "bad-value"),
    ("ipv4.src", "\"fd00::1\"", "bad-value"),
    ("ipv4.dst", "\"10.0.0.9-10.0.0.1\"", "bad-value"),
    ("ipv6.src", "\"10.0.0.1\"", "bad-value"),
    ("_port", "\"http\"", "bad-value"),
    ("addresses[0]", "\"198.18.0.2\"", "bad-value"),
    ("addresses[0]", "\"224.0.0.1/4\"", "contradiction"),
    ("gateways[0]", "\"198.18.0.1/24\"", "bad-value"),
    ("gateways[0]", "\"198.19.0.1\"", "contradiction"),
    ("routes[0].to", "\"10.0.0.1/8\"", "bad-value"),
    ("routes[0].via", "\"10.0.0.1\"", "contradiction"),
    ("routes[0].vlan", "7", "contradiction"),
    ("neighbors[0].mac", "\"01:00:5e:00:00:01\"", "contradiction"),
    ("neighbors[0].vlan", "7", "contradiction"),
    ("vlans[0].mtu", "9000", "contradiction"),
    ("network.hostname", "\"under_score\"", "contradiction"),
    ("dns.servers[0]", "\"dns.example\"", "bad-value"),
    ("dns.search[0]", "\".\"", "contradiction"),
    ("workers.lcores", "\"3-1\"", "bad-value"),
    ("listener[0].address", "\"http\"", "bad-value"),
    ("listener[0].address", "\"198.18.0.3:80\"", "contradiction"),
    ("listener[0].port", "\"wan\"", "contradiction"),
    ("tls.alpn[0]", "\"\"", "bad-value"),
    ("route[0].listener", "\"https\"", "contradiction"),
    ("route[0].host", "\"a/b\"", "contradiction"),
    ("route[0].path", "\"api\"", "contradiction"),
    ("redirect.status", "304", "contradiction"),
    ("upstreams[0]", "\"198.18.0.1\"", "contradiction"),
    ("app", "3", "wrong-type"),
];

#[test]
fn each_key_has_a_sample() {
    let keys: Vec<String> = keys().into_keys().collect();
    let mut sampled: Vec<String> = samples().iter().map(|one| one.path.clone()).collect();
    sampled.sort();
    assert_eq!(keys, sampled);
}

#[test]
fn a_good_value_is_read_and_shown() {
    for sample in samples() {
        let read = File::parse("good.toml", &sample.toml, Format::Toml, []);
        let file = read.unwrap_or_else(|problems| panic!("{}\n{problems}", sample.toml));
        let pointer = format!("/{}", steps(&sample.path).join("/"));
        let shown = file.to_json();
        assert_eq!(
            shown.pointer(&pointer),
            Some(&sample.json),
            "{pointer} of {shown}"
        );
        let (line, column) = file.place(&sample.path).line_column();
        assert!(line > 1 || column >= 1, "{} has no place", sample.path);
    }
}

#[test]
fn a_wrong_value_is_one_problem_with_the_path_of_its_key() {
    let keys = keys();
    for sample in samples() {
        let path = sample.path.as_str();
        let wrong = wrong(path, &keys[path]);
        assert!(!wrong.is_empty(), "{path} has no wrong value");
        for (value, kind) in wrong {
            let text = with(sample, &value);
            let Err(problems) = File::parse("wrong.toml", &text, Format::Toml, []) else {
                panic!("{path} = {value} is taken:\n{text}");
            };
            let found: Vec<_> = problems
                .iter()
                .map(|one| (one.path(), one.kind()))
                .collect();
            assert_eq!(found, [(path, kind)], "{path} = {value}\n{problems}");
        }
    }
}

/// Each wrong value above is one of a key that there is.
#[test]
fn each_special_value_is_of_a_key() {
    let keys = keys();
    for (end, value, _) in SPECIAL {
        assert!(keys.keys().any(|key| key.ends_with(end)), "{end} = {value}");
    }
}
