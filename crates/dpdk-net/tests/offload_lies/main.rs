//! Drivers that do not do what they offer: the queue goes on in software, with one warning, and every byte arrives.

#[path = "../common/mod.rs"]
mod common;
mod log;
mod nic;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpStream, UdpSocket};
use dpdk_net::rte::port::TxOffloads;
use dpdk_net::rte::{Mempool, ring};
use dpdk_net::{BURST, SendMemory, WorkerStats};
use log::Warnings;
use nic::{Lie, Nic, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the server sends on each connection, in bytes.
const DOWN: usize = 1_500_000;
/// What the client sends.
const UP: usize = 200_000;
/// Datagrams that go there and back, over each family.
const DATAGRAMS: usize = 20;

/// What there is to be said of a run.
struct Outcome {
    worker: WorkerStats,
    given_up: u64,
    nic: Report,
    /// What was logged.
    warnings: Vec<String>,
}

/// Runs bulk both ways, datagrams, and bulk again between a server behind such a NIC and a client with none, over both
/// families. Every byte is compared, every frame on the wire is looked at, and no mbuf may be lost.
fn run_behind(lie: Lie) -> Outcome {
    let warnings = Warnings::capture();
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let (_b, client) = side(&eal, rings.ids()[1], stack(2));
    let pool = |name: &str, mbufs, room| {
        Mempool::builder(&eal, name)
            .capacity(mbufs)
            .data_room(room)
            .build()
            .unwrap()
    };
    let payload = pool("payload", 1_023, 16 * 1024);
    let references = pool("references", 4_095, 0);
    let finished = pool("finished", 8_191, 2_048 + Mempool::HEADROOM);
    let report = Arc::new(Mutex::new(Report::default()));
    let server = server
        .send_memory(SendMemory {
            payload: payload.clone(),
            references: references.clone(),
        })
        .interpose({
            let (pool, report) = (finished.clone(), report.clone());
            move |tx| Box::new(Nic::new(tx, pool, lie, report))
        });
    let (worker, reactor, net) = two_shards(server, client);
    worker.block_on(async {
        let all = async {
            for (server_ip, client_ip) in FAMILIES {
                bulk(&net, server_ip).await;
                datagrams(&net, server_ip, client_ip).await;
                bulk(&net, server_ip).await;
            }
            // What was sent is let go of, but for a stock of references to be.
            while payload.in_use() + finished.in_use() > 0 || references.in_use() > BURST {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(40), all)
            .await
            .is_err()
        {
            panic!(
                "it takes too long: mbufs in use: {} of payload, {} of references, {} finished",
                payload.in_use(),
                references.in_use(),
                finished.in_use()
            );
        }
    });
    let all = net.server.stats();
    let (stats, given_up) = (all.worker, all.tx_offloads_given_up);
    let peer = net.client.stats().stack.frames;
    assert_eq!(
        (
            peer.drop_tcp_checksum,
            peer.drop_udp_checksum,
            peer.drop_ipv4_checksum,
        ),
        (0, 0, 0)
    );
    let report = *report.lock().unwrap();
    assert_eq!((report.wrong_checksums, report.lost), (0, 0));
    assert_eq!((stats.tx_oversize, stats.no_mbufs), (0, 0));
    reactor.abort();
    drop(net);
    worker.shutdown(Duration::from_secs(5));
    assert_eq!(references.in_use(), 0);
    Outcome {
        worker: stats,
        given_up,
        nic: report,
        warnings: warnings.take(),
    }
}

/// A connection with bulk in both directions at once.
async fn bulk(net: &Net, server_ip: &str) {
    let (client, server) = connected(net, server_ip).await;
    let (down, up) = (pattern(DOWN), pattern(UP + 7)[7..].to_vec());
    let end = |mut stream: TcpStream, send: Vec<u8>, expect: usize| async move {
        let (mut rx, mut tx) = stream.split();
        let mut got = Vec::new();
        let sending = async {
            tx.write_all(&send).await.unwrap();
            tx.shutdown().await.unwrap();
        };
        let (read, ()) = tokio::join!(rx.read_to_end(&mut got), sending);
        assert_eq!(read.unwrap(), expect);
        got
    };
    let (got_down, got_up) =
        tokio::join!(end(client, up.clone(), DOWN), end(server, down.clone(), UP));
    assert!(got_down == down, "bytes to the client");
    assert!(got_up == up, "bytes to the server");
}

/// Datagrams that are answered: one that is lost would be missed for ever.
async fn datagrams(net: &Net, server_ip: &str, client_ip: &str) {
    let server = UdpSocket::bind(at(server_ip, 53)).await.unwrap();
    let client = UdpSocket::bind(at(client_ip, 0));
    let client = net.client.scope(client).await.unwrap();
    let mut buffer = [0; 2_000];
    for i in 0..DATAGRAMS {
        let sent = pattern(50 * i + 1);
        client.send_to(&sent, at(server_ip, 53)).await.unwrap();
        let (n, from) = server.recv_from(&mut buffer).await.unwrap();
        server.send_to(&buffer[..n], from).await.unwrap();
        let (n, _) = client.recv_from(&mut buffer).await.unwrap();
        assert!(buffer[..n] == sent);
    }
    // Many with one call.
    let to = client.local_addr().unwrap();
    for segment in [1_200, 1_452, 300] {
        let sent = pattern(9_000);
        let call = server.send_segments_to(&sent, segment, to);
        assert_eq!(call.await.unwrap(), sent.len());
        for datagram in sent.chunks(segment) {
            let (n, _) = client.recv_from(&mut buffer).await.unwrap();
            assert!(buffer[..n] == *datagram);
        }
    }
}

/// These were given up and nothing else, each with one warning that names them.
#[track_caller]
fn gave_up(outcome: &Outcome, given_up: &[TxOffloads]) {
    let all = given_up
        .iter()
        .fold(TxOffloads::empty(), |all, one| all | *one);
    let found = TxOffloads::from_bits_retain(outcome.given_up);
    assert_eq!(found, all, "{:#?}", outcome.warnings);
    assert_eq!(
        outcome.warnings.len(),
        given_up.len(),
        "{:#?}",
        outcome.warnings
    );
    for (warning, given_up) in outcome.warnings.iter().zip(given_up) {
        assert!(warning.contains("goes on in software"), "{warning}");
        assert!(warning.contains(&format!("{given_up:?}")), "{warning}");
    }
}

const TSO: TxOffloads = TxOffloads::TCP_TSO;
const TCP_V4: TxOffloads = TxOffloads::IPV4_CHECKSUM.union(TxOffloads::TCP_CHECKSUM);
const UDP: TxOffloads = TxOffloads::UDP_CHECKSUM;
const UDP_TSO: TxOffloads = TxOffloads::UDP_TSO;

#[test]
fn a_driver_that_keeps_its_word_is_never_doubted() {
    let outcome = run_behind(Lie::None);
    gave_up(&outcome, &[]);
    assert_eq!(outcome.worker.tx_redone, 0);
    assert!(outcome.nic.cut > 50, "{:?}", outcome.nic);
    assert!(outcome.nic.cut_udp >= 6, "{:?}", outcome.nic);
    let cut = outcome.nic.cut + outcome.nic.cut_udp;
    assert_eq!(cut, outcome.worker.tx_cut_by_nic);
    assert!(outcome.nic.summed > 50, "{:?}", outcome.nic);
}

#[test]
fn a_driver_that_refuses_to_cut_is_not_asked_again() {
    let outcome = run_behind(Lie::Refuses(TSO, 0));
    gave_up(&outcome, &[TSO]);
    assert_eq!(outcome.nic.cut, 0);
    // Those that were in hand already.
    assert_eq!(outcome.worker.tx_redone, outcome.nic.refused);
    assert!(
        (1..=BURST as u64).contains(&outcome.nic.refused),
        "{:?}",
        outcome.nic
    );
    assert!(outcome.nic.summed > 500, "{:?}", outcome.nic);
}

#[test]
fn a_driver_that_refuses_to_cut_after_a_while_is_not_asked_again() {
    let outcome = run_behind(Lie::Refuses(TSO, 40));
    gave_up(&outcome, &[TSO]);
    assert_eq!(outcome.nic.cut, 40);
    assert_eq!(outcome.worker.tx_redone, outcome.nic.refused);
    assert!(
        (1..=BURST as u64).contains(&outcome.nic.refused),
        "{:?}",
        outcome.nic
    );
}

#[test]
fn a_driver_that_refuses_to_make_checksums_is_asked_for_none() {
    // Packets to be cut need some too.
    let outcome = run_behind(Lie::Refuses(TxOffloads::CHECKSUM, 0));
    gave_up(&outcome, &[TSO, TCP_V4, UDP]);
    assert_eq!((outcome.nic.cut, outcome.nic.summed), (0, 0));
    assert_eq!(outcome.worker.tx_redone, outcome.nic.refused);
}

#[test]
fn a_driver_that_refuses_tcp_checksums_goes_on_with_those_of_udp() {
    let outcome = run_behind(Lie::Refuses(TxOffloads::TCP_CHECKSUM, 0));
    gave_up(&outcome, &[TSO, TCP_V4]);
    assert_eq!(outcome.nic.cut, 0);
    assert!(
        outcome.nic.summed >= 2 * DATAGRAMS as u64,
        "{:?}",
        outcome.nic
    );
}

#[test]
fn a_driver_that_refuses_to_cut_datagrams_goes_on_with_tcp() {
    let outcome = run_behind(Lie::Refuses(UDP_TSO, 0));
    gave_up(&outcome, &[UDP_TSO]);
    assert_eq!(outcome.nic.cut_udp, 0);
    assert!(outcome.nic.cut > 50, "{:?}", outcome.nic);
}

#[test]
fn a_driver_that_takes_no_datagrams_to_cut_after_a_while_is_found_out() {
    let outcome = run_behind(Lie::Ignores(UDP_TSO, 2));
    gave_up(&outcome, &[UDP_TSO]);
    assert_eq!(outcome.nic.cut_udp, 2);
    assert!(outcome.nic.cut > 50, "{:?}", outcome.nic);
}

#[test]
fn a_driver_that_never_takes_a_packet_to_cut_is_found_out() {
    let outcome = run_behind(Lie::Ignores(TSO, 0));
    gave_up(&outcome, &[TSO]);
    assert_eq!(outcome.nic.cut, 0);
    assert!(outcome.worker.tx_redone > 0);
}

#[test]
fn a_driver_that_takes_no_packet_to_cut_after_a_while_is_found_out() {
    let outcome = run_behind(Lie::Ignores(TSO, 40));
    gave_up(&outcome, &[TSO]);
    assert_eq!(outcome.nic.cut, 40);
}

#[test]
fn a_driver_that_never_takes_a_packet_that_asks_for_checksums_is_found_out() {
    let outcome = run_behind(Lie::Ignores(TxOffloads::CHECKSUM, 0));
    gave_up(&outcome, &[TSO, TCP_V4, UDP]);
    assert_eq!((outcome.nic.cut, outcome.nic.summed), (0, 0));
}

#[test]
fn a_driver_that_takes_one_packet_at_a_time_is_not_doubted() {
    let outcome = run_behind(Lie::OneAtATime);
    gave_up(&outcome, &[]);
    assert_eq!(outcome.worker.tx_redone, 0);
    assert!(outcome.worker.tx_ring_full > 0);
    assert!(outcome.nic.cut > 50, "{:?}", outcome.nic);
}

#[test]
fn a_ring_that_stands_still_for_a_while_is_not_doubted() {
    let outcome = run_behind(Lie::Pauses(Duration::from_millis(300), 150));
    gave_up(&outcome, &[]);
    assert!(outcome.worker.tx_ring_full > 0);
    assert!(outcome.nic.cut > 50, "{:?}", outcome.nic);
}

#[test]
fn packets_refused_at_random_are_sent_all_the_same() {
    let outcome = run_behind(Lie::RefusesAtRandom);
    assert!(outcome.nic.refused > 0);
    assert_eq!(outcome.worker.tx_redone, outcome.nic.refused);
    for warning in &outcome.warnings {
        assert!(warning.contains("goes on in software"), "{warning}");
    }
}
