//! Snapshots of figures: what a worker's loop, its stack and its port counted.
//!
//! Counters are plain integers of the worker's shard, written inside the critical section that the loop
//! takes anyway, and copied out here on demand. Nothing here is on the packet path.

use std::time::Duration;

use dpdk_net_rte::LcoreId;
use dpdk_net_rte::port::{Offloads, PortStats};
use dpdk_net_stack::{
    Gauges, ListenerInfo, Stats as StackStats, TcpConnection, TcpHistograms, counters, histograms,
};

counters! {
    /// What a worker's loop did since it started. All are counts.
    pub struct WorkerStats, WorkerCounters {
        /// Turns of the loop.
        turns,
        /// Turns in which a frame came, went or waited for the TX ring, or a timer ran.
        busy_turns,
        /// Frames taken from the RX queue.
        rx_frames,
        /// Bursts in which the RX queue delivered something.
        rx_bursts,
        /// Looks at the RX queue that found nothing.
        empty_polls,
        /// Frames that the stack made to be sent: of a packet that the NIC cuts (TSO) the segments, and those of `tx_oversize` too.
        tx_frames,
        /// Bursts of which the TX ring took something. One that was just sent counts from the next turn on.
        tx_bursts,
        /// Turns in which the TX ring did not take all that was ready; the rest was kept, in order.
        tx_ring_full,
        /// Turns in which the mempool had no mbuf for a frame to send; the stack kept its output.
        no_mbufs,
        /// Times that mbufs for frames to send came from the pool for all workers, as the worker's own had none.
        fallback_mbufs,
        /// Packets that came to this worker's queue and were handed to the worker whose they are; `strays_taken` of the frames is
        /// how many it was handed itself.
        handed_over,
        /// Packets to be handed over that were dropped, as the other worker's ring was full.
        hand_over_full,
        /// Packets to be handed over that were dropped, as there was no mbuf for a copy.
        hand_over_no_mbufs,
        /// What was learnt of neighbours and not told to a worker whose mailbox was full.
        news_dropped,
        /// Received frames dropped because their chain of mbufs does not fit into one.
        rx_not_contiguous,
        /// Frames the stack produced that fit no mbuf; dropped.
        tx_oversize,
        /// Packets of several segments that were handed to the NIC to be cut (TSO).
        tx_cut_by_nic,
        /// Packets made in software that the driver refused, or never took, as they asked for an offload.
        tx_redone,
        /// Runs of the stack's timers.
        timer_runs,
        /// Wakers woken.
        wakes,
        /// Turns before which another thread that waited for the worker's lock had it.
        gave_way,
        /// Turns before which the lock was left to a thread that did not come, as it was not running.
        gave_way_in_vain,
        /// Threads that slept as they waited for the worker's lock, and were woken for it.
        threads_woken,
        /// Tasks that other threads had the worker spawn.
        spawned,
        /// Tasks that other threads did not have spawned, as the worker's mailbox was full.
        mailbox_full,
        /// Frames captured; one that two captures take counts twice.
        captured,
        /// Frames to be captured that were lost, as there was no room for them.
        capture_lost,
        /// Frames that a capture's filter did not take.
        capture_filtered,
        /// Time of the turns in which something came, went, waited to go or was due, tasks that ran after them included.
        busy: Cycles,
        /// Time of the other turns, tasks that ran after them and idling included.
        idle: Cycles,
    }
}

histograms! {
    /// How a worker's turns were spread.
    pub struct WorkerHistograms, WorkerDistributions {
        /// Time from the beginning of a turn in which something came, went, waited to go or was due to that of the next turn.
        busy_turn: Nanoseconds,
        /// Time from the beginning of any other turn to that of the next one: tasks alone, or idling.
        idle_turn: Nanoseconds,
        /// Frames that one burst took from the RX queue.
        rx_batch,
        /// Packets that the TX ring took of one burst.
        tx_batch,
        /// How long other threads waited for the worker's lock, each time that they did not have it at once.
        thread_wait: Nanoseconds,
    }
}

/// The figures of one shard: its stack and its worker. See [`crate::Handle::stats`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ShardStats {
    /// The stack's counters.
    pub stack: StackStats,
    /// The worker's counters.
    pub worker: WorkerStats,
    /// How long the worker's turns took, and how much it received and sent at once.
    pub turns: WorkerHistograms,
    /// Offloads that the driver turned out not to do and that are done in software since: the bits of
    /// [`TxOffloads`](dpdk_net_rte::port::TxOffloads).
    pub tx_offloads_given_up: u64,
    /// TCP connections in any state, orphans included.
    pub tcp_connections: usize,
    /// TCP connections that their application let go of and that finish by themselves.
    pub tcp_orphans: usize,
}

/// The thread that a worker runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerThread {
    /// The lcore that it is, if it is one.
    pub lcore: Option<LcoreId>,
    /// The kernel's id of it: `/proc/self/task/ID`.
    pub id: i32,
}

impl WorkerThread {
    pub(crate) fn current() -> Self {
        Self {
            lcore: LcoreId::current(),
            id: rustix::thread::gettid().as_raw_nonzero().get(),
        }
    }

    /// Whether it is the thread that calls.
    pub(crate) fn is_current(&self) -> bool {
        rustix::thread::gettid().as_raw_nonzero().get() == self.id
    }

    /// The CPU that it runs on, or ran on last; `None` if the kernel does not tell.
    pub fn cpu(&self) -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{}/stat", self.id)).ok()?;
        last_cpu(&stat)
    }
}

/// The field `processor` of proc_pid_stat(5). The second one, a name in parentheses, may have blanks in it.
fn last_cpu(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(39 - 3)?.parse().ok()
}

/// All that a registry tells of a shard, read in one critical section.
pub(crate) struct ShardFigures {
    pub(crate) stats: ShardStats,
    pub(crate) gauges: Gauges,
    pub(crate) tcp: TcpHistograms,
    pub(crate) listeners: Vec<ListenerInfo>,
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
    /// Offloads that the driver turned out not to do and that are done in software since: the bits of
    /// [`TxOffloads`](dpdk_net_rte::port::TxOffloads).
    pub tx_offloads_given_up: u64,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_of_a_thread_is_one_that_it_may_run_on() {
        let cpu = WorkerThread::current().cpu().unwrap();
        let allowed = rustix::thread::sched_getaffinity(None).unwrap();
        assert!(allowed.is_set(cpu as usize), "{cpu}");
        assert_eq!(last_cpu("1 (a) b) S 1"), None);
    }
}
