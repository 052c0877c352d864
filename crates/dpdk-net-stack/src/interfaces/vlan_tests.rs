//! What addresses are to a port with VLANs, which way packets go, and what they are sent from.

use alloc::collections::BTreeSet;
use alloc::format;

use super::*;
use crate::config::Route;
use crate::config::Vlan;
use crate::test_frames::{OUR_MAC, config, ip, to};

/// VLANs 100 and 200 with networks of their own, 300 with the addresses of 100's, 400 without any.
fn trunk() -> Config {
    let vlan = |id, addresses: &[&str]| {
        let vlan = Vlan::new(id);
        let addresses = addresses.iter().map(|text| text.parse().unwrap());
        addresses.fold(vlan, Vlan::with_address)
    };
    config()
        .with_vlan(vlan(100, &["198.18.100.2/24", "fd00:100::2/64"]))
        .with_vlan(vlan(200, &["198.18.200.2/24", "fd00:200::2/64"]).with_mtu(1400))
        .with_vlan(vlan(300, &["198.18.100.3/24", "fd00:100::3/64"]))
        .with_vlan(vlan(400, &[]))
}

fn interfaces(config: &Config) -> Interfaces {
    config.validate().unwrap();
    Interfaces::new(config, Instant::ZERO)
}

fn route(dest: &str, gateway: Option<&str>, vlan: Option<u16>) -> Route {
    let IfAddr { addr, prefix_len } = dest.parse().unwrap();
    Route {
        dest: addr,
        prefix_len,
        gateway: gateway.map(ip),
        vlan,
    }
}

/// The VLAN and the neighbour that a packet goes to.
fn hop(interfaces: &Interfaces, way: &Way) -> (u16, IpAddr) {
    match interfaces.next_hop(way) {
        NextHop::Neighbor(hop) => (interfaces.get(hop.at).vlan, hop.addr),
        other => panic!("{way:?}: {other:?}"),
    }
}

fn scoped(dst: &str, scope: u16) -> Way {
    Way::to(ip(dst), scope)
}

fn from(src: &str, dst: &str) -> Way {
    let src = ip(src);
    Way { src, ..to(dst) }
}

#[test]
fn a_destination_leaves_by_the_interface_whose_prefix_has_it() {
    let all = interfaces(&trunk());
    for (dst, vlan) in [
        ("198.18.0.9", 0),
        ("fd00::9", 0),
        ("198.18.100.9", 100),
        ("fd00:100::9", 100),
        ("198.18.200.9", 200),
        ("fd00:200::9", 200),
    ] {
        assert_eq!(hop(&all, &to(dst)), (vlan, ip(dst)));
    }
    assert_eq!(all.next_hop(&to("203.0.113.1")), NextHop::NoRoute);
    let own = all.next_hop(&to("198.18.200.2"));
    assert_eq!(own, NextHop::Local(all.by_vlan(200).unwrap()));
}

#[test]
fn of_equal_prefixes_the_source_address_decides() {
    let all = interfaces(&trunk());
    for net in ["198.18.100.", "fd00:100::"] {
        let dst = format!("{net}9");
        let by = |host: u8| hop(&all, &from(&format!("{net}{host}"), &dst)).0;
        assert_eq!((by(2), by(3)), (100, 300));
        // One that neither has leaves by the first.
        assert_eq!(by(7), 100);
    }
    // A longer prefix comes before it.
    let mut config = trunk();
    config
        .routes
        .push(route("198.18.100.128/25", None, Some(200)));
    let all = interfaces(&config);
    let way = from("198.18.100.3", "198.18.100.200");
    assert_eq!(hop(&all, &way).0, 200);
}

#[test]
fn a_gateway_finds_its_interface_unless_the_route_names_one() {
    let mut config = trunk();
    config.routes = vec![
        route("0.0.0.0/0", Some("198.18.200.1"), None),
        route("203.0.113.0/24", Some("198.18.200.1"), Some(400)),
        route("2001:db8::/32", Some("fe80::1"), Some(100)),
        route("2001:db8:1::/48", Some("fe80::1"), None),
        route("192.0.2.7/32", None, Some(400)),
        route("192.0.2.128/25", Some("192.0.2.7"), None),
    ];
    let all = interfaces(&config);
    for (dst, expected) in [
        ("8.8.8.8", (200, "198.18.200.1")),
        ("203.0.113.9", (400, "198.18.200.1")),
        ("2001:db8::9", (100, "fe80::1")),
        ("2001:db8:1::9", (0, "fe80::1")),
        ("192.0.2.7", (400, "192.0.2.7")),
        ("192.0.2.200", (400, "192.0.2.7")),
    ] {
        let (vlan, addr) = expected;
        assert_eq!(hop(&all, &to(dst)), (vlan, ip(addr)), "{dst}");
    }
    let on = |vlan| all.by_vlan(vlan).unwrap();
    let is_on_link = |vlan, addr| {
        let (at, addr) = (on(vlan), ip(addr));
        all.is_on_link(Hop { at, addr })
    };
    assert!(is_on_link(400, "192.0.2.7") && !is_on_link(0, "192.0.2.7"));
    assert!(is_on_link(100, "198.18.100.9") && !is_on_link(200, "198.18.100.9"));
}

#[test]
fn two_default_routes_each_serve_the_addresses_of_their_interface() {
    let mut config = trunk();
    config.routes = vec![
        Route::default_via(ip("198.18.0.1")),
        Route::default_via(ip("198.18.100.1")),
    ];
    let all = interfaces(&config);
    let by = |src| hop(&all, &from(src, "8.8.8.8"));
    assert_eq!(by("198.18.0.2"), (0, ip("198.18.0.1")));
    assert_eq!(by("198.18.100.2"), (100, ip("198.18.100.1")));
    assert_eq!(by("198.18.200.2"), (0, ip("198.18.0.1")));
}

#[test]
fn an_address_is_taken_by_whichever_interface_it_comes_but_a_link_local_one_by_its_own() {
    let mut config = trunk();
    let own = "fe80::77/64".parse().unwrap();
    config.vlans[0].addresses.push(own);
    let all = interfaces(&config);
    let on = |vlan, addr: &str| all.classify(all.by_vlan(vlan).unwrap(), ip(addr));
    for vlan in [0, 100, 200, 300, 400] {
        for addr in ["198.18.0.2", "198.18.100.2", "198.18.200.2", "fd00:100::3"] {
            assert_eq!(on(vlan, addr), Destination::Ours, "{addr} on {vlan}");
        }
    }
    let made_of_mac = "fe80::ff:fe00:7";
    assert_eq!(ip(made_of_mac), crate::iface::link_local(OUR_MAC));
    for vlan in [0, 200, 300, 400] {
        assert_eq!(on(vlan, made_of_mac), Destination::Ours, "on {vlan}");
        assert_eq!(on(vlan, "fe80::77"), Destination::Foreign, "on {vlan}");
    }
    assert_eq!(on(100, "fe80::77"), Destination::Ours);
    assert_eq!(on(100, made_of_mac), Destination::Foreign);
    let bits = |addr: &str| addr::to_bits(ip(addr));
    assert!(all.is_ours_bits(100, bits("fe80::77")) && !all.is_ours_bits(0, bits("fe80::77")));
    assert!(!all.is_ours_bits(7, bits(made_of_mac)) && all.is_ours_bits(0, bits(made_of_mac)));
}

#[test]
fn broadcasts_and_groups_are_of_one_interface() {
    let mut all = interfaces(&trunk());
    let on =
        |all: &Interfaces, vlan, addr: &str| all.classify(all.by_vlan(vlan).unwrap(), ip(addr));
    assert_eq!(on(&all, 100, "198.18.100.255"), Destination::Broadcast);
    assert_eq!(on(&all, 300, "198.18.100.255"), Destination::Broadcast);
    assert_eq!(on(&all, 200, "198.18.100.255"), Destination::Foreign);
    assert_eq!(on(&all, 0, "198.18.100.255"), Destination::Foreign);
    for vlan in [0, 100, 400] {
        assert_eq!(on(&all, vlan, "255.255.255.255"), Destination::Broadcast);
        assert_eq!(on(&all, vlan, "ff02::1"), Destination::Group);
    }
    let at = all.by_vlan(200).unwrap();
    let group = ip("239.1.2.3");
    all.change(at, |it| it.groups.join(Instant::ZERO, group))
        .unwrap();
    assert_eq!(all.next_timeout(), Some(Instant::ZERO));
    assert_eq!(on(&all, 200, "239.1.2.3"), Destination::Group);
    assert_eq!(on(&all, 100, "239.1.2.3"), Destination::Foreign);
    // Each interface listens to the solicited-node groups of its own addresses.
    assert_eq!(on(&all, 300, "ff02::1:ff00:3"), Destination::Group);
    assert_eq!(on(&all, 100, "ff02::1:ff00:3"), Destination::Foreign);
}

#[test]
fn a_packet_is_sent_from_an_address_of_the_interface_it_leaves_by() {
    let all = interfaces(&trunk());
    for (way, src) in [
        (to("198.18.0.9"), "198.18.0.2"),
        (to("198.18.100.9"), "198.18.100.2"),
        (to("198.18.200.9"), "198.18.200.2"),
        (to("fd00:200::9"), "fd00:200::2"),
        (to("198.18.200.2"), "198.18.200.2"),
        (scoped("fe80::9", 200), "fe80::ff:fe00:7"),
        (scoped("ff05::9", 200), "fd00:200::2"),
        (scoped("ff02::9", 200), "fe80::ff:fe00:7"),
        (scoped("239.1.2.3", 300), "198.18.100.3"),
    ] {
        assert_eq!(all.source_for(&way), Some(ip(src)), "{way:?}");
    }
}

#[test]
fn an_interface_without_an_address_borrows_one_for_what_leaves_the_link() {
    let mut config = trunk();
    config.routes = vec![
        route("192.0.2.0/24", None, Some(400)),
        route("2001:db8::/32", None, Some(400)),
    ];
    let all = interfaces(&config);
    let source = |way: &Way| all.source_for(way);
    assert_eq!(source(&to("192.0.2.9")), Some(ip("198.18.0.2")));
    // RFC 6724 rule 2 comes before rule 5: a link-local address is not enough.
    let borrowed = source(&to("2001:db8::9")).unwrap();
    assert!(!addr::is_link_local(borrowed), "{borrowed}");
    // What stays on the link is sent from an address of that link.
    assert_eq!(source(&scoped("ff05::9", 400)), Some(ip("fe80::ff:fe00:7")));
}

#[test]
fn a_socket_waits_for_its_own_interfaces_address_rather_than_take_anothers() {
    let mut config = trunk();
    config.dad = true;
    let mut all = interfaces(&config);
    // The port itself is through; the VLAN is not yet.
    all.change(IfIndex::PORT, |port| {
        for address in &mut port.addresses {
            address.state = AddressState::Preferred;
        }
    });
    all.refresh();
    for (dst, src) in [
        ("198.18.100.9", "198.18.100.2"),
        ("fd00:100::9", "fd00:100::2"),
    ] {
        let way = all.with_source(&to(dst)).unwrap();
        assert_eq!(way.src, ip(src));
    }
}

#[test]
fn a_link_local_source_tells_its_interface() {
    let mut config = Config::new(OUR_MAC).with_vlan(Vlan::new(9));
    config.dad = false;
    config.routes = vec![route("::/0", Some("fe80::1"), Some(9))];
    let all = interfaces(&config);
    let way = all.with_source(&to("2001:db8::1")).unwrap();
    assert_eq!((way.src, way.scope), (ip("fe80::ff:fe00:7"), 9));
}

#[test]
fn a_group_leaves_by_the_interface_named_or_that_of_its_source_or_of_a_route() {
    let all = interfaces(&trunk());
    let by = |all: &Interfaces, way: &Way| all.get(all.next_hop(way).at()).vlan;
    for (way, vlan) in [
        (scoped("ff02::1", 200), 200),
        (scoped("239.1.2.3", 100), 100),
        (from("198.18.200.2", "239.1.2.3"), 200),
        (from("198.18.200.2", "255.255.255.255"), 200),
        (to("198.18.200.255"), 200),
        (from("198.18.100.3", "198.18.100.255"), 300),
        (to("198.18.100.255"), 100),
        (to("239.1.2.3"), 0),
        (to("ff05::1"), 0),
        (to("255.255.255.255"), 0),
    ] {
        assert!(matches!(all.next_hop(&way), NextHop::Link(..)), "{way:?}");
        assert_eq!(by(&all, &way), vlan, "{way:?}");
    }
    let mut config = trunk();
    config.routes = vec![
        Route::default_via(ip("198.18.200.1")),
        route("ff00::/8", None, Some(100)),
    ];
    let all = interfaces(&config);
    assert_eq!(by(&all, &to("239.1.2.3")), 200);
    assert_eq!(by(&all, &to("255.255.255.255")), 200);
    assert_eq!(by(&all, &to("ff05::1")), 100);
}

#[test]
fn there_is_no_way_to_a_scope_without_an_interface() {
    for config in [trunk(), config()] {
        let all = interfaces(&config);
        for scope in [1, 4095, u16::MAX] {
            for dst in ["fe80::9", "fe80::ff:fe00:7", "ff02::1"] {
                let way = scoped(dst, scope);
                assert_eq!(all.next_hop(&way), NextHop::NoRoute, "{way:?}");
            }
            assert!(!all.is_bindable(ip("fe80::ff:fe00:7"), scope));
        }
    }
}

#[test]
fn every_address_is_found_however_many_there_are() {
    let mut config = config();
    for id in 1..=200 {
        let address = format!("10.0.{id}.1/24").parse().unwrap();
        config.vlans.push(Vlan::new(id * 20).with_address(address));
    }
    let all = interfaces(&config);
    let mut seen = BTreeSet::new();
    for id in 1..=200u16 {
        let (own, other) = (format!("10.0.{id}.1"), format!("10.0.{id}.2"));
        assert!(all.is_ours(IfIndex::PORT, ip(&own)) && !all.is_ours(IfIndex::PORT, ip(&other)));
        assert_eq!(all.owner(ip(&own), 0), all.by_vlan(id * 20));
        assert_eq!(all.owner(ip(&other), 0), None);
        let (vlan, _) = hop(&all, &to(&other));
        assert_eq!(vlan, id * 20);
        seen.insert(all.by_vlan(vlan));
    }
    assert_eq!(seen.len(), 200);
    assert_eq!(all.by_vlan(21), None);
}
