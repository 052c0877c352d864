//! Two ports that are joined, a worker on an lcore for each: connections and datagrams over them, and what was seen of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::rte::port::{Offload, OffloadRequest, Started, TxCapabilities, TxOffloads};
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{Eal, Mempool, Port, PortConfig, PortId, TxBatch};
use dpdk_net::stack::Config;
use dpdk_net::{BURST, IdlePolicy, SendMemory, ShardStats, Transmit, Worker, WorkerConfig};
use tokio::sync::oneshot;

use super::bytes::{as_client, as_server, datagrams, in_time};

const PORT: u16 = 7;
/// Connections to each address.
const CONNECTIONS: u8 = 4;
/// How long connections may take to end.
const GRACE: Duration = Duration::from_secs(20);

/// Packets that a driver took, by what they were.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Of several mbufs.
    pub(crate) chained: AtomicU64,
    /// To be cut.
    pub(crate) cut: AtomicU64,
    /// Lacking a checksum.
    pub(crate) unsummed: AtomicU64,
    /// Lacking a VLAN tag, each time that one was shown to the driver.
    pub(crate) untagged: AtomicU64,
}

/// A TX queue under observation.
struct Watch {
    inner: Box<dyn Transmit>,
    seen: Arc<Seen>,
    /// Whether to flip a bit in some packets.
    corrupts: bool,
    offered: usize,
}

/// Of so many packets one is broken.
const BROKEN: usize = 64;

impl Watch {
    /// Breaks some of the packets that have a payload and leave as they are.
    fn corrupt(&mut self, batch: &mut TxBatch<BURST>) {
        for packet in batch.iter_mut() {
            let whole = packet.nb_segs() == 1 && packet.as_mbuf().asked_offloads().is_empty();
            if !whole || packet.pkt_len() < 200 {
                continue;
            }
            self.offered += 1;
            if self.offered.is_multiple_of(BROKEN)
                && let Some(last) = packet.data_mut().last_mut()
            {
                *last ^= 1;
            }
        }
    }
}

impl Transmit for Watch {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        if self.corrupts {
            self.corrupt(batch);
        }
        let look = |packet: &dpdk_net::rte::TxMbuf| {
            let mbuf = packet.as_mbuf();
            let unsummed = mbuf.asked_offloads().intersects(TxOffloads::CHECKSUM);
            (packet.nb_segs() > 1, mbuf.asked_segment() > 0, unsummed)
        };
        let about: Vec<_> = batch.iter().map(look).collect();
        let taken = self.inner.burst(batch);
        for (chained, cut, unsummed) in &about[..taken] {
            let count = |counter: &AtomicU64, is: bool| {
                counter.fetch_add(is.into(), Ordering::Relaxed);
            };
            count(&self.seen.chained, *chained);
            count(&self.seen.cut, *cut);
            count(&self.seen.unsummed, *unsummed && !cut);
        }
        taken
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        // Here, as some drivers put the tag in when they prepare.
        let tags = batch.iter().filter(|p| p.as_mbuf().asked_vlan().is_some());
        self.seen
            .untagged
            .fetch_add(tags.count() as u64, Ordering::Relaxed);
        self.inner.prepare(batch)
    }

    fn capabilities(&self) -> TxCapabilities {
        self.inner.capabilities()
    }
}

/// How a port is set up.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) offloads: OffloadRequest,
    pub(crate) mtu: u16,
    /// Bytes of a received frame that a buffer holds.
    pub(crate) rx_room: usize,
    /// Whether a bit flips in some of the packets that it sends.
    pub(crate) corrupts: bool,
}

impl Setup {
    pub(crate) fn new(offloads: OffloadRequest) -> Self {
        Self {
            offloads,
            mtu: 1500,
            rx_room: 2048,
            corrupts: false,
        }
    }
}

/// A started port with a worker's configuration over it.
pub(crate) struct End {
    pub(crate) port: Port<Started>,
    pools: Vec<Mempool>,
    seen: Arc<Seen>,
    corrupts: bool,
    config: WorkerConfig,
}

impl End {
    pub(crate) fn new(eal: &Eal, id: PortId, setup: &Setup, mut stack: Config) -> Self {
        let pool = |name: &str, mbufs, room| {
            Mempool::builder(eal, format!("{name}-{}", id.get()))
                .capacity(mbufs)
                .data_room(room)
                .build()
                .unwrap()
        };
        let room = usize::from(setup.mtu).next_multiple_of(2048).max(2048);
        let received = pool("rx", 8_191, setup.rx_room + Mempool::HEADROOM);
        let frames = pool("tx", 2_047, room + Mempool::HEADROOM);
        let payload = pool("payload", 511, 16 * 1024);
        let references = pool("references", 4_095, Mempool::HEADROOM);
        let config = PortConfig {
            rx_descriptors: Some(256),
            tx_descriptors: Some(256),
            mtu: (setup.mtu != 1500).then_some(setup.mtu),
            offloads: setup.offloads,
            ..PortConfig::default()
        };
        let port = Port::open(eal, id)
            .unwrap()
            .configure(&config, std::slice::from_ref(&received))
            .unwrap()
            .start()
            .unwrap();
        stack.mtu = setup.mtu;
        let seen = Arc::new(Seen::default());
        let queues = port.take_queues().unwrap().remove(0);
        let mut config = WorkerConfig::new(eal, queues, frames.clone(), stack)
            .idle(IdlePolicy::Yield { after: 100 })
            .interpose({
                let (seen, corrupts) = (seen.clone(), setup.corrupts);
                move |inner| {
                    Box::new(Watch {
                        inner,
                        seen,
                        corrupts,
                        offered: 0,
                    })
                }
            });
        if port.offloads().is_on(Offload::MultiSegs) {
            config = config.send_memory(SendMemory {
                payload: payload.clone(),
                references: references.clone(),
            });
        }
        Self {
            port,
            pools: vec![received, frames, payload, references],
            seen,
            corrupts: setup.corrupts,
            config,
        }
    }
}

/// What an end has to say of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stats: ShardStats,
    chained: u64,
    cut: u64,
    unsummed: u64,
    untagged: u64,
}

impl Outcome {
    /// `corrupted`: whether bits flipped in what came.
    fn new(stats: ShardStats, seen: &Seen, corrupted: bool) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let outcome = Self {
            stats,
            chained: get(&seen.chained),
            cut: get(&seen.cut),
            unsummed: get(&seen.unsummed),
            untagged: get(&seen.untagged),
        };
        let found = outcome.stats.stack.frames.drop_tcp_checksum > 0;
        assert_eq!(found, corrupted, "{:?}", outcome.stats.stack.frames);
        let dropped = outcome.stats.stack.frames.iter().filter(|(name, _)| {
            // What the other end sends of its own accord, and what is known to be wrong.
            let expected = name.contains("unknown") || name.contains("not_for_us");
            let broken = corrupted && name.contains("checksum");
            name.starts_with("drop_") && !expected && !broken
        });
        for (name, count) in dropped {
            assert_eq!(count, 0, "{name}");
        }
        let worker = outcome.stats.worker;
        assert_eq!(
            (
                worker.rx_not_contiguous,
                worker.tx_oversize,
                outcome.stats.tx_offloads_given_up
            ),
            (0, 0, 0),
            "{worker:?}"
        );
        outcome
    }

    /// Whether packets were handed to the driver to be cut.
    pub(crate) fn sent_large(&self) -> bool {
        assert_eq!(self.cut > 0, self.stats.worker.tx_cut_by_nic > 0);
        self.cut > 0
    }

    /// Whether packets of several segments came, or of several mbufs.
    pub(crate) fn received_large(&self) -> bool {
        self.stats.stack.tcp.rx_large > 0
    }

    /// Whether packets were sent by reference.
    pub(crate) fn sent_chains(&self) -> bool {
        self.chained > 0
    }

    /// Whether checksums were left to the driver, of packets that are not cut.
    pub(crate) fn left_checksums(&self) -> bool {
        self.unsummed > 0
    }

    /// Whether tags were left to the driver.
    pub(crate) fn left_tags(&self) -> bool {
        self.untagged > 0
    }
}

/// Runs connections both ways and datagrams to each of these addresses of the server. Every byte is compared, nothing may be
/// dropped as malformed, and each mbuf has to come back.
pub(crate) fn run(eal: &Eal, server: End, client: End, addresses: &[IpAddr]) -> [Outcome; 2] {
    let deadline = Instant::now() + GRACE;
    while !(server.port.link().unwrap().up && client.port.link().unwrap().up) {
        assert!(Instant::now() < deadline, "no link");
        std::thread::sleep(Duration::from_millis(5));
    }
    let at = |ip: &IpAddr| SocketAddr::new(*ip, PORT);
    let addresses: Vec<_> = addresses.iter().map(at).collect();
    let (bound, is_bound) = oneshot::channel();
    let (ended, has_ended) = oneshot::channel();
    let serving = {
        let addresses = addresses.clone();
        move || {
            let worker = Worker::new(server.config).unwrap();
            worker.block_on(in_time(serve(&addresses, bound)));
            let stats = worker.handle().stats();
            // The peer is there until all is acknowledged.
            assert_eq!(worker.shutdown(GRACE).reset, 0);
            let _ = ended.send(());
            stats
        }
    };
    let lcore = eal.worker_lcores().next().expect("a second lcore");
    let serving = lcore.launch(serving).unwrap();
    let worker = Worker::new(client.config).unwrap();
    worker.block_on(in_time(async {
        is_bound.await.expect("the server is up");
        for address in &addresses {
            send_datagrams(*address).await;
        }
        let mut tasks = tokio::task::JoinSet::new();
        for (address, number) in addresses
            .iter()
            .flat_map(|address| (0..CONNECTIONS).map(move |number| (*address, number)))
        {
            tasks.spawn(async move {
                as_client(TcpStream::connect(address).await.unwrap(), number).await;
            });
        }
        tasks.join_all().await;
        has_ended.await.expect("the server ends in good order");
    }));
    let stats = worker.handle().stats();
    assert_eq!(worker.shutdown(GRACE).reset, 0);
    let outcomes = [
        Outcome::new(serving.join().unwrap(), &server.seen, client.corrupts),
        Outcome::new(stats, &client.seen, server.corrupts),
    ];
    drop((server.port, client.port));
    for pool in server.pools.iter().chain(&client.pools) {
        assert_eq!(pool.in_use(), 0, "{}", pool.name());
    }
    outcomes
}

async fn serve(addresses: &[SocketAddr], bound: oneshot::Sender<()>) {
    let mut listeners = Vec::new();
    for &address in addresses {
        listeners.push(TcpListener::bind(address).await.unwrap());
        let socket = UdpSocket::bind(address).await.unwrap();
        tokio::spawn(async move {
            let mut buf = vec![0; 2_048];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                socket.send_to(&buf[..len], from).await.unwrap();
            }
        });
    }
    bound.send(()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        for _ in 0..CONNECTIONS {
            tasks.spawn(as_server(listener.accept().await.unwrap().0));
        }
    }
    tasks.join_all().await;
}

/// Each is sent again until it is answered: a ring may have been full.
async fn send_datagrams(to: SocketAddr) {
    let from = match to {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(from.parse::<SocketAddr>().unwrap())
        .await
        .unwrap();
    let mut buf = vec![0; 2_048];
    for datagram in datagrams() {
        loop {
            socket.send_to(&datagram, to).await.unwrap();
            let answer = socket.recv_from(&mut buf);
            match tokio::time::timeout(Duration::from_secs(1), answer).await {
                Ok(answer) if buf[..answer.as_ref().unwrap().0] == datagram => break,
                // An answer to one that was sent twice.
                Ok(_) | Err(_) => {}
            }
        }
    }
}
