//! Two sides of several workers each, on one thread, and what tests ask of them.

use std::cell::RefCell;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::packet::toeplitz::Toeplitz;
use dpdk_net::peers::{PeersConfig, PeersControl, Rebalancer, RedirectionTable, peers};
use dpdk_net::rte::port::{Reta, Started};
use dpdk_net::rte::{Eal, Mempool, Port, PortConfig, PortId, ring};
use dpdk_net::{Handle, IdlePolicy, Worker, WorkerConfig, WorkerStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::common::{FAMILIES, at, eal, stack};
use super::wire::{End, Spreading, Wire, reta};

/// No test may take longer.
const LIMIT: Duration = Duration::from_secs(120);

/// One side: a started port and the workers over its queues.
pub(crate) struct Side {
    pub(crate) port: Port<Started>,
    pub(crate) workers: Vec<WorkerConfig>,
    pub(crate) wire: Arc<Wire>,
    pub(crate) control: PeersControl,
    /// Makes the one for these workers, with the wire that leads to them.
    pub(crate) rebalancer: MakeRebalancer,
}

pub(crate) type MakeRebalancer = Box<dyn FnOnce(Vec<Handle>, Arc<Wire>) -> Rebalancer<Table>>;

/// The table of the model of a NIC that packets come through.
pub(crate) struct Table(Arc<Wire>);

impl RedirectionTable for Table {
    fn reta(&self) -> Result<Option<Reta>, dpdk_net::Error> {
        Ok(Some(self.0.reta.lock().unwrap().clone()))
    }

    fn set_reta(&self, reta: &Reta) -> Result<(), dpdk_net::Error> {
        *self.0.reta.lock().unwrap() = reta.clone();
        Ok(())
    }
}

pub(crate) fn side(eal: &Eal, id: PortId, host: u8, queues: u16, spreading: Spreading) -> Side {
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
        // It is what was said last that counts.
        let other = Toeplitz::new(&[0x6d, 0x5a].repeat(26)).unwrap();
        peers[0].set_spread(other, Reta::uniform(512, queues).unwrap());
        peers[0].set_spread(wire.hash.clone(), reta(queues));
    }
    let control = peers[0].control();
    let shared = control.clone();
    let rebalancer: MakeRebalancer =
        Box::new(move |handles, wire| Rebalancer::new(shared, handles, Table(wire)));
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
        control,
        rebalancer,
    }
}

/// What a test sees of both sides.
pub(crate) struct Net {
    pub(crate) server: Vec<Handle>,
    pub(crate) client: Vec<Handle>,
    /// What the clients send, and what the servers do.
    pub(crate) to_server: Arc<Wire>,
    pub(crate) to_client: Arc<Wire>,
    /// Of the servers.
    pub(crate) rebalancer: RefCell<Rebalancer<Table>>,
}

impl Net {
    pub(crate) fn sum(handles: &[Handle], figure: impl Fn(&WorkerStats) -> u64) -> u64 {
        handles
            .iter()
            .map(|handle| figure(&handle.stats().worker))
            .sum()
    }

    /// Packets that were handed over, on both sides.
    pub(crate) fn handed_over(&self) -> u64 {
        Self::sum(&self.server, |stats| stats.handed_over)
            + Self::sum(&self.client, |stats| stats.handed_over)
    }

    /// Packets that were lost on the way from worker to worker.
    pub(crate) fn lost(&self) -> u64 {
        let lost = |stats: &WorkerStats| stats.hand_over_full + stats.hand_over_no_mbufs;
        Self::sum(&self.server, lost) + Self::sum(&self.client, lost)
    }
}

/// Runs `test` with so many workers on each side.
pub(crate) fn run<Fut: Future<Output = ()>>(
    queues: u16,
    spreading: Spreading,
    test: impl FnOnce(Net) -> Fut,
) {
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
pub(crate) fn pattern(stream: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at * 7 + at / 251 + stream * 13) as u8)
        .collect()
}

/// Accepts and echoes for ever, on this worker.
pub(crate) fn echo(handle: &Handle, listener: TcpListener) {
    tokio::task::spawn_local(handle.scope(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::task::spawn_local(async move {
                let (mut rx, mut tx) = stream.split();
                let _ = tokio::io::copy(&mut rx, &mut tx).await;
            });
        }
    }));
}

pub(crate) async fn listen(handle: &Handle, addr: SocketAddr) -> TcpListener {
    handle.scope(TcpListener::bind(addr)).await.unwrap()
}

/// Connects and has `len` bytes echoed.
pub(crate) async fn ask(server: SocketAddr, stream_number: usize, len: usize) -> SocketAddr {
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
pub(crate) async fn converse(
    net: &Net,
    listening: usize,
    count: usize,
    at_once: usize,
    len: usize,
) {
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
