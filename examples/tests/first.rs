//! Each example, run as a program, with the kernel as its peer in a network namespace.

mod common;

use std::time::Duration;

use common::{Bed, Directory, RUN, START, program, stop};

#[test]
fn the_echo_server_echoes_over_both_families() {
    let bed = Bed::tap();
    let mut echo = bed.start("01_echo", &[]);
    echo.wait_for("echo on", START).unwrap();
    for address in ["TCP:198.18.0.2:7", "TCP6:[fd00:198:18::2]:7"] {
        let got = bed.shell(&format!(
            "seq 100000 | socat -t 20 - '{address}' | sha256sum"
        ));
        assert_eq!(got, bed.shell("seq 100000 | sha256sum"), "{address}");
    }
    stop(echo);
}

#[test]
fn the_echo_server_echoes_where_one_frame_in_a_hundred_is_lost() {
    let bed = Bed::lossy(0.01);
    let mut echo = bed.start("01_echo", &[]);
    echo.wait_for("echo on", START).unwrap();
    for address in ["TCP:198.18.0.2:7", "TCP6:[fd00:198:18::2]:7"] {
        let got = bed.shell(&format!(
            "seq 300000 | socat -t 20 - '{address}' | sha256sum"
        ));
        assert_eq!(got, bed.shell("seq 300000 | sha256sum"), "{address}");
    }
    stop(echo);
}

#[test]
fn the_axum_site_answers_and_its_timer_runs() {
    let bed = Bed::tap();
    let mut site = bed.start("02_axum", &["--port", "8080"]);
    site.wait_for("http on", START).unwrap();
    assert_eq!(
        bed.shell("curl -sS http://198.18.0.2:8080/hello/you"),
        "hello, you\n"
    );
    let slow = "curl -sS -o /dev/null -w '%{time_total}' 'http://[fd00:198:18::2]:8080/slow'";
    let seconds: f64 = bed.shell(slow).parse().unwrap();
    assert!((0.2..2.0).contains(&seconds), "{seconds}");
    stop(site);
}

#[test]
fn the_hyper_client_fetches_from_nginx_over_both_families() {
    let bed = Bed::tap();
    let served = Directory::new();
    let root = served.path();
    bed.shell(&format!("seq 2000000 > '{root}/file'"));
    std::fs::write(
        served.0.join("nginx.conf"),
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
    let mut nginx = bed
        .netns()
        .start(&["nginx", "-p", root, "-c", &format!("{root}/nginx.conf")])
        .unwrap();
    let expected = bed.shell(&format!("sha256sum < '{root}/file'"));
    for (host, address) in [
        ("198.18.0.1", "198.18.0.1/24"),
        ("[fd00:198:18::1]", "fd00:198:18::1/64"),
    ] {
        let client = format!(
            "set -o pipefail; '{program}' 'http://{host}:8000/file' | sha256sum & \
             until ip addr add {address} dev tp0 2>/dev/null; do sleep 0.02; done; wait $!"
        );
        assert_eq!(bed.shell(&client), expected, "{host}");
    }
    nginx.terminate(Duration::from_secs(15)).unwrap();
}

#[test]
fn the_udp_echo_server_echoes_datagrams() {
    let bed = Bed::tap();
    let mut echo = bed.start("04_udp_echo", &[]);
    echo.wait_for("UDP echo on", START).unwrap();
    for address in ["UDP:198.18.0.2:7", "UDP6:[fd00:198:18::2]:7"] {
        assert_eq!(
            bed.shell(&format!("echo datagram | socat -t 2 - '{address}'")),
            "datagram\n"
        );
    }
    stop(echo);
}

#[test]
fn the_proxy_joins_our_socket_and_the_kernels() {
    let bed = Bed::tap();
    let mut proxy = bed.start("05_proxy", &["--port", "7000", "--to", "127.0.0.1:7001"]);
    proxy.wait_for("proxy from", START).unwrap();
    let _inside = bed
        .netns()
        .start(&["socat", "TCP-LISTEN:7001,reuseaddr,fork", "EXEC:cat"])
        .unwrap();
    let got = bed.shell(
        "for i in $(seq 50); do socat -u OPEN:/dev/null TCP:127.0.0.1:7001 2>/dev/null && break; sleep 0.1; done; \
         seq 100000 | socat -t 20 - TCP:198.18.0.2:7000 | sha256sum",
    );
    assert_eq!(got, bed.shell("seq 100000 | sha256sum"));
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
    let bed = Bed::tap();
    let vlan = ["--vlan", "100=198.18.100.2/24,fd00:198:18:100::2/64"];
    let mut echo = bed.start("01_echo", &vlan);
    echo.wait_for("echo on", START).unwrap();
    // What goes over the device is tagged, both ways.
    let answer = bed.shell(
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
    if bed
        .netns()
        .run(&add.split(' ').collect::<Vec<_>>(), RUN)
        .is_ok()
    {
        bed.netns().up("tp0.100").unwrap();
        bed.netns()
            .add_address("tp0.100", "198.18.100.1/24")
            .unwrap();
        bed.netns()
            .add_address("tp0.100", "fd00:198:18:100::1/64")
            .unwrap();
        served.push(("TCP:198.18.100.2:7", "198.18.100.2"));
        served.push(("TCP6:[fd00:198:18:100::2]:7", "fd00:198:18:100::2"));
    }
    let expected = bed.shell("seq 100000 | sha256sum");
    for (address, what) in served {
        let echo = format!("seq 100000 | socat -t 20 - '{address}' | sha256sum");
        assert_eq!(bed.shell(&echo), expected, "{what}");
    }
    stop(echo);
}
