//! TCP segments as the tests see them: made by hand, and read off the wire.

use std::net::IpAddr;

use dpdk_net_packet::tcp::{Flags, Segment, TcpOption};
use dpdk_net_packet::{Network, Protocol, Transport, checksum, ethernet, ipv4, ipv6, parse};

use super::{Family, mac};

/// A TCP segment made by hand or read off the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seg {
    pub from: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_ok: bool,
    /// Value and echo.
    pub timestamps: Option<(u32, u32)>,
    pub sack: Vec<(u32, u32)>,
    /// Options byte by byte, behind the others; only of those made by hand.
    pub options: Vec<u8>,
    pub urgent: u16,
    /// The ECN field of the IP header.
    pub ecn: u8,
    pub payload: Vec<u8>,
}

pub const SYN: u8 = Flags::SYN.0;
pub const ACK: u8 = Flags::ACK.0;
pub const RST: u8 = Flags::RST.0;
pub const FIN: u8 = Flags::FIN.0;
pub const PSH: u8 = Flags::PSH.0;
pub const URG: u8 = Flags::URG.0;
pub const ECE: u8 = Flags::ECE.0;
pub const CWR: u8 = Flags::CWR.0;

/// The frame of a segment from one test host to another.
pub fn frame(family: Family, from_host: u16, to_host: u16, seg: &Seg) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    if let Some(mss) = seg.mss {
        tcp.extend([2, 4]);
        tcp.extend(mss.to_be_bytes());
    }
    if let Some(shift) = seg.wscale {
        tcp.extend([1, 3, 3, shift]);
    }
    if seg.sack_ok {
        tcp.extend([1, 1, 4, 2]);
    }
    if let Some((value, echo)) = seg.timestamps {
        tcp.extend([1, 1, 8, 10]);
        tcp.extend(value.to_be_bytes());
        tcp.extend(echo.to_be_bytes());
    }
    if !seg.sack.is_empty() {
        tcp.extend([1, 1, 5, 2 + 8 * seg.sack.len() as u8]);
        for (start, end) in &seg.sack {
            tcp.extend(start.to_be_bytes());
            tcp.extend(end.to_be_bytes());
        }
    }
    tcp.extend(&seg.options);
    tcp.resize(tcp.len().next_multiple_of(4), 0);
    tcp[0..2].copy_from_slice(&seg.from.to_be_bytes());
    tcp[2..4].copy_from_slice(&seg.to.to_be_bytes());
    tcp[4..8].copy_from_slice(&seg.seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&seg.ack.to_be_bytes());
    tcp[12] = ((tcp.len() / 4) << 4) as u8;
    tcp[13] = seg.flags;
    tcp[14..16].copy_from_slice(&seg.window.to_be_bytes());
    tcp[18..20].copy_from_slice(&seg.urgent.to_be_bytes());
    tcp.extend_from_slice(&seg.payload);
    let (src, dst) = (family.host(from_host), family.host(to_host));
    checksum::fill_tcp(src, dst, &mut tcp);
    let (ether_type, header) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = vec![0; ipv4::HEADER_LEN];
            let ip = ipv4::Header {
                traffic_class: seg.ecn,
                ..ipv4::Header::new(src, dst, Protocol::Tcp, tcp.len())
            };
            ip.write(&mut header);
            (ethernet::TYPE_IPV4, header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = vec![0; ipv6::HEADER_LEN];
            let ip = ipv6::Header {
                traffic_class: seg.ecn,
                ..ipv6::Header::new(src, dst, Protocol::Tcp, tcp.len())
            };
            ip.write(&mut header);
            (ethernet::TYPE_IPV6, header)
        }
        _ => unreachable!("one family"),
    };
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut frame, mac(to_host), mac(from_host), ether_type);
    frame.extend(header);
    frame.extend(tcp);
    frame
}

/// The segment in a frame, its checksum verified.
pub fn read(frame: &[u8]) -> Option<Seg> {
    let parsed = parse(frame).expect("the stack sends only what can be parsed");
    let Network::Ip(ip, Transport::Tcp(tcp)) = parsed.network else {
        return None;
    };
    assert!(
        checksum::verify(ip.src(), ip.dst(), Protocol::Tcp, tcp.bytes()),
        "checksum of {tcp:?}"
    );
    let mut seg = seg_of(&tcp);
    seg.ecn = ip.ecn();
    for option in tcp.options() {
        match option {
            TcpOption::MaxSegmentSize(mss) => seg.mss = Some(mss),
            TcpOption::WindowScale(shift) => seg.wscale = Some(shift),
            TcpOption::SackPermitted => seg.sack_ok = true,
            TcpOption::Timestamps { value, echo } => seg.timestamps = Some((value, echo)),
            TcpOption::Sack(bytes) => {
                let word = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
                let blocks = bytes.chunks_exact(8);
                seg.sack = blocks
                    .map(|block| (word(&block[..4]), word(&block[4..])))
                    .collect();
            }
            _ => {}
        }
    }
    Some(seg)
}

fn seg_of(tcp: &Segment<'_>) -> Seg {
    Seg {
        from: tcp.src_port(),
        to: tcp.dst_port(),
        seq: tcp.seq(),
        ack: tcp.ack(),
        flags: tcp.flags().0,
        window: tcp.window(),
        urgent: tcp.urgent(),
        payload: tcp.payload().to_vec(),
        ..Seg::default()
    }
}
