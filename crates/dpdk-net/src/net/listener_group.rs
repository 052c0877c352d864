//! A TCP listener on all queues of a port: bound once, accepted on one core or on each.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
use crate::handle::Handle;

/// Listeners on the same address of several workers, one for each queue of a port.
///
/// Each has an accept queue of its own, which connections come to whose handshake its worker's queue received.
/// [`accept`](Self::accept) takes from all of them: then one task, on any core, serves everybody, at the price of a lock that two
/// cores share for each operation on a connection of another worker. [`into_listeners`](Self::into_listeners) gives each worker its own.
///
/// ```no_run
/// use dpdk_net::{Context, net::ListenerGroup};
///
/// # async fn serve(ctx: Context) -> std::io::Result<()> {
/// let everywhere = ListenerGroup::bind(ctx.handles(), "0.0.0.0:80").await?;
/// loop {
///     let (stream, peer) = everywhere.accept().await?;
///     println!("{peer} came to {}", stream.local_addr()?);
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ListenerGroup {
    listeners: Vec<TcpListener>,
    /// Whose turn it is to be asked first.
    next: AtomicUsize,
}

impl ListenerGroup {
    /// Listens with each of these workers on the first address that all can bind. Port 0 takes one that is free with the first
    /// worker.
    ///
    /// # Errors
    /// Those of [`TcpListener::bind`], of which none is bound then, and `InvalidInput` for no workers.
    pub async fn bind<A: ToSocketAddrs>(handles: &[Handle], addr: A) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::InvalidInput, "no worker to listen with");
        for addr in lookup_host(addr).await? {
            match Self::bind_one(handles, addr).await {
                Ok(group) => return Ok(group),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn bind_one(handles: &[Handle], mut addr: SocketAddr) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(handles.len());
        for handle in handles {
            let listener = handle.scope(TcpListener::bind(addr)).await?;
            addr.set_port(listener.local_addr()?.port());
            listeners.push(listener);
        }
        if listeners.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no worker to listen with",
            ));
        }
        Ok(Self {
            listeners,
            next: AtomicUsize::new(0),
        })
    }

    /// Waits for a connection at any of the queues, and takes it. The queues take turns in being asked first.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection was taken. Of several tasks that wait at once only the last is woken.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Polls for a connection. Only the waker of the last caller is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.listeners.len().max(1);
        let (before, from) = self.listeners.split_at(first);
        for listener in from.iter().chain(before) {
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }

    /// The address that all of them listen on.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match self.listeners.first() {
            Some(listener) => listener.local_addr(),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// The listeners, in the order of the workers given.
    pub fn listeners(&self) -> &[TcpListener] {
        &self.listeners
    }

    /// The listeners, each to be accepted on the core of its worker.
    pub fn into_listeners(self) -> Vec<TcpListener> {
        self.listeners
    }
}
