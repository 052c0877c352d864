use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::test_frames::{
    PEER_MAC, PORT, at, config, drain, from_peer, hop, ip, link, message, packet,
};

struct Bed {
    link: Link,
    icmp: Icmp,
}

fn bed() -> Bed {
    let mut config = config();
    config.limits.icmp_errors_per_second = 5;
    config.limits.echo_replies_per_second = 10;
    let mut link = link(&config);
    for peer in ["198.18.0.1", "fd00::1"] {
        link.add_neighbor(Instant::ZERO, hop(peer), PEER_MAC);
    }
    Bed {
        link,
        icmp: Icmp::new(&config),
    }
}

fn meta(src: &str, dst: &str, protocol: Protocol) -> IpMeta {
    IpMeta::new(ip(src), ip(dst), protocol)
}

/// An ICMP or ICMPv6 message from the peer, as the family of `dst` has it.
fn from(src: &str, dst: &str, kind: u8, code: u8, word: u32, body: &[u8]) -> Vec<u8> {
    let protocol = if dst.contains(':') {
        Protocol::Icmpv6
    } else {
        Protocol::Icmp
    };
    let meta = meta(src, dst, protocol);
    let mut bytes = vec![0; 8 + body.len()];
    icmp::write_header(&mut bytes, kind, code, word);
    bytes[8..].copy_from_slice(body);
    fill_checksum(&meta, &mut bytes);
    from_peer(&meta, &bytes)
}

impl Bed {
    fn receive(&mut self, frame: &[u8]) -> Option<ErrorReport> {
        let (packet, message) = message(frame);
        self.icmp
            .ingress(at(0), &mut self.link, PORT, &packet, message)
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        drain(&mut self.link.replies)
    }

    fn errors_about(&mut self, frame: &[u8], to_group: bool, error: IcmpError) -> usize {
        self.icmp
            .send_error(at(0), &mut self.link, PORT, &frame[14..], to_group, error);
        self.sent().len()
    }
}

#[test]
fn echo_comes_back_with_the_same_data_in_both_families() {
    for (src, dst, request, reply) in [
        ("198.18.0.1", "198.18.0.2", v4::ECHO_REQUEST, v4::ECHO_REPLY),
        ("fd00::1", "fd00::2", v6::ECHO_REQUEST, v6::ECHO_REPLY),
    ] {
        let mut bed = bed();
        let data: Vec<u8> = (0..=255).collect();
        assert_eq!(
            bed.receive(&from(src, dst, request, 0, 0x1234_0001, &data)),
            None
        );
        let sent = bed.sent();
        let (packet, message) = message(&sent[0]);
        assert_eq!((packet.src(), packet.dst()), (ip(dst), ip(src)));
        assert_eq!(
            (message.kind(), message.word(), message.body()),
            (reply, 0x1234_0001, &data[..])
        );
    }
}

#[test]
fn echo_of_sixty_thousand_bytes_comes_back_in_fragments() {
    // 1480 bytes of payload in a fragment over IPv4, 1448 over IPv6.
    for (src, dst, request, fragments) in [
        ("198.18.0.1", "198.18.0.2", v4::ECHO_REQUEST, 41),
        ("fd00::1", "fd00::2", v6::ECHO_REQUEST, 42),
    ] {
        let mut bed = bed();
        bed.receive(&from(src, dst, request, 0, 1, &vec![0x5a; 60_000]));
        let mut reassembler = crate::reassembly::Reassembler::new(&config());
        let frames = bed.sent();
        assert_eq!(frames.len(), fragments);
        let whole = frames
            .iter()
            .find_map(|frame| reassembler.insert(at(0), PORT, &packet(frame)))
            .unwrap();
        let whole = IpPacket::parse(&whole).unwrap();
        let transport = whole.transport().unwrap();
        assert_eq!(transport.verify(&whole, Default::default()), Ok(()));
        assert_eq!(whole.payload().len(), 60_008);
    }
}

#[test]
fn echo_to_a_group_is_answered_over_ipv6_only_and_from_our_address() {
    let mut bed = bed();
    bed.receive(&from("fd00::1", "ff02::1", v6::ECHO_REQUEST, 0, 1, b"x"));
    assert_eq!(packet(&bed.sent()[0]).src(), ip("fd00::2"));
    bed.receive(&from(
        "198.18.0.1",
        "224.0.0.1",
        v4::ECHO_REQUEST,
        0,
        1,
        b"x",
    ));
    bed.receive(&from(
        "198.18.0.1",
        "198.18.0.255",
        v4::ECHO_REQUEST,
        0,
        1,
        b"x",
    ));
    assert!(bed.sent().is_empty());
    assert_eq!(bed.icmp.stats.snapshot().echo_ignored, 2);
}

#[test]
fn echo_replies_are_limited_in_rate() {
    let mut bed = bed();
    for _ in 0..100 {
        bed.receive(&from(
            "198.18.0.1",
            "198.18.0.2",
            v4::ECHO_REQUEST,
            0,
            1,
            b"x",
        ));
    }
    assert_eq!(bed.sent().len(), 10);
    assert_eq!(bed.icmp.stats.snapshot().echo_limited, 90);
}

#[test]
fn a_closed_port_is_told_with_the_packet_quoted() {
    for (src, dst, numbers) in [
        ("198.18.0.1", "198.18.0.2", (v4::UNREACHABLE, v4::CODE_PORT)),
        ("fd00::1", "fd00::2", (v6::UNREACHABLE, v6::CODE_PORT)),
    ] {
        let mut bed = bed();
        let about = from_peer(&meta(src, dst, Protocol::Udp), &[7; 2_000]);
        assert_eq!(
            bed.errors_about(&about, false, IcmpError::PortUnreachable),
            1
        );
        bed.icmp.send_error(
            at(0),
            &mut bed.link,
            PORT,
            &about[14..],
            false,
            IcmpError::PortUnreachable,
        );
        let sent = bed.sent();
        let (packet, message) = message(&sent[0]);
        assert_eq!((message.kind(), message.code()), numbers);
        let limit = if dst.contains(':') { 1280 } else { 576 };
        assert_eq!(packet.bytes().len(), limit);
        assert!(about[14..].starts_with(message.body()));
        // etherparse agrees on what it is.
        let sliced = etherparse::SlicedPacket::from_ethernet(&sent[0]).unwrap();
        let is_port = match sliced.transport {
            Some(etherparse::TransportSlice::Icmpv4(slice)) => matches!(
                slice.icmp_type(),
                etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::Port
                )
            ),
            Some(etherparse::TransportSlice::Icmpv6(slice)) => matches!(
                slice.icmp_type(),
                etherparse::Icmpv6Type::DestinationUnreachable(
                    etherparse::icmpv6::DestUnreachableCode::Port
                )
            ),
            _ => false,
        };
        assert!(is_port);
    }
}

#[test]
fn errors_are_never_sent_about_errors_groups_broadcasts_or_later_fragments() {
    let mut bed = bed();
    let udp = |src: &str, dst: &str| from_peer(&meta(src, dst, Protocol::Udp), &[7; 20]);
    let suppressed = [
        // Errors themselves, and what acts like one.
        (
            from("198.18.0.1", "198.18.0.2", v4::UNREACHABLE, 3, 0, &[0; 28]),
            false,
        ),
        (
            from("198.18.0.1", "198.18.0.2", v4::REDIRECT, 0, 0, &[0; 28]),
            false,
        ),
        (
            from("fd00::1", "fd00::2", v6::UNREACHABLE, 4, 0, &[0; 48]),
            false,
        ),
        (from("fd00::1", "fd00::2", 100, 4, 0, &[0; 48]), false),
        (
            from("fd00::1", "fd00::2", v6::REDIRECT, 0, 0, &[0; 48]),
            false,
        ),
        // To a group or broadcast, of the network or of the link.
        (udp("198.18.0.1", "224.0.0.1"), false),
        (udp("198.18.0.1", "198.18.0.255"), false),
        (udp("198.18.0.1", "255.255.255.255"), false),
        (udp("198.18.0.1", "198.18.0.2"), true),
        (udp("fd00::1", "ff02::1"), false),
        (udp("fd00::1", "fd00::2"), true),
        // From nobody, from a broadcast, from ourselves.
        (udp("0.0.0.0", "198.18.0.2"), false),
        (udp("198.18.0.255", "198.18.0.2"), false),
        (udp("::", "fd00::2"), false),
        (udp("198.18.0.2", "198.18.0.2"), false),
        // Not for us at all.
        (udp("198.18.0.1", "198.18.0.77"), false),
    ];
    for (i, (about, to_group)) in suppressed.iter().enumerate() {
        assert_eq!(
            bed.errors_about(about, *to_group, IcmpError::PortUnreachable),
            0,
            "case {i}"
        );
        assert_eq!(
            bed.icmp.stats.snapshot().errors_suppressed,
            i as u64 + 1,
            "case {i}"
        );
    }
    let mut later = udp("198.18.0.1", "198.18.0.2");
    later[21] = 1;
    assert_eq!(
        bed.errors_about(&later, false, IcmpError::ReassemblyTimeExceeded),
        0
    );
    // Echo requests are no errors.
    let echo = from("198.18.0.1", "198.18.0.2", v4::ECHO_REQUEST, 0, 0, &[0; 28]);
    assert_eq!(
        bed.errors_about(&echo, false, IcmpError::ReassemblyTimeExceeded),
        1
    );
}

#[test]
fn errors_are_limited_in_rate_and_start_again_in_the_next_second() {
    let mut bed = bed();
    let about = from_peer(&meta("198.18.0.1", "198.18.0.2", Protocol::Udp), &[7; 20]);
    let sent: usize = (0..100)
        .map(|_| bed.errors_about(&about, false, IcmpError::PortUnreachable))
        .sum();
    assert_eq!((sent, bed.icmp.stats.snapshot().errors_limited), (5, 95));
    bed.icmp.send_error(
        at(2_000),
        &mut bed.link,
        PORT,
        &about[14..],
        false,
        IcmpError::PortUnreachable,
    );
    assert_eq!(bed.sent().len(), 1);
}

#[test]
fn an_unrecognised_option_is_told_to_senders_to_groups_only_if_it_asks_for_that() {
    let mut bed = bed();
    let problem = |even_multicast| ParseError::Ipv6ParameterProblem {
        code: v6::CODE_OPTION,
        pointer: 42,
        even_multicast,
    };
    let to_us = from_peer(&meta("fd00::1", "fd00::2", Protocol::Udp), &[0; 20]);
    let to_group = from_peer(&meta("fd00::1", "ff02::1", Protocol::Udp), &[0; 20]);
    for (frame, group, even, expected) in [
        (&to_us, false, false, 1),
        (&to_group, true, false, 0),
        (&to_group, true, true, 1),
    ] {
        bed.icmp.on_parse_error(
            at(0),
            &mut bed.link,
            PORT,
            &frame[14..],
            group,
            problem(even),
        );
        let sent = bed.sent();
        assert_eq!(sent.len(), expected);
        if let Some(frame) = sent.first() {
            let (packet, message) = message(frame);
            assert_eq!(
                (message.kind(), message.code(), message.word()),
                (v6::PARAMETER_PROBLEM, 2, 42)
            );
            assert_eq!(packet.src(), ip("fd00::2"));
        }
    }
    bed.icmp.on_parse_error(
        at(0),
        &mut bed.link,
        PORT,
        &to_us[14..],
        false,
        ParseError::Ipv6BadExtension,
    );
    assert!(bed.sent().is_empty());
}

#[test]
fn an_unknown_protocol_is_told_in_the_words_of_each_family() {
    let mut bed = bed();
    let about = from_peer(
        &meta("198.18.0.1", "198.18.0.2", Protocol::Other(99)),
        &[0; 20],
    );
    bed.icmp.send_error(
        at(0),
        &mut bed.link,
        PORT,
        &about[14..],
        false,
        IcmpError::ProtocolUnreachable { pointer: 9 },
    );
    let sent = bed.sent();
    let (_, told) = message(&sent[0]);
    assert_eq!(
        (told.kind(), told.code()),
        (v4::UNREACHABLE, v4::CODE_PROTOCOL)
    );
    let about = from_peer(&meta("fd00::1", "fd00::2", Protocol::Other(99)), &[0; 20]);
    bed.icmp.send_error(
        at(0),
        &mut bed.link,
        PORT,
        &about[14..],
        false,
        IcmpError::ProtocolUnreachable { pointer: 6 },
    );
    let sent = bed.sent();
    let (_, told) = message(&sent[0]);
    assert_eq!(
        (told.kind(), told.code(), told.word()),
        (v6::PARAMETER_PROBLEM, v6::CODE_NEXT_HEADER, 6)
    );
}

/// The start of a packet that we sent, as a router quotes it.
fn ours(dst: &str, protocol: Protocol, transport: &[u8]) -> Vec<u8> {
    let src = if dst.contains(':') {
        "fd00::2"
    } else {
        "198.18.0.2"
    };
    from_peer(&meta(src, dst, protocol), transport).split_off(14)
}

#[test]
fn a_received_error_names_the_socket_and_what_happened() {
    let mut transport = vec![0; 20];
    transport[..8].copy_from_slice(&[0x12, 0x34, 0, 80, 1, 2, 3, 4]);
    let cases = [
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_PORT,
            0,
            ErrorKind::PortUnreachable,
        ),
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_NET,
            0,
            ErrorKind::NetworkUnreachable,
        ),
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_HOST,
            0,
            ErrorKind::HostUnreachable,
        ),
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_PROTOCOL,
            0,
            ErrorKind::ProtocolUnreachable,
        ),
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_PROHIBITED,
            0,
            ErrorKind::Prohibited,
        ),
        (
            "198.18.0.1",
            v4::UNREACHABLE,
            v4::CODE_FRAGMENTATION_NEEDED,
            1_400,
            ErrorKind::PacketTooBig { mtu: 1_400 },
        ),
        (
            "198.18.0.1",
            v4::TIME_EXCEEDED,
            0,
            0,
            ErrorKind::TimeExceeded,
        ),
        (
            "198.18.0.1",
            v4::PARAMETER_PROBLEM,
            0,
            0,
            ErrorKind::ParameterProblem,
        ),
        (
            "fd00::1",
            v6::UNREACHABLE,
            v6::CODE_PORT,
            0,
            ErrorKind::PortUnreachable,
        ),
        (
            "fd00::1",
            v6::UNREACHABLE,
            v6::CODE_NO_ROUTE,
            0,
            ErrorKind::NetworkUnreachable,
        ),
        (
            "fd00::1",
            v6::UNREACHABLE,
            v6::CODE_ADDRESS,
            0,
            ErrorKind::HostUnreachable,
        ),
        (
            "fd00::1",
            v6::UNREACHABLE,
            v6::CODE_PROHIBITED,
            0,
            ErrorKind::Prohibited,
        ),
        (
            "fd00::1",
            v6::PACKET_TOO_BIG,
            0,
            1_280,
            ErrorKind::PacketTooBig { mtu: 1_280 },
        ),
        ("fd00::1", v6::TIME_EXCEEDED, 0, 0, ErrorKind::TimeExceeded),
        (
            "fd00::1",
            v6::PARAMETER_PROBLEM,
            v6::CODE_NEXT_HEADER,
            0,
            ErrorKind::ProtocolUnreachable,
        ),
    ];
    for (remote, kind, code, word, expected) in cases {
        let mut bed = bed();
        let local = if remote.contains(':') {
            "fd00::2"
        } else {
            "198.18.0.2"
        };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let quoted = ours(remote, protocol, &transport);
            let report = bed
                .receive(&from(remote, local, kind, code, word, &quoted))
                .unwrap();
            assert_eq!((report.protocol, report.kind), (protocol, expected));
            assert_eq!(report.local, SocketAddr::new(ip(local), 0x1234));
            assert_eq!(report.remote, SocketAddr::new(ip(remote), 80));
            assert_eq!(
                report.seq,
                (protocol == Protocol::Tcp).then_some(0x0102_0304)
            );
        }
        assert!(bed.sent().is_empty());
    }
}

#[test]
fn errors_about_what_cannot_have_been_sent_from_here_are_counted_only() {
    let mut bed = bed();
    let transport = [0x12, 0x34, 0, 80, 1, 2, 3, 4];
    let not_ours = from_peer(
        &meta("198.18.0.66", "198.18.0.1", Protocol::Udp),
        &transport,
    )
    .split_off(14);
    let echo = ours("198.18.0.1", Protocol::Icmp, &transport);
    let mut later = ours("198.18.0.1", Protocol::Udp, &transport);
    later[7] = 9;
    let short = ours("198.18.0.1", Protocol::Udp, &transport[..2]);
    let other_family = ours("fd00::1", Protocol::Udp, &transport);
    for quoted in [&not_ours, &echo, &later, &short, &other_family, &Vec::new()] {
        assert_eq!(
            bed.receive(&from(
                "198.18.0.1",
                "198.18.0.2",
                v4::UNREACHABLE,
                3,
                0,
                quoted
            )),
            None
        );
    }
    assert_eq!(bed.icmp.stats.snapshot().errors_unusable, 6);
}

proptest! {
    #[test]
    fn arbitrary_messages_never_panic_and_errors_are_never_answered(
        kind: u8, code: u8, word: u32, body in proptest::collection::vec(any::<u8>(), 0..120), is_v6: bool, real: bool,
    ) {
        let mut bed = bed();
        let (src, dst) = if is_v6 { ("fd00::1", "fd00::2") } else { ("198.18.0.1", "198.18.0.2") };
        let quoted = if real { ours(src, Protocol::Udp, &body) } else { body };
        bed.receive(&from(src, dst, kind, code, word, &quoted));
        let request = if is_v6 { v6::ECHO_REQUEST } else { v4::ECHO_REQUEST };
        prop_assert_eq!(bed.sent().len(), usize::from(kind == request && code == 0));
    }

    #[test]
    fn an_error_about_arbitrary_bytes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..120), start in prop_oneof![Just(0x45u8), Just(0x60), any::<u8>()]) {
        let mut bed = bed();
        let mut bytes = bytes;
        if let Some(first) = bytes.first_mut() {
            *first = start;
        }
        bed.icmp.send_error(at(0), &mut bed.link, PORT, &bytes, false, IcmpError::PortUnreachable);
        bed.icmp.on_parse_error(at(0), &mut bed.link, PORT, &bytes, true, ParseError::Ipv4BadOption { pointer: 21 });
    }
}
