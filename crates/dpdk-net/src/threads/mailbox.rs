//! What other threads have a worker do.
//!
//! A worker looks into its mailbox after each turn, which is one comparison of two counts while there is nothing. Whoever puts something in
//! has nobody to wake, as a worker's loop polls and does not sleep, and no system call to make.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::channel::ring::{Refused, Ring};
use crate::shard::Shard;

/// Jobs that may wait for the worker's next turn.
pub(crate) const MAILBOX: usize = 1024;

/// Jobs that are done after one turn, so that the port does not wait for more.
const JOBS: usize = 64;

/// What a worker is to do: as a rule to spawn a task.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// See the module's header.
pub(crate) struct Mailbox {
    jobs: Ring<Job>,
    /// Whether a worker looks into it. A reactor alone has nothing to spawn on.
    served: AtomicBool,
    /// Jobs refused since the worker asked last.
    refused: AtomicU64,
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("jobs", &self.jobs.len())
            .finish_non_exhaustive()
    }
}

impl Mailbox {
    pub(crate) fn new() -> Self {
        Self {
            jobs: Ring::new(MAILBOX),
            served: AtomicBool::new(false),
            refused: AtomicU64::new(0),
        }
    }

    /// A worker looks into it from now on.
    pub(crate) fn open(&self) {
        self.served.store(true, Ordering::Release);
    }

    /// No worker does any more: what is in it, or comes yet, is dropped.
    pub(crate) fn close(&self) {
        // What a closure has taken along may panic as it is dropped: the rest goes too.
        while catch_unwind(AssertUnwindSafe(|| self.jobs.abandon())).is_err() {}
    }

    /// Whether a worker has ever looked into it.
    pub(crate) fn is_served(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// Puts a job in, which is made where the mailbox is neither full nor closed.
    pub(crate) fn put(&self, make: impl FnOnce() -> Job) -> Result<(), Refused> {
        let put = self.jobs.push_with(make);
        if put == Err(Refused::Full) {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        put.map(drop)
    }

    /// Whether there is something to do, or to count.
    #[inline]
    pub(crate) fn has_mail(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Does what is there, for one turn, and tells how much that was.
    pub(crate) fn deliver(&self) -> usize {
        let mut done = 0;
        while done < JOBS
            && let Some((job, _)) = self.jobs.pop()
        {
            job();
            done += 1;
        }
        done
    }

    /// Jobs refused as it was full, since this was asked last.
    pub(crate) fn take_refused(&self) -> u64 {
        self.refused.swap(0, Ordering::Relaxed)
    }
}

impl Shard {
    /// Does what is in the mailbox, and tells whether anything was done. The worker's, after a turn.
    #[inline]
    pub(crate) fn deliver(&self) -> bool {
        self.mailbox().has_mail() && self.deliver_mail()
    }

    #[cold]
    fn deliver_mail(&self) -> bool {
        let done = self.mailbox().deliver() as u64;
        let refused = self.mailbox().take_refused();
        // A sender may have been taken off its CPU with its job half put in: then there is nothing to do yet, and the worker may rest.
        if done > 0 || refused > 0 {
            let worker = &mut self.lock().worker;
            worker.spawned += done;
            worker.mailbox_full += refused;
        }
        done > 0
    }
}
