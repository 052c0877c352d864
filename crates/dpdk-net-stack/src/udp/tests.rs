mod sending;

use alloc::vec;
use core::net::SocketAddr;

use dpdk_net_packet::{Protocol, Transport, checksum};
use proptest::prelude::*;

use super::*;
use crate::emit::IpMeta;
use crate::test_frames::{PEER_MAC, PORT, at, config, drain, from_peer, hop, ip, link, packet, to};

struct Bed {
    link: Link,
    udp: UdpTable,
}

fn bed_of(config: &Config) -> Bed {
    let mut link = link(config);
    for peer in ["198.18.0.1", "fd00::1"] {
        link.add_neighbor(Instant::ZERO, hop(peer), PEER_MAC);
    }
    Bed {
        link,
        udp: UdpTable::new(config),
    }
}

fn bed() -> Bed {
    bed_of(&config())
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Bed {
    fn bind(&mut self, local: &str) -> Result<UdpId, Error> {
        self.udp
            .bind(&self.link.ifaces, &UdpOptions::new(addr(local)))
    }

    fn bind_with(
        &mut self,
        local: &str,
        only_v6: bool,
        reuse_address: bool,
    ) -> Result<UdpId, Error> {
        self.udp.bind(
            &self.link.ifaces,
            &UdpOptions {
                only_v6,
                reuse_address,
                ..UdpOptions::new(addr(local))
            },
        )
    }

    fn receive(&mut self, from: &str, to: &str, data: &[u8]) -> bool {
        self.receive_marked(from, to, data, 0)
    }

    /// With this ECN field.
    fn receive_marked(&mut self, from: &str, to: &str, data: &[u8], ecn: u8) -> bool {
        let (from, to) = (addr(from), addr(to));
        let mut payload = vec![0; 8 + data.len()];
        udp::write_header(&mut payload, from.port(), to.port(), data.len());
        payload[8..].copy_from_slice(data);
        checksum::fill_udp(from.ip(), to.ip(), &mut payload);
        let meta = IpMeta {
            traffic_class: ecn,
            ..IpMeta::new(from.ip(), to.ip(), Protocol::Udp)
        };
        let frame = from_peer(&meta, &payload);
        let packet = packet(&frame);
        let Ok(Transport::Udp(datagram)) = packet.transport() else {
            panic!()
        };
        let destination = self.link.ifaces.classify(PORT, packet.dst());
        self.udp.ingress(0, destination, &packet, &datagram)
    }

    fn recv(&mut self, id: UdpId) -> Result<(Vec<u8>, SocketAddr, IpAddr), Error> {
        let mut buf = vec![0; 65_536];
        let got = self.udp.recv(id, &mut buf)?;
        buf.truncate(got.len);
        Ok((buf, got.from, got.to))
    }

    fn send(&mut self, id: UdpId, data: &[u8], to: Option<&str>) -> Result<usize, Error> {
        self.udp.send(at(0), &mut self.link, id, data, to.map(addr))
    }

    fn connect(&mut self, id: UdpId, remote: &str) -> Result<(), Error> {
        self.udp.connect(&self.link.ifaces, id, addr(remote))
    }

    /// Source, destination and data of what was sent.
    fn sent(&mut self) -> Vec<(SocketAddr, SocketAddr, Vec<u8>)> {
        drain(&mut self.link.datagrams)
            .iter()
            .map(|frame| {
                let packet = packet(frame);
                let Ok(Transport::Udp(datagram)) = packet.transport() else {
                    panic!()
                };
                (
                    SocketAddr::new(packet.src(), datagram.src_port()),
                    SocketAddr::new(packet.dst(), datagram.dst_port()),
                    datagram.payload().to_vec(),
                )
            })
            .collect()
    }
}

#[test]
fn a_datagram_goes_to_the_connected_then_the_specific_then_the_wildcard_socket() {
    let mut bed = bed();
    let wildcard = bed.bind_with("[::]:9", false, true).unwrap();
    let specific = bed.bind_with("198.18.0.2:9", false, true).unwrap();
    let connected = bed.bind_with("198.18.0.2:9", false, true).unwrap();
    bed.connect(connected, "198.18.0.1:5").unwrap();
    assert!(bed.receive("198.18.0.1:5", "198.18.0.2:9", b"a"));
    assert!(bed.receive("198.18.0.1:6", "198.18.0.2:9", b"b"));
    assert!(bed.receive("[fd00::1]:7", "[fd00::2]:9", b"c"));
    assert_eq!(bed.recv(connected).unwrap().0, b"a");
    assert_eq!(bed.recv(specific).unwrap().0, b"b");
    assert_eq!(
        bed.recv(wildcard),
        Ok((b"c".to_vec(), addr("[fd00::1]:7"), ip("fd00::2")))
    );
    for id in [connected, specific, wildcard] {
        assert_eq!(bed.recv(id), Err(Error::WouldBlock));
    }
}

#[test]
fn a_dual_stack_socket_takes_ipv4_and_tells_ipv4_addresses() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    assert!(bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x"));
    assert_eq!(
        bed.recv(id),
        Ok((b"x".to_vec(), addr("198.18.0.1:5"), ip("198.18.0.2")))
    );
    bed.send(id, b"y", Some("198.18.0.1:5")).unwrap();
    bed.send(id, b"z", Some("[::ffff:198.18.0.1]:5")).unwrap();
    bed.send(id, b"6", Some("[fd00::1]:5")).unwrap();
    let sent = bed.sent();
    assert_eq!(
        sent[0],
        (addr("198.18.0.2:9"), addr("198.18.0.1:5"), b"y".to_vec())
    );
    assert_eq!(sent[1].1, addr("198.18.0.1:5"));
    assert_eq!(sent[2].0, addr("[fd00::2]:9"));
}

#[test]
fn sockets_of_one_family_do_not_take_or_send_the_other() {
    let mut bed = bed();
    let six = bed.bind_with("[::]:9", true, false).unwrap();
    assert!(!bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x"));
    assert!(matches!(
        bed.send(six, b"x", Some("198.18.0.1:5")),
        Err(Error::InvalidInput(_))
    ));
    let four = bed.bind("0.0.0.0:9").unwrap();
    assert!(matches!(
        bed.send(four, b"x", Some("[fd00::1]:5")),
        Err(Error::InvalidInput(_))
    ));
    assert!(bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x"));
    assert!(bed.receive("[fd00::1]:5", "[fd00::2]:9", b"y"));
    assert_eq!(
        (bed.recv(four).unwrap().0, bed.recv(six).unwrap().0),
        (b"x".to_vec(), b"y".to_vec())
    );
}

#[test]
fn addresses_conflict_as_on_linux() {
    // First, second (with its IPV6_V6ONLY), whether the second one is refused.
    let cases = [
        ("0.0.0.0:9", "0.0.0.0:9", false, true),
        ("0.0.0.0:9", "198.18.0.2:9", false, true),
        ("198.18.0.2:9", "0.0.0.0:9", false, true),
        ("198.18.0.2:9", "198.18.0.2:9", false, true),
        ("198.18.0.2:9", "198.18.0.2:8", false, false),
        ("[::]:9", "0.0.0.0:9", false, true),
        ("[::]:9", "198.18.0.2:9", false, true),
        ("198.18.0.2:9", "[::]:9", false, true),
        ("198.18.0.2:9", "[::]:9", true, false),
        ("0.0.0.0:9", "[::]:9", false, true),
        ("0.0.0.0:9", "[::]:9", true, false),
        ("[fd00::2]:9", "198.18.0.2:9", false, false),
        ("[fd00::2]:9", "0.0.0.0:9", false, false),
        ("[fd00::2]:9", "[::]:9", true, true),
    ];
    for (first, second, only_v6, refused) in cases {
        let mut bed = bed();
        let held = bed.bind(first).unwrap();
        let result = bed.bind_with(second, only_v6, false);
        assert_eq!(result.is_err(), refused, "{first} then {second}");
        if refused {
            assert_eq!(result, Err(Error::AddrInUse));
            bed.udp.close(at(0), &mut bed.link.ifaces, held).unwrap();
            assert!(bed.bind_with(second, only_v6, false).is_ok(), "free again");
        }
    }
    // Sharing needs both to say so.
    let mut bed = bed();
    bed.bind_with("0.0.0.0:9", false, true).unwrap();
    assert_eq!(bed.bind("0.0.0.0:9"), Err(Error::AddrInUse));
    assert!(bed.bind_with("0.0.0.0:9", false, true).is_ok());
}

#[test]
fn only_own_addresses_can_be_bound() {
    let mut bed = bed();
    assert_eq!(bed.bind("198.18.0.3:9"), Err(Error::AddrNotAvailable));
    assert_eq!(bed.bind("[fd00::3]:9"), Err(Error::AddrNotAvailable));
    assert!(bed.bind("239.1.2.3:9").is_ok() && bed.bind("198.18.0.255:9").is_ok());
}

#[test]
fn ephemeral_ports_are_all_found_and_come_at_random() {
    let mut config = config();
    config.udp.ephemeral_first = 50_000;
    config.udp.ephemeral_last = 50_099;
    let mut bed = bed_of(&config);
    let mut ports: Vec<u16> = Vec::new();
    for _ in 0..100 {
        let id = bed.bind("0.0.0.0:0").unwrap();
        ports.push(bed.udp.local(id).unwrap().port());
    }
    assert_eq!(bed.bind("0.0.0.0:0"), Err(Error::AddrNotAvailable));
    // Another family has all of them still.
    assert!(bed.bind_with("[::]:0", true, false).is_ok());
    let in_a_row = ports
        .windows(2)
        .filter(|pair| pair[1] == pair[0] + 1)
        .count();
    assert!(in_a_row < 60, "{ports:?}");
    ports.sort();
    assert_eq!(ports, (50_000..50_100).collect::<Vec<u16>>());
}

#[test]
fn a_connected_socket_takes_only_its_peer_and_sends_without_an_address() {
    let mut bed = bed();
    let id = bed.bind("0.0.0.0:9").unwrap();
    assert_eq!(bed.send(id, b"x", None), Err(Error::NotConnected));
    bed.connect(id, "198.18.0.1:5").unwrap();
    assert_eq!(bed.udp.local(id), Some(addr("198.18.0.2:9")));
    assert_eq!(bed.udp.peer(id), Some(addr("198.18.0.1:5")));
    assert!(!bed.receive("198.18.0.1:6", "198.18.0.2:9", b"x"));
    assert!(bed.receive("198.18.0.1:5", "198.18.0.2:9", b"y"));
    assert_eq!(bed.recv(id).unwrap().0, b"y");
    bed.send(id, b"z", None).unwrap();
    assert_eq!(
        bed.sent(),
        [(addr("198.18.0.2:9"), addr("198.18.0.1:5"), b"z".to_vec())]
    );
    bed.connect(id, "198.18.0.1:6").unwrap();
    assert!(bed.receive("198.18.0.1:6", "198.18.0.2:9", b"x"));
    assert!(!bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x"));
    bed.udp.disconnect(id).unwrap();
    assert_eq!(bed.udp.local(id), Some(addr("0.0.0.0:9")));
    assert!(bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x"));
}

#[test]
fn a_socket_that_shares_takes_over_when_the_other_is_closed_or_connected() {
    let mut bed = bed();
    let first = bed.bind_with("0.0.0.0:9", false, true).unwrap();
    let second = bed.bind_with("0.0.0.0:9", false, true).unwrap();
    bed.receive("198.18.0.1:5", "198.18.0.2:9", b"1");
    assert!(bed.recv(second).is_ok());
    bed.connect(second, "198.18.0.1:77").unwrap();
    bed.receive("198.18.0.1:5", "198.18.0.2:9", b"2");
    assert!(bed.recv(first).is_ok());
    bed.udp.close(at(0), &mut bed.link.ifaces, second).unwrap();
    assert!(bed.receive("198.18.0.1:77", "198.18.0.2:9", b"3"));
    assert!(bed.recv(first).is_ok());
    bed.udp.close(at(0), &mut bed.link.ifaces, first).unwrap();
    assert!(!bed.receive("198.18.0.1:5", "198.18.0.2:9", b"4"));
    assert_eq!(
        (
            bed.udp.len(),
            bed.udp.by_port.len(),
            bed.udp.bound.len(),
            bed.udp.connected.len()
        ),
        (0, 0, 0, 0)
    );
}

#[test]
fn a_full_queue_drops_and_counts_and_has_room_again_when_read() {
    let mut config = config();
    config.udp.recv_queue_bytes = 16 * 1024;
    let mut bed = bed_of(&config);
    let id = bed.bind("0.0.0.0:9").unwrap();
    for _ in 0..100 {
        assert!(
            bed.receive("198.18.0.1:5", "198.18.0.2:9", &[1; 1_000]),
            "the port is there all the same"
        );
    }
    let delivered = bed.udp.stats.snapshot().delivered;
    assert!((10..=16).contains(&delivered), "{delivered}");
    assert_eq!(bed.udp.stats.snapshot().queue_full, 100 - delivered);
    for _ in 0..delivered {
        assert_eq!(bed.recv(id).unwrap().0.len(), 1_000);
    }
    assert_eq!(bed.recv(id), Err(Error::WouldBlock));
    bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x");
    assert!(bed.recv(id).is_ok());
    // Empty datagrams are bounded too, and are datagrams.
    for _ in 0..1_000 {
        bed.receive("198.18.0.1:5", "198.18.0.2:9", b"");
    }
    assert_eq!(bed.recv(id).unwrap().0, b"");
    assert!(bed.udp.stats.snapshot().delivered <= delivered + 1 + 16 * 1024 / 36);
}

#[test]
fn a_short_buffer_cuts_the_datagram_and_tells_its_length_and_peeking_leaves_it() {
    let mut bed = bed();
    let id = bed.bind("0.0.0.0:9").unwrap();
    bed.receive("198.18.0.1:5", "198.18.0.2:9", b"hello");
    let mut buf = [0; 3];
    let peeked = bed.udp.peek(id, &mut buf).unwrap();
    assert_eq!((peeked.len, peeked.datagram_len, &buf), (3, 5, b"hel"));
    assert_eq!(bed.udp.recv(id, &mut buf), Ok(peeked));
    assert_eq!(bed.udp.recv(id, &mut buf), Err(Error::WouldBlock));
}

#[test]
fn broadcasts_and_groups_reach_every_socket_that_wants_them() {
    let mut bed = bed();
    let wildcard = bed.bind_with("0.0.0.0:9", false, true).unwrap();
    let dual = bed.bind_with("[::]:9", false, true).unwrap();
    let group = bed.bind_with("239.1.2.3:9", false, true).unwrap();
    let unicast = bed.bind_with("198.18.0.2:9", false, true).unwrap();
    bed.udp
        .join_group(at(0), &mut bed.link.ifaces, group, ip("239.1.2.3"), 0)
        .unwrap();
    assert!(bed.receive("198.18.0.1:5", "198.18.0.255:9", b"b"));
    assert!(bed.receive("198.18.0.1:5", "239.1.2.3:9", b"g"));
    for id in [wildcard, dual] {
        assert_eq!(
            (bed.recv(id).unwrap().2, bed.recv(id).unwrap().2),
            (ip("198.18.0.255"), ip("239.1.2.3"))
        );
    }
    assert_eq!(bed.recv(group).unwrap().0, b"g");
    assert_eq!(bed.recv(group), Err(Error::WouldBlock));
    assert_eq!(bed.recv(unicast), Err(Error::WouldBlock));
    // Closing leaves.
    bed.udp.close(at(0), &mut bed.link.ifaces, group).unwrap();
    assert!(!bed.link.ifaces.get(PORT).groups.is_joined(ip("239.1.2.3")));
}

#[test]
fn groups_are_joined_once_and_left_once() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    let iface = &mut bed.link.ifaces;
    bed.udp
        .join_group(at(0), iface, id, ip("ff05::7"), 0)
        .unwrap();
    assert_eq!(
        bed.udp.join_group(at(0), iface, id, ip("ff05::7"), 0),
        Err(Error::AddrInUse)
    );
    assert!(matches!(
        bed.udp.join_group(at(0), iface, id, ip("fd00::7"), 0),
        Err(Error::InvalidInput(_))
    ));
    bed.udp
        .leave_group(at(0), iface, id, ip("ff05::7"), 0)
        .unwrap();
    assert_eq!(
        bed.udp.leave_group(at(0), iface, id, ip("ff05::7"), 0),
        Err(Error::AddrNotAvailable)
    );
    assert!(!iface.get(PORT).groups.is_joined(ip("ff05::7")));
}

#[test]
fn sending_is_refused_with_the_error_that_says_why() {
    let mut bed = bed();
    let id = bed.bind("0.0.0.0:9").unwrap();
    assert!(matches!(
        bed.send(id, b"", Some("198.18.0.1:0")),
        Err(Error::InvalidInput(_))
    ));
    assert!(matches!(
        bed.send(id, b"", Some("0.0.0.0:9")),
        Err(Error::InvalidInput(_))
    ));
    assert_eq!(
        bed.send(id, b"", Some("203.0.113.1:9")),
        Err(Error::NetworkUnreachable)
    );
    assert_eq!(
        bed.send(id, b"", Some("198.18.0.255:9")),
        Err(Error::PermissionDenied)
    );
    bed.udp.set_broadcast(id, true).unwrap();
    assert_eq!(bed.send(id, b"", Some("198.18.0.255:9")), Ok(0));
    assert_eq!(
        bed.send(id, &vec![0; 65_508], Some("198.18.0.1:9")),
        Err(Error::MessageTooLong)
    );
    assert_eq!(
        bed.send(id, &vec![0; 65_507], Some("198.18.0.1:9")),
        Ok(65_507)
    );
    assert!(matches!(
        bed.udp.set_ttl(id, 0),
        Err(Error::InvalidInput(_))
    ));
    bed.udp.close(at(0), &mut bed.link.ifaces, id).unwrap();
    assert_eq!(
        bed.send(id, b"", Some("198.18.0.1:9")),
        Err(Error::UnknownSocket)
    );
}

#[test]
fn ttl_and_checksum_are_as_set_and_etherparse_agrees() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    bed.udp.set_ttl(id, 33).unwrap();
    bed.send(id, b"hello", Some("198.18.0.1:5")).unwrap();
    bed.send(id, b"hello", Some("[fd00::1]:5")).unwrap();
    bed.send(id, b"hello", Some("239.1.2.3:5")).unwrap();
    let frames = drain(&mut bed.link.datagrams);
    let ttls: Vec<u8> = frames.iter().map(|f| packet(f).hop_limit()).collect();
    assert_eq!(ttls, [33, 33, 1]);
    for frame in &frames {
        let sliced = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
        let Some(etherparse::TransportSlice::Udp(slice)) = sliced.transport else {
            panic!()
        };
        let header = slice.to_header();
        let expected = match sliced.net.unwrap() {
            etherparse::NetSlice::Ipv4(net) => {
                header.calc_checksum_ipv4(&net.header().to_header(), b"hello")
            }
            etherparse::NetSlice::Ipv6(net) => {
                header.calc_checksum_ipv6(&net.header().to_header(), b"hello")
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(Ok(slice.checksum()), expected);
    }
}

#[test]
fn a_full_link_queue_blocks_and_an_event_tells_when_it_has_drained() {
    let mut config = config();
    config.limits.reply_queue = 16;
    let mut bed = bed_of(&config);
    let id = bed.bind("0.0.0.0:9").unwrap();
    for _ in 0..16 {
        bed.send(id, b"x", Some("198.18.0.1:5")).unwrap();
    }
    for _ in 0..3 {
        assert_eq!(
            bed.send(id, b"x", Some("198.18.0.1:5")),
            Err(Error::WouldBlock)
        );
    }
    assert_eq!(bed.udp.readiness(id), Readiness::empty());
    assert_eq!(bed.udp.poll_event(), None);
    assert_eq!(bed.sent().len(), 16);
    bed.udp.on_drained();
    assert_eq!(bed.udp.poll_event(), Some((id, Readiness::WRITABLE)));
    assert_eq!(bed.udp.poll_event(), None);
    assert_eq!(bed.send(id, b"x", Some("198.18.0.1:5")), Ok(1));
}

#[test]
fn events_are_one_a_socket_however_many_datagrams_came() {
    let mut bed = bed();
    let id = bed.bind("0.0.0.0:9").unwrap();
    for _ in 0..50 {
        bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x");
    }
    assert_eq!(bed.udp.poll_event(), Some((id, Readiness::READABLE)));
    assert_eq!(bed.udp.poll_event(), None);
    assert_eq!(
        bed.udp.readiness(id),
        Readiness::READABLE | Readiness::WRITABLE
    );
    // The event of a socket that is gone is not told.
    bed.receive("198.18.0.1:5", "198.18.0.2:9", b"x");
    bed.udp.close(at(0), &mut bed.link.ifaces, id).unwrap();
    assert_eq!(bed.udp.poll_event(), None);
    assert_eq!(bed.udp.readiness(id), Readiness::CLOSED);
}

#[test]
fn an_error_is_told_once_and_to_the_connected_socket_alone() {
    let mut bed = bed();
    let connected = bed.bind("0.0.0.0:9").unwrap();
    let other = bed.bind("0.0.0.0:8").unwrap();
    bed.connect(connected, "198.18.0.1:5").unwrap();
    let report = |local: &str, remote: &str, kind| ErrorReport {
        protocol: Protocol::Udp,
        local: addr(local),
        remote: addr(remote),
        seq: None,
        kind,
    };
    let refused = report("198.18.0.2:9", "198.18.0.1:5", ErrorKind::PortUnreachable);
    bed.udp.on_error(at(0), &mut bed.link, &refused);
    let both = Readiness::READABLE | Readiness::WRITABLE;
    assert_eq!(bed.udp.poll_event(), Some((connected, both)));
    assert_eq!(bed.recv(connected), Err(Error::ConnectionRefused));
    assert_eq!(bed.recv(connected), Err(Error::WouldBlock));
    bed.udp.on_error(at(0), &mut bed.link, &refused);
    assert_eq!(
        bed.send(connected, b"x", None),
        Err(Error::ConnectionRefused)
    );
    assert_eq!(bed.send(connected, b"x", None), Ok(1));
    // Another peer of the same socket, and a socket without one.
    bed.udp.on_error(
        at(0),
        &mut bed.link,
        &report("198.18.0.2:9", "198.18.0.1:6", ErrorKind::PortUnreachable),
    );
    bed.udp.on_error(
        at(0),
        &mut bed.link,
        &report("198.18.0.2:8", "198.18.0.1:5", ErrorKind::HostUnreachable),
    );
    assert_eq!(
        (
            bed.udp.stats.snapshot().errors_unmatched,
            bed.udp.take_error(other)
        ),
        (2, None)
    );
}

#[test]
fn a_smaller_path_mtu_fragments_what_is_sent_and_is_no_error() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    let too_big = |local: &str| ErrorReport {
        protocol: Protocol::Udp,
        local: addr(local),
        remote: addr("[fd00::1]:5"),
        seq: None,
        kind: ErrorKind::PacketTooBig { mtu: 1_300 },
    };
    // A quoted port that nobody has can't be ours.
    bed.udp
        .on_error(at(0), &mut bed.link, &too_big("[fd00::2]:10"));
    assert_eq!(bed.link.path_mtu(at(0), &to("fd00::1")), 1_500);
    bed.udp
        .on_error(at(0), &mut bed.link, &too_big("[fd00::2]:9"));
    bed.send(id, &[1; 1_400], Some("[fd00::1]:5")).unwrap();
    let frames = drain(&mut bed.link.datagrams);
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| frame.len() <= 14 + 1_300));
    assert_eq!(bed.udp.take_error(id), None);
}

#[test]
fn sockets_are_bounded() {
    let mut config = config();
    config.udp.max_sockets = 3;
    let mut bed = bed_of(&config);
    for _ in 0..3 {
        bed.bind("0.0.0.0:0").unwrap();
    }
    assert_eq!(bed.bind("0.0.0.0:0"), Err(Error::NoBufferSpace));
}

proptest! {
    #[test]
    fn the_index_agrees_with_a_search_whatever_happens(
        steps in proptest::collection::vec((0u8..4, 0usize..5, 0u16..3, 0usize..8, any::<bool>()), 1..60),
    ) {
        let locals = ["0.0.0.0", "[::]", "198.18.0.2", "[fd00::2]", "239.1.2.3"];
        let mut bed = bed();
        let mut ids: Vec<UdpId> = Vec::new();
        for (what, local, port, which, flag) in steps {
            let id = ids.get(which % ids.len().max(1)).copied();
            match (what, id) {
                (0 | 1, _) => {
                    if let Ok(id) = bed.bind_with(&alloc::format!("{}:{}", locals[local], port + 1), flag, true) {
                        ids.push(id);
                    }
                }
                (2, Some(id)) => {
                    let remote = if flag { "198.18.0.1:5" } else { "[fd00::1]:5" };
                    let _ = bed.connect(id, remote);
                }
                (3, Some(id)) => {
                    ids.retain(|other| *other != id);
                    bed.udp.close(at(0), &mut bed.link.ifaces, id).unwrap();
                }
                _ => {}
            }
            for (from, to) in [("198.18.0.1:5", "198.18.0.2"), ("[fd00::1]:5", "[fd00::2]"), ("198.18.0.1:6", "198.18.0.2")] {
                let to = addr(&alloc::format!("{to}:{}", port + 1));
                let from = addr(from);
                // The search that the index stands for.
                let of_port = |want: &dyn Fn(&Socket) -> bool| {
                    bed.udp.sockets.iter().any(|(_, s)| s.bound.port() == to.port() && want(s))
                };
                let expected = of_port(&|s| s.remote == Some(from) && s.local == to)
                    || of_port(&|s| s.remote.is_none() && s.takes(to.ip(), 0));
                let delivered = bed.receive(&alloc::format!("{from}"), &alloc::format!("{to}"), b"x");
                prop_assert_eq!(delivered, expected, "{} -> {}", from, to);
            }
        }
    }
}
