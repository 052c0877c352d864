//! ARP, neighbour discovery, duplicate address detection and groups of several VLANs on one port.

use alloc::string::ToString;
use alloc::vec::Vec;

use dpdk_net_packet::arp::Operation;
use dpdk_net_packet::icmp::v6;
use dpdk_net_packet::{Network, Protocol, Transport, checksum};

use super::*;
use crate::config::Vlan;
use crate::iface::AddressState;
use crate::test_frames::{OUR_MAC, PEER_MAC, at, config, from_peer, ip, message, packet, read};

/// The same IPv4 subnet in VLANs 100 and 200, beside the untagged network.
fn trunk() -> Config {
    config()
        .with_vlan(
            Vlan::new(100)
                .with_address("198.18.7.2/24".parse().unwrap())
                .with_address("fd00:7::2/64".parse().unwrap())
                .with_priority(5),
        )
        .with_vlan(
            Vlan::new(200)
                .with_address("198.18.7.3/24".parse().unwrap())
                .with_mtu(1400),
        )
}

const TCI_100: u16 = 5 << 13 | 100;

fn quiet(config: &Config) -> Link {
    config.validate().unwrap();
    crate::test_frames::link(config)
}

fn at_vlan(link: &Link, vlan: u16) -> IfIndex {
    link.ifaces.by_vlan(vlan).unwrap()
}

/// Tags and frames of a queue.
fn sent(queue: &mut FrameQueue) -> Vec<(u16, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = queue.front() {
        frames.push((
            queue.front_meta().vlan_tci.unwrap_or_default(),
            frame.to_vec(),
        ));
        queue.pop();
    }
    frames
}

fn request(sender: [u8; 4], target: [u8; 4]) -> arp::Packet {
    arp::Packet {
        operation: Operation::Request,
        sender_mac: PEER_MAC,
        sender: sender.into(),
        target_mac: MacAddr::ZERO,
        target: target.into(),
    }
}

fn reply(sender: [u8; 4], sender_mac: MacAddr, target: [u8; 4]) -> arp::Packet {
    arp::Packet {
        operation: Operation::Reply,
        sender_mac,
        sender: sender.into(),
        target_mac: OUR_MAC,
        target: target.into(),
    }
}

fn from(src: &str, dst: &str) -> Way {
    Way {
        src: ip(src),
        ..Way::to(ip(dst), 0)
    }
}

#[test]
fn one_address_in_two_vlans_is_two_neighbours() {
    let mut link = quiet(&trunk());
    let peer = [198, 18, 7, 9];
    let macs = [(100, [198, 18, 7, 2], 0x11), (200, [198, 18, 7, 3], 0x22)];
    for (vlan, own, last) in macs {
        let own_text = ip(&Ipv4Addr::from(own).to_string());
        let meta = IpMeta::new(own_text, ip("198.18.7.9"), Protocol::Udp);
        link.output(at(0), Queue::Datagrams, &meta, 8, |_| ())
            .unwrap();
        let asked = sent(&mut link.replies);
        let [(tci, frame)] = &asked[..] else {
            panic!("{asked:?}")
        };
        assert_eq!(tci & 0xfff, vlan);
        let Network::Arp(question) = read(frame).network else {
            panic!("not ARP");
        };
        assert_eq!(question.sender, Ipv4Addr::from(own));
        let mac = MacAddr([2, 0, 0, 0, 0, last]);
        let here = at_vlan(&link, vlan);
        link.on_arp(at(1), here, &reply(peer, mac, own));
        // What waited leaves in its VLAN, and to the neighbour there.
        let waited = sent(&mut link.replies);
        assert_eq!(waited.len(), 1);
        let (tci, frame) = &waited[0];
        assert_eq!((tci & 0xfff, &frame[..6]), (vlan, &mac.0[..]));
    }
    for (vlan, own, last) in macs {
        let way = from(&Ipv4Addr::from(own).to_string(), "198.18.7.9");
        let mac = MacAddr([2, 0, 0, 0, 0, last]);
        let here = at_vlan(&link, vlan);
        assert_eq!(link.lookup(at(2), &way), Lookup::Ready(here, mac));
    }
    let known: Vec<_> = link
        .neighbors(at(2), ListPlace::START)
        .0
        .map(|n| (n.vlan, n.addr))
        .collect();
    assert_eq!(known.len(), 2);
    assert!(known.iter().all(|(_, addr)| *addr == ip("198.18.7.9")));
}

#[test]
fn an_answer_in_another_vlan_is_no_answer() {
    let mut link = quiet(&trunk());
    let way = from("198.18.7.2", "198.18.7.9");
    assert!(matches!(link.lookup(at(0), &way), Lookup::Pending(_)));
    let (here, elsewhere) = (at_vlan(&link, 100), at_vlan(&link, 200));
    let answer = reply([198, 18, 7, 9], PEER_MAC, [198, 18, 7, 2]);
    link.on_arp(at(1), elsewhere, &answer);
    link.on_arp(at(1), IfIndex::PORT, &answer);
    assert!(matches!(link.lookup(at(1), &way), Lookup::Pending(_)));
    link.on_arp(at(2), here, &answer);
    assert_eq!(link.lookup(at(2), &way), Lookup::Ready(here, PEER_MAC));
}

#[test]
fn arp_is_answered_for_the_addresses_of_the_interface_alone_and_with_its_tag() {
    let mut link = quiet(&trunk());
    let question = request([198, 18, 7, 9], [198, 18, 7, 2]);
    for vlan in [0, 200] {
        let here = at_vlan(&link, vlan);
        link.on_arp(at(0), here, &question);
    }
    assert_eq!(sent(&mut link.replies), []);
    let here = at_vlan(&link, 100);
    link.on_arp(at(0), here, &question);
    let answers = sent(&mut link.replies);
    assert_eq!(answers.len(), 1);
    let (tci, frame) = &answers[0];
    assert_eq!(*tci, TCI_100, "the priority is in the tag");
    assert_eq!(read(frame).dst_mac, PEER_MAC);
    // Who has asked is known, there.
    let known: Vec<_> = link
        .neighbors(at(0), ListPlace::START)
        .0
        .map(|n| n.vlan)
        .collect();
    assert_eq!(known, [100]);
}

fn solicitation(src: &str, target: &str) -> (IpMeta, Vec<u8>) {
    let (IpAddr::V6(from), IpAddr::V6(target)) = (ip(src), ip(target)) else {
        panic!()
    };
    let to = solicited_node(target);
    let mut buf = [0; 64];
    let link = (!from.is_unspecified()).then_some(PEER_MAC);
    let len = ndp::write_solicitation(&mut buf, target, link);
    checksum::fill_icmpv6(from, to, &mut buf[..len]);
    let meta = IpMeta {
        hop_limit: 255,
        ..IpMeta::new(from.into(), to.into(), Protocol::Icmpv6)
    };
    (meta, buf[..len].to_vec())
}

fn solicit(link: &mut Link, vlan: u16, src: &str, target: &str) {
    let (meta, payload) = solicitation(src, target);
    let frame = from_peer(&meta, &payload);
    let (packet, message) = message(&frame);
    let here = at_vlan(link, vlan);
    assert!(link.on_ndp(at(0), (here, PEER_MAC), &packet, message));
}

#[test]
fn a_solicitation_is_answered_for_the_addresses_of_the_interface_alone_and_with_its_tag() {
    let mut link = quiet(&trunk());
    for vlan in [0, 200] {
        solicit(&mut link, vlan, "fd00:7::9", "fd00:7::2");
    }
    assert_eq!(sent(&mut link.replies), []);
    // The link-local address is the same on all of them, and each answers on its own link.
    for (vlan, src, target, expected) in [
        (100, "fd00:7::9", "fd00:7::2", TCI_100),
        (100, "fe80::9", "fe80::ff:fe00:7", TCI_100),
        (200, "fe80::9", "fe80::ff:fe00:7", 200),
        (0, "fe80::9", "fe80::ff:fe00:7", 0),
    ] {
        solicit(&mut link, vlan, src, target);
        let answers = sent(&mut link.replies);
        assert_eq!(answers.len(), 1, "{vlan} {target}");
        let (tci, frame) = &answers[0];
        assert_eq!(*tci, expected);
        let (packet, message) = message(frame);
        assert_eq!(message.kind(), v6::NEIGHBOR_ADVERTISEMENT);
        assert_eq!((packet.src(), packet.dst()), (ip(target), ip(src)));
    }
    // One link-local neighbour in each network.
    let mut vlans: Vec<_> = link
        .neighbors(at(0), ListPlace::START)
        .0
        .map(|n| (n.vlan, n.addr))
        .collect();
    vlans.sort_unstable();
    let link_local = ip("fe80::9");
    assert_eq!(
        vlans,
        [
            (0, link_local),
            (100, ip("fd00:7::9")),
            (100, link_local),
            (200, link_local)
        ]
    );
}

#[test]
fn each_interface_probes_its_addresses_in_its_own_network_and_loses_them_there_only() {
    let mut config = trunk();
    config.dad = true;
    let mut link = Link::new(&config, Instant::ZERO);
    let mut probes = Vec::new();
    let mut now = Instant::ZERO;
    let conflict = request([198, 18, 7, 3], [198, 18, 7, 3]);
    let mut told = false;
    while let Some(next) = link.next_timeout().filter(|next| *next <= at(1_500)) {
        now = now.max(next);
        link.handle_timeout(now, &mut |_| {});
        for (tci, frame) in sent(&mut link.replies) {
            match read(&frame).network {
                Network::Arp(probe) if probe.sender.is_unspecified() => {
                    probes.push((tci & 0xfff, IpAddr::from(probe.target)));
                }
                Network::Ip(ip, Transport::Icmpv6(message))
                    if message.kind() == v6::NEIGHBOR_SOLICITATION =>
                {
                    assert!(ip.src().is_unspecified());
                    let Ok(ndp::Message::NeighborSolicitation { target, .. }) =
                        ndp::Message::parse(message)
                    else {
                        panic!()
                    };
                    probes.push((tci & 0xfff, target.into()));
                }
                _ => {}
            }
        }
        if !told {
            // In VLAN 100 somebody has the address that is ours in VLAN 200: that is nobody's business. In VLAN 200 it is.
            told = true;
            let (there, here) = (at_vlan(&link, 100), at_vlan(&link, 200));
            link.on_arp(now, there, &conflict);
            assert_eq!(link.neighbors.stats.snapshot().address_conflicts, 0);
            link.on_arp(now, here, &conflict);
            assert_eq!(link.neighbors.stats.snapshot().address_conflicts, 1);
        }
    }
    let of = |vlan| {
        let mut of: Vec<_> = probes.iter().filter(|(v, _)| *v == vlan).collect();
        of.sort_unstable();
        of.dedup();
        of.into_iter().map(|(_, addr)| *addr).collect::<Vec<_>>()
    };
    let link_local = ip("fe80::ff:fe00:7");
    assert_eq!(of(0), [ip("198.18.0.2"), ip("fd00::2"), link_local]);
    assert_eq!(of(100), [ip("198.18.7.2"), ip("fd00:7::2"), link_local]);
    assert!(of(200).contains(&link_local));
    let state = |vlan, addr| link.ifaces.get(at_vlan(&link, vlan)).state_of(ip(addr));
    assert_eq!(state(200, "198.18.7.3"), Some(AddressState::Duplicate));
    assert_eq!(state(100, "198.18.7.2"), Some(AddressState::Preferred));
    assert_eq!(state(200, "fe80::ff:fe00:7"), Some(AddressState::Preferred));
    assert!(link.ifaces.is_settled());
    assert!(!link.ifaces.is_bindable(ip("198.18.7.3"), 0));
}

#[test]
fn groups_are_reported_in_the_network_where_they_were_joined() {
    let mut link = quiet(&trunk());
    let here = at_vlan(&link, 200);
    for group in ["239.1.2.3", "ff05::7"] {
        let join = |it: &mut Interface| it.groups.join(at(2_000), ip(group));
        link.ifaces.change(here, join).unwrap();
    }
    link.handle_timeout(at(2_000), &mut |_| {});
    let reports = sent(&mut link.replies);
    assert_eq!(reports.len(), 2);
    for (tci, frame) in &reports {
        assert_eq!(*tci, 200);
        let src = packet(frame).src();
        assert!([ip("198.18.7.3"), ip("fe80::ff:fe00:7")].contains(&src));
    }
}

#[test]
fn a_vlans_mtu_is_that_of_its_own_paths() {
    let mut link = quiet(&trunk());
    for (src, dst, vlan) in [
        ("198.18.7.2", "198.18.7.9", 100),
        ("198.18.7.3", "198.18.7.9", 200),
    ] {
        let here = at_vlan(&link, vlan);
        let hop = Hop {
            at: here,
            addr: ip(dst),
        };
        link.add_neighbor(at(0), hop, PEER_MAC);
        let mtu = link.path_mtu(at(0), &from(src, dst));
        assert_eq!(mtu, if vlan == 200 { 1_400 } else { 1_500 });
        let meta = IpMeta::new(ip(src), ip(dst), Protocol::Udp);
        link.output(at(0), Queue::Datagrams, &meta, 1_480, |_| ())
            .unwrap();
        let frames = sent(&mut link.datagrams);
        assert_eq!(frames.len(), if vlan == 200 { 2 } else { 1 });
        for (tci, frame) in frames {
            assert_eq!(tci & 0xfff, vlan);
            assert!(frame.len() <= ethernet::HEADER_LEN + mtu);
        }
    }
    // What a router says of a path is of the one that goes through this network.
    link.note_path_mtu(at(0), &from("198.18.7.2", "198.18.7.9"), 1_300);
    assert_eq!(
        link.path_mtu(at(1), &from("198.18.7.2", "198.18.7.9")),
        1_300
    );
    assert_eq!(
        link.path_mtu(at(1), &from("198.18.7.3", "198.18.7.9")),
        1_400
    );
}

#[test]
fn a_neighbour_that_does_not_answer_is_told_of_with_the_scope_of_its_link() {
    let mut link = quiet(&trunk());
    let meta = IpMeta {
        scope: 200,
        ..IpMeta::new(ip("fe80::ff:fe00:7"), ip("fe80::9"), Protocol::Udp)
    };
    link.output(at(0), Queue::Datagrams, &meta, 8, |buf| {
        buf.copy_from_slice(&[0, 5, 0, 9, 0, 8, 0, 0]);
    })
    .unwrap();
    let mut told = Vec::new();
    for second in 1..=3 {
        link.handle_timeout(at(second * 1_000), &mut |report| told.push(report));
    }
    let asked = sent(&mut link.replies);
    assert!(asked.len() == 3 && asked.iter().all(|(tci, _)| *tci == 200));
    assert_eq!(told.len(), 1);
    let scope = |addr| match addr {
        core::net::SocketAddr::V6(v6) => v6.scope_id(),
        other => panic!("{other}"),
    };
    assert_eq!((scope(told[0].local), scope(told[0].remote)), (200, 200));
}
