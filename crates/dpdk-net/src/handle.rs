//! Which worker a socket belongs to: a handle, and the thread's current one.
//!
//! A worker makes its handle current on its own thread, so `TcpListener::bind` in one of its tasks finds
//! it. Other threads enter a handle for a scope, or wrap a future in one. The handle holds the shard, not
//! the worker: sockets outlive their worker without harm and report that it has ended.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use dpdk_net_stack::{
    HalfId, ListPage, ListPlace, ListenerInfo, NeighborInfo, RouteInfo, TcpConnection, TcpId,
    TcpInfo, TcpMinisocket, TimeWaitId, UdpId, UdpSocketInfo,
};

use crate::error::{Error, worker_gone};
use crate::shard::{Shard, State, migrate};
use crate::stats::{ShardFigures, ShardStats, WorkerThread};
use crate::threads::{self, JoinHandle, SpawnError};
use crate::trace::{ConnectionTracer, TraceOptions};

thread_local! {
    static CURRENT: RefCell<Option<Handle>> = const { RefCell::new(None) };
}

/// A reference to a worker's shard: where sockets are made. Cheap to clone, `Send` and `Sync`.
#[derive(Clone)]
pub struct Handle {
    shard: Arc<Shard>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self { shard }
    }

    /// The handle of the worker that this thread runs, or that it entered.
    ///
    /// # Errors
    /// [`Error::NoWorker`] on a thread that has neither.
    pub fn current() -> Result<Self, Error> {
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
            .ok_or(Error::NoWorker)
    }

    /// The shard in which a socket is to be made now.
    pub(crate) fn current_shard() -> io::Result<Arc<Shard>> {
        let shard = Self::current()?.shard;
        if shard.lock().ended {
            return Err(worker_gone());
        }
        Ok(shard)
    }

    /// Makes this the thread's current handle until the guard is dropped.
    ///
    /// Guards are to be dropped in the reverse order of their making, and not held across an `.await`:
    /// another task would run with this handle. [`Handle::scope`] is for futures.
    #[must_use = "the handle is current only as long as the guard lives"]
    pub fn enter(&self) -> EnterGuard<'_> {
        EnterGuard {
            previous: CURRENT.replace(Some(self.clone())),
            _handle: PhantomData,
        }
    }

    /// Runs `future` with this handle current whenever it is polled.
    ///
    /// Tasks that the future spawns do not inherit it; wrap them too.
    pub fn scope<F: Future>(&self, future: F) -> Scope<F> {
        Scope {
            handle: self.clone(),
            future: Box::pin(future),
        }
    }

    /// Spawns a future on this worker, from any thread: `make` is sent there, and what it makes need not be `Send`. It runs as
    /// long as the worker does, with this handle current.
    ///
    /// Neither blocks nor makes a system call: the worker finds it after its next turn. It runs whenever the worker does
    /// ([`Worker::block_on`](crate::Worker::block_on)).
    ///
    /// # Errors
    /// [`SpawnError`], which gives `make` back, where the worker has ended, where 1024 tasks wait to be spawned there already, and for the
    /// handle of a [`Reactor`](crate::Reactor) that no [`Worker`](crate::Worker) runs.
    pub fn spawn_on<M, F>(&self, make: M) -> Result<JoinHandle<F::Output>, SpawnError<M>>
    where
        M: FnOnce() -> F + Send + 'static,
        F: Future + 'static,
        F::Output: Send + 'static,
    {
        threads::spawn_on(self, make)
    }

    /// A snapshot of the stack's and the worker's figures, taken in one critical section.
    pub fn stats(&self) -> ShardStats {
        Self::stats_of(&self.shard.lock())
    }

    /// All that a registry tells, taken in one critical section: as long however many connections there are.
    /// All figures, and those of so many listeners. What takes longer the more there is, listeners and neighbours, is read in pages, each a
    /// critical section of its own.
    pub(crate) fn figures(&self, most_listeners: usize) -> ShardFigures {
        let (mut figures, mut more, mut uncounted) = self.with(|state| {
            let stack = &state.stack;
            let mut gauges = stack.gauges_at_once();
            let uncounted = stack.count_neighbors(ListPlace::START, &mut gauges.neighbors);
            let listeners = stack.listener_infos(ListPlace::START, most_listeners);
            let figures = ShardFigures {
                stats: Self::stats_of(state),
                gauges,
                tcp: stack.tcp_histograms(),
                listeners: listeners.entries,
            };
            (figures, listeners.next, uncounted)
        });
        while let Some(from) = uncounted {
            let gauges = &mut figures.gauges.neighbors;
            uncounted = self.with(|state| state.stack.count_neighbors(from, gauges));
        }
        while let Some(from) = more
            && let Some(room @ 1..) = most_listeners.checked_sub(figures.listeners.len())
        {
            let page = self.listener_infos(from, room);
            figures.listeners.extend(page.entries);
            more = page.next;
        }
        figures
    }

    fn stats_of(state: &State) -> ShardStats {
        ShardStats {
            stack: state.stack.stats(),
            worker: state.worker.snapshot(),
            turns: state.turns.snapshot(),
            tx_offloads_given_up: state.given_up,
            tcp_connections: state.stack.tcp_count(),
            tcp_orphans: state.stack.tcp_orphans(),
        }
    }

    /// The thread that the worker runs on.
    pub fn thread(&self) -> WorkerThread {
        self.shard.thread()
    }

    /// What the runtime of the worker tells of itself, at the worker's first queue.
    pub(crate) fn runtime_metrics(&self) -> Option<&tokio::runtime::RuntimeMetrics> {
        self.shard.runtime().get()
    }

    /// Every TCP connection of the shard. The cost grows with their number, and the worker waits
    /// meanwhile: this is for people, not for a loop.
    pub fn connections(&self) -> Vec<TcpConnection> {
        self.with(|state| state.stack.tcp_connections().into_iter().collect())
    }

    /// TCP connections in detail, a page at a time: at most `most` of them, from the beginning or from where the page before says that the
    /// list goes on. Each call is one critical section: hundreds at a time keep no worker for long, whichever page it is. See
    /// [`Stack::tcp_infos`](dpdk_net_stack::Stack::tcp_infos).
    pub fn tcp_infos(&self, from: ListPlace, most: usize) -> ListPage<(TcpId, TcpInfo)> {
        self.with(|state| state.stack.tcp_infos(from, most))
    }

    /// Handshakes that listeners have not completed yet, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    pub fn tcp_half_open_infos(
        &self,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(HalfId, TcpMinisocket)> {
        self.with(|state| state.stack.tcp_half_open_infos(from, most))
    }

    /// Connections in TIME-WAIT that the application has let go of, a page at a time as [`tcp_infos`](Self::tcp_infos) has
    /// connections.
    pub fn tcp_time_wait_infos(
        &self,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(TimeWaitId, TcpMinisocket)> {
        self.with(|state| state.stack.tcp_time_wait_infos(from, most))
    }

    /// All TCP listeners of the shard, in one critical section.
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        self.with(|state| state.stack.listeners())
    }

    /// TCP listeners, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    pub fn listener_infos(&self, from: ListPlace, most: usize) -> ListPage<ListenerInfo> {
        self.with(|state| state.stack.listener_infos(from, most))
    }

    /// UDP sockets, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    pub fn udp_sockets(&self, from: ListPlace, most: usize) -> ListPage<(UdpId, UdpSocketInfo)> {
        self.with(|state| state.stack.udp_sockets(from, most))
    }

    /// The addresses of the shard's interface, the IPv6 link-local one included.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.with(|state| state.stack.addresses().iter().map(|a| a.addr).collect())
    }

    /// How names are resolved, here and by all workers of the application.
    #[cfg(feature = "resolver")]
    pub fn dns(&self) -> &crate::Dns {
        self.shard.names().dns()
    }

    /// The routes of the shard's stack, in the order of precedence.
    pub fn routes(&self) -> Vec<RouteInfo> {
        self.with(|state| state.stack.routes())
    }

    /// The neighbours that the shard's stack knows, read in pages of 512, each a critical section of its own: one that comes meanwhile
    /// may be missed.
    pub fn neighbors(&self) -> Vec<NeighborInfo> {
        let mut all = Vec::new();
        let mut from = Some(ListPlace::START);
        while let Some(place) = from {
            let page = self.with(|state| state.stack.neighbor_infos(place));
            all.extend(page.entries);
            from = page.next;
        }
        all
    }

    /// Refuses new connections from now on (`true`), or takes them again (`false`). Established ones
    /// go on.
    pub fn refuse_new(&self, refuse: bool) {
        self.with(|state| state.stack.refuse_new(refuse));
    }

    /// How many connections still have something to exchange: all but those in TIME-WAIT. They are not walked through.
    pub fn connection_count(&self) -> usize {
        self.with(|state| state.stack.tcp_count())
    }

    /// Traces connections of this worker.
    ///
    /// # Errors
    /// `InvalidInput` for options with numbers that can't be; `OutOfMemory` where 16 tracers wait for new connections already,
    /// or too little memory is left to traces ([`MOST_MEMORY`](crate::trace::MOST_MEMORY)).
    pub fn trace(&self, options: &TraceOptions) -> io::Result<ConnectionTracer> {
        ConnectionTracer::of([&self.shard], options)
    }

    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Moves up to `most` of this worker's connections, those that `which` says, to the worker of `to`, and returns how many moved:
    /// see [`TcpStream::migrate`](crate::net::TcpStream::migrate). Connections that can't move stay; one that has been moved and
    /// not been used since is left where it is.
    ///
    /// It looks at every connection, and the worker waits meanwhile.
    pub fn migrate(
        &self,
        to: &Handle,
        most: usize,
        mut which: impl FnMut(&TcpConnection) -> bool,
    ) -> usize {
        self.disperse(most, |connection| which(connection).then_some(to))
            .0
    }

    /// Moves up to `most` connections to the workers that `target` names; tells how many moved, and how many are to go and did not.
    pub(crate) fn disperse<'a>(
        &self,
        most: usize,
        mut target: impl FnMut(&TcpConnection) -> Option<&'a Handle>,
    ) -> (usize, usize) {
        let all = self.with(|state| {
            let all = state.stack.tcp_connections_by_id().into_iter();
            let all = all.map(|(id, it)| (id, it, state.is_unnoticed(id)));
            all.collect::<Vec<_>>()
        });
        let (mut moved, mut left) = (0, 0);
        for (id, connection, unnoticed) in all {
            let Some(to) = target(&connection) else {
                continue;
            };
            if unnoticed || moved >= most {
                left += 1;
            } else if migrate(&self.shard, id, &to.shard).is_ok() {
                moved += 1;
            }
        }
        (moved, left)
    }

    /// Whether the worker is ending, or has ended.
    pub(crate) fn is_closing(&self) -> bool {
        self.with(|state| state.closing || state.ended)
    }

    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.shard.lock())
    }
}

/// Keeps a [`Handle`] current on this thread. See [`Handle::enter`].
#[must_use = "the handle is current only as long as the guard lives"]
pub struct EnterGuard<'a> {
    previous: Option<Handle>,
    // Not Send: it restores the state of the thread it was made on.
    _handle: PhantomData<(&'a Handle, *const ())>,
}

impl fmt::Debug for EnterGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnterGuard").finish_non_exhaustive()
    }
}

impl Drop for EnterGuard<'_> {
    fn drop(&mut self) {
        let previous = self.previous.take();
        // Fails only while the thread's locals are being destroyed: then there is nothing to restore.
        let _ = CURRENT.try_with(|current| current.replace(previous));
    }
}

/// The future of [`Handle::scope`].
#[must_use = "futures do nothing unless awaited"]
pub struct Scope<F> {
    handle: Handle,
    // Boxed once per scope: pinning a field in place would take unsafe code.
    future: Pin<Box<F>>,
}

impl<F> fmt::Debug for Scope<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

impl<F: Future> Future for Scope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let _guard = this.handle.enter();
        this.future.as_mut().poll(cx)
    }
}
