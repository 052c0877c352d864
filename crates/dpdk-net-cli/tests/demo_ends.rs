//! However the demo ends, nothing of it stays.

mod common;

use std::time::Duration;

use common::Demo;

#[test]
fn ctrl_c_ends_it_with_0_and_leaves_nothing() {
    let mut demo = Demo::start(&[]);
    assert_eq!(common::interfaces(&demo.netns), ["lo", "dpdk-net0"]);
    demo.shell("curl -sSf http://198.18.0.2/healthz");
    let stderr = demo.end("INT");
    assert_eq!(stderr, "", "nothing is complained about");
    demo.assert_nothing_left();
}

#[test]
fn sigterm_with_connections_open_ends_them_and_leaves_nothing() {
    let mut demo = Demo::start(&["--drain", "1"]);
    let mut download = demo
        .netns
        .start(&[
            "curl",
            "-sS",
            "--limit-rate",
            "1M",
            "-o",
            "/dev/null",
            "http://198.18.0.2/download/1GiB",
        ])
        .unwrap();
    let mut echo = demo
        .netns
        .start(&["socat", "-u", "TCP:198.18.0.2:7", "-"])
        .unwrap();
    demo.shell("for i in $(seq 100); do ss -Htn state established | grep -q :80 && ss -Htn state established | grep -q :7 && exit 0; sleep 0.05; done; exit 1");
    demo.end("TERM");
    demo.assert_nothing_left();
    let ended = download
        .wait(Duration::from_secs(10))
        .unwrap()
        .expect("the download ends");
    assert!(!ended.success(), "it was cut off");
    assert!(
        echo.wait(Duration::from_secs(10)).unwrap().is_some(),
        "the echo client was told"
    );
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_connections() {
    let mut demo = Demo::start(&["--drain", "600"]);
    let _download = demo
        .netns
        .start(&[
            "curl",
            "-sS",
            "--limit-rate",
            "1M",
            "-o",
            "/dev/null",
            "http://198.18.0.2/download/1GiB",
        ])
        .unwrap();
    demo.shell("for i in $(seq 100); do ss -Htn state established | grep -q :80 && exit 0; sleep 0.05; done; exit 1");
    demo.process.signal("INT").unwrap();
    assert_eq!(
        demo.process.wait(Duration::from_millis(700)).unwrap(),
        None,
        "the first one drains"
    );
    demo.end("INT");
    demo.assert_nothing_left();
}

#[test]
fn a_veth_pair_is_removed_at_the_end() {
    let mut demo = Demo::start(&["--device", "veth"]);
    assert_eq!(common::interfaces(&demo.netns).len(), 3);
    demo.end("INT");
    demo.assert_nothing_left();
}

#[test]
fn when_killed_the_tap_goes_and_the_next_demo_starts() {
    let mut demo = Demo::start(&[]);
    demo.process.signal("KILL").unwrap();
    assert!(
        demo.process
            .wait(Duration::from_secs(10))
            .unwrap()
            .is_some()
    );
    assert_eq!(common::interfaces(&demo.netns), ["lo"]);
    let mut next = Demo::start_in(demo.netns, &[]);
    next.end("INT");
}

#[test]
fn when_killed_the_veth_pair_is_removed_by_the_next_demo() {
    let mut demo = Demo::start(&["--device", "veth"]);
    demo.process.signal("KILL").unwrap();
    assert!(
        demo.process
            .wait(Duration::from_secs(10))
            .unwrap()
            .is_some()
    );
    assert_eq!(
        common::interfaces(&demo.netns).len(),
        3,
        "the kernel keeps the pair"
    );
    let mut next = Demo::start_in(demo.netns, &["--device", "veth"]);
    assert_eq!(next.shell("curl -sSf http://198.18.0.2/healthz"), "ok\n");
    next.end("INT");
    next.assert_nothing_left();
}
