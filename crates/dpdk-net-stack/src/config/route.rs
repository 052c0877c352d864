//! A route.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{ConfigError, IfAddr, is_interface_address};

/// A route: the longest prefix that contains a destination wins. Among equal ones that of the interface which has the
/// packet's source address does, then the one configured first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The destination network.
    pub dest: IpAddr,
    /// Length of its prefix, in bits; 0 is the default route.
    pub prefix_len: u8,
    /// The next hop, or `None` where the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The VLAN whose interface it leaves by, [`Vlan::id`](crate::Vlan::id). `None` is the interface on whose prefix the gateway lies, or
    /// else the port itself.
    pub vlan: Option<u16>,
}

impl Route {
    /// The default route of the gateway's family.
    pub fn default_via(gateway: IpAddr) -> Self {
        let dest = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Route {
            dest,
            prefix_len: 0,
            gateway: Some(gateway),
            vlan: None,
        }
    }

    /// The same route by way of the VLAN with this id: needed where the gateway is a link-local address.
    #[must_use]
    pub fn on_vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Whether there can be such a route; `has_vlan` tells the VLANs that there are.
    pub(crate) fn validate(&self, has_vlan: impl Fn(u16) -> bool) -> Result<(), ConfigError> {
        let Self { dest, gateway, .. } = *self;
        IfAddr::new(dest, self.prefix_len)?;
        if let Some(vlan) = self.vlan.filter(|vlan| !has_vlan(*vlan)) {
            return Err(ConfigError::UnknownVlan { dest, vlan });
        }
        if let Some(gateway) = gateway
            && (gateway.is_ipv4() != dest.is_ipv4() || !is_interface_address(gateway))
        {
            return Err(ConfigError::BadGateway { dest, gateway });
        }
        Ok(())
    }
}
