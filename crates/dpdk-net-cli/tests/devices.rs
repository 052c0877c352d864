//! The devices of the machine that runs the tests, and ports that DPDK makes for the asking.

mod common;

use common::{PROGRAM, output, refused};
use dpdk_net_testkit::bed::Netns;

fn json(args: &[&str]) -> serde_json::Value {
    let command = [&[PROGRAM, "devices", "--json"], args].concat();
    serde_json::from_str(&output(&command).text()).unwrap()
}

#[test]
fn the_loopback_interface_is_listed_and_not_offered() {
    let found = json(&[]);
    let interfaces = found["interfaces"].as_array().unwrap();
    let lo = interfaces
        .iter()
        .find(|interface| interface["name"] == "lo")
        .unwrap();
    assert_eq!(lo["kind"], "loopback");
    assert_eq!(lo["config"], serde_json::Value::Null);
    assert!(found.get("ports").is_none(), "DPDK was not asked");
    let text = output(&[PROGRAM, "devices"]).text();
    for part in [
        "PCI network devices",
        "Interfaces of the kernel",
        "  lo\n",
        "vdev = \"net_tap0,iface=dpdk0\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn an_interface_of_a_namespace_comes_with_its_lines() {
    let netns = Netns::new().unwrap();
    netns
        .ip(&[
            "link", "add", "eth7", "type", "veth", "peer", "name", "eth8",
        ])
        .unwrap();
    // `ip netns exec` mounts /sys anew: it shows the namespace's interfaces.
    let text = output(&["ip", "netns", "exec", netns.name(), PROGRAM, "devices"]).text();
    assert!(
        text.contains("  eth7\n      veth, down, MTU 1500"),
        "{text}"
    );
    assert!(
        text.contains("      [[port]]\n      interface = \"eth8\"\n"),
        "{text}"
    );
}

#[test]
fn a_probed_device_is_described_by_dpdk_and_leaves_nothing() {
    let found = json(&["--probe", "--vdev", "net_null0", "--vdev", "net_null1"]);
    let ports = found["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 2, "{found}");
    assert_eq!(ports[0]["name"], "net_null0");
    assert_eq!(ports[0]["driver"], "net_null");
    assert!(ports[0]["max_rx_queues"].as_u64().unwrap() >= 1);
    assert!(ports[0]["rx_descriptors"]["max"].is_u64());
    let left = std::fs::read_dir("/var/run/dpdk")
        .into_iter()
        .flatten()
        .flatten();
    let left: Vec<_> = left
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("dpdk-net-devices-")
        })
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let text = output(&[PROGRAM, "devices", "--probe", "--vdev", "net_null0"]).text();
    assert!(text.contains("  0: net_null0, driver net_null\n"), "{text}");
    assert!(text.contains("RX offloads:"), "{text}");
}

#[test]
fn what_cannot_be_probed_is_refused() {
    let (code, text) = refused(&[PROGRAM, "devices", "--probe", "--vdev", "net_nonsense0"]);
    assert_eq!(code, 1, "{text}");
    assert!(
        text.contains("net_nonsense0") && text.contains("dpdk-net doctor"),
        "{text}"
    );
    let (code, text) = refused(&[PROGRAM, "devices", "--vdev", "net_null0"]);
    assert_eq!(code, 2, "{text}");
    assert!(text.contains("--probe"), "{text}");
}
