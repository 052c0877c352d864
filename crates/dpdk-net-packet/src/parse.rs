//! The one pass over a frame that a demultiplexer needs.

use core::net::{IpAddr, SocketAddr};

use crate::{
    ChecksumVerdict, FiveTuple, IpPacket, MacAddr, ParseError, Protocol, RxMeta, arp, checksum,
    ethernet, icmp, ipv4, ipv6, tcp, udp,
};

/// A frame whose headers have been checked up to the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Destination on the link.
    pub dst_mac: MacAddr,
    /// Source on the link.
    pub src_mac: MacAddr,
    /// The outermost VLAN tag's control information, in the frame or stripped by the NIC.
    pub vlan_tci: Option<u16>,
    /// What the frame carries.
    pub network: Network<'a>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// An ARP packet.
    Arp(arp::Packet),
    /// An IPv4 or IPv6 packet and its transport header.
    Ip(IpPacket<'a>, Transport<'a>),
    /// Another EtherType (or an IEEE 802.3 length).
    Other(u16),
}

/// What an IP packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// A TCP segment.
    Tcp(tcp::Segment<'a>),
    /// A UDP datagram.
    Udp(udp::Datagram<'a>),
    /// An ICMP message over IPv4.
    Icmp(icmp::Message<'a>),
    /// An ICMPv6 message over IPv6.
    Icmpv6(icmp::Message<'a>),
    /// A piece of a packet, to be reassembled first.
    Fragment,
    /// Another protocol, not looked into.
    Other(Protocol),
}

impl Transport<'_> {
    /// Verifies the checksum in software unless `verdict` already says what it is.
    #[inline]
    pub fn verify(&self, ip: &IpPacket<'_>, verdict: ChecksumVerdict) -> Result<(), ParseError> {
        let (protocol, bytes, error) = match self {
            Self::Tcp(segment) => (Protocol::Tcp, segment.bytes(), ParseError::TcpBadChecksum),
            Self::Udp(datagram) => {
                // RFC 768: zero means none, which RFC 8200 section 8.1 forbids over IPv6.
                if datagram.checksum() == 0 {
                    return if ip.is_v6() {
                        Err(ParseError::UdpNoChecksum)
                    } else {
                        Ok(())
                    };
                }
                (Protocol::Udp, datagram.bytes(), ParseError::UdpBadChecksum)
            }
            // NICs don't verify ICMP.
            Self::Icmp(message) => {
                let valid = checksum::Sum::ZERO.add_bytes(message.bytes()).is_valid();
                return if valid {
                    Ok(())
                } else {
                    Err(ParseError::IcmpBadChecksum)
                };
            }
            Self::Icmpv6(message) => {
                let valid = checksum::verify(ip.src(), ip.dst(), Protocol::Icmpv6, message.bytes());
                return if valid {
                    Ok(())
                } else {
                    Err(ParseError::Icmpv6BadChecksum)
                };
            }
            Self::Fragment | Self::Other(_) => return Ok(()),
        };
        match verdict {
            ChecksumVerdict::Good | ChecksumVerdict::None => Ok(()),
            ChecksumVerdict::Bad => Err(error),
            ChecksumVerdict::Unknown if checksum::verify(ip.src(), ip.dst(), protocol, bytes) => {
                Ok(())
            }
            ChecksumVerdict::Unknown => Err(error),
        }
    }
}

impl Parsed<'_> {
    /// The flow, if the frame carries a whole TCP segment or UDP datagram.
    #[inline]
    pub fn five_tuple(&self) -> Option<FiveTuple> {
        let Network::Ip(ip, transport) = &self.network else {
            return None;
        };
        let (protocol, src_port, dst_port) = match transport {
            Transport::Tcp(segment) => (Protocol::Tcp, segment.src_port(), segment.dst_port()),
            Transport::Udp(datagram) => (Protocol::Udp, datagram.src_port(), datagram.dst_port()),
            _ => return None,
        };
        Some(FiveTuple {
            protocol,
            src: SocketAddr::new(ip.src(), src_port),
            dst: SocketAddr::new(ip.dst(), dst_port),
        })
    }

    /// Source and destination address, if it is IP.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match &self.network {
            Network::Ip(ip, _) => Some((ip.src(), ip.dst())),
            _ => None,
        }
    }
}

/// Reads the headers of an Ethernet frame; an IPv4 header checksum is verified, a transport checksum is not (see
/// [`Transport::verify`]).
#[inline]
pub fn parse(frame: &[u8]) -> Result<Parsed<'_>, ParseError> {
    parse_checked(frame, &RxMeta::default())
}

/// As [`parse`], with what the NIC found out: a good IPv4 header checksum isn't verified again, a bad one is an error,
/// and a stripped VLAN tag counts as one.
#[inline]
pub fn parse_checked<'a>(frame: &'a [u8], meta: &RxMeta) -> Result<Parsed<'a>, ParseError> {
    let link = ethernet::Frame::parse_untagged(frame)?;
    if link.is_tagged() {
        return parse_tagged(frame, meta);
    }
    parse_network(link, meta)
}

#[cold]
fn parse_tagged<'a>(frame: &'a [u8], meta: &RxMeta) -> Result<Parsed<'a>, ParseError> {
    parse_network(ethernet::Frame::parse(frame)?, meta)
}

#[inline(always)]
fn parse_network<'a>(link: ethernet::Frame<'a>, meta: &RxMeta) -> Result<Parsed<'a>, ParseError> {
    match link.ether_type {
        ethernet::TYPE_IPV4 => {
            let verdict = meta.ip_checksum;
            if verdict == ChecksumVerdict::Bad {
                return Err(ParseError::Ipv4BadChecksum);
            }
            with_transport(link, meta, ipv4::parse(link.payload, verdict.is_unknown())?)
        }
        ethernet::TYPE_IPV6 => with_transport(link, meta, ipv6::parse(link.payload)?),
        ethernet::TYPE_ARP => Ok(parsed(
            link,
            meta,
            Network::Arp(arp::Packet::parse(link.payload)?),
        )),
        other => Ok(parsed(link, meta, Network::Other(other))),
    }
}

/// Each protocol builds its result by itself, at its place: merged into one, the compiler moves every field through
/// memory.
#[inline(always)]
fn with_transport<'a>(
    link: ethernet::Frame<'a>,
    meta: &RxMeta,
    ip: IpPacket<'a>,
) -> Result<Parsed<'a>, ParseError> {
    let done = |transport| Ok(parsed(link, meta, Network::Ip(ip, transport)));
    if ip.fragment_at != 0 {
        return done(Transport::Fragment);
    }
    match ip.protocol {
        6 => match tcp::Segment::parse(ip.payload()) {
            Ok(segment) => done(Transport::Tcp(segment)),
            Err(error) => Err(error),
        },
        17 => match udp::Datagram::parse(ip.payload()) {
            Ok(datagram) => done(Transport::Udp(datagram)),
            Err(error) => Err(error),
        },
        _ => match ip.transport() {
            Ok(transport) => done(transport),
            Err(error) => Err(error),
        },
    }
}

#[inline(always)]
fn parsed<'a>(link: ethernet::Frame<'a>, meta: &RxMeta, network: Network<'a>) -> Parsed<'a> {
    Parsed {
        dst_mac: link.dst,
        src_mac: link.src,
        vlan_tci: meta.vlan_tci.or(link.vlan_tci),
        network,
    }
}
