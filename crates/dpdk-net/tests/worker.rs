//! Workers without an application: two lcores, one thread, the end of a worker, refused configurations.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::rte::TxBatch;
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{Lcore, Mempool, Port, PortConfig, ring};
use dpdk_net::{BURST, Error, Reactor, Transmit, Worker, WorkerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn two_workers_on_two_lcores_talk_to_each_other() {
    let eal = eal("0@0,1@0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let (_b, client) = side(&eal, rings.ids()[1], stack(2));
    let other = Lcore::workers(&eal).next().unwrap();
    let served = other
        .launch(move || {
            let worker = Worker::new(server).unwrap();
            let total = worker.block_on(async {
                let listener = TcpListener::bind("[::]:7").await.unwrap();
                let mut total = 0;
                for _ in 0..2 {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let (mut rx, mut tx) = stream.split();
                    total += tokio::io::copy(&mut rx, &mut tx).await.unwrap();
                }
                total
            });
            assert_eq!(worker.shutdown(Duration::from_secs(10)).reset, 0);
            total
        })
        .unwrap();
    let worker = Worker::new(client).unwrap();
    let sent = pattern(200_000);
    worker.block_on(async {
        // The other lcore may not listen yet.
        for ip in [SERVER_V4, SERVER_V6] {
            let mut stream = loop {
                match TcpStream::connect(at(ip, 7)).await {
                    Ok(stream) => break stream,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            };
            let mut got = vec![0; sent.len()];
            let (mut rx, mut tx) = stream.split();
            let (read, written) = tokio::join!(rx.read_exact(&mut got), tx.write_all(&sent));
            read.unwrap();
            written.unwrap();
            assert!(got == sent);
            stream.shutdown().await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        }
    });
    assert_eq!(served.join().unwrap(), 400_000);
}

/// Runs `server` on the main lcore and `client` on another one that shares its CPU.
fn on_two_lcores<T: Send + 'static>(
    server: impl FnOnce(Worker),
    client: impl AsyncFnOnce() -> T + Send + 'static,
) -> T {
    let eal = eal("0@0,1@0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (port, a) = side(&eal, rings.ids()[0], stack(1));
    let (_b, b) = side(&eal, rings.ids()[1], stack(2));
    let other = Lcore::workers(&eal).next().unwrap();
    let launched = other
        .launch(move || Worker::new(b).unwrap().block_on(client()))
        .unwrap();
    server(Worker::new(a).unwrap());
    let result = launched.join().unwrap();
    // Its queues are back.
    port.stop().unwrap();
    result
}

async fn connect(to: std::net::SocketAddr) -> TcpStream {
    loop {
        match TcpStream::connect(to).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[test]
fn a_worker_that_shuts_down_delivers_what_was_written_and_gives_its_queues_back() {
    let received = on_two_lcores(
        |worker| {
            worker.block_on(async {
                let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(&pattern(40_000)).await.unwrap();
            });
            let drained = worker.shutdown(Duration::from_secs(10));
            assert_eq!(drained.reset, 0);
            assert!(drained.flushed);
        },
        async || {
            let mut stream = connect(at(SERVER_V4, 80)).await;
            let mut all = Vec::new();
            stream.read_to_end(&mut all).await.unwrap();
            all
        },
    );
    assert_eq!(received, pattern(40_000));
}

#[test]
fn a_worker_that_shuts_down_resets_what_does_not_finish_in_its_grace() {
    let error = on_two_lcores(
        |worker| {
            worker.block_on(async {
                let listener = TcpListener::bind(at(SERVER_V6, 80)).await.unwrap();
                let (mut stream, _) = listener.accept().await.unwrap();
                // More than the client's window: it never reads.
                let _ = tokio::time::timeout(
                    Duration::from_millis(300),
                    stream.write_all(&vec![0; 1 << 20]),
                )
                .await;
            });
            let drained = worker.shutdown(Duration::from_millis(100));
            assert_eq!(drained.reset, 1);
            assert!(drained.flushed);
        },
        async || {
            let stream = connect(at(SERVER_V6, 80)).await;
            loop {
                tokio::time::sleep(Duration::from_millis(2)).await;
                if let Some(error) = stream.take_error().unwrap() {
                    return error.kind();
                }
            }
        },
    );
    assert_eq!(error, std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_dropped_worker_resets_its_connections() {
    let error = on_two_lcores(
        |worker| {
            worker.block_on(async {
                let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
                tokio::spawn(async move {
                    let _held = listener.accept().await.unwrap();
                    std::future::pending::<()>().await;
                });
                while worker.handle().stats().tcp_connections == 0 {
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            });
            drop(worker);
        },
        async || {
            let mut stream = connect(at(SERVER_V4, 80)).await;
            // The end of an orphan or a reset: the peer is told either way.
            let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0])).await;
            read.expect("the peer was told")
                .map_err(|error| error.kind())
        },
    );
    assert!(
        matches!(error, Ok(0) | Err(std::io::ErrorKind::ConnectionReset)),
        "{error:?}"
    );
}

#[test]
fn a_turn_by_hand_needs_no_runtime() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["a", "b"], 1, 64).unwrap();
    let (_a, first) = side(&eal, rings.ids()[0], stack(1));
    let (_b, second) = side(&eal, rings.ids()[1], stack(2));
    let mut first = Reactor::new(first).unwrap();
    let mut second = Reactor::new(second).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (server, client) = (first.handle(), second.handle());
    let result = runtime.block_on(async {
        let turns = async {
            loop {
                first.turn();
                second.turn();
                tokio::task::yield_now().await;
            }
        };
        let talk = async {
            let listener = server.scope(TcpListener::bind(at(SERVER_V4, 80))).await?;
            let connect = client.scope(TcpStream::connect(at(SERVER_V4, 80)));
            let (stream, accepted) = tokio::join!(connect, listener.accept());
            accepted?.0.write_all(b"by hand").await?;
            let mut text = String::new();
            stream?.read_to_string(&mut text).await?;
            Ok::<_, std::io::Error>(text)
        };
        tokio::select! {
            text = talk => text,
            () = turns => unreachable!(),
        }
    });
    assert_eq!(result.unwrap(), "by hand");
}

#[test]
fn a_mempool_with_small_mbufs_is_refused_with_the_size_it_needs() {
    let eal = eal("0");
    let rings = ring::looped_port(&eal, "loop", 1, 64).unwrap();
    let rx_pool = Mempool::builder(&eal, "rx").capacity(1023).build().unwrap();
    let port = Port::open(&eal, rings.ids()[0])
        .unwrap()
        .configure(&PortConfig::default(), &[rx_pool])
        .unwrap()
        .start()
        .unwrap();
    let queues = port.take_queues().unwrap().remove(0);
    let small = Mempool::builder(&eal, "small")
        .capacity(1023)
        .data_room(1024 + Mempool::HEADROOM)
        .build()
        .unwrap();
    let error = Reactor::new(WorkerConfig::new(&eal, queues, small, stack(1))).unwrap_err();
    assert!(
        matches!(
            error,
            Error::DataRoom {
                room: 1024,
                mtu: 1500,
                needed: 1518,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_stack_that_cannot_be_is_refused() {
    let eal = eal("0");
    let rings = ring::looped_port(&eal, "loop", 1, 64).unwrap();
    let mut config = stack(1);
    config.mtu = 600;
    let (_port, config) = side(&eal, rings.ids()[0], config);
    let error = Worker::new(config).unwrap_err();
    assert!(error.to_string().contains("1280 to 9000"), "{error}");
}

#[test]
fn a_tx_ring_that_stays_full_is_back_pressure_and_loses_nothing() {
    let eal = eal("0");
    // The client's frames wait in a ring that nobody empties for a while.
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 64).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let (_b, client) = side(&eal, rings.ids()[1], stack(2));
    let worker = Worker::new(server).unwrap();
    let mut client = Reactor::new(client).unwrap();
    let handle = client.handle();
    let paused = std::rc::Rc::new(std::cell::Cell::new(false));
    let is_paused = paused.clone();
    let turning = worker.spawn_local(async move {
        loop {
            if !is_paused.get() {
                client.turn();
            }
            tokio::task::yield_now().await;
        }
    });
    worker.block_on(async {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let connect = handle.scope(TcpStream::connect(at(SERVER_V4, 80)));
        let (client, accepted) = tokio::join!(connect, listener.accept());
        let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
        // Datagrams fill the ring towards the client.
        let udp = dpdk_net::net::UdpSocket::bind(at(SERVER_V4, 7))
            .await
            .unwrap();
        paused.set(true);
        let sent = pattern(500_000);
        let sending = sent.clone();
        let writer = tokio::spawn(async move {
            server.write_all(&sending).await.unwrap();
            server
        });
        let mut datagrams = 0;
        let started = std::time::Instant::now();
        while started.elapsed() < Duration::from_secs(1) {
            if udp.try_send_to(&[1; 100], at(CLIENT_V4, 9)).is_ok() {
                datagrams += 1;
            }
            tokio::task::yield_now().await;
        }
        assert!(datagrams > 63, "{datagrams}");
        let stats = worker.handle().stats();
        assert!(stats.worker.tx_ring_full > 0, "{:?}", stats.worker);
        assert_eq!(stats.worker.tx_oversize, 0);
        paused.set(false);
        let mut got = vec![0; sent.len()];
        client.read_exact(&mut got).await.unwrap();
        assert!(got == sent);
        writer.await.unwrap();
    });
    turning.abort();
}

/// A TX queue that takes nothing until it is opened.
struct Gate {
    tx: Box<dyn Transmit>,
    open: Arc<AtomicBool>,
}

impl Transmit for Gate {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        match self.open.load(Ordering::Relaxed) {
            true => self.tx.burst(batch),
            false => 0,
        }
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.tx.prepare(batch)
    }
}

#[test]
fn a_turn_that_has_frames_left_to_send_is_busy() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["a", "b"], 1, 64).unwrap();
    let (_a, config) = side(&eal, rings.ids()[0], stack(1));
    let open = Arc::new(AtomicBool::new(false));
    let opened = open.clone();
    let config = config.interpose(move |tx| Box::new(Gate { tx, open: opened }));
    let mut reactor = Reactor::new(config).unwrap();
    let handle = reactor.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let socket = UdpSocket::bind(at(SERVER_V4, 7));
        let socket = handle.scope(socket).await.unwrap();
        socket.try_send_to(b"who is it", at(CLIENT_V4, 9)).unwrap();
    });
    while handle.stats().worker.tx_ring_full == 0 {
        reactor.turn();
    }
    let before = handle.stats().worker;
    for _ in 0..1_000 {
        reactor.turn();
    }
    let waited = handle.stats().worker;
    assert_eq!(waited.turns - before.turns, 1_000);
    assert_eq!(waited.busy_turns - before.busy_turns, 1_000);
    // The turn in which they go is busy, whatever else there is to do, and then it is over.
    open.store(true, Ordering::Relaxed);
    reactor.turn();
    let sent = handle.stats().worker;
    assert_eq!(sent.busy_turns - waited.busy_turns, 1);
    for _ in 0..1_000 {
        reactor.turn();
    }
    let idle = handle.stats().worker;
    assert!(idle.busy_turns - sent.busy_turns < 1_000, "{idle:?}");
}

#[test]
fn a_waker_that_panics_ends_the_worker_and_everybody_who_waits_is_told() {
    struct Bad;
    impl std::task::Wake for Bad {
        fn wake(self: std::sync::Arc<Self>) {
            panic!("a waker of the program's own");
        }
    }
    run(|net| async move {
        let bad = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let waker = std::sync::Arc::new(Bad).into();
        assert!(
            bad.poll_accept(&mut std::task::Context::from_waker(&waker))
                .is_pending()
        );
        let good = TcpListener::bind(at(SERVER_V4, 81)).await.unwrap();
        let waits = tokio::spawn(async move { good.accept().await.map(drop) });
        let _stream = net
            .client
            .scope(TcpStream::connect(at(SERVER_V4, 80)))
            .await;
        let told = tokio::time::timeout(Duration::from_secs(5), waits).await;
        let error = told.expect("told").unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotConnected);
    });
}
