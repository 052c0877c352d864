//! Frames that are TCP segments and nothing else: told from all others, and read, in one go.

use dpdk_net_packet::{
    ChecksumVerdict, IpPacket, ParseError, RxMeta, checksum::Sum, ethernet, ipv4, ipv6, tcp,
};

use super::vlan;
use crate::stack::Stack;
use crate::tcp::table::FlowKey;

/// A TCP segment: from the IP header to its end, where the TCP header begins, and whose it is.
pub(super) type Segment<'a> = (&'a [u8], usize, FlowKey);

/// What is known of a plain segment from its headers.
pub(crate) struct PlainHeaders<'a> {
    /// From the IP header on, up to the packet's end or as far as it goes.
    pub(crate) packet: &'a [u8],
    pub(crate) tcp_at: usize,
    /// Length of the whole IP packet.
    pub(crate) len: usize,
    pub(crate) key: FlowKey,
}

impl Stack {
    /// Looks whether an untagged frame is a TCP segment, to our MAC address, and nothing is wrong with it or unusual about it. Gives it from
    /// the IP header on, and where the TCP header begins.
    #[inline(always)]
    pub(super) fn plain_segment<'a>(&self, bytes: &'a [u8], meta: &RxMeta) -> Option<Segment<'a>> {
        self.whole_segment(self.plain_headers(bytes, meta)?, meta)
    }

    /// As [`plain_segment`](Self::plain_segment), of a frame with one tag: of one of our VLANs, or with a priority alone.
    pub(super) fn plain_tagged<'a>(&self, bytes: &'a [u8], meta: &RxMeta) -> Option<Segment<'a>> {
        self.whole_segment(self.tagged_headers(bytes, meta)?, meta)
    }

    #[inline(always)]
    fn whole_segment<'a>(&self, plain: PlainHeaders<'a>, meta: &RxMeta) -> Option<Segment<'a>> {
        let PlainHeaders {
            packet,
            tcp_at,
            len,
            key,
        } = plain;
        if packet.len() != len {
            return None;
        }
        if self.rx_checksum {
            match meta.l4_checksum {
                ChecksumVerdict::Good | ChecksumVerdict::None => {}
                ChecksumVerdict::Bad => return None,
                ChecksumVerdict::Unknown => {
                    let segment = packet.get(tcp_at..)?;
                    if !key
                        .pseudo_header(segment.len())
                        .add_bytes(segment)
                        .is_valid()
                    {
                        return None;
                    }
                }
            }
        }
        Some((packet, tcp_at, key))
    }

    /// As [`plain_segment`](Self::plain_segment), of a packet that may go on elsewhere, its TCP checksum unseen.
    #[inline(always)]
    pub(crate) fn plain_headers<'a>(
        &self,
        bytes: &'a [u8],
        meta: &RxMeta,
    ) -> Option<PlainHeaders<'a>> {
        let (header, packet) = bytes.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
        if header[..6] != self.link.ifaces.mac().0 || meta.vlan_tci.is_some() {
            return None;
        }
        headers(ether_type(header), packet, meta)
    }

    /// As [`plain_headers`](Self::plain_headers), of a frame with one tag.
    #[inline(never)]
    pub(crate) fn tagged_headers<'a>(
        &self,
        bytes: &'a [u8],
        meta: &RxMeta,
    ) -> Option<PlainHeaders<'a>> {
        let (header, mut packet) = bytes.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
        if header[..6] != self.link.ifaces.mac().0 {
            return None;
        }
        let mut ether_type = ether_type(header);
        let tci = match meta.vlan_tci {
            Some(tci) => tci,
            None => {
                if ether_type != ethernet::TYPE_VLAN {
                    return None;
                }
                let (tag, rest) = packet.split_first_chunk::<{ ethernet::VLAN_TAG_LEN }>()?;
                ether_type = u16::from_be_bytes([tag[2], tag[3]]);
                packet = rest;
                u16::from_be_bytes([tag[0], tag[1]])
            }
        };
        let id = tci & vlan::ID;
        self.link.ifaces.by_vlan(id)?;
        let mut headers = headers(ether_type, packet, meta)?;
        headers.key = headers.key.in_scope(id);
        Some(headers)
    }
}

/// Reads the headers from behind the link's on.
#[inline(always)]
fn headers<'a>(ether_type: u16, packet: &'a [u8], meta: &RxMeta) -> Option<PlainHeaders<'a>> {
    match ether_type {
        ethernet::TYPE_IPV4 => {
            let (ip, tcp) = packet.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
            let tcp = tcp.first_chunk::<{ tcp::HEADER_LEN }>()?;
            let word = |at: usize| u32::from_be_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
            let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
            let data_offset = usize::from(tcp[12] >> 4) * 4;
            // No options, no fragment but one that must not be one, TCP.
            if ip[0] != 0x45
                || word(4) & 0xbfff != 0
                || ip[9] != 6
                || data_offset < tcp::HEADER_LEN
                || len < ipv4::HEADER_LEN + data_offset
                || meta.ip_checksum == ChecksumVerdict::Bad
                || meta.ip_checksum.is_unknown() && !Sum::ZERO.add_bytes(ip).is_valid()
            {
                return None;
            }
            let ports = u32::from_be_bytes([tcp[2], tcp[3], tcp[0], tcp[1]]);
            Some(PlainHeaders {
                packet: packet.get(..len).unwrap_or(packet),
                tcp_at: ipv4::HEADER_LEN,
                len,
                key: FlowKey::of_v4(word(16), word(12), ports),
            })
        }
        ethernet::TYPE_IPV6 => {
            let (ip, tcp) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
            let tcp = tcp.first_chunk::<{ tcp::HEADER_LEN }>()?;
            let (_, addrs) = ip.split_at(8);
            let (src, dst) = (addrs.first_chunk::<16>()?, addrs.last_chunk::<16>()?);
            let (src, dst) = (u128::from_be_bytes(*src), u128::from_be_bytes(*dst));
            let payload = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
            let data_offset = usize::from(tcp[12] >> 4) * 4;
            // No extension headers.
            if ip[0] >> 4 != 6
                || ip[6] != 6
                || data_offset < tcp::HEADER_LEN
                || payload < data_offset
            {
                return None;
            }
            let len = ipv6::HEADER_LEN + payload;
            let ports = u32::from_be_bytes([tcp[2], tcp[3], tcp[0], tcp[1]]);
            Some(PlainHeaders {
                packet: packet.get(..len).unwrap_or(packet),
                tcp_at: ipv6::HEADER_LEN,
                len,
                key: FlowKey::of_v6(dst, src, ports),
            })
        }
        _ => None,
    }
}

#[inline(always)]
fn ether_type(header: &[u8; ethernet::HEADER_LEN]) -> u16 {
    u16::from_be_bytes([header[12], header[13]])
}

/// Reads the headers of a plain segment. What the first look verified is not verified again.
pub(crate) fn read_plain(packet: &[u8]) -> Result<(IpPacket<'_>, tcp::Segment<'_>), ParseError> {
    let ip = match packet.first() {
        Some(0x40..=0x4f) => ipv4::parse(packet, false)?,
        _ => ipv6::parse(packet)?,
    };
    let segment = tcp::Segment::parse(ip.payload())?;
    Ok((ip, segment))
}
