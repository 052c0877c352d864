//! Sending with more said of how, by the names of quinn-udp: ECN, the address to send from, datagrams of one size at once. And what
//! becomes of a datagram that could be larger than the path lets through.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use dpdk_net_stack::{self as stack, MtuDiscovery, UdpId, UdpSend};

use super::UdpSocket;
use super::segments::narrow;
use crate::shard::State;
use crate::wakers::Side;

/// What an IP header says of congestion (RFC 3168 section 5), where it says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EcnCodepoint {
    /// ECT(1): the transport would take notice of a mark; of experiments (RFC 9331).
    Ect1 = 0b01,
    /// ECT(0): the transport would take notice of a mark.
    Ect0 = 0b10,
    /// CE: a router on the way has marked it, as its queue is long.
    Ce = 0b11,
}

impl EcnCodepoint {
    /// The codepoint of the lowest two bits; `None` is Not-ECT.
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0b11 {
            0b01 => Some(Self::Ect1),
            0b10 => Some(Self::Ect0),
            0b11 => Some(Self::Ce),
            _ => None,
        }
    }
}

/// What is to be sent, and how: see [`UdpSocket::transmit`].
///
/// ```no_run
/// # use dpdk_net::net::{EcnCodepoint, RecvMeta, Transmit, UdpSocket};
/// # async fn answer(socket: UdpSocket, asked: RecvMeta, answer: &[u8]) -> std::io::Result<()> {
/// let mut transmit = Transmit::new(answer);
/// transmit.destination = Some(asked.addr);
/// transmit.src_ip = Some(asked.dst_ip);
/// transmit.ecn = Some(EcnCodepoint::Ect0);
/// socket.transmit(&transmit).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Transmit<'a> {
    /// One datagram, or several of `segment_size` bytes of which the last one has the rest.
    pub contents: &'a [u8],
    /// To whom; `None` is the peer given to [`connect`](UdpSocket::connect).
    pub destination: Option<SocketAddr>,
    /// What the IP headers say of congestion.
    pub ecn: Option<EcnCodepoint>,
    /// Bytes of a datagram, as of [`send_segments`](UdpSocket::send_segments); `None` is what the socket is set to.
    pub segment_size: Option<usize>,
    /// The address of ours to send from, of a socket that is bound to all; `None` leaves it to the routes.
    pub src_ip: Option<IpAddr>,
}

impl<'a> Transmit<'a> {
    /// A datagram to the socket's peer, of which nothing more is said.
    pub const fn new(contents: &'a [u8]) -> Self {
        Self {
            contents,
            destination: None,
            ecn: None,
            segment_size: None,
            src_ip: None,
        }
    }
}

impl UdpSocket {
    /// Sends what it says, all of it or nothing. Returns the bytes of it.
    ///
    /// # Errors
    /// As [`send`](Self::send), with a segment size as [`send_segments`](Self::send_segments); `AddrNotAvailable` where the address to
    /// send from is not one of ours, or the socket is bound to another.
    ///
    /// # Cancel safety
    /// Cancel safe: if dropped, nothing was sent.
    pub async fn transmit(&self, transmit: &Transmit<'_>) -> io::Result<usize> {
        let send = self.described(transmit)?;
        self.socket
            .wait(Side::Write.mask(), |state, id| {
                carry_out(state, id, transmit.contents, &send)
            })
            .await
    }

    /// Polls to send: see [`transmit`](Self::transmit). Shares its waker's place with the other `poll_send*`.
    pub fn poll_transmit(
        &self,
        cx: &mut Context<'_>,
        transmit: &Transmit<'_>,
    ) -> Poll<io::Result<usize>> {
        let send = match self.described(transmit) {
            Ok(send) => send,
            Err(error) => return Poll::Ready(Err(error)),
        };
        self.socket.poll(cx, Side::Write, |state, id| {
            carry_out(state, id, transmit.contents, &send)
        })
    }

    /// As [`transmit`](Self::transmit), or returns `WouldBlock`.
    pub fn try_transmit(&self, transmit: &Transmit<'_>) -> io::Result<usize> {
        let send = self.described(transmit)?;
        self.socket
            .call(|state, id| carry_out(state, id, transmit.contents, &send))
    }

    /// What is done where a datagram could be larger than the path lets through (`IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`);
    /// [`MtuDiscovery::Fragment`] at first. Otherwise `send` and the others fail with `EMSGSIZE` for larger ones.
    pub fn set_mtu_discovery(&self, to: MtuDiscovery) -> io::Result<()> {
        self.socket
            .call(|state, id| state.stack.udp_set_mtu_discovery(id, to))
    }

    /// See [`set_mtu_discovery`](Self::set_mtu_discovery).
    pub fn mtu_discovery(&self) -> io::Result<MtuDiscovery> {
        self.socket
            .call(|state, id| state.stack.udp_mtu_discovery(id))
    }

    /// The stack's form of it.
    fn described(&self, transmit: &Transmit<'_>) -> io::Result<UdpSend> {
        let to = transmit.destination.map(|to| self.check(to)).transpose()?;
        Ok(UdpSend {
            to,
            from: transmit.src_ip,
            ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
            segment_size: transmit.segment_size.map(narrow),
        })
    }
}

fn carry_out(
    state: &mut State,
    id: UdpId,
    contents: &[u8],
    send: &UdpSend,
) -> Result<usize, stack::Error> {
    if state.ended {
        // There may be room in the queue, but nobody will ever send it on.
        return Err(stack::Error::WouldBlock);
    }
    let now = state.now;
    state.stack.udp_send_with(now, id, contents, send)
}
