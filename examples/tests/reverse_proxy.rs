//! The reverse proxy between curl and nginx: over the port and over the kernel, with an upstream that is gone.

mod common;
mod peers;

use common::{Bed, Directory, HOSTS, START, stop};

/// Two servers that say their names and what they were told, and one port on which there is none.
const UPSTREAMS: &str = "server { listen [::]:9001 ipv6only=off; location / {
        add_header X-Told \"$http_x_forwarded_for|$http_via|$http_x_secret|$http_connection\";
        add_header Keep-Alive \"timeout=9\"; return 200 \"first\\n\"; }
    location /big { root ROOT; } }
    server { listen [::]:9002 ipv6only=off; location / { return 200 \"second\\n\"; } location /big { root ROOT; } }";

fn proxies(bed: &Bed, via: &str, upstream: &str) {
    let directory = Directory::new();
    let root = directory.path();
    std::fs::write(directory.0.join("big"), "a line of text\n".repeat(100_000)).unwrap();
    let _nginx = peers::nginx(bed, &directory, &UPSTREAMS.replace("ROOT", root));
    let to = [9001, 9002, 9003].map(|port| format!("--to={upstream}:{port}"));
    let args = [
        &["--port", "8080", "--via", via],
        &to.each_ref().map(String::as_str)[..],
    ]
    .concat();
    let mut proxy = bed.start("15_reverse_proxy", &args);
    proxy.wait_for("proxy on", START).unwrap();
    let expected = bed.shell(&format!("sha256sum < '{root}/big'"));
    for host in HOSTS {
        for flag in ["--http1.1", "--http2-prior-knowledge"] {
            let curl = format!("curl -sS -m 50 {flag} 'http://{host}:8080");
            // Each has its turn; the one that is not there is stepped over.
            let answers = bed.shell(&format!("for i in $(seq 8); do {curl}/'; done"));
            let of = |name: &str| answers.lines().filter(|line| *line == name).count();
            assert_eq!(of("first") + of("second"), 8, "{answers}");
            assert!(of("first") >= 2 && of("second") >= 2, "{answers}");
            let big = bed.shell(&format!("{curl}/big' | sha256sum"));
            assert_eq!(big, expected, "{host} {flag}");
            let told = bed
                .shell(&format!(
                    "for i in $(seq 3); do {curl}/' -D - -o /dev/null -H 'X-Secret: 1' \
                 -H 'Connection: X-Secret' -H 'X-Forwarded-For: 1.2.3.4'; done"
                ))
                .to_ascii_lowercase();
            let line = told
                .lines()
                .find(|line| line.starts_with("x-told"))
                .unwrap();
            let client = if host.starts_with('[') {
                common::KERNEL[1]
            } else {
                common::KERNEL[0]
            };
            let version = if flag == "--http1.1" { "1.1" } else { "2.0" };
            assert_eq!(
                line.trim(),
                format!("x-told: {client}|{version} dpdk-net|{}|", secret(flag))
            );
            assert!(!told.contains("keep-alive"), "{told}");
        }
    }
    stop(proxy);
}

/// HTTP/2 has no `Connection`, which curl leaves out, and so nothing that it names.
fn secret(flag: &str) -> &'static str {
    if flag == "--http1.1" { "" } else { "1" }
}

#[test]
fn it_balances_between_upstreams_of_the_kernels_network() {
    proxies(&Bed::tap(), "kernel", "127.0.0.1");
}

#[test]
fn it_balances_between_upstreams_at_the_port() {
    proxies(&Bed::tap(), "port", common::KERNEL[0]);
}

#[test]
fn it_balances_where_one_frame_in_a_hundred_is_lost() {
    proxies(&Bed::lossy(0.01), "port", "[fd00:198:18::1]");
}

#[test]
fn a_websocket_passes() {
    let bed = Bed::tap();
    let _server = peers::start(&bed, "websocket_server.py", "9000");
    let args = ["--port", "8080", "--to", "127.0.0.1:9000"];
    let mut proxy = bed.start("15_reverse_proxy", &args);
    proxy.wait_for("proxy on", START).unwrap();
    let client = peers::script("websocket_client.py");
    let told = bed.shell(&format!(
        "{client} ws://198.18.0.2:8080/ 'ws://[fd00:198:18::2]:8080/'"
    ));
    assert_eq!(told, "all messages came back\n");
    stop(proxy);
}

#[test]
fn without_upstreams_it_says_so_and_a_slow_one_has_a_limit() {
    let bed = Bed::tap();
    let mut proxy = bed.start(
        "15_reverse_proxy",
        &["--port", "8080", "--to", "127.0.0.1:9003"],
    );
    proxy.wait_for("proxy on", START).unwrap();
    let status = "curl -sS -m 30 -o /dev/null -w '%{http_code}' http://198.18.0.2:8080/";
    assert_eq!(bed.shell(status), "502");
    // One that takes the request and says nothing: 10 s.
    let _mute = bed
        .netns()
        .start(&[
            "socat",
            "-u",
            "TCP-LISTEN:9003,reuseaddr,fork",
            "OPEN:/dev/null",
        ])
        .unwrap();
    bed.shell("for i in $(seq 50); do ss -ltn | grep -q :9003 && break; sleep 0.1; done");
    assert_eq!(bed.shell(status), "504");
    stop(proxy);
}
