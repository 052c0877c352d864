//! What is told of neighbours, and what is counted.

use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

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

/// What happened in the neighbour cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NeighborStats {
    /// Neighbours that answered for the first time.
    pub resolved: u64,
    /// Neighbours given up after three unanswered requests.
    pub unreachable: u64,
    /// Entries evicted to make room.
    pub evicted: u64,
    /// Packets that had to wait for resolution.
    pub packets_queued: u64,
    /// Packets given up because their neighbour did not answer.
    pub packets_unreachable: u64,
    /// Packets dropped because too many, or too many bytes, waited.
    pub packets_overflowed: u64,
    /// Packets dropped because the reply queue was full when their neighbour answered.
    pub packets_no_room: u64,
    /// Requests (ARP, neighbour solicitations) sent.
    pub requests_sent: u64,
    /// Answers (ARP replies, neighbour advertisements) sent.
    pub replies_sent: u64,
    /// News for other workers' stacks that were dropped, as they were not taken and too many waited already.
    pub news_dropped: u64,
    /// News of other workers' stacks.
    pub news_applied: u64,
    /// Others seen using, or probing for, one of our addresses.
    pub address_conflicts: u64,
    /// ARP packets that contradict themselves: a group as sender, or the like.
    pub arp_invalid: u64,
    /// Neighbour discovery or MLD messages that RFC 4861 section 6.1 or 7.1 says to discard: a hop limit below 255, a
    /// group as target, a wrong source or destination.
    pub ndp_invalid: u64,
    /// Neighbour discovery messages with a bad option or too short.
    pub ndp_malformed: u64,
    /// Router advertisements acted upon, those that came to other workers among them.
    pub router_advertisements: u64,
    /// Redirects, router solicitations, and advertisements on interfaces that do not listen to them, or more of them
    /// than are to be believed: not acted upon.
    pub router_messages_ignored: u64,
    /// IGMP messages that make no sense.
    pub igmp_invalid: u64,
}
