//! Tasks that another thread has spawned on a worker, and on a current-thread runtime of tokio's.

use std::sync::mpsc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::host::{config, queues};
use dpdk_net_rte::{Mempool, ring};
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::sockets::eal;

/// Runs a task on a current-thread runtime of another thread, which tells how long each of so many took.
fn elsewhere<F>(
    amount: usize,
    task: F,
) -> (mpsc::Receiver<anyhow::Result<f64>>, oneshot::Receiver<()>)
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let (tell, told) = mpsc::channel();
    let (end, ended) = oneshot::channel();
    std::thread::spawn(move || {
        let timed = || -> anyhow::Result<f64> {
            let runtime = Builder::new_current_thread().build()?;
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

/// ns a task that is spawned and joined, `batch` at a time: `ours`, or tokio's with a runtime that is `idle` or `busy`.
pub(crate) fn run(kind: &str, batch: usize, amount: usize) -> anyhow::Result<f64> {
    if kind == "ours" {
        let eal = eal()?;
        let ports = ring::joined_ports(&eal, ["server", "client"], 1, 1024)?;
        let pool = Mempool::builder(&eal, "server").capacity(8191).build()?;
        let queues = queues(&eal, ports.ids()[0], &pool)?;
        let worker = Worker::new(WorkerConfig::new(&eal, queues, pool, config(2)))?;
        let handle = worker.handle().clone();
        let (told, ended) = elsewhere(amount, async move {
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
    let runtime = Builder::new_current_thread().enable_all().build()?;
    if kind == "busy" {
        // As a worker does: it polls, and lets what was woken run in between.
        drop(runtime.spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        }));
    }
    let handle = runtime.handle().clone();
    let (told, ended) = elsewhere(amount, async move {
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
