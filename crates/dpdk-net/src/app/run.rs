//! An application's life: run, drain, take down.

use std::net::IpAddr;
use std::pin::pin;
use std::time::{Duration, Instant};

use dpdk_net_stack::AddressState;

use super::addressing::{self, Leases};
use super::bring_up::{self, Up};
use super::context::{Common, Shared};
use super::control::Beside;
use super::listeners::{self, Listeners};
use super::program::{Program, Running};
use super::signals::Signals;
use super::{AppBuilder, Context};
use crate::affinity::Affinity;
use crate::error::Error;
use crate::handle::Handle;
use crate::runtime::Runtime;
use crate::time;
use crate::worker::Worker;

/// How often a drain looks whether the last connection is gone.
const LOOK: Duration = Duration::from_millis(2);

/// How long duplicate address detection may take; as a rule it takes a second.
const SETTLE: Duration = Duration::from_secs(5);

/// How long connections that were on their way when a signal came have to arrive and be accepted: a round trip
/// across a continent. A flood of SYNs keeps nobody from ending for longer.
const ARRIVE: Duration = Duration::from_millis(250);

/// How long a DHCP server may take to say where it is, for the message that gives a lease back to be sent.
const FAREWELL: Duration = Duration::from_millis(500);

/// A timeout that is longer stands for "for ever": there is an end to what the clock can tell.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// How the run ended.
pub(super) struct Ended {
    /// Whether the program returned.
    pub(super) returned: bool,
    /// When connections must be gone; `None` if nothing has drawn it yet.
    pub(super) deadline: Option<Instant>,
    /// Signals that began the end; one more ends it at once.
    pub(super) heard: u32,
}

/// When `timeout` will have passed.
pub(super) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(FOR_EVER)
}

pub(super) fn run<R: Runtime>(mut builder: AppBuilder, program: Program<'_>) -> Result<(), Error> {
    let drain = builder.drain_timeout;
    let flow_policy = builder.flow_policy;
    let addressing = builder.first.addressing.clone();
    // Before EAL pins this thread.
    let affinity = Affinity::current().unwrap_or_else(Affinity::all);
    let listeners = std::mem::take(&mut builder.listeners);
    let collectors = std::mem::take(&mut builder.collectors);
    let beside = Beside {
        subsystems: std::mem::take(&mut builder.subsystems),
        #[cfg(feature = "config")]
        file: builder.file.take(),
        affinity,
    };
    #[cfg(feature = "config")]
    if beside.reads_again() {
        Signals::hold_hangup()?;
    }
    listeners::check(&listeners, None)?;
    let Up {
        worker,
        mempools,
        port,
        name,
        flows,
    } = bring_up::bring_up::<R>(builder, affinity)?;
    let signals = Signals::listen(affinity, beside.reads_again())?;
    let common = Common::new(flow_policy, 1, collectors);
    let _telling = common.telling();
    let shared = Shared::new(common, name, port.control(), mempools, None);
    shared.set_handles(vec![worker.handle().clone()]);
    let running = addressing.start(&worker, worker.handle(), &shared)?;
    let context = |listeners| Context::new(worker.handle().clone(), 0, shared.clone(), listeners);
    let prepared = worker.block_on(async {
        settle(worker.handle(), &signals).await?;
        addressing.wait(worker.handle(), &signals).await?;
        let listening = Listeners::bind(&listeners, shared.name(), 0);
        let listening = worker.handle().scope(listening).await?;
        let control = beside.start(vec![context(Listeners::default())], &signals);
        Ok::<_, Error>((listening, control.await?))
    });
    let (listening, control) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            worker.block_on(running.stop()).give_back();
            return Err(error);
        }
    };
    let context = context(listening);

    let ended = worker.block_on(async {
        let program = program(context.clone());
        supervise(program, &context, &signals, drain).await
    });
    let leases = worker.block_on(running.stop());
    let until = ended.deadline.unwrap_or_else(|| deadline(drain));
    take_down(worker, leases, &signals, until, ended.heard, |own| own);
    drop(control);
    drop(flows);
    // The queues are back: the port stops and closes with its last owner.
    if let Err(refused) = port.stop() {
        tracing::warn!(error = %refused.error, "the port was not stopped");
    }
    if ended.returned {
        Ok(())
    } else {
        Err(stopped(&signals))
    }
}

/// What ended the application before its program returned.
pub(super) fn stopped(signals: &Signals) -> Error {
    Error::Stopped {
        signal: match signals.heard() {
            heard if heard.count > 0 => heard.first,
            _ => "request_shutdown",
        },
    }
}

/// Waits until the addresses may be used: the program would fail to bind to one that is still probed.
pub(super) async fn settle(handle: &Handle, signals: &Signals) -> Result<(), Error> {
    let end = Instant::now() + SETTLE;
    while !handle.with(|state| state.stack.is_settled()) && signals.heard().count == 0 {
        if Instant::now() >= end {
            tracing::warn!("addresses are still being probed; starting all the same");
            break;
        }
        time::sleep(LOOK).await;
    }
    let given = handle.with(|state| state.stack.interface_addresses());
    for info in given.iter().filter(|info| addressing::was_given(info)) {
        if info.state != AddressState::Duplicate {
            continue;
        }
        let address = info.address.addr;
        // The stack made this one itself, and the others work without it.
        if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) {
            tracing::warn!(%address, "the link-local address is in use by another host: going without");
        } else {
            return Err(Error::AddressTaken { address });
        }
    }
    Ok(())
}

/// Runs the program until it returns, or until a signal and the drain that follows.
pub(super) async fn supervise(
    mut program: Running<'_>,
    context: &Context,
    signals: &Signals,
    drain: Duration,
) -> Ended {
    // A signal, not all that were heard: the worker may have been kept from looking since the first.
    let heard = tokio::select! {
        biased;
        () = &mut program => {
            context.common().arrived();
            return Ended { returned: true, deadline: None, heard: 0 };
        }
        heard = signals.more_than(0) => {
            tracing::info!(signal = heard.first, "shutting down; a second signal ends at once");
            1
        }
        () = context.requested() => {
            tracing::info!("shutting down on request");
            0
        }
    };
    let handle = context.handle();
    handle.refuse_new(true);
    let deadline = deadline(drain);
    let mut late = pin!(time::sleep_until(deadline));
    let mut again = pin!(signals.more_than(heard));
    let mut arrived = pin!(time::timeout(ARRIVE.min(drain), arrivals(context)));
    let mut returned = false;
    // Told later than the stack, which refuses from now on: who was not refused is served.
    let mut told = context.is_shutting_down();
    loop {
        let may_end = returned || (told && !context.shutdown_observed());
        tokio::select! {
            () = &mut program, if !returned => returned = true,
            _ = &mut arrived, if !told => {
                told = true;
                context.request_shutdown();
            }
            () = no_connections(handle), if may_end => break,
            () = &mut late => break,
            _ = &mut again => {
                return Ended { returned, deadline: Some(Instant::now()), heard };
            }
        }
    }
    Ended {
        returned,
        deadline: Some(deadline),
        heard,
    }
}

/// Waits until no handshake is under way and no connection waits to be accepted, on any queue: who is told to end stops listening,
/// and all are told at once.
async fn arrivals(context: &Context) {
    let handle = context.handle();
    while handle.with(|state| state.stack.tcp_half_open() + state.stack.tcp_unaccepted()) > 0 {
        time::sleep(LOOK).await;
    }
    context.common().arrived();
    context.common().all_arrived().await;
}

/// Waits until no connection is left but those in TIME-WAIT.
async fn no_connections(handle: &Handle) {
    while handle.connection_count() > 0 {
        time::sleep(LOOK).await;
    }
}

/// Ends a worker, once `finished` says so of whether its own connections have, or at the deadline, or with one more signal. Then
/// nothing is sent from leased addresses any more, and they are given back.
pub(super) fn take_down<R: Runtime>(
    worker: Worker<R>,
    mut leases: Leases,
    signals: &Signals,
    deadline: Instant,
    heard: u32,
    mut finished: impl FnMut(bool) -> bool,
) {
    let grace = deadline.saturating_duration_since(Instant::now());
    let remains = worker.drain_until(grace, |own| {
        leases.keep();
        finished(own) || signals.heard().count > heard
    });
    if leases.give_back() {
        remains.wait_for_neighbors(FAREWELL);
    }
    let drained = remains.end();
    if drained.reset > 0 {
        tracing::warn!(
            connections = drained.reset,
            "connections did not finish in time and were reset"
        );
    }
    if !drained.flushed {
        tracing::warn!("the TX ring stood still: the last frames were not sent");
    }
}
