//! From a URL to a connection.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::happy_eyeballs::{interleaved, race};
use crate::handle::Handle;
use crate::net::{TcpSocket, TcpStream, lookup_host};
use crate::time::{sleep, timeout};

/// Makes connections for HTTP clients: a tower `Service` from a URL to a stream, as hyper-util's `HttpConnector` is one over
/// the kernel.
///
/// ```no_run
/// use dpdk_net::http::Connector;
/// use http_body_util::Empty;
/// use hyper::body::Bytes;
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::{TokioExecutor, TokioTimer};
///
/// # async fn fetch() -> Result<(), Box<dyn std::error::Error>> {
/// let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new())
///     .pool_timer(TokioTimer::new())
///     .build(Connector::new());
/// let response = client.get("http://example.org/".parse()?).await?;
/// # Ok(())
/// # }
/// ```
///
/// Names are looked up by [`lookup_host`]. Of several addresses the families take turns, and one is tried 250 ms after the
/// other or as soon as one has failed, as RFC 8305 says; unlike there, both families' answers are awaited before the first attempt.
///
/// It connects from the worker that polls it, and from any thread once it has a [`handle`](Self::handle).
///
/// For `https`, wrap it into hyper-rustls's `HttpsConnector`, after [`enforce_http(false)`](Self::enforce_http).
#[derive(Clone)]
pub struct Connector {
    config: Arc<Config>,
}

#[derive(Clone)]
struct Config {
    handle: Option<Handle>,
    enforce_http: bool,
    connect_timeout: Option<Duration>,
    attempt_delay: Duration,
    nodelay: bool,
    local_v4: Option<Ipv4Addr>,
    local_v6: Option<Ipv6Addr>,
    prepare: Option<Arc<Prepare>>,
}

type Prepare = dyn Fn(&TcpSocket) -> io::Result<()> + Send + Sync;

/// RFC 8305 section 8: the recommended Connection Attempt Delay, and its bounds.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
const ATTEMPT_DELAY_MIN: Duration = Duration::from_millis(10);
const ATTEMPT_DELAY_MAX: Duration = Duration::from_secs(2);

impl Default for Connector {
    fn default() -> Self {
        Self {
            config: Arc::new(Config {
                handle: None,
                enforce_http: true,
                connect_timeout: Some(Duration::from_secs(10)),
                attempt_delay: ATTEMPT_DELAY,
                nodelay: true,
                local_v4: None,
                local_v6: None,
                prepare: None,
            }),
        }
    }
}

impl Connector {
    /// A connector for `http`, which sets `TCP_NODELAY` and gives up after 10 s.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(Arc::make_mut(&mut self.config));
        self
    }

    /// Connects from this worker, whichever thread polls: for a client that runs on another thread, at the price of
    /// contending for the worker's lock.
    pub fn handle(self, handle: Handle) -> Self {
        self.with(|config| config.handle = Some(handle))
    }

    /// Whether other schemes than `http` are refused, `true` at first: a client without TLS would speak in clear text to where
    /// `https` was asked for. What adds TLS, as hyper-rustls and tonic do, needs `false`.
    pub fn enforce_http(self, enforce: bool) -> Self {
        self.with(|config| config.enforce_http = enforce)
    }

    /// How long all of it may take: looking up the name and trying the addresses. 10 s at first; `None` leaves it to the stack, which
    /// gives up an address after its own attempts at a SYN.
    pub fn connect_timeout(self, timeout: Option<Duration>) -> Self {
        self.with(|config| config.connect_timeout = timeout)
    }

    /// RFC 8305's Connection Attempt Delay: after how long the next address is tried beside those that have not answered. 250 ms at first;
    /// kept between 10 ms and 2 s, as section 8 wants it.
    pub fn attempt_delay(self, delay: Duration) -> Self {
        self.with(|config| {
            config.attempt_delay = delay.clamp(ATTEMPT_DELAY_MIN, ATTEMPT_DELAY_MAX);
        })
    }

    /// Sets `TCP_NODELAY`, or does not. `true` at first: HTTP writes whole messages, and one of HTTP/2 must not wait for the
    /// acknowledgment of another.
    pub fn nodelay(self, nodelay: bool) -> Self {
        self.with(|config| config.nodelay = nodelay)
    }

    /// Connects from this address, and to those of its family only, unless there is one of the other family too: each family has one.
    pub fn local_address(self, address: IpAddr) -> Self {
        self.with(|config| match address {
            IpAddr::V4(v4) => config.local_v4 = Some(v4),
            IpAddr::V6(v6) => config.local_v6 = Some(v6),
        })
    }

    /// Lets `prepare` set what else a socket has to be set, such as keepalive, buffers or congestion control, before it
    /// connects. Its errors are those of the attempt.
    pub fn prepare(
        self,
        prepare: impl Fn(&TcpSocket) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.with(|config| config.prepare = Some(Arc::new(prepare)))
    }
}

impl Config {
    /// Host and port of a URL.
    fn target<'a>(&self, uri: &'a Uri) -> io::Result<(&'a str, u16)> {
        let scheme = uri.scheme_str();
        if self.enforce_http && scheme != Some("http") {
            let scheme = scheme.unwrap_or("none");
            return Err(invalid(format!(
                "the URL's scheme is {scheme}, not http: TLS goes around a connector with enforce_http(false)"
            )));
        }
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| invalid("the URL has no host"))?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let port = match (uri.port_u16(), scheme) {
            (Some(port), _) => port,
            (None, Some("http" | "ws")) => 80,
            (None, Some("https" | "wss")) => 443,
            (None, _) => return Err(invalid("the URL has no port, and its scheme has none")),
        };
        Ok((host, port))
    }

    /// Whether there is a local address to reach it from.
    fn reaches(&self, address: &SocketAddr) -> bool {
        match address {
            _ if self.local_v4.is_none() && self.local_v6.is_none() => true,
            SocketAddr::V4(_) => self.local_v4.is_some(),
            SocketAddr::V6(_) => self.local_v6.is_some(),
        }
    }

    async fn connect(&self, uri: &Uri) -> io::Result<TcpStream> {
        let target = self.target(uri)?;
        let mut addresses: Vec<SocketAddr> = lookup_host(target).await?.collect();
        addresses.retain(|address| self.reaches(address));
        if addresses.is_empty() {
            return Err(invalid(
                "the host has no address in the family of the local one",
            ));
        }
        race(
            interleaved(addresses),
            |address| self.attempt(address),
            || sleep(self.attempt_delay),
        )
        .await
    }

    async fn attempt(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let (socket, local) = match address {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, self.local_v4.map(IpAddr::V4)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, self.local_v6.map(IpAddr::V6)),
        };
        socket.set_nodelay(self.nodelay)?;
        if let Some(local) = local {
            socket.bind((local, 0).into())?;
        }
        if let Some(prepare) = &self.prepare {
            prepare(&socket)?;
        }
        socket.connect(address).await
    }

    async fn connect_in_time(&self, uri: &Uri) -> io::Result<TcpStream> {
        match self.connect_timeout {
            None => self.connect(uri).await,
            Some(limit) => timeout(limit, self.connect(uri)).await.unwrap_or_else(|_| {
                let late = format!("no connection within {limit:?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, late))
            }),
        }
    }
}

fn invalid(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("enforce_http", &self.config.enforce_http)
            .field("connect_timeout", &self.config.connect_timeout)
            .field("attempt_delay", &self.config.attempt_delay)
            .field("nodelay", &self.config.nodelay)
            .field("local_v4", &self.config.local_v4)
            .field("local_v6", &self.config.local_v6)
            .finish_non_exhaustive()
    }
}

/// A connection that is being made. Dropped before it is ready, it is given up.
pub struct Connecting(Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>);

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting").finish_non_exhaustive()
    }
}

impl Future for Connecting {
    type Output = io::Result<TokioIo<TcpStream>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

/// Errors: `InvalidInput` for a URL without a host or with a scheme that is not taken, `TimedOut`, those of [`lookup_host`], and of the
/// address tried last those of [`TcpStream::connect`].
impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let config = self.config.clone();
        let handle = config.handle.clone();
        let connecting = async move { config.connect_in_time(&uri).await.map(TokioIo::new) };
        Connecting(match handle {
            Some(handle) => Box::pin(handle.scope(connecting)),
            None => Box::pin(connecting),
        })
    }
}

/// Both ends of a response's connection: among the extensions of a response of hyper-util's client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConnectionInfo {
    /// Ours.
    pub local: SocketAddr,
    /// The server's.
    pub peer: SocketAddr,
}

impl Connection for TcpStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        match (self.local_addr(), self.peer_addr()) {
            (Ok(local), Ok(peer)) => connected.extra(ConnectionInfo { local, peer }),
            _ => connected,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(connector: &Connector, url: &'static str) -> io::Result<(String, u16)> {
        let uri = Uri::from_static(url);
        let (host, port) = connector.config.target(&uri)?;
        Ok((host.to_owned(), port))
    }

    #[test]
    fn a_url_says_where_to_connect() {
        let any = Connector::new().enforce_http(false);
        for (url, host, port) in [
            ("http://example.org/a", "example.org", 80),
            ("https://example.org/", "example.org", 443),
            ("http://[fd00::1]:8080/", "fd00::1", 8080),
            ("http://user@198.18.0.1/", "198.18.0.1", 80),
            ("grpc://a.example:50051", "a.example", 50051),
        ] {
            assert_eq!(target(&any, url).unwrap(), (host.to_owned(), port), "{url}");
        }
    }

    #[test]
    fn a_url_that_leads_nowhere_is_refused() {
        let http = Connector::new();
        for (url, expected) in [
            ("https://example.org/", "scheme is https"),
            ("/path", "scheme is none"),
        ] {
            let error = target(&http, url).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let any = http.enforce_http(false);
        assert!(target(&any, "/path").is_err());
        assert!(target(&any, "grpc://a.example").is_err());
    }

    #[test]
    fn the_delay_between_attempts_is_kept_in_its_bounds() {
        let of = |delay| Connector::new().attempt_delay(delay).config.attempt_delay;
        assert_eq!(of(Duration::ZERO), ATTEMPT_DELAY_MIN);
        assert_eq!(of(Duration::from_secs(60)), ATTEMPT_DELAY_MAX);
    }

    #[test]
    fn a_local_address_limits_the_family() {
        let v4 = "198.18.0.1:80".parse().unwrap();
        let v6 = "[fd00::1]:80".parse().unwrap();
        let any = Connector::new();
        assert!(any.config.reaches(&v4) && any.config.reaches(&v6));
        let only_v6 = any.local_address("fd00::2".parse().unwrap());
        assert!(!only_v6.config.reaches(&v4) && only_v6.config.reaches(&v6));
        let both = only_v6.local_address("198.18.0.2".parse().unwrap());
        assert!(both.config.reaches(&v4) && both.config.reaches(&v6));
    }
}
