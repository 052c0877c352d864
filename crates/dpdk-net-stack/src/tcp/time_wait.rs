//! Connections in TIME-WAIT that the application has let go of: no state machine and no buffers, only what is needed
//! to answer what may still be on its way (RFC 9293 section 3.10.7.4).

use alloc::collections::VecDeque;

use slotmap::{SlotMap, new_key_type};

use super::table::FlowKey;
use crate::time::{Duration, Instant};
use crate::wheel::TimerId;

new_key_type! {
    /// An entry in TIME-WAIT.
    pub(crate) struct TimeWaitId;
}

/// One connection in TIME-WAIT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeWait {
    pub(crate) key: FlowKey,
    pub(crate) snd_nxt: u32,
    pub(crate) rcv_nxt: u32,
    pub(crate) window: u16,
    pub(crate) hop_limit: u8,
    pub(crate) tos: u8,
    /// When the application let go of it, or it came to TIME-WAIT, whichever was later.
    pub(crate) since: Instant,
    /// TS.Recent, and what is added to the clock to make our own, if timestamps are on.
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) timer: TimerId,
}

/// The clock of timestamps has moved by then, whatever its granularity.
const REOPEN_AFTER: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug)]
pub(crate) struct TimeWaits {
    pub(crate) entries: SlotMap<TimeWaitId, TimeWait>,
    /// Oldest first; entries that are gone are left until they come to the front or are too many.
    order: VecDeque<TimeWaitId>,
    capacity: usize,
}

impl TimeWaits {
    pub(crate) fn new(capacity: usize) -> Self {
        TimeWaits {
            entries: SlotMap::with_key(),
            order: VecDeque::new(),
            capacity,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    /// Whether a connection may be opened in place of this one: its timestamps are newer for sure (RFC 6191 section 2, as
    /// `tcp_tw_reuse`).
    pub(crate) fn may_reopen(&self, now: Instant, id: TimeWaitId) -> bool {
        self.entries
            .get(id)
            .is_some_and(|entry| entry.timestamps.is_some() && now - entry.since >= REOPEN_AFTER)
    }

    pub(crate) fn oldest(&mut self) -> Option<TimeWaitId> {
        while let Some(&id) = self.order.front() {
            if self.entries.contains_key(id) {
                return Some(id);
            }
            self.order.pop_front();
        }
        None
    }

    pub(crate) fn insert_with_key(
        &mut self,
        make: impl FnOnce(TimeWaitId) -> TimeWait,
    ) -> TimeWaitId {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order.retain(|id| entries.contains_key(*id));
        }
        let id = self.entries.insert_with_key(make);
        self.order.push_back(id);
        id
    }
}
