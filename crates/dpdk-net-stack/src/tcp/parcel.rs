//! Connections that move from one stack to another of the same addresses.
//!
//! A connection goes whole: sequence numbers, congestion control, deadlines, options, and what its buffers hold. Nothing of it
//! is left behind, and nothing is sent or answered meanwhile: to the other workers it is the new owner's from the moment that
//! it leaves, so what still comes to the old one's queue follows it. If that takes the same way as the parcel itself, nothing
//! gets lost.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use super::flow::{Flow, FlowFlags};
use super::table::FlowRef;
use super::trace::TraceEnd;
use super::{Tcp, TcpState, TimerKey};
use crate::error::Error;
use crate::event::TcpId;
use crate::link::Link;
use crate::stack::Stack;
use crate::steer::{MAX_WORKERS, Steering};
use crate::time::Instant;

/// A connection between two stacks, from [`Stack::tcp_export`] to [`Stack::tcp_import`].
///
/// Dropped, the connection is gone without a word: its peer is told by a RST when it sends something.
pub struct TcpParcel {
    /// `None` once it has arrived.
    flow: Option<Flow>,
    /// How much its buffers have grown beyond their first size.
    grown: u32,
    worker: u16,
    steering: Option<Arc<dyn Steering>>,
}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<TcpParcel>();
};

impl fmt::Debug for TcpParcel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpParcel")
            .field("local", &self.local())
            .field("peer", &self.peer())
            .field("worker", &self.worker)
            .finish_non_exhaustive()
    }
}

impl TcpParcel {
    /// The local address and port; `None` is never seen outside.
    pub fn local(&self) -> Option<SocketAddr> {
        Some(self.flow.as_ref()?.key.local())
    }

    /// The peer's address and port.
    pub fn peer(&self) -> Option<SocketAddr> {
        Some(self.flow.as_ref()?.key.remote())
    }

    /// The worker that it is for.
    pub fn worker(&self) -> u16 {
        self.worker
    }
}

impl Drop for TcpParcel {
    fn drop(&mut self) {
        if let (Some(flow), Some(steering)) = (&self.flow, &self.steering) {
            steering.release(self.worker, &flow.key.arriving());
        }
    }
}

/// A connection that a stack did not take in.
#[derive(Debug, thiserror::Error)]
#[error("the connection can't be taken in: {error}")]
pub struct ImportError {
    /// The connection, to be taken back or given to another stack.
    pub parcel: Box<TcpParcel>,
    /// Why not: `AddrNotAvailable` if its address is not the stack's, `AddrInUse` if there is a connection between the same
    /// addresses and ports, `NoBufferSpace` if there are as many connections as may be.
    pub error: Error,
}

impl Stack {
    /// Takes a connection out, for the stack of worker `to`. The id is dead.
    ///
    /// Data that was received in packet buffers stays in them; what was written into [`TxMemory`](crate::TxMemory) is copied to
    /// the heap, so that nothing of this stack's is held by another's connections.
    ///
    /// Errors: `UnknownSocket`; `NotConnected` where the connection is over; `InvalidInput` where it is not established yet, in
    /// TIME-WAIT, or with an address of our own, or if there can be no worker `to`.
    pub fn tcp_export(
        &mut self,
        now: Instant,
        id: TcpId,
        to: u16,
    ) -> Result<Box<TcpParcel>, Error> {
        self.advance(now);
        self.tcp.export(now, &self.link, id, to)
    }

    /// Takes a connection in that another stack of the same addresses and the same clock gave out. Its readiness is told by an
    /// event.
    ///
    /// Errors: see [`ImportError`], which gives it back.
    pub fn tcp_import(
        &mut self,
        now: Instant,
        parcel: Box<TcpParcel>,
    ) -> Result<TcpId, ImportError> {
        self.advance(now);
        self.tcp.import(now, &self.link, parcel)
    }
}

impl Tcp {
    fn export(
        &mut self,
        now: Instant,
        link: &Link,
        id: TcpId,
        to: u16,
    ) -> Result<Box<TcpParcel>, Error> {
        let flow = self.held(id)?;
        if to >= MAX_WORKERS {
            return Err(Error::InvalidInput("there are at most 128 workers"));
        }
        match flow.state() {
            TcpState::Closed => return Err(Error::NotConnected),
            TcpState::SynSent | TcpState::SynReceived => {
                let why = "a connection that is not established yet can't go to another stack";
                return Err(Error::InvalidInput(why));
            }
            TcpState::TimeWait => {
                let why = "a connection in TIME-WAIT can't go to another stack; let go of it";
                return Err(Error::InvalidInput(why));
            }
            _ if flow.has(FlowFlags::UNACCEPTED) => {
                let why = "a connection must be accepted before it can go to another stack";
                return Err(Error::InvalidInput(why));
            }
            _ => {}
        }
        let key = flow.key;
        if link.ifaces.is_bindable(key.remote_addr(), key.scope()) {
            let why = "a connection to an address of our own can't go to another stack";
            return Err(Error::InvalidInput(why));
        }
        self.end_trace(now, id, TraceEnd::Migrated(to));
        // What a calm connection owes its sender is settled first.
        let _ = self.flows.get_mut(id);
        let mut flow = self.flows.remove(id).ok_or(Error::UnknownSocket)?;
        self.table.remove(&key, FlowRef::Conn(id));
        self.wheel.remove(flow.timer);
        let grown = flow.grown;
        self.pool.return_growth(&mut flow.grown);
        if let Some(busy) = &mut flow.busy {
            busy.send.detach();
        }
        let queues = FlowFlags::DIRTY | FlowFlags::EVENT | FlowFlags::LENT;
        flow.flags.remove(queues);
        self.drop_stale();
        self.stats.exported += 1;
        let steering = self.steered.as_ref().map(|it| it.steering.clone());
        if let Some(steering) = &steering {
            steering.transfer(to, &key.arriving());
        }
        Ok(Box::new(TcpParcel {
            flow: Some(flow),
            grown,
            worker: to,
            steering,
        }))
    }

    fn import(
        &mut self,
        now: Instant,
        link: &Link,
        mut parcel: Box<TcpParcel>,
    ) -> Result<TcpId, ImportError> {
        let refusal = parcel
            .flow
            .as_ref()
            .map_or(Some(Error::UnknownSocket), |flow| {
                let key = &flow.key;
                if !link.ifaces.is_bindable(key.local_addr(), key.scope()) {
                    Some(Error::AddrNotAvailable)
                } else if self.lookup(key).is_some() {
                    Some(Error::AddrInUse)
                } else if self.flows.len() >= self.settings.max_connections {
                    self.stats.too_many += 1;
                    Some(Error::NoBufferSpace)
                } else {
                    None
                }
            });
        let flow = match refusal {
            Some(_) => None,
            None => parcel.flow.take(),
        };
        let Some(mut flow) = flow else {
            let error = refusal.unwrap_or(Error::UnknownSocket);
            return Err(ImportError { parcel, error });
        };
        let key = flow.key;
        if let Some(steered) = &self.steered {
            steered.steering.transfer(steered.worker, &key.arriving());
        }
        flow.tci = link.tci(&key.way());
        // The next hop is looked up here.
        (flow.mac_until, flow.timer_at) = (Instant::ZERO, Instant::MAX);
        let grown = parcel.grown;
        let given = self
            .pool
            .take_growth(&mut flow.grown, grown, &mut self.stats);
        if given < grown {
            flow.give_back_growth(&self.settings, &mut self.pool);
        }
        let ready = flow.pending | flow.readiness();
        let wheel = &mut self.wheel;
        let id = self.flows.insert_with_key(|id| {
            let timer = wheel.insert(TimerKey::Flow(id));
            Flow { id, timer, ..flow }
        });
        if let Some(flow) = self.flows.as_it_is(id) {
            self.pool.lend(flow);
        }
        self.enter(&key, FlowRef::Conn(id));
        self.stats.imported += 1;
        if self.traces.is_watching() {
            self.watch(now, id, None);
        }
        self.set_timer(id, Instant::MAX);
        self.mark_dirty(id);
        self.notify(id, ready);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use dpdk_net_packet::MacAddr;

    const NOW: Instant = Instant::from_secs(1);

    fn stack(growth: usize) -> Stack {
        let mut config =
            Config::new(MacAddr([2, 0, 0, 0, 0, 1])).with_address("198.18.0.1/24".parse().unwrap());
        config.dad = false;
        config.tcp.buffer_growth = growth;
        Stack::new(config, NOW).unwrap()
    }

    /// A connection whose receive buffer has grown by so much.
    fn grown(stack: &mut Stack, bytes: u32) -> TcpId {
        let to = "198.18.0.2:80".parse().unwrap();
        let id = stack.tcp_connect(NOW, None, to).unwrap();
        let tcp = &mut stack.tcp;
        let flow = tcp.flows.get_mut(id).unwrap();
        flow.state = TcpState::Established;
        flow.flags
            .remove(FlowFlags::CONNECTING | FlowFlags::SYN_DUE);
        flow.recv_max += tcp.pool.take_growth(&mut flow.grown, bytes, &mut tcp.stats);
        tcp.flows.moved(TcpState::SynSent, TcpState::Established);
        id
    }

    #[test]
    fn what_its_buffers_have_grown_is_the_new_stack_s_and_not_the_old_one_s() {
        let mut from = stack(1_000);
        let id = grown(&mut from, 900);
        assert_eq!(from.tcp.pool.growth(), 100);
        let parcel = from.tcp_export(NOW, id, 1).unwrap();
        assert_eq!((from.tcp.pool.growth(), from.tcp_count()), (1_000, 0));
        let mut to = stack(5_000);
        let id = to.tcp_import(NOW, parcel).unwrap();
        assert_eq!(to.tcp.pool.growth(), 4_100);
        let first = to.tcp.settings.initial_recv_window();
        assert_eq!(to.tcp.flows.get(id).unwrap().recv_max, first + 900);
        // Where there is less it has what all begin with.
        let parcel = to.tcp_export(NOW, id, 1).unwrap();
        let mut small = stack(400);
        let id = small.tcp_import(NOW, parcel).unwrap();
        assert_eq!(
            (small.tcp.pool.growth(), to.tcp.pool.growth()),
            (400, 5_000)
        );
        assert_eq!(small.tcp.flows.get(id).unwrap().recv_max, first);
        small.tcp_abort(id);
        assert_eq!((small.tcp.pool.growth(), small.tcp_count()), (400, 0));
    }
}
