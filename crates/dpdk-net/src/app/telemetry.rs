//! Figures on the socket of DPDK's telemetry: `/dpdk_net/queues` lists the queues, `/dpdk_net/stats,PORT,QUEUE` has one's figures,
//! `/dpdk_net/stats` those of all together.
//!
//! DPDK's thread never touches a worker's shard: it asks the control thread, and waits for what that reads.

use std::sync::mpsc;
use std::time::Duration;

use dpdk_net_rte::telemetry::{Answer, Registered, register};
use tokio::sync::mpsc as queue;

use super::Context;
use super::queue_figures::QueueFigures;
use super::subsystem::{Application, Subsystem, SubsystemFuture};

/// How long the control thread may take, which reads for microseconds, once it gets to run.
const PATIENCE: Duration = Duration::from_secs(2);

/// What DPDK's thread asks.
struct Ask {
    what: What,
    answer: mpsc::SyncSender<Option<Answer>>,
}

enum What {
    Queues,
    /// Those of a port and queue, `PORT,QUEUE`, or of all where nothing is said.
    Stats(String),
}

/// The commands, while the application runs.
#[derive(Debug, Default)]
pub(super) struct Telemetry {
    registered: Vec<Registered>,
}

impl Subsystem for Telemetry {
    fn name(&self) -> &str {
        "telemetry"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        Box::pin(async move {
            // DPDK serves its clients one thread each.
            let (asks, mut asked) = queue::channel::<Ask>(16);
            let ask = move |what: What| {
                let (answer, told) = mpsc::sync_channel(1);
                asks.try_send(Ask { what, answer }).ok()?;
                told.recv_timeout(PATIENCE).ok().flatten()
            };
            let stats = ask.clone();
            self.registered = vec![
                register(
                    "/dpdk_net/queues",
                    "Lists the queues, as PORT,QUEUE. Takes no parameters",
                    move |_| ask(What::Queues),
                )?,
                register(
                    "/dpdk_net/stats",
                    "Figures of a queue, or of all together. Parameters: PORT,QUEUE, or none",
                    move |which| stats(What::Stats(which.to_owned())),
                )?,
            ];
            let app = app.clone();
            tokio::task::spawn_local(async move {
                while let Some(Ask { what, answer }) = asked.recv().await {
                    // One that does not wait any more is gone.
                    let _ = answer.try_send(read(&app, &what));
                }
            });
            Ok(())
        })
    }

    fn stop(&mut self) -> SubsystemFuture<'_> {
        self.registered.clear();
        Box::pin(async { Ok(()) })
    }
}

fn read(app: &Application, what: &What) -> Option<Answer> {
    let name = |ctx: &Context| format!("{},{}", ctx.port_name(), ctx.queue());
    let all = app.contexts();
    let which = match what {
        What::Queues => return Some(Answer::Texts(all.iter().map(name).collect())),
        What::Stats(which) => which.trim(),
    };
    let mut sums: Vec<(String, u64)> = Vec::new();
    let mut found = false;
    for context in all
        .iter()
        .filter(|ctx| which.is_empty() || name(ctx) == which)
    {
        found = true;
        let QueueFigures { figures, drops, .. } = QueueFigures::of(context);
        let figures = figures
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count));
        let drops = drops
            .into_iter()
            .map(|(cause, count)| (format!("drop_{cause}"), count));
        for (name, count) in figures.chain(drops) {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => sums.push((name, count)),
            }
        }
    }
    found.then_some(Answer::Figures(sums))
}
