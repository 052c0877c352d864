//! HTTP examples against curl, nghttp, h2load, wrk and nginx.

mod common;
mod peers;

use std::time::Duration;

use common::{Bed, Directory, HOSTS, KERNEL_HOSTS, START, stop};
use dpdk_net_testkit::bed::Process;
use peers::{certificates, nginx};

fn http2_server_answers(bed: &Bed) {
    let mut server = bed.start("10_http2", &["--port", "8080"]);
    server.wait_for("http on", START).unwrap();
    let expected = bed.shell("head -c 3000000 /dev/zero | tr '\\0' x | sha256sum");
    let sent = bed.shell("seq 200000 | sha256sum");
    for host in HOSTS {
        for (flag, version) in [
            ("--http1.1", "HTTP/1.1"),
            ("--http2-prior-knowledge", "HTTP/2.0"),
        ] {
            let curl = format!("curl -sS -m 50 {flag} 'http://{host}:8080");
            assert_eq!(
                bed.shell(&format!("{curl}/version'")),
                format!("{version}\n")
            );
            let page = bed.shell(&format!("{curl}/bytes/3000000' | sha256sum"));
            assert_eq!(page, expected, "{host} {version}");
            let echoed = format!("seq 200000 | {curl}/echo' --data-binary @- | sha256sum");
            assert_eq!(bed.shell(&echoed), sent, "{host} {version}");
        }
        let by_hyper = format!("curl -sS -m 50 --http2-prior-knowledge 'http://{host}:8081/'");
        assert!(bed.shell(&by_hyper).starts_with("request "));
    }
    stop(server);
}

#[test]
fn http_2_and_1_1_are_served_on_one_port() {
    http2_server_answers(&Bed::tap());
}

#[test]
fn http_2_and_1_1_are_served_where_one_frame_in_a_hundred_is_lost() {
    http2_server_answers(&Bed::lossy(0.01));
}

#[test]
fn http_2_multiplexes_for_nghttp_and_h2load() {
    let bed = Bed::tap();
    let mut server = bed.start("10_http2", &["--port", "8080"]);
    server.wait_for("http on", START).unwrap();
    let frames = bed.shell("nghttp -nv --no-dep 'http://[fd00:198:18::2]:8080/hello'");
    assert!(frames.contains(":status: 200"), "{frames}");
    for (port, path) in [(8080, "hello"), (8080, "bytes/20000"), (8081, "")] {
        let load = format!("h2load -n 3000 -c 5 -m 20 'http://198.18.0.2:{port}/{path}'");
        let told = bed.shell(&load);
        assert!(
            told.contains("3000 succeeded, 0 failed, 0 errored"),
            "{told}"
        );
    }
    let told = bed.shell("wrk -t 1 -c 20 -d 1 'http://[fd00:198:18::2]:8080/hello'");
    assert!(
        told.contains("Requests/sec") && !told.contains("Socket errors"),
        "{told}"
    );
    assert!(!told.contains("Non-2xx"), "{told}");
    stop(server);
}

/// What a client has written, once it has ended well.
fn fetched(mut client: Process) -> (String, String) {
    let status = client.wait(Duration::from_secs(50)).unwrap();
    assert!(
        status.is_some_and(|status| status.success()),
        "{}",
        client.stderr()
    );
    (client.stdout(), client.stderr())
}

fn client_fetches(bed: &Bed) {
    let directory = Directory::new();
    let root = directory.path();
    certificates(&directory);
    std::fs::write(directory.0.join("file"), "from nginx\n".repeat(50_000)).unwrap();
    let _nginx = nginx(
        bed,
        &directory,
        &format!(
            "server {{ listen [::]:8000 ipv6only=off; root {root}; }}\n\
             server {{ listen [::]:8002 ipv6only=off http2; root {root}; }}\n\
             server {{ listen [::]:8443 ipv6only=off ssl http2; root {root};\n\
             ssl_certificate cert.pem; ssl_certificate_key key.pem; }}"
        ),
    );
    let ca = format!("{root}/ca.pem");
    let text = "from nginx\n".repeat(100_000);
    for host in KERNEL_HOSTS {
        for (url, version, more) in [
            (format!("http://{host}:8000/file"), "HTTP/1.1", None),
            (
                format!("http://{host}:8002/file"),
                "HTTP/2.0",
                Some("--http2"),
            ),
            (format!("https://{host}:8443/file"), "HTTP/2.0", None),
        ] {
            // Twice: the second time the connection is that of the pool.
            let mut args = vec!["--ca", ca.as_str(), url.as_str(), url.as_str()];
            args.extend(more);
            let (body, told) = fetched(bed.start("11_http_client", &args));
            assert!(body == text, "{url}: {} bytes", body.len());
            let lines: Vec<&str> = told.lines().filter(|line| line.contains(version)).collect();
            assert_eq!(lines.len(), 2, "{told}");
            assert_eq!(lines[0], lines[1]);
        }
    }
}

#[test]
fn the_client_fetches_from_nginx_by_every_version_and_tls() {
    client_fetches(&Bed::tap());
}

#[test]
fn the_client_fetches_where_one_frame_in_a_hundred_is_lost() {
    client_fetches(&Bed::lossy(0.01));
}

#[test]
fn the_client_refuses_a_certificate_that_it_does_not_trust() {
    let bed = Bed::tap();
    let directory = Directory::new();
    certificates(&directory);
    let _nginx = nginx(
        &bed,
        &directory,
        "server { listen 8443 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; }",
    );
    let mut client = bed.start("11_http_client", &["https://198.18.0.1:8443/"]);
    let status = client.wait(Duration::from_secs(30)).unwrap().unwrap();
    assert!(!status.success());
    let told = client.stderr();
    assert!(told.contains("UnknownIssuer"), "{told}");
}

#[test]
fn the_client_does_not_wait_for_an_address_that_is_silent() {
    let bed = Bed::tap();
    let directory = Directory::new();
    std::fs::write(directory.0.join("file"), "found\n").unwrap();
    let root = directory.path();
    let server = format!("server {{ listen [::]:8000 ipv6only=off; root {root}; }}");
    let _nginx = nginx(&bed, &directory, &server);
    // The IPv6 address comes first (RFC 6724), and nobody has it.
    let dnsmasq = [
        "dnsmasq",
        "--no-daemon",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
        "--user=root",
        "--address=/www.example/198.18.0.1",
        "--address=/www.example/fd00:198:18::dead",
    ];
    let mut dns = bed.netns().start(&dnsmasq).unwrap();
    dns.wait_for("started", START).unwrap();
    let args = ["--dns", common::KERNEL[0], "http://www.example:8000/file"];
    let (body, _) = fetched(bed.start("11_http_client", &args));
    assert_eq!(body, "found\n");
}

/// The rules that the crate `h2` has another error for, or lets be broken, over the kernel as over ours.
const DEVIATING: [&str; 17] = [
    "3.4 no settings",
    "4.2 PING of 7",
    "4.2 PING of 9",
    "4.2 SETTINGS of 5",
    "4.2 GOAWAY of 7",
    "4.2 WINDOW_UPDATE of 3",
    "4.2 WINDOW_UPDATE of 5",
    "4.2 RST_STREAM of 3",
    "4.2 PRIORITY of 4",
    "4.3 an index that is not there",
    "4.3 index 0",
    "4.3 half a literal",
    "4.3 a table that is too large",
    "4.3 bad padding of Huffman's code",
    "6.5 an ACK with something in it",
    "6.5.2 setting 4 of 2147483648",
    "8.1 a pseudo-field in trailers",
];

#[test]
fn a_rule_of_http_2_has_the_same_end_over_our_stack_and_over_the_kernel() {
    let bed = Bed::tap();
    let args = ["--port", "8080", "--kernel", "127.0.0.1"];
    let mut server = bed.start("10_http2", &args);
    server.wait_for("http on", START).unwrap();
    let cases = peers::script("http2_cases.py");
    let told = bed.shell(&format!("{cases} 198.18.0.2:8080 127.0.0.1:8080"));
    let (count, deviating) = told.trim_end().split_once(": ").unwrap();
    assert_eq!(count, "102 cases, 17 deviate over every network");
    let deviating = deviating.trim_matches(['[', ']']).split("] [");
    assert_eq!(deviating.collect::<Vec<_>>(), DEVIATING);
    stop(server);
}
