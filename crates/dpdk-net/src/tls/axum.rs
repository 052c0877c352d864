//! axum on [`TlsListener`]: `axum::serve` takes it as it takes tokio's listener.

use std::io;
use std::net::SocketAddr;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};

use super::{TlsInfo, TlsListener, TlsStream};
use crate::axum::{PeerAddr, accept_failed};

impl Listener for TlsListener {
    type Io = TlsStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TlsStream, SocketAddr) {
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

impl Connected<IncomingStream<'_, TlsListener>> for PeerAddr {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(*stream.remote_addr())
    }
}

/// The peer's address and what was agreed with it, for `Router::into_make_service_with_connect_info::<TlsPeer>()` and
/// `ConnectInfo<TlsPeer>`: who a client is by its certificate, say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsPeer {
    /// The address.
    pub addr: SocketAddr,
    /// What was agreed.
    pub tls: TlsInfo,
}

impl Connected<IncomingStream<'_, TlsListener>> for TlsPeer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self {
            addr: *stream.remote_addr(),
            tls: TlsInfo::of(stream.io()),
        }
    }
}
