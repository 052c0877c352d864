//! System calls through the C interface that scripts seldom make: datagrams, `epoll`, reading and writing in parts.

mod runner;

use std::net::SocketAddr;

use dpdk_net_packet::{IpPacket, Protocol, Transport, checksum, ipv4};
use runner::client::{Client, Returned};
use runner::script::{ACK, PSH, RST, SYN};
use runner::wire::Segment;

const LOCAL: &str = "192.168.7.9";
const REMOTE: &str = "192.0.2.1";
const EPOLLIN: u32 = libc::EPOLLIN as u32;
const EPOLLOUT: u32 = libc::EPOLLOUT as u32;
const EPOLLET: u32 = libc::EPOLLET as u32;
const EPOLLONESHOT: u32 = libc::EPOLLONESHOT as u32;

fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().expect("an address"), port)
}

#[track_caller]
fn ok(returned: Returned) -> i64 {
    assert!(returned.value >= 0, "{returned:?}");
    returned.value
}

#[track_caller]
fn fails(returned: Returned, errno: i32) {
    assert_eq!((returned.value, returned.errno), (-1, errno));
}

/// A datagram of the peer to the port 53.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (at(REMOTE, 9_000), at(LOCAL, 53));
    let mut udp = Vec::new();
    for field in [src.port(), dst.port(), 8 + payload.len() as u16, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(payload);
    checksum::fill_udp(src.ip(), dst.ip(), &mut udp);
    let (SocketAddr::V4(src), SocketAddr::V4(dst)) = (src, dst) else {
        panic!("IPv4 addresses");
    };
    let mut packet = vec![0; ipv4::HEADER_LEN];
    ipv4::Header::new(*src.ip(), *dst.ip(), Protocol::Udp, udp.len()).write(&mut packet);
    packet.extend(udp);
    packet
}

/// The next packet: a datagram, its ports and what is in it.
fn sent(client: &Client) -> (u16, u16, Vec<u8>) {
    let (returned, packet, _) = client.netdev_receive();
    ok(returned);
    let ip = IpPacket::parse(&packet).expect("an IP packet");
    let Ok(Transport::Udp(udp)) = ip.transport() else {
        panic!("a datagram");
    };
    (udp.src_port(), udp.dst_port(), udp.payload().to_vec())
}

fn udp_socket(client: &Client) -> i32 {
    let fd = ok(client.socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_NONBLOCK, 0)) as i32;
    ok(client.bind(fd, at(LOCAL, 53)));
    fd
}

#[test]
fn datagrams_go_out_and_come_in_with_their_addresses() {
    let client = Client::new("");
    let fd = udp_socket(&client);
    fails(client.recvfrom(fd, 100, 0).0, libc::EAGAIN);
    assert_eq!(ok(client.sendto(fd, b"question", at(REMOTE, 9_000))), 8);
    assert_eq!(sent(&client), (53, 9_000, b"question".to_vec()));
    let parts = [b"in ".to_vec(), Vec::new(), b"parts".to_vec()];
    assert_eq!(
        ok(client.sendmsg(fd, &parts, Some(at(REMOTE, 9_001)), 0)),
        8
    );
    assert_eq!(sent(&client), (53, 9_001, b"in parts".to_vec()));
    for text in [&b"first"[..], b"second", b"third", b""] {
        ok(client.netdev_send(&datagram(text)));
    }
    // Looked at, then cut off, then in parts, then whole.
    let (peeked, data, from) = client.recvfrom(fd, 100, libc::MSG_PEEK);
    assert_eq!(
        (ok(peeked), &data[..], from),
        (5, &b"first"[..], Some(at(REMOTE, 9_000)))
    );
    let (cut, data, _) = client.recvfrom(fd, 3, libc::MSG_TRUNC);
    assert_eq!((ok(cut), &data[..]), (5, &b"fir"[..]));
    let peek = libc::MSG_PEEK;
    for (flags, told) in [(peek, 3), (peek | libc::MSG_TRUNC, 6)] {
        let (cut, _, _, flags) = client.recvmsg_flags(fd, &[1, 2], flags);
        assert_eq!((ok(cut), flags), (told, libc::MSG_TRUNC));
    }
    let (whole, parts, from, flags) = client.recvmsg_flags(fd, &[4, 100], 0);
    assert_eq!((ok(whole), flags), (6, 0));
    assert_eq!(parts, [b"seco".to_vec(), b"nd".to_vec()]);
    assert_eq!(from, Some(at(REMOTE, 9_000)));
    assert_eq!(client.read(fd, 100).1, b"third");
    assert_eq!(ok(client.recv(fd, 100, 0).0), 0, "an empty datagram is one");
    fails(client.recv(fd, 100, 0).0, libc::EAGAIN);
    // Without an address only once there is a peer.
    fails(client.send(fd, b"where to?", 0), libc::EDESTADDRREQ);
    ok(client.connect(fd, at(REMOTE, 9_002)));
    assert_eq!(ok(client.send(fd, b"there", 0)), 5);
    assert_eq!(sent(&client), (53, 9_002, b"there".to_vec()));
    client.free();
}

/// A connection of the peer's: the socket, and the numbers of the peer's next segment.
fn accepted(client: &Client) -> (i32, Segment) {
    let listener = ok(client.socket(libc::AF_INET, libc::SOCK_STREAM, 0)) as i32;
    ok(client.bind(listener, at(LOCAL, 80)));
    ok(client.listen(listener, 5));
    let mut segment = Segment {
        from: at(REMOTE, 9_000),
        to: at(LOCAL, 80),
        ecn: 0,
        flags: SYN,
        seq: 0,
        ack: 0,
        win: 60_000,
        options: Vec::new(),
        payload: Vec::new(),
    };
    ok(client.netdev_send(&segment.build()));
    let (returned, packet, _) = client.netdev_receive();
    ok(returned);
    let answer = Segment::read(&packet).expect("a segment");
    (segment.flags, segment.seq, segment.ack) = (ACK, 1, answer.seq.wrapping_add(1));
    ok(client.netdev_send(&segment.build()));
    (ok(client.accept(listener)) as i32, segment)
}

/// The peer sends these bytes.
fn comes(client: &Client, peer: &mut Segment, payload: &[u8]) {
    let segment = Segment {
        flags: ACK | PSH,
        payload: payload.to_vec(),
        ..peer.clone()
    };
    ok(client.netdev_send(&segment.build()));
    peer.seq += payload.len() as u32;
}

#[test]
fn a_stream_is_read_and_written_in_parts() {
    let client = Client::new("");
    let (fd, mut peer) = accepted(&client);
    comes(&client, &mut peer, b"0123456789");
    fails(client.read_null(fd, 10), libc::EFAULT);
    let (returned, parts) = client.readv(fd, &[3, 0, 4, 100]);
    assert_eq!(ok(returned), 10);
    let expected = [&b"012"[..], b"", b"3456", b"789"].map(<[u8]>::to_vec);
    assert_eq!(parts, expected);
    comes(&client, &mut peer, b"abcdef");
    let (returned, parts, _) = client.recvmsg(fd, &[2, 2], libc::MSG_PEEK);
    assert_eq!((ok(returned), parts.concat()), (4, b"abcd".to_vec()));
    assert_eq!(client.readv(fd, &[1, 100]).1.concat(), b"abcdef");
    assert_eq!(
        ok(client.writev(fd, &[b"one ".to_vec(), b"segment".to_vec()])),
        11
    );
    let segment = loop {
        let (returned, packet, _) = client.netdev_receive();
        ok(returned);
        let segment = Segment::read(&packet).expect("a segment");
        if !segment.payload.is_empty() {
            break segment;
        }
    };
    assert_eq!(segment.payload, b"one segment");
    assert_eq!(ok(client.sendmsg(fd, &vec![b"x".to_vec(); 3], None, 0)), 3);
    let pieces = vec![Vec::new(); 1_025];
    fails(client.writev(fd, &pieces), libc::EINVAL);
    client.free();
}

#[test]
fn epoll_tells_by_level_by_edge_and_once() {
    let client = Client::new("");
    let (fd, mut peer) = accepted(&client);
    let udp = udp_socket(&client);
    let epoll = ok(client.epoll_create()) as i32;
    let wait = |max| {
        let (returned, events) = client.epoll_wait(epoll, max, 0);
        ok(returned);
        events
    };
    let add = |fd, events, data| {
        ok(client.epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, Some((events, data))));
    };
    let modify = |fd, events, data| {
        ok(client.epoll_ctl(epoll, libc::EPOLL_CTL_MOD, fd, Some((events, data))));
    };
    // By level: as long as there is something.
    add(fd, EPOLLIN | EPOLLOUT, 7);
    assert_eq!(wait(8), [(EPOLLOUT, 7)]);
    comes(&client, &mut peer, b"something");
    for _ in 0..3 {
        assert_eq!(wait(8), [(EPOLLIN | EPOLLOUT, 7)]);
    }
    assert_eq!(client.read(fd, 100).1, b"something");
    assert_eq!(wait(8), [(EPOLLOUT, 7)]);
    // By edge: each time that more has come, also if less is unread than before.
    modify(fd, EPOLLIN | EPOLLET, 8);
    assert_eq!(wait(8), []);
    comes(&client, &mut peer, b"a hundred bytes or so");
    assert_eq!(wait(8), [(EPOLLIN, 8)]);
    assert_eq!(wait(8), []);
    assert_eq!(ok(client.read(fd, 20).0), 20);
    comes(&client, &mut peer, b"two");
    assert_eq!(wait(8), [(EPOLLIN, 8)]);
    assert_eq!(wait(8), []);
    // Once, until asked again.
    modify(fd, EPOLLIN | EPOLLONESHOT, 9);
    assert_eq!(wait(8), [(EPOLLIN, 9)]);
    comes(&client, &mut peer, b"more");
    assert_eq!(wait(8), []);
    modify(fd, EPOLLIN, 9);
    // Datagrams beside, and no more than are asked for.
    add(udp, EPOLLIN, 10);
    ok(client.netdev_send(&datagram(b"datagram")));
    assert_eq!(wait(8).len(), 2);
    assert_eq!(wait(1).len(), 1);
    // What waits longest is told when the time is up; meanwhile the clock moves.
    assert_eq!(client.read(udp, 100).1, b"datagram");
    ok(client.epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, None));
    let before = client.now();
    let (returned, events) = client.epoll_wait(epoll, 8, 250);
    assert_eq!((ok(returned), events), (0, vec![]));
    let took = client.now() - before;
    assert!((250_000..260_000).contains(&took), "{took} us");
    // What makes no sense.
    fails(
        client.epoll_ctl(epoll, libc::EPOLL_CTL_DEL, fd, None),
        libc::ENOENT,
    );
    fails(
        client.epoll_ctl(epoll, libc::EPOLL_CTL_ADD, udp, Some((EPOLLIN, 0))),
        libc::EEXIST,
    );
    fails(
        client.epoll_ctl(epoll, libc::EPOLL_CTL_ADD, epoll, Some((EPOLLIN, 0))),
        libc::EINVAL,
    );
    fails(
        client.epoll_ctl(epoll, libc::EPOLL_CTL_ADD, 99, Some((EPOLLIN, 0))),
        libc::EBADF,
    );
    fails(
        client.epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, None),
        libc::EFAULT,
    );
    fails(client.epoll_wait(epoll, 0, 0).0, libc::EINVAL);
    // What is closed is watched no more.
    ok(client.netdev_send(&datagram(b"late")));
    ok(client.close(udp));
    assert_eq!(wait(8), []);
    client.free();
}

#[test]
fn a_socket_that_is_disconnected_is_as_new() {
    let client = Client::new("");
    let (fd, _) = accepted(&client);
    ok(client.disconnect(fd));
    let reset = loop {
        let (returned, packet, _) = client.netdev_receive();
        ok(returned);
        let segment = Segment::read(&packet).expect("a segment");
        if segment.flags & RST != 0 {
            break segment;
        }
    };
    assert_eq!(reset.to, at(REMOTE, 9_000));
    fails(client.read(fd, 10).0, libc::ENOTCONN);
    ok(client.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK));
    fails(client.connect(fd, at(REMOTE, 9_001)), libc::EINPROGRESS);
    let (returned, packet, _) = client.netdev_receive();
    ok(returned);
    let syn = Segment::read(&packet).expect("a segment");
    assert_eq!((syn.flags, syn.to), (SYN, at(REMOTE, 9_001)));
    // A connection in the making leaves without a word.
    ok(client.disconnect(fd));
    ok(client.disconnect(fd));
    assert!(client.netdev_receive().1.is_empty());
    let udp = udp_socket(&client);
    ok(client.connect(udp, at(REMOTE, 9_002)));
    ok(client.disconnect(udp));
    fails(client.send(udp, b"where to?", 0), libc::EDESTADDRREQ);
    let epoll = ok(client.epoll_create()) as i32;
    fails(client.disconnect(epoll), libc::ENOTSOCK);
    client.free();
}
