//! A TCP listener on all queues of a port: bound once, accepted on one core or on each.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use super::{TcpListener, TcpStream, ToSocketAddrs, lookup_host};
use crate::handle::Handle;

/// Free ports that are tried.
const PORTS: u32 = 16;

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
            // A port that is free with one may be taken with another.
            let tries = if addr.port() == 0 { PORTS } else { 1 };
            for _ in 0..tries {
                match Self::bind_one(handles, addr).await {
                    Ok(group) => return Ok(group),
                    Err(error) => last = error,
                }
                if last.kind() != io::ErrorKind::AddrInUse {
                    break;
                }
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

    /// Waits for a connection at any of the queues, and takes it. The queues take turns in being asked first; any number of tasks
    /// may wait.
    ///
    /// # Errors
    /// Those of [`TcpListener::accept`], once all queues have failed: a worker that has ended is passed over.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no connection was taken.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (before, from) = self.in_turn();
        let waits = from
            .iter()
            .chain(before)
            .map(|listener| Some(Box::pin(listener.accept())));
        let mut waits: Vec<_> = waits.collect();
        poll_fn(|cx| {
            let mut failed = None;
            for wait in &mut waits {
                let Some(accept) = wait else { continue };
                match accept.as_mut().poll(cx) {
                    Poll::Ready(Ok(accepted)) => return Poll::Ready(Ok(accepted)),
                    Poll::Ready(Err(error)) => (failed, *wait) = (Some(error), None),
                    Poll::Pending => {}
                }
            }
            match failed {
                Some(error) if waits.iter().all(Option::is_none) => Poll::Ready(Err(error)),
                _ => Poll::Pending,
            }
        })
        .await
    }

    /// Polls for a connection. Only the waker of the last caller is woken.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let (before, from) = self.in_turn();
        let (mut failed, mut waits) = (None, false);
        for listener in from.iter().chain(before) {
            match listener.poll_accept(cx) {
                Poll::Ready(Ok(accepted)) => return Poll::Ready(Ok(accepted)),
                Poll::Ready(Err(error)) => failed = Some(error),
                Poll::Pending => waits = true,
            }
        }
        match failed {
            Some(error) if !waits => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }

    /// The listeners, those before whose turn it is apart.
    fn in_turn(&self) -> (&[TcpListener], &[TcpListener]) {
        let first = self.next.fetch_add(1, Ordering::Relaxed) % self.listeners.len().max(1);
        self.listeners.split_at(first)
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
