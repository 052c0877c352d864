//! Every key takes effect: of each there is a file with it and one without, and the two make different applications.

use std::path::Path;

use dpdk_net_config::samples::{Sample, samples};
use dpdk_net_config::{File, Format, Machine};
use dpdk_net_packet::MacAddr;
use dpdk_net_stack::Config;
use serde_json::Value;

use super::settings;

/// Keys that the builder knows nothing of, by how they begin, and the tests that show what they do.
const ELSEWHERE: &[(&str, &str)] = &[
    (
        "route[0].",
        "dpdk-net-cli's run_serves, and dpdk-net-serve's own",
    ),
    (
        "listener[0].tls.",
        "files that are read before: configured/certificates.rs, and dpdk-net-cli's run_serves",
    ),
    ("log.access", "dpdk-net-cli's run_serves"),
    ("log.file", "dpdk-net-cli's run_serves"),
    ("log.filter", "dpdk-net-cli's run_serves"),
    ("log.format", "dpdk-net-cli's run_serves"),
    ("metrics.log_interval", "dpdk-net-cli's run_serves"),
    ("metrics.path", "dpdk-net's metrics"),
    ("metrics.transport", "dpdk-net's metrics"),
    ("app", "dpdk-net-config's: it is the application's own"),
];

/// Keys that can't just be left out, or whose value is the default's as well: what the other file has in their place.
#[rustfmt::skip] // A line a key.
const INSTEAD: &[(&str, &str, &str)] = &[
    ("dpdk.pci", "dpdk.pci", "true"),
    ("port[0].vdev", "port[0].vdev", r#""net_null0""#),
    ("port[0].pci", "port[0].pci", r#""0000:02:00.0""#),
    ("port[0].interface", "port[0].interface", r#""eth2""#),
    ("port[0].flow[0].queue", "port[0].flow[0].queue", "0"),
    ("port[0].flow[0].queues[0]", "port[0].flow[0].queues[0]", "7"),
    ("port[0].flow[0].discard", "port[0].flow[0].pass", "true"),
    ("port[0].flow[0].jump", "port[0].flow[0].pass", "true"),
    ("port[0].flow[0].pass", "port[0].flow[0].discard", "true"),
    ("network.addresses[0]", "network.addresses[0]", r#""198.18.0.3/24""#),
    ("network.routes[0].to", "network.routes[0].to", r#""11.0.0.0/8""#),
    ("network.neighbors[0].address", "network.neighbors[0].address", r#""198.18.0.77""#),
    ("network.neighbors[0].mac", "network.neighbors[0].mac", r#""02:00:5e:10:00:77""#),
    ("network.vlans[0].id", "network.vlans[0].id", "101"),
    ("listener[0].name", "listener[0].name", r#""other""#),
    ("listener[0].address", "listener[0].address", r#""198.18.0.2:444""#),
];

/// What else a key needs to have an effect: no device is blocked on a bus that nobody looks at.
const WITH: &[(&str, &str, &str)] = &[("dpdk.block[0]", "dpdk.pci", "true")];

fn read(json: &Value) -> Result<File, String> {
    let file = File::parse("keys.json", &json.to_string(), Format::Json, []);
    file.map_err(|problems| problems.to_string())
}

/// Where a path leads, in two parts: to what the last step is in, and that step.
fn pointer(path: &str) -> (String, String) {
    let pointer = format!("/{}", path.replace(['.', '['], "/").replace(']', ""));
    let (parent, last) = pointer.rsplit_once('/').unwrap();
    (parent.to_owned(), last.to_owned())
}

fn remove(root: &mut Value, path: &str) {
    let (parent, last) = pointer(path);
    match root.pointer_mut(&parent).unwrap() {
        Value::Object(map) => drop(map.remove(&last).unwrap()),
        Value::Array(list) => drop(list.remove(last.parse().unwrap())),
        other => panic!("{path} is in {other}"),
    }
}

fn put(root: &mut Value, path: &str, value: &str) {
    let (parent, last) = pointer(path);
    let value = serde_json::from_str(value).unwrap();
    match root.pointer_mut(&parent).unwrap() {
        Value::Object(map) => drop(map.insert(last, value)),
        Value::Array(list) => list.insert(last.parse().unwrap(), value),
        other => panic!("{path} is in {other}"),
    }
}

/// A machine with huge pages, and nothing else.
fn machine() -> Machine {
    let mut machine = Machine::under(Path::new("/nonexistent"));
    let node = machine.nodes.entry(0).or_default();
    node.free_hugepages = 4 << 30;
    machine
}

/// All that a file makes of an application: its builder, what EAL is given, and each port's stack.
fn application(file: &File) -> String {
    let machine = machine();
    let mut builder = settings::builder(file, &machine).unwrap();
    let mut text = format!("{builder:#?}\n");
    for port in std::iter::once(&mut builder.first).chain(&mut builder.others) {
        let mut stack = Config::new(MacAddr::ZERO);
        port.tune.drain(..).for_each(|tune| tune(&mut stack));
        text.push_str(&format!("{stack:#?}\n"));
    }
    text + &settings::eal(file, &machine).arguments().join(" ")
}

/// Whether it makes a difference; what is in the way of telling.
fn takes_effect(sample: &Sample) -> Result<bool, String> {
    let with = File::parse("keys.toml", &sample.toml, Format::Toml, []);
    let mut with = with.map_err(|problems| problems.to_string())?.to_json();
    // The port's own network is like that of the only port.
    let (prefix, path) = match sample.path.strip_prefix("port[0].network.") {
        Some(rest) => ("port[0].", format!("network.{rest}")),
        None => ("", sample.path.clone()),
    };
    if let Some((_, also, value)) = WITH.iter().find(|(of, ..)| *of == path) {
        put(&mut with, also, value);
    }
    let mut without = with.clone();
    remove(&mut without, &sample.path);
    if let Some((_, other, value)) = INSTEAD.iter().find(|(of, ..)| *of == path) {
        put(&mut without, &format!("{prefix}{other}"), value);
    }
    Ok(application(&read(&with)?) != application(&read(&without)?))
}

#[test]
fn every_key_takes_effect() {
    let mut amiss = Vec::new();
    for sample in samples() {
        let elsewhere = ELSEWHERE
            .iter()
            .any(|(key, _)| sample.path.starts_with(key));
        match takes_effect(sample) {
            // Some can't be left out there either.
            Err(_) if elsewhere => {}
            Ok(effect) if effect != elsewhere => {}
            Ok(true) => amiss.push(format!("{}: takes effect here too", sample.path)),
            Ok(false) => amiss.push(format!("{}: without effect", sample.path)),
            Err(why) => amiss.push(format!("{}: {why}", sample.path)),
        }
    }
    assert!(amiss.is_empty(), "{amiss:#?}");
}

#[test]
fn keys_that_act_elsewhere_are_keys() {
    for (key, _) in ELSEWHERE {
        let mut all = samples().iter();
        assert!(all.any(|sample| sample.path.starts_with(key)), "{key}");
    }
}
