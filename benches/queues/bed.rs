//! Ports made of rings, the workers' parts over their queues, and a model of a NIC that spreads packets.
//!
//! What one port sends on its queue `i` the other receives on its queue `i`, unless the model stands in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use dpdk_net::peers::{Peer, PeersConfig, peers};
use dpdk_net::{BURST, IdlePolicy, SendMemory, Transmit, WorkerConfig};

use dpdk_net_packet::MacAddr;
use dpdk_net_rte::port::{Started, TxCapabilities};
use dpdk_net_rte::queue::TxPrepareError;
use dpdk_net_rte::{Eal, Mempool, Port, PortConfig, PortId, QueuePair, TxBatch, ring};
use dpdk_net_stack::{Config, IfAddr};
use serde::{Deserialize, Serialize};

use crate::cutter::Cutter;

/// The function whose instructions are the model's, and the driver's behind it, as callgrind names it.
pub(crate) const CARRY: &str = "queues::bed::Wire::carry";
pub(crate) const SERVER: u8 = 1;
pub(crate) const CLIENT: u8 = 2;
/// Packets that a queue of a port holds: all that can be on its way.
const DEPTH: u32 = 8_192;
const MBUFS: u32 = 8_191;

/// How packets come to queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Spreading {
    /// From queue to queue, with no model in between.
    Direct,
    /// Through the model, each to the queue that its flow belongs to: what RSS does with source ports chosen for it.
    Home,
    /// Through the model, each packet by itself to any queue.
    Random,
}

/// EAL on these lcores, without hugepages and devices.
pub(crate) fn eal(lcores: &str) -> anyhow::Result<Eal> {
    Ok(Eal::builder("queues")
        .lcores(lcores)
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(512)
        .file_prefix(format!("bench-queues-{}", std::process::id()))
        .init()?)
}

/// The configuration of one side's stacks.
pub(crate) fn stack(host: u8) -> anyhow::Result<Config> {
    let mut config = Config::new(MacAddr([2, 0, 0, 0, 0, host]));
    config.addresses = vec![IfAddr::new([198, 18, 0, host].into(), 16)?];
    config.seed = [host; 32];
    config.dad = false;
    Ok(config)
}

/// The TX queues of a port behind a model of the other's NIC.
pub(crate) struct Wire {
    queues: Mutex<Vec<Box<dyn Transmit>>>,
    random: bool,
    state: AtomicU64,
    nanos: AtomicU64,
}

impl Wire {
    fn new(random: bool) -> Arc<Self> {
        Arc::new(Self {
            queues: Mutex::default(),
            random,
            state: AtomicU64::new(1),
            nanos: AtomicU64::new(0),
        })
    }

    /// Time that was spent here, by the only thread that there is.
    pub(crate) fn time(&self) -> Duration {
        Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    /// Sends all of a batch. What a ring has no room for is lost, as where a NIC's queue is full.
    #[inline(never)]
    fn carry(&self, own: usize, batch: &mut TxBatch<BURST>) -> usize {
        let start = Instant::now();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let all = batch.len();
        if self.random {
            let mut staged: Vec<TxBatch<BURST>> = queues.iter().map(|_| TxBatch::new()).collect();
            for packet in batch.drain() {
                // As many as come in fit into one of them.
                let _ = staged[self.any(queues.len())].push(packet);
            }
            for (queue, staged) in queues.iter_mut().zip(&mut staged) {
                queue.burst(staged);
            }
        } else {
            queues[own].burst(batch);
            batch.clear();
        }
        let spent = start.elapsed().as_nanos() as u64;
        self.nanos.fetch_add(spent, Ordering::Relaxed);
        all
    }

    /// A number below `count` (Knuth's linear congruential generator).
    fn any(&self, count: usize) -> usize {
        let old = self.state.load(Ordering::Relaxed);
        let new = old
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.state.store(new, Ordering::Relaxed);
        (new >> 33) as usize % count
    }
}

/// The end of a wire that one worker has.
struct End {
    wire: Arc<Wire>,
    own: usize,
}

impl Transmit for End {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        self.wire.carry(self.own, batch)
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        let mut queues = self
            .wire
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queues[self.own].prepare(batch)
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities::NONE
    }
}

/// One side: a started port and the parts of workers over its queues, in their order.
pub(crate) struct Side {
    // What sends goes before the port.
    pub(crate) workers: Vec<WorkerConfig>,
    pub(crate) wire: Arc<Wire>,
    _port: Port<Started>,
}

impl Drop for Side {
    fn drop(&mut self) {
        let mut queues = self
            .wire
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queues.clear();
    }
}

/// Server and client, each with so many queues. Of `peers` workers that share each port the first ones are there; with none no
/// worker knows of others.
pub(crate) fn sides(
    eal: &Eal,
    queues: u16,
    peers: u16,
    spreading: Spreading,
) -> anyhow::Result<[Side; 2]> {
    let ports = ring::joined_ports(eal, ["server", "client"], queues, DEPTH)?;
    let ids = ports.ids();
    Ok([
        side(eal, ids[0], SERVER, queues, peers, spreading)?,
        side(eal, ids[1], CLIENT, queues, peers, spreading)?,
    ])
}

/// One of them, as [`sides`] makes it.
pub(crate) fn side(
    eal: &Eal,
    id: PortId,
    host: u8,
    queues: u16,
    share: u16,
    spreading: Spreading,
) -> anyhow::Result<Side> {
    let pools = (0..queues)
        .map(|queue| {
            Mempool::builder(eal, format!("queues-{host}-{queue}"))
                .capacity(MBUFS)
                .build()
        })
        .collect::<Result<Vec<_>, _>>()?;
    let port = Port::open(eal, id)?
        .configure(&PortConfig::queues(queues), &pools)?
        .start()?;
    let wire = Wire::new(spreading == Spreading::Random);
    let mut parts = match share {
        0 => Vec::new(),
        _ => peers(eal, &format!("p{host}"), share, &PeersConfig::default())?,
    }
    .into_iter();
    let mut workers = Vec::new();
    for ((own, pair), pool) in port.take_queues()?.into_iter().enumerate().zip(pools) {
        let mut config = WorkerConfig::new(eal, pair, pool, stack(host)?).idle(IdlePolicy::Spin);
        if let Some(peer) = parts.next() {
            config = config.peer(peer);
        }
        if spreading != Spreading::Direct {
            let wire = wire.clone();
            config = config.interpose(move |tx| {
                let mut queues = wire.queues.lock().unwrap_or_else(PoisonError::into_inner);
                queues.push(tx);
                drop(queues);
                Box::new(End { wire, own })
            });
        }
        workers.push(config);
    }
    Ok(Side {
        workers,
        wire,
        _port: port,
    })
}

/// Puts a NIC that cuts large packets before each of a side's workers, and has them send bulk by reference.
pub(crate) fn cut(eal: &Eal, side: &mut Side) -> anyhow::Result<()> {
    let mut workers = Vec::new();
    for (index, worker) in std::mem::take(&mut side.workers).into_iter().enumerate() {
        let pool = |what: &str, mbufs, room| {
            Mempool::builder(eal, format!("{what}-{index}"))
                .capacity(mbufs)
                .data_room(room)
                .build()
        };
        let memory = SendMemory {
            payload: pool("payload", 2_047, 16 * 1024)?,
            references: pool("references", MBUFS, 0)?,
        };
        let segments = pool("segments", MBUFS, 2_048 + Mempool::HEADROOM)?;
        let worker = worker.send_memory(memory);
        workers.push(worker.interpose(move |tx| Box::new(Cutter::new(tx, segments))));
    }
    side.workers = workers;
    Ok(())
}

/// The first queue of a port with so many, without a stack, and a pool.
pub(crate) fn bare(
    eal: &Eal,
    id: PortId,
    queues: u16,
) -> anyhow::Result<(Port<Started>, QueuePair, Mempool)> {
    let pool = Mempool::builder(eal, "bare").capacity(MBUFS).build()?;
    let port = started(eal, id, queues, &pool)?;
    let mut pairs = port.take_queues()?.into_iter();
    let first = pairs.next().context("a port without a queue")?;
    Ok((port, first, pool))
}

/// Workers of a port with a queue for each of these, all of one pool.
pub(crate) fn over(
    eal: &Eal,
    id: PortId,
    pool: Mempool,
    peers: Vec<Peer>,
) -> anyhow::Result<(Port<Started>, Vec<WorkerConfig>)> {
    let port = started(eal, id, peers.len() as u16, &pool)?;
    let mut workers = Vec::new();
    for (pair, peer) in port.take_queues()?.into_iter().zip(peers) {
        workers.push(WorkerConfig::new(eal, pair, pool.clone(), stack(SERVER)?).peer(peer));
    }
    Ok((port, workers))
}

fn started(eal: &Eal, id: PortId, queues: u16, pool: &Mempool) -> anyhow::Result<Port<Started>> {
    let pools = vec![pool.clone(); usize::from(queues)];
    let port = Port::open(eal, id)?.configure(&PortConfig::queues(queues), &pools)?;
    Ok(port.start()?)
}
