//! ICMP (RFC 792) and ICMPv6 (RFC 4443) messages: the common header and the numbers. Neighbour discovery's bodies live
//! in [`ndp`](crate::ndp); when a message is sent and what a received one means live in the stack.

/// The length of the part that echo and error messages have before their data.
pub const HEADER_LEN: usize = 8;

/// A checked message: at least 8 bytes, which every type this stack knows has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    bytes: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads the message that an IP payload is, or `None` if it is shorter than 8 bytes.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        (bytes.len() >= HEADER_LEN).then_some(Self { bytes })
    }

    /// The type.
    pub fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// The code.
    pub fn code(&self) -> u8 {
        self.bytes[1]
    }

    /// Checksum field.
    pub fn checksum(&self) -> u16 {
        u16::from_be_bytes([self.bytes[2], self.bytes[3]])
    }

    /// The 4 bytes after the checksum: identifier and sequence number, MTU, pointer or flags.
    pub fn word(&self) -> u32 {
        u32::from_be_bytes([self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]])
    }

    /// What follows the first 8 bytes: echo data, or the packet that an error is about.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[HEADER_LEN..]
    }

    /// The whole message.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Writes type, code and the word after the checksum into the first 8 bytes of `buf`, with a checksum of zero; does
/// nothing if it is shorter.
pub fn write_header(buf: &mut [u8], kind: u8, code: u8, word: u32) {
    if let Some(header) = buf.first_chunk_mut::<HEADER_LEN>() {
        header[0] = kind;
        header[1] = code;
        header[2..4].fill(0);
        header[4..8].copy_from_slice(&word.to_be_bytes());
    }
}

/// ICMP for IPv4: types and codes.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// Unreachable: network.
    pub const CODE_NET: u8 = 0;
    /// Unreachable: host.
    pub const CODE_HOST: u8 = 1;
    /// Unreachable: protocol.
    pub const CODE_PROTOCOL: u8 = 2;
    /// Unreachable: port.
    pub const CODE_PORT: u8 = 3;
    /// Unreachable: fragmentation needed and don't-fragment set (RFC 1191).
    pub const CODE_FRAGMENTATION_NEEDED: u8 = 4;
    /// Unreachable: communication administratively prohibited.
    pub const CODE_PROHIBITED: u8 = 13;
    /// Time exceeded: in reassembly.
    pub const CODE_REASSEMBLY: u8 = 1;
}

/// ICMPv6: types and codes.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query (RFC 3810).
    pub const MLD_QUERY: u8 = 130;
    /// Multicast listener report, version 1 (RFC 2710).
    pub const MLD_REPORT_V1: u8 = 131;
    /// Multicast listener done, version 1 (RFC 2710).
    pub const MLD_DONE_V1: u8 = 132;
    /// Router solicitation (RFC 4861).
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement (RFC 4861).
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation (RFC 4861).
    pub const NEIGHBOR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement (RFC 4861).
    pub const NEIGHBOR_ADVERTISEMENT: u8 = 136;
    /// Redirect (RFC 4861).
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2 (RFC 3810).
    pub const MLD_REPORT_V2: u8 = 143;

    /// Unreachable: no route.
    pub const CODE_NO_ROUTE: u8 = 0;
    /// Unreachable: communication administratively prohibited.
    pub const CODE_PROHIBITED: u8 = 1;
    /// Unreachable: address.
    pub const CODE_ADDRESS: u8 = 3;
    /// Unreachable: port.
    pub const CODE_PORT: u8 = 4;
    /// Time exceeded: in reassembly.
    pub const CODE_REASSEMBLY: u8 = 1;
    /// Parameter problem: erroneous field.
    pub const CODE_FIELD: u8 = 0;
    /// Parameter problem: unrecognised next header.
    pub const CODE_NEXT_HEADER: u8 = 1;
    /// Parameter problem: unrecognised option.
    pub const CODE_OPTION: u8 = 2;

    /// Whether a type is an error message (RFC 4443 section 2.1).
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }
}
