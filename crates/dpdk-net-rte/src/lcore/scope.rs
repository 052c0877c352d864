//! Functions on workers that borrow: a scope that ends when all of them have.
//!
//! Invariants, as those of `std::thread::scope`:
//! - `enter` returns, or unwinds, only when `Running::count` is 0.
//! - A job counts itself off after its closure, its captures and, if nobody holds the handle any more, its result are
//!   gone. A result that is left is owned by the handle, which can't leave `'scope`.
//! - `'scope` is invariant, so a caller can't shorten it and pass off borrows that end earlier.

use std::fmt;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::launch::{Busy, Claim, Outcome, catch};
use super::{Lcore, LcoreId};
use crate::Error;

/// Launches functions that may borrow from outside of [`Eal::scope`](crate::Eal::scope).
pub struct Scope<'scope, 'env: 'scope> {
    running: Arc<Running>,
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// What a scope waits for.
#[derive(Default)]
struct Running {
    state: Mutex<RunningState>,
    changed: Condvar,
}

#[derive(Default)]
struct RunningState {
    count: usize,
    /// The first panic that no handle was there to receive.
    panicked: Option<Error>,
}

impl Running {
    fn begin(self: &Arc<Self>) -> Counted {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count += 1;
        Counted(Arc::clone(self))
    }

    fn report(&self, error: Error) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.panicked.get_or_insert(error);
    }

    /// Waits until all have ended; the panic that nobody received.
    fn wait(&self) -> Option<Error> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self
            .changed
            .wait_while(state, |state| state.count > 0)
            .unwrap_or_else(PoisonError::into_inner);
        state.panicked.take()
    }
}

/// One job of a scope, counted off when dropped.
struct Counted(Arc<Running>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.count -= 1;
        if state.count == 0 {
            self.0.changed.notify_all();
        }
    }
}

/// A job's result, and where to report a panic that nobody joins.
struct ScopedOutcome<T> {
    outcome: Outcome<T>,
    running: Arc<Running>,
}

impl<T> Drop for ScopedOutcome<T> {
    fn drop(&mut self) {
        if let Some(Err(error)) = self.outcome.take() {
            self.running.report(error);
        }
    }
}

pub(super) fn enter<'env, F, T>(function: F) -> Result<T, Error>
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope {
        running: Arc::default(),
        scope: PhantomData,
        env: PhantomData,
    };
    let result = catch_unwind(AssertUnwindSafe(|| function(&scope)));
    let panicked = scope.running.wait();
    match (result, panicked) {
        (Err(payload), _) => resume_unwind(payload),
        (Ok(_), Some(error)) => Err(error),
        (Ok(value), None) => Ok(value),
    }
}

impl<'scope> Scope<'scope, '_> {
    /// Runs `function` on this worker and returns at once. It may borrow whatever outlives the scope.
    ///
    /// # Errors
    ///
    /// [`Error::NotAWorker`], [`Error::LcoreBusy`], as [`Lcore::launch`].
    pub fn launch<F, T>(
        &'scope self,
        lcore: &Lcore,
        function: F,
    ) -> Result<ScopedLaunch<'scope, T>, Error>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let claim = Claim::new(lcore)?;
        let id = lcore.id();
        let outcome = Arc::new(ScopedOutcome {
            outcome: Outcome::new(),
            running: Arc::clone(&self.running),
        });
        let theirs = Arc::clone(&outcome);
        let counted = self.running.begin();
        let job = Box::new(move |busy| {
            // Locals go in reverse order: the job is counted off last.
            let _counted = counted;
            let theirs = theirs;
            let result = catch(id, function);
            drop::<Busy>(busy);
            theirs.outcome.set(result);
        });
        // SAFETY: `enter` does not return before the job is counted off, and everything it borrows outlives 'scope.
        unsafe { claim.start(job)? };
        Ok(ScopedLaunch {
            outcome,
            id,
            scope: PhantomData,
        })
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

/// A function of a scope. Dropping it leaves the function running; the scope waits for it.
#[must_use = "the function's result, or its panic, is in the handle"]
pub struct ScopedLaunch<'scope, T> {
    outcome: Arc<ScopedOutcome<T>>,
    id: LcoreId,
    scope: PhantomData<&'scope mut &'scope ()>,
}

impl<T> ScopedLaunch<'_, T> {
    /// Where it runs.
    pub fn lcore_id(&self) -> LcoreId {
        self.id
    }

    /// Whether the function has ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.outcome.outcome.is_ready()
    }

    /// Waits for the function to end and returns its result.
    ///
    /// # Errors
    ///
    /// [`Error::Panicked`] if it panicked; [`Error::WaitForSelf`] if called by the function itself.
    pub fn join(self) -> Result<T, Error> {
        self.outcome.outcome.join(self.id)
    }
}

impl<T> fmt::Debug for ScopedLaunch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedLaunch")
            .field("lcore", &self.id)
            .field("finished", &self.is_finished())
            .finish()
    }
}
