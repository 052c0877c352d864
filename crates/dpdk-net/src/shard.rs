//! The shard: one worker's stack and the wakers of its sockets, behind one lock.
//!
//! The worker's own core takes the lock once a turn of its loop and once a socket operation, and finds
//! it free; a socket that was moved to another thread still works and pays for the contention.
//!
//! What a critical section may do
//! - call the stack, move bytes between it and a caller's buffer, swap wakers in and out;
//! - fill mbufs that are already in hand.
//!
//! What it must not do
//! - wake or drop a [`Waker`]: either may run a task's destructor, which may close a socket, which takes
//!   this lock. Wakers leave the critical section and are woken and dropped outside it;
//! - run a caller's code (a `BufMut` of the program's own, a closure given to `try_io`);
//! - call a driver, block, log, or take another lock. There is no second lock on any path, so no order
//!   of locks to keep.
//!
//! [`Socket`] is what every public socket is made of: a reference to the shard, an id in its stack, and
//! one way each to try, to poll and to wait. The worker's side of the shard lives in `worker.rs`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use dpdk_net_stack::{self as stack, Event, Instant, ListenerId, Readiness, Stack, TcpId, UdpId};
use parking_lot::{Mutex, MutexGuard};
use slotmap::{Key, SecondaryMap};
use tokio::task::coop;

use crate::error::{io_error, worker_gone};
use crate::stats::WorkerStats;
use crate::wakers::{Side, SocketWakers};

/// A worker's stack and the wakers of its sockets. See the module's header for the rules of its lock.
pub(crate) struct Shard {
    state: Mutex<State>,
}

/// What the lock of a [`Shard`] protects.
pub(crate) struct State {
    /// The TCP/IP stack.
    pub(crate) stack: Stack,
    /// The time of the worker's current turn: what socket operations use as "now".
    pub(crate) now: Instant,
    /// Figures of the worker's loop.
    pub(crate) worker: WorkerStats,
    /// The worker has ended: nothing will ever be ready again.
    pub(crate) ended: bool,
    tcp: SecondaryMap<TcpId, SocketWakers>,
    listeners: SecondaryMap<ListenerId, SocketWakers>,
    udp: SecondaryMap<UdpId, SocketWakers>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shard {
    pub(crate) fn new(stack: Stack, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                stack,
                now,
                worker: WorkerStats::default(),
                ended: false,
                tcp: SecondaryMap::new(),
                listeners: SecondaryMap::new(),
                udp: SecondaryMap::new(),
            }),
        })
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
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

    /// Marks the end of the worker: everybody who waits is woken and finds that out.
    pub(crate) fn end(&mut self, out: &mut Vec<Waker>) {
        self.ended = true;
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
}

/// A socket of the stack that its holder owns: dropping it closes it there.
pub(crate) struct Socket<K: SocketKey> {
    shard: Arc<Shard>,
    key: K,
}

impl<K: SocketKey> std::fmt::Debug for Socket<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Socket").field(&self.key).finish()
    }
}

impl<K: SocketKey> Drop for Socket<K> {
    fn drop(&mut self) {
        let wakers = {
            let mut state = self.shard.lock();
            self.key.close(&mut state);
            K::table(&mut state).remove(self.key)
        };
        // Outside the lock: see the module's header.
        drop(wakers);
    }
}

impl<K: SocketKey> Socket<K> {
    /// Takes ownership of a socket that the stack just made.
    pub(crate) fn own(shard: Arc<Shard>, key: K) -> Self {
        Self { shard, key }
    }

    pub(crate) fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// Runs `f` on the locked state.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State, K) -> R) -> R {
        f(&mut self.shard.lock(), self.key)
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
    /// One critical section does both, so no event can slip between. Consumes tokio's cooperative
    /// budget, so a socket that is always ready cannot starve its neighbours.
    #[inline]
    pub(crate) fn poll<R>(
        &self,
        cx: &mut Context<'_>,
        side: Side,
        f: impl FnOnce(&mut State, K) -> Result<R, stack::Error>,
    ) -> Poll<io::Result<R>> {
        let budget = ready!(coop::poll_proceed(cx));
        let replaced = {
            let mut state = self.shard.lock();
            match f(&mut state, self.key) {
                Ok(value) => {
                    drop(state);
                    budget.made_progress();
                    return Poll::Ready(Ok(value));
                }
                Err(stack::Error::WouldBlock) if !state.ended => {
                    wakers(&mut state, self.key).and_then(|wakers| wakers.set(side, cx))
                }
                Err(error) => {
                    let ended = state.ended;
                    drop(state);
                    budget.made_progress();
                    return Poll::Ready(finish(Err(error), ended));
                }
            }
        };
        drop(replaced);
        Poll::Pending
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
        let key = this.socket.key;
        let replaced = {
            let mut state = this.socket.shard.lock();
            match (this.op)(&mut state, key) {
                Err(stack::Error::WouldBlock) if !state.ended => {
                    wakers(&mut state, key).and_then(|wakers| {
                        let (token, replaced) = wakers.wait(this.token, this.mask, cx);
                        this.token = Some(token);
                        replaced
                    })
                }
                result => {
                    let ended = state.ended;
                    let waker = match this.token.take() {
                        Some(token) => K::table(&mut state)
                            .get_mut(key)
                            .and_then(|wakers| wakers.forget(token)),
                        None => None,
                    };
                    drop(state);
                    drop(waker);
                    budget.made_progress();
                    return Poll::Ready(finish(result, ended));
                }
            }
        };
        drop(replaced);
        Poll::Pending
    }
}

impl<K: SocketKey, F> Drop for Wait<'_, K, F> {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            let waker = {
                let mut state = self.socket.shard.lock();
                K::table(&mut state)
                    .get_mut(self.socket.key)
                    .and_then(|wakers| wakers.forget(token))
            };
            drop(waker);
        }
    }
}
