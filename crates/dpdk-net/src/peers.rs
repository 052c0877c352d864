//! Several workers that serve one port together, each with a queue pair and a stack of the same addresses: what one of them
//! has of the others.
//!
//! What holds
//! - a packet that came to one worker's queue and belongs to another's flow goes to that worker by a ring; those of a flow that
//!   came to one queue keep their order, and none goes twice;
//! - a full ring drops and counts, as a NIC's does; what one learns of neighbours and can't tell another is counted too, and asked
//!   for again by whoever needs it;
//! - while every packet comes where it belongs a worker pays for looking whether its ring and its mailbox are empty, once a turn.
//!
//! What does not live here: whose a packet is (`dpdk_net_stack::Steering`).

use std::fmt;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use dpdk_net_packet::toeplitz::Spread;
use dpdk_net_packet::{FiveTuple, FrameBuf, FrameSegment, ethernet};
use dpdk_net_rte::mbuf_ring::{MbufReceiver, MbufSender, mbuf_ring};
use dpdk_net_rte::port::{Reta, RssPlan};
use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Eal, Mbuf, Mempool, RxBatch, RxMbuf, SocketId};
use dpdk_net_stack::{
    Config, Instant, MAX_WORKERS, NeighborNews, Stack, SteeringStats, SteeringTable, Stray,
    StrayFrame,
};
use parking_lot::RwLock;

use crate::device::BURST;
use crate::error::Error;

/// Packets that wait for a worker at most: what comes to other queues in some turns.
const RING: u32 = 2_047;

/// What is learnt of neighbours and waits for a worker at most.
const MAILBOX: usize = 1_024;

/// How several workers share a port.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeersConfig {
    /// Flows, TCP connections and connected UDP sockets, whose packets find their worker wherever they come in: 16 to 32 bytes
    /// each. Those past it work as long as their packets come to the right queue. Default: 1,048,576.
    pub flows: usize,
    /// Listeners and bound UDP sockets of which the same holds: 48 to 96 bytes each. Default: 4,096.
    pub bindings: usize,
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            bindings: 4_096,
        }
    }
}

/// What all workers of a port share.
struct Shared {
    seed: [u8; 32],
    steering: Arc<SteeringTable>,
    senders: Vec<MbufSender>,
    mail: Vec<ArrayQueue<NeighborNews>>,
    path: Arc<ReturnPath>,
    /// One for all, so that deadlines keep their meaning where connections move.
    clock: TscClock,
}

/// Whether packets of a flow, as they arrive, come to the queue of this number.
type Returns = Box<dyn Fn(u16, &FiveTuple) -> bool + Send + Sync>;

/// Which queue replies come to, once that is known.
#[derive(Default)]
struct ReturnPath(RwLock<Option<Returns>>);

impl ReturnPath {
    /// Where it can't be told, any queue is as good.
    fn returns(&self, worker: u16, flow: &FiveTuple) -> bool {
        let known = self.0.read();
        known.as_ref().is_none_or(|returns| returns(worker, flow))
    }
}

/// One worker's part in what several share, made by [`peers`] and given to its worker ([`WorkerConfig::peer`]).
///
/// [`WorkerConfig::peer`]: crate::WorkerConfig::peer
pub struct Peer {
    worker: u16,
    shared: Arc<Shared>,
    receiver: MbufReceiver,
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("worker", &self.worker)
            .field("workers", &self.shared.senders.len())
            .finish_non_exhaustive()
    }
}

/// Parts for so many workers, in their order: number `n` serves the port's queue `n`. Names of the rings begin with `name`,
/// which is to be unique in the process.
///
/// # Errors
/// [`Error::BadValue`] for no workers or more than [`MAX_WORKERS`], [`Error::Dpdk`] where memory for the rings is short.
pub fn peers(
    eal: &Eal,
    name: &str,
    workers: u16,
    config: &PeersConfig,
) -> Result<Vec<Peer>, Error> {
    if !(1..=MAX_WORKERS).contains(&workers) {
        return Err(Error::BadValue {
            what: "the number of workers",
            given: workers.into(),
            expected: format!("1 to {MAX_WORKERS} can share a port"),
        });
    }
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(Error::Random)?;
    let path = Arc::new(ReturnPath::default());
    let returns = path.clone();
    let steering = SteeringTable::new(&seed, config.flows, config.bindings)
        .with_return_path(move |worker, flow| returns.returns(worker, flow));
    let mut receivers = Vec::new();
    let mut senders = Vec::new();
    for worker in 0..workers {
        let (sender, receiver) = mbuf_ring(eal, &format!("{name}-{worker}"), RING, SocketId::ANY)?;
        senders.push(sender);
        receivers.push(receiver);
    }
    let shared = Arc::new(Shared {
        seed,
        steering: Arc::new(steering),
        mail: senders.iter().map(|_| ArrayQueue::new(MAILBOX)).collect(),
        senders,
        path,
        clock: TscClock::new(eal),
    });
    let peer = |(worker, receiver)| Peer {
        worker,
        shared: shared.clone(),
        receiver,
    };
    Ok((0..).zip(receivers).map(peer).collect())
}

impl Peer {
    /// Its number, which is that of its queue.
    pub fn worker(&self) -> u16 {
        self.worker
    }

    /// How many share the port.
    pub fn workers(&self) -> u16 {
        self.shared.senders.len() as u16
    }

    /// What the table of flows and sockets could not keep.
    pub fn steering_stats(&self) -> SteeringStats {
        self.shared.steering.stats()
    }

    /// Tells all of them by what RSS chooses queues from now on: outgoing connections take source ports whose replies come to
    /// their own queue. Where the plan can't tell ([`RssPlan::hash`]), or there is no table, every port is as good as another.
    pub fn set_rss(&self, plan: &RssPlan, reta: Option<Reta>) {
        let Some((hash, reta)) = plan.hash().zip(reta) else {
            *self.shared.path.0.write() = None;
            return;
        };
        let plan = plan.clone();
        self.set_return_path(move |worker, flow| {
            let spread = Spread::new(&hash, reta.queues());
            let queue = spread.and_then(|spread| plan.queue_of(&spread, *flow));
            queue.is_none_or(|queue| queue == worker)
        });
    }

    /// As [`set_rss`](Self::set_rss), for what spreads packets otherwise: tells whether packets of a flow, as they arrive, come to
    /// the queue of this number. It is asked for each source port that is tried, by all workers at once.
    pub fn set_return_path(
        &self,
        returns: impl Fn(u16, &FiveTuple) -> bool + Send + Sync + 'static,
    ) {
        *self.shared.path.0.write() = Some(Box::new(returns));
    }

    pub(crate) fn clock(&self) -> TscClock {
        self.shared.clock
    }

    /// The stack of this worker, of a configuration that may be the same for all but for this.
    pub(crate) fn stack(&self, mut config: Config, now: Instant) -> Result<Stack, Error> {
        config.seed = self.shared.seed;
        config.worker = self.worker;
        config.group_reports = self.worker == 0;
        let steering = self.shared.steering.clone();
        Ok(Stack::with_steering(config, steering, now)?)
    }
}

/// What was handed over since it was last asked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct HandOverCounts {
    pub(crate) given: u64,
    pub(crate) ring_full: u64,
    pub(crate) no_mbufs: u64,
    pub(crate) news_dropped: u64,
}

/// A worker's part while it runs.
pub(crate) struct HandOver {
    peer: Peer,
    /// What others handed over, of this turn.
    taken: RxBatch<BURST>,
    /// What the stack noted, of this turn.
    strays: Vec<Stray>,
    /// What goes to each of the others.
    staged: Vec<RxBatch<BURST>>,
    counts: HandOverCounts,
}

impl HandOver {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            taken: RxBatch::new(),
            strays: Vec::new(),
            staged: peer.shared.senders.iter().map(|_| RxBatch::new()).collect(),
            counts: HandOverCounts::default(),
            peer,
        }
    }

    /// Takes what others handed over; tells how many packets those are.
    #[inline]
    pub(crate) fn take(&mut self) -> usize {
        if self.peer.receiver.is_empty() {
            return 0;
        }
        self.peer.receiver.dequeue(&mut self.taken)
    }

    /// Gives the stack what was taken.
    pub(crate) fn ingest(&mut self, stack: &mut Stack, now: Instant) {
        stack.ingest_handed(now, self.taken.as_slice());
    }

    /// Frees what was taken, except for what the stack has kept.
    pub(crate) fn release(&mut self) {
        self.taken.clear();
    }

    /// Notes what of the batch that the stack has just been given is others'.
    #[inline]
    pub(crate) fn note(&mut self, stack: &mut Stack) {
        self.strays.extend(stack.strays());
    }

    #[inline]
    pub(crate) fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Tells the others what this stack has learnt of the link, and this one what they have.
    #[inline]
    pub(crate) fn exchange_news(&mut self, stack: &mut Stack, now: Instant) {
        let own = usize::from(self.peer.worker);
        if let Some(mine) = self.peer.shared.mail.get(own)
            && !mine.is_empty()
        {
            // As many as there are now: others may go on.
            for _ in 0..mine.len() {
                let Some(news) = mine.pop() else { break };
                stack.apply_neighbor_news(now, &news);
            }
        }
        while let Some(news) = stack.poll_neighbor_news() {
            let others = self.peer.shared.mail.iter().enumerate();
            for (_, mailbox) in others.filter(|(worker, _)| *worker != own) {
                self.counts.news_dropped += u64::from(mailbox.push(news).is_err());
            }
        }
    }

    #[inline]
    pub(crate) fn take_counts(&mut self) -> HandOverCounts {
        std::mem::take(&mut self.counts)
    }

    /// Hands over what was noted of the packets in `received`, which is empty afterwards. Copies, where several are to have one
    /// packet, are made in mbufs of `pool`.
    #[cold]
    pub(crate) fn hand_over(&mut self, received: &mut RxBatch<BURST>, pool: &Mempool) {
        let noted = std::mem::take(&mut self.strays);
        let mut strays = noted.iter().peekable();
        for (index, packet) in received.drain().enumerate() {
            let mut packet = Some(packet);
            while let Some(stray) = strays.next_if(|stray| match stray.frame {
                StrayFrame::Given(at) => at == index,
                StrayFrame::Made(_) => true,
            }) {
                match &stray.frame {
                    StrayFrame::Given(_) => self.give_packet(stray, &mut packet, pool),
                    StrayFrame::Made(frame) => self.give_made(stray, frame, pool),
                }
            }
        }
        for stray in strays {
            if let StrayFrame::Made(frame) = &stray.frame {
                self.give_made(stray, frame, pool);
            }
        }
        for worker in 0..self.staged.len() {
            self.flush(worker);
        }
        self.strays = noted;
        self.strays.clear();
    }

    /// A copy to all but the last, who has the packet itself.
    fn give_packet(&mut self, stray: &Stray, packet: &mut Option<RxMbuf>, pool: &Mempool) {
        let mut left = stray.workers.len();
        for worker in stray.workers.iter() {
            left -= 1;
            let whole = if left == 0 {
                packet.take()
            } else {
                packet.as_ref().and_then(|packet| copy(packet, pool))
            };
            self.stage(worker, whole);
        }
    }

    fn give_made(&mut self, stray: &Stray, frame: &[u8], pool: &Mempool) {
        for worker in stray.workers.iter() {
            let packet = packet_of([frame], pool);
            self.stage(worker, packet);
        }
    }

    /// Puts a packet with what goes to a worker; `None` is one for which there was no mbuf.
    fn stage(&mut self, worker: u16, packet: Option<RxMbuf>) {
        let at = usize::from(worker);
        let Some(packet) = packet else {
            self.counts.no_mbufs += 1;
            return;
        };
        let Some(batch) = self.staged.get_mut(at) else {
            return;
        };
        if let Err(packet) = batch.push(packet) {
            self.flush(at);
            if let Some(batch) = self.staged.get_mut(at) {
                // It is empty now.
                let _ = batch.push(packet);
            }
        }
    }

    fn flush(&mut self, worker: usize) {
        let (Some(batch), Some(sender)) = (
            self.staged.get_mut(worker),
            self.peer.shared.senders.get(worker),
        ) else {
            return;
        };
        let all = batch.len();
        if all > 0 {
            let dropped = sender.enqueue_or_drop(batch);
            self.counts.ring_full += dropped as u64;
            self.counts.given += (all - dropped) as u64;
        }
    }
}

/// A packet like this one, with a tag that was stripped put back in.
fn copy(packet: &RxMbuf, pool: &Mempool) -> Option<RxMbuf> {
    let rest = packet.rest().map(|segment| segment.bytes());
    let Some(tci) = packet.rx_meta().vlan_tci else {
        return packet_of([packet.bytes()].into_iter().chain(rest), pool);
    };
    const ADDRESSES: usize = 12;
    let (addresses, behind) = packet.bytes().split_at_checked(ADDRESSES)?;
    let [a, b] = ethernet::TYPE_VLAN.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    let tag = [a, b, c, d];
    let parts = [addresses, &tag, behind].into_iter();
    packet_of(parts.chain(rest), pool)
}

/// A packet of these bytes, in as many mbufs as it takes.
fn packet_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>, pool: &Mempool) -> Option<RxMbuf> {
    let mut packet = pool.alloc()?;
    let mut last: Option<Mbuf> = None;
    for mut part in parts {
        while !part.is_empty() {
            let mbuf = last.as_mut().unwrap_or(&mut packet);
            let (now, later) = part.split_at(part.len().min(mbuf.tailroom()));
            mbuf.append(now.len()).ok()?.copy_from_slice(now);
            part = later;
            if !part.is_empty()
                && let Some(full) = last.replace(pool.alloc()?)
            {
                packet.chain(full).ok()?;
            }
        }
    }
    if let Some(last) = last {
        packet.chain(last).ok()?;
    }
    Some(packet.into())
}
