//! One interface: the port itself or a VLAN on it, with its addresses and which of them may be used.
//!
//! What concerns all interfaces, and where a destination lies, is in [`interfaces`](crate::interfaces). Which groups are
//! joined is in [`multicast`](crate::multicast), duplicate address detection's timing in [`dad`](crate::dad), and who has
//! which MAC address in [`neighbor`](crate::neighbor).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use dpdk_net_packet::MacAddr;

use crate::config::{Config, IfAddr, Vlan};
use crate::dad::{self, Probing};
use crate::emit::Ends;
use crate::multicast::Multicast;
use crate::random::Random;
use crate::source::{self, Candidate};
use crate::time::Instant;

/// Whether an address may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Being probed: nothing is sent from it and nothing received for it, except what the probing needs.
    Tentative,
    /// In use.
    Preferred,
    /// Somebody else has it; it is out of use until the stack is built anew.
    Duplicate,
}

/// One of the interface's addresses.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) addr: IfAddr,
    pub(crate) state: AddressState,
    pub(crate) probing: Probing,
}

/// One interface.
#[derive(Debug)]
pub(crate) struct Interface {
    /// The VLAN's id, 0 for the port itself.
    pub(crate) vlan: u16,
    /// The tag control information of what it sends, 0 for the port itself: it sends without a tag.
    pub(crate) tci: u16,
    pub(crate) mac: MacAddr,
    pub(crate) mtu: usize,
    pub(crate) addresses: Vec<Address>,
    /// The broadcast addresses of its subnets. Kept by [`refresh`](Self::refresh).
    broadcasts: Vec<u32>,
    /// When duplicate address detection has something to do.
    pub(crate) dad_deadline: Option<Instant>,
    pub(crate) groups: Multicast,
    pub(crate) random: Random,
}

impl Interface {
    /// The port itself. Its configuration has been validated.
    pub(crate) fn port(config: &Config, now: Instant) -> Self {
        Self::new(config, None, &config.addresses, now)
    }

    /// One of the VLANs of `config`, which has been validated.
    pub(crate) fn vlan(config: &Config, vlan: &Vlan, now: Instant) -> Self {
        Self::new(config, Some(vlan), &vlan.addresses, now)
    }

    /// Takes the addresses, and adds a link-local one if there is none.
    fn new(config: &Config, vlan: Option<&Vlan>, addresses: &[IfAddr], now: Instant) -> Self {
        let mut addresses = addresses.to_vec();
        let has_link_local = addresses
            .iter()
            .any(|a| matches!(a.addr, IpAddr::V6(v6) if v6.is_unicast_link_local()));
        if !has_link_local {
            addresses.push(IfAddr {
                addr: link_local(config.mac).into(),
                prefix_len: 64,
            });
        }
        let id = vlan.map_or(0, |vlan| vlan.id);
        // Interfaces are not to do everything at the same moments.
        let mut seed = config.seed;
        seed[30] ^= (id >> 8) as u8;
        seed[31] ^= id as u8;
        let mut random = Random::new(&seed, "interface");
        let first_probe = dad::first_probe(now, &mut random);
        let mut groups = Multicast::new(&seed, config.group_reports);
        let addresses: Vec<Address> = addresses
            .into_iter()
            .map(|addr| {
                if let IpAddr::V6(v6) = addr.addr {
                    // RFC 4862 section 5.4.2: joined before the address is probed.
                    let _ = groups.join(now, solicited_node(v6).into());
                }
                if config.dad {
                    Address {
                        addr,
                        state: AddressState::Tentative,
                        probing: Probing::start(first_probe, addr.addr),
                    }
                } else {
                    Address {
                        addr,
                        state: AddressState::Preferred,
                        probing: Probing::done(),
                    }
                }
            })
            .collect();
        let mut interface = Self {
            vlan: id,
            tci: vlan.map_or(0, Vlan::tci),
            mac: config.mac,
            mtu: usize::from(vlan.and_then(|vlan| vlan.mtu).unwrap_or(config.mtu)),
            addresses,
            broadcasts: Vec::new(),
            dad_deadline: None,
            groups,
            random,
        };
        interface.refresh();
        interface
    }

    /// To be called when the state of an address, or its next step of probing, has changed.
    pub(crate) fn refresh(&mut self) {
        let addresses = &self.addresses;
        self.broadcasts.clear();
        self.broadcasts
            .extend(addresses.iter().filter_map(|a| match a.addr.addr {
                // RFC 3021: a /31 has no broadcast address.
                IpAddr::V4(own) if a.addr.prefix_len < 31 => {
                    Some(own.to_bits() | u32::MAX >> a.addr.prefix_len)
                }
                _ => None,
            }));
        self.dad_deadline = addresses.iter().filter_map(|a| a.probing.next).min();
    }

    /// Link-layer addresses and tag of a frame that it sends to `dst`.
    #[inline]
    pub(crate) fn ends(&self, dst: MacAddr) -> Ends {
        Ends {
            src: self.mac,
            dst,
            tci: self.tci,
        }
    }

    /// Our address `addr`, whatever its state.
    pub(crate) fn address_mut(&mut self, addr: IpAddr) -> Option<&mut Address> {
        self.addresses.iter_mut().find(|a| a.addr.addr == addr)
    }

    /// The state of our address `addr`.
    pub(crate) fn state_of(&self, addr: IpAddr) -> Option<AddressState> {
        self.addresses
            .iter()
            .find(|a| a.addr.addr == addr)
            .map(|a| a.state)
    }

    /// Whether `addr` is an address of this interface that may be used.
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.state_of(addr) == Some(AddressState::Preferred)
    }

    /// Whether a socket may have the address `addr` of this interface as its own: also while it is still being probed, so
    /// that what binds at the start need not wait. Nothing is sent from it before.
    pub(crate) fn may_bind(&self, addr: IpAddr) -> bool {
        matches!(
            self.state_of(addr),
            Some(AddressState::Preferred | AddressState::Tentative)
        )
    }

    /// Our addresses and whether they may be used.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (IfAddr, AddressState)> + '_ {
        self.addresses.iter().map(|a| (a.addr, a.state))
    }

    /// The broadcast addresses of its subnets.
    pub(crate) fn broadcasts(&self) -> &[u32] {
        &self.broadcasts
    }

    /// Whether `addr` is the limited broadcast address or that of one of its subnets.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(v4) => v4.is_broadcast() || self.broadcasts.contains(&v4.to_bits()),
            IpAddr::V6(_) => false,
        }
    }

    /// Which of its own addresses a packet to `dst`, on the link, is sent from.
    pub(crate) fn own_source(&self, dst: IpAddr) -> Option<IpAddr> {
        let own = self.addresses.iter().filter_map(Candidate::own);
        source::choose(dst, dst, own)
    }

    /// When something is to be done.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [self.dad_deadline, self.groups.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The link-local address made of a MAC address (RFC 4291 appendix A).
pub(crate) fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    Ipv6Addr::from([
        0xfe,
        0x80,
        0,
        0,
        0,
        0,
        0,
        0,
        a ^ 2,
        b,
        c,
        0xff,
        0xfe,
        d,
        e,
        f,
    ])
}

/// The solicited-node group of an address (RFC 4291 section 2.7.1).
pub(crate) fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    let o = addr.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(o[13]),
        u16::from_be_bytes([o[14], o[15]]),
    )
}
