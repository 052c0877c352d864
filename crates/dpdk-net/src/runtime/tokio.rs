//! [`Tokio`]: a worker on tokio's current-thread runtime.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime, RuntimeMetrics};

use super::{LocalTask, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// tokio's current-thread runtime with its time and I/O drivers on: `tokio::spawn` (and `spawn_local`), `tokio::time`, kernel sockets,
/// files and `spawn_blocking` work in it. The driver is a task that wakes itself, so tokio alternates between it and what it made ready.
///
/// By itself tokio polls the future of [`block_on`](Runtime::block_on) once in 61 polls of tasks as long as any is ready, and the driver
/// always is. So while that future is woken the driver does not wake itself, but yields: then nobody is ready, and its turn has come.
pub struct Tokio {
    runtime: Rc<LocalRuntime>,
    /// The future of `block_on` was woken, and has not been polled since.
    woken: Arc<AtomicBool>,
}

/// The waker of the future of `block_on`.
struct Root {
    woken: Arc<AtomicBool>,
    tokio: Waker,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // First, and tokio may hear of it much later, where this thread is taken off its CPU in between: the driver goes on meanwhile.
        self.woken.store(true, Ordering::Release);
        self.tokio.wake_by_ref();
    }
}

/// The driver's task.
async fn drive(woken: Arc<AtomicBool>, mut turn: impl FnMut()) {
    poll_fn(|cx: &mut Context<'_>| {
        turn();
        if woken.load(Ordering::Relaxed) {
            // Runs again after tokio has looked at its own drivers and at that future, without sleeping.
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        } else {
            // Runs again after the tasks that it made ready.
            cx.waker().wake_by_ref();
        }
        Poll::<()>::Pending
    })
    .await;
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
        let woken = Arc::<AtomicBool>::default();
        runtime.spawn_local(drive(woken.clone(), move || {
            driver.turn();
            driver.rest();
        }));
        Ok(Self {
            runtime: Rc::new(runtime),
            woken,
        })
    }

    fn spawner(&self) -> Rc<dyn Spawn> {
        Rc::new(Spawner(Rc::downgrade(&self.runtime)))
    }

    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error> {
        let mut root = pin!(root);
        let mut own: Option<(Waker, Waker)> = None;
        let output = self.runtime.block_on(poll_fn(|cx| {
            // tokio's waker stays the same, so one of ours is made once.
            let known = own.take().filter(|(tokio, _)| tokio.will_wake(cx.waker()));
            let (_, waker) = own.insert(known.unwrap_or_else(|| {
                let tokio = cx.waker().clone();
                let woken = self.woken.clone();
                (tokio.clone(), Arc::new(Root { woken, tokio }).into())
            }));
            self.woken.store(false, Ordering::Release);
            root.as_mut().poll(&mut Context::from_waker(waker))
        }));
        Ok(output)
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_thread_that_is_stopped_within_its_wake_does_not_stop_the_driver() {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        let (turns, woken) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let counted = turns.clone();
        runtime.spawn_local(drive(woken.clone(), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        }));
        let (tell, told) = tokio::sync::oneshot::channel();
        let waking = std::thread::spawn(move || {
            // The first half of a wake.
            woken.store(true, Ordering::Release);
            let (before, end) = (
                turns.load(Ordering::Relaxed),
                Instant::now() + Duration::from_secs(20),
            );
            while turns.load(Ordering::Relaxed) < before + 100 && Instant::now() < end {
                std::thread::yield_now();
            }
            let went_on = turns.load(Ordering::Relaxed) - before;
            tell.send(()).unwrap();
            went_on
        });
        runtime.block_on(told).unwrap();
        assert!(waking.join().unwrap() >= 100);
    }
}
