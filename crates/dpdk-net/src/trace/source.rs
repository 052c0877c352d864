//! The traces of one worker: begun, taken from and ended under its lock, which is held for as long as one step takes.
//!
//! What a trace has recorded may be some MiB. It is exchanged or given out under the lock, and shown and freed outside of it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use dpdk_net_stack::{
    Instant, ListPlace, TraceBudget, TraceEvent, TraceId, TraceWatchId, TracesPresent,
};

use super::{TraceOptions, TracedConnection};
use crate::error::io_error;
use crate::shard::Shard;

/// Connections that are looked at in one critical section.
const AT_ONCE: usize = 1024;

/// Traces of one worker.
pub(super) struct Source {
    shard: Arc<Shard>,
    /// When the tracer began, by the worker's clock.
    reference: Instant,
    watch: Option<TraceWatchId>,
    traces: Vec<(TraceId, TracedConnection)>,
    /// What traces that were ended had recorded.
    left: VecDeque<(TracedConnection, Vec<TraceEvent>)>,
}

impl Source {
    /// Of a worker, since the time-stamp counter read so much.
    pub(super) fn new(shard: Arc<Shard>, cycles: u64) -> Self {
        Self {
            reference: Instant::from_nanos(shard.clock().at(cycles)),
            shard,
            watch: None,
            traces: Vec::new(),
            left: VecDeque::new(),
        }
    }

    /// When the tracer began, by the worker's clock.
    pub(super) fn reference(&self) -> Instant {
        self.reference
    }

    /// Traces connections that come.
    ///
    /// # Errors
    /// `OutOfMemory` where there are as many such orders as may be.
    pub(super) fn watch(&mut self, options: &TraceOptions, budget: &TraceBudget) -> io::Result<()> {
        let mut state = self.shard.lock();
        let watch = state
            .stack
            .tcp_trace_new(options.filter, budget.clone(), options.events);
        self.watch = Some(watch.map_err(io_error)?);
        Ok(())
    }

    /// Traces connections that there are.
    pub(super) fn trace_present(
        &mut self,
        options: &TraceOptions,
        budget: &TraceBudget,
        connections: &mut usize,
    ) {
        let mut from = Some(ListPlace::START);
        while let Some(place) = from {
            let (filter, events) = (&options.filter, options.events);
            let page = self
                .shard
                .lock()
                .stack
                .tcp_trace_present(filter, budget, events, place, AT_ONCE);
            let TracesPresent { begun, next, .. } = page;
            for trace in begun {
                self.add(trace, connections);
            }
            from = next;
        }
    }

    /// Takes in a trace that has begun.
    pub(super) fn add(&mut self, trace: TraceId, connections: &mut usize) {
        let ends = self.shard.lock().stack.tcp_trace_ends(trace);
        if let Some(ends) = ends {
            let connection = TracedConnection::new(connections, ends);
            self.traces.push((trace, connection));
        }
    }

    /// Learns of traces that were begun since.
    fn find_new(&mut self, connections: &mut usize) {
        let Some(watch) = self.watch else {
            return;
        };
        loop {
            let begun = self.shard.lock().stack.tcp_trace_begun(watch);
            match begun {
                Some(trace) => self.add(trace, connections),
                None => return,
            }
        }
    }

    /// Ends them all. What they have recorded waits here from now on.
    pub(super) fn stop(&mut self, connections: &mut usize) {
        if let Some(watch) = self.watch.take() {
            let begun = self.shard.lock().stack.tcp_trace_watch_stop(watch);
            for trace in begun {
                self.add(trace, connections);
            }
        }
        for (trace, connection) in std::mem::take(&mut self.traces) {
            let events = self.shard.lock().stack.tcp_trace_stop(trace);
            self.left.push_back((connection, events));
        }
    }

    /// Shows what has been recorded, while there is `room` for more, which `show` says, and all of the connection that it is at.
    /// Whether more may come: from new connections if some are waited for.
    pub(super) fn drain(
        &mut self,
        waits: bool,
        connections: &mut usize,
        buffer: &mut Vec<TraceEvent>,
        room: &mut bool,
        mut show: impl FnMut(&mut TracedConnection, TraceEvent) -> bool,
    ) -> bool {
        // Nothing comes any more from a worker that has ended.
        let ended = self.shard.lock().ended;
        if ended {
            self.stop(connections);
        }
        self.find_new(connections);
        let shard = &self.shard;
        self.traces.retain_mut(|(trace, connection)| {
            if !*room {
                return true;
            }
            let more = shard.lock().stack.tcp_trace_take(*trace, buffer);
            for event in buffer.drain(..) {
                *room &= show(connection, event);
            }
            more
        });
        while *room && let Some((mut connection, events)) = self.left.pop_front() {
            for event in events {
                *room &= show(&mut connection, event);
            }
        }
        waits && self.watch.is_some() || !self.traces.is_empty() || !self.left.is_empty()
    }

    /// Another trace is the first one next time.
    pub(super) fn rotate(&mut self) {
        let next = usize::from(self.traces.len() > 1);
        self.traces.rotate_left(next);
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop(&mut 0);
    }
}
