//! Why frames and packets are dropped: the one table of causes. Whoever tells of drops (the registry, the control socket, DPDK's telemetry,
//! captures, the documentation) has names and counts from here.
//!
//! A cause is called as the counter is: `tcp_checksum` of frames' `drop_tcp_checksum`, and with its group before it where that is another
//! one, `udp_no_socket`.

use dpdk_net_rte::port::QueueStats;
use dpdk_net_stack::Stats;
use dpdk_net_stack::metrics::Metric;

use crate::stats::WorkerStats;

/// A cause of drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DropCause {
    /// What it is called: the label `cause` of `dpdk_net_queue_drops_total`.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// What Linux calls the same count.
    pub linux: Option<&'static str>,
}

/// Declares causes: which counter each is, of what, and how it is called. The list of names, and the function that reads the counters.
macro_rules! causes {
    ($(
        $(#[$doc:meta])*
        $names:ident, $read:ident($stats:ident: &$type:ty) {
            $($counter:ident $(.$of_group:ident)? = $name:literal,)*
        }
    )*) => {$(
        $(#[$doc])*
        pub(crate) const $names: &[&str] = &[$($name,)*];

        $(#[$doc])*
        pub(crate) fn $read($stats: &$type) -> [u64; $names.len()] {
            [$($stats.$counter $(.$of_group)?,)*]
        }
    )*};
}

causes! {
    /// What becomes of a frame that the stack takes in: for one at a time it can be told which of these it was.
    TAKEN_IN, taken_in(stats: &Stats) {
        frames.drop_ethernet_malformed = "ethernet_malformed",
        frames.drop_ethernet_not_for_us = "ethernet_not_for_us",
        frames.drop_ethernet_unknown_type = "ethernet_unknown_type",
        frames.drop_vlan = "vlan",
        frames.drop_arp_malformed = "arp_malformed",
        frames.drop_ip_bad_version = "ip_bad_version",
        frames.drop_ipv4_malformed = "ipv4_malformed",
        frames.drop_ipv4_checksum = "ipv4_checksum",
        frames.drop_ipv6_malformed = "ipv6_malformed",
        frames.drop_ip_bad_address = "ip_bad_address",
        frames.drop_ip_not_for_us = "ip_not_for_us",
        frames.drop_ip_unknown_protocol = "ip_unknown_protocol",
        frames.drop_tcp_malformed = "tcp_malformed",
        frames.drop_tcp_checksum = "tcp_checksum",
        frames.drop_udp_malformed = "udp_malformed",
        frames.drop_udp_checksum = "udp_checksum",
        frames.drop_port_zero = "port_zero",
        frames.drop_icmp_malformed = "icmp_malformed",
        frames.drop_icmp_checksum = "icmp_checksum",
        tcp.no_connection = "tcp_no_connection",
        tcp.strays_dropped = "tcp_strays_dropped",
        tcp.accept_overflows = "tcp_accept_overflows",
        tcp.too_many = "tcp_too_many",
        tcp.paws_drops = "tcp_paws_drops",
        tcp.rx_rst_out_of_window = "tcp_rx_rst_out_of_window",
        tcp.rx_rst_out_of_place = "tcp_rx_rst_out_of_place",
        tcp.rx_syn_out_of_place = "tcp_rx_syn_out_of_place",
        tcp.rx_ack_out_of_place = "tcp_rx_ack_out_of_place",
        tcp.rx_out_of_window = "tcp_rx_out_of_window",
        tcp.unexpected = "tcp_unexpected",
        tcp.out_of_order_dropped = "tcp_out_of_order_dropped",
        tcp.icmp_out_of_window = "tcp_icmp_out_of_window",
        udp.no_socket = "udp_no_socket",
        udp.queue_full = "udp_queue_full",
        icmp.echo_ignored = "icmp_echo_ignored",
        icmp.errors_unusable = "icmp_errors_unusable",
        icmp.ignored = "icmp_ignored",
        neighbors.own_returned = "neighbors_own_returned",
        neighbors.arp_invalid = "neighbors_arp_invalid",
        neighbors.ndp_invalid = "neighbors_ndp_invalid",
        neighbors.ndp_malformed = "neighbors_ndp_malformed",
        neighbors.router_messages_ignored = "neighbors_router_messages_ignored",
        neighbors.igmp_invalid = "neighbors_igmp_invalid",
        reassembly.overlapping = "reassembly_overlapping",
        reassembly.inconsistent = "reassembly_inconsistent",
        reassembly.too_long = "reassembly_too_long",
        reassembly.too_many_fragments = "reassembly_too_many_fragments",
        reassembly.ecn_mixed = "reassembly_ecn_mixed",
        reassembly.duplicates = "reassembly_duplicates",
        reassembly.too_late = "reassembly_too_late",
    }

    /// What becomes of packets that the stack has: those to be sent, and those that wait for their other fragments.
    KEPT, kept(stats: &Stats) {
        neighbors.packets_unreachable = "neighbors_packets_unreachable",
        neighbors.packets_overflowed = "neighbors_packets_overflowed",
        neighbors.packets_no_room = "neighbors_packets_no_room",
        link.no_route = "link_no_route",
        link.queue_full = "link_queue_full",
        link.too_big = "link_too_big",
        reassembly.timed_out = "reassembly_timed_out",
        reassembly.evicted = "reassembly_evicted",
    }

    /// What the worker drops on the way between queue and stack.
    WORKER, worker(stats: &WorkerStats) {
        rx_not_contiguous = "rx_not_contiguous",
        tx_oversize = "tx_oversize",
        hand_over_full = "hand_over_full",
        hand_over_no_mbufs = "hand_over_no_mbufs",
    }

    /// What is dropped at the queue itself.
    QUEUE, queue(stats: &QueueStats) {
        rx_dropped = "rx_no_mbuf_for_copy",
        rx_malformed = "rx_malformed_chain",
        tx_dropped = "tx_refused_by_queue",
    }
}

/// What [`QUEUE`] has means; the others have their counters' help.
const QUEUE_HELP: [&str; QUEUE.len()] = [
    "the driver shares the packet with others, and there was no mbuf to copy it into.",
    "the driver's chain of mbufs is broken.",
    "what can't be sent: empty, or too long to be copied into one segment.",
];

/// All causes, and how often each was one.
pub(crate) fn all(
    stack: &Stats,
    of_worker: &WorkerStats,
    of_queue: &QueueStats,
) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    fn pair<const N: usize>(
        names: &'static [&'static str],
        counts: [u64; N],
    ) -> impl Iterator<Item = (&'static str, u64)> {
        names.iter().copied().zip(counts)
    }
    pair(TAKEN_IN, taken_in(stack))
        .chain(pair(KEPT, kept(stack)))
        .chain(pair(WORKER, worker(of_worker)))
        .chain(pair(QUEUE, queue(of_queue)))
}

/// All causes of drops, in the order in which they are told.
pub fn drop_causes() -> Vec<DropCause> {
    let stack = Stats::default();
    let counters = || {
        let worker = WorkerStats::METRICS.iter().map(|metric| ("", metric));
        let stack = stack.metrics().map(|(group, metric, _)| (group, metric));
        stack.chain(worker)
    };
    let of_counters = TAKEN_IN.iter().chain(KEPT).chain(WORKER);
    let of_counters = of_counters.map(|name| {
        let metric = counters().find(|(group, metric)| is_named(name, group, metric));
        let metric = metric.map(|(_, metric)| metric);
        DropCause {
            name,
            help: metric.map_or("", |it| it.help.trim_start_matches("Dropped: ")),
            linux: metric.and_then(|it| it.linux),
        }
    });
    let of_queue = QUEUE.iter().zip(QUEUE_HELP).map(|(name, help)| DropCause {
        name,
        help,
        linux: None,
    });
    of_counters.chain(of_queue).collect()
}

/// Whether a cause is called as this counter of this group is.
fn is_named(cause: &str, group: &str, metric: &Metric) -> bool {
    match group {
        "frames" => metric.name.strip_prefix("drop_") == Some(cause),
        "" => metric.name == cause,
        group => {
            let rest = cause.strip_prefix(group);
            rest.and_then(|rest| rest.strip_prefix('_')) == Some(metric.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Words in a counter's name or help that tell of a drop.
    const WORDS: [&str; 15] = [
        "drop",
        "discard",
        "given up",
        "ignored",
        "invalid",
        "malformed",
        "no sense",
        "contradict",
        "unreachable",
        "queue was full",
        "no room",
        "too large",
        "no route",
        "no socket",
        "nothing sent",
    ];

    /// Counters with such words that are none: (group, counter), and why.
    const OTHERS: &[(&str, &str, &str)] = &[
        ("tcp", "rx_segments", "all segments"),
        ("tcp", "rx_errors", "those of frames, once more"),
        (
            "tcp",
            "listen_drops",
            "accept_overflows and too_many together",
        ),
        ("tcp", "syn_cookies_sent", "answered"),
        ("tcp", "syn_expired", "no packet"),
        ("udp", "send_blocked", "the application is told to wait"),
        ("icmp", "send_failed", "an answer that is not made"),
        ("neighbors", "unreachable", "no packet"),
        ("neighbors", "news_dropped", "no packet"),
        ("", "news_dropped", "no packet"),
        ("", "capture_lost", "a copy: the frame itself went on"),
    ];

    #[test]
    fn no_counter_of_drops_is_missing() {
        let stack = Stats::default();
        let stack = stack.metrics().map(|(group, metric, _)| (group, metric));
        let worker = WorkerStats::METRICS.iter().map(|metric| ("", metric));
        let known: BTreeSet<&str> = drop_causes().iter().map(|cause| cause.name).collect();
        let mut used = BTreeSet::new();
        for (group, metric) in stack.chain(worker) {
            let text = format!("{} {}", metric.name, metric.help).to_lowercase();
            if !WORDS.iter().any(|word| text.contains(word)) {
                continue;
            }
            let is_other = |it: &&(&str, &str, &str)| it.0 == group && it.1 == metric.name;
            if let Some(other) = OTHERS.iter().find(is_other) {
                used.insert(other);
                continue;
            }
            let mut known = known.iter();
            assert!(
                known.any(|cause| is_named(cause, group, metric)),
                "{group} {}: {}",
                metric.name,
                metric.help
            );
        }
        let unused: Vec<_> = OTHERS.iter().filter(|it| !used.contains(it)).collect();
        assert!(unused.is_empty(), "{unused:?}");
    }

    #[test]
    fn each_cause_is_called_as_its_counter_and_says_what_it_means() {
        let causes = drop_causes();
        let names: BTreeSet<&str> = causes.iter().map(|cause| cause.name).collect();
        assert_eq!(names.len(), causes.len(), "no two have one name");
        for cause in causes {
            assert!(cause.help.ends_with('.'), "{cause:?}");
        }
        let names = all(
            &Stats::default(),
            &WorkerStats::default(),
            &QueueStats::default(),
        );
        let names = names.map(|(name, _)| name);
        assert!(names.eq(drop_causes().iter().map(|cause| cause.name)));
    }

    #[test]
    fn a_count_is_that_of_the_counter_whose_name_it_has() {
        let (mut stack, mut of_worker, mut of_queue) =
            <(Stats, WorkerStats, QueueStats)>::default();
        stack.frames.drop_tcp_checksum = 1;
        stack.udp.queue_full = 2;
        stack.link.no_route = 3;
        of_worker.tx_oversize = 4;
        (
            of_queue.rx_dropped,
            of_queue.rx_malformed,
            of_queue.tx_dropped,
        ) = (5, 6, 7);
        let told: Vec<_> = all(&stack, &of_worker, &of_queue)
            .filter(|(_, count)| *count > 0)
            .collect();
        let expected = [
            ("tcp_checksum", 1),
            ("udp_queue_full", 2),
            ("link_no_route", 3),
            ("tx_oversize", 4),
            ("rx_no_mbuf_for_copy", 5),
            ("rx_malformed_chain", 6),
            ("tx_refused_by_queue", 7),
        ];
        assert_eq!(told, expected);
    }
}
