//! One program on the kernel's network and on ours: the sources differ in one line, and answer the same.

mod common;

use std::path::Path;

use common::{Bed, Directory, START, stop};
use dpdk_net_testkit::bed::Netns;

#[test]
fn the_two_sources_differ_in_one_line() {
    let read = |name: &str| {
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
    };
    let (ours, kernel) = (read("16_one_line.rs"), read("16_one_line_kernel.rs"));
    assert_eq!(ours.lines().count(), kernel.lines().count());
    let differing: Vec<_> = ours
        .lines()
        .zip(kernel.lines())
        .filter(|(ours, kernel)| ours != kernel)
        .collect();
    assert_eq!(
        differing,
        [("use dpdk_net as network;", "use tokio as network;")]
    );
}

/// Everything that the program does, asked by curl and socat at these hosts; the banner is that of a server at `banner`.
fn asked(netns: &Netns, hosts: [&str; 2], banner: &str) -> Vec<String> {
    let _server = netns
        .start(&[
            "socat",
            "TCP-LISTEN:9100,reuseaddr,fork",
            "SYSTEM:echo welcome",
        ])
        .unwrap();
    common::shell(
        netns,
        "for i in $(seq 50); do ss -ltn | grep -q :9100 && break; sleep 0.1; done",
    );
    let mut answers = Vec::new();
    for host in hosts {
        for script in [
            format!("curl -sS -m 30 'http://{host}:8080/hello/you'"),
            format!("curl -sS -m 30 --http2-prior-knowledge 'http://{host}:8080/hello/two'"),
            format!("seq 100000 | curl -sS -m 30 'http://{host}:8080/length' --data-binary @-"),
            format!("curl -sS -m 30 'http://{host}:8080/banner/{banner}:9100'"),
            format!(
                "curl -sS -m 30 -o /dev/null -w '%{{http_code}}' 'http://{host}:8080/banner/{banner}:9101'"
            ),
            format!("echo datagram | socat -t 2 - 'UDP:{host}:8007'"),
        ] {
            answers.push(common::shell(netns, &script));
        }
    }
    answers
}

#[test]
fn both_answer_the_same() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let config = directory.0.join("ours.toml");
    std::fs::write(
        &config,
        "[dpdk]\nhugepages = false\nmemory = \"256 MiB\"\nshared_config = false\ntelemetry = false\n\
         [[port]]\nvdev = \"net_tap0,iface=tp0\"\n\
         [network]\naddresses = [\"198.18.0.2/24\", \"fd00:198:18::2/64\"]\n",
    )
    .unwrap();
    let mut ours = bed.start_plain("16_one_line", &[config.to_str().unwrap()]);
    ours.wait_for("ready on", START).unwrap();
    let by_ours = asked(bed.netns(), common::HOSTS, common::KERNEL[0]);
    stop(ours);

    let netns = Netns::new().unwrap();
    let mut kernel = netns
        .start(&[common::program("16_one_line_kernel")])
        .unwrap();
    kernel.wait_for("ready on", START).unwrap();
    let by_kernel = asked(&netns, ["127.0.0.1", "[::1]"], "127.0.0.1");
    kernel.signal("KILL").unwrap();
    assert_eq!(by_ours, by_kernel);
    assert!(by_ours.contains(&"welcome\n".to_owned()), "{by_ours:?}");
    assert!(by_ours.contains(&"datagram\n".to_owned()), "{by_ours:?}");
}
