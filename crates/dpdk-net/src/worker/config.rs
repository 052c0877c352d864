//! What a worker is made of: its queue pair, pools and stack, and what it has in common with others.

use std::fmt;

use dpdk_net_rte::{Eal, Mempool, QueuePair};
use dpdk_net_stack::Config;

use crate::affinity::Affinity;
use crate::device::{Interpose, SendMemory, Transmit};
use crate::idle::IdlePolicy;
use crate::peers::Peer;

/// What a worker is made of. `Send`, so that it can be built here and run on another lcore.
#[derive(Debug)]
pub struct WorkerConfig {
    pub(super) eal: Eal,
    pub(super) queues: QueuePair,
    pub(super) mempool: Mempool,
    pub(super) stack: Config,
    pub(super) idle: IdlePolicy,
    pub(super) affinity: Option<Affinity>,
    pub(super) send_memory: Option<SendMemory>,
    pub(super) fallback: Option<Mempool>,
    pub(super) interpose: Option<Interposed>,
    pub(super) peer: Option<Peer>,
    #[cfg(feature = "resolver")]
    pub(super) dns: crate::Dns,
}

/// What comes in front of the TX queue.
pub(super) struct Interposed(pub(super) Interpose);

impl fmt::Debug for Interposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interposed")
    }
}

impl WorkerConfig {
    /// A worker over `queues` that takes its mbufs from `mempool` and runs a stack as `stack` says.
    ///
    /// The mempool's data room must hold a frame of the stack's MTU; the queues' own receive pool as well,
    /// or longer frames are dropped and counted.
    pub fn new(eal: &Eal, queues: QueuePair, mempool: Mempool, stack: Config) -> Self {
        Self {
            eal: eal.clone(),
            queues,
            mempool,
            stack,
            idle: IdlePolicy::default(),
            affinity: None,
            send_memory: None,
            fallback: None,
            interpose: None,
            peer: None,
            #[cfg(feature = "resolver")]
            dns: crate::Dns::default(),
        }
    }

    /// Has bulk be sent by reference, where the port takes frames of several mbufs
    /// ([`TxOffloads::MULTI_SEGS`](dpdk_net_rte::port::TxOffloads::MULTI_SEGS)). Default: it is copied into each frame.
    #[must_use]
    pub fn send_memory(mut self, memory: SendMemory) -> Self {
        self.send_memory = Some(memory);
        self
    }

    /// A mempool that frames to send are made in when the worker's own has none left: one for several workers.
    #[must_use]
    pub fn fallback_mempool(mut self, mempool: Mempool) -> Self {
        self.fallback = Some(mempool);
        self
    }

    /// Makes it one of several workers of a port with several queues ([`peers`](crate::peers::peers)), all with the same addresses
    /// and MAC address: what comes to the wrong queue is handed over, neighbours are known to all, and each connects from source
    /// ports whose replies come to its own queue. Of the stack's configuration seed, worker number and group reports are
    /// replaced.
    #[must_use]
    pub fn peer(mut self, peer: Peer) -> Self {
        self.peer = Some(peer);
        self
    }

    /// How names are resolved: give the workers of an application the same. Default: settings of its own, without servers.
    #[cfg(feature = "resolver")]
    #[must_use]
    pub fn dns(mut self, dns: crate::Dns) -> Self {
        self.dns = dns;
        self
    }

    /// Puts something in front of the TX queue that sees all frames: it counts, records, or breaks them. Of the NIC is asked
    /// what it offers ([`Transmit::capabilities`]).
    #[must_use]
    pub fn interpose(
        mut self,
        interpose: impl FnOnce(Box<dyn Transmit>) -> Box<dyn Transmit> + Send + 'static,
    ) -> Self {
        self.interpose = Some(Interposed(Box::new(interpose)));
        self
    }

    /// What the worker does when there is nothing to do. Default: [`IdlePolicy::Spin`].
    #[must_use]
    pub fn idle(mut self, idle: IdlePolicy) -> Self {
        self.idle = idle;
        self
    }

    /// The CPUs for the runtime's blocking threads. Default: all that the process may use.
    #[must_use]
    pub(crate) fn blocking_affinity(mut self, affinity: Option<Affinity>) -> Self {
        self.affinity = affinity;
        self
    }
}
