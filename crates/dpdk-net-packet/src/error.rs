//! Why bytes are not a packet: one cause a variant, so that drops can be counted by cause.

/// Why a frame, or a header in it, is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Shorter than an Ethernet header, or than the VLAN tag that it announces.
    #[error("frame shorter than its Ethernet header")]
    EthernetTruncated,
    /// More than two VLAN tags.
    #[error("frame with more than two VLAN tags")]
    TooManyVlanTags,
    /// ARP: shorter than an Ethernet/IPv4 ARP packet.
    #[error("ARP packet truncated")]
    ArpTruncated,
    /// ARP: hardware or protocol type, or address length, are not those of IPv4 over Ethernet.
    #[error("ARP for something else than IPv4 over Ethernet")]
    ArpUnsupported,
    /// The IP version field contradicts the EtherType.
    #[error("IP version does not match the EtherType")]
    BadIpVersion,
    /// IPv4: fewer bytes than the header, or than its own length says.
    #[error("IPv4 header truncated")]
    Ipv4Truncated,
    /// IPv4: header length below 20 bytes.
    #[error("IPv4 header length below 20 bytes")]
    Ipv4BadHeaderLength,
    /// IPv4: total length below the header's or beyond the frame's end.
    #[error("IPv4 total length below its header or beyond the frame")]
    Ipv4BadTotalLength,
    /// IPv4: wrong header checksum.
    #[error("IPv4 header checksum wrong")]
    Ipv4BadChecksum,
    /// IPv4: a fragment that ends beyond 65,535 bytes, or is empty, or isn't a multiple of 8 bytes with more to come.
    #[error("IPv4 fragment with an impossible offset or length")]
    Ipv4BadFragment,
    /// IPv4: a loopback address, a group or broadcast as source, or the like.
    #[error("IPv4 address that must not appear on a link")]
    Ipv4BadAddress,
    /// IPv4: a source route option (RFC 7126 sections 4.3 and 4.4).
    #[error("IPv4 packet with a source route")]
    Ipv4SourceRoute,
    /// IPv4: an option that runs over the header.
    #[error("IPv4 option at byte {pointer} runs over the header")]
    Ipv4BadOption {
        /// The offending byte, counted from the start of the IPv4 header.
        pointer: u8,
    },
    /// IPv6: fewer bytes than the fixed header.
    #[error("IPv6 header truncated")]
    Ipv6Truncated,
    /// IPv6: payload length beyond the frame's end.
    #[error("IPv6 payload length beyond the frame")]
    Ipv6BadPayloadLength,
    /// IPv6: an extension header that ends beyond the packet, or one in a place where it must not be.
    #[error("IPv6 extension header truncated or misplaced")]
    Ipv6BadExtension,
    /// IPv6: more extension headers, or options in them, than are walked.
    #[error("too many IPv6 extension headers or options")]
    Ipv6TooManyExtensions,
    /// IPv6: an option or routing type that asks for a Parameter Problem (RFC 8200 section 4.2 and 4.4).
    #[error("IPv6 header that asks for a Parameter Problem, code {code} at byte {pointer}")]
    Ipv6ParameterProblem {
        /// ICMPv6 code: 0 erroneous field, 2 unrecognised option.
        code: u8,
        /// The offending byte, counted from the start of the IPv6 header.
        pointer: u16,
        /// Whether the report is due also when the packet went to a group.
        even_multicast: bool,
    },
    /// IPv6: an unrecognised option that asks for a silent drop.
    #[error("IPv6 option that asks to be dropped")]
    Ipv6OptionDrop,
    /// IPv6: a fragment that ends beyond 65,535 bytes, or isn't a multiple of 8 bytes with more to come.
    #[error("IPv6 fragment with an impossible offset or length")]
    Ipv6BadFragment,
    /// IPv6: a loopback address, a group as source, or the like.
    #[error("IPv6 address that must not appear on a link")]
    Ipv6BadAddress,
    /// TCP: fewer bytes than the header, or than its data offset says.
    #[error("TCP header truncated")]
    TcpTruncated,
    /// TCP: data offset below 20 bytes.
    #[error("TCP data offset below 20 bytes")]
    TcpBadHeaderLength,
    /// TCP: wrong checksum.
    #[error("TCP checksum wrong")]
    TcpBadChecksum,
    /// UDP: fewer than 8 bytes.
    #[error("UDP header truncated")]
    UdpTruncated,
    /// UDP: length field below 8 or beyond the IP payload.
    #[error("UDP length below 8 or beyond the IP payload")]
    UdpBadLength,
    /// UDP: wrong checksum.
    #[error("UDP checksum wrong")]
    UdpBadChecksum,
    /// UDP over IPv6 without a checksum (RFC 8200 section 8.1).
    #[error("UDP over IPv6 without a checksum")]
    UdpNoChecksum,
    /// A port of zero where none may be.
    #[error("port zero")]
    PortZero,
    /// ICMP: fewer than 8 bytes, or than the message's type needs.
    #[error("ICMP message truncated")]
    IcmpTruncated,
    /// ICMP: wrong checksum.
    #[error("ICMP checksum wrong")]
    IcmpBadChecksum,
    /// ICMPv6: fewer than 4 bytes, or than the message's type needs.
    #[error("ICMPv6 message truncated")]
    Icmpv6Truncated,
    /// ICMPv6: wrong checksum.
    #[error("ICMPv6 checksum wrong")]
    Icmpv6BadChecksum,
    /// Neighbour discovery: an option of length zero or beyond the message.
    #[error("neighbour discovery option with a bad length")]
    NdpBadOption,
}
