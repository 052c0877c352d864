//! Listening and accepting.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpListener, TcpSocket, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_connection_is_accepted_with_its_addresses_in_both_families() {
    run(|net| async move {
        for (server_ip, client_ip) in FAMILIES {
            let listener = TcpListener::bind(at(server_ip, 0)).await.unwrap();
            let local = listener.local_addr().unwrap();
            assert_ne!(local.port(), 0, "port 0 becomes a real one");
            let (client, accepted) = tokio::join!(
                net.client.scope(TcpStream::connect(local)),
                listener.accept()
            );
            let (server, peer) = accepted.unwrap();
            let client = client.unwrap();
            assert_eq!(peer.ip().to_string(), client_ip);
            assert_eq!(client.local_addr().unwrap(), peer);
            assert_eq!(client.peer_addr().unwrap(), local);
            assert_eq!(server.local_addr().unwrap(), local);
            assert_eq!(server.peer_addr().unwrap(), peer);
        }
    });
}

#[test]
fn an_unspecified_ipv6_listener_takes_ipv4_and_shows_mapped_addresses() {
    run(|net| async move {
        let listener = TcpListener::bind("[::]:8080").await.unwrap();
        for (server_ip, shown) in [(SERVER_V4, "::ffff:198.18.0.2"), (SERVER_V6, CLIENT_V6)] {
            let (client, accepted) = tokio::join!(
                net.client.scope(TcpStream::connect(at(server_ip, 8080))),
                listener.accept()
            );
            let (server, peer) = accepted.unwrap();
            assert_eq!(peer.ip().to_string(), shown);
            assert_eq!(server.peer_addr().unwrap(), peer);
            assert!(server.local_addr().unwrap().is_ipv6());
            drop(client.unwrap());
        }
    });
}

#[test]
fn a_mapped_address_connects_over_ipv4_and_is_shown_as_given() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let mapped = at("::ffff:198.18.0.1", 80);
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(mapped)),
            listener.accept()
        );
        assert_eq!(client.unwrap().peer_addr().unwrap(), mapped);
        assert_eq!(accepted.unwrap().1.ip().to_string(), CLIENT_V4);
    });
}

#[test]
fn an_address_in_use_or_not_ours_is_refused_as_by_the_kernel() {
    run(|_| async move {
        let first = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let second = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        let kernel = {
            let first = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            std::net::TcpListener::bind(first.local_addr().unwrap()).unwrap_err()
        };
        assert_eq!(second.raw_os_error(), kernel.raw_os_error());
        drop(first);
        TcpListener::bind(at(SERVER_V4, 80))
            .await
            .expect("free again");
        let foreign = TcpListener::bind("203.0.113.9:80").await.unwrap_err();
        assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
    });
}

#[test]
fn many_tasks_may_accept_from_one_listener() {
    run(|net| async move {
        let listener = std::sync::Arc::new(TcpListener::bind(at(SERVER_V6, 80)).await.unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let listener = listener.clone();
            tasks.spawn(async move { listener.accept().await.unwrap().1 });
        }
        tokio::task::yield_now().await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(
                net.client
                    .scope(TcpStream::connect(at(SERVER_V6, 80)))
                    .await
                    .unwrap(),
            );
        }
        let mut peers = tasks.join_all().await;
        let mut locals: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
        peers.sort();
        locals.sort();
        assert_eq!(peers, locals, "each connection was accepted once");
    });
}

#[test]
fn a_dropped_accept_takes_no_connection() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        for _ in 0..3 {
            let waited = tokio::time::timeout(Duration::from_millis(5), listener.accept()).await;
            assert!(waited.is_err());
        }
        let mut client = net
            .client
            .scope(TcpStream::connect(at(SERVER_V4, 80)))
            .await
            .unwrap();
        client.write_all(b"x").await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
    });
}

#[test]
fn a_connection_that_is_over_before_the_accept_is_accepted_with_its_data() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let mut client = net
            .client
            .scope(TcpStream::connect(at(SERVER_V4, 80)))
            .await
            .unwrap();
        client.write_all(b"bye").await.unwrap();
        drop(client);
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (mut server, _) = listener.accept().await.unwrap();
        let mut all = Vec::new();
        server.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"bye");
    });
}

#[test]
fn a_socket_with_options_listens_and_a_dropped_listener_resets_those_it_never_gave_out() {
    run(|net| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        assert!(socket.reuseaddr().unwrap());
        socket.bind(at(SERVER_V4, 8000)).unwrap();
        let listener = socket.listen(16).unwrap();
        assert_eq!(listener.local_addr().unwrap(), at(SERVER_V4, 8000));
        listener.set_ttl(33).unwrap();
        assert_eq!(listener.ttl().unwrap(), 33);
        let mut client = net
            .client
            .scope(TcpStream::connect(at(SERVER_V4, 8000)))
            .await
            .unwrap();
        // The handshake's last ACK may still be on its way to the listener.
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop(listener);
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_thread_without_a_worker_gets_a_clear_error() {
    let error = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(TcpListener::bind("127.0.0.1:80"))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert!(error.to_string().contains("Handle::enter"), "{error}");
}

#[test]
fn a_handle_makes_sockets_on_another_thread() {
    run(|net| async move {
        let server = net.server.clone();
        let listener = tokio::task::spawn_blocking(move || {
            let _entered = server.enter();
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(TcpListener::bind(at(SERVER_V4, 80)))
                .unwrap()
        })
        .await
        .unwrap();
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(at(SERVER_V4, 80))),
            listener.accept()
        );
        client.unwrap();
        accepted.unwrap();
    });
}

#[test]
fn accepted_connections_inherit_the_options_of_the_socket_that_listens() {
    run(|net| async move {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_keepalive(true).unwrap();
        socket.set_linger(Some(Duration::from_secs(3))).unwrap();
        socket.bind(at(SERVER_V4, 80)).unwrap();
        let listener = socket.listen(16).unwrap();
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(at(SERVER_V4, 80))),
            listener.accept()
        );
        let (server, _) = accepted.unwrap();
        assert!(server.nodelay().unwrap());
        assert_eq!(server.linger().unwrap(), Some(Duration::from_secs(3)));
        let client = client.unwrap();
        assert!(!client.nodelay().unwrap());
        assert_eq!(client.linger().unwrap(), None);
    });
}
