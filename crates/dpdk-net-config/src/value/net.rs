//! Addresses with prefixes, destinations of routes, and addresses on the PCI bus.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::Written;

/// An address with the length of its prefix: `198.18.0.2/24`, `fd00::2/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub addr: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix_len: u8,
}

impl Cidr {
    /// Whether `other` is within the prefix.
    pub fn contains(&self, other: IpAddr) -> bool {
        let shift = |width: u32| width - u32::from(self.prefix_len);
        match (self.addr, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift(32))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift(128))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((addr, len)) = text.split_once('/') else {
            return Err(match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => format!("it has no prefix length: \"{text}/24\", say"),
                Ok(IpAddr::V6(_)) => format!("it has no prefix length: \"{text}/64\", say"),
                Err(_) => "it should be an address with a prefix length".to_owned(),
            });
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|_| format!("`{addr}` is no IP address"))?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        if let Ok(mask) = len.parse::<Ipv4Addr>()
            && mask.to_bits().leading_ones() == mask.to_bits().count_ones()
        {
            let len = mask.to_bits().leading_ones();
            return Err(format!(
                "the prefix has a length, not a mask: \"{addr}/{len}\""
            ));
        }
        let prefix_len = len
            .parse()
            .ok()
            .filter(|len: &u8| *len <= most)
            .ok_or_else(|| format!("the prefix length is 0 to {most}"))?;
        Ok(Self { addr, prefix_len })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

impl Written for Cidr {
    const WHAT: &'static str = "an address with a prefix length";
    const EXAMPLES: &'static [&'static str] = &["198.18.0.2/24", "fd00::2/64"];
    const PATTERN: &'static str = r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// Where a route leads: a network, or `default`, which is all of the gateway's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Everything.
    Default,
    /// A network.
    Network(Cidr),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        if text
            .parse::<IpAddr>()
            .is_ok_and(|addr| addr.is_unspecified())
        {
            return Err("all of them are called \"default\"".to_owned());
        }
        let network: Cidr = text.parse()?;
        let host = match network.addr {
            IpAddr::V4(addr) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(network.prefix_len))
                    .unwrap_or(0);
                (addr.to_bits() & !mask != 0)
                    .then(|| IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask)))
            }
            IpAddr::V6(addr) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(network.prefix_len))
                    .unwrap_or(0);
                (addr.to_bits() & !mask != 0)
                    .then(|| IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask)))
            }
        };
        match host {
            Some(addr) => Err(format!(
                "it has bits behind the prefix: {addr}/{} is meant?",
                network.prefix_len
            )),
            None => Ok(Self::Network(network)),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

impl Written for Destination {
    const WHAT: &'static str = "a network, or \"default\"";
    const EXAMPLES: &'static [&'static str] = &["10.0.0.0/8", "default"];
    const PATTERN: &'static str = r"^(default|[0-9A-Fa-f:.]+/[0-9]{1,3})$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

/// A PCI address, `0000:01:00.0`; the domain may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PciAddress(String);

impl PciAddress {
    /// With its domain, in lower case, as the kernel and DPDK write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PciAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            "it should be domain:bus:device.function, of 4, 2, 2 and 1 hexadecimal digits"
                .to_owned()
        };
        let lower = text.to_lowercase();
        let whole = match lower.matches(':').count() {
            1 => format!("0000:{lower}"),
            _ => lower,
        };
        let (front, function) = whole.rsplit_once('.').ok_or_else(malformed)?;
        let parts: Vec<&str> = front.split(':').collect();
        let digits =
            |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        match parts.as_slice() {
            [domain, bus, device]
                if digits(domain, 4)
                    && digits(bus, 2)
                    && digits(device, 2)
                    && u8::from_str_radix(device, 16).is_ok_and(|device| device < 32)
                    && matches!(function.as_bytes(), [b'0'..=b'7']) =>
            {
                Ok(Self(whole))
            }
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Written for PciAddress {
    const WHAT: &'static str = "a PCI address";
    const EXAMPLES: &'static [&'static str] = &["0000:01:00.0"];
    const PATTERN: &'static str = r"^([0-9A-Fa-f]{4}:)?[0-9A-Fa-f]{2}:[01][0-9A-Fa-f]\.[0-7]$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}
