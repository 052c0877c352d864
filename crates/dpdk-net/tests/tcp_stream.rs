//! Bytes over a connection: order, ends, readiness, cancellation.

mod common;

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::sync::Arc;
use std::time::Duration;

use common::*;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};

#[test]
fn an_echo_returns_every_byte_in_both_families() {
    run(|net| async move {
        for (server_ip, _) in FAMILIES {
            let (mut client, mut server) = connected(&net, server_ip).await;
            let echo = tokio::spawn(async move {
                let (mut rx, mut tx) = server.split();
                tokio::io::copy(&mut rx, &mut tx).await.unwrap()
            });
            let mut total = 0;
            for len in [1, 100, 1460, 1461, 65_536, 300_000] {
                let sent = pattern(len);
                let mut got = vec![0; len];
                let (mut rx, mut tx) = client.split();
                let (w, r) = tokio::join!(tx.write_all(&sent), rx.read_exact(&mut got));
                w.unwrap();
                r.unwrap();
                assert!(sent == got, "{len} bytes");
                total += len as u64;
            }
            drop(client);
            assert_eq!(echo.await.unwrap(), total);
        }
    });
}

#[test]
fn sixteen_mebibytes_arrive_with_the_same_hash_then_the_end_then_an_answer() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V6).await;
        const TOTAL: usize = 16 << 20;
        let sender = tokio::spawn(async move {
            let mut hash = Sha256::new();
            let chunk = pattern(65_521);
            let mut left = TOTAL;
            while left > 0 {
                let n = left.min(chunk.len());
                client.write_all(&chunk[..n]).await.unwrap();
                hash.update(&chunk[..n]);
                left -= n;
            }
            client.shutdown().await.unwrap();
            let mut rest = Vec::new();
            client.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"done");
            hash.finalize()
        });
        let mut hash = Sha256::new();
        let mut buf = vec![0; 100_000];
        let mut total = 0;
        loop {
            let n = server.read(&mut buf).await.unwrap();
            if n == 0 {
                break;
            }
            total += n;
            hash.update(&buf[..n]);
        }
        assert_eq!(total, TOTAL);
        server.write_all(b"done").await.unwrap();
        drop(server);
        assert_eq!(sender.await.unwrap(), hash.finalize());
    });
}

#[test]
fn peeking_leaves_the_bytes_on_the_stream() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        client.write_all(b"hello").await.unwrap();
        let mut buf = [0; 16];
        let n = server.peek(&mut buf).await.unwrap();
        assert_eq!(&buf[..n], b"hello");
        let n =
            std::future::poll_fn(|cx| server.poll_peek(cx, &mut tokio::io::ReadBuf::new(&mut buf)))
                .await
                .unwrap();
        assert_eq!(n, 5);
        assert_eq!(server.read(&mut buf).await.unwrap(), 5);
        let waiting = tokio::time::timeout(Duration::from_millis(5), server.peek(&mut buf));
        assert!(waiting.await.is_err(), "nothing left to peek at");
        drop(client);
        assert_eq!(server.peek(&mut buf).await.unwrap(), 0, "end of stream");
    });
}

#[test]
fn vectored_io_keeps_the_order() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        assert!(tokio::io::AsyncWrite::is_write_vectored(&client));
        let parts = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
        assert_eq!(client.write_vectored(&parts).await.unwrap(), 5);
        client.writable().await.unwrap();
        assert_eq!(client.try_write_vectored(&parts).unwrap(), 5);
        let mut all = [0; 10];
        server.peek(&mut all).await.unwrap();
        while server.peek(&mut all).await.unwrap() < 10 {
            tokio::task::yield_now().await;
        }
        let (mut x, mut y) = ([0; 3], [0; 4]);
        let n = server
            .try_read_vectored(&mut [IoSliceMut::new(&mut x), IoSliceMut::new(&mut y)])
            .unwrap();
        assert_eq!((n, &x, &y), (7, b"abc", b"deab"));
        let mut rest = [0; 3];
        server.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"cde");
    });
}

#[test]
fn trying_never_waits() {
    run(|net| async move {
        let (mut client, server) = connected(&net, SERVER_V4).await;
        let mut buf = [0; 8];
        assert_eq!(
            server.try_read(&mut buf).unwrap_err().kind(),
            ErrorKind::WouldBlock
        );
        let refused = server.try_io(Interest::READABLE, || Ok(()));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::WouldBlock);
        // Fill the send buffer and the peer's window.
        let chunk = vec![7; 65_536];
        let mut written = 0;
        let full = loop {
            match client.try_write(&chunk) {
                Ok(n) => written += n,
                Err(error) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    if client.try_write(&chunk[..1]).map(|n| written += n).is_err() {
                        break error;
                    }
                }
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        let mut got = Vec::with_capacity(written);
        while got.len() < written {
            server.readable().await.unwrap();
            match server.try_read_buf(&mut got) {
                Ok(n) => assert_ne!(n, 0),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
        assert!(got.iter().all(|&byte| byte == 7));
        client.writable().await.unwrap();
        client.write_all(b"x").await.unwrap();
        let ready = server
            .ready(Interest::READABLE | Interest::WRITABLE)
            .await
            .unwrap();
        assert!(ready.is_writable());
    });
}

#[test]
fn every_task_that_waits_for_readability_is_woken() {
    run(|net| async move {
        let (mut client, server) = connected(&net, SERVER_V6).await;
        let server = Arc::new(server);
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let server = server.clone();
            tasks.spawn(async move { server.readable().await });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert!(tasks.try_join_next().is_none(), "nothing to read yet");
        client.write_all(b"!").await.unwrap();
        for result in tasks.join_all().await {
            result.unwrap();
        }
    });
}

#[test]
fn a_dropped_read_loses_no_byte() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        let sender = tokio::spawn(async move {
            for i in 0..200u8 {
                client.write_all(&[i]).await.unwrap();
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        });
        let mut got = Vec::new();
        while got.len() < 200 {
            let mut byte = [0];
            tokio::select! {
                biased;
                n = server.read(&mut byte) => {
                    assert_eq!(n.unwrap(), 1);
                    got.push(byte[0]);
                }
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(got, (0..200).collect::<Vec<u8>>());
        sender.await.unwrap();
    });
}

#[test]
fn a_half_closed_connection_still_carries_the_other_direction() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V6).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let late = client.write_all(b"more").await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::BrokenPipe);
        let mut question = String::new();
        server.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "question");
        server.write_all(b"answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    });
}

#[test]
fn closing_with_unread_data_resets_the_peer() {
    run(|net| async move {
        let (mut client, server) = connected(&net, SERVER_V4).await;
        client.write_all(b"never read").await.unwrap();
        server.readable().await.unwrap();
        drop(server);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let error = client.write_all(b"x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn zero_linger_resets_and_default_linger_delivers() {
    run(|net| async move {
        let (client, mut server) = connected(&net, SERVER_V4).await;
        assert_eq!(client.linger().unwrap(), None);
        client.set_linger(Some(Duration::ZERO)).unwrap();
        assert_eq!(client.linger().unwrap(), Some(Duration::ZERO));
        drop(client);
        let error = server.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);

        let (mut client, mut server) = connected(&net, SERVER_V6).await;
        let sent = pattern(50_000);
        client.write_all(&sent).await.unwrap();
        drop(client);
        let mut got = Vec::new();
        server.read_to_end(&mut got).await.unwrap();
        assert!(got == sent, "what was written before the drop arrives");
    });
}

#[test]
fn options_are_kept_and_checked() {
    run(|net| async move {
        let (client, _server) = connected(&net, SERVER_V4).await;
        assert!(!client.nodelay().unwrap());
        client.set_nodelay(true).unwrap();
        assert!(client.nodelay().unwrap());
        client.set_ttl(77).unwrap();
        assert_eq!(client.ttl().unwrap(), 77);
        for wrong in [0, 256] {
            assert_eq!(
                client.set_ttl(wrong).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
        assert!(client.take_error().unwrap().is_none());
    });
}

#[test]
fn a_busy_connection_does_not_starve_its_neighbours() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        let busy = tokio::spawn(async move {
            let chunk = vec![0; 1 << 16];
            while client.write_all(&chunk).await.is_ok() {}
        });
        let sink = tokio::spawn(async move {
            let mut buf = vec![0; 1 << 16];
            while server.read(&mut buf).await.is_ok_and(|n| n > 0) {}
        });
        let (mut calm, mut peer) = connected(&net, SERVER_V4).await;
        let echo = tokio::spawn(async move {
            while let Ok(byte) = peer.read_u8().await {
                if peer.write_u8(byte).await.is_err() {
                    break;
                }
            }
        });
        for i in 0..100 {
            calm.write_u8(i).await.unwrap();
            let back = tokio::time::timeout(Duration::from_secs(2), calm.read_u8()).await;
            assert_eq!(back.expect("a turn comes").unwrap(), i);
        }
        busy.abort();
        sink.abort();
        drop(calm);
        echo.await.unwrap();
    });
}

#[test]
fn sockets_outlive_their_worker_and_say_so() {
    let eal = eal("0");
    let rings = dpdk_net::rte::ring::looped_port(&eal, "loop", 1, 64).unwrap();
    let (_port, config) = side(&eal, rings.ids()[0], stack(1));
    let worker = dpdk_net::Worker::new(config).unwrap();
    let handle = worker.handle().clone();
    let listener = worker
        .block_on(dpdk_net::net::TcpListener::bind(at(SERVER_V4, 80)))
        .unwrap();
    let udp = worker
        .block_on(dpdk_net::net::UdpSocket::bind(at(SERVER_V4, 53)))
        .unwrap();
    drop(worker);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let error = runtime.block_on(listener.accept()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    let to = at(CLIENT_V4, 53);
    for error in [
        udp.try_send_to(b"x", to).unwrap_err(),
        udp.try_recv_from(&mut [0]).unwrap_err(),
        runtime.block_on(udp.send_to(b"x", to)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotConnected);
    }
    let _entered = handle.enter();
    let error = runtime
        .block_on(dpdk_net::net::UdpSocket::bind(at(SERVER_V4, 80)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[test]
fn shutting_down_what_the_peer_has_reset_is_no_error() {
    run(|net| async move {
        for owned in [false, true] {
            let (client, mut server) = connected(&net, SERVER_V4).await;
            client.set_zero_linger().unwrap();
            drop(client);
            let error = server.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            // As tokio: whether the RST comes before or after the call is chance.
            if owned {
                server.into_split().1.shutdown().await.unwrap();
            } else {
                server.shutdown().await.unwrap();
                server.split().1.shutdown().await.unwrap();
            }
        }
    });
}

#[test]
fn the_peers_end_of_stream_closes_the_read_side_alone() {
    run(|net| async move {
        let both = Interest::READABLE | Interest::WRITABLE;
        let (mut client, server) = connected(&net, SERVER_V6).await;
        client.write_all(b"last").await.unwrap();
        server.readable().await.unwrap();
        assert!(!server.ready(both).await.unwrap().is_read_closed());
        client.shutdown().await.unwrap();
        let closed = async {
            while !server.ready(both).await.unwrap().is_read_closed() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), closed)
            .await
            .expect("the FIN is told");
        let ready = server.ready(both).await.unwrap();
        assert!(ready.is_readable() && ready.is_writable() && !ready.is_write_closed());
    });
}
