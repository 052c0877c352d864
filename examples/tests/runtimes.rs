//! One server on each runtime, with curl as its peer.

mod common;

use common::{Bed, HOSTS, START, stop};

/// Pages over both families on one connection each, a slow one, a hundred connections, and what comes to its end by a signal.
fn serves_curl(bed: &Bed, runtime: &str) {
    let mut server = bed.start("20_runtimes", &["--runtime", runtime]);
    server.wait_for("http on", START).unwrap();
    for host in HOSTS {
        let url = format!("http://{host}:8080");
        let got = bed.shell(&format!(
            "curl -sS --max-time 20 '{url}/one' '{url}/slow' '{url}/two'"
        ));
        let expected = ["one", "slow", "two"].map(|page| format!("{runtime} serves /{page}\n"));
        assert_eq!(got, expected.concat(), "{host}");
    }
    let many = format!(
        "seq 100 | xargs -P 10 -I N curl -sS --max-time 20 http://{}:8080/N | sort -u | wc -l",
        HOSTS[0]
    );
    assert_eq!(bed.shell(&many).trim(), "100");
    stop(server);
}

#[test]
fn tokio_serves_curl() {
    serves_curl(&Bed::tap(), "tokio");
}

#[test]
fn the_local_executor_serves_curl() {
    serves_curl(&Bed::tap(), "local");
}

#[test]
fn smol_serves_curl() {
    serves_curl(&Bed::tap(), "smol");
}

#[test]
fn compio_serves_curl() {
    serves_curl(&Bed::tap(), "compio");
}

#[test]
fn tokio_serves_curl_where_one_frame_in_a_hundred_is_lost() {
    serves_curl(&Bed::lossy(0.01), "tokio");
}

#[test]
fn the_local_executor_serves_curl_where_one_frame_in_a_hundred_is_lost() {
    serves_curl(&Bed::lossy(0.01), "local");
}

#[test]
fn smol_serves_curl_where_one_frame_in_a_hundred_is_lost() {
    serves_curl(&Bed::lossy(0.01), "smol");
}

#[test]
fn compio_serves_curl_where_one_frame_in_a_hundred_is_lost() {
    serves_curl(&Bed::lossy(0.01), "compio");
}
