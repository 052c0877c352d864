//! What the locks and queues between threads are made of. `tests/models` has the same of loom, and tries their code with that.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
pub(crate) use std::thread::Thread;

pub(crate) use parking_lot::{Mutex, MutexGuard};

use std::time::Duration;

/// How often a guest looks before it sleeps: some microseconds, a hundred times as long as most critical sections are.
pub(crate) const GUEST_LOOKS: u32 = 256;

/// How often the owner looks before it sleeps until it is woken.
pub(crate) const OWNER_LOOKS: u32 = 1024;

/// How often the owner looks whether a guest has taken what it was left: about two microseconds.
pub(crate) const GIVE_WAY_LOOKS: u32 = 64;

/// For how long a guest sleeps that nobody wakes.
const NAP: Duration = Duration::from_micros(200);

/// Between two looks.
#[inline(always)]
pub(crate) fn pause() {
    std::hint::spin_loop();
}

/// The thread that calls, to be woken by [`Thread::unpark`].
pub(crate) fn current() -> Thread {
    std::thread::current()
}

/// Sleeps until this thread is woken, or for a fifth of a millisecond.
pub(crate) fn nap() {
    std::thread::park_timeout(NAP);
}
