//! Tasks that another thread has spawned on a worker, and on a current-thread runtime of tokio's.

use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::cpu;
use dpdk_net_bench::host::{config, eal, joined};
use rustix::thread::CpuSet;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::keep_awake;

/// Runs a task on a current-thread runtime of another thread, on these CPUs, which tells how long each of so many took. The runtime sleeps
/// while there is nothing to do, or polls, as a worker does.
fn elsewhere<F>(
    (cpus, polls): (CpuSet, bool),
    amount: usize,
    task: F,
) -> (mpsc::Receiver<anyhow::Result<f64>>, oneshot::Receiver<()>)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        cpu::move_to(&cpus);
        let timed = || -> anyhow::Result<f64> {
            let runtime = Builder::new_current_thread().build()?;
            if polls {
                keep_awake(&runtime);
            }
            let start = Instant::now();
            runtime.block_on(runtime.spawn(task))??;
            Ok(start.elapsed().as_nanos() as f64 / amount as f64)
        };
        let figure = timed();
        // Whoever asked may have failed.
        let _ = tell.send(figure);
        let _ = end.send(());
    });
    (told, ended)
}

/// ns a task that is spawned and joined, `batch` at a time: `ours`, or tokio's with a runtime that is `idle` or `busy`; with `-polling` the
/// one who spawns does not sleep either.
pub(crate) fn run(kind: &str, batch: usize, amount: usize) -> anyhow::Result<f64> {
    let (kind, polls) = match kind.split_once('-') {
        Some((kind, "polling")) => (kind, true),
        _ => (kind, false),
    };
    let [first, others] = cpu::first_and_others()?;
    let there = (others, polls);
    if kind == "ours" {
        let eal = eal("threads")?;
        let [(queues, pool), _other_end] = joined(&eal)?;
        let worker = Worker::new(WorkerConfig::new(&eal, queues, pool, config(2)))?;
        let handle = worker.handle().clone();
        let (told, ended) = elsewhere(there, amount, async move {
            let mut joins = Vec::with_capacity(batch);
            for _ in 0..amount / batch {
                for _ in 0..batch {
                    joins.push(handle.spawn_on(|| async {})?);
                }
                for join in joins.drain(..) {
                    join.await?;
                }
            }
            Ok(())
        });
        worker.block_on(ended)?;
        return told.recv().context("the other thread")?;
    }
    // Where EAL pins a worker.
    cpu::move_to(&first);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if kind == "busy" {
        keep_awake(&runtime);
    }
    let handle = runtime.handle().clone();
    let (told, ended) = elsewhere(there, amount, async move {
        let mut joins = Vec::with_capacity(batch);
        for _ in 0..amount / batch {
            joins.extend((0..batch).map(|_| handle.spawn(async {})));
            for join in joins.drain(..) {
                join.await?;
            }
        }
        Ok(())
    });
    runtime.block_on(ended)?;
    told.recv().context("the other thread")?
}
