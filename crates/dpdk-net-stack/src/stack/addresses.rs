//! Addresses, routes and neighbours that change while the stack runs.
//!
//! Where several stacks have the same addresses, each is to be told the same. A connection whose address is removed is
//! not ended: as on Linux nothing is sent from it and nothing received for it, and it goes on if the address comes back
//! before its timeouts end it.

use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use crate::addr;
use crate::config::{ConfigError, IfAddr, Neighbor, Route};
use crate::error::Error;
use crate::iface::{AddressInfo, Origin};
use crate::interfaces::{Hop, IfIndex};
use crate::lifetime::{Lifetime, Lifetimes};
use crate::routes::RouteInfo;
use crate::slaac::Advertised;
use crate::stack::Stack;
use crate::time::{Duration, Instant};

/// What every host takes (RFC 1122 section 3.3.2).
const LEAST_IPV4_MTU: usize = 576;

impl Stack {
    /// The MAC address of all interfaces.
    pub fn mac(&self) -> MacAddr {
        self.link.ifaces.mac()
    }

    /// All addresses with what is known of each. Those of the port itself come first.
    pub fn interface_addresses(&self) -> Vec<AddressInfo> {
        let interfaces = self.link.ifaces.iter();
        let all = interfaces.flat_map(|(_, interface)| interface.address_infos(self.now));
        all.collect()
    }

    /// Changes whenever addresses, their states, routes, or what routers say do.
    #[inline]
    pub fn network_version(&self) -> u64 {
        self.link.ifaces.version()
    }

    /// What routers say on the interface of a VLAN, 0 being the port itself; `None` if it does not listen
    /// ([`Config::slaac`](crate::Config::slaac)).
    pub fn advertised(&self, vlan: u16) -> Option<Advertised> {
        let ifaces = &self.link.ifaces;
        ifaces.advertised(ifaces.by_vlan(vlan)?)
    }

    /// To be called when the link was down and is up again, for it may be another one. Neighbours that were found out are forgotten,
    /// as by Linux, and groups are reported anew. Where routers are listened to ([`Config::slaac`](crate::Config::slaac)) they are
    /// asked for (RFC 4861 section 6.3.7). If one that was known answers, all stays as it is; if others do, addresses, routes and DNS
    /// servers that none of them advertises go 4 s later; if nobody does within 12 s, addresses are deprecated.
    pub fn link_changed(&mut self, now: Instant) {
        self.advance(now);
        self.link.neighbors.link_changed(now);
        self.link.ifaces.link_changed(now);
    }

    /// Adds an address to the interface of a VLAN, 0 being the port itself. It is probed first
    /// ([`Config::dad`](crate::Config::dad)), and its prefix is on the link. An address that the interface has already
    /// gets this prefix and these lifetimes; one that somebody else had is probed anew.
    ///
    /// Errors: `BadConfig` for what [`Config::validate`](crate::Config::validate) would refuse, an address of another
    /// interface among it; `AddrNotAvailable` if there is no such VLAN; `NoBufferSpace` past 256 addresses of an
    /// interface.
    pub fn add_address(
        &mut self,
        now: Instant,
        vlan: u16,
        address: IfAddr,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.enter_address(now, vlan, address, Origin::Configured, lifetimes)
    }

    /// As [`add_address`](Self::add_address), for an address that a server has leased. One that was configured keeps its
    /// prefix and lifetimes, and outlives the lease; one that is configured later does so too.
    ///
    /// Errors: as [`add_address`](Self::add_address).
    pub fn lease_address(
        &mut self,
        now: Instant,
        vlan: u16,
        address: IfAddr,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.enter_address(now, vlan, address, Origin::Leased, lifetimes)
    }

    fn enter_address(
        &mut self,
        now: Instant,
        vlan: u16,
        address: IfAddr,
        origin: Origin,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.advance(now);
        address.validate()?;
        let at = self.interface_of(vlan)?;
        let ifaces = &mut self.link.ifaces;
        if !addr::is_link_local(address.addr) {
            let mut others = ifaces.iter().filter(|(other, _)| *other != at);
            if others.any(|(_, other)| other.state_of(address.addr).is_some()) {
                return Err(ConfigError::DuplicateAddress(address.addr).into());
            }
        }
        let lifetime = Lifetime::from(now, lifetimes);
        ifaces.change(at, |interface| {
            interface.add_address(now, address, origin, lifetime)
        })?;
        ifaces.refresh();
        Ok(())
    }

    /// Removes an address from the interface of a VLAN, 0 being the port itself, and with it the route to its prefix.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN, or it has no such address.
    pub fn remove_address(&mut self, now: Instant, vlan: u16, addr: IpAddr) -> Result<(), Error> {
        self.advance(now);
        let at = self.interface_of(vlan)?;
        let ifaces = &mut self.link.ifaces;
        if !ifaces.change(at, |interface| interface.remove_address(now, addr)) {
            return Err(Error::AddrNotAvailable);
        }
        ifaces.refresh();
        Ok(())
    }

    /// Removes an address whose lease has ended, unless it was configured as well.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN, or it has no such address from a lease.
    pub fn end_lease(&mut self, now: Instant, vlan: u16, addr: IpAddr) -> Result<(), Error> {
        let at = self.interface_of(vlan)?;
        let mut own = self.link.ifaces.get(at).addresses.iter();
        if !own.any(|own| own.addr.addr == addr && own.origin == Origin::Leased) {
            return Err(Error::AddrNotAvailable);
        }
        self.remove_address(now, vlan, addr)
    }

    /// Has IPv4 packets on the interface of a VLAN, 0 being the port itself, be no larger than this, in bytes; `None`
    /// is the interface's own MTU. It is what DHCP tells (RFC 2132 section 5.1); for IPv6 routers do. Less than 576 is
    /// not believed, nor more than the interface has.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN.
    pub fn set_ipv4_mtu(&mut self, vlan: u16, mtu: Option<u16>) -> Result<(), Error> {
        let at = self.interface_of(vlan)?;
        self.link.ifaces.change(at, |interface| {
            let told = mtu.map(usize::from).filter(|mtu| *mtu >= LEAST_IPV4_MTU);
            interface.mtu_v4 = told.map_or(interface.mtu, |told| told.min(interface.mtu));
        });
        self.link.ifaces.mtus_changed = true;
        self.take_mtus();
        Ok(())
    }

    /// All routes, in the order of precedence: those configured, those to the prefixes of addresses, those that routers
    /// advertise.
    pub fn routes(&self) -> Vec<RouteInfo> {
        self.link.ifaces.route_infos(self.now).collect()
    }

    /// Adds a route that is there for so long, [`Duration::MAX`] being for ever. One that is there already gets this
    /// lifetime.
    ///
    /// Errors: `BadConfig` for what [`Config::validate`](crate::Config::validate) would refuse, `NoBufferSpace` past
    /// 1,024 routes.
    pub fn add_route(
        &mut self,
        now: Instant,
        route: Route,
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.enter_route(now, route, Origin::Configured, lifetime)
    }

    /// As [`add_route`](Self::add_route), for a route that came with a lease. It and an equal one that was configured are
    /// two, of which either may go.
    ///
    /// Errors: as [`add_route`](Self::add_route).
    pub fn lease_route(
        &mut self,
        now: Instant,
        route: Route,
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.enter_route(now, route, Origin::Leased, lifetime)
    }

    fn enter_route(
        &mut self,
        now: Instant,
        route: Route,
        origin: Origin,
        lifetime: Duration,
    ) -> Result<(), Error> {
        self.advance(now);
        self.check_route(&route)?;
        let routes = &mut self.link.ifaces.routes;
        routes.add(route, origin, now + lifetime)?;
        self.link.ifaces.refresh();
        Ok(())
    }

    /// Removes a route that was configured or added.
    ///
    /// Errors: `NetworkUnreachable` if there is no such route.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), Error> {
        self.leave_route(route, Origin::Configured)
    }

    /// Removes a route that came with a lease.
    ///
    /// Errors: `NetworkUnreachable` if there is no such route.
    pub fn end_leased_route(&mut self, route: &Route) -> Result<(), Error> {
        self.leave_route(route, Origin::Leased)
    }

    fn leave_route(&mut self, route: &Route, origin: Origin) -> Result<(), Error> {
        if !self.link.ifaces.routes.remove(route, origin) {
            return Err(Error::NetworkUnreachable);
        }
        self.link.ifaces.refresh();
        Ok(())
    }

    /// Has these routes in place of all that were configured or added. Those of leases stay.
    ///
    /// Errors: as [`add_route`](Self::add_route); nothing has changed then.
    pub fn set_routes(&mut self, routes: &[Route]) -> Result<(), Error> {
        routes
            .iter()
            .try_for_each(|route| self.check_route(route))?;
        self.link.ifaces.routes.replace(routes)?;
        self.link.ifaces.refresh();
        Ok(())
    }

    /// Enters a neighbour that is not asked for and never expires, or gives one another MAC address. `false` if there
    /// is no such VLAN or no room.
    pub fn add_vlan_neighbor(&mut self, vlan: u16, addr: IpAddr, mac: MacAddr) -> bool {
        self.set_neighbor(Neighbor { vlan, addr, mac }).is_ok()
    }

    /// Enters a neighbour that is not asked for and never expires, or gives one another MAC address.
    ///
    /// Errors: `BadConfig` for what [`Config::validate`](crate::Config::validate) would refuse, `NoBufferSpace` where
    /// half of the neighbours that there may be ([`Limits::neighbors`](crate::Limits::neighbors)) are such already.
    pub fn set_neighbor(&mut self, neighbor: Neighbor) -> Result<(), Error> {
        let ifaces = &self.link.ifaces;
        neighbor.validate(|vlan| ifaces.by_vlan(vlan).is_some())?;
        let Neighbor { vlan, addr, mac } = neighbor;
        let at = self.interface_of(vlan)?;
        if !self.link.add_neighbor(self.now, Hop { at, addr }, mac) {
            return Err(Error::NoBufferSpace);
        }
        Ok(())
    }

    fn check_route(&self, route: &Route) -> Result<(), Error> {
        let ifaces = &self.link.ifaces;
        Ok(route.validate(|vlan| ifaces.by_vlan(vlan).is_some())?)
    }

    fn interface_of(&self, vlan: u16) -> Result<IfIndex, Error> {
        let at = self.link.ifaces.by_vlan(vlan);
        at.ok_or(Error::AddrNotAvailable)
    }
}
