//! The interface: its addresses, which of them may be used, and where a destination lies.
//!
//! Routes are those to the on-link prefixes and those configured; the longest prefix wins. Which groups are joined is
//! in [`multicast`](crate::multicast), duplicate address detection's timing in [`dad`](crate::dad), and who has which
//! MAC address in [`neighbor`](crate::neighbor).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;

use crate::addr;
use crate::config::{Config, IfAddr, Route, address_bits, prefix_contains};
use crate::dad::{self, Probing};
use crate::multicast::Multicast;
use crate::random::Random;
use crate::time::Instant;

/// Whether an address may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Being probed: nothing is sent from it and nothing received for it, except what the probing needs.
    Tentative,
    /// In use.
    Preferred,
    /// Somebody else has it; it is out of use until the stack is built anew.
    Duplicate,
}

/// One of the interface's addresses.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) addr: IfAddr,
    pub(crate) state: AddressState,
    pub(crate) probing: Probing,
}

/// What a destination address of a received packet is to this interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address of ours that may be used.
    Ours,
    /// A broadcast address of one of our subnets, or the limited one.
    Broadcast,
    /// A group that was joined.
    Group,
    /// Not for us.
    Foreign,
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// To ourselves.
    Local,
    /// To this MAC address, which needs no resolution: a group or broadcast.
    Link(MacAddr),
    /// To the neighbour with this IP address.
    Neighbor(IpAddr),
    /// Nowhere.
    NoRoute,
}

/// Addresses, routes and groups of one port.
#[derive(Debug)]
pub(crate) struct Interface {
    pub(crate) mac: MacAddr,
    pub(crate) mtu: usize,
    pub(crate) addresses: Vec<Address>,
    /// The addresses of `addresses` that may be used, as bits, and the broadcast addresses of all of them: what each
    /// received packet is compared with. Kept by [`refresh`](Self::refresh).
    usable: Vec<u128>,
    /// A bit for the last six bits of each of them.
    may_be_usable: u64,
    /// Counts the changes of what may be used.
    version: u64,
    broadcasts: Vec<u32>,
    /// When duplicate address detection has something to do.
    pub(crate) dad_deadline: Option<Instant>,
    /// On-link prefixes and configured routes, longest first.
    routes: Vec<Route>,
    pub(crate) groups: Multicast,
    pub(crate) random: Random,
}

impl Interface {
    /// Takes the addresses of `config`, which has been validated, and adds a link-local one if there is none.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let mut addresses = config.addresses.clone();
        let has_link_local = addresses
            .iter()
            .any(|a| matches!(a.addr, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        if !has_link_local {
            addresses.push(IfAddr {
                addr: link_local(config.mac).into(),
                prefix_len: 64,
            });
        }
        let mut routes = config.routes.clone();
        for address in &addresses {
            // A host prefix has nobody else on the link.
            if address.prefix_len < address_bits(address.addr) {
                routes.push(Route {
                    dest: address.addr,
                    prefix_len: address.prefix_len,
                    gateway: None,
                    vlan: None,
                });
            }
        }
        // Stable: of equal prefixes the configured route comes first.
        routes.sort_by_key(|route| core::cmp::Reverse(route.prefix_len));
        let mut random = Random::new(&config.seed, "interface");
        let first_probe = dad::first_probe(now, &mut random);
        let mut groups = Multicast::new(&config.seed);
        let addresses: Vec<Address> = addresses
            .into_iter()
            .map(|addr| {
                if let IpAddr::V6(v6) = addr.addr {
                    // RFC 4862 section 5.4.2: joined before the address is probed.
                    let _ = groups.join(now, solicited_node(v6).into());
                }
                if config.dad {
                    Address {
                        addr,
                        state: AddressState::Tentative,
                        probing: Probing::start(first_probe, addr.addr),
                    }
                } else {
                    Address {
                        addr,
                        state: AddressState::Preferred,
                        probing: Probing::done(),
                    }
                }
            })
            .collect();
        let mut interface = Self {
            mac: config.mac,
            mtu: usize::from(config.mtu),
            addresses,
            usable: Vec::new(),
            may_be_usable: 0,
            version: 0,
            broadcasts: Vec::new(),
            dad_deadline: None,
            routes,
            groups,
            random,
        };
        interface.refresh();
        interface
    }

    /// To be called when the state of an address, or its next step of probing, has changed.
    pub(crate) fn refresh(&mut self) {
        let addresses = &self.addresses;
        self.version += 1;
        self.usable.clear();
        self.usable.extend(
            addresses
                .iter()
                .filter(|a| a.state == AddressState::Preferred)
                .map(|a| addr::to_bits(a.addr.addr)),
        );
        let bit = |addr: &u128| 1 << (*addr as u32 % 64);
        self.may_be_usable = self.usable.iter().map(bit).fold(0, |all, bit| all | bit);
        self.broadcasts.clear();
        self.broadcasts
            .extend(addresses.iter().filter_map(|a| match a.addr.addr {
                // RFC 3021: a /31 has no broadcast address.
                IpAddr::V4(own) if a.addr.prefix_len < 31 => {
                    Some(own.to_bits() | u32::MAX >> a.addr.prefix_len)
                }
                _ => None,
            }));
        self.dad_deadline = addresses.iter().filter_map(|a| a.probing.next).min();
    }

    /// Whether `addr` is an address of ours that may be used.
    #[inline]
    pub(crate) fn is_ours(&self, addr: IpAddr) -> bool {
        let addr = addr::to_bits(addr);
        self.usable.contains(&addr)
    }

    /// As [`is_ours`](Self::is_ours), for an address as [`addr`] has it.
    #[inline]
    pub(crate) fn is_ours_bits(&self, addr: u128) -> bool {
        self.may_be_usable >> (addr as u32 % 64) & 1 != 0 && self.usable.contains(&addr)
    }

    /// Changes whenever the addresses that may be used do.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Our address `addr`, whatever its state.
    pub(crate) fn address_mut(&mut self, addr: IpAddr) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|a| a.addr.addr == addr)
    }

    /// The state of our address `addr`.
    pub(crate) fn state_of(&self, addr: IpAddr) -> Option<AddressState> {
        self.addresses
            .iter()
            .find(|a| a.addr.addr == addr)
            .map(|a| a.state)
    }

    /// Our addresses and whether they may be used.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (IfAddr, AddressState)> + '_ {
        self.addresses.iter().map(|a| (a.addr, a.state))
    }

    /// Whether no address is being probed any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.addresses
            .iter()
            .all(|a| a.state != AddressState::Tentative)
    }

    /// What the destination of a received packet is to us.
    #[inline]
    pub(crate) fn classify(&self, dst: IpAddr) -> Destination {
        if self.is_ours(dst) {
            Destination::Ours
        } else if dst.is_multicast() {
            if self.groups.is_joined(dst) {
                Destination::Group
            } else {
                Destination::Foreign
            }
        } else if self.is_broadcast(dst) {
            Destination::Broadcast
        } else {
            Destination::Foreign
        }
    }

    /// Whether `addr` is the limited broadcast address or that of one of our subnets.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(v4) => v4.is_broadcast() || self.broadcasts.contains(&v4.to_bits()),
            IpAddr::V6(_) => false,
        }
    }

    /// Where a packet to `dst` goes next.
    #[inline]
    pub(crate) fn next_hop(&self, dst: IpAddr) -> NextHop {
        match dst {
            IpAddr::V4(v4) if v4.is_multicast() => {
                return NextHop::Link(MacAddr::from_ipv4_multicast(v4));
            }
            IpAddr::V6(v6) if v6.is_multicast() => {
                return NextHop::Link(MacAddr::from_ipv6_multicast(v6));
            }
            _ if dst.is_unspecified() => return NextHop::NoRoute,
            _ if self.is_bindable(dst) => return NextHop::Local,
            _ if self.is_broadcast(dst) => return NextHop::Link(MacAddr::BROADCAST),
            // Link-local addresses are on the link whatever the routes say (RFC 4861 section 5.2).
            IpAddr::V6(v6) if v6.is_unicast_link_local() => return NextHop::Neighbor(dst),
            _ => {}
        }
        match self
            .routes
            .iter()
            .find(|route| prefix_contains(route.dest, route.prefix_len, dst))
        {
            Some(route) => NextHop::Neighbor(route.gateway.unwrap_or(dst)),
            None => NextHop::NoRoute,
        }
    }

    /// Whether `addr` is on the link by one of our prefixes.
    pub(crate) fn is_on_link(&self, addr: IpAddr) -> bool {
        matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
            || self
                .routes
                .iter()
                .find(|route| prefix_contains(route.dest, route.prefix_len, addr))
                .is_some_and(|route| route.gateway.is_none())
    }

    /// Whether a socket may have `addr` as its own: also while it is still being probed, so that what binds at the start
    /// need not wait. Nothing is sent from it before.
    pub(crate) fn is_bindable(&self, addr: IpAddr) -> bool {
        matches!(
            self.state_of(addr),
            Some(AddressState::Preferred | AddressState::Tentative)
        )
    }

    /// The address that a packet to `dst` is sent from now, where the sender has not chosen one.
    pub(crate) fn source_for(&self, dst: IpAddr) -> Option<IpAddr> {
        self.source_among(dst, AddressState::Preferred)
    }

    /// The local address of a socket that is going to send to `dst`: one that is still being probed if there is no
    /// other. Its packets wait, as their next hop is not asked for before the probing is over.
    pub(crate) fn source_for_socket(&self, dst: IpAddr) -> Option<IpAddr> {
        self.source_for(dst)
            .or_else(|| self.source_among(dst, AddressState::Tentative))
    }

    fn source_among(&self, dst: IpAddr, state: AddressState) -> Option<IpAddr> {
        match dst {
            IpAddr::V4(v4) => self.source_v4(v4, state).map(IpAddr::V4),
            IpAddr::V6(v6) => self.source_v6(v6, state).map(IpAddr::V6),
        }
    }

    fn in_state(&self, state: AddressState) -> impl Iterator<Item = IfAddr> + '_ {
        self.addresses
            .iter()
            .filter(move |a| a.state == state)
            .map(|a| a.addr)
    }

    /// The address whose subnet has the next hop, the longest prefix first; else the first one.
    fn source_v4(&self, dst: Ipv4Addr, state: AddressState) -> Option<Ipv4Addr> {
        let toward = match self.next_hop(dst.into()) {
            NextHop::Neighbor(hop) => hop,
            _ => dst.into(),
        };
        // To ourselves from the same address; then whether it is on the subnet, then the longest prefix.
        let mut best: Option<((bool, bool, u8), Ipv4Addr)> = None;
        for address in self.in_state(state) {
            let IpAddr::V4(v4) = address.addr else {
                continue;
            };
            let on_link = address.contains(toward);
            let key = (
                v4 == dst,
                on_link,
                if on_link { address.prefix_len } else { 0 },
            );
            if best.is_none_or(|(other, _)| key > other) {
                best = Some((key, v4));
            }
        }
        best.map(|(_, v4)| v4)
    }

    /// RFC 6724 section 5, with the rules that can make a difference on one interface without temporary, deprecated
    /// or home addresses: 1, 2, 6 and 8.
    fn source_v6(&self, dst: Ipv6Addr, state: AddressState) -> Option<Ipv6Addr> {
        let mut best: Option<(Ipv6Addr, u8)> = None;
        for address in self.in_state(state) {
            let IpAddr::V6(candidate) = address.addr else {
                continue;
            };
            let candidate = (candidate, address.prefix_len);
            if best.is_none_or(|current| is_better_source(dst, candidate, current)) {
                best = Some(candidate);
            }
        }
        best.map(|(addr, _)| addr)
    }
}

/// Whether `a` beats `b` as the source for `dst`; a tie keeps `b`.
fn is_better_source(dst: Ipv6Addr, a: (Ipv6Addr, u8), b: (Ipv6Addr, u8)) -> bool {
    // Rule 1: the same address.
    if (a.0 == dst) != (b.0 == dst) {
        return a.0 == dst;
    }
    // Rule 2: the smallest scope that is large enough.
    let (scope_a, scope_b, scope_dst) = (scope(a.0), scope(b.0), scope(dst));
    if scope_a != scope_b {
        return if scope_a < scope_b {
            scope_a >= scope_dst
        } else {
            scope_b < scope_dst
        };
    }
    // Rule 6: the same label.
    let wanted = label(dst);
    let (label_a, label_b) = (label(a.0) == wanted, label(b.0) == wanted);
    if label_a != label_b {
        return label_a;
    }
    // Rule 8: the longest common prefix, up to the source's prefix length.
    let common = |(addr, len): (Ipv6Addr, u8)| {
        (addr.to_bits() ^ dst.to_bits())
            .leading_zeros()
            .min(u32::from(len))
    };
    common(a) > common(b)
}

/// The scope of an address as a multicast scope value (RFC 6724 section 3.1, RFC 4291 section 2.7).
fn scope(addr: Ipv6Addr) -> u8 {
    if addr.is_multicast() {
        addr.octets()[1] & 0x0f
    } else if addr.is_unicast_link_local() || addr.is_loopback() {
        0x2
    } else if addr.segments()[0] & 0xffc0 == 0xfec0 {
        0x5
    } else {
        0xe
    }
}

/// The label of an address in the default policy table (RFC 6724 section 2.1).
fn label(addr: Ipv6Addr) -> u8 {
    let s = addr.segments();
    if addr.is_loopback() {
        0
    } else if s[..5] == [0; 5] && s[5] == 0xffff {
        4
    } else if s[..6] == [0; 6] {
        3
    } else if s[0] == 0x2002 {
        2
    } else if s[0] == 0x2001 && s[1] == 0 {
        5
    } else if s[0] & 0xfe00 == 0xfc00 {
        13
    } else if s[0] & 0xffc0 == 0xfec0 {
        11
    } else if s[0] == 0x3ffe {
        12
    } else {
        1
    }
}

/// The link-local address made of a MAC address (RFC 4291 appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(o[13]),
        u16::from_be_bytes([o[14], o[15]]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(addresses: &[&str], routes: &[(&str, Option<&str>)]) -> Interface {
        let mut config = Config::new(MacAddr([2, 0, 0, 0, 0, 7]));
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
        Interface::new(&config, Instant::ZERO)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_link_local_address_is_made_of_the_mac_unless_one_is_given() {
        let iface = interface(&["198.18.0.2/24"], &[]);
        assert!(iface.is_ours(ip("fe80::ff:fe00:7")));
        let iface = interface(&["fe80::1/64"], &[]);
        assert!(iface.is_ours(ip("fe80::1")) && !iface.is_ours(ip("fe80::ff:fe00:7")));
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
        let hop = |dst: &str| iface.next_hop(ip(dst));
        assert_eq!(hop("198.18.0.9"), NextHop::Neighbor(ip("198.18.0.9")));
        assert_eq!(hop("198.18.1.9"), NextHop::Neighbor(ip("198.18.0.1")));
        assert_eq!(hop("198.19.1.9"), NextHop::Neighbor(ip("198.18.0.5")));
        assert_eq!(hop("198.19.7.9"), NextHop::Neighbor(ip("198.19.7.9")));
        assert_eq!(hop("fd00::9"), NextHop::Neighbor(ip("fd00::9")));
        assert_eq!(hop("fd01::9"), NextHop::Neighbor(ip("fe80::1")));
        assert_eq!(hop("fe80::9"), NextHop::Neighbor(ip("fe80::9")));
        assert_eq!(hop("198.18.0.2"), NextHop::Local);
        assert_eq!(hop("198.18.0.255"), NextHop::Link(MacAddr::BROADCAST));
        assert_eq!(hop("255.255.255.255"), NextHop::Link(MacAddr::BROADCAST));
        assert_eq!(
            hop("ff02::1"),
            NextHop::Link(MacAddr([0x33, 0x33, 0, 0, 0, 1]))
        );
        assert_eq!(
            hop("224.0.0.251"),
            NextHop::Link(MacAddr([1, 0, 0x5e, 0, 0, 251]))
        );
        assert!(iface.is_on_link(ip("198.19.7.9")) && !iface.is_on_link(ip("198.19.8.9")));
    }

    #[test]
    fn without_a_route_there_is_no_next_hop() {
        let iface = interface(&["198.18.0.2/24"], &[]);
        assert_eq!(iface.next_hop(ip("203.0.113.1")), NextHop::NoRoute);
        assert_eq!(iface.next_hop(ip("fd00::1")), NextHop::NoRoute);
        assert_eq!(iface.next_hop(ip("0.0.0.0")), NextHop::NoRoute);
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
        assert_eq!(iface.classify(ip("198.18.0.255")), Destination::Broadcast);
        assert_eq!(iface.classify(ip("198.18.7.255")), Destination::Broadcast);
        assert_eq!(iface.classify(ip("198.18.4.255")), Destination::Foreign);
        assert_eq!(iface.classify(ip("198.18.9.1")), Destination::Foreign);
        assert_eq!(iface.classify(ip("198.18.9.9")), Destination::Ours);
    }

    #[test]
    fn groups_joined_at_the_start_are_all_nodes_and_solicited_node() {
        let iface = interface(&["fd00::12:3456/64"], &[]);
        assert_eq!(iface.classify(ip("ff02::1")), Destination::Group);
        assert_eq!(iface.classify(ip("ff02::1:ff12:3456")), Destination::Group);
        assert_eq!(
            iface.classify(ip("ff02::1:ff12:3457")),
            Destination::Foreign
        );
        assert_eq!(iface.classify(ip("224.0.0.1")), Destination::Group);
        assert_eq!(iface.classify(ip("224.0.0.251")), Destination::Foreign);
    }

    #[test]
    fn ipv6_sources_follow_rfc_6724() {
        // The examples of section 10.1 that one interface can have.
        let source =
            |addresses: &[&str], dst: &str| interface(addresses, &[]).source_for(ip(dst)).unwrap();
        assert_eq!(
            source(&["2001:db8:3::1/64", "fe80::1/64"], "2001:db8:1::1"),
            ip("2001:db8:3::1")
        );
        assert_eq!(
            source(&["2001:db8:3::1/64", "fe80::1/64"], "ff05::1"),
            ip("2001:db8:3::1")
        );
        assert_eq!(
            source(&["2001:db8:3::1/64", "fe80::1/64"], "ff02::1"),
            ip("fe80::1")
        );
        assert_eq!(
            source(&["2001:db8:1::1/64", "2001:db8:3::1/64"], "2001:db8:1::1"),
            ip("2001:db8:1::1")
        );
        assert_eq!(
            source(&["fe80::1/64", "2001:db8:1::1/64"], "fe80::2"),
            ip("fe80::1")
        );
        assert_eq!(
            source(&["2001:db8:1::2/64", "2001:db8:3::2/64"], "2001:db8:1::1"),
            ip("2001:db8:1::2")
        );
        assert_eq!(
            source(
                &["2002:c633:6401::2/64", "2001:db8:1::2/64"],
                "2002:c633:6401::1"
            ),
            ip("2002:c633:6401::2")
        );
        assert_eq!(
            source(&["fd00::2/64", "2001:db8:1::2/64"], "fd11::1"),
            ip("fd00::2")
        );
    }

    #[test]
    fn ipv4_sources_are_those_of_the_subnet_of_the_next_hop() {
        let iface = interface(
            &["198.18.0.2/16", "198.18.5.2/24", "198.19.0.2/24"],
            &[("0.0.0.0/0", Some("198.19.0.1"))],
        );
        let source = |dst| iface.source_for(ip(dst)).unwrap();
        assert_eq!(source("198.18.1.1"), ip("198.18.0.2"));
        assert_eq!(source("198.18.5.1"), ip("198.18.5.2"));
        assert_eq!(source("203.0.113.1"), ip("198.19.0.2"));
        assert_eq!(source("198.19.0.2"), ip("198.19.0.2"));
    }

    #[test]
    fn tentative_addresses_are_neither_ours_nor_a_source_but_may_be_bound() {
        let mut config = Config::new(MacAddr([2, 0, 0, 0, 0, 7]));
        config.addresses.push("198.18.0.2/24".parse().unwrap());
        let iface = Interface::new(&config, Instant::ZERO);
        assert!(!iface.is_ours(ip("198.18.0.2")) && !iface.is_settled());
        assert_eq!(iface.source_for(ip("198.18.0.1")), None);
        // Sockets may have it already, and wait.
        assert!(iface.is_bindable(ip("198.18.0.2")) && !iface.is_bindable(ip("198.18.0.3")));
        assert_eq!(
            iface.source_for_socket(ip("198.18.0.1")),
            Some(ip("198.18.0.2"))
        );
        assert_eq!(
            iface.state_of(ip("198.18.0.2")),
            Some(AddressState::Tentative)
        );
    }
}
