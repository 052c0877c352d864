//! Frames of etherparse are read as etherparse means them, what is written here etherparse reads, and nothing that bytes
//! can be makes parsing panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_packet::{
    ChecksumVerdict, MacAddr, Network, ParseError, Protocol, Transport, arp, checksum, ethernet,
    icmp, ipv4, ipv6, ndp, parse, tcp, udp,
};
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TcpOptionElement, TransportSlice, VlanId};
use proptest::prelude::*;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn v4() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>()
        .prop_map(Ipv4Addr::from)
        .prop_filter("a unicast address", |a| {
            (1..224).contains(&a.octets()[0]) && !a.is_loopback()
        })
}

fn v6() -> impl Strategy<Value = Ipv6Addr> {
    any::<u128>()
        .prop_map(Ipv6Addr::from)
        .prop_filter("a unicast address", |a| {
            let mapped = a.to_ipv4_mapped().is_some();
            !a.is_multicast() && !a.is_loopback() && !a.is_unspecified() && !mapped
        })
}

/// A frame made by etherparse, and the flow in it.
fn frame() -> impl Strategy<Value = (Vec<u8>, SocketAddr, SocketAddr, Protocol, Vec<u8>)> {
    let addresses = prop_oneof![
        (v4(), v4()).prop_map(|(a, b)| (IpAddr::V4(a), IpAddr::V4(b))),
        (v6(), v6()).prop_map(|(a, b)| (IpAddr::V6(a), IpAddr::V6(b))),
    ];
    (
        addresses,
        1u16..,
        1u16..,
        any::<bool>(),
        proptest::option::of(0u16..4096),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|((src, dst), sport, dport, is_tcp, vlan, payload)| {
            let link = PacketBuilder::ethernet2(MACS.0, MACS.1);
            let link = match vlan {
                Some(id) => link
                    .single_vlan(VlanId::try_new(id).unwrap())
                    .into_ip(src, dst),
                None => into_ip(link, src, dst),
            };
            let mut bytes = Vec::new();
            let protocol = if is_tcp {
                let step = link
                    .tcp(sport, dport, 7, 512)
                    .options(&[
                        TcpOptionElement::MaximumSegmentSize(1460),
                        TcpOptionElement::WindowScale(7),
                        TcpOptionElement::Timestamp(1, 2),
                    ])
                    .unwrap();
                step.write(&mut bytes, &payload).unwrap();
                Protocol::Tcp
            } else {
                link.udp(sport, dport).write(&mut bytes, &payload).unwrap();
                Protocol::Udp
            };
            (
                bytes,
                SocketAddr::new(src, sport),
                SocketAddr::new(dst, dport),
                protocol,
                payload,
            )
        })
}

trait IntoIp {
    fn into_ip(
        self,
        src: IpAddr,
        dst: IpAddr,
    ) -> etherparse::PacketBuilderStep<etherparse::IpHeaders>;
}

impl IntoIp for etherparse::PacketBuilderStep<etherparse::VlanHeader> {
    fn into_ip(
        self,
        src: IpAddr,
        dst: IpAddr,
    ) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
        match (src, dst) {
            (IpAddr::V4(a), IpAddr::V4(b)) => self.ipv4(a.octets(), b.octets(), 64),
            (IpAddr::V6(a), IpAddr::V6(b)) => self.ipv6(a.octets(), b.octets(), 64),
            _ => unreachable!("both are of one family"),
        }
    }
}

fn into_ip(
    link: etherparse::PacketBuilderStep<etherparse::Ethernet2Header>,
    src: IpAddr,
    dst: IpAddr,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (src, dst) {
        (IpAddr::V4(a), IpAddr::V4(b)) => link.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => link.ipv6(a.octets(), b.octets(), 64),
        _ => unreachable!("both are of one family"),
    }
}

proptest! {
    #[test]
    fn frames_of_etherparse_are_read_as_meant((bytes, src, dst, protocol, payload) in frame(), padding in 0usize..20) {
        let mut padded = bytes.clone();
        padded.resize(bytes.len() + padding, 0xee);
        let parsed = parse(&padded).unwrap();
        let tuple = parsed.five_tuple().unwrap();
        prop_assert_eq!((tuple.src, tuple.dst, tuple.protocol), (src, dst, protocol));
        prop_assert_eq!((parsed.src_mac, parsed.dst_mac), (MacAddr(MACS.0), MacAddr(MACS.1)));
        let Network::Ip(ip, transport) = parsed.network else { panic!("not IP") };
        prop_assert_eq!(transport.verify(&ip, ChecksumVerdict::Unknown), Ok(()));
        prop_assert_eq!(ip.hop_limit(), 64);
        match transport {
            Transport::Tcp(segment) => {
                prop_assert_eq!(segment.payload(), &payload[..]);
                prop_assert_eq!((segment.seq(), segment.window()), (7, 512));
                let options: Vec<_> = segment.options().collect();
                prop_assert_eq!(options, vec![
                    tcp::TcpOption::MaxSegmentSize(1460),
                    tcp::TcpOption::WindowScale(7),
                    tcp::TcpOption::Timestamps { value: 1, echo: 2 },
                ]);
            }
            Transport::Udp(datagram) => prop_assert_eq!(datagram.payload(), &payload[..]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_flipped_bit_in_the_packet_is_noticed_or_harmless(
        (bytes, _, _, _, _) in frame(),
        bit: proptest::sample::Index,
    ) {
        let mut damaged = bytes.clone();
        let bit = bit.index((bytes.len() - 14) * 8) + 14 * 8;
        damaged[bit / 8] ^= 1 << (bit % 8);
        let intact = |frame: &[u8]| -> Result<_, ParseError> {
            let parsed = parse(frame)?;
            let tuple = parsed.five_tuple();
            if let Network::Ip(ip, transport) = parsed.network {
                transport.verify(&ip, ChecksumVerdict::Unknown)?;
                return Ok((tuple, Some(match transport {
                    Transport::Tcp(segment) => segment.payload().to_vec(),
                    Transport::Udp(datagram) => datagram.payload().to_vec(),
                    _ => Vec::new(),
                })));
            }
            Ok((tuple, None))
        };
        if let (Ok((Some(tuple), Some(payload))), Ok((Some(before), Some(sent)))) = (intact(&damaged), intact(&bytes)) {
            // One bit can only get past where no checksum covers it: IPv6's traffic class, flow label and hop limit, a
            // VLAN tag. A UDP checksum can't become 0 by one bit unless it was a power of two.
            let zeroed = matches!(&parse(&damaged), Ok(p) if matches!(&p.network,
                Network::Ip(_, Transport::Udp(datagram)) if datagram.checksum() == 0));
            prop_assert!(zeroed || (tuple == before && payload == sent));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        exercise(&bytes);
    }

    #[test]
    fn arbitrary_bytes_behind_a_real_start_never_panic(
        (mut bytes, _, _, _, _) in frame(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        cut: proptest::sample::Index,
    ) {
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        exercise(&bytes);
    }

    #[test]
    fn arbitrary_extension_headers_never_panic_nor_loop(
        first in prop_oneof![Just(0u8), Just(43), Just(44), Just(60)],
        body in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(44), Just(43), Just(60), any::<u8>()], 0..400),
    ) {
        let mut packet = vec![0; 40 + body.len()];
        let header = ipv6::Header {
            next_header: first,
            ..ipv6::Header::new("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap(), Protocol::Tcp, body.len())
        };
        header.write(&mut packet);
        packet[40..].copy_from_slice(&body);
        if let Ok(ip) = ipv6::parse(&packet) {
            prop_assert_eq!(ip.header().len() + ip.payload().len(), packet.len());
            let _ = ip.transport();
        }
    }

    #[test]
    fn etherparse_reads_what_is_written((src4, dst4) in (v4(), v4()), (src6, dst6) in (v6(), v6()),
        sport in 1u16.., dport in 1u16.., payload in proptest::collection::vec(any::<u8>(), 0..200), is_v6: bool) {
        let (src, dst): (IpAddr, IpAddr) = if is_v6 { (src6.into(), dst6.into()) } else { (src4.into(), dst4.into()) };
        let ip_len = if is_v6 { ipv6::HEADER_LEN } else { ipv4::HEADER_LEN };
        let mut frame = vec![0xaa; 14 + ip_len + 8 + payload.len()];
        let ether_type = if is_v6 { ethernet::TYPE_IPV6 } else { ethernet::TYPE_IPV4 };
        ethernet::write_header(&mut frame, MacAddr(MACS.1), MacAddr(MACS.0), ether_type);
        let len = 8 + payload.len();
        if is_v6 {
            ipv6::Header::new(src6, dst6, Protocol::Udp, len).write(&mut frame[14..]);
        } else {
            ipv4::Header::new(src4, dst4, Protocol::Udp, len).write(&mut frame[14..]);
        }
        let datagram = &mut frame[14 + ip_len..];
        udp::write_header(datagram, sport, dport, payload.len());
        datagram[8..].copy_from_slice(&payload);
        checksum::fill_udp(src, dst, datagram);

        let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
        let Some(TransportSlice::Udp(slice)) = sliced.transport else { panic!("no UDP") };
        prop_assert_eq!((slice.source_port(), slice.destination_port(), slice.payload()), (sport, dport, &payload[..]));
        let header = slice.to_header();
        match sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                prop_assert!(ip.dont_fragment);
                prop_assert_eq!(header.calc_checksum_ipv4(&ip, &payload).unwrap(), slice.checksum());
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header().to_header();
                prop_assert_eq!(header.calc_checksum_ipv6(&ip, &payload).unwrap(), slice.checksum());
            }
            other => panic!("{other:?}"),
        }
    }
}

fn exercise(bytes: &[u8]) {
    if let Ok(parsed) = parse(bytes)
        && let Network::Ip(ip, transport) = parsed.network
    {
        let _ = transport.verify(&ip, ChecksumVerdict::Unknown);
        if let Transport::Tcp(segment) = transport {
            assert!(segment.options().count() <= 40);
        }
    }
    let _ = ipv4::parse(bytes, false).and_then(|ip| ip.transport());
    let _ = ipv6::parse(bytes).and_then(|ip| ip.transport());
    let _ = arp::Packet::parse(bytes);
    let _ = tcp::Segment::parse(bytes).map(|segment| segment.options().count());
    let _ = udp::Datagram::parse(bytes);
    if let Some(message) = icmp::Message::parse(bytes) {
        let _ = ndp::Message::parse(message);
    }
}

#[test]
fn arp_is_what_etherparse_makes_of_it() {
    let packet = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: MacAddr(MACS.0),
        sender: Ipv4Addr::new(198, 18, 0, 1),
        target_mac: MacAddr(MACS.1),
        target: Ipv4Addr::new(198, 18, 0, 2),
    };
    let bytes = packet.to_bytes();
    let slice = etherparse::ArpPacketSlice::from_slice(&bytes).unwrap();
    assert_eq!(slice.sender_hw_addr(), MACS.0);
    assert_eq!(slice.target_protocol_addr(), [198, 18, 0, 2]);
    assert_eq!(arp::Packet::parse(&bytes), Ok(packet));
}
