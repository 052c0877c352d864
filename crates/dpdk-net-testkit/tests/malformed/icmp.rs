//! ICMP, ICMPv6, neighbour discovery, and what must not be answered.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;

use super::*;

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
