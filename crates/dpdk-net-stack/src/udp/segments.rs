//! UDP segmentation: one call sends several datagrams of one size (`UDP_SEGMENT` of Linux).
//!
//! They are copied once, pass routes and neighbour cache once, and wait as one in [`Link::datagrams`]. How they leave is
//! [`FrameQueue::drain_into`](crate::tx::FrameQueue::drain_into)'s business.

use core::net::SocketAddr;

use super::{UdpSend, UdpTable};
use crate::error::Error;
use crate::event::UdpId;
use crate::link::{Link, Segments};
use crate::time::Instant;

/// Datagrams that one call may send or receive at most: what `UDP_SEGMENT` allows on every Linux (later ones allow 128), and
/// a burst of the TX ring.
pub const UDP_MAX_SEGMENTS: usize = 64;

/// Data to be cut into datagrams of `size` bytes, no more of them than may be.
pub(super) fn of(ports: (u16, u16), data: &[u8], size: u16) -> Result<Segments<'_>, Error> {
    if size == 0 {
        return Err(ZERO);
    }
    let segments = Segments { ports, data, size };
    if segments.count() > UDP_MAX_SEGMENTS {
        return Err(Error::InvalidInput(
            "the data makes more than the 64 datagrams that one call may send; take a larger segment size",
        ));
    }
    Ok(segments)
}

const ZERO: Error = Error::InvalidInput("a segment size of 0: datagrams have at least 1 byte");

impl UdpTable {
    /// Sends datagrams of `size` bytes, of which the last one has the rest, to `to` or to the peer: all of them or none.
    /// Returns how many bytes that was.
    ///
    /// Errors: as [`send_with`](Self::send_with); `MessageTooLong` also where a datagram is larger than the path's MTU, `InvalidInput`
    /// also for a size of 0 and for more than [`UDP_MAX_SEGMENTS`] datagrams.
    pub(crate) fn send_segments(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: UdpId,
        data: &[u8],
        size: u16,
        to: Option<SocketAddr>,
    ) -> Result<usize, Error> {
        let send = UdpSend {
            to,
            segment_size: Some(size),
            ..UdpSend::default()
        };
        self.send_with(now, link, id, data, &send)
    }

    /// Has what [`send`](Self::send) is given cut into datagrams of this size, of which one fits an MTU of `mtu`; `None`, as at
    /// first: not cut.
    pub(crate) fn set_segment(
        &mut self,
        id: UdpId,
        size: Option<u16>,
        mtu: usize,
    ) -> Result<(), Error> {
        let socket = self.socket_mut(id)?;
        let headers = if socket.takes_v4() { 20 + 8 } else { 40 + 8 };
        match size {
            Some(0) => return Err(ZERO),
            Some(size) if headers + usize::from(size) > mtu => {
                return Err(Error::InvalidInput(
                    "a datagram of this segment size is larger than the MTU lets through",
                ));
            }
            _ => socket.segment = size,
        }
        Ok(())
    }

    /// See [`set_segment`](Self::set_segment).
    pub(crate) fn segment(&self, id: UdpId) -> Result<Option<u16>, Error> {
        let socket = self.sockets.get(id).ok_or(Error::UnknownSocket)?;
        Ok(socket.segment)
    }
}
