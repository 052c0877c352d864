//! An HTTP client with a pool: hyper-util's, over our connections. HTTP/1.1, HTTP/2, TLS with rustls, names by DNS.
//!
//! Try it: `11_http_client --ca ca.pem https://198.18.0.1:8443/`.
#![forbid(unsafe_code)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use dpdk_net::ResolverConfig;
use dpdk_net::http::{ConnectionInfo, Connector};
use dpdk_net_examples::Device;
use http_body_util::{BodyExt, Empty};
use hyper::Uri;
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncWriteExt;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// Certificates that are trusted, as PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    /// A DNS server
    #[arg(long)]
    dns: Vec<IpAddr>,
    /// HTTP/2 from the first byte, where there is no TLS to agree on it
    #[arg(long)]
    http2: bool,
    /// Our own address that is connected from
    #[arg(long)]
    local: Option<IpAddr>,
    /// What to fetch, one after the other; the bodies go to stdout
    #[arg(required = true)]
    urls: Vec<Uri>,
}

type HttpClient = Client<HttpsConnector<Connector>, Empty<Bytes>>;

fn client(options: &Options) -> anyhow::Result<HttpClient> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = &options.ca {
        let certificates = CertificateDer::pem_file_iter(ca)
            .with_context(|| format!("cannot read {}", ca.display()))?;
        for certificate in certificates {
            roots.add(certificate?)?;
        }
    }
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    // TLS goes around the connector, which so has to take https.
    let mut connector = Connector::new()
        .enforce_http(false)
        .connect_timeout(Some(Duration::from_secs(20)));
    if let Some(local) = options.local {
        connector = connector.local_address(local);
    }
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(connector);
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(Duration::from_secs(30))
        .http2_only(options.http2)
        .build(connector))
}

async fn fetch(client: &HttpClient, url: &Uri) -> anyhow::Result<()> {
    let mut response = client
        .get(url.clone())
        .await
        .with_context(|| format!("cannot fetch {url}"))?;
    // Which connection it was tells whether the pool had one.
    let connection = response.extensions().get::<ConnectionInfo>();
    let local = connection.map(|connection| connection.local.to_string());
    eprintln!(
        "{:?} {} from {}",
        response.version(),
        response.status(),
        local.unwrap_or_default()
    );
    let mut stdout = tokio::io::stdout();
    while let Some(frame) = response.frame().await {
        if let Some(data) = frame?.data_ref() {
            stdout.write_all(data).await?;
        }
    }
    stdout.flush().await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let servers = options.dns.iter().map(|ip| (*ip, 53).into());
    let app = options.device.app("http-client");
    app.dns(ResolverConfig::with_servers(servers))
        .run(|_ctx| async move {
            let client = client(&options)?;
            for url in &options.urls {
                fetch(&client, url).await?;
            }
            anyhow::Ok(())
        })?
}
