//! An application's life on several lcores: who serves which queue, and how all of them begin and end together.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use dpdk_net_rte::port::{PortInfo, Unconfigured};
use dpdk_net_rte::{Eal, Port, PortControl};
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::addressing::{Addressing, Leases, Running};
use super::bring_up;
use super::context::{Common, Shared};
use super::control::{Beside, Control};
use super::listeners::{self, ListenerConfig, Listeners};
use super::program::{Outcomes, Place, Programs};
use super::queue_plan::{QueuePlan, Wanted};
use super::run::{Ended, deadline, settle, stopped, supervise, take_down};
use super::signals::{Heard, Signals};
use super::{AppBuilder, Context, PortBuilder};
use crate::affinity::Affinity;
use crate::error::Error;
use crate::handle::Handle;
use crate::peers::{PeersControl, Rebalancer};
use crate::runtime::Runtime;
use crate::time;
use crate::worker::{Worker, WorkerConfig};

/// Where the workers wait for each other before their programs start.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    /// By port and queue.
    handles: Vec<(Place, Handle)>,
    failed: bool,
}

impl Gate {
    fn fail(&self) {
        self.state.lock().failed = true;
        self.changed.notify_all();
    }

    /// Brings the handles of one's queues and waits until those of all are there. `None` if somebody failed.
    fn pass(&self, own: Vec<(Place, Handle)>, queues: usize) -> Option<Vec<(Place, Handle)>> {
        let mut state = self.state.lock();
        state.handles.extend(own);
        self.changed.notify_all();
        while !state.failed && state.handles.len() < queues {
            self.changed.wait(&mut state);
        }
        if state.failed {
            return None;
        }
        let mut all = state.handles.clone();
        all.sort_by_key(|(place, _)| *place);
        Some(all)
    }
}

/// What all workers share while they run.
struct Crew<'a, 'p> {
    program: &'a Programs<'p>,
    signals: &'a Signals,
    common: Arc<Common>,
    /// Of each port.
    ports: Vec<CrewPort>,
    gate: Gate,
    /// Of all ports.
    queues: usize,
    /// Programs that have not returned yet.
    left: watch::Sender<usize>,
    /// Workers whose connections have not finished yet. Until all have, each goes on: what the others need may come to its queue.
    unfinished: AtomicUsize,
    drain: Duration,
    listeners: Vec<ListenerConfig>,
    /// Taken by the first worker, which starts what is beside the workers.
    beside: Mutex<Option<Beside>>,
    /// Workers whose addresses can be used and whose sockets listen.
    ready: watch::Sender<usize>,
    workers: usize,
    /// Whether programs may start: none until that was done, and then whether it went well.
    may_start: watch::Sender<Option<bool>>,
}

/// What the workers of one port share.
struct CrewPort {
    shared: Arc<Shared>,
    addressing: Addressing,
    /// Who looks at the queues' loads, and how often: the first queue's worker takes it.
    rebalancing: Mutex<Option<(PeersControl, Duration)>>,
}

/// Ends all if its worker ends by a panic or an error, so that nobody waits for it.
struct EndAll<'a> {
    common: &'a Common,
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
            self.common.request_shutdown();
        }
    }
}

/// What the programs returned, by queue: those that something ended before have the error that says so. Where that is all of them, it
/// is the application's.
fn outcome<T>(outputs: Vec<Option<T>>, stopped: impl Fn() -> Error) -> Result<Outcomes<T>, Error> {
    if outputs.iter().all(Option::is_none) {
        return Err(stopped());
    }
    let outputs = outputs.into_iter();
    Ok(outputs.map(|it| it.ok_or_else(&stopped)).collect())
}

/// Opens the ports and plans who serves what.
fn open(
    eal: &Eal,
    builders: &[PortBuilder],
    workers: Option<u16>,
) -> Result<(Vec<Opened>, QueuePlan), Error> {
    let opened = builders.iter().map(|builder| bring_up::open(eal, builder));
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    let wanted = builders.iter().zip(&opened);
    let wanted = wanted.map(|(builder, (_, info))| Wanted {
        info,
        name: builder.alias.clone().unwrap_or_else(|| info.name.clone()),
        queues: builder.queues,
    });
    let plan = QueuePlan::new(eal, &wanted.collect::<Vec<_>>(), workers)?;
    Ok((opened, plan))
}

/// A port that is not started yet.
type Opened = (Port<Unconfigured>, PortInfo);

/// Starts EAL and the ports with everything that is wished of them, and ends at once. Who would serve what, and what the ports do.
#[cfg(feature = "config")]
pub(super) fn probe(builder: AppBuilder) -> Result<String, Error> {
    let affinity = Affinity::current().unwrap_or_else(Affinity::all);
    let builders: Vec<PortBuilder> = std::iter::once(builder.first)
        .chain(builder.others)
        .map(|port| port.link_timeout(Duration::ZERO))
        .collect();
    builders.iter().try_for_each(bring_up::check)?;
    let eal = bring_up::start_eal(builder.eal)?;
    let (opened, plan) = open(&eal, &builders, builder.workers)?;
    let together = bring_up::Foundation {
        eal: &eal,
        affinity,
        idle: builder.idle,
        peers: &builder.peers,
    };
    let mut text = plan.to_string();
    for ((builder, (port, info)), planned) in builders.into_iter().zip(opened).zip(&plan.ports) {
        let ready = bring_up::ready(&together, builder, port, info, planned.queues)?;
        text.push_str(&format!("{} ({})\n", ready.name, ready.info.driver));
        let offloads = ready.port.offloads().to_string();
        text.extend(offloads.lines().map(|line| format!("  {line}\n")));
        if planned.queues > 1 {
            let rss = ready.port.rss().to_string();
            text.extend(rss.lines().map(|line| format!("  RSS: {line}\n")));
        }
        // The queues go before their port.
        drop((ready.workers, ready.flows));
    }
    Ok(text)
}

/// Runs a program on each queue, and tells by port and queue which of them returned.
pub(super) fn run<R: Runtime>(
    builder: AppBuilder,
    program: &Programs<'_>,
) -> Result<Outcomes<Place>, Error> {
    let drain = builder.drain_timeout;
    // Before EAL pins this thread.
    let affinity = Affinity::current().unwrap_or_else(Affinity::all);
    let builders: Vec<PortBuilder> = std::iter::once(builder.first)
        .chain(builder.others)
        .collect();
    builders.iter().try_for_each(bring_up::check)?;
    listeners::check(&builder.listeners, None)?;
    let beside = Beside {
        subsystems: builder.subsystems,
        #[cfg(feature = "config")]
        file: builder.file,
        affinity,
    };
    let reads_again = beside.reads_again();
    #[cfg(feature = "config")]
    if reads_again {
        Signals::hold_hangup()?;
    }
    let eal = bring_up::start_eal(builder.eal)?;
    let (opened, plan) = open(&eal, &builders, builder.workers)?;
    listeners::check(&builder.listeners, Some(&plan.names()))?;
    let together = bring_up::Foundation {
        eal: &eal,
        affinity,
        idle: builder.idle,
        peers: &builder.peers,
    };
    let common = Common::new(builder.flow_policy, plan.queues(), builder.collectors);
    let _telling = common.telling();
    let mut running = Vec::new();
    let mut crew_ports = Vec::new();
    let mut configs: Vec<Vec<Option<WorkerConfig>>> = Vec::new();
    for ((builder, (port, info)), planned) in builders.into_iter().zip(opened).zip(&plan.ports) {
        let rebalance = builder.rebalance;
        let addressing = builder.addressing.clone();
        let ready = bring_up::ready(&together, builder, port, info, planned.queues)?;
        if rebalance.is_some() && ready.peers.is_none() {
            tracing::warn!(
                port = ready.name,
                "there is one queue: nothing to rebalance"
            );
        }
        crew_ports.push(CrewPort {
            shared: Shared::new(
                common.clone(),
                ready.name,
                ready.port.control(),
                ready.mempools,
                ready.peers.clone(),
            ),
            addressing,
            rebalancing: Mutex::new(ready.peers.zip(rebalance)),
        });
        configs.push(ready.workers.into_iter().map(Some).collect());
        bring_up::announce(&ready.port, &ready.info);
        running.push((ready.port, ready.flows));
    }
    tracing::info!("queues:\n{plan}");
    let signals = Signals::listen(affinity, reads_again)?;
    let crew = Crew {
        program,
        signals: &signals,
        common,
        ports: crew_ports,
        gate: Gate::default(),
        queues: plan.queues(),
        left: watch::Sender::new(plan.queues()),
        unfinished: AtomicUsize::new(plan.lcores.len()),
        drain,
        listeners: builder.listeners,
        beside: Mutex::new(Some(beside)),
        ready: watch::Sender::new(0),
        workers: plan.lcores.len(),
        may_start: watch::Sender::new(None),
    };
    let mut take = |(port, queue): Place| {
        let config = configs.get_mut(port)?.get_mut(usize::from(queue))?.take()?;
        Some(((port, queue), config))
    };
    let mut shares = Vec::new();
    for (worker, lcore) in plan.lcores.iter().enumerate() {
        let share: Vec<(Place, WorkerConfig)> =
            plan.served_by(worker).filter_map(&mut take).collect();
        shares.push((lcore, share));
    }
    let results = eal.scope(|scope| {
        let crew = &crew;
        let mut shares = shares.into_iter();
        let own = shares.next();
        let launched: Vec<_> = shares
            .map(|(lcore, share)| scope.launch(lcore, move || serve::<R>(crew, share)))
            .collect();
        if launched.iter().any(Result::is_err) {
            crew.gate.fail();
        }
        let mut results = vec![own.map_or(Ok(Vec::new()), |(_, share)| serve::<R>(crew, share))];
        for handle in launched {
            results.push(match handle.and_then(|handle| handle.join()) {
                Ok(result) => result,
                Err(error) => Err(error.into()),
            });
        }
        results
    })?;
    // The queues are back: each port stops and closes with its last owner.
    for (port, flows) in running {
        drop(flows);
        if let Err(refused) = port.stop() {
            tracing::warn!(error = %refused.error, "the port was not stopped");
        }
    }
    let mut outputs = Vec::new();
    for result in results {
        outputs.extend(result?);
    }
    outputs.sort_by_key(|(place, _)| *place);
    let outputs = outputs.into_iter().map(|(_, output)| output).collect();
    outcome(outputs, || stopped(&signals))
}

/// Queues, and of those whose program returned their place; `None` of those that something ended before.
type Outputs = Vec<(Place, Option<Place>)>;

/// A worker's life, on its lcore.
fn serve<R: Runtime>(
    crew: &Crew<'_, '_>,
    share: Vec<(Place, WorkerConfig)>,
) -> Result<Outputs, Error> {
    let mut guard = EndAll {
        common: &crew.common,
        gate: &crew.gate,
        unfinished: &crew.unfinished,
        counted: true,
        armed: true,
    };
    let (places, configs): (Vec<Place>, Vec<WorkerConfig>) = share.into_iter().unzip();
    let worker = Worker::<R>::on(configs)?;
    let handles: Vec<Handle> = worker.handles().cloned().collect();
    let own = places.iter().copied().zip(handles.iter().cloned());
    let Some(all) = crew.gate.pass(own.collect(), crew.queues) else {
        // Whoever failed says why.
        guard.armed = false;
        return Ok(places.into_iter().map(|place| (place, None)).collect());
    };
    for (place, port) in crew.ports.iter().enumerate() {
        let own = all.iter().filter(|((port, _), _)| *port == place);
        port.shared
            .set_handles(own.map(|(_, handle)| handle.clone()).collect());
    }
    let mut running = Vec::new();
    for (&(place, queue), handle) in places.iter().zip(&handles) {
        let port = crew.ports.get(place).filter(|_| queue == 0);
        if let Some(port) = port {
            running.push(port.addressing.start(&worker, handle, &port.shared)?);
        }
    }
    let prepared = worker.block_on(async {
        crew.settle(&places, &handles).await?;
        let listening = crew.listen(&places, &handles).await?;
        Ok((listening, crew.start_beside(&all).await?))
    });
    let (listening, control) = match prepared {
        Ok((listening, Some(control))) => (listening, control),
        other => {
            worker.block_on(stop(running)).give_back();
            // Where it failed elsewhere, whoever did says why.
            return other.map(|_| {
                guard.armed = false;
                places.into_iter().map(|place| (place, None)).collect()
            });
        }
    };
    let mut programs = Vec::new();
    for ((&(place, queue), handle), listeners) in places.iter().zip(&handles).zip(listening) {
        let Some(port) = crew.ports.get(place) else {
            continue;
        };
        let rebalancing = port.rebalancing.lock().take_if(|_| queue == 0);
        if let Some((peers, interval)) = rebalancing {
            let control = port.shared.port().clone();
            let rebalancer = Rebalancer::new(peers, port.shared.handles().to_vec(), control);
            let (common, heard) = (crew.common.clone(), crew.signals.watch());
            worker.spawn_local(rebalance(rebalancer, interval, common, heard));
        }
        worker.spawn_local(watch_over(handle.clone(), crew.common.clone()));
        let context = Context::new(handle.clone(), queue, port.shared.clone(), listeners);
        let place = (place, queue);
        programs.push(Box::pin(handle.scope(conduct(crew, context, place))));
    }
    let ended = worker.block_on(all_of(programs));
    let leases = worker.block_on(stop(running));
    guard.armed = false;
    let until = ended.iter().filter_map(|ended| ended.deadline).min();
    let heard = ended.iter().map(|ended| ended.heard).max().unwrap_or(0);
    let until = until.unwrap_or_else(|| deadline(crew.drain));
    take_down(worker, leases, crew.signals, until, heard, |own| {
        if own {
            guard.finished();
        }
        crew.unfinished.load(Ordering::Relaxed) == 0
    });
    drop(control);
    let ended = places.into_iter().zip(ended);
    let outputs = ended.map(|(place, ended)| (place, ended.returned.then_some(place)));
    Ok(outputs.collect())
}

/// Ends the tasks of the DHCP clients of several ports.
async fn stop(all: Vec<Running>) -> Leases {
    let mut leases = Leases::default();
    for running in all {
        leases.append(running.stop().await);
    }
    leases
}

impl Crew<'_, '_> {
    /// Waits until these queues' addresses may be used, and those are there that are asked for.
    async fn settle(&self, places: &[Place], handles: &[Handle]) -> Result<(), Error> {
        for ((port, _), handle) in places.iter().zip(handles) {
            settle(handle, self.signals).await?;
            if let Some(port) = self.ports.get(*port) {
                port.addressing.wait(handle, self.signals).await?;
            }
        }
        Ok(())
    }

    /// Binds what is to listen on these queues.
    async fn listen(&self, places: &[Place], handles: &[Handle]) -> Result<Vec<Listeners>, Error> {
        let mut all = Vec::new();
        for (&(port, queue), handle) in places.iter().zip(handles) {
            let name = self.ports.get(port).map_or("", |port| port.shared.name());
            let bind = Listeners::bind(&self.listeners, name, queue);
            all.push(handle.scope(bind).await?);
        }
        Ok(all)
    }

    /// Starts what is beside the workers once all of them are ready, on the first one that is, which gets it; the others wait until that is
    /// done. `None` if it failed elsewhere, or the application is to end.
    async fn start_beside(
        &self,
        all: &[(Place, Handle)],
    ) -> Result<Option<Option<Control>>, Error> {
        self.ready.send_modify(|ready| *ready += 1);
        let beside = self.beside.lock().take();
        let Some(beside) = beside else {
            let mut may_start = self.may_start.subscribe();
            let may = tokio::select! {
                // The first program to start may end the application before this worker has looked.
                biased;
                may = may_start.wait_for(Option::is_some) => matches!(may.as_deref(), Ok(Some(true))),
                () = self.common.requested() => false,
                _ = self.signals.more_than(0) => false,
            };
            return Ok(may.then_some(None));
        };
        let mut ready = self.ready.subscribe();
        tokio::select! {
            _ = ready.wait_for(|ready| *ready == self.workers) => {}
            () = self.common.requested() => return Ok(None),
            _ = self.signals.more_than(0) => return Ok(None),
        }
        let contexts = all.iter().filter_map(|((port, queue), handle)| {
            let shared = self.ports.get(*port)?.shared.clone();
            Some(Context::new(
                handle.clone(),
                *queue,
                shared,
                Listeners::default(),
            ))
        });
        let started = beside.start(contexts.collect(), self.signals).await;
        self.may_start.send_replace(Some(started.is_ok()));
        started.map(Some)
    }
}

/// Rebalances until the application is to end.
async fn rebalance(
    mut rebalancer: Rebalancer<PortControl>,
    interval: Duration,
    common: Arc<Common>,
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
            () = time::sleep(interval) => {}
            () = common.requested() => return,
            _ = heard.wait_for(|heard| heard.count > 0) => return,
        }
    }
}

/// Times in a row that a driver may refuse to change its redirection table.
const RETRIES: u32 = 5;

/// A worker whose loop has died, by a panic in a waker, serves nobody any more: better all end, and are started again.
async fn watch_over(handle: Handle, common: Arc<Common>) {
    while !handle.with(|state| state.ended) {
        time::sleep(Duration::from_millis(100)).await;
    }
    tracing::error!("a worker's loop has died: the application ends");
    common.request_shutdown();
}

/// Runs one queue's program, and goes on until all others have returned too, or all are to end.
async fn conduct(crew: &Crew<'_, '_>, context: Context, place: Place) -> Ended {
    let program = (crew.program)(context.clone(), place);
    let mut ended = supervise(program, &context, crew.signals, crew.drain).await;
    crew.left.send_modify(|left| *left = left.saturating_sub(1));
    if ended.deadline.is_some() {
        return ended;
    }
    let mut left = crew.left.subscribe();
    if *left.borrow() > 0 {
        tracing::info!(
            port = context.port_name(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_some_have_returned_is_not_lost_where_others_were_stopped() {
        let stopped = || Error::Stopped { signal: "SIGTERM" };
        let some = outcome(vec![Some(1), None], stopped).unwrap();
        assert!(matches!(
            some[..],
            [Ok(1), Err(Error::Stopped { signal: "SIGTERM" })]
        ));
        let none = outcome::<u8>(vec![None, None], stopped);
        assert!(matches!(none, Err(Error::Stopped { .. })));
    }
}
