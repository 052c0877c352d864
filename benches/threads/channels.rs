//! Messages through a channel, ours and tokio's, on one current-thread runtime or from the one of another thread.

use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use crate::keep_awake;

/// How many messages a channel holds.
const CAPACITY: usize = 256;

fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().build()?)
}

/// Where both ends are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// On one thread.
    Within,
    /// On two, whose runtimes sleep while there is nothing to do.
    Across,
    /// On two, whose runtimes poll, as workers do.
    Polling,
}

/// Runs both ends as spawned tasks, and returns ns a message.
fn timed<S, R>(place: Place, amount: usize, sending: S, receiving: R) -> anyhow::Result<f64>
where
    S: Future<Output = ()> + Send + 'static,
    R: Future<Output = usize> + Send + 'static,
{
    let here = runtime()?;
    let polling = place == Place::Polling;
    if polling {
        keep_awake(&here);
    }
    let start = Instant::now();
    let sender = if place != Place::Within {
        Some(std::thread::spawn(move || -> anyhow::Result<()> {
            let there = runtime()?;
            if polling {
                keep_awake(&there);
            }
            Ok(there.block_on(there.spawn(sending))?)
        }))
    } else {
        drop(here.spawn(sending));
        None
    };
    let received = here.block_on(here.spawn(receiving))?;
    let elapsed = start.elapsed();
    if let Some(sender) = sender {
        let joined = sender.join();
        joined.map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    }
    anyhow::ensure!(received == amount, "{received} messages of {amount} came");
    Ok(elapsed.as_nanos() as f64 / amount as f64)
}

/// Receives all there is, one by one or a batch at a time, and tells how much that was.
macro_rules! receive {
    ($receiver:ident, $batch:ident) => {
        async move {
            let (mut count, mut values) = (0, Vec::with_capacity($batch));
            if $batch == 1 {
                while $receiver.recv().await.is_some() {
                    count += 1;
                }
                return count;
            }
            loop {
                match $receiver.recv_many(&mut values, $batch).await {
                    0 => return count,
                    more => count += more,
                }
                values.clear();
            }
        }
    };
}

/// `KIND-PLACE`: `ours` or `tokio`, `within`, `across` or `polling`.
pub(crate) fn run(kind: &str, batch: usize, amount: usize) -> anyhow::Result<f64> {
    let place = match kind.split_once('-') {
        Some((_, "within")) => Place::Within,
        Some((_, "across")) => Place::Across,
        Some((_, "polling")) => Place::Polling,
        _ => anyhow::bail!("there is no channel {kind:?}"),
    };
    let amount = amount / batch * batch;
    if kind.starts_with("ours") {
        let (sender, mut receiver) = dpdk_net::channel::bounded::<u64>(CAPACITY);
        let sending = async move {
            let mut values = Vec::with_capacity(batch);
            for n in 0..amount / batch {
                if batch == 1 {
                    if sender.send(n as u64).await.is_err() {
                        return;
                    }
                    continue;
                }
                values.extend((0..batch).map(|it| (n * batch + it) as u64));
                if sender.send_all(&mut values).await.is_err() {
                    return;
                }
            }
        };
        let receiving = receive!(receiver, batch);
        return timed(place, amount, sending, receiving);
    }
    let (sender, mut receiver) = mpsc::channel::<u64>(CAPACITY);
    let sending = async move {
        for n in 0..amount / batch {
            if batch == 1 {
                if sender.send(n as u64).await.is_err() {
                    return;
                }
                continue;
            }
            // As tokio has a batch sent: its permits are taken at once.
            let Ok(permits) = sender.reserve_many(batch).await else {
                return;
            };
            for (it, permit) in permits.enumerate() {
                permit.send((n * batch + it) as u64);
            }
        }
    };
    let receiving = receive!(receiver, batch);
    timed(place, amount, sending, receiving)
}
