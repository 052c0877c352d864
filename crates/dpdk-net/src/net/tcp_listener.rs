//! A TCP listener.
//!
//! The SYN queue, the accept queue and their bounds are the stack's; here is the waiting for them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use dpdk_net_stack::{self as stack, ListenOptions, ListenerId, Readiness, TcpId};

use super::addr::{Family, no_addresses, to_stack};
use super::tcp_socket::Options;
use super::{TcpStream, ToSocketAddrs, lookup_host};
use crate::error::io_error;
use crate::events;
use crate::handle::Handle;
use crate::shard::{Shard, Socket, State};
use crate::trace::{ConnectionTracer, TraceOptions};
use crate::wakers::Side;

/// Accepted connections that may wait where the program does not say: tokio's figure.
const BACKLOG: u32 = 1024;

/// A TCP server socket, as `tokio::net::TcpListener`.
///
/// Connections that nobody accepted are reset when it is dropped.
///
/// ```no_run
/// use dpdk_net::net::TcpListener;
///
/// # async fn serve() -> std::io::Result<()> {
/// let listener = TcpListener::bind("0.0.0.0:80").await?;
/// loop {
///     let (mut stream, peer) = listener.accept().await?;
///     tokio::spawn(async move {
///         let (mut rx, mut tx) = stream.split();
///         if let Err(error) = tokio::io::copy(&mut rx, &mut tx).await {
///             eprintln!("{peer}: {error}");
///         }
///     });
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct TcpListener {
    socket: Socket<ListenerId>,
    family: Family,
}

impl TcpListener {
    /// Listens on the first address that can be bound, of those that `addr` resolves to, with a backlog of
    /// 1024. Port 0 takes a free one: [`local_addr`](Self::local_addr) tells which.
    ///
    /// `[::]` takes IPv4 connections too, and shows their peers as IPv4-mapped addresses.
    ///
    /// # Errors
    /// `AddrInUse` where another listener has the address and port, `AddrNotAvailable` where the address is
    /// not one of the stack's, `NotConnected` on a thread without a worker, and what resolving a name gives.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match Self::listen(Handle::current_shard()?, addr, BACKLOG, Options::default()) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_addresses))
    }

    /// Listens on one address.
    pub(crate) fn listen(
        shard: Arc<Shard>,
        addr: SocketAddr,
        backlog: u32,
        options: Options,
    ) -> io::Result<Self> {
        let id = {
            let mut listen = ListenOptions::new(to_stack(addr));
            listen.backlog = backlog;
            listen.options = options.tcp;
            shard.lock().stack.tcp_listen(listen)
        }
        .map_err(io_error)?;
        let listener = Self {
            socket: Socket::own(shard, id),
            family: Family::of(addr),
        };
        if events::are_heard()
            && let Ok(local) = listener.local_addr()
        {
            tracing::debug!(target: events::TCP, %local, backlog, "listening");
        }
        Ok(listener)
    }

    /// Waits for a connection, and takes it. Any number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection was taken.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let accepted = self.socket.wait(Readiness::READABLE, take).await?;
        Ok(self.stream(accepted))
    }

    /// Polls for a connection. Only the waker of the last caller is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        self.socket
            .poll(cx, Side::Read, take)
            .map_ok(|accepted| self.stream(accepted))
    }

    fn stream(&self, (id, peer): (TcpId, SocketAddr)) -> (TcpStream, SocketAddr) {
        let shard: Arc<Shard> = self.socket.shard();
        let stream = TcpStream::own(Socket::own(shard, id), self.family);
        let peer = self.family.show(peer);
        tracing::trace!(target: events::TCP, %peer, "accepted");
        (stream, peer)
    }

    /// The worker that it belongs to.
    #[cfg(feature = "tls")]
    pub(crate) fn handle(&self) -> Handle {
        Handle::new(self.socket.shard())
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .call(|state, id| {
                state
                    .stack
                    .tcp_listener_local(id)
                    .ok_or(stack::Error::UnknownSocket)
            })
            .map(|addr| self.family.show(addr))
    }

    /// The time to live (hop limit) of connections accepted from now on.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket
            .call(|state, id| state.stack.tcp_listener_ttl(id))
            .map(u32::from)
    }

    /// Sets the time to live (hop limit, 1 to 255) of connections accepted from now on.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = super::tcp_stream::hop_limit(ttl)?;
        self.socket
            .call(|state, id| state.stack.tcp_listener_set_ttl(id, ttl))
    }

    /// Traces the next so many connections (1 to 256), from the SYN on of each whose handshake is completed. Of a [group](super::ListenerGroup) those
    /// that come to this listener's worker.
    ///
    /// # Errors
    /// As [`Handle::trace`].
    pub fn trace_next(&self, connections: usize) -> io::Result<ConnectionTracer> {
        let local = self.local_addr()?;
        let mut options = TraceOptions::default();
        options.filter.local_port = Some(local.port());
        options.filter.local_ip = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        (options.connections, options.present) = (connections, false);
        ConnectionTracer::of([&self.socket.shard()], &options)
    }

    /// The connections as a stream, which never ends.
    #[cfg(feature = "stream")]
    pub fn into_stream(self) -> Incoming {
        Incoming { listener: self }
    }
}

fn take(state: &mut State, id: ListenerId) -> Result<(TcpId, SocketAddr), stack::Error> {
    state.stack.tcp_accept(id)
}

/// The connections of a listener as a stream: what tonic's `serve_with_incoming` takes.
#[cfg(feature = "stream")]
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct Incoming {
    listener: TcpListener,
}

#[cfg(feature = "stream")]
impl Incoming {
    /// The listener.
    pub fn get_ref(&self) -> &TcpListener {
        &self.listener
    }

    /// Gives the listener back.
    pub fn into_inner(self) -> TcpListener {
        self.listener
    }
}

#[cfg(feature = "stream")]
impl futures_core::Stream for Incoming {
    type Item = io::Result<TcpStream>;

    fn poll_next(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.listener
            .poll_accept(cx)
            .map_ok(|(stream, _)| stream)
            .map(Some)
    }
}
