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
    let link = ethernet::Frame::parse(frame)?;
    let network = match link.ether_type {
        ethernet::TYPE_IPV4 => {
            let ip = match meta.ip_checksum {
                ChecksumVerdict::Bad => return Err(ParseError::Ipv4BadChecksum),
                verdict => ipv4::parse(link.payload, verdict.is_unknown())?,
            };
            Network::Ip(ip, ip.transport()?)
        }
        ethernet::TYPE_IPV6 => {
            let ip = ipv6::parse(link.payload)?;
            Network::Ip(ip, ip.transport()?)
        }
        ethernet::TYPE_ARP => Network::Arp(arp::Packet::parse(link.payload)?),
        other => Network::Other(other),
    };
    Ok(Parsed {
        dst_mac: link.dst,
        src_mac: link.src,
        vlan_tci: meta.vlan_tci.or(link.vlan_tci),
        network,
    })
}
