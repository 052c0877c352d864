//! A neighbour that is not asked for.

use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use super::{ConfigError, is_interface_address};

/// A neighbour whose MAC address is known without asking. Neither ARP nor neighbour discovery changes that, and it
/// never expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Neighbor {
    /// The VLAN that it is in, 0 for the untagged network.
    pub vlan: u16,
    /// Its IP address.
    pub addr: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
}

impl Neighbor {
    /// A neighbour in the untagged network.
    pub const fn new(addr: IpAddr, mac: MacAddr) -> Self {
        Self { vlan: 0, addr, mac }
    }

    /// Whether there can be such a neighbour; `has_vlan` tells the VLANs that there are.
    pub(crate) fn validate(&self, has_vlan: impl Fn(u16) -> bool) -> Result<(), ConfigError> {
        let Self { vlan, addr, mac } = *self;
        if !is_interface_address(addr) {
            return Err(ConfigError::NotUnicast(addr));
        }
        if !mac.is_unicast() || mac == MacAddr::ZERO {
            return Err(ConfigError::BadMac(mac));
        }
        if !has_vlan(vlan) {
            return Err(ConfigError::UnknownVlan { dest: addr, vlan });
        }
        Ok(())
    }
}
