//! The schema: it is one, takes what the reader takes, and refuses what of broken files a schema can tell.

use std::path::Path;

use dpdk_net_config::samples::samples;
use dpdk_net_config::schema;
use serde_json::Value as Json;

fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

#[test]
fn it_is_a_schema() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn each_property_says_what_it_is() {
    fn walk(schema: &Json, path: &str) {
        if !path.is_empty() {
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(description.len() > 3, "{path} has no description");
        }
        let inner = schema.get("items").unwrap_or(schema);
        for (key, inner) in inner["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}/{key}"));
        }
    }
    walk(&schema(), "");
}

#[test]
fn it_takes_what_the_reader_takes() {
    let validator = validator();
    for sample in samples() {
        let json: Json = toml::from_str(&sample.toml).unwrap();
        if let Err(error) = validator.validate(&json) {
            panic!("{}: {error}", sample.toml);
        }
    }
}

/// What is wrong with these is between settings, or within a text, where a schema does not look; to it 1500.0 is an integer, and
/// of a key that is there twice it sees one.
const TAKEN: &[&str] = &[
    "dpdk-allow-and-block.toml",
    "dpdk-args.toml",
    "dpdk-hugepages.toml",
    "dpdk-memory.toml",
    "dpdk-pci-off.toml",
    "dpdk-same-vdev.toml",
    "flow-egress-queue.toml",
    "flow-layers.toml",
    "flow-no-fate.toml",
    "flow-queue-not-there.toml",
    "flow-three-tags.toml",
    "flow-two-fates.toml",
    "listener-address.toml",
    "listener-port.toml",
    "listener-same.toml",
    "metrics-address.toml",
    "metrics-path.toml",
    "metrics-without-listen.toml",
    "network-gateway-off.toml",
    "network-gateway-own.toml",
    "network-hostname-without-dhcp.toml",
    "network-names.toml",
    "network-neighbors.toml",
    "network-none.toml",
    "network-route.toml",
    "network-same-address-two-ports.toml",
    "network-same-address.toml",
    "network-two.toml",
    "network-unusable.toml",
    "network-vlans.toml",
    "network-whose.toml",
    "port-driver-alone.toml",
    "port-group-mac.toml",
    "port-interface-name.toml",
    "port-no-device.toml",
    "port-none.json",
    "port-none.toml",
    "port-offloads.toml",
    "port-same-interface.toml",
    "port-same-names.toml",
    "port-same-pci.toml",
    "port-same-vdev.toml",
    "port-three-devices.toml",
    "port-two-devices.toml",
    "port-vdev-malformed.toml",
    "port-zero-mac.toml",
    "route-names.toml",
    "route-no-target.toml",
    "route-two-targets.toml",
    "route-upstreams.toml",
    "route-without-listener.toml",
    "syntax-duplicate-key.json",
    "syntax-empty.toml",
    "syntax-only-comment.toml",
    "tcp-ports.toml",
    "tcp-timeouts-default.toml",
    "tcp-timeouts.toml",
    "text-long-line.json",
    "text-nul-in-text.json",
    "type-fraction.toml",
    "value-lcores-range.toml",
    "workers-idle.toml",
    "workers-main.toml",
];

#[test]
fn it_refuses_broken_files_but_for_contradictions_and_texts() {
    let validator = validator();
    let mut taken = Vec::new();
    for entry in std::fs::read_dir("tests/broken").unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // The layout of subsystems has no schema: a method's name says where its parameters belong.
        if !name.starts_with("spdk-") && tree(&path).is_some_and(|tree| validator.is_valid(&tree)) {
            taken.push(name);
        }
    }
    taken.sort();
    assert_eq!(taken, TAKEN);
}

/// The file as a tree, if it is TOML or JSON at all.
fn tree(path: &Path) -> Option<Json> {
    let text = std::fs::read_to_string(path).ok()?;
    match path.extension()?.to_str()? {
        "toml" => toml::from_str(&text).ok(),
        "json" => serde_json::from_str(&text).ok(),
        _ => None,
    }
}
