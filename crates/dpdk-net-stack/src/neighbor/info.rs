//! What is told of neighbours, and what is counted.

use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use crate::counters;

/// How far the resolution of an address has come (RFC 4861 section 7.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NeighborState {
    /// Asked for, no answer yet.
    Incomplete,
    /// Known to be there a short time ago.
    Reachable,
    /// Known once; will be probed when next used.
    Stale,
    /// Used while stale: to be probed unless traffic confirms it.
    Delay,
    /// Being probed.
    Probe,
    /// Entered by hand; never probed nor changed.
    Static,
}

/// One neighbour, as told by `Stack::neighbors`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighborInfo {
    /// Its IP address.
    pub addr: IpAddr,
    /// The VLAN that it is in, 0 for the untagged network.
    pub vlan: u16,
    /// Its MAC address, unless still being asked for.
    pub mac: Option<MacAddr>,
    /// How much that is worth.
    pub state: NeighborState,
}

counters! {
    /// What happened in the neighbour cache.
    pub struct NeighborStats, NeighborCounters {
        /// Neighbours that answered for the first time.
        resolved,
        /// Neighbours given up after three unanswered requests.
        unreachable,
        /// Entries evicted to make room.
        evicted,
        /// Packets that had to wait for resolution.
        packets_queued,
        /// Packets given up because their neighbour did not answer.
        packets_unreachable,
        /// Packets dropped because too many, or too many bytes, waited.
        packets_overflowed,
        /// Packets dropped because the reply queue was full when their neighbour answered.
        packets_no_room,
        /// Requests (ARP, neighbour solicitations) sent.
        requests_sent,
        /// Answers (ARP replies, neighbour advertisements) sent.
        replies_sent,
        /// News for other workers' stacks that were dropped, as they were not taken and too many waited already.
        news_dropped,
        /// News of other workers' stacks.
        news_applied,
        /// Others seen using, or probing for, one of our addresses.
        address_conflicts,
        /// ARP and neighbour discovery packets of our own that came back, as through a loop of switches, and were dropped.
        own_returned,
        /// ARP packets that contradict themselves: a group as sender, or the like.
        arp_invalid,
        /// Neighbour discovery or MLD messages that RFC 4861 section 6.1 or 7.1 says to discard: a hop limit below 255, a
        /// group as target, a wrong source or destination.
        ndp_invalid,
        /// Neighbour discovery messages with a bad option or too short.
        ndp_malformed,
        /// Router advertisements acted upon, those that came to other workers among them.
        router_advertisements,
        /// Redirects, router solicitations, and advertisements on interfaces that do not listen to them, or more of them
        /// than are to be believed: not acted upon.
        router_messages_ignored,
        /// IGMP messages that make no sense.
        igmp_invalid,
    }
}
