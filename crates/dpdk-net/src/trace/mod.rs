//! Traces of connections, taken from the workers that record them.
//!
//! A [`ConnectionTracer`] is asked for what has been recorded: by [`take`](ConnectionTracer::take) as events, by
//! [`take_qlog`](ConnectionTracer::take_qlog) as text that `dpdk-net plot` and other readers of qlog take. What it takes is
//! exchanged for an empty buffer under a worker's lock, so that a worker never waits for long. Who takes too seldom finds events
//! missing, and is told how many. What a trace tells, and how to read it: docs/tracing.md.

mod clock;
mod permit;
mod source;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use dpdk_net_rte::tsc;
use dpdk_net_stack::{
    Instant, MAX_TRACE_EVENTS, MAX_TRACES, QlogConnection, TraceBudget, TraceData, TraceEvent,
    TraceFilter, TraceId, qlog_header,
};

pub use self::permit::MOST_MEMORY;

use self::permit::Permit;
use self::source::Source;
use crate::handle::Handle;
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
    /// Whether there can be such a trace: what is asked for may be more than any worker takes.
    ///
    /// # Errors
    /// `InvalidInput`, with what can be.
    pub fn check(&self) -> io::Result<()> {
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
    /// The next one.
    fn new(connections: &mut usize, (local, peer): (SocketAddr, SocketAddr)) -> Self {
        let number = *connections;
        *connections += 1;
        Self {
            number,
            local,
            peer,
            qlog: QlogConnection::new(number, local, peer),
        }
    }

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

/// Traces of some connections, of one worker or several. Dropped, nothing is recorded any more, and what was not taken is gone;
/// [`stop`](Self::stop) ends them so that it can be taken.
///
/// All times are told by one clock, whichever worker a connection is of.
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
    /// What times are told from, by the first worker's clock and by that on the wall.
    reference: Instant,
    began: SystemTime,
    buffer: Vec<TraceEvent>,
    /// Given back after the sources have let go of what they have.
    _permit: Permit,
}

impl fmt::Debug for ConnectionTracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionTracer")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl ConnectionTracer {
    /// One that has no traces yet, with these workers as its sources.
    fn from_sources<'a>(
        permit: Permit,
        budget: TraceBudget,
        shards: impl IntoIterator<Item = &'a Arc<Shard>>,
    ) -> Self {
        let (cycles, began) = (tsc::now(), SystemTime::now());
        let sources: Vec<_> = shards
            .into_iter()
            .map(|shard| Source::new(shard.clone(), cycles))
            .collect();
        Self {
            reference: sources.first().map_or(Instant::ZERO, Source::reference),
            sources,
            budget,
            connections: 0,
            missed: 0,
            began,
            buffer: Vec::new(),
            _permit: permit,
        }
    }

    /// Traces connections of workers that are not those of an [`App`](crate::App), of one port or several.
    ///
    /// # Errors
    /// `InvalidInput` for numbers that can't be; `OutOfMemory` where there are as many orders for new connections as may be, or where
    /// its events could take more than is left of [`MOST_MEMORY`].
    pub fn of_handles(handles: &[Handle], options: &TraceOptions) -> io::Result<Self> {
        Self::of(handles.iter().map(Handle::shard), options)
    }

    /// The same of these workers.
    pub(crate) fn of<'a>(
        shards: impl IntoIterator<Item = &'a Arc<Shard>>,
        options: &TraceOptions,
    ) -> io::Result<Self> {
        options.check()?;
        let permit = Permit::take(options.connections, options.events)?;
        let budget = TraceBudget::new(options.connections);
        let mut tracer = Self::from_sources(permit, budget, shards);
        let (budget, connections) = (tracer.budget.clone(), &mut tracer.connections);
        for source in &mut tracer.sources {
            if options.new {
                source.watch(options, &budget)?;
            }
            if options.present {
                source.trace_present(options, &budget, connections);
            }
        }
        Ok(tracer)
    }

    /// Of one connection: `begin` has the trace begin, with so many events that may wait.
    pub(crate) fn of_one(
        begin: impl FnOnce(usize) -> io::Result<(Arc<Shard>, TraceId)>,
    ) -> io::Result<Self> {
        let events = TraceOptions::default().events;
        let permit = Permit::take(1, events)?;
        let (shard, trace) = begin(events)?;
        let mut tracer = Self::from_sources(permit, TraceBudget::new(0), [&shard]);
        if let Some(source) = tracer.sources.first_mut() {
            source.add(trace, &mut tracer.connections);
        }
        Ok(tracer)
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

    /// Ends all traces, and waits for no further connections. What has been recorded and not been taken is still there to be taken, and
    /// [`TraceEnd::Stopped`](dpdk_net_stack::TraceEnd::Stopped) as the last event of those whose connections go on: take until there is
    /// no more.
    pub fn stop(&mut self) {
        for source in &mut self.sources {
            source.stop(&mut self.connections);
        }
    }

    /// Shows events until `each` has enough, and all of the connection that it is at.
    fn drain(
        &mut self,
        mut each: impl FnMut(&mut TracedConnection, &TraceEvent, Instant) -> bool,
    ) -> bool {
        let (mut goes_on, mut room) = (false, true);
        // Before anything is looked for: what takes the last of it meanwhile is found the next time.
        let waits = self.budget.left() > 0;
        let (reference, missed) = (self.reference, &mut self.missed);
        for source in &mut self.sources {
            let offset = source.reference();
            let show = |connection: &mut TracedConnection, mut event: TraceEvent| {
                if let TraceData::Missed(count) = event.data {
                    *missed += count;
                }
                // By the first worker's clock.
                let nanos = event.at.as_nanos().saturating_add(reference.as_nanos());
                event.at = Instant::from_nanos(nanos.saturating_sub(offset.as_nanos()));
                each(connection, &event, reference)
            };
            let (connections, buffer) = (&mut self.connections, &mut self.buffer);
            goes_on |= source.drain(waits, connections, buffer, &mut room, show);
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
        self.sources.iter_mut().for_each(Source::rotate);
    }
}
