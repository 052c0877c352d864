//! What a stack's owner calls to send or receive several UDP datagrams at once.

use core::net::SocketAddr;

use super::Stack;
use crate::error::Error;
use crate::event::UdpId;
use crate::interfaces::IfIndex;
use crate::time::Instant;
use crate::udp::UdpRecv;

/// UDP segmentation and UDP GRO.
impl Stack {
    /// Sends `data` as datagrams of `segment_size` bytes, of which the last one has the rest, to the peer if `to` is `None`: all
    /// of them or none, and without fragments (`UDP_SEGMENT` of Linux). What is on the wire is what single sends would give.
    /// Empty `data` is an empty datagram.
    ///
    /// Errors: as [`udp_send`](Self::udp_send); `MessageTooLong` also where a datagram is larger than the path's MTU,
    /// `InvalidInput` for a size of 0 and for more than [`UDP_MAX_SEGMENTS`](crate::UDP_MAX_SEGMENTS) datagrams.
    pub fn udp_send_segments(
        &mut self,
        now: Instant,
        id: UdpId,
        data: &[u8],
        segment_size: u16,
        to: Option<SocketAddr>,
    ) -> Result<usize, Error> {
        self.advance(now);
        self.udp
            .send_segments(now, &mut self.link, id, data, segment_size, to)
    }

    /// Has what [`udp_send`](Self::udp_send) is given cut into datagrams of this size, as
    /// [`udp_send_segments`](Self::udp_send_segments) does; `None`, as at first: not cut.
    ///
    /// Errors: `InvalidInput` for 0, and for what is larger than the MTU.
    pub fn udp_set_segment(&mut self, id: UdpId, size: Option<u16>) -> Result<(), Error> {
        let port = self.link.ifaces.get(IfIndex::PORT);
        self.udp.set_segment(id, size, port.mtu)
    }

    /// See [`udp_set_segment`](Self::udp_set_segment).
    pub fn udp_segment(&self, id: UdpId) -> Result<Option<u16>, Error> {
        self.udp.segment(id)
    }

    /// Receives one datagram as [`udp_recv`](Self::udp_recv) does and, where [`udp_set_gro`](Self::udp_set_gro) says so, those
    /// behind it that are already there, from the same sender, to the same address, and of the same size; a shorter one may
    /// be the last. At most [`UDP_MAX_SEGMENTS`](crate::UDP_MAX_SEGMENTS), and only what fits `buf` whole.
    ///
    /// Errors: as [`udp_recv`](Self::udp_recv).
    pub fn udp_recv_gro(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.udp.recv_gro(id, buf)
    }

    /// Whether [`udp_recv_gro`](Self::udp_recv_gro) may take several datagrams (`UDP_GRO` of Linux); not at first.
    pub fn udp_set_gro(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.udp.set_gro(id, on)
    }

    /// See [`udp_set_gro`](Self::udp_set_gro).
    pub fn udp_gro(&self, id: UdpId) -> Result<bool, Error> {
        self.udp.gro(id)
    }
}
