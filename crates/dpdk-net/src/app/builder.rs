//! The settings of an application, collected. Nothing happens before `run`.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::port::{Offload, OffloadRequest, RssRequest, Wish};
use dpdk_net_rte::{Eal, EalBuilder};
use dpdk_net_stack::{Config, IfAddr, Route, Vlan};

use super::Context;
use super::addressing::Addressing;
use crate::error::Error;
use crate::idle::IdlePolicy;
use crate::peers::PeersConfig;
use crate::pin::FlowPolicy;

/// Where EAL comes from.
#[derive(Debug)]
pub(super) enum EalSource {
    /// Start it with no options but the program's name.
    Default,
    Builder(Box<EalBuilder>),
    Started(Eal),
}

/// A change to the stack's configuration, made once everything else is known.
type Tune = Box<dyn FnOnce(&mut Config)>;

/// Collects what an application needs, then [runs](Self::run) it.
#[must_use = "an application does nothing until it is run"]
pub struct AppBuilder {
    pub(super) eal: EalSource,
    pub(super) port: Option<String>,
    pub(super) addresses: Vec<String>,
    pub(super) if_addrs: Vec<IfAddr>,
    pub(super) vlans: Vec<Vlan>,
    /// Addresses given as text, with the VLAN's place in `vlans`.
    pub(super) vlan_addresses: Vec<(usize, String)>,
    pub(super) routes: Vec<Route>,
    pub(super) mtu: Option<u16>,
    pub(super) mac: Option<MacAddr>,
    pub(super) tune: Vec<Tune>,
    pub(super) idle: IdlePolicy,
    pub(super) mbufs: Option<u32>,
    pub(super) descriptors: Option<u16>,
    pub(super) send_memory: usize,
    pub(super) offloads: OffloadRequest,
    pub(super) drain_timeout: Duration,
    pub(super) link_timeout: Duration,
    pub(super) workers: Option<u16>,
    pub(super) queues: Option<u16>,
    pub(super) rss: RssRequest,
    pub(super) peers: PeersConfig,
    pub(super) flow_policy: FlowPolicy,
    pub(super) rebalance: Option<Duration>,
    pub(super) addressing: Addressing,
}

impl std::fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppBuilder")
            .field("port", &self.port)
            .field("addresses", &self.addresses)
            .field("if_addrs", &self.if_addrs)
            .field("vlans", &self.vlans)
            .field("vlan_addresses", &self.vlan_addresses)
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl AppBuilder {
    pub(super) fn new() -> Self {
        Self {
            eal: EalSource::Default,
            port: None,
            addresses: Vec::new(),
            if_addrs: Vec::new(),
            vlans: Vec::new(),
            vlan_addresses: Vec::new(),
            routes: Vec::new(),
            mtu: None,
            mac: None,
            tune: Vec::new(),
            idle: IdlePolicy::default(),
            mbufs: None,
            descriptors: None,
            send_memory: 8 << 20,
            offloads: OffloadRequest::default(),
            drain_timeout: Duration::from_secs(10),
            link_timeout: Duration::from_secs(5),
            workers: None,
            queues: None,
            rss: RssRequest::default(),
            peers: PeersConfig::default(),
            flow_policy: FlowPolicy::default(),
            rebalance: None,
            addressing: Addressing::default(),
        }
    }

    /// Starts EAL with these options. Default: only the program's name.
    pub fn eal(mut self, eal: EalBuilder) -> Self {
        self.eal = EalSource::Builder(Box::new(eal));
        self
    }

    /// Uses an EAL that is running already. The calling thread should be its main lcore.
    pub fn with_eal(mut self, eal: Eal) -> Self {
        self.eal = EalSource::Started(eal);
        self
    }

    /// The port to serve, by its DPDK name (`net_tap0`, `0000:01:00.0`). Default: the first one.
    pub fn port(mut self, name: impl Into<String>) -> Self {
        self.port = Some(name.into());
        self
    }

    /// Adds an address with its prefix length, as text: `198.18.0.2/24`, `fd00::2/64`. At least one is
    /// needed, here or in a VLAN, unless it is to come from elsewhere ([`dhcp4`](Self::dhcp4), [`dhcp6`](Self::dhcp6),
    /// [`slaac`](Self::slaac)); an IPv6 link-local one is there by itself. What is malformed is reported by `run`.
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
    /// `eth0`; sockets serve all interfaces. What is malformed or can't be is reported by `run`.
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

    /// What the worker does when there is nothing to do. Default: [`IdlePolicy::Spin`].
    pub fn idle(mut self, idle: IdlePolicy) -> Self {
        self.idle = idle;
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

    /// How long connections have to finish once the application ends; then they are reset. Default: 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How long to wait for the link at start. Default: 5 s; the application starts without it after that.
    pub fn link_timeout(mut self, timeout: Duration) -> Self {
        self.link_timeout = timeout;
        self
    }

    /// Workers of [`run_each`](Self::run_each), each on an lcore of its own. Default: one for each lcore of EAL (`--lcores`), as
    /// far as the port has queues. [`run`](Self::run) has one.
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = Some(workers);
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

    /// How workers that share the port find out whose a packet is that came to the wrong queue.
    pub fn peers(mut self, config: PeersConfig) -> Self {
        self.peers = config;
        self
    }

    /// Has [`run_each`](Self::run_each) look at what comes to each queue once in `interval`, a second, say, and move entries of the port's
    /// redirection table, with their connections, from queues that have more than their share to others
    /// ([`Rebalancer`](crate::peers::Rebalancer)). Where the port can't, a warning says why. Default: not done.
    pub fn rebalance(mut self, interval: Duration) -> Self {
        self.rebalance = Some(interval);
        self.peers.count_loads = true;
        self
    }

    /// Whether [`Context::pin`] asks flow rules of the port, and what a refusal means. Default: [`FlowPolicy::Prefer`].
    pub fn flow_rules(mut self, policy: FlowPolicy) -> Self {
        self.flow_policy = policy;
        self
    }

    /// Brings everything up on this thread, runs `program` to its end, and takes everything down.
    ///
    /// `program` starts once duplicate address detection has let the addresses pass, after about a second, and once
    /// those that servers or routers are to bring are there ([`address_timeout`](Self::address_timeout)).
    ///
    /// When `program`'s future returns, its tasks are dropped, the connections they held finish by
    /// themselves or are reset after the drain timeout, what is to be sent is sent, and the port is stopped.
    ///
    /// On SIGINT or SIGTERM new connections are refused; once those on their way have arrived and were accepted,
    /// a quarter of a second later at most, [`Context::shutdown`] resolves. The program and
    /// its tasks go on until the last connection is gone and the program has returned, at most for the drain
    /// timeout; then as above. If the program never asked for [`Context::shutdown`], its return is not
    /// waited for. A second signal ends the waiting at once.
    ///
    /// Once called, both signals no longer end the process by themselves, also after the return.
    ///
    /// # Errors
    /// Everything that bring-up may meet, and [`Error::Stopped`] where a signal ended the application
    /// before `program` returned.
    ///
    /// # Panics
    /// As tokio: if called inside an async runtime (from `#[tokio::main]`, say), and with `program`'s own panic.
    pub fn run<F, Fut>(self, program: F) -> Result<Fut::Output, Error>
    where
        F: FnOnce(Context) -> Fut,
        Fut: Future,
    {
        super::run::run(self, program)
    }

    /// As [`run`](Self::run), with a worker on each of several lcores ([`workers`](Self::workers)), the calling thread, which
    /// has to be EAL's main lcore, among them. `program` is called once for each queue, on the worker that serves it, and what
    /// its futures return comes back in the order of queues. [`Context::queue`] tells which one it is.
    ///
    /// All queues have the same addresses. A packet goes to the queue that the port's RSS chooses for it; one that belongs to
    /// the connection or socket of another worker is handed over. A listener that is bound in `program`, on each worker, accepts
    /// what comes to its own queue; one that is bound on one worker alone accepts everything there.
    ///
    /// If a program returns early its worker goes on for the others, and its listeners are gone. A signal, or
    /// [`Context::request_shutdown`], ends all of them.
    ///
    /// # Errors
    /// As [`run`](Self::run); [`Error::BadValue`] for more workers than EAL has lcores or more queues than the port has.
    ///
    /// # Panics
    /// As [`run`](Self::run), where the program panics on the calling thread; elsewhere that is [`Error::Dpdk`].
    pub fn run_each<F, Fut>(self, program: F) -> Result<Vec<Fut::Output>, Error>
    where
        F: Fn(Context) -> Fut + Sync,
        Fut: Future,
        Fut::Output: Send,
    {
        super::fleet::run(self, &program)
    }
}
