//! An interface address with its prefix length, and the arithmetic that tells whether two networks meet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address on a link, such as `198.18.0.2/24`: unicast, and neither the network's nor its broadcast address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cidr {
    addr: IpAddr,
    prefix_len: u8,
}

impl Cidr {
    /// Checks what [`Cidr`] promises; the error says what does not hold.
    pub(crate) fn new(addr: IpAddr, prefix_len: u8) -> Result<Self, String> {
        let cidr = Self { addr, prefix_len };
        if prefix_len > cidr.bits() {
            return Err(format!(
                "a prefix of {addr} has at most {} bits, not {prefix_len}",
                cidr.bits()
            ));
        }
        if addr.is_unspecified() || addr.is_loopback() || addr.is_multicast() {
            return Err(format!(
                "{addr} cannot be the address of an interface: give a unicast address"
            ));
        }
        if let IpAddr::V4(v4) = addr {
            let host = u128::from(u32::from(v4)) & cidr.host_mask();
            if v4.is_broadcast() || (prefix_len < 31 && (host == 0 || host == cidr.host_mask())) {
                return Err(format!(
                    "{cidr} is the network's own or its broadcast address: give a host's"
                ));
            }
        }
        Ok(cidr)
    }

    pub(crate) fn addr(self) -> IpAddr {
        self.addr
    }

    fn bits(self) -> u8 {
        if self.addr.is_ipv4() { 32 } else { 128 }
    }

    /// The bits that number hosts, set.
    fn host_mask(self) -> u128 {
        match self.bits() - self.prefix_len {
            128 => u128::MAX,
            host_bits => (1 << host_bits) - 1,
        }
    }

    fn value(addr: IpAddr) -> u128 {
        match addr {
            IpAddr::V4(v4) => u32::from(v4).into(),
            IpAddr::V6(v6) => v6.into(),
        }
    }

    /// Whether `addr` is on this link.
    pub(crate) fn contains(self, addr: IpAddr) -> bool {
        self.addr.is_ipv4() == addr.is_ipv4()
            && (Self::value(self.addr) ^ Self::value(addr))
                & !self.host_mask()
                & Self::all(self.bits())
                == 0
    }

    fn all(bits: u8) -> u128 {
        if bits == 32 {
            u32::MAX.into()
        } else {
            u128::MAX
        }
    }

    /// Whether some address belongs to both networks.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        self.contains(other.addr) || other.contains(self.addr)
    }

    /// The first host of the network that is not this one; `None` where there is no other.
    pub(crate) fn neighbour(self) -> Option<Self> {
        let network = Self::value(self.addr) & !self.host_mask();
        (0..=3)
            .filter_map(|host| {
                let value = network.checked_add(host)?;
                let addr = match self.addr {
                    IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(u32::try_from(value).ok()?)),
                    // Host 0 is the subnet routers' anycast address (RFC 4291 section 2.6.1).
                    IpAddr::V6(_) if host == 0 && self.prefix_len < 127 => return None,
                    IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(value)),
                };
                Self::new(addr, self.prefix_len).ok()
            })
            .find(|other| other.addr != self.addr && self.contains(other.addr))
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "give ADDRESS/PREFIX, such as 198.18.0.2/24 or fd00:198:18::2/64";
        let (addr, prefix) = text
            .split_once('/')
            .ok_or_else(|| format!("the prefix length is missing: {example}"))?;
        let addr = addr
            .parse()
            .map_err(|_| format!("`{addr}` is no IP address: {example}"))?;
        let prefix = prefix
            .parse()
            .map_err(|_| format!("`{prefix}` is no prefix length: {example}"))?;
        Self::new(addr, prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn malformed_addresses_are_refused_with_a_reason() {
        for (text, reason) in [
            ("198.18.0.2", "prefix length is missing"),
            ("198.18.0.256/24", "no IP address"),
            ("198.18.0.2/", "no prefix length"),
            ("198.18.0.2/33", "at most 32 bits"),
            ("fd00::2/129", "at most 128 bits"),
            ("198.18.0.0/24", "network's own"),
            ("198.18.0.255/24", "broadcast"),
            ("127.0.0.1/8", "unicast"),
            ("::/64", "unicast"),
            ("ff02::1/64", "unicast"),
            ("224.0.0.1/24", "unicast"),
            ("", "prefix length is missing"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_network_contains_its_hosts_and_nothing_else() {
        assert!(cidr("198.18.0.2/24").contains("198.18.0.254".parse().unwrap()));
        assert!(!cidr("198.18.0.2/24").contains("198.18.1.2".parse().unwrap()));
        assert!(!cidr("198.18.0.2/24").contains("::ffff:198.18.0.2".parse().unwrap()));
        assert!(cidr("fd00::2/64").contains("fd00::ffff:ffff:ffff:ffff".parse().unwrap()));
        assert!(!cidr("fd00::2/64").contains("fd00:0:0:1::2".parse().unwrap()));
        assert!(cidr("1.2.3.4/0").contains("250.0.0.1".parse().unwrap()));
        assert!(cidr("fd00::1/0").contains("1::".parse().unwrap()));
    }

    #[test]
    fn networks_overlap_when_one_holds_the_other() {
        assert!(cidr("198.18.0.2/24").overlaps(cidr("198.18.5.1/16")));
        assert!(cidr("198.18.5.1/16").overlaps(cidr("198.18.0.2/24")));
        assert!(!cidr("198.18.0.2/24").overlaps(cidr("198.18.1.2/24")));
        assert!(!cidr("198.18.0.2/24").overlaps(cidr("fd00::1/64")));
    }

    #[test]
    fn the_neighbour_is_the_first_other_host() {
        for (own, neighbour) in [
            ("198.18.0.2/24", Some("198.18.0.1/24")),
            ("198.18.0.1/24", Some("198.18.0.2/24")),
            ("198.18.0.4/31", Some("198.18.0.5/31")),
            ("198.18.0.5/30", Some("198.18.0.6/30")),
            ("198.18.0.5/32", None),
            ("fd00::2/64", Some("fd00::1/64")),
            ("fd00::/127", Some("fd00::1/127")),
            ("fd00::2/128", None),
        ] {
            assert_eq!(cidr(own).neighbour(), neighbour.map(cidr), "{own}");
        }
    }
}
