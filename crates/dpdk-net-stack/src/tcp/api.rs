//! What applications do with connections and listeners. Nothing here blocks: what can't be done now is `WouldBlock`, and
//! an event tells when to try again.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::flow::{Flow, FlowFlags};
use super::flows::Flows;
use super::info::TcpConnection;
use super::listener::ListenerInfo;
use super::pool::Pool;
use super::trace::CloseReason;
use super::{Nanos, Tcp, TcpState};
use crate::error::Error;
use crate::event::{Readiness, TcpId};
use crate::link::Link;
use crate::listing::{ListPage, ListPlace};
use crate::time::{Duration, Instant};

/// What one call takes at most beyond the room there is: together with the largest send buffer less than half of the
/// sequence space.
const MAX_AT_ONCE: usize = 512 * 1024 * 1024;

/// The flow as it is, if the application still holds it.
#[inline]
fn held(flows: &mut Flows, id: TcpId) -> Result<&mut Flow, Error> {
    flows
        .as_it_is(id)
        .filter(|flow| !flow.has(FlowFlags::ORPHAN))
        .ok_or(Error::UnknownSocket)
}

impl Tcp {
    /// The flow, if the application still holds it.
    pub(super) fn held(&self, id: TcpId) -> Result<&Flow, Error> {
        self.flows
            .get(id)
            .filter(|flow| !flow.has(FlowFlags::ORPHAN))
            .ok_or(Error::UnknownSocket)
    }

    pub(super) fn held_mut(&mut self, id: TcpId) -> Result<&mut Flow, Error> {
        self.flows
            .get_mut(id)
            .filter(|flow| !flow.has(FlowFlags::ORPHAN))
            .ok_or(Error::UnknownSocket)
    }

    /// What a call reports when there is neither data nor room: the error first, once.
    fn take_flow_error(flow: &mut Flow) -> Result<(), Error> {
        match &mut flow.rare {
            Some(rare) => rare.error.take().map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// What a read returns that finds no data: 0 at the end.
    fn recv_nothing(flow: &mut Flow) -> Result<usize, Error> {
        let ends = FlowFlags::FIN_RECEIVED | FlowFlags::READ_SHUT | FlowFlags::OVER;
        if flow.rare.is_none() && !flow.flags.intersects(ends) {
            return Err(Error::WouldBlock);
        }
        // As Linux: who has received the peer's FIN reads the end, whatever came after it; a send meets the error.
        if !flow.has(FlowFlags::FIN_RECEIVED) {
            Self::take_flow_error(flow)?;
        }
        if flow.flags.intersects(ends) {
            return Ok(0);
        }
        Err(Error::WouldBlock)
    }

    pub(crate) fn recv_queue(&self, id: TcpId) -> usize {
        self.held(id).map_or(0, |flow| flow.recv_queue())
    }

    pub(crate) fn recv(&mut self, now: Instant, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        if buf.is_empty() {
            return self.held(id).map(|_| 0);
        }
        self.recv_into(now, id, |_| buf)
    }

    /// Reads into the buffer that `buf` gives for so many bytes; it is asked only where there are any.
    #[inline]
    pub(crate) fn recv_into<'b>(
        &mut self,
        now: Instant,
        id: TcpId,
        buf: impl FnOnce(usize) -> &'b mut [u8],
    ) -> Result<usize, Error> {
        let flow = held(&mut self.flows, id)?;
        let Some(busy) = flow.busy.as_mut().filter(|busy| !busy.recv.is_empty()) else {
            return Self::recv_nothing(flow);
        };
        let len = busy.recv.read(buf(busy.recv.len()));
        self.stats.rx_bytes += len as u64;
        if flow.after_read(now, &self.settings, &mut self.pool, &mut self.stats) {
            flow.mark_dirty(id, &mut self.dirty);
        }
        flow.relax_in_crowd(&mut self.pool);
        Ok(len)
    }

    /// As [`recv`](Self::recv), but hands the bytes over as they came: at most `max` of them, none copied where they
    /// lie in one piece.
    pub(crate) fn recv_bytes(
        &mut self,
        now: Instant,
        id: TcpId,
        max: usize,
    ) -> Result<Bytes, Error> {
        let flow = held(&mut self.flows, id)?;
        let Some(busy) = flow.busy.as_mut().filter(|busy| !busy.recv.is_empty()) else {
            return Self::recv_nothing(flow).map(|_| Bytes::new());
        };
        let bytes = busy.recv.read_chunk(max).unwrap_or_default();
        self.after_recv(now, id, bytes.len());
        Ok(bytes)
    }

    /// Bytes were taken out: the window may be worth telling, the buffers may be of use to others.
    #[inline]
    fn after_recv(&mut self, now: Instant, id: TcpId, len: usize) {
        self.stats.rx_bytes += len as u64;
        if let Some(flow) = self.flows.as_it_is(id)
            && flow.after_read(now, &self.settings, &mut self.pool, &mut self.stats)
        {
            flow.mark_dirty(id, &mut self.dirty);
        }
    }

    pub(crate) fn recv_vectored(
        &mut self,
        now: Instant,
        id: TcpId,
        bufs: &mut [&mut [u8]],
    ) -> Result<usize, Error> {
        let mut total = 0;
        for buf in bufs.iter_mut().filter(|buf| !buf.is_empty()) {
            match self.recv(now, id, buf) {
                Ok(len) => {
                    total += len;
                    if len < buf.len() {
                        break;
                    }
                }
                Err(_) if total > 0 => break,
                Err(error) => return Err(error),
            }
            // What comes after the data, an error or the end, is for the next call.
            if self.held(id)?.recv_queue() == 0 {
                break;
            }
        }
        Ok(total)
    }

    pub(crate) fn peek(&mut self, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        let flow = self.held_mut(id)?;
        if buf.is_empty() {
            return Ok(0);
        }
        if flow.recv_queue() == 0 {
            return Self::recv_nothing(flow);
        }
        Ok(flow.busy.as_ref().map_or(0, |busy| busy.recv.peek(buf)))
    }

    #[inline]
    fn before_send(flow: &mut Flow) -> Result<(), Error> {
        let open = matches!(flow.state, TcpState::Established | TcpState::CloseWait);
        if open && flow.rare.is_none() && !flow.has(FlowFlags::WRITE_SHUT) {
            return Ok(());
        }
        Self::may_send(flow)
    }

    fn may_send(flow: &mut Flow) -> Result<(), Error> {
        Self::take_flow_error(flow)?;
        if flow
            .flags
            .intersects(FlowFlags::WRITE_SHUT | FlowFlags::OVER)
        {
            return Err(Error::BrokenPipe);
        }
        match flow.state() {
            TcpState::Established | TcpState::CloseWait => Ok(()),
            TcpState::SynSent | TcpState::SynReceived => {
                flow.flags |= FlowFlags::BLOCKED;
                Err(Error::WouldBlock)
            }
            _ => Err(Error::BrokenPipe),
        }
    }

    #[inline]
    pub(crate) fn send(&mut self, now: Instant, id: TcpId, data: &[u8]) -> Result<usize, Error> {
        let flow = held(&mut self.flows, id)?;
        Self::before_send(flow)?;
        let room = flow.start_send(now);
        let taken = data.get(..room).unwrap_or(data);
        flow.queue(&mut self.pool, taken);
        let (total, left) = (taken.len(), room - taken.len());
        self.stats.tx_bytes += total as u64;
        flow.after_send(
            &mut self.dirty,
            &self.settings.nanos,
            (total, left),
            total < data.len(),
        )
    }

    pub(crate) fn send_vectored(
        &mut self,
        now: Instant,
        id: TcpId,
        data: &[&[u8]],
    ) -> Result<usize, Error> {
        let flow = held(&mut self.flows, id)?;
        Self::before_send(flow)?;
        let mut room = flow.start_send(now);
        let mut total = 0;
        let mut blocked = false;
        for part in data.iter().filter(|part| !part.is_empty()) {
            let taken = part.get(..room).unwrap_or(part);
            flow.queue(&mut self.pool, taken);
            total += taken.len();
            room -= taken.len();
            if taken.len() < part.len() {
                blocked = true;
                break;
            }
        }
        self.after_send(id, total, blocked, room)
    }

    /// Takes a buffer as it is, without copying it; as much of it as there is room for. What is left stays in `data`.
    pub(crate) fn send_bytes(
        &mut self,
        now: Instant,
        id: TcpId,
        data: &mut Bytes,
    ) -> Result<usize, Error> {
        let flow = held(&mut self.flows, id)?;
        Self::before_send(flow)?;
        let room = flow.start_send(now);
        let taken = data.split_to(data.len().min(room));
        let total = taken.len();
        flow.queue_bytes(&mut self.pool, taken);
        self.after_send(id, total, !data.is_empty(), room - total)
    }

    /// Takes a buffer as it is, all of it if there is room for any.
    pub(crate) fn send_all_bytes(
        &mut self,
        now: Instant,
        id: TcpId,
        data: &Bytes,
    ) -> Result<(), Error> {
        if data.len() > MAX_AT_ONCE {
            return Err(Error::InvalidInput("at most 512 MiB are taken at once"));
        }
        let flow = held(&mut self.flows, id)?;
        Self::before_send(flow)?;
        let room = flow.start_send(now);
        let total = if room > 0 { data.len() } else { 0 };
        if total > 0 {
            flow.queue_bytes(&mut self.pool, data.clone());
        }
        let blocked = total < data.len();
        self.after_send(id, total, blocked, room.saturating_sub(total))
            .map(drop)
    }

    #[inline]
    fn after_send(
        &mut self,
        id: TcpId,
        total: usize,
        blocked: bool,
        room: usize,
    ) -> Result<usize, Error> {
        let flow = held(&mut self.flows, id)?;
        self.stats.tx_bytes += total as u64;
        flow.after_send(
            &mut self.dirty,
            &self.settings.nanos,
            (total, room),
            blocked,
        )
    }

    pub(crate) fn shutdown_write(&mut self, now: Instant, id: TcpId) -> Result<(), Error> {
        let flow = self.held_mut(id)?;
        match flow.state() {
            TcpState::Closed | TcpState::SynSent => return Err(Error::NotConnected),
            _ => {}
        }
        if !flow.has(FlowFlags::WRITE_SHUT) {
            flow.flags |= FlowFlags::WRITE_SHUT;
            if flow.send_queue() == 0 {
                flow.heard = flow.heard.max(now);
            }
            self.mark_dirty(id);
        }
        Ok(())
    }

    pub(crate) fn shutdown_read(&mut self, id: TcpId) -> Result<(), Error> {
        let flow = self.held_mut(id)?;
        if matches!(flow.state(), TcpState::Closed | TcpState::SynSent) {
            return Err(Error::NotConnected);
        }
        flow.flags |= FlowFlags::READ_SHUT;
        self.notify(id, Readiness::READABLE);
        Ok(())
    }

    /// From here on the application knows nothing of it any more.
    pub(super) fn orphan(&mut self, id: TcpId) {
        if let Some(flow) = self.flows.get_mut(id)
            && !flow.has(FlowFlags::ORPHAN)
        {
            flow.flags |= FlowFlags::ORPHAN;
            flow.flags.remove(FlowFlags::UNACCEPTED);
            self.orphans += 1;
        }
    }

    /// Frees an orphan of which nothing is left to do.
    pub(super) fn reap(&mut self, id: TcpId) {
        if self
            .flows
            .get(id)
            .is_some_and(|flow| flow.has(FlowFlags::OVER) && !flow.has(FlowFlags::RESET_OWED))
        {
            self.free(id);
        }
    }

    pub(crate) fn close(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Ok(flow) = self.held_mut(id) else {
            return;
        };
        let state = flow.state();
        let unread = flow.recv_queue() > 0;
        let hard = flow
            .rare
            .as_ref()
            .is_some_and(|rare| rare.linger == Some(Duration::ZERO));
        let nothing_queued = flow.send_queue() == 0;
        self.orphan(id);
        match state {
            TcpState::Closed => self.reap(id),
            // As Linux: nobody is told.
            TcpState::SynSent => {
                self.ends(now, id, CloseReason::GivenUp, None);
                self.free(id);
            }
            TcpState::TimeWait => self.retire(now, id),
            // RFC 2525 section 2.17: the peer must learn that its data was not read.
            _ if unread || hard => {
                let cause = if unread {
                    &mut self.stats.closed_unread
                } else {
                    &mut self.stats.data_after_close
                };
                *cause += 1;
                self.abort(now, link, id, None);
            }
            _ if self.orphans > self.settings.max_orphans => {
                self.stats.orphans_reset += 1;
                self.stats.too_many_orphans += 1;
                self.abort(now, link, id, None);
            }
            _ => {
                let patience = self.settings.fin_wait2_timeout;
                if let Some(flow) = self.flows.get_mut(id) {
                    if nothing_queued {
                        flow.heard = flow.heard.max(now);
                    }
                    flow.flags |= FlowFlags::WRITE_SHUT;
                    // From here the patience with orphans counts, also if it is still connecting.
                    flow.flags.remove(FlowFlags::CONNECTING);
                    flow.expires = if state == TcpState::FinWait2 {
                        now + patience
                    } else {
                        Instant::MAX
                    };
                }
                self.set_timer(id, Instant::MAX);
                self.mark_dirty(id);
            }
        }
    }

    pub(crate) fn abort_by_application(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        if self.held(id).is_ok() {
            self.orphan(id);
            self.abort(now, link, id, None);
            self.reap(id);
        }
    }

    pub(crate) fn local(&self, id: TcpId) -> Option<SocketAddr> {
        Some(self.held(id).ok()?.key.local())
    }

    pub(crate) fn peer(&self, id: TcpId) -> Option<SocketAddr> {
        Some(self.held(id).ok()?.key.remote())
    }

    pub(crate) fn state(&self, id: TcpId) -> TcpState {
        self.held(id).map_or(TcpState::Closed, Flow::state)
    }

    pub(crate) fn readiness(&self, id: TcpId) -> Readiness {
        self.held(id).map_or(Readiness::all(), Flow::readiness)
    }

    pub(crate) fn take_error(&mut self, id: TcpId) -> Option<Error> {
        self.held_mut(id).ok()?.rare.as_mut()?.error.take()
    }

    pub(crate) fn has_error(&self, id: TcpId) -> bool {
        self.held(id)
            .is_ok_and(|flow| flow.rare.as_ref().is_some_and(|rare| rare.error.is_some()))
    }

    pub(crate) fn is_send_drained(&self, id: TcpId) -> bool {
        self.held(id).map_or(true, |flow| {
            flow.send_queue() == 0 && !flow.has_unacknowledged()
        })
    }

    pub(crate) fn orphan_count(&self) -> usize {
        self.orphans
    }

    pub(crate) fn time_wait_count(&self) -> usize {
        self.time_waits.entries.len()
    }

    pub(crate) fn half_open_count(&self) -> usize {
        self.syn_queue.entries.len()
    }

    pub(crate) fn listener_infos(&self) -> Vec<ListenerInfo> {
        self.listeners.infos()
    }

    pub(crate) fn listener_page(&self, from: ListPlace, most: usize) -> ListPage<ListenerInfo> {
        self.listeners.page(from, most)
    }

    pub(crate) fn unaccepted_count(&self) -> usize {
        debug_assert_eq!(self.listeners.waiting, {
            let listeners = self.listeners.map.values();
            listeners.map(|listener| listener.queue.len()).sum()
        });
        self.listeners.waiting
    }

    pub(crate) fn connections(&self) -> Vec<TcpConnection> {
        self.flows.values().map(Flow::connection).collect()
    }

    pub(crate) fn connections_by_id(&self) -> Vec<(TcpId, TcpConnection)> {
        let all = self.flows.keys().zip(self.flows.values());
        all.map(|(id, flow)| (id, flow.connection())).collect()
    }

    /// Ends everything with a RST; for a shutdown whose deadline has passed.
    pub(crate) fn reset_all(&mut self, now: Instant, link: &mut Link) {
        let ids: Vec<TcpId> = self.flows.keys().collect();
        for id in ids {
            self.abort(now, link, id, Some(Error::ConnectionAborted));
        }
    }

    pub(crate) fn refuse_new(&mut self, refuse: bool) {
        self.refuse_new = refuse;
    }
}

impl Flow {
    /// How much may be written now.
    #[inline]
    fn start_send(&mut self, now: Instant) -> usize {
        if self.snd_una == self.write_end {
            // The peer's silence counts from here.
            self.heard = self.heard.max(now);
        }
        self.send_room()
    }

    /// Bytes were taken to be sent: `total` of them, and there is `room` for more.
    #[inline]
    fn after_send(
        &mut self,
        dirty: &mut VecDeque<TcpId>,
        nanos: &Nanos,
        (total, room): (usize, usize),
        blocked: bool,
    ) -> Result<usize, Error> {
        // Also when it is full to the last byte: who asks for readiness before the next send waits for an event too.
        if blocked || room == 0 {
            // From now on acknowledgments have something to tell.
            self.rouse(nanos);
            self.flags |= FlowFlags::BLOCKED;
        }
        if total > 0 {
            self.mark_dirty(self.id, dirty);
        } else if blocked {
            return Err(Error::WouldBlock);
        }
        Ok(total)
    }

    /// Takes a buffer to be sent.
    fn queue_bytes(&mut self, pool: &mut Pool, data: Bytes) {
        if data.is_empty() {
            return;
        }
        let end = self.write_end;
        let len = data.len() as u32;
        let busy = self.busy_mut(pool);
        if busy.send.is_empty() {
            busy.send.reset(end);
        }
        busy.send.push(data, &mut pool.memory);
        self.write_end = end.wrapping_add(len);
    }

    /// Takes bytes to be sent.
    #[inline]
    fn queue(&mut self, pool: &mut Pool, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let end = self.write_end;
        let busy = self.busy_mut(pool);
        // Buffers that were another connection's; they are empty.
        if busy.send.end() != end {
            busy.send.reset(end);
        }
        busy.send.write(data, &mut pool.memory);
        self.write_end = end.wrapping_add(data.len() as u32);
    }
}
