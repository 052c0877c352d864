//! The shard: one worker's stack and the wakers of its sockets, behind one lock.
//!
//! The worker's own core takes the lock once a turn of its loop and once a socket operation, and finds
//! it free; sockets are used from other threads too, for which the worker gives way between two turns
//! ([`turn_lock`]).
//!
//! What a critical section may do
//! - call the stack, move bytes between it and a caller's buffer, swap wakers in and out;
//! - fill mbufs that are already in hand.
//!
//! What it must not do
//! - wake or drop a [`Waker`]: either may run a task's destructor, which may close a socket, which takes
//!   this lock. Wakers leave the critical section and are woken and dropped outside it;
//! - run a caller's code (a `BufMut` of the program's own, a closure given to `try_io`);
//! - call a driver, block, log, or take another lock. [`migrate`] alone takes two, and always that of the lower address
//!   first; whoever has one of them waits for nobody.
//!
//! A connection may move to another shard while its socket is used: the old shard then tells where it has gone, until the
//! socket has noticed.
//!
//! [`Socket`] is what every public socket is made of: a reference to the shard, an id in its stack, and
//! one way each to try, to poll and to wait. The worker's side of the shard lives in `worker.rs`.

mod lock;
mod migrate;
mod trace;
mod turn_lock;
#[cfg(test)]
mod turn_tests;

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use dpdk_net_rte::tsc::TscClock;
use dpdk_net_stack::{self as stack, Event, Instant, ListenerId, Readiness, Stack, TcpId, UdpId};
use parking_lot::RwLock;
use slotmap::{Key, SecondaryMap};
use tokio::runtime::RuntimeMetrics;

use crate::capture::Tap;
use crate::error::{io_error, worker_gone};
use crate::events;
use crate::runtime::coop;
use crate::stats::{WorkerCounters, WorkerDistributions, WorkerThread};
use crate::threads::mailbox::Mailbox;
use crate::wakers::{Side, SocketWakers};

pub(crate) use self::migrate::migrate;
use self::turn_lock::TurnLock;

/// A worker's stack and the wakers of its sockets. See the module's header for the rules of its lock.
pub(crate) struct Shard {
    state: TurnLock<State>,
    mailbox: Mailbox,
    thread: WorkerThread,
    /// What the times of the state are told by.
    clock: TscClock,
    /// Of the runtime that it was given, once for all queues of a worker: the first one's.
    runtime: OnceLock<RuntimeMetrics>,
    #[cfg(feature = "resolver")]
    names: crate::resolver::Names,
}

/// What the lock of a [`Shard`] protects.
pub(crate) struct State {
    /// The TCP/IP stack.
    pub(crate) stack: Stack,
    /// The time of the worker's current turn: what socket operations use as "now".
    pub(crate) now: Instant,
    /// Figures of the worker's loop.
    pub(crate) worker: WorkerCounters,
    pub(crate) turns: WorkerDistributions,
    /// Offloads that the driver does not do: [`ShardStats`](crate::ShardStats) has them.
    pub(crate) given_up: u64,
    /// The worker has ended: nothing will ever be ready again.
    pub(crate) ended: bool,
    /// The worker is ending: no connection comes here any more.
    pub(crate) closing: bool,
    /// What is to be captured from the worker's next turn on. It looks whether it still is where there are any, or none.
    pub(crate) taps: Option<Vec<Tap>>,
    tcp: SecondaryMap<TcpId, SocketWakers>,
    listeners: SecondaryMap<ListenerId, SocketWakers>,
    udp: SecondaryMap<UdpId, SocketWakers>,
    /// Connections that have moved to other shards, until their sockets follow.
    gone: HashMap<TcpId, Place<TcpId>>,
    /// Connections that have come from other shards and whose sockets do not know yet.
    unnoticed: HashSet<TcpId>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(
        stack: Stack,
        clock: TscClock,
        now: Instant,
        #[cfg(feature = "resolver")] dns: crate::resolver::Dns,
    ) -> Arc<Self> {
        Arc::new(Self {
            clock,
            runtime: OnceLock::new(),
            mailbox: Mailbox::new(),
            #[cfg(feature = "resolver")]
            names: crate::resolver::Names::new(dns),
            thread: WorkerThread::current(),
            state: TurnLock::new(State {
                stack,
                now,
                worker: WorkerCounters::default(),
                turns: WorkerDistributions::default(),
                given_up: 0,
                ended: false,
                closing: false,
                taps: None,
                tcp: SecondaryMap::new(),
                listeners: SecondaryMap::new(),
                udp: SecondaryMap::new(),
                gone: HashMap::new(),
                unnoticed: HashSet::new(),
            }),
        })
    }

    /// The thread that it was made on, which is its worker's.
    pub(crate) fn thread(&self) -> WorkerThread {
        self.thread
    }

    /// The worker's clock, by which its stack's times are: each port has its own.
    pub(crate) fn clock(&self) -> TscClock {
        self.clock
    }

    /// How names are resolved here. Not behind the lock.
    #[cfg(feature = "resolver")]
    pub(crate) fn names(&self) -> &crate::resolver::Names {
        &self.names
    }

    /// What the worker's runtime tells of itself. Not behind the lock.
    pub(crate) fn runtime(&self) -> &OnceLock<RuntimeMetrics> {
        &self.runtime
    }

    /// What other threads have its worker do. Not behind the lock.
    pub(crate) fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl State {
    /// Drains the stack's events and moves the wakers they concern to `out`.
    #[inline]
    pub(crate) fn collect_wakers(&mut self, out: &mut Vec<Waker>) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Tcp(id, readiness) => {
                    if let Some(wakers) = self.tcp.get_mut(id) {
                        wakers.take(readiness, out);
                    }
                }
                Event::Udp(id, readiness) => {
                    if let Some(wakers) = self.udp.get_mut(id) {
                        wakers.take(readiness, out);
                    }
                }
                Event::Listener(id) => {
                    if let Some(wakers) = self.listeners.get_mut(id) {
                        wakers.take(Readiness::READABLE, out);
                    }
                }
            }
        }
    }

    /// Has frames captured; `false` where the worker has ended.
    pub(crate) fn tap(&mut self, tap: Tap) -> bool {
        self.look_at_taps();
        let taps = self.taps.as_mut().map(|taps| taps.push(tap));
        taps.is_some()
    }

    /// Has the worker let go of what nobody captures any more.
    pub(crate) fn look_at_taps(&mut self) {
        if !self.ended {
            let taps = self.taps.get_or_insert_default();
            taps.retain(|tap| !tap.is_over());
        }
    }

    /// Marks the end of the worker: everybody who waits is woken and finds that out.
    pub(crate) fn end(&mut self, out: &mut Vec<Waker>) {
        self.ended = true;
        self.taps = None;
        let all = Readiness::all();
        self.tcp.values_mut().for_each(|w| w.take(all, out));
        self.udp.values_mut().for_each(|w| w.take(all, out));
        self.listeners.values_mut().for_each(|w| w.take(all, out));
    }
}

/// What the ids of the stack's three kinds of socket have in common.
pub(crate) trait SocketKey: Key + 'static {
    /// The table that holds the wakers of this kind.
    fn table(state: &mut State) -> &mut SecondaryMap<Self, SocketWakers>;
    /// What the socket is ready for now.
    fn readiness(self, state: &State) -> Readiness;
    /// Lets go of the socket in the stack.
    fn close(self, state: &mut State);
    /// Where it has gone from here.
    #[inline(always)]
    fn gone(self, _: &State) -> Option<Place<Self>> {
        None
    }
    /// Its socket follows it from here.
    fn leaves(self, _: &mut State) {}
    /// Its socket has followed it to here.
    fn arrives(self, _: &mut State) {}
    /// Its local address, where its end is told by [`tell_closed`](Self::tell_closed).
    fn told_as(self, _: &State) -> Option<SocketAddr> {
        None
    }
    /// It is closed: outside the lock.
    fn tell_closed(_: SocketAddr) {}
}

impl SocketKey for TcpId {
    fn table(state: &mut State) -> &mut SecondaryMap<Self, SocketWakers> {
        &mut state.tcp
    }
    fn readiness(self, state: &State) -> Readiness {
        state.stack.tcp_readiness(self)
    }
    fn close(self, state: &mut State) {
        state.stack.tcp_close(state.now, self);
    }
    #[inline(always)]
    fn gone(self, state: &State) -> Option<Place<Self>> {
        if state.gone.is_empty() {
            return None;
        }
        state.gone.get(&self).cloned()
    }
    fn leaves(self, state: &mut State) {
        state.gone.remove(&self);
    }
    fn arrives(self, state: &mut State) {
        state.unnoticed.remove(&self);
    }
}

impl SocketKey for ListenerId {
    fn table(state: &mut State) -> &mut SecondaryMap<Self, SocketWakers> {
        &mut state.listeners
    }
    fn readiness(self, _: &State) -> Readiness {
        // The stack tells of listeners by event alone, and `accept` asks it directly.
        Readiness::empty()
    }
    fn close(self, state: &mut State) {
        state.stack.tcp_listener_close(self);
    }
    fn told_as(self, state: &State) -> Option<SocketAddr> {
        state.stack.tcp_listener_local(self)
    }
    fn tell_closed(local: SocketAddr) {
        events::listener_closed(local);
    }
}

impl SocketKey for UdpId {
    fn table(state: &mut State) -> &mut SecondaryMap<Self, SocketWakers> {
        &mut state.udp
    }
    fn readiness(self, state: &State) -> Readiness {
        state.stack.udp_readiness(self)
    }
    fn close(self, state: &mut State) {
        state.stack.udp_close(self);
    }
    fn told_as(self, state: &State) -> Option<SocketAddr> {
        state.stack.udp_local(self)
    }
    fn tell_closed(local: SocketAddr) {
        events::udp_closed(local);
    }
}

/// Where a socket is: in whose stack, and under which id.
pub(crate) struct Place<K> {
    shard: Arc<Shard>,
    key: K,
}

impl<K: Copy> Clone for Place<K> {
    fn clone(&self) -> Self {
        Self {
            shard: self.shard.clone(),
            key: self.key,
        }
    }
}

/// A socket of the stack that its holder owns: dropping it closes it there.
pub(crate) struct Socket<K: SocketKey> {
    /// Where it was made.
    home: Place<K>,
    /// Where it has been followed to since, if it has moved. Written under the lock of the shard that it leaves.
    moved: OnceLock<RwLock<Place<K>>>,
}

impl<K: SocketKey> std::fmt::Debug for Socket<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.home.key).finish()
    }
}

impl<K: SocketKey> Drop for Socket<K> {
    fn drop(&mut self) {
        let heard = events::are_sockets_heard();
        let (wakers, local) = self.with(|state, key| {
            let local = if heard { key.told_as(state) } else { None };
            key.close(state);
            (K::table(state).remove(key), local)
        });
        // Outside the lock: see the module's header.
        drop(wakers);
        if let Some(local) = local {
            K::tell_closed(local);
        }
    }
}

/// What became of an operation that was tried.
enum Tried<R> {
    Done(R),
    /// The caller waits; the waker that it took the place of.
    Waits(Option<Waker>),
    /// With whether the worker has ended.
    Failed(stack::Error, bool),
}

impl<K: SocketKey> Socket<K> {
    /// Takes ownership of a socket that the stack just made.
    pub(crate) fn own(shard: Arc<Shard>, key: K) -> Self {
        Self {
            home: Place { shard, key },
            moved: OnceLock::new(),
        }
    }

    /// Where it is now, or has just been.
    fn place(&self) -> Place<K> {
        match self.moved.get() {
            Some(moved) => moved.read().clone(),
            None => self.home.clone(),
        }
    }

    /// The shard that it is in now, or has just been.
    pub(crate) fn shard(&self) -> Arc<Shard> {
        self.place().shard
    }

    /// Runs `f` on the locked state.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State, K) -> R) -> R {
        if self.moved.get().is_none() {
            let mut state = self.home.shard.lock();
            // Another thread may have followed it while this one waited for the lock.
            if self.moved.get().is_none() && self.home.key.gone(&state).is_none() {
                return f(&mut state, self.home.key);
            }
        }
        self.follow(f)
    }

    /// As [`with`](Self::with), of a socket that has moved.
    #[cold]
    fn follow<R>(&self, f: impl FnOnce(&mut State, K) -> R) -> R {
        let moved = self.moved.get_or_init(|| RwLock::new(self.home.clone()));
        loop {
            let Place { shard, key } = moved.read().clone();
            let mut state = shard.lock();
            let is_there = |place: &Place<K>| Arc::ptr_eq(&place.shard, &shard) && place.key == key;
            if !is_there(&moved.read()) {
                continue;
            }
            match key.gone(&state) {
                Some(next) => {
                    *moved.write() = next;
                    key.leaves(&mut state);
                }
                None => {
                    key.arrives(&mut state);
                    return f(&mut state, key);
                }
            }
        }
    }

    /// Runs an operation that does not wait.
    #[inline]
    pub(crate) fn call<R>(
        &self,
        f: impl FnOnce(&mut State, K) -> Result<R, stack::Error>,
    ) -> io::Result<R> {
        let (result, ended) = self.with(|state, key| (f(state, key), state.ended));
        finish(result, ended)
    }

    /// Tries an operation; where it would block, notes the caller in the slot of `side`.
    ///
    /// One critical section does both, so no event can slip between. Consumes the task's cooperative
    /// budget, so a socket that is always ready cannot starve its neighbours.
    #[inline]
    pub(crate) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        f: impl FnOnce(&mut State, K) -> Result<R, stack::Error>,
    ) -> Poll<io::Result<R>> {
        let budget = ready!(coop::poll_proceed(cx));
        let tried = self.with(|state, key| match f(state, key) {
            Ok(value) => Tried::Done(value),
            Err(stack::Error::WouldBlock) if !state.ended => {
                Tried::Waits(wakers(state, key).and_then(|wakers| wakers.set(side, cx)))
            }
            Err(error) => Tried::Failed(error, state.ended),
        });
        match tried {
            Tried::Done(value) => {
                budget.made_progress();
                Poll::Ready(Ok(value))
            }
            Tried::Waits(replaced) => {
                drop(replaced);
                Poll::Pending
            }
            Tried::Failed(error, ended) => {
                budget.made_progress();
                Poll::Ready(finish(Err(error), ended))
            }
        }
    }

    /// Polls for readiness in the direction of `side`.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>, side: Side) -> Poll<io::Result<()>> {
        self.poll(cx, side, |state, key| {
            readiness(state, key, side.mask()).map(drop)
        })
    }

    /// A future that runs an operation as soon as it does not block. Many may wait on one socket.
    #[inline]
    pub(crate) fn wait<R, F>(&self, mask: Readiness, op: F) -> Wait<'_, K, F>
    where
        F: FnMut(&mut State, K) -> Result<R, stack::Error> + Unpin,
    {
        Wait {
            socket: self,
            mask,
            op,
            token: None,
        }
    }

    /// A future that ends when the socket is ready for anything in `mask`, and says for what.
    pub(crate) async fn ready(&self, mask: Readiness) -> io::Result<Readiness> {
        self.wait(mask, move |state, key| readiness(state, key, mask))
            .await
    }
}

/// The readiness of a socket within `mask`, or `WouldBlock`.
pub(crate) fn readiness<K: SocketKey>(
    state: &State,
    key: K,
    mask: Readiness,
) -> Result<Readiness, stack::Error> {
    let ready = key.readiness(state) & mask;
    if ready.is_empty() {
        Err(stack::Error::WouldBlock)
    } else {
        Ok(ready)
    }
}

/// The wakers of a socket, made at the first wait.
#[inline]
fn wakers<K: SocketKey>(state: &mut State, key: K) -> Option<&mut SocketWakers> {
    if !K::table(state).contains_key(key) {
        make_wakers(state, key);
    }
    K::table(state).get_mut(key)
}

#[cold]
fn make_wakers<K: SocketKey>(state: &mut State, key: K) {
    if let Some(entry) = K::table(state).entry(key) {
        entry.or_default();
    }
}

fn finish<R>(result: Result<R, stack::Error>, ended: bool) -> io::Result<R> {
    match result {
        Ok(value) => Ok(value),
        Err(stack::Error::WouldBlock) if ended => Err(worker_gone()),
        Err(error) => Err(io_error(error)),
    }
}

/// The future behind every async method that takes `&self`: see [`Socket::wait`].
///
/// Dropping it before it is ready leaves the socket as if the method had never been called.
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Wait<'a, K: SocketKey, F> {
    socket: &'a Socket<K>,
    mask: Readiness,
    op: F,
    /// Our place in the socket's list, once we had to wait.
    token: Option<usize>,
}

impl<R, K, F> Future for Wait<'_, K, F>
where
    K: SocketKey,
    F: FnMut(&mut State, K) -> Result<R, stack::Error> + Unpin,
{
    type Output = io::Result<R>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let budget = ready!(coop::poll_proceed(cx));
        let (op, token, mask) = (&mut this.op, &mut this.token, this.mask);
        let tried = this.socket.with(|state, key| match op(state, key) {
            // A place in the list stays the same where the connection moves.
            Err(stack::Error::WouldBlock) if !state.ended => {
                Tried::Waits(wakers(state, key).and_then(|wakers| {
                    let (place, replaced) = wakers.wait(*token, mask, cx);
                    *token = Some(place);
                    replaced
                }))
            }
            result => {
                let waker = token
                    .take()
                    .and_then(|token| K::table(state).get_mut(key)?.forget(token));
                Tried::Done((result, state.ended, waker))
            }
        });
        match tried {
            Tried::Done((result, ended, waker)) => {
                drop(waker);
                budget.made_progress();
                Poll::Ready(finish(result, ended))
            }
            Tried::Waits(replaced) => {
                drop(replaced);
                Poll::Pending
            }
            Tried::Failed(error, ended) => Poll::Ready(finish(Err(error), ended)),
        }
    }
}

impl<K: SocketKey, F> Drop for Wait<'_, K, F> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            let waker = self
                .socket
                .with(|state, key| K::table(state).get_mut(key)?.forget(token));
            drop(waker);
        }
    }
}
