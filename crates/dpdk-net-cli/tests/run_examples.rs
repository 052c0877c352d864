//! Examples of the manual as they stand, but for the directory that they serve and what keeps tests apart.

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{PROGRAM, START, interfaces, shell};
use dpdk_net_testkit::bed::{Netns, Process, disable_tx_offloads, file_prefix};

const PATIENCE: Duration = Duration::from_secs(30);

/// Starts an example that serves `/srv/www`, which is `www` here.
fn start(example: &str, www: &tempfile::TempDir, netns: &Netns) -> Process {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/config");
    let text = fs::read_to_string(format!("{directory}/{example}")).unwrap();
    let file = www.path().join(example);
    fs::write(
        &file,
        text.replace("/srv/www", www.path().to_str().unwrap()),
    )
    .unwrap();
    fs::write(www.path().join("a.txt"), "a file\n").unwrap();
    let prefix = format!("DPDK_NET__DPDK__FILE_PREFIX={}", file_prefix());
    let command = [
        "env",
        &prefix,
        "DPDK_NET__DPDK__HUGEPAGES=false",
        "DPDK_NET__DPDK__MEMORY=256 MiB",
        "DPDK_NET__WORKERS__IDLE=yield",
        PROGRAM,
        "run",
        file.to_str().unwrap(),
    ];
    netns.start(&command).unwrap()
}

/// The kernel's side: it asks over both families, and then the example is ended.
fn ask_and_end(kernel: &Netns, interface: &str, mut process: Process) {
    kernel.up(interface).unwrap();
    kernel.add_address(interface, "198.18.0.1/24").unwrap();
    let v6 = [
        "-6",
        "addr",
        "add",
        "fd00:198:18::1/64",
        "dev",
        interface,
        "nodad",
    ];
    kernel.ip(&v6).unwrap();
    process.wait_for("serving", START).unwrap();
    for host in ["198.18.0.2", "[fd00:198:18::2]"] {
        let got = shell(kernel, &format!("curl -gsSf http://{host}/a.txt"));
        assert_eq!(got, "a file\n");
    }
    process.signal("TERM").unwrap();
    let status = process.wait(PATIENCE).unwrap().expect("it ends");
    assert!(status.success(), "{status}: {}", process.stderr());
}

#[test]
fn the_one_over_a_tap_device_answers() {
    let (www, kernel) = (tempfile::tempdir().unwrap(), Netns::new().unwrap());
    let mut process = start("tap.toml", &www, &kernel);
    let end = Instant::now() + START;
    while !interfaces(&kernel).contains(&"tp0".to_owned()) {
        let ended = process.wait(Duration::from_millis(5)).unwrap();
        assert!(
            ended.is_none() && Instant::now() < end,
            "{}",
            process.stderr()
        );
    }
    ask_and_end(&kernel, "tp0", process);
}

#[test]
fn the_one_over_an_end_of_a_veth_pair_answers() {
    let (www, ours, kernel) = (
        tempfile::tempdir().unwrap(),
        Netns::new().unwrap(),
        Netns::new().unwrap(),
    );
    let peer = ["type", "veth", "peer", "name", "p1", "netns", kernel.name()];
    ours.ip(&[&["link", "add", "p0"], &peer[..]].concat())
        .unwrap();
    ours.up("p0").unwrap();
    kernel.up("p1").unwrap();
    disable_tx_offloads(Some(&kernel), "p1").unwrap();
    let process = start("veth.toml", &www, &ours);
    ask_and_end(&kernel, "p1", process);
}
