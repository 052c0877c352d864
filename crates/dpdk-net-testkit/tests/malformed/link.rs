//! Ethernet and ARP.

use dpdk_net_packet::MacAddr;
use dpdk_net_testkit::addr::{self, mac};
use dpdk_net_testkit::by_hand::UDP_PORT;

use super::*;

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
