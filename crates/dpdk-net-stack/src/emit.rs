//! Writes whole Ethernet frames into a [`FrameQueue`]. What goes where is decided elsewhere.

use core::net::{IpAddr, Ipv6Addr};

use dpdk_net_packet::gso::Checksums;
use dpdk_net_packet::{MacAddr, Protocol, arp, checksum, ethernet, icmp, ipv4, ipv6};

use crate::interfaces::Way;
use crate::tx::{FrameQueue, TxMeta};

/// Between whom a frame goes on the link, and with which tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) src: MacAddr,
    pub(crate) dst: MacAddr,
    /// Tag control information; 0 is no tag.
    pub(crate) tci: u16,
}

impl Ends {
    /// From the same, to `dst`.
    pub(crate) fn to(self, dst: MacAddr) -> Self {
        Ends { dst, ..self }
    }
}

/// What goes into the IP header of a packet to send, and what else decides its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpMeta {
    /// One of our addresses, or unspecified where a protocol wants that. Of the family of `dst`.
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    /// The interface of a link-local address or a group, as in a [`Way`].
    pub(crate) scope: u16,
    pub(crate) protocol: Protocol,
    /// Time to live or hop limit.
    pub(crate) hop_limit: u8,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// Whether a packet larger than the path's MTU is an error rather than fragmented.
    pub(crate) dont_fragment: bool,
    /// Whether what routers have told of the path's MTU does not count: that of the interface is then the path's.
    pub(crate) probes_path: bool,
    /// Of a UDP datagram: which checksums are made where the sink can make them; the transport's field is zero meanwhile. Of
    /// others `None`: theirs are there.
    pub(crate) udp: Option<Checksums>,
}

impl IpMeta {
    /// A hop limit of 64, no traffic class, to be fragmented if need be; of the port itself where that matters.
    pub(crate) fn new(src: IpAddr, dst: IpAddr, protocol: Protocol) -> Self {
        Self {
            src,
            dst,
            scope: 0,
            protocol,
            hop_limit: 64,
            traffic_class: 0,
            dont_fragment: false,
            probes_path: false,
            udp: None,
        }
    }

    /// What decides its way.
    #[inline]
    pub(crate) fn way(&self) -> Way {
        Way {
            src: self.src,
            dst: self.dst,
            scope: self.scope,
        }
    }

    /// Bytes of the IP header without options or extension headers.
    pub(crate) fn ip_header_len(&self) -> usize {
        match self.dst {
            IpAddr::V4(_) => ipv4::HEADER_LEN,
            IpAddr::V6(_) => ipv6::HEADER_LEN,
        }
    }
}

/// Writes Ethernet and IP header of an unfragmented packet in front of a payload of `len` bytes, and returns where the
/// payload starts. `frame` has exactly the room for all three.
pub(crate) fn write_headers(
    frame: &mut [u8],
    (src, dst): (MacAddr, MacAddr),
    meta: &IpMeta,
    id: u16,
    len: usize,
) -> usize {
    match (meta.src, meta.dst) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            ethernet::write_header(frame, dst, src, ethernet::TYPE_IPV4);
            let header = ipv4::Header {
                ttl: meta.hop_limit,
                traffic_class: meta.traffic_class,
                id,
                dont_fragment: meta.dont_fragment,
                ..ipv4::Header::new(from, to, meta.protocol, len)
            };
            header.write(&mut frame[ethernet::HEADER_LEN..]);
            ethernet::HEADER_LEN + ipv4::HEADER_LEN
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            ethernet::write_header(frame, dst, src, ethernet::TYPE_IPV6);
            let header = ipv6::Header {
                hop_limit: meta.hop_limit,
                traffic_class: meta.traffic_class,
                ..ipv6::Header::new(from, to, meta.protocol, len)
            };
            header.write(&mut frame[ethernet::HEADER_LEN..]);
            ethernet::HEADER_LEN + ipv6::HEADER_LEN
        }
        // Families never mix: whoever makes a meta takes the source of the destination's family.
        _ => frame.len(),
    }
}

/// Queues an unfragmented IP packet whose payload of `len` bytes `fill` writes. `false` if the queue is full.
pub(crate) fn push_ip(
    queue: &mut FrameQueue,
    ends: Ends,
    meta: &IpMeta,
    id: u16,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> bool {
    let total = ethernet::HEADER_LEN + meta.ip_header_len() + len;
    queue
        .push_with(total, TxMeta::tagged(ends.tci), |frame| {
            let at = write_headers(frame, (ends.src, ends.dst), meta, id, len);
            fill(&mut frame[at..]);
        })
        .is_some()
}

/// Queues an ARP packet. `false` if the queue is full.
pub(crate) fn push_arp(queue: &mut FrameQueue, ends: Ends, packet: &arp::Packet) -> bool {
    queue
        .push_with(
            ethernet::HEADER_LEN + arp::LEN,
            TxMeta::tagged(ends.tci),
            |frame| {
                ethernet::write_header(frame, ends.dst, ends.src, ethernet::TYPE_ARP);
                frame[ethernet::HEADER_LEN..].copy_from_slice(&packet.to_bytes());
            },
        )
        .is_some()
}

/// Queues an ICMPv6 message of at most 64 bytes that `write` writes without a checksum, returning its length, with the
/// hop limit of 255 that neighbour discovery demands. `false` if the queue is full.
pub(crate) fn push_ndp(
    queue: &mut FrameQueue,
    ends: Ends,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    write: impl FnOnce(&mut [u8]) -> usize,
) -> bool {
    let mut message = [0; 64];
    let len = write(&mut message).min(message.len());
    let message = &mut message[..len];
    if message.len() < icmp::HEADER_LEN {
        return false;
    }
    checksum::fill_icmpv6(src, dst, message);
    let meta = IpMeta {
        hop_limit: 255,
        ..IpMeta::new(src.into(), dst.into(), Protocol::Icmpv6)
    };
    push_ip(queue, ends, &meta, 0, len, |payload| {
        payload.copy_from_slice(message)
    })
}
