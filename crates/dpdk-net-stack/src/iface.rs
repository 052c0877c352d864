//! One interface: the port itself or a VLAN on it, with its addresses and which of them may be used.
//!
//! What concerns all interfaces, and where a destination lies, is in [`interfaces`](crate::interfaces). Which groups are
//! joined is in [`multicast`](crate::multicast), duplicate address detection's timing in [`dad`](crate::dad), and who has
//! which MAC address in [`neighbor`](crate::neighbor).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use dpdk_net_packet::MacAddr;

use crate::config::{Config, IfAddr, Vlan};
use crate::dad::{self, Probing};
use crate::emit::Ends;
use crate::error::Error;
use crate::lifetime::{Lifetime, Lifetimes};
use crate::multicast::Multicast;
use crate::random::Random;
use crate::slaac::Autoconf;
use crate::source::{self, Candidate};
use crate::time::Instant;

/// Addresses that an interface may have, where they are added while it runs.
pub(crate) const MAX_ADDRESSES: usize = 256;

/// Whether an address may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressState {
    /// Being probed: nothing is sent from it and nothing received for it, except what the probing needs.
    Tentative,
    /// In use.
    Preferred,
    /// Still in use, but not chosen for what is new where there is a preferred one (RFC 4862 section 5.5.4).
    Deprecated,
    /// Somebody else has it; it is out of use until it is added anew.
    Duplicate,
}

impl AddressState {
    /// Whether packets may be sent from the address and received for it.
    #[inline]
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Preferred | Self::Deprecated)
    }
}

/// Where an address or a route is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// Configured, or added by the program.
    Configured,
    /// From a DHCP server's lease.
    Leased,
    /// It follows from an address: the route to its prefix.
    OnLink,
    /// Made from what a router advertises (RFC 4861, RFC 4862).
    Advertised,
}

/// One address of an interface, as told by `Stack::interface_addresses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddressInfo {
    /// The address.
    pub address: IfAddr,
    /// The VLAN of its interface, 0 for the port itself.
    pub vlan: u16,
    /// Whether it may be used.
    pub state: AddressState,
    /// Where it is from.
    pub origin: Origin,
    /// For how much longer it may be used.
    pub lifetimes: Lifetimes,
}

/// One of the interface's addresses.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) addr: IfAddr,
    pub(crate) state: AddressState,
    pub(crate) probing: Probing,
    pub(crate) origin: Origin,
    pub(crate) lifetime: Lifetime,
    /// Identifiers that were tried before this one and are somebody else's.
    pub(crate) tries: u8,
}

impl Address {
    /// The address is not, or no longer, to be probed: it is in use.
    pub(crate) fn take_into_use(&mut self, now: Instant) {
        self.state = if self.lifetime.is_preferred(now) {
            AddressState::Preferred
        } else {
            AddressState::Deprecated
        };
    }

    /// When its state changes for reasons of time.
    fn deadline(&self) -> Instant {
        match self.state {
            AddressState::Preferred => self.lifetime.preferred_until,
            _ => self.lifetime.valid_until,
        }
    }
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
    /// What packets of each family may have: less where a server or a router says so.
    pub(crate) mtu_v4: usize,
    pub(crate) mtu_v6: usize,
    pub(crate) addresses: Vec<Address>,
    /// The broadcast addresses of its subnets. Kept by [`refresh`](Self::refresh).
    broadcasts: Vec<u32>,
    /// Whether addresses are probed before they are used.
    dad: bool,
    /// When duplicate address detection has something to do.
    pub(crate) dad_deadline: Option<Instant>,
    /// When the first lifetime of an address ends.
    lifetime_deadline: Option<Instant>,
    pub(crate) groups: Multicast,
    /// What its routers advertise, if it listens to them.
    pub(crate) autoconf: Option<Box<Autoconf>>,
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
        let groups = Multicast::new(&seed, config.group_reports);
        let listens = vlan.map_or(config.slaac, |vlan| vlan.slaac);
        let autoconf = listens.then(|| Box::new(Autoconf::new(config, id, &seed, now)));
        let mtu = vlan.and_then(|vlan| vlan.mtu).unwrap_or(config.mtu).into();
        let mut interface = Self {
            vlan: id,
            tci: vlan.map_or(0, Vlan::tci),
            mac: config.mac,
            mtu,
            mtu_v4: mtu,
            mtu_v6: mtu,
            addresses: Vec::new(),
            broadcasts: Vec::new(),
            dad: config.dad,
            dad_deadline: None,
            lifetime_deadline: None,
            groups,
            autoconf,
            random,
        };
        for addr in addresses {
            // One whose solicited-node group finds no room is not asked for by others, and works otherwise.
            interface.join_solicited_node(now, addr.addr);
            let (origin, lifetime) = (Origin::Configured, Lifetime::FOREVER);
            interface.enter(now, first_probe, (addr, origin, lifetime));
        }
        interface.refresh();
        interface
    }

    /// Joins the group in which an IPv6 address is asked for; RFC 4862 section 5.4.2: before it is probed.
    fn join_solicited_node(&mut self, now: Instant, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V6(v6) => self.groups.join(now, solicited_node(v6).into()).is_ok(),
            IpAddr::V4(_) => true,
        }
    }

    /// Puts an address that is not there yet among the others.
    fn enter(
        &mut self,
        now: Instant,
        first_probe: Instant,
        (addr, origin, lifetime): (IfAddr, Origin, Lifetime),
    ) {
        let mut address = Address {
            addr,
            state: AddressState::Tentative,
            probing: Probing::done(),
            origin,
            lifetime,
            tries: 0,
        };
        if self.dad {
            address.probing = Probing::start(first_probe, addr.addr);
        } else {
            address.take_into_use(now);
        }
        self.addresses.push(address);
    }

    /// Adds an address, which is probed first. One that is there gets these lifetimes; if it was found to be somebody
    /// else's it is probed anew. A lease of one that was configured changes nothing of that.
    ///
    /// Errors: `NoBufferSpace` if there is no room for it.
    pub(crate) fn add_address(
        &mut self,
        now: Instant,
        addr: IfAddr,
        origin: Origin,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        let dad = self.dad;
        if let Some(known) = self.address_mut(addr.addr) {
            if (known.origin, origin) != (Origin::Configured, Origin::Leased) {
                (known.addr, known.origin, known.lifetime) = (addr, origin, lifetime);
            }
            match known.state {
                AddressState::Duplicate if dad => {
                    let first = dad::first_probe(now, &mut self.random);
                    if let Some(known) = self.address_mut(addr.addr) {
                        known.state = AddressState::Tentative;
                        known.probing = Probing::start(first, addr.addr);
                    }
                }
                AddressState::Tentative => {}
                _ => known.take_into_use(now),
            }
        } else {
            if self.addresses.len() >= MAX_ADDRESSES || !self.join_solicited_node(now, addr.addr) {
                return Err(Error::NoBufferSpace);
            }
            let first_probe = dad::first_probe(now, &mut self.random);
            self.enter(now, first_probe, (addr, origin, lifetime));
        }
        self.refresh();
        Ok(())
    }

    /// Removes an address. Whether there was one.
    pub(crate) fn remove_address(&mut self, now: Instant, addr: IpAddr) -> bool {
        let Some(at) = self.addresses.iter().position(|a| a.addr.addr == addr) else {
            return false;
        };
        self.addresses.remove(at);
        if let IpAddr::V6(v6) = addr {
            self.groups.leave(now, solicited_node(v6).into());
        }
        self.refresh();
        true
    }

    /// Deprecates and removes addresses whose time has come. Whether there were any.
    pub(crate) fn end_lifetimes(&mut self, now: Instant) -> bool {
        if self.lifetime_deadline.is_none_or(|at| at > now) {
            return false;
        }
        let over = self
            .addresses
            .iter()
            .filter(|a| a.lifetime.valid_until <= now);
        let over: Vec<IpAddr> = over.map(|a| a.addr.addr).collect();
        for addr in over {
            self.remove_address(now, addr);
        }
        for address in &mut self.addresses {
            if address.state == AddressState::Preferred {
                address.take_into_use(now);
            }
        }
        self.refresh();
        true
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
        let ends = addresses.iter().map(Address::deadline);
        self.lifetime_deadline = ends.filter(|at| *at != Instant::MAX).min();
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

    /// The largest IP packet to `dst` that goes onto the link, in bytes.
    #[inline]
    pub(crate) fn mtu_for(&self, dst: IpAddr) -> usize {
        if dst.is_ipv6() {
            self.mtu_v6
        } else {
            self.mtu_v4
        }
    }

    /// A link-local address that may be used.
    pub(crate) fn usable_link_local(&self) -> Option<Ipv6Addr> {
        let usable = self.addresses.iter().filter(|a| a.state.is_usable());
        let mut v6 = usable.filter_map(|a| match a.addr.addr {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        v6.find(|v6| v6.is_unicast_link_local())
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
        self.state_of(addr).is_some_and(AddressState::is_usable)
    }

    /// Whether a socket may have the address `addr` of this interface as its own: also while it is still being probed, so
    /// that what binds at the start need not wait. Nothing is sent from it before.
    pub(crate) fn may_bind(&self, addr: IpAddr) -> bool {
        self.state_of(addr)
            .is_some_and(|state| state != AddressState::Duplicate)
    }

    /// All that is to be told of our addresses.
    pub(crate) fn address_infos(&self, now: Instant) -> impl Iterator<Item = AddressInfo> + '_ {
        self.addresses.iter().map(move |address| AddressInfo {
            address: address.addr,
            vlan: self.vlan,
            state: address.state,
            origin: address.origin,
            lifetimes: address.lifetime.left(now),
        })
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
        let of_addresses = self.dad_deadline.into_iter().chain(self.lifetime_deadline);
        let of_routers = self.autoconf.as_ref().and_then(|it| it.next_timeout());
        let all = of_addresses.chain(self.groups.next_timeout());
        all.chain(of_routers).min()
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
