//! Traces of connections, and reports for a log.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Stack;
use crate::error::Error;
use crate::event::TcpId;
use crate::listing::ListPlace;
use crate::tcp::report::Reports;
use crate::tcp::trace::{
    TraceBudget, TraceEvent, TraceFilter, TraceId, TraceWatchId, TracesPresent,
};

/// Traces: at most 256 at a time. A connection has one at most. What is recorded waits until
/// [`tcp_trace_take`](Stack::tcp_trace_take), up to so many `events` (at most 65,536 of 80 bytes each); those for which there is no
/// room are counted and told ([`TraceData::Missed`](crate::TraceData::Missed)). Connections that are not traced cost nothing more.
impl Stack {
    /// Begins to trace a connection.
    ///
    /// Errors: `UnknownSocket`; `NotConnected` if it is over; `AddrInUse` if it is traced already; `NoBufferSpace` if there are as
    /// many traces as may be.
    pub fn tcp_trace(&mut self, id: TcpId, events: usize) -> Result<TraceId, Error> {
        self.tcp.trace(self.now, id, events)
    }

    /// Begins to trace connections that there are and that the filter takes, as far as the budget goes. Those that are traced
    /// already are left alone. It looks at up to `looks` connections, from [`ListPlace::START`] on or from where the list goes on: who
    /// wants all asks again, from [`next`](TracesPresent::next) on. It looks at 4,096 places at most, as [`tcp_infos`](Self::tcp_infos)
    /// does: none may be traced of a page, and still more come.
    pub fn tcp_trace_present(
        &mut self,
        filter: &TraceFilter,
        budget: &TraceBudget,
        events: usize,
        from: ListPlace,
        looks: usize,
    ) -> TracesPresent {
        let wanted = (filter, budget, events);
        self.tcp.trace_present(self.now, wanted, from, looks)
    }

    /// Traces connections that come into being from now on, or come from other workers:
    /// [`tcp_trace_begun`](Self::tcp_trace_begun) tells which, until [`tcp_trace_watch_stop`](Self::tcp_trace_watch_stop). A connection
    /// from a peer comes into being with the last segment of its handshake.
    ///
    /// Errors: `NoBufferSpace` beyond 16 such orders at a time.
    pub fn tcp_trace_new(
        &mut self,
        filter: TraceFilter,
        budget: TraceBudget,
        events: usize,
    ) -> Result<TraceWatchId, Error> {
        self.tcp.trace_new(filter, budget, events)
    }

    /// The next trace that was begun for a connection that came into being.
    pub fn tcp_trace_begun(&mut self, watch: TraceWatchId) -> Option<TraceId> {
        self.tcp.next_begun(watch)
    }

    /// No new connections are traced any more. Traces that have begun go on: those that were not told of yet are told of now.
    pub fn tcp_trace_watch_stop(&mut self, watch: TraceWatchId) -> VecDeque<TraceId> {
        self.tcp.stop_watch(watch)
    }

    /// Of which connection a trace is: the local address and port, and the peer's.
    pub fn tcp_trace_ends(&self, trace: TraceId) -> Option<(SocketAddr, SocketAddr)> {
        self.tcp.trace_ends(trace)
    }

    /// Takes what has been recorded, in order, into `events`, which is emptied first; its memory is used for what is recorded next,
    /// so this takes no time. `false` if nothing more will come: the trace is forgotten.
    pub fn tcp_trace_take(&mut self, trace: TraceId, events: &mut Vec<TraceEvent>) -> bool {
        self.tcp.take_trace(trace, events)
    }

    /// Ends a trace and forgets it. What of it had not been taken is given out, with its end, if the connection goes on:
    /// [`TraceEnd::Stopped`](crate::TraceEnd::Stopped). It may be some MiB, to be freed where nobody waits for it.
    pub fn tcp_trace_stop(&mut self, trace: TraceId) -> Vec<TraceEvent> {
        self.tcp.stop_trace(self.now, trace)
    }

    /// Whether to keep [reports](Self::take_reports) from now on. At first none are kept.
    #[inline]
    pub fn want_reports(&mut self, wanted: bool) {
        self.tcp.want_reports(wanted);
        self.link.tells_silent = wanted;
    }

    /// Whether there are reports to be taken.
    #[inline]
    pub fn has_reports(&self) -> bool {
        self.tcp.has_reports() || !self.link.silent.is_empty()
    }

    /// Takes what became of connections and neighbours since the last time.
    pub fn take_reports(&mut self) -> Reports {
        let (connections, lost) = self.tcp.take_reports();
        Reports {
            connections,
            silent_neighbors: core::mem::take(&mut self.link.silent),
            lost,
        }
    }
}
