//! Several UDP datagrams on their way out at once (UDP segmentation): one entry in the queue, to be cut by the sink or for it.

use core::net::IpAddr;

use dpdk_net_packet::gso::{Checksums, L4};
use dpdk_net_packet::{ethernet, udp};

use super::{Link, Lookup, Queue};
use crate::emit::{self, Ends, IpMeta};
use crate::error::Error;
use crate::time::Instant;
use crate::tx::{Cut, TxMeta};

/// What is to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Segments<'a> {
    /// Source and destination.
    pub(crate) ports: (u16, u16),
    /// No more than one UDP datagram could have.
    pub(crate) data: &'a [u8],
    /// Bytes of each datagram, at least 1; the last one has the rest.
    pub(crate) size: u16,
}

impl<'a> Segments<'a> {
    /// How many there are; without data an empty one.
    pub(crate) fn count(&self) -> usize {
        self.data.len().div_ceil(self.size.into()).max(1)
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let empty = self.data.is_empty().then_some(self.data);
        empty.into_iter().chain(self.data.chunks(self.size.into()))
    }
}

impl Link {
    /// Sends datagrams, all or none. What comes out is what [`output`](Self::output) would make of them one by one.
    ///
    /// Errors: `NetworkUnreachable`, `MessageTooLong` where one is larger than the path's MTU (as Linux does it: they are not
    /// fragmented), and `NoBufferSpace` if the queue is full.
    pub(crate) fn output_segments(
        &mut self,
        now: Instant,
        meta: &IpMeta,
        segments: &Segments<'_>,
    ) -> Result<(), Error> {
        let headers = meta.ip_header_len() + udp::HEADER_LEN;
        let largest = segments.data.len().min(segments.size.into());
        let next = self.ifaces.next_hop(&meta.way());
        if headers + largest > self.mtu_by(now, next.at(), meta) {
            self.stats.too_big += 1;
            return Err(Error::MessageTooLong);
        }
        let count = segments.count();
        let to = self.resolve(now, next);
        let Ends { src, dst, tci } = match to {
            Lookup::Ready(at, dst) if count > 1 => self.ifaces.get(at).ends(dst),
            // Those for ourselves, or for a neighbour that is being asked for, are dealt with as single ones.
            _ => return self.output_one_by_one(to, meta, segments),
        };
        let l4 = match meta.dst {
            IpAddr::V4(_) => L4::UdpV4,
            IpAddr::V6(_) => L4::UdpV6,
        };
        let id = self.ids.next_v4_run(meta, count as u32);
        let cut = Cut::new(l4, segments.size, meta.udp.unwrap_or(Checksums::ALL));
        let len = ethernet::HEADER_LEN + headers + segments.data.len();
        let (from, to) = segments.ports;
        // The kind of checksum goes with each datagram: see `LargeFrame::segment_meta`.
        let queued = self
            .datagrams
            .push_cut(len, TxMeta::tagged(tci), cut, |frame| {
                let data = segments.data;
                let len = udp::HEADER_LEN + data.len();
                let at = emit::write_headers(frame, (src, dst), meta, id, len);
                udp::write_header(&mut frame[at..], from, to, data.len());
                frame[at + udp::HEADER_LEN..].copy_from_slice(data);
            });
        if queued.is_none() {
            self.stats.queue_full += 1;
            return Err(Error::NoBufferSpace);
        }
        Ok(())
    }

    fn output_one_by_one(
        &mut self,
        to: Lookup,
        meta: &IpMeta,
        segments: &Segments<'_>,
    ) -> Result<(), Error> {
        if to == Lookup::NoRoute {
            self.stats.no_route += 1;
            return Err(Error::NetworkUnreachable);
        }
        let (src_port, dst_port) = segments.ports;
        let looped = self.stats.looped;
        let before = self.queue_of(Queue::Datagrams, to).map(|queue| queue.len());
        for data in segments.iter() {
            let id = self.ids.next_v4(meta);
            let len = udp::HEADER_LEN + data.len();
            let frame_len = ethernet::HEADER_LEN + meta.ip_header_len() + len;
            let sent = self.hand_over(Queue::Datagrams, to, meta, frame_len, |frame, macs| {
                let at = emit::write_headers(frame, macs, meta, id, len);
                udp::write_header(&mut frame[at..], src_port, dst_port, data.len());
                frame[at + udp::HEADER_LEN..].copy_from_slice(data);
            });
            if let Err(error) = sent {
                if let (Some(queue), Some(before)) = (self.queue_of(Queue::Datagrams, to), before) {
                    queue.truncate(before);
                }
                self.stats.looped = looped;
                return Err(error);
            }
        }
        Ok(())
    }
}
