//! Running a function on one worker: the slot that says who may, the C entry point, the handle.
//!
//! Invariants:
//! - `Slot::busy` of an lcore is true as long as there is a `Busy` of it. Only a `Claim`, which has one, calls
//!   `rte_eal_remote_launch`, and after the last function is back in DPDK's loop (`settle`), so launches on an lcore
//!   never overlap.
//! - A job gives its `Busy` up before it hands over its result: whoever has the result can launch again.
//! - `entry` gets a `Box<Launch>` made by `Claim::start` and consumes it: each job runs once. A job that borrows is
//!   launched by a scope only, which waits for it.

use std::any::Any;
use std::ffi::{c_int, c_void};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use dpdk_net_sys as sys;

use super::{Lcore, LcoreId, is_worker};
use crate::{Eal, Error};

/// Whether an lcore runs a function of ours, and a way to wait until it does not.
struct Slot {
    busy: Mutex<bool>,
    idle: Condvar,
}

static SLOTS: [Slot; LcoreId::LIMIT as usize] = [const {
    Slot {
        busy: Mutex::new(false),
        idle: Condvar::new(),
    }
}; LcoreId::LIMIT as usize];

/// What an lcore is given to run; it drops the [`Busy`] when the function has returned.
type Job<'a> = Box<dyn FnOnce(Busy) + Send + 'a>;

/// A job and the claim it runs under, which keeps the EAL until the job has run.
struct Launch {
    job: Job<'static>,
    claim: Claim,
}

/// It goes to another thread behind a raw pointer, where the compiler does not look.
const _: fn() = || {
    fn must_be_send<T: Send>() {}
    must_be_send::<Launch>();
};

pub(super) fn is_busy(id: LcoreId) -> bool {
    *SLOTS[id.index() as usize]
        .busy
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the worker is ready for the next function. Not for that worker to call.
pub(super) fn wait_until_idle(id: LcoreId) {
    let slot = &SLOTS[id.index() as usize];
    loop {
        let busy = slot.busy.lock().unwrap_or_else(PoisonError::into_inner);
        // Not held while settling: a function's last acts may ask for the state of their own lcore.
        drop(
            slot.idle
                .wait_while(busy, |busy| *busy)
                .unwrap_or_else(PoisonError::into_inner),
        );
        // Over at once, or the next function was launched meanwhile.
        if settle(id, || is_busy(id)) {
            return;
        }
    }
}

/// Waits until no worker runs a function. Not for a worker to call.
pub(crate) fn wait_until_all_idle() {
    (0..LcoreId::LIMIT)
        .map(LcoreId::new)
        .filter(|&id| is_worker(id))
        .for_each(wait_until_idle);
}

/// Waits until DPDK's own state of the lcore is WAIT, which is a matter of microseconds when its slot is free: what is
/// left is handing over the result and the way back to DPDK's loop. Gives up, and says so, if `cancelled`.
fn settle(id: LcoreId, cancelled: impl Fn() -> bool) -> bool {
    let mut rounds = 0_u32;
    // SAFETY: the EAL is initialised (the callers hold an `Eal`, or are its cleanup) and `id` is one of its workers.
    while unsafe { sys::rte_eal_get_lcore_state(id.index()) } != sys::WAIT {
        if cancelled() {
            return false;
        }
        rounds = rounds.saturating_add(1);
        if rounds < 100 {
            std::hint::spin_loop();
        } else {
            // It may be on the same CPU as this thread.
            std::thread::yield_now();
        }
    }
    // SAFETY: as above, and `id` is not the calling thread. Returns at once; it orders what the function wrote before
    // what follows here. The value is that of `entry`, always 0.
    unsafe { sys::rte_eal_wait_lcore(id.index()) };
    true
}

/// The right to launch on a worker; given back when dropped unused.
pub(super) struct Claim {
    busy: Busy,
    eal: Eal,
}

/// An lcore's slot taken; free again when dropped.
pub(super) struct Busy(LcoreId);

impl Claim {
    /// Takes the worker's slot.
    pub(super) fn new(lcore: &Lcore) -> Result<Self, Error> {
        let id = lcore.id();
        if !is_worker(id) {
            return Err(Error::NotAWorker { lcore: id });
        }
        // A function's last acts on its lcore come after its slot is free: that lcore is not idle for itself.
        if LcoreId::current() == Some(id) {
            return Err(Error::LcoreBusy { lcore: id });
        }
        let mut busy = SLOTS[id.index() as usize]
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *busy, true) {
            return Err(Error::LcoreBusy { lcore: id });
        }
        Ok(Self {
            busy: Busy(id),
            eal: lcore.eal().clone(),
        })
    }

    /// Gives `job` to the worker.
    ///
    /// # Safety
    ///
    /// What `job` borrows must outlive its run: a job that is not `'static` needs a caller that waits for it.
    pub(super) unsafe fn start(self, job: Job<'_>) -> Result<(), Error> {
        let id = self.busy.0;
        // The last function's way back to DPDK's loop may not be over.
        settle(id, || false);
        // SAFETY: only the lifetime changes; the caller keeps what the job borrows alive until it has run.
        let job = unsafe { std::mem::transmute::<Job<'_>, Job<'static>>(job) };
        let launch = Box::into_raw(Box::new(Launch { job, claim: self }));
        // SAFETY: the EAL is initialised and `id` is a worker that waits, with its slot ours. `entry` takes the box.
        let rc = unsafe { sys::rte_eal_remote_launch(Some(entry), launch.cast(), id.index()) };
        if rc == 0 {
            return Ok(());
        }
        // SAFETY: DPDK refused, so `entry` is not called and the box is still ours. Its claim frees the slot.
        drop(unsafe { Box::from_raw(launch) });
        if rc == -libc::EBUSY {
            return Err(Error::LcoreBusy { lcore: id });
        }
        Err(Error::from_rc("rte_eal_remote_launch", id.to_string(), rc))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let slot = &SLOTS[self.0.index() as usize];
        *slot.busy.lock().unwrap_or_else(PoisonError::into_inner) = false;
        slot.idle.notify_all();
    }
}

/// What DPDK calls on the worker.
unsafe extern "C" fn entry(argument: *mut c_void) -> c_int {
    // SAFETY: `argument` is the box that `start` gave to DPDK, which calls this once for it.
    let launch = unsafe { Box::from_raw(argument.cast::<Launch>()) };
    let Launch { job, claim } = *launch;
    let id = claim.busy.0;
    // Jobs catch the panics of what they run; this one is for panics of a result's drop.
    if catch_unwind(AssertUnwindSafe(|| job(claim.busy))).is_err() {
        tracing::error!(target: "dpdk", "{id}: a launched function's result panicked when dropped");
    }
    // The EAL goes last. If this is the last handle, cleanup happens on another thread, which waits until this one is
    // back in DPDK's loop.
    drop(claim.eal);
    0
}

/// Calls `function` and turns a panic into an error.
pub(super) fn catch<T>(lcore: LcoreId, function: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(function)).map_err(|payload| Error::Panicked {
        lcore,
        message: message_of(payload),
    })
}

fn message_of(payload: Box<dyn Any + Send>) -> String {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&'static str>().copied())
        .unwrap_or("a value that is not text")
        .to_owned();
    // A payload may be of any type, and its drop may panic once more.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    message
}

/// Where a launched function leaves its result for the handle.
pub(super) struct Outcome<T> {
    result: Mutex<Option<Result<T, Error>>>,
    ready: Condvar,
}

impl<T> Outcome<T> {
    pub(super) const fn new() -> Self {
        Self {
            result: Mutex::new(None),
            ready: Condvar::new(),
        }
    }

    pub(super) fn set(&self, result: Result<T, Error>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.ready.notify_all();
    }

    pub(super) fn is_ready(&self) -> bool {
        let result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.is_some()
    }

    /// The result if it is there. Only the handle's last act: it is there once.
    pub(super) fn take(&self) -> Option<Result<T, Error>> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.take()
    }

    /// Waits for the result and takes it; refused on the lcore that is to make it.
    pub(super) fn join(&self, lcore: LcoreId) -> Result<T, Error> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            if LcoreId::current() == Some(lcore) {
                return Err(Error::WaitForSelf { lcore });
            }
            result = self
                .ready
                .wait(result)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Launches a function that owns what it uses.
pub(super) fn spawn<F, T>(lcore: &Lcore, function: F) -> Result<LaunchHandle<T>, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    spawn_claimed(Claim::new(lcore)?, lcore, function)
}

/// The same on a worker that is claimed already.
pub(super) fn spawn_claimed<F, T>(
    claim: Claim,
    lcore: &Lcore,
    function: F,
) -> Result<LaunchHandle<T>, Error>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let outcome = Arc::new(Outcome::new());
    let theirs = Arc::clone(&outcome);
    let id = lcore.id();
    let job = Box::new(move |busy| {
        let result = catch(id, function);
        drop::<Busy>(busy);
        theirs.set(result);
    });
    // SAFETY: the job is 'static.
    unsafe { claim.start(job)? };
    Ok(LaunchHandle {
        outcome,
        lcore: lcore.clone(),
    })
}

/// A function running on a worker. Dropping it leaves the function running.
#[must_use = "the function's result, or its panic, is in the handle"]
pub struct LaunchHandle<T> {
    outcome: Arc<Outcome<T>>,
    lcore: Lcore,
}

impl<T> LaunchHandle<T> {
    /// Where it runs.
    pub fn lcore(&self) -> &Lcore {
        &self.lcore
    }

    /// Whether the function has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.outcome.is_ready()
    }

    /// Waits for the function to end and returns its result.
    ///
    /// # Errors
    ///
    /// [`Error::Panicked`] if it panicked; [`Error::WaitForSelf`] if called by the function itself.
    pub fn join(self) -> Result<T, Error> {
        self.outcome.join(self.lcore.id())
    }

    /// The result if the function has ended, or the handle back if it has not. Never blocks.
    ///
    /// # Errors
    ///
    /// The handle itself while the function runs.
    pub fn try_join(self) -> Result<Result<T, Error>, Self> {
        match self.outcome.take() {
            Some(result) => Ok(result),
            None => Err(self),
        }
    }
}

impl<T> fmt::Debug for LaunchHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchHandle")
            .field("lcore", &self.lcore.id())
            .field("finished", &self.is_finished())
            .finish()
    }
}
