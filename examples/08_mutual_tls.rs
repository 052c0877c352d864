//! Mutual TLS: a server that knows its clients by their certificates, and a client that shows one.
//!
//! Try it: `08_mutual_tls --certificate cert.pem --key key.pem --ca ca.pem`, and on the kernel's end
//! `openssl s_client -connect 198.18.0.2:8443 -CAfile ca.pem -cert client.pem -key client-key.pem`. With
//! `--connect 198.18.0.1 --port 8443` it is the client, of `openssl s_server -Verify 1 -CAfile ca.pem`, say.
#![forbid(unsafe_code)]

use std::path::PathBuf;

use clap::Parser;
use dpdk_net::tls::{ClientCertificates, TlsConfig, TlsConnector, TlsInfo, TlsListener, TlsStream};
use dpdk_net_examples::Device;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Our certificate in PEM, with those of its issuers behind it
    #[arg(long, default_value = "cert.pem")]
    certificate: PathBuf,
    /// Its key
    #[arg(long, default_value = "key.pem")]
    key: PathBuf,
    /// The authorities that vouch for the other side
    #[arg(long, default_value = "ca.pem")]
    ca: PathBuf,
    /// Let clients without a certificate in too
    #[arg(long)]
    optional: bool,
    /// Be the client of this server
    #[arg(long)]
    connect: Option<String>,
}

/// Greets the client by the names in its certificate, and sends back each line.
async fn greet(stream: TlsStream) -> std::io::Result<()> {
    let names = TlsInfo::of(&stream).peer_names();
    let name = match names.is_empty() {
        true => "whoever you are".to_owned(),
        false => names.join(" and "),
    };
    let mut stream = BufStream::new(stream);
    stream
        .write_all(format!("hello, {name}\n").as_bytes())
        .await?;
    stream.flush().await?;
    let mut line = Vec::new();
    while (&mut stream)
        .take(4_096)
        .read_until(b'\n', &mut line)
        .await?
        > 0
    {
        stream.write_all(&line).await?;
        stream.flush().await?;
        line.clear();
    }
    stream.shutdown().await
}

async fn serve(config: TlsConfig, port: u16) -> anyhow::Result<()> {
    let mut listener = TlsListener::bind(format!("[::]:{port}"), config).await?;
    println!("mutual TLS on port {port}");
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = greet(stream).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

/// Says one line, and prints what comes.
async fn call(connector: TlsConnector, host: &str, port: u16) -> anyhow::Result<()> {
    let mut stream = connector.connect(host, port).await?;
    eprintln!("{}", TlsInfo::of(&stream));
    stream.write_all(b"good day\n").await?;
    stream.shutdown().await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    print!("{answer}");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let app = options.device.app("mutual-tls");
    if let Some(host) = options.connect {
        let connector = TlsConnector::builder()
            .roots_file(&options.ca)
            .certificate_files(&options.certificate, &options.key)
            .build()?;
        return app.run(|_ctx| async move { call(connector, &host, options.port).await })?;
    }
    let asked = match options.optional {
        true => ClientCertificates::Optional,
        false => ClientCertificates::Required,
    };
    let config = TlsConfig::builder()
        .certificate_files(&options.certificate, &options.key)
        .client_ca_file(&options.ca, asked)
        .build()?;
    app.run(|ctx| async move {
        tokio::select! {
            ended = serve(config, options.port) => ended,
            () = ctx.shutdown() => Ok(()),
        }
    })?
}
