//! What a worker does for the others while it runs: it takes what they handed over, hands over what is theirs, and tells them what
//! it learns of neighbours.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dpdk_net_packet::{FrameBuf, FrameSegment, ethernet};
use dpdk_net_rte::{Mbuf, Mempool, RxBatch, RxMbuf};
use dpdk_net_stack::{Instant, NeighborNews, Stack, Stray, StrayFrame, Workers};

use super::path::Loads;
use super::{Peer, REPORTER};
use crate::device::BURST;

/// What was handed over since it was last asked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct HandOverCounts {
    pub(crate) given: u64,
    pub(crate) ring_full: u64,
    pub(crate) no_mbufs: u64,
    pub(crate) news_dropped: u64,
}

/// A worker's part while it runs.
pub(crate) struct HandOver {
    peer: Peer,
    /// What others handed over, of this turn.
    taken: RxBatch<BURST>,
    /// What the stack noted, of this turn.
    strays: Vec<Stray>,
    /// What goes to each of the others.
    staged: Vec<RxBatch<BURST>>,
    /// What this stack has decided, and who is still to be told.
    untold: Option<(NeighborNews, Workers)>,
    /// Workers that have ended, as the stack knows.
    forgotten: Workers,
    /// What comes to each entry of the redirection table, where that is counted, and of which version that is.
    loads: Option<Arc<Loads>>,
    loads_version: u64,
    counts: HandOverCounts,
}

impl HandOver {
    pub(crate) fn new(peer: Peer) -> Self {
        Self {
            taken: RxBatch::new(),
            strays: Vec::new(),
            staged: peer.shared.senders.iter().map(|_| RxBatch::new()).collect(),
            untold: None,
            forgotten: Workers::NONE,
            loads: None,
            loads_version: 0,
            counts: HandOverCounts::default(),
            peer,
        }
    }

    /// Takes what others handed over; tells how many packets those are.
    #[inline]
    pub(crate) fn take(&mut self) -> usize {
        if self.peer.receiver.is_empty() {
            return 0;
        }
        self.peer.receiver.dequeue(&mut self.taken)
    }

    /// Gives the stack what was taken.
    pub(crate) fn ingest(&mut self, stack: &mut Stack, now: Instant) {
        stack.ingest_handed(now, self.taken.as_slice());
    }

    /// Frees what was taken, except for what the stack has kept.
    pub(crate) fn release(&mut self) {
        self.taken.clear();
    }

    /// Notes what of the frames that the stack has just been given is others'; the first of these was number `first` of the burst.
    #[inline]
    pub(crate) fn note(&mut self, stack: &mut Stack, first: usize) {
        self.strays.extend(stack.strays().map(|mut stray| {
            if let StrayFrame::Given(at) = &mut stray.frame {
                *at += first;
            }
            stray
        }));
    }

    /// Counts what came from the NIC for the rebalancer, if there is one.
    #[inline]
    pub(crate) fn count_loads(&mut self, frames: &[RxMbuf]) {
        let version = self.peer.shared.loads.version();
        if version != self.loads_version {
            self.loads = self.peer.shared.loads.get();
            self.loads_version = version;
        }
        if let Some(loads) = &self.loads {
            loads.count(self.peer.worker, frames);
        }
    }

    #[inline]
    pub(crate) fn has_strays(&self) -> bool {
        !self.strays.is_empty()
    }

    /// Tells the others what this stack has learnt of the link, and this one what they have.
    #[inline]
    pub(crate) fn exchange_news(&mut self, stack: &mut Stack, now: Instant) {
        // Before what they have told last is read.
        let ended = self.newly_ended();
        let shared = &self.peer.shared;
        let own = usize::from(self.peer.worker);
        if let Some(mine) = shared.mail.get(own)
            && !mine.news.is_empty()
        {
            // As many as there are now: others may go on.
            for _ in 0..mine.news.len() {
                let Some(news) = mine.news.pop() else { break };
                stack.apply_neighbor_news(now, &news);
            }
        }
        for worker in ended.iter() {
            stack.forget_peer(now, worker);
        }
        while let Some(news) = stack.poll_neighbor_news() {
            let others = shared.mail.iter().enumerate();
            for (_, mailbox) in others.filter(|(worker, _)| *worker != own) {
                self.counts.news_dropped += u64::from(!mailbox.tell(news.clone()));
            }
        }
        self.tell_decisions(stack);
    }

    /// Tells what this stack has decided, one thing after the other, for as long as mailboxes have room.
    #[inline]
    fn tell_decisions(&mut self, stack: &mut Stack) {
        while let Some((news, due)) = self.untold.take().or_else(|| {
            let news = stack.poll_decision()?;
            let concerned = self.concerned(&news);
            Some((news, concerned))
        }) {
            let mail = &self.peer.shared.mail;
            let is_told = |worker: &u16| {
                let mailbox = mail.get(usize::from(*worker));
                mailbox.is_none_or(|mailbox| mailbox.tell(news.clone()))
            };
            let left = due.iter().filter(|worker| !is_told(worker));
            let left = left.fold(Workers::NONE, |all, one| all.union(Workers::only(one)));
            if !left.is_empty() {
                self.untold = Some((news, left));
                return;
            }
        }
    }

    /// Whom a decision has to be told.
    fn concerned(&self, news: &NeighborNews) -> Workers {
        let all = if news.is_of_groups() {
            Workers::only(REPORTER)
        } else {
            (0..self.peer.workers()).fold(Workers::NONE, |all, one| all.union(Workers::only(one)))
        };
        all.without(self.peer.worker)
    }

    /// Workers that have ended since this was last asked.
    #[inline]
    fn newly_ended(&mut self) -> Workers {
        let ended = self.peer.shared.ended.load(Ordering::Acquire);
        if ended as usize == self.forgotten.len() {
            return Workers::NONE;
        }
        let closed = (0..).zip(&self.peer.shared.mail);
        let closed = closed
            .filter(|(worker, mailbox)| mailbox.is_closed() && !self.forgotten.contains(*worker));
        let closed = closed.fold(Workers::NONE, |all, (one, _)| all.union(Workers::only(one)));
        self.forgotten = self.forgotten.union(closed);
        closed
    }

    #[inline]
    pub(crate) fn take_counts(&mut self) -> HandOverCounts {
        std::mem::take(&mut self.counts)
    }

    /// Hands over what was noted of the packets in `received`, which is empty afterwards. Copies, where several are to have one
    /// packet, are made in mbufs of `pool`.
    #[cold]
    pub(crate) fn hand_over(&mut self, received: &mut RxBatch<BURST>, pool: &Mempool) {
        let noted = std::mem::take(&mut self.strays);
        let mut strays = noted.iter().peekable();
        for (index, packet) in received.drain().enumerate() {
            let mut packet = Some(packet);
            while let Some(stray) = strays.next_if(|stray| match stray.frame {
                StrayFrame::Given(at) => at == index,
                StrayFrame::Made(_) => true,
            }) {
                match &stray.frame {
                    StrayFrame::Given(_) => self.give_packet(stray, &mut packet, pool),
                    StrayFrame::Made(frame) => self.give_made(stray, frame, pool),
                }
            }
        }
        for stray in strays {
            if let StrayFrame::Made(frame) = &stray.frame {
                self.give_made(stray, frame, pool);
            }
        }
        for worker in 0..self.staged.len() {
            self.flush(worker);
        }
        self.strays = noted;
        self.strays.clear();
    }

    /// A copy to all but the last, who has the packet itself.
    fn give_packet(&mut self, stray: &Stray, packet: &mut Option<RxMbuf>, pool: &Mempool) {
        let mut left = stray.workers.len();
        for worker in stray.workers.iter() {
            left -= 1;
            let whole = if left == 0 {
                packet.take()
            } else {
                packet.as_ref().and_then(|packet| copy(packet, pool))
            };
            self.stage(worker, whole);
        }
    }

    fn give_made(&mut self, stray: &Stray, frame: &[u8], pool: &Mempool) {
        for worker in stray.workers.iter() {
            let packet = mbuf_of([frame], pool).map(RxMbuf::from);
            self.stage(worker, packet);
        }
    }

    /// Puts a packet with what goes to a worker; `None` is one for which there was no mbuf.
    fn stage(&mut self, worker: u16, packet: Option<RxMbuf>) {
        let at = usize::from(worker);
        let Some(packet) = packet else {
            self.counts.no_mbufs += 1;
            return;
        };
        let Some(batch) = self.staged.get_mut(at) else {
            return;
        };
        if let Err(packet) = batch.push(packet) {
            self.flush(at);
            if let Some(batch) = self.staged.get_mut(at) {
                // It is empty now.
                let _ = batch.push(packet);
            }
        }
    }

    fn flush(&mut self, worker: usize) {
        let (Some(batch), Some(sender)) = (
            self.staged.get_mut(worker),
            self.peer.shared.senders.get(worker),
        ) else {
            return;
        };
        let all = batch.len();
        if all > 0 {
            let dropped = sender.enqueue_or_drop(batch);
            self.counts.ring_full += dropped as u64;
            self.counts.given += (all - dropped) as u64;
        }
    }
}

/// A packet like this one, with a tag that was stripped put back in, and what the NIC said of its checksums.
fn copy(packet: &RxMbuf, pool: &Mempool) -> Option<RxMbuf> {
    const ADDRESSES: usize = 12;
    let rest = packet.rest().map(|segment| segment.bytes());
    let mut copied = match packet.rx_meta().vlan_tci {
        None => mbuf_of([packet.bytes()].into_iter().chain(rest), pool)?,
        Some(tci) => {
            let (addresses, behind) = packet.bytes().split_at_checked(ADDRESSES)?;
            let [a, b] = ethernet::TYPE_VLAN.to_be_bytes();
            let [c, d] = tci.to_be_bytes();
            let tag = [a, b, c, d];
            mbuf_of([addresses, &tag, behind].into_iter().chain(rest), pool)?
        }
    };
    copied.copy_verdicts(packet.as_mbuf());
    Some(copied.into())
}

/// A packet of these bytes, in as many mbufs as it takes.
fn mbuf_of<'a>(parts: impl IntoIterator<Item = &'a [u8]>, pool: &Mempool) -> Option<Mbuf> {
    let mut packet = pool.alloc()?;
    let mut last: Option<Mbuf> = None;
    for mut part in parts {
        while !part.is_empty() {
            let mbuf = last.as_mut().unwrap_or(&mut packet);
            let (now, later) = part.split_at(part.len().min(mbuf.tailroom()));
            mbuf.append(now.len()).ok()?.copy_from_slice(now);
            part = later;
            if !part.is_empty()
                && let Some(full) = last.replace(pool.alloc()?)
            {
                packet.chain(full).ok()?;
            }
        }
    }
    if let Some(last) = last {
        packet.chain(last).ok()?;
    }
    Some(packet)
}
