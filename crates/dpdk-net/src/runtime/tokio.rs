//! [`Tokio`]: a worker on tokio's current-thread runtime.

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::{Rc, Weak};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, RuntimeMetrics};

use super::{LocalTask, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// tokio's current-thread runtime with its time and I/O drivers on: `tokio::spawn` (and `spawn_local`), `tokio::time`, kernel sockets,
/// files and `spawn_blocking` work in it. The driver is a task that wakes itself, so tokio alternates between it and what it made ready.
///
/// tokio polls the future of [`block_on`](Runtime::block_on) once in 61 polls of tasks: what is to be fast belongs into a task.
pub struct Tokio {
    runtime: Rc<LocalRuntime>,
}

impl fmt::Debug for Tokio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokio")
    }
}

struct Spawner(Weak<LocalRuntime>);

impl Spawn for Spawner {
    fn spawn(&self, task: LocalTask) {
        match self.0.upgrade() {
            Some(runtime) => drop(runtime.spawn_local(task)),
            None => drop(task),
        }
    }
}

impl Runtime for Tokio {
    const NAME: &'static str = "tokio";
    const HAS_TOKIO_BUDGET: bool = true;

    fn build(settings: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self> {
        let settings = settings.clone();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .thread_name("dpdk-net-blocking")
            .on_thread_start(move || settings.place_thread())
            .build_local(LocalOptions::default())?;
        runtime.spawn_local(driver.run());
        Ok(Self {
            runtime: Rc::new(runtime),
        })
    }

    fn spawner(&self) -> Rc<dyn Spawn> {
        Rc::new(Spawner(Rc::downgrade(&self.runtime)))
    }

    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error> {
        Ok(self.runtime.block_on(root))
    }

    fn shutdown(self) {
        if let Some(runtime) = Rc::into_inner(self.runtime) {
            // Not waiting for blocking threads: the port would stand still meanwhile.
            runtime.shutdown_background();
        }
    }

    fn tokio_metrics(&self) -> Option<RuntimeMetrics> {
        Some(self.runtime.handle().metrics())
    }
}
