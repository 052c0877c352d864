//! What is counted of handshakes, in the whole process: one addition each, which no packet waits for.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustls::{Error, HandshakeKind};

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It took longer than it may.
    Timeout,
    /// There was no place for another one, and it had been the slowest.
    Evicted,
    /// The peer closed or reset the connection within it.
    Closed,
    /// What came is not TLS, or not according to it.
    Malformed,
    /// No version, cipher suite, group or signature in common.
    Incompatible,
    /// No protocol in common (ALPN).
    Protocol,
    /// The peer has shown no certificate, and should have.
    NoCertificate,
    /// The peer's certificate is not trusted, not valid or for another name.
    BadCertificate,
    /// The peer says that something is wrong, as one does that does not trust our certificate.
    Alert,
    /// Something else.
    Other,
}

/// As they are told, in the order of [`Cause`].
const CAUSES: [&str; 10] = [
    "timeout",
    "evicted",
    "closed",
    "malformed",
    "incompatible",
    "protocol",
    "no_certificate",
    "bad_certificate",
    "alert",
    "other",
];

impl Cause {
    pub(crate) fn name(self) -> &'static str {
        CAUSES[self as usize]
    }

    /// What tokio-rustls's error means.
    pub(crate) fn of(error: &io::Error) -> Self {
        let within = error.get_ref().and_then(|error| error.downcast_ref());
        match within {
            Some(
                Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. },
            ) => Self::Malformed,
            Some(Error::InvalidMessage(_) | Error::PeerMisbehaved(_)) => Self::Malformed,
            Some(Error::PeerSentOversizedRecord | Error::DecryptError) => Self::Malformed,
            Some(Error::PeerIncompatible(_)) => Self::Incompatible,
            Some(Error::NoApplicationProtocol) => Self::Protocol,
            Some(Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_)) => {
                Self::BadCertificate
            }
            Some(Error::AlertReceived(_)) => Self::Alert,
            Some(_) => Self::Other,
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::Closed,
                io::ErrorKind::TimedOut => Self::Timeout,
                _ => Self::Other,
            },
        }
    }
}

/// Those of one side.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    handshakes: AtomicU64,
    resumed: AtomicU64,
    failures: [AtomicU64; CAUSES.len()],
}

pub(crate) static SERVER: Side = Side::new("server");
pub(crate) static CLIENT: Side = Side::new("client");
static RELOADS: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

impl Side {
    const fn new(name: &'static str) -> Self {
        Self {
            name,
            handshakes: AtomicU64::new(0),
            resumed: AtomicU64::new(0),
            failures: [const { AtomicU64::new(0) }; CAUSES.len()],
        }
    }

    /// A handshake is done.
    pub(crate) fn done(&self, kind: Option<HandshakeKind>) {
        self.handshakes.fetch_add(1, Relaxed);
        if kind == Some(HandshakeKind::Resumed) {
            self.resumed.fetch_add(1, Relaxed);
        }
    }

    /// One has failed.
    pub(crate) fn failed(&self, cause: Cause) {
        self.failures[cause as usize].fetch_add(1, Relaxed);
    }

    /// How many are done, and how many of those went on with a session of before.
    pub(crate) fn handshakes(&self) -> (u64, u64) {
        (self.handshakes.load(Relaxed), self.resumed.load(Relaxed))
    }

    /// How many have failed, by cause.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failures.iter().map(|count| count.load(Relaxed));
        CAUSES.into_iter().zip(counts)
    }
}

/// New certificates were taken, or refused.
pub(crate) fn reloaded(taken: bool) {
    RELOADS[usize::from(!taken)].fetch_add(1, Relaxed);
}

/// How often they were, by what became of it.
pub(crate) fn reloads() -> [(&'static str, u64); 2] {
    [
        ("taken", RELOADS[0].load(Relaxed)),
        ("refused", RELOADS[1].load(Relaxed)),
    ]
}
