//! A subsystem that writes figures to the log.

use std::time::Duration;

use tokio::task::JoinHandle;

use super::subsystem::{Application, Subsystem, SubsystemFuture};

/// Writes a line for each queue, once in an interval.
#[derive(Debug)]
pub(super) struct Figures {
    interval: Option<Duration>,
    task: Option<JoinHandle<()>>,
}

impl Figures {
    pub(super) fn new(interval: Option<Duration>) -> Self {
        Self {
            interval,
            task: None,
        }
    }

    fn begin(&mut self, app: &Application) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        let Some(interval) = self.interval else {
            return;
        };
        let app = app.clone();
        self.task = Some(tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.tick().await;
            loop {
                ticks.tick().await;
                write(&app);
            }
        }));
    }
}

impl Subsystem for Figures {
    fn name(&self) -> &str {
        "figures"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        self.begin(app);
        Box::pin(async { Ok(()) })
    }

    #[cfg(feature = "config")]
    fn reload<'a>(
        &'a mut self,
        app: &'a Application,
        _: &'a dpdk_net_config::Changes,
    ) -> SubsystemFuture<'a> {
        let interval = app
            .file()
            .and_then(|file| file.config().metrics.log_interval);
        let interval = interval.map(|interval| interval.0);
        if interval != self.interval {
            self.interval = interval;
            self.begin(app);
        }
        Box::pin(async { Ok(()) })
    }
}

fn write(app: &Application) {
    for context in app.contexts() {
        let stats = context.handle().stats();
        tracing::info!(
            port = context.port_name(),
            queue = context.queue(),
            received = stats.worker.rx_frames,
            sent = stats.worker.tx_frames,
            handed_over = stats.worker.handed_over,
            connections = context.handle().connection_count(),
            turns = stats.worker.turns,
            busy_turns = stats.worker.busy_turns,
            "figures"
        );
    }
}
