//! The Ethernet and IP headers of a connection's segments.

use dpdk_net_packet::gso::L4;
use dpdk_net_packet::{MacAddr, checksum, ethernet, ipv4, ipv6};

use super::table::FlowKey;

const V4: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;
const V6: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

/// What the headers hold beside the connection's addresses.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) dst: MacAddr,
    pub(super) src: MacAddr,
    /// Time to live, or hop limit.
    pub(super) ttl: u8,
    /// DSCP and ECN.
    pub(super) traffic_class: u8,
    /// Bytes of the segment, TCP header included.
    pub(super) len: usize,
    /// Whether IPv4's checksum is computed.
    pub(super) checksum: bool,
}

impl FlowKey {
    /// Bytes before the TCP header.
    #[inline(always)]
    pub(super) fn header_len(&self) -> usize {
        if self.is_v6() { V6 } else { V4 }
    }

    /// What kind of packet its segments are.
    #[inline(always)]
    pub(super) fn l4(&self) -> L4 {
        if self.is_v6() { L4::TcpV6 } else { L4::TcpV4 }
    }

    /// Writes the headers of a segment from here to there; returns what follows them. `None` if the frame is too short.
    #[inline(always)]
    pub(super) fn write_header<'f>(
        &self,
        frame: &'f mut [u8],
        header: &Header,
    ) -> Option<&'f mut [u8]> {
        if let Some((local, remote)) = self.v4() {
            let (start, segment) = frame.split_first_chunk_mut::<V4>()?;
            ethernet::write_header(start, header.dst, header.src, ethernet::TYPE_IPV4);
            let ip = &mut start[ethernet::HEADER_LEN..];
            // Version, header length, traffic class, total length; no identification, not to be fragmented.
            let total = (ipv4::HEADER_LEN + header.len) as u64 & 0xffff;
            let word = 0x45 << 56 | u64::from(header.traffic_class) << 48 | total << 32 | 0x4000;
            ip[..8].copy_from_slice(&word.to_be_bytes());
            ip[8..12].copy_from_slice(&[header.ttl, 6, 0, 0]);
            ip[12..16].copy_from_slice(&local.octets());
            ip[16..20].copy_from_slice(&remote.octets());
            if header.checksum
                && let Some(ip) = ip.first_chunk_mut::<{ ipv4::HEADER_LEN }>()
            {
                let sum = checksum::data(ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
            }
            Some(segment)
        } else {
            let (start, segment) = frame.split_first_chunk_mut::<V6>()?;
            ethernet::write_header(start, header.dst, header.src, ethernet::TYPE_IPV6);
            let ip = &mut start[ethernet::HEADER_LEN..];
            // Version, traffic class, no flow label; payload length, next header, hop limit.
            let word = 6 << 60
                | u64::from(header.traffic_class) << 52
                | (header.len as u64 & 0xffff) << 16
                | 6 << 8
                | u64::from(header.ttl);
            ip[..8].copy_from_slice(&word.to_be_bytes());
            ip[8..24].copy_from_slice(&self.local_bits().to_be_bytes());
            ip[24..40].copy_from_slice(&self.remote_bits().to_be_bytes());
            Some(segment)
        }
    }

    /// The checksum field of a segment of `len` bytes before the rest is added up: for a NIC to go on from, the sum of the
    /// pseudo-header.
    #[inline(always)]
    pub(super) fn first_checksum(&self, len: usize, whole: bool) -> u16 {
        if whole {
            0
        } else {
            self.pseudo_header(len).fold()
        }
    }

    /// Puts the checksum into a whole segment whose field is zero.
    #[inline(always)]
    pub(super) fn fill_checksum(&self, segment: &mut [u8]) {
        let sum = self.pseudo_header(segment.len()).add_bytes(segment);
        put_checksum(segment, sum.finish());
    }

    /// Puts into a segment whose field is zero either the checksum, or what a NIC is to go on from.
    #[inline]
    pub(super) fn complete(&self, segment: &mut [u8], whole: bool) {
        if whole {
            self.fill_checksum(segment);
        } else {
            put_checksum(segment, self.first_checksum(segment.len(), whole));
        }
    }
}

#[inline(always)]
fn put_checksum(segment: &mut [u8], sum: u16) {
    if let Some(field) = segment.get_mut(16..18) {
        field.copy_from_slice(&sum.to_be_bytes());
    }
}
