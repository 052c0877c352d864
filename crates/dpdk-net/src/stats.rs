//! Snapshots of figures: what a worker's loop, its stack and its port counted.
//!
//! Counters are plain integers of the worker's shard, written inside the critical section that the loop
//! takes anyway, and copied out here on demand. Nothing here is on the packet path.

use std::time::Duration;

use dpdk_net_rte::port::{Offloads, PortStats};
use dpdk_net_stack::{Stats as StackStats, TcpConnection};

/// What a worker's loop did since it started. All are counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Turns in which a frame came or went, or a timer ran.
    pub busy_turns: u64,
    /// Frames taken from the RX queue.
    pub rx_frames: u64,
    /// Frames handed to the TX queue.
    pub tx_frames: u64,
    /// Turns in which the TX ring did not take all that was ready; the rest was kept, in order.
    pub tx_ring_full: u64,
    /// Turns in which the mempool had no mbuf for a frame to send; the stack kept its output.
    pub no_mbufs: u64,
    /// Times that mbufs for frames to send came from the pool for all workers, as the worker's own had none.
    pub fallback_mbufs: u64,
    /// Packets that came to this worker's queue and were handed to the worker whose they are. How many it was handed itself is
    /// [`FrameStats::strays_taken`](dpdk_net_stack::FrameStats::strays_taken).
    pub handed_over: u64,
    /// Packets to be handed over that were dropped, as the other worker's ring was full.
    pub hand_over_full: u64,
    /// Packets to be handed over that were dropped, as there was no mbuf for a copy.
    pub hand_over_no_mbufs: u64,
    /// What was learnt of neighbours and not told to a worker whose mailbox was full.
    pub news_dropped: u64,
    /// Received frames dropped because their chain of mbufs does not fit into one.
    pub rx_not_contiguous: u64,
    /// Frames the stack produced that fit no mbuf; dropped.
    pub tx_oversize: u64,
    /// Packets of several segments that were handed to the NIC to be cut (TSO).
    pub tx_cut_by_nic: u64,
    /// Packets made in software that the driver refused, or never took, as they asked for an offload.
    pub tx_redone: u64,
    /// Offloads that the driver turned out not to do and that are done in software since: the bits of
    /// [`TxOffloads`](dpdk_net_rte::port::TxOffloads).
    pub tx_offloads_given_up: u64,
    /// Runs of the stack's timers.
    pub timer_runs: u64,
    /// Wakers woken.
    pub wakes: u64,
    /// Frames captured, one by two captures counted twice: see [`capture`](crate::capture).
    pub captured: u64,
    /// Frames to be captured that were lost, as there was no room for them.
    pub capture_lost: u64,
    /// Frames that a capture's filter did not take.
    pub capture_filtered: u64,
}

/// The figures of one shard: its stack and its worker. See [`crate::Handle::stats`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardStats {
    /// The stack's counters.
    pub stack: StackStats,
    /// The worker's counters.
    pub worker: WorkerStats,
    /// TCP connections in any state, orphans included.
    pub tcp_connections: usize,
    /// TCP connections that their application let go of and that finish by themselves.
    pub tcp_orphans: usize,
}

/// How full a mempool is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolLevel {
    /// Its name: `dpdk-net-PORT-QUEUE` is a queue's own, `dpdk-net-PORT-all` the one for all queues.
    pub name: String,
    /// Mbufs that it has.
    pub capacity: usize,
    /// Those that are in use: in rings, in hand, or with payload that somebody keeps.
    pub in_use: usize,
}

/// The figures of a running application. See [`crate::app::Context::stats`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Snapshot {
    /// Time since the worker was started.
    pub uptime: Duration,
    /// The stack's counters.
    pub stack: StackStats,
    /// The worker's counters.
    pub worker: WorkerStats,
    /// The port's counters, if the driver gives any.
    pub port: Option<PortStats>,
    /// Which of the port's offloads are on, and why others are not.
    pub offloads: Offloads,
    /// The port's mempools.
    pub mempools: Vec<PoolLevel>,
    /// Every TCP connection.
    pub connections: Vec<TcpConnection>,
    /// TCP connections that their application let go of and that finish by themselves.
    pub tcp_orphans: usize,
}
