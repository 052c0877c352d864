//! HTTPS: an axum application on `TlsListener`, HTTP/2 and 1.1 by ALPN, several certificates by name, and new ones at a SIGHUP.
//!
//! Try it: `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -addext subjectAltName=IP:198.18.0.2
//! -keyout key.pem -out cert.pem`, start it, `ip address add 198.18.0.1/24 dev tp0`, then
//! `curl --cacert cert.pem https://198.18.0.2/tls`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Path};
use axum::response::Response;
use axum::routing::{get, post};
use clap::Parser;
use dpdk_net::tls::{HTTP, HandshakeLimits, TlsConfig, TlsListener, TlsPeer};
use dpdk_net_examples::Device;
use dpdk_net_examples::filled::filled;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// A certificate in PEM, with those of its issuers behind it; repeat for several, which clients choose by name
    #[arg(long = "certificate", default_values = ["cert.pem"])]
    certificates: Vec<PathBuf>,
    /// The key of the certificate that stands at the same place
    #[arg(long = "key", default_values = ["key.pem"])]
    keys: Vec<PathBuf>,
    /// Handshakes at a time
    #[arg(long, default_value_t = 1024)]
    handshakes: usize,
    /// Seconds that a handshake may take
    #[arg(long, default_value_t = 10)]
    handshake_timeout: u64,
}

/// What was agreed with this client.
async fn tls(ConnectInfo(peer): ConnectInfo<TlsPeer>) -> String {
    let name = peer.tls.server_name.as_deref().unwrap_or("-");
    format!("{}, asked for {name}\n", peer.tls)
}

async fn bytes(Path(count): Path<usize>) -> Response {
    filled(count.min(64 << 20))
}

async fn echo(body: axum::body::Bytes) -> axum::body::Bytes {
    body
}

/// Takes new certificates at each SIGHUP. Connections go on, and bad certificates change nothing.
async fn reload(config: TlsConfig) -> std::io::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        match config.reload() {
            Ok(()) => println!("certificates were read anew"),
            Err(error) => eprintln!("the certificates stay: {error}"),
        }
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let (certificates, keys) = (options.certificates.len(), options.keys.len());
    anyhow::ensure!(
        certificates == keys,
        "{certificates} times --certificate and {keys} times --key: each certificate needs its key"
    );
    let pairs = options.certificates.iter().zip(&options.keys);
    let config = pairs
        .fold(TlsConfig::builder(), |config, (certificate, key)| {
            config.certificate_files(certificate, key)
        })
        .alpn(HTTP)
        .build()?;
    let mut limits = HandshakeLimits::default();
    limits.handshakes = options.handshakes;
    limits.timeout = Duration::from_secs(options.handshake_timeout);
    options.device.app("tls-server").run(|ctx| async move {
        let site = Router::new()
            .route("/tls", get(tls))
            .route("/bytes/{count}", get(bytes))
            .route("/echo", post(echo));
        let listener = TlsListener::bind(format!("[::]:{}", options.port), config.clone()).await?;
        tokio::spawn(reload(config));
        println!("https on port {}", options.port);
        let service = site.into_make_service_with_connect_info::<TlsPeer>();
        axum::serve(listener.limits(limits), service)
            .with_graceful_shutdown(ctx.shutdown())
            .await?;
        let counted = ctx.metrics().gather();
        for family in counted
            .iter()
            .filter(|family| family.group == "dpdk_net_tls")
        {
            for sample in &family.samples {
                println!("{} {:?} {:?}", family.name(), sample.labels, sample.value);
            }
        }
        anyhow::Ok(())
    })?
}
