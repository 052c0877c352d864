//! A worker that ends while other threads wait for it: they are told, and wait no more.

use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::rte::ring;
use tokio::io::AsyncReadExt;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::common::*;

#[test]
fn whoever_waits_on_another_thread_is_told_when_the_worker_ends() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let (_b, client) = side(&eal, rings.ids()[1], stack(2));
    let (worker, reactor, net) = two_shards(server, client);
    let runtime = Builder::new_multi_thread()
        .worker_threads(super::THREADS)
        .enable_time()
        .build()
        .unwrap();

    let (mut near, _far) = worker.block_on(connected(&net, SERVER_V4));
    let (listener, socket) = worker.block_on(async {
        let listener = TcpListener::bind(at(SERVER_V4, 0)).await.unwrap();
        let socket = UdpSocket::bind(at(SERVER_V6, 0)).await.unwrap();
        (listener, socket)
    });
    let mut waiting = JoinSet::new();
    waiting.spawn_on(
        async move { listener.accept().await.unwrap_err() },
        runtime.handle(),
    );
    waiting.spawn_on(
        async move { socket.recv_from(&mut [0]).await.unwrap_err() },
        runtime.handle(),
    );
    let silent = net.server.scope(TcpStream::connect("198.18.0.77:1"));
    waiting.spawn_on(async move { silent.await.unwrap_err() }, runtime.handle());
    // The client's end, whose reactor goes with the worker: its connection is reset, or it is told that the worker has ended.
    let reading = runtime.spawn(async move { near.read(&mut [0; 8]).await });
    let asleep = net.server.spawn_on(std::future::pending::<()>).unwrap();

    // All of them wait.
    worker.block_on(async { tokio::time::sleep(Duration::from_millis(50)).await });
    reactor.abort();
    worker.shutdown(Duration::ZERO);

    let ended = async {
        while let Some(error) = waiting.join_next().await {
            let error = error.unwrap();
            // A connection that is being opened is reset by the end.
            let is_reset = error.kind() == std::io::ErrorKind::ConnectionAborted;
            assert!(
                is_reset || error.to_string().contains("has ended"),
                "{error}"
            );
        }
        assert!(matches!(reading.await.unwrap(), Err(_) | Ok(0)));
        assert!(asleep.await.unwrap_err().is_worker_ended());
        let refused = net.server.spawn_on(|| async {}).unwrap_err();
        assert!(refused.is_worker_ended(), "{refused}");
        let bound = net.server.scope(TcpListener::bind(at(SERVER_V4, 0))).await;
        assert!(bound.unwrap_err().to_string().contains("has ended"));
    };
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), ended).await })
        .expect("nobody waits for ever");
}

#[test]
fn what_was_not_spawned_before_the_worker_ended_is_dropped_and_told() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let worker = dpdk_net::Worker::new(server).unwrap();
    let kept = std::sync::Arc::new(());
    let inside = kept.clone();
    // It has no turn.
    let task = worker.handle().spawn_on(move || async move {
        drop(inside);
    });
    let handle = worker.handle().clone();
    drop(worker);
    let error = futures_util::FutureExt::now_or_never(task.unwrap());
    assert!(error.unwrap().unwrap_err().is_worker_ended());
    assert_eq!(std::sync::Arc::strong_count(&kept), 1);
    assert!(handle.spawn_on(|| async {}).unwrap_err().is_worker_ended());
}
