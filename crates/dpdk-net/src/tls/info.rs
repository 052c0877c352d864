//! What was agreed on a connection.

use std::fmt;

use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};
use tokio_rustls::{TlsStream, client, server};

use super::der::Certificate;

mod sealed {
    pub trait Session {
        /// What both sides have, and the name that a client has asked for.
        fn session(&self) -> (&rustls::CommonState, Option<&str>);
    }
}

/// tokio-rustls's streams.
pub trait Session: sealed::Session {}

impl<S: sealed::Session> Session for S {}

impl<IO> sealed::Session for server::TlsStream<IO> {
    fn session(&self) -> (&CommonState, Option<&str>) {
        let session = self.get_ref().1;
        (session, session.server_name())
    }
}

impl<IO> sealed::Session for client::TlsStream<IO> {
    fn session(&self) -> (&CommonState, Option<&str>) {
        (self.get_ref().1, None)
    }
}

impl<IO> sealed::Session for TlsStream<IO> {
    fn session(&self) -> (&CommonState, Option<&str>) {
        match self {
            Self::Client(stream) => sealed::Session::session(stream),
            Self::Server(stream) => sealed::Session::session(stream),
        }
    }
}

/// What was agreed on a connection, once its handshake is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub cipher: CipherSuite,
    /// The protocol that ALPN gave (RFC 7301), if any.
    pub alpn: Option<Vec<u8>>,
    /// The peer's certificate and those of its issuers that it sent, in DER. Empty where a client has shown none. Of a resumed session
    /// they are those of the session that it goes on with.
    pub peer_certificates: Vec<CertificateDer<'static>>,
    /// Whether it goes on with a session of before.
    pub resumed: bool,
    /// The name that the client has asked for (SNI), on a server's side.
    pub server_name: Option<String>,
}

impl TlsInfo {
    /// Reads it off a stream: [`TlsStream`](super::TlsStream), or any of tokio-rustls's.
    pub fn of(stream: &impl Session) -> Self {
        let (session, server_name) = stream.session();
        let suite = session.negotiated_cipher_suite();
        let unknown = ProtocolVersion::Unknown(0);
        Self {
            version: session.protocol_version().unwrap_or(unknown),
            cipher: suite.map_or(CipherSuite::Unknown(0), |suite| suite.suite()),
            alpn: session.alpn_protocol().map(<[u8]>::to_vec),
            peer_certificates: session.peer_certificates().unwrap_or_default().to_vec(),
            resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
            server_name: server_name.map(str::to_owned),
        }
    }

    /// The DNS names in the peer's certificate, in lower case: who it is, as its authority vouches. None where it has shown none.
    pub fn peer_names(&self) -> Vec<String> {
        let own = self.peer_certificates.first();
        let read = own.and_then(|own| Certificate::read(own));
        read.map(|certificate| certificate.names)
            .unwrap_or_default()
    }
}

impl fmt::Display for TlsInfo {
    /// `TLS 1.3, TLS13_AES_256_GCM_SHA384, h2, resumed`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            ProtocolVersion::TLSv1_3 => f.write_str("TLS 1.3")?,
            ProtocolVersion::TLSv1_2 => f.write_str("TLS 1.2")?,
            other => write!(f, "{other:?}")?,
        }
        write!(f, ", {:?}", self.cipher)?;
        if let Some(alpn) = &self.alpn {
            write!(f, ", {}", alpn.escape_ascii())?;
        }
        if self.resumed {
            f.write_str(", resumed")?;
        }
        Ok(())
    }
}
