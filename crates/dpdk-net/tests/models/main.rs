//! The locks and queues between threads under loom: every order of what a few threads do, within a bound of preemptions, instead of
//! the orders that a machine happens to make. The code is the library's; what it is made of is loom's.

mod channels;
mod turns;

#[path = "../../src/channel/ring.rs"]
#[allow(dead_code)]
mod ring;
#[path = "../../src/channel/shared.rs"]
#[allow(dead_code)]
mod shared;
#[path = "../../src/shard/turn_lock.rs"]
#[allow(dead_code)]
mod turn_lock;

mod sync {
    //! As `src/sync.rs`, of loom. Looks are few, and nobody wakes by itself: a wake that is lost is a deadlock, which loom tells.

    pub(crate) use loom::sync::MutexGuard;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
    pub(crate) use loom::thread::{Thread, current, park as nap, yield_now as pause};

    pub(crate) const GUEST_LOOKS: u32 = 1;
    pub(crate) const OWNER_LOOKS: u32 = 1;
    pub(crate) const GIVE_WAY_LOOKS: u32 = 1;

    /// loom's, with parking_lot's signatures.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

/// Runs `model` in every order with at most so many preemptions.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.check(model);
}
