//! Which of our addresses a packet is sent from: RFC 6724 section 5 for IPv6, the subnet of the next hop for IPv4. And which of
//! several destinations is to be tried first: section 6 there.

use core::cmp::Reverse;
use core::net::{IpAddr, Ipv6Addr};

use crate::config::IfAddr;
use crate::iface::{Address, AddressState};

/// An address that may be chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub(crate) addr: IfAddr,
    /// Whether it is of the interface that the packet leaves by.
    pub(crate) own: bool,
    /// Whether it may be used already.
    pub(crate) usable: bool,
    /// Whether it is to be chosen for what is new only if nothing else serves.
    pub(crate) deprecated: bool,
}

impl Candidate {
    /// An address of the interface that the packet leaves by, if it may be used.
    pub(crate) fn own(address: &Address) -> Option<Self> {
        Self::new(address, true).filter(|candidate| candidate.usable)
    }

    /// An address, unless somebody else has it.
    pub(crate) fn new(address: &Address, own: bool) -> Option<Self> {
        (address.state != AddressState::Duplicate).then_some(Candidate {
            addr: address.addr,
            own,
            usable: address.state.is_usable(),
            deprecated: address.state == AddressState::Deprecated,
        })
    }
}

/// The best one for a packet to `dst` that goes to the neighbour `toward` first. Of equals it is the first one.
pub(crate) fn choose(
    dst: IpAddr,
    toward: IpAddr,
    candidates: impl Iterator<Item = Candidate>,
) -> Option<IpAddr> {
    let same_family = candidates.filter(|candidate| candidate.addr.addr.is_ipv4() == dst.is_ipv4());
    let best = match dst {
        IpAddr::V4(_) => {
            // To ourselves from the same address; one that is not deprecated; of the interface; then whether it is on
            // the subnet, then the longest prefix.
            let key = |candidate: &Candidate| {
                let IfAddr { addr, prefix_len } = candidate.addr;
                let on_link = candidate.addr.contains(toward);
                let len = if on_link { prefix_len } else { 0 };
                let Candidate { own, usable, .. } = *candidate;
                (
                    addr == dst,
                    !candidate.deprecated,
                    own,
                    usable,
                    on_link,
                    len,
                )
            };
            same_family.reduce(|best, other| {
                if key(&other) > key(&best) {
                    other
                } else {
                    best
                }
            })
        }
        IpAddr::V6(dst) => same_family.reduce(|best, other| {
            if is_better(dst, &other, &best) {
                other
            } else {
                best
            }
        }),
    };
    best.map(|candidate| candidate.addr.addr)
}

/// Whether `a` beats `b` as the source for `dst`; a tie keeps `b`. RFC 6724 section 5, with the rules that can make a
/// difference without temporary or home addresses: 1, 2, 3, 5, 6 and 8.
fn is_better(dst: Ipv6Addr, a: &Candidate, b: &Candidate) -> bool {
    let (IpAddr::V6(addr_a), IpAddr::V6(addr_b)) = (a.addr.addr, b.addr.addr) else {
        return false;
    };
    // Rule 1: the same address.
    if (addr_a == dst) != (addr_b == dst) {
        return addr_a == dst;
    }
    // Rule 2: the smallest scope that is large enough.
    let (scope_a, scope_b, scope_dst) = (scope(addr_a), scope(addr_b), scope(dst));
    if scope_a != scope_b {
        return if scope_a < scope_b {
            scope_a >= scope_dst
        } else {
            scope_b < scope_dst
        };
    }
    // Rule 3: not deprecated.
    if a.deprecated != b.deprecated {
        return b.deprecated;
    }
    // Rule 5: of the outgoing interface. What is still being probed there comes before what another interface has.
    if a.own != b.own {
        return a.own;
    }
    if a.usable != b.usable {
        return a.usable;
    }
    // Rule 6: the same label.
    let wanted = label(dst);
    let (label_a, label_b) = (label(addr_a) == wanted, label(addr_b) == wanted);
    if label_a != label_b {
        return label_a;
    }
    // Rule 8: the longest common prefix, up to the source's prefix length.
    let common = |addr: Ipv6Addr, len: u8| {
        (addr.to_bits() ^ dst.to_bits())
            .leading_zeros()
            .min(u32::from(len))
    };
    common(addr_a, a.addr.prefix_len) > common(addr_b, b.addr.prefix_len)
}

/// Puts destinations in the order in which they are to be tried, `source` telling what we would send from. RFC 6724 section 6, with
/// the rules that can make a difference without deprecated or home addresses and tunnels: 1, 2, 5, 6, 8, 9 and 10.
pub(crate) fn order(destinations: &mut [IpAddr], source: impl Fn(IpAddr) -> Option<IpAddr>) {
    destinations.sort_by_cached_key(|&dst| {
        let source = source(dst);
        let with_source = |property: fn(IpAddr) -> u8| {
            let other = source.is_none_or(|source| property(source) != property(dst));
            (other, property(dst))
        };
        let (other_scope, own_scope) = with_source(scope_of);
        let (other_label, _) = with_source(|addr| label(mapped(addr)));
        // Rule 9 is not for IPv4: who has several addresses there takes turns.
        let common = match (source, dst) {
            (Some(IpAddr::V6(source)), IpAddr::V6(dst)) => {
                // The interface identifier says nothing of where a host is (section 2.2).
                (source.to_bits() ^ dst.to_bits()).leading_zeros().min(64)
            }
            _ => 0,
        };
        // What is smaller comes first; of equals each stays where it is.
        (
            source.is_none(),
            other_scope,
            other_label,
            Reverse(precedence(mapped(dst))),
            own_scope,
            Reverse(common),
        )
    });
}

fn mapped(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// As [`scope`], of both families (RFC 6724 section 3.2).
fn scope_of(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(v4) if v4.is_loopback() || v4.is_link_local() => 0x2,
        IpAddr::V4(_) => 0xe,
        IpAddr::V6(v6) => scope(v6),
    }
}

/// The precedence of an address in the default policy table (RFC 6724 section 2.1).
fn precedence(addr: Ipv6Addr) -> u8 {
    match label(addr) {
        0 => 50,
        1 => 40,
        4 => 35,
        2 => 30,
        5 => 5,
        13 => 3,
        _ => 1,
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    /// With these addresses of ours: the first of the family, if it has the same label or there is no other.
    fn ordered(ours: &[&str], destinations: &[&str]) -> Vec<std::string::String> {
        let parsed = |all: &[&str]| -> Vec<IpAddr> {
            all.iter().map(|addr| addr.parse().unwrap()).collect()
        };
        let (ours, mut destinations) = (parsed(ours), parsed(destinations));
        order(&mut destinations, |dst| {
            let family = || ours.iter().filter(|own| own.is_ipv4() == dst.is_ipv4());
            let alike = |own: &&IpAddr| {
                label(mapped(**own)) == label(mapped(dst)) && scope_of(**own) == scope_of(dst)
            };
            family().find(alike).or(family().next()).copied()
        });
        let texts = destinations.iter();
        texts.map(std::string::ToString::to_string).collect()
    }

    #[test]
    fn destinations_are_tried_as_rfc_6724_section_10_2_says() {
        // Prefer matching scope.
        assert_eq!(
            ordered(
                &["2001:db8:1::2", "fe80::1", "169.254.13.78"],
                &["198.51.100.121", "2001:db8:1::1"]
            ),
            ["2001:db8:1::1", "198.51.100.121"]
        );
        assert_eq!(
            ordered(
                &["fe80::1", "198.51.100.117"],
                &["2001:db8:1::1", "198.51.100.121"]
            ),
            ["198.51.100.121", "2001:db8:1::1"]
        );
        // Prefer higher precedence.
        assert_eq!(
            ordered(
                &["2001:db8:1::2", "10.1.2.4"],
                &["10.1.2.3", "2001:db8:1::1"]
            ),
            ["2001:db8:1::1", "10.1.2.3"]
        );
        // Prefer smaller scope.
        assert_eq!(
            ordered(&["2001:db8:1::2", "fe80::2"], &["2001:db8:1::1", "fe80::1"]),
            ["fe80::1", "2001:db8:1::1"]
        );
    }

    #[test]
    fn unique_local_addresses_reach_each_other_and_global_ones_are_left_to_ipv4() {
        let ours = ["fd00::2", "198.18.0.2"];
        assert_eq!(
            ordered(&ours, &["2001:db8::1", "198.51.100.1"]),
            ["198.51.100.1", "2001:db8::1"]
        );
        assert_eq!(
            ordered(&ours, &["198.51.100.1", "fd00::1"]),
            ["198.51.100.1", "fd00::1"],
            "precedence 3"
        );
    }

    #[test]
    fn what_can_t_be_reached_comes_last_and_equals_stay_in_their_order() {
        let all = ["2001:db8::1", "198.51.100.9", "198.51.100.1"];
        assert_eq!(
            ordered(&["198.18.0.2"], &all),
            ["198.51.100.9", "198.51.100.1", "2001:db8::1"]
        );
        // The longest common prefix.
        assert_eq!(
            ordered(&["2001:db8:1::2"], &["2001:db8:7::1", "2001:db8:1::1"]),
            ["2001:db8:1::1", "2001:db8:7::1"]
        );
    }
}
