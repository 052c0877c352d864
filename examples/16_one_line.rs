//! One program for two networks: this file and its twin differ in the line that says whose sockets they are.
//!
//! `16_one_line CONFIG` serves over dpdk-net what the configuration file describes, `16_one_line_kernel` over the kernel. A test compares the
//! two files, builds both and asks both the same.
#![forbid(unsafe_code)]

use dpdk_net as network;

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::routing::{get, post};
use network::net::{TcpListener, TcpStream, UdpSocket};
use tokio::io::AsyncReadExt;

/// A client's part: what a server says to whoever connects.
async fn banner(Path(address): Path<String>) -> Result<String, StatusCode> {
    let read = async {
        let mut text = String::new();
        let stream = TcpStream::connect(address).await?;
        stream.take(1_000).read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    read.await.map_err(|_| StatusCode::BAD_GATEWAY)
}

/// Datagrams go back to where they came from.
async fn echo(socket: UdpSocket) -> std::io::Result<()> {
    let mut datagram = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut datagram).await?;
        socket.send_to(&datagram[..length], from).await?;
    }
}

#[network::main]
async fn main() -> std::io::Result<()> {
    let site = Router::new()
        .route(
            "/hello/{name}",
            get(|name: Path<String>| async move { format!("hello, {}\n", name.0) }),
        )
        .route(
            "/length",
            post(|body: Bytes| async move { format!("{}\n", body.len()) }),
        )
        .route("/banner/{address}", get(banner));
    tokio::spawn(echo(UdpSocket::bind("[::]:8007").await?));
    let listener = TcpListener::bind("[::]:8080").await?;
    println!("ready on {}", listener.local_addr()?);
    axum::serve(listener, site).await
}
