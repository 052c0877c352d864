//! Several workers that serve one port together, each with a queue pair and a stack of the same addresses: what one of them
//! has of the others.
//!
//! What holds
//! - a packet that came to one worker's queue and belongs to another's flow goes to that worker by a ring; those of a flow that
//!   came to one queue keep their order, and none goes twice;
//! - a full ring drops and counts, as a NIC's does; what one hears of neighbours and can't tell another is counted too, and asked
//!   for again by whoever needs it; what one decides (groups, addresses) is kept until all have been told;
//! - while every packet comes where it belongs a worker pays for looking whether its ring and its mailbox are empty, once a turn.
//!
//! What does not live here: whose a packet is (`dpdk_net_stack::Steering`).

mod hand_over;
mod path;
mod rebalance;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crossbeam_queue::ArrayQueue;
use dpdk_net_packet::FiveTuple;
use dpdk_net_packet::toeplitz::Toeplitz;
use dpdk_net_rte::mbuf_ring::{MbufReceiver, MbufSender, mbuf_ring};
use dpdk_net_rte::port::{Reta, RssPlan};
use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Eal, SocketId};
use dpdk_net_stack::{
    Config, Instant, MAX_WORKERS, NeighborNews, Stack, SteeringStats, SteeringTable, TcpConfig,
};

pub(crate) use self::hand_over::HandOver;
use self::path::{CurrentLoads, Known, ReturnPath, Rss};
pub use self::rebalance::{Rebalanced, Rebalancer, RedirectionTable};
use crate::error::Error;

/// Packets that wait for a worker at most: what comes to other queues in some turns.
const RING: u32 = 2_047;

/// What is learnt of neighbours and waits for a worker at most.
const MAILBOX: usize = 1_024;

/// The worker whose stack reports groups.
const REPORTER: u16 = 0;

/// Connections for which the table has room by default, in all and of each worker, where that is more.
const CONNECTIONS: usize = 1 << 20;
const CONNECTIONS_EACH: usize = 1 << 17;

/// How several workers share a port.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PeersConfig {
    /// Flows, TCP connections and connected UDP sockets, whose packets find their worker wherever they come in: 16 to 32 bytes
    /// each. Those past it work as long as their packets come to the right queue. Default (`None`): what SYN queues and TIME-WAIT
    /// of all workers may hold, and the connections that they may have ([`TcpConfig::max_connections`]), of those 1,048,576 at
    /// most, or 131,072 for each worker where that is more.
    pub flows: Option<usize>,
    /// Listeners, bound UDP sockets and groups of which the same holds: 16 to 32 bytes each, for each eight workers. What all
    /// workers have on the same address and port is one. Default: 4,096.
    pub bindings: usize,
    /// Whether workers count what comes to each entry of the port's redirection table, which a [`Rebalancer`] needs: some
    /// nanoseconds a packet where the NIC does not deliver the RSS hash. Default: no.
    pub count_loads: bool,
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self {
            flows: None,
            bindings: 4_096,
            count_loads: false,
        }
    }
}

impl PeersConfig {
    /// Sets [`flows`](Self::flows), unless it is set, for so many workers whose stacks have these settings.
    #[must_use]
    pub fn sized_for(mut self, workers: u16, tcp: &TcpConfig) -> Self {
        let workers = usize::from(workers);
        self.flows.get_or_insert_with(|| {
            let expected = CONNECTIONS.max(workers * CONNECTIONS_EACH);
            let possible = workers.saturating_mul(tcp.max_connections);
            let closing = tcp.max_time_wait.saturating_add(tcp.syn_queue);
            expected
                .min(possible)
                .saturating_add(workers.saturating_mul(closing))
        });
        self
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

impl PeersControl {
    /// What the table of flows and sockets could not keep.
    pub fn steering_stats(&self) -> SteeringStats {
        self.0.steering.stats()
    }

    /// Flows, and words of sockets, that the table of owners has now. Looks at all of it: for people and tests.
    pub fn entries(&self) -> (usize, usize) {
        let table = &self.0.steering;
        (table.flows(), table.bindings())
    }
}

/// What all workers of a port share.
struct Shared {
    seed: [u8; 32],
    steering: Arc<SteeringTable>,
    senders: Vec<MbufSender>,
    mail: Vec<Mailbox>,
    /// Workers that have ended.
    ended: AtomicU32,
    path: Arc<ReturnPath>,
    /// What comes to each entry of the redirection table, where that is counted.
    loads: CurrentLoads,
    counts_loads: bool,
    /// One for all, so that deadlines keep their meaning where connections move.
    clock: TscClock,
}

/// What the others have to tell a worker.
struct Mailbox {
    news: ArrayQueue<NeighborNews>,
    /// Its worker has ended: nobody reads it any more.
    closed: AtomicBool,
}

impl Mailbox {
    fn new() -> Self {
        Self {
            news: ArrayQueue::new(MAILBOX),
            closed: AtomicBool::new(false),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// `false` if it is full. Who has ended need not be told.
    fn tell(&self, news: NeighborNews) -> bool {
        self.is_closed() || self.news.push(news).is_ok()
    }
}

impl Shared {
    fn set_rss(&self, rss: Option<Rss>) {
        if self.counts_loads {
            self.loads.set(rss.as_ref(), self.senders.len());
        }
        let known = rss.map_or(Known::Nothing, |rss| Known::Rss(Box::new(rss)));
        self.path.set(known);
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

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mailbox) = self.shared.mail.get(usize::from(self.worker)) {
            mailbox.closed.store(true, Ordering::Release);
            self.shared.ended.fetch_add(1, Ordering::Release);
        }
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
    let config = config.clone().sized_for(workers, &TcpConfig::default());
    // A word of the table stands for eight workers.
    let bindings = config
        .bindings
        .saturating_mul(usize::from(workers).div_ceil(8));
    let steering = SteeringTable::new(&seed, config.flows.unwrap_or(CONNECTIONS), bindings)
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
        mail: senders.iter().map(|_| Mailbox::new()).collect(),
        ended: AtomicU32::new(0),
        senders,
        path,
        loads: CurrentLoads::default(),
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

    /// Tells all of them by what RSS chooses queues from now on; it is the last that counts. Outgoing connections take source ports
    /// whose replies come to their own queue. Where the plan can't tell ([`RssPlan::hash`]), or there is no table, every port is as
    /// good as another.
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
        self.shared.set_rss(None);
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
        config.group_reports = self.worker == REPORTER;
        let steering = self.shared.steering.clone();
        Ok(Stack::with_steering(config, steering, now)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_room_for_what_the_workers_may_have() {
        let flows = |workers, tcp: &TcpConfig| {
            let config = PeersConfig::default().sized_for(workers, tcp);
            config.flows.unwrap()
        };
        let tcp = TcpConfig::default();
        let closing = tcp.max_time_wait + tcp.syn_queue;
        assert_eq!(flows(2, &tcp), (1 << 20) + 2 * closing);
        assert_eq!(flows(128, &tcp), 128 * ((1 << 17) + closing));
        let mut small = TcpConfig::default();
        (small.max_connections, small.max_time_wait, small.syn_queue) = (100, 10, 1);
        assert_eq!(flows(4, &small), 4 * 111);
        let mut endless = TcpConfig::default();
        (endless.max_connections, endless.max_time_wait) = (usize::MAX, usize::MAX);
        assert_eq!(flows(128, &endless), usize::MAX);
        // What was asked for is kept.
        let asked = PeersConfig {
            flows: Some(7),
            ..PeersConfig::default()
        };
        assert_eq!(asked.sized_for(4, &tcp).flows, Some(7));
    }
}
