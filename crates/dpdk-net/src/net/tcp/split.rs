//! The borrowed halves: two references to one stream.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use super::{read_half, write_half};
use crate::net::TcpStream;

/// The reading half that [`TcpStream::split`] lends.
#[derive(Debug)]
pub struct ReadHalf<'a>(&'a TcpStream);

/// The writing half that [`TcpStream::split`] lends. Dropping it does not shut down the write side.
#[derive(Debug)]
pub struct WriteHalf<'a>(&'a TcpStream);

pub(in crate::net) fn split(stream: &mut TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    (ReadHalf(stream), WriteHalf(stream))
}

impl WriteHalf<'_> {
    fn stream(&self) -> &TcpStream {
        self.0
    }

    fn shut_down(&self) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown_write())
    }
}

impl AsRef<TcpStream> for ReadHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

impl AsRef<TcpStream> for WriteHalf<'_> {
    fn as_ref(&self) -> &TcpStream {
        self.0
    }
}

read_half!(ReadHalf<'_>);
write_half!(WriteHalf<'_>);
