//! What several queues share, piece by piece: the table of owners, rings, mailboxes, memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use dpdk_net::Reactor;
use dpdk_net::peers::{PeersConfig, peers};
use dpdk_net_packet::{FiveTuple, MacAddr, Protocol, arp, ethernet};
use dpdk_net_rte::mbuf_ring::{MbufReceiver, MbufSender, mbuf_ring};
use dpdk_net_rte::{MbufBatch, Mempool, RxBatch, SocketId, TxBatch};
use dpdk_net_stack::{Steering, SteeringTable};

use crate::bed::{self, Spreading};

pub(crate) const CLAIMS: &str = "queues::pieces::claim_all";
pub(crate) const RELEASES: &str = "queues::pieces::release_all";
pub(crate) const THROUGH_RING: &str = "queues::pieces::through_ring";
pub(crate) const TELL: &str = "queues::pieces::tell";
pub(crate) const APPLY: &str = "queues::pieces::apply";
/// Room for flows, as `PeersConfig` has by default.
const FLOWS: usize = 1 << 20;
const BINDINGS: usize = 4_096;
/// Neighbours that ask in one run: fewer than a mailbox holds.
pub(crate) const NEIGHBORS: u16 = 512;
const BURST: usize = 32;

/// Nanoseconds to claim and to release an entry, on so many threads at once with `each` flows.
pub(crate) fn claims(threads: usize, each: usize) -> anyhow::Result<[f64; 2]> {
    let table = SteeringTable::new(&[7; 32], FLOWS, BINDINGS);
    let barrier = Barrier::new(threads);
    let times: Vec<[Duration; 2]> = std::thread::scope(|scope| {
        let run = |worker: usize| {
            let (table, barrier) = (&table, &barrier);
            move || {
                let flows: Vec<FiveTuple> =
                    (worker * each..(worker + 1) * each).map(flow).collect();
                let worker = worker as u16;
                barrier.wait();
                let start = Instant::now();
                claim_all(table, worker, &flows);
                let claimed = start.elapsed();
                barrier.wait();
                let start = Instant::now();
                release_all(table, worker, &flows);
                [claimed, start.elapsed()]
            }
        };
        let running: Vec<_> = (0..threads)
            .map(|worker| scope.spawn(run(worker)))
            .collect();
        running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .map_err(|_| anyhow::anyhow!("a thread panicked"))
            })
            .collect::<anyhow::Result<_>>()
    })?;
    ensure!(
        table.flows() == 0 && table.stats().flows_refused == 0,
        "all flows were entered and left again"
    );
    let mean = |at: usize| {
        let all: f64 = times.iter().map(|times| times[at].as_nanos() as f64).sum();
        all / (threads * each) as f64
    };
    Ok([mean(0), mean(1)])
}

#[inline(never)]
fn claim_all(table: &SteeringTable, worker: u16, flows: &[FiveTuple]) {
    for flow in flows {
        // Of other owners there are none.
        let _ = table.claim(worker, flow);
    }
}

#[inline(never)]
fn release_all(table: &SteeringTable, worker: u16, flows: &[FiveTuple]) {
    for flow in flows {
        table.release(worker, flow);
    }
}

fn flow(n: usize) -> FiveTuple {
    let (host, port) = (n / 50_000, n % 50_000);
    FiveTuple {
        protocol: Protocol::Tcp,
        src: SocketAddr::from(([10, 0, (host >> 8) as u8, host as u8], 1_024 + port as u16)),
        dst: SocketAddr::from(([198, 18, 0, bed::SERVER], 80)),
    }
}

/// Nanoseconds a packet through a ring, `burst` at a time: in and out on one thread, or made on one core and freed on another.
pub(crate) fn ring(burst: usize, packets: usize, across: bool) -> anyhow::Result<f64> {
    let eal = bed::eal(if across { "0,1" } else { "0" })?;
    let pool = Mempool::builder(&eal, "ring").capacity(4_095).build()?;
    let (sender, mut receiver) = mbuf_ring(&eal, "ring", 2_047, SocketId::ANY)?;
    if !across {
        let mut batch = RxBatch::<BURST>::new();
        ensure!(fill(&mut batch, &pool, burst), "the pool is dry");
        let start = Instant::now();
        through_ring(&sender, &mut receiver, &mut batch, packets / burst);
        return Ok(start.elapsed().as_nanos() as f64 / packets as f64);
    }
    let other = eal.worker_lcores().next().context("a second lcore")?;
    let time = eal.scope(|scope| {
        let start = Instant::now();
        let sending = scope.launch(&other, || {
            let mut batch = RxBatch::<BURST>::new();
            for _ in 0..packets / burst {
                // A dry pool: the other core has not freed them yet.
                while !fill(&mut batch, &pool, burst) {
                    std::hint::spin_loop();
                }
                while !batch.is_empty() {
                    sender.enqueue(&mut batch);
                }
            }
        })?;
        let mut batch = RxBatch::<BURST>::new();
        let mut left = packets / burst * burst;
        while left > 0 {
            left -= receiver.dequeue(&mut batch);
            batch.clear();
        }
        let time = start.elapsed();
        sending.join()?;
        anyhow::Ok(time)
    })??;
    Ok(time.as_nanos() as f64 / packets as f64)
}

/// Makes so many packets, or none where the pool has not as many.
fn fill(batch: &mut RxBatch<BURST>, pool: &Mempool, count: usize) -> bool {
    let mut mbufs = MbufBatch::<BURST>::new();
    if pool.alloc_bulk(&mut mbufs, count).is_err() {
        return false;
    }
    for mbuf in mbufs.drain() {
        // Both hold as many.
        let _ = batch.push(mbuf.into());
    }
    true
}

#[inline(never)]
fn through_ring(
    sender: &MbufSender,
    receiver: &mut MbufReceiver,
    batch: &mut RxBatch<BURST>,
    rounds: usize,
) {
    for _ in 0..rounds {
        sender.enqueue(batch);
        receiver.dequeue(batch);
    }
}

/// Has neighbours ask the first of so many workers for its address, who tells the others, and the second one hear of it.
pub(crate) fn news(workers: u16) -> anyhow::Result<()> {
    let eal = bed::eal("0")?;
    let ports =
        dpdk_net_rte::ring::joined_ports(&eal, ["server", "client"], workers.min(2), 1_023)?;
    let ids = ports.ids();
    let mut server = bed::side(
        &eal,
        ids[0],
        bed::SERVER,
        workers.min(2),
        workers,
        Spreading::Direct,
    )?;
    let reactors = server.workers.drain(..).map(Reactor::new);
    let mut reactors = reactors.collect::<Result<Vec<_>, _>>()?;
    let (_port, mut client, pool) = bed::bare(&eal, ids[1], workers.min(2))?;
    let mut asked = 0;
    while asked < NEIGHBORS {
        let mut batch = TxBatch::<BURST>::new();
        for _ in 0..BURST {
            let mut mbuf = pool.alloc().context("an mbuf")?;
            mbuf.append_slice(&who_has(asked))?;
            let _ = batch.push(mbuf.into());
            asked += 1;
        }
        client.tx.tx_burst(&mut batch);
        tell(&mut reactors[0]);
        // What was answered.
        let mut answers = RxBatch::<BURST>::new();
        while answers.receive(&mut client.rx).packets > 0 {
            answers.clear();
        }
    }
    if let Some(second) = reactors.get_mut(1) {
        // News alone are no frame.
        let _ = std::hint::black_box(apply(second));
    }
    Ok(())
}

#[inline(never)]
fn tell(reactor: &mut Reactor) {
    reactor.turn();
}

/// Returns what [`tell`] does not: functions that are the same become one, and callgrind would know it by one name.
#[inline(never)]
fn apply(reactor: &mut Reactor) -> bool {
    reactor.turn()
}

/// The ARP request of a neighbour that was not there before.
fn who_has(number: u16) -> Vec<u8> {
    let [a, b] = number.to_be_bytes();
    let mac = MacAddr([2, 0, 0, 1, a, b]);
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut frame, MacAddr::BROADCAST, mac, ethernet::TYPE_ARP);
    let request = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: mac,
        sender: Ipv4Addr::new(198, 18, 1 + a, b),
        target_mac: MacAddr::ZERO,
        target: Ipv4Addr::new(198, 18, 0, bed::SERVER),
    };
    frame.extend(request.to_bytes());
    frame
}

/// Resident bytes: the table for all; ring and mailbox of a worker; an mbuf with its room; stack and loop of a worker without
/// sockets, one of 16.
pub(crate) fn memory() -> anyhow::Result<[f64; 4]> {
    const WORKERS: u16 = 16;
    let eal = bed::eal("0")?;
    let ports = dpdk_net_rte::ring::joined_ports(&eal, ["server", "client"], WORKERS, 63)?;
    let mut before = resident()?;
    let mut grown = || -> anyhow::Result<f64> {
        let now = resident()?;
        Ok(now.saturating_sub(std::mem::replace(&mut before, now)) as f64)
    };
    // As many flows for one worker as for all of them, so that what differs is the workers' own.
    let mut config = PeersConfig::default();
    config.flows = Some(1 << 20);
    let one = peers(&eal, "one", 1, &config)?;
    let alone = grown()?;
    let all = peers(&eal, "all", WORKERS, &config)?;
    let each = (grown()? - alone) / f64::from(WORKERS - 1);
    let pool = Mempool::builder(&eal, "memory").capacity(16_383).build()?;
    let mbuf = grown()? / 16_383.0;
    let (_port, configs) = bed::over(&eal, ports.ids()[0], pool, all)?;
    grown()?;
    let reactors = configs
        .into_iter()
        .map(Reactor::new)
        .collect::<Result<Vec<_>, _>>()?;
    let reactor = grown()? / f64::from(WORKERS);
    drop((one, reactors));
    Ok([alone - each, each, mbuf, reactor])
}

/// Resident memory in bytes.
fn resident() -> anyhow::Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("resident memory")?;
    let pages = statm.split_whitespace().nth(1).context("a second field")?;
    Ok(pages.parse::<usize>()? * rustix::param::page_size())
}
