//! Limits and settings that change while the stack runs.

use crate::config::{ConfigError, Limits, TcpConfig};
use crate::error::Error;
use crate::stack::Stack;

impl Stack {
    /// The limits that hold now.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The settings of TCP that hold now.
    pub fn tcp_config(&self) -> &TcpConfig {
        self.tcp.config()
    }

    /// Changes limits and settings of TCP, all or none of them.
    ///
    /// Of [`Limits`] all can be changed but `reassembly_timeout`, `reply_queue` and `reply_queue_bytes`. What is
    /// lowered below what there is frees nothing: it keeps more from coming in. Of [`TcpConfig`] those can be changed
    /// that count for new connections, for what an application has not set for its own, or for all connections
    /// together: `congestion`, `nodelay`, `keepalive`, `syn_retries`, `syn_ack_retries`, `connect_timeout`,
    /// `user_timeout`, `orphan_timeout`, `fin_wait2_timeout`, `max_connections`, `max_orphans`,
    /// `challenge_acks_per_second` and `resets_per_second`.
    ///
    /// Errors: `BadConfig` with `NotWhileRunning` for another value of anything else, or with what is out of range.
    pub fn reconfigure(&mut self, limits: &Limits, tcp: &TcpConfig) -> Result<(), Error> {
        limits.validate()?;
        tcp.validate()?;
        let of_limits = self.limits.fixed(limits);
        if let Some(name) = of_limits.or_else(|| self.tcp.config().fixed(tcp)) {
            return Err(ConfigError::NotWhileRunning(name).into());
        }
        self.limits.clone_from(limits);
        self.link.neighbors.set_limits(limits);
        self.reassembler.set_max_bytes(limits.reassembly_bytes);
        self.icmp.set_limits(limits);
        self.keepalive = tcp.keepalive;
        self.tcp.reconfigure(tcp);
        Ok(())
    }
}
