//! `[tcp]`, `[udp]` and `[limits]`: what the stack is told.

use crate::decode::section;
use crate::value::{Size, Time, choice};

choice! {
    /// Congestion control.
    pub enum Congestion {
        /// CUBIC (RFC 9438).
        Cubic = "cubic",
        /// NewReno (RFC 5681).
        Reno = "reno",
        /// BBR version 1.
        Bbr = "bbr",
    }
}

choice! {
    /// Explicit congestion notification (RFC 3168).
    pub enum Ecn {
        /// Never.
        Off = "off",
        /// For connections from here too.
        Request = "request",
        /// Where the peer asks for it.
        Accept = "accept",
    }
}

section! {
    /// Keep-alive of connections that switch it on.
    pub struct Keepalive: Default {
        /// Silence before the first probe.
        opt idle: Time { range: Some((1_000, 2_592_000_000_000)), default: "2 h", live: true };
        /// Time between probes.
        opt interval: Time { range: Some((1_000, 2_592_000_000_000)), default: "75 s", live: true };
        /// Unanswered probes before the connection fails.
        opt count: u8 { range: Some((1, 127)), default: "9", live: true };
    }
}

/// The longest time of most settings, in microseconds: 30 days.
const MONTH: u64 = 30 * 86_400 * 1_000_000;

section! {
    /// TCP.
    pub struct Tcp: Default {
        /// What a connection may hold unread at most; the window grows up to it.
        opt recv_buffer: Size { range: Some((2 << 10, (1 << 30) - 1)), default: "6 MiB" };
        /// The window offered at first.
        opt recv_window: Size { range: Some((2 << 10, (1 << 30) - 1)), default: "64 KiB" };
        /// What a connection may hold unacknowledged at most.
        opt send_buffer: Size { range: Some((2 << 10, 1 << 30)), default: "4 MiB" };
        /// What may be written at first before it is acknowledged.
        opt send_room: Size { range: Some((2 << 10, 1 << 30)), default: "64 KiB" };
        /// Bytes by which the buffers of all connections of a worker may be larger than at first.
        opt buffer_growth: Size { range: Some((0, 1 << 40)), default: "1 GiB" };
        /// Congestion control of connections that do not choose.
        opt congestion: Congestion { default: "cubic", live: true };
        /// Explicit congestion notification.
        opt ecn: Ecn { default: "accept" };
        /// Selective acknowledgments.
        opt sack: bool { default: "true" };
        /// Timestamps.
        opt timestamps: bool { default: "true" };
        /// Whether Nagle's algorithm is off for new connections.
        opt nodelay: bool { default: "false", live: true };
        /// Retransmission timeout of a SYN and of the answer to one.
        opt initial_rto: Time { range: Some((1_000, 60_000_000)), default: "1 s" };
        /// The least retransmission timeout of an established connection.
        opt min_rto: Time { range: Some((1_000, 60_000_000)), default: "5 ms" };
        /// The largest retransmission timeout, back-off included.
        opt max_rto: Time { range: Some((1_000, 3_600_000_000)), default: "1 min" };
        /// How late a peer may acknowledge a segment that is alone.
        opt peer_ack_delay: Time { range: Some((0, 10_000_000)), default: "40 ms" };
        /// How often a SYN is repeated.
        opt syn_retries: u8 { range: Some((0, 30)), default: "7", live: true };
        /// Half-open connections; past it SYNs are answered with cookies.
        opt syn_queue: u32 { range: Some((1, 1 << 24)), default: "1024" };
        /// How often a SYN-ACK is repeated.
        opt syn_ack_retries: u8 { range: Some((0, 15)), default: "5", live: true };
        /// How long an outgoing connection may take.
        opt connect_timeout: Time { range: Some((1_000, MONTH)), default: "3 min", live: true };
        /// How long what was sent may stay unacknowledged before the connection fails.
        opt user_timeout: Time { range: Some((1_000, MONTH)), default: "924 s", live: true };
        /// The same for a connection that the application has let go of.
        opt orphan_timeout: Time { range: Some((1_000, MONTH)), default: "100 s", live: true };
        /// How long a connection that the application has let go of stays in FIN-WAIT-2.
        opt fin_wait2_timeout: Time { range: Some((1_000, MONTH)), default: "1 min", live: true };
        /// Length of TIME-WAIT.
        opt time_wait: Time { range: Some((1_000, 3_600_000_000)), default: "1 min" };
        /// Connections in TIME-WAIT kept at most, of each worker.
        opt max_time_wait: u32 { range: Some((0, 1 << 28)), default: "65536" };
        /// Connections of each worker at most, those half-open and in TIME-WAIT not counted.
        opt max_connections: u32 { range: Some((1, 1 << 28)), default: "1048576", live: true };
        /// Connections that the application has let go of, kept at most.
        opt max_orphans: u32 { range: Some((0, 1 << 28)), default: "16384", live: true };
        /// Challenge ACKs a second over all connections.
        opt challenge_acks_per_second: u32 { range: Some((0, 1 << 30)), default: "1000", live: true };
        /// RSTs a second sent in answer to segments that belong to no connection.
        opt resets_per_second: u32 { range: Some((0, 1 << 30)), default: "20000", live: true };
        /// Delay of an ACK that has nothing to ride on, at most.
        opt ack_delay: Time { range: Some((0, 500_000)), default: "10 ms" };
        /// Keep-alive.
        sub keepalive: Keepalive;
        /// First port for outgoing connections.
        opt ephemeral_first: u16 { range: Some((1, 65_535)), default: "1024" };
        /// Last port for outgoing connections.
        opt ephemeral_last: u16 { range: Some((1, 65_535)), default: "65535" };
    }
}

section! {
    /// UDP.
    pub struct Udp: Default {
        /// Bytes of datagrams that may wait in one socket, overhead included.
        opt recv_queue_bytes: Size { range: Some((2 << 10, 1 << 30)), default: "208 KiB" };
        /// UDP sockets of each worker at most.
        opt max_sockets: u32 { range: Some((1, 1 << 24)), default: "65536" };
        /// First port for sockets that ask for any.
        opt ephemeral_first: u16 { range: Some((1, 65_535)), default: "32768" };
        /// Last port for such sockets.
        opt ephemeral_last: u16 { range: Some((1, 65_535)), default: "60999" };
    }
}

section! {
    /// Bounds on what strangers can make the stack of each worker keep or send.
    pub struct Limits: Default {
        /// Neighbours known at most; past it the one used longest ago is forgotten.
        opt neighbors: u32 { range: Some((1, 1 << 20)), default: "4096", live: true };
        /// Packets that wait for one unresolved neighbour.
        opt pending_per_neighbor: u32 { range: Some((1, 1 << 16)), default: "128", live: true };
        /// Bytes of packets that wait for all unresolved neighbours.
        opt pending_bytes: Size { range: Some((0, 1 << 30)), default: "2 MiB", live: true };
        /// Bytes of fragments that wait for reassembly.
        opt reassembly_bytes: Size { range: Some((0, 1 << 30)), default: "4 MiB", live: true };
        /// How long a datagram may take to become whole.
        opt reassembly_timeout: Time { range: Some((1_000, 3_600_000_000)), default: "30 s" };
        /// ICMP and ICMPv6 errors a second.
        opt icmp_errors_per_second: u32 { range: Some((0, 1 << 30)), default: "1000", live: true };
        /// Echo replies a second.
        opt echo_replies_per_second: u32 { range: Some((0, 1 << 30)), default: "1000000", live: true };
        /// Replies that wait for room in the TX ring, in frames.
        opt reply_queue: u32 { range: Some((16, 1 << 20)), default: "2048" };
        /// Bytes that the same queue may hold.
        opt reply_queue_bytes: Size { range: Some((64 << 10, 1 << 30)), default: "4 MiB" };
    }
}
