//! The halves of a TCP connection: borrowed and owned, reading and writing.

mod split;
mod split_owned;

pub(super) use split::split;
pub use split::{ReadHalf, WriteHalf};
pub(super) use split_owned::into_split;
pub use split_owned::{OwnedReadHalf, OwnedWriteHalf, ReuniteError};

/// The methods that a borrowed and an owned reading half share.
macro_rules! read_half {
    ($($half:tt)*) => {
        impl $($half)* {
            /// Reads without taking the data off the stream.
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.peek(buf).await
            }

            /// Polls for data without taking it off the stream; returns how many bytes were put into `buf`.
            pub fn poll_peek(
                &mut self,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<usize>> {
                self.0.poll_peek(cx, buf)
            }

            /// Waits until one of the interests is met. See [`TcpStream::ready`].
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.0.ready(interest).await
            }

            /// Waits until a read would not block.
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn readable(&self) -> io::Result<()> {
                self.0.readable().await
            }

            /// Reads what is there, or returns `WouldBlock`. See [`TcpStream::try_read`].
            pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.0.try_read(buf)
            }

            /// As [`try_read`](Self::try_read), into several buffers in order.
            pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.0.try_read_vectored(bufs)
            }

            /// As [`try_read`](Self::try_read), appending to `buf`.
            pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
                self.0.try_read_buf(buf)
            }

            /// Waits for data and takes it without a copy. See [`TcpStream::recv_bytes`].
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn recv_bytes(&mut self, max: usize) -> io::Result<Bytes> {
                self.0.recv_bytes(max).await
            }

            /// Takes data without a copy, or returns `WouldBlock`. See [`TcpStream::try_recv_bytes`].
            pub fn try_recv_bytes(&self, max: usize) -> io::Result<Bytes> {
                self.0.try_recv_bytes(max)
            }

            /// The peer's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.0.peer_addr()
            }

            /// The local address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.0.local_addr()
            }
        }

        impl AsyncRead for $($half)* {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.poll_read_shared(cx, buf)
            }
        }
    };
}

/// The methods that a borrowed and an owned writing half share; `$stream` names the stream in `self`.
macro_rules! write_half {
    ($($half:tt)*) => {
        impl $($half)* {
            /// Waits until one of the interests is met. See [`TcpStream::ready`].
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
                self.stream().ready(interest).await
            }

            /// Waits until a write would not block.
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn writable(&self) -> io::Result<()> {
                self.stream().writable().await
            }

            /// Writes what there is room for, or returns `WouldBlock`. See [`TcpStream::try_write`].
            pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
                self.stream().try_write(buf)
            }

            /// As [`try_write`](Self::try_write), from several buffers in order.
            pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                self.stream().try_write_vectored(bufs)
            }

            /// Waits for room and hands `data` over without a copy. See [`TcpStream::send_bytes`].
            ///
            /// # Cancel safety
            /// Cancel safe.
            pub async fn send_bytes(&mut self, data: Bytes) -> io::Result<()> {
                self.stream().send_bytes(data).await
            }

            /// Hands over what there is room for without a copy, or returns `WouldBlock`. See
            /// [`TcpStream::try_send_bytes`].
            pub fn try_send_bytes(&self, data: &mut Bytes) -> io::Result<usize> {
                self.stream().try_send_bytes(data)
            }

            /// The peer's address.
            pub fn peer_addr(&self) -> io::Result<SocketAddr> {
                self.stream().peer_addr()
            }

            /// The local address.
            pub fn local_addr(&self) -> io::Result<SocketAddr> {
                self.stream().local_addr()
            }
        }

        impl AsyncWrite for $($half)* {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write_shared(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.stream().poll_write_vectored_shared(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.shut_down()
            }
        }
    };
}

use {read_half, write_half};
