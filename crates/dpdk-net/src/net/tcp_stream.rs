//! A TCP connection.
//!
//! Every operation takes `&self` and is one critical section of the shard; the two halves of a split and
//! the I/O traits call the same ones.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes};
use dpdk_net_stack::{self as stack, Readiness, TcpId, TcpState};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};

use super::addr::{Family, mask, no_addresses, to_ready, to_stack};
use super::tcp::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
use super::tcp_socket::Options;
use super::{ToSocketAddrs, lookup_host};
use crate::error::io_error;
use crate::events;
use crate::handle::Handle;
use crate::shard::{Shard, Socket, State, readiness};
use crate::trace::ConnectionTracer;
use crate::wakers::Side;

/// Slices that one vectored call looks at; what is behind them is for the next call.
const MAX_SLICES: usize = 64;

/// Bytes that one `try_read_buf` moves at most: it goes through a buffer of this size.
const READ_BUF: usize = 16 * 1024;

/// A TCP connection, as `tokio::net::TcpStream`.
///
/// Dropping it closes the connection as the kernel does: what was written is still delivered, followed by
/// a FIN, without anybody waiting for it; if received data was never read, or linger is zero, the
/// connection is reset.
///
/// Reading and writing consume tokio's cooperative budget.
#[derive(Debug)]
pub struct TcpStream {
    socket: Socket<TcpId>,
    family: Family,
}

impl TcpStream {
    /// Connects to the first address that answers, of those that `addr` resolves to.
    ///
    /// # Errors
    /// `ConnectionRefused`, `TimedOut`, `HostUnreachable`, `NetworkUnreachable` of the last address tried,
    /// `AddrNotAvailable` where no local port is left, `NotConnected` on a thread without a worker, and
    /// what resolving a name gives.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, the connection attempt is given up.
    pub async fn connect<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            let shard = Handle::current_shard()?;
            match Self::open(shard, None, addr, Options::default()).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_addresses))
    }

    pub(crate) async fn open(
        shard: Arc<Shard>,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        options: Options,
    ) -> io::Result<Self> {
        let id = {
            let mut state = shard.lock();
            let now = state.now;
            let (local, remote) = (local.map(to_stack), to_stack(remote));
            state
                .stack
                .tcp_connect_with(now, local, remote, &options.tcp)
        }
        .map_err(io_error)?;
        let stream = Self::own(Socket::own(shard, id), Family::of(remote));
        if tracing::enabled!(target: events::TCP, tracing::Level::TRACE)
            && let Ok(local) = stream.local_addr()
        {
            tracing::trace!(target: events::TCP, %local, peer = %remote, "connecting");
        }
        stream.socket.wait(Side::Write.mask(), connected).await?;
        Ok(stream)
    }

    pub(crate) fn own(socket: Socket<TcpId>, family: Family) -> Self {
        Self { socket, family }
    }

    pub(super) fn socket(&self) -> &Socket<TcpId> {
        &self.socket
    }

    /// The local address.
    ///
    /// # Errors
    /// `NotConnected` once the stack has forgotten the connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .call(|state, id| state.stack.tcp_local(id).ok_or(stack::Error::NotConnected))
            .map(|addr| self.family.show(addr))
    }

    /// Moves the connection to another worker of the same port ([`Context::handles`](crate::Context::handles)), live: what its
    /// buffers hold, its timers and who waits for it go along, and no byte is lost. This stream goes on as if nothing had
    /// happened; it is now fastest on the other worker's core. Packets that still come to the old queue are handed over: to what
    /// end RSS or a flow rule is to send them to the new one.
    ///
    /// # Errors
    /// `InvalidInput` where the other is no worker of the same port, or the connection is not established, in TIME-WAIT, or
    /// with an address of our own; `NotConnected` if it is over; `OutOfMemory` if the other has as many connections as it may.
    pub fn migrate(&self, to: &Handle) -> io::Result<()> {
        self.socket.migrate(to.shard()).map_err(io_error)?;
        if events::are_heard()
            && let (Ok(local), Ok(peer)) = (self.local_addr(), self.peer_addr())
        {
            tracing::debug!(target: events::TCP, %local, %peer, "migrated");
        }
        Ok(())
    }

    /// Traces the connection from here on, until it is over or goes to another worker.
    ///
    /// # Errors
    /// `NotConnected` if it is over, `AddrInUse` if it is traced already, `OutOfMemory` if its worker traces 256 connections
    /// or no memory is left to traces ([`MOST_MEMORY`](crate::trace::MOST_MEMORY)).
    pub fn trace(&self) -> io::Result<ConnectionTracer> {
        ConnectionTracer::of_one(|events| self.socket.trace(events).map_err(io_error))
    }

    /// A span of the connection, `connection` with `local` and `peer` at level debug, to be entered by who serves it. Nothing of it is
    /// kept in the stream: each call makes another one, and none where nobody is interested.
    pub fn span(&self) -> tracing::Span {
        if !events::are_heard() {
            return tracing::Span::none();
        }
        match (self.local_addr(), self.peer_addr()) {
            (Ok(local), Ok(peer)) => {
                tracing::debug_span!(target: events::TCP, "connection", %local, %peer)
            }
            _ => tracing::Span::none(),
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// `NotConnected` once the stack has forgotten the connection.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .call(|state, id| state.stack.tcp_peer(id).ok_or(stack::Error::NotConnected))
            .map(|addr| self.family.show(addr))
    }

    /// Takes the connection's pending error (`SO_ERROR`).
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self
            .socket
            .with(|state, id| state.stack.tcp_take_error(id))
            .map(io_error))
    }

    /// Waits until one of the interests is met, and says which are.
    ///
    /// Unlike tokio's, readiness is looked up, not remembered: it is right at the time of the return.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let mask = mask(interest);
        let (readiness, fin_received) = self
            .socket
            .wait(mask, |state, id| {
                let readiness = readiness(state, id, mask)?;
                Ok((readiness, fin_received(state.stack.tcp_state(id))))
            })
            .await?;
        let mut ready = to_ready(readiness, interest);
        if interest.is_readable() && fin_received {
            ready |= Ready::READ_CLOSED;
        }
        Ok(ready)
    }

    /// Waits until a read would not block: data, end of stream or an error. Any number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a write would not block: room, or an error. Any number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Polls for read readiness. Shares its waker's place with `poll_read` and `poll_peek`.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Side::Read)
    }

    /// Polls for write readiness. Shares its waker's place with `poll_write`.
    pub fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Side::Write)
    }

    /// Reads what is there. `Ok(0)` is the end of the stream, or an empty buffer.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there; `ConnectionReset`, `TimedOut` and the like once, where the
    /// connection broke.
    pub fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket.call(|state, id| state.stack.tcp_recv(id, buf))
    }

    /// As [`try_read`](Self::try_read), into several buffers in order; at most 64 of them are used.
    pub fn try_read_vectored(&self, bufs: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        self.socket.call(|state, id| recv_vectored(state, id, bufs))
    }

    /// As [`try_read`](Self::try_read), appending at most 16 KiB to `buf`.
    pub fn try_read_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        let mut chunk = [0; READ_BUF];
        let len = buf.remaining_mut().min(READ_BUF);
        // Through a buffer of ours: `buf` is the program's code and stays out of the critical section.
        let n = self.try_read(chunk.get_mut(..len).unwrap_or_default())?;
        buf.put_slice(chunk.get(..n).unwrap_or_default());
        Ok(n)
    }

    /// Writes what there is room for.
    ///
    /// # Errors
    /// `WouldBlock` where there is no room; `BrokenPipe` after a shutdown of the write side or a reset.
    pub fn try_write(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.call(|state, id| state.stack.tcp_send(id, buf))
    }

    /// As [`try_write`](Self::try_write), from several buffers in order; at most 64 of them are used.
    pub fn try_write_vectored(&self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        self.socket.call(|state, id| send_vectored(state, id, bufs))
    }

    /// Waits for data, and takes at most `max` bytes of it as they lie in the stack: without a copy where they are in one
    /// piece. Empty bytes are the end of the stream (or `max` is 0).
    ///
    /// The bytes may keep a packet buffer taken: hold them for as long as a packet is worth, and copy what is to be kept.
    ///
    /// # Errors
    /// As [`try_read`](Self::try_read), without `WouldBlock`.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no byte was taken.
    pub async fn recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        let op = move |state: &mut State, id| recv_bytes(state, id, max);
        self.socket.wait(Side::Read.mask(), op).await
    }

    /// As [`recv_bytes`](Self::recv_bytes), where something is there.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is there, else as [`try_read`](Self::try_read).
    pub fn try_recv_bytes(&self, max: usize) -> io::Result<Bytes> {
        self.socket.call(|state, id| recv_bytes(state, id, max))
    }

    /// Waits for room, and hands all of `data` over to be sent, without a copy unless it is short (under a KiB).
    ///
    /// One buffer may exceed the room there is, for its memory is taken already; the next call waits until there is room
    /// again. So at most the send buffer and one `data` of each caller are held.
    ///
    /// # Errors
    /// `BrokenPipe` after a shutdown of the write side or a reset, `InvalidInput` for more than 512 MiB at once.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, nothing of `data` was taken. To have it back then, keep a clone, which costs nothing.
    pub async fn send_bytes(&self, data: Bytes) -> io::Result<()> {
        let op = move |state: &mut State, id| state.stack.tcp_send_all_bytes(id, &data);
        self.socket.wait(Side::Write.mask(), op).await
    }

    /// Hands over as much of `data` as there is room for, without a copy unless it is short, and tells how much. The rest
    /// stays in `data`.
    ///
    /// # Errors
    /// As [`try_write`](Self::try_write).
    pub fn try_send_bytes(&self, data: &mut Bytes) -> io::Result<usize> {
        self.socket
            .call(|state, id| state.stack.tcp_send_bytes(id, data))
    }

    /// Runs `f` if the socket is ready for `interest`, else returns `WouldBlock`.
    pub fn try_io<R>(
        &self,
        interest: Interest,
        f: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        self.socket
            .call(|state, id| readiness(state, id, mask(interest)))?;
        f()
    }

    /// Runs `f` as often as the socket is ready for `interest`, until it returns something other than
    /// `WouldBlock`.
    ///
    /// # Cancel safety
    /// As cancel safe as `f`.
    pub async fn async_io<R>(
        &self,
        interest: Interest,
        mut f: impl FnMut() -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            self.ready(interest).await?;
            match f() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::task::yield_now().await;
                }
                result => return result,
            }
        }
    }

    /// Reads without taking the data off the stream.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.socket
            .wait(Side::Read.mask(), |state, id| state.stack.tcp_peek(id, buf))
            .await
    }

    /// Polls for data without taking it off the stream; returns how many bytes were put into `buf`.
    pub fn poll_peek(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<usize>> {
        let polled = self.socket.poll(cx, Side::Read, |state, id| {
            state.stack.tcp_peek(id, buf.initialize_unfilled())
        });
        polled.map_ok(|n| {
            buf.advance(n);
            n
        })
    }

    /// Whether Nagle's algorithm is off (`TCP_NODELAY`).
    pub fn nodelay(&self) -> io::Result<bool> {
        self.socket.call(|state, id| state.stack.tcp_nodelay(id))
    }

    /// Switches Nagle's algorithm off (`true`) or on.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.tcp_set_nodelay(id, nodelay))
    }

    /// What [`set_linger`](Self::set_linger) was given.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        self.socket.call(|state, id| state.stack.tcp_linger(id))
    }

    /// Sets `SO_LINGER`. With zero, dropping the stream resets the connection. A longer time is kept for its
    /// readers, and changes nothing: it is how long a kernel's `close` blocks, and dropping never does.
    pub fn set_linger(&self, dur: Option<Duration>) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.tcp_set_linger(id, dur))
    }

    /// Makes dropping the stream reset the connection: [`set_linger`](Self::set_linger) with zero.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// The time to live (hop limit) of what is sent.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket
            .call(|state, id| state.stack.tcp_ttl(id))
            .map(u32::from)
    }

    /// Sets the time to live (hop limit) of what is sent: 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = hop_limit(ttl)?;
        self.socket
            .call(|state, id| state.stack.tcp_set_ttl(id, ttl))
    }

    /// Splits into a reading and a writing half that borrow the stream. Costs nothing.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        super::tcp::split(self)
    }

    /// Splits into a reading and a writing half that own the stream together.
    ///
    /// Dropping the writing half shuts down the write side.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        super::tcp::into_split(self)
    }

    pub(crate) fn poll_read_shared(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = self.socket.poll(cx, Side::Read, |state, id| {
            let room = buf.remaining();
            if room == 0 {
                return Ok(0);
            }
            // Only what will be written is zeroed first.
            state
                .stack
                .tcp_recv_into(id, |len| buf.initialize_unfilled_to(len.min(room)))
        });
        polled.map_ok(|n| buf.advance(n))
    }

    pub(crate) fn poll_write_shared(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, Side::Write, |state, id| state.stack.tcp_send(id, buf))
    }

    pub(crate) fn poll_write_vectored_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, Side::Write, |state, id| send_vectored(state, id, bufs))
    }

    #[cfg(feature = "futures-io")]
    pub(crate) fn poll_read_slice(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, Side::Read, |state, id| state.stack.tcp_recv(id, buf))
    }

    #[cfg(feature = "futures-io")]
    pub(crate) fn poll_read_vectored_shared(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, Side::Read, |state, id| recv_vectored(state, id, bufs))
    }

    /// Shuts down the write side: a FIN follows what was written.
    ///
    /// A connection that is over counts as shut down, as in tokio: whether the peer's RST comes before or
    /// after the call is chance.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.socket
            .call(|state, id| match state.stack.tcp_shutdown_write(id) {
                Err(stack::Error::NotConnected) => Ok(()),
                result => result,
            })
    }
}

/// A hop limit that fits its field.
pub(crate) fn hop_limit(ttl: u32) -> io::Result<u8> {
    match u8::try_from(ttl) {
        Ok(ttl) if ttl > 0 => Ok(ttl),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "a time to live is 1 to 255",
        )),
    }
}

/// Whether the peer has ended its direction (RFC 9293 section 3.3.2).
fn fin_received(state: TcpState) -> bool {
    matches!(
        state,
        TcpState::CloseWait | TcpState::Closing | TcpState::LastAck | TcpState::TimeWait
    )
}

/// How an attempt to connect stands.
fn connected(state: &mut State, id: TcpId) -> Result<(), stack::Error> {
    let readiness = state.stack.tcp_readiness(id);
    // The error first: a connection that was made and broken since must say so.
    if readiness.contains(Readiness::CLOSED)
        && let Some(error) = state.stack.tcp_take_error(id)
    {
        return Err(error);
    }
    if readiness.contains(Readiness::CONNECTED) {
        return Ok(());
    }
    if readiness.contains(Readiness::CLOSED) {
        return Err(stack::Error::ConnectionAborted);
    }
    Err(stack::Error::WouldBlock)
}

fn recv_bytes(state: &mut State, id: TcpId, max: usize) -> Result<Bytes, stack::Error> {
    if max == 0 {
        return Ok(Bytes::new());
    }
    state.stack.tcp_recv_bytes(id, max)
}

fn send_vectored(
    state: &mut State,
    id: TcpId,
    bufs: &[IoSlice<'_>],
) -> Result<usize, stack::Error> {
    if let [buf] = bufs {
        return state.stack.tcp_send(id, buf);
    }
    let mut slices: [&[u8]; MAX_SLICES] = [&[]; MAX_SLICES];
    let n = bufs.len().min(MAX_SLICES);
    for (slice, buf) in slices.iter_mut().zip(bufs) {
        *slice = buf;
    }
    state
        .stack
        .tcp_send_vectored(id, slices.get(..n).unwrap_or_default())
}

fn recv_vectored(
    state: &mut State,
    id: TcpId,
    bufs: &mut [IoSliceMut<'_>],
) -> Result<usize, stack::Error> {
    let mut slices: [&mut [u8]; MAX_SLICES] = std::array::from_fn(|_| Default::default());
    let n = bufs.len().min(MAX_SLICES);
    for (slice, buf) in slices.iter_mut().zip(bufs) {
        *slice = buf;
    }
    state
        .stack
        .tcp_recv_vectored(id, slices.get_mut(..n).unwrap_or_default())
}

/// Reading is cancel safe: `Poll::Pending` means that no byte was taken.
impl AsyncRead for TcpStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_read_shared(cx, buf)
    }
}

/// Bytes that were written are in the stack, whatever becomes of the stream: there is nothing to flush.
impl AsyncWrite for TcpStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_shared(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored_shared(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.shutdown_write())
    }
}

impl AsRef<Self> for TcpStream {
    fn as_ref(&self) -> &Self {
        self
    }
}
