//! What a worker does when there is nothing to do.

/// What a worker does when there is nothing to do.
///
/// A worker polls its queues; it has no interrupt to wait for. The policy says what it does between two
/// polls that found nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum IdlePolicy {
    /// Polls again at once: the lowest latency, one core at 100 %. The default, for a core of its own.
    #[default]
    Spin,
    /// Lets other threads have the core (`sched_yield`) after this many turns in a row that found nothing,
    /// and on each further one until there is work. For a core that is shared: costs a system call a turn
    /// only when idle, and no latency on a core that nobody else wants.
    Yield {
        /// Idle turns in a row before the first yield.
        after: u32,
    },
}

impl IdlePolicy {
    /// Called after a turn; `idle_turns` is the number of turns in a row that found nothing.
    #[inline]
    pub(crate) fn pause(self, idle_turns: u32) {
        if let Self::Yield { after } = self
            && idle_turns > after
        {
            std::thread::yield_now();
        }
    }
}
