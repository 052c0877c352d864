//! What the kernel has on its interfaces. Over packet sockets both it and we get what comes in there, with the same MAC address:
//! what is ours and the kernel's too is answered by both, by the kernel with resets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use super::{Machine, entries, read};
use crate::check::device_name;
use crate::file::File;
use crate::problem::Problem;
use crate::sections::{InterfaceDriver, Network, Port};

/// The kernel's side of the network, in this network namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelNet {
    /// Its addresses, on whatever interface: on Linux a host answers for each of them on all.
    pub addresses: BTreeSet<IpAddr>,
    /// Networks that are on the link of an interface, as addresses and masks.
    pub on_link: BTreeMap<String, Vec<(Ipv4Addr, Ipv4Addr)>>,
    /// Interfaces on which it speaks IPv6.
    pub ipv6: BTreeSet<String>,
}

impl KernelNet {
    pub(super) fn under(root: &Path) -> Self {
        let net = root.join("proc/thread-self/net");
        let text = |name: &str| read(&net.join(name)).unwrap_or_default();
        let v4 = local_v4(&text("fib_trie")).into_iter().map(IpAddr::V4);
        let v6 = text("if_inet6");
        let v6 = v6.lines().filter_map(|line| {
            let bits = u128::from_str_radix(line.split_whitespace().next()?, 16).ok()?;
            Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))
        });
        let mut on_link: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for (interface, network, mask) in text("route").lines().filter_map(connected) {
            on_link.entry(interface).or_default().push((network, mask));
        }
        let speaks = |(_, path): &(String, std::path::PathBuf)| {
            read(&path.join("disable_ipv6")).as_deref() == Some("0")
        };
        let conf = entries(&root.join("proc/sys/net/ipv6/conf")).into_iter();
        Self {
            addresses: v4.chain(v6).collect(),
            on_link,
            ipv6: conf.filter(speaks).map(|(name, _)| name).collect(),
        }
    }

    /// Its IPv4 addresses that are in a network of the interface.
    fn v4_on(&self, interface: &str) -> Vec<Ipv4Addr> {
        let networks = self.on_link.get(interface).into_iter().flatten();
        let networks: Vec<_> = networks.collect();
        let own = self.addresses.iter().filter_map(|addr| match addr {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        });
        own.filter(|addr| {
            let mut networks = networks.iter();
            networks.any(|(network, mask)| addr & mask == *network)
        })
        .collect()
    }
}

/// The addresses of the local table.
fn local_v4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut addresses = BTreeSet::new();
    let mut leaf = None;
    for line in trie.lines() {
        let line = line.trim_start();
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line == "/32 host LOCAL" {
            addresses.extend(leaf);
        }
    }
    addresses
}

/// The interface, network and mask of a route without a next hop.
fn connected(line: &str) -> Option<(String, Ipv4Addr, Ipv4Addr)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    // In the order in which the bytes lie in memory.
    let address = |at: usize| {
        let bits = u32::from_str_radix(fields.get(at)?, 16).ok()?;
        Some(Ipv4Addr::from(bits.to_ne_bytes()))
    };
    let (interface, network, next, mask) = (fields.first()?, address(1)?, address(2)?, address(7)?);
    let is_connected = next.is_unspecified() && !mask.is_unspecified();
    is_connected.then(|| ((*interface).to_owned(), network, mask))
}

/// The interface whose packets a port shares with the kernel.
fn shared_interface(port: &Port) -> Option<&str> {
    if let Some(interface) = &port.interface {
        return (port.driver != Some(InterfaceDriver::Pci)).then_some(interface);
    }
    let vdev = port.vdev.as_deref()?;
    let name = device_name(vdev);
    let mut arguments = vdev.split(',');
    let interface = arguments.find_map(|argument| argument.strip_prefix("iface="))?;
    let is_shared = name.starts_with("net_af_packet") || name.starts_with("net_af_xdp");
    is_shared.then_some(interface)
}

impl Machine {
    /// What works here perhaps, and not as the file has it in mind.
    pub fn warnings(&self, file: &File) -> Vec<Problem> {
        let mut warnings = Vec::new();
        for (at, port, network) in file.config().networks() {
            if let Some(interface) = shared_interface(port) {
                warnings.extend(self.shared_v4(file, &at, interface, network));
                warnings.extend(self.shared_v6(file, &at, interface, network));
            }
        }
        warnings
    }

    fn shared_v4(&self, file: &File, at: &str, interface: &str, network: &Network) -> Vec<Problem> {
        let mut warnings = Vec::new();
        for (index, cidr) in network.addresses.iter().enumerate() {
            if cidr.addr.is_ipv4() && self.kernel.addresses.contains(&cidr.addr) {
                let addr = cidr.addr;
                warnings.push(file.warn(
                    &format!("{at}.addresses[{index}]"),
                    format!(
                        "the kernel has {addr} too: it answers for it on {interface}, with resets"
                    ),
                    format!("take it from the kernel, as root: ip address flush to {addr}"),
                ));
            }
        }
        if network.dhcp4 == Some(true)
            && let [addr, ..] = self.kernel.v4_on(interface)[..]
        {
            warnings.push(file.warn(
                &format!("{at}.dhcp4"),
                format!(
                    "the kernel has {addr} on {interface}: with the same MAC address it is given the same lease, and answers \
                     for it with resets"
                ),
                format!("end the DHCP client there, and as root: ip -4 address flush dev {interface}"),
            ));
        }
        warnings
    }

    fn shared_v6(
        &self,
        file: &File,
        at: &str,
        interface: &str,
        network: &Network,
    ) -> Option<Problem> {
        if !self.kernel.ipv6.contains(interface) {
            return None;
        }
        let own = network.addresses.iter().position(|it| it.addr.is_ipv6());
        let setting = match own {
            Some(index) => format!("addresses[{index}]"),
            None if network.slaac == Some(true) => "slaac".to_owned(),
            None if network.dhcp6 == Some(true) => "dhcp6".to_owned(),
            None => return None,
        };
        Some(file.warn(
            &format!("{at}.{setting}"),
            format!(
                "the kernel speaks IPv6 on {interface} too: it makes the same addresses of the same MAC address, and answers for \
                 them with resets"
            ),
            format!(
                "have the kernel leave it alone, as root: sysctl -w net.ipv6.conf.{interface}.disable_ipv6=1"
            ),
        ))
    }
}
