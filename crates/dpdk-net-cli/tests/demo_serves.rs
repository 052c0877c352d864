//! The demo with the kernel's own programs as clients: HTTP, ICMP and the small services, over both families.

mod common;

use common::{Demo, PROGRAM};

const V4: &str = "198.18.0.2";
const V6: &str = "[fd00:198:18::2]";

#[test]
fn the_page_its_figures_and_the_health_check_answer_over_both_families() {
    let demo = Demo::start(&[]);
    for host in [V4, V6] {
        assert!(
            demo.shell(&format!("curl -gsSf http://{host}/"))
                .contains("<title>dpdk-net</title>"),
            "{host}"
        );
        assert_eq!(
            demo.shell(&format!("curl -gsSf http://{host}/healthz")),
            "ok\n"
        );
    }
    let figures: serde_json::Value =
        serde_json::from_str(&demo.shell(&format!("curl -sSf http://{V4}/stats"))).unwrap();
    assert_eq!(figures["port_name"], "net_tap0");
    assert!(
        figures["stack"]["tcp"]["passive_opens"].as_u64() >= Some(5),
        "{figures}"
    );
    assert_eq!(
        figures["connections"]["list"][0]["state"], "Established",
        "{figures}"
    );
    let later: serde_json::Value =
        serde_json::from_str(&demo.shell(&format!("curl -sSf http://{V4}/stats"))).unwrap();
    for counter in ["/stack/frames/rx_frames", "/worker/turns"] {
        let of = |figures: &serde_json::Value| {
            figures
                .pointer(counter)
                .and_then(serde_json::Value::as_u64)
                .unwrap()
        };
        assert!(of(&later) > of(&figures), "{counter} is live");
    }
}

#[test]
fn ping_loses_nothing_over_both_families() {
    let demo = Demo::start(&[]);
    for command in [
        "ping -c 50 -i 0.02 198.18.0.2",
        "ping -6 -c 50 -i 0.02 fd00:198:18::2",
        "ping -c 5 -i 0.02 -s 4000 198.18.0.2",
    ] {
        let report = demo.shell(command);
        assert!(report.contains(" 0% packet loss"), "{report}");
    }
}

#[test]
fn the_small_services_answer_over_tcp_and_udp_and_both_families() {
    let demo = Demo::start(&[]);
    for (tcp, udp, host) in [("TCP", "UDP", V4), ("TCP6", "UDP6", V6)] {
        let echoed = demo.shell(&format!(
            "seq 200000 | socat -t 20 - '{tcp}:{host}:7' | sha256sum"
        ));
        assert_eq!(echoed, demo.shell("seq 200000 | sha256sum"), "echo, {tcp}");
        assert_eq!(
            demo.shell(&format!(
                "seq 200000 | socat -t 20 - '{tcp}:{host}:9' | wc -c"
            )),
            "0\n",
            "discard, {tcp}"
        );
        let characters = demo.shell(&format!(
            "set +o pipefail; socat -u '{tcp}:{host}:19' - | head -c 1000000 | sed -n 96p"
        ));
        assert!(
            characters.starts_with(" !\"#$%&'()*+,-./0123456789"),
            "chargen, {tcp}: {characters}"
        );

        assert_eq!(
            demo.shell(&format!("echo datagram | socat -t 1 - '{udp}:{host}:7'")),
            "datagram\n",
            "echo, {udp}"
        );
        assert_eq!(
            demo.shell(&format!(
                "echo datagram | socat -t 0.3 - '{udp}:{host}:9' | wc -c"
            )),
            "0\n",
            "discard, {udp}"
        );
        let line = demo.shell(&format!("echo | socat -t 1 - '{udp}:{host}:19'"));
        assert!(
            line.len() == 74 && line.starts_with(" !\"#"),
            "chargen, {udp}: {line}"
        );
    }
}

#[test]
fn a_hundred_mebibytes_come_down_as_they_are() {
    let demo = Demo::start(&[]);
    for host in [V4, V6] {
        let got = demo.shell(&format!(
            "curl -gsSf http://{host}/download/100MiB | sha256sum"
        ));
        let said = demo.shell(&format!("curl -gsSf http://{host}/download/100MiB/sha256"));
        assert_eq!(
            got.split_whitespace().next(),
            said.split_whitespace().next(),
            "{host}"
        );
    }
}

#[test]
fn a_hundred_mebibytes_go_up_as_they_are() {
    let demo = Demo::start(&[]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let digest = demo.shell(&format!(
        "head -c 104857600 /dev/urandom > '{path}'; sha256sum '{path}'"
    ));
    for host in [V4, V6] {
        let answer = demo.shell(&format!(
            "curl -gsSf --upload-file '{path}' http://{host}/upload"
        ));
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["bytes"], 104_857_600, "{host}");
        assert_eq!(
            answer["sha256"].as_str(),
            digest.split_whitespace().next(),
            "{host}"
        );
    }
}

#[test]
fn a_hundred_connections_for_ten_seconds_meet_no_socket_error() {
    let demo = Demo::start(&[]);
    let report = demo.shell(&format!("wrk -c 100 -d 10 -t 2 http://{V4}/"));
    assert!(report.contains("Requests/sec"), "{report}");
    assert!(
        !report.contains("Socket errors") && !report.contains("Non-2xx"),
        "{report}"
    );
}

#[test]
fn addresses_ports_and_names_are_what_the_options_say() {
    let demo = Demo::start(&[
        "--address",
        "198.18.7.9/28",
        "--peer-address",
        "198.18.7.14/28",
        "--address",
        "fd00:7::9/64",
        "--http-port",
        "8080",
        "--interface",
        "web0",
        "--no-small-services",
        "--mtu",
        "1400",
    ]);
    assert_eq!(common::interfaces(&demo.netns), ["lo", "web0"]);
    let addresses = demo.shell("ip -brief address show dev web0");
    assert!(
        addresses.contains("198.18.7.14/28") && addresses.contains("fd00:7::1/64"),
        "{addresses}"
    );
    for host in ["198.18.7.9", "[fd00:7::9]"] {
        assert_eq!(
            demo.shell(&format!("curl -gsSf http://{host}:8080/healthz")),
            "ok\n"
        );
        let refused = demo.shell(&format!(
            "curl -gsS --max-time 5 http://{host}:80/ 2>&1 || true"
        ));
        assert!(
            refused.contains("refused") || refused.contains("Couldn't connect"),
            "{refused}"
        );
        assert_eq!(
            demo.shell(&format!(
                "nc -z -w 2 {} 7 && echo open || echo closed",
                host.trim_matches(['[', ']'])
            )),
            "closed\n"
        );
    }
}

#[test]
fn over_a_veth_pair_and_af_packet_the_same_services_answer() {
    let demo = Demo::start(&["--device", "veth"]);
    for host in [V4, V6] {
        assert_eq!(
            demo.shell(&format!("curl -gsSf http://{host}/healthz")),
            "ok\n"
        );
        let got = demo.shell(&format!(
            "curl -gsSf http://{host}/download/20MiB | sha256sum"
        ));
        let said = demo.shell(&format!("curl -gsSf http://{host}/download/20MiB/sha256"));
        assert_eq!(
            got.split_whitespace().next(),
            said.split_whitespace().next(),
            "{host}"
        );
        let sent = demo.shell(&format!(
            "seq 3000000 | curl -gsSf --data-binary @- http://{host}/upload"
        ));
        let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
        let digest = demo.shell("seq 3000000 | sha256sum");
        assert_eq!(
            sent["sha256"].as_str(),
            digest.split_whitespace().next(),
            "{host}"
        );
    }
    let report = demo.shell("ping -c 20 -i 0.02 198.18.0.2");
    assert!(
        report.contains(" 0% packet loss") && !report.contains("DUP"),
        "{report}"
    );
}

#[test]
fn it_can_be_asked_by_its_control_socket_with_the_command_that_it_prints() {
    use std::os::unix::fs::MetadataExt;

    let mut demo = Demo::start(&[]);
    let printed = demo.process.stdout();
    let top = printed
        .lines()
        .find_map(|line| line.trim().strip_prefix("dpdk-net top --socket "))
        .unwrap_or_else(|| panic!("no command: {printed}"));
    let socket = top.split_whitespace().next().unwrap().to_owned();
    assert_eq!(socket, format!("/run/dpdk-net/{}.sock", demo.file_prefix));
    let mode = std::fs::metadata(&socket).unwrap().mode();
    assert_eq!(mode & 0o777, 0o600, "for its owner alone");

    let mut top = common::pty::Pty::start(&[PROGRAM, "top", "--socket", &socket]);
    top.wait_for(&demo.file_prefix, common::START);
    top.wait_for("net_tap0", common::START);
    top.press("q");
    let echo = "exec 3<>/dev/tcp/198.18.0.2/7; echo hello >&3; head -n 1 <&3; sleep 5";
    let mut held = demo.netns.start(&["bash", "-c", echo]).unwrap();
    held.wait_for("hello", common::START).unwrap();
    let tool = |args: &[&str]| {
        // Before a filter, which goes on to the end.
        let (command, args) = args.split_first().unwrap();
        let command = [&[PROGRAM, command, "--socket", &socket], args].concat();
        common::output(&command).text()
    };
    assert!(tool(&["ss", "sport", "=", ":7"]).contains("198.18.0.2:7"));
    assert!(tool(&["stats"]).contains("rx_frames"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let name = file.path().to_str().unwrap();
    tool(&["trace", "--port", "7", "--for", "100ms", "-w", name]);
    let traced = std::fs::read_to_string(name).unwrap();
    assert!(traced.contains("tcp:connection_started"), "{traced}");
    let mut ping = demo
        .netns
        .start(&["ping", "-i", "0.05", "-c", "100", "198.18.0.2"])
        .unwrap();
    tool(&["capture", "-c", "2", "-w", name, "icmp"]);
    assert!(std::fs::metadata(name).unwrap().len() > 200);
    ping.signal("TERM").unwrap();
    ping.wait(common::START).unwrap();
    held.signal("TERM").unwrap();
    held.wait(common::START).unwrap();
    demo.end("INT");
    demo.assert_nothing_left();
    assert!(!std::path::Path::new(&socket).exists());
}
