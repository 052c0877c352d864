//! Connections whose handshake is done.
//!
//! Each handshake is a task of its own beside `accept`, which takes what is done: nobody waits for a slow one. How many there may be, and
//! for how long, is [`HandshakeLimits`].

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::stats::{Cause, SERVER};
use super::{TlsConfig, TlsStream};
use crate::events;
use crate::net::{TcpListener, TcpStream, ToSocketAddrs};
use crate::runtime::{is_here, spawn_local};
use crate::time::{sleep_until, timeout};

/// What clients may take of a listener before their handshakes are done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandshakeLimits {
    /// Handshakes at a time, and connections that are done and not accepted: further ones wait in TCP's backlog. Where all places are
    /// taken, the oldest handshake is cut for one that has come, once it has lasted [`grace`](Self::grace). 1,024 by default.
    pub handshakes: usize,
    /// How long one may take. 10 s by default.
    pub timeout: Duration,
    /// How long one lasts at least, though there is no place for others. 1 s by default.
    pub grace: Duration,
}

impl Default for HandshakeLimits {
    fn default() -> Self {
        Self {
            handshakes: 1_024,
            timeout: Duration::from_secs(10),
            grace: Duration::from_secs(1),
        }
    }
}

type Accepted = (TlsStream, SocketAddr);

/// A [`TcpListener`] whose connections have shaken hands when they are accepted. Those whose handshake fails are never seen: they are
/// counted by cause (`dpdk_net_tls_handshake_failures_total`) and told at level `debug`.
///
/// Handshakes begin while somebody waits in [`accept`](Self::accept), and go on without that, on any runtime. All are cut when it is dropped.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    config: TlsConfig,
    limits: HandshakeLimits,
    handshakes: Handshakes,
}

/// Handshakes that have begun: [`TlsListener::into_handshakes`]. All are cut when it is dropped.
#[derive(Debug)]
pub struct Handshakes {
    /// Those that go on, and those done that nobody has accepted; without those that were cut.
    held: usize,
    /// The number of the next one.
    next: u64,
    /// In the order in which they began; some may have ended.
    begun: VecDeque<Begun>,
    /// Those that were cut, and have not told of their end yet.
    cut: HashSet<u64>,
    ends: mpsc::UnboundedReceiver<Ended>,
    end: mpsc::UnboundedSender<Ended>,
}

#[derive(Debug)]
struct Begun {
    number: u64,
    at: Instant,
    peer: SocketAddr,
    /// The task ends when it is dropped, and has ended when it is closed.
    lives: oneshot::Sender<()>,
}

/// What has become of a handshake.
#[derive(Debug)]
struct Ended {
    number: u64,
    accepted: Option<Accepted>,
}

/// Tells of a task's end when it is dropped, whatever ends it.
struct Tells {
    number: u64,
    accepted: Option<Accepted>,
    to: mpsc::UnboundedSender<Ended>,
}

impl Tells {
    fn done(mut self, accepted: Option<Accepted>) {
        self.accepted = accepted;
    }
}

impl Drop for Tells {
    fn drop(&mut self) {
        // A listener that is gone wants no connection either.
        let _ = self.to.send(Ended {
            number: self.number,
            accepted: self.accepted.take(),
        });
    }
}

impl TlsListener {
    /// Handshakes on the connections of a listener.
    pub fn new(tcp: TcpListener, config: TlsConfig) -> Self {
        Self {
            tcp,
            config,
            limits: HandshakeLimits::default(),
            handshakes: Handshakes::new(),
        }
    }

    /// Listens as [`TcpListener::bind`] does.
    ///
    /// # Errors
    /// Those of [`TcpListener::bind`].
    pub async fn bind<A: ToSocketAddrs>(addr: A, config: TlsConfig) -> io::Result<Self> {
        Ok(Self::new(TcpListener::bind(addr).await?, config))
    }

    /// With other limits; at least one handshake at a time.
    #[must_use]
    pub fn limits(mut self, mut limits: HandshakeLimits) -> Self {
        limits.handshakes = limits.handshakes.max(1);
        self.limits = limits;
        self
    }

    /// The listener of the connections.
    pub fn get_ref(&self) -> &TcpListener {
        &self.tcp
    }

    /// The configuration, the same as the one given.
    pub fn config(&self) -> &TlsConfig {
        &self.config
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Gives the listener back; handshakes are cut.
    pub fn into_inner(self) -> TcpListener {
        self.tcp
    }

    /// Stops listening, and keeps the handshakes that have begun: for a program that ends, and wants to serve the clients that are there.
    pub fn into_handshakes(self) -> Handshakes {
        self.handshakes
    }

    /// Waits for a connection whose handshake is done, and takes it; those done first come first.
    ///
    /// # Errors
    /// Those of [`TcpListener::accept`]; what is wrong with a handshake is none.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection is lost, and handshakes go on.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        let handshakes = &mut self.handshakes;
        loop {
            let is_full = handshakes.held >= self.limits.handshakes;
            // When one may be cut for another; it goes on for as long as no other comes.
            let cut_at = is_full
                .then(|| handshakes.oldest(self.limits.grace))
                .flatten();
            let may_come = !is_full || cut_at.is_some_and(|at| at <= Instant::now());
            tokio::select! {
                biased;
                // It holds a sender itself, so there is always a next one to wait for.
                Some(ended) = handshakes.ends.recv() => {
                    if let Some(accepted) = handshakes.ended(ended) {
                        return Ok(accepted);
                    }
                }
                accepted = self.tcp.accept(), if may_come => {
                    let (stream, peer) = accepted?;
                    if is_full {
                        handshakes.cut_oldest();
                    }
                    handshakes.make_room(self.limits.handshakes);
                    let shakes = handshake(self.config.clone(), stream, peer, self.limits.timeout);
                    spawn(&self.tcp, handshakes.begin(peer, shakes));
                }
                () = at(cut_at), if !may_come => {}
            }
        }
    }
}

impl Handshakes {
    fn new() -> Self {
        let (end, ends) = mpsc::unbounded_channel();
        Self {
            held: 0,
            next: 0,
            begun: VecDeque::new(),
            cut: HashSet::new(),
            ends,
            end,
        }
    }

    /// Waits for one that is done, and takes its connection; those done first come first. `None` once none is left.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection is lost, and handshakes go on.
    pub async fn next(&mut self) -> Option<Accepted> {
        while self.held > 0 {
            let ended = self.ends.recv().await?;
            if let Some(accepted) = self.ended(ended) {
                return Some(accepted);
            }
        }
        None
    }

    /// What has come of one that has ended.
    fn ended(&mut self, Ended { number, accepted }: Ended) -> Option<Accepted> {
        // One that is cut while it runs may be done nevertheless: it was counted as cut, and is closed.
        if self.cut.remove(&number) {
            return None;
        }
        self.held = self.held.saturating_sub(1);
        accepted
    }

    /// Forgets those that have ended, up to the oldest one that has not.
    fn forget_ended(&mut self) {
        let ended = |begun: &Begun| begun.lives.is_closed();
        while self.begun.front().is_some_and(ended) {
            self.begun.pop_front();
        }
    }

    /// When the oldest handshake may be cut; `None` where that is never.
    fn oldest(&mut self, grace: Duration) -> Option<Instant> {
        self.forget_ended();
        self.begun.front()?.at.checked_add(grace)
    }

    fn cut_oldest(&mut self) {
        self.forget_ended();
        if let Some(Begun { number, peer, .. }) = self.begun.pop_front() {
            self.cut.insert(number);
            self.held = self.held.saturating_sub(1);
            SERVER.failed(Cause::Evicted);
            tracing::debug!(target: events::TLS, %peer, cause = Cause::Evicted.name(), "handshake failed");
        }
    }

    /// Keeps the list of them short, with so many at a time.
    fn make_room(&mut self, most: usize) {
        self.forget_ended();
        // Behind one that lasts.
        if self.begun.len() >= most.saturating_mul(2) {
            self.begun.retain(|begun| !begun.lives.is_closed());
        }
    }

    /// The task of a handshake.
    fn begin(
        &mut self,
        peer: SocketAddr,
        shakes: impl Future<Output = Option<Accepted>> + Send + 'static,
    ) -> impl Future<Output = ()> + Send + 'static {
        let number = self.next;
        self.next += 1;
        self.held += 1;
        let (lives, mut is_cut) = oneshot::channel::<()>();
        self.begun.push_back(Begun {
            number,
            at: Instant::now(),
            peer,
            lives,
        });
        let tells = Tells {
            number,
            accepted: None,
            to: self.end.clone(),
        };
        async move {
            let accepted = tokio::select! {
                biased;
                _ = &mut is_cut => None,
                accepted = shakes => accepted,
            };
            tells.done(accepted);
        }
    }
}

/// Runs a handshake: on the thread's worker, whatever its runtime is. A listener may be used by threads that have none: by tokio's, and the
/// cryptography is spread over them then. Other executors can't be asked for a task, so there it is the listener's own worker that runs it.
fn spawn(tcp: &TcpListener, task: impl Future<Output = ()> + Send + 'static) {
    if is_here() {
        // Its end tells of itself where it can't be spawned, here as below.
        drop(spawn_local(task));
    } else if let Ok(tokio) = tokio::runtime::Handle::try_current() {
        tokio.spawn(task);
    } else if let Err(error) = tcp.handle().spawn_on(move || task) {
        tracing::debug!(target: events::TLS, %error, "no place for a handshake");
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn handshake(
    config: TlsConfig,
    stream: TcpStream,
    peer: SocketAddr,
    limit: Duration,
) -> Option<Accepted> {
    let error = match timeout(limit, config.accept(stream)).await {
        Ok(Ok(stream)) => {
            SERVER.done(stream.get_ref().1.handshake_kind());
            return Some((stream.into(), peer));
        }
        Ok(Err(error)) => error,
        Err(_) => io::ErrorKind::TimedOut.into(),
    };
    let cause = Cause::of(&error);
    SERVER.failed(cause);
    tracing::debug!(target: events::TLS, %peer, cause = cause.name(), %error, "handshake failed");
    None
}
