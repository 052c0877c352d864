//! Connections whose handshake is done.
//!
//! Each handshake is a task of its own beside `accept`, which takes what is done: nobody waits for a slow one. How many there may be, and
//! for how long, is [`HandshakeLimits`].

use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::stats::{Cause, SERVER};
use super::{TlsConfig, TlsStream};
use crate::events;
use crate::net::{TcpListener, TcpStream, ToSocketAddrs};

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
/// Handshakes begin while somebody waits in [`accept`](Self::accept), and go on without that. All are cut when it is dropped.
#[derive(Debug)]
pub struct TlsListener {
    tcp: TcpListener,
    config: TlsConfig,
    limits: HandshakeLimits,
    /// The handshakes, and those done that nobody has accepted.
    tasks: JoinSet<Option<Accepted>>,
    /// Those of `tasks` that were cut, and have not been taken out of them yet.
    cut: HashSet<Id>,
    /// In the order in which they began; some may have ended.
    begun: VecDeque<Begun>,
}

#[derive(Debug)]
struct Begun {
    at: Instant,
    peer: SocketAddr,
    task: AbortHandle,
}

impl TlsListener {
    /// Handshakes on the connections of a listener.
    pub fn new(tcp: TcpListener, config: TlsConfig) -> Self {
        Self {
            tcp,
            config,
            limits: HandshakeLimits::default(),
            tasks: JoinSet::new(),
            cut: HashSet::new(),
            begun: VecDeque::new(),
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

    /// Waits for a connection whose handshake is done, and takes it; those done first come first.
    ///
    /// # Errors
    /// Those of [`TcpListener::accept`]; what is wrong with a handshake is none.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection is lost, and handshakes go on.
    pub async fn accept(&mut self) -> io::Result<Accepted> {
        loop {
            let running = self.tasks.len().saturating_sub(self.cut.len());
            let is_full = running >= self.limits.handshakes;
            // When one may be cut for another; it goes on for as long as no other comes.
            let cut_at = is_full.then(|| self.oldest()).flatten();
            let may_come = !is_full || cut_at.is_some_and(|at| at <= Instant::now());
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next_with_id() => {
                    if let Some(accepted) = self.ended(ended) {
                        return Ok(accepted);
                    }
                }
                accepted = self.tcp.accept(), if may_come => {
                    let (stream, peer) = accepted?;
                    if is_full {
                        self.cut_oldest();
                    }
                    self.begin(stream, peer);
                }
                () = at(cut_at), if !may_come => {}
            }
        }
    }

    /// What a task has made that has ended.
    fn ended(&mut self, ended: Result<(Id, Option<Accepted>), JoinError>) -> Option<Accepted> {
        match ended {
            // One that is cut while it runs may be done nevertheless: it was counted as cut, and is closed.
            Ok((id, accepted)) => (!self.cut.remove(&id)).then_some(accepted).flatten(),
            Err(error) => {
                self.cut.remove(&error.id());
                if !error.is_cancelled() {
                    tracing::error!(%error, "a handshake's task failed");
                }
                None
            }
        }
    }

    /// Forgets those that have ended, up to the oldest one that has not.
    fn forget_ended(&mut self) {
        let ended = |begun: &Begun| begun.task.is_finished();
        while self.begun.front().is_some_and(ended) {
            self.begun.pop_front();
        }
    }

    /// When the oldest handshake may be cut.
    fn oldest(&mut self) -> Option<Instant> {
        self.forget_ended();
        Some(self.begun.front()?.at + self.limits.grace)
    }

    fn cut_oldest(&mut self) {
        self.forget_ended();
        if let Some(Begun { peer, task, .. }) = self.begun.pop_front() {
            self.cut.insert(task.id());
            task.abort();
            SERVER.failed(Cause::Evicted);
            tracing::debug!(target: events::TLS, %peer, cause = Cause::Evicted.name(), "handshake failed");
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        self.forget_ended();
        // Behind one that lasts.
        if self.begun.len() >= self.limits.handshakes.saturating_mul(2) {
            self.begun.retain(|begun| !begun.task.is_finished());
        }
        let handshake = handshake(self.config.clone(), stream, peer, self.limits.timeout);
        let task = self.tasks.spawn(handshake);
        let at = Instant::now();
        self.begun.push_back(Begun { at, peer, task });
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
