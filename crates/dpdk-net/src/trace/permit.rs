//! How much memory the traces of a process may take together.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use dpdk_net_stack::TraceEvent;

const MIB: usize = 1024 * 1024;

/// Bytes that events of all traces of a process may take while they wait: those of three of the largest traces, or of fifty by default.
pub const MOST_MEMORY: usize = 1024 * MIB;

/// Bytes that are promised to traces.
static MEMORY: AtomicUsize = AtomicUsize::new(0);

/// Leave to take as much memory as the events of a trace may need. Dropped, others may have it.
#[derive(Debug)]
pub(super) struct Permit {
    memory: usize,
}

impl Permit {
    /// For so many connections, each with so many events that wait.
    ///
    /// # Errors
    /// `OutOfMemory`, with how much is left.
    pub(super) fn take(connections: usize, events: usize) -> io::Result<Self> {
        let wanted = connections
            .saturating_mul(events)
            .saturating_mul(size_of::<TraceEvent>());
        let more = |memory: usize| memory.checked_add(wanted).filter(|all| *all <= MOST_MEMORY);
        match MEMORY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Self { memory: wanted }),
            Err(taken) => {
                let (wanted, left) = (
                    wanted.div_ceil(MIB),
                    MOST_MEMORY.saturating_sub(taken) / MIB,
                );
                let why = format!(
                    "{events} events of each of {connections} connections can take {wanted} MiB, {left} of {} MiB are left to \
                     traces: choose fewer events or fewer connections, or end another trace",
                    MOST_MEMORY / MIB
                );
                Err(io::Error::new(io::ErrorKind::OutOfMemory, why))
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        MEMORY.fetch_sub(self.memory, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test, as there is one number in a process.
    #[test]
    fn memory_of_traces_is_bounded_together_and_given_back() {
        let events = MOST_MEMORY / size_of::<TraceEvent>() / 4;
        let half = Permit::take(2, events).unwrap();
        let error = Permit::take(3, events).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        assert_eq!(
            error.to_string(),
            format!(
                "{events} events of each of 3 connections can take 768 MiB, 512 of 1024 MiB are left to traces: choose fewer \
                 events or fewer connections, or end another trace"
            )
        );
        // What was refused has taken nothing.
        let other_half = Permit::take(2, events).unwrap();
        assert!(Permit::take(1, 1_000).is_err());
        drop((half, other_half));
        assert!(Permit::take(usize::MAX, 2).is_err());
        drop(Permit::take(4, events).unwrap());
    }
}
