//! The demo on devices that it does not make itself: an existing interface through AF_PACKET and AF_XDP, and memif and
//! vhost with a second process of ours at the other end.

mod common;

use std::path::PathBuf;

use common::{Demo, PROGRAM, START, interfaces, refused, shell};
use dpdk_net_testkit::bed::Netns;

const HOSTS: [&str; 2] = ["198.18.0.2", "[fd00:198:18::2]"];

/// A namespace with a veth pair: the kernel's end `k0` with addresses, and `p0` for the demo.
fn with_veth() -> Netns {
    let netns = Netns::new().unwrap();
    shell(
        &netns,
        "ip link add k0 type veth peer name p0
         ip link set dev p0 arp off addrgenmode none
         ip link set dev k0 up
         ip link set dev p0 up
         ip address add 198.18.0.1/24 dev k0
         ip address add fd00:198:18::1/64 dev k0 nodad
         ethtool -K k0 tx off",
    );
    netns
}

/// Pages, bulk in both directions and pings over both families, with the kernel as client.
fn assert_serves_the_kernel(demo: &Demo) {
    for host in HOSTS {
        let url = format!("http://{host}");
        assert_eq!(demo.shell(&format!("curl -gsSf {url}/healthz")), "ok\n");
        let got = demo.shell(&format!("curl -gsSf {url}/download/20MiB | sha256sum"));
        let said = demo.shell(&format!("curl -gsSf {url}/download/20MiB/sha256"));
        assert_eq!(digest(&got), digest(&said), "{host}");
        let sent: serde_json::Value = serde_json::from_str(&demo.shell(&format!(
            "seq 3000000 | curl -gsSf --data-binary @- {url}/upload"
        )))
        .unwrap();
        assert_eq!(
            sent["sha256"].as_str(),
            Some(digest(&demo.shell("seq 3000000 | sha256sum"))),
            "{host}"
        );
    }
    for command in [
        "ping -c 20 -i 0.02 198.18.0.2",
        "ping -6 -c 20 -i 0.02 fd00:198:18::2",
        "ping -c 5 -i 0.02 -s 1900 198.18.0.2",
        "ping -6 -c 5 -i 0.02 -s 4000 fd00:198:18::2",
    ] {
        let report = demo.shell(command);
        assert!(
            report.contains(" 0% packet loss") && !report.contains("DUP"),
            "{report}"
        );
    }
}

/// The first word of what sha256sum prints.
fn digest(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

#[test]
fn on_an_existing_interface_af_packet_serves_the_kernel_at_the_far_end() {
    let mut demo = Demo::start_in(with_veth(), &["--device", "af_packet=p0"]);
    assert_serves_the_kernel(&demo);
    demo.end("INT");
    assert_eq!(interfaces(&demo.netns), ["lo", "p0", "k0"]);
}

#[test]
fn on_an_existing_interface_af_xdp_serves_the_kernel_at_the_far_end() {
    let mut demo = Demo::start_in(with_veth(), &["--device", "af_xdp=p0"]);
    assert!(demo.shell("ip link show dev p0").contains("xdp"));
    assert_serves_the_kernel(&demo);
    demo.end("TERM");
    let link = demo.shell("ip link show dev p0");
    assert!(!link.contains("xdp"), "the program is detached: {link}");
}

#[test]
fn after_a_killed_demo_af_xdp_starts_again() {
    let killed = Demo::start_in(with_veth(), &["--device", "af_xdp=p0"]);
    let demo = Demo::start_in(kill(killed), &["--device", "af_xdp=p0"]);
    assert_eq!(demo.shell("curl -sSf http://198.18.0.2/healthz"), "ok\n");
}

#[test]
fn what_would_keep_packets_from_arriving_is_said_at_start() {
    let netns = with_veth();
    shell(&netns, "ethtool -K k0 tx on; ethtool -L p0 rx 2 tx 2");
    let demo = Demo::start_in(netns, &["--device", "af_xdp=p0"]);
    for warning in ["ethtool -K k0 tx off", "ethtool -L p0"] {
        let said = demo.process.stderr();
        assert!(said.contains(warning), "{warning}: {said}");
    }
}

#[test]
fn an_mtu_that_xdp_does_not_take_is_refused_with_the_limit() {
    let netns = with_veth();
    shell(
        &netns,
        "ip link set dev k0 mtu 9000; ip link set dev p0 mtu 9000",
    );
    let demo = ["demo", "--device", "af_xdp=p0"];
    let command = [&["ip", "netns", "exec", netns.name(), PROGRAM], &demo[..]].concat();
    let (code, said) = refused(&command);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("an MTU of at most 3498"), "{said}");
}

/// What a shell script prints, in which `fetch` is the example beside this test, on the device `vdev`.
fn with_fetch(netns: &Netns, vdev: &str, script: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let profile: PathBuf = test.ancestors().nth(2).unwrap().into();
    let program = profile.join("examples/fetch");
    assert!(
        program.exists(),
        "{} is not built: cargo build -p dpdk-net-cli --examples",
        program.display()
    );
    let program = program.display();
    shell(
        netns,
        &format!("fetch() {{ '{program}' --vdev '{vdev}' \"$@\"; }}\n{script}"),
    )
}

/// Pages and bulk over both families, with a second process of ours on `vdev` as client.
fn assert_serves_a_process(demo: &Demo, vdev: &str) {
    for host in HOSTS {
        let url = format!("http://{host}");
        let said = with_fetch(
            &demo.netns,
            vdev,
            &format!("fetch '{url}/healthz' '{url}/download/20MiB/sha256'"),
        );
        let (health, said) = said.split_once('\n').unwrap();
        assert_eq!(health, "ok", "{host}");
        let got = with_fetch(
            &demo.netns,
            vdev,
            &format!("fetch '{url}/download/20MiB' | sha256sum"),
        );
        assert_eq!(digest(&got), digest(said), "{host}");
    }
}

#[test]
fn over_memif_a_second_process_gets_what_the_demo_serves() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let device = format!("memif={}", socket.display());
    let client = format!(
        "net_memif0,role=client,socket={},socket-abstract=no",
        socket.display()
    );
    let mut demo = Demo::start_in(Netns::new().unwrap(), &["--device", &device]);
    assert_serves_a_process(&demo, &client);
    demo.end("INT");
    assert!(!socket.exists(), "the socket is left");
}

#[test]
fn over_vhost_a_second_process_with_virtio_user_gets_what_the_demo_serves() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let device = format!("vdev=net_vhost0,iface={}", socket.display());
    let mut demo = Demo::start_in(Netns::new().unwrap(), &["--device", &device]);
    for ring in ["packed_vq=0", "packed_vq=1"] {
        let client = format!(
            "net_virtio_user0,path={},mac=02:00:00:00:00:07,{ring}",
            socket.display()
        );
        assert_serves_a_process(&demo, &client);
    }
    demo.end("INT");
    assert!(!socket.exists(), "the socket is left");
}

#[test]
fn a_socket_is_refused_while_it_is_served_and_taken_over_after_its_server_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    for (device, name) in [("memif=", "memif"), ("vdev=net_vhost0,iface=", "vhost")] {
        let socket = directory.path().join(name);
        let device = format!("{device}{}", socket.display());
        let demo = Demo::start_in(Netns::new().unwrap(), &["--device", &device]);
        let (code, said) = refused(&[PROGRAM, "demo", "--device", &device]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains("another process serves the socket"), "{said}");

        let netns = kill(demo);
        assert!(socket.exists(), "nobody removed {name}");
        Demo::start_in(netns, &["--device", &device]).end("INT");
    }
}

#[test]
fn a_memif_client_without_a_server_says_to_start_it_first() {
    let directory = tempfile::tempdir().unwrap();
    let device = format!("memif={}/s,role=client", directory.path().display());
    let (code, said) = refused(&[PROGRAM, "demo", "--device", &device]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("start the memif server first"), "{said}");
}

/// Kills the demo's process, so that it can't tidy up; its namespace stays.
fn kill(mut demo: Demo) -> Netns {
    demo.process.signal("KILL").unwrap();
    demo.process.wait(START).unwrap().expect("it is killed");
    demo.netns
}
