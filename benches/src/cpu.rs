//! CPU time, user and system, of threads and processes.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;

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
