//! What there is to be told: the metrics that are declared here, and the catalogue of all.

use dpdk_net_stack::metrics::{Kind, Metric, Unit};
use dpdk_net_stack::{
    FrameStats, IcmpStats, LinkGauges, LinkStats, NeighborGauges, NeighborStats, ReassemblyGauges,
    ReassemblyStats, TcpGauges, TcpHistograms, TcpStats, UdpGauges, UdpStats,
};

use crate::stats::{WorkerHistograms, WorkerStats};

/// Declares metrics: a line of documentation is the help.
macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $constant:ident: $kind:ident, $unit:ident = $name:literal;)*) => {
        $(
            $(#[doc = $doc])+
            pub(super) static $constant: Metric = Metric {
                name: $name,
                help: concat!($($doc),+).trim_ascii(),
                unit: Unit::$unit,
                kind: Kind::$kind,
                linux: None,
            };
        )*
    };
}

metrics! {
    /// What runs: always 1, with the versions as labels.
    BUILD_INFO: Gauge, None = "build_info";
    /// Time since the application began.
    UPTIME: Gauge, Nanoseconds = "uptime";

    /// What a port is: always 1, with its device and driver as labels.
    PORT_INFO: Gauge, None = "info";
    /// Whether the port has a link: 1 or 0.
    PORT_LINK_UP: Gauge, None = "link_up";
    /// Speed of the link in bytes a second, where the driver knows it.
    PORT_LINK_SPEED: Gauge, Bytes = "link_speed";
    /// Packets received, as the driver counts them.
    PORT_RX_PACKETS: Counter, None = "rx_packets";
    /// Packets sent, as the driver counts them.
    PORT_TX_PACKETS: Counter, None = "tx_packets";
    /// Bytes received, as the driver counts them.
    PORT_RX_BYTES: Counter, Bytes = "rx_bytes";
    /// Bytes sent, as the driver counts them.
    PORT_TX_BYTES: Counter, Bytes = "tx_bytes";
    /// Packets that the NIC dropped as no descriptor was free: the application was too slow.
    PORT_RX_MISSED: Counter, None = "rx_missed";
    /// Packets received in error.
    PORT_RX_ERRORS: Counter, None = "rx_errors";
    /// Packets that could not be sent.
    PORT_TX_ERRORS: Counter, None = "tx_errors";
    /// Receptions that found no mbuf: the mempool is too small.
    PORT_RX_NO_MBUF: Counter, None = "rx_no_mbuf";
    /// What the driver counts beside this, by the name that it gives; what it means is the driver's to say.
    PORT_XSTAT: Gauge, None = "xstat";

    /// Packets that the queue delivered.
    QUEUE_RX_PACKETS: Counter, None = "rx_packets";
    /// Their bytes, without the frame check sequence.
    QUEUE_RX_BYTES: Counter, Bytes = "rx_bytes";
    /// Packets handed to the queue.
    QUEUE_TX_PACKETS: Counter, None = "tx_packets";
    /// Their bytes, without the frame check sequence.
    QUEUE_TX_BYTES: Counter, Bytes = "tx_bytes";
    /// Received packets that the driver shared with others and that were copied therefore.
    QUEUE_RX_COPIED: Counter, None = "rx_copied";
    /// Packets of several segments that were copied into one to be sent, for a driver that takes no others.
    QUEUE_TX_COPIED: Counter, None = "tx_copied";
    /// Frames and packets dropped, by cause.
    QUEUE_DROPS: Counter, None = "drops";
    /// Packets that came to this queue and were another worker's to handle, by what they were.
    QUEUE_HAND_OVERS: Counter, None = "hand_overs";

    /// Offloads that the driver turned out not to do and that are done in software since.
    WORKER_GIVEN_UP: Gauge, None = "tx_offloads_given_up";
    /// Tasks of the worker's runtime that have not ended; told for the first queue that the worker serves.
    WORKER_TASKS: Gauge, None = "tasks";
    /// Tasks that were woken from other threads and wait to run; told for the first queue that the worker serves.
    WORKER_QUEUED_TASKS: Gauge, None = "queued_tasks";

    /// Mbufs that the pool has.
    MEMPOOL_CAPACITY: Gauge, None = "capacity";
    /// Mbufs that are in use: in rings, in hand, or with payload that somebody keeps.
    MEMPOOL_IN_USE: Gauge, None = "in_use";

    /// Flows that the table of all workers could not keep as their buckets were full.
    STEERING_FLOWS_REFUSED: Counter, None = "flows_refused";
    /// Listeners and sockets that the table of all workers could not keep as there were as many as may be.
    STEERING_BINDINGS_REFUSED: Counter, None = "bindings_refused";

    /// TCP connections by state (RFC 9293 section 3.3.2), listeners not counted; `closed` are over and still held.
    TCP_CONNECTIONS: Gauge, None = "connections";

    /// Connections that wait to be accepted.
    LISTENER_ACCEPT_QUEUE: Gauge, None = "accept_queue";
    /// Connections that may wait to be accepted; one more fits.
    LISTENER_BACKLOG: Gauge, None = "backlog";
    /// Connections whose SYN has come and whose handshake is not complete; those answered with a cookie are not known.
    LISTENER_HALF_OPEN: Gauge, None = "half_open";
    /// SYNs and final ACKs dropped for want of room.
    LISTENER_DROPPED: Counter, None = "dropped";

    /// Handshakes that were done, as a server or a client; with the feature `tls`.
    TLS_HANDSHAKES: Counter, None = "handshakes";
    /// Those of them that went on with a session of before.
    TLS_RESUMED: Counter, None = "resumed_handshakes";
    /// Handshakes that failed, by cause.
    TLS_FAILURES: Counter, None = "handshake_failures";
    /// How often a server was told to read its certificates anew, by what became of it.
    TLS_RELOADS: Counter, None = "reloads";
}

/// The groups: what names begin with.
pub(super) const PROCESS: &str = "dpdk_net";
pub(super) const PORT: &str = "dpdk_net_port";
pub(super) const QUEUE: &str = "dpdk_net_queue";
pub(super) const WORKER: &str = "dpdk_net_worker";
pub(super) const MEMPOOL: &str = "dpdk_net_mempool";
pub(super) const STEERING: &str = "dpdk_net_steering";
pub(super) const FRAMES: &str = "dpdk_net_frames";
pub(super) const TCP: &str = "dpdk_net_tcp";
pub(super) const LISTENER: &str = "dpdk_net_listener";
pub(super) const TLS: &str = "dpdk_net_tls";
pub(super) const UDP: &str = "dpdk_net_udp";
pub(super) const ICMP: &str = "dpdk_net_icmp";
pub(super) const NEIGHBORS: &str = "dpdk_net_neighbors";
pub(super) const LINK: &str = "dpdk_net_link";
pub(super) const REASSEMBLY: &str = "dpdk_net_reassembly";

/// What [`FrameStats`] calls its drops begins with this; they are one metric, with the rest of the name as the cause.
pub(super) const DROP: &str = "drop_";

/// What [`FrameStats`] calls packets of other workers begins with this, but for one that is not by reason.
pub(super) const STRAYS: &str = "strays_";
const STRAYS_TAKEN: &str = "strays_taken";

/// Whether a metric of [`FrameStats`] is a reason why packets are handed over.
pub(super) fn is_reason(metric: &Metric) -> bool {
    metric.name.starts_with(STRAYS) && metric.name != STRAYS_TAKEN
}

/// Whether it is a metric of its own, and no reason or cause.
pub(super) fn is_own(metric: &Metric) -> bool {
    !is_reason(metric) && !metric.name.starts_with(DROP)
}

/// A metric that there may be: what it is and which labels its samples have.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Entry {
    /// What the name begins with.
    pub group: &'static str,
    /// Its declaration.
    pub metric: &'static Metric,
    /// The names of its labels.
    pub labels: &'static [&'static str],
}

impl Entry {
    /// The full name, as it is queried.
    pub fn name(&self) -> String {
        super::family::full_name(self.group, self.metric)
    }
}

/// Every metric of dpdk-net, collectors of an application's own not counted, in the order in which they are told.
pub fn catalogue() -> Vec<Entry> {
    const BY_QUEUE: &[&str] = &["port", "queue"];
    let mut all = Vec::new();
    let mut add = |group, labels, metrics: &[&'static Metric]| {
        all.extend(metrics.iter().map(|metric| Entry {
            group,
            metric,
            labels,
        }));
    };
    let every = |metrics: &'static [Metric]| metrics.iter().collect::<Vec<_>>();
    add(PROCESS, &["version", "dpdk"], &[&BUILD_INFO]);
    add(PROCESS, &[], &[&UPTIME]);
    add(PORT, &["port", "device", "driver"], &[&PORT_INFO]);
    add(
        PORT,
        &["port"],
        &[
            &PORT_LINK_UP,
            &PORT_LINK_SPEED,
            &PORT_RX_PACKETS,
            &PORT_TX_PACKETS,
            &PORT_RX_BYTES,
            &PORT_TX_BYTES,
            &PORT_RX_MISSED,
            &PORT_RX_ERRORS,
            &PORT_TX_ERRORS,
            &PORT_RX_NO_MBUF,
        ],
    );
    add(PORT, &["port", "name"], &[&PORT_XSTAT]);
    add(
        MEMPOOL,
        &["port", "pool"],
        &[&MEMPOOL_CAPACITY, &MEMPOOL_IN_USE],
    );
    add(
        STEERING,
        &["port"],
        &[&STEERING_FLOWS_REFUSED, &STEERING_BINDINGS_REFUSED],
    );
    add(
        QUEUE,
        BY_QUEUE,
        &[
            &QUEUE_RX_PACKETS,
            &QUEUE_RX_BYTES,
            &QUEUE_TX_PACKETS,
            &QUEUE_TX_BYTES,
            &QUEUE_RX_COPIED,
            &QUEUE_TX_COPIED,
        ],
    );
    add(QUEUE, &["port", "queue", "cause"], &[&QUEUE_DROPS]);
    add(QUEUE, &["port", "queue", "reason"], &[&QUEUE_HAND_OVERS]);
    add(WORKER, BY_QUEUE, &every(WorkerStats::METRICS));
    add(WORKER, BY_QUEUE, &every(WorkerHistograms::METRICS));
    add(
        WORKER,
        BY_QUEUE,
        &[&WORKER_GIVEN_UP, &WORKER_TASKS, &WORKER_QUEUED_TASKS],
    );
    let frames = FrameStats::METRICS.iter().filter(|it| is_own(it));
    add(FRAMES, BY_QUEUE, &frames.collect::<Vec<_>>());
    add(TCP, &["port", "queue", "state"], &[&TCP_CONNECTIONS]);
    add(TCP, BY_QUEUE, &every(TcpHistograms::METRICS));
    add(TCP, BY_QUEUE, &every(TcpGauges::METRICS));
    add(TCP, BY_QUEUE, &every(TcpStats::METRICS));
    add(UDP, BY_QUEUE, &every(UdpGauges::METRICS));
    add(UDP, BY_QUEUE, &every(UdpStats::METRICS));
    add(ICMP, BY_QUEUE, &every(IcmpStats::METRICS));
    add(NEIGHBORS, BY_QUEUE, &every(NeighborGauges::METRICS));
    add(NEIGHBORS, BY_QUEUE, &every(NeighborStats::METRICS));
    add(LINK, BY_QUEUE, &every(LinkGauges::METRICS));
    add(LINK, BY_QUEUE, &every(LinkStats::METRICS));
    add(REASSEMBLY, BY_QUEUE, &every(ReassemblyGauges::METRICS));
    add(REASSEMBLY, BY_QUEUE, &every(ReassemblyStats::METRICS));
    add(
        LISTENER,
        &["port", "queue", "listener"],
        &[
            &LISTENER_ACCEPT_QUEUE,
            &LISTENER_BACKLOG,
            &LISTENER_HALF_OPEN,
            &LISTENER_DROPPED,
        ],
    );
    add(TLS, &["side"], &[&TLS_HANDSHAKES, &TLS_RESUMED]);
    add(TLS, &["side", "cause"], &[&TLS_FAILURES]);
    add(TLS, &["result"], &[&TLS_RELOADS]);
    all
}
