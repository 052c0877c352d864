//! CPU time, user and system, of threads and processes; and which CPUs threads are to have.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// This thread's first CPU, and the others. The first is the worker's: EAL pins the thread to it. To be asked before EAL.
///
/// # Errors
/// There is only one.
pub fn first_and_others() -> anyhow::Result<[CpuSet; 2]> {
    let mut cpus = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|&cpu| cpus.is_set(cpu));
    let first = first.context("a thread without a CPU")?;
    cpus.unset(first);
    let mut own = CpuSet::new();
    own.set(first);
    anyhow::ensure!(
        cpus.count() > 0,
        "it takes two CPUs: one for the worker, one for other threads"
    );
    Ok([own, cpus])
}

/// Moves this thread to `cpus`.
///
/// # Panics
/// The kernel refuses.
pub fn move_to(cpus: &CpuSet) {
    sched_setaffinity(None, cpus).expect("a thread may have its process's CPUs");
}

/// That of a thread of this process.
pub fn of_thread(thread: rustix::process::Pid) -> anyhow::Result<Duration> {
    run_time(format!("/proc/self/task/{}", thread.as_raw_nonzero()).as_ref())
}

/// That of all threads of a process that run.
pub fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let mut sum = Duration::ZERO;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        sum += run_time(&thread?.path())?;
    }
    Ok(sum)
}

/// The first figure of a task's `schedstat`, in nanoseconds (the kernel's Documentation/scheduler/sched-stats).
fn run_time(task: &Path) -> anyhow::Result<Duration> {
    let path = task.join("schedstat");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|field| field.parse().ok());
    Ok(Duration::from_nanos(nanos.with_context(|| {
        format!("{} holds no run time", path.display())
    })?))
}
