//! Many at once: neighbours, connections, half-open connections, and a TX ring that stays full.

use std::time::Duration;

use dpdk_net_packet::MacAddr;
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, EchoServer, Pattern, RequestClient};
use dpdk_net_testkit::by_hand::{ByHand, HOST, TCP_PORT, tcp_to};
use dpdk_net_testkit::frames::{Path, Segment, flags};
use dpdk_net_testkit::hosts::{Foreign, ForeignConfig, StackHost};
use dpdk_net_testkit::sim::{App, HostId, LinkConfig, Pair, Sim, seeds};

const PORT: u16 = 7000;
const NEIGHBOURS: u16 = 200;
const LIMIT: Duration = Duration::from_secs(600);

fn segment() -> LinkConfig {
    LinkConfig::delay(Duration::from_micros(50))
}

fn small_foreign(n: u16) -> Foreign {
    let mut config = ForeignConfig::default();
    (config.buffer, config.backlog) = (8 * 1024, 2);
    Foreign::with_config(n, n.into(), config)
}

/// A stack with 200 smoltcp hosts around it that know nothing of each other yet.
fn crowd(seed: u64) -> (Sim, HostId, Vec<HostId>) {
    let mut sim = Sim::new(seed);
    let ours = sim.add(StackHost::new(1, seed), segment());
    let others = (2..2 + NEIGHBOURS)
        .map(|n| sim.add(small_foreign(n), segment()))
        .collect();
    (sim, ours, others)
}

#[test]
fn two_hundred_new_neighbours_are_resolved_within_a_second() {
    for family in Family::BOTH {
        for seed in seeds(&[1, 2]) {
            let (mut sim, ours, others) = crowd(seed);
            for (n, host) in (2..).zip(&others) {
                sim.spawn(*host, EchoServer::new(family.socket(n, PORT)));
                // All at the same instant.
                sim.spawn(ours, RequestClient::new(family.socket(n, PORT), 1, 1, 64));
            }
            let start = sim.now();
            sim.drive_apps(Duration::from_secs(1))
                .unwrap_or_else(|error| panic!("{family:?}: {error}"));
            assert!(sim.now() - start < Duration::from_secs(1));
            assert!(sim.host::<StackHost>(ours).stack().neighbors().len() >= NEIGHBOURS.into());
        }
    }
}

#[test]
fn two_hundred_neighbours_that_come_at_once_are_served() {
    for family in Family::BOTH {
        let (mut sim, ours, others) = crowd(3);
        let echo = sim.spawn(ours, EchoServer::new(family.socket(1, PORT)));
        for host in others {
            sim.spawn(host, RequestClient::new(family.socket(1, PORT), 1, 3, 500));
        }
        sim.drive_apps(LIMIT).unwrap();
        assert_eq!(
            (sim.app(echo).accepted(), sim.app(echo).failed()),
            (NEIGHBOURS.into(), 0)
        );
    }
}

#[test]
fn neighbours_are_found_though_questions_get_lost() {
    for family in Family::BOTH {
        for seed in seeds(&[1, 2, 3]) {
            let mut sim = Sim::new(seed);
            let bad = segment().with_loss(0.02);
            let ours = sim.add(StackHost::new(1, seed), bad.clone());
            for n in 2..22 {
                let host = sim.add(small_foreign(n), bad.clone());
                sim.spawn(host, EchoServer::new(family.socket(n, PORT)));
                sim.spawn(ours, RequestClient::new(family.socket(n, PORT), 1, 3, 64));
            }
            // A question is asked three times, and crosses two links each way: that all three or their answers get lost is one in
            // two thousand.
            sim.drive_apps(LIMIT)
                .unwrap_or_else(|error| panic!("{family:?}, seed {seed}: {error}"));
        }
    }
}

#[test]
fn of_five_hundred_connections_two_hundred_at_once_none_is_refused() {
    for family in Family::BOTH {
        let link = segment();
        let mut net = Pair::new(
            5,
            StackHost::new(1, 5),
            StackHost::new(2, 6),
            link.clone(),
            link,
        );
        let (client, server) = (net.client, net.server);
        let echo = net.spawn(server, EchoServer::new(family.socket(2, PORT)));
        for at_once in [200, 200, 100] {
            net.spawn(
                client,
                RequestClient::new(family.socket(2, PORT), at_once, 2, 100),
            );
            net.drive_apps(LIMIT).unwrap();
        }
        assert_eq!((net.app(echo).accepted(), net.app(echo).failed()), (500, 0));
    }
}

#[test]
fn a_tx_ring_that_stays_full_for_a_second_loses_nothing() {
    for family in Family::BOTH {
        let link = LinkConfig::delay(Duration::from_micros(200)).with_rate(100_000_000, 1_000);
        let mut net = Pair::new(
            6,
            StackHost::new(1, 6),
            StackHost::new(2, 7),
            link.clone(),
            link,
        );
        let (client, server) = (net.client, net.server);
        let (there, back, bytes) = (Pattern::new(1), Pattern::new(2), 4 << 20);
        let listening = Bulk::listen(family.socket(2, PORT))
            .sending(back, bytes)
            .receiving(there, bytes);
        let connecting = Bulk::connect(family.socket(2, PORT))
            .sending(there, bytes)
            .receiving(back, bytes);
        net.spawn(server, listening);
        let app = net.spawn(client, connecting);
        net.drive_for(Duration::from_millis(50)).unwrap();
        for host in [client, server] {
            let until = net.now() + Duration::from_secs(1);
            net.stall_tx(host, until);
            let before = net.link_stats(host).0.offered;
            net.drive_for(Duration::from_millis(999)).unwrap();
            assert_eq!(
                net.link_stats(host).0.offered,
                before,
                "a full ring took frames"
            );
            net.drive_for(Duration::from_millis(20)).unwrap();
        }
        net.drive_apps(LIMIT).unwrap();
        assert!(net.app(app).finished());
    }
}

#[test]
fn after_ten_thousand_half_open_connections_the_listener_still_accepts() {
    for family in Family::BOTH {
        let mut lab = ByHand::new();
        let path = Path::new(family, 2, HOST);
        lab.feed(path.who_has());
        for i in 0..10_000u32 {
            let syn = Segment {
                src_port: 1_024 + i as u16,
                dst_port: TCP_PORT,
                seq: i.wrapping_mul(7_919),
                flags: flags::SYN,
                window: 1_000,
                ..Segment::default()
            };
            let answers = lab.feed(path.tcp(&syn));
            let accepted = answers
                .iter()
                .filter_map(|frame| tcp_to(frame, syn.src_port))
                .any(|(s, _)| s.flags & flags::SYN != 0);
            assert!(accepted, "SYN {i} was not answered");
        }
        lab.check_service()
            .unwrap_or_else(|what| panic!("{family:?}: {what}"));
        assert_eq!(lab.accept(), None);
    }
}

#[test]
fn after_ten_thousand_connections_that_close_at_once_the_listener_still_accepts() {
    for family in Family::BOTH {
        let mut lab = ByHand::new();
        let path = Path::new(family, 2, HOST);
        lab.feed(path.who_has());
        for i in 0..10_000u32 {
            let (id, peer) = lab
                .open(path, 1_024 + i as u16, i.wrapping_mul(104_729))
                .unwrap_or_else(|what| panic!("connection {i}: {what}"));
            let fin = Segment {
                flags: flags::FIN | flags::ACK,
                ..peer.clone()
            };
            lab.feed(path.tcp(&fin));
            let now = lab.now();
            lab.stack_mut().tcp_close(now, id);
            let sent = lab.take();
            let ended = sent
                .iter()
                .filter_map(|frame| tcp_to(frame, peer.src_port))
                .any(|(s, _)| s.flags & flags::FIN != 0);
            assert!(ended, "connection {i} was not ended in return: {sent:02x?}");
            let last = Segment {
                seq: peer.seq.wrapping_add(1),
                ack: peer.ack.wrapping_add(1),
                flags: flags::ACK,
                ..peer
            };
            lab.feed(path.tcp(&last));
        }
        lab.check_service()
            .unwrap_or_else(|what| panic!("{family:?}: {what}"));
        lab.wait(Duration::from_secs(120));
        assert_eq!(lab.stack().tcp_count(), 0, "connections are left over");
    }
}

/// A connection goes on while 2,000 neighbours are asked for at once, each with more to be sent than may wait, and when all
/// of them answer in one burst or none does.
#[test]
fn two_thousand_neighbours_at_once_are_harmless() {
    const CROWD: std::ops::Range<u16> = 100..2_100;
    for family in Family::BOTH {
        for (room, answered) in [(4_096, true), (4_096, false), (256, true)] {
            let mut config = StackHost::config(HOST, 1);
            config.limits.neighbors = room;
            let waiting = config.limits.pending_bytes;
            let mut lab = ByHand::with_config(config);
            let friend = Path::new(family, 2, HOST);
            let (id, mut peer) = lab.open(friend, 5_000, 1).unwrap();
            let mut works_on = |lab: &mut ByHand, known: bool| {
                let request = Segment {
                    payload: b"request".to_vec(),
                    ..peer.clone()
                };
                lab.feed(friend.tcp(&request));
                peer.seq = peer.seq.wrapping_add(7);
                assert_eq!(lab.stack_mut().tcp_recv(id, &mut [0; 16]), Ok(7));
                lab.stack_mut().tcp_send(id, b"answer").unwrap();
                let mut sent = lab.take();
                if !known {
                    // Nothing was heard of it for long: it is asked for again.
                    sent.extend(lab.feed(friend.i_have()));
                }
                let answered = sent
                    .iter()
                    .filter_map(|frame| tcp_to(frame, 5_000))
                    .any(|(_, payload)| payload == b"answer");
                assert!(
                    answered,
                    "the connection is served at once: {family:?}, {room}"
                );
                peer.ack = peer.ack.wrapping_add(6);
                lab.feed(friend.tcp(&peer));
            };
            let (now, udp) = (lab.now(), lab.udp());
            let mut asked = 0;
            for n in CROWD {
                let to = family.socket(n, PORT);
                lab.stack_mut().tcp_connect(now, None, to).unwrap();
                for _ in 0..3 {
                    let _ = lab.stack_mut().udp_send(now, udp, &[7; 1_400], Some(to));
                }
                asked += lab.take().len();
                assert!(lab.stack().neighbors().len() <= room);
            }
            assert_eq!(asked, CROWD.len(), "one question each");
            works_on(&mut lab, true);
            if answered {
                let answers: Vec<Vec<u8>> =
                    CROWD.map(|n| Path::new(family, n, HOST).i_have()).collect();
                let sent = lab.feed_batch(&answers);
                let bytes: usize = sent.iter().map(Vec::len).sum();
                assert!(bytes > 0 && bytes <= waiting, "{bytes} bytes had waited");
                works_on(&mut lab, true);
            }
            let later = lab.wait(Duration::from_secs(20));
            let resolved = lab.stack().stats().neighbors.resolved;
            if answered && room > CROWD.len() {
                assert!(resolved >= CROWD.len() as u64);
                let syns: std::collections::BTreeSet<MacAddr> = later
                    .iter()
                    .filter(|frame| tcp_to(frame, PORT).is_some())
                    .filter_map(|frame| MacAddr::from_slice(frame))
                    .collect();
                assert_eq!(syns.len(), CROWD.len(), "SYNs to all of them");
            }
            if !answered {
                // SYNs that are repeated ask again.
                let given_up = lab.stack().stats().neighbors.unreachable;
                assert!(given_up >= CROWD.len() as u64, "{given_up}");
            }
            assert!(lab.stack().neighbors().len() <= room);
            works_on(&mut lab, false);
            lab.check_service()
                .unwrap_or_else(|what| panic!("{family:?}: {what}"));
        }
    }
}

#[test]
fn strangers_by_the_ten_thousand_do_not_fill_the_neighbour_table() {
    for family in Family::BOTH {
        let mut config = StackHost::config(HOST, 1);
        config.limits.neighbors = 256;
        let mut lab = ByHand::with_config(config);
        for n in 2..10_002 {
            lab.feed(Path::new(family, n, HOST).who_has());
            assert!(lab.stack().neighbors().len() <= 256);
        }
        lab.check_service()
            .unwrap_or_else(|what| panic!("{family:?}: {what}"));
    }
}
