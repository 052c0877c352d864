//! Connections whose handshake is done.
//!
//! Each handshake is a task of its own beside `accept`, which takes what is done: nobody waits for a slow one. How many there may be, and
//! for how long, is [`HandshakeLimits`].

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
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
    /// taken, the oldest handshake is cut once it has lasted [`grace`](Self::grace). 1,024 by default.
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
    /// Those of `tasks` that were cut, and have not ended yet.
    cut: usize,
    /// In the order in which they began; some may have ended.
    begun: VecDeque<(Instant, AbortHandle)>,
}

impl TlsListener {
    /// Handshakes on the connections of a listener.
    pub fn new(tcp: TcpListener, config: TlsConfig) -> Self {
        Self {
            tcp,
            config,
            limits: HandshakeLimits::default(),
            tasks: JoinSet::new(),
            cut: 0,
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
            let is_full = self.tasks.len() - self.cut >= self.limits.handshakes;
            let cut_at = is_full.then(|| self.oldest()).flatten();
            tokio::select! {
                biased;
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(Some(accepted)) => return Ok(accepted),
                    Ok(None) => {}
                    Err(error) if error.is_cancelled() => self.cut = self.cut.saturating_sub(1),
                    Err(error) => tracing::error!(%error, "a handshake's task failed"),
                },
                accepted = self.tcp.accept(), if !is_full => {
                    let (stream, peer) = accepted?;
                    self.begin(stream, peer);
                }
                () = at(cut_at) => self.cut_oldest(),
            }
        }
    }

    /// When the oldest handshake may be cut.
    fn oldest(&mut self) -> Option<Instant> {
        while self
            .begun
            .front()
            .is_some_and(|(_, task)| task.is_finished())
        {
            self.begun.pop_front();
        }
        let (began, _) = self.begun.front()?;
        Some(*began + self.limits.grace)
    }

    fn cut_oldest(&mut self) {
        if let Some((_, task)) = self.begun.pop_front()
            && !task.is_finished()
        {
            task.abort();
            self.cut += 1;
            SERVER.failed(Cause::Evicted);
            tracing::debug!(target: events::TLS, cause = Cause::Evicted.name(), "handshake failed");
        }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        if self.begun.len() >= self.limits.handshakes.saturating_mul(2) {
            self.begun.retain(|(_, task)| !task.is_finished());
        }
        let handshake = handshake(self.config.clone(), stream, peer, self.limits.timeout);
        let task = self.tasks.spawn(handshake);
        self.begun.push_back((Instant::now(), task));
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
