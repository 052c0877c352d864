//! Malformed frames of every layer: each is counted by its cause and dropped, nothing is said in reply that should not be, and the
//! stack serves as before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::{ChecksumVerdict, MacAddr, Network, parse};
use dpdk_net_testkit::addr::{self, Family, mac};
use dpdk_net_testkit::by_hand::{ByHand, HOST, TCP_PORT, UDP_PORT, tcp_to};
use dpdk_net_testkit::frames::{ETHERNET_HEADER, Path, Segment, ethernet, fix_checksums, flags};
use dpdk_net_testkit::hosts::StackHost;
use proptest::prelude::*;

const PEER: u16 = 2;
/// Where the IP header begins in a frame.
const IP: usize = ETHERNET_HEADER;
/// Where the transport header begins in an IPv4 frame without options.
const V4_L4: usize = IP + 20;
/// Where it begins in an IPv6 frame without extension headers.
const V6_L4: usize = IP + 40;

/// A stack that has heard of the peer, with a look at its drop counters.
struct Lab {
    by_hand: ByHand,
}

impl Lab {
    fn new() -> Self {
        let mut by_hand = ByHand::new();
        for family in Family::BOTH {
            by_hand.feed(Path::new(family, PEER, HOST).who_has());
        }
        Self { by_hand }
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        self.by_hand
            .stack()
            .stats()
            .frames
            .iter()
            .filter(|(name, _)| name.starts_with("drop_"))
            .collect()
    }

    /// Feeds a frame; the drop counters that moved, with how far, and the frames sent in reply.
    fn causes(&mut self, frame: &[u8]) -> (Vec<(&'static str, u64)>, Vec<Vec<u8>>) {
        let before = self.drops();
        let replies = self.by_hand.feed(frame);
        let moved = self
            .drops()
            .into_iter()
            .zip(before)
            .map(|((name, now), (_, then))| (name, now - then));
        (moved.filter(|(_, by)| *by > 0).collect(), replies)
    }

    /// The frame is dropped for exactly this cause, and nobody is told.
    #[track_caller]
    fn silent(&mut self, cause: &'static str, what: &str, frame: &[u8]) {
        let (causes, replies) = self.causes(frame);
        assert_eq!(causes, [(cause, 1)], "{what}: {frame:02x?}");
        assert!(replies.is_empty(), "{what} was answered: {replies:02x?}");
    }

    /// The frame is dropped for exactly this cause, and the peer may be told by an ICMP error and nothing else.
    #[track_caller]
    fn reported(&mut self, cause: &'static str, what: &str, frame: &[u8]) {
        let (causes, replies) = self.causes(frame);
        assert_eq!(causes, [(cause, 1)], "{what}: {frame:02x?}");
        assert_eq!(replies.len(), 1, "{what} is to be reported");
        assert!(
            is_icmp_error(&replies[0]),
            "{what} was answered by something else: {:02x?}",
            replies[0]
        );
    }

    #[track_caller]
    fn still_serves(mut self) {
        self.by_hand.wait(std::time::Duration::from_secs(2));
        if let Err(what) = self.by_hand.check_service() {
            panic!("the stack does not serve any more: {what}");
        }
        assert_eq!(
            self.by_hand.accept(),
            None,
            "a malformed frame made a connection"
        );
    }
}

fn is_icmp_error(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0]) => frame[IP + 9] == 1 && matches!(frame[V4_L4], 3 | 11 | 12),
        Some([0x86, 0xdd]) => frame[IP + 6] == 58 && frame[V6_L4] < 128,
        _ => false,
    }
}

fn v4() -> Path {
    Path::new(Family::V4, PEER, HOST)
}

fn v6() -> Path {
    Path::new(Family::V6, PEER, HOST)
}

fn syn(port: u16) -> Segment {
    Segment {
        src_port: port,
        dst_port: TCP_PORT,
        seq: 1,
        flags: flags::SYN,
        window: 1_000,
        ..Segment::default()
    }
}

/// Sets the IP length field to what the frame has.
fn fix_length(frame: &mut [u8]) {
    let len = frame.len() - IP;
    let (at, len) = if frame[IP] >> 4 == 4 {
        (IP + 2, len)
    } else {
        (IP + 4, len - 40)
    };
    frame[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    fix_checksums(frame);
}

fn changed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn changed_and_fixed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = changed(frame, at, bytes);
    fix_checksums(&mut frame);
    frame
}

#[test]
fn ethernet_headers() {
    let mut lab = Lab::new();
    let good = v4().udp(1, UDP_PORT, b"x");
    for len in 0..ETHERNET_HEADER {
        lab.silent(
            "drop_ethernet_malformed",
            "a cut-off Ethernet header",
            &good[..len],
        );
    }
    lab.silent(
        "drop_ethernet_not_for_us",
        "another station's frame",
        &changed(&good, 0, &mac(99).0),
    );
    for ether_type in [0x0000u16, 0x0040, 0x05dc, 0x88cc, 0xffff] {
        let frame = changed(&good, 12, &ether_type.to_be_bytes());
        lab.silent(
            "drop_ethernet_unknown_type",
            "an EtherType that is not spoken",
            &frame,
        );
    }
    let tags = |n: usize| {
        [
            &good[..12],
            &[0x81, 0x00, 0x00, 0x05].repeat(n),
            &good[12..],
        ]
        .concat()
    };
    lab.silent("drop_vlan", "a VLAN tag", &tags(1));
    lab.silent(
        "drop_ethernet_malformed",
        "more VLAN tags than there can be",
        &tags(5),
    );
    for len in 14..18 {
        lab.silent(
            "drop_ethernet_malformed",
            "a cut-off VLAN tag",
            &tags(1)[..len],
        );
    }
    lab.still_serves();
}

#[test]
fn arp_packets() {
    let mut lab = Lab::new();
    let good = v4().who_has();
    for len in ETHERNET_HEADER..good.len() {
        lab.silent("drop_arp_malformed", "a cut-off ARP packet", &good[..len]);
    }
    for (what, at, bytes) in [
        ("a hardware type", 14, [0u8, 6]),
        ("a protocol type", 16, [0x86, 0xdd]),
        ("address lengths", 18, [8, 4]),
        ("address lengths", 18, [6, 16]),
        ("address lengths", 18, [0, 0]),
    ] {
        lab.silent("drop_arp_malformed", what, &changed(&good, at, &bytes));
    }
    lab.still_serves();
}

#[test]
fn an_arp_sender_that_cannot_be_learns_nothing_and_teaches_nothing() {
    let mut lab = Lab::new();
    let neighbors = lab.by_hand.stack().neighbors().len();
    let good = Path::new(Family::V4, 3, HOST).who_has();
    for sender_mac in [
        MacAddr::BROADCAST,
        MacAddr::ZERO,
        MacAddr([1, 0, 0x5e, 0, 0, 1]),
    ] {
        lab.by_hand.feed(changed(&good, 22, &sender_mac.0));
    }
    for sender in [
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [127, 0, 0, 1],
        [198, 18, 255, 255],
        addr::ipv4(HOST).octets(),
    ] {
        lab.by_hand.feed(changed(&good, 28, &sender));
    }
    assert_eq!(
        lab.by_hand.stack().neighbors().len(),
        neighbors,
        "{:?}",
        lab.by_hand.stack().neighbors()
    );
    lab.still_serves();
}

#[test]
fn ipv4_headers() {
    let mut lab = Lab::new();
    let good = v4().udp(1, UDP_PORT, b"payload");
    for len in ETHERNET_HEADER..good.len() {
        lab.silent("drop_ipv4_malformed", "a cut-off IPv4 packet", &good[..len]);
    }
    for version in (0..16u8).filter(|&version| version != 4) {
        lab.silent(
            "drop_ip_bad_version",
            "a version",
            &changed_and_fixed(&good, IP, &[version << 4 | 5]),
        );
    }
    for words in 0..5u8 {
        lab.silent(
            "drop_ipv4_malformed",
            "a header length",
            &changed_and_fixed(&good, IP, &[0x40 | words]),
        );
    }
    let huge_header = changed(&good, IP, &[0x4f]);
    lab.silent(
        "drop_ipv4_malformed",
        "a header longer than the packet",
        &huge_header,
    );
    for total in (0..20u16).chain([36, 1_000, 65_535]) {
        let frame = changed_and_fixed(&good, IP + 2, &total.to_be_bytes());
        lab.silent("drop_ipv4_malformed", "a total length", &frame);
    }
    for bit in 0..16 {
        let mut frame = good.clone();
        frame[IP + 10 + bit / 8] ^= 1 << (bit % 8);
        lab.silent("drop_ipv4_checksum", "a wrong header checksum", &frame);
    }
    lab.still_serves();
}

fn with_ipv4_options(options: &[u8]) -> Vec<u8> {
    let good = v4().udp(1, UDP_PORT, b"payload");
    let mut frame = [&good[..V4_L4], options, &good[V4_L4..]].concat();
    frame[IP] = 0x45 + (options.len() / 4) as u8;
    fix_length(&mut frame);
    frame
}

#[test]
fn ipv4_options() {
    let mut lab = Lab::new();
    for (what, options) in [
        ("an option of length zero", [7, 0, 0, 0]),
        ("an option of length one", [7, 1, 0, 0]),
        ("an option that runs over the header", [7, 5, 0, 0]),
        ("an option without a length", [1, 1, 1, 7]),
    ] {
        lab.silent("drop_ipv4_malformed", what, &with_ipv4_options(&options));
    }
    for (what, kind) in [
        ("a loose source route", 131),
        ("a strict source route", 137),
    ] {
        lab.silent(
            "drop_ipv4_malformed",
            what,
            &with_ipv4_options(&[kind, 7, 4, 198, 18, 0, 9, 0]),
        );
    }
    let (causes, _) = lab.causes(&with_ipv4_options(&[1, 1, 0, 0]));
    assert_eq!(causes, [], "padding is no fault");
    lab.still_serves();
}

#[test]
fn ipv4_addresses_that_must_not_be_on_a_link() {
    let mut lab = Lab::new();
    let udp = |path: Path| path.udp(1, UDP_PORT, b"x");
    for src in [
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [239, 1, 2, 3],
        [240, 0, 0, 1],
        [255, 255, 255, 255],
        [198, 18, 255, 255],
    ] {
        lab.silent(
            "drop_ip_bad_address",
            "a source",
            &udp(Path {
                src: src.into(),
                ..v4()
            }),
        );
    }
    for dst in [[127, 0, 0, 1], [0, 0, 0, 0]] {
        lab.silent(
            "drop_ip_bad_address",
            "a destination",
            &udp(Path {
                dst: dst.into(),
                ..v4()
            }),
        );
    }
    // The own address as source: nobody but an impostor sends that.
    let own = Path {
        src: v4().dst,
        ..v4()
    };
    lab.silent(
        "drop_ip_bad_address",
        "the own address as source",
        &udp(own),
    );
    lab.silent(
        "drop_ip_not_for_us",
        "a stranger's destination",
        &udp(Path {
            dst: addr::ipv4(77).into(),
            ..v4()
        }),
    );
    lab.silent(
        "drop_ip_not_for_us",
        "a group nobody is in",
        &udp(Path {
            dst: Ipv4Addr::new(239, 9, 9, 9).into(),
            dst_mac: MacAddr([1, 0, 0x5e, 9, 9, 9]),
            ..v4()
        }),
    );
    lab.still_serves();
}

#[test]
fn ipv4_fragments_that_cannot_be() {
    let mut lab = Lab::new();
    let good = v4().udp(1, UDP_PORT, &[0; 24]);
    for (what, word) in [
        ("an end beyond 65,535 bytes", 0x1fff_u16),
        ("the same with more to come", 0x3fff),
    ] {
        lab.silent(
            "drop_ipv4_malformed",
            what,
            &changed_and_fixed(&good, IP + 6, &word.to_be_bytes()),
        );
    }
    let odd = v4().udp(1, UDP_PORT, &[0; 25]);
    lab.silent(
        "drop_ipv4_malformed",
        "not a multiple of eight",
        &changed_and_fixed(&odd, IP + 6, &[0x20, 0]),
    );
    let mut empty = good[..V4_L4].to_vec();
    empty[IP + 6..IP + 8].copy_from_slice(&[0x20, 0x01]);
    fix_length(&mut empty);
    lab.silent("drop_ipv4_malformed", "an empty one", &empty);
    lab.still_serves();
}

#[test]
fn ipv6_headers() {
    let mut lab = Lab::new();
    let good = v6().udp(1, UDP_PORT, b"payload");
    for len in ETHERNET_HEADER..good.len() {
        lab.silent("drop_ipv6_malformed", "a cut-off IPv6 packet", &good[..len]);
    }
    for version in (0..16u8).filter(|&version| version != 6) {
        lab.silent(
            "drop_ip_bad_version",
            "a version",
            &changed(&good, IP, &[version << 4]),
        );
    }
    for len in [16u16, 1_000, 65_535] {
        lab.silent(
            "drop_ipv6_malformed",
            "a payload length",
            &changed(&good, IP + 4, &len.to_be_bytes()),
        );
    }
    lab.still_serves();
}

#[test]
fn ipv6_addresses_that_must_not_be_on_a_link() {
    let mut lab = Lab::new();
    let udp = |path: Path| path.udp(1, UDP_PORT, b"x");
    for src in ["::1", "ff02::1", "ff0e::1"] {
        let src: Ipv6Addr = src.parse().unwrap();
        lab.silent(
            "drop_ip_bad_address",
            "a source",
            &udp(Path {
                src: src.into(),
                ..v6()
            }),
        );
    }
    for dst in [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED] {
        lab.silent(
            "drop_ip_bad_address",
            "a destination",
            &udp(Path {
                dst: dst.into(),
                ..v6()
            }),
        );
    }
    lab.silent(
        "drop_ip_bad_address",
        "the own address as source",
        &udp(Path {
            src: v6().dst,
            ..v6()
        }),
    );
    lab.silent(
        "drop_ip_not_for_us",
        "a stranger's destination",
        &udp(Path {
            dst: addr::ipv6(77).into(),
            ..v6()
        }),
    );
    lab.still_serves();
}

/// An IPv6 packet with these extension headers, each `(type, bytes)`; the next-header fields are filled in.
fn with_extensions(extensions: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut payload = Vec::new();
    let next = |i: usize| extensions.get(i).map_or(17, |(kind, _)| *kind);
    for (i, (_, bytes)) in extensions.iter().enumerate() {
        let mut bytes = bytes.clone();
        bytes[0] = next(i + 1);
        payload.extend(bytes);
    }
    payload.extend(v6().udp_bytes(1, UDP_PORT, b"payload"));
    v6().ip(next(0), &payload)
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

fn options(bytes: [u8; 6]) -> Vec<u8> {
    [&[0, 0][..], &bytes].concat()
}

#[test]
fn ipv6_extension_headers() {
    let mut lab = Lab::new();
    let pad = || options([1, 4, 0, 0, 0, 0]);
    let (causes, _) = lab.causes(&with_extensions(&[
        (HOP_BY_HOP, pad()),
        (DESTINATION, pad()),
    ]));
    assert_eq!(causes, [], "a valid chain is no fault");
    for n in [9, 20, 100] {
        lab.silent(
            "drop_ipv6_malformed",
            "a long chain",
            &with_extensions(&vec![(DESTINATION, pad()); n]),
        );
    }
    let chain = with_extensions(&[
        (HOP_BY_HOP, pad()),
        (DESTINATION, pad()),
        (FRAGMENT, vec![0; 8]),
    ]);
    for len in V6_L4..V6_L4 + 24 {
        let mut frame = chain[..len].to_vec();
        fix_length(&mut frame);
        lab.silent("drop_ipv6_malformed", "a cut-off chain", &frame);
    }
    let mut over = pad();
    over[1] = 200;
    lab.silent(
        "drop_ipv6_malformed",
        "a header beyond the packet",
        &with_extensions(&[(DESTINATION, over)]),
    );
    for bytes in [[5, 200, 0, 0, 0, 0], [1, 5, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]] {
        lab.silent(
            "drop_ipv6_malformed",
            "an option beyond its header",
            &with_extensions(&[(DESTINATION, options(bytes))]),
        );
    }
    lab.silent(
        "drop_ipv6_malformed",
        "an option to be dropped",
        &with_extensions(&[(DESTINATION, options([0x7e, 4, 0, 0, 0, 0]))]),
    );
    for kind in [0xbe, 0xfe] {
        let frame = with_extensions(&[(DESTINATION, options([kind, 4, 0, 0, 0, 0]))]);
        lab.reported("drop_ipv6_malformed", "an option to be reported", &frame);
    }
    lab.reported(
        "drop_ipv6_malformed",
        "hop-by-hop options in the middle",
        &with_extensions(&[(DESTINATION, pad()), (HOP_BY_HOP, pad())]),
    );
    lab.reported(
        "drop_ipv6_malformed",
        "a routing header",
        &with_extensions(&[(ROUTING, vec![0, 0, 0, 1, 0, 0, 0, 0])]),
    );
    lab.still_serves();
}

/// Cuts the transport header off at each byte, with lengths and checksums made right, and checks the cause.
fn cut_transport(cause: &'static str, shortest: usize, frames: [Vec<u8>; 2]) {
    let mut lab = Lab::new();
    for frame in frames {
        let l4 = if frame[IP] >> 4 == 4 { V4_L4 } else { V6_L4 };
        for len in 0..shortest {
            let mut frame = frame[..l4 + len].to_vec();
            fix_length(&mut frame);
            lab.silent(cause, &format!("{len} bytes of a transport header"), &frame);
        }
    }
    lab.still_serves();
}

#[test]
fn cut_off_tcp_headers() {
    cut_transport(
        "drop_tcp_malformed",
        20,
        [v4().tcp(&syn(1)), v6().tcp(&syn(1))],
    );
}

#[test]
fn cut_off_udp_headers() {
    cut_transport(
        "drop_udp_malformed",
        8,
        [v4().udp(1, UDP_PORT, b""), v6().udp(1, UDP_PORT, b"")],
    );
}

#[test]
fn cut_off_icmp_headers() {
    let echo = |path: Path| path.echo_request(1, 1, b"");
    cut_transport("drop_icmp_malformed", 4, [echo(v4()), echo(v6())]);
    let mut lab = Lab::new();
    for (frame, l4) in [(echo(v4()), V4_L4), (echo(v6()), V6_L4)] {
        for len in 4..8 {
            let mut frame = frame[..l4 + len].to_vec();
            fix_length(&mut frame);
            lab.silent(
                "drop_icmp_malformed",
                "an echo request without its number",
                &frame,
            );
        }
    }
    lab.still_serves();
}

#[test]
fn tcp_headers() {
    let mut lab = Lab::new();
    for path in [v4(), v6()] {
        let good = path.tcp(&syn(1_000));
        let l4 = if path == v4() { V4_L4 } else { V6_L4 };
        for words in (0..5u8).chain(6..16) {
            let frame = changed_and_fixed(&good, l4 + 12, &[words << 4]);
            lab.silent("drop_tcp_malformed", "a data offset", &frame);
        }
        for bit in 0..16 {
            let mut frame = good.clone();
            frame[l4 + 16 + bit / 8] ^= 1 << (bit % 8);
            lab.silent("drop_tcp_checksum", "a wrong checksum", &frame);
        }
        for at in [l4, l4 + 2] {
            lab.silent(
                "drop_port_zero",
                "port zero",
                &changed_and_fixed(&good, at, &[0, 0]),
            );
        }
    }
    lab.still_serves();
}

#[test]
fn tcp_options_of_any_kind_never_hurt() {
    let mut lab = Lab::new();
    let cases: [&[u8]; 10] = [
        &[2, 0],
        &[2, 1],
        &[2, 4, 5],
        &[2, 4, 0, 0],
        &[2, 40, 1, 1],
        &[3, 3, 255],
        &[4, 2, 4, 2, 4, 2, 3, 3, 7, 3, 3, 8],
        &[8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 8, 10, 1, 1, 1, 1, 1, 1, 1, 1],
        &[253, 0, 0, 0],
        &[5, 10, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for (i, options) in cases.into_iter().enumerate() {
        for path in [v4(), v6()] {
            let port = 3_000 + i as u16;
            let frame = path.tcp(&Segment {
                options: options.to_vec(),
                ..syn(port)
            });
            let (causes, replies) = lab.causes(&frame);
            let answer = replies.iter().find_map(|frame| tcp_to(frame, port));
            let flags =
                answer.map(|(segment, _)| segment.flags & (flags::SYN | flags::ACK | flags::RST));
            assert_eq!(
                (causes.len(), flags),
                (0, Some(flags::SYN | flags::ACK)),
                "options {options:?} hurt"
            );
        }
    }
    lab.still_serves();
}

#[test]
fn tcp_flags_that_make_no_sense_make_no_connection() {
    let mut lab = Lab::new();
    for path in [v4(), v6()] {
        for bits in 0..64u8 {
            let is_syn = bits & (flags::SYN | flags::ACK | flags::RST | flags::FIN) == flags::SYN;
            let port = 4_000 + u16::from(bits);
            let replies = lab.by_hand.feed(path.tcp(&Segment {
                flags: bits,
                ..syn(port)
            }));
            let answers: Vec<_> = replies
                .iter()
                .filter_map(|frame| tcp_to(frame, port))
                .collect();
            let accepts = answers
                .iter()
                .any(|(segment, _)| segment.flags & flags::SYN != 0);
            assert_eq!(accepts, is_syn, "flags {bits:#08b}");
            let resets = answers
                .iter()
                .any(|(segment, _)| segment.flags & flags::RST != 0);
            assert!(
                !(resets && bits & flags::RST != 0),
                "a RST was answered by a RST"
            );
        }
    }
    lab.still_serves();
}

#[test]
fn data_after_the_end_of_a_stream_is_not_delivered() {
    for path in [v4(), v6()] {
        let mut lab = Lab::new();
        let (id, peer) = lab.by_hand.open(path, 6_000, 1).unwrap();
        let last = Segment {
            flags: flags::ACK | flags::FIN,
            payload: b"the end".to_vec(),
            ..peer.clone()
        };
        lab.by_hand.feed(path.tcp(&last));
        for beyond in [1, 0, 500] {
            let seq = peer.seq.wrapping_add(7 + beyond);
            lab.by_hand.feed(path.tcp(&Segment {
                seq,
                payload: b"more".to_vec(),
                ..peer.clone()
            }));
        }
        let (mut stream, mut buffer) = (Vec::new(), [0; 64]);
        while let Ok(n @ 1..) = lab.by_hand.stack_mut().tcp_recv(id, &mut buffer) {
            stream.extend(&buffer[..n]);
        }
        assert_eq!(String::from_utf8_lossy(&stream), "the end");
        assert_eq!(lab.by_hand.stack_mut().tcp_recv(id, &mut buffer), Ok(0));
        lab.still_serves();
    }
}

#[test]
fn a_land_attack_meets_silence() {
    let mut lab = Lab::new();
    for path in [v4(), v6()] {
        let land = Path {
            src: path.dst,
            ..path
        };
        lab.silent(
            "drop_ip_bad_address",
            "a land attack",
            &land.tcp(&syn(TCP_PORT)),
        );
        let land = Path {
            src_mac: path.dst_mac,
            ..land
        };
        lab.silent(
            "drop_ip_bad_address",
            "a land attack with the own MAC address",
            &land.tcp(&syn(TCP_PORT)),
        );
    }
    lab.still_serves();
}

#[test]
fn a_syn_to_a_group_or_to_all_is_never_answered() {
    let mut lab = Lab::new();
    let all_v6: IpAddr = "ff02::1".parse::<Ipv6Addr>().unwrap().into();
    let paths = [
        Path {
            dst: Ipv4Addr::BROADCAST.into(),
            dst_mac: MacAddr::BROADCAST,
            ..v4()
        },
        Path {
            dst: Ipv4Addr::new(198, 18, 255, 255).into(),
            dst_mac: MacAddr::BROADCAST,
            ..v4()
        },
        Path {
            dst: Ipv4Addr::new(224, 0, 0, 1).into(),
            dst_mac: MacAddr([1, 0, 0x5e, 0, 0, 1]),
            ..v4()
        },
        Path {
            dst: all_v6,
            dst_mac: MacAddr([0x33, 0x33, 0, 0, 0, 1]),
            ..v6()
        },
        // To this host's address, but in a frame to all (RFC 1122 section 3.3.6).
        Path {
            dst_mac: MacAddr::BROADCAST,
            ..v4()
        },
    ];
    for path in paths {
        for segment in [
            syn(5_000),
            Segment {
                dst_port: 9,
                ..syn(5_000)
            },
            Segment {
                flags: flags::ACK,
                ..syn(5_000)
            },
        ] {
            let replies = lab.by_hand.feed(path.tcp(&segment));
            assert!(replies.is_empty(), "{path:?}: {replies:02x?}");
        }
    }
    lab.still_serves();
}

#[test]
fn udp_headers() {
    let mut lab = Lab::new();
    for path in [v4(), v6()] {
        let good = path.udp(1, UDP_PORT, b"payload");
        let l4 = if path == v4() { V4_L4 } else { V6_L4 };
        for len in (0..8u16).chain([16, 65_535]) {
            let frame = changed_and_fixed(&good, l4 + 4, &len.to_be_bytes());
            lab.silent("drop_udp_malformed", "a length", &frame);
        }
        for bit in 0..16 {
            let mut frame = good.clone();
            frame[l4 + 6 + bit / 8] ^= 1 << (bit % 8);
            lab.silent("drop_udp_checksum", "a wrong checksum", &frame);
        }
        lab.silent(
            "drop_port_zero",
            "port zero",
            &changed_and_fixed(&good, l4 + 2, &[0, 0]),
        );
    }
    let none = changed(&v6().udp(1, UDP_PORT, b"payload"), V6_L4 + 6, &[0, 0]);
    lab.silent("drop_udp_checksum", "no checksum over IPv6", &none);
    let (causes, _) = lab.causes(&changed(
        &v4().udp(1, UDP_PORT, b"payload"),
        V4_L4 + 6,
        &[0, 0],
    ));
    assert_eq!(causes, [], "no checksum over IPv4 is no fault");
    lab.still_serves();
}

#[test]
fn icmp_messages() {
    let mut lab = Lab::new();
    for (path, l4) in [(v4(), V4_L4), (v6(), V6_L4)] {
        let good = path.echo_request(1, 2, b"ping");
        for bit in 0..16 {
            let mut frame = good.clone();
            frame[l4 + 2 + bit / 8] ^= 1 << (bit % 8);
            lab.silent("drop_icmp_checksum", "a wrong checksum", &frame);
        }
    }
    // Errors about errors, about nothing and about what was never sent are not answered.
    for path in [v4(), v6()] {
        let (kinds, quoted) = match path.dst {
            IpAddr::V4(_) => (
                3..=12u8,
                path.reversed().echo_request(1, 1, b"")[IP..].to_vec(),
            ),
            IpAddr::V6(_) => (
                1..=4u8,
                path.reversed().echo_request(1, 1, b"")[IP..].to_vec(),
            ),
        };
        for kind in kinds.filter(|&kind| kind != 8 || path.dst.is_ipv6()) {
            for cut in [0, 1, 7, 20, quoted.len()] {
                let rest = [&[0; 4], &quoted[..cut.min(quoted.len())]].concat();
                let (_, replies) = lab.causes(&path.icmp(kind, 0, &rest));
                assert!(
                    replies.is_empty(),
                    "ICMP type {kind} with {cut} bytes was answered: {replies:02x?}"
                );
            }
        }
    }
    lab.still_serves();
}

#[test]
fn nothing_is_said_to_a_sender_that_is_not_one_station() {
    let mut lab = Lab::new();
    // A ping and a datagram to a closed port, in frames to all and to groups.
    let group = Path {
        dst: Ipv4Addr::new(224, 0, 0, 1).into(),
        dst_mac: MacAddr([1, 0, 0x5e, 0, 0, 1]),
        ..v4()
    };
    let all = Path {
        dst: Ipv4Addr::BROADCAST.into(),
        dst_mac: MacAddr::BROADCAST,
        ..v4()
    };
    let all_v6 = Path {
        dst: "ff02::1".parse::<Ipv6Addr>().unwrap().into(),
        dst_mac: MacAddr([0x33, 0x33, 0, 0, 0, 1]),
        ..v6()
    };
    for path in [group, all, all_v6] {
        let replies = lab.by_hand.feed(path.udp(1, 9, b"nobody is there"));
        assert!(
            replies.is_empty(),
            "an error about a datagram to a group: {replies:02x?}"
        );
    }
    let nobody = Path {
        src: Ipv4Addr::UNSPECIFIED.into(),
        ..v4()
    };
    let nobody_v6 = Path {
        src: Ipv6Addr::UNSPECIFIED.into(),
        ..v6()
    };
    for path in [nobody, nobody_v6] {
        for frame in [
            path.udp(1, 9, b"x"),
            path.tcp(&syn(1)),
            path.tcp(&Segment {
                dst_port: 9,
                ..syn(1)
            }),
            path.echo_request(1, 1, b""),
        ] {
            let replies = lab.by_hand.feed(frame);
            assert!(
                replies.is_empty(),
                "an answer to the unspecified address: {replies:02x?}"
            );
        }
    }
    lab.still_serves();
}

#[test]
fn neighbour_discovery() {
    let mut lab = Lab::new();
    let neighbors = lab.by_hand.stack().neighbors().len();
    let stranger = Path::new(Family::V6, 3, HOST);
    let good = stranger.who_has();
    // RFC 4861 section 7.1.1.
    for hop_limit in [0, 1, 64, 254] {
        let (_, replies) = lab.causes(&changed_and_fixed(&good, IP + 7, &[hop_limit]));
        assert!(
            replies.is_empty(),
            "hop limit {hop_limit} came from beyond a router"
        );
    }
    let (_, replies) = lab.causes(&changed_and_fixed(&good, V6_L4 + 1, &[1]));
    assert!(replies.is_empty(), "code 1");
    for len in [0, 2, 255] {
        let (_, replies) = lab.causes(&changed_and_fixed(&good, V6_L4 + 25, &[len]));
        assert!(replies.is_empty(), "an option of length {len}");
    }
    for len in 0..32 {
        let mut frame = good[..V6_L4 + len].to_vec();
        fix_length(&mut frame);
        let (_, replies) = lab.causes(&frame);
        // Without the option it is valid; the answer would need a look-up of its own.
        assert!(
            len == 24 || replies.is_empty(),
            "{len} bytes of a solicitation"
        );
    }
    let group: Ipv6Addr = "ff02::5".parse().unwrap();
    let (_, replies) = lab.causes(&changed_and_fixed(&good, V6_L4 + 8, &group.octets()));
    assert!(replies.is_empty(), "a group as target");
    let known = lab.by_hand.stack().neighbors();
    let learnt = known.len() - neighbors;
    assert!(learnt <= 1, "{known:?}");
    lab.still_serves();
}

/// Everything the stack sends is a well-formed frame of its own.
fn check_sent(frames: &[Vec<u8>]) {
    for frame in frames {
        let parsed = parse(frame).unwrap_or_else(|error| panic!("sent {frame:02x?}: {error}"));
        assert_eq!(parsed.src_mac, mac(HOST));
        if let Network::Ip(ip, transport) = parsed.network {
            transport
                .verify(&ip, ChecksumVerdict::Unknown)
                .unwrap_or_else(|error| panic!("sent {frame:02x?}: {error}"));
        }
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..200);
    let to_us = (
        any::<bool>(),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(v6, payload)| {
            let mut frame = ethernet(mac(HOST), mac(PEER), if v6 { 0x86dd } else { 0x0800 });
            frame.extend(payload);
            frame
        });
    let damaged = (
        0..8usize,
        any::<bool>(),
        proptest::collection::vec((0..120usize, any::<u8>()), 0..4),
        0..20usize,
    )
        .prop_map(|(kind, fix, changes, cut)| {
            let path = if kind % 2 == 0 { v4() } else { v6() };
            let mut frame = match kind / 2 {
                0 => path.tcp(&syn(1_000)),
                1 => path.udp(1, UDP_PORT, b"some bytes of payload"),
                2 => path.echo_request(1, 2, b"some bytes of payload"),
                _ => path.who_has(),
            };
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(frame.len() - cut);
            if fix {
                fix_checksums(&mut frame);
            }
            frame
        });
    prop_oneof![1 => random, 2 => to_us, 5 => damaged]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_all_leave_the_stack_serving(frames in proptest::collection::vec(any_frame(), 1..60)) {
        let mut by_hand = ByHand::with_config(StackHost::config(HOST, 9));
        for batch in frames.chunks(7) {
            check_sent(&by_hand.feed_batch(batch));
            check_sent(&by_hand.wait(std::time::Duration::from_millis(10)));
        }
        // Rate limits are per second.
        check_sent(&by_hand.wait(std::time::Duration::from_secs(2)));
        let service = by_hand.check_service();
        prop_assert!(service.is_ok(), "{:?}", service);
    }
}
