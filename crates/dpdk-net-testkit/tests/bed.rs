//! The fixtures around the kernel: they work, say why when they can't, and leave nothing behind. Needs root.
#![cfg(feature = "vdev")]

use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use dpdk_net_testkit::bed::{Netns, Process, Veth, file_prefix, free_tcp_port, run, unique_name};

const TIMEOUT: Duration = Duration::from_secs(20);

#[test]
fn a_namespace_is_there_while_its_guard_lives() {
    let netns = Netns::new().unwrap();
    let path = netns.path();
    assert!(Path::new(&path).exists());
    let links = netns.run(&["ip", "-o", "link"], TIMEOUT).unwrap().text();
    assert!(
        links.contains("lo:") && links.lines().all(|line| !line.contains("eth0")),
        "{links}"
    );
    drop(netns);
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_veth_pair_carries_both_families_between_two_namespaces() {
    let (left, right) = (Netns::new().unwrap(), Netns::new().unwrap());
    let veth = Veth::new(Some(&left), Some(&right)).unwrap();
    for (netns, interface, n) in [(&left, veth.left(), 1), (&right, veth.right(), 2)] {
        netns
            .add_address(interface, &format!("198.18.0.{n}/24"))
            .unwrap();
        netns
            .add_address(interface, &format!("fd00:db0d::{n}/64"))
            .unwrap();
    }
    let listener = |addr: &str| {
        let code = format!(
            "import socket\n\
             s = socket.create_server(('{addr}', 0), family=socket.AF_INET{})\n\
             print('port', s.getsockname()[1], 'end', flush=True)\n\
             s.accept()[0].sendall(b'hello')",
            if addr.contains(':') { "6" } else { "" }
        );
        let mut server = right.start(&["python3", "-c", &code]).unwrap();
        server.wait_for(" end", TIMEOUT).unwrap();
        let port = server
            .stdout()
            .split_whitespace()
            .nth(1)
            .unwrap()
            .to_owned();
        (server, port)
    };
    for addr in ["198.18.0.2", "fd00:db0d::2"] {
        let (mut server, port) = listener(addr);
        let code = format!(
            "import socket; print(socket.create_connection(('{addr}', {port})).recv(5).decode())"
        );
        assert_eq!(
            left.run(&["python3", "-c", &code], TIMEOUT).unwrap().text(),
            "hello\n"
        );
        assert!(server.wait(TIMEOUT).unwrap().unwrap().success());
    }
    let name = veth.left().to_owned();
    drop(veth);
    assert!(
        !left
            .run(&["ip", "-o", "link"], TIMEOUT)
            .unwrap()
            .text()
            .contains(&name)
    );
}

#[test]
fn an_interface_can_be_moved_into_a_namespace() {
    let netns = Netns::new().unwrap();
    let veth = Veth::new(None, Some(&netns)).unwrap();
    netns.adopt(veth.left()).unwrap();
    assert!(
        netns
            .ip(&["-o", "link"])
            .unwrap()
            .text()
            .contains(veth.left())
    );
}

#[test]
fn a_program_that_fails_or_hangs_is_told_with_its_command_and_its_words() {
    let error = run(&["sh", "-c", "echo what a pity >&2; exit 3"], TIMEOUT)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("what a pity") && error.contains("sh -c") && error.contains('3'),
        "{error}"
    );
    let started = Instant::now();
    let error = run(&["sleep", "100"], Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    assert!(started.elapsed() < TIMEOUT);
    let error = run(&["no-such-program-of-dpdk-net"], TIMEOUT).unwrap_err();
    assert!(
        error.kind() == std::io::ErrorKind::NotFound && error.to_string().contains("setup"),
        "{error}"
    );
}

#[test]
fn output_larger_than_a_pipe_is_captured_whole() {
    let output = run(&["head", "-c", "1000000", "/dev/zero"], TIMEOUT).unwrap();
    assert_eq!(output.stdout.len(), 1_000_000);
}

#[test]
fn a_dropped_process_is_gone_with_its_children() {
    let mut process =
        Process::start(&["sh", "-c", "sleep 1000 & echo child $! end; wait"]).unwrap();
    process.wait_for(" end", TIMEOUT).unwrap();
    let child = process
        .stdout()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .to_owned();
    let pids = [process.pid().to_string(), child];
    assert!(pids.iter().all(|pid| is_running(pid)));
    drop(process);
    let end = Instant::now() + TIMEOUT;
    while pids.iter().any(|pid| is_running(pid)) {
        assert!(Instant::now() < end, "one of {pids:?} survived");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Neither gone nor a zombie that waits for its parent.
fn is_running(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_program_can_be_asked_to_end() {
    let mut process = Process::start(&[
        "sh",
        "-c",
        "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
    ])
    .unwrap();
    process.wait_for("ready", TIMEOUT).unwrap();
    assert_eq!(process.terminate(TIMEOUT).unwrap().code(), Some(7));
    assert!(
        process
            .signal("TERM")
            .unwrap_err()
            .to_string()
            .contains("has ended")
    );
}

#[test]
fn names_are_unique_and_short_enough_for_an_interface() {
    let names: Vec<_> = (0..10).map(|_| unique_name("vl")).collect();
    assert!(names.iter().all(|name| name.len() <= 15));
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(sorted.len(), names.len());
    assert_ne!(file_prefix(), file_prefix());
}

#[test]
fn a_free_port_can_be_bound() {
    let ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let port = free_tcp_port(ip).unwrap();
    TcpListener::bind(SocketAddr::new(ip, port)).unwrap();
}
