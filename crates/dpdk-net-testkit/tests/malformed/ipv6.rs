//! IPv6 headers, addresses and extension headers.

use std::net::Ipv6Addr;

use dpdk_net_testkit::addr;
use dpdk_net_testkit::by_hand::UDP_PORT;

use super::*;

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
    for src in ["::1", "ff02::1", "ff0e::1", "::ffff:198.18.0.9"] {
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
