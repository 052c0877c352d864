//! Counters of the stack: plain integers, one for each thing that happens and for each cause of a drop.
//!
//! Those of ICMP, UDP, neighbours and so on are declared where they are counted; [`Stats`] brings all together.

use crate::icmp::IcmpStats;
use crate::link::LinkStats;
use crate::metrics::Metric;
use crate::neighbor::NeighborStats;
use crate::reassembly::ReassemblyStats;
use crate::udp::UdpStats;
use crate::{counters, histograms};

/// What a stack has counted since its start. Units are frames, segments, datagrams or events, unless said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Frames and packets, and why they were dropped.
    pub frames: FrameStats,
    /// TCP.
    pub tcp: TcpStats,
    /// UDP.
    pub udp: UdpStats,
    /// ICMP and ICMPv6.
    pub icmp: IcmpStats,
    /// ARP and neighbour discovery.
    pub neighbors: NeighborStats,
    /// The way out.
    pub link: LinkStats,
    /// Reassembly of fragments.
    pub reassembly: ReassemblyStats,
}

impl Stats {
    /// Each counter with the name of its group: that of the field here.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, &'static Metric, u64)> + use<> {
        fn of<T>(group: &'static str) -> impl Fn((T, u64)) -> (&'static str, T, u64) {
            move |(metric, value)| (group, metric, value)
        }
        (self.frames.metrics().map(of("frames")))
            .chain(self.tcp.metrics().map(of("tcp")))
            .chain(self.udp.metrics().map(of("udp")))
            .chain(self.icmp.metrics().map(of("icmp")))
            .chain(self.neighbors.metrics().map(of("neighbors")))
            .chain(self.link.metrics().map(of("link")))
            .chain(self.reassembly.metrics().map(of("reassembly")))
    }
}

counters! {
    /// Frames and packets, whatever they carry.
    pub struct FrameStats, FrameCounters {
        /// Frames taken in. What came to another worker's queue is counted by that one alone.
        rx_frames,
        /// Bytes of these, Ethernet header included.
        rx_bytes: Bytes,
        /// Frames handed to the sink.
        tx_frames,
        /// Bytes of these, Ethernet header included.
        tx_bytes: Bytes,
        /// Packets looped back to an own address and taken in again.
        looped,
        /// Frames that were for other workers, and are theirs to handle.
        strays,
        /// Of these, segments of a connection or for a listener of another worker.
        strays_tcp,
        /// Of these, datagrams for another worker's socket.
        strays_udp,
        /// Of these, datagrams to a group or broadcast address that other workers' sockets take.
        strays_group,
        /// Of these, ICMP errors about what another worker sent.
        strays_icmp,
        /// Of these, packets that had come in fragments.
        strays_reassembled,
        /// Frames taken from other workers.
        strays_taken,
        /// Dropped: frame truncated or with too many VLAN tags.
        drop_ethernet_malformed,
        /// Dropped: the frame's destination is another station.
        drop_ethernet_not_for_us,
        /// Dropped: an EtherType that is not spoken.
        drop_ethernet_unknown_type,
        /// Frames in several segments of memory that were copied into one piece.
        linearized,
        /// Dropped: the frame is tagged for a VLAN that the port is not a member of.
        drop_vlan,
        /// Dropped: malformed ARP packet.
        drop_arp_malformed,
        /// Dropped: the IP version contradicts the EtherType.
        drop_ip_bad_version,
        /// Dropped: malformed IPv4 header.
        drop_ipv4_malformed,
        /// Dropped: wrong IPv4 header checksum.
        drop_ipv4_checksum = "IpExtInCsumErrors",
        /// Dropped: malformed IPv6 header or extension header.
        drop_ipv6_malformed,
        /// Dropped: an address that must not appear on a link.
        drop_ip_bad_address,
        /// Dropped: the packet's destination is not one of the stack's addresses.
        drop_ip_not_for_us = "IpInAddrErrors",
        /// Dropped: a transport protocol that is not spoken.
        drop_ip_unknown_protocol = "IpInUnknownProtos",
        /// Dropped: malformed TCP header.
        drop_tcp_malformed,
        /// Dropped: wrong TCP checksum.
        drop_tcp_checksum = "TcpInCsumErrors",
        /// Dropped: malformed UDP header.
        drop_udp_malformed,
        /// Dropped: wrong UDP checksum, or none over IPv6.
        drop_udp_checksum = "UdpInCsumErrors",
        /// Dropped: TCP or UDP with a port of zero.
        drop_port_zero,
        /// Dropped: malformed ICMP or ICMPv6 message, or malformed neighbour discovery in it.
        drop_icmp_malformed,
        /// Dropped: wrong ICMP or ICMPv6 checksum.
        drop_icmp_checksum,
    }
}

counters! {
    /// What TCP has counted.
    pub struct TcpStats, TcpCounters {
        /// TCP segments for an address of ours, those that were dropped as malformed or damaged included. What came to another
        /// worker's queue is counted by the one whose it is.
        rx_segments = "TcpInSegs",
        /// Segments among them that were malformed, or had a wrong checksum.
        rx_errors = "TcpInErrs",
        /// TCP segments sent, those sent again included (Linux' `TcpOutSegs` leaves these out).
        tx_segments,
        /// Segments that answer to no connection.
        no_connection,
        /// Segments dropped whose connection is on its way from one worker to another, or was when they were handed over.
        strays_dropped,
        /// RSTs sent.
        tx_resets = "TcpOutRsts",
        /// RSTs not sent because of the limit on their rate.
        resets_limited,
        /// Challenge ACKs sent (RFC 5961), answers to keep-alive probes included.
        challenge_acks,
        /// Challenge ACKs not sent because of the limit on their rate.
        challenge_acks_limited,
        /// RSTs dropped as they lie outside the window, do not acknowledge our SYN in SYN-SENT, or are not the next of a connection
        /// in TIME-WAIT (RFC 5961 section 3).
        rx_rst_out_of_window,
        /// RSTs inside the window but not at its left edge, answered with a challenge ACK.
        rx_rst_out_of_place,
        /// SYNs on a synchronized connection, answered with a challenge ACK.
        rx_syn_out_of_place = "TcpExtTCPSYNChallenge",
        /// Segments whose acknowledgment is of nothing sent, or too old, and those without data outside the receive window.
        rx_ack_out_of_place,
        /// Segments with data that lie outside the receive window, answered with an ACK.
        rx_out_of_window,
        /// Segments dropped that the state of their connection has no use for: without an ACK, without the timestamp that both agreed
        /// on, without a SYN in SYN-SENT, with nothing to answer in TIME-WAIT.
        unexpected,
        /// ICMP errors about connections that quote nothing which is in flight, dropped (RFC 5927).
        icmp_out_of_window = "TcpExtOutOfWindowIcmps",
        /// Segments sent again, SYNs, SYN-ACKs and probes of the tail included.
        retransmits = "TcpRetransSegs",
        /// Of these, those of fast recovery.
        fast_retransmits = "TcpExtTCPFastRetrans",
        /// Of these, those after a retransmission timeout (Linux' `TcpExtTCPSlowStartRetrans` leaves the first of each out).
        slow_start_retransmits,
        /// Of these, SYNs and SYN-ACKs.
        syn_retransmits = "TcpExtTCPSynRetrans",
        /// Of these, SYN-ACKs.
        syn_ack_retransmits,
        /// Times that fast recovery began (in Linux `TcpExtTCPSackRecovery` and `TcpExtTCPRenoRecovery` together).
        recoveries,
        /// Recoveries taken back as timestamps told that nothing was lost (RFC 3522).
        undone_by_timestamp,
        /// Recoveries taken back as DSACKs told that nothing was lost (RFC 3708).
        undone_by_dsack = "TcpExtTCPDSACKUndo",
        /// Timeouts taken back as F-RTO found that nothing was lost (RFC 5682).
        spurious_timeouts = "TcpExtTCPSpuriousRTOs",
        /// Times that a peer gave up what it had acknowledged selectively (RFC 2018 section 8).
        sack_reneging = "TcpExtTCPSACKReneging",
        /// Duplicates that peers told of (RFC 2883; in Linux `TcpExtTCPDSACKRecv` and `TcpExtTCPDSACKOfoRecv` together).
        rx_dsack,
        /// ACKs that told of a segment delivered after one sent later.
        reordering,
        /// Window reductions for congestion marks that peers echoed (RFC 3168 section 6.1.2).
        ecn_reductions,
        /// Segments of connections with ECN that came with a congestion mark.
        rx_ce,
        /// Segments dropped for a timestamp older than what has come (RFC 7323 section 5).
        paws_drops = "TcpExtPAWSEstab",
        /// Segments kept that came out of order.
        out_of_order = "TcpExtTCPOFOQueue",
        /// Segments out of order of which not all was kept, for want of memory.
        out_of_order_dropped = "TcpExtTCPOFODrop",
        /// Segments of which some had been received before, reported by a DSACK where the peer takes it (in Linux
        /// `TcpExtTCPDSACKOldSent` and `TcpExtTCPDSACKOfoSent` together).
        duplicate_data,
        /// ACKs that were sent as their delay was over, nothing having taken them along.
        delayed_acks = "TcpExtDelayedACKs",
        /// Retransmission timeouts, those of SYNs and SYN-ACKs included.
        retransmission_timeouts = "TcpExtTCPTimeouts",
        /// Tail loss probes (RFC 8985 section 7).
        tail_loss_probes = "TcpExtTCPLossProbes",
        /// Losses that a tail loss probe has repaired (RFC 8985 section 7.4).
        tail_loss_repairs = "TcpExtTCPLossProbeRecovery",
        /// Zero-window probes.
        window_probes = "TcpExtTCPWinProbe",
        /// Keep-alive probes.
        keepalive_probes = "TcpExtTCPKeepAlive",
        /// Times that segments were made smaller as larger ones vanish without a word (RFC 8899).
        black_holes,
        /// Connections opened from here.
        active_opens = "TcpActiveOpens",
        /// Connections opened by a peer that came past the handshake.
        passive_opens = "TcpPassiveOpens",
        /// Connections that went to another worker's stack.
        exported,
        /// Connections that came from another worker's stack.
        imported,
        /// Connection attempts from here that failed.
        connect_failed,
        /// Attempts to connect that failed, from either side: ended in SYN-SENT or SYN-RECEIVED, other than by a silent peer in
        /// the SYN queue.
        attempt_fails = "TcpAttemptFails",
        /// Half-open connections of the SYN queue that a RST ended.
        half_open_resets = "TcpExtEmbryonicRsts",
        /// Connections that were over at once from ESTABLISHED or CLOSE-WAIT: reset by either side, or timed out.
        established_resets = "TcpEstabResets",
        /// Connections ended by a RST of the peer.
        rx_resets,
        /// Connections ended because the peer was silent too long.
        timeouts = "TcpExtTCPAbortOnTimeout",
        /// Connections reset as they were closed with received data unread (RFC 2525 section 2.17).
        closed_unread = "TcpExtTCPAbortOnClose",
        /// Connections reset as data came for them when they were closed, or as they were closed with a linger of zero.
        data_after_close = "TcpExtTCPAbortOnData",
        /// Connections reset as they were closed while there were `max_orphans`.
        too_many_orphans = "TcpExtTCPAbortOnMemory",
        /// SYNs taken into the SYN queue.
        syn_received,
        /// SYNs answered with a cookie because the SYN queue was full.
        syn_cookies_sent = "TcpExtSyncookiesSent",
        /// ACKs that brought a valid cookie back.
        syn_cookies_valid = "TcpExtSyncookiesRecv",
        /// Half-open connections given up after the last SYN-ACK.
        syn_expired,
        /// SYNs and final ACKs dropped because the accept queue was full.
        accept_overflows = "TcpExtListenOverflows",
        /// SYNs and final ACKs dropped for want of room, in the accept queue or for one more connection.
        listen_drops = "TcpExtListenDrops",
        /// Connections refused because there are `max_connections` already.
        too_many,
        /// Buffers that could not grow because those of all connections together had grown by `buffer_growth`.
        growth_refused,
        /// Connections that entered TIME-WAIT.
        time_wait,
        /// Connections in TIME-WAIT that a new SYN took over.
        time_wait_reused,
        /// TIME-WAITs ended early because there were `max_time_wait`.
        time_wait_recycled,
        /// Orphans reset because data arrived, or there were too many, or they took too long.
        orphans_reset,
        /// Segments in order whose payload was kept in the packet buffer it came in, not copied.
        rx_kept,
        /// Segments that were dealt with together with the one before (GRO).
        rx_merged,
        /// Frames in several segments of memory whose payload was taken where it lies (LRO).
        rx_large,
        /// Payload bytes that applications read.
        rx_bytes: Bytes,
        /// Payload bytes that applications wrote.
        tx_bytes: Bytes,
    }
}

histograms! {
    /// Distributions that TCP has measured.
    pub struct TcpHistograms, TcpDistributions {
        /// Round-trip times (RFC 6298): of handshakes, and each sample of connections on which something is amiss or grows; of
        /// those on which all is as expected the latest sample, each time that their retransmission timer has looked.
        rtt: Microseconds,
        /// From the end of the handshake to `accept`, by the time that the stack is told.
        accept_delay: Microseconds,
    }
}
