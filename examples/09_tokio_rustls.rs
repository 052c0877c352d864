//! tokio-rustls, unmodified: what is written for tokio's `TcpStream` takes ours. `dpdk_net::tls` is not used here.
//!
//! An echo server, or with `--connect` its client.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net_examples::Device;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, split};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// The server's certificate in PEM
    #[arg(long, default_value = "cert.pem")]
    certificate: PathBuf,
    /// Its key
    #[arg(long, default_value = "key.pem")]
    key: PathBuf,
    /// Be the client of this server
    #[arg(long)]
    connect: Option<String>,
    /// Whom the client trusts
    #[arg(long, default_value = "ca.pem")]
    ca: PathBuf,
}

/// How long a peer may take for its handshake: tokio-rustls has no limit of its own.
const HANDSHAKE: Duration = Duration::from_secs(10);

async fn serve(config: ServerConfig, port: u16) -> anyhow::Result<()> {
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(format!("[::]:{port}")).await?;
    println!("echo over TLS on port {port}");
    loop {
        let (stream, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let echoed = async {
                let stream = timeout(HANDSHAKE, acceptor.accept(stream)).await??;
                let (mut from, mut to) = split(stream);
                copy(&mut from, &mut to).await?;
                to.shutdown().await
            };
            if let Err(error) = echoed.await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Sends a mebibyte each way, at the same time.
async fn call(config: ClientConfig, host: &str, port: u16) -> anyhow::Result<()> {
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect((host, port)).await?;
    let shaken = connector.connect(ServerName::try_from(host.to_owned())?, stream);
    let stream = timeout(HANDSHAKE, shaken).await??;
    let (mut from, mut to) = split(stream);
    let sent = vec![b'x'; 1 << 20];
    let mut echoed = vec![0; sent.len()];
    let send = async {
        to.write_all(&sent).await?;
        to.flush().await
    };
    tokio::try_join!(send, from.read_exact(&mut echoed))?;
    to.shutdown().await?;
    anyhow::ensure!(echoed == sent, "something else came back");
    println!("{} bytes came back", echoed.len());
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let app = options.device.app("tokio-rustls");
    if let Some(host) = options.connect {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(&options.ca)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        return app.run(|_ctx| async move { call(config, &host, options.port).await })?;
    }
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&options.certificate)?.collect();
    let key = PrivateKeyDer::from_pem_file(&options.key)?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain?, key)?;
    app.run(|ctx| async move {
        tokio::select! {
            ended = serve(config, options.port) => ended,
            () = ctx.shutdown() => Ok(()),
        }
    })?
}
