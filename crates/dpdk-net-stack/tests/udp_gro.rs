//! UDP GRO: several datagrams received with one call.

mod common;

use std::net::SocketAddr;

use common::*;
use dpdk_net_stack::{Duration, Error, UDP_MAX_SEGMENTS, UdpId, UdpOptions, UdpRecv};

/// A server's socket and two of a client.
struct Bed {
    pair: Pair,
    family: Family,
    server: UdpId,
    clients: [UdpId; 2],
}

impl Bed {
    fn new(family: Family, gro: bool) -> Self {
        let mut pair = Pair::new();
        let server = UdpOptions::new(family.any(7));
        let server = pair.server().udp_bind(server).unwrap();
        assert_eq!(pair.server().udp_gro(server), Ok(false));
        pair.server().udp_set_gro(server, gro).unwrap();
        assert_eq!(pair.server().udp_gro(server), Ok(gro));
        let clients = [8, 9].map(|port| {
            let options = UdpOptions::new(family.at(2, port));
            pair.client().udp_bind(options).unwrap()
        });
        Self {
            pair,
            family,
            server,
            clients,
        }
    }

    fn from(&self, client: usize) -> SocketAddr {
        self.family.at(2, 8 + client as u16)
    }

    /// Sends datagrams of these lengths from one of the client's sockets, each filled with a value of its own.
    fn send(&mut self, client: usize, lens: &[usize]) {
        for (at, len) in lens.iter().enumerate() {
            let (now, to) = (self.pair.now, Some(self.family.at(1, 7)));
            let id = self.clients[client];
            let data = vec![at as u8; *len];
            self.pair.client().udp_send(now, id, &data, to).unwrap();
        }
        self.pair.run(Duration::from_millis(10));
    }

    fn recv(&mut self, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.pair.stacks[SERVER].udp_recv_gro(self.server, buf)
    }

    /// Length, segment size and sender of all that is received with buffers of this size.
    fn all(&mut self, size: usize) -> Vec<(usize, usize, SocketAddr)> {
        let mut buf = vec![0; size];
        let mut got = Vec::new();
        while let Ok(recv) = self.recv(&mut buf) {
            assert_eq!(recv.to, self.family.host(1));
            assert_eq!(recv.datagram_len, recv.len);
            got.push((recv.len, recv.segment_size, recv.from));
        }
        got
    }
}

both_families! {
    fn datagrams_of_one_sender_and_size_come_at_once_and_a_shorter_one_ends_them(family) {
        let mut bed = Bed::new(family, true);
        let (a, b) = (bed.from(0), bed.from(1));
        bed.send(0, &[100, 100, 100]);
        assert_eq!(bed.all(65_536), [(300, 100, a)]);
        bed.send(0, &[100, 100, 30, 100, 100]);
        assert_eq!(bed.all(65_536), [(230, 100, a), (200, 100, a)]);
        bed.send(0, &[100, 200, 200]);
        assert_eq!(bed.all(65_536), [(100, 100, a), (400, 200, a)], "a longer one begins anew");
        bed.send(0, &[100, 100]);
        bed.send(1, &[100, 100]);
        bed.send(0, &[100]);
        assert_eq!(bed.all(65_536), [(200, 100, a), (200, 100, b), (100, 100, a)]);
        assert_eq!(bed.pair.server().stats().udp.received_coalesced, 2 + 3 + 1 + 2);
    }

    fn the_bytes_are_those_of_the_datagrams_in_order(family) {
        let mut bed = Bed::new(family, true);
        bed.send(0, &[3, 3, 2]);
        let mut buf = [9; 10];
        assert_eq!(bed.recv(&mut buf).unwrap().len, 8);
        assert_eq!(buf, [0, 0, 0, 1, 1, 1, 2, 2, 9, 9]);
    }

    fn an_empty_datagram_comes_alone(family) {
        let mut bed = Bed::new(family, true);
        let a = bed.from(0);
        bed.send(0, &[0, 0, 5, 5, 0, 5]);
        let expected = [(0, 0, a), (0, 0, a), (10, 5, a), (0, 0, a), (5, 5, a)];
        assert_eq!(bed.all(100), expected);
    }

    fn no_datagram_is_split_and_only_a_first_one_is_cut(family) {
        let mut bed = Bed::new(family, true);
        let a = bed.from(0);
        bed.send(0, &[100, 100, 100, 40]);
        assert_eq!(bed.all(250), [(200, 100, a), (140, 100, a)]);
        bed.send(0, &[100, 100]);
        let mut small = [0; 30];
        let cut = bed.recv(&mut small).unwrap();
        assert_eq!((cut.len, cut.datagram_len, cut.segment_size), (30, 100, 100));
        assert_eq!(bed.all(1_000), [(100, 100, a)], "the next one is whole");
    }

    fn a_call_takes_no_more_than_may_be(family) {
        let mut bed = Bed::new(family, true);
        let a = bed.from(0);
        bed.send(0, &[10; UDP_MAX_SEGMENTS + 6]);
        assert_eq!(bed.all(65_536), [(10 * UDP_MAX_SEGMENTS, 10, a), (60, 10, a)]);
    }

    fn who_did_not_ask_gets_one_and_other_calls_see_each(family) {
        let mut bed = Bed::new(family, false);
        let a = bed.from(0);
        bed.send(0, &[100, 100]);
        assert_eq!(bed.all(65_536), [(100, 100, a), (100, 100, a)]);
        let mut bed = Bed::new(family, true);
        bed.send(0, &[100, 100, 100]);
        let mut buf = [0; 1_000];
        let (stack, id) = (&mut bed.pair.stacks[SERVER], bed.server);
        let peeked = stack.udp_peek(id, &mut buf).unwrap();
        assert_eq!((peeked.len, peeked.segment_size), (100, 100));
        assert_eq!(stack.udp_recv(id, &mut buf), Ok(peeked));
        assert_eq!(bed.all(65_536), [(200, 100, a)]);
    }

    fn an_error_comes_before_datagrams(family) {
        let mut bed = Bed::new(family, true);
        // Nobody is at that port of the client.
        let (now, id) = (bed.pair.now, bed.server);
        bed.pair.server().udp_connect(id, family.at(2, 10)).unwrap();
        bed.pair.server().udp_send(now, id, b"anyone?", None).unwrap();
        bed.pair.run(Duration::from_millis(10));
        let mut buf = [0; 10];
        assert_eq!(bed.recv(&mut buf), Err(Error::ConnectionRefused));
        assert_eq!(bed.recv(&mut buf), Err(Error::WouldBlock));
    }

    fn datagrams_sent_at_once_are_received_at_once(family) {
        let mut bed = Bed::new(family, true);
        let (now, a) = (bed.pair.now, bed.from(0));
        let data = pattern(20_007);
        let (id, to) = (bed.clients[0], Some(family.at(1, 7)));
        bed.pair.client().udp_send_segments(now, id, &data, 1_000, to).unwrap();
        bed.pair.run(Duration::from_millis(10));
        let mut buf = vec![0; 65_536];
        let got = bed.recv(&mut buf).unwrap();
        assert_eq!((got.len, got.segment_size, got.from), (20_007, 1_000, a));
        assert!(buf[..got.len] == data[..]);
    }
}
