//! What keeps a TLS configuration from being made.

use std::io;

/// Why a TLS configuration can't be made. Each says in which file, at which line, and what to do.
///
/// What is from memory is called what it was given as: "the certificate given" stands in place of a file's name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// The text of a file is not PEM (RFC 7468).
    #[error("{file}, line {line}: {problem}; {advice}")]
    Pem {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: String,
        /// What to do.
        advice: &'static str,
    },
    /// There is no certificate where one should be.
    #[error(
        "{file} has no certificate: {found}; a certificate stands between '-----BEGIN CERTIFICATE-----' and '-----END CERTIFICATE-----'"
    )]
    NoCertificate {
        /// The file.
        file: String,
        /// What there is in it.
        found: String,
    },
    /// There is no private key where one should be.
    #[error(
        "{file} has no private key: {found}; a key stands between '-----BEGIN PRIVATE KEY-----' and '-----END PRIVATE KEY-----'"
    )]
    NoKey {
        /// The file.
        file: String,
        /// What there is in it.
        found: String,
    },
    /// There are several private keys, and it is not said which one is meant.
    #[error("{file} has {} private keys, at the lines {}: leave the one that belongs to the certificate", lines.len(), join(lines))]
    SeveralKeys {
        /// The file.
        file: String,
        /// Where they begin, from 1.
        lines: Vec<usize>,
    },
    /// The private key is encrypted, and there is nobody to be asked for the passphrase.
    #[error(
        "{file}, line {line}: the private key is encrypted; decrypt it: openssl pkey -in {file} -out plain.pem"
    )]
    EncryptedKey {
        /// The file.
        file: String,
        /// Where it begins, from 1.
        line: usize,
    },
    /// A key that can't be used: of a kind that there is no implementation for, say.
    #[error(
        "{file}, line {line}: the private key can't be used: {why}; ECDSA (P-256, P-384), Ed25519 and RSA of 2048 bits or more can"
    )]
    UnusableKey {
        /// The file.
        file: String,
        /// Where it begins, from 1.
        line: usize,
        /// What rustls says.
        why: String,
    },
    /// A certificate that can't be read.
    #[error(
        "{file}, line {line}: the certificate can't be used: {why}; see what it is: openssl x509 -in {file} -noout -text"
    )]
    UnusableCertificate {
        /// The file.
        file: String,
        /// Where it begins, from 1.
        line: usize,
        /// What rustls says.
        why: String,
    },
    /// The key is not that of the first certificate.
    #[error(
        "the private key in {key} does not belong to the certificate in {certificate}{}",
        mismatch(other)
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// Where the certificate begins that it belongs to, if there is one further down.
        other: Option<usize>,
    },
    /// A server without a certificate.
    #[error(
        "a TLS server needs a certificate and its key: give both with TlsConfigBuilder::certificate_files"
    )]
    NothingToShow,
    /// A client that trusts nobody.
    #[error(
        "a TLS client trusts nobody unless it is told whom: give certificates of authorities with TlsConnectorBuilder::roots_file, /etc/ssl/certs/ca-certificates.crt for the system's on Debian"
    )]
    NoRoots,
    /// A protocol for ALPN (RFC 7301) is empty or longer than 255 bytes.
    #[error("{0:?} is no protocol for ALPN: it has 1 to 255 bytes, as \"h2\" and \"http/1.1\"")]
    Alpn(String),
    /// rustls refuses what was made of it all.
    #[error("rustls refuses the configuration: {0}")]
    Refused(String),
}

impl TlsError {
    /// The file that it is about; of two that do not belong together the key's.
    #[cfg(feature = "config")]
    pub(crate) fn file(&self) -> Option<&str> {
        match self {
            Self::Read { file, .. }
            | Self::Pem { file, .. }
            | Self::NoCertificate { file, .. }
            | Self::NoKey { file, .. }
            | Self::SeveralKeys { file, .. }
            | Self::EncryptedKey { file, .. }
            | Self::UnusableKey { file, .. }
            | Self::UnusableCertificate { file, .. } => Some(file),
            Self::KeyMismatch { key, .. } => Some(key),
            Self::NothingToShow | Self::NoRoots | Self::Alpn(_) | Self::Refused(_) => None,
        }
    }
}

fn join(lines: &[usize]) -> String {
    let lines: Vec<String> = lines.iter().map(usize::to_string).collect();
    lines.join(", ")
}

fn mismatch(other: &Option<usize>) -> String {
    match other {
        Some(line) => format!(
            ", but to the one at its line {line}: the server's own certificate comes first, those of its issuers after it"
        ),
        None => ": both have to be from the same request; compare what openssl x509 -noout -pubkey and openssl pkey -pubout print"
            .to_owned(),
    }
}
