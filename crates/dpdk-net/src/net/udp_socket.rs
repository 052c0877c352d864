//! A UDP socket.
//!
//! A datagram that is longer than the caller's buffer is cut, as on Linux; the rest is lost.

mod segments;
mod transmit;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::task::{Context, Poll};

use bytes::BufMut;
use dpdk_net_stack::{self as stack, UdpId, UdpOptions, UdpRecv};
use tokio::io::{Interest, ReadBuf, Ready};

use super::addr::{Family, mask, no_addresses, to_ready, to_stack};
use super::tcp_stream::hop_limit;
use super::{ToSocketAddrs, lookup_host};
use crate::error::io_error;
use crate::events;
use crate::handle::Handle;
use crate::shard::{Socket, State, readiness};
use crate::wakers::Side;

pub use self::segments::RecvMeta;
pub use self::transmit::{EcnCodepoint, Transmit};

/// The longest UDP payload, in bytes.
const MAX_DATAGRAM: usize = 65_535;

/// A UDP socket, as `tokio::net::UdpSocket`.
///
/// ```no_run
/// use dpdk_net::net::UdpSocket;
///
/// # async fn echo() -> std::io::Result<()> {
/// let socket = UdpSocket::bind("0.0.0.0:7").await?;
/// let mut buf = [0; 2048];
/// loop {
///     let (len, peer) = socket.recv_from(&mut buf).await?;
///     socket.send_to(&buf[..len], peer).await?;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) socket: Socket<UdpId>,
    family: Family,
}

impl UdpSocket {
    /// Binds to the first address that can be bound, of those that `addr` resolves to. Port 0 takes a free
    /// one.
    ///
    /// `[::]` receives IPv4 datagrams too, and shows their senders as IPv4-mapped addresses.
    ///
    /// # Errors
    /// `AddrInUse`, `AddrNotAvailable` where the address is not one of the stack's, `NotConnected` on a
    /// thread without a worker, and what resolving a name gives.
    pub async fn bind<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            match Self::open(addr) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_addresses))
    }

    /// A socket on a free port whose peer is set: what [`bind`](Self::bind) to port 0 and [`connect`](Self::connect) do in two
    /// steps. On a port with several queues it is the better way: a port number is chosen that brings the peer's datagrams to
    /// this worker's own queue, where `bind` has to choose before the peer is known.
    ///
    /// # Errors
    /// Those of both, of the last address tried.
    pub async fn connected<A: ToSocketAddrs>(addr: A) -> io::Result<Self> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            let any = match addr {
                SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
                SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
            };
            let shard = Handle::current_shard()?;
            let options = UdpOptions::new(to_stack(any));
            let bound = shard.lock().stack.udp_bind_toward(options, to_stack(addr));
            match bound {
                Ok(id) => {
                    let socket = Socket::own(shard, id);
                    let family = Family::of(addr);
                    return Ok(Self { socket, family }.told());
                }
                Err(error) => last = Some(io_error(error)),
            }
        }
        Err(last.unwrap_or_else(no_addresses))
    }

    pub(crate) fn open(addr: SocketAddr) -> io::Result<Self> {
        Self::open_with(UdpOptions::new(to_stack(addr)), Family::of(addr))
    }

    /// A socket that speaks by the interface of this VLAN, 0 being the port itself, before that has an address, as DHCP
    /// clients do: it sends to 255.255.255.255 from 0.0.0.0, and receives what comes in by that interface alone. See
    /// [`UdpOptions::unconfigured`].
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub fn unconfigured(vlan: u16, port: u16) -> io::Result<Self> {
        Self::open_with(UdpOptions::unconfigured(vlan, port), Family::V4)
    }

    fn open_with(options: UdpOptions, family: Family) -> io::Result<Self> {
        let shard = Handle::current_shard()?;
        let bound = shard.lock().stack.udp_bind(options);
        let id = bound.map_err(io_error)?;
        let socket = Socket::own(shard, id);
        Ok(Self { socket, family }.told())
    }

    /// Says that it is there.
    fn told(self) -> Self {
        events::udp_bound(|| self.local_addr().ok());
        self
    }

    /// Sets the peer: `send` goes to it, and only its datagrams are received. May be called again.
    ///
    /// # Errors
    /// As the kernel's `connect`: `NetworkUnreachable` and the like, of the last address tried.
    pub async fn connect<A: ToSocketAddrs>(&self, addr: A) -> io::Result<()> {
        let mut last = None;
        for addr in lookup_host(addr).await? {
            let result = self.check(addr).and_then(|to| {
                self.socket
                    .call(|state, id| state.stack.udp_connect(id, to))
            });
            match result {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(no_addresses))
    }

    /// The stack's form of a destination; an error for one of the other family.
    fn check(&self, to: SocketAddr) -> io::Result<SocketAddr> {
        if self.family == Family::V4 && to.is_ipv6() {
            return Err(rustix::io::Errno::AFNOSUPPORT.into());
        }
        Ok(to_stack(to))
    }

    /// The local address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .call(|state, id| state.stack.udp_local(id).ok_or(stack::Error::UnknownSocket))
            .map(|addr| self.family.show(addr))
    }

    /// The peer given to [`connect`](Self::connect).
    ///
    /// # Errors
    /// `NotConnected` where there is none.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket
            .call(|state, id| state.stack.udp_peer(id).ok_or(stack::Error::NotConnected))
            .map(|addr| self.family.show(addr))
    }

    /// Takes the socket's pending error (`SO_ERROR`), such as `ConnectionRefused` by an ICMP message.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(self
            .socket
            .with(|state, id| state.stack.udp_take_error(id))
            .map(io_error))
    }

    /// Waits until one of the interests is met, and says which are. See
    /// [`TcpStream::ready`](super::TcpStream::ready).
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        let readiness = self.socket.ready(mask(interest)).await?;
        Ok(to_ready(readiness, interest))
    }

    /// Waits until a receive would not block. Any number of tasks may wait.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    /// Waits until a send would not block.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn writable(&self) -> io::Result<()> {
        self.ready(Interest::WRITABLE).await.map(drop)
    }

    /// Polls for receive readiness. Shares its waker's place with the other `poll_recv*` and `poll_peek*`.
    pub fn poll_recv_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Side::Read)
    }

    /// Polls for send readiness. Shares its waker's place with `poll_send` and `poll_send_to`.
    pub fn poll_send_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_ready(cx, Side::Write)
    }

    /// Sends a datagram to the peer given to [`connect`](Self::connect).
    ///
    /// # Errors
    /// `MessageTooLong` beyond 65,507 bytes (IPv4) or 65,527 (IPv6), `NotConnected` without a peer, and
    /// what an earlier datagram met: `ConnectionRefused`, `HostUnreachable`.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, the datagram was not sent.
    pub async fn send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket
            .wait(Side::Write.mask(), |state, id| send(state, id, buf, None))
            .await
    }

    /// Polls to send a datagram to the peer.
    pub fn poll_send(&self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.socket
            .poll(cx, Side::Write, |state, id| send(state, id, buf, None))
    }

    /// Sends a datagram to the peer, or returns `WouldBlock`.
    pub fn try_send(&self, buf: &[u8]) -> io::Result<usize> {
        self.socket.call(|state, id| send(state, id, buf, None))
    }

    /// Sends a datagram to the first address that `addr` resolves to. Errors as [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, the datagram was not sent.
    pub async fn send_to<A: ToSocketAddrs>(&self, buf: &[u8], addr: A) -> io::Result<usize> {
        let to = lookup_host(addr).await?.next().ok_or_else(no_addresses)?;
        let to = self.check(to)?;
        self.socket
            .wait(Side::Write.mask(), |state, id| {
                send(state, id, buf, Some(to))
            })
            .await
    }

    /// Polls to send a datagram to `target`.
    pub fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let to = match self.check(target) {
            Ok(to) => to,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.socket
            .poll(cx, Side::Write, |state, id| send(state, id, buf, Some(to)))
    }

    /// Sends a datagram to `target`, or returns `WouldBlock`.
    pub fn try_send_to(&self, buf: &[u8], target: SocketAddr) -> io::Result<usize> {
        let to = self.check(target)?;
        self.socket.call(|state, id| send(state, id, buf, Some(to)))
    }

    /// Receives a datagram from the connected peer; returns the bytes put into `buf`.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no datagram was taken.
    pub async fn recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.recv_from(buf).await.map(|(len, _)| len)
    }

    /// Receives a datagram and its sender.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no datagram was taken.
    pub async fn recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket
            .wait(Side::Read.mask(), |state, id| state.stack.udp_recv(id, buf))
            .await
            .map(|got| self.shown(got))
    }

    /// Polls for a datagram from the connected peer.
    pub fn poll_recv(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_recv_from(cx, buf).map_ok(drop)
    }

    /// Polls for a datagram and its sender.
    pub fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let polled = self.socket.poll(cx, Side::Read, |state, id| {
            state.stack.udp_recv(id, buf.initialize_unfilled())
        });
        polled.map_ok(|got| self.fill(buf, got))
    }

    /// Receives a datagram from the connected peer, or returns `WouldBlock`.
    pub fn try_recv(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_recv_from(buf).map(|(len, _)| len)
    }

    /// Receives a datagram and its sender, or returns `WouldBlock`.
    pub fn try_recv_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket
            .call(|state, id| state.stack.udp_recv(id, buf))
            .map(|got| self.shown(got))
    }

    /// As [`recv`](Self::recv), appending to `buf`.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no datagram was taken.
    pub async fn recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        self.recv_buf_from(buf).await.map(|(len, _)| len)
    }

    /// As [`recv_from`](Self::recv_from), appending to `buf`.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no datagram was taken.
    pub async fn recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        loop {
            self.readable().await?;
            match self.try_recv_buf_from(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// As [`try_recv`](Self::try_recv), appending to `buf`.
    pub fn try_recv_buf<B: BufMut>(&self, buf: &mut B) -> io::Result<usize> {
        self.try_recv_buf_from(buf).map(|(len, _)| len)
    }

    /// As [`try_recv_from`](Self::try_recv_from), appending to `buf`.
    pub fn try_recv_buf_from<B: BufMut>(&self, buf: &mut B) -> io::Result<(usize, SocketAddr)> {
        // Through a buffer of ours: `buf` is the program's code and stays out of the critical section.
        let mut datagram = vec![0; buf.remaining_mut().min(MAX_DATAGRAM)];
        let (len, from) = self.try_recv_from(&mut datagram)?;
        buf.put_slice(datagram.get(..len).unwrap_or_default());
        Ok((len, from))
    }

    /// Receives from the connected peer without taking the datagram off the queue.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.peek_from(buf).await.map(|(len, _)| len)
    }

    /// Receives without taking the datagram off the queue.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket
            .wait(Side::Read.mask(), |state, id| state.stack.udp_peek(id, buf))
            .await
            .map(|got| self.shown(got))
    }

    /// Polls for a datagram without taking it off the queue.
    pub fn poll_peek(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_peek_from(cx, buf).map_ok(drop)
    }

    /// Polls for a datagram and its sender without taking it off the queue.
    pub fn poll_peek_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<SocketAddr>> {
        let polled = self.socket.poll(cx, Side::Read, |state, id| {
            state.stack.udp_peek(id, buf.initialize_unfilled())
        });
        polled.map_ok(|got| self.fill(buf, got))
    }

    /// Peeks at a datagram, or returns `WouldBlock`.
    pub fn try_peek(&self, buf: &mut [u8]) -> io::Result<usize> {
        self.try_peek_from(buf).map(|(len, _)| len)
    }

    /// Peeks at a datagram and its sender, or returns `WouldBlock`.
    pub fn try_peek_from(&self, buf: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.socket
            .call(|state, id| state.stack.udp_peek(id, buf))
            .map(|got| self.shown(got))
    }

    /// Waits for a datagram and tells its sender; the datagram stays.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn peek_sender(&self) -> io::Result<SocketAddr> {
        self.peek_from(&mut []).await.map(|(_, from)| from)
    }

    /// Polls for a datagram and tells its sender; the datagram stays.
    pub fn poll_peek_sender(&self, cx: &mut Context<'_>) -> Poll<io::Result<SocketAddr>> {
        self.poll_peek_from(cx, &mut ReadBuf::new(&mut []))
    }

    /// The sender of the next datagram, or `WouldBlock`; the datagram stays.
    pub fn try_peek_sender(&self) -> io::Result<SocketAddr> {
        self.try_peek_from(&mut []).map(|(_, from)| from)
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

    /// The time to live (hop limit) of what is sent.
    pub fn ttl(&self) -> io::Result<u32> {
        self.socket
            .call(|state, id| state.stack.udp_ttl(id))
            .map(u32::from)
    }

    /// Sets the time to live (hop limit) of what is sent: 1 to 255.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        let ttl = hop_limit(ttl)?;
        self.socket
            .call(|state, id| state.stack.udp_set_ttl(id, ttl))
    }

    /// Whether datagrams may be sent to broadcast addresses (`SO_BROADCAST`).
    pub fn broadcast(&self) -> io::Result<bool> {
        self.socket.call(|state, id| state.stack.udp_broadcast(id))
    }

    /// Allows (`true`) or refuses datagrams to broadcast addresses.
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.udp_set_broadcast(id, on))
    }

    fn shown(&self, got: UdpRecv) -> (usize, SocketAddr) {
        (got.len, self.family.show(got.from))
    }

    fn fill(&self, buf: &mut ReadBuf<'_>, got: UdpRecv) -> SocketAddr {
        buf.advance(got.len);
        self.family.show(got.from)
    }
}

fn send(
    state: &mut State,
    id: UdpId,
    buf: &[u8],
    to: Option<SocketAddr>,
) -> Result<usize, stack::Error> {
    if state.ended {
        // There may be room in the queue, but nobody will ever send it on.
        return Err(stack::Error::WouldBlock);
    }
    let now = state.now;
    state.stack.udp_send(now, id, buf, to)
}
