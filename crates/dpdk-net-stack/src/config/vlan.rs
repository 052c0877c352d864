//! A VLAN of the port: an interface of its own, with its own addresses.

use alloc::vec::Vec;

use super::{ConfigError, IfAddr, MIN_MTU};

/// VLANs that one port may have.
pub const MAX_VLANS: usize = 256;

/// The interface of one VLAN (IEEE 802.1Q) on the port, as Linux' `eth0.100` is one on `eth0`: what it sends is tagged,
/// what comes tagged with its id is received by it. It has the port's MAC address, and an IPv6 link-local address made
/// from that unless one is given.
///
/// All interfaces share one set of sockets: one that is bound to the unspecified address serves all of them. Link-local
/// addresses and groups are of one interface, which is told by the scope id of a
/// [`SocketAddrV6`](core::net::SocketAddrV6): the VLAN's id, or 0 for the port itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vlan {
    /// The VLAN identifier, 1 to 4094.
    pub id: u16,
    /// The priority (PCP) in the tag of all that it sends, 0 to 7. Default 0.
    pub priority: u8,
    /// Its addresses.
    pub addresses: Vec<IfAddr>,
    /// The IP MTU in bytes, 1280 to the port's. Default the port's.
    pub mtu: Option<u16>,
    /// Whether it listens to routers and makes addresses of what they advertise (SLAAC: RFC 4862). Default off.
    pub slaac: bool,
}

impl Vlan {
    /// The VLAN with this id, without addresses, with priority 0 and the port's MTU.
    pub fn new(id: u16) -> Self {
        Vlan {
            id,
            priority: 0,
            addresses: Vec::new(),
            mtu: None,
            slaac: false,
        }
    }

    /// Adds an address.
    #[must_use]
    pub fn with_address(mut self, address: IfAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn with_priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the IP MTU.
    #[must_use]
    pub fn with_mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// Has it listen to routers.
    #[must_use]
    pub fn with_slaac(mut self) -> Self {
        self.slaac = true;
        self
    }

    /// The tag control information of what it sends: priority, and the id.
    pub(crate) fn tci(&self) -> u16 {
        u16::from(self.priority) << 13 | self.id
    }
}

/// Checks all but the addresses, on a port with this MTU.
pub(super) fn validate(vlans: &[Vlan], port_mtu: u16) -> Result<(), ConfigError> {
    if vlans.len() > MAX_VLANS {
        return Err(ConfigError::TooManyVlans {
            given: vlans.len(),
            most: MAX_VLANS,
        });
    }
    for (i, vlan) in vlans.iter().enumerate() {
        let id = vlan.id;
        if !(1..=4094).contains(&id) {
            return Err(ConfigError::BadVlanId(id));
        }
        if vlans[..i].iter().any(|other| other.id == id) {
            return Err(ConfigError::DuplicateVlan(id));
        }
        if vlan.priority > 7 {
            return Err(ConfigError::BadVlanPriority {
                vlan: id,
                priority: vlan.priority,
            });
        }
        if let Some(mtu) = vlan.mtu
            && !(MIN_MTU..=port_mtu).contains(&mtu)
        {
            return Err(ConfigError::BadVlanMtu {
                vlan: id,
                mtu,
                most: port_mtu,
            });
        }
    }
    Ok(())
}
