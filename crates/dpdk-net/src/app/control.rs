//! The control thread: subsystems live on it, and SIGHUP is heard there.
//!
//! The workers never wait for it once the programs run.

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalRuntime};
use tokio::sync::oneshot;

use super::Context;
use super::subsystem::{Application, Subsystem, in_order};
use crate::affinity::Affinity;
use crate::error::Error;

/// How long a subsystem has to stop.
const STOP: Duration = Duration::from_secs(5);

/// What is started beside the workers, when they are ready.
pub(super) struct Beside {
    pub(super) subsystems: Vec<Box<dyn Subsystem>>,
    /// The file that the application was made of.
    #[cfg(feature = "config")]
    pub(super) file: Option<std::sync::Arc<dpdk_net_config::File>>,
    pub(super) affinity: Affinity,
}

impl Beside {
    /// Starts it, for an application with these contexts. Nothing, where there is nothing to start.
    pub(super) async fn start(self, contexts: Vec<Context>) -> Result<Option<Control>, Error> {
        if self.subsystems.is_empty() {
            return Ok(None);
        }
        let app = Application::new(
            contexts,
            #[cfg(feature = "config")]
            self.file,
        );
        let control = Control::start(self.subsystems, app, self.affinity);
        control.await.map(Some)
    }
}

/// The thread with subsystems that have started. They stop when it is dropped.
#[derive(Debug)]
pub(super) struct Control {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Starts the subsystems in their order, on a thread that runs on the CPUs of `affinity`. Resolves when all have started, or
    /// when the first one has failed and those before it have stopped.
    pub(super) fn start(
        subsystems: Vec<Box<dyn Subsystem>>,
        app: Application,
        affinity: Affinity,
    ) -> impl Future<Output = Result<Self, Error>> {
        let (started, outcome) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("dpdk-net-control".to_owned())
            .spawn(move || {
                affinity.apply();
                let runtime = Builder::new_current_thread()
                    .enable_all()
                    .build_local(Default::default());
                match runtime {
                    Ok(runtime) => live(&runtime, subsystems, &app, started, stopped),
                    Err(error) => drop(started.send(Err(Error::Runtime(error)))),
                }
            });
        async move {
            let control = Self {
                stop: Some(stop),
                thread: Some(thread.map_err(Error::Runtime)?),
            };
            match outcome.await {
                Ok(Ok(())) => Ok(control),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(Error::Subsystem {
                    name: "control thread".to_owned(),
                    source: "a subsystem panicked while it started".into(),
                }),
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a subsystem panicked");
        }
    }
}

/// The thread's life.
fn live(
    runtime: &LocalRuntime,
    subsystems: Vec<Box<dyn Subsystem>>,
    app: &Application,
    started: oneshot::Sender<Result<(), Error>>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut ordered = match in_order(subsystems) {
        Ok(ordered) => ordered,
        Err(names) => {
            let _ = started.send(Err(Error::Subsystem {
                name: names.join(", "),
                source: "they wait for each other: one of them has to start first".into(),
            }));
            return;
        }
    };
    let failed = runtime.block_on(async {
        for (index, subsystem) in ordered.iter_mut().enumerate() {
            if let Err(source) = subsystem.start(app).await {
                let name = subsystem.name().to_owned();
                return Some((index, Error::Subsystem { name, source }));
            }
            tracing::debug!(subsystem = subsystem.name(), "started");
        }
        None
    });
    if let Some((index, error)) = failed {
        ordered.truncate(index);
        runtime.block_on(stop(&mut ordered));
        let _ = started.send(Err(error));
        return;
    }
    let _ = started.send(Ok(()));
    runtime.block_on(async {
        tokio::select! {
            _ = &mut stopped => {}
            () = reloads(&mut ordered, app) => {}
        }
        stop(&mut ordered).await;
    });
}

/// Stops them, the last one first.
async fn stop(ordered: &mut [Box<dyn Subsystem>]) {
    for subsystem in ordered.iter_mut().rev() {
        let name = subsystem.name().to_owned();
        match tokio::time::timeout(STOP, subsystem.stop()).await {
            Ok(Ok(())) => tracing::debug!(subsystem = name, "stopped"),
            Ok(Err(error)) => tracing::warn!(subsystem = name, %error, "did not stop in order"),
            Err(_) => tracing::warn!(subsystem = name, "did not stop within five seconds"),
        }
    }
}

#[cfg(not(feature = "config"))]
async fn reloads(_: &mut [Box<dyn Subsystem>], _: &Application) {
    std::future::pending().await
}

#[cfg(feature = "config")]
use reload::reloads;

/// What SIGHUP does.
#[cfg(feature = "config")]
mod reload {
    use std::sync::Arc;

    use dpdk_net_config::{Changes, File};
    use tokio::signal::unix::{SignalKind, signal};

    use super::{Application, Subsystem};

    /// Reads the file anew on each SIGHUP. Without a file the signal is left to who wants it.
    pub(super) async fn reloads(ordered: &mut [Box<dyn Subsystem>], app: &Application) {
        let path = app
            .file()
            .and_then(|file| file.path().map(ToOwned::to_owned));
        let Some(path) = path else {
            return std::future::pending().await;
        };
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP can't be caught: the file is not read again");
                return std::future::pending().await;
            }
        };
        while hangup.recv().await.is_some() {
            match File::read(&path) {
                Ok(file) => take_over(ordered, app, Arc::new(file)).await,
                Err(problems) => {
                    tracing::error!(
                        "SIGHUP: nothing has changed, the file has problems\n{problems}"
                    );
                }
            }
        }
        std::future::pending().await
    }

    /// Makes effective what can be.
    async fn take_over(ordered: &mut [Box<dyn Subsystem>], app: &Application, new: Arc<File>) {
        let Some(old) = app.file() else {
            return;
        };
        let changes = Changes::between(&old, &new);
        if changes.is_empty() {
            tracing::info!("SIGHUP: the file says what it said before");
            return;
        }
        for change in &changes.restart {
            tracing::warn!("SIGHUP: takes a restart: {change}");
        }
        if changes.live.is_empty() {
            return;
        }
        app.set_file(new);
        for subsystem in ordered {
            if let Err(error) = subsystem.reload(app, &changes).await {
                tracing::error!(subsystem = subsystem.name(), %error, "SIGHUP: what has changed was not taken over");
            }
        }
        for change in &changes.live {
            tracing::info!("SIGHUP: {change}");
        }
    }
}
