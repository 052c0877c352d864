//! Whether a frame matches a pattern, header by header.
//!
//! As NICs do: tags that the pattern does not name are passed over, a fragment has no transport header, and a header
//! that is cut off is none. It shares no code with the parsers of the stack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::flow::{EthernetItem, Ipv4Item, Ipv6Item, Item, TcpItem, UdpItem, VlanItem};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TAGS: [u16; 2] = [0x8100, 0x88a8];

const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// What the next header is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Link,
    Network(u16),
    Transport(u8),
    Nothing,
}

struct Cursor<'a> {
    rest: &'a [u8],
    next: Next,
}

/// Whether the frame has these headers, and in them what they have to be.
pub(super) fn matches(items: &[Item], frame: &[u8]) -> bool {
    let mut cursor = Cursor {
        rest: frame,
        next: Next::Link,
    };
    items.iter().all(|item| cursor.item(item).unwrap_or(false))
}

/// Source, destination, and of a whole TCP segment or UDP datagram the protocol and the ports.
pub(super) type FlowKey = (IpAddr, IpAddr, Option<(u8, u16, u16)>);

/// What a NIC hashes of a frame; none where it is no IP.
pub(super) fn flow_key(frame: &[u8]) -> Option<FlowKey> {
    let mut cursor = Cursor {
        rest: frame,
        next: Next::Link,
    };
    cursor.item(&Item::Ethernet(EthernetItem::default()))?;
    while let Next::Network(tag) = cursor.next
        && TAGS.contains(&tag)
    {
        cursor.item(&Item::Vlan(VlanItem::default()))?;
    }
    let header = cursor.rest;
    let (src, dst) = if cursor.next == Next::Network(IPV4) {
        cursor.item(&Item::Ipv4(Ipv4Item::default()))?;
        (ipv4(header, 12)?.into(), ipv4(header, 16)?.into())
    } else {
        cursor.item(&Item::Ipv6(Ipv6Item::default()))?;
        (ipv6(header, 8)?.into(), ipv6(header, 24)?.into())
    };
    let ports = match cursor.next {
        Next::Transport(protocol @ (TCP | UDP)) => {
            Some((protocol, be16(cursor.rest, 0)?, be16(cursor.rest, 2)?))
        }
        _ => None,
    };
    Some((src, dst, ports))
}

fn ipv4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some((*bytes.get(at..)?.first_chunk::<4>()?).into())
}

fn ipv6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some((*bytes.get(at..)?.first_chunk::<16>()?).into())
}

impl<'a> Cursor<'a> {
    /// The next bytes; none where there are not so many.
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    /// Whether the next header is as it has to be; none where it is not there.
    fn item(&mut self, item: &Item) -> Option<bool> {
        match (item, self.next) {
            (Item::Ethernet(item), Next::Link) => {
                let header = self.take(14)?;
                let ether_type = be16(header, 12)?;
                self.next = Next::Network(ether_type);
                Some(
                    item.dst.matches(MacAddr::from_slice(&header[..6])?)
                        && item.src.matches(MacAddr::from_slice(&header[6..12])?)
                        && item.ether_type.matches(ether_type),
                )
            }
            (Item::Vlan(item), Next::Network(tag)) if TAGS.contains(&tag) => {
                let header = self.take(4)?;
                let (control, ether_type) = (be16(header, 0)?, be16(header, 2)?);
                self.next = Next::Network(ether_type);
                Some(
                    item.id.matches(control & 0x0fff)
                        && item
                            .priority
                            .is_none_or(|priority| u16::from(priority) == control >> 13)
                        && item.ether_type.matches(ether_type),
                )
            }
            (Item::Ipv4(_) | Item::Ipv6(_), Next::Network(tag)) if TAGS.contains(&tag) => {
                self.next = Next::Network(be16(self.take(4)?, 2)?);
                self.item(item)
            }
            (Item::Ipv4(item), Next::Network(IPV4)) => {
                let header = self.take(20)?;
                self.take((usize::from(header[0] & 0xf) * 4).checked_sub(20)?)?;
                let fragment = be16(header, 6)? & 0x3fff != 0;
                self.next = match fragment {
                    true => Next::Nothing,
                    false => Next::Transport(header[9]),
                };
                Some(
                    item.src.matches(ipv4(header, 12)?)
                        && item.dst.matches(ipv4(header, 16)?)
                        && item.protocol.matches(header[9])
                        && item.tos.matches(header[1])
                        && item.ttl.matches(header[8])
                        && item.fragment.is_none_or(|wanted| wanted == fragment),
                )
            }
            (Item::Ipv6(item), Next::Network(IPV6)) => {
                let header = self.take(40)?;
                let fragment = self.extensions(header[6]);
                Some(
                    item.src.matches(ipv6(header, 8)?)
                        && item.dst.matches(ipv6(header, 24)?)
                        && item.next_header.matches(header[6])
                        && item.hop_limit.matches(header[7])
                        && item.fragment.is_none_or(|wanted| wanted == fragment),
                )
            }
            (
                Item::Tcp(TcpItem {
                    src_port,
                    dst_port,
                    flags,
                }),
                Next::Transport(TCP),
            ) => {
                let header = self.take(20)?;
                self.next = Next::Nothing;
                Some(
                    src_port.matches(be16(header, 0)?)
                        && dst_port.matches(be16(header, 2)?)
                        && flags.matches(header[13]),
                )
            }
            (Item::Udp(UdpItem { src_port, dst_port }), Next::Transport(UDP)) => {
                let header = self.take(8)?;
                self.next = Next::Nothing;
                Some(src_port.matches(be16(header, 0)?) && dst_port.matches(be16(header, 2)?))
            }
            (Item::Icmpv4(item), Next::Transport(ICMP)) => {
                let header = self.take(8)?;
                self.next = Next::Nothing;
                Some(item.kind.matches(header[0]) && item.code.matches(header[1]))
            }
            (Item::Icmpv6(item), Next::Transport(ICMPV6)) => {
                let header = self.take(4)?;
                self.next = Next::Nothing;
                Some(item.kind.matches(header[0]) && item.code.matches(header[1]))
            }
            _ => None,
        }
    }

    /// Passes over IPv6's extension headers and says whether one is a fragment's.
    fn extensions(&mut self, mut header: u8) -> bool {
        let mut fragment = false;
        loop {
            self.next = Next::Transport(header);
            let length = match header {
                // Hop-by-hop options, routing, destination options: units of 8 bytes beyond the first.
                0 | 43 | 60 => self.rest.get(1).map(|length| 8 + 8 * usize::from(*length)),
                44 => Some(8),
                _ => return fragment,
            };
            let Some(bytes) = length.and_then(|length| self.take(length)) else {
                self.next = Next::Nothing;
                return fragment;
            };
            if header == 44 {
                fragment = true;
                // Offset or more fragments: the rest is a piece. An atomic fragment (RFC 6946) is whole.
                if be16(bytes, 2).is_none_or(|field| field & 0xfff9 != 0) {
                    self.next = Next::Nothing;
                    return fragment;
                }
            }
            header = bytes[0];
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk::<2>()?))
}
