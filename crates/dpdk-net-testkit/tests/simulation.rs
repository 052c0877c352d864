//! The simulated network itself, with smoltcp on every host: what it promises must hold before it may judge a stack.

use std::time::Duration;

use dpdk_net_testkit::Instant;
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, EchoServer, Pattern, RequestClient};
use dpdk_net_testkit::hosts::Foreign;
use dpdk_net_testkit::sim::{
    App, AppError, Host, HostId, LinkConfig, Pair, Sim, SimError, TcpHost,
};

const PORT: u16 = 7000;
const MIB: u64 = 1 << 20;

/// Both directions at once, `bytes` each.
fn transfer(seed: u64, family: Family, link: LinkConfig, bytes: u64) -> (Instant, u64) {
    let mut net = Pair::new(
        seed,
        Foreign::new(1, seed),
        Foreign::new(2, !seed),
        link.clone(),
        link,
    );
    let (there, back) = (Pattern::new(seed), Pattern::new(!seed));
    let (client, server) = (net.client, net.server);
    net.spawn(
        server,
        Bulk::listen(family.socket(2, PORT))
            .sending(back, bytes)
            .receiving(there, bytes),
    );
    net.spawn(
        client,
        Bulk::connect(family.socket(2, PORT))
            .sending(there, bytes)
            .receiving(back, bytes),
    );
    net.drive_apps(Duration::from_secs(600)).unwrap();
    (net.now(), net.link_stats(client).0.offered)
}

#[test]
fn bytes_cross_a_perfect_wire_in_both_families() {
    for family in Family::BOTH {
        transfer(1, family, LinkConfig::perfect(), 2 * MIB);
    }
}

#[test]
fn bytes_cross_a_bad_wire() {
    let bad = LinkConfig::delay(Duration::from_millis(2))
        .with_loss(0.01)
        .with_reordering(0.02, Duration::from_millis(3))
        .with_duplication(0.01)
        .with_corruption(0.01)
        .with_rate(100_000_000, 100);
    for family in Family::BOTH {
        transfer(2, family, bad.clone(), MIB);
    }
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let bad = LinkConfig::delay(Duration::from_millis(1)).with_loss(0.02);
    let first = transfer(3, Family::V4, bad.clone(), MIB);
    assert_eq!(first, transfer(3, Family::V4, bad.clone(), MIB));
    assert_ne!(first, transfer(4, Family::V4, bad, MIB));
}

#[test]
fn latency_is_what_the_link_says() {
    let link = LinkConfig::delay(Duration::from_millis(10));
    let mut net = Pair::new(
        5,
        Foreign::new(1, 5),
        Foreign::new(2, 6),
        link.clone(),
        link,
    );
    let (client, server) = (net.client, net.server);
    net.spawn(server, EchoServer::new(Family::V4.socket(2, PORT)));
    let requests = net.spawn(
        client,
        RequestClient::new(Family::V4.socket(2, PORT), 1, 3, 100),
    );
    net.drive_apps(Duration::from_secs(60)).unwrap();
    // ARP, handshake and the first request: three round trips of 20 ms.
    assert_eq!(net.app(requests).slowest().as_millis(), 60);
}

#[test]
fn a_switch_joins_many_hosts() {
    let mut sim = Sim::new(6);
    let link = LinkConfig::delay(Duration::from_micros(20));
    let server = sim.add(Foreign::new(1, 0), link.clone());
    let echo = sim.spawn(server, EchoServer::new(Family::V6.socket(1, PORT)));
    for n in 2..7 {
        let host = sim.add(Foreign::new(n, n.into()), link.clone());
        sim.spawn(
            host,
            RequestClient::new(Family::V6.socket(1, PORT), 2, 10, 1_000),
        );
    }
    sim.drive_apps(Duration::from_secs(60)).unwrap();
    assert_eq!(sim.app(echo).accepted(), 10);
}

#[test]
fn a_dead_link_leaves_the_goal_out_of_reach() {
    let mut net = Pair::new(
        7,
        Foreign::new(1, 1),
        Foreign::new(2, 2),
        LinkConfig::perfect(),
        LinkConfig::perfect(),
    );
    let (client, server) = (net.client, net.server);
    net.spawn(server, EchoServer::new(Family::V4.socket(2, PORT)));
    let requests = net.spawn(
        client,
        RequestClient::new(Family::V4.socket(2, PORT), 1, 1, 1),
    );
    net.set_link_up(client, false);
    let error = net.drive_apps(Duration::from_secs(5)).unwrap_err();
    assert_eq!(
        error,
        SimError::OutOfTime {
            at: Instant::from_millis(6_000)
        }
    );
    net.set_link_up(client, true);
    net.drive_apps(Duration::from_secs(60)).unwrap();
    assert!(net.app(requests).finished());
}

#[test]
fn a_full_tx_ring_delays_and_loses_nothing() {
    let link = LinkConfig::delay(Duration::from_micros(100));
    let mut net = Pair::new(
        8,
        Foreign::new(1, 1),
        Foreign::new(2, 2),
        link.clone(),
        link,
    );
    let (client, server, pattern) = (net.client, net.server, Pattern::new(9));
    net.set_tx_ring(client, 2);
    net.spawn(
        server,
        Bulk::listen(Family::V4.socket(2, PORT)).receiving(pattern, MIB),
    );
    net.spawn(
        client,
        Bulk::connect(Family::V4.socket(2, PORT)).sending(pattern, MIB),
    );
    net.drive_for(Duration::from_millis(3)).unwrap();
    let (stalled_at, until) = (net.now(), net.now() + Duration::from_millis(500));
    net.stall_tx(client, until);
    let before = net.link_stats(client).0.offered;
    net.drive_for(Duration::from_millis(499)).unwrap();
    assert_eq!(
        net.link_stats(client).0.offered,
        before,
        "sent since {stalled_at:?}"
    );
    net.drive_apps(Duration::from_secs(60)).unwrap();
}

#[test]
fn the_frames_of_a_host_can_be_read_back_and_captured() {
    let mut net = Pair::new(
        9,
        Foreign::new(1, 1),
        Foreign::new(2, 2),
        LinkConfig::perfect(),
        LinkConfig::perfect(),
    );
    let path = std::env::temp_dir().join(format!("dpdk-net-testkit-{}.pcap", std::process::id()));
    let (client, server) = (net.client, net.server);
    net.keep_trace(5);
    net.capture(client, &path).unwrap();
    net.spawn(server, EchoServer::new(Family::V4.socket(2, PORT)));
    net.spawn(
        client,
        RequestClient::new(Family::V4.socket(2, PORT), 1, 1, 10),
    );
    net.drive_apps(Duration::from_secs(60)).unwrap();
    assert_eq!(net.trace().entries().len(), 5);
    let text = net.trace().entries().next_back().unwrap().to_string();
    assert!(
        text.contains("TCP") && text.contains("198.18.0.2"),
        "{text}"
    );
    drop(net);
    let file = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // Magic number with nanoseconds, version 2.4, Ethernet; then the client's first frame, an ARP request to all.
    assert_eq!(file[..8], [0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0]);
    assert_eq!(file[20..28], [1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(
        (&file[40..46], &file[52..54]),
        (&[0xff; 6][..], &[0x08, 0x06][..])
    );
}

/// An application that waits for what never comes.
struct Waits;

impl App for Waits {
    fn poll(&mut self, _: Instant, _: &mut dyn TcpHost) -> bool {
        false
    }
    fn finished(&self) -> bool {
        false
    }
    fn outcome(&self) -> Result<(), AppError> {
        Ok(())
    }
}

#[test]
fn a_simulation_in_which_nothing_is_under_way_has_stalled() {
    let mut sim = Sim::new(10);
    let host = sim.add(Foreign::new(1, 1), LinkConfig::perfect());
    sim.spawn(host, Waits);
    let error = sim.drive_apps(Duration::from_secs(1)).unwrap_err();
    assert_eq!(
        error,
        SimError::Stalled {
            at: Instant::from_millis(1_000)
        }
    );
}

/// A host that breaks one promise.
struct Faulty {
    spins: bool,
}

impl Host for Faulty {
    fn ingest(&mut self, _: Instant, _: &[Vec<u8>]) {}
    fn transmit(&mut self, _: Instant, _: usize, _: &mut Vec<Vec<u8>>) {}
    fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        self.spins.then_some(now)
    }
    fn handle_timeout(&mut self, _: Instant) {}
    fn check(&mut self, _: Instant) -> Result<(), String> {
        if self.spins {
            Ok(())
        } else {
            Err("a queue has grown too long".into())
        }
    }
}

#[test]
fn a_host_that_spins_or_breaks_an_invariant_is_found() {
    let run = |spins| {
        let mut sim = Sim::new(11);
        sim.add(Faulty { spins }, LinkConfig::perfect());
        sim.drive_for(Duration::from_secs(1)).unwrap_err()
    };
    assert!(matches!(run(true), SimError::Spinning { .. }));
    assert!(
        matches!(run(false), SimError::Broken { what, .. } if what == "a queue has grown too long")
    );
}

#[test]
fn a_wrong_byte_fails_the_application_that_received_it() {
    let mut net = Pair::new(
        12,
        Foreign::new(1, 1),
        Foreign::new(2, 2),
        LinkConfig::perfect(),
        LinkConfig::perfect(),
    );
    let (client, server) = (net.client, net.server);
    net.spawn(
        server,
        Bulk::listen(Family::V4.socket(2, PORT)).receiving(Pattern::new(1), 1_000),
    );
    net.spawn(
        client,
        Bulk::connect(Family::V4.socket(2, PORT)).sending(Pattern::new(2), 1_000),
    );
    let error = net.drive_apps(Duration::from_secs(60)).unwrap_err();
    let SimError::App {
        host,
        error: AppError::WrongByte { offset: 0, .. },
        ..
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(host, server as HostId);
}

#[test]
fn a_short_stream_fails_the_application_that_expects_more() {
    let mut net = Pair::new(
        13,
        Foreign::new(1, 1),
        Foreign::new(2, 2),
        LinkConfig::perfect(),
        LinkConfig::perfect(),
    );
    let (client, server, pattern) = (net.client, net.server, Pattern::new(1));
    net.spawn(
        server,
        Bulk::listen(Family::V4.socket(2, PORT)).receiving(pattern, 1_000),
    );
    net.spawn(
        client,
        Bulk::connect(Family::V4.socket(2, PORT)).sending(pattern, 999),
    );
    let error = net.drive_apps(Duration::from_secs(60)).unwrap_err();
    assert!(
        matches!(
            error,
            SimError::App {
                error: AppError::UnexpectedEof { received: 999, .. },
                ..
            }
        ),
        "{error}"
    );
}
