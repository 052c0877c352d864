//! Certificates and keys in PEM (RFC 7468), from files and from memory, with errors that say where.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsError;

/// More than the certificates of all authorities have; a file that goes on for ever ends here.
const MAX_FILE: u64 = 16 << 20;

const CERTIFICATE: &str = "CERTIFICATE";
const KEYS: [&str; 3] = ["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"];
const ENCRYPTED_KEY: &str = "ENCRYPTED PRIVATE KEY";

/// Where PEM comes from. It is read anew each time.
#[derive(Clone)]
pub(super) enum Source {
    File(PathBuf),
    /// A text, and what messages call it.
    Memory(&'static str, Arc<[u8]>),
}

impl fmt::Debug for Source {
    /// Without the text, which may be a key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl Source {
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Memory(what, _) => (*what).to_owned(),
        }
    }

    /// Its blocks.
    pub(super) fn read(&self) -> Result<Blocks, TlsError> {
        let text = match self {
            Self::Memory(_, text) => text.to_vec(),
            Self::File(path) => read(path).map_err(|source| TlsError::Read {
                file: self.name(),
                source,
            })?,
        };
        Blocks::find(self.name(), &text)
    }
}

fn read(path: &PathBuf) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let read = File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_end(&mut text)?;
    if read as u64 > MAX_FILE {
        let why = format!("it has more than {} MiB", MAX_FILE >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(text)
}

/// What stands between a BEGIN and an END.
struct Block {
    label: String,
    /// That of the BEGIN, from 1.
    line: usize,
    /// With both lines.
    text: Vec<u8>,
}

impl Block {
    /// Whether it is a key of the old kind that is encrypted: a header says so (RFC 1421 section 4.6.1.1).
    fn is_encrypted(&self) -> bool {
        self.label == ENCRYPTED_KEY
            || self.text.split(|byte| *byte == b'\n').any(|line| {
                line.starts_with(b"Proc-Type:") && line.trim_ascii_end().ends_with(b"ENCRYPTED")
            })
    }
}

/// The blocks of a PEM text.
pub(super) struct Blocks {
    file: String,
    blocks: Vec<Block>,
    is_empty: bool,
}

impl Blocks {
    fn find(file: String, text: &[u8]) -> Result<Self, TlsError> {
        let wrong = |line, problem: String, advice| TlsError::Pem {
            file: file.clone(),
            line,
            problem,
            advice,
        };
        if text.starts_with(&[0x30, 0x82]) {
            let advice = "convert it: openssl x509 -inform der for a certificate, openssl pkey -inform der for a key";
            return Err(wrong(1, "this is DER, not PEM".to_owned(), advice));
        }
        let mut blocks: Vec<Block> = Vec::new();
        let mut open: Option<Block> = None;
        for (line, content) in (1..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            let content = content.trim_ascii();
            let begins = marker(content, "-----BEGIN ");
            if let Some(label) = begins {
                if let Some(block) = open {
                    let problem = format!("the {} that begins here has no end", block.label);
                    return Err(wrong(block.line, problem, CUT_SHORT));
                }
                open = Some(Block {
                    label,
                    line,
                    text: Vec::new(),
                });
            }
            let Some(block) = &mut open else { continue };
            block.text.extend_from_slice(content);
            block.text.push(b'\n');
            if let Some(label) = marker(content, "-----END ") {
                if label != block.label {
                    let problem = format!(
                        "the {} of line {} ends here as {label}",
                        block.label, block.line
                    );
                    return Err(wrong(line, problem, CUT_SHORT));
                }
                blocks.extend(open.take());
            }
        }
        if let Some(block) = open {
            let problem = format!("the {} that begins here has no end", block.label);
            return Err(wrong(block.line, problem, CUT_SHORT));
        }
        Ok(Self {
            is_empty: text.trim_ascii().is_empty(),
            file,
            blocks,
        })
    }

    /// What is in it, for somebody who looked for something else.
    fn found(&self) -> String {
        if self.is_empty {
            return "it is empty".to_owned();
        }
        let all = self.blocks.iter().take(5);
        let all: Vec<String> = all
            .map(|block| format!("{} (line {})", block.label, block.line))
            .collect();
        match all.as_slice() {
            [] => "nothing in it is PEM".to_owned(),
            all => format!("it has {}", all.join(", ")),
        }
    }

    fn undecodable(&self, block: &Block, error: &pem::Error) -> TlsError {
        TlsError::Pem {
            file: self.file.clone(),
            line: block.line,
            problem: format!(
                "the {} that begins here can't be decoded: {error}",
                block.label
            ),
            advice: CUT_SHORT,
        }
    }

    /// All certificates, each with its line; at least one.
    pub(super) fn certificates(&self) -> Result<Vec<(usize, CertificateDer<'static>)>, TlsError> {
        let mut all = Vec::new();
        for block in self
            .blocks
            .iter()
            .filter(|block| block.label == CERTIFICATE)
        {
            let certificate = CertificateDer::from_pem_slice(&block.text)
                .map_err(|error| self.undecodable(block, &error))?;
            all.push((block.line, certificate));
        }
        match all.is_empty() {
            false => Ok(all),
            true => Err(TlsError::NoCertificate {
                file: self.file.clone(),
                found: self.found(),
            }),
        }
    }

    /// The one private key, with its line. Certificates beside it are nobody's business here.
    pub(super) fn key(&self) -> Result<(usize, PrivateKeyDer<'static>), TlsError> {
        let is_key = |block: &&Block| KEYS.contains(&&*block.label) || block.label == ENCRYPTED_KEY;
        let keys: Vec<&Block> = self.blocks.iter().filter(is_key).collect();
        let file = self.file.clone();
        match keys.as_slice() {
            [] => Err(TlsError::NoKey {
                file,
                found: self.found(),
            }),
            [block] if block.is_encrypted() => Err(TlsError::EncryptedKey {
                file,
                line: block.line,
            }),
            [block] => PrivateKeyDer::from_pem_slice(&block.text)
                .map(|key| (block.line, key))
                .map_err(|error| self.undecodable(block, &error)),
            several => Err(TlsError::SeveralKeys {
                file,
                lines: several.iter().map(|block| block.line).collect(),
            }),
        }
    }
}

const CUT_SHORT: &str = "the file was cut short or edited: copy it anew";

/// The label of a line that is a marker of this kind.
fn marker(line: &[u8], begin: &str) -> Option<String> {
    let label = line.strip_prefix(begin.as_bytes())?;
    let label = label.strip_suffix(b"-----")?;
    Some(String::from_utf8_lossy(label).into_owned())
}
