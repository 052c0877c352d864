//! WebSocket (RFC 6455): axum's, and tokio-tungstenite on our streams, as a server and as a client.
//!
//! The servers send back every message. Try it: `python3 -m websockets ws://198.18.0.2/`.
#![forbid(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use axum::Router;
use axum::extract::ws::{self, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use clap::Parser;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net_examples::Device;
use futures_util::{SinkExt, StreamExt};
use hyper::Uri;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{Error, Message, protocol::WebSocketConfig};
use tokio_tungstenite::{accept_async_with_config, client_async};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port of axum; tokio-tungstenite has the one after it
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(..65_535))]
    port: u16,
    /// Serve over the kernel too, on this address of the machine
    #[arg(long)]
    kernel: Option<IpAddr>,
    /// Be a client of this server instead, which sends back every message
    #[arg(long, value_name = "URL")]
    connect: Option<Uri>,
}

/// The largest message that is taken.
const LARGEST: usize = 32 << 20;
/// How long a client may take to ask.
const HANDSHAKE: Duration = Duration::from_secs(10);

fn site() -> Router {
    let upgrade = |upgrade: WebSocketUpgrade| async {
        upgrade
            .max_message_size(LARGEST)
            .max_frame_size(LARGEST)
            .on_upgrade(echo_axum)
    };
    Router::new().fallback(any(upgrade))
}

async fn echo_axum(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        // Pings and closes are answered by the library.
        if matches!(message, ws::Message::Text(_) | ws::Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}

/// tokio-tungstenite on any stream.
async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<(), Error> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LARGEST))
        .max_frame_size(Some(LARGEST));
    let accepted = accept_async_with_config(stream, Some(config));
    let mut socket = timeout(HANDSHAKE, accepted)
        .await
        .map_err(|_| Error::Io(std::io::ErrorKind::TimedOut.into()))??;
    while let Some(message) = socket.next().await {
        let message = message?;
        if message.is_text() || message.is_binary() {
            socket.send(message).await?;
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            if let Err(error) = echo(stream).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

async fn accept_kernel(listener: tokio::net::TcpListener) -> std::io::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move { drop(echo(stream).await) });
    }
}

/// Sends messages of several sizes and kinds, and checks that they come back.
async fn client(url: &Uri) -> anyhow::Result<()> {
    let host = url.host().context("the URL has no host")?;
    let address = (host.trim_matches(['[', ']']), url.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    let (mut socket, response) = client_async(url, stream).await?;
    println!("{}", response.status());
    for length in [0, 125, 126, 65_535, 65_536, 1 << 20] {
        for sent in [
            Message::text("ä".repeat(length / 2)),
            Message::binary(vec![7; length]),
        ] {
            socket.send(sent.clone()).await?;
            let got = loop {
                match socket.next().await.context("the server has ended")?? {
                    Message::Ping(_) | Message::Pong(_) => {}
                    message => break message,
                }
            };
            ensure!(got == sent, "a message of {length} bytes came back changed");
        }
    }
    socket.close(None).await?;
    while let Some(message) = socket.next().await {
        message?;
    }
    println!("all messages came back");
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("websocket").run(|ctx| async move {
        if let Some(url) = &options.connect {
            return client(url).await;
        }
        let by_axum = TcpListener::bind(("::", options.port)).await?;
        let by_tungstenite = TcpListener::bind(("::", options.port + 1)).await?;
        if let Some(ip) = options.kernel {
            let bind = |port| tokio::net::TcpListener::bind(SocketAddr::new(ip, port));
            let (first, second) = (bind(options.port).await?, bind(options.port + 1).await?);
            tokio::spawn(axum::serve(first, site()).into_future());
            tokio::spawn(accept_kernel(second));
        }
        println!(
            "websocket on {:?} port {}",
            options.device.addresses, options.port
        );
        tokio::select! {
            served = axum::serve(by_axum, site()) => served?,
            accepted = accept(by_tungstenite) => accepted?,
            () = ctx.shutdown() => {}
        }
        anyhow::Ok(())
    })?
}
