//! A bounded queue of many senders and one receiver, where each side finds out in the step that it takes anyway whether the other one
//! sleeps.
//!
//! A sender draws a ticket from `tail` and puts its value into the ticket's slot; the receiver takes slots in the order of their
//! tickets and says with `head` how far it is. `tail` has a bit beside the count that says that the receiver sleeps, and one that says
//! that the queue is closed; `head` has one that says that senders wait. So nobody asks the other side's memory, or the kernel, where
//! the other side is awake.
//!
//! What holds
//! - No value comes between the two halves of another one's way: a ticket that is drawn is filled, or the queue is closed.
//! - The receiver never waits for a sender. One that has drawn a ticket and was taken off its CPU before it filled the slot is found as an
//!   empty slot, and looked at again later.
//! - After [`close`](Ring::close) no ticket is drawn; after [`abandon`](Ring::abandon) no value stays, in whatever order things happen.
//!
//! A slot is a mutex that nobody ever waits for but in `abandon`: this crate has no `unsafe`, and an atomic exchange is what a slot's state
//! would take without it too. `tests/models` tries every order.

use crate::sync::{AtomicU64, Mutex, Ordering};

/// In `tail`: the receiver sleeps.
const ASLEEP: u64 = 1;
/// In `tail`: no more tickets.
const CLOSED: u64 = 2;
/// In `tail`: the receiver is gone, and values are dropped.
const ABANDONED: u64 = 4;
const TICKET: u32 = 3;

/// In `head`: senders wait.
const WAITED_FOR: u64 = 1;
const TAKEN: u32 = 1;

/// A cache line of its own, and the one that is fetched with it.
#[derive(Debug)]
#[repr(align(128))]
struct Line<T>(T);

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    tail: Line<AtomicU64>,
    /// How far the receiver was when a sender looked last.
    seen: AtomicU64,
    head: Line<AtomicU64>,
    /// A power of two, and `capacity` at least.
    slots: Box<[Mutex<Option<T>>]>,
    capacity: u64,
}

/// Why a value could not be put into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

/// What the receiver finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asleep {
    /// It is known to sleep.
    Yes,
    /// A ticket has been drawn: there is a value, or will be at once.
    NotEmpty,
    /// There is nothing, and nothing will come.
    Over,
}

impl<T> Ring<T> {
    /// For so many values, one at least.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.clamp(1, 1 << 30);
        let slots = (0..capacity.next_power_of_two()).map(|_| Mutex::new(None));
        Self {
            tail: Line(AtomicU64::new(0)),
            seen: AtomicU64::new(0),
            head: Line(AtomicU64::new(0)),
            slots: slots.collect(),
            capacity: capacity as u64,
        }
    }

    /// How many values there may be.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many there are, those on their way included.
    pub(crate) fn len(&self) -> usize {
        let head = self.head.0.load(Ordering::Acquire) >> TAKEN;
        let tail = self.tail.0.load(Ordering::Acquire) >> TICKET;
        tail.saturating_sub(head).min(self.capacity) as usize
    }

    /// Whether there is nothing for the receiver, who asks.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.0.load(Ordering::Relaxed) >> TAKEN;
        self.tail.0.load(Ordering::Relaxed) >> TICKET == head
    }

    /// Whether nothing more is put in.
    pub(crate) fn is_closed(&self) -> bool {
        self.tail.0.load(Ordering::Acquire) & CLOSED != 0
    }

    #[inline]
    fn slot(&self, ticket: u64) -> &Mutex<Option<T>> {
        // The mask is below the length, which is not 0.
        &self.slots[(ticket & (self.slots.len() as u64 - 1)) as usize]
    }

    /// How many of `most` tickets may be drawn beside those that are.
    #[inline]
    fn room(&self, ticket: u64, most: u64) -> u64 {
        // With Acquire: what was taken out of the slots is out. Where `ticket` is an older one than `seen`, drawing fails.
        let seen = self.seen.load(Ordering::Acquire);
        let room = (self.capacity + seen).saturating_sub(ticket);
        if room >= most {
            return most;
        }
        let head = self.head.0.load(Ordering::Acquire) >> TAKEN;
        self.seen.store(head, Ordering::Release);
        (self.capacity + head).saturating_sub(ticket).min(most)
    }

    /// Draws up to `most` tickets: the first one, how many, and whether the receiver is to be woken once they are filled.
    #[inline]
    fn draw(&self, most: u64) -> Result<(u64, u64, bool), Refused> {
        let mut tail = self.tail.0.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(Refused::Closed);
            }
            let count = self.room(tail >> TICKET, most);
            if count == 0 {
                return Err(Refused::Full);
            }
            let drawn = (tail & !ASLEEP) + (count << TICKET);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            match (self.tail.0).compare_exchange_weak(tail, drawn, order.0, order.1) {
                Ok(_) => return Ok((tail >> TICKET, count, tail & ASLEEP != 0)),
                Err(now) => tail = now,
            }
        }
    }

    /// Fills a slot. `false` where the receiver is gone: the value is dropped.
    #[inline]
    fn fill(&self, ticket: u64, value: T) -> bool {
        let mut slot = self.slot(ticket).lock();
        // `abandon` says so before it locks the slot, if it has locked it yet.
        if self.tail.0.load(Ordering::Relaxed) & ABANDONED != 0 {
            drop(slot);
            drop(value);
            return false;
        }
        *slot = Some(value);
        true
    }

    /// Puts a value in. Returns whether the receiver sleeps and is to be woken now.
    #[inline]
    pub(crate) fn push(&self, value: T) -> Result<bool, (Refused, T)> {
        match self.draw(1) {
            Ok((ticket, _, wake)) => Ok(self.fill(ticket, value) && wake),
            Err(refused) => Err((refused, value)),
        }
    }

    /// As [`push`](Self::push), of a value that is made once it is certain that it is taken. `make` must not panic: the receiver would wait
    /// for what it makes.
    pub(crate) fn push_with(&self, make: impl FnOnce() -> T) -> Result<bool, Refused> {
        let (ticket, _, wake) = self.draw(1)?;
        Ok(self.fill(ticket, make()) && wake)
    }

    /// Puts in as many of the first values as there is room for, and takes those out of `values`. Returns how many, and whether the
    /// receiver is to be woken now.
    pub(crate) fn push_many(&self, values: &mut Vec<T>) -> Result<(usize, bool), Refused> {
        if values.is_empty() {
            return Ok((0, false));
        }
        let (first, count, wake) = self.draw(values.len() as u64)?;
        let mut alive = true;
        for (ticket, value) in (first..).zip(values.drain(..count as usize)) {
            alive &= self.fill(ticket, value);
        }
        Ok((count as usize, alive && wake))
    }

    /// Takes the first value. The receiver's. Returns with it whether senders wait that are to be woken now.
    #[inline]
    pub(crate) fn pop(&self) -> Option<(T, bool)> {
        if self.is_empty() {
            return None;
        }
        let head = self.head.0.load(Ordering::Relaxed) >> TAKEN;
        let value = self.slot(head).try_lock()?.take()?;
        Some((value, self.advance(head + 1)))
    }

    /// Takes up to `most` values to the end of `out`. The receiver's. Returns how many, and whether senders wait.
    pub(crate) fn pop_many(&self, out: &mut Vec<T>, most: usize) -> (usize, bool) {
        let ready = self.len().min(most);
        if ready == 0 {
            return (0, false);
        }
        // What could fail is before a value is taken.
        out.reserve(ready);
        let head = self.head.0.load(Ordering::Relaxed) >> TAKEN;
        let mut count = 0;
        while count < ready {
            let Some(mut slot) = self.slot(head + count as u64).try_lock() else {
                break;
            };
            let Some(value) = slot.take() else { break };
            drop(slot);
            out.push(value);
            count += 1;
        }
        (count, count > 0 && self.advance(head + count as u64))
    }

    /// The receiver has taken all before this one. Whether senders wait.
    #[inline]
    fn advance(&self, head: u64) -> bool {
        let before = self.head.0.swap(head << TAKEN, Ordering::AcqRel);
        before & WAITED_FOR != 0
    }

    /// The receiver, who has its waker where senders find it, sleeps from now on: whoever draws the next ticket is told to wake it.
    pub(crate) fn sleep(&self) -> Asleep {
        let head = self.head.0.load(Ordering::Relaxed) >> TAKEN;
        let mut tail = self.tail.0.load(Ordering::Acquire);
        loop {
            if tail >> TICKET != head {
                return Asleep::NotEmpty;
            }
            if tail & CLOSED != 0 {
                return Asleep::Over;
            }
            let order = (Ordering::AcqRel, Ordering::Acquire);
            match (self.tail.0).compare_exchange(tail, tail | ASLEEP, order.0, order.1) {
                Ok(_) => return Asleep::Yes,
                Err(now) => tail = now,
            }
        }
    }

    /// A sender, whose waker is where the receiver finds it, waits from now on. Returns whether it need not, as there is room or the queue
    /// is closed.
    pub(crate) fn wait(&self) -> bool {
        let head = self.head.0.fetch_or(WAITED_FOR, Ordering::AcqRel) >> TAKEN;
        let tail = self.tail.0.load(Ordering::Acquire);
        tail & CLOSED != 0 || tail >> TICKET < self.capacity + head
    }

    /// The receiver has woken some of those who wait, and there are more.
    pub(crate) fn still_waited_for(&self) {
        self.head.0.fetch_or(WAITED_FOR, Ordering::AcqRel);
    }

    /// No more tickets from now on. Returns whether the receiver sleeps and is to be woken.
    pub(crate) fn close(&self) -> bool {
        let before = self.tail.0.fetch_or(CLOSED, Ordering::AcqRel);
        before & ASLEEP != 0
    }

    /// The receiver goes: values that are there, or come yet, are dropped. Where a destructor panics it can be called again for the rest.
    pub(crate) fn abandon(&self) {
        let gone = CLOSED | ABANDONED;
        let tail = self.tail.0.fetch_or(gone, Ordering::AcqRel) >> TICKET;
        let head = self.head.0.load(Ordering::Relaxed) >> TAKEN;
        for ticket in head..tail {
            // Not with the slot locked: dropping runs the sender's code.
            let value = self.slot(ticket).lock().take();
            self.head.0.fetch_add(1 << TAKEN, Ordering::AcqRel);
            drop(value);
        }
    }
}
