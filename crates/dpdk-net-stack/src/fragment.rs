//! Cutting an IP packet that is larger than the path's MTU into fragments (RFC 791 section 3.2, RFC 8200 section 4.5),
//! and the identifications that hold them together. Putting them together again is [`reassembly`](crate::reassembly)'s.

use core::hash::BuildHasher;

use dpdk_net_packet::{MacAddr, ethernet, ipv4, ipv6};

use crate::emit::IpMeta;
use crate::random::HashKey;

/// One fragment of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    offset: usize,
    len: usize,
    more: bool,
}

/// The fragments of a payload of `len` bytes, in order. `mtu` is at least 576 bytes.
pub(crate) fn pieces(meta: &IpMeta, len: usize, mtu: usize) -> impl Iterator<Item = Piece> + use<> {
    let step = mtu.saturating_sub(header_len(meta)).max(8) & !7;
    (0..len).step_by(step).map(move |offset| {
        let piece = step.min(len - offset);
        Piece {
            offset,
            len: piece,
            more: offset + piece < len,
        }
    })
}

/// IP header and, for IPv6, fragment header.
fn header_len(meta: &IpMeta) -> usize {
    meta.ip_header_len()
        + if meta.dst.is_ipv6() {
            ipv6::FRAGMENT_HEADER_LEN
        } else {
            0
        }
}

impl Piece {
    /// Length of its Ethernet frame.
    pub(crate) fn frame_len(&self, meta: &IpMeta) -> usize {
        ethernet::HEADER_LEN + header_len(meta) + self.len
    }

    /// Writes its Ethernet frame; `frame` is [`frame_len`](Self::frame_len) bytes long, `payload` the whole one.
    pub(crate) fn write(
        &self,
        frame: &mut [u8],
        (src, dst): (MacAddr, MacAddr),
        meta: &IpMeta,
        id: u32,
        payload: &[u8],
    ) {
        use core::net::IpAddr::{V4, V6};
        let ip = ethernet::HEADER_LEN;
        let at = ip + header_len(meta);
        match (meta.src, meta.dst) {
            (V4(from), V4(to)) => {
                ethernet::write_header(frame, dst, src, ethernet::TYPE_IPV4);
                let header = ipv4::Header {
                    ttl: meta.hop_limit,
                    traffic_class: meta.traffic_class,
                    id: id as u16,
                    dont_fragment: false,
                    more_fragments: self.more,
                    fragment_offset: self.offset as u16,
                    ..ipv4::Header::new(from, to, meta.protocol, self.len)
                };
                header.write(&mut frame[ip..]);
            }
            (V6(from), V6(to)) => {
                ethernet::write_header(frame, dst, src, ethernet::TYPE_IPV6);
                let header = ipv6::Header {
                    src: from,
                    dst: to,
                    next_header: ipv6::NEXT_FRAGMENT,
                    hop_limit: meta.hop_limit,
                    traffic_class: meta.traffic_class,
                    flow_label: 0,
                    payload_len: ipv6::FRAGMENT_HEADER_LEN + self.len,
                };
                header.write(&mut frame[ip..]);
                let next = meta.protocol.into();
                ipv6::write_fragment_header(
                    &mut frame[ip + ipv6::HEADER_LEN..],
                    next,
                    self.offset as u16,
                    self.more,
                    id,
                );
            }
            _ => {}
        }
        frame[at..].copy_from_slice(&payload[self.offset..self.offset + self.len]);
    }
}

/// Counters to choose from, by destination.
const COUNTERS: usize = 256;

/// Identifications that don't repeat soon for a destination and that can't be told from those of another one: a counter
/// chosen by, and added to, a keyed hash (RFC 7739 section 5.3; RFC 6864 for IPv4).
#[derive(Debug)]
pub(crate) struct IdSource {
    key: HashKey,
    counters: [u32; COUNTERS],
}

impl IdSource {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Self {
            key: HashKey::derive(seed, "identification"),
            counters: [0; COUNTERS],
        }
    }

    /// An identification for a packet that is fragmented.
    pub(crate) fn next(&mut self, meta: &IpMeta) -> u32 {
        self.next_run(meta, 1)
    }

    /// The first of so many in a row.
    fn next_run(&mut self, meta: &IpMeta, count: u32) -> u32 {
        let hash = self.key.hash_one((meta.src, meta.dst));
        let counter = &mut self.counters[hash as usize % COUNTERS];
        let first = counter.wrapping_add(1);
        *counter = counter.wrapping_add(count);
        ((hash >> 32) as u32).wrapping_add(first)
    }

    /// An identification for a packet that is sent whole: 0 unless a router may fragment it (RFC 6864 section 4.1).
    pub(crate) fn next_v4(&mut self, meta: &IpMeta) -> u16 {
        self.next_v4_run(meta, 1)
    }

    /// The same for so many packets: the identification of the first, from which those of the others count up.
    pub(crate) fn next_v4_run(&mut self, meta: &IpMeta, count: u32) -> u16 {
        if meta.dont_fragment || meta.dst.is_ipv6() {
            0
        } else {
            self.next_run(meta, count) as u16
        }
    }
}
