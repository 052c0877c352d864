//! What the closure of an application is given.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use dpdk_net_rte::flow::Flow;
use dpdk_net_rte::port::Offloads;
use dpdk_net_rte::{Mempool, PortControl};
use tokio::sync::watch;

use super::addressing::Gathered;
use super::listeners::Listeners;
use crate::capture::{Capture, CaptureConfig, CaptureError, Target};
use crate::error::Error;
use crate::handle::Handle;
use crate::metrics::{Collector, Reading, Registry, Source, Telling};
use crate::net::{TcpListener, UdpSocket};
use crate::peers::PeersControl;
use crate::pin::{FlowPolicy, PinTarget, QueuePin, pin};
use crate::stats::{PoolLevel, Snapshot};
use crate::threads::{JoinHandle, SpawnError};
use crate::trace::{ConnectionTracer, TraceOptions};

/// A running application: its shutdown, its figures, its worker and port. Cheap to clone, `Send` and
/// `Sync`.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    queue: u16,
    shared: Arc<Shared>,
    listeners: Listeners,
    /// Whether the program ever asked for the shutdown's future.
    observed: AtomicBool,
}

/// What the contexts of all queues of all ports share.
pub(super) struct Common {
    started: Instant,
    shutdown: watch::Sender<bool>,
    /// Queues to which connections may still be on their way that they will accept.
    arriving: watch::Sender<usize>,
    flow_policy: FlowPolicy,
    metrics: Registry,
}

impl Common {
    /// Of an application with so many queues.
    pub(super) fn new(
        flow_policy: FlowPolicy,
        queues: usize,
        collectors: Vec<Box<dyn Collector>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            shutdown: watch::Sender::new(false),
            arriving: watch::Sender::new(queues),
            flow_policy,
            metrics: Registry::new(collectors),
        })
    }

    /// To be kept until the application has ended: its figures are told no longer.
    pub(super) fn telling(&self) -> Telling {
        Telling::of(&self.metrics)
    }

    /// Waits until the application is to end.
    pub(super) async fn requested(&self) {
        let _ = self.shutdown.subscribe().wait_for(|on| *on).await;
    }

    /// Nothing is on its way to one queue any more. To be told once of each.
    pub(super) fn arrived(&self) {
        self.arriving
            .send_modify(|queues| *queues = queues.saturating_sub(1));
    }

    /// Waits until that is so of all queues.
    pub(super) async fn all_arrived(&self) {
        let mut arriving = self.arriving.subscribe();
        // The sender lives as long as this.
        let _ = arriving.wait_for(|queues| *queues == 0).await;
    }

    /// Ends the application as a signal would.
    pub(super) fn request_shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}

/// What the contexts of all queues of a port share.
pub(super) struct Shared {
    common: Arc<Common>,
    name: String,
    port: PortControl,
    mempools: Vec<Mempool>,
    /// What the workers share, if there are several.
    peers: Option<PeersControl>,
    dns: Gathered,
    /// The handles of all queues, once all are there.
    handles: OnceLock<Vec<Handle>>,
}

impl Shared {
    pub(super) fn new(
        common: Arc<Common>,
        name: String,
        port: PortControl,
        mempools: Vec<Mempool>,
        peers: Option<PeersControl>,
    ) -> Arc<Self> {
        let registry = common.metrics.clone();
        let shared = Arc::new(Self {
            common,
            name,
            port,
            mempools,
            peers,
            dns: Gathered::default(),
            handles: OnceLock::new(),
        });
        registry.add_port(Box::new(Arc::downgrade(&shared)));
        shared
    }

    /// How long the application has been running.
    pub(super) fn uptime(&self) -> Duration {
        self.common.started.elapsed()
    }

    /// How full the mempools are.
    pub(super) fn levels(&self) -> Vec<PoolLevel> {
        let level = |pool: &Mempool| PoolLevel {
            name: pool.name().to_owned(),
            capacity: pool.capacity(),
            in_use: pool.in_use(),
        };
        self.mempools.iter().map(level).collect()
    }

    /// What the application calls the port.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn port(&self) -> &PortControl {
        &self.port
    }

    /// What is known of DNS.
    pub(super) fn dns(&self) -> &Gathered {
        &self.dns
    }

    /// The handles of all queues, by their numbers.
    pub(super) fn handles(&self) -> &[Handle] {
        self.handles.get().map_or(&[], Vec::as_slice)
    }

    /// To be called once, before there is a context.
    pub(super) fn set_handles(&self, handles: Vec<Handle>) {
        // The first ones stay.
        let _ = self.handles.set(handles);
    }
}

/// Weak: a registry that somebody keeps does not keep the port.
impl Reading for Weak<Shared> {
    fn read(&self, gather: &mut dyn FnMut(&Source<'_>)) {
        if let Some(shared) = self.upgrade() {
            gather(&Source {
                name: &shared.name,
                port: &shared.port,
                mempools: &shared.mempools,
                handles: shared.handles(),
                peers: shared.peers.as_ref(),
            });
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("shutting_down", &self.is_shutting_down())
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(
        handle: Handle,
        queue: u16,
        shared: Arc<Shared>,
        listeners: Listeners,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                handle,
                queue,
                shared,
                listeners,
                observed: AtomicBool::new(false),
            }),
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.inner.shared
    }

    /// What the application calls the port that it serves: [`PortBuilder::alias`](crate::PortBuilder::alias), or DPDK's name for it.
    pub fn port_name(&self) -> &str {
        &self.inner.shared.name
    }

    /// The number of its queue, of this port's, counted from 0.
    pub fn queue(&self) -> u16 {
        self.inner.queue
    }

    /// The same as [`queue`](Self::queue).
    pub fn queue_id(&self) -> u16 {
        self.queue()
    }

    /// Takes the TCP listener of this queue that has this name: [`AppBuilder::listener`](crate::AppBuilder::listener), or a file's
    /// `[[listener]]`. It has been listening since before the program was called.
    ///
    /// # Errors
    /// `NotFound` where there is none on this queue, or it was taken before; `InvalidInput` where it is a UDP socket.
    pub fn listener(&self, name: &str) -> io::Result<TcpListener> {
        self.inner.listeners.tcp(name)
    }

    /// Takes the TCP listener with TLS of this queue that has this name: [`ListenerConfig::tls`](crate::ListenerConfig::tls), or a file's
    /// `[[listener]]` with `tls`. A listener with TLS is not to be had as one without.
    ///
    /// # Errors
    /// As [`listener`](Self::listener); `InvalidInput` where it has no TLS.
    #[cfg(feature = "tls")]
    pub fn tls_listener(&self, name: &str) -> io::Result<crate::tls::TlsListener> {
        self.inner.listeners.tls(name)
    }

    /// Takes the UDP socket of this queue that has this name.
    ///
    /// # Errors
    /// As [`listener`](Self::listener); `InvalidInput` where it is a TCP listener.
    pub fn udp_socket(&self, name: &str) -> io::Result<UdpSocket> {
        self.inner.listeners.udp(name)
    }

    /// The handles of all queues of this port, by their numbers, this one's among them: for sockets on another worker.
    pub fn handles(&self) -> &[Handle] {
        self.inner.shared.handles()
    }

    /// Resolves when the application is to end: on SIGINT or SIGTERM, or after
    /// [`request_shutdown`](Self::request_shutdown). At once, if that was before.
    ///
    /// Fits `axum::serve(..).with_graceful_shutdown(ctx.shutdown())`.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.observed.store(true, Ordering::Relaxed);
        let mut shutdown = self.inner.shared.common.shutdown.subscribe();
        let keep = self.inner.clone();
        async move {
            // The sender lives as long as `keep`: waiting can't fail.
            let _ = shutdown.wait_for(|ending| *ending).await;
            drop(keep);
        }
    }

    /// Ends the application as a signal would.
    pub fn request_shutdown(&self) {
        self.inner.shared.common.request_shutdown();
    }

    /// Whether the application is ending.
    pub fn is_shutting_down(&self) -> bool {
        *self.inner.shared.common.shutdown.borrow()
    }

    pub(super) fn common(&self) -> &Common {
        &self.inner.shared.common
    }

    pub(super) fn shutdown_observed(&self) -> bool {
        self.inner.observed.load(Ordering::Relaxed)
    }

    pub(super) async fn requested(&self) {
        // As in `shutdown`, without counting as the program's interest.
        self.inner.shared.common.requested().await;
    }

    /// The handle of this queue: for threads that want to make sockets.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// Spawns a future on a worker of this port, by the number of its queue, from any thread: see [`Handle::spawn_on`].
    ///
    /// # Errors
    /// As [`Handle::spawn_on`], and where the port has no such queue.
    pub fn spawn_on<M, F>(
        &self,
        worker: u16,
        make: M,
    ) -> Result<JoinHandle<F::Output>, SpawnError<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        let (asked, workers) = (usize::from(worker), self.handles());
        match workers.get(asked) {
            Some(worker) => worker.spawn_on(make),
            None => Err(SpawnError::no_such_worker(asked, workers.len(), make)),
        }
    }

    /// The port's control side: link, MAC, MTU, statistics.
    pub fn port(&self) -> &PortControl {
        &self.inner.shared.port
    }

    /// Has a connection, or what comes to a port number, come to this queue by a flow rule of the NIC, for as long as what is returned
    /// is not dropped. Where the port refuses, packets that come to other queues are handed over, or it is an error: as
    /// [`AppBuilder::flow_rules`](crate::AppBuilder::flow_rules) says.
    ///
    /// Moving a connection to another worker leaves its rule as it is: pin it anew from there.
    ///
    /// # Errors
    /// [`Error::BadTarget`] for what no rule can tell; with [`FlowPolicy::Pin`] the port's refusal.
    pub fn pin(&self, target: &PinTarget) -> Result<QueuePin<Flow>, Error> {
        pin(
            self.port(),
            self.inner.shared.common.flow_policy,
            target,
            self.queue(),
        )
    }

    /// The addresses of the interface, the IPv6 link-local one included.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.inner.handle.addresses()
    }

    /// How names are resolved, by all workers: to be changed by [`Dns::change`](crate::Dns::change).
    #[cfg(feature = "resolver")]
    pub fn dns(&self) -> &crate::Dns {
        self.inner.handle.dns()
    }

    /// Which of the port's offloads are on, and why others are not.
    pub fn offloads(&self) -> Offloads {
        self.inner.shared.port.offloads()
    }

    /// Begins a capture of this port's queues: see [`capture`](crate::capture).
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn capture(&self, config: CaptureConfig) -> Result<Capture, CaptureError> {
        let queues = (0..).zip(self.handles());
        let targets = queues.map(|(queue, handle)| self.target(queue, handle));
        Capture::start(targets.collect(), config)
    }

    /// One of the port's queues, as it may be captured.
    pub(super) fn target(&self, queue: u16, handle: &Handle) -> Target {
        Target {
            port: self.port_name().to_owned(),
            device: self.port().name().to_owned(),
            queue,
            handle: handle.clone(),
        }
    }

    /// Traces connections of all queues of this port.
    ///
    /// # Errors
    /// As [`Handle::trace`].
    pub fn trace(&self, options: &TraceOptions) -> io::Result<ConnectionTracer> {
        ConnectionTracer::of(self.handles().iter().map(Handle::shard), options)
    }

    /// All figures of the application, of every port and queue.
    pub fn metrics(&self) -> &Registry {
        &self.inner.shared.common.metrics
    }

    /// A snapshot of all figures of this queue. Lists every connection: for people, not for a loop.
    pub fn stats(&self) -> Snapshot {
        let shard = self.inner.handle.stats();
        Snapshot {
            uptime: self.inner.shared.uptime(),
            stack: shard.stack,
            worker: shard.worker,
            tx_offloads_given_up: shard.tx_offloads_given_up,
            port: self.inner.shared.port.stats().ok(),
            offloads: self.inner.shared.port.offloads(),
            mempools: self.inner.shared.levels(),
            connections: self.inner.handle.connections(),
            tcp_orphans: shard.tcp_orphans,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn all_have_arrived_once_each_queue_has_told() {
        let common = Common::new(FlowPolicy::Prefer, 2, Vec::new());
        let mut waiting = std::pin::pin!(common.all_arrived());
        assert!(waiting.as_mut().now_or_never().is_none());
        common.arrived();
        assert!(waiting.as_mut().now_or_never().is_none());
        common.arrived();
        assert!(waiting.as_mut().now_or_never().is_some());
        assert!(common.all_arrived().now_or_never().is_some());
    }
}
