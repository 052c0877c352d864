//! A lock with an owner, who takes it over and over, and guests, who take it now and then.
//!
//! The owner is a worker, the guests are threads that use its sockets. Whoever comes while the lock is free has it at once. Of the
//! guests that have to wait one at a time stands at the door, and the owner, who asks for it before each of its turns, does one of
//! two things: it lets a guest that is awake go first, or it wakes one that sleeps.
//!
//! What holds
//! - The owner never waits for a thread that only wants the lock. What it leaves to a guest it leaves for about two microseconds; where
//!   the guest does not come, as it was taken off its CPU, the owner goes on, and gives way more rarely until one does come.
//! - A guest waits for one critical section of the owner, as a rule, however busy that is; the guests behind it for one more each.
//! - While the owner waits, as a guest has the lock, no other guest begins: the owner waits for one critical section.
//! - Waking is done by the owner at its turn. A guest that nobody wakes, as there are no turns, looks again by itself.
//! - Nobody hands the lock to a thread that sleeps: all would wait until it runs.
//!
//! While a guest has the lock and is taken off its CPU, the owner waits: nothing can be done about that but critical sections that are
//! short, and CPUs that are not shared.
//!
//! `tests/models` tries every order of what several threads do here.

use crate::sync::{
    AtomicBool, AtomicU32, GIVE_WAY_LOOKS, GUEST_LOOKS, Mutex, MutexGuard, OWNER_LOOKS, Ordering,
    Thread, current, nap, pause,
};

/// Nobody is at the door.
pub(super) const NOBODY: u32 = 0;
/// A guest is, and looks.
pub(super) const AWAKE: u32 = 1;
/// A guest is, and wants to be woken.
pub(super) const ASLEEP: u32 = 2;

/// The owner gives way in every 256th turn at least while a guest wants it and does not come.
const MOST_RARELY: u32 = 8;

/// See the module's header.
#[derive(Debug)]
pub(crate) struct TurnLock<T> {
    state: Mutex<T>,
    /// The owner waits.
    owner_waits: AtomicBool,
    /// Who is at the door.
    pub(super) door: AtomicU32,
    /// Guests that have come in by the door; it wraps.
    came: AtomicU32,
    /// In how many turns the owner does not give way yet, and how often it has in vain, one after the other. The owner's own.
    withheld: AtomicU32,
    in_vain: AtomicU32,
    /// Held by the guest at the door.
    queue: Mutex<()>,
    sleeper: Mutex<Option<Thread>>,
}

/// What the owner did for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gave {
    /// The guest went first.
    Way,
    /// It left the lock to the guest, who did not come.
    InVain,
    /// It woke the guest.
    Call,
    /// Nothing.
    Nothing,
}

impl<T> TurnLock<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            state: Mutex::new(state),
            owner_waits: AtomicBool::new(false),
            door: AtomicU32::new(NOBODY),
            came: AtomicU32::new(0),
            withheld: AtomicU32::new(0),
            in_vain: AtomicU32::new(0),
            queue: Mutex::new(()),
            sleeper: Mutex::new(None),
        }
    }

    /// The lock, if it is free and the owner does not wait for it.
    #[inline(always)]
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        if self.owner_waits.load(Ordering::Relaxed) {
            return None;
        }
        self.state.try_lock()
    }

    /// Whether a guest waits: what the owner asks before its turn.
    #[inline(always)]
    pub(crate) fn is_wanted(&self) -> bool {
        self.door.load(Ordering::Relaxed) != NOBODY
    }

    /// The owner's, before it takes the lock for a turn: lets the guest at the door in or wakes it.
    #[cold]
    pub(crate) fn give_way(&self) -> Gave {
        match self.door.load(Ordering::Acquire) {
            ASLEEP => {
                // Whoever has it locked is about to sleep, or to be woken: there is another turn.
                let sleeper = self.sleeper.try_lock().and_then(|mut it| it.take());
                let Some(thread) = sleeper else {
                    return Gave::Nothing;
                };
                thread.unpark();
                return Gave::Call;
            }
            AWAKE => {}
            _ => return Gave::Nothing,
        }
        let withheld = self.withheld.load(Ordering::Relaxed);
        if withheld > 0 {
            self.withheld.store(withheld - 1, Ordering::Relaxed);
            return Gave::Nothing;
        }
        let came = self.came.load(Ordering::Relaxed);
        for _ in 0..GIVE_WAY_LOOKS {
            if self.came.load(Ordering::Relaxed) != came || !self.is_wanted() {
                self.in_vain.store(0, Ordering::Relaxed);
                return Gave::Way;
            }
            pause();
        }
        let in_vain = (self.in_vain.load(Ordering::Relaxed) + 1).min(MOST_RARELY);
        self.in_vain.store(in_vain, Ordering::Relaxed);
        self.withheld.store((1 << in_vain) - 1, Ordering::Relaxed);
        Gave::InVain
    }

    /// The owner's lock where it is not free.
    #[cold]
    pub(crate) fn wait_as_owner(&self) -> MutexGuard<'_, T> {
        self.owner_waits.store(true, Ordering::Relaxed);
        let guard = self.look_as_owner();
        self.owner_waits.store(false, Ordering::Relaxed);
        guard
    }

    fn look_as_owner(&self) -> MutexGuard<'_, T> {
        for _ in 0..OWNER_LOOKS {
            if let Some(guard) = self.state.try_lock() {
                return guard;
            }
            pause();
        }
        // The guest that has it does not run: it wakes us when it lets go.
        self.state.lock()
    }

    /// A guest's lock where it is not free.
    #[cold]
    pub(crate) fn wait_as_guest(&self) -> MutexGuard<'_, T> {
        let queue = self.queue.lock();
        let guard = loop {
            self.door.store(AWAKE, Ordering::Relaxed);
            if let Some(guard) = self.look_as_guest() {
                break guard;
            }
            *self.sleeper.lock() = Some(current());
            self.door.store(ASLEEP, Ordering::Release);
            nap();
        };
        self.door.store(NOBODY, Ordering::Relaxed);
        // No other guest is at the door.
        let came = self.came.load(Ordering::Relaxed).wrapping_add(1);
        self.came.store(came, Ordering::Relaxed);
        drop(queue);
        guard
    }

    fn look_as_guest(&self) -> Option<MutexGuard<'_, T>> {
        for _ in 0..GUEST_LOOKS {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            pause();
        }
        None
    }
}
