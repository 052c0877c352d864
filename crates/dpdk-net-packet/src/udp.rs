//! The UDP header (RFC 768).

use crate::ParseError;

/// The length of a header.
pub const HEADER_LEN: usize = 8;

/// A checked datagram: its length field fits the IP payload, and what lies beyond it is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the datagram at the start of an IP payload.
    #[inline(always)]
    pub fn parse(payload: &'a [u8]) -> Result<Self, ParseError> {
        let Some(header) = payload.first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::UdpTruncated);
        };
        let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
        if len < HEADER_LEN {
            return Err(ParseError::UdpBadLength);
        }
        let Some(bytes) = payload.get(..len) else {
            return Err(ParseError::UdpBadLength);
        };
        // A source port of zero only means that no reply is wanted.
        if header[2] == 0 && header[3] == 0 {
            return Err(ParseError::PortZero);
        }
        Ok(Self { header, bytes })
    }

    /// Source port; 0 if no reply is wanted.
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port.
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// The checksum field; 0 means that the sender made none.
    pub const fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[6], self.header[7]])
    }

    /// The data.
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// Header and data.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Writes a header with a checksum of zero into the first 8 bytes of `buf`; does nothing if it is shorter.
/// `payload_len` is at most 65,527.
#[inline]
pub fn write_header(buf: &mut [u8], src_port: u16, dst_port: u16, payload_len: usize) {
    if let Some(header) = buf.first_chunk_mut::<HEADER_LEN>() {
        header[..2].copy_from_slice(&src_port.to_be_bytes());
        header[2..4].copy_from_slice(&dst_port.to_be_bytes());
        header[4..6].copy_from_slice(&((payload_len + HEADER_LEN) as u16).to_be_bytes());
        header[6..8].fill(0);
    }
}
