//! TCP: connections, listeners, the SYN queue, TIME-WAIT and the flow table that leads to them.
//!
//! The state machine of one connection is behind the seam in [`conn`]: it takes one packet, gives one segment, and says
//! when it wants to run again. All around it is here and does not care which state machine that is: what a segment may
//! do to a connection ([`input`]), when a connection is asked for segments ([`egress`]), and what applications call
//! ([`api`]).

pub(crate) mod api;
#[allow(dead_code)]
pub(crate) mod assembler;
#[allow(dead_code)]
pub(crate) mod cc;
#[allow(dead_code)]
pub(crate) mod chunk;
pub(crate) mod conn;
pub(crate) mod cookie;
pub(crate) mod egress;
pub(crate) mod flow;
pub(crate) mod handshake;
pub(crate) mod input;
pub(crate) mod listener;
pub(crate) mod options;
pub(crate) mod ports;
#[allow(dead_code)]
pub(crate) mod recv_buf;
#[allow(dead_code)]
pub(crate) mod rtt;
pub(crate) mod segment;
#[allow(dead_code)]
pub(crate) mod send_buf;
pub(crate) mod seq;
pub(crate) mod table;
pub(crate) mod time_wait;
pub(crate) mod watch;
#[allow(dead_code)]
pub(crate) mod windowed;

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::hash::BuildHasher;
use core::net::SocketAddr;

use slotmap::SlotMap;

use crate::config::{Config, TcpConfig};
use crate::error::Error;
use crate::event::{Event, ListenerId, Readiness, TcpId};
use crate::limit::RateLimit;
use crate::link::{Link, Queue};
use crate::random::HashKey;
use crate::stats::TcpStats;
use crate::time::{Duration, Instant};
use crate::wheel::Wheel;

use conn::{Engine, Wish};
use cookie::Cookies;
use flow::{Flow, FlowFlags};
use listener::{HalfId, Listeners, SynQueue};
use ports::PortPicker;
use segment::Control;
use table::{FlowKey, FlowRef, FlowTable};
use time_wait::{TimeWait, TimeWaitId, TimeWaits};

/// The states of RFC 9293 section 3.3.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// No connection: over, in order or by an error.
    Closed,
    /// A SYN was sent.
    SynSent,
    /// A SYN came and was answered.
    SynReceived,
    /// Data may flow both ways.
    Established,
    /// Closed from here, the FIN is not acknowledged yet.
    FinWait1,
    /// Closed from here, the peer knows and may still send.
    FinWait2,
    /// Closed by the peer, this side may still send.
    CloseWait,
    /// Closed by both at the same time.
    Closing,
    /// Closed by both, the last FIN is not acknowledged yet.
    LastAck,
    /// Over, kept to answer what may still be on its way.
    TimeWait,
}

impl TcpState {
    /// Whether both sides have agreed on sequence numbers.
    pub fn is_synchronized(self) -> bool {
        !matches!(
            self,
            TcpState::Closed | TcpState::SynSent | TcpState::SynReceived
        )
    }
}

/// How to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// Address and port. Port 0 takes a free one of the ephemeral range. The unspecified IPv6 address takes IPv4
    /// connections too, unless `only_v6`.
    pub local: SocketAddr,
    /// Connections past the handshake that may wait to be accepted. As with Linux one more fits.
    pub backlog: u32,
    /// Whether the unspecified IPv6 address takes IPv6 connections only (`IPV6_V6ONLY`).
    pub only_v6: bool,
    /// Time to live or hop limit of accepted connections, not 0. Default 64.
    pub ttl: u8,
}

impl ListenOptions {
    /// A backlog of 1024, both families for the unspecified IPv6 address.
    pub fn new(local: SocketAddr) -> Self {
        ListenOptions {
            local,
            backlog: 1024,
            only_v6: false,
            ttl: 64,
        }
    }
}

/// When a silent connection is probed (RFC 1122 section 4.2.3.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first probe (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Time between probes (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes before the connection fails with `TimedOut` (`TCP_KEEPCNT`).
    pub count: u8,
}

impl Default for Keepalive {
    /// Linux' defaults: 2 hours, 75 s, 9 probes.
    fn default() -> Self {
        Keepalive {
            idle: Duration::from_secs(7_200),
            interval: Duration::from_secs(75),
            count: 9,
        }
    }
}

/// A connection as an administrator wants to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// Bytes received and not yet read.
    pub recv_queue: usize,
    /// Bytes written and not yet acknowledged.
    pub send_queue: usize,
    /// Whether the application has let go of it.
    pub orphan: bool,
}

/// Whose timer it is.
#[derive(Debug, Clone, Copy)]
enum TimerKey {
    Flow(TcpId),
    Half(HalfId),
    TimeWait(TimeWaitId),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EventKey {
    Flow(TcpId),
    Listener(ListenerId),
}

/// All of TCP. Nothing here is ever searched from end to end on the way of a packet: flows are found through the
/// table, those that want to send are in `dirty`, those with a deadline on the wheel, those to be told of in `events`.
#[derive(Debug)]
pub(crate) struct Tcp {
    config: TcpConfig,
    tx_checksum: bool,
    /// The first one has the interface's MTU, the others those of narrower paths.
    engines: Vec<Engine>,
    pub(crate) flows: SlotMap<TcpId, Flow>,
    pub(crate) table: FlowTable,
    listeners: Listeners,
    syn_queue: SynQueue,
    cookies: Cookies,
    time_waits: TimeWaits,
    wheel: Wheel<TimerKey>,
    dirty: VecDeque<TcpId>,
    events: VecDeque<EventKey>,
    ports: PortPicker,
    isn_key: HashKey,
    challenges: RateLimit,
    resets: RateLimit,
    orphans: usize,
    refuse_new: bool,
    /// Holds the reply of a state machine, and packets that have to be rewritten before it sees them.
    reply: Vec<u8>,
    scratch: Vec<u8>,
    pub(crate) stats: TcpStats,
}

/// Queues may hold this many stale ids before they are cleared of them. Live ones are in a queue once at most, as their
/// flags tell, so only the end of a flow or listener makes an id stale.
const STALE: usize = 1024;

impl Tcp {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let seed = &config.seed;
        let tcp = &config.tcp;
        let mut table_key = [0; 16];
        let key = HashKey::derive(seed, "flow table");
        table_key[..8].copy_from_slice(&key.hash_one(1u8).to_ne_bytes());
        table_key[8..].copy_from_slice(&key.hash_one(2u8).to_ne_bytes());
        Tcp {
            config: tcp.clone(),
            tx_checksum: config.tx_checksum,
            engines: vec![Engine::new(config.mtu, now)],
            flows: SlotMap::with_key(),
            table: FlowTable::new(&table_key),
            listeners: Listeners::new(seed),
            syn_queue: SynQueue::new(tcp.syn_queue),
            cookies: Cookies::new(seed),
            time_waits: TimeWaits::new(tcp.max_time_wait),
            wheel: Wheel::new(now),
            dirty: VecDeque::new(),
            events: VecDeque::new(),
            ports: PortPicker::new(seed, tcp.ephemeral_first, tcp.ephemeral_last),
            isn_key: HashKey::derive(seed, "initial sequence numbers"),
            challenges: RateLimit::new(tcp.challenge_acks_per_second),
            resets: RateLimit::new(tcp.resets_per_second),
            orphans: 0,
            refuse_new: false,
            reply: Vec::new(),
            scratch: Vec::new(),
            stats: TcpStats::default(),
        }
    }

    /// RFC 6528: a clock of 4 microseconds and a keyed hash of the 4-tuple.
    fn initial_sequence(&self, now: Instant, key: &FlowKey) -> u32 {
        let clock = (now.as_nanos() / 4_000) as u32;
        clock.wrapping_add(self.isn_key.hash_one((key.local(), key.remote())) as u32)
    }

    /// Sends a segment without data.
    fn send_control(
        &mut self,
        now: Instant,
        link: &mut Link,
        control: &Control,
    ) -> Result<(), Error> {
        let (len, bytes) = control.bytes(self.tx_checksum);
        link.output(now, Queue::Replies, &control.meta(), len, |buf| {
            buf.copy_from_slice(&bytes[..len])
        })?;
        self.stats.tx_segments += 1;
        Ok(())
    }

    /// Puts a flow into the list of those that are asked for segments.
    fn mark_dirty(&mut self, id: TcpId) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.mark_dirty(id, &mut self.dirty);
        }
    }

    /// Tells the application of readiness, once until it takes the event.
    fn notify(&mut self, id: TcpId, ready: Readiness) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.notify(id, ready, &mut self.events);
        }
    }

    /// Clears the queues of ids that stand for nothing any more, if there are many.
    fn drop_stale(&mut self) {
        let (flows, listeners) = (&self.flows, &self.listeners.map);
        if self.dirty.len() > 2 * flows.len() + STALE {
            self.dirty.retain(|id| flows.contains_key(*id));
        }
        if self.events.len() > 2 * (flows.len() + listeners.len()) + STALE {
            self.events.retain(|key| match key {
                EventKey::Flow(id) => flows.contains_key(*id),
                EventKey::Listener(id) => listeners.contains_key(*id),
            });
        }
    }

    #[inline]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        while let Some(key) = self.events.pop_front() {
            match key {
                EventKey::Flow(id) => {
                    let Some(flow) = self.flows.get_mut(id) else {
                        continue;
                    };
                    flow.flags.remove(FlowFlags::EVENT);
                    let ready = core::mem::take(&mut flow.pending);
                    if !ready.is_empty() && !flow.has(FlowFlags::ORPHAN) {
                        return Some(Event::Tcp(id, ready));
                    }
                }
                EventKey::Listener(id) => {
                    if let Some(listener) = self.listeners.map.get_mut(id) {
                        listener.event = false;
                        return Some(Event::Listener(id));
                    }
                }
            }
        }
        None
    }

    /// Forgets a flow altogether.
    fn free(&mut self, id: TcpId) {
        let Some(flow) = self.flows.remove(id) else {
            return;
        };
        self.table.remove(&flow.key, FlowRef::Conn(id));
        self.wheel.remove(flow.timer);
        if flow.has(FlowFlags::ORPHAN) {
            self.orphans -= 1;
        }
        self.drop_stale();
    }

    /// The connection is over: its 4-tuple is free, and what was received stays until the application lets go.
    fn finish(&mut self, id: TcpId, error: Option<Error>) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        self.table.remove(&flow.key, FlowRef::Conn(id));
        if flow.has(FlowFlags::ORPHAN) {
            if !flow.has(FlowFlags::RESET_OWED) {
                self.free(id);
            }
            return;
        }
        self.wheel.disarm(flow.timer);
        flow.flags |= FlowFlags::OVER;
        flow.expires = None;
        if error.is_some() {
            flow.error = error;
        }
        let mut ready = Readiness::READABLE | Readiness::WRITABLE | Readiness::CLOSED;
        if flow.has(FlowFlags::CONNECTING) {
            flow.flags.remove(FlowFlags::CONNECTING);
            self.stats.connect_failed += 1;
            ready |= Readiness::CONNECTED;
        }
        self.notify(id, ready);
    }

    /// Ends a connection from here with a RST, which is sent later if there is no room for it now.
    fn abort(&mut self, now: Instant, link: &mut Link, id: TcpId, error: Option<Error>) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state();
        if state.is_synchronized() && state != TcpState::TimeWait || state == TcpState::SynReceived
        {
            let reset = flow.reset();
            self.stats.tx_resets += 1;
            if self.send_control(now, link, &reset) == Err(Error::NoBufferSpace)
                && let Some(flow) = self.flows.get_mut(id)
            {
                flow.flags |= FlowFlags::RESET_OWED | FlowFlags::OVER;
                self.mark_dirty(id);
            }
        }
        self.finish(id, error);
    }

    /// Sets the flow's timer to the earliest of what its state machine wishes and its surroundings have in mind.
    #[inline]
    fn set_timer(&mut self, id: TcpId, wish: Wish) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let mut at = match wish {
            Wish::At(at) => at,
            _ => Instant::MAX,
        };
        if let Some(expires) = flow.expires {
            at = at.min(expires);
        }
        let state = flow.state();
        if flow.has(FlowFlags::CONNECTING) {
            // `expires` tells how long that may take, however short the patience with data is.
        } else if flow.has_unacknowledged(state) {
            let patience = if flow.has(FlowFlags::ORPHAN) {
                self.config.orphan_timeout
            } else {
                self.config.user_timeout
            };
            at = at.min(flow.heard + patience);
        } else if let Some(keepalive) = &flow.keepalive
            && state.is_synchronized()
            && state != TcpState::TimeWait
        {
            let config = keepalive.config;
            at = at.min(flow.heard + config.idle + config.interval * u32::from(keepalive.probes));
        }
        if at < Instant::MAX {
            self.wheel.arm_no_later(flow.timer, at);
        }
    }

    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, link: &mut Link) {
        while let Some(key) = self.wheel.pop_expired(now) {
            match key {
                TimerKey::Flow(id) => self.flow_timer(now, link, id),
                TimerKey::Half(id) => self.half_timer(now, link, id),
                TimerKey::TimeWait(id) => self.remove_time_wait(id),
            }
        }
    }

    fn flow_timer(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state();
        if flow.expires.is_some_and(|at| at <= now) {
            match state {
                TcpState::SynSent | TcpState::SynReceived => {
                    self.stats.timeouts += 1;
                    self.finish(id, Some(Error::TimedOut));
                }
                // An orphan in FIN-WAIT-2, or the end of TIME-WAIT.
                _ => self.finish(id, None),
            }
            return;
        }
        if flow.has_unacknowledged(state) {
            let orphan = flow.has(FlowFlags::ORPHAN);
            let patience = if orphan {
                self.config.orphan_timeout
            } else {
                self.config.user_timeout
            };
            if !flow.has(FlowFlags::CONNECTING) && flow.heard + patience <= now {
                self.stats.timeouts += 1;
                self.finish(id, Some(Error::TimedOut));
                return;
            }
        } else if let Some(keepalive) = &mut flow.keepalive
            && state.is_synchronized()
            && state != TcpState::TimeWait
            && flow.heard
                + keepalive.config.idle
                + keepalive.config.interval * u32::from(keepalive.probes)
                <= now
        {
            if keepalive.probes >= keepalive.config.count {
                self.stats.timeouts += 1;
                self.abort(now, link, id, Some(Error::TimedOut));
                return;
            }
            keepalive.probes += 1;
            // RFC 1122 section 4.2.3.6: a sequence number that has been acknowledged draws an ACK.
            let mut probe = flow.ack();
            probe.seq = probe.seq.wrapping_sub(1);
            let _ = self.send_control(now, link, &probe);
        }
        if state == TcpState::TimeWait {
            self.set_timer(id, Wish::Never);
        } else {
            self.mark_dirty(id);
        }
    }

    /// The flow has just entered TIME-WAIT: its last ACK goes out at once, and its state machine is not run again
    /// (smoltcp's would throw away unread data when its own TIME-WAIT ends).
    fn enter_time_wait(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        self.stats.time_wait += 1;
        let expires = now + self.config.time_wait;
        flow.expires = Some(expires);
        let (ack, orphan) = (flow.ack(), flow.has(FlowFlags::ORPHAN));
        let _ = self.send_control(now, link, &ack);
        if orphan {
            self.retire(id);
        } else {
            self.set_timer(id, Wish::Never);
        }
    }

    /// Replaces an orphan in TIME-WAIT by what little has to be kept of it.
    fn retire(&mut self, id: TcpId) {
        if self.time_waits.is_full()
            && let Some(oldest) = self.time_waits.oldest()
        {
            self.stats.time_wait_recycled += 1;
            self.remove_time_wait(oldest);
        }
        let Some(flow) = self.flows.get(id) else {
            return;
        };
        let ack = flow.ack();
        let key = flow.key;
        let expires = flow.expires.unwrap_or(Instant::ZERO);
        let wheel = &mut self.wheel;
        let time_wait = self.time_waits.insert_with_key(|id| TimeWait {
            key,
            snd_nxt: ack.seq,
            rcv_nxt: ack.ack,
            window: ack.window,
            hop_limit: ack.hop_limit,
            timer: wheel.insert(TimerKey::TimeWait(id)),
        });
        self.arm_time_wait(time_wait, expires);
        self.table.insert(key, FlowRef::TimeWait(time_wait));
        self.free(id);
    }

    fn arm_time_wait(&mut self, id: TimeWaitId, at: Instant) {
        if let Some(entry) = self.time_waits.entries.get(id) {
            self.wheel.arm(entry.timer, at);
        }
    }

    fn remove_time_wait(&mut self, id: TimeWaitId) {
        if let Some(entry) = self.time_waits.entries.remove(id) {
            self.table.remove(&entry.key, FlowRef::TimeWait(id));
            self.wheel.remove(entry.timer);
        }
    }
}
