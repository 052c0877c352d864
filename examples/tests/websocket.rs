//! The WebSocket example against Python's websockets, both ways, and case by case against itself over the kernel.

mod common;
mod peers;

use std::time::Duration;

use common::{Bed, HOSTS, KERNEL_HOSTS, START, stop};

fn servers_echo(bed: &Bed) {
    let mut server = bed.start("12_websocket", &["--port", "8080"]);
    server.wait_for("websocket on", START).unwrap();
    let urls: Vec<String> = HOSTS
        .iter()
        .flat_map(|host| [8080, 8081].map(|port| format!("'ws://{host}:{port}/'")))
        .collect();
    let client = format!(
        "{} {}",
        peers::script("websocket_client.py"),
        urls.join(" ")
    );
    assert_eq!(bed.shell(&client), "all messages came back\n");
    stop(server);
}

#[test]
fn both_servers_send_back_what_a_foreign_client_sends() {
    servers_echo(&Bed::tap());
}

#[test]
fn both_servers_send_it_back_where_one_frame_in_a_hundred_is_lost() {
    servers_echo(&Bed::lossy(0.01));
}

fn client_talks(bed: &Bed) {
    let _server = peers::start(bed, "websocket_server.py", "9000");
    for host in KERNEL_HOSTS {
        let url = format!("ws://{host}:9000/");
        let mut client = bed.start("12_websocket", &["--connect", &url]);
        let status = client.wait(Duration::from_secs(50)).unwrap();
        let told = (client.stdout(), client.stderr());
        assert!(status.is_some_and(|status| status.success()), "{told:?}");
        assert!(told.0.contains("all messages came back"), "{told:?}");
    }
}

#[test]
fn the_client_talks_to_a_foreign_server() {
    client_talks(&Bed::tap());
}

#[test]
fn the_client_talks_where_one_frame_in_a_hundred_is_lost() {
    client_talks(&Bed::lossy(0.01));
}

#[test]
fn a_case_has_the_same_end_over_our_stack_and_over_the_kernel() {
    let bed = Bed::tap();
    let args = ["--port", "8080", "--kernel", "127.0.0.1"];
    let mut server = bed.start("12_websocket", &args);
    server.wait_for("websocket on", START).unwrap();
    for port in [8080, 8081] {
        let cases = format!(
            "{} 198.18.0.2:{port} 127.0.0.1:{port}",
            peers::script("websocket_cases.py")
        );
        assert_eq!(bed.shell(&cases), "192 cases\n", "{port}");
    }
    stop(server);
}
