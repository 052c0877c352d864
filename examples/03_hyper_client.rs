//! An HTTP client: hyper on a connection of ours, to any server that the port reaches.
//!
//! Try it: `python3 -m http.server --bind 198.18.0.1 8000` on the kernel's end, once `tp0` has that address.
#![forbid(unsafe_code)]

use anyhow::Context as _;
use clap::Parser;
use dpdk_net::net::TcpStream;
use dpdk_net_examples::Device;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// What to fetch, by plain HTTP; the body goes to stdout
    #[arg(default_value = "http://198.18.0.1:8000/")]
    url: Uri,
}

async fn fetch(url: &Uri) -> anyhow::Result<()> {
    let host = url.host().context("the URL has no host")?;
    let port = url.port_u16().unwrap_or(80);
    let address = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((address, port))
        .await
        .with_context(|| format!("cannot connect to {host} port {port}"))?;

    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let path = url.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header(HOST, host)
        .body(Empty::<Bytes>::new())?;
    let mut response = sender.send_request(request).await?;
    eprintln!("{}", response.status());

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
    let device = options.device.clone();
    device
        .app("hyper-client")
        .run(|_ctx| async move { fetch(&options.url).await })?
}
