//! What tools send that find out about a host (nmap, hping3, scapy, ndisc6, isic): each probe gets the answer that the RFCs
//! want, or none.

mod headers;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::{IpPacket, MacAddr, Transport};
use dpdk_net_testkit::by_hand::UDP_PORT;
use flags::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG};

use super::*;

/// A port where nobody is.
const CLOSED: u16 = 9;
const SEQ: u32 = 0x1000_0000;
const ACKNOWLEDGED: u32 = 0x2000_0000;

/// What is sent in answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Nothing,
    /// A RST that stands at the acknowledged number, and nothing else (RFC 9293 section 3.5.2).
    Rst,
    /// A RST that acknowledges so much of what came.
    RstAck(u32),
    SynAck,
    /// An ICMP error: type, code, and the word behind the checksum.
    Icmp(u8, u8, u32),
    /// An echo reply.
    Echo,
}

/// What the one frame that is sent in answer says.
fn read(sent: &[Vec<u8>]) -> Answer {
    assert!(sent.len() <= 1, "{sent:02x?}");
    let Some(frame) = sent.first() else {
        return Answer::Nothing;
    };
    let ip = IpPacket::parse(&frame[IP..]).expect("an IP packet");
    match ip.transport().expect("a transport header") {
        Transport::Tcp(tcp) => match tcp.flags().0 & !ECE {
            RST => {
                assert_eq!((tcp.seq(), tcp.window()), (ACKNOWLEDGED, 0));
                Answer::Rst
            }
            bits if bits == RST | ACK => {
                assert_eq!((tcp.seq(), tcp.window()), (0, 0));
                Answer::RstAck(tcp.ack().wrapping_sub(SEQ))
            }
            bits if bits == SYN | ACK => {
                assert_eq!(tcp.ack(), SEQ + 1);
                Answer::SynAck
            }
            bits => panic!("a segment with the flags {bits:#b}"),
        },
        Transport::Icmp(message) | Transport::Icmpv6(message) => {
            match (message.kind(), ip.is_v6()) {
                (0, false) | (129, true) => Answer::Echo,
                (kind, _) => Answer::Icmp(kind, message.code(), message.word()),
            }
        }
        other => panic!("{other:?}"),
    }
}

/// Sends each probe, and compares.
fn probe(probes: impl IntoIterator<Item = (&'static str, Vec<u8>, Answer)>) {
    let mut lab = Lab::new();
    for (what, frame, expected) in probes {
        let sent = lab.by_hand.feed(frame);
        assert_eq!(read(&sent), expected, "{what}: {sent:02x?}");
        // Half-open connections are not to meet the next probe.
        lab.by_hand.wait(std::time::Duration::from_secs(100));
        for path in [v4(), v6()] {
            lab.by_hand.feed(path.who_has());
        }
    }
    lab.still_serves();
}

fn segment(port: u16, bits: u8) -> Segment {
    Segment {
        src_port: 40_000,
        dst_port: port,
        seq: SEQ,
        ack: ACKNOWLEDGED,
        flags: bits,
        window: 1_024,
        ..Segment::default()
    }
}

#[test]
fn tcp_probes_of_open_and_closed_ports() {
    // Flags; the answer of an open port and of a closed one.
    let table = [
        ("a SYN", SYN, Answer::SynAck, Answer::RstAck(1)),
        (
            "a SYN that asks for ECN",
            SYN | ECE | CWR,
            Answer::SynAck,
            Answer::RstAck(1),
        ),
        (
            "no flags (null scan, T2)",
            0,
            Answer::Nothing,
            Answer::RstAck(0),
        ),
        ("a FIN", FIN, Answer::Nothing, Answer::RstAck(1)),
        (
            "FIN, PSH and URG (xmas scan, T7)",
            FIN | PSH | URG,
            Answer::Nothing,
            Answer::RstAck(1),
        ),
        (
            "all that there is (T3)",
            SYN | FIN | URG | PSH,
            Answer::Nothing,
            Answer::RstAck(2),
        ),
        ("SYN and FIN", SYN | FIN, Answer::Nothing, Answer::RstAck(2)),
        ("PSH alone", PSH, Answer::Nothing, Answer::RstAck(0)),
        ("URG alone", URG, Answer::Nothing, Answer::RstAck(0)),
        (
            "ECE and CWR alone",
            ECE | CWR,
            Answer::Nothing,
            Answer::RstAck(0),
        ),
        ("an ACK (T4, T6)", ACK, Answer::Rst, Answer::Rst),
        (
            "FIN and ACK (Maimon scan)",
            FIN | ACK,
            Answer::Rst,
            Answer::Rst,
        ),
        ("SYN and ACK", SYN | ACK, Answer::Rst, Answer::Rst),
        ("PSH and ACK", PSH | ACK, Answer::Rst, Answer::Rst),
        ("a RST", RST, Answer::Nothing, Answer::Nothing),
        ("RST and ACK", RST | ACK, Answer::Nothing, Answer::Nothing),
        ("SYN and RST", SYN | RST, Answer::Nothing, Answer::Nothing),
        ("all flags", 0xff, Answer::Nothing, Answer::Nothing),
    ];
    for path in [v4(), v6()] {
        probe(table.iter().flat_map(|&(what, bits, open, closed)| {
            [(TCP_PORT, open), (CLOSED, closed)]
                .map(|(port, answer)| (what, path.tcp(&segment(port, bits)), answer))
        }));
        // With the options of nmap's probes; data on a SYN; a window of nothing.
        let syn = segment(TCP_PORT, SYN);
        let with_options = |options: &[u8]| Segment {
            options: options.to_vec(),
            ..syn.clone()
        };
        probe([
            (
                "the options of T1",
                path.tcp(&with_options(&[
                    3, 3, 10, 1, 2, 4, 5, 0xb4, 8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 4, 2,
                ])),
                Answer::SynAck,
            ),
            (
                "a scale of 15, an MSS of 265",
                path.tcp(&with_options(&[3, 3, 15, 1, 2, 4, 1, 9, 4, 2])),
                Answer::SynAck,
            ),
            (
                "data on a SYN",
                path.tcp(&Segment {
                    payload: b"GET /".to_vec(),
                    ..syn.clone()
                }),
                Answer::SynAck,
            ),
            (
                "data on a SYN to a closed port",
                path.tcp(&Segment {
                    payload: b"GET /".to_vec(),
                    ..segment(CLOSED, SYN)
                }),
                Answer::RstAck(6),
            ),
            (
                "no window",
                path.tcp(&Segment {
                    window: 0,
                    ..syn.clone()
                }),
                Answer::SynAck,
            ),
            (
                "a hop limit of one",
                Path {
                    hop_limit: 1,
                    ..path
                }
                .tcp(&syn),
                Answer::SynAck,
            ),
        ]);
        let mut bad = path.tcp(&syn);
        let last = bad.len() - 3;
        bad[last] ^= 1;
        probe([("a wrong checksum", bad, Answer::Nothing)]);
    }
}

#[test]
fn udp_icmp_and_protocol_probes() {
    let closed = vec![0x43; 300];
    probe([
        (
            "UDP to a closed port (U1)",
            v4().udp(40_000, CLOSED, &closed),
            Answer::Icmp(3, 3, 0),
        ),
        (
            "UDP to an open port",
            v4().udp(40_000, UDP_PORT, &[]),
            Answer::Nothing,
        ),
        (
            "a protocol that is not spoken",
            v4().ip(253, &[0; 8]),
            Answer::Icmp(3, 2, 0),
        ),
        ("SCTP", v4().ip(132, &[0; 12]), Answer::Icmp(3, 2, 0)),
        (
            "an echo request",
            v4().echo_request(1, 2, &[0; 120]),
            Answer::Echo,
        ),
        (
            "a timestamp request",
            v4().icmp(13, 0, &[0; 16]),
            Answer::Nothing,
        ),
        (
            "an information request",
            v4().icmp(15, 0, &[0; 4]),
            Answer::Nothing,
        ),
        (
            "an address mask request",
            v4().icmp(17, 0, &[0; 8]),
            Answer::Nothing,
        ),
        ("an echo reply", v4().icmp(0, 0, &[0; 4]), Answer::Nothing),
        (
            "a redirect",
            v4().icmp(5, 1, &v4().udp(1, 2, &[])[IP - 4..]),
            Answer::Nothing,
        ),
        (
            "an unknown type",
            v4().icmp(200, 0, &[0; 4]),
            Answer::Nothing,
        ),
    ]);
    probe([
        (
            "UDP to a closed port",
            v6().udp(40_000, CLOSED, &closed),
            Answer::Icmp(1, 4, 0),
        ),
        (
            "UDP to an open port",
            v6().udp(40_000, UDP_PORT, &[]),
            Answer::Nothing,
        ),
        (
            "a protocol that is not spoken",
            v6().ip(253, &[0; 8]),
            Answer::Icmp(4, 1, 6),
        ),
        ("no next header", v6().ip(59, &[0; 8]), Answer::Nothing),
        (
            "an echo request",
            v6().echo_request(1, 2, &[0; 120]),
            Answer::Echo,
        ),
        (
            "a node information query",
            v6().icmp(139, 0, &[0; 28]),
            Answer::Nothing,
        ),
        (
            "an informational type that is unknown",
            v6().icmp(200, 0, &[0; 4]),
            Answer::Nothing,
        ),
        (
            "an error that is unknown",
            v6().icmp(100, 0, &[0; 4]),
            Answer::Nothing,
        ),
    ]);
}

#[test]
fn nobody_answers_for_all() {
    let to = |dst: IpAddr, dst_mac: MacAddr, path: Path| Path {
        dst,
        dst_mac,
        ..path
    };
    let all: IpAddr = Ipv4Addr::BROADCAST.into();
    let subnet: IpAddr = Ipv4Addr::new(198, 18, 255, 255).into();
    let group: IpAddr = Ipv4Addr::new(224, 0, 0, 1).into();
    let group_mac = MacAddr([1, 0, 0x5e, 0, 0, 1]);
    for (dst, mac) in [
        (all, MacAddr::BROADCAST),
        (subnet, MacAddr::BROADCAST),
        (group, group_mac),
        (v4().dst, MacAddr::BROADCAST),
    ] {
        let path = to(dst, mac, v4());
        // RFC 1122 section 3.2.2.6 leaves it open whether an echo request to our own address is answered if the frame was for
        // all; no other is.
        if dst != v4().dst {
            probe([(
                "an echo request",
                path.echo_request(1, 1, b"smurf"),
                Answer::Nothing,
            )]);
        }
        probe([
            (
                "a datagram for nobody",
                path.udp(1, CLOSED, b"x"),
                Answer::Nothing,
            ),
            ("a SYN", path.tcp(&segment(TCP_PORT, SYN)), Answer::Nothing),
            (
                "a SYN to a closed port",
                path.tcp(&segment(CLOSED, SYN)),
                Answer::Nothing,
            ),
            (
                "an unknown protocol",
                path.ip(253, &[0; 8]),
                Answer::Nothing,
            ),
        ]);
    }
    let all_nodes: Ipv6Addr = "ff02::1".parse().unwrap();
    let path = to(all_nodes.into(), MacAddr([0x33, 0x33, 0, 0, 0, 1]), v6());
    probe([
        // RFC 4443 section 4.2.
        (
            "an echo request to all nodes",
            path.echo_request(1, 1, b""),
            Answer::Echo,
        ),
        (
            "a datagram for nobody",
            path.udp(1, CLOSED, b"x"),
            Answer::Nothing,
        ),
        ("a SYN", path.tcp(&segment(TCP_PORT, SYN)), Answer::Nothing),
        (
            "an unknown protocol",
            path.ip(253, &[0; 8]),
            Answer::Nothing,
        ),
    ]);
}

#[test]
fn nobody_is_answered_who_cannot_be() {
    let v4_sources = [
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.255.254",
        "198.18.0.1",
        "198.18.255.255",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
    ];
    let v6_sources = [
        "::",
        "::1",
        "::ffff:198.18.0.9",
        "::ffff:127.0.0.1",
        "ff02::1",
        "ff0e::101",
    ];
    let sources = v4_sources.iter().chain(&v6_sources);
    for src in sources.map(|src| src.parse::<IpAddr>().unwrap()) {
        let path = Path {
            src,
            ..if src.is_ipv4() { v4() } else { v6() }
        };
        probe([
            ("a SYN", path.tcp(&segment(TCP_PORT, SYN)), Answer::Nothing),
            (
                "a SYN to a closed port",
                path.tcp(&segment(CLOSED, SYN)),
                Answer::Nothing,
            ),
            ("an ACK", path.tcp(&segment(TCP_PORT, ACK)), Answer::Nothing),
            (
                "an echo request",
                path.echo_request(1, 1, b""),
                Answer::Nothing,
            ),
            (
                "a datagram for nobody",
                path.udp(1, CLOSED, b""),
                Answer::Nothing,
            ),
            (
                "an unknown protocol",
                path.ip(253, &[0; 8]),
                Answer::Nothing,
            ),
        ]);
    }
}
