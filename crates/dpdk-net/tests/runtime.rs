//! What of tokio works inside a worker: tasks, time, kernel sockets, files, blocking threads.

mod common;

use std::time::{Duration, Instant};

use common::*;
use dpdk_net::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn tasks_timers_and_channels_work() {
    run(|_| async move {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let started = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tx.send(42).unwrap();
        });
        assert_eq!(rx.await.unwrap(), 42);
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(20), "{took:?}");
        let not_send = std::rc::Rc::new(7);
        let seven = tokio::task::spawn_local(async move { *not_send })
            .await
            .unwrap();
        assert_eq!(seven, 7);
    });
}

#[test]
fn a_kernel_socket_works_beside_ours() {
    run(|net| async move {
        let kernel = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = kernel.local_addr().unwrap();
        // A proxy: from the kernel's loopback to a server of ours.
        let ours = TcpListener::bind(at(SERVER_V6, 80)).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = ours.accept().await.unwrap();
            let mut got = String::new();
            stream.read_to_string(&mut got).await.unwrap();
            stream
                .write_all(got.to_uppercase().as_bytes())
                .await
                .unwrap();
        });
        tokio::spawn(async move {
            let (mut down, _) = kernel.accept().await.unwrap();
            let mut up = net
                .client
                .scope(TcpStream::connect(at(SERVER_V6, 80)))
                .await
                .unwrap();
            tokio::io::copy_bidirectional(&mut down, &mut up)
                .await
                .unwrap();
        });
        let mut client = tokio::net::TcpStream::connect(to).await.unwrap();
        client.write_all(b"across").await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "ACROSS");
    });
}

#[test]
fn files_and_names_work() {
    run(|_| async move {
        let path = std::env::temp_dir().join(format!("dpdk-net-test-{}", std::process::id()));
        tokio::fs::write(&path, b"kept").await.unwrap();
        assert_eq!(tokio::fs::read(&path).await.unwrap(), b"kept");
        tokio::fs::remove_file(&path).await.unwrap();
        let mut resolved = dpdk_net::net::lookup_host("localhost:80").await.unwrap();
        assert!(resolved.any(|addr| addr.ip().is_loopback()));
    });
}

#[test]
fn blocking_threads_are_not_pinned_to_the_workers_core() {
    let all = std::thread::available_parallelism().unwrap().get();
    run(move |_| async move {
        assert_eq!(
            std::thread::available_parallelism().unwrap().get(),
            1,
            "EAL pins the lcore"
        );
        let blocking =
            tokio::task::spawn_blocking(|| std::thread::available_parallelism().unwrap().get());
        assert!(blocking.await.unwrap() >= all);
    });
}

#[test]
fn a_blocking_task_does_not_stop_the_network() {
    run(|net| async move {
        let blocked =
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100)));
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        assert!(!blocked.is_finished());
        blocked.await.unwrap();
    });
}

#[test]
fn a_socket_moved_to_another_thread_still_works() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        let elsewhere = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap()
                .block_on(async move {
                    let mut got = vec![0; 100_000];
                    server.read_exact(&mut got).await.unwrap();
                    server.write_all(&got).await.unwrap();
                });
        });
        let sent = pattern(100_000);
        client.write_all(&sent).await.unwrap();
        let mut got = vec![0; sent.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == sent);
        tokio::task::spawn_blocking(move || elsewhere.join().unwrap())
            .await
            .unwrap();
    });
}

#[test]
fn figures_count_what_happened() {
    run(|net| async move {
        let before = net.server.stats();
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        let after = net.server.stats();
        assert!(after.worker.turns > before.worker.turns);
        assert!(after.worker.rx_frames > before.worker.rx_frames);
        assert!(after.worker.tx_frames > before.worker.tx_frames);
        assert_eq!(after.tcp_connections, 1);
        let connections = net.server.connections();
        assert_eq!(connections.len(), 1);
        assert!(net.server.addresses().contains(&SERVER_V6.parse().unwrap()));
    });
}
