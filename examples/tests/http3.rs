//! The HTTP/3 example against aioquic, curl and Chromium.

mod common;
mod peers;

use common::{Bed, Directory, HOSTS, START, stop};
use dpdk_net_testkit::bed::Process;
use peers::{certificates, pypi_script};

/// The server, and the place of the certificate that it is trusted by.
fn server(bed: &Bed, directory: &Directory) -> (Process, String) {
    certificates(directory);
    let file = |name: &str| format!("{}/{name}", directory.path());
    let (cert, key) = (file("cert.pem"), file("key.pem"));
    let mut server = bed.start(
        "19_http3",
        &["--port", "4433", "--cert", &cert, "--key", &key],
    );
    server.wait_for("http/3 on", START).unwrap();
    (server, file("ca.pem"))
}

/// Runs aioquic's client at each address.
fn aioquic(bed: &Bed, ca: &str, what: &str) {
    let client = pypi_script("http3_client.py");
    for host in HOSTS {
        let host = host.trim_matches(['[', ']']);
        let told = bed.shell(&format!("{client} {ca} {host} 4433 {what}"));
        assert_eq!(told, "all right\n", "{host}");
    }
}

#[test]
fn aioquic_fetches_sends_and_multiplexes() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let (server, ca) = server(&bed, &directory);
    aioquic(&bed, &ca, "");
    stop(server);
}

#[test]
fn aioquic_fetches_where_one_frame_in_a_hundred_is_lost() {
    let bed = Bed::lossy(0.01);
    let directory = Directory::new();
    let (server, ca) = server(&bed, &directory);
    aioquic(&bed, &ca, "");
    stop(server);
}

#[test]
fn what_http_3_forbids_ends_the_connection_with_the_error_that_says_so() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let (server, ca) = server(&bed, &directory);
    aioquic(&bed, &ca, "rules");
    stop(server);
}

#[test]
fn clients_over_tcp_are_told_of_http_3() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let (server, ca) = server(&bed, &directory);
    for host in HOSTS {
        for (flag, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
            let curl = format!("curl -sS -m 50 --cacert {ca} {flag} -D - 'https://{host}:4433");
            let told = bed.shell(&format!("{curl}/hello'"));
            assert!(
                told.starts_with(version) && told.ends_with("\nhello\n"),
                "{told}"
            );
            assert!(
                told.contains("alt-svc: h3=\":4433\"; ma=86400\r\n"),
                "{told}"
            );
        }
    }
    stop(server);
}

#[test]
fn a_browser_loads_a_page_over_http_3() {
    let bed = Bed::tap();
    let directory = Directory::new();
    let (server, _) = server(&bed, &directory);
    let place = directory.path();
    // QUIC takes no authority that was added to a browser; this key it is told to take.
    let key = bed.shell(&format!(
        "openssl x509 -in {place}/cert.pem -pubkey -noout | openssl pkey -pubin -outform der \
         | openssl dgst -sha256 -binary | base64"
    ));
    let key = key.trim();
    for host in HOSTS {
        let page = bed.shell(&format!(
            "HOME={place} timeout 50 chromium --headless --no-sandbox --disable-gpu --no-first-run \
             --disable-background-networking --user-data-dir={place}/profile \
             --ignore-certificate-errors-spki-list={key} --host-resolver-rules='MAP site.example {host}' \
             --origin-to-force-quic-on=site.example:4433 \
             --dump-dom https://site.example:4433/version 2>{place}/log"
        ));
        let log = || std::fs::read_to_string(directory.0.join("log"));
        assert!(page.contains("HTTP/3"), "{page}\n{:?}", log());
    }
    stop(server);
}
