//! Who takes a shard's lock: its worker for a turn, and whoever uses its sockets.

use std::time::Instant;

use parking_lot::MutexGuard;

use super::turn_lock::Gave;
use super::{Shard, State};

impl Shard {
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        match self.state.try_lock() {
            Some(state) => state,
            None => self.wait(),
        }
    }

    /// The worker's lock for a turn, before which other threads that wait for it may have it.
    #[inline]
    pub(crate) fn lock_turn(&self) -> MutexGuard<'_, State> {
        if self.state.is_wanted() {
            return self.lock_after_others();
        }
        match self.state.try_lock() {
            Some(state) => state,
            None => self.state.wait_as_owner(),
        }
    }

    #[cold]
    fn lock_after_others(&self) -> MutexGuard<'_, State> {
        let gave = self.state.give_way();
        let mut state = match self.state.try_lock() {
            Some(state) => state,
            None => self.state.wait_as_owner(),
        };
        let worker = &mut state.worker;
        match gave {
            Gave::Way => worker.gave_way += 1,
            Gave::InVain => worker.gave_way_in_vain += 1,
            Gave::Call => worker.threads_woken += 1,
            Gave::Nothing => {}
        }
        state
    }

    /// The lock where it is not free.
    #[cold]
    fn wait(&self) -> MutexGuard<'_, State> {
        if self.thread.is_current() {
            return self.state.wait_as_owner();
        }
        let since = Instant::now();
        let mut state = self.state.wait_as_guest();
        let waited = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        state.turns.thread_wait.record(waited);
        state
    }
}
