//! Sockets, used from four threads at once.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net::Handle;
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::common::*;
use super::elsewhere;

/// Sends back what comes, on each connection of a listener.
async fn echo(server: Handle, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        connections.spawn(server.scope(async move {
            let (mut rx, mut tx) = stream.split();
            // The peer may be gone in the midst of it.
            let _ = tokio::io::copy(&mut rx, &mut tx).await;
        }));
    }
}

/// Listens on the server and has what comes sent back.
async fn echo_server(net: &Net, ip: &str) -> (SocketAddr, tokio::task::AbortHandle) {
    let listener = net.server.scope(TcpListener::bind(at(ip, 0))).await;
    let listener = listener.unwrap();
    let to = listener.local_addr().unwrap();
    let task = tokio::spawn(net.server.scope(echo(net.server.clone(), listener)));
    (to, task.abort_handle())
}

#[test]
fn every_byte_is_right_on_connections_of_four_threads() {
    run(|net| async move {
        elsewhere(async move {
            for (ip, _) in FAMILIES {
                let (to, server) = echo_server(&net, ip).await;
                let mut clients = JoinSet::new();
                for n in 0..16 {
                    clients.spawn(net.client.scope(async move {
                        let mut stream = TcpStream::connect(to).await.unwrap();
                        let mut sent = pattern(100_000);
                        sent.rotate_left(n);
                        let mut got = vec![0; sent.len()];
                        let (mut rx, mut tx) = stream.split();
                        let (read, written) =
                            tokio::join!(rx.read_exact(&mut got), tx.write_all(&sent));
                        read.unwrap();
                        written.unwrap();
                        assert!(got == sent, "connection {n} of {ip}");
                        stream.shutdown().await.unwrap();
                        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
                    }));
                }
                assert_eq!(clients.join_all().await.len(), 16);
                server.abort();
            }
        })
        .await;
    });
}

#[test]
fn both_halves_of_a_connection_are_used_by_two_threads_at_once() {
    run(|net| async move {
        elsewhere(async move {
            let (to, server) = echo_server(&net, SERVER_V4).await;
            let stream = net.client.scope(TcpStream::connect(to)).await.unwrap();
            let (mut rx, mut tx) = stream.into_split();
            let writes = tokio::spawn(async move {
                for part in pattern(500_000).chunks(777) {
                    tx.write_all(part).await.unwrap();
                }
                tx.shutdown().await.unwrap();
            });
            let mut got = Vec::new();
            rx.read_to_end(&mut got).await.unwrap();
            writes.await.unwrap();
            assert!(got == pattern(500_000));
            server.abort();
        })
        .await;
    });
}

#[test]
fn datagrams_go_to_and_fro_between_sockets_of_four_threads() {
    run(|net| async move {
        elsewhere(async move {
            for (server_ip, client_ip) in FAMILIES {
                let server = net.server.scope(UdpSocket::bind(at(server_ip, 0)));
                let server = std::sync::Arc::new(server.await.unwrap());
                let to = server.local_addr().unwrap();
                // Two threads answer on one socket.
                let mut answer = JoinSet::new();
                for _ in 0..2 {
                    let server = server.clone();
                    answer.spawn(async move {
                        let mut buffer = [0; 2048];
                        loop {
                            let (len, from) = server.recv_from(&mut buffer).await.unwrap();
                            server.send_to(&buffer[..len], from).await.unwrap();
                        }
                    });
                }
                let mut clients = JoinSet::new();
                for n in 0..8_u8 {
                    clients.spawn(net.client.scope(async move {
                        let socket = UdpSocket::bind(at(client_ip, 0)).await.unwrap();
                        socket.connect(to).await.unwrap();
                        for length in (1..200).map(|it| it * 7) {
                            let sent = vec![n; length];
                            let mut got = [0; 2048];
                            // One at a time: none is lost on rings.
                            socket.send(&sent).await.unwrap();
                            let len = socket.recv(&mut got).await.unwrap();
                            assert!(got[..len] == sent);
                        }
                    }));
                }
                assert_eq!(clients.join_all().await.len(), 8);
                answer.abort_all();
            }
        })
        .await;
    });
}

#[test]
fn connections_that_open_and_close_on_four_threads_at_once_leave_nothing() {
    run(|net| async move {
        let seen = net.clone();
        elsewhere(async move {
            for (ip, _) in FAMILIES {
                let (to, server) = echo_server(&net, ip).await;
                let mut clients = JoinSet::new();
                for n in 0..120 {
                    clients.spawn(net.client.scope(async move {
                        let connect = TcpStream::connect(to);
                        if n % 5 == 0 {
                            // Given up while the handshake is on its way.
                            let _ = tokio::time::timeout(Duration::ZERO, connect).await;
                            return;
                        }
                        let mut stream = connect.await.unwrap();
                        match n % 5 {
                            1 => drop(stream),
                            2 => {
                                stream.write_all(&pattern(3_000)).await.unwrap();
                                // On another thread, with bytes that nobody has read.
                                let dropped = tokio::task::spawn_blocking(move || drop(stream));
                                dropped.await.unwrap();
                            }
                            3 => {
                                stream.set_linger(Some(Duration::ZERO)).unwrap();
                                stream.write_all(b"reset").await.unwrap();
                            }
                            _ => {
                                stream.write_all(b"bye").await.unwrap();
                                stream.shutdown().await.unwrap();
                                let mut all = Vec::new();
                                stream.read_to_end(&mut all).await.unwrap();
                                assert_eq!(all, b"bye");
                            }
                        }
                    }));
                }
                assert_eq!(clients.join_all().await.len(), 120);
                server.abort();
            }
        })
        .await;
        // The last FINs are on their way.
        while seen.server.connection_count() + seen.client.connection_count() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(seen.server.listeners().is_empty());
    });
}

#[test]
fn threads_that_ask_all_the_time_and_a_worker_that_moves_bulk_both_get_on() {
    run(|net| async move {
        let (mut client, server) = connected(&net, SERVER_V4).await;
        let moving = tokio::spawn(async move {
            let mut sent = 0;
            let block = pattern(1 << 16);
            while client.write_all(&block).await.is_ok() {
                sent += block.len();
            }
            sent
        });
        let reading = tokio::spawn(async move {
            let mut server = server;
            let mut buffer = vec![0; 1 << 16];
            let mut got = 0;
            while got < 8 << 20 {
                got += server.read(&mut buffer).await.unwrap();
            }
            // The connection is there for as long as is asked.
            server
        });
        let asked = net.server.clone();
        let asking = elsewhere(async move {
            let mut asking = JoinSet::new();
            for _ in 0..4 {
                let asked = asked.clone();
                asking.spawn_blocking(move || {
                    for _ in 0..5_000 {
                        assert!(asked.connection_count() > 0);
                    }
                });
            }
            asking.join_all().await;
        });
        asking.await;
        drop(reading.await.unwrap());
        moving.abort();
    });
}
