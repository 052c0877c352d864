//! UDP GRO: one call receives several datagrams (`UDP_GRO` of Linux), where the socket asked for that.
//!
//! They are joined when they are received, not when they arrive: those that lie next to each other in the queue and are from
//! one sender and of one size. So nothing waits for others to come, and other calls of the socket see datagrams as ever.

use super::segments::UDP_MAX_SEGMENTS;
use super::socket::RECORD_HEADER;
use super::{UdpRecv, UdpTable};
use crate::error::Error;
use crate::event::UdpId;

impl UdpTable {
    /// Takes the oldest datagram and, where the socket asked, those behind it that are from the same sender to the same address
    /// and as long; a shorter one, but no empty one, ends them. At most [`UDP_MAX_SEGMENTS`], and no more than fit `buf` whole.
    ///
    /// Errors: as [`recv`](Self::recv).
    pub(crate) fn recv_gro(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        let socket = self.sockets.get(id).ok_or(Error::UnknownSocket)?;
        let gro = socket.gro;
        let header = socket
            .queue
            .front()
            .and_then(|record| record.first_chunk::<RECORD_HEADER>())
            .copied();
        let mut got = self.recv(id, buf)?;
        // The receiver would not find the ends of empty ones, or of one that was cut.
        if !gro || got.segment_size == 0 || got.len < got.datagram_len {
            return Ok(got);
        }
        let (Some(socket), Some(header)) = (self.sockets.get_mut(id), header) else {
            return Ok(got);
        };
        for _ in 1..UDP_MAX_SEGMENTS {
            let next = socket
                .queue
                .front()
                .and_then(|record| record.split_first_chunk::<RECORD_HEADER>());
            let Some((next, data)) = next else {
                break;
            };
            if *next != header || data.is_empty() || data.len() > got.segment_size {
                break;
            }
            let Some(room) = buf.get_mut(got.len..got.len + data.len()) else {
                break;
            };
            room.copy_from_slice(data);
            got.len += room.len();
            let is_last = room.len() < got.segment_size;
            socket.queue.pop();
            self.stats.received += 1;
            self.stats.received_coalesced += 1;
            if is_last {
                break;
            }
        }
        got.datagram_len = got.len;
        Ok(got)
    }

    /// Whether [`recv_gro`](Self::recv_gro) may take several datagrams; not at first.
    pub(crate) fn set_gro(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.socket_mut(id)?.gro = on;
        Ok(())
    }

    /// See [`set_gro`](Self::set_gro).
    pub(crate) fn gro(&self, id: UdpId) -> Result<bool, Error> {
        let socket = self.sockets.get(id).ok_or(Error::UnknownSocket)?;
        Ok(socket.gro)
    }
}
