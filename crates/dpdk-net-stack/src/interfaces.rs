//! All interfaces of a stack: the port itself and the VLANs on it. What an address is to them, and which way a packet
//! goes.
//!
//! For packets this is a weak end system (RFC 1122 section 3.3.4.2), as Linux is one: what is for an address of ours is
//! taken whichever interface it comes in by, and leaves by the interface that the routes say. Only among routes with equal
//! prefixes does the source address decide, so that networks with the same addresses stay apart. Link-local addresses,
//! groups and broadcasts are of one interface, and ARP and neighbour discovery answer for the addresses of theirs alone.
//!
//! Which routes there are is in [`routes`](crate::routes).

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;

use crate::addr;
use crate::config::{Config, IfAddr};
use crate::iface::{AddressState, Interface};
use crate::routes::{Routed, Routes};
use crate::source::{self, Candidate};
use crate::time::Instant;

/// Which interface: the port itself, or one of its VLANs by its place among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct IfIndex(u16);

impl IfIndex {
    /// The port itself.
    pub(crate) const PORT: IfIndex = IfIndex(0);
}

/// What a destination address of a received packet is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    /// An address of ours that may be used.
    Ours,
    /// A broadcast address of a subnet of the interface, or the limited one.
    Broadcast,
    /// A group that was joined on the interface.
    Group,
    /// Not for us.
    Foreign,
}

/// From where and to where a packet goes, as far as that decides which way it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    /// Unspecified where the sender has not chosen one.
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The interface of a link-local address or a group by its VLAN's id, 0 being the port itself. It says nothing of other
    /// addresses.
    pub(crate) scope: u16,
}

impl Way {
    /// To `dst`, from wherever that is best.
    pub(crate) fn to(dst: IpAddr, scope: u16) -> Self {
        let src = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Way { src, dst, scope }
    }
}

/// A neighbour: an IP address on the link of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Hop {
    pub(crate) at: IfIndex,
    pub(crate) addr: IpAddr,
}

/// Where a packet goes next, and by which interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// To ourselves, to an address of this interface.
    Local(IfIndex),
    /// To this MAC address, which needs no resolution: a group or broadcast.
    Link(IfIndex, MacAddr),
    /// To this neighbour.
    Neighbor(Hop),
    /// Nowhere.
    NoRoute,
}

impl NextHop {
    /// The interface; the port itself for what goes nowhere.
    #[inline]
    pub(crate) fn at(&self) -> IfIndex {
        match *self {
            NextHop::Local(at) | NextHop::Link(at, _) => at,
            NextHop::Neighbor(hop) => hop.at,
            NextHop::NoRoute => IfIndex::PORT,
        }
    }
}

/// From so many on, addresses are sorted and searched by halves.
const MANY: usize = 8;

/// The interfaces.
#[derive(Debug)]
pub(crate) struct Interfaces {
    port: Interface,
    vlans: Vec<Interface>,
    /// The place of a VLAN's interface by its id; nothing if there are none.
    by_id: Vec<Option<IfIndex>>,
    /// The addresses that may be used, as bits: those of the port itself, and of VLANs those that are not link-local. What
    /// each received packet is compared with. Kept by [`refresh`](Self::refresh), as all that follows.
    usable: Vec<u128>,
    /// A bit for the last six bits of each of them.
    may_be_usable: u64,
    /// The addresses that sockets may have, link-local ones left out, sorted, and whose they are.
    bindable: Vec<(u128, IfIndex)>,
    /// The broadcast addresses of all subnets.
    broadcasts: Vec<u32>,
    /// Counts the changes of what may be used.
    version: u64,
    pub(crate) routes: Routes,
    /// An interface has another MTU, of which TCP does not know yet.
    pub(crate) mtus_changed: bool,
    next_timeout: Option<Instant>,
}

impl Interfaces {
    /// Those of `config`, which has been validated.
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let port = Interface::port(config, now);
        let vlans = config.vlans.iter();
        let vlans: Vec<_> = vlans.map(|v| Interface::vlan(config, v, now)).collect();
        let mut by_id = Vec::new();
        if !vlans.is_empty() {
            by_id = vec![None; 1 << 12];
        }
        for (at, vlan) in vlans.iter().enumerate() {
            if let Some(place) = by_id.get_mut(usize::from(vlan.vlan)) {
                *place = Some(IfIndex(at as u16 + 1));
            }
        }
        let mut interfaces = Self {
            port,
            vlans,
            by_id,
            usable: Vec::new(),
            may_be_usable: 0,
            bindable: Vec::new(),
            broadcasts: Vec::new(),
            version: 0,
            routes: Routes::new(&config.routes),
            mtus_changed: false,
            next_timeout: None,
        };
        interfaces.refresh();
        interfaces
    }

    /// The interface of a VLAN, or of the port itself for 0.
    #[inline]
    pub(crate) fn by_vlan(&self, id: u16) -> Option<IfIndex> {
        if id == 0 {
            return Some(IfIndex::PORT);
        }
        self.by_id.get(usize::from(id)).copied().flatten()
    }

    /// An interface. There is none that has no index, so the port stands for it.
    #[inline]
    pub(crate) fn get(&self, IfIndex(at): IfIndex) -> &Interface {
        let vlan = usize::from(at).wrapping_sub(1);
        self.vlans.get(vlan).unwrap_or(&self.port)
    }

    /// Changes an interface: its addresses' states, or its groups.
    pub(crate) fn change<R>(&mut self, at: IfIndex, change: impl FnOnce(&mut Interface) -> R) -> R {
        let vlan = usize::from(at.0).wrapping_sub(1);
        let interface = self.vlans.get_mut(vlan).unwrap_or(&mut self.port);
        let result = change(interface);
        self.schedule();
        result
    }

    /// All of them, the port itself first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (IfIndex, &Interface)> {
        let all = core::iter::once(&self.port).chain(&self.vlans);
        all.enumerate().map(|(at, it)| (IfIndex(at as u16), it))
    }

    /// Whether there are any but the port itself.
    #[inline]
    pub(crate) fn has_vlans(&self) -> bool {
        !self.vlans.is_empty()
    }

    /// The MAC address that all have.
    #[inline]
    pub(crate) fn mac(&self) -> MacAddr {
        self.port.mac
    }

    /// Changes whenever the addresses that may be used do.
    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// When an interface has something to do.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_timeout
    }

    fn schedule(&mut self) {
        let timeouts = self
            .iter()
            .filter_map(|(_, interface)| interface.next_timeout());
        self.next_timeout = timeouts.chain(self.routes.next_timeout()).min();
    }

    /// Ends what has a lifetime that is over. Whether anything has.
    pub(crate) fn end_lifetimes(&mut self, now: Instant) -> bool {
        let mut ended = self.routes.end_lifetimes(now);
        let all = core::iter::once(&mut self.port).chain(&mut self.vlans);
        for interface in all {
            ended |= interface.end_lifetimes(now);
        }
        if ended {
            self.refresh();
        }
        ended
    }

    /// To be called when addresses or routes have changed.
    pub(crate) fn refresh(&mut self) {
        let (mut usable, mut bindable) = (Vec::new(), Vec::new());
        let mut broadcasts = Vec::new();
        for (at, interface) in self.iter() {
            for (IfAddr { addr, .. }, state) in interface.addresses() {
                let bits = addr::to_bits(addr);
                let is_link_local = addr::is_link_local(addr);
                if state.is_usable() && (!is_link_local || at == IfIndex::PORT) {
                    usable.push(bits);
                }
                if state != AddressState::Duplicate && !is_link_local {
                    bindable.push((bits, at));
                }
            }
            broadcasts.extend_from_slice(interface.broadcasts());
        }
        if usable.len() > MANY {
            usable.sort_unstable();
        }
        bindable.sort_unstable();
        let bit = |addr: &u128| 1 << (*addr as u32 % 64);
        self.may_be_usable = usable.iter().map(bit).fold(0, |all, bit| all | bit);
        self.version += 1;
        (self.usable, self.bindable, self.broadcasts) = (usable, bindable, broadcasts);
        self.refresh_routes();
        self.schedule();
    }

    /// Whether `addr` is an address of ours that may be used: of any interface, but of `at` if it is link-local.
    #[inline]
    pub(crate) fn is_ours(&self, at: IfIndex, addr: IpAddr) -> bool {
        if at != IfIndex::PORT && addr::is_link_local(addr) {
            return self.get(at).has(addr);
        }
        self.is_usable(addr::to_bits(addr))
    }

    /// As [`is_ours`](Self::is_ours), for an address as [`addr`] has it. `scope` is the VLAN of a link-local one.
    #[inline]
    pub(crate) fn is_ours_bits(&self, scope: u16, addr: u128) -> bool {
        if scope != 0 && addr::is_link_local_bits(addr) {
            return self.is_ours_in(scope, addr);
        }
        self.is_usable(addr)
    }

    #[cold]
    fn is_ours_in(&self, scope: u16, addr: u128) -> bool {
        let at = self.by_vlan(scope);
        at.is_some_and(|at| self.get(at).has(addr::from_bits(addr)))
    }

    #[inline]
    fn is_usable(&self, addr: u128) -> bool {
        self.may_be_usable >> (addr as u32 % 64) & 1 != 0
            && if self.usable.len() > MANY {
                self.usable.binary_search(&addr).is_ok()
            } else {
                self.usable.contains(&addr)
            }
    }

    /// The interface that `addr` is an address of, if a socket may have it: see [`Interface::may_bind`]. `scope` is the VLAN of
    /// a link-local one.
    #[inline]
    pub(crate) fn owner(&self, addr: IpAddr, scope: u16) -> Option<IfIndex> {
        if addr::is_link_local(addr) {
            let at = self.by_vlan(scope)?;
            return self.get(at).may_bind(addr).then_some(at);
        }
        let bits = addr::to_bits(addr);
        let place = self.bindable.binary_search_by_key(&bits, |(addr, _)| *addr);
        place
            .ok()
            .and_then(|at| self.bindable.get(at))
            .map(|(_, at)| *at)
    }

    /// Whether a socket may have `addr` as its own.
    pub(crate) fn is_bindable(&self, addr: IpAddr, scope: u16) -> bool {
        self.owner(addr, scope).is_some()
    }

    /// Whether no address is being probed any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.iter()
            .flat_map(|(_, interface)| interface.addresses())
            .all(|(_, state)| state != AddressState::Tentative)
    }

    /// What the destination of a packet that came in by `at` is to us.
    #[inline]
    pub(crate) fn classify(&self, at: IfIndex, dst: IpAddr) -> Destination {
        if self.is_ours(at, dst) {
            Destination::Ours
        } else if dst.is_multicast() {
            if self.get(at).groups.is_joined(dst) {
                Destination::Group
            } else {
                Destination::Foreign
            }
        } else if self.get(at).is_broadcast(dst) {
            Destination::Broadcast
        } else {
            Destination::Foreign
        }
    }

    /// Whether `addr` is the limited broadcast address or that of a subnet of ours.
    #[inline]
    pub(crate) fn is_broadcast(&self, addr: IpAddr) -> bool {
        match addr {
            IpAddr::V4(v4) => v4.is_broadcast() || self.broadcasts.contains(&v4.to_bits()),
            IpAddr::V6(_) => false,
        }
    }

    /// Where a packet goes next.
    #[inline]
    pub(crate) fn next_hop(&self, way: &Way) -> NextHop {
        let dst = way.dst;
        match dst {
            IpAddr::V4(v4) if v4.is_multicast() => {
                let mac = MacAddr::from_ipv4_multicast(v4);
                return self
                    .by_group(way)
                    .map_or(NextHop::NoRoute, |at| NextHop::Link(at, mac));
            }
            IpAddr::V6(v6) if v6.is_multicast() => {
                let mac = MacAddr::from_ipv6_multicast(v6);
                return self
                    .by_group(way)
                    .map_or(NextHop::NoRoute, |at| NextHop::Link(at, mac));
            }
            _ if dst.is_unspecified() => return NextHop::NoRoute,
            _ => {}
        }
        if let Some(at) = self.owner(dst, way.scope) {
            return NextHop::Local(at);
        }
        if self.is_broadcast(dst) {
            return NextHop::Link(self.by_broadcast(way), MacAddr::BROADCAST);
        }
        // Link-local addresses are on the link whatever the routes say (RFC 4861 section 5.2).
        if addr::is_link_local(dst) {
            return match self.by_vlan(way.scope) {
                Some(at) => NextHop::Neighbor(Hop { at, addr: dst }),
                None => NextHop::NoRoute,
            };
        }
        match self.route(way) {
            Some(route) => NextHop::Neighbor(Hop {
                at: route.at,
                addr: route.gateway.unwrap_or(dst),
            }),
            None => NextHop::NoRoute,
        }
    }

    /// The route with the longest prefix that contains the destination; of equal ones that of the interface which has the
    /// source address, or else the first.
    #[inline]
    fn route(&self, way: &Way) -> Option<&Routed> {
        let mut routes = self.routes.iter();
        let first = routes.find(|route| route.contains(way.dst))?;
        if !self.has_vlans() {
            return Some(first);
        }
        let Some(at) = self.owner(way.src, way.scope).filter(|at| *at != first.at) else {
            return Some(first);
        };
        let mut equal = routes.take_while(|route| route.prefix_len == first.prefix_len);
        let nearer = equal.find(|route| route.at == at && route.contains(way.dst));
        Some(nearer.unwrap_or(first))
    }

    /// The interface of a packet to a group: the one that is named; that of its source address; the one that a route leads
    /// to; the port itself. `None` if one is named that there is not.
    fn by_group(&self, way: &Way) -> Option<IfIndex> {
        if way.scope != 0 || !self.has_vlans() {
            return self.by_vlan(way.scope);
        }
        let routed = || self.route(way).map(|route| route.at);
        let at = self.owner(way.src, way.scope).or_else(routed);
        Some(at.unwrap_or(IfIndex::PORT))
    }

    /// The interface of a packet to a broadcast address: the one with this subnet; for the limited one that of its source
    /// address, or that of a route, or the port itself.
    fn by_broadcast(&self, way: &Way) -> IfIndex {
        let subnets = || {
            let mut with = self.iter().filter(|(_, interface)| {
                matches!(way.dst, IpAddr::V4(v4) if interface.broadcasts().contains(&v4.to_bits()))
            });
            let first = with.next()?.0;
            let owner = self.owner(way.src, way.scope);
            let own = with.find(|(at, _)| Some(*at) == owner);
            Some(own.map_or(first, |(at, _)| at))
        };
        if !self.has_vlans() {
            return IfIndex::PORT;
        }
        // From no address: see `UdpOptions::unconfigured`.
        if way.src == IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
            return self.by_vlan(way.scope).unwrap_or(IfIndex::PORT);
        }
        let at = subnets().or_else(|| self.by_group(way));
        at.unwrap_or(IfIndex::PORT)
    }

    /// Whether `addr` is on the link of this interface, by one of its prefixes.
    pub(crate) fn is_on_link(&self, hop: Hop) -> bool {
        addr::is_link_local(hop.addr)
            || self
                .routes
                .iter()
                .find(|route| route.at == hop.at && route.contains(hop.addr))
                .is_some_and(|route| route.gateway.is_none())
    }

    /// The address that a packet is sent from now, where the sender has not chosen one.
    pub(crate) fn source_for(&self, way: &Way) -> Option<IpAddr> {
        self.source_among(way, true)
    }

    /// The way with the local address of a socket that is going to send this way: one that is still being probed if there is
    /// no other. Its packets wait, as their next hop is not asked for before the probing is over.
    pub(crate) fn with_source(&self, way: &Way) -> Option<Way> {
        let src = self.source_among(way, false)?;
        let mut way = Way { src, ..*way };
        if addr::is_link_local(src) {
            // It is of the interface that the packet leaves by.
            let unsourced = Way::to(way.dst, way.scope);
            way.scope = self.get(self.next_hop(&unsourced).at()).vlan;
        }
        Some(way)
    }

    fn source_among(&self, way: &Way, only_usable: bool) -> Option<IpAddr> {
        let (out, toward) = match self.next_hop(way) {
            NextHop::Neighbor(hop) => (hop.at, hop.addr),
            other => (other.at(), way.dst),
        };
        // What leaves the link is not sent from an address of another link (RFC 6724 section 4).
        let stays = addr::is_link_local(way.dst) || way.dst.is_multicast() && way.dst.is_ipv6();
        let candidates = self.iter().flat_map(|(at, interface)| {
            let own = at == out;
            let addresses = interface.addresses.iter();
            let addresses =
                addresses.filter(move |a| own || !stays && !addr::is_link_local(a.addr.addr));
            addresses.filter_map(move |address| Candidate::new(address, own))
        });
        source::choose(
            way.dst,
            toward,
            candidates.filter(|candidate| candidate.usable || !only_usable),
        )
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vlan_tests;
