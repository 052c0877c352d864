//! TIME-WAIT: what a connection does in it, and those that the application has let go of: no buffers, only what is needed
//! to answer what may still be on its way (RFC 9293 section 3.10.7.4).

use alloc::collections::VecDeque;

use dpdk_net_packet::tcp::{Flags, Segment};
use slotmap::new_key_type;

use super::flow::{FlowFlags, Wait, timestamp_clock};
use super::options::{SynOptions, Timestamps};
use super::segment::Control;
use super::table::{FlowKey, FlowRef};
use super::trace::{CloseReason, TraceData};
use super::{Tcp, TimerKey, seq};
use crate::event::TcpId;
use crate::link::Link;
use crate::listing::Listed;
use crate::time::{Duration, Instant};
use crate::wheel::TimerId;

new_key_type! {
    /// A connection in TIME-WAIT that the application has let go of.
    pub struct TimeWaitId;
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
    pub(crate) entries: Listed<TimeWaitId, TimeWait>,
    /// Oldest first; entries that are gone are left until they come to the front or are too many.
    order: VecDeque<TimeWaitId>,
    capacity: usize,
}

impl TimeWaits {
    pub(crate) fn new(capacity: usize) -> Self {
        TimeWaits {
            entries: Listed::new(),
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

impl Tcp {
    /// The flow has just entered TIME-WAIT: its last ACK, if it owes one, goes out at once.
    pub(super) fn enter_time_wait(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        self.stats.time_wait += 1;
        flow.expires = now + self.settings.time_wait;
        (flow.wait, flow.wait_until, flow.ack_at) = (Wait::Nothing, Instant::MAX, Instant::MAX);
        // From CLOSING it comes with the ACK of our FIN, to which there is nothing to say.
        let owed = flow.has(FlowFlags::ACK_NOW);
        flow.flags.remove(FlowFlags::ACK_NOW);
        let totals = flow.totals(now);
        flow.sender = None;
        let (ack, orphan) = (flow.ack(now), flow.has(FlowFlags::ORPHAN));
        if owed {
            let _ = self.send_control(now, link, &ack);
            self.record(now, id, |flow| TraceData::Sent(ack.traced(flow.rcv_shift)));
        }
        self.has_ended(now, id, CloseReason::Fin, totals);
        if orphan {
            self.retire(now, id);
        } else {
            self.set_timer(id, Instant::MAX);
        }
    }

    /// Replaces an orphan in TIME-WAIT by what little has to be kept of it.
    pub(super) fn retire(&mut self, now: Instant, id: TcpId) {
        if self.time_waits.is_full()
            && let Some(oldest) = self.time_waits.oldest()
        {
            self.stats.time_wait_recycled += 1;
            self.remove_time_wait(oldest);
        }
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let ack = flow.ack(now);
        let key = flow.key;
        let expires = flow.expires;
        let timestamps = flow
            .has(FlowFlags::TIMESTAMPS)
            .then_some((flow.ts_recent, flow.ts_offset));
        let wheel = &mut self.wheel;
        let time_wait = self.time_waits.insert_with_key(|id| TimeWait {
            key,
            snd_nxt: ack.seq,
            rcv_nxt: ack.ack,
            window: ack.window,
            hop_limit: ack.hop_limit,
            tos: ack.tos,
            since: now,
            timestamps,
            timer: wheel.insert(TimerKey::TimeWait(id)),
        });
        self.arm_time_wait(time_wait, expires);
        self.enter(&key, FlowRef::TimeWait(time_wait));
        self.free(id);
    }

    pub(super) fn arm_time_wait(&mut self, id: TimeWaitId, at: Instant) {
        if let Some(entry) = self.time_waits.entries.get(id) {
            self.wheel.arm(entry.timer, at);
        }
    }

    pub(super) fn remove_time_wait(&mut self, id: TimeWaitId) {
        if let Some(entry) = self.time_waits.entries.remove(id) {
            self.leave(&entry.key, FlowRef::TimeWait(id));
            self.wheel.remove(entry.timer);
        }
    }

    /// A segment of a connection in TIME-WAIT that the application still holds.
    pub(super) fn flow_in_time_wait(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        segment: &Segment<'_>,
    ) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let key = flow.key;
        let ack = flow.ack(now);
        let recent = flow.has(FlowFlags::TIMESTAMPS).then_some(flow.ts_recent);
        match in_time_wait(segment, ack.ack, recent) {
            InTimeWait::Reset => self.finish(now, id, CloseReason::Fin, None),
            InTimeWait::New => {
                self.stats.time_wait_reused += 1;
                self.finish(now, id, CloseReason::Fin, None);
                self.reopen(now, link, key, segment, ack.seq);
            }
            InTimeWait::FinAgain => {
                flow.expires = now + self.settings.time_wait;
                let _ = self.send_control(now, link, &ack);
            }
            InTimeWait::Answer => self.challenge(now, link, id),
            InTimeWait::Ignore => self.count_unused(segment),
        }
    }

    /// A segment of a connection in TIME-WAIT that the application has let go of.
    pub(super) fn time_wait_segment(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TimeWaitId,
        segment: &Segment<'_>,
    ) {
        let Some(&entry) = self.time_waits.entries.get(id) else {
            return;
        };
        let mut ack = Control::new(entry.key, Flags::ACK, entry.snd_nxt, entry.rcv_nxt);
        ack.window = entry.window;
        ack.hop_limit = entry.hop_limit;
        ack.tos = entry.tos;
        ack.options.timestamps = entry.timestamps.map(|(recent, offset)| Timestamps {
            value: timestamp_clock(now).wrapping_add(offset),
            echo: recent,
        });
        let recent = entry.timestamps.map(|(recent, _)| recent);
        match in_time_wait(segment, entry.rcv_nxt, recent) {
            InTimeWait::Reset => self.remove_time_wait(id),
            InTimeWait::New => {
                self.stats.time_wait_reused += 1;
                self.remove_time_wait(id);
                self.reopen(now, link, entry.key, segment, entry.snd_nxt);
            }
            InTimeWait::FinAgain => {
                self.arm_time_wait(id, now + self.settings.time_wait);
                let _ = self.send_control(now, link, &ack);
            }
            InTimeWait::Answer => {
                if self.challenges.take(now) {
                    self.stats.challenge_acks += 1;
                    let _ = self.send_control(now, link, &ack);
                } else {
                    self.stats.challenge_acks_limited += 1;
                }
            }
            InTimeWait::Ignore => self.count_unused(segment),
        }
    }

    /// A new connection takes the place of one in TIME-WAIT: its sequence numbers start above the old ones (RFC 1122
    /// section 4.2.2.13).
    fn reopen(
        &mut self,
        now: Instant,
        link: &mut Link,
        key: FlowKey,
        segment: &Segment<'_>,
        snd_nxt: u32,
    ) {
        let above = snd_nxt.wrapping_add(65_537);
        let isn = seq::max(self.initial_sequence(now, &key), above);
        if self.refuse_new || !self.syn(now, link, key, segment, isn) {
            if self.is_for_listener_elsewhere(&key) {
                return;
            }
            self.stats.no_connection += 1;
            self.refuse(now, link, key, segment);
        }
    }
}

enum InTimeWait {
    Reset,
    /// A SYN of a new connection.
    New,
    FinAgain,
    Answer,
    Ignore,
}

/// RFC 9293 section 3.10.7.4 for TIME-WAIT, with the reuse by a SYN that is surely of a new connection: its sequence
/// number is above all that the old one has used (RFC 1122 section 4.2.2.13), or its timestamp is newer (RFC 6191).
fn in_time_wait(segment: &Segment<'_>, rcv_nxt: u32, recent: Option<u32>) -> InTimeWait {
    let flags = segment.flags();
    let len = segment.payload().len() as u32;
    if flags.rst() {
        if segment.seq() == rcv_nxt {
            InTimeWait::Reset
        } else {
            InTimeWait::Ignore
        }
    } else if flags.syn() && !flags.ack() && !flags.fin() && is_new(segment, rcv_nxt, recent) {
        InTimeWait::New
    } else if flags.fin() && segment.seq().wrapping_add(len).wrapping_add(1) == rcv_nxt {
        InTimeWait::FinAgain
    } else if flags.syn() || len > 0 || segment.seq() != rcv_nxt {
        InTimeWait::Answer
    } else {
        InTimeWait::Ignore
    }
}

/// RFC 6191 section 2.
fn is_new(syn: &Segment<'_>, rcv_nxt: u32, recent: Option<u32>) -> bool {
    let higher = seq::le(rcv_nxt, syn.seq());
    match (recent, SynOptions::of(syn).timestamps) {
        (Some(recent), Some(timestamps)) if timestamps.value != recent => {
            seq::lt(recent, timestamps.value)
        }
        _ => higher,
    }
}
