//! What becomes of connections and neighbours, for a log: established, failed, closed, silent. The stack writes none; its owner takes
//! these, and says whether anybody is interested. At most [`MOST`] of connections wait.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::fast::Tab;
use super::flow::{Flow, FlowFlags};
use super::trace::{CloseReason, TraceEnd};
use super::{Tcp, TcpState};
use crate::error::Error;
use crate::event::TcpId;
use crate::time::{Duration, Instant};

/// Reports that may wait to be taken.
const MOST: usize = 1024;

/// What there is to tell, oldest first.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Reports {
    /// What became of connections; at most 1,024 wait.
    pub connections: VecDeque<TcpReport>,
    /// Neighbours that did not answer and were forgotten, and the ids of their VLANs (0 for none); at most 64 wait.
    pub silent_neighbors: Vec<(IpAddr, u16)>,
    /// Connections of which there was no room to tell.
    pub lost: u64,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpReport {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// What became of it.
    pub what: TcpReported,
}

/// What became of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpReported {
    /// The handshake is complete.
    Established {
        /// Whether the peer has opened it.
        passive: bool,
    },
    /// It could not be opened, or was given up before it was.
    ConnectFailed {
        /// Why, in one word.
        reason: CloseReason,
        /// The error that the application gets, if it still has the socket.
        error: Option<Error>,
    },
    /// It is over, or in TIME-WAIT.
    Closed {
        /// Why.
        reason: CloseReason,
        /// What it has done.
        totals: TcpTotals,
    },
}

/// What a connection has done in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpTotals {
    /// How long it has lived, from its first SYN from here or the end of the peer's handshake. Modulo 49.7 days.
    pub duration: Duration,
    /// Bytes of data sent, those sent again included.
    pub bytes_sent: u64,
    /// Bytes received in order.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// The smoothed round-trip time at the end; zero if there was no sample.
    pub srtt: Duration,
}

/// Reports that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Whether anybody is interested.
    wanted: bool,
    waiting: VecDeque<TcpReport>,
    lost: u64,
}

impl Waiting {
    fn push(&mut self, flow: &Flow, what: TcpReported) {
        if self.waiting.len() >= MOST {
            self.lost += 1;
            return;
        }
        self.waiting.push_back(TcpReport {
            local: flow.key.local(),
            peer: flow.key.remote(),
            what,
        });
    }
}

impl Flow {
    /// What it has done so far.
    pub(super) fn totals(&self, now: Instant) -> TcpTotals {
        let totals = self.sender.as_ref().map(|sender| sender.totals);
        let totals = totals.or(self.past.as_ref().map(|past| past.totals));
        let totals = totals.unwrap_or_default();
        let tab = if self.is_calm() {
            self.tab
        } else {
            Tab::default()
        };
        let age = (now.as_millis() as u32).wrapping_sub(self.opened);
        TcpTotals {
            duration: Duration::from_millis(age.into()),
            bytes_sent: totals.bytes + u64::from(tab.bytes),
            bytes_received: self.received,
            retransmits: totals.retransmits,
            srtt: self.rtt.srtt().unwrap_or_default(),
        }
    }
}

impl Tcp {
    #[inline]
    pub(super) fn report_established(&mut self, id: TcpId, passive: bool) {
        if self.reports.wanted
            && let Some(flow) = self.flows.get(id)
        {
            self.reports
                .push(flow, TcpReported::Established { passive });
        }
    }

    /// A connection ends: to be called with all that it knows still there. Once of each, whatever else ends of it later.
    pub(super) fn ends(
        &mut self,
        now: Instant,
        id: TcpId,
        reason: CloseReason,
        error: Option<&Error>,
    ) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        if flow.has(FlowFlags::OVER) || flow.state == TcpState::TimeWait {
            return;
        }
        let opening = matches!(flow.state, TcpState::SynSent | TcpState::SynReceived);
        if !opening {
            let totals = flow.totals(now);
            return self.has_ended(now, id, reason, totals);
        }
        if self.reports.wanted {
            let (reason, error) = (reason.clone(), error.cloned());
            self.reports
                .push(flow, TcpReported::ConnectFailed { reason, error });
        }
        self.end_trace(now, id, TraceEnd::Closed(reason));
    }

    /// A connection that was established has ended, having done this.
    pub(super) fn has_ended(
        &mut self,
        now: Instant,
        id: TcpId,
        reason: CloseReason,
        totals: TcpTotals,
    ) {
        if self.reports.wanted
            && let Some(flow) = self.flows.get(id)
        {
            let reason = reason.clone();
            self.reports
                .push(flow, TcpReported::Closed { reason, totals });
        }
        self.end_trace(now, id, TraceEnd::Closed(reason));
    }

    pub(crate) fn want_reports(&mut self, wanted: bool) {
        self.reports.wanted = wanted;
    }

    pub(crate) fn has_reports(&self) -> bool {
        !self.reports.waiting.is_empty()
    }

    pub(crate) fn take_reports(&mut self) -> (VecDeque<TcpReport>, u64) {
        let lost = core::mem::take(&mut self.reports.lost);
        (core::mem::take(&mut self.reports.waiting), lost)
    }
}
