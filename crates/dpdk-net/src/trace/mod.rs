//! Traces of connections, taken from the workers that record them.
//!
//! A [`ConnectionTracer`] is asked for what has been recorded: by [`take`](ConnectionTracer::take) as events, by
//! [`take_qlog`](ConnectionTracer::take_qlog) as text that `dpdk-net plot` and other readers of qlog take. What it takes is
//! exchanged for an empty buffer under a worker's lock, so that a worker never waits for long. Who takes too seldom finds events
//! missing, and is told how many. What a trace tells, and how to read it: docs/tracing.md.

mod clock;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use dpdk_net_stack::{
    Instant, MAX_TRACE_EVENTS, MAX_TRACES, QlogConnection, TraceBudget, TraceData, TraceEvent,
    TraceFilter, TraceId, TraceWatchId, qlog_header,
};

use crate::error::io_error;
use crate::shard::Shard;

/// Events of all connections of a tracer that may wait on a worker: 320 MiB.
const MOST_WAITING: usize = 1 << 22;
/// Text that is taken at a time, and the events of one connection more.
const MOST_TEXT: usize = 1 << 20;

/// Which connections are traced, and how much of them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TraceOptions {
    /// Connections by their addresses and ports. Default: all.
    pub filter: TraceFilter,
    /// How many, over all workers. Default: 16; at most 256 of each worker at a time.
    pub connections: usize,
    /// Whether connections that there are already are traced, from where they are. A worker looks at all that it has to find them.
    /// Default: yes.
    pub present: bool,
    /// Whether connections are traced that come into being, or come from other workers. Default: yes.
    pub new: bool,
    /// Events of a connection that a worker keeps until they are taken, 80 bytes each: memory is taken as it is needed. A connection
    /// at full speed has hundreds of thousands a second. Default: 16,384; at most 65,536.
    pub events: usize,
}

impl Default for TraceOptions {
    fn default() -> Self {
        Self {
            filter: TraceFilter::any(),
            connections: 16,
            present: true,
            new: true,
            events: 16_384,
        }
    }
}

impl TraceOptions {
    fn check(&self) -> io::Result<()> {
        let why = if !self.present && !self.new {
            "neither connections that there are nor new ones are to be traced"
        } else if !(1..=MAX_TRACES).contains(&self.connections) {
            "1 to 256 connections can be traced"
        } else if !(1..=MAX_TRACE_EVENTS).contains(&self.events) {
            "1 to 65536 events of a connection can wait"
        } else if self.connections * self.events > MOST_WAITING {
            "at most 4194304 events of all connections can wait: fewer connections, or fewer events of each"
        } else {
            return Ok(());
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, why))
    }
}

/// A connection that is traced.
#[derive(Debug)]
pub struct TracedConnection {
    number: usize,
    local: SocketAddr,
    peer: SocketAddr,
    qlog: QlogConnection,
}

impl TracedConnection {
    /// Which of the tracer's it is, counted from 0. A connection that has moved to another worker is another one there.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Its local address and port.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Its peer's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }
}

/// Traces of one worker.
struct Source {
    shard: Arc<Shard>,
    watch: Option<TraceWatchId>,
    traces: Vec<(TraceId, TracedConnection)>,
}

impl Source {
    fn new(shard: Arc<Shard>) -> Self {
        Self {
            shard,
            watch: None,
            traces: Vec::new(),
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let mut state = self.shard.lock();
        if let Some(watch) = self.watch {
            state.stack.tcp_trace_watch_stop(watch);
        }
        for (trace, _) in &self.traces {
            state.stack.tcp_trace_stop(*trace);
        }
    }
}

/// Traces of some connections, of one worker or several. Dropped, nothing is recorded any more.
///
/// ```no_run
/// # async fn trace(ctx: dpdk_net::Context) -> std::io::Result<()> {
/// let mut tracer = ctx.trace(&Default::default())?;
/// let mut text = tracer.qlog_header();
/// while tracer.take_qlog(&mut text) && text.len() < 1 << 20 {
///     tokio::time::sleep(std::time::Duration::from_millis(20)).await;
/// }
/// tokio::fs::write("conn.qlog", text).await
/// # }
/// ```
pub struct ConnectionTracer {
    sources: Vec<Source>,
    budget: TraceBudget,
    connections: usize,
    missed: u64,
    /// What times are told from, by the workers' clock and by that on the wall.
    reference: Instant,
    began: SystemTime,
    buffer: Vec<TraceEvent>,
}

impl fmt::Debug for ConnectionTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTracer")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl ConnectionTracer {
    fn empty(budget: TraceBudget, reference: Instant) -> Self {
        Self {
            sources: Vec::new(),
            budget,
            connections: 0,
            missed: 0,
            reference,
            began: SystemTime::now(),
            buffer: Vec::new(),
        }
    }

    /// Traces connections of these workers.
    ///
    /// # Errors
    /// `InvalidInput` for numbers that can't be; `OutOfMemory` where there are as many orders for new connections as may be.
    pub(crate) fn of<'a>(
        shards: impl IntoIterator<Item = &'a Arc<Shard>>,
        options: &TraceOptions,
    ) -> io::Result<Self> {
        options.check()?;
        let mut tracer = Self::empty(TraceBudget::new(options.connections), Instant::MAX);
        for shard in shards {
            let mut source = Source::new(shard.clone());
            let mut begun = Vec::new();
            {
                let mut state = shard.lock();
                tracer.reference = tracer.reference.min(state.now);
                let (filter, events) = (&options.filter, options.events);
                if options.new {
                    let budget = tracer.budget.clone();
                    let watch = state.stack.tcp_trace_new(*filter, budget, events);
                    source.watch = Some(watch.map_err(io_error)?);
                }
                if options.present {
                    let traces = state
                        .stack
                        .tcp_trace_present(filter, &tracer.budget, events);
                    let ends = |trace| Some((trace, state.stack.tcp_trace_ends(trace)?));
                    begun.extend(traces.into_iter().filter_map(ends));
                }
            }
            for (trace, ends) in begun {
                let connection = tracer.number(ends);
                source.traces.push((trace, connection));
            }
            tracer.sources.push(source);
        }
        Ok(tracer)
    }

    /// A trace that has begun.
    pub(crate) fn of_one(shard: Arc<Shard>, trace: TraceId) -> Self {
        let (now, ends) = {
            let state = shard.lock();
            (state.now, state.stack.tcp_trace_ends(trace))
        };
        let mut tracer = Self::empty(TraceBudget::new(0), now);
        let mut source = Source::new(shard);
        if let Some(ends) = ends {
            source.traces.push((trace, tracer.number(ends)));
        }
        tracer.sources.push(source);
        tracer
    }

    /// The next number for a connection.
    fn number(&mut self, (local, peer): (SocketAddr, SocketAddr)) -> TracedConnection {
        let number = self.connections;
        self.connections += 1;
        TracedConnection {
            number,
            local,
            peer,
            qlog: QlogConnection::new(number, local, peer),
        }
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Events that there was no room for so far, of those that were taken.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// Takes what has been recorded since the last time: connection by connection, and of each in order. `false` once nothing more
    /// will come, as all have ended and no others are waited for.
    ///
    /// Events are shown outside the workers' locks.
    pub fn take(&mut self, mut each: impl FnMut(&TracedConnection, &TraceEvent)) -> bool {
        self.drain(|connection, event, _| {
            each(connection, event);
            true
        })
    }

    /// The first record of a qlog file.
    pub fn qlog_header(&self) -> String {
        qlog_header("dpdk-net connections", Some(&clock::rfc3339(self.began)))
    }

    /// As [`take`](Self::take), as records of a qlog file: they are appended to `out`. Once that is a MiB longer, what further
    /// connections have is left for the next time.
    pub fn take_qlog(&mut self, out: &mut String) -> bool {
        let most = out.len().saturating_add(MOST_TEXT);
        self.drain(|connection, event, reference| {
            connection.qlog.write(out, reference, event);
            out.len() < most
        })
    }

    /// Shows events until `each` has enough, and all of the connection that it is at.
    fn drain(
        &mut self,
        mut each: impl FnMut(&mut TracedConnection, &TraceEvent, Instant) -> bool,
    ) -> bool {
        let (mut goes_on, mut room) = (false, true);
        // Before anything is looked for: what takes the last of it meanwhile is found the next time.
        let waits = self.budget.left() > 0;
        for index in 0..self.sources.len() {
            self.find_new(index);
            let (reference, buffer, missed) = (self.reference, &mut self.buffer, &mut self.missed);
            let Some(source) = self.sources.get_mut(index) else {
                continue;
            };
            let shard = &source.shard;
            source.traces.retain_mut(|(trace, connection)| {
                if !room {
                    return true;
                }
                let more = shard.lock().stack.tcp_trace_take(*trace, buffer);
                for event in buffer.drain(..) {
                    if let TraceData::Missed(count) = event.data {
                        *missed += count;
                    }
                    room &= each(connection, &event, reference);
                }
                more
            });
            // Nothing comes from a worker that has ended.
            let watches = waits && source.watch.is_some() && !shard.lock().ended;
            goes_on |= watches || !source.traces.is_empty();
        }
        if !room {
            self.rotate();
        }
        goes_on
    }

    /// Others are the first next time, where not all had their turn.
    fn rotate(&mut self) {
        let next = usize::from(self.sources.len() > 1);
        self.sources.rotate_left(next);
        for source in &mut self.sources {
            let next = usize::from(source.traces.len() > 1);
            source.traces.rotate_left(next);
        }
    }

    /// Learns of traces of a source that were begun since.
    fn find_new(&mut self, index: usize) {
        let mut begun = Vec::new();
        if let Some(source) = self.sources.get(index)
            && let Some(watch) = source.watch
        {
            let stack = &mut source.shard.lock().stack;
            while let Some(trace) = stack.tcp_trace_begun(watch) {
                begun.extend(stack.tcp_trace_ends(trace).map(|ends| (trace, ends)));
            }
        }
        for (trace, ends) in begun {
            let connection = self.number(ends);
            if let Some(source) = self.sources.get_mut(index) {
                source.traces.push((trace, connection));
            }
        }
    }
}
