//! What a server shows and asks for, and how that is changed while it runs.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::server::{
    NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::{CertificateError, DEFAULT_VERSIONS, HandshakeKind, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server};

use super::der::Certificate;
use super::identity::{ByName, Identity, Loaded};
use super::pem::Source;
use super::{TLS13_ALONE, TlsError, Unusable, protocols, roots, stats};

/// Sessions that are kept for clients without tickets (TLS 1.2 by session id).
const SESSIONS: usize = 4_096;

/// Whether a server asks clients for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientCertificates {
    /// Who has none is refused.
    Required,
    /// Who has none is let in, and [`TlsInfo::peer_certificates`](super::TlsInfo::peer_certificates) is empty; one that is shown has to
    /// be good.
    Optional,
}

/// What a [`TlsConfig`] is made of.
#[derive(Debug, Clone)]
#[must_use = "nothing is made before build"]
pub struct TlsConfigBuilder {
    identities: Vec<Identity>,
    client_ca: Vec<Source>,
    client_certificates: ClientCertificates,
    alpn: Vec<String>,
    tls13_only: bool,
    /// What the program says, if it does.
    resumption: Option<bool>,
}

impl Default for TlsConfigBuilder {
    fn default() -> Self {
        Self {
            identities: Vec::new(),
            client_ca: Vec::new(),
            client_certificates: ClientCertificates::Required,
            alpn: Vec::new(),
            tls13_only: false,
            resumption: None,
        }
    }
}

impl TlsConfigBuilder {
    /// A certificate with those of its issuers behind it, and its key, in PEM files. They may be one file.
    ///
    /// Of several a client gets the one with the DNS name that it asks for (SNI), a wildcard's where no other fits, and the first where
    /// none does.
    pub fn certificate_files(self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity(Identity {
            certificate: Source::File(certificate.as_ref().into()),
            key: Source::File(key.as_ref().into()),
        })
    }

    /// As [`certificate_files`](Self::certificate_files), from memory: PEM as well.
    pub fn certificate_pem(self, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        self.identity(Identity {
            certificate: Source::Memory("the certificate given", certificate.as_ref().into()),
            key: Source::Memory("the key given", key.as_ref().into()),
        })
    }

    fn identity(mut self, identity: Identity) -> Self {
        self.identities.push(identity);
        self
    }

    /// Asks clients for certificates that these authorities, in a PEM file, have signed.
    pub fn client_ca_file(self, file: impl AsRef<Path>, asked: ClientCertificates) -> Self {
        self.client_ca(Source::File(file.as_ref().into()), asked)
    }

    /// As [`client_ca_file`](Self::client_ca_file), from memory.
    pub fn client_ca_pem(self, pem: impl AsRef<[u8]>, asked: ClientCertificates) -> Self {
        let source = Source::Memory("the client CA given", pem.as_ref().into());
        self.client_ca(source, asked)
    }

    fn client_ca(mut self, source: Source, asked: ClientCertificates) -> Self {
        self.client_ca.push(source);
        self.client_certificates = asked;
        self
    }

    /// Protocols for ALPN (RFC 7301), the best first: [`HTTP`](super::HTTP), say. A client that offers others alone is refused. None by
    /// default.
    pub fn alpn<S: Into<String>>(mut self, protocols: impl IntoIterator<Item = S>) -> Self {
        self.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// TLS 1.3 alone, without 1.2.
    pub fn tls13_only(mut self) -> Self {
        self.tls13_only = true;
        self
    }

    /// Whether clients may resume sessions: a second handshake is cheaper then, and its forward secrecy that of the ticket's key, which is
    /// changed every six hours and used for twelve while there are handshakes with tickets, and stays for as long as there are none. On by
    /// default, and off where clients are asked for certificates.
    ///
    /// Of a client's certificate [`TlsConfig::accept`] and [`TlsListener`](super::TlsListener) see at a resumption that it has not expired
    /// since; whether its authority still vouches for it is not looked at again. A client is refused then that has renewed its
    /// certificate, and has new tickets with the old one from that handshake: it gets in again once it forgets its sessions.
    pub fn resumption(mut self, on: bool) -> Self {
        self.resumption = Some(on);
        self
    }

    /// Reads the files and makes it.
    ///
    /// # Errors
    /// [`TlsError`], which says in which file and what to do. A certificate that is not valid now is warned of in the log alone.
    pub fn build(self) -> Result<TlsConfig, TlsError> {
        let made = self.make(None)?;
        Ok(TlsConfig(Arc::new(Shared {
            made: ArcSwap::from_pointee(made),
            recipe: Mutex::new(self),
        })))
    }

    fn make(&self, before: Option<&Made>) -> Result<Made, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let loaded: Result<Vec<Loaded>, TlsError> = self
            .identities
            .iter()
            .map(|identity| identity.load(&provider))
            .collect();
        let loaded = loaded?;
        if loaded.is_empty() {
            return Err(TlsError::NothingToShow);
        }
        let refused = |error: &dyn fmt::Display| TlsError::Refused(error.to_string());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(match self.tls13_only {
                true => &TLS13_ALONE[..],
                false => DEFAULT_VERSIONS,
            })
            .map_err(|error| refused(&error))?;
        let mut trusted = None;
        let builder = if self.client_ca.is_empty() {
            builder.with_no_client_auth()
        } else {
            let roots = Arc::new(roots(&self.client_ca, Unusable::Refused)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider);
            let verifier = match self.client_certificates {
                ClientCertificates::Required => verifier,
                ClientCertificates::Optional => verifier.allow_unauthenticated(),
            };
            trusted = Some((self.client_certificates, roots));
            builder.with_client_cert_verifier(verifier.build().map_err(|error| refused(&error))?)
        };
        let mut config = builder.with_cert_resolver(Arc::new(ByName::new(loaded)));
        config.alpn_protocols = protocols(&self.alpn)?;
        let clients = Clients(trusted);
        // A session has the certificate of its first handshake, and gives it to those that go on from it: a client with a new one would
        // not get to show it.
        let resumption = self.resumption.unwrap_or(self.client_ca.is_empty());
        let sessions = match (resumption, before) {
            (false, _) => None,
            // A session tells who the client is, without that being looked at again: it holds as long as the same ones are let in.
            (true, Some(before)) if before.sessions.is_some() && before.clients == clients => {
                before.sessions.clone()
            }
            (true, _) => Some(Sessions {
                tickets: ring::Ticketer::new().map_err(|error| refused(&error))?,
                by_id: ServerSessionMemoryCache::new(SESSIONS),
            }),
        };
        match &sessions {
            Some(sessions) => {
                config.ticketer = sessions.tickets.clone();
                config.session_storage = sessions.by_id.clone();
            }
            None => {
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
        }
        Ok(Made {
            config: Arc::new(config),
            clients,
            sessions,
        })
    }
}

/// Which clients are let in.
#[derive(Debug)]
struct Clients(Option<(ClientCertificates, Arc<rustls::RootCertStore>)>);

impl PartialEq for Clients {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some((asked, roots)), Some((other_asked, other_roots))) => {
                asked == other_asked && roots.roots == other_roots.roots
            }
            _ => false,
        }
    }
}

/// What sessions are resumed from.
#[derive(Clone)]
struct Sessions {
    tickets: Arc<dyn ProducesTickets>,
    by_id: Arc<dyn StoresServerSessions>,
}

/// What was made of files at a time.
struct Made {
    config: Arc<ServerConfig>,
    clients: Clients,
    sessions: Option<Sessions>,
}

struct Shared {
    made: ArcSwap<Made>,
    recipe: Mutex<TlsConfigBuilder>,
}

/// A server's side of TLS: certificates, whom it asks for theirs, and the keys of session tickets. Cheap to clone; clones are the same
/// one, on whichever thread, and [`reload`](Self::reload) changes them all.
#[derive(Clone)]
pub struct TlsConfig(Arc<Shared>);

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsConfig")
            .field(&*self.0.recipe.lock())
            .finish()
    }
}

impl PartialEq for TlsConfig {
    /// Whether they are the same one: what one is told, the other is.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for TlsConfig {}

impl TlsConfig {
    /// Begins one.
    pub fn builder() -> TlsConfigBuilder {
        TlsConfigBuilder::default()
    }

    /// With this certificate and key, in PEM files, and nothing else: any client, no ALPN.
    ///
    /// # Errors
    /// As [`TlsConfigBuilder::build`].
    pub fn from_pem_files(
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self, TlsError> {
        Self::builder().certificate_files(certificate, key).build()
    }

    /// As [`from_pem_files`](Self::from_pem_files), from memory: PEM as well.
    ///
    /// # Errors
    /// As [`TlsConfigBuilder::build`].
    pub fn from_pem(
        certificate: impl AsRef<[u8]>,
        key: impl AsRef<[u8]>,
    ) -> Result<Self, TlsError> {
        Self::builder().certificate_pem(certificate, key).build()
    }

    /// Reads its files anew. Handshakes that begin after this see what is in them; connections that are there go on as they are, and
    /// clients resume their sessions, unless others than before are let in. It reads files, which blocks for as long as the disk takes: a
    /// few small ones.
    ///
    /// # Errors
    /// As [`TlsConfigBuilder::build`]; then nothing has changed, and the certificates of before go on to be shown.
    pub fn reload(&self) -> Result<(), TlsError> {
        let recipe = self.0.recipe.lock();
        self.take(recipe.make(Some(&self.0.made.load())))
    }

    /// As [`reload`](Self::reload), and with other files or other settings than before.
    ///
    /// # Errors
    /// As [`TlsConfigBuilder::build`]; then nothing has changed.
    pub fn reload_with(&self, builder: TlsConfigBuilder) -> Result<(), TlsError> {
        let mut recipe = self.0.recipe.lock();
        self.take(builder.make(Some(&self.0.made.load())))?;
        *recipe = builder;
        Ok(())
    }

    fn take(&self, made: Result<Made, TlsError>) -> Result<(), TlsError> {
        stats::reloaded(made.is_ok());
        self.0.made.store(Arc::new(made?));
        Ok(())
    }

    /// What rustls is configured with now: for what takes that itself. Where clients resume sessions, nothing of their certificates is
    /// looked at again there, as [`accept`](Self::accept) does.
    pub fn rustls(&self) -> Arc<ServerConfig> {
        self.0.made.load().config.clone()
    }

    /// Shakes hands as a server on any stream, with what holds now. No time limit is kept: [`TlsListener`](super::TlsListener) has one.
    ///
    /// # Errors
    /// What the stream gives, and `InvalidData` with a [`rustls::Error`] within for what is wrong with the handshake, and for a session of
    /// a client whose certificate has expired since.
    ///
    /// # Cancel safety
    /// Not cancel safe: the stream is lost.
    pub async fn accept<IO>(&self, stream: IO) -> io::Result<server::TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = TlsAcceptor::from(self.rustls()).accept(stream).await?;
        let session = stream.get_ref().1;
        // rustls takes the certificate from the session as it is, and puts it into the tickets of the next one.
        if session.handshake_kind() == Some(HandshakeKind::Resumed) {
            let certificates = session.peer_certificates().unwrap_or_default();
            still_valid(certificates, SystemTime::now())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(stream)
    }
}

/// Whether a peer's own certificate, the first, has not expired. Who has shown none has none that could.
pub(super) fn still_valid(
    certificates: &[CertificateDer<'_>],
    now: SystemTime,
) -> Result<(), rustls::Error> {
    let Some(own) = certificates.first() else {
        return Ok(());
    };
    let wrong = match Certificate::read(own) {
        Some(read) if now <= read.not_after => return Ok(()),
        Some(_) => CertificateError::Expired,
        None => CertificateError::BadEncoding,
    };
    Err(wrong.into())
}
