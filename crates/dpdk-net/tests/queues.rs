//! Several workers over the queues of one port: whichever queue a packet comes to, it finds its connection.
//!
//! Server and client are four (or two) workers each, all on this thread, over ports that are made of rings. What one port sends on
//! its queue `i` the other receives on its queue `i`; in between stands a model of a NIC that spreads packets by RSS, or at random.

mod common;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{FAMILIES, at, eal, stack};
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::packet::toeplitz::{MICROSOFT_KEY, Spread, Toeplitz};
use dpdk_net::packet::{ChecksumVerdict, FiveTuple, Network, RxMeta, Transport, parse_checked};
use dpdk_net::peers::{PeersConfig, Rebalanced, Rebalancer, RedirectionTable, peers};
use dpdk_net::rte::port::{Reta, Started, TxCapabilities};
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{Eal, Mempool, Port, PortConfig, PortId, TxBatch, ring};
use dpdk_net::{BURST, Handle, IdlePolicy, Transmit, Worker, WorkerConfig, WorkerStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No test may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// How the model of a NIC chooses the queue that a packet arrives at.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spreading {
    /// By the Toeplitz hash of addresses and ports, ARP and the like to queue 0.
    Rss,
    /// Each packet by itself, whatever flow it is of.
    Random,
}

/// Entries of the model's redirection table.
const RETA: usize = 128;

/// The table that the model begins with.
fn reta(queues: u16) -> Reta {
    Reta::uniform(RETA as u16, queues).unwrap()
}

/// Which queue a flow's packets arrive at by RSS.
fn rss_queue(hash: &Toeplitz, reta: &Reta, flow: &FiveTuple) -> u16 {
    let spread = Spread::new(hash, reta.queues()).unwrap();
    spread.queue_of_ports(flow.src, flow.dst).unwrap()
}

/// The TX queues of a port, through which packets come to the peer's RX queues of the same numbers.
struct Wire {
    queues: Mutex<Vec<Box<dyn Transmit>>>,
    spreading: Spreading,
    hash: Toeplitz,
    reta: Mutex<Reta>,
    random: AtomicU64,
    /// ARP packets.
    asked: AtomicU64,
}

/// The end of it that one worker has.
struct End(Arc<Wire>);

impl Wire {
    fn new(spreading: Spreading, queues: u16) -> Arc<Self> {
        Arc::new(Wire {
            queues: Mutex::new(Vec::new()),
            spreading,
            hash: Toeplitz::new(&MICROSOFT_KEY).unwrap(),
            reta: Mutex::new(reta(queues)),
            random: AtomicU64::new(1),
            asked: AtomicU64::new(0),
        })
    }

    fn queue_of(&self, frame: &[u8], queues: u16) -> u16 {
        let meta = RxMeta {
            ip_checksum: ChecksumVerdict::Good,
            l4_checksum: ChecksumVerdict::Good,
            ..RxMeta::default()
        };
        let parsed = parse_checked(frame, &meta);
        let flow = match &parsed {
            Ok(parsed) => match &parsed.network {
                Network::Ip(ip, Transport::Tcp(tcp)) => {
                    Some((ip.src(), tcp.src_port(), ip.dst(), tcp.dst_port()))
                }
                Network::Ip(ip, Transport::Udp(udp)) => {
                    Some((ip.src(), udp.src_port(), ip.dst(), udp.dst_port()))
                }
                Network::Arp(_) => {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                    None
                }
                _ => None,
            },
            Err(_) => None,
        };
        if self.spreading == Spreading::Random {
            let old = self.random.load(Ordering::Relaxed);
            let new = old
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.random.store(new, Ordering::Relaxed);
            return ((new >> 33) % u64::from(queues)) as u16;
        }
        flow.map_or(0, |(src, from, dst, to)| {
            let flow = FiveTuple {
                protocol: dpdk_net::packet::Protocol::Tcp,
                src: SocketAddr::new(src, from),
                dst: SocketAddr::new(dst, to),
            };
            rss_queue(&self.hash, &self.reta.lock().unwrap(), &flow)
        })
    }
}

impl Transmit for End {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut queues = self.0.queues.lock().unwrap();
        let mut sent = 0;
        for packet in batch.drain() {
            let frame: Vec<u8> = packet.segments().flatten().copied().collect();
            let queue = self.0.queue_of(&frame, queues.len() as u16);
            let mut one = TxBatch::new();
            one.push(packet).unwrap();
            // The rings are long enough for all that can be on its way.
            assert_eq!(
                queues[usize::from(queue)].burst(&mut one),
                1,
                "a ring is full"
            );
            sent += 1;
        }
        sent
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.0.queues.lock().unwrap()[0].prepare(batch)
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities::NONE
    }
}

/// One side: a started port and the workers over its queues.
struct Side {
    port: Port<Started>,
    workers: Vec<WorkerConfig>,
    wire: Arc<Wire>,
    /// Makes the one for these workers, with the wire that leads to them.
    rebalancer: MakeRebalancer,
}

type MakeRebalancer = Box<dyn FnOnce(Vec<Handle>, Arc<Wire>) -> Rebalancer<Table>>;

/// The table of the model of a NIC that packets come through.
struct Table(Arc<Wire>);

impl RedirectionTable for Table {
    fn reta(&self) -> Result<Option<Reta>, dpdk_net::Error> {
        Ok(Some(self.0.reta.lock().unwrap().clone()))
    }

    fn set_reta(&self, reta: &Reta) -> Result<(), dpdk_net::Error> {
        *self.0.reta.lock().unwrap() = reta.clone();
        Ok(())
    }
}

fn side(eal: &Eal, id: PortId, host: u8, queues: u16, spreading: Spreading) -> Side {
    let pools: Vec<Mempool> = (0..=queues)
        .map(|queue| {
            Mempool::builder(eal, format!("test-{}-{queue}", id.get()))
                .capacity(4_095)
                .build()
                .unwrap()
        })
        .collect();
    let (fallback, own) = pools.split_last().unwrap();
    let port = Port::open(eal, id)
        .unwrap()
        .configure(&PortConfig::queues(queues), own)
        .unwrap()
        .start()
        .unwrap();
    let wire = Wire::new(spreading, queues);
    let mut config = PeersConfig::default();
    config.count_loads = true;
    let peers = peers(eal, &format!("peers-{host}"), queues, &config).unwrap();
    if spreading == Spreading::Rss {
        peers[0].set_spread(wire.hash.clone(), reta(queues));
    }
    let control = peers[0].control();
    let rebalancer: MakeRebalancer =
        Box::new(move |handles, wire| Rebalancer::new(control, handles, Table(wire)));
    let pairs = port.take_queues().unwrap().into_iter().zip(own).zip(peers);
    let workers = pairs
        .map(|((pair, pool), peer)| {
            let wire = wire.clone();
            WorkerConfig::new(eal, pair, pool.clone(), stack(host))
                .idle(IdlePolicy::Yield { after: 100 })
                .fallback_mempool(fallback.clone())
                .peer(peer)
                .interpose(move |tx| {
                    wire.queues.lock().unwrap().push(tx);
                    Box::new(End(wire))
                })
        })
        .collect();
    Side {
        port,
        workers,
        wire,
        rebalancer,
    }
}

/// What a test sees of both sides.
struct Net {
    server: Vec<Handle>,
    client: Vec<Handle>,
    /// What the clients send, and what the servers do.
    to_server: Arc<Wire>,
    to_client: Arc<Wire>,
    /// Of the servers.
    rebalancer: RefCell<Rebalancer<Table>>,
}

impl Net {
    fn sum(handles: &[Handle], figure: impl Fn(&WorkerStats) -> u64) -> u64 {
        handles
            .iter()
            .map(|handle| figure(&handle.stats().worker))
            .sum()
    }

    /// Packets that were handed over, on both sides.
    fn handed_over(&self) -> u64 {
        Self::sum(&self.server, |stats| stats.handed_over)
            + Self::sum(&self.client, |stats| stats.handed_over)
    }

    /// Packets that were lost on the way from worker to worker.
    fn lost(&self) -> u64 {
        let lost = |stats: &WorkerStats| stats.hand_over_full + stats.hand_over_no_mbufs;
        Self::sum(&self.server, lost) + Self::sum(&self.client, lost)
    }
}

/// Runs `test` with so many workers on each side.
fn run<Fut: Future<Output = ()>>(queues: u16, spreading: Spreading, test: impl FnOnce(Net) -> Fut) {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], queues, 8_192).unwrap();
    let ids = rings.ids();
    let server = side(&eal, ids[0], 1, queues, spreading);
    let client = side(&eal, ids[1], 2, queues, spreading);
    let mut configs = server.workers;
    configs.extend(client.workers);
    let worker = Worker::serving(configs).unwrap();
    let mut handles: Vec<Handle> = worker.handles().cloned().collect();
    let clients = handles.split_off(usize::from(queues));
    let net = Net {
        rebalancer: RefCell::new((server.rebalancer)(handles.clone(), client.wire.clone())),
        server: handles,
        client: clients,
        to_server: client.wire.clone(),
        to_client: server.wire.clone(),
    };
    worker.block_on(async {
        tokio::time::timeout(LIMIT, test(net))
            .await
            .expect("the test ends in time");
    });
    drop(worker);
    // What sends goes before the ports.
    for wire in [&server.wire, &client.wire] {
        wire.queues.lock().unwrap().clear();
    }
    drop((server.port, client.port));
}

/// Bytes that tell where they are in which stream.
fn pattern(stream: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 7 + at / 251 + stream * 13) as u8)
        .collect()
}

/// Accepts and echoes for ever, on this worker.
fn echo(handle: &Handle, listener: TcpListener) {
    tokio::task::spawn_local(handle.scope(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let (mut rx, mut tx) = stream.split();
                let _ = tokio::io::copy(&mut rx, &mut tx).await;
            });
        }
    }));
}

async fn listen(handle: &Handle, addr: SocketAddr) -> TcpListener {
    handle.scope(TcpListener::bind(addr)).await.unwrap()
}

/// Connects and has `len` bytes echoed.
async fn ask(server: SocketAddr, stream_number: usize, len: usize) -> SocketAddr {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let local = stream.local_addr().unwrap();
    let sent = pattern(stream_number, len);
    let (mut rx, mut tx) = stream.split();
    let mut back = vec![0; len];
    let send = async {
        tx.write_all(&sent).await.unwrap();
    };
    let (_, read) = tokio::join!(send, rx.read_exact(&mut back));
    read.unwrap();
    assert!(back == sent, "stream {stream_number} came back changed");
    local
}

/// `count` conversations of each client worker with a server that listens on `listening` of its workers, `at_once` at a time.
async fn converse(net: &Net, listening: usize, count: usize, at_once: usize, len: usize) {
    for (family, (server, _)) in FAMILIES.iter().enumerate() {
        let addr = at(server, 80);
        for handle in &net.server[..listening] {
            let listener = listen(handle, addr).await;
            echo(handle, listener);
        }
        for first in (0..count).step_by(at_once) {
            let mut tasks = Vec::new();
            for (worker, handle) in net.client.iter().enumerate() {
                for n in first..count.min(first + at_once) {
                    let number = (family * net.client.len() + worker) * count + n;
                    tasks.push(tokio::task::spawn_local(
                        handle.scope(ask(addr, number, len)),
                    ));
                }
            }
            for task in tasks {
                task.await.unwrap();
            }
        }
    }
}

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
