//! What one looks at first of a queue: what it carries, what it drops and why, and how busy its worker is.
//!
//! The control socket and DPDK's telemetry tell it; all that is counted is in `Handle::stats`.

use super::Context;
use crate::drops;
use crate::stats::{PoolLevel, ShardStats};

/// A queue's figures. Counts are since the start.
pub(super) struct QueueFigures {
    /// Names and values, of counts and of what there is now.
    pub(super) figures: Vec<(&'static str, u64)>,
    /// Why frames and packets were dropped, and how many; causes that did not happen are left out.
    pub(super) drops: Vec<(&'static str, u64)>,
    /// The mempool that the queue receives into.
    pub(super) pool: Option<PoolLevel>,
}

impl QueueFigures {
    /// Those of a queue, in one critical section.
    pub(super) fn of(context: &Context) -> Self {
        let stats = context.handle().stats();
        let queue = context.port().queue_stats(context.queue());
        let drops = drops::all(&stats.stack, &stats.worker, &queue.unwrap_or_default());
        let suffix = format!("-{}", context.queue());
        let pools = context.shared().levels().into_iter();
        let mut pools = pools.filter(|pool| pool.name.starts_with("dpdk-net-"));
        Self {
            figures: figures(&stats),
            drops: drops.filter(|(_, count)| *count > 0).collect(),
            pool: pools.find(|pool| pool.name.ends_with(&suffix)),
        }
    }
}

fn figures(stats: &ShardStats) -> Vec<(&'static str, u64)> {
    let ShardStats { stack, worker, .. } = stats;
    vec![
        ("rx_frames", worker.rx_frames),
        ("rx_bytes", stack.frames.rx_bytes),
        ("tx_frames", worker.tx_frames),
        ("tx_bytes", stack.frames.tx_bytes),
        ("turns", worker.turns),
        ("busy_turns", worker.busy_turns),
        ("busy_cycles", worker.busy),
        ("idle_cycles", worker.idle),
        ("timer_runs", worker.timer_runs),
        ("wakes", worker.wakes),
        ("no_mbufs", worker.no_mbufs),
        ("tx_ring_full", worker.tx_ring_full),
        ("handed_over", worker.handed_over),
        ("taken_over", stack.frames.strays_taken),
        ("captured", worker.captured),
        ("capture_lost", worker.capture_lost),
        ("connections", stats.tcp_connections as u64),
        ("orphans", stats.tcp_orphans as u64),
        ("tcp_active_opens", stack.tcp.active_opens),
        ("tcp_passive_opens", stack.tcp.passive_opens),
        ("tcp_rx_segments", stack.tcp.rx_segments),
        ("tcp_tx_segments", stack.tcp.tx_segments),
        ("tcp_retransmits", stack.tcp.retransmits),
        ("tcp_timeouts", stack.tcp.retransmission_timeouts),
        ("tcp_rx_resets", stack.tcp.rx_resets),
        ("tcp_tx_resets", stack.tcp.tx_resets),
        ("udp_received", stack.udp.delivered),
        ("udp_sent", stack.udp.sent),
    ]
}
