//! The gRPC examples against grpcio, which is Google's own implementation in C with Python around it.

mod common;
mod peers;

use std::time::Duration;

use common::{Bed, Directory, HOSTS, KERNEL_HOSTS, START, stop};

fn server_answers(bed: &Bed) {
    let directory = Directory::new();
    peers::certificates(&directory);
    let root = directory.path();
    let (cert, key) = (format!("{root}/cert.pem"), format!("{root}/key.pem"));
    for tls in [false, true] {
        let (args, ca) = match tls {
            true => (
                vec!["--cert", &cert, "--key", &key],
                format!("'{root}/ca.pem'"),
            ),
            false => (vec![], String::new()),
        };
        let mut server = bed.start("13_grpc_server", &args);
        server.wait_for("grpc on", START).unwrap();
        for host in HOSTS {
            let client = peers::script("grpc_client.py");
            let told = bed.shell(&format!("{client} '{host}:50051' {ca}"));
            assert_eq!(told, "all calls answered\n", "{host}, TLS: {tls}");
        }
        stop(server);
    }
}

#[test]
fn the_server_answers_a_foreign_client_with_and_without_tls() {
    server_answers(&Bed::tap());
}

#[test]
fn the_server_answers_where_one_frame_in_a_hundred_is_lost() {
    server_answers(&Bed::lossy(0.01));
}

fn client_asks(bed: &Bed) {
    let directory = Directory::new();
    peers::certificates(&directory);
    let root = directory.path();
    let ca = format!("{root}/ca.pem");
    let _plain = peers::start(bed, "grpc_server.py", "50051");
    let tls = format!("50052 '{root}/key.pem' '{root}/cert.pem'");
    let _tls = peers::start(bed, "grpc_server.py", &tls);
    for host in KERNEL_HOSTS {
        let urls = [
            format!("http://{host}:50051"),
            format!("https://{host}:50052"),
        ];
        for url in &urls {
            let mut client = bed.start("14_grpc_client", &["--ca", &ca, url]);
            let status = client.wait(Duration::from_secs(50)).unwrap();
            let (said, told) = (client.stdout(), client.stderr());
            assert!(
                status.is_some_and(|status| status.success()),
                "{url}: {told}"
            );
            let expected = "square 144\ncount 10000\nsum 500500\naccumulate 5050\n\
                            deadline exceeded\nthe number has more than 64 bits\n";
            assert_eq!(said, expected, "{url}");
        }
    }
}

#[test]
fn the_client_asks_a_foreign_server_with_and_without_tls() {
    client_asks(&Bed::tap());
}

#[test]
fn the_client_asks_where_one_frame_in_a_hundred_is_lost() {
    client_asks(&Bed::lossy(0.01));
}
