//! What can differ from send to send, and what is done about the path's MTU.

use alloc::format;
use alloc::vec;

use super::*;

impl Bed {
    fn send_with(&mut self, id: UdpId, data: &[u8], send: UdpSend) -> Result<usize, Error> {
        self.udp.send_with(at(0), &mut self.link, id, data, &send)
    }

    /// A router has told of a smaller MTU on the way to both peers.
    fn narrow(&mut self, port: u16) {
        for (local, remote) in [("198.18.0.2", "198.18.0.1:5"), ("[fd00::2]", "[fd00::1]:5")] {
            let report = ErrorReport {
                protocol: Protocol::Udp,
                local: addr(&format!("{local}:{port}")),
                remote: addr(remote),
                seq: None,
                kind: ErrorKind::PacketTooBig { mtu: 1_300 },
            };
            self.udp.on_error(at(0), &mut self.link, &report);
        }
    }
}

fn to_peer(remote: &str) -> UdpSend {
    UdpSend {
        to: Some(addr(remote)),
        ..UdpSend::default()
    }
}

const PEERS: [&str; 2] = ["198.18.0.1:5", "[fd00::1]:5"];

#[test]
fn the_ecn_field_goes_out_as_it_is_said_with_each_datagram() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    for peer in PEERS {
        for ecn in 0..4 {
            let send = UdpSend {
                ecn,
                ..to_peer(peer)
            };
            bed.send_with(id, b"x", send).unwrap();
            let cut = UdpSend {
                segment_size: Some(10),
                ..send
            };
            bed.send_with(id, &[0; 25], cut).unwrap();
            let frames = drain(&mut bed.link.datagrams);
            assert_eq!(frames.len(), 4);
            for frame in &frames {
                assert_eq!(packet(frame).traffic_class(), ecn, "{peer}");
            }
        }
    }
    // The next one that says nothing has none.
    bed.send(id, b"x", Some(PEERS[0])).unwrap();
    assert_eq!(packet(&drain(&mut bed.link.datagrams)[0]).ecn(), 0);
}

#[test]
fn the_address_to_send_from_is_one_of_ours_that_fits_socket_and_peer() {
    let config = config().with_address("198.18.0.7/24".parse().unwrap());
    let mut bed = bed_of(&config);
    let from = |from: &str, to: &str| UdpSend {
        from: Some(ip(from)),
        ..to_peer(to)
    };
    let wildcard = bed.bind("[::]:9").unwrap();
    let single = bed.bind("198.18.0.7:10").unwrap();
    let source = |bed: &mut Bed| bed.sent()[0].0.ip();
    let peer = PEERS[0];
    for own in ["198.18.0.2", "198.18.0.7", "::ffff:198.18.0.7"] {
        bed.send_with(wildcard, b"x", from(own, peer)).unwrap();
        assert_eq!(source(&mut bed), ip(own).to_canonical());
    }
    bed.send_with(wildcard, b"x", from("fd00::2", PEERS[1]))
        .unwrap();
    assert_eq!(source(&mut bed), ip("fd00::2"));
    // Unspecified is not said.
    bed.send_with(wildcard, b"x", from("0.0.0.0", peer))
        .unwrap();
    assert_eq!(source(&mut bed), ip("198.18.0.2"));
    bed.send_with(single, b"x", from("198.18.0.7", peer))
        .unwrap();
    assert_eq!(source(&mut bed), ip("198.18.0.7"));
    for (id, own, peer) in [
        (wildcard, "198.18.0.8", peer),
        (wildcard, "fd00::2", peer),
        (wildcard, "198.18.0.2", PEERS[1]),
        (single, "198.18.0.2", peer),
    ] {
        let refused = bed.send_with(id, b"x", from(own, peer));
        assert_eq!(refused, Err(Error::AddrNotAvailable), "{own} to {peer}");
        assert!(bed.sent().is_empty());
    }
}

#[test]
fn an_address_that_was_never_ours_is_refused_also_after_one_that_is() {
    let mut bed = bed();
    let id = bed.bind("0.0.0.0:9").unwrap();
    bed.send(id, b"x", Some(PEERS[0])).unwrap();
    let foreign = UdpSend {
        from: Some(ip("198.18.0.99")),
        ..to_peer(PEERS[0])
    };
    assert_eq!(
        bed.send_with(id, b"x", foreign),
        Err(Error::AddrNotAvailable)
    );
    bed.send(id, b"x", Some(PEERS[0])).unwrap();
}

#[test]
fn what_is_not_to_be_fragmented_says_so_and_is_refused_where_it_is_too_large() {
    for mode in [MtuDiscovery::Refuse, MtuDiscovery::Probe] {
        let mut bed = bed();
        let id = bed.bind("[::]:9").unwrap();
        assert_eq!(bed.udp.mtu_discovery(id), Ok(MtuDiscovery::Fragment));
        bed.udp.set_mtu_discovery(id, mode).unwrap();
        assert_eq!(bed.udp.mtu_discovery(id), Ok(mode));
        for (peer, largest) in PEERS.into_iter().zip([1_472, 1_452]) {
            bed.send(id, &vec![1; largest], Some(peer)).unwrap();
            let segments = UdpSend {
                segment_size: Some(1_000),
                ..to_peer(peer)
            };
            bed.send_with(id, &[1; 2_000], segments).unwrap();
            let frames = drain(&mut bed.link.datagrams);
            assert_eq!(frames.len(), 3);
            for frame in &frames {
                // The flag of an IPv4 header; IPv6 routers never fragment.
                let ip = packet(frame);
                assert!(ip.is_v6() || frame[14 + 6] == 0x40, "{mode:?}");
                assert_eq!(ip.fragment(), None);
            }
            let large = bed.send(id, &vec![1; largest + 1], Some(peer));
            assert_eq!(large, Err(Error::MessageTooLong), "{peer} {mode:?}");
        }
        assert_eq!(bed.link.stats.snapshot().fragments_sent, 0);
    }
}

#[test]
fn a_probe_goes_though_routers_tell_of_a_smaller_mtu_and_others_do_not() {
    for (mode, one, segments) in [
        (
            MtuDiscovery::Fragment,
            Ok(1_400),
            Err(Error::MessageTooLong),
        ),
        (
            MtuDiscovery::Refuse,
            Err(Error::MessageTooLong),
            Err(Error::MessageTooLong),
        ),
        (MtuDiscovery::Probe, Ok(1_400), Ok(2_800)),
    ] {
        let mut bed = bed();
        let id = bed.bind("[::]:9").unwrap();
        bed.udp.set_mtu_discovery(id, mode).unwrap();
        bed.narrow(9);
        for peer in PEERS {
            assert_eq!(
                bed.send(id, &[1; 1_400], Some(peer)),
                one,
                "{peer} {mode:?}"
            );
            let several = UdpSend {
                segment_size: Some(1_400),
                ..to_peer(peer)
            };
            let sent = bed.send_with(id, &[1; 2_800], several);
            assert_eq!(sent, segments, "{peer} {mode:?}");
        }
        let pieces = bed.link.stats.snapshot().fragments_sent;
        let expected = if mode == MtuDiscovery::Fragment { 4 } else { 0 };
        assert_eq!(pieces, expected, "{mode:?}");
    }
}

#[test]
fn the_ecn_field_of_what_comes_is_told_and_keeps_datagrams_apart() {
    let mut bed = bed();
    let id = bed.bind("[::]:9").unwrap();
    bed.udp.set_gro(id, true).unwrap();
    for (peer, local) in PEERS.into_iter().zip(["198.18.0.2:9", "[fd00::2]:9"]) {
        for ecn in [2, 2, 3, 0, 0, 1] {
            assert!(bed.receive_marked(peer, local, b"abc", ecn));
        }
        let mut buf = [0; 100];
        let mut next = || {
            let got = bed.udp.recv_gro(id, &mut buf).unwrap();
            (got.ecn, got.len, got.segment_size)
        };
        let all = [next(), next(), next(), next()];
        assert_eq!(all, [(2, 6, 3), (3, 3, 3), (0, 6, 3), (1, 3, 3)], "{peer}");
    }
}
