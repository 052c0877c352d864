//! The address plan of simulations and test beds: a number makes a host's MAC, IPv4 and IPv6 address.
//!
//! The networks are those set aside for benchmarks (198.18.0.0/15, RFC 2544) and for local use (fd00::/8, RFC 4193).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_packet::MacAddr;

/// Prefix length of [`ipv4`] addresses, in bits.
pub const IPV4_PREFIX_LEN: u8 = 16;
/// Prefix length of [`ipv6`] addresses, in bits.
pub const IPV6_PREFIX_LEN: u8 = 64;

/// The address family of a test that is run for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The address of host `n` in this family.
    pub const fn host(self, n: u16) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(ipv4(n)),
            Self::V6 => IpAddr::V6(ipv6(n)),
        }
    }

    /// The address of host `n` in this family with a port.
    pub const fn socket(self, n: u16, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(n), port)
    }
}

/// A locally administered MAC address for host `n`.
pub const fn mac(n: u16) -> MacAddr {
    let [hi, lo] = n.to_be_bytes();
    MacAddr([0x02, 0xdb, 0x0d, 0x00, hi, lo])
}

/// The IPv4 address of host `n`, in 198.18.0.0/16.
pub const fn ipv4(n: u16) -> Ipv4Addr {
    let [hi, lo] = n.to_be_bytes();
    Ipv4Addr::new(198, 18, hi, lo)
}

/// The IPv6 address of host `n`, in fd00:db0d::/64.
pub const fn ipv6(n: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0xdb0d, 0, 0, 0, 0, 0, n)
}

/// The link-local address that host `n` makes of its MAC address (RFC 4291 appendix A).
pub const fn link_local(n: u16) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac(n).0;
    // The universal/local bit is the other way round in an interface identifier.
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        u16::from_be_bytes([a ^ 2, b]),
        u16::from_be_bytes([c, 0xff]),
        u16::from_be_bytes([0xfe, d]),
        u16::from_be_bytes([e, f]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_local_address_is_that_of_the_mac() {
        assert_eq!(link_local(0x102).to_string(), "fe80::db:dff:fe00:102");
    }
}
