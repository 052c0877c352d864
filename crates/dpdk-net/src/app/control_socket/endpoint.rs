//! Which addresses and ports a question is about: `198.18.0.1`, `198.18.0.0/24`, `198.18.0.1:80`, `:80`, `[fd00::/8]:443`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::Deserialize;

/// A network, a port, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Endpoint {
    network: Option<(IpAddr, u8)>,
    port: Option<u16>,
}

impl Endpoint {
    /// Whether it is meant. IPv4 addresses that are mapped into IPv6 are those of IPv4.
    pub(super) fn matches(&self, address: SocketAddr) -> bool {
        let within = |(network, length)| contains(network, length, address.ip().to_canonical());
        self.network.is_none_or(within) && self.port.is_none_or(|port| port == address.port())
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    // The bits behind the prefix; none of them all for a prefix of no length.
    let differ = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            u128::from(differ.checked_shr(32 - u32::from(length)).unwrap_or(0))
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let differ = a.to_bits() ^ b.to_bits();
            differ.checked_shr(128 - u32::from(length)).unwrap_or(0)
        }
        _ => 1,
    };
    differ == 0
}

/// It is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotAnEndpoint(String);

impl fmt::Display for NotAnEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no address or port: 198.18.0.1, 198.18.0.0/24, 198.18.0.1:80, :80 or [fd00::/8]:443, say",
            self.0
        )
    }
}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        parse(text).ok_or_else(|| NotAnEndpoint(text.chars().take(80).collect()))
    }
}

impl TryFrom<String> for Endpoint {
    type Error = NotAnEndpoint;

    fn try_from(text: String) -> Result<Self, NotAnEndpoint> {
        text.parse()
    }
}

fn parse(text: &str) -> Option<Endpoint> {
    let (network, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inside, behind) = rest.split_once(']')?;
            let port = match behind {
                "" => None,
                _ => Some(behind.strip_prefix(':')?),
            };
            (inside, port)
        }
        // One colon is before a port, more are an IPv6 address's.
        None if text.matches(':').count() == 1 => {
            let (network, port) = text.split_once(':')?;
            (network, Some(port))
        }
        None => (text, None),
    };
    let port = match port {
        None | Some("*") => None,
        Some(port) => Some(port.parse().ok()?),
    };
    let network = match network {
        "" | "*" => None,
        network => Some(prefix(network)?),
    };
    // Nothing at all is a slip.
    (!text.is_empty()).then_some(Endpoint { network, port })
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse().ok().filter(|length| *length <= bits)?,
        None => bits,
    };
    Some((address, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(endpoint: &str, address: &str) -> bool {
        let endpoint: Endpoint = endpoint.parse().unwrap();
        endpoint.matches(address.parse().unwrap())
    }

    #[test]
    fn addresses_networks_and_ports_are_told_apart() {
        for (endpoint, yes, no) in [
            ("198.18.0.1", "198.18.0.1:7", "198.18.0.2:7"),
            ("198.18.0.0/24", "198.18.0.255:7", "198.18.1.0:7"),
            ("198.18.0.1/0", "1.1.1.1:1", "[::1]:1"),
            ("198.18.0.1:80", "198.18.0.1:80", "198.18.0.1:81"),
            (":80", "[fd00::1]:80", "[fd00::1]:8080"),
            ("*:80", "198.18.0.1:80", "198.18.0.1:8"),
            ("fd00::1", "[fd00::1]:9", "[fd00::2]:9"),
            ("[fd00::/8]:443", "[fdff::9]:443", "[fe80::9]:443"),
            ("::/0", "[fd00::1]:9", "198.18.0.1:9"),
            ("198.18.0.1:*", "198.18.0.1:5", "198.18.0.2:5"),
            (
                "198.18.0.1",
                "[::ffff:198.18.0.1]:7",
                "[::ffff:198.18.0.2]:7",
            ),
        ] {
            assert!(matches(endpoint, yes), "{endpoint} {yes}");
            assert!(!matches(endpoint, no), "{endpoint} {no}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        for text in [
            "",
            "localhost",
            "198.18.0.1/33",
            "fd00::/129",
            ":65536",
            ":-1",
            "[fd00::1",
            "[fd00::1]80",
            "198.18.0.1:",
            "/8",
            "1.2.3.4/",
            "http",
        ] {
            let refused = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(refused.contains(&format!("{text:?}")), "{refused}");
        }
    }
}
