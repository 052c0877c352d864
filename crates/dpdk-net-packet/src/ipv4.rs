//! The IPv4 header (RFC 791): checked reading, and writing.

use core::net::Ipv4Addr;

use crate::ip::IpPacket;
use crate::{ParseError, Protocol, checksum};

/// The length of a header without options.
pub const HEADER_LEN: usize = 20;

pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
const DONT_FRAGMENT: u16 = 0x4000;

/// Reads the packet at the start of `bytes`; what follows its total length is link padding and is cut off.
///
/// The header checksum is verified if `verify_checksum` says so.
#[inline(always)]
pub fn parse(bytes: &[u8], verify_checksum: bool) -> Result<IpPacket<'_>, ParseError> {
    let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(ParseError::Ipv4Truncated);
    };
    if fixed[0] >> 4 != 4 {
        return Err(ParseError::BadIpVersion);
    }
    let header_len = usize::from(fixed[0] & 0x0f) * 4;
    if header_len < HEADER_LEN {
        return Err(ParseError::Ipv4BadHeaderLength);
    }
    let Some(header) = bytes.get(..header_len) else {
        return Err(ParseError::Ipv4Truncated);
    };
    let total_len = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if total_len < header_len {
        return Err(ParseError::Ipv4BadTotalLength);
    }
    let Some(packet) = bytes.get(..total_len) else {
        return Err(ParseError::Ipv4BadTotalLength);
    };
    if verify_checksum {
        // Of a length known when compiled, the sum is a handful of additions.
        let sum = if header_len == HEADER_LEN {
            checksum::Sum::ZERO.add_bytes(fixed)
        } else {
            checksum::Sum::ZERO.add_bytes(header)
        };
        if !sum.is_valid() {
            return Err(ParseError::Ipv4BadChecksum);
        }
    }
    let src = Ipv4Addr::new(fixed[12], fixed[13], fixed[14], fixed[15]);
    let dst = Ipv4Addr::new(fixed[16], fixed[17], fixed[18], fixed[19]);
    // RFC 1122 section 3.2.1.3: groups and broadcast are no sources, nor is a host of network 0; loopback never leaves a
    // host, 0 is no destination.
    if src.octets()[0] >= 224
        || (src.octets()[0] == 0 && !src.is_unspecified())
        || src.is_loopback()
        || dst.is_loopback()
        || dst.is_unspecified()
    {
        return Err(ParseError::Ipv4BadAddress);
    }
    if header_len > HEADER_LEN {
        check_options(&header[HEADER_LEN..])?;
    }
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & !(DONT_FRAGMENT | 0x8000);
    if fragment != 0 {
        check_fragment(fragment, header_len, total_len)?;
    }
    Ok(IpPacket {
        bytes: packet,
        payload_at: header_len as u16,
        protocol_at: 9,
        fragment_at: if fragment == 0 { 0 } else { 6 },
        link_at: 0,
        protocol: fixed[9],
        is_v6: false,
    })
}

#[cold]
fn check_fragment(word: u16, header_len: usize, total_len: usize) -> Result<(), ParseError> {
    let offset = usize::from(word & 0x1fff) * 8;
    let more = word & MORE_FRAGMENTS != 0;
    let len = total_len - header_len;
    if len == 0 || (more && !len.is_multiple_of(8)) || offset + total_len > 0xffff {
        return Err(ParseError::Ipv4BadFragment);
    }
    Ok(())
}

/// Options are walked only to refuse source routes (RFC 7126 sections 4.3 and 4.4) and lengths that run over.
#[cold]
fn check_options(options: &[u8]) -> Result<(), ParseError> {
    let mut at = 0;
    while let Some(kind) = options.get(at) {
        match kind {
            0 => break,
            1 => at += 1,
            131 | 137 => return Err(ParseError::Ipv4SourceRoute),
            _ => {
                let len = options.get(at + 1).copied().unwrap_or(0);
                if len < 2 || at + usize::from(len) > options.len() {
                    return Err(ParseError::Ipv4BadOption {
                        pointer: (HEADER_LEN + at) as u8,
                    });
                }
                at += usize::from(len);
            }
        }
    }
    Ok(())
}

/// What goes into a header without options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// The payload's protocol.
    pub protocol: Protocol,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// Identification; of meaning only if the packet may be fragmented (RFC 6864).
    pub id: u16,
    /// Whether routers must not fragment.
    pub dont_fragment: bool,
    /// Whether more fragments follow.
    pub more_fragments: bool,
    /// Where the payload belongs in the unfragmented one, in bytes, a multiple of 8.
    pub fragment_offset: u16,
    /// Bytes that follow the header, at most 65,515.
    pub payload_len: usize,
}

impl Header {
    /// The header of an unfragmented packet that must stay so, with a time to live of 64.
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, payload_len: usize) -> Self {
        Self {
            src,
            dst,
            protocol,
            ttl: 64,
            traffic_class: 0,
            id: 0,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            payload_len,
        }
    }

    /// Writes the header, its checksum included, into the first [`HEADER_LEN`] bytes of `packet`; does nothing if it
    /// is shorter.
    #[inline]
    pub fn write(&self, packet: &mut [u8]) {
        self.write_without_checksum(packet);
        if let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() {
            let sum = checksum::data(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }

    /// As [`write`](Self::write), with a checksum field of zero for the NIC to fill.
    #[inline]
    pub fn write_without_checksum(&self, packet: &mut [u8]) {
        let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
            return;
        };
        let mut fragment = self.fragment_offset >> 3;
        if self.dont_fragment {
            fragment |= DONT_FRAGMENT;
        }
        if self.more_fragments {
            fragment |= MORE_FRAGMENTS;
        }
        header[0] = 0x45;
        header[1] = self.traffic_class;
        header[2..4].copy_from_slice(&((self.payload_len + HEADER_LEN) as u16).to_be_bytes());
        header[4..6].copy_from_slice(&self.id.to_be_bytes());
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[8] = self.ttl;
        header[9] = self.protocol.into();
        header[10..12].fill(0);
        header[12..16].copy_from_slice(&self.src.octets());
        header[16..20].copy_from_slice(&self.dst.octets());
    }
}
