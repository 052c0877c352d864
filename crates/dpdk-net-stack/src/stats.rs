//! Counters of the stack: plain integers, one for each thing that happens and for each cause of a drop.
//!
//! Those of ICMP, UDP, neighbours and so on are declared where they are counted; [`Stats`] brings all together.

use crate::counters;
use crate::icmp::IcmpStats;
use crate::link::LinkStats;
use crate::neighbor::NeighborStats;
use crate::reassembly::ReassemblyStats;
use crate::udp::UdpStats;

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

counters! {
    /// Frames and packets, whatever they carry.
    pub struct FrameStats, FrameCounters {
        /// Frames taken in.
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
        /// Dropped: the frame is tagged for a VLAN.
        drop_vlan,
        /// Dropped: malformed ARP packet.
        drop_arp_malformed,
        /// Dropped: the IP version contradicts the EtherType.
        drop_ip_bad_version,
        /// Dropped: malformed IPv4 header.
        drop_ipv4_malformed,
        /// Dropped: wrong IPv4 header checksum.
        drop_ipv4_checksum,
        /// Dropped: malformed IPv6 header or extension header.
        drop_ipv6_malformed,
        /// Dropped: an address that must not appear on a link.
        drop_ip_bad_address,
        /// Dropped: the packet's destination is not one of the stack's addresses.
        drop_ip_not_for_us,
        /// Dropped: a transport protocol that is not spoken.
        drop_ip_unknown_protocol,
        /// Dropped: malformed TCP header.
        drop_tcp_malformed,
        /// Dropped: wrong TCP checksum.
        drop_tcp_checksum,
        /// Dropped: malformed UDP header.
        drop_udp_malformed,
        /// Dropped: wrong UDP checksum, or none over IPv6.
        drop_udp_checksum,
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
        /// TCP segments taken in, malformed ones not counted.
        rx_segments,
        /// TCP segments sent.
        tx_segments,
        /// Segments that answer to no connection.
        no_connection,
        /// Segments dropped whose connection is on its way from one worker to another, or was when they were handed over.
        strays_dropped,
        /// RSTs sent.
        tx_resets,
        /// RSTs not sent because of the limit on their rate.
        resets_limited,
        /// Challenge ACKs sent (RFC 5961).
        challenge_acks,
        /// Challenge ACKs not sent because of the limit on their rate.
        challenge_acks_limited,
        /// RSTs inside the window but not at its left edge, answered with a challenge ACK.
        rx_rst_out_of_place,
        /// SYNs on a synchronized connection, answered with a challenge ACK.
        rx_syn_out_of_place,
        /// Segments whose acknowledgment is of nothing sent, or too old.
        rx_ack_out_of_place,
        /// Segments with data that lie outside the receive window, answered with an ACK.
        rx_out_of_window,
        /// Segments sent again, SYNs and probes of the tail included (`RetransSegs`; SYN-ACKs are counted apart).
        retransmits,
        /// Of these, those of fast recovery (`TCPFastRetrans`).
        fast_retransmits,
        /// Of these, those after a retransmission timeout (`TCPSlowStartRetrans`).
        slow_start_retransmits,
        /// Times that fast recovery began (`TCPSackRecovery`, `TCPRenoRecovery`).
        recoveries,
        /// Recoveries taken back as timestamps told that nothing was lost (`TCPFullUndo`; RFC 3522).
        undone_by_timestamp,
        /// Recoveries taken back as DSACKs told that nothing was lost (`TCPDSACKUndo`; RFC 3708).
        undone_by_dsack,
        /// Timeouts taken back as F-RTO found that nothing was lost (`TCPSpuriousRTOs`; RFC 5682).
        spurious_timeouts,
        /// Times that a peer gave up what it had acknowledged selectively (`TCPSACKReneging`; RFC 2018 section 8).
        sack_reneging,
        /// Duplicates that peers told of (`TCPDSACKRecv`; RFC 2883).
        rx_dsack,
        /// ACKs that told of a segment delivered after one sent later (`TCPSACKReorder`).
        reordering,
        /// Window reductions for congestion marks that peers echoed (RFC 3168 section 6.1.2).
        ecn_reductions,
        /// Segments that came with a congestion mark (`InCEPkts`).
        rx_ce,
        /// Segments dropped for a timestamp older than what has come (`PAWSEstab`; RFC 7323 section 5).
        paws_drops,
        /// Segments kept that came out of order (`TCPOFOQueue`).
        out_of_order,
        /// Segments out of order of which not all was kept, for want of memory (`TCPOFODrop`).
        out_of_order_dropped,
        /// Segments of which some had been received before, reported by a DSACK where the peer takes it
        /// (`TCPDSACKOldSent`, `TCPDSACKOfoSent`).
        duplicate_data,
        /// Retransmission timeouts.
        retransmission_timeouts,
        /// Tail loss probes (RFC 8985 section 7).
        tail_loss_probes,
        /// Zero-window probes.
        window_probes,
        /// Times that segments were made smaller as larger ones vanish without a word (RFC 8899).
        black_holes,
        /// Connections opened from here.
        active_opens,
        /// Connections opened by a peer that came past the handshake.
        passive_opens,
        /// Connections that went to another worker's stack.
        exported,
        /// Connections that came from another worker's stack.
        imported,
        /// Connection attempts from here that failed.
        connect_failed,
        /// Connections ended by a RST of the peer.
        rx_resets,
        /// Connections ended because the peer was silent too long.
        timeouts,
        /// SYNs taken into the SYN queue.
        syn_received,
        /// SYNs answered with a cookie because the SYN queue was full.
        syn_cookies_sent,
        /// ACKs that brought a valid cookie back.
        syn_cookies_valid,
        /// Half-open connections given up after the last SYN-ACK.
        syn_expired,
        /// Retransmitted SYN-ACKs.
        syn_ack_retransmits,
        /// SYNs and final ACKs dropped because the accept queue was full.
        accept_overflows,
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
