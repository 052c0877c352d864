//! QUIC: quinn's endpoints over our [`UdpSocket`], on the worker's runtime.
//!
//! Streams, datagrams, 0-RTT, migration and congestion control are quinn's; the socket gives it what it asks of a kernel's: several
//! datagrams with one call in both directions, ECN, the address that a datagram came to, and datagrams that are never fragmented, so that
//! quinn finds the path's MTU out.
//!
//! ```no_run
//! use dpdk_net::net::UdpSocket;
//! use dpdk_net::quic;
//!
//! # async fn serve(config: quinn::ServerConfig) -> std::io::Result<()> {
//! let endpoint = quic::server(config, UdpSocket::bind("[::]:4433").await?)?;
//! while let Some(incoming) = endpoint.accept().await {
//!     tokio::spawn(async move {
//!         let connection = incoming.await?;
//!         while let Ok((mut send, mut recv)) = connection.accept_bi().await {
//!             tokio::io::copy(&mut recv, &mut send).await?;
//!             send.finish()?;
//!         }
//!         std::io::Result::Ok(())
//!     });
//! }
//! # Ok(())
//! # }
//! ```
//!
//! An endpoint belongs to the worker on which it was made: its tasks and timers are there, whoever uses its connections.

mod socket;

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, ServerConfig};
use tokio::time::Sleep;

use crate::net::UdpSocket;

/// An endpoint that accepts connections, and can open some.
///
/// # Errors
/// As [`endpoint`].
pub fn server(config: ServerConfig, socket: UdpSocket) -> io::Result<Endpoint> {
    endpoint(EndpointConfig::default(), Some(config), socket)
}

/// An endpoint that opens connections.
///
/// With a socket bound to port 0 of `[::]` it reaches both families. On a port with several queues a socket of
/// [`UdpSocket::connected`] has what its server answers come to this worker's queue; that is for one server, and
/// none but that can be connected to.
///
/// # Errors
/// As [`endpoint`].
pub fn client(socket: UdpSocket) -> io::Result<Endpoint> {
    endpoint(EndpointConfig::default(), None, socket)
}

/// An endpoint with all of quinn's settings.
///
/// # Errors
/// `NotConnected` where the socket's worker has ended, and `Other` on a thread without a tokio runtime.
pub fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    let runtime = Arc::new(Runtime::current()?);
    Endpoint::new_with_abstract_socket(config, server, self::socket(socket)?, runtime)
}

/// Our socket as quinn takes it, for `Endpoint::rebind_abstract` and `Endpoint::new_with_abstract_socket`. Turns on what QUIC
/// needs: GRO, and datagrams that are not fragmented ([`MtuDiscovery::Probe`](crate::net::MtuDiscovery::Probe)).
///
/// # Errors
/// `NotConnected` where the socket's worker has ended.
pub fn socket(socket: UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    Ok(Arc::new(socket::Socket::new(socket)?))
}

/// quinn's tasks and timers on the tokio runtime where it was made: a worker's, as [`endpoint`] makes it.
#[derive(Debug, Clone)]
pub struct Runtime(tokio::runtime::Handle);

impl Runtime {
    /// That of this thread.
    ///
    /// # Errors
    /// `Other` where there is none.
    pub fn current() -> io::Result<Self> {
        tokio::runtime::Handle::try_current()
            .map(Self)
            .map_err(|error| {
                let told = format!("QUIC takes a worker's runtime for its tasks: {error}");
                io::Error::other(told)
            })
    }
}

impl quinn::Runtime for Runtime {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        // Connections may be opened on any thread; their timers are the worker's.
        let _entered = self.0.enter();
        let sleep = tokio::time::sleep_until(at.into());
        Box::pin(Timer(Box::pin(sleep)))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    /// Refused: a kernel's socket is no socket of ours. See [`socket`].
    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a kernel's UDP socket has no place on a dpdk-net worker; bind dpdk_net::net::UdpSocket and give it to \
             dpdk_net::quic::socket",
        ))
    }
}

#[derive(Debug)]
struct Timer(Pin<Box<Sleep>>);

impl AsyncTimer for Timer {
    fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.0.as_mut().reset(at.into());
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self.0.as_mut(), cx)
    }
}
