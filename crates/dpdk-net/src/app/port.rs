//! The settings of one port, collected.

use std::net::IpAddr;
use std::time::Duration;

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::flow::Rule;
use dpdk_net_rte::port::{Offload, OffloadRequest, RssRequest, Wish};
use dpdk_net_stack::{Config, IfAddr, Route, Vlan};

use super::addressing::Addressing;

/// A change to the stack's configuration, made once everything else is known.
type Tune = Box<dyn FnOnce(&mut Config)>;

/// What one port of an application is to be like: see [`AppBuilder::add_port`](crate::AppBuilder::add_port). Each port has a stack of
/// its own on each of its queues: addresses, routes, neighbours and sockets of one are not the other's.
#[must_use = "a port does nothing until an application runs with it"]
pub struct PortBuilder {
    pub(super) name: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) addresses: Vec<String>,
    pub(super) if_addrs: Vec<IfAddr>,
    pub(super) vlans: Vec<Vlan>,
    /// Addresses given as text, with the VLAN's place in `vlans`.
    pub(super) vlan_addresses: Vec<(usize, String)>,
    pub(super) routes: Vec<Route>,
    pub(super) mtu: Option<u16>,
    pub(super) mac: Option<MacAddr>,
    pub(super) tune: Vec<Tune>,
    pub(super) mbufs: Option<u32>,
    pub(super) descriptors: Option<u16>,
    pub(super) send_memory: usize,
    pub(super) offloads: OffloadRequest,
    pub(super) link_timeout: Duration,
    pub(super) queues: Option<u16>,
    pub(super) rss: RssRequest,
    pub(super) rebalance: Option<Duration>,
    pub(super) rules: Vec<FlowEntry>,
    pub(super) addressing: Addressing,
    #[cfg(feature = "resolver")]
    pub(super) dns: crate::ResolverConfig,
}

/// A flow rule that is made when the port has started.
#[derive(Debug, Clone)]
pub(super) struct FlowEntry {
    pub(super) rule: Rule,
    /// Whether a refusal is a warning only.
    pub(super) optional: bool,
}

impl std::fmt::Debug for PortBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            alias,
            addresses,
            if_addrs,
            vlans,
            vlan_addresses,
            routes,
            mtu,
            mac,
            tune: _,
            mbufs,
            descriptors,
            send_memory,
            offloads,
            link_timeout,
            queues,
            rss,
            rebalance,
            rules,
            addressing,
            #[cfg(feature = "resolver")]
            dns,
        } = self;
        #[cfg(not(feature = "resolver"))]
        let dns = ();
        f.debug_struct("PortBuilder")
            .field("name", name)
            .field("alias", alias)
            .field("addresses", addresses)
            .field("if_addrs", if_addrs)
            .field("vlans", vlans)
            .field("vlan_addresses", vlan_addresses)
            .field("routes", routes)
            .field("mtu", mtu)
            .field("mac", mac)
            .field("mbufs", mbufs)
            .field("descriptors", descriptors)
            .field("send_memory", send_memory)
            .field("offloads", offloads)
            .field("link_timeout", link_timeout)
            .field("queues", queues)
            .field("rss", rss)
            .field("rebalance", rebalance)
            .field("rules", rules)
            .field("addressing", addressing)
            .field("dns", &dns)
            .finish_non_exhaustive()
    }
}

impl PortBuilder {
    /// The port with this DPDK name (`net_tap0`, `0000:01:00.0`).
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: Some(name.into()),
            ..Self::first()
        }
    }

    /// The first port that EAL has.
    pub(super) fn first() -> Self {
        Self {
            name: None,
            alias: None,
            addresses: Vec::new(),
            if_addrs: Vec::new(),
            vlans: Vec::new(),
            vlan_addresses: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            mac: None,
            tune: Vec::new(),
            mbufs: None,
            descriptors: None,
            send_memory: 8 << 20,
            offloads: OffloadRequest::default(),
            link_timeout: Duration::from_secs(5),
            queues: None,
            rss: RssRequest::default(),
            rebalance: None,
            rules: Vec::new(),
            addressing: Addressing::default(),
            #[cfg(feature = "resolver")]
            dns: crate::ResolverConfig::default(),
        }
    }

    /// What the application calls it: [`Context::port_name`](crate::Context::port_name). Default: its DPDK name.
    pub fn alias(mut self, alias: impl Into<String>) -> Self {
        self.alias = Some(alias.into());
        self
    }

    /// Adds an address with its prefix length, as text: `198.18.0.2/24`, `fd00::2/64`. At least one is
    /// needed, here or in a VLAN; an IPv6 link-local one is there by itself. What is malformed is reported when the application is run.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// Adds an address with its prefix length.
    pub fn if_addr(mut self, address: IfAddr) -> Self {
        self.if_addrs.push(address);
        self
    }

    /// Makes the port a member of the VLAN with this id, 1 to 4094, with addresses there, given as text:
    /// `vlan(100, ["198.18.100.2/24", "fd00:100::2/64"])`. It is an interface of its own, as Linux' `eth0.100` is one on
    /// `eth0`; sockets serve all interfaces. What is malformed or can't be is reported when the application is run.
    pub fn vlan<I>(mut self, id: u16, addresses: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let at = self.vlans.len();
        self.vlans.push(Vlan::new(id));
        let addresses = addresses.into_iter().map(|address| (at, address.into()));
        self.vlan_addresses.extend(addresses);
        self
    }

    /// As [`vlan`](Self::vlan), with a priority or an MTU of its own.
    pub fn vlan_with(mut self, vlan: Vlan) -> Self {
        self.vlans.push(vlan);
        self
    }

    /// Adds a default route by way of `gateway`, which leaves by the interface on whose prefix that is. Of several of one
    /// family a packet takes that of the interface which has its source address, or else the first.
    pub fn gateway(self, gateway: impl Into<IpAddr>) -> Self {
        self.route(Route::default_via(gateway.into()))
    }

    /// Adds a route.
    pub fn route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// The IP MTU in bytes. Default: the port's own.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = Some(mtu);
        self
    }

    /// The MAC address. Default: the port's own. A port that cannot change its address is put into
    /// promiscuous mode.
    pub fn mac(mut self, mac: MacAddr) -> Self {
        self.mac = Some(mac);
        self
    }

    /// Changes the stack's configuration: buffers, timeouts, limits. Called last, with everything else in
    /// place; may be given more than once.
    pub fn stack(mut self, tune: impl FnOnce(&mut Config) + 'static) -> Self {
        self.tune.push(Box::new(tune));
        self
    }

    /// Mbufs in the pool. Default: enough for both rings, bursts and caches.
    pub fn mbufs(mut self, mbufs: u32) -> Self {
        self.mbufs = Some(mbufs);
        self
    }

    /// What is wished of the port's offloads. Default: each that the port offers, that is of use and that its driver is not known
    /// to do wrong ([`OffloadRequest::default`]); what is not on is done in software, with the same result on the wire.
    pub fn offloads(mut self, request: OffloadRequest) -> Self {
        self.offloads = request;
        self
    }

    /// What is wished of one offload. [`Wish::On`] makes it an error if the port does not offer it.
    pub fn offload(mut self, offload: Offload, wish: Wish) -> Self {
        self.offloads = self.offloads.with(offload, wish);
        self
    }

    /// Bytes of memory that bulk is written into once and sent from by reference, as often as need be. Past it, with 0, and on
    /// ports that take no frames of several mbufs, bulk is copied into each frame. Default: 8 MiB.
    pub fn send_memory(mut self, bytes: usize) -> Self {
        self.send_memory = bytes;
        self
    }

    /// Descriptors of the RX and of the TX ring. Default: what the driver recommends.
    pub fn descriptors(mut self, descriptors: u16) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// How long to wait for the link at start. Default: 5 s; the application starts without it after that.
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = timeout;
        self
    }

    /// RX and TX queues of the port. Default: one for each worker. With more of them workers serve several, by turns.
    pub fn queues(mut self, queues: u16) -> Self {
        self.queues = Some(queues);
        self
    }

    /// By what the port spreads packets over its queues. Default: everything that it can hash, with its driver's key.
    pub fn rss(mut self, request: RssRequest) -> Self {
        self.rss = request;
        self
    }

    /// Has what comes to each queue looked at once in `interval`, a second, say, and entries of the port's redirection table, with
    /// their connections, moved from queues that have more than their share to others
    /// ([`Rebalancer`](crate::peers::Rebalancer)). Where the port can't, a warning says why. Default: not done.
    pub fn rebalance(mut self, interval: Duration) -> Self {
        self.rebalance = Some(interval);
        self
    }

    /// How names are resolved at first, by sockets of this port; [`Context::dns`](crate::Context::dns) changes it. Default: by
    /// `/etc/hosts` alone.
    #[cfg(feature = "resolver")]
    pub fn dns(mut self, config: crate::ResolverConfig) -> Self {
        self.dns = config;
        self
    }

    /// Has a flow rule made when the port has started; it stays as long as the application runs. What the port refuses is an
    /// error, or a warning where the rule is `optional`.
    pub fn flow_rule(mut self, rule: Rule, optional: bool) -> Self {
        self.rules.push(FlowEntry { rule, optional });
        self
    }
}
