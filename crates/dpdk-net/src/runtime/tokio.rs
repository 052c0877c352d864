//! [`Tokio`]: a worker on tokio's current-thread runtime.

use std::cell::RefCell;
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
/// always is. So the driver pauses when that future was woken, until it has been polled: then nobody is ready, and its turn has come.
pub struct Tokio {
    runtime: Rc<LocalRuntime>,
    pause: Rc<Pause>,
}

/// Where the driver waits for the future of `block_on`.
#[derive(Default)]
struct Pause {
    woken: Arc<AtomicBool>,
    driver: RefCell<Option<Waker>>,
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
        // First: a driver that misses it takes one turn more.
        self.woken.store(true, Ordering::Release);
        self.tokio.wake_by_ref();
    }
}

impl Pause {
    /// The driver's task.
    async fn drive(self: Rc<Self>, driver: Rc<Driver>) {
        poll_fn(|cx: &mut Context<'_>| {
            driver.turn();
            driver.rest();
            if self.woken.load(Ordering::Relaxed) {
                *self.driver.borrow_mut() = Some(cx.waker().clone());
            } else {
                // Runs again after the tasks that it made ready.
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// The future of `block_on` is about to be polled: the driver goes on.
    fn end(&self) {
        self.woken.store(false, Ordering::Release);
        let driver = self.driver.borrow_mut().take();
        if let Some(driver) = driver {
            driver.wake();
        }
    }
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
        let pause = Rc::<Pause>::default();
        runtime.spawn_local(pause.clone().drive(driver));
        Ok(Self {
            runtime: Rc::new(runtime),
            pause,
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
                let woken = self.pause.woken.clone();
                (tokio.clone(), Arc::new(Root { woken, tokio }).into())
            }));
            self.pause.end();
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
