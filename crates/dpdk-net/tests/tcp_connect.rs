//! Connecting, and what may come instead.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpListener, TcpSocket, TcpStream};

#[test]
fn a_port_without_a_listener_refuses_in_both_families() {
    run(|net| async move {
        for (server_ip, _) in FAMILIES {
            let error = net
                .client
                .scope(TcpStream::connect(at(server_ip, 9)))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(error.raw_os_error(), Some(111));
        }
    });
}

#[test]
fn a_host_that_does_not_answer_is_unreachable() {
    run(|net| async move {
        for nobody in ["198.18.0.77", "fd00::77"] {
            let error = net
                .client
                .scope(TcpStream::connect(at(nobody, 80)))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{nobody}");
        }
    });
}

#[test]
fn an_address_without_a_route_is_network_unreachable() {
    run(|net| async move {
        for away in ["203.0.113.1", "2001:db8::1"] {
            let error = net
                .client
                .scope(TcpStream::connect(at(away, 80)))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NetworkUnreachable, "{away}");
        }
    });
}

#[test]
fn a_full_list_of_addresses_is_tried_in_order() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V6, 80)).await.unwrap();
        let list = [at(SERVER_V4, 80), at(SERVER_V6, 80)];
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(&list[..])),
            listener.accept()
        );
        assert_eq!(client.unwrap().peer_addr().unwrap(), at(SERVER_V6, 80));
        accepted.unwrap();
    });
}

#[test]
fn addresses_are_taken_in_every_form_that_tokio_takes() {
    run(|net| async move {
        let listener = TcpListener::bind((SERVER_V4, 80)).await.unwrap();
        let ip: std::net::IpAddr = SERVER_V4.parse().unwrap();
        let text = format!("{SERVER_V4}:80");
        let client = &net.client;
        let mut streams = Vec::new();
        streams.push(client.scope(TcpStream::connect((ip, 80))).await.unwrap());
        streams.push(
            client
                .scope(TcpStream::connect(text.as_str()))
                .await
                .unwrap(),
        );
        streams.push(client.scope(TcpStream::connect(text)).await.unwrap());
        for _ in &streams {
            listener.accept().await.unwrap();
        }
        let error = TcpStream::connect("not an address").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_socket_connects_from_the_address_it_was_bound_to() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let connect = net.client.scope(async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_nodelay(true).unwrap();
            socket.bind(at(CLIENT_V4, 4321)).unwrap();
            assert_eq!(
                socket.bind(at(CLIENT_V4, 4322)).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
            socket.connect(at(SERVER_V4, 80)).await.unwrap()
        });
        let (client, accepted) = tokio::join!(connect, listener.accept());
        assert_eq!(client.local_addr().unwrap(), at(CLIENT_V4, 4321));
        assert!(client.nodelay().unwrap());
        assert_eq!(accepted.unwrap().1, at(CLIENT_V4, 4321));

        let wrong = net.client.scope(async {
            let socket = TcpSocket::new_v4().unwrap();
            (
                socket
                    .bind("203.0.113.1:1".parse().unwrap())
                    .unwrap_err()
                    .kind(),
                socket.connect(at(SERVER_V6, 80)).await.unwrap_err().kind(),
            )
        });
        assert_eq!(
            wrong.await,
            (ErrorKind::AddrNotAvailable, ErrorKind::InvalidInput)
        );
    });
}

#[test]
fn a_dropped_connect_leaves_no_connection_behind() {
    run(|net| async move {
        // Nobody answers there: the attempt hangs until it is dropped.
        let attempt = net.client.scope(TcpStream::connect(at("198.18.0.77", 80)));
        assert!(
            tokio::time::timeout(Duration::from_millis(20), attempt)
                .await
                .is_err()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(net.client.stats().tcp_connections, 0);
    });
}

#[test]
fn five_hundred_connections_at_once_are_all_accepted() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..500 {
            let connect = net.client.scope(TcpStream::connect(at(SERVER_V4, 80)));
            clients.spawn(connect);
        }
        let mut accepted = Vec::new();
        while accepted.len() < 500 {
            accepted.push(listener.accept().await.unwrap());
        }
        for client in clients.join_all().await {
            client.unwrap();
        }
    });
}

#[test]
fn a_socket_stays_with_the_worker_that_it_was_made_in() {
    run(|net| async move {
        let socket = {
            let _entered = net.client.enter();
            TcpSocket::new_v4().unwrap()
        };
        // From here on on the server's worker, and then on a thread of none.
        socket.bind(at(CLIENT_V4, 0)).unwrap();
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let elsewhere = tokio::task::spawn_blocking(move || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(socket.connect(at(SERVER_V4, 80)))
        });
        let (connected, accepted) = tokio::join!(elsewhere, listener.accept());
        let client = connected.unwrap().unwrap();
        assert_eq!(client.local_addr().unwrap(), accepted.unwrap().1);
    });
}
