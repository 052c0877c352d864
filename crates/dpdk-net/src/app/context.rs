//! What the closure of an application is given.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dpdk_net_rte::PortControl;
use dpdk_net_rte::port::Offloads;
use tokio::sync::watch;

use crate::handle::Handle;
use crate::stats::Snapshot;

/// A running application: its shutdown, its figures, its worker and port. Cheap to clone, `Send` and
/// `Sync`.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

struct Inner {
    handle: Handle,
    port: PortControl,
    started: Instant,
    shutdown: watch::Sender<bool>,
    /// Whether the program ever asked for the shutdown's future.
    observed: AtomicBool,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("shutting_down", &self.is_shutting_down())
            .finish_non_exhaustive()
    }
}

impl Context {
    pub(super) fn new(handle: Handle, port: PortControl) -> Self {
        Self {
            inner: Arc::new(Inner {
                handle,
                port,
                started: Instant::now(),
                shutdown: watch::Sender::new(false),
                observed: AtomicBool::new(false),
            }),
        }
    }

    /// Resolves when the application is to end: on SIGINT or SIGTERM, or after
    /// [`request_shutdown`](Self::request_shutdown). At once, if that was before.
    ///
    /// Fits `axum::serve(..).with_graceful_shutdown(ctx.shutdown())`.
    pub fn shutdown(&self) -> impl Future<Output = ()> + Send + 'static {
        self.inner.observed.store(true, Ordering::Relaxed);
        let mut shutdown = self.inner.shutdown.subscribe();
        let keep = self.inner.clone();
        async move {
            // The sender lives as long as `keep`: waiting can't fail.
            let _ = shutdown.wait_for(|ending| *ending).await;
            drop(keep);
        }
    }

    /// Ends the application as a signal would.
    pub fn request_shutdown(&self) {
        self.inner.shutdown.send_replace(true);
    }

    /// Whether the application is ending.
    pub fn is_shutting_down(&self) -> bool {
        *self.inner.shutdown.borrow()
    }

    pub(super) fn shutdown_observed(&self) -> bool {
        self.inner.observed.load(Ordering::Relaxed)
    }

    pub(super) async fn requested(&self) {
        // As in `shutdown`, without counting as the program's interest.
        let _ = self.inner.shutdown.subscribe().wait_for(|on| *on).await;
    }

    /// The worker's handle: for threads that want to make sockets.
    pub fn handle(&self) -> &Handle {
        &self.inner.handle
    }

    /// The port's control side: link, MAC, MTU, statistics.
    pub fn port(&self) -> &PortControl {
        &self.inner.port
    }

    /// The addresses of the interface, the IPv6 link-local one included.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.inner.handle.addresses()
    }

    /// Which of the port's offloads are on, and why others are not.
    pub fn offloads(&self) -> Offloads {
        self.inner.port.offloads()
    }

    /// A snapshot of all figures. Lists every connection: for people, not for a loop.
    pub fn stats(&self) -> Snapshot {
        let shard = self.inner.handle.stats();
        Snapshot {
            uptime: self.inner.started.elapsed(),
            stack: shard.stack,
            worker: shard.worker,
            port: self.inner.port.stats().ok(),
            offloads: self.inner.port.offloads(),
            connections: self.inner.handle.connections(),
            tcp_orphans: shard.tcp_orphans,
        }
    }
}
