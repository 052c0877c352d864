//! TLS on our sockets, with rustls: a listener whose streams have shaken hands, a connector, and certificates that can be changed while
//! the program runs.
//!
//! ```no_run
//! use dpdk_net::tls::{TlsConfig, TlsListener};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let config = TlsConfig::from_pem_files("cert.pem", "key.pem")?;
//! let mut listener = TlsListener::bind("[::]:443", config.clone()).await?;
//! loop {
//!     let (mut stream, peer) = listener.accept().await?;
//!     tokio::spawn(async move {
//!         let mut first = [0; 1024];
//!         let read = stream.read(&mut first).await?;
//!         stream.write_all(&first[..read]).await?;
//!         stream.shutdown().await
//!     });
//! }
//! # }
//! ```
//!
//! tokio-rustls takes our [`TcpStream`](crate::net::TcpStream) as it takes tokio's, and what is here is made of it: [`TlsStream`] is its
//! type, and [`TlsConfig::rustls`] and [`TlsConnector::rustls`] give what it is configured with. What is added is the handshakes' bounds,
//! errors that say where, the reload, and figures. Cryptography is ring's.
//!
//! One [`TlsConfig`] serves all workers: make it before the application runs and clone it into each program. The keys of session tickets
//! are in it, so a client resumes on whichever queue its next connection comes to.
//!
//! # What a handshake costs
//! It runs on its worker, between packets: a signature of ECDSA P-256 takes tens of microseconds, one of RSA with 2048 bits several
//! times that. ECDSA certificates are the better ones here.

#[cfg(feature = "axum")]
mod axum;
mod client;
mod der;
mod error;
mod identity;
mod info;
mod listener;
mod pem;
mod server;
pub(crate) mod stats;
#[cfg(test)]
mod tests;

#[cfg(feature = "axum")]
pub use self::axum::TlsPeer;
pub use self::client::{TlsConnector, TlsConnectorBuilder};
pub use self::error::TlsError;
pub use self::info::{Session, TlsInfo};
pub use self::listener::{HandshakeLimits, Handshakes, TlsListener};
pub use self::server::{ClientCertificates, TlsConfig, TlsConfigBuilder};

#[doc(no_inline)]
pub use rustls;
#[doc(no_inline)]
pub use tokio_rustls;

/// A connection of ours with TLS on it, of a server or a client.
///
/// What is written may stay in its buffer until it is flushed, as in tokio's `BufWriter`. `shutdown` says that no more comes
/// (close_notify) and closes the writing side; a stream that is dropped without it looks cut short to the peer.
pub type TlsStream = tokio_rustls::TlsStream<crate::net::TcpStream>;

/// What HTTP servers and clients offer in ALPN (RFC 7301): HTTP/2, then HTTP/1.1.
pub const HTTP: [&str; 2] = ["h2", "http/1.1"];

static TLS12_ALONE: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS12];
static TLS13_ALONE: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

/// Protocols for ALPN as rustls takes them.
fn protocols(names: &[String]) -> Result<Vec<Vec<u8>>, TlsError> {
    let one = |name: &String| match name.len() {
        1..=255 => Ok(name.clone().into_bytes()),
        _ => Err(TlsError::Alpn(name.clone())),
    };
    names.iter().map(one).collect()
}

/// What becomes of an authority's certificate that can't be used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unusable {
    /// All are refused.
    Refused,
    /// It is left out with a warning, unless none remains: in a bundle of a whole system's one odd certificate is nothing to fail for.
    Skipped,
}

/// The certificates of authorities in these sources.
fn roots(sources: &[pem::Source], unusable: Unusable) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let mut skipped = None;
    for source in sources {
        for (line, certificate) in source.read()?.certificates()? {
            let Err(error) = roots.add(certificate) else {
                continue;
            };
            let error = TlsError::UnusableCertificate {
                file: source.name(),
                line,
                why: error.to_string(),
            };
            if unusable == Unusable::Refused {
                return Err(error);
            }
            tracing::warn!(%error, "an authority is not trusted");
            skipped.get_or_insert(error);
        }
    }
    match skipped {
        Some(error) if roots.is_empty() => Err(error),
        _ => Ok(roots),
    }
}
