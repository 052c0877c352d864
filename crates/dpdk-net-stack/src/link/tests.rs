//! ARP, neighbour discovery and duplicate address detection as they look from the wire.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::arp::Operation;
use dpdk_net_packet::icmp::v6;
use dpdk_net_packet::{Network, Protocol, checksum};
use proptest::prelude::*;

use super::*;
use crate::iface::AddressState;
use crate::neighbor::NeighborState;
use crate::test_frames::{
    OUR_MAC, PEER_MAC, PORT, at, config, drain, from_peer, hop, ip, link, message, packet, read, to,
};

fn arp(operation: Operation, sender: [u8; 4], target: [u8; 4]) -> arp::Packet {
    let target_mac = if operation == Operation::Reply {
        OUR_MAC
    } else {
        MacAddr::ZERO
    };
    arp::Packet {
        operation,
        sender_mac: PEER_MAC,
        sender: sender.into(),
        target_mac,
        target: target.into(),
    }
}

fn sent_arp(link: &mut Link) -> Vec<(MacAddr, arp::Packet)> {
    drain(&mut link.replies)
        .iter()
        .map(|frame| match read(frame) {
            dpdk_net_packet::Parsed {
                dst_mac,
                network: Network::Arp(packet),
                ..
            } => (dst_mac, packet),
            other => panic!("not ARP: {other:?}"),
        })
        .collect()
}

fn send(link: &mut Link, now: Instant, dst: &str, len: usize) -> Result<(), Error> {
    let src = link.ifaces.source_for(&to(dst)).unwrap();
    let meta = IpMeta::new(src, ip(dst), Protocol::Udp);
    link.output(now, Queue::Datagrams, &meta, len, |buf| {
        for (i, b) in buf.iter_mut().enumerate() {
            *b = i as u8;
        }
        // A UDP header, so that tests can read the packet.
        buf[..8].copy_from_slice(&[0, 9, 0, 9, (len >> 8) as u8, len as u8, 0, 0]);
        checksum::fill_udp(src, ip(dst), buf);
    })
}

fn solicitation(
    src: &str,
    dst: &str,
    target: &str,
    source_link: Option<MacAddr>,
) -> (IpMeta, Vec<u8>) {
    let (IpAddr::V6(from), IpAddr::V6(to), IpAddr::V6(target)) = (ip(src), ip(dst), ip(target))
    else {
        panic!()
    };
    let mut buf = [0; 64];
    let len = ndp::write_solicitation(&mut buf, target, source_link);
    checksum::fill_icmpv6(from, to, &mut buf[..len]);
    (
        IpMeta {
            hop_limit: 255,
            ..IpMeta::new(from.into(), to.into(), Protocol::Icmpv6)
        },
        buf[..len].to_vec(),
    )
}

fn advertisement(src: &str, dst: &str, target: &str, solicited: bool) -> (IpMeta, Vec<u8>) {
    let (IpAddr::V6(from), IpAddr::V6(to), IpAddr::V6(target)) = (ip(src), ip(dst), ip(target))
    else {
        panic!()
    };
    let mut buf = [0; 64];
    let len = ndp::write_advertisement(&mut buf, target, PEER_MAC, solicited, true);
    checksum::fill_icmpv6(from, to, &mut buf[..len]);
    (
        IpMeta {
            hop_limit: 255,
            ..IpMeta::new(from.into(), to.into(), Protocol::Icmpv6)
        },
        buf[..len].to_vec(),
    )
}

fn receive(link: &mut Link, now: Instant, (meta, payload): (IpMeta, Vec<u8>)) {
    let frame = from_peer(&meta, &payload);
    let (packet, message) = message(&frame);
    assert!(link.on_ndp(now, (PORT, PEER_MAC), &packet, message));
}

#[test]
fn an_arp_request_for_us_is_answered_and_makes_the_asker_known() {
    let mut link = link(&config());
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 2]),
    );
    let sent = sent_arp(&mut link);
    let [(asker, reply)] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert_eq!(*asker, PEER_MAC);
    assert_eq!(
        (reply.operation, reply.sender_mac, reply.sender),
        (Operation::Reply, OUR_MAC, Ipv4Addr::new(198, 18, 0, 2))
    );
    assert_eq!(
        link.lookup(at(0), &to("198.18.0.1")),
        Lookup::Ready(PORT, PEER_MAC)
    );
}

#[test]
fn arp_that_is_not_for_us_or_makes_no_sense_is_not_answered_and_creates_nothing() {
    let mut link = link(&config());
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 3]),
    );
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Reply, [198, 18, 0, 1], [198, 18, 0, 2]),
    );
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 1]),
    );
    assert_eq!(link.neighbors.stats.snapshot().arp_invalid, 0);
    for sender in [[224, 0, 0, 1], [198, 18, 0, 255], [127, 0, 0, 1]] {
        link.on_arp(
            at(0),
            PORT,
            &arp(Operation::Request, sender, [198, 18, 0, 2]),
        );
    }
    let mut group = arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 2]);
    group.sender_mac = MacAddr::BROADCAST;
    link.on_arp(at(0), PORT, &group);
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Other(9), [198, 18, 0, 1], [198, 18, 0, 2]),
    );
    assert_eq!(link.neighbors.stats.snapshot().arp_invalid, 5);
    assert!(sent_arp(&mut link).is_empty());
    assert_eq!(link.neighbors.len(), 0);
}

#[test]
fn what_we_sent_ourselves_and_comes_back_is_counted_and_no_conflict() {
    let mut link = link(&config());
    let mut own = arp(Operation::Request, [198, 18, 0, 2], [198, 18, 0, 1]);
    own.sender_mac = OUR_MAC;
    link.on_arp(at(0), PORT, &own);
    assert_eq!(link.neighbors.stats.snapshot().own_returned, 1);
    let (meta, payload) = advertisement("fd00::2", "ff02::1", "fd00::2", false);
    let frame = from_peer(&meta, &payload);
    let (packet, message) = message(&frame);
    assert!(link.on_ndp(at(0), (PORT, OUR_MAC), &packet, message));
    let stats = link.neighbors.stats.snapshot();
    assert_eq!((stats.own_returned, stats.address_conflicts), (2, 0));
}

#[test]
fn gratuitous_arp_moves_a_known_neighbour() {
    let mut link = link(&config());
    link.on_arp(
        at(0),
        PORT,
        &arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 2]),
    );
    let mut moved = arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 1]);
    moved.sender_mac = MacAddr([2, 0, 0, 0, 0, 0xbb]);
    link.on_arp(at(1), PORT, &moved);
    assert_eq!(
        link.lookup(at(1), &to("198.18.0.1")),
        Lookup::Ready(PORT, moved.sender_mac)
    );
    assert_eq!(link.neighbors.len(), 1);
}

#[test]
fn the_first_packet_asks_at_once_and_leaves_when_the_answer_is_there() {
    for dst in ["198.18.0.1", "fd00::1"] {
        let mut link = link(&config());
        send(&mut link, at(0), dst, 100).unwrap();
        send(&mut link, at(0), dst, 200).unwrap();
        let asked = drain(&mut link.replies);
        assert_eq!(asked.len(), 1, "one request for a destination");
        if dst.contains(':') {
            let (packet, message) = message(&asked[0]);
            assert_eq!(
                (message.kind(), packet.hop_limit()),
                (v6::NEIGHBOR_SOLICITATION, 255)
            );
            assert_eq!(packet.dst(), ip("ff02::1:ff00:1"));
            assert_eq!(
                read(&asked[0]).dst_mac,
                MacAddr([0x33, 0x33, 0xff, 0, 0, 1])
            );
            receive(&mut link, at(20), advertisement(dst, "fd00::2", dst, true));
        } else {
            assert_eq!(read(&asked[0]).dst_mac, MacAddr::BROADCAST);
            link.on_arp(
                at(20),
                PORT,
                &arp(Operation::Reply, [198, 18, 0, 1], [198, 18, 0, 2]),
            );
        }
        let sent = drain(&mut link.replies);
        let lengths: Vec<usize> = sent
            .iter()
            .map(|frame| packet(frame).payload().len())
            .collect();
        assert_eq!(lengths, [100, 200]);
        assert!(
            sent.iter()
                .all(|frame| read(frame).dst_mac == PEER_MAC && read(frame).src_mac == OUR_MAC)
        );
        let known: Vec<_> = link.neighbors(at(21), ListPlace::START).0.collect();
        assert_eq!(
            (known[0].state, known[0].mac),
            (NeighborState::Reachable, Some(PEER_MAC))
        );
    }
}

#[test]
fn packets_to_a_silent_neighbour_are_reported_as_unreachable() {
    for dst in ["198.18.0.1", "fd00::1"] {
        let mut link = link(&config());
        send(&mut link, at(0), dst, 100).unwrap();
        let mut reports = Vec::new();
        for second in 1..=3 {
            link.handle_timeout(at(second * 1_000), &mut |report| reports.push(report));
        }
        assert_eq!(drain(&mut link.replies).len(), 3, "three requests");
        let [report] = &reports[..] else {
            panic!("{reports:?}")
        };
        assert_eq!(
            (report.protocol, report.remote.ip(), report.remote.port()),
            (Protocol::Udp, ip(dst), 9)
        );
        assert_eq!(report.kind.to_error(), Some(Error::HostUnreachable));
    }
}

#[test]
fn two_hundred_new_neighbours_resolve_within_a_second_on_the_wire() {
    let mut link = link(&config());
    for host in 10..210 {
        send(&mut link, at(0), &alloc::format!("198.18.0.{host}"), 64).unwrap();
    }
    let asked = sent_arp(&mut link);
    assert_eq!(asked.len(), 200);
    for (_, request) in asked {
        let reply = arp::Packet {
            operation: Operation::Reply,
            sender_mac: PEER_MAC,
            sender: request.target,
            target_mac: OUR_MAC,
            target: request.sender,
        };
        link.on_arp(at(900), PORT, &reply);
    }
    assert_eq!(drain(&mut link.replies).len(), 200);
    assert_eq!(link.neighbors.stats.snapshot().resolved, 200);
}

#[test]
fn a_solicitation_is_answered_to_the_asker_and_a_probe_to_all() {
    let mut link = link(&config());
    receive(
        &mut link,
        at(0),
        solicitation("fd00::1", "ff02::1:ff00:2", "fd00::2", Some(PEER_MAC)),
    );
    let sent = drain(&mut link.replies);
    let (packet, reply) = message(&sent[0]);
    assert_eq!(
        (reply.kind(), packet.src(), packet.dst()),
        (v6::NEIGHBOR_ADVERTISEMENT, ip("fd00::2"), ip("fd00::1"))
    );
    assert_eq!(reply.word() >> 29, 0b011, "solicited, override");
    assert_eq!(
        link.lookup(at(0), &to("fd00::1")),
        Lookup::Ready(PORT, PEER_MAC)
    );

    receive(
        &mut link,
        at(0),
        solicitation("::", "ff02::1:ff00:2", "fd00::2", None),
    );
    let sent = drain(&mut link.replies);
    let (packet, reply) = message(&sent[0]);
    assert_eq!((packet.dst(), reply.word() >> 29), (ip("ff02::1"), 0b001));
}

#[test]
fn invalid_neighbour_discovery_is_counted_and_dropped() {
    let mut link = link(&config());
    let (meta, payload) = solicitation("fd00::1", "ff02::1:ff00:2", "fd00::2", Some(PEER_MAC));
    receive(
        &mut link,
        at(0),
        (
            IpMeta {
                hop_limit: 254,
                ..meta
            },
            payload,
        ),
    );
    receive(
        &mut link,
        at(0),
        solicitation("::", "fd00::2", "fd00::2", None),
    );
    receive(
        &mut link,
        at(0),
        solicitation("::", "ff02::1:ff00:2", "fd00::2", Some(PEER_MAC)),
    );
    receive(
        &mut link,
        at(0),
        solicitation("fd00::1", "ff02::1:ff00:2", "ff02::5", Some(PEER_MAC)),
    );
    receive(
        &mut link,
        at(0),
        solicitation(
            "fd00::1",
            "ff02::1:ff00:2",
            "fd00::2",
            Some(MacAddr::BROADCAST),
        ),
    );
    receive(
        &mut link,
        at(0),
        advertisement("fd00::1", "ff02::1", "fd00::1", true),
    );
    assert_eq!(link.neighbors.stats.snapshot().ndp_invalid, 6);
    let (meta, mut payload) = solicitation("fd00::1", "ff02::1:ff00:2", "fd00::2", Some(PEER_MAC));
    payload[25] = 0;
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (meta.src, meta.dst) else {
        panic!()
    };
    checksum::fill_icmpv6(src, dst, &mut payload);
    receive(&mut link, at(0), (meta, payload));
    assert_eq!(link.neighbors.stats.snapshot().ndp_malformed, 1);
    assert!(drain(&mut link.replies).is_empty());
    assert_eq!(link.neighbors.len(), 0);
}

#[test]
fn router_advertisements_and_redirects_change_nothing() {
    let mut link = link(&config());
    for (kind, len) in [(v6::ROUTER_ADVERTISEMENT, 16), (v6::REDIRECT, 40)] {
        let mut body = alloc::vec![0; len];
        body[0] = kind;
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip("fe80::1"), ip("fd00::2")) else {
            panic!()
        };
        checksum::fill_icmpv6(src, dst, &mut body);
        let meta = IpMeta {
            hop_limit: 255,
            ..IpMeta::new(src.into(), dst.into(), Protocol::Icmpv6)
        };
        receive(&mut link, at(0), (meta, body));
    }
    assert_eq!(link.neighbors.stats.snapshot().router_messages_ignored, 2);
    assert_eq!(link.lookup(at(0), &to("2001:db8::1")), Lookup::NoRoute);
}

fn probing() -> Link {
    let mut config = config();
    config.dad = true;
    Link::new(&config, Instant::ZERO)
}

/// Runs timers up to `until` and returns the frames with the time they were sent.
fn run(link: &mut Link, until: Instant) -> Vec<(Instant, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(now) = link.next_timeout().filter(|now| *now <= until) {
        link.handle_timeout(now, &mut |_| {});
        frames.extend(
            drain(&mut link.replies)
                .into_iter()
                .map(|frame| (now, frame)),
        );
    }
    frames
}

#[test]
fn addresses_are_probed_then_used_then_announced() {
    let mut link = probing();
    let frames = run(&mut link, at(10_000));
    assert!(
        link.ifaces.is_settled()
            && link.ifaces.is_ours(PORT, ip("198.18.0.2"))
            && link.ifaces.is_ours(PORT, ip("fd00::2"))
    );
    let arps: Vec<(Instant, arp::Packet)> = frames
        .iter()
        .filter_map(|(at, frame)| match read(frame).network {
            Network::Arp(packet) => Some((*at, packet)),
            _ => None,
        })
        .collect();
    let senders: Vec<bool> = arps
        .iter()
        .map(|(_, packet)| packet.sender.is_unspecified())
        .collect();
    assert_eq!(
        senders,
        [true, true, true, false, false],
        "three probes, two announcements"
    );
    assert!(
        arps.iter()
            .all(|(_, packet)| packet.target == Ipv4Addr::new(198, 18, 0, 2))
    );
    assert!(arps[3].0 <= at(700), "{:?}", arps[3].0);
    let probes: Vec<_> = frames
        .iter()
        .filter_map(|(_, frame)| match read(frame).network {
            Network::Ip(packet, dpdk_net_packet::Transport::Icmpv6(message))
                if message.kind() == v6::NEIGHBOR_SOLICITATION =>
            {
                Some((packet.src(), packet.dst()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(probes.len(), 2, "one for each IPv6 address");
    assert!(probes.contains(&(Ipv6Addr::UNSPECIFIED.into(), ip("ff02::1:ff00:2"))));
}

#[test]
fn what_is_sent_while_addresses_are_probed_waits_for_the_end_of_it() {
    let target = "fd00::1".parse::<Ipv6Addr>().unwrap().octets();
    for dst in ["198.18.0.1", "fd00::1"] {
        let mut link = probing();
        let src = link.ifaces.with_source(&to(dst)).unwrap().src;
        let meta = IpMeta::new(src, ip(dst), Protocol::Udp);
        link.output(at(0), Queue::Datagrams, &meta, 100, |buf| buf.fill(0))
            .unwrap();
        let frames = run(&mut link, at(1_200));
        let asked_from = frames
            .iter()
            .find_map(|(_, frame)| match read(frame).network {
                Network::Arp(packet) if packet.target == Ipv4Addr::new(198, 18, 0, 1) => {
                    Some(IpAddr::from(packet.sender))
                }
                Network::Ip(packet, dpdk_net_packet::Transport::Icmpv6(message))
                    if message.kind() == v6::NEIGHBOR_SOLICITATION
                        && message.bytes()[8..24] == target =>
                {
                    Some(packet.src())
                }
                _ => None,
            });
        assert_eq!(asked_from, Some(src));
        assert_eq!(link.neighbors.stats.snapshot().packets_unreachable, 0);
        assert!(link.ifaces.is_ours(PORT, src));
    }
}

#[test]
fn an_address_that_somebody_has_is_not_used() {
    let mut link = probing();
    run(&mut link, at(150));
    link.on_arp(
        at(150),
        PORT,
        &arp(Operation::Reply, [198, 18, 0, 2], [0, 0, 0, 0]),
    );
    receive(
        &mut link,
        at(150),
        advertisement("fd00::2", "ff02::1", "fd00::2", false),
    );
    run(&mut link, at(10_000));
    assert_eq!(
        link.ifaces.get(PORT).state_of(ip("198.18.0.2")),
        Some(AddressState::Duplicate)
    );
    assert_eq!(
        link.ifaces.get(PORT).state_of(ip("fd00::2")),
        Some(AddressState::Duplicate)
    );
    assert!(
        link.ifaces.is_ours(PORT, ip("fe80::ff:fe00:7")),
        "the others are not touched"
    );
    assert_eq!(link.neighbors.stats.snapshot().address_conflicts, 2);
    // What is out of use is not answered for.
    link.on_arp(
        at(11_000),
        PORT,
        &arp(Operation::Request, [198, 18, 0, 1], [198, 18, 0, 2]),
    );
    assert!(sent_arp(&mut link).is_empty());
}

#[test]
fn of_two_that_probe_at_the_same_time_neither_uses_the_address() {
    let mut link = probing();
    run(&mut link, at(150));
    link.on_arp(
        at(150),
        PORT,
        &arp(Operation::Request, [0, 0, 0, 0], [198, 18, 0, 2]),
    );
    receive(
        &mut link,
        at(150),
        solicitation("::", "ff02::1:ff00:2", "fd00::2", None),
    );
    assert_eq!(
        link.ifaces.get(PORT).state_of(ip("198.18.0.2")),
        Some(AddressState::Duplicate)
    );
    assert_eq!(
        link.ifaces.get(PORT).state_of(ip("fd00::2")),
        Some(AddressState::Duplicate)
    );
}

#[test]
fn our_own_probes_coming_back_are_no_conflict() {
    let mut link = probing();
    for (now, frame) in run(&mut link, at(10_000)) {
        match read(&frame) {
            dpdk_net_packet::Parsed {
                network: Network::Arp(packet),
                ..
            } => link.on_arp(now, PORT, &packet),
            dpdk_net_packet::Parsed {
                src_mac,
                network: Network::Ip(ip, dpdk_net_packet::Transport::Icmpv6(message)),
                ..
            } => {
                link.on_ndp(now, (PORT, src_mac), &ip, message);
            }
            _ => {}
        }
    }
    assert_eq!(link.neighbors.stats.snapshot().address_conflicts, 0);
}

#[test]
fn an_ipv4_address_in_use_is_defended_once_in_ten_seconds() {
    let mut link = link(&config());
    for millis in [2_000, 3_000, 12_500] {
        link.on_arp(
            at(millis),
            PORT,
            &arp(Operation::Request, [198, 18, 0, 2], [198, 18, 0, 2]),
        );
    }
    let sent = sent_arp(&mut link);
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter()
            .all(|(to, packet)| *to == MacAddr::BROADCAST && packet.sender == packet.target)
    );
    assert!(link.ifaces.is_ours(PORT, ip("198.18.0.2")));
}

#[test]
fn a_large_datagram_leaves_in_fragments_that_etherparse_reads() {
    for dst in ["198.18.0.1", "fd00::1"] {
        let mut link = link(&config());
        link.add_neighbor(at(0), hop(dst), PEER_MAC);
        send(&mut link, at(0), dst, 4_000).unwrap();
        let frames = drain(&mut link.datagrams);
        assert_eq!(frames.len(), 3);
        let mut whole = Vec::new();
        for (i, frame) in frames.iter().enumerate() {
            assert!(frame.len() <= 14 + 1500);
            let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
            assert!(sliced.is_ip_payload_fragmented());
            let packet = packet(frame);
            let fragment = packet.fragment().unwrap();
            assert_eq!(
                (usize::from(fragment.offset), fragment.more),
                (whole.len(), i < 2)
            );
            whole.extend_from_slice(packet.payload());
        }
        assert_eq!(whole.len(), 4_000);
        assert!(
            whole[8..]
                .iter()
                .enumerate()
                .all(|(i, b)| *b == (i + 8) as u8)
        );
        assert_eq!(
            (
                link.stats.snapshot().fragmented,
                link.stats.snapshot().fragments_sent
            ),
            (1, 3)
        );
    }
}

#[test]
fn some_fragments_alone_are_never_queued() {
    let mut config = config();
    config.limits.reply_queue = 16;
    let mut link = link(&config);
    link.add_neighbor(at(0), hop("198.18.0.1"), PEER_MAC);
    send(&mut link, at(0), "198.18.0.1", 100).unwrap();
    assert_eq!(
        send(&mut link, at(0), "198.18.0.1", 60_000),
        Err(Error::NoBufferSpace)
    );
    assert_eq!(drain(&mut link.datagrams).len(), 1);
    assert_eq!(
        (
            link.stats.snapshot().fragmented,
            link.stats.snapshot().fragments_sent,
            link.stats.snapshot().queue_full
        ),
        (0, 0, 1)
    );
    send(&mut link, at(0), "198.18.0.1", 20_000).unwrap();
    assert_eq!(drain(&mut link.datagrams).len(), 14);
}

#[test]
fn a_packet_that_must_not_be_fragmented_or_never_fits_is_refused() {
    let mut link = link(&config());
    link.add_neighbor(at(0), hop("198.18.0.1"), PEER_MAC);
    let meta = IpMeta {
        dont_fragment: true,
        ..IpMeta::new(ip("198.18.0.2"), ip("198.18.0.1"), Protocol::Udp)
    };
    assert_eq!(
        link.output(at(0), Queue::Replies, &meta, 1_481, |_| {}),
        Err(Error::MessageTooLong)
    );
    assert_eq!(
        link.output(at(0), Queue::Replies, &meta, 1_480, |_| {}),
        Ok(())
    );
    let meta = IpMeta {
        dont_fragment: false,
        ..meta
    };
    assert_eq!(
        link.output(at(0), Queue::Replies, &meta, 65_516, |_| {}),
        Err(Error::MessageTooLong)
    );
}

#[test]
fn a_path_with_a_smaller_mtu_is_remembered_for_ten_minutes() {
    let mut link = link(&config());
    link.note_path_mtu(at(0), &to("fd00::1"), 1_400);
    link.note_path_mtu(at(0), &to("fd00::1"), 1_450);
    link.note_path_mtu(at(0), &to("fd00::3"), 68);
    assert_eq!(link.path_mtu(at(1), &to("fd00::1")), 1_400);
    assert_eq!(link.path_mtu(at(1), &to("fd00::3")), 1_500);
    assert_eq!(link.path_mtu(at(1), &to("fd00::9")), 1_500);
    assert_eq!(link.path_mtu(at(600_001), &to("fd00::1")), 1_500);
    for i in 0..5_000u32 {
        let dst = Ipv4Addr::from(0xc613_0000 + i).into();
        link.note_path_mtu(at(0), &Way::to(dst, 0), 1_000);
    }
    assert!(link.path_mtus.len() <= MAX_PATHS);
}

#[test]
fn without_a_route_the_network_is_unreachable() {
    let mut link = link(&config());
    assert_eq!(
        send(&mut link, at(0), "203.0.113.1", 10),
        Err(Error::NetworkUnreachable)
    );
    assert_eq!(link.stats.snapshot().no_route, 1);
}

#[test]
fn a_packet_to_ourselves_is_looped() {
    let mut link = link(&config());
    send(&mut link, at(0), "198.18.0.2", 10).unwrap();
    let frames = drain(&mut link.loopback);
    assert_eq!((frames.len(), read(&frames[0]).dst_mac), (1, OUR_MAC));
}

proptest! {
    #[test]
    fn arbitrary_arp_and_icmpv6_never_panics_and_stays_bounded(
        messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 8..64), 1..40),
        kind in 130u8..144,
        ours: bool,
    ) {
        let mut link = probing();
        for (i, mut bytes) in messages.into_iter().enumerate() {
            let now = at(i as u64 * 50);
            if bytes.len() >= arp::LEN {
                bytes[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
                link.on_arp(now, PORT, &arp::Packet::parse(&bytes).unwrap());
            }
            bytes[0] = kind;
            bytes[1] = 0;
            let dst = ip(if ours { "fd00::2" } else { "ff02::1" });
            let meta = IpMeta { hop_limit: 255, ..IpMeta::new(ip("fd00::1"), dst, Protocol::Icmpv6) };
            let frame = from_peer(&meta, &bytes);
            let ip = dpdk_net_packet::IpPacket::parse(&frame[14..]).unwrap();
            link.on_ndp(now, (PORT, PEER_MAC), &ip, dpdk_net_packet::icmp::Message::parse(&bytes).unwrap());
            link.handle_timeout(now, &mut |_| {});
        }
        prop_assert!(link.neighbors.len() <= 40);
    }
}
