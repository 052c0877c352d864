//! Segments out of one large packet (generic segmentation offload): what a NIC with TSO or UDP segmentation does, in
//! software and with the same result.
//!
//! A [`Large`] has the headers of a packet that would hold all of the payload; each segment gets a copy of them in which
//! lengths, sequence number, flags, IPv4 identification and checksums are its own. Where the payload lies is the caller's
//! business: it copies or references the [range](Large::payload_range) that is a segment's.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::checksum::{self, Sum};
use crate::tcp::Flags;
use crate::{Protocol, ethernet, ipv4, ipv6};

/// The longest headers: Ethernet, IPv6 and TCP with all options.
pub const MAX_HEADERS: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + 60;

/// Which transport over which IP, without IPv4 options or IPv6 extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum L4 {
    /// TCP over IPv4.
    TcpV4,
    /// TCP over IPv6.
    TcpV6,
    /// UDP over IPv4.
    UdpV4,
    /// UDP over IPv6.
    UdpV6,
}

impl L4 {
    /// Whether the packet is IPv6.
    #[inline]
    pub const fn is_v6(self) -> bool {
        matches!(self, Self::TcpV6 | Self::UdpV6)
    }

    /// Whether the transport is UDP.
    #[inline]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::UdpV4 | Self::UdpV6)
    }

    /// Bytes of the IP header.
    #[inline]
    pub const fn ip_len(self) -> usize {
        if self.is_v6() {
            ipv6::HEADER_LEN
        } else {
            ipv4::HEADER_LEN
        }
    }

    /// Bytes before the transport header.
    #[inline]
    pub const fn offset(self) -> usize {
        ethernet::HEADER_LEN + self.ip_len()
    }

    /// Where in the transport header the checksum is.
    #[inline]
    pub const fn checksum_at(self) -> usize {
        if self.is_udp() { 6 } else { 16 }
    }

    const fn protocol(self) -> Protocol {
        if self.is_udp() {
            Protocol::Udp
        } else {
            Protocol::Tcp
        }
    }

    /// The pseudo-header of a transport packet of `len` bytes, from the addresses in a frame's IP header. `None` where the
    /// frame is shorter than that.
    pub fn pseudo_header(self, frame: &[u8], len: usize) -> Option<Sum> {
        let ip = frame.get(ethernet::HEADER_LEN..self.offset())?;
        let (src, dst) = if self.is_v6() {
            let (src, dst) = (ip.get(8..)?.first_chunk::<16>()?, ip.last_chunk::<16>()?);
            (
                IpAddr::V6(Ipv6Addr::from(*src)),
                IpAddr::V6(Ipv6Addr::from(*dst)),
            )
        } else {
            let (src, dst) = (ip.get(12..)?.first_chunk::<4>()?, ip.last_chunk::<4>()?);
            (
                IpAddr::V4(Ipv4Addr::from(*src)),
                IpAddr::V4(Ipv4Addr::from(*dst)),
            )
        };
        Some(checksum::pseudo_header(src, dst, self.protocol(), len))
    }

    /// Computes what a NIC with checksum offload would: the transport checksum of a whole frame, whatever its field holds.
    /// Does nothing to a frame shorter than its headers.
    pub fn fill_checksum(self, frame: &mut [u8]) {
        let Some(len) = frame.len().checked_sub(self.offset()) else {
            return;
        };
        let Some(pseudo) = self.pseudo_header(frame, len) else {
            return;
        };
        let at = self.checksum_at();
        let Some(packet) = frame.get_mut(self.offset()..) else {
            return;
        };
        if let Some(field) = packet.get_mut(at..at + 2) {
            field.fill(0);
        }
        let sum = pseudo.add_bytes(packet).finish();
        if let Some(field) = packet.get_mut(at..at + 2) {
            field.copy_from_slice(&self.as_sent(sum).to_be_bytes());
        }
    }

    /// Makes those of a whole frame's checksums that are to be made: the transport's field is zero, an IPv4 header's is there.
    /// Of the others the fields become as NICs want them.
    pub fn finish(self, frame: &mut [u8], checksums: Checksums) {
        if !checksums.ip
            && !self.is_v6()
            && let Some(field) = frame.get_mut(ethernet::HEADER_LEN + 10..ethernet::HEADER_LEN + 12)
        {
            field.fill(0);
        }
        if checksums.transport {
            return self.fill_checksum(frame);
        }
        let len = frame.len().saturating_sub(self.offset());
        let Some(pseudo) = self.pseudo_header(frame, len) else {
            return;
        };
        let at = self.offset() + self.checksum_at();
        if let Some(field) = frame.get_mut(at..at + 2) {
            field.copy_from_slice(&pseudo.fold().to_be_bytes());
        }
    }

    /// Computes an IPv4 header's checksum, whatever its field holds. Does nothing over IPv6.
    pub fn fill_ip_checksum(self, frame: &mut [u8]) {
        if self.is_v6() {
            return;
        }
        if let Some(ip) = frame.get_mut(ethernet::HEADER_LEN..self.offset()) {
            ip[10..12].fill(0);
            let sum = checksum::data(ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// A checksum of zero means none over UDP (RFC 768).
    #[inline]
    const fn as_sent(self, sum: u16) -> u16 {
        if sum == 0 && self.is_udp() {
            0xffff
        } else {
            sum
        }
    }
}

/// Which checksums a segment is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Whether an IPv4 header's is computed; zero otherwise.
    pub ip: bool,
    /// Whether the transport's is computed; otherwise its field holds the sum of the pseudo-header, as NICs want it.
    pub transport: bool,
}

impl Checksums {
    /// All.
    pub const ALL: Self = Self {
        ip: true,
        transport: true,
    };
}

/// The headers of a packet that is to be cut into segments, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Large<'a> {
    headers: &'a [u8],
    l4: L4,
    segment: u16,
    payload: u32,
}

impl<'a> Large<'a> {
    /// `headers` are Ethernet, IP and transport header of a packet with `payload` bytes behind them, of which each segment
    /// holds `segment`, the last one the rest. `None` if `segment` is zero, the packet would be longer than an IP header can
    /// say, or the headers are not as long as their kind says.
    pub fn new(headers: &'a [u8], l4: L4, segment: u16, payload: usize) -> Option<Self> {
        let transport = headers.len().checked_sub(l4.offset())?;
        let fits = if l4.is_udp() {
            transport == 8
        } else {
            let data_offset = usize::from(headers.get(l4.offset() + 12)? >> 4) * 4;
            transport >= 20 && transport == data_offset
        };
        let longest = usize::from(u16::MAX) - if l4.is_v6() { 0 } else { ipv4::HEADER_LEN };
        if segment == 0 || !fits || transport + payload > longest {
            return None;
        }
        Some(Large {
            headers,
            l4,
            segment,
            payload: payload as u32,
        })
    }

    /// Ethernet, IP and transport header.
    #[inline]
    pub const fn headers(&self) -> &'a [u8] {
        self.headers
    }

    /// What kind of packet it is.
    #[inline]
    pub const fn l4(&self) -> L4 {
        self.l4
    }

    /// Payload bytes of a segment, at least 1.
    #[inline]
    pub const fn segment(&self) -> u16 {
        self.segment
    }

    /// Payload bytes in all.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.payload as usize
    }

    /// How many segments there are; none without payload.
    #[inline]
    pub const fn count(&self) -> usize {
        self.payload.div_ceil(self.segment as u32) as usize
    }

    /// Which bytes of the payload a segment holds; empty behind the last one.
    #[inline]
    pub fn payload_range(&self, index: usize) -> Range<usize> {
        let all = self.payload as usize;
        let start = index.saturating_mul(usize::from(self.segment)).min(all);
        start..(start + usize::from(self.segment)).min(all)
    }

    /// Bytes of a segment's frame.
    #[inline]
    pub fn frame_len(&self, index: usize) -> usize {
        self.headers.len() + self.payload_range(index).len()
    }

    /// Writes a segment's headers into `out`, which has their length, with the sum of its payload where the transport's
    /// checksum is to be computed.
    pub fn write_headers(&self, index: usize, out: &mut [u8], ip_sum: bool, payload: Option<Sum>) {
        self.write_headers_of(index, self.payload_range(index), out, ip_sum, payload);
    }

    /// As [`write_headers`](Self::write_headers), of a packet with this range of the payload, which begins with a segment.
    fn write_headers_of(
        &self,
        index: usize,
        range: Range<usize>,
        out: &mut [u8],
        ip_sum: bool,
        payload: Option<Sum>,
    ) {
        let offset = self.l4.offset();
        if out.len() != self.headers.len() {
            return;
        }
        out.copy_from_slice(self.headers);
        let transport = out.len() - offset + range.len();
        let Some((link, rest)) = out.split_at_mut_checked(ethernet::HEADER_LEN) else {
            return;
        };
        let _ = link;
        let Some((ip, l4)) = rest.split_at_mut_checked(self.l4.ip_len()) else {
            return;
        };
        if self.l4.is_v6() {
            ip[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
        } else {
            let total = (ipv4::HEADER_LEN + transport) as u16;
            ip[2..4].copy_from_slice(&total.to_be_bytes());
            let id = u16::from_be_bytes([ip[4], ip[5]]).wrapping_add(index as u16);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[10..12].fill(0);
            if ip_sum {
                let sum = checksum::data(ip);
                ip[10..12].copy_from_slice(&sum.to_be_bytes());
            }
        }
        if self.l4.is_udp() {
            l4[4..6].copy_from_slice(&(transport as u16).to_be_bytes());
        } else {
            let seq = u32::from_be_bytes([l4[4], l4[5], l4[6], l4[7]]);
            let seq = seq.wrapping_add(range.start as u32);
            l4[4..8].copy_from_slice(&seq.to_be_bytes());
            // What belongs to the stream's end is of the last segment, a reduced window is told with the first.
            let mut flags = l4[13];
            if range.end != self.payload_len() {
                flags &= !(Flags::FIN.0 | Flags::PSH.0);
            }
            if index != 0 {
                flags &= !Flags::CWR.0;
            }
            l4[13] = flags;
        }
        let at = self.l4.checksum_at();
        l4[at..at + 2].fill(0);
        let Some(pseudo) = self.l4.pseudo_header(out, transport) else {
            return;
        };
        let Some(l4) = out.get_mut(offset..) else {
            return;
        };
        let field = match payload {
            Some(payload) => {
                let sum = pseudo.add_bytes(l4).combine(payload).finish();
                self.l4.as_sent(sum)
            }
            None => pseudo.fold(),
        };
        l4[at..at + 2].copy_from_slice(&field.to_be_bytes());
    }

    /// Some of the segments as a packet of their own, whose headers are written to `out`: `count` segments from the one of
    /// this index on, or as many as there are. Its checksums are those of [`write_headers`](Self::write_headers) with none to
    /// be computed. `None` where that would have no segments, or where `out` has not the length of the headers.
    pub fn part<'b>(&self, index: usize, count: usize, out: &'b mut [u8]) -> Option<Large<'b>> {
        let count = count.min(self.count().saturating_sub(index));
        if count == 0 || out.len() != self.headers.len() {
            return None;
        }
        let range = self.payload_range(index).start..self.payload_range(index + count - 1).end;
        self.write_headers_of(index, range.clone(), out, false, None);
        Large::new(out, self.l4, self.segment, range.len())
    }

    /// Writes a segment's frame, of [`frame_len`](Self::frame_len) bytes; `fill` writes the payload. Does nothing to a frame
    /// of another length.
    pub fn write(
        &self,
        index: usize,
        frame: &mut [u8],
        checksums: Checksums,
        fill: impl FnOnce(&mut [u8]),
    ) {
        if frame.len() != self.frame_len(index) {
            return;
        }
        let Some((headers, payload)) = frame.split_at_mut_checked(self.headers.len()) else {
            return;
        };
        fill(payload);
        // Headers have an even length, so the payload starts at an even offset.
        let sum = checksums.transport.then(|| Sum::ZERO.add_bytes(payload));
        self.write_headers(index, headers, checksums.ip, sum);
    }
}

#[cfg(test)]
mod tests;
