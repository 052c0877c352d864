//! The routing table: routes that were configured, those of DHCP leases, those to the prefixes of addresses, and what
//! routers advertise.
//!
//! The longest prefix wins. Among equal ones configured routes come first, then leased ones, then those to prefixes on the
//! link, then advertised ones: by routers that answer before those that do not, and by their preference (RFC 4191 section 3.2).

use alloc::vec::Vec;
use core::cmp::Reverse;
use core::net::IpAddr;

use crate::addr;
use crate::config::{IfAddr, Route, address_bits, prefix_contains};
use crate::error::Error;
use crate::iface::Origin;
use crate::interfaces::{IfIndex, Interfaces};
use crate::lifetime;
use crate::time::{Duration, Instant};

/// Routes that may be configured, where they are added while the stack runs.
pub(crate) const MAX_ROUTES: usize = 1024;

/// One route, as told by `Stack::routes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The route; its VLAN is that of the interface that it leads out by, `None` for the port itself.
    pub route: Route,
    /// Where it is from.
    pub origin: Origin,
    /// For how much longer it is there, [`Duration::MAX`] for ever.
    pub lifetime: Duration,
}

/// A route that was configured or leased, and until when. The same route may be both: each ends by itself.
#[derive(Debug, Clone, Copy)]
struct Given {
    route: Route,
    origin: Origin,
    until: Instant,
}

impl Given {
    fn is(&self, route: &Route, origin: Origin) -> bool {
        self.origin == origin && self.route == *route
    }
}

/// A route and the interface that it leads out by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Routed {
    pub(crate) dest: IpAddr,
    pub(crate) prefix_len: u8,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) at: IfIndex,
    pub(crate) origin: Origin,
    /// Of equal prefixes the lowest comes first.
    pub(crate) rank: u32,
    pub(crate) until: Instant,
}

impl Routed {
    fn new(given: &Given, at: Option<IfIndex>) -> Self {
        let Given {
            route,
            origin,
            until,
        } = *given;
        Routed {
            dest: route.dest,
            prefix_len: route.prefix_len,
            gateway: route.gateway,
            at: at.unwrap_or(IfIndex::PORT),
            origin,
            rank: 0,
            until,
        }
    }

    #[inline]
    pub(crate) fn contains(&self, addr: IpAddr) -> bool {
        prefix_contains(self.dest, self.prefix_len, addr)
    }
}

/// All routes.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Configured ones first.
    given: Vec<Given>,
    /// What packets are sent by, in the order of precedence. Kept by [`Interfaces::refresh`].
    table: Vec<Routed>,
}

impl Routes {
    /// These for ever.
    pub(crate) fn new(routes: &[Route]) -> Self {
        Self {
            given: configured(routes).collect(),
            table: Vec::new(),
        }
    }

    /// In the order of precedence.
    #[inline]
    pub(crate) fn iter(&self) -> core::slice::Iter<'_, Routed> {
        self.table.iter()
    }

    /// Adds a route, or gives one that is there from the same origin another lifetime.
    ///
    /// Errors: `NoBufferSpace` if there are too many.
    pub(crate) fn add(
        &mut self,
        route: Route,
        origin: Origin,
        until: Instant,
    ) -> Result<(), Error> {
        if let Some(known) = self.given.iter_mut().find(|it| it.is(&route, origin)) {
            known.until = until;
            return Ok(());
        }
        if self.given.len() >= MAX_ROUTES {
            return Err(Error::NoBufferSpace);
        }
        self.given.push(Given {
            route,
            origin,
            until,
        });
        // Stable.
        self.given.sort_by_key(|it| it.origin != Origin::Configured);
        Ok(())
    }

    /// Removes a route of this origin. Whether there was one.
    pub(crate) fn remove(&mut self, route: &Route, origin: Origin) -> bool {
        let before = self.given.len();
        self.given.retain(|it| !it.is(route, origin));
        self.given.len() < before
    }

    /// These take the place of all that were configured. Those of leases stay.
    ///
    /// Errors: `NoBufferSpace` if there are too many; nothing was changed then.
    pub(crate) fn replace(&mut self, routes: &[Route]) -> Result<(), Error> {
        let leased = self.given.iter().copied();
        let leased = leased.filter(|it| it.origin != Origin::Configured);
        let given: Vec<Given> = configured(routes).chain(leased).collect();
        if given.len() > MAX_ROUTES {
            return Err(Error::NoBufferSpace);
        }
        self.given = given;
        Ok(())
    }

    /// Forgets those whose time is over. Whether there were any.
    pub(crate) fn end_lifetimes(&mut self, now: Instant) -> bool {
        let before = self.given.len();
        self.given.retain(|it| it.until > now);
        self.given.len() < before
    }

    /// When the first lifetime ends.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let ends = self.given.iter().map(|it| it.until);
        ends.filter(|at| *at != Instant::MAX).min()
    }
}

/// These for ever.
fn configured(routes: &[Route]) -> impl Iterator<Item = Given> + '_ {
    routes.iter().map(|&route| Given {
        route,
        origin: Origin::Configured,
        until: Instant::MAX,
    })
}

impl Interfaces {
    /// The table that follows from what is configured and leased, from the addresses and from what routers advertise.
    pub(crate) fn make_routes(&self) -> Vec<Routed> {
        let mut on_link = Vec::new();
        for (at, interface) in self.iter() {
            for address in &interface.addresses {
                let IfAddr { addr, prefix_len } = address.addr;
                // A host prefix has nobody else on the link. Where link-local addresses lie, routes don't tell. What is
                // on the link where an address was made from an advertised prefix, the router tells (RFC 5942 section
                // 4).
                if prefix_len < address_bits(addr)
                    && !addr::is_link_local(addr)
                    && address.origin != Origin::Advertised
                {
                    on_link.push(Routed {
                        dest: addr,
                        prefix_len,
                        gateway: None,
                        at,
                        origin: Origin::OnLink,
                        rank: 1,
                        until: address.lifetime.valid_until,
                    });
                }
            }
        }
        let given = &self.routes.given;
        let named = |it: &Given| self.by_vlan(it.route.vlan?);
        // A gateway is looked for on the prefixes, and where routes say that something is on a link.
        let direct = given.iter().filter(|it| it.route.gateway.is_none());
        let direct = direct.map(|it| Routed::new(it, named(it)));
        let reached: Vec<Routed> = direct.chain(on_link.iter().copied()).collect();
        let way_to = |gateway: IpAddr| {
            let ways = reached.iter().filter(|way| way.contains(gateway));
            let longest = ways.reduce(|best, other| {
                if other.prefix_len > best.prefix_len {
                    other
                } else {
                    best
                }
            });
            longest.map(|way| way.at)
        };
        let by_gateway = |it: &Given| way_to(it.route.gateway?);
        let given = given
            .iter()
            .map(|it| Routed::new(it, named(it).or_else(|| by_gateway(it))));
        let mut routes: Vec<Routed> = given.chain(on_link.iter().copied()).collect();
        for (at, interface) in self.iter() {
            routes.extend(interface.autoconf.iter().flat_map(|it| it.routed(at)));
        }
        // Stable: of equals the one configured first comes first.
        routes.sort_by_key(|route| (Reverse(route.prefix_len), route.rank));
        routes
    }

    /// Makes the table anew.
    pub(crate) fn refresh_routes(&mut self) {
        self.routes.table = self.make_routes();
    }

    /// All routes, in the order of precedence.
    pub(crate) fn route_infos(&self, now: Instant) -> impl Iterator<Item = RouteInfo> + '_ {
        self.routes.iter().map(move |routed| RouteInfo {
            route: Route {
                dest: network(routed.dest, routed.prefix_len),
                prefix_len: routed.prefix_len,
                gateway: routed.gateway,
                vlan: Some(self.get(routed.at).vlan).filter(|vlan| *vlan != 0),
            },
            origin: routed.origin,
            lifetime: lifetime::left(now, routed.until),
        })
    }
}

/// The address with all bits behind the prefix zero.
fn network(addr: IpAddr, prefix_len: u8) -> IpAddr {
    match addr {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32)));
            IpAddr::V4((v4.to_bits() & mask.unwrap_or(0)).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len.min(128)));
            IpAddr::V6((v6.to_bits() & mask.unwrap_or(0)).into())
        }
    }
}
