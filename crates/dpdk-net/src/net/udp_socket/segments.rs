//! Several datagrams with one call of a UDP socket: `UDP_SEGMENT` and `UDP_GRO` of Linux, by the names of quinn-udp where it
//! has one.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use dpdk_net_stack::{self as stack, UDP_MAX_SEGMENTS, UdpId, UdpRecv};
use tokio::io::ReadBuf;

use super::{EcnCodepoint, Family, UdpSocket};
use crate::net::addr::no_addresses;
use crate::net::{ToSocketAddrs, lookup_host};
use crate::shard::State;
use crate::wakers::Side;

/// What [`UdpSocket::recv_gro`] received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecvMeta {
    /// Who sent it.
    pub addr: SocketAddr,
    /// Bytes put into the buffer.
    pub len: usize,
    /// Bytes of each datagram, of which the last one may have fewer. More than `len` where the only one did not fit the buffer:
    /// what is missing is lost.
    pub stride: usize,
    /// The address of ours that it was sent to, or a group or broadcast address. What an answer should come from
    /// ([`Transmit::src_ip`](super::Transmit::src_ip)) where the socket is bound to all addresses.
    pub dst_ip: IpAddr,
    /// What the IP headers say of congestion, the same in all of them.
    pub ecn: Option<EcnCodepoint>,
}

impl RecvMeta {
    /// As a socket of this family tells it.
    pub(super) fn of(got: UdpRecv, family: Family) -> Self {
        Self {
            addr: family.show(got.from),
            len: got.len,
            stride: got.segment_size,
            dst_ip: family.show_ip(got.to),
            ecn: EcnCodepoint::from_bits(got.ecn),
        }
    }

    /// The datagrams in the buffer that was received into, in order.
    ///
    /// ```
    /// # async fn receive(socket: dpdk_net::net::UdpSocket) -> std::io::Result<()> {
    /// let mut buf = vec![0; 65_536];
    /// let meta = socket.recv_gro(&mut buf).await?;
    /// for datagram in meta.datagrams(&buf) {
    ///     println!("{} bytes from {}", datagram.len(), meta.addr);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn datagrams<'a>(&self, buf: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let data = buf.get(..self.len).unwrap_or(buf);
        let empty = data.is_empty().then_some(data);
        empty.into_iter().chain(data.chunks(self.stride.max(1)))
    }
}

impl UdpSocket {
    /// Datagrams that one [`send_segments`](Self::send_segments) may have: 64.
    pub const fn max_gso_segments(&self) -> usize {
        UDP_MAX_SEGMENTS
    }

    /// Datagrams that one [`recv_gro`](Self::recv_gro) may have: 64. A buffer of so many times the datagrams' size is never
    /// the limit.
    pub const fn gro_segments(&self) -> usize {
        UDP_MAX_SEGMENTS
    }

    /// Sends `buf` to the peer given to [`connect`](Self::connect) as datagrams of `segment_size` bytes, of which the last one
    /// has the rest: what is on the wire is what a [`send`](Self::send) of each would give, at less cost. All of them are
    /// sent or none. An empty `buf` is an empty datagram.
    ///
    /// # Errors
    /// `InvalidInput` for a segment size of 0 and for more than 64 datagrams; `EMSGSIZE` where a datagram is larger than the
    /// path's MTU lets through (IPv4: MTU - 28 bytes, IPv6: MTU - 48), as these are not fragmented, and where `buf` is
    /// larger than 65,507 bytes (IPv4) or 65,527 (IPv6); and as [`send`](Self::send).
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, none of the datagrams was sent.
    pub async fn send_segments(&self, buf: &[u8], segment_size: usize) -> io::Result<usize> {
        self.socket
            .wait(Side::Write.mask(), |state, id| {
                send(state, id, buf, segment_size, None)
            })
            .await
    }

    /// Polls to send datagrams to the peer: see [`send_segments`](Self::send_segments). Shares its waker's place with
    /// `poll_send`.
    pub fn poll_send_segments(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        segment_size: usize,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll(cx, Side::Write, |state, id| {
            send(state, id, buf, segment_size, None)
        })
    }

    /// As [`send_segments`](Self::send_segments), or returns `WouldBlock`.
    pub fn try_send_segments(&self, buf: &[u8], segment_size: usize) -> io::Result<usize> {
        self.socket
            .call(|state, id| send(state, id, buf, segment_size, None))
    }

    /// As [`send_segments`](Self::send_segments), to the first address that `addr` resolves to.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, none of the datagrams was sent.
    pub async fn send_segments_to<A: ToSocketAddrs>(
        &self,
        buf: &[u8],
        segment_size: usize,
        addr: A,
    ) -> io::Result<usize> {
        let to = lookup_host(addr).await?.next().ok_or_else(no_addresses)?;
        let to = self.check(to)?;
        self.socket
            .wait(Side::Write.mask(), |state, id| {
                send(state, id, buf, segment_size, Some(to))
            })
            .await
    }

    /// Polls to send datagrams to `target`: see [`send_segments`](Self::send_segments). Shares its waker's place with
    /// `poll_send_to`.
    pub fn poll_send_segments_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        segment_size: usize,
        target: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        let to = match self.check(target) {
            Ok(to) => to,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.socket.poll(cx, Side::Write, |state, id| {
            send(state, id, buf, segment_size, Some(to))
        })
    }

    /// As [`send_segments_to`](Self::send_segments_to), or returns `WouldBlock`.
    pub fn try_send_segments_to(
        &self,
        buf: &[u8],
        segment_size: usize,
        target: SocketAddr,
    ) -> io::Result<usize> {
        let to = self.check(target)?;
        self.socket
            .call(|state, id| send(state, id, buf, segment_size, Some(to)))
    }

    /// Has what [`send`](Self::send) and [`send_to`](Self::send_to) are given cut into datagrams of this size, as
    /// [`send_segments`](Self::send_segments) does, with its limits (`UDP_SEGMENT`). `None`, as at first: not cut.
    ///
    /// # Errors
    /// `InvalidInput` for 0, and for a size that is larger than the MTU lets through.
    pub fn set_segment_size(&self, size: Option<usize>) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.udp_set_segment(id, size.map(narrow)))
    }

    /// See [`set_segment_size`](Self::set_segment_size).
    pub fn segment_size(&self) -> io::Result<Option<usize>> {
        let size = self.socket.call(|state, id| state.stack.udp_segment(id))?;
        Ok(size.map(usize::from))
    }

    /// Whether [`recv_gro`](Self::recv_gro) may take several datagrams with one call (`UDP_GRO`); not at first.
    pub fn set_gro(&self, on: bool) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.udp_set_gro(id, on))
    }

    /// See [`set_gro`](Self::set_gro).
    pub fn gro(&self) -> io::Result<bool> {
        self.socket.call(|state, id| state.stack.udp_gro(id))
    }

    /// Receives a datagram and, after [`set_gro`](Self::set_gro), those behind it in the socket's queue that are from the same
    /// sender, to the same local address, of the same size and with the same ECN field; a shorter one may be the last. At most 64
    /// and only what fits `buf` whole; it does not wait for more. [`recv_from`](Self::recv_from) and the others still take one each.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, no datagram was taken.
    pub async fn recv_gro(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        self.socket
            .wait(Side::Read.mask(), |state, id| {
                state.stack.udp_recv_gro(id, buf)
            })
            .await
            .map(|got| RecvMeta::of(got, self.family))
    }

    /// Polls for datagrams: see [`recv_gro`](Self::recv_gro). Shares its waker's place with the other `poll_recv*`.
    pub fn poll_recv_gro(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<RecvMeta>> {
        let polled = self.socket.poll(cx, Side::Read, |state, id| {
            state.stack.udp_recv_gro(id, buf.initialize_unfilled())
        });
        polled.map_ok(|got| {
            buf.advance(got.len);
            RecvMeta::of(got, self.family)
        })
    }

    /// Polls for as many times what [`recv_gro`](Self::recv_gro) takes as there are buffers, in one critical section; returns how many
    /// times that was. Errors that come behind something received are forgotten.
    #[cfg(feature = "quinn")]
    pub(crate) fn poll_recv_several<M>(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
        metas: &mut [M],
        told: fn(RecvMeta) -> M,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll(cx, Side::Read, |state, id| {
            let mut count = 0;
            for (buf, meta) in bufs.iter_mut().zip(metas) {
                match state.stack.udp_recv_gro(id, buf) {
                    Ok(got) => *meta = told(RecvMeta::of(got, self.family)),
                    Err(_) if count > 0 => break,
                    Err(error) => return Err(error),
                }
                count += 1;
            }
            Ok(count)
        })
    }

    /// As [`recv_gro`](Self::recv_gro), or returns `WouldBlock`.
    pub fn try_recv_gro(&self, buf: &mut [u8]) -> io::Result<RecvMeta> {
        self.socket
            .call(|state, id| state.stack.udp_recv_gro(id, buf))
            .map(|got| RecvMeta::of(got, self.family))
    }
}

/// No datagram is as long as that, so what is above means the same.
pub(super) fn narrow(segment_size: usize) -> u16 {
    u16::try_from(segment_size).unwrap_or(u16::MAX)
}

fn send(
    state: &mut State,
    id: UdpId,
    buf: &[u8],
    segment_size: usize,
    to: Option<SocketAddr>,
) -> Result<usize, stack::Error> {
    if state.ended {
        // There may be room in the queue, but nobody will ever send it on.
        return Err(stack::Error::WouldBlock);
    }
    let now = state.now;
    state
        .stack
        .udp_send_segments(now, id, buf, narrow(segment_size), to)
}
