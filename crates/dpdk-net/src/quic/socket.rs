//! A UDP socket as quinn asks for one.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use quinn::udp;
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::net::{EcnCodepoint, MtuDiscovery, RecvMeta, Transmit, UdpSocket};

#[derive(Debug)]
pub(super) struct Socket(UdpSocket);

impl Socket {
    pub(super) fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_gro(true)?;
        socket.set_mtu_discovery(MtuDiscovery::Probe)?;
        Ok(Self(socket))
    }
}

/// Whether an error means that nothing will ever be sent or received again: the worker has ended. What befell one datagram, or what
/// ICMP tells of the peer, which anybody can forge, is not QUIC's end; it has losses and timeouts for that.
fn is_final(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotConnected
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(Poller {
            socket: self,
            waiting: None,
        })
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        let mut ours = Transmit::new(transmit.contents);
        ours.destination = Some(transmit.destination);
        ours.ecn = transmit.ecn.map(|ecn| match ecn {
            udp::EcnCodepoint::Ect0 => EcnCodepoint::Ect0,
            udp::EcnCodepoint::Ect1 => EcnCodepoint::Ect1,
            udp::EcnCodepoint::Ce => EcnCodepoint::Ce,
        });
        ours.segment_size = transmit.segment_size;
        ours.src_ip = transmit.src_ip;
        match self.0.try_transmit(&ours) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_final(&error) => {
                Err(error)
            }
            Err(error) => {
                // Among them EMSGSIZE of a probe that was too large, which is how quinn learns.
                tracing::debug!(%error, to = %transmit.destination, "a QUIC datagram was not sent");
                Ok(())
            }
        }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            match ready!(self.0.poll_recv_several(cx, bufs, meta, told)) {
                Err(error) if !is_final(&error) => {
                    tracing::debug!(%error, "of an earlier QUIC datagram");
                }
                result => return Poll::Ready(result),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_gso_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.0.gro_segments()
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// What was received, in quinn's terms.
fn told(meta: RecvMeta) -> udp::RecvMeta {
    udp::RecvMeta {
        addr: meta.addr,
        len: meta.len,
        stride: meta.stride,
        ecn: meta
            .ecn
            .and_then(|ecn| udp::EcnCodepoint::from_bits(ecn as u8)),
        dst_ip: Some(meta.dst_ip),
    }
}

type Waiting = Pin<Box<dyn Future<Output = io::Result<()>> + Send + Sync>>;

/// One of many that wait until there is room to send.
struct Poller {
    socket: Arc<Socket>,
    waiting: Option<Waiting>,
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("socket", &self.socket)
            .field("waits", &self.waiting.is_some())
            .finish()
    }
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = this.waiting.get_or_insert_with(|| {
            let socket = this.socket.clone();
            Box::pin(async move { socket.0.writable().await })
        });
        let result = ready!(waiting.as_mut().poll(cx));
        this.waiting = None;
        Poll::Ready(result)
    }
}
