//! Connections to upstreams: whoever makes them, as the HTTP client wants them.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use crate::tapped::{Tap, Tapped};

/// The way to an upstream. Every function from an address to a stream is one: `tokio::net::TcpStream::connect`, or
/// dpdk-net's.
pub trait Connect: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static;

    /// Connects. If the future is dropped, the attempt is given up.
    ///
    /// # Errors
    /// Those of the stream.
    fn connect(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::Stream>> + Send + 'static;
}

impl<F, S, R> Connect for F
where
    F: Fn(SocketAddr) -> R + Send + Sync + 'static,
    R: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Stream = S;

    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<S>> + Send + 'static {
        self(addr)
    }
}

/// [`Connect`] within a time, as a service of the client.
#[derive(Debug)]
pub(super) struct Connector<C> {
    connect: Arc<C>,
    within: Duration,
}

impl<C> Connector<C> {
    pub(super) fn new(connect: Arc<C>, within: Duration) -> Self {
        Self { connect, within }
    }
}

impl<C> Clone for Connector<C> {
    fn clone(&self) -> Self {
        Self::new(self.connect.clone(), self.within)
    }
}

impl<C: Connect> tower::Service<Uri> for Connector<C> {
    type Response = Upstream<C::Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connect, within) = (self.connect.clone(), self.within);
        Box::pin(async move {
            // The authority is one of our upstreams', and so an address.
            let addr: SocketAddr = uri
                .authority()
                .and_then(|authority| authority.as_str().parse().ok())
                .ok_or(io::ErrorKind::InvalidInput)?;
            match timeout(within, connect.connect(addr)).await {
                Ok(stream) => {
                    stream.map(|stream| TokioIo::new(Tapped::new(stream, Answered::default())))
                }
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            }
        })
    }
}

/// A connection to an upstream, as the client takes it.
pub(super) type Upstream<S> = TokioIo<Tapped<S, Answered>>;

/// Whether a connection has brought an answer yet: among the extensions of a response, and with an error.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<AtomicBool>);

impl Answered {
    /// It has.
    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it had.
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Nothing is asked of what passes: the client is told of the answer among its extensions.
impl Tap for Answered {}

impl<S> Connection for Tapped<S, Answered> {
    fn connected(&self) -> Connected {
        Connected::new().extra(self.tap.clone())
    }
}
