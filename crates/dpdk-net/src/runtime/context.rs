//! What the thread's current worker offers to what runs on it: where tasks are spawned, and whose timers they use.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use super::{JoinHandle, LocalTask, Spawn, join};
use crate::affinity::Affinity;
use crate::error::Error;
use crate::time::Timers;

/// A worker, as its own thread sees it.
#[derive(Clone)]
pub(crate) struct Here {
    pub(crate) spawn: Rc<dyn Spawn>,
    /// `None` without a worker.
    pub(crate) timers: Option<Arc<Timers>>,
    /// Where threads of its own run.
    #[cfg_attr(
        not(feature = "resolver"),
        allow(dead_code, reason = "only names start one")
    )]
    pub(crate) affinity: Option<Affinity>,
}

impl fmt::Debug for Here {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Here").finish_non_exhaustive()
    }
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

/// Makes it the thread's until the guard is dropped.
#[must_use]
pub(crate) struct Entered(Option<Here>);

impl Here {
    pub(crate) fn enter(&self) -> Entered {
        Entered(HERE.replace(Some(self.clone())))
    }

    /// Spawns a task.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (task, handle) = join::task(future);
        self.spawn.spawn(task);
        handle
    }
}

/// The thread spawns here until the guard is dropped.
pub(crate) fn spawning(spawn: Rc<dyn Spawn>) -> Entered {
    let here = Here {
        spawn,
        timers: None,
        affinity: None,
    };
    here.enter()
}

impl Drop for Entered {
    fn drop(&mut self) {
        let outer = self.0.take();
        // Fails only while the thread's locals are being destroyed.
        let _ = HERE.try_with(|here| here.replace(outer));
    }
}

fn current() -> Option<Here> {
    HERE.try_with(|here| here.borrow().clone()).ok().flatten()
}

/// Whether [`spawn_local`] has somewhere to spawn.
#[cfg(any(feature = "resolver", feature = "tls"))]
pub(crate) fn is_here() -> bool {
    HERE.try_with(|here| here.borrow().is_some())
        .unwrap_or(false)
}

/// The timers of the thread's worker.
pub(crate) fn timers() -> Option<Arc<Timers>> {
    let timers = HERE.try_with(|here| here.borrow().as_ref()?.timers.clone());
    timers.ok().flatten()
}

/// Spawns a task on the worker that this thread runs, whatever its runtime is. The task need not be `Send`.
///
/// Its result, or its panic, is what the handle gives. Tasks find the worker of the thread as [`Handle::current`](crate::Handle::current),
/// not one that the caller has entered; [`Handle::scope`](crate::Handle::scope) is for that.
///
/// ```no_run
/// # async fn serve(mut stream: dpdk_net::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
/// use tokio::io::AsyncWriteExt;
///
/// let task = dpdk_net::runtime::spawn_local(async move { stream.write_all(b"hello\n").await })?;
/// task.await??;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::NoWorker`] on a thread that runs none; the future is dropped.
pub fn spawn_local<F>(future: F) -> Result<JoinHandle<F::Output>, Error>
where
    F: Future + 'static,
    F::Output: 'static,
{
    let here = current().ok_or(Error::NoWorker)?;
    Ok(here.spawn(future))
}

/// Spawns a task on the worker that this thread runs, or drops it where there is none.
pub(crate) fn spawn_task(task: LocalTask) {
    if let Some(here) = current() {
        here.spawn.spawn(task);
    }
}

/// Runs what may block on a thread of its own, which is not pinned to the worker's core. `None` if there was no thread, or it panicked.
///
/// Dropping the future leaves the thread running.
#[cfg(feature = "resolver")]
pub(crate) async fn unblock<T: Send + 'static>(
    what: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if let Ok(tokio) = tokio::runtime::Handle::try_current() {
        return tokio.spawn_blocking(what).await.ok();
    }
    let affinity = current().and_then(|here| here.affinity);
    let (done, result) = tokio::sync::oneshot::channel();
    let thread = std::thread::Builder::new().name("dpdk-net-blocking".to_owned());
    let thread = thread.spawn(move || {
        if let Some(affinity) = affinity {
            affinity.apply();
        }
        let _ = done.send(what());
    });
    if let Err(error) = thread {
        tracing::warn!(%error, "no thread for what may block");
        return None;
    }
    result.await.ok()
}
