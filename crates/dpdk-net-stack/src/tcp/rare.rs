//! What few connections have: options other than the common ones, errors that wait to be told, and what odd segments leave to
//! be answered.

use super::Keepalive;
use super::cc::Algorithm;
use super::trace::TraceId;
use crate::error::Error;
use crate::time::{Duration, Instant};

/// Keep-alive of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepaliveState {
    pub(crate) config: Keepalive,
    /// Probes since the peer was heard last.
    pub(crate) probes: u8,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// What the application has not been told yet.
    pub(crate) error: Option<Error>,
    /// What ICMP has said of the way to the peer, and SND.UNA then: told as the reason if nothing is acknowledged any more
    /// (RFC 9293 section 3.9.2.2).
    pub(crate) soft_error: Option<(Error, u32)>,
    pub(crate) linger: Option<Duration>,
    pub(crate) keepalive: Option<KeepaliveState>,
    /// `TCP_USER_TIMEOUT` of this connection.
    pub(crate) user_timeout: Option<Duration>,
    /// `TCP_CONGESTION` of this connection.
    pub(crate) congestion: Option<Algorithm>,
    /// `SO_RCVBUF` and `SO_SNDBUF`: no tuning beyond.
    pub(crate) recv_max: Option<u32>,
    pub(crate) send_max: Option<u32>,
    /// `SO_MAX_PACING_RATE`, in bytes a second.
    pub(crate) pacing_max: Option<u64>,
    /// A range that was received twice, to be told in the next ACK (RFC 2883).
    pub(crate) duplicate: Option<(u32, u32)>,
    /// ACKs that a peer without SACK is owed for what came out of order: it counts them (RFC 5681 section 4.2).
    pub(crate) owed_acks: u8,
    /// When a challenge ACK may be sent again.
    pub(crate) challenge_after: Instant,
    /// `TCP_MAXSEG`.
    pub(crate) max_segment: Option<u16>,
    /// `TCP_NOTSENT_LOWAT`.
    pub(crate) notsent_lowat: Option<u32>,
    /// The trace of a connection that is traced.
    pub(crate) trace: Option<TraceId>,
}

impl Rare {
    /// Whether nothing of it is of concern to a connection on which nothing is amiss.
    pub(crate) fn is_calm(&self) -> bool {
        self.error.is_none()
            && self.duplicate.is_none()
            && self.owed_acks == 0
            && self.pacing_max.is_none()
            && self.notsent_lowat.is_none()
            && self.keepalive.is_none_or(|keepalive| keepalive.probes == 0)
    }
}
