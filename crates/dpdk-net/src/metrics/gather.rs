//! Reading all figures of an application: each shard's lock is taken once, and nothing is computed under it.

use dpdk_net_rte::port::{PortStats, QueueStats};
use dpdk_net_stack::ListenerInfo;
use dpdk_net_stack::metrics::Metric;

use super::family::{Families, Labels};
use super::table::*;
use crate::drops;
use crate::handle::Handle;
use crate::peers::PeersControl;
use crate::rte::{Mempool, PortControl};
use crate::stats::{ShardFigures, ShardStats};

/// Values of a driver's own that are told, of each port: some count a great many by queue.
const XSTATS: usize = 2_048;

/// Listeners that are told, of each queue.
const LISTENERS: usize = 256;

/// A port of a running application, as far as its figures go.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) port: &'a PortControl,
    pub(crate) mempools: &'a [Mempool],
    /// By the numbers of the queues.
    pub(crate) handles: &'a [Handle],
    /// What the workers share, if there are several.
    pub(crate) peers: Option<&'a PeersControl>,
}

impl Source<'_> {
    pub(super) fn gather(&self, out: &mut Families) {
        let port = ("port", self.name.to_owned());
        self.port_figures(&port, out);
        for pool in self.mempools {
            let labels = || vec![port.clone(), ("pool", pool.name().to_owned())];
            out.add(MEMPOOL, &MEMPOOL_CAPACITY, labels(), pool.capacity());
            out.add(MEMPOOL, &MEMPOOL_IN_USE, labels(), pool.in_use());
        }
        if let Some(peers) = self.peers {
            let (stats, labels) = (peers.steering_stats(), || [port.clone()]);
            out.add(
                STEERING,
                &STEERING_FLOWS_REFUSED,
                labels(),
                stats.flows_refused,
            );
            out.add(
                STEERING,
                &STEERING_BINDINGS_REFUSED,
                labels(),
                stats.bindings_refused,
            );
        }
        for (queue, handle) in (0..).zip(self.handles) {
            let labels = vec![port.clone(), ("queue", queue.to_string())];
            let queue = self.port.queue_stats(queue).unwrap_or_default();
            let shard = handle.figures(LISTENERS);
            queue_figures(&labels, &queue, &shard.stats, out);
            worker_figures(&labels, handle, &shard.stats, out);
            stack_figures(&labels, &shard, out);
            listener_figures(&labels, &shard.listeners, out);
        }
    }

    /// Those of the driver. What it does not give is left out.
    fn port_figures(&self, port: &(&'static str, String), out: &mut Families) {
        if let Ok(info) = self.port.info() {
            let labels = [port.clone(), ("device", info.name), ("driver", info.driver)];
            out.add(PORT, &PORT_INFO, labels, 1_u64);
        }
        if let Ok(link) = self.port.link() {
            out.add(PORT, &PORT_LINK_UP, [port.clone()], link.up);
            if let Some(mbps) = link.speed_mbps {
                let speed = u64::from(mbps) * 1_000_000 / 8;
                out.add(PORT, &PORT_LINK_SPEED, [port.clone()], speed);
            }
        }
        if let Ok(stats) = self.port.stats() {
            for (metric, value) in port_stats(&stats) {
                out.add(PORT, metric, [port.clone()], value);
            }
        }
        let xstats = self.port.xstats().unwrap_or_default();
        for (name, value) in xstats.into_iter().take(XSTATS) {
            out.add(PORT, &PORT_XSTAT, [port.clone(), ("name", name)], value);
        }
    }
}

fn port_stats(stats: &PortStats) -> [(&'static Metric, u64); 8] {
    [
        (&PORT_RX_PACKETS, stats.rx_packets),
        (&PORT_TX_PACKETS, stats.tx_packets),
        (&PORT_RX_BYTES, stats.rx_bytes),
        (&PORT_TX_BYTES, stats.tx_bytes),
        (&PORT_RX_MISSED, stats.rx_missed),
        (&PORT_RX_ERRORS, stats.rx_errors),
        (&PORT_TX_ERRORS, stats.tx_errors),
        (&PORT_RX_NO_MBUF, stats.rx_no_mbuf),
    ]
}

fn queue_figures(labels: &Labels, queue: &QueueStats, shard: &ShardStats, out: &mut Families) {
    let own = [
        (&QUEUE_RX_PACKETS, queue.rx_packets),
        (&QUEUE_RX_BYTES, queue.rx_bytes),
        (&QUEUE_TX_PACKETS, queue.tx_packets),
        (&QUEUE_TX_BYTES, queue.tx_bytes),
        (&QUEUE_RX_COPIED, queue.rx_copied),
        (&QUEUE_TX_COPIED, queue.tx_copied),
    ];
    for (metric, value) in own {
        out.add(QUEUE, metric, labels.clone(), value);
    }
    let with = |name, value: &str| {
        let mut labels = labels.clone();
        labels.push((name, value.to_owned()));
        labels
    };
    for (cause, count) in drops::all(&shard.stack, &shard.worker, queue) {
        out.add(QUEUE, &QUEUE_DROPS, with("cause", cause), count);
    }
    for (metric, count) in shard.stack.frames.metrics().filter(|(it, _)| is_reason(it)) {
        let reason = metric.name.trim_start_matches(STRAYS);
        out.add(QUEUE, &QUEUE_HAND_OVERS, with("reason", reason), count);
    }
}

fn worker_figures(labels: &Labels, handle: &Handle, shard: &ShardStats, out: &mut Families) {
    for (metric, count) in shard.worker.metrics() {
        out.add(WORKER, metric, labels.clone(), count);
    }
    for (metric, histogram) in shard.turns.metrics() {
        out.add(WORKER, metric, labels.clone(), histogram);
    }
    let given_up = u64::from(shard.tx_offloads_given_up.count_ones());
    out.add(WORKER, &WORKER_GIVEN_UP, labels.clone(), given_up);
    if let Some(runtime) = handle.runtime_metrics() {
        let tasks = runtime.num_alive_tasks();
        out.add(WORKER, &WORKER_TASKS, labels.clone(), tasks);
        let queued = runtime.global_queue_depth();
        out.add(WORKER, &WORKER_QUEUED_TASKS, labels.clone(), queued);
    }
}

fn stack_figures(labels: &Labels, shard: &ShardFigures, out: &mut Families) {
    let (stack, gauges) = (&shard.stats.stack, &shard.gauges);
    for (metric, count) in stack.frames.metrics().filter(|(it, _)| is_own(it)) {
        out.add(FRAMES, metric, labels.clone(), count);
    }
    for (state, count) in gauges.tcp_states.metrics() {
        let mut labels = labels.clone();
        labels.push(("state", state.name.to_owned()));
        out.add(TCP, &TCP_CONNECTIONS, labels, count);
    }
    for (metric, histogram) in shard.tcp.metrics() {
        out.add(TCP, metric, labels.clone(), histogram);
    }
    let mut all = |group, figures: &mut dyn Iterator<Item = (&'static Metric, u64)>| {
        for (metric, value) in figures {
            out.add(group, metric, labels.clone(), value);
        }
    };
    all(TCP, &mut gauges.tcp.metrics());
    all(TCP, &mut stack.tcp.metrics());
    all(UDP, &mut gauges.udp.metrics());
    all(UDP, &mut stack.udp.metrics());
    all(ICMP, &mut stack.icmp.metrics());
    all(NEIGHBORS, &mut gauges.neighbors.metrics());
    all(NEIGHBORS, &mut stack.neighbors.metrics());
    all(LINK, &mut gauges.link.metrics());
    all(LINK, &mut stack.link.metrics());
    all(REASSEMBLY, &mut gauges.reassembly.metrics());
    all(REASSEMBLY, &mut stack.reassembly.metrics());
}

fn listener_figures(labels: &Labels, listeners: &[ListenerInfo], out: &mut Families) {
    // One that listens for IPv4 and one for IPv6 alone are told apart by their addresses.
    for listener in listeners {
        let figures: [(&'static Metric, u64); 4] = [
            (&LISTENER_ACCEPT_QUEUE, listener.accept_queue as u64),
            (&LISTENER_BACKLOG, listener.backlog as u64),
            (&LISTENER_HALF_OPEN, listener.half_open as u64),
            (&LISTENER_DROPPED, listener.dropped),
        ];
        for (metric, value) in figures {
            let mut labels = labels.clone();
            labels.push(("listener", listener.local.to_string()));
            out.add(LISTENER, metric, labels, value);
        }
    }
}

/// Those of TLS are the process's. A cause that has not occurred is told too, as all counters are.
#[cfg(feature = "tls")]
pub(super) fn tls_figures(out: &mut Families) {
    use crate::tls::stats::{CLIENT, SERVER, reloads};
    for side in [&SERVER, &CLIENT] {
        let labels = || vec![("side", side.name.to_owned())];
        let (handshakes, resumed) = side.handshakes();
        out.add(TLS, &TLS_HANDSHAKES, labels(), handshakes);
        out.add(TLS, &TLS_RESUMED, labels(), resumed);
    }
    for side in [&SERVER, &CLIENT] {
        for (cause, count) in side.failures() {
            let labels = [("side", side.name.to_owned()), ("cause", cause.to_owned())];
            out.add(TLS, &TLS_FAILURES, labels, count);
        }
    }
    for (result, count) in reloads() {
        out.add(TLS, &TLS_RELOADS, [("result", result.to_owned())], count);
    }
}
