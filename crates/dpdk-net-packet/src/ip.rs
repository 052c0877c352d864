//! An IP packet of either family, checked. Reading the headers lives in [`ipv4`] and [`ipv6`].

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{ParseError, Protocol, Transport, icmp, ipv4, ipv6, tcp, udp};

/// A checked IP packet: lengths are consistent, extension headers have been walked, link padding is cut off.
///
/// It holds the bytes and where things are in them, 32 bytes in all; fields are read when asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    /// At least the fixed header of the family.
    pub(crate) bytes: &'a [u8],
    pub(crate) payload_at: u16,
    pub(crate) protocol_at: u16,
    /// Where the word with the fragment offset lies; 0 if it is no fragment.
    pub(crate) fragment_at: u16,
    /// IPv6: where the byte lies that announces the fragment header.
    pub(crate) link_at: u16,
    pub(crate) protocol: u8,
    pub(crate) is_v6: bool,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The identification all fragments of a packet share (IPv4: 16 bits).
    pub id: u32,
    /// Where its payload goes in the whole, in bytes.
    pub offset: u16,
    /// Whether it isn't the last one.
    pub more: bool,
    /// IPv6: where the fragment header lies in the packet; 0 for IPv4.
    pub header_at: u16,
    /// IPv6: where the byte lies that announces the fragment header.
    pub link_at: u16,
}

impl<'a> IpPacket<'a> {
    /// Reads a packet of either family, as its version field says. An IPv4 header checksum is verified.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        match bytes.first().map(|b| b >> 4) {
            Some(4) => ipv4::parse(bytes, true),
            Some(6) => ipv6::parse(bytes),
            Some(_) => Err(ParseError::BadIpVersion),
            None => Err(ParseError::Ipv4Truncated),
        }
    }

    /// The packet from the first byte of its IP header to its last one.
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The IP header, extension headers included.
    pub fn header(&self) -> &'a [u8] {
        &self.bytes[..usize::from(self.payload_at)]
    }

    /// The length of [`header`](Self::header) in bytes.
    #[inline]
    pub const fn header_len(&self) -> usize {
        self.payload_at as usize
    }

    /// What follows the headers: the transport header and its data, or a piece of them in a fragment.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[usize::from(self.payload_at)..]
    }

    /// The payload's protocol. Of an IPv6 fragment: what the fragment header says, which may be another extension
    /// header.
    pub fn protocol(&self) -> Protocol {
        Protocol::from(self.protocol)
    }

    /// Where the byte lies that names the protocol, for Parameter Problem.
    pub fn protocol_at(&self) -> u32 {
        u32::from(self.protocol_at)
    }

    /// Who sent it.
    #[inline]
    pub fn src(&self) -> IpAddr {
        self.address(12, 8)
    }

    /// Whom it is for.
    #[inline]
    pub fn dst(&self) -> IpAddr {
        self.address(16, 24)
    }

    #[inline]
    fn address(&self, at_v4: usize, at_v6: usize) -> IpAddr {
        if self.is_v6 {
            match self.bytes.get(at_v6..).and_then(|b| b.first_chunk::<16>()) {
                Some(octets) => IpAddr::V6(Ipv6Addr::from(*octets)),
                None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            }
        } else {
            match self.bytes.get(at_v4..).and_then(|b| b.first_chunk::<4>()) {
                Some(octets) => IpAddr::V4(Ipv4Addr::from(*octets)),
                None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            }
        }
    }

    /// Time to live or hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.bytes[if self.is_v6 { 7 } else { 8 }]
    }

    /// DSCP and ECN.
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        if self.is_v6 {
            self.bytes[0] << 4 | self.bytes[1] >> 4
        } else {
            self.bytes[1]
        }
    }

    /// The two ECN bits (RFC 3168).
    pub fn ecn(&self) -> u8 {
        self.traffic_class() & 3
    }

    /// Where it belongs, if it is a fragment. IPv6's atomic fragments are none.
    pub fn fragment(&self) -> Option<Fragment> {
        if self.fragment_at == 0 {
            return None;
        }
        let at = usize::from(self.fragment_at);
        let word = u16::from_be_bytes([self.bytes[at], self.bytes[at + 1]]);
        Some(if self.is_v6 {
            let id = &self.bytes[at + 2..at + 6];
            Fragment {
                id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]),
                offset: word & !7,
                more: word & 1 != 0,
                header_at: self.fragment_at - 2,
                link_at: self.link_at,
            }
        } else {
            Fragment {
                id: u32::from(u16::from_be_bytes([self.bytes[4], self.bytes[5]])),
                offset: word << 3,
                more: word & ipv4::MORE_FRAGMENTS != 0,
                header_at: 0,
                link_at: 9,
            }
        })
    }

    /// Whether there is a fragment header of IPv6, also where it stands for no real fragment (RFC 6946).
    #[cold]
    pub fn has_fragment_header(&self) -> bool {
        let (mut next, mut at) = (self.bytes.get(6), ipv6::HEADER_LEN);
        while self.is_v6 && at < usize::from(self.payload_at) {
            if next == Some(&ipv6::NEXT_FRAGMENT) {
                return true;
            }
            // Its lengths were checked when the packet was read.
            let units = self.bytes.get(at + 1).copied().unwrap_or(0);
            next = self.bytes.get(at);
            at += (usize::from(units) + 1) * 8;
        }
        false
    }

    /// Whether it is IPv6.
    pub const fn is_v6(&self) -> bool {
        self.is_v6
    }

    /// Reads the transport header. Checksums aren't looked at: see [`Transport::verify`].
    pub fn transport(&self) -> Result<Transport<'a>, ParseError> {
        if self.fragment_at != 0 {
            return Ok(Transport::Fragment);
        }
        let payload = self.payload();
        match (self.protocol, self.is_v6) {
            (6, _) => tcp::Segment::parse(payload).map(Transport::Tcp),
            (17, _) => udp::Datagram::parse(payload).map(Transport::Udp),
            (1, false) => icmp::Message::parse(payload)
                .map(Transport::Icmp)
                .ok_or(ParseError::IcmpTruncated),
            (58, true) => icmp::Message::parse(payload)
                .map(Transport::Icmpv6)
                .ok_or(ParseError::Icmpv6Truncated),
            (protocol, _) => Ok(Transport::Other(Protocol::from(protocol))),
        }
    }
}
