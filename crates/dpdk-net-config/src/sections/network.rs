//! `[network]`: addresses, routes, neighbours and names.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::MacAddr;

use crate::decode::section;
use crate::value::{Cidr, Destination, Time, Written};

section! {
    /// A route.
    pub struct RouteEntry {
        /// The destination: a network, or `default`.
        need to: Destination;
        /// The next hop. Without it the network is on the link.
        opt via: IpAddr;
        /// The VLAN whose interface it leaves by; needed where `via` is a link-local address there.
        opt vlan: u16 { range: Some((1, 4094)) };
    }
}

section! {
    /// A neighbour whose MAC address is known for ever.
    pub struct Neighbor {
        /// Its address.
        need address: IpAddr;
        /// Its MAC address.
        need mac: MacAddr;
        /// The VLAN that it is on.
        opt vlan: u16 { range: Some((1, 4094)) };
    }
}

/// A name server: an address, with a port if it is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameServer(pub SocketAddr);

impl fmt::Display for NameServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(v4) if v4.port() == 53 => v4.ip().fmt(f),
            SocketAddr::V6(v6) if v6.port() == 53 && v6.scope_id() == 0 => v6.ip().fmt(f),
            other => other.fmt(f),
        }
    }
}

impl Written for NameServer {
    const WHAT: &'static str = "an IP address";
    const EXAMPLES: &'static [&'static str] = &["198.18.0.1", "198.18.0.1:5353", "[fd00::1]:5353"];
    const PATTERN: &'static str = r"^[0-9A-Fa-f:.]+$|^\[[0-9A-Fa-f:.]+(%[0-9]+)?\]:[0-9]{1,5}$";

    fn read(text: &str) -> Result<Self, String> {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        match address.or_else(|_| text.parse::<SocketAddr>()) {
            Ok(address) if address.port() == 0 => Err("its port is 1 to 65535".to_owned()),
            Ok(address) => Ok(Self(address)),
            Err(_) => Err("it should be an IP address".to_owned()),
        }
    }
}

section! {
    /// How names are resolved.
    pub struct Dns: Default {
        /// Name servers, the first asked first. Those learnt by DHCP and router advertisements come after them.
        list servers: NameServer { live: true };
        /// Domains that names without a dot are looked for in.
        list search: String { live: true };
        /// Whether `/etc/hosts` is looked at first.
        opt hosts: bool { default: "true", live: true };
        /// How long a server has to answer.
        opt timeout: Time { range: Some((1_000, 60_000_000)), default: "5 s", live: true };
        /// How often each server is asked.
        opt attempts: u8 { range: Some((1, 10)), default: "2", live: true };
    }
}

section! {
    /// The interface of a VLAN.
    pub struct VlanNetwork {
        /// The VLAN's id.
        need id: u16 { range: Some((1, 4094)) };
        /// Addresses there, with their prefix lengths.
        list addresses: Cidr;
        /// The priority (PCP) in the tags of what is sent.
        opt priority: u8 { range: Some((0, 7)), default: "0" };
        /// The IP MTU in bytes, at most the port's.
        opt mtu: u16 { range: Some((1280, 9000)), default: "the port's" };
    }
}

section! {
    /// Addresses, routes, neighbours and names of a port.
    pub struct Network: Default {
        /// Addresses with their prefix lengths. An IPv6 link-local one is there by itself.
        list addresses: Cidr;
        /// Whether an IPv4 address, gateway and name servers are asked of a DHCP server.
        opt dhcp4: bool { default: "false" };
        /// Whether an IPv6 address and name servers are asked of a DHCPv6 server.
        opt dhcp6: bool { default: "false" };
        /// Whether IPv6 addresses, gateways and name servers are taken from router advertisements.
        opt slaac: bool { default: "false" };
        /// What DHCPv4 servers are told that this host is called. It goes with `dhcp4`.
        opt hostname: String;
        /// How long the program waits at start for addresses that are asked for.
        opt address_timeout: Time { range: Some((1_000, 86_400_000_000)), default: "30 s" };
        /// Whether addresses are probed before they are used.
        opt duplicate_detection: bool { default: "true" };
        /// Next hops of what no other route is for, one of each family as a rule.
        list gateways: IpAddr { live: true };
        /// Routes beside those to the prefixes of addresses.
        list routes: RouteEntry { live: true };
        /// Neighbours whose MAC addresses are not asked for.
        list neighbors: Neighbor { live: true };
        /// VLANs that the port is a member of.
        list vlans: VlanNetwork;
        /// How names are resolved.
        sub dns: Dns;
    }
}
