//! Listeners with their accept queues, and the SYN queue that all of them share.
//!
//! A half-open connection costs about a hundred bytes: no state machine and no buffers exist before the handshake is
//! complete. When the SYN queue is full, SYNs are answered with [cookies](super::cookie), so that a flood keeps nobody
//! out.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;
use slotmap::new_key_type;

use super::ListenOptions;
use super::options::SynOptions;
use super::sockopt::TcpOptions;
use super::table::FlowKey;
use crate::error::Error;
use crate::event::{ListenerId, TcpId};
use crate::listing::{ListPage, ListPlace, Listed};
use crate::metrics::Count;
use crate::random::HashKey;
use crate::time::Instant;
use crate::wheel::TimerId;

new_key_type! {
    /// An entry of the SYN queue.
    pub struct HalfId;
}

/// A connection whose SYN has come and whose ACK has not.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Half {
    pub(crate) key: FlowKey,
    pub(crate) listener: ListenerId,
    pub(crate) irs: u32,
    pub(crate) iss: u32,
    pub(crate) peer: SynOptions,
    /// ECN was asked for and is agreed to.
    pub(crate) ecn: bool,
    /// The window field of the SYN.
    pub(crate) window: u16,
    /// SYN-ACKs sent beyond the first one.
    pub(crate) retries: u8,
    /// When the last SYN-ACK was sent.
    pub(crate) answered_at: Instant,
    pub(crate) timer: TimerId,
}

/// The SYN queue.
#[derive(Debug)]
pub(crate) struct SynQueue {
    pub(crate) entries: Listed<HalfId, Half>,
    capacity: usize,
}

impl SynQueue {
    pub(crate) fn new(capacity: usize) -> Self {
        SynQueue {
            entries: Listed::new(),
            capacity,
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.capacity
    }

    pub(crate) fn insert_with_key(&mut self, make: impl FnOnce(HalfId) -> Half) -> HalfId {
        self.entries.insert_with_key(make)
    }
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) local: SocketAddr,
    pub(crate) only_v6: bool,
    pub(crate) options: TcpOptions,
    backlog: usize,
    /// Connections past the handshake, in the order they came, and when that was.
    pub(crate) queue: VecDeque<(TcpId, Instant)>,
    /// Entries of the SYN queue that are for it.
    pub(crate) half_open: usize,
    /// SYNs and final ACKs dropped for want of room.
    pub(crate) drops: Count,
    /// Whether its event is queued.
    pub(crate) event: bool,
}

/// A listener, as told by `Stack::listeners`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerInfo {
    /// Its id.
    pub id: ListenerId,
    /// The address and port that it listens at.
    pub local: SocketAddr,
    /// Whether the unspecified IPv6 address takes IPv6 connections only.
    pub only_v6: bool,
    /// Connections that may wait to be accepted; one more fits.
    pub backlog: usize,
    /// Connections that wait to be accepted.
    pub accept_queue: usize,
    /// Connections whose SYN has come and whose handshake is not complete. Those that were answered with a cookie are not known.
    pub half_open: usize,
    /// SYNs and final ACKs dropped for want of room, since it was made. 0 without the feature `metrics`.
    pub dropped: u64,
}

impl Listener {
    fn info(&self, id: ListenerId) -> ListenerInfo {
        ListenerInfo {
            id,
            local: self.local,
            only_v6: self.only_v6,
            backlog: self.backlog,
            accept_queue: self.queue.len(),
            half_open: self.half_open,
            dropped: self.drops.get(),
        }
    }

    /// As Linux counts: one more than the backlog fits.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() > self.backlog
    }

    /// Whether it takes connections to `addr`, and how specially it was meant: higher is closer.
    fn matches(&self, to: SocketAddr) -> Option<u8> {
        let (local, addr) = (self.local.ip(), to.ip());
        if self.local == to {
            Some(2)
        } else if !local.is_unspecified() {
            None
        } else if local.is_ipv4() == addr.is_ipv4() {
            Some(1)
        } else {
            (local.is_ipv6() && !self.only_v6).then_some(0)
        }
    }

    /// Whether both could be meant by the same packet.
    fn conflicts(&self, to: SocketAddr, only_v6: bool) -> bool {
        let (own, addr) = (self.local.ip(), to.ip());
        let dual =
            |addr: IpAddr, only_v6: bool| addr.is_ipv6() && addr.is_unspecified() && !only_v6;
        if own.is_ipv4() == addr.is_ipv4() {
            self.local == to || own.is_unspecified() || addr.is_unspecified()
        } else {
            dual(own, self.only_v6) || dual(addr, only_v6)
        }
    }
}

/// All listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    pub(crate) map: Listed<ListenerId, Listener>,
    /// Connections that wait to be accepted, of all of them.
    pub(crate) waiting: usize,
    /// Those on a port: as many as there are addresses at most.
    by_port: HashMap<u16, Vec<ListenerId>, HashKey>,
}

impl Listeners {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Listeners {
            map: Listed::new(),
            waiting: 0,
            by_port: HashMap::with_hasher(HashKey::derive(seed, "listeners")),
        }
    }

    pub(crate) fn is_free(&self, local: SocketAddr, only_v6: bool) -> bool {
        let Some(ids) = self.by_port.get(&local.port()) else {
            return true;
        };
        !ids.iter()
            .filter_map(|id| self.map.get(*id))
            .any(|l| l.conflicts(local, only_v6))
    }

    /// Adds one; the port is not zero any more.
    pub(crate) fn insert(&mut self, options: &ListenOptions) -> Result<ListenerId, Error> {
        let local = options.local;
        if !self.is_free(local, options.only_v6) {
            return Err(Error::AddrInUse);
        }
        let id = self.map.insert(Listener {
            local,
            only_v6: options.only_v6,
            options: options.options,
            backlog: options.backlog as usize,
            queue: VecDeque::new(),
            half_open: 0,
            drops: Count::default(),
            event: false,
        });
        self.by_port.entry(local.port()).or_default().push(id);
        Ok(id)
    }

    pub(crate) fn infos(&self) -> Vec<ListenerInfo> {
        let all = self.map.iter();
        all.map(|(id, listener)| listener.info(id)).collect()
    }

    /// Some of them from a place on.
    pub(crate) fn page(&self, from: ListPlace, most: usize) -> ListPage<ListenerInfo> {
        let page = self.map.page(from, most, |id, listener| listener.info(id));
        ListPage {
            entries: page.entries.into_iter().map(|(_, info)| info).collect(),
            next: page.next,
        }
    }

    pub(crate) fn remove(&mut self, id: ListenerId) -> Option<Listener> {
        let listener = self.map.remove(id)?;
        self.waiting -= listener.queue.len();
        let port = listener.local.port();
        if let Some(ids) = self.by_port.get_mut(&port) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_port.remove(&port);
            }
        }
        Some(listener)
    }

    /// The listener that a SYN to this address and port is for.
    pub(crate) fn lookup(&self, to: SocketAddr) -> Option<ListenerId> {
        let ids = self.by_port.get(&to.port())?;
        let best = ids
            .iter()
            .filter_map(|id| Some((self.map.get(*id)?.matches(to)?, *id)));
        best.max_by_key(|(closeness, _)| *closeness)
            .map(|(_, id)| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(local: &str, only_v6: bool) -> ListenOptions {
        ListenOptions {
            only_v6,
            ..ListenOptions::new(local.parse().unwrap())
        }
    }

    #[test]
    fn addresses_in_use_are_those_that_linux_refuses() {
        // (first, only_v6, second, only_v6, conflict)
        let cases = [
            ("0.0.0.0:80", false, "0.0.0.0:80", false, true),
            ("0.0.0.0:80", false, "0.0.0.0:81", false, false),
            ("0.0.0.0:80", false, "198.18.0.1:80", false, true),
            ("198.18.0.1:80", false, "198.18.0.2:80", false, false),
            ("[::]:80", false, "0.0.0.0:80", false, true),
            ("[::]:80", true, "0.0.0.0:80", false, false),
            ("[::]:80", false, "198.18.0.1:80", false, true),
            ("[::]:80", true, "[fd00::1]:80", false, true),
            ("198.18.0.1:80", false, "[fd00::1]:80", false, false),
        ];
        for (a, a6, b, b6, conflict) in cases {
            for (a, a6, b, b6) in [(a, a6, b, b6), (b, b6, a, a6)] {
                let mut listeners = Listeners::new(&[0; 32]);
                listeners.insert(&options(a, a6)).unwrap();
                let second = listeners.insert(&options(b, b6));
                assert_eq!(second.is_err(), conflict, "{a} {a6} then {b} {b6}");
            }
        }
    }

    #[test]
    fn the_closest_listener_gets_the_syn_and_a_removed_one_frees_its_port() {
        let mut listeners = Listeners::new(&[0; 32]);
        let any6 = listeners.insert(&options("[::]:80", true)).unwrap();
        let any4 = listeners.insert(&options("0.0.0.0:80", false)).unwrap();
        let dual = listeners.insert(&options("[::]:81", false)).unwrap();
        let v4 = |port| SocketAddr::from(([198, 18, 0, 1], port));
        let v6 = |port| SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], port));
        assert_eq!(listeners.lookup(v4(80)), Some(any4));
        assert_eq!(listeners.lookup(v6(80)), Some(any6));
        assert_eq!(
            (listeners.lookup(v4(81)), listeners.lookup(v6(81))),
            (Some(dual), Some(dual))
        );
        assert_eq!(listeners.lookup(v4(82)), None);
        listeners.remove(any4);
        assert_eq!(listeners.lookup(v4(80)), None);
        assert!(listeners.is_free(v4(80), false));
    }
}
