//! A certificate with its chain and its key, and which of several a client is shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use super::der::Certificate;
use super::pem::Source;

/// A certificate that ends within this time is warned of.
const SOON: Duration = Duration::from_hours(7 * 24);

/// Where a certificate and its key are.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) certificate: Source,
    pub(super) key: Source,
}

/// One that has been read.
#[derive(Debug, Clone)]
pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    names: Vec<String>,
}

impl Identity {
    /// Reads it, and sees that its parts belong together. One that is not valid now is warned of alone: the clock may be wrong.
    pub(super) fn load(&self, provider: &CryptoProvider) -> Result<Loaded, TlsError> {
        let chain = self.certificate.read()?.certificates()?;
        let (line, key) = self.key.read()?.key()?;
        let file = self.certificate.name();
        let mut names = Vec::new();
        for (index, (line, der)) in chain.iter().enumerate() {
            let unusable = |why: String| TlsError::UnusableCertificate {
                file: file.clone(),
                line: *line,
                why,
            };
            if index == 0 {
                ParsedCertificate::try_from(der).map_err(|error| unusable(error.to_string()))?;
            }
            let read = Certificate::read(der)
                .ok_or_else(|| unusable("it is not a certificate in DER".to_owned()))?;
            warn_of_time(&file, *line, &read);
            if index == 0 {
                names = read.names;
            }
        }
        let key = provider.key_provider.load_private_key(key);
        let key = key.map_err(|error| TlsError::UnusableKey {
            file: self.key.name(),
            line,
            why: error.to_string(),
        })?;
        let (lines, chain): (Vec<usize>, Vec<CertificateDer<'static>>) = chain.into_iter().unzip();
        let certified = CertifiedKey::new(chain, key);
        if !belong(&certified) {
            let mut others = lines.iter().zip(&certified.cert).skip(1);
            let other = others.find(|(_, other)| {
                belong(&CertifiedKey::new(
                    vec![(*other).clone()],
                    certified.key.clone(),
                ))
            });
            return Err(TlsError::KeyMismatch {
                certificate: file,
                key: self.key.name(),
                other: other.map(|(line, _)| *line),
            });
        }
        Ok(Loaded {
            certified: Arc::new(certified),
            names,
        })
    }
}

/// Whether the key is that of the first certificate, as far as can be told.
fn belong(certified: &CertifiedKey) -> bool {
    use rustls::{Error, InconsistentKeys};
    !matches!(
        certified.keys_match(),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch))
    )
}

fn warn_of_time(file: &str, line: usize, certificate: &Certificate) {
    let now = SystemTime::now();
    match certificate.not_after.duration_since(now) {
        Err(ago) => {
            let days = ago.duration().as_secs() / 86_400;
            tracing::warn!(
                file,
                line,
                days,
                "the certificate has expired so many days ago, clients will refuse it"
            );
        }
        Ok(left) if left < SOON => {
            let hours = left.as_secs() / 3_600;
            tracing::warn!(
                file,
                line,
                hours,
                "the certificate expires in so many hours"
            );
        }
        Ok(_) if certificate.not_before > now => {
            tracing::warn!(
                file,
                line,
                "the certificate is not valid yet, clients will refuse it: is the clock right?"
            );
        }
        Ok(_) => {}
    }
}

/// Chooses by the name that a client asks for (RFC 6066 section 3), and among those of a name by the signatures that it takes.
#[derive(Debug)]
pub(super) struct ByName {
    /// The first is for clients that name nobody, or somebody unknown.
    all: Vec<Arc<CertifiedKey>>,
    /// By name in lower case; that of a wildcard begins with `*.`.
    names: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    pub(super) fn new(loaded: Vec<Loaded>) -> Self {
        let mut names: HashMap<String, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for one in &loaded {
            for name in &one.names {
                let all = names.entry(name.clone()).or_default();
                all.push(one.certified.clone());
            }
        }
        let all = loaded.into_iter().map(|one| one.certified).collect();
        Self { all, names }
    }

    /// Those of the name, and those of its wildcard.
    fn named(&self, name: &str) -> [Option<&Vec<Arc<CertifiedKey>>>; 2] {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.');
        let wildcard = parent.and_then(|(_, parent)| self.names.get(&format!("*.{parent}")));
        [self.names.get(&name), wildcard]
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let usable = |one: &&Arc<CertifiedKey>| one.key.choose_scheme(schemes).is_some();
        let named = hello.server_name().map(|name| self.named(name));
        let named = named.into_iter().flatten().flatten();
        named
            .flatten()
            .find(usable)
            .or_else(|| self.all.iter().find(usable))
            .or_else(|| self.all.first())
            .cloned()
    }
}
