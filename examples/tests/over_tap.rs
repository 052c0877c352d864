//! Each example, run as a program, with the kernel as its peer over a TAP device in a network namespace.

use std::path::PathBuf;
use std::time::Duration;

use dpdk_net_testkit::bed::{Netns, Process};

const START: Duration = Duration::from_secs(30);
const RUN: Duration = Duration::from_secs(30);

/// Cargo builds examples beside the tests of their package, in `target/PROFILE/examples`.
fn program(example: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let profile: PathBuf = test.ancestors().nth(2).unwrap().into();
    let program = profile.join("examples").join(example);
    assert!(program.exists(), "{} is not built", program.display());
    program.into_os_string().into_string().unwrap()
}

/// Starts an example in `netns` and gives the kernel's end its addresses, once DPDK has made it.
fn start(netns: &Netns, example: &str, args: &[&str]) -> Process {
    let program = program(example);
    let process = netns.start(&[&[program.as_str()], args].concat()).unwrap();
    let give_address = |address: &str| {
        let deadline = std::time::Instant::now() + START;
        while netns.add_address("tp0", address).is_err() {
            assert!(
                std::time::Instant::now() < deadline,
                "tp0 did not appear: {}",
                process.stderr()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    give_address("198.18.0.1/24");
    give_address("fd00:198:18::1/64");
    process
}

fn stop(mut process: Process) {
    let status = process.terminate(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}: {}", process.stderr());
}

fn shell(netns: &Netns, script: &str) -> String {
    netns.run(&["bash", "-c", script], RUN).unwrap().text()
}

#[test]
fn the_echo_server_echoes_over_both_families() {
    let netns = Netns::new().unwrap();
    let mut echo = start(&netns, "01_echo", &[]);
    echo.wait_for("echo on", START).unwrap();
    for address in ["TCP:198.18.0.2:7", "TCP6:[fd00:198:18::2]:7"] {
        let got = shell(
            &netns,
            &format!("seq 100000 | socat -t 20 - '{address}' | sha256sum"),
        );
        assert_eq!(got, shell(&netns, "seq 100000 | sha256sum"), "{address}");
    }
    stop(echo);
}

#[test]
fn the_axum_site_answers_and_its_timer_runs() {
    let netns = Netns::new().unwrap();
    let mut site = start(&netns, "02_axum", &["--port", "8080"]);
    site.wait_for("http on", START).unwrap();
    assert_eq!(
        shell(&netns, "curl -sS http://198.18.0.2:8080/hello/you"),
        "hello, you\n"
    );
    let slow = "curl -sS -o /dev/null -w '%{time_total}' 'http://[fd00:198:18::2]:8080/slow'";
    let seconds: f64 = shell(&netns, slow).parse().unwrap();
    assert!((0.2..2.0).contains(&seconds), "{seconds}");
    stop(site);
}

#[test]
fn the_hyper_client_fetches_from_nginx_over_both_families() {
    let netns = Netns::new().unwrap();
    let served = tempdir();
    let root = served.to_str().unwrap();
    shell(&netns, &format!("seq 2000000 > '{root}/file'"));
    std::fs::write(
        served.join("nginx.conf"),
        format!(
            "daemon off; user root; worker_processes 1; pid {root}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{\n\
             access_log off;\n\
             client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
             uwsgi_temp_path {root}; scgi_temp_path {root};\n\
             server {{ listen [::]:8000 ipv6only=off; root {root}; }}\n\
             }}\n"
        ),
    )
    .unwrap();
    let program = program("03_hyper_client");
    // The server listens on addresses that the TAP is given later.
    let mut nginx = netns
        .start(&["nginx", "-p", root, "-c", &format!("{root}/nginx.conf")])
        .unwrap();
    let expected = shell(&netns, &format!("sha256sum < '{root}/file'"));
    for (host, address) in [
        ("198.18.0.1", "198.18.0.1/24"),
        ("[fd00:198:18::1]", "fd00:198:18::1/64"),
    ] {
        let client = format!(
            "set -o pipefail; '{program}' 'http://{host}:8000/file' | sha256sum & \
             until ip addr add {address} dev tp0 2>/dev/null; do sleep 0.02; done; wait $!"
        );
        assert_eq!(shell(&netns, &client), expected, "{host}");
    }
    nginx.terminate(Duration::from_secs(15)).unwrap();
    std::fs::remove_dir_all(served).unwrap();
}

#[test]
fn the_udp_echo_server_echoes_datagrams() {
    let netns = Netns::new().unwrap();
    let mut echo = start(&netns, "04_udp_echo", &[]);
    echo.wait_for("UDP echo on", START).unwrap();
    for address in ["UDP:198.18.0.2:7", "UDP6:[fd00:198:18::2]:7"] {
        assert_eq!(
            shell(&netns, &format!("echo datagram | socat -t 2 - '{address}'")),
            "datagram\n"
        );
    }
    stop(echo);
}

#[test]
fn the_proxy_joins_our_socket_and_the_kernels() {
    let netns = Netns::new().unwrap();
    let mut proxy = start(
        &netns,
        "05_proxy",
        &["--port", "7000", "--to", "127.0.0.1:7001"],
    );
    proxy.wait_for("proxy from", START).unwrap();
    let _inside = netns
        .start(&["socat", "TCP-LISTEN:7001,reuseaddr,fork", "EXEC:cat"])
        .unwrap();
    let got = shell(
        &netns,
        "for i in $(seq 50); do socat -u OPEN:/dev/null TCP:127.0.0.1:7001 2>/dev/null && break; sleep 0.1; done; \
         seq 100000 | socat -t 20 - TCP:198.18.0.2:7000 | sha256sum",
    );
    assert_eq!(got, shell(&netns, "seq 100000 | sha256sum"));
    stop(proxy);
}

/// An ARP question for 198.18.100.2 by 198.18.100.1 in VLAN 100, as printf wants it.
const TAGGED_ARP: &str = concat!(
    r"\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x77",
    r"\x81\x00\x00\x64\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01",
    r"\x02\x00\x00\x00\x00\x77\xc6\x12\x64\x01",
    r"\x00\x00\x00\x00\x00\x00\xc6\x12\x64\x02",
);

#[test]
fn the_echo_server_serves_a_vlan_beside_the_untagged_network() {
    let netns = Netns::new().unwrap();
    let vlan = ["--vlan", "100=198.18.100.2/24,fd00:198:18:100::2/64"];
    let mut echo = start(&netns, "01_echo", &vlan);
    echo.wait_for("echo on", START).unwrap();
    // What goes over the device is tagged, both ways.
    let answer = shell(
        &netns,
        &format!(
            "timeout 20 tcpdump -l -n -e -c 1 -i tp0 'vlan 100 and ether dst 02:00:00:00:00:77' & \
             for i in $(seq 50); do \
             printf '{TAGGED_ARP}' | socat -u - INTERFACE:tp0; sleep 0.1; kill -0 $! 2>/dev/null || break; \
             done; wait $!"
        ),
    );
    assert!(answer.contains("vlan 100"), "{answer}");
    assert!(answer.contains("198.18.100.2 is-at"), "{answer}");
    // And so it is with the kernel's own interface of the VLAN, where the kernel knows of VLANs.
    let add = "ip link add link tp0 name tp0.100 type vlan id 100";
    let mut served = vec![("TCP:198.18.0.2:7", "198.18.0.2")];
    if netns.run(&add.split(' ').collect::<Vec<_>>(), RUN).is_ok() {
        netns.up("tp0.100").unwrap();
        netns.add_address("tp0.100", "198.18.100.1/24").unwrap();
        netns
            .add_address("tp0.100", "fd00:198:18:100::1/64")
            .unwrap();
        served.push(("TCP:198.18.100.2:7", "198.18.100.2"));
        served.push(("TCP6:[fd00:198:18:100::2]:7", "fd00:198:18:100::2"));
    }
    let expected = shell(&netns, "seq 100000 | sha256sum");
    for (address, what) in served {
        let echo = format!("seq 100000 | socat -t 20 - '{address}' | sha256sum");
        assert_eq!(shell(&netns, &echo), expected, "{what}");
    }
    stop(echo);
}

fn tempdir() -> PathBuf {
    let directory = std::env::temp_dir().join(dpdk_net_testkit::bed::unique_name("ex"));
    std::fs::create_dir(&directory).unwrap();
    directory
}
