//! What addresses are to a port without VLANs and to one with some, which way packets go, and what they are sent from.

use super::*;
use crate::config::Route;
use crate::test_frames::{OUR_MAC, PORT, hop, ip, to};

fn interface(addresses: &[&str], routes: &[(&str, Option<&str>)]) -> Interfaces {
    let mut config = Config::new(OUR_MAC);
    config.dad = false;
    for address in addresses {
        config.addresses.push(address.parse().unwrap());
    }
    for (dest, gateway) in routes {
        let dest: IfAddr = dest.parse().unwrap();
        config.routes.push(Route {
            dest: dest.addr,
            prefix_len: dest.prefix_len,
            gateway: gateway.map(|g| g.parse().unwrap()),
            vlan: None,
        });
    }
    Interfaces::new(&config, Instant::ZERO)
}

#[test]
fn a_link_local_address_is_made_of_the_mac_unless_one_is_given() {
    let iface = interface(&["198.18.0.2/24"], &[]);
    assert!(iface.is_ours(PORT, ip("fe80::ff:fe00:7")));
    let iface = interface(&["fe80::1/64"], &[]);
    assert!(iface.is_ours(PORT, ip("fe80::1")) && !iface.is_ours(PORT, ip("fe80::ff:fe00:7")));
}

#[test]
fn the_longest_prefix_decides_the_next_hop() {
    let iface = interface(
        &["198.18.0.2/24", "fd00::2/64"],
        &[
            ("0.0.0.0/0", Some("198.18.0.1")),
            ("198.19.0.0/16", Some("198.18.0.5")),
            ("198.19.7.0/24", None),
            ("::/0", Some("fe80::1")),
        ],
    );
    let via = |dst| iface.next_hop(&to(dst));
    let neighbor = |addr| NextHop::Neighbor(hop(addr));
    let link = |mac| NextHop::Link(PORT, mac);
    assert_eq!(via("198.18.0.9"), neighbor("198.18.0.9"));
    assert_eq!(via("198.18.1.9"), neighbor("198.18.0.1"));
    assert_eq!(via("198.19.1.9"), neighbor("198.18.0.5"));
    assert_eq!(via("198.19.7.9"), neighbor("198.19.7.9"));
    assert_eq!(via("fd00::9"), neighbor("fd00::9"));
    assert_eq!(via("fd01::9"), neighbor("fe80::1"));
    assert_eq!(via("fe80::9"), neighbor("fe80::9"));
    assert_eq!(via("198.18.0.2"), NextHop::Local(PORT));
    assert_eq!(via("198.18.0.255"), link(MacAddr::BROADCAST));
    assert_eq!(via("255.255.255.255"), link(MacAddr::BROADCAST));
    assert_eq!(via("ff02::1"), link(MacAddr([0x33, 0x33, 0, 0, 0, 1])));
    assert_eq!(via("224.0.0.251"), link(MacAddr([1, 0, 0x5e, 0, 0, 251])));
    assert!(iface.is_on_link(hop("198.19.7.9")) && !iface.is_on_link(hop("198.19.8.9")));
}

#[test]
fn without_a_route_there_is_no_next_hop() {
    let iface = interface(&["198.18.0.2/24"], &[]);
    assert_eq!(iface.next_hop(&to("203.0.113.1")), NextHop::NoRoute);
    assert_eq!(iface.next_hop(&to("fd00::1")), NextHop::NoRoute);
    assert_eq!(iface.next_hop(&to("0.0.0.0")), NextHop::NoRoute);
}

#[test]
fn each_address_has_the_broadcast_address_of_its_own_prefix() {
    let iface = interface(
        &[
            "198.18.0.2/24",
            "198.18.4.2/22",
            "198.18.9.0/31",
            "198.18.9.9/32",
        ],
        &[],
    );
    let classified = |text| iface.classify(PORT, ip(text));
    assert_eq!(classified("198.18.0.255"), Destination::Broadcast);
    assert_eq!(classified("198.18.7.255"), Destination::Broadcast);
    assert_eq!(classified("198.18.4.255"), Destination::Foreign);
    assert_eq!(classified("198.18.9.1"), Destination::Foreign);
    assert_eq!(classified("198.18.9.9"), Destination::Ours);
}

#[test]
fn groups_joined_at_the_start_are_all_nodes_and_solicited_node() {
    let iface = interface(&["fd00::12:3456/64"], &[]);
    let classified = |text| iface.classify(PORT, ip(text));
    assert_eq!(classified("ff02::1"), Destination::Group);
    assert_eq!(classified("ff02::1:ff12:3456"), Destination::Group);
    assert_eq!(classified("ff02::1:ff12:3457"), Destination::Foreign);
    assert_eq!(classified("224.0.0.1"), Destination::Group);
    assert_eq!(classified("224.0.0.251"), Destination::Foreign);
}

#[test]
fn ipv6_sources_follow_rfc_6724() {
    // The examples of section 10.1 that one interface can have: its addresses, where to, from where.
    for (addresses, dst, expected) in [
        (
            ["2001:db8:3::1/64", "fe80::1/64"],
            "2001:db8:1::1",
            "2001:db8:3::1",
        ),
        (
            ["2001:db8:3::1/64", "fe80::1/64"],
            "ff05::1",
            "2001:db8:3::1",
        ),
        (["2001:db8:3::1/64", "fe80::1/64"], "ff02::1", "fe80::1"),
        (
            ["2001:db8:1::1/64", "2001:db8:3::1/64"],
            "2001:db8:1::1",
            "2001:db8:1::1",
        ),
        (["fe80::1/64", "2001:db8:1::1/64"], "fe80::2", "fe80::1"),
        (
            ["2001:db8:1::2/64", "2001:db8:3::2/64"],
            "2001:db8:1::1",
            "2001:db8:1::2",
        ),
        (
            ["2002:c633:6401::2/64", "2001:db8:1::2/64"],
            "2002:c633:6401::1",
            "2002:c633:6401::2",
        ),
        (["fd00::2/64", "2001:db8:1::2/64"], "fd11::1", "fd00::2"),
    ] {
        let source = interface(&addresses, &[]).source_for(&to(dst));
        assert_eq!(source, Some(ip(expected)), "{addresses:?} to {dst}");
    }
}

#[test]
fn ipv4_sources_are_those_of_the_subnet_of_the_next_hop() {
    let iface = interface(
        &["198.18.0.2/16", "198.18.5.2/24", "198.19.0.2/24"],
        &[("0.0.0.0/0", Some("198.19.0.1"))],
    );
    let source = |dst| iface.source_for(&to(dst)).unwrap();
    assert_eq!(source("198.18.1.1"), ip("198.18.0.2"));
    assert_eq!(source("198.18.5.1"), ip("198.18.5.2"));
    assert_eq!(source("203.0.113.1"), ip("198.19.0.2"));
    assert_eq!(source("198.19.0.2"), ip("198.19.0.2"));
}

#[test]
fn tentative_addresses_are_neither_ours_nor_a_source_but_may_be_bound() {
    let mut config = Config::new(OUR_MAC);
    config.addresses.push("198.18.0.2/24".parse().unwrap());
    let iface = Interfaces::new(&config, Instant::ZERO);
    assert!(!iface.is_ours(PORT, ip("198.18.0.2")) && !iface.is_settled());
    assert_eq!(iface.source_for(&to("198.18.0.1")), None);
    // Sockets may have it already, and wait.
    assert!(iface.is_bindable(ip("198.18.0.2"), 0) && !iface.is_bindable(ip("198.18.0.3"), 0));
    assert_eq!(
        iface.with_source(&to("198.18.0.1")).map(|way| way.src),
        Some(ip("198.18.0.2"))
    );
    assert_eq!(
        iface.get(PORT).state_of(ip("198.18.0.2")),
        Some(AddressState::Tentative)
    );
}
