//! Buffers on loan: who has some, who gives them back, and how far they may grow.

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use super::busy::Busy;
use super::flow::{Flow, FlowFlags};
use super::flows::Flows;
use super::send_buf::Memory;
use super::{Settings, TcpState};
use crate::event::TcpId;
use crate::stats::TcpCounters;
use crate::time::{Duration, Instant};

/// Buffers: those that no connection has, and who has the others.
///
/// A connection that takes some keeps them through its next requests. About once a second all that have any are looked
/// at ([`Pool::due`]), and those that are silent and have no bytes give theirs back.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    #[expect(
        clippy::vec_box,
        reason = "boxes go to connections and come back as they are"
    )]
    free: alloc::vec::Vec<Box<Busy>>,
    lent: VecDeque<TcpId>,
    /// How many of `lent`, from the front, this round has still to look at.
    left: usize,
    /// When some are to be looked at; meaningless while `lent` is empty.
    next_look: Instant,
    /// Bytes by which buffers may still grow, and by how many they could at first.
    growth: usize,
    all_growth: usize,
    /// Where bulk to be sent is written to.
    pub(crate) memory: Memory,
}

/// Buffers kept for the next connection that has bytes.
const POOLED: usize = 256;

/// Beyond so many connections with buffers the silence is not waited for: theirs would not be in the cache.
const LENT: usize = 2_048;
/// How long a silent connection keeps its buffers, about.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Connections looked at in one go, and the time until the next go.
const LOOKS: usize = 256;
const LOOKS_INTERVAL: Duration = Duration::from_millis(1);

impl Pool {
    pub(crate) fn new(growth: usize) -> Self {
        Pool {
            growth,
            all_growth: growth,
            ..Pool::default()
        }
    }

    /// Lets a buffer grow by up to `bytes`; tells by how many. They are noted in `grown`.
    pub(crate) fn take_growth(
        &mut self,
        grown: &mut u32,
        bytes: u32,
        stats: &mut TcpCounters,
    ) -> u32 {
        let given = usize::try_from(bytes)
            .unwrap_or(usize::MAX)
            .min(self.growth) as u32;
        stats.growth_refused += u64::from(given < bytes);
        self.growth -= given as usize;
        *grown += given;
        given
    }

    /// Connections that have buffers, or had lately.
    pub(crate) fn lent(&self) -> usize {
        self.lent.len()
    }

    /// Bytes by which buffers may have grown beyond their first size.
    pub(crate) fn grown(&self) -> usize {
        self.all_growth - self.growth
    }

    /// Bytes by which buffers may still grow.
    #[cfg(test)]
    pub(crate) fn growth(&self) -> usize {
        self.growth
    }

    /// Takes back what was given.
    pub(crate) fn return_growth(&mut self, grown: &mut u32) {
        self.growth += core::mem::take(grown) as usize;
    }

    #[cold]
    fn take(&mut self, id: TcpId, flags: &mut FlowFlags) -> Box<Busy> {
        if !flags.contains(FlowFlags::LENT) {
            flags.insert(FlowFlags::LENT);
            self.lent.push_back(id);
        }
        self.free.pop().unwrap_or_default()
    }

    /// A connection has come that has buffers, or had lately, which are to be the pool's when it is silent.
    pub(crate) fn lend(&mut self, flow: &mut Flow) {
        if (flow.busy.is_some() || flow.sender.is_some()) && !flow.has(FlowFlags::LENT) {
            flow.flags.insert(FlowFlags::LENT);
            self.lent.push_back(flow.id);
        }
    }

    /// Whether connections are to be looked at by [`look`](Self::look).
    #[inline]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        !self.lent.is_empty() && self.next_look <= now
    }

    /// When [`is_due`](Self::is_due) will be true.
    #[inline]
    pub(crate) fn next_look(&self) -> Option<Instant> {
        (!self.lent.is_empty()).then_some(self.next_look)
    }

    /// Whether so many connections have buffers, or had lately, that those used lately fall out of the caches.
    #[inline]
    pub(crate) fn is_crowded(&self) -> bool {
        self.lent.len() > LENT
    }

    /// Has connections give back what they don't use.
    #[cold]
    pub(crate) fn look(&mut self, now: Instant, config: &Settings, flows: &mut Flows) {
        if self.left == 0 {
            self.left = self.lent.len();
        }
        for _ in 0..self.left.min(LOOKS) {
            self.left -= 1;
            let Some(id) = self.lent.pop_front() else {
                break;
            };
            let Some(flow) = flows.as_it_is(id) else {
                continue;
            };
            let mut again = true;
            if flow.heard + LOOK_INTERVAL <= now {
                flow.relax(self);
                if flow.busy.is_none() {
                    flow.rouse(&config.nanos);
                    if self.growth < self.all_growth / 2 {
                        flow.give_back_growth(config, self);
                    }
                    again = flow.forget_sender(now, config);
                }
            }
            if again {
                self.lent.push_back(id);
            } else {
                flow.flags.remove(FlowFlags::LENT);
            }
        }
        self.next_look = now
            + if self.left == 0 {
                LOOK_INTERVAL
            } else {
                LOOKS_INTERVAL
            };
    }

    #[inline]
    pub(crate) fn put(&mut self, mut busy: Box<Busy>) {
        if self.free.len() < POOLED {
            busy.send.clear();
            busy.sent.clear();
            busy.recv.clear();
            busy.gaps = None;
            self.free.push(busy);
        }
    }
}

impl Flow {
    /// Buffers and records, which are taken from the pool if there are none.
    #[inline]
    pub(crate) fn busy_mut(&mut self, pool: &mut Pool) -> &mut Busy {
        let (id, flags) = (self.id, &mut self.flags);
        self.busy.get_or_insert_with(|| pool.take(id, flags))
    }

    /// Gives the buffers back at once if nothing is in them and there are so many connections with buffers that each finds
    /// its own out of the cache, and the pool's in it.
    #[inline]
    pub(crate) fn relax_in_crowd(&mut self, pool: &mut Pool) {
        if pool.is_crowded() && self.snd_una == self.write_end {
            self.relax(pool);
        }
    }

    /// Reads something of each cache line that a segment needs, and tells something made of it: the lines of many
    /// connections come at the same time then.
    #[inline(always)]
    pub(crate) fn warm(&self) -> u64 {
        let words = self.snd_una ^ self.timer.word() ^ self.segments_in;
        self.heard.as_nanos() ^ u64::from(words)
    }

    /// The same for what the connection's buffers have, after [`warm`](Self::warm).
    #[inline(always)]
    pub(crate) fn warm_busy(&self) -> u64 {
        match &self.busy {
            Some(busy) => {
                u64::from(busy.send.base())
                    ^ busy.recv.len() as u64
                    ^ u64::from(busy.gaps.is_some())
            }
            None => 0,
        }
    }

    /// The buffers shrink to what they were at first, where nobody chose their size. What was offered stays offered: the edge
    /// of the window never moves back.
    pub(super) fn give_back_growth(&mut self, config: &Settings, pool: &mut Pool) {
        if self.grown == 0 {
            return;
        }
        pool.return_growth(&mut self.grown);
        let (recv, send) = match &self.rare {
            Some(rare) => (rare.recv_max, rare.send_max),
            None => (None, None),
        };
        if recv.is_none() {
            self.recv_max = self.recv_max.min(config.initial_recv_window());
        }
        if send.is_none() {
            self.send_max = self.send_max.min(config.initial_send_buffer());
        }
    }

    /// Lets go of the sender of a silent connection, if it may. `true` if that is worth another try later.
    fn forget_sender(&mut self, now: Instant, config: &Settings) -> bool {
        let nanos = &config.nanos;
        if self.snd_una != self.snd_nxt || self.state != TcpState::Established {
            return false;
        }
        let rto = Duration::from_nanos(self.rtt.rto_nanos(nanos.min_rto, nanos.max_rto));
        let mss = self.mss.into();
        let Some(sender) = &self.sender else {
            return false;
        };
        match sender.past(now, rto, mss) {
            Ok(past) => {
                (self.sender, self.past) = (None, Some(Box::new(past)));
                false
            }
            Err(later) => later,
        }
    }

    /// Gives the buffers back to the pool if nothing is in them.
    #[cold]
    pub(crate) fn relax(&mut self, pool: &mut Pool) {
        if let Some(busy) = &self.busy
            && busy.recv.is_empty()
            && busy.send.is_empty()
            && busy.sent.is_empty()
            && busy.gaps.is_none()
            && let Some(busy) = self.busy.take()
        {
            pool.put(busy);
        }
    }
}
