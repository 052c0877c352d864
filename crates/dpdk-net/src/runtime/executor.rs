//! [`LocalExecutor`]: tasks of one thread, with as little around them as there can be.
//!
//! What holds
//! - a task lies in a slot of a table; who is ready is a number in a queue. Neither polling nor waking allocates;
//! - the thread that runs an executor has its queue in a thread-local, so a wake from there is a flag and a push. From anywhere else it
//!   goes through a lock-free queue, and the executor is told by a flag;
//! - a task is in the queue once, however often it is woken, and one that wakes itself runs again behind all that are ready, and behind
//!   the next turn of the device;
//! - a thread runs one executor at a time: one inside another would keep the outer one's tasks from running, and is refused.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use crossbeam_queue::{ArrayQueue, SegQueue};
use parking_lot::Mutex;
use slab::Slab;

use super::{JoinHandle, LocalTask, Spawn, join};
use crate::error::Error;

/// The number of the future that an executor runs for, beside those of its tasks.
const ROOT: usize = usize::MAX;

/// Wakes from other threads that wait without allocating.
const REMOTE: usize = 1024;

/// What the thread runs, and who is ready there.
struct Here {
    /// The number of the executor that the thread runs; 0 if none.
    executor: Cell<u64>,
    ready: RefCell<VecDeque<usize>>,
}

thread_local! {
    static HERE: Here = const {
        Here { executor: Cell::new(0), ready: RefCell::new(VecDeque::new()) }
    };
}

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// What other threads have of an executor.
struct Remote {
    executor: u64,
    woken: ArrayQueue<Arc<Handle>>,
    /// What found no room there.
    more: SegQueue<Arc<Handle>>,
    /// Something is in one of them.
    any: AtomicBool,
    /// The executor sleeps, or is about to.
    sleeps: AtomicBool,
    /// The executor has ended: nobody takes anything out any more.
    closed: AtomicBool,
    thread: Mutex<Option<Thread>>,
}

impl Remote {
    #[cold]
    fn push(&self, handle: &Arc<Handle>) {
        // A handle that stayed here would keep itself: it owns this.
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        if let Err(handle) = self.woken.push(handle.clone()) {
            self.more.push(handle);
        }
        // Either this sees that it was closed meanwhile, or who closes it sees the handle.
        if self.closed.load(Ordering::SeqCst) {
            self.empty();
            return;
        }
        self.any.store(true, Ordering::SeqCst);
        if self.sleeps.swap(false, Ordering::SeqCst)
            && let Some(thread) = &*self.thread.lock()
        {
            thread.unpark();
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.empty();
    }

    #[cold]
    fn empty(&self) {
        while self.woken.pop().is_some() || self.more.pop().is_some() {}
    }
}

/// What wakers of a task refer to.
struct Handle {
    task: usize,
    /// It is in the ready queue. Only the executor's thread writes to this.
    ready: AtomicBool,
    /// It is in the queue of other threads.
    remote: AtomicBool,
    shared: Arc<Remote>,
}

impl Handle {
    fn new(task: usize, shared: Arc<Remote>) -> Arc<Self> {
        Arc::new(Self {
            task,
            ready: AtomicBool::new(false),
            remote: AtomicBool::new(false),
            shared,
        })
    }

    /// Puts it into the queue of the thread, which runs its executor.
    #[inline]
    fn push(&self, queue: &mut VecDeque<usize>) {
        // No other thread writes: there is nothing to be ordered.
        if !self.ready.load(Ordering::Relaxed) {
            self.ready.store(true, Ordering::Relaxed);
            queue.push_back(self.task);
        }
    }
}

impl Wake for Handle {
    #[inline]
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    #[inline]
    fn wake_by_ref(self: &Arc<Self>) {
        let pushed = HERE.try_with(|here| {
            if here.executor.get() != self.shared.executor {
                return false;
            }
            self.push(&mut here.ready.borrow_mut());
            true
        });
        if !pushed.unwrap_or(false) && !self.remote.swap(true, Ordering::AcqRel) {
            self.shared.push(self);
        }
    }
}

/// A task that is not being polled.
struct Task {
    future: LocalTask,
    handle: Arc<Handle>,
    waker: Waker,
}

struct Inner {
    /// `None` of the task that is being polled, and of one that has ended while its number is still queued.
    tasks: RefCell<Slab<Option<Task>>>,
    /// Who is ready while no thread runs the executor.
    ready: RefCell<VecDeque<usize>>,
    remote: Arc<Remote>,
    /// The future that it is run for.
    root: (Arc<Handle>, Waker),
    /// It takes no tasks any more.
    closed: Cell<bool>,
}

impl Inner {
    fn is_here(&self) -> bool {
        let executor = HERE.try_with(|here| here.executor.get());
        executor.is_ok_and(|executor| executor == self.remote.executor)
    }

    fn spawn(&self, future: LocalTask) {
        if self.closed.get() {
            // Outside of all borrows: what is dropped may spawn.
            drop(future);
            return;
        }
        let handle = {
            let mut tasks = self.tasks.borrow_mut();
            let entry = tasks.vacant_entry();
            let handle = Handle::new(entry.key(), self.remote.clone());
            entry.insert(Some(Task {
                future,
                waker: handle.clone().into(),
                handle: handle.clone(),
            }));
            handle
        };
        if self.is_here() {
            handle.wake();
        } else {
            handle.push(&mut self.ready.borrow_mut());
        }
    }

    /// Polls a task that has come up in the queue.
    #[inline]
    fn poll(&self, number: usize) {
        let taken = {
            let mut tasks = self.tasks.borrow_mut();
            match tasks.get_mut(number).map(Option::take) {
                // It ended while its number was queued.
                Some(None) => {
                    tasks.try_remove(number);
                    None
                }
                taken => taken.flatten(),
            }
        };
        let Some(mut task) = taken else { return };
        task.handle.ready.store(false, Ordering::Relaxed);
        let polled = Pin::new(&mut task.future).poll(&mut Context::from_waker(&task.waker));
        match polled {
            Poll::Pending => {
                let mut tasks = self.tasks.borrow_mut();
                if let Some(slot) = tasks.get_mut(number) {
                    *slot = Some(task);
                }
            }
            Poll::Ready(()) => {
                // While its number is queued its place stays taken: another task there would be queued twice.
                if !task.handle.ready.load(Ordering::Relaxed) {
                    self.tasks.borrow_mut().try_remove(number);
                }
                // Wakers that are left wake nobody.
                task.handle.ready.store(true, Ordering::Relaxed);
                task.handle.remote.store(true, Ordering::Release);
                drop(task);
            }
        }
    }

    /// Puts those who were woken from elsewhere into the thread's queue.
    #[inline]
    fn take_remote(&self, ready: &RefCell<VecDeque<usize>>) {
        if self.remote.any.load(Ordering::SeqCst) {
            self.drain_remote(ready);
        }
    }

    #[cold]
    fn drain_remote(&self, ready: &RefCell<VecDeque<usize>>) {
        // Before the queues are looked at: who comes later sets it again.
        self.remote.any.store(false, Ordering::SeqCst);
        // No more than are there: others may push without an end.
        for _ in 0..self.remote.woken.len() + self.remote.more.len() {
            let next = self.remote.woken.pop();
            let Some(handle) = next.or_else(|| self.remote.more.pop()) else {
                return;
            };
            // What its waker has written is seen by who polls it.
            handle.remote.swap(false, Ordering::AcqRel);
            handle.push(&mut ready.borrow_mut());
        }
        if !(self.remote.woken.is_empty() && self.remote.more.is_empty()) {
            self.remote.any.store(true, Ordering::SeqCst);
        }
    }

    /// Drops all tasks.
    fn clear(&self) {
        self.closed.set(true);
        self.remote.close();
        loop {
            let next = {
                let mut tasks = self.tasks.borrow_mut();
                let key = tasks.iter().next().map(|(key, _)| key);
                key.and_then(|key| tasks.try_remove(key))
            };
            match next {
                Some(Some(task)) => {
                    task.handle.ready.store(true, Ordering::Relaxed);
                    task.handle.remote.store(true, Ordering::Release);
                    drop(task);
                }
                Some(None) => {}
                None => break,
            }
        }
        self.ready.borrow_mut().clear();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Has the thread run an executor until it is dropped.
struct Running<'a>(&'a Inner);

impl<'a> Running<'a> {
    fn begin(inner: &'a Inner) -> Result<Self, Error> {
        let begun = HERE.try_with(|here| {
            if here.executor.get() != 0 {
                return false;
            }
            here.executor.set(inner.remote.executor);
            std::mem::swap(
                &mut *here.ready.borrow_mut(),
                &mut *inner.ready.borrow_mut(),
            );
            true
        });
        match begun {
            Ok(true) => {
                *inner.remote.thread.lock() = Some(std::thread::current());
                Ok(Self(inner))
            }
            _ => Err(Error::NestedRuntime),
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let _ = HERE.try_with(|here| {
            here.executor.set(0);
            std::mem::swap(
                &mut *here.ready.borrow_mut(),
                &mut *self.0.ready.borrow_mut(),
            );
        });
        self.0.remote.thread.lock().take();
    }
}

/// What an executor does beside polling tasks.
pub(super) trait Beside {
    /// Before the tasks are run that are ready.
    fn turn(&mut self);
    /// Nobody is ready. `true` if the thread may sleep until somebody is woken.
    fn rest(&mut self) -> bool;
}

/// Nothing.
struct Alone;

impl Beside for Alone {
    fn turn(&mut self) {}
    fn rest(&mut self) -> bool {
        true
    }
}

/// Runs tasks on one thread, that need not be `Send`.
///
/// It is what [`Local`](super::Local) has its tasks in, and may be used without a worker. [`time`](crate::time) works in it, and all that
/// needs no reactor. Dropping it drops its tasks.
///
/// ```
/// use dpdk_net::runtime::LocalExecutor;
///
/// let executor = LocalExecutor::new();
/// let task = executor.spawn(async { 6 * 7 });
/// assert_eq!(executor.run(task)??, 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LocalExecutor {
    inner: Rc<Inner>,
}

impl fmt::Debug for LocalExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("LocalExecutor");
        if let Ok(tasks) = self.inner.tasks.try_borrow() {
            text.field("tasks", &tasks.len());
        }
        text.finish_non_exhaustive()
    }
}

impl Default for LocalExecutor {
    fn default() -> Self {
        Self::new()
    }
}

impl LocalExecutor {
    /// An executor without tasks.
    pub fn new() -> Self {
        let remote = Arc::new(Remote {
            executor: NUMBER.fetch_add(1, Ordering::Relaxed),
            woken: ArrayQueue::new(REMOTE),
            more: SegQueue::new(),
            any: AtomicBool::new(false),
            sleeps: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            thread: Mutex::new(None),
        });
        let root = Handle::new(ROOT, remote.clone());
        Self {
            inner: Rc::new(Inner {
                tasks: RefCell::default(),
                ready: RefCell::default(),
                remote,
                root: (root.clone(), root.into()),
                closed: Cell::new(false),
            }),
        }
    }

    /// Spawns a task. It runs whenever the executor does.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let (task, handle) = join::task(future);
        self.inner.spawn(task);
        handle
    }

    /// Runs the tasks until `future` is done, and sleeps while nobody is ready. Tasks that are not done stay, and go on with the next call.
    ///
    /// # Errors
    /// [`Error::NestedRuntime`] on a thread that runs an executor or a worker already: it could not go on meanwhile, and whoever waits for one of
    /// its tasks would wait for ever.
    ///
    /// # Panics
    /// With `future`'s own panic. Those of tasks are given to their handles.
    pub fn run<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        let _runs = super::Runs::begin().ok_or(Error::NestedRuntime)?;
        let _own = super::coop::begin();
        let _spawner = super::context::spawning(self.spawner());
        self.run_beside(future, &mut Alone)
    }

    pub(super) fn spawner(&self) -> Rc<dyn Spawn> {
        Rc::new(Spawner(Rc::downgrade(&self.inner)))
    }

    /// As [`run`](Self::run), with something done each time before the ready tasks are run.
    pub(super) fn run_beside<F: Future>(
        &self,
        future: F,
        beside: &mut impl Beside,
    ) -> Result<F::Output, Error> {
        let inner = &*self.inner;
        let _running = Running::begin(inner)?;
        let (root, waker) = &inner.root;
        let mut future = pin!(future);
        // What is left of an earlier future's wakes.
        root.ready.store(false, Ordering::Relaxed);
        HERE.with(|here| {
            here.ready.borrow_mut().retain(|number| *number != ROOT);
            root.push(&mut here.ready.borrow_mut());
            loop {
                beside.turn();
                inner.take_remote(&here.ready);
                let ready = here.ready.borrow().len();
                if ready == 0 {
                    if beside.rest() {
                        self.sleep();
                    }
                    continue;
                }
                for _ in 0..ready {
                    let Some(number) = here.ready.borrow_mut().pop_front() else {
                        break;
                    };
                    if number != ROOT {
                        inner.poll(number);
                        continue;
                    }
                    root.ready.store(false, Ordering::Relaxed);
                    let mut cx = Context::from_waker(waker);
                    let polled = super::coop::budgeted(|| future.as_mut().poll(&mut cx));
                    if let Poll::Ready(output) = polled {
                        return Ok(output);
                    }
                }
            }
        })
    }

    /// Sleeps until somebody is woken by another thread.
    fn sleep(&self) {
        let remote = &self.inner.remote;
        remote.sleeps.store(true, Ordering::SeqCst);
        // Who pushes from now on sees that it sleeps.
        while !remote.any.load(Ordering::SeqCst) && remote.sleeps.load(Ordering::SeqCst) {
            std::thread::park();
        }
        remote.sleeps.store(false, Ordering::SeqCst);
    }

    /// Drops all tasks. From now on what is spawned is cancelled.
    pub(super) fn close(&self) {
        self.inner.clear();
    }
}

/// What spawns on an executor and does not keep it.
struct Spawner(Weak<Inner>);

impl Spawn for Spawner {
    fn spawn(&self, task: LocalTask) {
        match self.0.upgrade() {
            Some(inner) => inner.spawn(task),
            None => drop(task),
        }
    }
}

#[cfg(test)]
mod tests;
