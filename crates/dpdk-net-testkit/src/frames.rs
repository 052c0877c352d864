//! Frames made by hand, field by field, valid unless made otherwise: for tests that play a peer themselves or send what no proper
//! peer would.
//!
//! Lengths and checksums are filled in. To break one, change the bytes of the finished frame; to change something else and stay
//! otherwise valid, change it and call [`fix_checksums`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::{MacAddr, Protocol, checksum};

use crate::addr::{self, Family};

/// Length of an Ethernet header, in bytes.
pub const ETHERNET_HEADER: usize = 14;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const ICMPV6: u8 = 58;

/// TCP flag bits, as in the header.
pub mod flags {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 0x10;
    /// ECN-Echo.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
    /// The urgent pointer is significant.
    pub const URG: u8 = 0x20;
}

/// From which station to which, on both layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Source on the link.
    pub src_mac: MacAddr,
    /// Destination on the link.
    pub dst_mac: MacAddr,
    /// Source address.
    pub src: IpAddr,
    /// Destination address; of the same family.
    pub dst: IpAddr,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

/// The fields of a TCP segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number.
    pub ack: u32,
    /// See [`flags`].
    pub flags: u8,
    /// Window field, unscaled.
    pub window: u16,
    /// Option bytes; padded with end-of-options to a multiple of four.
    pub options: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Path {
    /// From host `src` to host `dst` of the address plan.
    pub fn new(family: Family, src: u16, dst: u16) -> Self {
        Self {
            src_mac: addr::mac(src),
            dst_mac: addr::mac(dst),
            src: family.host(src),
            dst: family.host(dst),
            hop_limit: 64,
        }
    }

    /// The way back.
    pub fn reversed(self) -> Self {
        Self {
            src_mac: self.dst_mac,
            dst_mac: self.src_mac,
            src: self.dst,
            dst: self.src,
            ..self
        }
    }

    /// A frame with an IP packet of this protocol. The payload's own checksum is the caller's.
    ///
    /// # Panics
    /// If the addresses are of different families or the payload does not fit an IP packet.
    pub fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.ipv4(src, dst, protocol, payload),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.ipv6(src, dst, protocol, payload),
            (src, dst) => panic!("an IP packet can't go from {src} to {dst}: one family only"),
        }
    }

    fn ipv4(&self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let total =
            u16::try_from(IPV4_HEADER + payload.len()).expect("the payload fits an IPv4 packet");
        let mut frame = ethernet(self.dst_mac, self.src_mac, TYPE_IPV4);
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        // Identification 0, don't fragment.
        frame.extend([0, 0, 0x40, 0, self.hop_limit, protocol, 0, 0]);
        frame.extend(src.octets());
        frame.extend(dst.octets());
        frame.extend(payload);
        fix_ipv4_header(&mut frame);
        frame
    }

    fn ipv6(&self, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(payload.len()).expect("the payload fits an IPv6 packet");
        let mut frame = ethernet(self.dst_mac, self.src_mac, TYPE_IPV6);
        frame.extend([0x60, 0, 0, 0]);
        frame.extend(len.to_be_bytes());
        frame.extend([protocol, self.hop_limit]);
        frame.extend(src.octets());
        frame.extend(dst.octets());
        frame.extend(payload);
        frame
    }

    /// A frame with a TCP segment.
    pub fn tcp(&self, segment: &Segment) -> Vec<u8> {
        self.ip(Protocol::Tcp.into(), &self.tcp_bytes(segment))
    }

    /// A TCP segment without the headers below it.
    pub fn tcp_bytes(&self, segment: &Segment) -> Vec<u8> {
        let mut options = segment.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let header = 20 + options.len();
        assert!(
            header <= 60,
            "{} bytes of TCP options don't fit the header's 40",
            options.len()
        );
        let mut bytes = Vec::with_capacity(header + segment.payload.len());
        bytes.extend(segment.src_port.to_be_bytes());
        bytes.extend(segment.dst_port.to_be_bytes());
        bytes.extend(segment.seq.to_be_bytes());
        bytes.extend(segment.ack.to_be_bytes());
        bytes.extend([(header as u8 / 4) << 4, segment.flags]);
        bytes.extend(segment.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&segment.payload);
        checksum::fill_tcp(self.src, self.dst, &mut bytes);
        bytes
    }

    /// A frame with a UDP datagram.
    pub fn udp(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        self.ip(
            Protocol::Udp.into(),
            &self.udp_bytes(src_port, dst_port, payload),
        )
    }

    /// A UDP datagram without the headers below it.
    pub fn udp_bytes(&self, src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
        let len = u16::try_from(8 + payload.len()).expect("the payload fits a UDP datagram");
        let mut bytes = Vec::with_capacity(len.into());
        for field in [src_port, dst_port, len, 0] {
            bytes.extend(field.to_be_bytes());
        }
        bytes.extend(payload);
        checksum::fill_udp(self.src, self.dst, &mut bytes);
        bytes
    }

    /// A frame with an ICMP or ICMPv6 message; `rest` is what follows the checksum.
    pub fn icmp(&self, kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, code, 0, 0];
        bytes.extend(rest);
        match (self.src, self.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                checksum::fill_icmpv6(src, dst, &mut bytes);
                self.ip(ICMPV6, &bytes)
            }
            _ => {
                checksum::fill_icmpv4(&mut bytes);
                self.ip(Protocol::Icmp.into(), &bytes)
            }
        }
    }

    /// An echo request.
    pub fn echo_request(&self, ident: u16, sequence: u16, payload: &[u8]) -> Vec<u8> {
        let kind = if self.dst.is_ipv4() { 8 } else { 128 };
        let mut rest = Vec::new();
        rest.extend(ident.to_be_bytes());
        rest.extend(sequence.to_be_bytes());
        rest.extend(payload);
        self.icmp(kind, 0, &rest)
    }

    /// What asks for the destination's MAC address: a broadcast ARP request, or a neighbour solicitation to its solicited-node group.
    pub fn who_has(&self) -> Vec<u8> {
        match self.dst {
            IpAddr::V4(_) => self.arp(1, MacAddr::BROADCAST, MacAddr::ZERO),
            IpAddr::V6(dst) => {
                let o = dst.octets();
                let group = Ipv6Addr::new(
                    0xff02,
                    0,
                    0,
                    0,
                    0,
                    1,
                    0xff00 | u16::from(o[13]),
                    u16::from_be_bytes([o[14], o[15]]),
                );
                let mut rest = vec![0; 4];
                rest.extend(o);
                rest.extend([1, 1]);
                rest.extend(self.src_mac.0);
                Self {
                    dst_mac: MacAddr::from_ipv6_multicast(group),
                    dst: group.into(),
                    hop_limit: 255,
                    ..*self
                }
                .icmp(135, 0, &rest)
            }
        }
    }

    /// What tells the destination the source's MAC address when it asked: an ARP reply, or a solicited neighbour advertisement.
    pub fn i_have(&self) -> Vec<u8> {
        match self.src {
            IpAddr::V4(_) => self.arp(2, self.dst_mac, self.dst_mac),
            IpAddr::V6(src) => {
                // Solicited, override.
                let mut rest = vec![0x60, 0, 0, 0];
                rest.extend(src.octets());
                rest.extend([2, 1]);
                rest.extend(self.src_mac.0);
                Self {
                    hop_limit: 255,
                    ..*self
                }
                .icmp(136, 0, &rest)
            }
        }
    }

    fn arp(&self, operation: u8, to: MacAddr, target: MacAddr) -> Vec<u8> {
        let (IpAddr::V4(src), IpAddr::V4(dst)) = (self.src, self.dst) else {
            panic!("ARP is for IPv4; {} and {} are not", self.src, self.dst);
        };
        let mut frame = ethernet(to, self.src_mac, TYPE_ARP);
        frame.extend([0, 1, 0x08, 0, 6, 4, 0, operation]);
        frame.extend(self.src_mac.0);
        frame.extend(src.octets());
        frame.extend(target.0);
        frame.extend(dst.octets());
        frame
    }
}

/// An Ethernet header.
pub fn ethernet(dst: MacAddr, src: MacAddr, ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(dst.0);
    frame.extend(src.0);
    frame.extend(ether_type.to_be_bytes());
    frame
}

/// The frame with a VLAN tag behind its addresses (IEEE 802.1Q), outside of those that it has.
///
/// # Panics
/// If the frame is too short for its addresses.
pub fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let (macs, rest) = frame.split_at(2 * 6);
    let [hi, lo] = tci.to_be_bytes();
    [macs, &TYPE_VLAN.to_be_bytes(), &[hi, lo], rest].concat()
}

/// The control information of a frame's outermost VLAN tag.
pub fn tci(frame: &[u8]) -> Option<u16> {
    match frame.get(2 * 6..)? {
        [t0, t1, hi, lo, ..] if u16::from_be_bytes([*t0, *t1]) == TYPE_VLAN => {
            Some(u16::from_be_bytes([*hi, *lo]))
        }
        _ => None,
    }
}

/// Takes the outermost VLAN tag off a frame: its control information, and the frame without it.
pub fn untagged(frame: &[u8]) -> (Option<u16>, Vec<u8>) {
    match tci(frame) {
        Some(tci) => (Some(tci), [&frame[..2 * 6], &frame[2 * 6 + 4..]].concat()),
        None => (None, frame.to_vec()),
    }
}

/// Computes the IPv4 header checksum and the TCP, UDP, ICMP or ICMPv6 checksum again after a change. Goes by the fields that the
/// frame has, so far as they lie within it; what it does not understand stays as it is.
pub fn fix_checksums(frame: &mut [u8]) {
    fix_ipv4_header(frame);
    let Some(&version) = frame.get(ETHERNET_HEADER) else {
        return;
    };
    let (src, dst, protocol, at): (IpAddr, IpAddr, u8, usize) = match version >> 4 {
        4 if frame.len() >= ETHERNET_HEADER + IPV4_HEADER => {
            let ip = &frame[ETHERNET_HEADER..];
            let word = |at: usize| [ip[at], ip[at + 1], ip[at + 2], ip[at + 3]];
            (
                word(12).into(),
                word(16).into(),
                ip[9],
                ETHERNET_HEADER + usize::from(ip[0] & 15) * 4,
            )
        }
        6 if frame.len() >= ETHERNET_HEADER + IPV6_HEADER => {
            let ip = &frame[ETHERNET_HEADER..];
            let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).map(Ipv6Addr::from);
            let (Ok(src), Ok(dst)) = (address(8), address(24)) else {
                return;
            };
            (src.into(), dst.into(), ip[6], ETHERNET_HEADER + IPV6_HEADER)
        }
        _ => return,
    };
    let Some(payload) = frame.get_mut(at..) else {
        return;
    };
    match (protocol, src, dst) {
        (6, ..) => checksum::fill_tcp(src, dst, payload),
        (17, ..) => checksum::fill_udp(src, dst, payload),
        (1, ..) => checksum::fill_icmpv4(payload),
        (ICMPV6, IpAddr::V6(src), IpAddr::V6(dst)) => checksum::fill_icmpv6(src, dst, payload),
        _ => {}
    }
}

fn fix_ipv4_header(frame: &mut [u8]) {
    if frame.len() < ETHERNET_HEADER + IPV4_HEADER || frame[ETHERNET_HEADER] >> 4 != 4 {
        return;
    }
    let header = usize::from(frame[ETHERNET_HEADER] & 15) * 4;
    let Some(ip) = frame.get_mut(ETHERNET_HEADER..ETHERNET_HEADER + header) else {
        return;
    };
    if ip.len() >= IPV4_HEADER {
        ip[10..12].fill(0);
        let sum = checksum::data(ip);
        ip[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{
        ArpPacket, ArpRepr, EthernetFrame, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr,
    };
    use smoltcp::wire::{
        Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, NdiscRepr, TcpPacket, TcpRepr, UdpPacket,
        UdpRepr,
    };

    const ALL: fn() -> ChecksumCapabilities = ChecksumCapabilities::default;

    fn ip_payload(frame: &[u8]) -> Vec<u8> {
        let ethernet = EthernetFrame::new_checked(frame).unwrap();
        match ethernet.payload()[0] >> 4 {
            4 => {
                let ip = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
                Ipv4Repr::parse(&ip, &ALL()).unwrap();
                ip.payload().to_vec()
            }
            _ => {
                let ip = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
                Ipv6Repr::parse(&ip).unwrap();
                ip.payload().to_vec()
            }
        }
    }

    #[test]
    fn every_kind_of_frame_is_valid_to_smoltcp() {
        for family in Family::BOTH {
            let path = Path::new(family, 1, 2);
            let (src, dst) = (path.src.into(), path.dst.into());
            let segment = Segment {
                src_port: 1,
                dst_port: 2,
                seq: 3,
                ack: 4,
                flags: flags::ACK | flags::PSH,
                window: 5,
                options: vec![1, 1, 1],
                payload: b"odd".to_vec(),
            };
            let bytes = ip_payload(&path.tcp(&segment));
            let tcp = TcpRepr::parse(&TcpPacket::new_checked(&bytes).unwrap(), &src, &dst, &ALL())
                .unwrap();
            assert_eq!(
                (tcp.payload, tcp.window_len, tcp.seq_number.0),
                (&b"odd"[..], 5, 3)
            );
            let bytes = ip_payload(&path.udp(7, 8, b"hello"));
            let udp = UdpRepr::parse(&UdpPacket::new_checked(&bytes).unwrap(), &src, &dst, &ALL())
                .unwrap();
            assert_eq!((udp.src_port, udp.dst_port), (7, 8));
        }
    }

    #[test]
    fn echo_and_neighbour_frames_are_valid_to_smoltcp() {
        let path = Path::new(Family::V4, 1, 2);
        let bytes = ip_payload(&path.echo_request(1, 2, b"ping"));
        let echo = Icmpv4Repr::parse(&Icmpv4Packet::new_checked(&bytes).unwrap(), &ALL()).unwrap();
        assert_eq!(
            echo,
            Icmpv4Repr::EchoRequest {
                ident: 1,
                seq_no: 2,
                data: b"ping"
            }
        );
        for frame in [path.who_has(), path.i_have()] {
            ArpRepr::parse(&ArpPacket::new_checked(&frame[14..]).unwrap()).unwrap();
        }
        let path = Path::new(Family::V6, 1, 2);
        let icmp = |frame: &[u8]| {
            let bytes = ip_payload(frame);
            let ip = Ipv6Packet::new_checked(&frame[14..]).unwrap();
            let (src, dst) = (ip.src_addr(), ip.dst_addr());
            let packet = Icmpv6Packet::new_checked(&bytes[..]).unwrap();
            match Icmpv6Repr::parse(&src, &dst, &packet, &ALL()).unwrap() {
                Icmpv6Repr::EchoRequest { ident, .. } => format!("echo {ident}"),
                Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. }) => {
                    format!("solicit {target_addr}")
                }
                Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, .. }) => {
                    format!("advert {target_addr}")
                }
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(icmp(&path.echo_request(9, 2, b"ping")), "echo 9");
        assert_eq!(icmp(&path.who_has()), "solicit fd00:db0d::2");
        assert_eq!(icmp(&path.i_have()), "advert fd00:db0d::1");
    }

    #[test]
    fn checksums_are_made_right_again_after_a_change() {
        for family in Family::BOTH {
            let path = Path::new(family, 1, 2);
            for clean in [
                path.udp(1, 2, b"abc"),
                path.tcp(&Segment::default()),
                path.echo_request(1, 1, b"x"),
            ] {
                let mut frame = clean.clone();
                let last = frame.len() - 1;
                frame[last] ^= 0xff;
                frame[ETHERNET_HEADER + 1] ^= 0x04;
                fix_checksums(&mut frame);
                assert_ne!(frame, clean);
                frame[last] ^= 0xff;
                frame[ETHERNET_HEADER + 1] ^= 0x04;
                fix_checksums(&mut frame);
                assert_eq!(frame, clean);
            }
        }
    }

    #[test]
    fn fixing_what_is_cut_off_anywhere_does_no_harm() {
        for family in Family::BOTH {
            let frame = Path::new(family, 1, 2).udp(1, 2, b"abc");
            for len in 0..frame.len() {
                fix_checksums(&mut frame[..len].to_vec());
            }
        }
    }
}
