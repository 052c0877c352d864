//! The TCP header and its options (RFC 9293 section 3.1). What a segment means lives in the stack.

use crate::ParseError;

/// The length of a header without options.
pub const HEADER_LEN: usize = 20;

/// The control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether FIN is set.
    pub const fn fin(self) -> bool {
        self.contains(Self::FIN)
    }

    /// Whether SYN is set.
    pub const fn syn(self) -> bool {
        self.contains(Self::SYN)
    }

    /// Whether RST is set.
    pub const fn rst(self) -> bool {
        self.contains(Self::RST)
    }

    /// Whether ACK is set.
    pub const fn ack(self) -> bool {
        self.contains(Self::ACK)
    }
}

impl core::ops::BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A checked segment: the header, options included, lies within the IP payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    header: &'a [u8; HEADER_LEN],
    bytes: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Reads the segment that an IP payload is.
    #[inline(always)]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let Some(header) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::TcpTruncated);
        };
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(ParseError::TcpBadHeaderLength);
        }
        if header_len > bytes.len() {
            return Err(ParseError::TcpTruncated);
        }
        if (header[0] | header[1] == 0) || (header[2] | header[3] == 0) {
            return Err(ParseError::PortZero);
        }
        Ok(Self { header, bytes })
    }

    /// Source port, not 0.
    pub const fn src_port(&self) -> u16 {
        u16::from_be_bytes([self.header[0], self.header[1]])
    }

    /// Destination port, not 0.
    pub const fn dst_port(&self) -> u16 {
        u16::from_be_bytes([self.header[2], self.header[3]])
    }

    /// Sequence number.
    pub const fn seq(&self) -> u32 {
        u32::from_be_bytes([
            self.header[4],
            self.header[5],
            self.header[6],
            self.header[7],
        ])
    }

    /// Acknowledgment number.
    pub const fn ack(&self) -> u32 {
        u32::from_be_bytes([
            self.header[8],
            self.header[9],
            self.header[10],
            self.header[11],
        ])
    }

    /// Control bits.
    pub const fn flags(&self) -> Flags {
        Flags(self.header[13])
    }

    /// Window field, not scaled.
    pub const fn window(&self) -> u16 {
        u16::from_be_bytes([self.header[14], self.header[15]])
    }

    /// Checksum field.
    pub const fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.header[16], self.header[17]])
    }

    /// Urgent pointer.
    pub const fn urgent(&self) -> u16 {
        u16::from_be_bytes([self.header[18], self.header[19]])
    }

    /// Header length in bytes, options included.
    pub const fn header_len(&self) -> usize {
        (self.header[12] >> 4) as usize * 4
    }

    /// The data.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header_len()..]
    }

    /// Header and data.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// How much sequence space the segment takes: data, SYN and FIN.
    pub fn sequence_len(&self) -> u32 {
        self.payload().len() as u32 + u32::from(self.flags().syn()) + u32::from(self.flags().fin())
    }

    /// The options, one after the other. Ends at the first malformed one.
    pub fn options(&self) -> Options<'a> {
        Options {
            rest: &self.bytes[HEADER_LEN..self.header_len()],
        }
    }
}

/// One option of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption<'a> {
    /// Maximum segment size (RFC 9293 section 3.7.1).
    MaxSegmentSize(u16),
    /// Window scale (RFC 7323 section 2).
    WindowScale(u8),
    /// SACK permitted (RFC 2018 section 2).
    SackPermitted,
    /// SACK blocks, 8 bytes each (RFC 2018 section 3).
    Sack(&'a [u8]),
    /// Timestamps (RFC 7323 section 3).
    Timestamps {
        /// The sender's clock.
        value: u32,
        /// The echo of the receiver's.
        echo: u32,
    },
    /// Any other, or a known kind with a length that isn't its own.
    Unknown {
        /// The kind.
        kind: u8,
        /// Its data.
        data: &'a [u8],
    },
}

/// Iterator over the options of a segment; bounded by the 40 bytes that they have.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<TcpOption<'a>> {
        loop {
            match self.rest {
                [] | [0, ..] => {
                    self.rest = &[];
                    return None;
                }
                [1, rest @ ..] => self.rest = rest,
                [kind, len, ..]
                    if usize::from(*len) >= 2 && usize::from(*len) <= self.rest.len() =>
                {
                    let (option, rest) = self.rest.split_at(usize::from(*len));
                    self.rest = rest;
                    let data = &option[2..];
                    return Some(match (*kind, data) {
                        (2, [a, b]) => TcpOption::MaxSegmentSize(u16::from_be_bytes([*a, *b])),
                        (3, [shift]) => TcpOption::WindowScale(*shift),
                        (4, []) => TcpOption::SackPermitted,
                        (5, blocks) if !blocks.is_empty() && blocks.len().is_multiple_of(8) => {
                            TcpOption::Sack(blocks)
                        }
                        (8, [a, b, c, d, e, f, g, h]) => TcpOption::Timestamps {
                            value: u32::from_be_bytes([*a, *b, *c, *d]),
                            echo: u32::from_be_bytes([*e, *f, *g, *h]),
                        },
                        (kind, data) => TcpOption::Unknown { kind, data },
                    });
                }
                _ => {
                    self.rest = &[];
                    return None;
                }
            }
        }
    }
}
