//! The IPv6 header and its extension headers (RFC 8200): checked reading with a bounded walk, and writing.

use core::net::Ipv6Addr;

use crate::ip::IpPacket;
use crate::{ParseError, Protocol, icmp, tcp, udp};

/// The length of the fixed header.
pub const HEADER_LEN: usize = 40;
/// The length of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// How many extension headers are walked before a packet is given up on.
pub const MAX_EXTENSIONS: usize = 8;
/// How many options of a packet other than padding are looked at (RFC 8504 section 5.3 suggests 8).
pub const MAX_OPTIONS: usize = 8;

/// Hop-by-hop options header.
pub const NEXT_HOP_BY_HOP: u8 = 0;
/// Routing header.
pub const NEXT_ROUTING: u8 = 43;
/// Fragment header.
pub const NEXT_FRAGMENT: u8 = 44;
/// Destination options header.
pub const NEXT_DESTINATION: u8 = 60;

/// Reads the packet at the start of `bytes`; what follows its payload length is link padding and is cut off.
#[inline(always)]
pub fn parse(bytes: &[u8]) -> Result<IpPacket<'_>, ParseError> {
    let Some(fixed) = bytes.first_chunk::<HEADER_LEN>() else {
        return Err(ParseError::Ipv6Truncated);
    };
    if fixed[0] >> 4 != 6 {
        return Err(ParseError::BadIpVersion);
    }
    let total = HEADER_LEN + usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let Some(packet) = bytes.get(..total) else {
        return Err(ParseError::Ipv6BadPayloadLength);
    };
    // RFC 4291 sections 2.5.2, 2.5.3 and 2.7: a group as source, loopback, or nobody as destination; and IPv4 addresses in
    // IPv6 form, by which programs know their IPv4 peers. All but the first start with zeros.
    if fixed[8] == 0xff || ((fixed[8] == 0 || fixed[24] == 0) && has_bad_address(fixed)) {
        return Err(ParseError::Ipv6BadAddress);
    }
    let found = match fixed[6] {
        first @ (NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_FRAGMENT | NEXT_DESTINATION) => {
            walk(packet, first)?
        }
        protocol => Found {
            protocol,
            protocol_at: 6,
            payload_at: HEADER_LEN as u16,
            fragment_at: 0,
            link_at: 0,
        },
    };
    Ok(IpPacket {
        bytes: packet,
        payload_at: found.payload_at,
        protocol_at: found.protocol_at,
        fragment_at: found.fragment_at,
        link_at: found.link_at,
        protocol: found.protocol,
        is_v6: true,
    })
}

/// What lies behind the extension headers; as in [`IpPacket`].
struct Found {
    protocol: u8,
    protocol_at: u16,
    payload_at: u16,
    fragment_at: u16,
    link_at: u16,
}

#[cold]
fn has_bad_address(fixed: &[u8; HEADER_LEN]) -> bool {
    let address = |at: usize| {
        fixed[at..at + 16]
            .iter()
            .fold(0, |bits, byte| bits << 8 | u128::from(*byte))
    };
    let (src, dst) = (address(8), address(24));
    src == 1 || dst <= 1 || src >> 32 == 0xffff || dst >> 32 == 0xffff
}

/// Walks the extension headers up to the upper-layer header, or to a fragment header that stands for a real fragment.
fn walk(bytes: &[u8], first: u8) -> Result<Found, ParseError> {
    let mut next = first;
    let mut next_at = 6;
    let mut at = HEADER_LEN;
    let mut options_left = MAX_OPTIONS;
    for _ in 0..=MAX_EXTENSIONS {
        let len = match next {
            // RFC 8200 section 4.1: hop-by-hop options come first or count as an unrecognised next header.
            NEXT_HOP_BY_HOP if at != HEADER_LEN => return Err(problem(1, next_at, false)),
            NEXT_HOP_BY_HOP | NEXT_DESTINATION => {
                let len = extension_len(bytes, at)?;
                check_options(bytes, at + 2, at + len, &mut options_left)?;
                len
            }
            NEXT_ROUTING => {
                let len = extension_len(bytes, at)?;
                // RFC 8200 section 4.4: no type is known here (RFC 5095 withdrew type 0), so only one whose segments
                // are used up may pass.
                if bytes[at + 3] != 0 {
                    return Err(problem(0, at + 2, true));
                }
                len
            }
            NEXT_FRAGMENT => {
                let Some(header) = bytes.get(at..at + FRAGMENT_HEADER_LEN) else {
                    return Err(ParseError::Ipv6BadExtension);
                };
                let word = u16::from_be_bytes([header[2], header[3]]);
                let (offset, more) = (word & !7, word & 1 != 0);
                if offset != 0 || more {
                    let payload = at + FRAGMENT_HEADER_LEN;
                    let len = bytes.len() - payload;
                    // RFC 8200 section 4.5: a length that is no multiple of 8 is reported at the payload length, a
                    // reassembled packet that would be too long at the offset.
                    if more && !len.is_multiple_of(8) {
                        return Err(problem(0, 4, false));
                    }
                    if usize::from(offset) + len + (at - HEADER_LEN) > 0xffff {
                        return Err(problem(0, at + 2, false));
                    }
                    if len == 0 {
                        return Err(ParseError::Ipv6BadFragment);
                    }
                    if offset == 0 && !reaches_upper_layer(header[0], &bytes[payload..]) {
                        return Err(problem(3, 0, false));
                    }
                    return Ok(Found {
                        protocol: header[0],
                        protocol_at: at as u16,
                        payload_at: payload as u16,
                        fragment_at: at as u16 + 2,
                        link_at: next_at as u16,
                    });
                }
                // An atomic fragment is a whole packet (RFC 6946).
                FRAGMENT_HEADER_LEN
            }
            protocol => {
                return Ok(Found {
                    protocol,
                    protocol_at: next_at as u16,
                    payload_at: at as u16,
                    fragment_at: 0,
                    link_at: 0,
                });
            }
        };
        next = bytes[at];
        next_at = at;
        at += len;
    }
    Err(ParseError::Ipv6TooManyExtensions)
}

/// Whether a first fragment has all headers up to that of the upper layer, whole: filters may not see what it is otherwise
/// (RFC 8200 section 4.5, RFC 7112 section 5).
#[cold]
fn reaches_upper_layer(mut next: u8, mut rest: &[u8]) -> bool {
    for _ in 0..=MAX_EXTENSIONS {
        let len = match next {
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION => match rest.get(1) {
                Some(units) => (usize::from(*units) + 1) * 8,
                None => return false,
            },
            NEXT_FRAGMENT => FRAGMENT_HEADER_LEN,
            6 => return rest.len() >= tcp::HEADER_LEN,
            17 => return rest.len() >= udp::HEADER_LEN,
            58 => return rest.len() >= icmp::HEADER_LEN,
            _ => return true,
        };
        let (Some(first), Some(behind)) = (rest.first(), rest.get(len..)) else {
            return false;
        };
        (next, rest) = (*first, behind);
    }
    true
}

/// The length of the extension header at `at`, which lies wholly within the packet and has at least 8 bytes.
fn extension_len(bytes: &[u8], at: usize) -> Result<usize, ParseError> {
    let Some(units) = bytes.get(at + 1) else {
        return Err(ParseError::Ipv6BadExtension);
    };
    let len = (usize::from(*units) + 1) * 8;
    if at + len > bytes.len() {
        return Err(ParseError::Ipv6BadExtension);
    }
    Ok(len)
}

/// RFC 8200 section 4.2: what is to become of a packet with options that aren't known is in their type's upper bits.
fn check_options(
    bytes: &[u8],
    mut at: usize,
    end: usize,
    left: &mut usize,
) -> Result<(), ParseError> {
    while at < end {
        let kind = bytes[at];
        if kind == 0 {
            at += 1;
            continue;
        }
        let Some(len) = bytes.get(at + 1).map(|len| usize::from(*len) + 2) else {
            return Err(ParseError::Ipv6BadExtension);
        };
        if at + len > end {
            return Err(ParseError::Ipv6BadExtension);
        }
        // Pad1 and PadN aren't options in this sense; router alert (RFC 2711) means nothing to a host.
        if kind != 1 {
            if *left == 0 {
                return Err(ParseError::Ipv6TooManyExtensions);
            }
            *left -= 1;
            if kind != 5 {
                match kind >> 6 {
                    0 => {}
                    1 => return Err(ParseError::Ipv6OptionDrop),
                    2 => return Err(problem(2, at, true)),
                    _ => return Err(problem(2, at, false)),
                }
            }
        }
        at += len;
    }
    Ok(())
}

const fn problem(code: u8, pointer: usize, even_multicast: bool) -> ParseError {
    ParseError::Ipv6ParameterProblem {
        code,
        pointer: pointer as u16,
        even_multicast,
    }
}

/// What goes into a fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows the fixed header: a protocol or an extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The flow label, 20 bits.
    pub flow_label: u32,
    /// Bytes that follow the fixed header, extension headers included, at most 65,535.
    pub payload_len: usize,
}

impl Header {
    /// A header with a hop limit of 64 and no flow label.
    pub fn new(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, payload_len: usize) -> Self {
        Self {
            src,
            dst,
            next_header: protocol.into(),
            hop_limit: 64,
            traffic_class: 0,
            flow_label: 0,
            payload_len,
        }
    }

    /// Writes the header into the first [`HEADER_LEN`] bytes of `packet`; does nothing if it is shorter.
    #[inline]
    pub fn write(&self, packet: &mut [u8]) {
        let Some(header) = packet.first_chunk_mut::<HEADER_LEN>() else {
            return;
        };
        let word = 6 << 28 | u32::from(self.traffic_class) << 20 | (self.flow_label & 0xf_ffff);
        header[..4].copy_from_slice(&word.to_be_bytes());
        header[4..6].copy_from_slice(&(self.payload_len as u16).to_be_bytes());
        header[6] = self.next_header;
        header[7] = self.hop_limit;
        header[8..24].copy_from_slice(&self.src.octets());
        header[24..40].copy_from_slice(&self.dst.octets());
    }
}

/// Writes a fragment header into the first 8 bytes of `buf`; does nothing if it is shorter. `offset` is in bytes, a
/// multiple of 8.
pub fn write_fragment_header(buf: &mut [u8], next_header: u8, offset: u16, more: bool, id: u32) {
    let Some(header) = buf.first_chunk_mut::<FRAGMENT_HEADER_LEN>() else {
        return;
    };
    header[0] = next_header;
    header[1] = 0;
    header[2..4].copy_from_slice(&(offset & !7 | u16::from(more)).to_be_bytes());
    header[4..8].copy_from_slice(&id.to_be_bytes());
}
