//! Traces of connections: what a few connections do, event by event, for whoever wants to see it.
//!
//! A traced connection is marked by a flag with which it never is [calm](super::fast), so that the short way of all others is
//! as it would be without this; on the long way they are asked for the flag. What is recorded waits in the trace, up to a
//! bound, until its owner takes it; what there is no room for is counted and told. Everything is recorded from outside:
//! segments as they come and go, and what became of the connection by comparing its figures with the last ones.

mod event;
mod filter;
mod qlog;
mod record;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use slotmap::{SlotMap, new_key_type};

use super::flow::{Flow, FlowFlags};
use super::table::FlowRef;
use super::{Tcp, TcpState};
use crate::error::Error;
use crate::event::TcpId;
use crate::listing::ListPlace;
use crate::time::Instant;

pub use event::{
    CloseReason, DropReason, ReceivedSegment, SackBlocks, SentSegment, TraceData, TraceEnd,
    TraceEvent, TraceMetrics, TraceStart, TraceTimer,
};
pub use filter::{TraceBudget, TraceFilter};
pub use qlog::{QlogConnection, qlog_header};
pub(super) use record::Handshake;
pub(crate) use record::Trace;

new_key_type! {
    /// A trace of a connection of one stack.
    pub struct TraceId;
    /// A standing order to trace new connections of one stack.
    pub struct TraceWatchId;
}

/// Connections traced at a time, of one stack.
pub const MAX_TRACES: usize = 256;
/// Standing orders at a time.
const MAX_WATCHES: usize = 16;
/// Events that a trace may hold until they are taken: 5 MiB.
pub const MAX_TRACE_EVENTS: usize = 65_536;

/// Traces of connections that there were, as far as they have been looked at.
#[derive(Debug)]
#[non_exhaustive]
pub struct TracesPresent {
    /// Traces that have begun.
    pub begun: Vec<TraceId>,
    /// Where the list of connections goes on. `None` at its end, and where no more may be traced.
    pub next: Option<ListPlace>,
}

/// A standing order to trace connections that come into being.
#[derive(Debug)]
struct Watch {
    filter: TraceFilter,
    budget: TraceBudget,
    events: usize,
    /// Traces begun that the owner does not know of yet; no more than there can be traces.
    begun: VecDeque<TraceId>,
}

/// All traces of a stack.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    all: SlotMap<TraceId, Trace>,
    watches: SlotMap<TraceWatchId, Watch>,
}

impl Traces {
    /// Whether new connections are of interest to anybody.
    #[inline]
    pub(super) fn is_watching(&self) -> bool {
        !self.watches.is_empty()
    }

    /// The trace of a connection that has the flag.
    #[cold]
    pub(super) fn of(&mut self, flow: &Flow) -> Option<&mut Trace> {
        self.all.get_mut(flow.rare.as_ref()?.trace?)
    }
}

impl Tcp {
    /// Begins a trace of a connection.
    fn begin_trace(
        &mut self,
        now: Instant,
        id: TcpId,
        events: usize,
        handshake: Option<&Handshake>,
    ) -> Result<TraceId, Error> {
        let flow = self.flows.get_mut(id).ok_or(Error::UnknownSocket)?;
        if matches!(flow.state, TcpState::Closed | TcpState::TimeWait) {
            return Err(Error::NotConnected);
        }
        if flow.has(FlowFlags::TRACED) {
            return Err(Error::AddrInUse);
        }
        if self.traces.all.len() >= MAX_TRACES {
            return Err(Error::NoBufferSpace);
        }
        let events = events.clamp(1, MAX_TRACE_EVENTS);
        let trace = match handshake {
            Some(handshake) => Trace::begin_with(handshake, flow, &self.settings, events),
            None => Trace::begin(now, flow, &self.settings, events),
        };
        let trace = self.traces.all.insert(trace);
        flow.flags |= FlowFlags::TRACED;
        flow.rare().trace = Some(trace);
        Ok(trace)
    }

    /// A connection has come into being, after this handshake if the peer opened it: whoever waits for such has it traced.
    #[cold]
    pub(super) fn watch(&mut self, now: Instant, id: TcpId, handshake: Option<&Handshake>) {
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let (local, peer) = (flow.key.local(), flow.key.remote());
        let waits = |watch: &Watch| watch.filter.matches(local, peer) && watch.budget.take();
        let mut watches = self.traces.watches.iter();
        let Some((watch, it)) = watches.find(|(_, watch)| waits(watch)) else {
            return;
        };
        let events = it.events;
        let begun = self.begin_trace(now, id, events, handshake);
        if let Some(watch) = self.traces.watches.get_mut(watch) {
            match begun {
                Ok(trace) => watch.begun.push_back(trace),
                Err(_) => watch.budget.give_back(),
            }
        }
    }

    /// Ends the trace of a connection, if there is one.
    pub(super) fn end_trace(&mut self, now: Instant, id: TcpId, end: TraceEnd) {
        let Some(flow) = self.flows.as_it_is(id) else {
            return;
        };
        if !flow.has(FlowFlags::TRACED) {
            return;
        }
        if let Some(trace) = self.traces.of(flow) {
            trace.observe(now, flow, &self.settings);
            trace.end(now, end);
        }
        flow.flags.remove(FlowFlags::TRACED);
        flow.rare().trace = None;
    }

    /// Records what has become of a connection since the last time.
    #[cold]
    pub(super) fn observe(&mut self, now: Instant, id: TcpId) {
        if let Some(flow) = self.flows.as_it_is(id)
            && let Some(trace) = self.traces.of(flow)
        {
            trace.observe(now, flow, &self.settings);
        }
    }

    /// Records something that happened to a connection.
    pub(super) fn record(
        &mut self,
        now: Instant,
        id: TcpId,
        data: impl FnOnce(&Flow) -> TraceData,
    ) {
        if let Some(flow) = self.flows.as_it_is(id)
            && flow.has(FlowFlags::TRACED)
            && let Some(trace) = self.traces.of(flow)
        {
            trace.push(now, data(flow));
        }
    }

    pub(crate) fn trace(
        &mut self,
        now: Instant,
        id: TcpId,
        events: usize,
    ) -> Result<TraceId, Error> {
        self.held(id)?;
        self.begin_trace(now, id, events, None)
    }

    /// Begins traces of connections that there are, as far as those go that come from a place on.
    pub(crate) fn trace_present(
        &mut self,
        now: Instant,
        (filter, budget, events): (&TraceFilter, &TraceBudget, usize),
        from: ListPlace,
        looks: usize,
    ) -> TracesPresent {
        let mut begun = Vec::new();
        if budget.left() == 0 {
            return TracesPresent { begun, next: None };
        }
        let page = self.flows.page(from, looks.max(1), |flow| {
            let meant = filter.matches(flow.key.local(), flow.key.remote());
            meant && !flow.has(FlowFlags::TRACED)
        });
        let next = page.next;
        let wanted = page.entries.into_iter().filter(|(_, wanted)| *wanted);
        for (id, _) in wanted {
            if !budget.take() {
                return TracesPresent { begun, next: None };
            }
            match self.begin_trace(now, id, events, None) {
                Ok(trace) => begun.push(trace),
                Err(_) => budget.give_back(),
            }
        }
        TracesPresent { begun, next }
    }

    pub(crate) fn trace_new(
        &mut self,
        filter: TraceFilter,
        budget: TraceBudget,
        events: usize,
    ) -> Result<TraceWatchId, Error> {
        if self.traces.watches.len() >= MAX_WATCHES {
            return Err(Error::NoBufferSpace);
        }
        Ok(self.traces.watches.insert(Watch {
            filter,
            budget,
            events,
            begun: VecDeque::new(),
        }))
    }

    pub(crate) fn next_begun(&mut self, watch: TraceWatchId) -> Option<TraceId> {
        self.traces.watches.get_mut(watch)?.begun.pop_front()
    }

    pub(crate) fn stop_watch(&mut self, watch: TraceWatchId) -> VecDeque<TraceId> {
        let watch = self.traces.watches.remove(watch);
        watch.map(|watch| watch.begun).unwrap_or_default()
    }

    pub(crate) fn trace_ends(&self, trace: TraceId) -> Option<(SocketAddr, SocketAddr)> {
        Some(self.traces.all.get(trace)?.ends())
    }

    /// Takes what has been recorded; `false` if there is and will be nothing more.
    pub(crate) fn take_trace(&mut self, trace: TraceId, events: &mut Vec<TraceEvent>) -> bool {
        events.clear();
        let Some(found) = self.traces.all.get_mut(trace) else {
            return false;
        };
        let goes_on = found.take(events);
        if !goes_on {
            self.traces.all.remove(trace);
        }
        goes_on
    }

    /// Ends a trace and forgets it; gives what of it had not been taken, with its end.
    pub(crate) fn stop_trace(&mut self, now: Instant, trace: TraceId) -> Vec<TraceEvent> {
        let Some(found) = self.traces.all.get(trace) else {
            return Vec::new();
        };
        let key = found.key();
        if let Some(FlowRef::Conn(id)) = self.lookup(&key)
            && let Some(flow) = self.flows.get(id)
            && flow
                .rare
                .as_ref()
                .is_some_and(|rare| rare.trace == Some(trace))
        {
            self.end_trace(now, id, TraceEnd::Stopped);
        }
        let trace = self.traces.all.remove(trace);
        trace.map(Trace::into_events).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use dpdk_net_packet::MacAddr;

    use super::super::TimerKey;
    use super::super::table::FlowKey;
    use super::*;
    use crate::config::Config;

    const MANY: u16 = 20_000;
    const LOOKS: usize = 256;

    #[test]
    fn connections_that_there_are_are_found_without_looking_at_any_twice() {
        let now = Instant::from_secs(100);
        let mut tcp = Tcp::new(&Config::new(MacAddr([2, 0, 0, 0, 0, 1])), now);
        let local: SocketAddr = "198.18.0.1:80".parse().unwrap();
        for port in 1..=MANY {
            let remote = SocketAddr::new("198.18.0.2".parse().unwrap(), port);
            let (settings, wheel) = (&tcp.settings, &mut tcp.wheel);
            tcp.flows.insert_with_key(|id| {
                let timer = wheel.insert(TimerKey::Flow(id));
                let of = (id, FlowKey::new(local, remote));
                Flow::new(of, TcpState::Established, timer, 1, settings, now)
            });
        }
        // The last ones that there are, and there is more to be had than there are.
        let mut filter = TraceFilter::any();
        filter.peer_port = Some(MANY);
        let budget = TraceBudget::new(2);
        let (mut begun, mut from, mut costly) = (Vec::new(), Some(ListPlace::START), 0);
        while let Some(place) = from {
            let before = tcp.flows.looks();
            let page = tcp.trace_present(now, (&filter, &budget, 10), place, LOOKS);
            costly = costly.max(tcp.flows.looks() - before);
            begun.extend(page.begun);
            assert!(page.next > from || page.next.is_none(), "it goes on");
            from = page.next;
        }
        // One more at the beginning, where slot maps have nothing.
        assert_eq!(costly, LOOKS + 1);
        assert_eq!(tcp.flows.looks(), usize::from(MANY) + 1);
        assert_eq!((begun.len(), budget.left()), (1, 1));
        let (_, peer) = tcp.trace_ends(begun[0]).unwrap();
        assert_eq!(peer.port(), MANY);
    }
}
