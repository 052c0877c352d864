//! `[network]`: addresses, routes, neighbours and names.

use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::MacAddr;
use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting, section};
use crate::tree::{Node, Value};
use crate::value::{Cidr, Destination, Time};

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

impl Setting for NameServer {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            reader.wrong_type(node, "an IP address, as in \"198.18.0.1\"");
            return None;
        };
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        match address.or_else(|_| text.parse::<SocketAddr>()) {
            Ok(address) => Some(Self(address)),
            Err(_) => {
                let help =
                    "as in \"198.18.0.1\", or with a port \"198.18.0.1:5353\", \"[fd00::1]:5353\"";
                reader.bad_value(node, "it should be an IP address", Some(help.to_owned()));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "examples": ["198.18.0.1"] })
    }

    fn to_json(&self) -> Json {
        match self.0.port() {
            53 => self.0.ip().to_string().into(),
            _ => self.0.to_string().into(),
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
    /// The interface of a VLAN on the port.
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
        /// What DHCP servers are told that this host is called.
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
        /// Names.
        sub dns: Dns;
    }
}
