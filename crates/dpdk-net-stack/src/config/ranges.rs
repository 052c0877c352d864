//! Which figures are possible, and which may change while a stack runs.

use super::{Config, ConfigError, Limits, TcpConfig, UdpConfig};
use crate::steer::MAX_WORKERS;

/// Checks that a figure is one of those from `min` to `max`.
pub(super) fn range(
    name: &'static str,
    value: usize,
    min: usize,
    max: usize,
) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange {
        name,
        value: value as u64,
        min: min as u64,
        max: max as u64,
    })
}

/// The first of the fields named that is not the same in both.
macro_rules! first_difference {
    ($part:literal, $old:expr, $new:expr, [$($field:ident),* $(,)?]) => {
        None$(.or(($old.$field != $new.$field).then_some(concat!($part, ".", stringify!($field)))))*
    };
}

impl Config {
    /// Checks the figures.
    pub(super) fn validate_ranges(&self) -> Result<(), ConfigError> {
        let most = usize::from(MAX_WORKERS) - 1;
        range("worker", self.worker.into(), 0, most)?;
        self.tcp.validate()?;
        self.udp.validate()?;
        self.limits.validate()?;
        let most = self.limits.neighbors / 2;
        range("neighbors", self.neighbors.len(), 0, most)
    }
}

impl TcpConfig {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let (first, last) = (self.ephemeral_first.into(), self.ephemeral_last.into());
        range("tcp.recv_buffer", self.recv_buffer, 2 * 1024, (1 << 30) - 1)?;
        range("tcp.send_buffer", self.send_buffer, 2 * 1024, 1 << 30)?;
        range("tcp.recv_window", self.recv_window, 2 * 1024, (1 << 30) - 1)?;
        range("tcp.send_room", self.send_room, 2 * 1024, 1 << 30)?;
        range("tcp.syn_retries", self.syn_retries.into(), 0, 30)?;
        range("tcp.syn_queue", self.syn_queue, 1, 1 << 24)?;
        range("tcp.syn_ack_retries", self.syn_ack_retries.into(), 0, 15)?;
        range("tcp.max_connections", self.max_connections, 1, 1 << 28)?;
        range("tcp.ephemeral_first", first, 1, 65_535)?;
        range("tcp.ephemeral_last", last, first, 65_535)
    }

    /// What of `new` can't take the place of this while a stack runs: connections count on it.
    pub(crate) fn fixed(&self, new: &Self) -> Option<&'static str> {
        // A field that is new does not compile here until it has its place on one of the sides.
        let Self {
            congestion: _,
            nodelay: _,
            keepalive: _,
            syn_retries: _,
            syn_ack_retries: _,
            connect_timeout: _,
            user_timeout: _,
            orphan_timeout: _,
            fin_wait2_timeout: _,
            max_connections: _,
            max_orphans: _,
            challenge_acks_per_second: _,
            resets_per_second: _,
            recv_buffer: _,
            recv_window: _,
            send_buffer: _,
            send_room: _,
            buffer_growth: _,
            ecn: _,
            sack: _,
            timestamps: _,
            initial_rto: _,
            min_rto: _,
            max_rto: _,
            peer_ack_delay: _,
            syn_queue: _,
            time_wait: _,
            max_time_wait: _,
            ack_delay: _,
            ephemeral_first: _,
            ephemeral_last: _,
        } = self;
        first_difference!(
            "tcp",
            self,
            new,
            [
                recv_buffer,
                recv_window,
                send_buffer,
                send_room,
                buffer_growth,
                ecn,
                sack,
                timestamps,
                initial_rto,
                min_rto,
                max_rto,
                peer_ack_delay,
                syn_queue,
                time_wait,
                max_time_wait,
                ack_delay,
                ephemeral_first,
                ephemeral_last,
            ]
        )
    }
}

impl UdpConfig {
    fn validate(&self) -> Result<(), ConfigError> {
        let (first, last) = (self.ephemeral_first.into(), self.ephemeral_last.into());
        range("udp.ephemeral_first", first, 1, 65_535)?;
        range("udp.ephemeral_last", last, first, 65_535)?;
        let bytes = self.recv_queue_bytes;
        range("udp.recv_queue_bytes", bytes, 2 * 1024, 1 << 30)
    }
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let (packets, frames) = (self.pending_per_neighbor, self.reply_queue);
        range("limits.neighbors", self.neighbors, 1, 1 << 20)?;
        range("limits.pending_per_neighbor", packets, 1, 1 << 16)?;
        range("limits.reply_queue", frames, 16, 1 << 20)?;
        let bytes = self.reply_queue_bytes;
        range("limits.reply_queue_bytes", bytes, 64 * 1024, 1 << 30)
    }

    /// What of `new` can't take the place of this while a stack runs.
    pub(crate) fn fixed(&self, new: &Self) -> Option<&'static str> {
        let Self {
            neighbors: _,
            pending_per_neighbor: _,
            pending_bytes: _,
            reassembly_bytes: _,
            icmp_errors_per_second: _,
            echo_replies_per_second: _,
            reassembly_timeout: _,
            reply_queue: _,
            reply_queue_bytes: _,
        } = self;
        first_difference!(
            "limits",
            self,
            new,
            [reassembly_timeout, reply_queue, reply_queue_bytes]
        )
    }
}
