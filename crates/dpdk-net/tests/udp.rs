//! UDP sockets.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::*;
use dpdk_net::net::UdpSocket;
use futures_util::FutureExt;

async fn pair(net: &Net, server_ip: &str, client_ip: &str) -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind(at(server_ip, 7)).await.unwrap();
    let client = net
        .client
        .scope(UdpSocket::bind(at(client_ip, 0)))
        .await
        .unwrap();
    (server, client)
}

#[test]
fn datagrams_of_all_sizes_come_back_whole_in_both_families() {
    run(|net| async move {
        for (server_ip, client_ip) in FAMILIES {
            let (server, client) = pair(&net, server_ip, client_ip).await;
            let echo = tokio::spawn(async move {
                let mut buf = vec![0; 65_535];
                loop {
                    let (len, from) = server.recv_from(&mut buf).await.unwrap();
                    server.send_to(&buf[..len], from).await.unwrap();
                }
            });
            let mut buf = vec![0; 65_535];
            // The larger ones travel in fragments.
            for len in [0, 1, 1472, 1473, 9000, 60_000] {
                let sent = pattern(len);
                assert_eq!(client.send_to(&sent, at(server_ip, 7)).await.unwrap(), len);
                let (n, from) = client.recv_from(&mut buf).await.unwrap();
                assert!(buf[..n] == sent[..], "{len} bytes");
                assert_eq!(from, at(server_ip, 7));
            }
            echo.abort();
            let _ = echo.await;
        }
    });
}

#[test]
fn a_connected_socket_hears_its_peer_only() {
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V4, CLIENT_V4).await;
        assert_eq!(
            client.peer_addr().unwrap_err().kind(),
            ErrorKind::NotConnected
        );
        client.connect(at(SERVER_V4, 7)).await.unwrap();
        assert_eq!(client.peer_addr().unwrap(), at(SERVER_V4, 7));
        let to = client.local_addr().unwrap();
        let stranger = UdpSocket::bind(at(SERVER_V4, 8)).await.unwrap();
        stranger.send_to(b"stranger", to).await.unwrap();
        client.send(b"hi").await.unwrap();
        let mut buf = [0; 16];
        let (n, from) = server.recv_from(&mut buf).await.unwrap();
        assert_eq!((&buf[..n], from), (&b"hi"[..], to));
        server.send_to(b"peer", from).await.unwrap();
        assert_eq!(client.recv(&mut buf).await.unwrap(), 4);
        assert_eq!(&buf[..4], b"peer");
    });
}

#[test]
fn a_datagram_is_cut_to_the_buffer_and_peeking_leaves_it() {
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V6, CLIENT_V6).await;
        for _ in 0..2 {
            client
                .send_to(b"0123456789", at(SERVER_V6, 7))
                .await
                .unwrap();
        }
        let from = client.local_addr().unwrap();
        let mut small = [0; 4];
        assert_eq!(server.peek_sender().await.unwrap(), from);
        assert_eq!(server.peek_from(&mut small).await.unwrap(), (4, from));
        assert_eq!(server.recv_from(&mut small).await.unwrap(), (4, from));
        assert_eq!(&small, b"0123");
        let mut grown = Vec::with_capacity(64);
        assert_eq!(server.recv_buf_from(&mut grown).await.unwrap(), (10, from));
        assert_eq!(
            grown, b"0123456789",
            "the cut rest is lost, the next is whole"
        );
        assert_eq!(
            server.try_recv(&mut small).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
    });
}

#[test]
fn a_closed_port_refuses_a_connected_socket() {
    run(|net| async move {
        for (server_ip, client_ip) in FAMILIES {
            let client = net
                .client
                .scope(UdpSocket::bind(at(client_ip, 0)))
                .await
                .unwrap();
            client.connect(at(server_ip, 9)).await.unwrap();
            client.send(b"anyone?").await.unwrap();
            let error = client.recv(&mut [0; 8]).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{server_ip}");
        }
    });
}

#[test]
fn an_unspecified_ipv6_socket_speaks_ipv4_in_mapped_addresses() {
    run(|net| async move {
        let server = UdpSocket::bind("[::]:7").await.unwrap();
        let client = net
            .client
            .scope(UdpSocket::bind(at(CLIENT_V4, 0)))
            .await
            .unwrap();
        client.send_to(b"four", at(SERVER_V4, 7)).await.unwrap();
        let mut buf = [0; 8];
        let (n, from) = server.recv_from(&mut buf).await.unwrap();
        assert_eq!(from.ip().to_string(), "::ffff:198.18.0.2");
        server.send_to(&buf[..n], from).await.unwrap();
        let (n, from) = client.recv_from(&mut buf).await.unwrap();
        assert_eq!((n, from), (4, at(SERVER_V4, 7)));
        let wrong = client.send_to(b"six", at(SERVER_V6, 7)).await.unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(97), "EAFNOSUPPORT: {wrong}");
    });
}

#[test]
fn errors_are_the_kernels() {
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V4, CLIENT_V4).await;
        let taken = UdpSocket::bind(at(SERVER_V4, 7)).await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        let foreign = UdpSocket::bind("203.0.113.1:7").await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
        let long = client
            .send_to(&vec![0; 65_508], at(SERVER_V4, 7))
            .await
            .unwrap_err();
        assert_eq!(long.raw_os_error(), Some(90), "EMSGSIZE: {long}");
        let broadcast = client
            .send_to(b"x", at("198.18.0.255", 7))
            .await
            .unwrap_err();
        assert_eq!(broadcast.kind(), ErrorKind::PermissionDenied);
        client.set_broadcast(true).unwrap();
        assert!(client.broadcast().unwrap());
        client.send_to(b"x", at("198.18.0.255", 7)).await.unwrap();
        client.set_ttl(9).unwrap();
        assert_eq!(client.ttl().unwrap(), 9);
        drop(server);
    });
}

#[test]
fn many_tasks_receive_from_one_socket_and_a_dropped_receive_takes_nothing() {
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V4, CLIENT_V4).await;
        let server = std::sync::Arc::new(server);
        let mut buf = [0; 4];
        let dropped = tokio::time::timeout(Duration::from_millis(2), server.recv_from(&mut buf));
        assert!(dropped.await.is_err());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let server = server.clone();
            tasks.spawn(async move {
                let mut buf = [0; 4];
                server.recv_from(&mut buf).await.unwrap();
                buf[0]
            });
        }
        for i in 0..4u8 {
            client.send_to(&[i], at(SERVER_V4, 7)).await.unwrap();
        }
        let mut got = tasks.join_all().await;
        got.sort();
        assert_eq!(got, [0, 1, 2, 3]);
    });
}

#[test]
fn a_group_is_heard_while_joined() {
    run(|net| async move {
        let server = UdpSocket::bind("[::]:7").await.unwrap();
        let v4 = "239.1.2.3".parse().unwrap();
        let v6 = "ff15::1:2:3".parse().unwrap();
        let any = std::net::Ipv4Addr::UNSPECIFIED;
        let other = "203.0.113.1".parse().unwrap();
        let wrong = server.join_multicast_v4(v4, other).unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(19), "ENODEV: {wrong}");
        server.join_multicast_v4(v4, any).unwrap();
        server.join_multicast_v6(&v6, 0).unwrap();
        let mut buf = [0; 8];
        for (client_ip, group) in [(CLIENT_V4, "239.1.2.3"), (CLIENT_V6, "ff15::1:2:3")] {
            let client = net
                .client
                .scope(UdpSocket::bind(at(client_ip, 0)))
                .await
                .unwrap();
            client.send_to(b"all", at(group, 7)).await.unwrap();
            assert_eq!(server.recv(&mut buf).await.unwrap(), 3);
        }
        server.leave_multicast_v4(v4, any).unwrap();
        server.leave_multicast_v6(&v6, 0).unwrap();
        let client = net
            .client
            .scope(UdpSocket::bind(at(CLIENT_V4, 0)))
            .await
            .unwrap();
        client.send_to(b"none", at("239.1.2.3", 7)).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_millis(20), server.recv(&mut buf));
        assert!(heard.await.is_err(), "left");
    });
}

#[test]
fn what_is_sent_at_once_arrives_as_datagrams_and_can_be_received_at_once() {
    run(|net| async move {
        for (server_ip, client_ip) in FAMILIES {
            let (server, client) = pair(&net, server_ip, client_ip).await;
            let to = at(server_ip, 7);
            let from = client.local_addr().unwrap();
            let data = pattern(10_500);
            let mut buf = vec![0; 65_536];
            client.connect(to).await.unwrap();
            assert_eq!(client.send_segments(&data, 1_000).await.unwrap(), 10_500);
            for piece in data.chunks(1_000) {
                let (len, _) = server.recv_from(&mut buf).await.unwrap();
                assert!(buf[..len] == *piece);
            }
            // From here on all that is there with one call.
            assert!(!server.gro().unwrap());
            server.set_gro(true).unwrap();
            assert!(server.gro().unwrap());
            let ways: [&dyn Fn() -> std::io::Result<usize>; 3] = [
                &|| client.try_send_segments(&data, 1_000),
                &|| client.try_send_segments_to(&data, 1_000, to),
                &|| {
                    client.set_segment_size(Some(1_000))?;
                    let sent = client.try_send(&data)?;
                    assert_eq!(client.segment_size()?, Some(1_000));
                    client.set_segment_size(None)?;
                    Ok(sent)
                },
            ];
            for send in ways {
                assert_eq!(send().unwrap(), 10_500);
                let mut got: Vec<u8> = Vec::new();
                while got.len() < data.len() {
                    let meta = server.recv_gro(&mut buf).await.unwrap();
                    assert_eq!((meta.addr, meta.stride.min(1_000)), (from, meta.stride));
                    got.extend(meta.datagrams(&buf).flatten());
                }
                assert!(got == data);
            }
            let missing = server.try_recv_gro(&mut buf).unwrap_err();
            assert_eq!(missing.kind(), ErrorKind::WouldBlock);
            client.send_segments_to(&data, 1_400, to).await.unwrap();
            // All of them are there before the first is taken.
            tokio::time::sleep(Duration::from_millis(20)).await;
            let meta = server.try_recv_gro(&mut buf).unwrap();
            assert_eq!((meta.len, meta.stride), (10_500, 1_400));
            assert_eq!(meta.datagrams(&buf).count(), 8);
            // An empty one is a datagram.
            client.send_segments(&[], 1).await.unwrap();
            let meta = server.recv_gro(&mut buf).await.unwrap();
            assert_eq!((meta.len, meta.datagrams(&buf).count()), (0, 1));
        }
    });
}

#[test]
fn polled_sends_and_receives_move_many_datagrams_too() {
    use std::future::poll_fn;
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V4, CLIENT_V4).await;
        let to = at(SERVER_V4, 7);
        let data = pattern(3_000);
        server.set_gro(true).unwrap();
        client.connect(to).await.unwrap();
        for connected in [true, false] {
            let sent = poll_fn(|cx| {
                if connected {
                    client.poll_send_segments(cx, &data, 1_000)
                } else {
                    client.poll_send_segments_to(cx, &data, 1_000, to)
                }
            });
            assert_eq!(sent.await.unwrap(), 3_000);
            let mut buf = vec![0; 4_000];
            let mut buf = tokio::io::ReadBuf::new(&mut buf);
            while buf.filled().len() < 3_000 {
                let meta = poll_fn(|cx| server.poll_recv_gro(cx, &mut buf)).await;
                assert_eq!(meta.unwrap().stride, 1_000);
            }
            assert!(buf.filled() == &data[..]);
        }
    });
}

#[test]
fn segments_that_cannot_be_sent_are_refused_with_words() {
    run(|net| async move {
        let (_server, client) = pair(&net, SERVER_V4, CLIENT_V4).await;
        let to = at(SERVER_V4, 7);
        let data = vec![0; 65_000];
        let words = |error: std::io::Error| {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            error.to_string()
        };
        let none = words(client.try_send_segments_to(&data, 0, to).unwrap_err());
        assert!(none.contains("segment size of 0"), "{none}");
        let many = words(client.try_send_segments_to(&data, 1_000, to).unwrap_err());
        assert!(many.contains("64"), "{many}");
        let unset = words(client.set_segment_size(Some(0)).unwrap_err());
        assert!(unset.contains("segment size of 0"), "{unset}");
        let large = words(client.set_segment_size(Some(1_473)).unwrap_err());
        assert!(large.contains("MTU"), "{large}");
        for size in [1_473, 65_536, usize::MAX] {
            let long = client.try_send_segments_to(&data, size, to).unwrap_err();
            assert_eq!(long.raw_os_error(), Some(90), "EMSGSIZE: {long}");
        }
        let peerless = client.try_send_segments(&data, 1_472).unwrap_err();
        assert_eq!(peerless.kind(), ErrorKind::NotConnected);
        assert_eq!(net.client.stats().stack.udp.sent, 0);
    });
}

#[test]
fn sends_wait_for_room_for_all_of_their_datagrams() {
    run(|net| async move {
        let (server, client) = pair(&net, SERVER_V6, CLIENT_V6).await;
        client.connect(at(SERVER_V6, 7)).await.unwrap();
        let data = pattern(64_000);
        // Before the server's MAC address is known, nothing waits for room.
        client.send_segments(&data, 1_000).await.unwrap();
        server.recv(&mut [0; 1_000]).await.unwrap();
        let mut accepted = 1;
        let full = loop {
            match client.try_send_segments(&data, 1_000) {
                Ok(_) => accepted += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let dropped = client.send_segments(&data, 1_400).now_or_never();
        assert!(dropped.is_none(), "no room, and dropped");
        assert_eq!(client.send_segments(&data, 1_000).await.unwrap(), 64_000);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let stats = net.client.stats().stack.udp;
        assert_eq!(stats.sent, 64 * (accepted + 1));
        assert_eq!(stats.sent_segmented, stats.sent);
        drop(server);
    });
}
