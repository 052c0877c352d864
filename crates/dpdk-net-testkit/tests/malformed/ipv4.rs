//! IPv4 headers, options, addresses and fragments.

use std::net::Ipv4Addr;

use dpdk_net_packet::MacAddr;
use dpdk_net_testkit::addr;
use dpdk_net_testkit::by_hand::UDP_PORT;

use super::*;

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
        // RFC 1122 section 3.2.2.5: told by a Parameter Problem.
        lab.reported("drop_ipv4_malformed", what, &with_ipv4_options(&options));
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
        [0, 0, 0, 1],
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
