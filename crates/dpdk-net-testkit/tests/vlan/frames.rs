//! Tagged frames by hand: which are taken, and what is said in reply, and where.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_packet::tcp::TcpOption;
use dpdk_net_packet::{Network, Transport, icmp, parse};
use dpdk_net_stack::{Config, IfAddr, Vlan};
use dpdk_net_testkit::addr::{self, Family};
use dpdk_net_testkit::by_hand::{ByHand, HOST, TCP_PORT, UDP_PORT};
use dpdk_net_testkit::frames::{self, Path, Segment, flags};
use dpdk_net_testkit::hosts::StackHost;

const PEER: u16 = 2;
/// Priority 5, VLAN 100.
const TCI: u16 = 5 << 13 | 100;

fn plan(n: u16) -> [IfAddr; 2] {
    [
        IfAddr::new(addr::ipv4(n).into(), addr::IPV4_PREFIX_LEN).unwrap(),
        IfAddr::new(addr::ipv6(n).into(), addr::IPV6_PREFIX_LEN).unwrap(),
    ]
}

/// The plan's addresses are in VLAN 100, those of another host in VLAN 200.
fn config() -> Config {
    let vlan = |id, n| plan(n).into_iter().fold(Vlan::new(id), Vlan::with_address);
    let mut config = StackHost::config(HOST, 1);
    config.addresses.clear();
    config
        .with_vlan(vlan(100, HOST).with_priority(5))
        .with_vlan(vlan(200, 7))
}

/// A stack that has heard of the peer in VLAN 100.
fn acquainted() -> ByHand {
    let mut by_hand = ByHand::with_config(config());
    by_hand.set_tag(Some(TCI));
    for family in Family::BOTH {
        let answers = by_hand.feed(Path::new(family, PEER, HOST).who_has());
        assert_eq!(tags(&answers), [Some(TCI)]);
    }
    by_hand
}

fn tags(frames: &[Vec<u8>]) -> Vec<Option<u16>> {
    frames.iter().map(|frame| frames::tci(frame)).collect()
}

fn syn() -> Segment {
    Segment {
        src_port: 5_000,
        dst_port: TCP_PORT,
        seq: 1,
        flags: flags::SYN,
        window: 1_000,
        ..Segment::default()
    }
}

#[test]
fn a_vlan_is_served_in_full() {
    let mut by_hand = ByHand::with_config(config());
    by_hand.set_tag(Some(TCI));
    by_hand.check_service().unwrap();
    // Another priority is the same network.
    by_hand.set_tag(Some(100));
    by_hand.check_service().unwrap();
    assert_eq!(by_hand.stack().stats().frames.drop_vlan, 0);
}

#[test]
fn a_priority_tag_is_of_the_untagged_network() {
    let mut by_hand = ByHand::new();
    for priority in [0, 7 << 13, 1 << 12] {
        by_hand.set_tag(Some(priority));
        by_hand.check_service().unwrap();
        let asked = by_hand.feed(Path::new(Family::V4, PEER, HOST).who_has());
        assert_eq!(tags(&asked), [None]);
    }
    assert_eq!(by_hand.stack().stats().frames.drop_vlan, 0);
}

#[test]
fn frames_of_vlans_that_are_not_ours_are_counted_and_nobody_hears_of_them() {
    for config in [config(), StackHost::config(HOST, 1)] {
        let mut by_hand = ByHand::with_config(config.clone());
        let mut dropped = 0;
        for family in Family::BOTH {
            let path = Path::new(family, PEER, HOST);
            for frame in [
                path.who_has(),
                path.echo_request(1, 1, b"x"),
                path.udp(5_000, UDP_PORT, b"x"),
                path.udp(5_000, 9, b"x"),
                path.tcp(&syn()),
            ] {
                let service_tag = |frame: &[u8], tci| {
                    let mut frame = frames::tagged(frame, tci);
                    frame[12..14].copy_from_slice(&[0x88, 0xa8]);
                    frame
                };
                let inner = frames::tagged(&frame, 100);
                for tagged in [
                    frames::tagged(&frame, 101),
                    frames::tagged(&frame, 4_095),
                    frames::tagged(&frame, 7 << 13 | 1),
                    frames::tagged(&inner, 100),
                    service_tag(&frame, 100),
                    service_tag(&inner, 100),
                ] {
                    dropped += 1;
                    let answers = by_hand.feed(tagged);
                    assert_eq!(answers, Vec::<Vec<u8>>::new());
                    assert_eq!(by_hand.stack().stats().frames.drop_vlan, dropped);
                }
            }
        }
        assert_eq!(by_hand.stack().neighbors(), []);
        assert_eq!(by_hand.stack().tcp_half_open(), 0);
        let received = by_hand.stack().udp_readiness(by_hand.udp());
        assert!(!received.contains(dpdk_net_stack::Readiness::READABLE));
    }
}

#[test]
fn an_untagged_frame_is_of_no_vlan() {
    let mut by_hand = ByHand::with_config(config());
    for family in Family::BOTH {
        // ARP and neighbour discovery answer for the addresses of their own interface.
        let answers = by_hand.feed(Path::new(family, PEER, HOST).who_has());
        assert_eq!(answers, Vec::<Vec<u8>>::new());
    }
    assert_eq!(by_hand.stack().neighbors(), []);
}

/// Between the link-local addresses of the peer and the stack.
fn on_link() -> Path {
    Path {
        src: addr::link_local(PEER).into(),
        dst: addr::link_local(HOST).into(),
        ..Path::new(Family::V6, PEER, HOST)
    }
}

#[test]
fn every_reply_leaves_with_the_tag_of_its_interface() {
    let global = Family::BOTH.map(|family| Path::new(family, PEER, HOST));
    for path in global.into_iter().chain([on_link()]) {
        let mut by_hand = acquainted();
        let stack = by_hand.stack_mut();
        assert!(stack.add_vlan_neighbor(100, path.src, path.src_mac));
        let closed = Segment {
            dst_port: 9,
            ..syn()
        };
        for (what, frame) in [
            ("echo", path.echo_request(1, 1, b"x")),
            ("a port that nobody has", path.udp(5_000, 9, b"x")),
            ("a protocol that nobody speaks", path.ip(200, b"x")),
            ("a SYN", path.tcp(&syn())),
            ("a SYN to a port that nobody has", path.tcp(&closed)),
        ] {
            let answers = by_hand.feed(frame);
            assert_eq!(tags(&answers), [Some(TCI)], "{what}");
            let parsed = parse(&answers[0]).unwrap();
            assert_eq!(parsed.addresses(), Some((path.dst, path.src)), "{what}");
        }
    }
}

#[test]
fn what_a_syn_offers_is_what_fits_the_vlans_mtu_whoever_sends_it() {
    let mut small = config();
    small.vlans[0].mtu = Some(1_400);
    for family in Family::BOTH {
        let mut by_hand = ByHand::with_config(small.clone());
        by_hand.set_tag(Some(TCI));
        let path = Path::new(family, PEER, HOST);
        let stack = by_hand.stack_mut();
        assert!(stack.add_vlan_neighbor(100, path.src, path.src_mac));
        let offered = |sent: &[Vec<u8>]| {
            let [frame] = sent else { panic!("{sent:?}") };
            assert_eq!(frames::tci(frame), Some(TCI));
            let Network::Ip(_, Transport::Tcp(segment)) = parse(frame).unwrap().network else {
                panic!("{sent:?}")
            };
            assert!(segment.flags().syn());
            segment.options().find_map(|option| match option {
                TcpOption::MaxSegmentSize(mss) => Some(mss),
                _ => None,
            })
        };
        let expected = Some(if family == Family::V4 { 1_360 } else { 1_340 });
        assert_eq!(offered(&by_hand.feed(path.tcp(&syn()))), expected);
        let now = by_hand.now();
        let to = SocketAddr::new(path.src, 9);
        by_hand.stack_mut().tcp_connect(now, None, to).unwrap();
        assert_eq!(offered(&by_hand.take()), expected);
    }
}

/// An IPv6 packet with an option that says to tell everybody who does not know it.
fn unknown_option(path: Path) -> Vec<u8> {
    // Hop-by-hop: next header 59 (none), one option of type 0x80 | 0x1e with four bytes.
    path.ip(0, &[59, 0, 0x9e, 4, 0, 0, 0, 0])
}

#[test]
fn errors_about_malformed_packets_and_missing_fragments_go_back_tagged_too() {
    for path in [Path::new(Family::V6, PEER, HOST), on_link()] {
        errors_go_back_tagged(path);
    }
}

fn errors_go_back_tagged(path: Path) {
    let mut by_hand = acquainted();
    let stack = by_hand.stack_mut();
    assert!(stack.add_vlan_neighbor(100, path.src, path.src_mac));
    let kind = |frame: &[u8]| match parse(frame).unwrap().network {
        Network::Ip(_, Transport::Icmpv6(message)) => message.kind(),
        other => panic!("{other:?}"),
    };
    let answers = by_hand.feed(unknown_option(path));
    assert_eq!(tags(&answers), [Some(TCI)]);
    assert_eq!(kind(&answers[0]), icmp::v6::PARAMETER_PROBLEM);
    // The first of several fragments, and no other comes.
    let fragment = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &[0; 8]].concat();
    by_hand.feed(path.ip(44, &fragment));
    let answers = by_hand.wait(Duration::from_secs(40));
    let errors: Vec<_> = answers
        .iter()
        .filter(|frame| {
            let parsed = parse(frame).unwrap();
            matches!(parsed.network, Network::Ip(ip, Transport::Icmpv6(message))
                if ip.dst() == path.src && message.kind() == icmp::v6::TIME_EXCEEDED)
        })
        .collect();
    assert_eq!(errors.len(), 1);
    assert_eq!(frames::tci(errors[0]), Some(TCI));
    // Of a VLAN that is not ours it is not answered at all.
    by_hand.set_tag(Some(101));
    assert_eq!(by_hand.feed(unknown_option(path)), Vec::<Vec<u8>>::new());
}

#[test]
fn fragments_of_two_networks_make_no_packet() {
    let path = Path::new(Family::V4, PEER, HOST);
    let datagram = path.udp_bytes(5_000, UDP_PORT, &[7; 24]);
    let piece = |offset: u16, more: bool, bytes: &[u8]| {
        let mut frame = path.ip(17, bytes);
        let field = (offset / 8) | if more { 0x2000 } else { 0 };
        frame[18..20].copy_from_slice(&[0, 42]);
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        // Only the header's checksum: the datagram's is over all of it.
        frame[24..26].fill(0);
        let sum = dpdk_net_packet::checksum::data(&frame[14..34]);
        frame[24..26].copy_from_slice(&sum.to_be_bytes());
        frame
    };
    let (first, last) = (
        piece(0, true, &datagram[..16]),
        piece(16, false, &datagram[16..]),
    );
    let mut by_hand = acquainted();
    let mut buf = [0; 64];
    by_hand.feed(first);
    by_hand.set_tag(Some(200));
    by_hand.feed(last.clone());
    let udp = by_hand.udp();
    assert!(by_hand.stack_mut().udp_recv(udp, &mut buf).is_err());
    by_hand.set_tag(Some(TCI));
    by_hand.feed(last);
    let got = by_hand.stack_mut().udp_recv(udp, &mut buf).unwrap();
    assert_eq!((got.len, got.vlan), (24, 100));
}

#[test]
fn a_packet_for_another_interfaces_address_is_taken_and_answered_where_the_sender_is() {
    for family in Family::BOTH {
        let mut by_hand = acquainted();
        // To the address in VLAN 200, by VLAN 100.
        let path = Path {
            dst_mac: addr::mac(HOST),
            ..Path::new(family, PEER, 7)
        };
        let answers = by_hand.feed(path.echo_request(1, 1, b"x"));
        // Of two routes to the sender that of the source address is taken: where nobody is known yet.
        let [asked] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(frames::tci(asked), Some(200));
    }
}

#[test]
fn nobody_may_send_from_an_address_of_ours_by_any_interface() {
    for family in Family::BOTH {
        let mut by_hand = acquainted();
        let path = Path {
            src_mac: addr::mac(PEER),
            ..Path::new(family, 7, HOST)
        };
        let before = by_hand.stack().stats().frames.drop_ip_bad_address;
        for frame in [path.echo_request(1, 1, b"x"), path.tcp(&syn())] {
            assert_eq!(by_hand.feed(frame), Vec::<Vec<u8>>::new());
        }
        let after = by_hand.stack().stats().frames.drop_ip_bad_address;
        assert_eq!(after, before + 2);
    }
}
