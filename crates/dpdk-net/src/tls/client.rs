//! What a client trusts, and its connections.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, DEFAULT_VERSIONS, SupportedProtocolVersion};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::client;

use super::identity::Identity;
use super::pem::Source;
use super::stats::{CLIENT, Cause};
use super::{TLS12_ALONE, TLS13_ALONE, TlsError, TlsStream, Unusable, protocols, roots};
use crate::net::TcpStream;
use crate::time::timeout;

/// How long a handshake may take where the program does not say.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a [`TlsConnector`] is made of.
#[derive(Debug, Clone)]
#[must_use = "nothing is made before build"]
pub struct TlsConnectorBuilder {
    roots: Vec<Source>,
    identity: Option<Identity>,
    alpn: Vec<String>,
    versions: &'static [&'static SupportedProtocolVersion],
    resumption: bool,
    timeout: Duration,
}

impl TlsConnectorBuilder {
    /// Trusts servers that the authorities in a PEM file vouch for. Those of several files are all trusted; one whose certificate can't be
    /// used is left out, with a warning in the log.
    pub fn roots_file(mut self, file: impl AsRef<Path>) -> Self {
        self.roots.push(Source::File(file.as_ref().into()));
        self
    }

    /// As [`roots_file`](Self::roots_file), from memory: PEM as well.
    pub fn roots_pem(mut self, pem: impl AsRef<[u8]>) -> Self {
        let source = Source::Memory("the roots given", pem.as_ref().into());
        self.roots.push(source);
        self
    }

    /// What it shows servers that ask: a certificate with those of its issuers behind it, and its key, in PEM files.
    pub fn certificate_files(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Self {
        self.identity = Some(Identity {
            certificate: Source::File(certificate.as_ref().into()),
            key: Source::File(key.as_ref().into()),
        });
        self
    }

    /// As [`certificate_files`](Self::certificate_files), from memory: PEM as well.
    pub fn certificate_pem(mut self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity = Some(Identity {
            certificate: Source::Memory("the certificate given", certificate.as_ref().into()),
            key: Source::Memory("the key given", key.as_ref().into()),
        });
        self
    }

    /// Protocols that it offers by ALPN (RFC 7301), the best first. None by default.
    pub fn alpn<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// TLS 1.3 alone, without 1.2.
    pub fn tls13_only(mut self) -> Self {
        self.versions = &TLS13_ALONE;
        self
    }

    /// TLS 1.2 alone, for a server that gets 1.3 wrong.
    pub fn tls12_only(mut self) -> Self {
        self.versions = &TLS12_ALONE;
        self
    }

    /// Whether sessions are kept and resumed. On by default.
    pub fn resumption(mut self, on: bool) -> Self {
        self.resumption = on;
        self
    }

    /// How long a handshake may take, TCP's not counted. 10 s by default.
    pub fn handshake_timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Reads the files and makes it.
    ///
    /// # Errors
    /// [`TlsError`], which says in which file and what to do; [`TlsError::NoRoots`] where nobody is trusted.
    pub fn build(self) -> Result<TlsConnector, TlsError> {
        let roots = roots(&self.roots, Unusable::Skipped)?;
        if roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let provider = Arc::new(ring::default_provider());
        let identity = self.identity.map(|identity| identity.load(&provider));
        let identity = identity.transpose()?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .map_err(|error| TlsError::Refused(error.to_string()))?
            .with_root_certificates(roots);
        let mut config = match identity {
            Some(loaded) => builder.with_client_cert_resolver(Arc::new(
                rustls::sign::SingleCertAndKey::from(loaded.certified),
            )),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = protocols(&self.alpn)?;
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Ok(TlsConnector {
            config: Arc::new(config),
            timeout: self.timeout,
        })
    }
}

/// Makes connections with TLS. Cheap to clone; clones resume each other's sessions, on whichever thread.
///
/// ```no_run
/// use dpdk_net::tls::{TlsConnector, TlsInfo};
/// use tokio::io::AsyncWriteExt;
///
/// # async fn call() -> Result<(), Box<dyn std::error::Error>> {
/// let connector = TlsConnector::builder().roots_file("ca.pem").build()?;
/// let mut stream = connector.connect("www.example", 443).await?;
/// println!("{}", TlsInfo::of(&stream));
/// stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TlsConnector {
    pub(super) config: Arc<ClientConfig>,
    timeout: Duration,
}

impl TlsConnector {
    /// Begins one. It trusts nobody yet.
    pub fn builder() -> TlsConnectorBuilder {
        TlsConnectorBuilder {
            roots: Vec::new(),
            identity: None,
            alpn: Vec::new(),
            versions: DEFAULT_VERSIONS,
            resumption: true,
            timeout: TIMEOUT,
        }
    }

    /// What rustls is configured with: for what takes that itself, as hyper-rustls does.
    pub fn rustls(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// Connects to a host, which is a name or an IP address (in brackets or not), and shakes hands. The server has to be who it was asked
    /// for.
    ///
    /// # Errors
    /// What [`TcpStream::connect`] and [`handshake`](Self::handshake) give.
    ///
    /// # Cancel safety
    /// If dropped, the connection is closed.
    pub async fn connect(&self, host: &str, port: u16) -> io::Result<TlsStream> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = name(host)?;
        let stream = TcpStream::connect((host, port)).await?;
        Ok(self.shake(name, stream).await?.into())
    }

    /// Shakes hands on a stream that is there, with a server of this name or IP address.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name, `TimedOut` after [the time](TlsConnectorBuilder::handshake_timeout), and `InvalidData` with a
    /// [`rustls::Error`] within for a server that is not trusted and for all that is wrong with the handshake.
    ///
    /// # Cancel safety
    /// Not cancel safe: the stream is lost.
    pub async fn handshake<IO>(&self, host: &str, stream: IO) -> io::Result<client::TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.shake(name(host)?, stream).await
    }

    async fn shake<IO>(
        &self,
        name: ServerName<'static>,
        stream: IO,
    ) -> io::Result<client::TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let connector = tokio_rustls::TlsConnector::from(self.config.clone());
        match timeout(self.timeout, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => {
                CLIENT.done(stream.get_ref().1.handshake_kind());
                Ok(stream)
            }
            Ok(Err(error)) => {
                CLIENT.failed(Cause::of(&error));
                Err(error)
            }
            Err(_) => {
                CLIENT.failed(Cause::Timeout);
                let why = format!("no TLS handshake within {:?}", self.timeout);
                Err(io::Error::new(io::ErrorKind::TimedOut, why))
            }
        }
    }
}

fn name(host: &str) -> io::Result<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).map_err(|_| {
        let why = format!("{host:?} is neither a DNS name nor an IP address");
        io::Error::new(io::ErrorKind::InvalidInput, why)
    })
}
