//! Connections that move from worker to worker, by hand and by load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dpdk_net::Handle;
use dpdk_net::net::TcpStream;
use dpdk_net::packet::FiveTuple;
use dpdk_net::peers::Rebalanced;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bed::{echo, listen, pattern, run};
use super::common::{FAMILIES, at};
use super::wire::{Spreading, reta, rss_queue};

/// Echoes for ever, and moves the connection to the next worker every so many reads.
async fn echo_and_move(mut stream: TcpStream, servers: Vec<Handle>, start: usize) {
    let mut buf = vec![0; 3_000];
    let mut at = start;
    for reads in 1.. {
        match stream.read(&mut buf).await {
            Ok(n @ 1..) => stream.write_all(&buf[..n]).await.unwrap(),
            _ => return,
        }
        if reads % 5 == 0 {
            at = (at + 1) % servers.len();
            stream.migrate(&servers[at]).unwrap();
        }
    }
}

/// Seconds that connections are moved to and fro for, and how many; `DPDK_NET_SOAK_SECONDS=60` is what a release is tried with.
fn soak() -> (u64, usize) {
    let seconds = std::env::var("DPDK_NET_SOAK_SECONDS").ok();
    match seconds.and_then(|text| text.parse().ok()) {
        Some(seconds) => (seconds, 250),
        None => (2, 25),
    }
}

#[test]
fn busy_connections_move_from_worker_to_worker_and_lose_no_byte() {
    let (seconds, each) = soak();
    run(4, Spreading::Random, |net| async move {
        let addr = at(FAMILIES[1].0, 80);
        for (number, handle) in net.server.iter().enumerate() {
            let listener = listen(handle, addr).await;
            let servers = net.server.clone();
            tokio::task::spawn_local(handle.scope(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::task::spawn_local(echo_and_move(stream, servers.clone(), number));
                }
            }));
        }
        // The rebalancer's way: whoever it is, without asking its task.
        let (servers, clients) = (net.server.clone(), net.client.clone());
        let moved = Arc::new(AtomicU64::new(0));
        let count = moved.clone();
        let mover = tokio::task::spawn_local(async move {
            for turn in 0.. {
                for handles in [&servers, &clients] {
                    let (from, to) = (&handles[turn % 4], &handles[(turn / 4 + turn + 1) % 4]);
                    count.fetch_add(from.migrate(to, 8, |_| true) as u64, Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        let end = std::time::Instant::now() + Duration::from_secs(seconds);
        let mut tasks = Vec::new();
        for (worker, handle) in net.client.iter().enumerate() {
            for n in 0..each {
                tasks.push(tokio::task::spawn_local(handle.scope(async move {
                    let mut stream = TcpStream::connect(addr).await.unwrap();
                    let sent = pattern(worker * each + n, 30_000);
                    let mut back = vec![0; sent.len()];
                    let mut rounds = 0;
                    while rounds < 2 || std::time::Instant::now() < end {
                        let (mut rx, mut tx) = stream.split();
                        let (wrote, read) =
                            tokio::join!(tx.write_all(&sent), rx.read_exact(&mut back));
                        wrote.unwrap();
                        read.unwrap();
                        assert!(
                            back == sent,
                            "stream {n} of worker {worker} came back changed"
                        );
                        rounds += 1;
                    }
                    rounds
                })));
            }
        }
        let mut rounds = 0;
        for task in tasks {
            rounds += task.await.unwrap();
        }
        mover.abort();
        let exported: u64 = net
            .server
            .iter()
            .chain(&net.client)
            .map(|h| h.stats().stack.tcp.exported)
            .sum();
        println!(
            "{} connections, {rounds} times 30,000 bytes, {exported} moves",
            4 * each
        );
        assert!(moved.load(Ordering::Relaxed) > 0 && exported > 4 * each as u64);
        assert_eq!(net.lost(), 0);
    });
}

#[test]
fn a_connection_moves_between_workers_of_one_port_alone() {
    run(2, Spreading::Rss, |net| async move {
        let addr = at(FAMILIES[0].0, 80);
        let listener = listen(&net.server[0], addr).await;
        let other = listen(&net.server[1], addr).await;
        let client = net.client[0].scope(TcpStream::connect(addr)).await.unwrap();
        let (mut server, at) = tokio::select! {
            accepted = listener.accept() => (accepted.unwrap().0, 0),
            accepted = other.accept() => (accepted.unwrap().0, 1),
        };
        let error = server.migrate(&net.client[0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        server.migrate(&net.server[at]).unwrap();
        // Who waits goes along.
        let reading = tokio::task::spawn_local(async move {
            let mut buf = [0; 4];
            server.read_exact(&mut buf).await.unwrap();
            (server, buf)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(net.server[at].migrate(&net.server[1 - at], 10, |_| true), 1);
        assert_eq!(net.server[at].stats().tcp_connections, 0);
        assert_eq!(net.server[1 - at].stats().tcp_connections, 1);
        // Nobody has used it since, so it stays.
        assert_eq!(net.server[1 - at].migrate(&net.server[at], 10, |_| true), 0);
        let mut client = client;
        client.write_all(b"here").await.unwrap();
        let (server, buf) = reading.await.unwrap();
        assert_eq!(&buf, b"here");
        assert_eq!(net.server[1 - at].migrate(&net.server[at], 10, |_| true), 1);
        drop(server);
        assert_eq!(
            client.read(&mut [0; 1]).await.unwrap(),
            0,
            "closed where it has gone"
        );
    });
}

#[test]
fn a_queue_with_too_much_to_do_gives_entries_and_their_connections_away() {
    run(4, Spreading::Rss, |net| async move {
        let addr = at(FAMILIES[0].0, 80);
        for handle in &net.server {
            let listener = listen(handle, addr).await;
            echo(handle, listener);
        }
        // Those whose packets come to queue 1 go on talking, all others are silent.
        let mut talking = Vec::new();
        let mut silent = Vec::new();
        let hash = net.to_server.hash.clone();
        for n in 0..200 {
            let handle = &net.client[n % 4];
            let stream = handle.scope(TcpStream::connect(addr)).await.unwrap();
            let flow = FiveTuple {
                protocol: dpdk_net::packet::Protocol::Tcp,
                src: stream.local_addr().unwrap(),
                dst: addr,
            };
            if rss_queue(&hash, &reta(4), &flow) == 1 {
                talking.push(stream);
            } else {
                silent.push(stream);
            }
        }
        assert!(talking.len() > 20, "{}", talking.len());
        let before: Vec<usize> = net
            .server
            .iter()
            .map(|h| h.stats().tcp_connections)
            .collect();
        assert_eq!(before[1], talking.len());
        assert_eq!(
            net.rebalancer.borrow_mut().step().unwrap(),
            Rebalanced::default()
        );
        let talk = |talking: Vec<TcpStream>| async move {
            let mut tasks = Vec::new();
            for (n, mut stream) in talking.into_iter().enumerate() {
                tasks.push(tokio::task::spawn_local(async move {
                    for round in 0..20 {
                        let sent = pattern(n + round, 500);
                        let mut back = [0; 500];
                        stream.write_all(&sent).await.unwrap();
                        stream.read_exact(&mut back).await.unwrap();
                        assert!(back[..] == sent);
                    }
                    stream
                }));
            }
            let mut back = Vec::new();
            for task in tasks {
                back.push(task.await.unwrap());
            }
            back
        };
        talking = talk(talking).await;
        let done = net.rebalancer.borrow_mut().step().unwrap();
        assert!(done.entries > 0 && done.connections > 0, "{done:?}");
        // They go on as before, at their new queues, and nothing has to be handed over.
        let handed = net.handed_over();
        talking = talk(talking).await;
        assert_eq!(net.handed_over(), handed);
        let after: Vec<usize> = net
            .server
            .iter()
            .map(|h| h.stats().tcp_connections)
            .collect();
        assert_eq!(after.iter().sum::<usize>(), 200);
        assert_eq!(before[1] - after[1], done.connections);
        let table = net.to_server.reta.lock().unwrap().clone();
        for stream in &talking {
            let flow = FiveTuple {
                protocol: dpdk_net::packet::Protocol::Tcp,
                src: stream.local_addr().unwrap(),
                dst: addr,
            };
            assert!(rss_queue(&hash, &table, &flow) < 4);
        }
        // By now all have their share: nothing more moves.
        assert_eq!(
            net.rebalancer.borrow_mut().step().unwrap(),
            Rebalanced::default()
        );
    });
}
