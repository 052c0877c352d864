//! `[network]`: addresses, routes and neighbours.

use std::net::IpAddr;

use super::Check;
use crate::sections::{Network, Port};
use crate::value::{Cidr, Destination};

pub(super) fn check(check: &mut Check<'_>) {
    let config = check.config;
    let outside = config.network != Network::default();
    if outside && config.port.len() > 1 {
        check.tell(
            "network",
            format!(
                "whose network is this? There are {} ports",
                config.port.len()
            ),
            "each port has its own: [port.network] below its [[port]]",
        );
        return;
    }
    if let ([port], true) = (config.port.as_slice(), outside)
        && port.network != Network::default()
    {
        check.conflict(
            "port[0].network",
            "network",
            "the port has two networks",
            "write all of it in one of them",
        );
    }
    let mut addresses: Vec<(IpAddr, String)> = Vec::new();
    for (index, (at, port, network)) in config.networks().into_iter().enumerate() {
        one(check, &at, &format!("port[{index}]"), port, network);
        let own = network.addresses.iter().enumerate();
        addresses.extend(own.map(|(index, cidr)| (cidr.addr, format!("{at}.addresses[{index}]"))));
        for (index, vlan) in network.vlans.iter().enumerate() {
            let own = vlan.addresses.iter().enumerate();
            addresses.extend(
                own.map(|(a, cidr)| (cidr.addr, format!("{at}.vlans[{index}].addresses[{a}]"))),
            );
        }
    }
    // Those of a link are each link's own.
    addresses.retain(|(addr, _)| !is_link_local(*addr));
    check.unique(
        addresses,
        |addr| format!("{addr} is there twice"),
        "an address is of one interface",
    );
}

fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

fn one(check: &mut Check<'_>, at: &str, port_at: &str, port: &Port, network: &Network) {
    let on = |asked: Option<bool>| asked == Some(true);
    let asked = on(network.dhcp4) || on(network.dhcp6) || on(network.slaac);
    let vlans = network.vlans.iter();
    if network.addresses.is_empty() && !asked && vlans.clone().all(|vlan| vlan.addresses.is_empty())
    {
        let keys = ["addresses", "vlans", "dhcp4", "dhcp6", "slaac"];
        check.lack(
            at,
            &keys,
            "the port has no address",
            "give it one in [network], addresses = [\"198.18.0.2/24\"], or ask for one: dhcp4 = true, dhcp6 = true or slaac = true",
        );
        // That of the only port may stand outside.
        if let (Some(problem), [_]) = (check.problems.last_mut(), check.config.port.as_slice()) {
            problem
                .depends
                .extend(keys.map(|key| format!("network.{key}")));
        }
    }
    for (index, cidr) in network.addresses.iter().enumerate() {
        usable(check, &format!("{at}.addresses[{index}]"), cidr);
    }
    let port_mtu = port.mtu.unwrap_or(1500);
    for (index, vlan) in network.vlans.iter().enumerate() {
        let at = format!("{at}.vlans[{index}]");
        for (index, cidr) in vlan.addresses.iter().enumerate() {
            usable(check, &format!("{at}.addresses[{index}]"), cidr);
        }
        if let Some(mtu) = vlan.mtu
            && mtu > port_mtu
        {
            check.conflict(
                &format!("{at}.mtu"),
                &format!("{port_at}.mtu"),
                format!("the VLAN's MTU, {mtu}, is larger than the port's, {port_mtu}"),
                "set the port's `mtu` as well",
            );
        }
    }
    let ids = vlans
        .enumerate()
        .map(|(index, vlan)| (vlan.id, format!("{at}.vlans[{index}].id")));
    check.unique(
        ids.collect(),
        |id| format!("the VLAN {id} is there twice"),
        "write its addresses in one place",
    );
    let known = |id: u16| network.vlans.iter().any(|vlan| vlan.id == id);
    for (index, gateway) in network.gateways.iter().enumerate() {
        let path = format!("{at}.gateways[{index}]");
        reachable(check, &path, (at, network), *gateway, None);
    }
    let network_at = at;
    for (index, route) in network.routes.iter().enumerate() {
        let at = format!("{at}.routes[{index}]");
        if let Some(vlan) = route.vlan
            && !known(vlan)
        {
            no_member(check, network_at, &at, vlan);
            continue;
        }
        match (route.to, route.via) {
            (Destination::Default, None) => {
                check.lack(
                    &at,
                    &["via"],
                    "a default route needs a next hop",
                    "add via = \"198.18.0.1\", say",
                );
            }
            (Destination::Network(to), Some(via)) if to.addr.is_ipv4() != via.is_ipv4() => check
                .conflict(
                    &format!("{at}.via"),
                    &format!("{at}.to"),
                    format!("{to} and {via} are of different families"),
                    "the next hop is of the destination's family",
                ),
            (_, Some(via)) => {
                let path = format!("{at}.via");
                reachable(check, &path, (network_at, network), via, route.vlan);
            }
            _ => {}
        }
    }
    for (index, neighbor) in network.neighbors.iter().enumerate() {
        let at = format!("{at}.neighbors[{index}]");
        if !neighbor.mac.is_unicast() || neighbor.mac.octets() == [0; 6] {
            check.tell(
                &format!("{at}.mac"),
                format!("{} is no host's MAC address", neighbor.mac),
                "the first byte of a host's address is even, and not all are 0",
            );
        }
        if let Some(vlan) = neighbor.vlan
            && !known(vlan)
        {
            no_member(check, network_at, &at, vlan);
        }
    }
    let neighbors = network.neighbors.iter().enumerate();
    let addresses = neighbors.map(|(index, one)| {
        (
            (one.address, one.vlan),
            format!("{at}.neighbors[{index}].address"),
        )
    });
    check.unique(
        addresses.collect(),
        |(addr, _)| format!("the neighbour {addr} is there twice"),
        "leave one of them out",
    );
    for (index, domain) in network.dns.search.iter().enumerate() {
        if !is_domain(domain) {
            check.tell(
                &format!("{at}.dns.search[{index}]"),
                format!("`{domain}` is no domain"),
                "labels of letters, digits and hyphens between dots",
            );
        }
    }
    if let Some(hostname) = &network.hostname {
        if !is_domain(hostname) {
            check.tell(
                &format!("{at}.hostname"),
                format!("`{hostname}` is no host name"),
                "labels of letters, digits and hyphens between dots",
            );
        } else if !on(network.dhcp4) {
            let path = format!("{at}.hostname");
            let help = "it is told to DHCPv4 servers alone: add dhcp4 = true";
            let problem = check.tell(&path, "`hostname` is of no effect here", help);
            problem.depends = vec![format!("{at}.dhcp4")];
        }
    }
}

fn no_member(check: &mut Check<'_>, network_at: &str, at: &str, vlan: u16) {
    let message = format!("the port is no member of VLAN {vlan}");
    let help = format!("add [[network.vlans]] with id = {vlan} and its addresses");
    let problem = check.tell(&format!("{at}.vlan"), message, help);
    problem.depends = vec![format!("{network_at}.vlans")];
}

/// RFC 1123 section 2.1.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    text.len() <= 253 && text.split('.').all(label)
}

/// Whether an interface can have the address.
fn usable(check: &mut Check<'_>, path: &str, cidr: &Cidr) {
    let why = match cidr.addr {
        addr if addr.is_multicast() => "is a group's",
        addr if addr.is_loopback() => "is the loopback's",
        addr if addr.is_unspecified() => "stands for no address",
        IpAddr::V4(v4) if v4.is_broadcast() => "is everybody's",
        IpAddr::V4(v4) if cidr.prefix_len < 31 => {
            let hosts = u32::MAX.checked_shr(cidr.prefix_len.into()).unwrap_or(0);
            match v4.to_bits() & hosts {
                0 => "is the network's own",
                bits if bits == hosts => "is the network's broadcast address",
                _ => return,
            }
        }
        _ => return,
    };
    check.tell(
        path,
        format!("{cidr} can't be an interface's: {} {why}", cidr.addr),
        "take a host's address of that network",
    );
}

/// Whether a next hop is on the link.
fn reachable(
    check: &mut Check<'_>,
    path: &str,
    (at, network): (&str, &Network),
    via: IpAddr,
    vlan: Option<u16>,
) {
    if via.is_multicast() || via.is_unspecified() || via.is_loopback() {
        check.tell(
            path,
            format!("{via} can't be a next hop"),
            "a router's address on one of the networks",
        );
        return;
    }
    let learnt = match via {
        IpAddr::V4(_) => network.dhcp4,
        IpAddr::V6(_) if is_link_local(via) => return,
        IpAddr::V6(_) => network.slaac.or(network.dhcp6),
    };
    if learnt == Some(true) {
        return;
    }
    let own = vlan
        .is_none()
        .then_some(network.addresses.iter())
        .into_iter()
        .flatten();
    let vlans = network.vlans.iter();
    let vlans = vlans.filter(|one| vlan.is_none_or(|id| id == one.id));
    let vlans = vlans.flat_map(|vlan| vlan.addresses.iter());
    let routes = network.routes.iter().filter(|route| route.via.is_none());
    let routes = routes.filter_map(|route| match route.to {
        Destination::Network(to) => Some(to),
        Destination::Default => None,
    });
    let own: Vec<Cidr> = own.chain(vlans).copied().collect();
    if own.iter().any(|cidr| cidr.addr == via) {
        check.tell(
            path,
            format!("the next hop {via} is the port's own address"),
            "take the router's",
        );
        return;
    }
    let mut on_link = own.iter().copied().chain(routes);
    if !on_link.any(|cidr| cidr.contains(via)) {
        let family: Vec<String> = (own.iter())
            .filter(|cidr| cidr.addr.is_ipv4() == via.is_ipv4())
            .map(Cidr::to_string)
            .collect();
        let help = match family.as_slice() {
            [] => "there is no address of its family: add one on its network".to_owned(),
            all => format!(
                "it has to be on the network of an address, and those are {}",
                all.join(", ")
            ),
        };
        let message = format!("the next hop {via} is on no network of the port");
        let keys = ["addresses", "vlans", "routes", "dhcp4", "dhcp6", "slaac"];
        let problem = check.tell(path, message, help);
        problem.depends = keys.iter().map(|key| format!("{at}.{key}")).collect();
    }
}
