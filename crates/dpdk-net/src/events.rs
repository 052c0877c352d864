//! What becomes of connections, as `tracing` events. None is of a packet, and none is written under a shard's lock.
//!
//! Targets and fields are described in docs/tracing.md.

use std::net::SocketAddr;

use dpdk_net_stack::{Reports, TcpReport, TcpReported};

/// The target of events of TCP connections and listeners.
pub(crate) const TCP: &str = "dpdk_net::tcp";
/// The target of events of TLS handshakes.
#[cfg(feature = "tls")]
pub(crate) const TLS: &str = "dpdk_net::tls";
/// The target of events of UDP sockets.
pub(crate) const UDP: &str = "dpdk_net::udp";
/// The target of events of neighbours.
const NEIGHBOR: &str = "dpdk_net::neighbor";

/// Whether anybody is interested in connections, or in neighbours.
#[inline]
pub(crate) fn are_wanted() -> bool {
    are_heard() || tracing::enabled!(target: NEIGHBOR, tracing::Level::DEBUG)
}

/// Whether anybody is interested in connections.
#[inline]
pub(crate) fn are_heard() -> bool {
    tracing::enabled!(target: TCP, tracing::Level::DEBUG)
}

/// Tells what became of the connections and neighbours of a queue.
#[cold]
pub(crate) fn tell(reports: Reports, queue: u16) {
    for (neighbor, vlan) in reports.silent_neighbors {
        tracing::debug!(target: NEIGHBOR, %neighbor, vlan, queue, "does not answer");
    }
    for TcpReport { local, peer, what } in reports.connections {
        match what {
            TcpReported::Established { passive } => {
                tracing::debug!(target: TCP, %local, %peer, queue, passive, "established");
            }
            TcpReported::ConnectFailed { reason, error } => {
                let reason = reason.name();
                match error {
                    Some(error) => {
                        tracing::debug!(target: TCP, %local, %peer, queue, reason, %error, "connect failed");
                    }
                    None => {
                        tracing::debug!(target: TCP, %local, %peer, queue, reason, "connect failed");
                    }
                }
            }
            TcpReported::Closed { reason, totals } => tracing::debug!(
                target: TCP,
                %local,
                %peer,
                queue,
                reason = reason.name(),
                duration_ms = totals.duration.as_millis() as u64,
                bytes_sent = totals.bytes_sent,
                bytes_received = totals.bytes_received,
                retransmits = totals.retransmits,
                srtt_us = totals.srtt.as_micros() as u64,
                "closed"
            ),
            _ => {}
        }
    }
    let lost = reports.lost;
    if lost > 0 {
        tracing::warn!(target: TCP, queue, lost, "more connections came and went in a turn than are told of");
    }
}

/// Whether anybody is interested in sockets that are closed, of a listener or of UDP.
#[inline]
pub(crate) fn are_sockets_heard() -> bool {
    are_heard() || tracing::enabled!(target: UDP, tracing::Level::DEBUG)
}

/// A listener is closed.
#[cold]
pub(crate) fn listener_closed(local: SocketAddr) {
    tracing::debug!(target: TCP, %local, "listener closed");
}

/// A UDP socket is bound.
#[inline]
pub(crate) fn udp_bound(local: impl FnOnce() -> Option<SocketAddr>) {
    if tracing::enabled!(target: UDP, tracing::Level::DEBUG)
        && let Some(local) = local()
    {
        tracing::debug!(target: UDP, %local, "bound");
    }
}

/// A UDP socket is closed.
#[cold]
pub(crate) fn udp_closed(local: SocketAddr) {
    tracing::debug!(target: UDP, %local, "closed");
}
