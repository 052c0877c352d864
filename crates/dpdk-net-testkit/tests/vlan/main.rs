//! One port in several VLANs: what each interface does for itself, and what all have in common. Between simulated hosts in
//! `networks` and `scopes`, frame by frame in `frames` and `same`.

mod frames;
mod networks;
mod same;
mod scopes;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_stack::{Config, IfAddr, Vlan};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::hosts::StackHost;

/// The untagged network and two VLANs.
const NETWORKS: [u16; 3] = [0, 100, 200];
/// The MTU of VLAN 200; that of the others is 1500.
const SMALL_MTU: u16 = 1400;

/// The address of host `n` in the untagged network, or in a VLAN.
fn address(family: Family, vlan: u16, n: u16) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(198, 19, vlan as u8, n as u8).into(),
        Family::V6 => Ipv6Addr::new(0xfd00, 0xdb0d, 0, vlan, 0, 0, 0, n).into(),
    }
}

fn both(vlan: u16, n: u16) -> impl Iterator<Item = IfAddr> {
    Family::BOTH.into_iter().map(move |family| {
        let prefix_len = if family == Family::V4 { 24 } else { 64 };
        IfAddr::new(address(family, vlan, n), prefix_len).expect("the prefix fits")
    })
}

/// Host `n` with an address of each family in each of the networks.
fn trunk(n: u16, seed: u64) -> Config {
    let mut config = StackHost::config(n, seed);
    config.addresses = both(0, n).collect();
    for vlan in &NETWORKS[1..] {
        let interface = both(*vlan, n).fold(Vlan::new(*vlan), Vlan::with_address);
        config.vlans.push(interface);
    }
    config.vlans[1].mtu = Some(SMALL_MTU);
    config
}
