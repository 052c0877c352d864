//! An IP packet of either family, checked. Reading the headers lives in [`ipv4`](crate::ipv4) and [`ipv6`](crate::ipv6).

use core::net::IpAddr;

use crate::{ParseError, Protocol, Transport, icmp, ipv4, ipv6, tcp, udp};

/// A checked IP packet: lengths are consistent, extension headers have been walked, link padding is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) payload_at: u32,
    pub(crate) protocol_at: u32,
    pub(crate) protocol: Protocol,
    pub(crate) hop_limit: u8,
    pub(crate) traffic_class: u8,
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) fragment: Option<Fragment>,
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
        &self.bytes[..self.payload_at as usize]
    }

    /// What follows the headers: the transport header and its data, or a piece of them in a fragment.
    #[inline]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.payload_at as usize..]
    }

    /// The payload's protocol. Of an IPv6 fragment: what the fragment header says, which may be another extension
    /// header.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Where the byte lies that names the protocol, for Parameter Problem.
    pub const fn protocol_at(&self) -> u32 {
        self.protocol_at
    }

    /// Who sent it.
    pub const fn src(&self) -> IpAddr {
        self.src
    }

    /// Whom it is for.
    pub const fn dst(&self) -> IpAddr {
        self.dst
    }

    /// Time to live or hop limit.
    pub const fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    /// DSCP and ECN.
    pub const fn traffic_class(&self) -> u8 {
        self.traffic_class
    }

    /// The two ECN bits (RFC 3168).
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// Where it belongs, if it is a fragment. IPv6's atomic fragments are none.
    pub const fn fragment(&self) -> Option<Fragment> {
        self.fragment
    }

    /// Whether it is IPv6.
    pub const fn is_v6(&self) -> bool {
        matches!(self.src, IpAddr::V6(_))
    }

    /// Reads the transport header. Checksums aren't looked at: see [`Transport::verify`].
    #[inline]
    pub fn transport(&self) -> Result<Transport<'a>, ParseError> {
        if self.fragment.is_some() {
            return Ok(Transport::Fragment);
        }
        let payload = self.payload();
        match (self.protocol, self.src) {
            (Protocol::Tcp, _) => tcp::Segment::parse(payload).map(Transport::Tcp),
            (Protocol::Udp, _) => udp::Datagram::parse(payload).map(Transport::Udp),
            (Protocol::Icmp, IpAddr::V4(_)) => icmp::Message::parse(payload)
                .map(Transport::Icmp)
                .ok_or(ParseError::IcmpTruncated),
            (Protocol::Icmpv6, IpAddr::V6(_)) => icmp::Message::parse(payload)
                .map(Transport::Icmpv6)
                .ok_or(ParseError::Icmpv6Truncated),
            (protocol, _) => Ok(Transport::Other(protocol)),
        }
    }
}
