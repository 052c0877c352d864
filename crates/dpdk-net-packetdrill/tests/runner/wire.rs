//! Packets as bytes: what goes to the stack is built here, and what comes from it is read, both with the checksums of a wire.

use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::{Protocol, checksum};

use super::script::Opt;

/// A TCP segment in an IP packet, as it was found on the wire.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ecn: u8,
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub win: u16,
    pub options: Vec<Opt>,
    pub payload: Vec<u8>,
}

fn option_bytes(options: &[Opt]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for option in options {
        match option {
            Opt::Mss(mss) => {
                bytes.extend([2, 4]);
                bytes.extend(mss.to_be_bytes());
            }
            Opt::Nop => bytes.push(1),
            Opt::Eol => bytes.push(0),
            Opt::SackOk => bytes.extend([4, 2]),
            Opt::Wscale(shift) => bytes.extend([3, 3, *shift]),
            Opt::Ts(value, echo) => {
                bytes.extend([8, 10]);
                bytes.extend(value.to_be_bytes());
                bytes.extend(echo.to_be_bytes());
            }
            Opt::Sack(blocks) => {
                bytes.extend([5, 2 + 8 * blocks.len() as u8]);
                for (first, end) in blocks {
                    bytes.extend(first.to_be_bytes());
                    bytes.extend(end.to_be_bytes());
                }
            }
        }
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn read_options(mut bytes: &[u8]) -> Result<Vec<Opt>, String> {
    let mut options = Vec::new();
    let word = |bytes: &[u8]| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    while let Some(&kind) = bytes.first() {
        if kind < 2 {
            options.push(if kind == 0 { Opt::Eol } else { Opt::Nop });
            bytes = &bytes[1..];
            continue;
        }
        let len = usize::from(*bytes.get(1).ok_or("an option is cut off")?);
        let body = bytes.get(2..len).ok_or("an option is cut off")?;
        options.push(match (kind, len) {
            (2, 4) => Opt::Mss(u16::from_be_bytes([body[0], body[1]])),
            (3, 3) => Opt::Wscale(body[0]),
            (4, 2) => Opt::SackOk,
            (5, _) => Opt::Sack(
                body.chunks_exact(8)
                    .map(|block| (word(block), word(&block[4..])))
                    .collect(),
            ),
            (8, 10) => Opt::Ts(word(body), word(&body[4..])),
            _ => return Err(format!("option {kind} of length {len}")),
        });
        bytes = &bytes[len..];
    }
    Ok(options)
}

/// Puts an IP header in front.
fn ip_packet(from: IpAddr, to: IpAddr, protocol: u8, ecn: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, ecn]);
            packet.extend((20 + payload.len() as u16).to_be_bytes());
            packet.extend([0, 0, 0x40, 0, 255, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = checksum::data(&packet);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, ecn << 4, 0, 0]);
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 255]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => panic!("two families in one packet"),
    }
    packet.extend(payload);
    packet
}

impl Segment {
    /// The IP packet.
    pub fn build(&self) -> Vec<u8> {
        let mut tcp = self.header();
        tcp.extend(&self.payload);
        checksum::fill_tcp(self.from.ip(), self.to.ip(), &mut tcp);
        ip_packet(self.from.ip(), self.to.ip(), 6, self.ecn, &tcp)
    }

    fn header(&self) -> Vec<u8> {
        let options = option_bytes(&self.options);
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([((20 + options.len() as u8) / 4) << 4, self.flags]);
        tcp.extend(self.win.to_be_bytes());
        tcp.extend([0; 4]);
        tcp.extend(options);
        tcp
    }

    /// An ICMP error of a router about this segment.
    pub fn icmp_error(&self, kind: u8, code: u8, mtu: u32) -> Vec<u8> {
        let (from, to) = (self.from.ip(), self.to.ip());
        let quoted = ip_packet(from, to, 6, 0, &self.header());
        let mut icmp = vec![kind, code, 0, 0];
        icmp.extend(mtu.to_be_bytes());
        icmp.extend(&quoted);
        match (to, from) {
            (IpAddr::V4(_), _) => {
                checksum::fill_icmpv4(&mut icmp);
                ip_packet(to, from, 1, 0, &icmp)
            }
            (IpAddr::V6(router), IpAddr::V6(host)) => {
                checksum::fill_icmpv6(router, host, &mut icmp);
                ip_packet(to, from, 58, 0, &icmp)
            }
            _ => panic!("two families in one packet"),
        }
    }

    /// Reads an IP packet with a TCP segment in it; checksums must hold.
    pub fn read(packet: &[u8]) -> Result<Segment, String> {
        let short = "the packet is cut off";
        let byte = |at: usize| packet.get(at).copied().ok_or(short);
        let (from, to, ecn, protocol, start, end): (IpAddr, IpAddr, u8, u8, usize, usize) =
            match byte(0)? >> 4 {
                4 => {
                    let header = usize::from(byte(0)? & 15) * 4;
                    let head = packet.get(..header).ok_or(short)?;
                    if checksum::data(head) != 0 {
                        return Err("the IPv4 header checksum is wrong".into());
                    }
                    let address = |at: usize| -> [u8; 4] {
                        [head[at], head[at + 1], head[at + 2], head[at + 3]]
                    };
                    let total = usize::from(u16::from_be_bytes([head[2], head[3]]));
                    (
                        address(12).into(),
                        address(16).into(),
                        head[1] & 3,
                        head[9],
                        header,
                        total,
                    )
                }
                6 => {
                    let head = packet.get(..40).ok_or(short)?;
                    let address =
                        |at: usize| -> [u8; 16] { core::array::from_fn(|index| head[at + index]) };
                    let payload = usize::from(u16::from_be_bytes([head[4], head[5]]));
                    (
                        address(8).into(),
                        address(24).into(),
                        head[1] >> 4 & 3,
                        head[6],
                        40,
                        40 + payload,
                    )
                }
                _ => return Err("neither IPv4 nor IPv6".into()),
            };
        if protocol != 6 {
            return Err(format!("protocol {protocol}, not TCP"));
        }
        if end != packet.len() {
            return Err(format!("{} bytes, {end} by the header", packet.len()));
        }
        let tcp = packet.get(start..end).ok_or(short)?;
        if !checksum::verify(from, to, Protocol::Tcp, tcp) {
            return Err("the TCP checksum is wrong".into());
        }
        let header = usize::from(tcp.get(12).ok_or(short)? >> 4) * 4;
        let options = read_options(tcp.get(20..header).ok_or(short)?)?;
        let half = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
        Ok(Segment {
            from: SocketAddr::new(from, half(0)),
            to: SocketAddr::new(to, half(2)),
            ecn,
            flags: tcp[13],
            seq: word(4),
            ack: word(8),
            win: half(14),
            options,
            payload: tcp[header..].to_vec(),
        })
    }
}
