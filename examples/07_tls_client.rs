//! A TLS client: fetches a page by HTTP/1.0 over `TlsConnector`, and says what was agreed. The second time it resumes.
//!
//! Try it: `openssl s_server -accept 4433 -cert cert.pem -key key.pem -www` on the kernel's end with a certificate for 198.18.0.1, once
//! `tp0` has that address, then `07_tls_client --ca cert.pem 198.18.0.1 4433`.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use dpdk_net::tls::{TlsConnector, TlsInfo};
use dpdk_net_examples::Device;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// Certificates in PEM of the authorities that are trusted: nobody is unless named here
    #[arg(long)]
    ca: PathBuf,
    /// Protocols to offer, the best first
    #[arg(long)]
    alpn: Vec<String>,
    /// TLS 1.3 alone
    #[arg(long)]
    tls13: bool,
    /// How often
    #[arg(long, default_value_t = 1)]
    times: usize,
    /// A name or an address, which the server's certificate has to be for
    host: String,
    /// TCP port
    port: u16,
    /// What to fetch; it goes to stdout
    #[arg(default_value = "/")]
    path: String,
}

async fn fetch(connector: &TlsConnector, options: &Options) -> anyhow::Result<()> {
    let mut stream = connector.connect(&options.host, options.port).await?;
    eprintln!("{}", TlsInfo::of(&stream));
    let request = format!(
        "GET {} HTTP/1.0\r\nHost: {}\r\n\r\n",
        options.path, options.host
    );
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page).await?;
    tokio::io::stdout().write_all(&page).await?;
    stream.shutdown().await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let mut builder = TlsConnector::builder()
        .roots_file(&options.ca)
        .alpn(options.alpn.clone());
    if options.tls13 {
        builder = builder.tls13_only();
    }
    let connector = builder.build()?;
    let device = options.device.clone();
    device.app("tls-client").run(|_ctx| async move {
        for _ in 0..options.times {
            fetch(&connector, &options).await?;
        }
        tokio::io::stdout().flush().await?;
        anyhow::Ok(())
    })?
}
