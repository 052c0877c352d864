//! axum on dpdk-net: `axum::serve` takes our [`TcpListener`] as it takes tokio's.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use dpdk_net::net::TcpListener;
//!
//! # async fn serve() -> std::io::Result<()> {
//! let listener = TcpListener::bind("0.0.0.0:80").await?;
//! axum::serve(listener, Router::new().route("/", get(|| async { "hello" }))).await
//! # }
//! ```
//!
//! `ConnectInfo`: Rust's coherence rules leave the implementation for `SocketAddr` to axum itself, so here
//! it is a [`PeerAddr`]. A program that wants to keep its `ConnectInfo<SocketAddr>` passes the listener
//! through axum's `ListenerExt::tap_io`, for which axum has that implementation.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};

use crate::net::{TcpListener, TcpStream};

impl Listener for TcpListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match Self::accept(self).await {
                Ok(accepted) => return accepted,
                Err(error) => accept_failed(error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }
}

/// Nothing is to be done by the program: the worker is ending. Not in a loop without pause.
pub(crate) async fn accept_failed(error: io::Error) {
    tracing::error!(%error, "accept failed");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// The peer's address, for `Router::into_make_service_with_connect_info::<PeerAddr>()` and
/// `ConnectInfo<PeerAddr>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerAddr(pub SocketAddr);

impl Connected<IncomingStream<'_, TcpListener>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, TcpListener>) -> Self {
        Self(*stream.remote_addr())
    }
}
