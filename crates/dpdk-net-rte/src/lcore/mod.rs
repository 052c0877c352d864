//! Lcores: DPDK's threads, one for each entry of `--lcores`, and running functions on them.
//!
//! What lives here: [`Lcore`] and what can be asked of one. `launch` runs functions on workers and hands their results
//! back, `scope` does so for functions that borrow, `group` for many lcores at once. Threads that DPDK did not make
//! are in [`thread`](crate::thread).
//!
//! What holds:
//! - An lcore runs one function at a time. Who may launch on it is decided by its slot in `launch::SLOTS`, not by
//!   DPDK's own state, whose check and launch are two steps.
//! - Nothing unwinds into DPDK's threads: a panic in a launched function is caught and becomes [`Error::Panicked`].
//! - A launched function holds an [`Eal`] until it has returned, so DPDK is not cleaned up under it.

mod group;
mod launch;
mod scope;

use core::fmt;

use dpdk_net_sys as sys;

pub use group::{LaunchBuilder, LaunchGroup};
pub use launch::LaunchHandle;
pub(crate) use launch::wait_until_all_idle;
pub use scope::{Scope, ScopedLaunch};

use crate::{Eal, Error, SocketId};

/// The number of an lcore, below [`LcoreId::LIMIT`] for those that DPDK knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// The numbers that this build of DPDK can use are below this one (`RTE_MAX_LCORE`).
    pub const LIMIT: u32 = sys::DN_MAX_LCORE;

    /// The lcore of this number. Whether there is one is for [`Lcore::from_id`] to say.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn index(self) -> u32 {
        self.0
    }

    /// The lcore that the calling thread is, if it is one or registered as one. Needs no [`Eal`].
    pub fn current() -> Option<Self> {
        // SAFETY: reads a thread-local of the calling thread; needs no EAL.
        match unsafe { sys::dn_lcore_id() } {
            sys::DN_LCORE_ID_ANY => None,
            number => Some(Self(number)),
        }
    }
}

impl From<u32> for LcoreId {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lcore {}", self.0)
    }
}

impl fmt::Debug for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LcoreId({})", self.0)
    }
}

/// What an lcore is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LcoreRole {
    /// One of `--lcores`: the main lcore or a worker.
    Rte,
    /// Reserved for DPDK's services (`-s`).
    Service,
    /// A registered thread that DPDK did not make.
    NonEal,
    /// Unused.
    Off,
}

/// What an lcore does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LcoreState {
    /// It waits for a function.
    Waiting,
    /// It runs one. The main lcore always does.
    Running,
}

/// An lcore of a running EAL.
#[derive(Debug, Clone)]
pub struct Lcore {
    eal: Eal,
    id: LcoreId,
}

/// The same lcore, as a process has one EAL.
impl PartialEq for Lcore {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Lcore {}

impl Lcore {
    /// The lcore of this number, if it is in use: a lcore of `--lcores`, a service lcore or a registered thread.
    pub fn from_id(eal: &Eal, id: LcoreId) -> Option<Self> {
        (role(id) != LcoreRole::Off).then(|| Self::new(eal, id))
    }

    /// The lcore that the calling thread is, or `None` on a thread that is neither an lcore nor registered.
    pub fn current(eal: &Eal) -> Option<Self> {
        LcoreId::current().map(|id| Self::new(eal, id))
    }

    /// The main lcore: the thread that started the EAL.
    pub fn main(eal: &Eal) -> Self {
        Self::new(eal, main_id())
    }

    /// All lcores of `--lcores`, the main one among them, by number.
    pub fn all(eal: &Eal) -> impl Iterator<Item = Self> + use<> {
        let eal = eal.clone();
        (0..LcoreId::LIMIT)
            .map(LcoreId)
            .filter(|&id| role(id) == LcoreRole::Rte)
            .map(move |id| Self::new(&eal, id))
    }

    /// The lcores that functions can be launched on: all but the main one, by number.
    pub fn workers(eal: &Eal) -> impl Iterator<Item = Self> + use<> {
        Self::all(eal).filter(Lcore::is_worker)
    }

    fn new(eal: &Eal, id: LcoreId) -> Self {
        Self {
            eal: eal.clone(),
            id,
        }
    }

    /// Its number.
    pub fn id(&self) -> LcoreId {
        self.id
    }

    /// The EAL that it belongs to.
    pub fn eal(&self) -> &Eal {
        &self.eal
    }

    /// The NUMA socket of its CPU (`rte_lcore_to_socket_id`).
    pub fn socket_id(&self) -> SocketId {
        // SAFETY: the EAL is initialised; takes any number below RTE_MAX_LCORE, which `id` is.
        let socket = unsafe { sys::rte_lcore_to_socket_id(self.id.0) };
        SocketId::from_raw(socket as i32)
    }

    /// The CPUs that it may run on, by number (`rte_lcore_cpuset`): one, unless `--lcores` lets it float over several.
    /// They are the kernel's numbers, as in `--lcores` behind the `@`.
    pub fn cpus(&self) -> Vec<u32> {
        let next = |from| {
            // SAFETY: the EAL is initialised and the lcore's number below RTE_MAX_LCORE; takes any CPU's.
            let cpu = unsafe { sys::dn_lcore_next_cpu(self.id.0, from) };
            (cpu != u32::MAX).then_some(cpu)
        };
        core::iter::successors(next(0), |cpu| next(cpu + 1)).collect()
    }

    /// What it is for (`rte_eal_lcore_role`).
    pub fn role(&self) -> LcoreRole {
        role(self.id)
    }

    /// Whether it runs a function. A function that has returned its result counts as running until its lcore is ready
    /// for the next one.
    pub fn state(&self) -> LcoreState {
        if !self.is_worker() || launch::is_busy(self.id) {
            return LcoreState::Running;
        }
        // SAFETY: the EAL is initialised and the number below RTE_MAX_LCORE.
        match unsafe { sys::rte_eal_get_lcore_state(self.id.0) } {
            sys::WAIT => LcoreState::Waiting,
            _ => LcoreState::Running,
        }
    }

    /// Whether it is the main lcore.
    pub fn is_main(&self) -> bool {
        self.id == main_id()
    }

    /// Whether functions can be launched on it.
    pub fn is_worker(&self) -> bool {
        is_worker(self.id)
    }

    /// Runs `function` on this worker and returns at once (`rte_eal_remote_launch`). The handle waits for the result;
    /// a handle that is dropped leaves the function running.
    ///
    /// # Errors
    ///
    /// [`Error::NotAWorker`] for the main lcore, a service lcore or a registered thread, [`Error::LcoreBusy`] while it
    /// runs another function.
    pub fn launch<F, T>(&self, function: F) -> Result<LaunchHandle<T>, Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        launch::spawn(self, function)
    }

    /// Runs `function` on this lcore and waits for its result. It may borrow. On the calling lcore itself it is called
    /// directly.
    ///
    /// # Errors
    ///
    /// Those of [`Lcore::launch`], and [`Error::Panicked`] if the function panicked.
    pub fn run<F, T>(&self, function: F) -> Result<T, Error>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        if LcoreId::current() == Some(self.id) {
            return launch::catch(self.id, function);
        }
        self.eal
            .scope(|scope| scope.launch(self, function)?.join())?
    }

    /// Waits until this worker has nothing to run. Whether what it ran succeeded is for its handle to say.
    ///
    /// # Errors
    ///
    /// [`Error::NotAWorker`] if nothing can run there, [`Error::WaitForSelf`] when called on that lcore.
    pub fn wait(&self) -> Result<(), Error> {
        if !self.is_worker() {
            return Err(Error::NotAWorker { lcore: self.id });
        }
        if LcoreId::current() == Some(self.id) {
            return Err(Error::WaitForSelf { lcore: self.id });
        }
        launch::wait_until_idle(self.id);
        Ok(())
    }
}

/// Lcores, from the handle that everything starts with.
impl Eal {
    /// All lcores of `--lcores`: [`Lcore::all`].
    pub fn lcores(&self) -> impl Iterator<Item = Lcore> + use<> {
        Lcore::all(self)
    }

    /// The lcores that functions can be launched on: [`Lcore::workers`].
    pub fn worker_lcores(&self) -> impl Iterator<Item = Lcore> + use<> {
        Lcore::workers(self)
    }

    /// The thread that started the EAL: [`Lcore::main`].
    pub fn main_lcore(&self) -> Lcore {
        Lcore::main(self)
    }

    /// The lcore of this number: [`Lcore::from_id`].
    pub fn lcore(&self, id: LcoreId) -> Option<Lcore> {
        Lcore::from_id(self, id)
    }

    /// The lcore that the calling thread is: [`Lcore::current`].
    pub fn current_lcore(&self) -> Option<Lcore> {
        Lcore::current(self)
    }

    /// The NUMA sockets of this machine, as DPDK found them.
    pub fn sockets(&self) -> impl Iterator<Item = SocketId> + use<> {
        // SAFETY: the EAL is initialised; reads its configuration.
        let count = unsafe { sys::rte_socket_count() };
        (0..count)
            // SAFETY: the EAL is initialised; returns -1 for an index that is too large.
            .map(|index| SocketId::from_raw(unsafe { sys::rte_socket_id_by_idx(index) }))
    }

    /// Waits until no worker runs a function.
    ///
    /// # Errors
    ///
    /// [`Error::WaitForSelf`] on a worker.
    pub fn wait_all_workers(&self) -> Result<(), Error> {
        self.worker_lcores().try_for_each(|lcore| lcore.wait())
    }

    /// Runs `function` on each worker; [`LaunchBuilder`] chooses among them.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorkers`] if there is none; otherwise those of [`LaunchBuilder::launch`].
    pub fn launch_on_workers<F, T>(&self, function: F) -> Result<LaunchGroup<T>, Error>
    where
        F: Fn(&Lcore) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        LaunchBuilder::new(self).launch(function)
    }

    /// Runs functions on workers that may borrow from the caller, and returns when all of them have ended.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), dpdk_net_rte::Error> {
    /// # let eal = dpdk_net_rte::Eal::builder("doc").init()?;
    /// let words = ["burst", "mbuf"];
    /// let lengths = eal.scope(|scope| -> Result<Vec<usize>, dpdk_net_rte::Error> {
    ///     let running: Vec<_> = words
    ///         .iter()
    ///         .zip(eal.worker_lcores())
    ///         .map(|(word, lcore)| scope.launch(&lcore, || word.len()))
    ///         .collect::<Result<_, _>>()?;
    ///     running.into_iter().map(|handle| handle.join()).collect()
    /// })??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Panicked`] if a launched function panicked and nobody joined it.
    pub fn scope<'env, F, T>(&self, function: F) -> Result<T, Error>
    where
        F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
    {
        scope::enter(function)
    }
}

fn main_id() -> LcoreId {
    // SAFETY: reads the EAL's configuration; callers hold an `Eal` or are about to drop the last one.
    LcoreId(unsafe { sys::rte_get_main_lcore() })
}

fn role(id: LcoreId) -> LcoreRole {
    if id.0 >= LcoreId::LIMIT {
        return LcoreRole::Off;
    }
    // SAFETY: the number is below RTE_MAX_LCORE; reads the EAL's configuration.
    match unsafe { sys::rte_eal_lcore_role(id.0) } {
        sys::ROLE_RTE => LcoreRole::Rte,
        sys::ROLE_SERVICE => LcoreRole::Service,
        sys::ROLE_NON_EAL => LcoreRole::NonEal,
        _ => LcoreRole::Off,
    }
}

fn is_worker(id: LcoreId) -> bool {
    role(id) == LcoreRole::Rte && id != main_id()
}

/// Whether the calling thread is a worker lcore.
pub(crate) fn current_is_worker() -> bool {
    LcoreId::current().is_some_and(is_worker)
}
