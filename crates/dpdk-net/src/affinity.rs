//! CPU affinity of threads that are not lcores.
//!
//! EAL pins the thread that starts it to its lcore's CPU, and every thread made from there inherits that:
//! tokio's blocking threads would all crowd onto the one core that polls. So the set of CPUs that the
//! process had before EAL came up is kept here, and restored on those threads.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// A set of CPUs to run on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affinity(CpuSet);

impl Affinity {
    /// The CPUs that the calling thread may run on; `None` if the kernel does not tell.
    pub(crate) fn current() -> Option<Self> {
        sched_getaffinity(None).ok().map(Self)
    }

    /// Every CPU. The kernel cuts it down to those that the process's cgroup allows.
    pub(crate) fn all() -> Self {
        let mut set = CpuSet::new();
        for cpu in 0..CpuSet::MAX_CPU {
            set.set(cpu);
        }
        Self(set)
    }

    /// Makes the calling thread run on these CPUs.
    pub(crate) fn apply(self) {
        if let Err(error) = sched_setaffinity(None, &self.0) {
            tracing::warn!(%error, "CPU affinity of a thread could not be set; it shares the worker's core");
        }
    }
}
