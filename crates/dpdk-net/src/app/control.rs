//! The control thread: subsystems live on it, and SIGHUP is heard there.
//!
//! Once the programs run the workers wait for it only while a subsystem holds the lock of their shard.

use std::future::Future;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalRuntime};
use tokio::sync::{oneshot, watch};

use super::Context;
use super::links::Links;
use super::run::stopped;
use super::signals::Signals;
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
    /// Whether SIGHUP is of use to it.
    pub(super) fn reads_again(&self) -> bool {
        #[cfg(feature = "config")]
        return self.file.as_ref().is_some_and(|file| file.path().is_some());
        #[cfg(not(feature = "config"))]
        false
    }

    /// Starts it, for an application with these contexts. Nothing, where there is nothing to start.
    ///
    /// # Errors
    /// [`Error::Subsystem`]; [`Error::Stopped`] where a signal came before all had started.
    pub(super) async fn start(
        mut self,
        contexts: Vec<Context>,
        signals: &Signals,
    ) -> Result<Option<Control>, Error> {
        if self.subsystems.is_empty() {
            return Ok(None);
        }
        self.subsystems.push(Box::new(Links));
        let app = Application::new(
            contexts,
            #[cfg(feature = "config")]
            self.file,
        );
        let control = Control::start(self.subsystems, app, signals.hangups(), self.affinity);
        tokio::select! {
            started = control => started.map(Some),
            _ = signals.more_than(0) => Err(stopped(signals)),
        }
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
        hangups: watch::Receiver<u64>,
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
                    Ok(runtime) => live(&runtime, subsystems, &app, hangups, started, stopped),
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
    hangups: watch::Receiver<u64>,
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
            let outcome = tokio::select! {
                outcome = subsystem.start(app) => outcome,
                _ = &mut stopped => Err("it was stopped before it had started".into()),
            };
            if let Err(source) = outcome {
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
            () = reloads(&mut ordered, app, hangups) => {}
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
async fn reloads(_: &mut [Box<dyn Subsystem>], _: &Application, _: watch::Receiver<u64>) {
    std::future::pending().await
}

#[cfg(feature = "config")]
use reload::reloads;

/// What SIGHUP does.
#[cfg(feature = "config")]
mod reload {
    use std::sync::Arc;

    use dpdk_net_config::{Changes, File};
    use tokio::sync::watch;

    use super::{Application, Subsystem};

    /// Reads the file anew on each SIGHUP.
    pub(super) async fn reloads(
        ordered: &mut [Box<dyn Subsystem>],
        app: &Application,
        mut hangups: watch::Receiver<u64>,
    ) {
        let started = app.file();
        let path = started.as_ref().and_then(|file| file.path());
        if let (Some(started), Some(path)) = (&started, path) {
            while hangups.changed().await.is_ok() {
                match File::read(path) {
                    Ok(file) => take_over(ordered, app, started, Arc::new(file)).await,
                    Err(problems) => {
                        tracing::error!(
                            "SIGHUP: nothing has changed, the file has problems\n{problems}"
                        );
                    }
                }
                for subsystem in &mut *ordered {
                    if let Err(error) = subsystem.hangup(app).await {
                        tracing::error!(subsystem = subsystem.name(), %error, "SIGHUP");
                    }
                }
            }
        }
        std::future::pending().await
    }

    /// Makes effective what can be. What takes a restart is told for as long as the file differs from the one that the application
    /// was started with.
    async fn take_over(
        ordered: &mut [Box<dyn Subsystem>],
        app: &Application,
        started: &File,
        new: Arc<File>,
    ) {
        let Some(old) = app.file() else {
            return;
        };
        let changes = Changes::between(&old, &new);
        let restart = Changes::between(started, &new).restart;
        if changes.live.is_empty() && restart.is_empty() {
            tracing::info!("SIGHUP: the file says nothing new");
        }
        for change in &restart {
            tracing::warn!("SIGHUP: takes a restart: {change}");
        }
        app.set_file(new);
        if changes.live.is_empty() {
            return;
        }
        let mut failed = false;
        for subsystem in ordered {
            if let Err(error) = subsystem.reload(app, &changes).await {
                failed = true;
                tracing::error!(subsystem = subsystem.name(), %error, "SIGHUP: not all that has changed was taken over");
            }
        }
        for change in &changes.live {
            if failed {
                tracing::warn!("SIGHUP, as far as nothing else was told: {change}");
            } else {
                tracing::info!("SIGHUP: {change}");
            }
        }
    }
}
