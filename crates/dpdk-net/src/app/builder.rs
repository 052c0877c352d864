//! The settings of an application, collected. Nothing happens before `run`.

use std::future::Future;
use std::net::IpAddr;
use std::time::Duration;

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::port::{Offload, OffloadRequest, RssRequest, Wish};
use dpdk_net_rte::{Eal, EalBuilder};
use dpdk_net_stack::{Config, IfAddr, Route, Vlan};

use super::figures::Figures;
use super::program::{self, Outcomes, Place, Program, Programs};
use super::{Context, ListenerConfig, PortBuilder, Subsystem};
use crate::error::Error;
use crate::idle::IdlePolicy;
use crate::metrics::Collector;
use crate::peers::PeersConfig;
use crate::pin::FlowPolicy;
use crate::runtime::{self, Runtime, RuntimeKind};

/// Where EAL comes from.
#[derive(Debug)]
pub(super) enum EalSource {
    /// Start it with no options but the program's name.
    Default,
    Builder(Box<EalBuilder>),
    Started(Eal),
}

/// Collects what an application needs, then [runs](Self::run) it.
#[must_use = "an application does nothing until it is run"]
pub struct AppBuilder {
    pub(super) eal: EalSource,
    /// The first port, which the builder's own methods are about.
    pub(super) first: PortBuilder,
    pub(super) others: Vec<PortBuilder>,
    pub(super) idle: IdlePolicy,
    pub(super) runtime: RuntimeKind,
    pub(super) drain_timeout: Duration,
    pub(super) workers: Option<u16>,
    pub(super) peers: PeersConfig,
    pub(super) flow_policy: FlowPolicy,
    pub(super) listeners: Vec<ListenerConfig>,
    pub(super) subsystems: Vec<Box<dyn Subsystem>>,
    pub(super) collectors: Vec<Box<dyn Collector>>,
    #[cfg(feature = "config")]
    pub(super) file: Option<std::sync::Arc<dpdk_net_config::File>>,
}

impl std::fmt::Debug for AppBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppBuilder")
            .field("eal", &self.eal)
            .field("first", &self.first)
            .field("others", &self.others)
            .field("idle", &self.idle)
            .field("runtime", &self.runtime)
            .field("drain_timeout", &self.drain_timeout)
            .field("workers", &self.workers)
            .field("peers", &self.peers)
            .field("flow_policy", &self.flow_policy)
            .field("listeners", &self.listeners)
            .field(
                "subsystems",
                &self
                    .subsystems
                    .iter()
                    .map(|one| one.name())
                    .collect::<Vec<_>>(),
            )
            .finish_non_exhaustive()
    }
}

impl AppBuilder {
    pub(super) fn new() -> Self {
        Self {
            eal: EalSource::Default,
            first: PortBuilder::first(),
            others: Vec::new(),
            idle: IdlePolicy::default(),
            runtime: RuntimeKind::default(),
            drain_timeout: Duration::from_secs(10),
            workers: None,
            peers: PeersConfig::default(),
            flow_policy: FlowPolicy::default(),
            listeners: Vec::new(),
            subsystems: Vec::new(),
            collectors: Vec::new(),
            #[cfg(feature = "config")]
            file: None,
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
        self.first.name = Some(name.into());
        self
    }

    /// Adds another port, which [`run_each`](Self::run_each) serves beside the first one: `program` is called for each queue of
    /// each port, on the worker that serves it.
    pub fn add_port(mut self, port: PortBuilder) -> Self {
        self.others.push(port);
        self
    }

    /// Sets the first port.
    #[cfg(feature = "config")]
    pub(super) fn first_port(mut self, port: PortBuilder) -> Self {
        self.first = port;
        self
    }

    /// Listens before any program is called: [`Context::listener`] and [`Context::udp_socket`] give the sockets, by their names. What
    /// can't be bound keeps the application from starting ([`Error::Listen`]).
    pub fn listener(mut self, listener: ListenerConfig) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Adds a part of the application that starts before its programs and stops after them.
    pub fn subsystem(mut self, subsystem: impl Subsystem) -> Self {
        self.subsystems.push(Box::new(subsystem));
        self
    }

    /// Adds figures of the application's own to those that [`Context::metrics`] gives and that are exported.
    pub fn collector(mut self, collector: impl Collector) -> Self {
        self.collectors.push(Box::new(collector));
        self
    }

    /// Serves all figures to Prometheus over HTTP. Default: not done.
    #[cfg(feature = "prometheus")]
    pub fn prometheus(self, config: super::PrometheusConfig) -> Self {
        self.subsystem(super::prometheus::Prometheus::new(config))
    }

    /// Hands all figures to the recorder of the `metrics` facade, once in `interval`: [`Registry::publish`]. Default: not done.
    ///
    /// [`Registry::publish`]: crate::metrics::Registry::publish
    #[cfg(feature = "metrics-facade")]
    pub fn metrics_facade(self, interval: Duration) -> Self {
        self.subsystem(crate::metrics::Publisher::new(interval))
    }

    /// Writes a line of figures for each queue to the log, once in `interval`. Default: not done.
    pub fn log_figures(self, interval: Duration) -> Self {
        self.subsystem(Figures::new(Some(interval)))
    }

    /// Has the application answer questions on a Unix socket at `path`, of the user that it runs as and of root: see
    /// [`control`](crate::control). At [`default_path`](crate::control::default_path) the tool finds it by itself. Default: not done.
    #[cfg(feature = "control")]
    pub fn control_socket(self, path: impl Into<std::path::PathBuf>) -> Self {
        self.subsystem(super::control_socket::ControlSocket::new(path.into()))
    }

    /// Adds `/dpdk_net/queues` and `/dpdk_net/stats` to what DPDK's own telemetry is asked by `dpdk-telemetry.py`, where EAL serves that
    /// ([`no_telemetry`](dpdk_net_rte::EalBuilder::no_telemetry)). Default: not done; in a file, done.
    #[cfg(feature = "control")]
    pub fn dpdk_telemetry(self) -> Self {
        self.subsystem(super::telemetry::Telemetry::default())
    }

    /// The file that the settings are of.
    #[cfg(feature = "config")]
    pub(super) fn file(mut self, file: std::sync::Arc<dpdk_net_config::File>) -> Self {
        self.file = Some(file);
        self
    }

    /// Changes the first port.
    pub(super) fn on_first(mut self, change: impl FnOnce(PortBuilder) -> PortBuilder) -> Self {
        self.first = change(self.first);
        self
    }

    /// Adds an address with its prefix length, as text: `198.18.0.2/24`, `fd00::2/64`. See [`PortBuilder::address`].
    pub fn address(self, address: impl Into<String>) -> Self {
        self.on_first(|port| port.address(address))
    }

    /// Adds an address with its prefix length. See [`PortBuilder::if_addr`].
    pub fn if_addr(self, address: IfAddr) -> Self {
        self.on_first(|port| port.if_addr(address))
    }

    /// Makes the first port a member of the VLAN with this id, with addresses there, given as text. See [`PortBuilder::vlan`].
    pub fn vlan<I>(self, id: u16, addresses: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.on_first(|port| port.vlan(id, addresses))
    }

    /// As [`vlan`](Self::vlan), with a priority or an MTU of its own. See [`PortBuilder::vlan_with`].
    pub fn vlan_with(self, vlan: Vlan) -> Self {
        self.on_first(|port| port.vlan_with(vlan))
    }

    /// Adds a default route by way of `gateway`, which leaves by the interface on whose prefix that is. See [`PortBuilder::gateway`].
    pub fn gateway(self, gateway: impl Into<IpAddr>) -> Self {
        self.on_first(|port| port.gateway(gateway))
    }

    /// Adds a route. See [`PortBuilder::route`].
    pub fn route(self, route: Route) -> Self {
        self.on_first(|port| port.route(route))
    }

    /// How names are resolved at first; [`Context::dns`] changes it. See [`PortBuilder::dns`].
    #[cfg(feature = "resolver")]
    pub fn dns(self, config: crate::ResolverConfig) -> Self {
        self.on_first(|port| port.dns(config))
    }

    /// The IP MTU in bytes. See [`PortBuilder::mtu`].
    pub fn mtu(self, mtu: u16) -> Self {
        self.on_first(|port| port.mtu(mtu))
    }

    /// The MAC address. See [`PortBuilder::mac`].
    pub fn mac(self, mac: MacAddr) -> Self {
        self.on_first(|port| port.mac(mac))
    }

    /// Changes the stack's configuration: buffers, timeouts, limits. See [`PortBuilder::stack`].
    pub fn stack(self, tune: impl FnOnce(&mut Config) + 'static) -> Self {
        self.on_first(|port| port.stack(tune))
    }

    /// What the worker does when there is nothing to do. Default: [`IdlePolicy::Spin`].
    pub fn idle(mut self, idle: IdlePolicy) -> Self {
        self.idle = idle;
        self
    }

    /// What tasks run on. Default: [`RuntimeKind::Tokio`]. One of your own is given to [`run_on`](Self::run_on).
    pub fn runtime(mut self, runtime: RuntimeKind) -> Self {
        self.runtime = runtime;
        self
    }

    /// Mbufs in the pool. See [`PortBuilder::mbufs`].
    pub fn mbufs(self, mbufs: u32) -> Self {
        self.on_first(|port| port.mbufs(mbufs))
    }

    /// What is wished of the port's offloads. See [`PortBuilder::offloads`].
    pub fn offloads(self, request: OffloadRequest) -> Self {
        self.on_first(|port| port.offloads(request))
    }

    /// What is wished of one offload. See [`PortBuilder::offload`].
    pub fn offload(self, offload: Offload, wish: Wish) -> Self {
        self.on_first(|port| port.offload(offload, wish))
    }

    /// Bytes of memory that bulk is written into once and sent from by reference, as often as need be. See [`PortBuilder::send_memory`].
    pub fn send_memory(self, bytes: usize) -> Self {
        self.on_first(|port| port.send_memory(bytes))
    }

    /// Descriptors of the RX and of the TX ring. See [`PortBuilder::descriptors`].
    pub fn descriptors(self, descriptors: u16) -> Self {
        self.on_first(|port| port.descriptors(descriptors))
    }

    /// How long connections have to finish once the application ends; then they are reset. Default: 10 s.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// How long to wait for the link at start. See [`PortBuilder::link_timeout`].
    pub fn link_timeout(self, timeout: Duration) -> Self {
        self.on_first(|port| port.link_timeout(timeout))
    }

    /// Workers of [`run_each`](Self::run_each), each on an lcore of its own. Default: one for each lcore of EAL (`--lcores`), as
    /// far as the port has queues. [`run`](Self::run) has one.
    pub fn workers(mut self, workers: u16) -> Self {
        self.workers = Some(workers);
        self
    }

    /// RX and TX queues of the port. See [`PortBuilder::queues`].
    pub fn queues(self, queues: u16) -> Self {
        self.on_first(|port| port.queues(queues))
    }

    /// By what the port spreads packets over its queues. See [`PortBuilder::rss`].
    pub fn rss(self, request: RssRequest) -> Self {
        self.on_first(|port| port.rss(request))
    }

    /// How workers that share the port find out whose a packet is that came to the wrong queue.
    pub fn peers(mut self, config: PeersConfig) -> Self {
        self.peers = config;
        self
    }

    /// Moves load from queues that have more than their share to others, once in `interval`. See [`PortBuilder::rebalance`].
    pub fn rebalance(self, interval: Duration) -> Self {
        self.on_first(|port| port.rebalance(interval))
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
        program::one(program, |program| self.run_one(program))
    }

    fn run_one(self, program: Program<'_>) -> Result<(), Error> {
        match self.runtime {
            RuntimeKind::Tokio => super::run::run::<runtime::Tokio>(self, program),
            RuntimeKind::Local => super::run::run::<runtime::Local>(self, program),
            #[cfg(feature = "smol")]
            RuntimeKind::Smol => super::run::run::<runtime::Smol>(self, program),
            #[cfg(feature = "compio")]
            RuntimeKind::Compio => super::run::run::<runtime::Compio>(self, program),
        }
    }

    /// As [`run`](Self::run), on a runtime of your own.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_on<R, F, Fut>(self, program: F) -> Result<Fut::Output, Error>
    where
        R: Runtime,
        F: FnOnce(Context) -> Fut,
        Fut: Future,
    {
        program::one(program, |program| super::run::run::<R>(self, program))
    }

    /// As [`run`](Self::run), with a worker on each of several lcores ([`workers`](Self::workers)), the calling thread, which
    /// has to be EAL's main lcore, among them. `program` is called once for each queue, on the worker that serves it, and what
    /// its futures return comes back in the order of queues. [`Context::queue`] tells which one it is. A queue whose program was
    /// ended before it returned has [`Error::Stopped`] in its place, and what the others returned comes back all the same:
    /// `outcome.into_iter().collect::<Result<Vec<_>, _>>()` is for who wants all or none.
    ///
    /// All queues have the same addresses. A packet goes to the queue that the port's RSS chooses for it; one that belongs to
    /// the connection or socket of another worker is handed over. A listener that is bound in `program`, on each worker, accepts
    /// what comes to its own queue; one that is bound on one worker alone accepts everything there.
    ///
    /// If a program returns early its worker goes on for the others, and its listeners are gone. A signal, or
    /// [`Context::request_shutdown`], ends all of them.
    ///
    /// # Errors
    /// As [`run`](Self::run), [`Error::Stopped`] where no program returned before; [`Error::BadValue`] for more workers than EAL has
    /// lcores or more queues than the port has.
    ///
    /// # Panics
    /// As [`run`](Self::run), where the program panics on the calling thread; elsewhere that is [`Error::Dpdk`].
    pub fn run_each<F, Fut>(self, program: F) -> Result<Vec<Result<Fut::Output, Error>>, Error>
    where
        F: Fn(Context) -> Fut + Sync,
        Fut: Future,
        Fut::Output: Send,
    {
        program::each(&program, |programs| self.run_all(programs))
    }

    fn run_all(self, programs: &Programs<'_>) -> Result<Outcomes<Place>, Error> {
        match self.runtime {
            RuntimeKind::Tokio => super::fleet::run::<runtime::Tokio>(self, programs),
            RuntimeKind::Local => super::fleet::run::<runtime::Local>(self, programs),
            #[cfg(feature = "smol")]
            RuntimeKind::Smol => super::fleet::run::<runtime::Smol>(self, programs),
            #[cfg(feature = "compio")]
            RuntimeKind::Compio => super::fleet::run::<runtime::Compio>(self, programs),
        }
    }

    /// As [`run_each`](Self::run_each), on a runtime of your own.
    ///
    /// # Errors
    /// As [`run_each`](Self::run_each).
    pub fn run_each_on<R, F, Fut>(
        self,
        program: F,
    ) -> Result<Vec<Result<Fut::Output, Error>>, Error>
    where
        R: Runtime,
        F: Fn(Context) -> Fut + Sync,
        Fut: Future,
        Fut::Output: Send,
    {
        program::each(&program, |programs| super::fleet::run::<R>(self, programs))
    }
}
