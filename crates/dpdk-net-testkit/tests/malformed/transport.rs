//! TCP and UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;
use dpdk_net_testkit::by_hand::{UDP_PORT, tcp_to};

use super::*;

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
