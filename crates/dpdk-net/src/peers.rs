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

mod hand_over;
mod path;
mod rebalance;

use std::fmt;
use std::sync::{Arc, OnceLock};

use crossbeam_queue::ArrayQueue;
use dpdk_net_packet::FiveTuple;
use dpdk_net_packet::toeplitz::Toeplitz;
use dpdk_net_rte::mbuf_ring::{MbufReceiver, MbufSender, mbuf_ring};
use dpdk_net_rte::port::{Reta, RssPlan};
use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Eal, SocketId};
use dpdk_net_stack::{
    Config, Instant, MAX_WORKERS, NeighborNews, Stack, SteeringStats, SteeringTable,
};

pub(crate) use self::hand_over::HandOver;
use self::path::{Known, Loads, ReturnPath, Rss};
pub use self::rebalance::{Rebalanced, Rebalancer, RedirectionTable};
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
    /// Whether workers count what comes to each entry of the port's redirection table, which a [`Rebalancer`] needs: some
    /// nanoseconds a packet where the NIC does not deliver the RSS hash. Default: no.
    pub count_loads: bool,
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self {
            flows: 1 << 20,
            bindings: 4_096,
            count_loads: false,
        }
    }
}

/// What the workers of a port share, for who looks after all of them: see [`Rebalancer`].
#[derive(Clone)]
pub struct PeersControl(Arc<Shared>);

impl fmt::Debug for PeersControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersControl")
            .field("workers", &self.0.senders.len())
            .finish_non_exhaustive()
    }
}

/// What all workers of a port share.
struct Shared {
    seed: [u8; 32],
    steering: Arc<SteeringTable>,
    senders: Vec<MbufSender>,
    mail: Vec<ArrayQueue<NeighborNews>>,
    path: Arc<ReturnPath>,
    /// What comes to each entry of the redirection table, where that is counted.
    loads: OnceLock<Loads>,
    counts_loads: bool,
    /// One for all, so that deadlines keep their meaning where connections move.
    clock: TscClock,
}

impl Shared {
    fn set_rss(&self, rss: Option<Rss>) {
        let Some(rss) = rss else {
            return self.path.set(Known::Nothing);
        };
        if self.counts_loads {
            // The hash stays, whatever the table becomes.
            self.loads
                .get_or_init(|| Loads::new(&rss, self.senders.len()));
        }
        self.path.set(Known::Rss(Box::new(rss)));
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
        loads: OnceLock::new(),
        counts_loads: config.count_loads,
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
        self.shared
            .set_rss(plan.hash().zip(reta).map(|(hash, reta)| Rss {
                hash,
                plan: Some(plan.clone()),
                reta,
            }));
    }

    /// As [`set_rss`](Self::set_rss), of a port that hashes addresses and ports of all TCP and UDP.
    pub fn set_spread(&self, hash: Toeplitz, reta: Reta) {
        self.shared.set_rss(Some(Rss {
            hash,
            plan: None,
            reta,
        }));
    }

    /// As [`set_rss`](Self::set_rss), for what spreads packets otherwise: tells whether packets of a flow, as they arrive, come to
    /// the queue of this number. It is asked for each source port that is tried, by all workers at once.
    pub fn set_return_path(
        &self,
        returns: impl Fn(u16, &FiveTuple) -> bool + Send + Sync + 'static,
    ) {
        self.shared.path.set(Known::Other(Box::new(returns)));
    }

    /// What a [`Rebalancer`] needs of them.
    pub fn control(&self) -> PeersControl {
        PeersControl(self.shared.clone())
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
