//! An application's life on several lcores: who serves which queue, and how all of them begin and end together.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use dpdk_net_rte::lcore::Lcore;
use dpdk_net_rte::port::PortInfo;
use dpdk_net_rte::{Eal, PortControl, SocketId};
use dpdk_net_stack::MAX_WORKERS;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::addressing::Addressing;
use super::bring_up::{self, Ready};
use super::context::Shared;
use super::run::{Ended, deadline, settle, stopped, supervise, take_down};
use super::signals::{Heard, Signals};
use super::{AppBuilder, Context};
use crate::affinity::Affinity;
use crate::error::Error;
use crate::handle::Handle;
use crate::peers::{PeersControl, Rebalancer};
use crate::worker::{Worker, WorkerConfig};

/// Which lcore serves which queues. It prints as a table.
#[derive(Debug)]
struct QueuePlan {
    lcores: Vec<Lcore>,
    /// Lcores that have nothing to do.
    idle: Vec<Lcore>,
    queues: u16,
    socket: SocketId,
}

impl QueuePlan {
    /// The calling thread's lcore is the first; the others come in the order of their numbers, those on the port's NUMA node
    /// before the rest.
    fn new(
        eal: &Eal,
        port: &PortInfo,
        workers: Option<u16>,
        queues: Option<u16>,
    ) -> Result<Self, Error> {
        let mut lcores = vec![eal.main_lcore()];
        let mut others: Vec<Lcore> = eal.worker_lcores().collect();
        others.sort_by_key(|lcore| is_far(lcore, port.socket));
        lcores.extend(others);
        let most = port.max_rx_queues.min(port.max_tx_queues).min(MAX_WORKERS);
        if let Some(wished) = queues
            && !(1..=most).contains(&wished)
        {
            return Err(Error::BadValue {
                what: "the number of queues",
                given: wished.into(),
                expected: format!("{} ({}) has 1 to {most}", port.name, port.driver),
            });
        }
        if let Some(wished) = workers
            && !(1..=lcores.len()).contains(&wished.into())
        {
            return Err(Error::BadValue {
                what: "the number of workers",
                given: wished.into(),
                expected: format!(
                    "EAL has {} lcores: give it more (EalBuilder::lcores), several may share a CPU",
                    lcores.len()
                ),
            });
        }
        let wished = workers.map_or(lcores.len(), usize::from);
        let queues = queues.unwrap_or_else(|| u16::try_from(wished).unwrap_or(most).min(most));
        let idle = lcores.split_off(wished.min(queues.into()));
        Ok(Self {
            lcores,
            idle,
            queues,
            socket: port.socket,
        })
    }

    /// The queues that the worker with this place serves.
    fn served_by(&self, worker: usize) -> impl Iterator<Item = u16> {
        let queues = worker..usize::from(self.queues);
        let step = self.lcores.len().max(1);
        queues.step_by(step).map(|queue| queue as u16)
    }
}

/// Whether an lcore is on another NUMA node than the port.
fn is_far(lcore: &Lcore, socket: SocketId) -> bool {
    let own = lcore.socket_id();
    own != SocketId::ANY && socket != SocketId::ANY && own != socket
}

impl fmt::Display for QueuePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (worker, lcore) in self.lcores.iter().enumerate() {
            let queues: Vec<String> = self.served_by(worker).map(|n| n.to_string()).collect();
            write!(f, "{}", lcore.id())?;
            if let Some(cpu) = lcore.cpu_id() {
                write!(f, " (CPU {cpu})")?;
            }
            let plural = if queues.len() == 1 { "" } else { "s" };
            write!(f, ": queue{plural} {}", queues.join(", "))?;
            if is_far(lcore, self.socket) {
                write!(f, ", on another NUMA node than the port")?;
            }
            writeln!(f)?;
        }
        for lcore in &self.idle {
            writeln!(f, "{}: idle, there are {} queues", lcore.id(), self.queues)?;
        }
        Ok(())
    }
}

/// Where the workers wait for each other before their programs start.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    handles: Vec<(u16, Handle)>,
    failed: bool,
}

impl Gate {
    fn fail(&self) {
        self.state.lock().failed = true;
        self.changed.notify_all();
    }

    /// Brings the handles of one's queues and waits until those of all are there. `None` if somebody failed.
    fn pass(&self, own: Vec<(u16, Handle)>, queues: u16) -> Option<Vec<Handle>> {
        let mut state = self.state.lock();
        state.handles.extend(own);
        self.changed.notify_all();
        while !state.failed && state.handles.len() < usize::from(queues) {
            self.changed.wait(&mut state);
        }
        if state.failed {
            return None;
        }
        let mut all = state.handles.clone();
        all.sort_by_key(|(queue, _)| *queue);
        Some(all.into_iter().map(|(_, handle)| handle).collect())
    }
}

/// What all workers share while they run.
struct Crew<'a, F> {
    program: &'a F,
    signals: &'a Signals,
    shared: Arc<Shared>,
    addressing: Addressing,
    gate: Gate,
    queues: u16,
    /// Programs that have not returned yet.
    left: watch::Sender<usize>,
    /// Workers whose connections have not finished yet. Until all have, each goes on: what the others need may come to its queue.
    unfinished: AtomicUsize,
    drain: Duration,
    /// Who looks at the queues' loads, and how often: the first queue's worker takes it.
    rebalancing: Mutex<Option<(PeersControl, Duration)>>,
}

/// Ends all if its worker ends by a panic or an error, so that nobody waits for it.
struct EndAll<'a> {
    shared: &'a Shared,
    gate: &'a Gate,
    unfinished: &'a AtomicUsize,
    /// It is one of those.
    counted: bool,
    armed: bool,
}

impl EndAll<'_> {
    /// Its connections have finished.
    fn finished(&mut self) {
        if std::mem::take(&mut self.counted) {
            self.unfinished.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for EndAll<'_> {
    fn drop(&mut self) {
        self.finished();
        if self.armed {
            self.gate.fail();
            self.shared.request_shutdown();
        }
    }
}

pub(super) fn run<F, Fut>(mut builder: AppBuilder, program: &F) -> Result<Vec<Fut::Output>, Error>
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
    Fut::Output: Send,
{
    let drain = builder.drain_timeout;
    let (flow_policy, rebalance) = (builder.flow_policy, builder.rebalance);
    let (workers, queues) = (builder.workers.take(), builder.queues.take());
    let addressing = builder.addressing.clone();
    // Before EAL pins this thread.
    let affinity = Affinity::current().unwrap_or_else(Affinity::all);
    let plan = RefCell::new(None);
    let ready = bring_up::ready(builder, affinity, |eal, port| {
        let made = QueuePlan::new(eal, port, workers, queues)?;
        let queues = made.queues;
        plan.replace(Some(made));
        Ok(queues)
    })?;
    let Some(plan) = plan.into_inner() else {
        return Err(Error::NoPort);
    };
    let Ready {
        eal,
        port,
        info,
        peers,
        mempools,
        workers,
    } = ready;
    tracing::info!(port = port.name(), "queues:\n{plan}");
    bring_up::announce(&port, &info);
    if rebalance.is_some() && peers.is_none() {
        tracing::warn!(
            port = port.name(),
            "there is one queue: nothing to rebalance"
        );
    }
    let signals = Signals::listen(affinity)?;
    let crew = Crew {
        program,
        signals: &signals,
        shared: Shared::new(port.control(), flow_policy, mempools),
        addressing,
        gate: Gate::default(),
        queues: plan.queues,
        left: watch::Sender::new(plan.queues.into()),
        unfinished: AtomicUsize::new(plan.lcores.len()),
        drain,
        rebalancing: Mutex::new(peers.zip(rebalance)),
    };
    let mut configs: Vec<Option<WorkerConfig>> = workers.into_iter().map(Some).collect();
    let mut shares = Vec::new();
    for (worker, lcore) in plan.lcores.iter().enumerate() {
        let queues = plan.served_by(worker);
        let take = |queue: u16| Some((queue, configs.get_mut(usize::from(queue))?.take()?));
        let share: Vec<(u16, WorkerConfig)> = queues.filter_map(take).collect();
        shares.push((lcore, share));
    }
    let mut outputs: Vec<Option<Fut::Output>> = (0..plan.queues).map(|_| None).collect();
    let results = eal.scope(|scope| {
        let crew = &crew;
        let mut shares = shares.into_iter();
        let own = shares.next();
        let launched: Vec<_> = shares
            .map(|(lcore, share)| scope.launch(lcore, move || serve(crew, share)))
            .collect();
        if launched.iter().any(Result::is_err) {
            crew.gate.fail();
        }
        let mut results = vec![own.map_or(Ok(Vec::new()), |(_, share)| serve(crew, share))];
        for handle in launched {
            results.push(match handle.and_then(|handle| handle.join()) {
                Ok(result) => result,
                Err(error) => Err(error.into()),
            });
        }
        results
    })?;
    // The queues are back: the port stops and closes with its last owner.
    if let Err(refused) = port.stop() {
        tracing::warn!(error = %refused.error, "the port was not stopped");
    }
    for result in results {
        for (queue, output) in result? {
            if let Some(place) = outputs.get_mut(usize::from(queue)) {
                *place = output;
            }
        }
    }
    let all: Option<Vec<_>> = outputs.into_iter().collect();
    all.ok_or_else(|| stopped(&signals))
}

/// What programs returned, by queue; `None` of those that something ended before.
type Outputs<T> = Vec<(u16, Option<T>)>;

/// A worker's life, on its lcore. What its programs returned, by queue.
fn serve<F, Fut>(
    crew: &Crew<'_, F>,
    share: Vec<(u16, WorkerConfig)>,
) -> Result<Outputs<Fut::Output>, Error>
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
{
    let mut guard = EndAll {
        shared: &crew.shared,
        gate: &crew.gate,
        unfinished: &crew.unfinished,
        counted: true,
        armed: true,
    };
    let (queues, configs): (Vec<u16>, Vec<WorkerConfig>) = share.into_iter().unzip();
    let worker = Worker::serving(configs)?;
    let handles: Vec<Handle> = worker.handles().cloned().collect();
    let own = queues.iter().copied().zip(handles.iter().cloned());
    let Some(all) = crew.gate.pass(own.collect(), crew.queues) else {
        // Whoever failed says why.
        guard.armed = false;
        return Ok(Vec::new());
    };
    crew.shared.set_handles(all);
    let first = handles.first().filter(|_| queues.contains(&0));
    let leases = first.map(|first| crew.addressing.start(&worker, first, &crew.shared));
    let leases = leases.transpose()?;
    for handle in &handles {
        worker.block_on(settle(handle, crew.signals))?;
        if let Err(error) = worker.block_on(crew.addressing.wait(handle, crew.signals)) {
            if let Some(leases) = leases {
                worker.block_on(leases.end());
            }
            return Err(error);
        }
    }
    let rebalancing = crew.rebalancing.lock().take_if(|_| queues.contains(&0));
    if let Some((peers, interval)) = rebalancing {
        let control = crew.shared.port().clone();
        let rebalancer = Rebalancer::new(peers, crew.shared.handles().to_vec(), control);
        let (shared, heard) = (crew.shared.clone(), crew.signals.watch());
        worker.spawn_local(rebalance(rebalancer, interval, shared, heard));
    }
    for handle in &handles {
        worker.spawn_local(watch_over(handle.clone(), crew.shared.clone()));
    }
    let mut programs = Vec::new();
    for (queue, handle) in queues.iter().zip(&handles) {
        let context = Context::new(handle.clone(), *queue, crew.shared.clone());
        programs.push(Box::pin(handle.scope(conduct(crew, context))));
    }
    let ended = worker.block_on(all_of(programs));
    if let Some(leases) = leases {
        worker.block_on(leases.end());
    }
    guard.armed = false;
    let until = ended.iter().filter_map(|ended| ended.deadline).min();
    let heard = ended.iter().map(|ended| ended.heard).max().unwrap_or(0);
    let until = until.unwrap_or_else(|| deadline(crew.drain));
    take_down(worker, crew.signals, until, heard, |own| {
        if own {
            guard.finished();
        }
        crew.unfinished.load(Ordering::Relaxed) == 0
    });
    let outputs = ended.into_iter().map(|ended| ended.output);
    Ok(queues.into_iter().zip(outputs).collect())
}

/// Rebalances until the application is to end.
async fn rebalance(
    mut rebalancer: Rebalancer<PortControl>,
    interval: Duration,
    shared: Arc<Shared>,
    mut heard: watch::Receiver<Heard>,
) {
    let mut failed = 0;
    loop {
        match rebalancer.step() {
            Ok(_) => failed = 0,
            Err(error @ Error::CannotRebalance(_)) => {
                tracing::warn!(%error, "the load of queues stays as RSS spreads it");
                return;
            }
            Err(error) if failed < RETRIES => {
                failed += 1;
                tracing::info!(%error, "the redirection table could not be changed; trying again");
            }
            Err(error) => {
                tracing::warn!(%error, "the redirection table can't be changed: the load of queues stays as it is");
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = shared.requested() => return,
            _ = heard.wait_for(|heard| heard.count > 0) => return,
        }
    }
}

/// Times in a row that a driver may refuse to change its redirection table.
const RETRIES: u32 = 5;

/// A worker whose loop has died, by a panic in a waker, serves nobody any more: better all end, and are started again.
async fn watch_over(handle: Handle, shared: Arc<Shared>) {
    while !handle.with(|state| state.ended) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tracing::error!("a worker's loop has died: the application ends");
    shared.request_shutdown();
}

/// Runs one queue's program, and goes on until all others have returned too, or all are to end.
async fn conduct<F, Fut>(crew: &Crew<'_, F>, context: Context) -> Ended<Fut::Output>
where
    F: Fn(Context) -> Fut + Sync,
    Fut: Future,
{
    let mut ended = supervise(crew.program, &context, crew.signals, crew.drain).await;
    crew.left.send_modify(|left| *left = left.saturating_sub(1));
    if ended.deadline.is_some() {
        return ended;
    }
    let mut left = crew.left.subscribe();
    if *left.borrow() > 0 {
        tracing::info!(
            queue = context.queue(),
            "this queue's program has returned; its worker goes on for the others"
        );
    }
    tokio::select! {
        // The sender is there as long as the crew.
        _ = left.wait_for(|left| *left == 0) => return ended,
        () = context.requested() => {}
        _ = crew.signals.more_than(0) => {}
    }
    // Those that are left have as long as everybody else's.
    ended.deadline = Some(deadline(crew.drain));
    ended.heard = crew.signals.heard().count.min(1);
    ended
}

/// What all of these futures return, in their order.
async fn all_of<Fut: Future>(mut futures: Vec<Pin<Box<Fut>>>) -> Vec<Fut::Output> {
    let mut outputs: Vec<Option<Fut::Output>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut ready = true;
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => ready = false,
                }
            }
        }
        if ready {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    outputs.into_iter().flatten().collect()
}
