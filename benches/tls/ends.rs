//! Both ends of what is measured, over any streams.

use std::fmt;
use std::future::Future;
use std::io;
use std::str::FromStr;

use anyhow::Context;
use dpdk_net::tls::{TlsConfig, TlsConnector};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinSet;

/// What is asked, and answered.
const ASKED: usize = 64;
const ANSWERED: usize = 128;
/// Connections of the requests.
const CONNECTIONS: usize = 10;
/// What bulk is written and read by.
const CHUNK: usize = 64 << 10;
const MIB: usize = 1 << 20;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Connections, each with a handshake and a byte.
    Handshake,
    /// The same, and each goes on with the session of the one before.
    Resume,
    /// Requests over ten connections, one at a time on each.
    Request,
    /// Mebibytes that the server sends.
    Bulk,
}

impl What {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Handshake | Self::Resume => "conn/s",
            Self::Request => "requests/s",
            Self::Bulk => "MiB/s",
        }
    }
}

/// Which TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Plain,
    Tls12,
    Tls13,
}

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) what: What,
    version: Version,
    pub(crate) count: usize,
}

impl Case {
    /// How many a second.
    pub(crate) fn rate(self, seconds: f64) -> f64 {
        self.count as f64 / seconds
    }
}

const WHATS: [(&str, What); 4] = [
    ("handshake", What::Handshake),
    ("resume", What::Resume),
    ("request", What::Request),
    ("bulk", What::Bulk),
];
const VERSIONS: [(&str, Version); 3] = [
    ("plain", Version::Plain),
    ("1.2", Version::Tls12),
    ("1.3", Version::Tls13),
];

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("a case is WHAT:TLS:COUNT, not {text:?}");
        let parts: Vec<&str> = text.split(':').collect();
        let [what, version, count] = parts[..] else {
            return Err(wrong());
        };
        let what = WHATS.iter().find(|(name, _)| *name == what);
        let version = VERSIONS.iter().find(|(name, _)| *name == version);
        Ok(Self {
            what: what.ok_or_else(wrong)?.1,
            version: version.ok_or_else(wrong)?.1,
            count: count.parse().map_err(|_| wrong())?,
        })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = WHATS.iter().find(|(_, what)| *what == self.what);
        let version = VERSIONS
            .iter()
            .find(|(_, version)| *version == self.version);
        let (what, version) = (what.map_or("", |it| it.0), version.map_or("", |it| it.0));
        write!(f, "{what}:{version}:{}", self.count)
    }
}

/// What both ends are configured with.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    case: Case,
    server: TlsConfig,
    client: TlsConnector,
}

impl Ends {
    pub(crate) fn new(case: Case) -> anyhow::Result<Self> {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["bench.example".to_owned()])?;
        let certificate = params.self_signed(&key)?.pem();
        let server = TlsConfig::from_pem(&certificate, key.serialize_pem())?;
        let mut client = TlsConnector::builder()
            .roots_pem(&certificate)
            .resumption(case.what == What::Resume);
        client = match case.version {
            Version::Tls12 => client.tls12_only(),
            _ => client.tls13_only(),
        };
        let client = client.build()?;
        Ok(Self {
            case,
            server,
            client,
        })
    }

    /// The server's side of a connection.
    pub(crate) async fn serve<S>(self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.case.version {
            Version::Plain => self.case.answer(stream).await,
            _ => self.case.answer(self.server.accept(stream).await?).await,
        }
    }

    /// The client's side, up to where it is measured.
    pub(crate) async fn prepare<S, C, F>(self, connect: C) -> anyhow::Result<Prepared<C>>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn() -> F,
        F: Future<Output = io::Result<S>>,
    {
        let mut streams = Vec::new();
        let connections = match self.case.what {
            What::Handshake => 0,
            What::Resume | What::Bulk => 1,
            What::Request => CONNECTIONS,
        };
        for _ in 0..connections {
            streams.push(self.connect(&connect).await?);
        }
        if self.case.what == What::Resume {
            // The first session, which the others go on with.
            for mut stream in streams.drain(..) {
                finish(&mut stream).await?;
            }
        }
        Ok(Prepared {
            ends: self,
            streams,
            connect,
        })
    }

    async fn connect<S, C, F>(&self, connect: &C) -> anyhow::Result<Stream>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn() -> F,
        F: Future<Output = io::Result<S>>,
    {
        let stream = connect().await.context("connecting")?;
        Ok(match self.case.version {
            Version::Plain => Box::new(stream),
            _ => Box::new(self.client.handshake("bench.example", stream).await?),
        })
    }
}

/// Either kind.
type Stream = Box<dyn Both>;

pub(crate) trait Both: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Both for S {}

/// A client whose connections are there.
pub(crate) struct Prepared<C> {
    ends: Ends,
    streams: Vec<Stream>,
    connect: C,
}

impl<C> Prepared<C> {
    /// What is measured.
    pub(crate) async fn run<S, F>(self) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        C: Fn() -> F,
        F: Future<Output = io::Result<S>>,
    {
        let case = self.ends.case;
        match case.what {
            What::Handshake | What::Resume => {
                for _ in 0..case.count {
                    let mut stream = self.ends.connect(&self.connect).await?;
                    finish(&mut stream).await?;
                }
            }
            What::Request => {
                let mut all = JoinSet::new();
                for stream in self.streams {
                    all.spawn(ask(stream, case.count / CONNECTIONS));
                }
                while let Some(asked) = all.join_next().await {
                    asked??;
                }
            }
            What::Bulk => {
                for mut stream in self.streams {
                    let mut buf = vec![0; CHUNK];
                    stream.write_all(&[0]).await?;
                    stream.flush().await?;
                    let mut left = case.count * MIB;
                    while left > 0 {
                        match stream.read(&mut buf).await? {
                            0 => anyhow::bail!("it ended early"),
                            read => left -= read,
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Waits for the byte that says that the server has shaken hands, and closes.
async fn finish(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(&[0]).await?;
    stream.flush().await?;
    stream.read_u8().await?;
    stream.shutdown().await
}

async fn ask(mut stream: Stream, count: usize) -> io::Result<()> {
    let mut answer = [0; ANSWERED];
    for _ in 0..count {
        stream.write_all(&[1; ASKED]).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await?;
    }
    Ok(())
}

impl Case {
    async fn answer<S: AsyncRead + AsyncWrite + Unpin>(self, mut stream: S) -> io::Result<()> {
        match self.what {
            What::Handshake | What::Resume => {
                stream.read_u8().await?;
                stream.write_all(&[0]).await?;
                stream.flush().await?;
                let mut rest = [0; 64];
                while stream.read(&mut rest).await? > 0 {}
            }
            What::Request => {
                let mut asked = [0; ASKED];
                while stream.read_exact(&mut asked).await.is_ok() {
                    stream.write_all(&[2; ANSWERED]).await?;
                    stream.flush().await?;
                }
            }
            What::Bulk => {
                stream.read_u8().await?;
                let chunk = vec![0x5a; CHUNK];
                let mut left = self.count * MIB;
                while left > 0 {
                    let now = left.min(CHUNK);
                    stream.write_all(&chunk[..now]).await?;
                    left -= now;
                }
                stream.flush().await?;
            }
        }
        stream.shutdown().await
    }
}
