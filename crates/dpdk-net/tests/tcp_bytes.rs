//! Whole buffers over a connection: sent and received without a copy, within bounds. Options of a connection.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use common::*;
use dpdk_net::net::{CongestionAlgorithm, TcpKeepalive, TcpListener, TcpSocket};
use tokio::io::AsyncWriteExt;

/// How many segments of the server's were kept in the packet buffers they came in.
fn kept(net: &Net) -> u64 {
    net.server.stats().stack.tcp.rx_kept
}

#[test]
fn buffers_arrive_as_they_were_sent_then_the_end() {
    run(|net| async move {
        for (server_ip, _) in FAMILIES {
            let (client, server) = connected(&net, server_ip).await;
            let sent = Bytes::from(pattern(3_000_000));
            let all = sent.clone();
            let (_rx, mut tx) = client.into_split();
            let sender = tokio::spawn(async move {
                // Small ones are copied, large ones not.
                tx.send_bytes(all.slice(..10)).await.unwrap();
                tx.send_bytes(all.slice(10..200_000)).await.unwrap();
                tx.send_bytes(Bytes::new()).await.unwrap();
                tx.send_bytes(all.slice(200_000..)).await.unwrap();
            });
            let (mut rx, _tx) = server.into_split();
            let mut got = Vec::new();
            loop {
                let bytes = rx.recv_bytes(100_000).await.unwrap();
                assert!(bytes.len() <= 100_000);
                if bytes.is_empty() {
                    break;
                }
                got.extend_from_slice(&bytes);
            }
            assert!(got == sent);
            assert!(rx.recv_bytes(1).await.unwrap().is_empty(), "the end stays");
            sender.await.unwrap();
        }
        assert!(kept(&net) > 1_000, "{}: nearly all of them", kept(&net));
    });
}

#[test]
fn what_would_block_says_so_and_takes_nothing() {
    run(|net| async move {
        let (client, server) = connected(&net, SERVER_V4).await;
        assert_eq!(
            server.try_recv_bytes(10).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        assert!(server.try_recv_bytes(0).unwrap().is_empty());
        let mut data = Bytes::from(vec![1; 20 << 20]);
        let mut taken = 0;
        let mut full = 0;
        // Until both buffers are full and nothing is on its way any more.
        while full < 5 {
            match client.try_send_bytes(&mut data) {
                Ok(n) => (taken, full) = (taken + n, 0),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    full += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        assert_eq!(taken + data.len(), 20 << 20);
        assert!(taken < 5 << 20, "{taken}: the send buffer bounds it");
        // Whoever waits for room gives up: nothing of it is sent.
        let mut big = Box::pin(client.send_bytes(Bytes::from_static(&[2; 4096])));
        tokio::time::timeout(Duration::from_millis(20), &mut big)
            .await
            .unwrap_err();
        drop(big);
        let mut got = 0;
        while got < taken {
            let bytes = server.recv_bytes(usize::MAX).await.unwrap();
            assert!(bytes.iter().all(|byte| *byte == 1));
            got += bytes.len();
        }
        client
            .send_bytes(Bytes::from_static(b"after"))
            .await
            .unwrap();
        assert_eq!(server.recv_bytes(100).await.unwrap(), "after");
    });
}

#[test]
fn a_wait_for_bytes_that_is_given_up_takes_none_and_an_end_is_told() {
    run(|net| async move {
        let (mut client, server) = connected(&net, SERVER_V6).await;
        for round in 0..20 {
            let wait = server.recv_bytes(1_000);
            tokio::time::timeout(Duration::from_micros(200), wait)
                .await
                .unwrap_err();
            client.write_all(&[round; 5]).await.unwrap();
            assert_eq!(server.recv_bytes(1_000).await.unwrap(), vec![round; 5]);
        }
        drop(server);
        let error = loop {
            match client.send_bytes(Bytes::from_static(&[0; 2_000])).await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(1)).await,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{error}"
        );
    });
}

#[test]
fn a_reader_that_never_reads_starves_nobody() {
    run(|net| async move {
        // Each may hold 64 KiB and more unread, in packet buffers: far more than there are in all.
        let mut slow = Vec::new();
        for _ in 0..300 {
            let (mut client, server) = connected(&net, SERVER_V4).await;
            tokio::time::timeout(
                Duration::from_millis(20),
                client.write_all(&vec![7; 60_000]),
            )
            .await
            .ok();
            slow.push((client, server));
        }
        assert!(kept(&net) > 1_000, "{}", kept(&net));
        let (mut client, server) = connected(&net, SERVER_V6).await;
        let sent = pattern(2_000_000);
        let data = sent.clone();
        let sender = tokio::spawn(async move {
            client.write_all(&data).await.unwrap();
            client
        });
        let mut got = Vec::new();
        while got.len() < sent.len() {
            got.extend_from_slice(&server.recv_bytes(usize::MAX).await.unwrap());
        }
        assert!(got == sent);
        drop(sender.await.unwrap());
        // What the slow ones hold is whole.
        for (_client, server) in slow {
            let mut left = 60_000;
            while left > 0 {
                let bytes = server.recv_bytes(left).await.unwrap();
                assert!(!bytes.is_empty() && bytes.iter().all(|byte| *byte == 7));
                left -= bytes.len();
            }
        }
    });
}

#[test]
fn options_are_read_as_they_were_set_before_and_after_connecting() {
    run(|net| async move {
        let listening = TcpSocket::new_v4().unwrap();
        listening.bind(at(SERVER_V4, 0)).unwrap();
        listening.set_recv_buffer_size(100_000).unwrap();
        listening
            .set_tcp_congestion(CongestionAlgorithm::Bbr)
            .unwrap();
        listening.set_nodelay(true).unwrap();
        listening.set_tos_v4(0x28).unwrap();
        let listener: TcpListener = listening.listen(16).unwrap();
        let to = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(
            net.client.scope(async {
                let socket = TcpSocket::new_v4().unwrap();
                assert_eq!(socket.tcp_congestion().unwrap(), CongestionAlgorithm::Cubic);
                assert_eq!(socket.recv_buffer_size().unwrap(), 65_536);
                socket.set_send_buffer_size(50_000).unwrap();
                socket
                    .set_tcp_user_timeout(Some(Duration::from_secs(9)))
                    .unwrap();
                socket.set_tcp_mss(1_000).unwrap();
                assert_eq!(socket.tcp_mss().unwrap(), 1_000);
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(60))
                    .with_retries(4);
                socket.set_tcp_keepalive(&keepalive).unwrap();
                socket.connect(to).await.unwrap()
            }),
            listener.accept()
        );
        let server = accepted.unwrap().0;
        assert_eq!(server.recv_buffer_size().unwrap(), 100_000);
        assert_eq!(server.tcp_congestion().unwrap(), CongestionAlgorithm::Bbr);
        assert!(server.nodelay().unwrap() && !client.nodelay().unwrap());
        assert_eq!(
            (server.tos_v4().unwrap(), client.tos_v4().unwrap()),
            (0x28, 0)
        );
        assert_eq!(client.send_buffer_size().unwrap(), 50_000);
        assert_eq!(
            client.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(9))
        );
        assert_eq!(
            client.tcp_keepalive_time().unwrap(),
            Duration::from_secs(60)
        );
        assert_eq!(
            client.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(75)
        );
        assert_eq!(client.tcp_keepalive_retries().unwrap(), 4);
        assert!(client.keepalive().unwrap() && !server.keepalive().unwrap());
        // The server was told, and timestamps take their part of a segment.
        assert_eq!(server.tcp_mss().unwrap(), 1_000 - 12);
        client.set_quickack(true).unwrap();
        assert!(client.quickack().unwrap());
        client.set_max_pacing_rate(Some(1_000_000)).unwrap();
        assert_eq!(client.max_pacing_rate().unwrap(), Some(1_000_000));
        client.set_tcp_notsent_lowat(Some(16_384)).unwrap();
        assert_eq!(client.tcp_notsent_lowat().unwrap(), Some(16_384));
        let bad = [
            client.set_tcp_mss(10),
            client.set_recv_buffer_size(0),
            client.set_max_pacing_rate(Some(0)),
            client.set_tos_v4(256),
            client.set_ttl(0),
            client.set_tcp_keepalive(&TcpKeepalive::new().with_retries(300)),
        ];
        for result in bad {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        client
            .send_bytes(Bytes::from(pattern(100_000)))
            .await
            .unwrap();
        let mut left = 100_000;
        while left > 0 {
            left -= server.recv_bytes(left).await.unwrap().len();
        }
        let info = client.tcp_info().unwrap();
        assert!(
            info.bytes_sent >= 100_000 && info.rtt > Duration::ZERO,
            "{info:?}"
        );
        assert_eq!(server.tcp_info().unwrap().bytes_received, 100_000);
        assert_eq!("reno".parse(), Ok(CongestionAlgorithm::NewReno));
    });
}
