//! Several workers over the queues of one port: whichever queue a packet comes to, it finds its connection.
//!
//! Server and client are four (or two) workers each, all on this thread, over ports that are made of rings. What one port sends on
//! its queue `i` the other receives on its queue `i`; in between stands a model of a NIC that spreads packets by RSS, or at random.

mod bed;
#[path = "../common/mod.rs"]
mod common;
mod ends;
mod groups;
mod moves;
mod wire;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dpdk_net::net::{TcpStream, UdpSocket};
use dpdk_net::packet::FiveTuple;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use self::bed::{Net, ask, converse, echo, listen, pattern, run};
use self::common::{FAMILIES, at};
use self::wire::{Spreading, reta, rss_queue};

#[test]
fn packets_that_come_to_any_queue_find_their_connection() {
    run_all(Spreading::Random, |net, queues| async move {
        converse(&net, usize::from(queues), 50, 50, 40_000).await;
        assert_eq!(net.lost(), 0);
        // All but one in `queues` is at the wrong one.
        let segments: u64 = net
            .server
            .iter()
            .map(|h| h.stats().stack.tcp.rx_segments)
            .sum();
        let handed = Net::sum(&net.server, |stats| stats.handed_over);
        assert!(
            handed > segments / 3,
            "{handed} of {segments} were handed over"
        );
    });
}

#[test]
fn nothing_is_handed_over_where_rss_brings_packets_home() {
    run_all(Spreading::Rss, |net, queues| async move {
        // 1,000 connections out of four queues.
        converse(
            &net,
            usize::from(queues),
            500 / usize::from(queues),
            125,
            300,
        )
        .await;
        assert_eq!((net.handed_over(), net.lost()), (0, 0));
    });
}

fn run_all<Fut: Future<Output = ()>>(spreading: Spreading, test: impl Fn(Net, u16) -> Fut) {
    // EAL starts once a process: both counts are in one test of four, of which two are used first.
    run(4, spreading, |net| async move {
        let queues = net.server.len() as u16;
        test(net, queues).await;
    });
}

#[test]
fn two_queues_do_as_well() {
    run(2, Spreading::Random, |net| async move {
        converse(&net, 2, 50, 50, 40_000).await;
        assert_eq!(net.lost(), 0);
        assert!(net.handed_over() > 0);
    });
}

#[test]
fn ten_thousand_connections_are_each_at_the_queue_that_rss_says() {
    run(4, Spreading::Rss, |net| async move {
        let hash = net.to_server.hash.clone();
        for (server, _) in FAMILIES {
            let addr = at(server, 80);
            let accepted: Arc<Mutex<HashMap<SocketAddr, u16>>> = Arc::default();
            for (queue, handle) in net.server.iter().enumerate() {
                let listener = listen(handle, addr).await;
                let accepted = accepted.clone();
                tokio::task::spawn_local(handle.scope(async move {
                    while let Ok((mut stream, peer)) = listener.accept().await {
                        accepted.lock().unwrap().insert(peer, queue as u16);
                        tokio::task::spawn_local(async move {
                            let mut byte = [0];
                            if stream.read_exact(&mut byte).await.is_ok() {
                                let _ = stream.write_all(&byte).await;
                            }
                            // Until the peer closes.
                            let _ = stream.read(&mut byte).await;
                        });
                    }
                }));
            }
            let mut open = Vec::new();
            for _ in 0..25 {
                let mut tasks = Vec::new();
                for (queue, handle) in net.client.iter().enumerate() {
                    for _ in 0..50 {
                        tasks.push(tokio::task::spawn_local(handle.scope(async move {
                            let mut stream = TcpStream::connect(addr).await.unwrap();
                            stream.write_all(b"x").await.unwrap();
                            stream.read_exact(&mut [0]).await.unwrap();
                            (queue as u16, stream)
                        })));
                    }
                }
                for task in tasks {
                    open.push(task.await.unwrap());
                }
            }
            assert_eq!(open.len(), 5_000);
            let accepted = accepted.lock().unwrap();
            for (queue, stream) in &open {
                let flow = FiveTuple {
                    protocol: dpdk_net::packet::Protocol::Tcp,
                    src: stream.local_addr().unwrap(),
                    dst: addr,
                };
                assert_eq!(accepted[&flow.src], rss_queue(&hash, &reta(4), &flow));
                assert_eq!(
                    *queue,
                    rss_queue(&hash, &reta(4), &flow.reversed()),
                    "{flow}"
                );
            }
        }
        assert_eq!((net.handed_over(), net.lost()), (0, 0));
    });
}

#[test]
fn a_listener_on_one_worker_accepts_what_comes_to_all() {
    run(4, Spreading::Rss, |net| async move {
        converse(&net, 1, 50, 50, 5_000).await;
        assert_eq!(net.lost(), 0);
        let counts: Vec<u64> = net
            .server
            .iter()
            .map(|handle| handle.stats().stack.tcp.passive_opens)
            .collect();
        assert_eq!(counts, [400, 0, 0, 0]);
        assert!(net.server[1].stats().worker.handed_over > 0);
    });
}

#[test]
fn datagrams_find_their_socket() {
    run(4, Spreading::Random, |net| async move {
        for (server, client) in FAMILIES {
            let addr = at(server, 53);
            let socket = net.server[2].scope(UdpSocket::bind(addr)).await.unwrap();
            tokio::task::spawn_local(net.server[2].scope(async move {
                let mut buf = vec![0; 65_536];
                while let Ok((n, from)) = socket.recv_from(&mut buf).await {
                    let _ = socket.send_to(&buf[..n], from).await;
                }
            }));
            for (worker, handle) in net.client.iter().enumerate() {
                let bound = at(client, 0);
                let socket = handle.scope(UdpSocket::bind(bound)).await.unwrap();
                socket.connect(addr).await.unwrap();
                for len in [1, 500, 1_400] {
                    for n in 0..20 {
                        let sent = pattern(worker * 100 + n, len);
                        socket.send(&sent).await.unwrap();
                        let mut buf = vec![0; 65_536];
                        let got = socket.recv(&mut buf).await.unwrap();
                        assert!(buf[..got] == sent, "{len} bytes from worker {worker}");
                    }
                }
            }
        }
        assert_eq!(net.lost(), 0);
        let frames: Vec<_> = net.server.iter().map(|h| h.stats().stack.frames).collect();
        let sum = |of: fn(&dpdk_net::stack::FrameStats) -> u64| frames.iter().map(of).sum::<u64>();
        assert!(sum(|it| it.strays) > 0);
        assert_eq!(sum(|it| it.strays), sum(|it| it.strays_udp));
        assert_eq!(
            sum(|it| it.strays),
            Net::sum(&net.server, |it| it.handed_over)
        );
    });
}

#[test]
fn ten_thousand_datagram_flows_each_come_to_their_own_queues() {
    run(4, Spreading::Rss, |net| async move {
        let received: Arc<[AtomicU64; 4]> = Arc::default();
        for (server, _) in FAMILIES {
            let addr = at(server, 53);
            for (queue, handle) in net.server.iter().enumerate() {
                let socket = handle.scope(UdpSocket::bind(addr)).await.unwrap();
                let received = received.clone();
                tokio::task::spawn_local(handle.scope(async move {
                    let mut buf = [0; 2_048];
                    while let Ok((n, from)) = socket.recv_from(&mut buf).await {
                        received[queue].fetch_add(1, Ordering::Relaxed);
                        let _ = socket.send_to(&buf[..n], from).await;
                    }
                }));
            }
            let mut open = Vec::new();
            for n in 0..5_000u32 {
                let handle = &net.client[n as usize % 4];
                let socket = handle.scope(UdpSocket::connected(addr)).await.unwrap();
                socket.send(&n.to_be_bytes()).await.unwrap();
                let mut back = [0; 8];
                let len = socket.recv(&mut back).await.unwrap();
                assert_eq!(back[..len], n.to_be_bytes());
                open.push(socket);
            }
        }
        let received: Vec<u64> = received.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert_eq!(received.iter().sum::<u64>(), 10_000);
        assert!(received.iter().all(|n| *n > 2_000), "{received:?}");
        assert_eq!((net.handed_over(), net.lost()), (0, 0));
    });
}

#[test]
fn a_neighbour_that_one_worker_has_found_is_known_to_all() {
    run(4, Spreading::Rss, |net| async move {
        let addr = at(FAMILIES[0].0, 80);
        for handle in &net.server {
            let listener = listen(handle, addr).await;
            echo(handle, listener);
        }
        net.client[3].scope(ask(addr, 0, 100)).await;
        let asked = net.to_server.asked.load(Ordering::Relaxed);
        assert!(
            asked > 0,
            "the answer came to queue 0, and worker 3 had asked"
        );
        for handle in &net.client {
            handle.scope(ask(addr, 1, 100)).await;
        }
        assert_eq!(net.to_server.asked.load(Ordering::Relaxed), asked);
        assert_eq!(
            net.to_client.asked.load(Ordering::Relaxed),
            asked,
            "answers alone"
        );
        assert_eq!(Net::sum(&net.client, |stats| stats.news_dropped), 0);
    });
}
