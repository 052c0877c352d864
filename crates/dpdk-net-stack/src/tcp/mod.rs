//! TCP: connections, listeners, the SYN queue, TIME-WAIT and the flow table that leads to them.
//!
//! A connection is a [`Flow`]. A segment comes in through [`input`], which knows the states, and goes on to [`ack`] with
//! its acknowledgment and to [`receive`] with its data; what is sent is decided in [`output`], when [`egress`] has
//! room. What the sender thinks of the path is in [`sender`], [`scoreboard`], [`rtt`] and [`cc`]; how connections
//! come to be in [`open`] and [`handshake`], their deadlines in [`timers`]; what applications call in [`api`]. What is told of
//! connections to those who watch is in [`info`], [`report`] and [`trace`].

pub(crate) mod ack;
pub(crate) mod api;
pub(crate) mod assembler;
pub(crate) mod black_hole;
pub(crate) mod busy;
pub(crate) mod cc;
pub(crate) mod chunk;
pub(crate) mod cookie;
pub(crate) mod egress;
pub(crate) mod fast;
pub(crate) mod flow;
pub(crate) mod flows;
mod gauges;
pub(crate) mod handshake;
pub(crate) mod header;
pub(crate) mod info;
pub(crate) mod input;
pub(crate) mod listener;
pub(crate) mod minisock;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod parcel;
pub(crate) mod pool;
pub(crate) mod ports;
pub(crate) mod rare;
pub(crate) mod receive;
pub(crate) mod recv_buf;
pub(crate) mod report;
#[cfg(test)]
mod rig;
pub(crate) mod rtt;
pub(crate) mod scoreboard;
pub(crate) mod segment;
pub(crate) mod send_buf;
pub(crate) mod sender;
pub(crate) mod seq;
pub(crate) mod settings;
pub(crate) mod sockopt;
mod steered;
pub(crate) mod table;
pub(crate) mod time_wait;
pub(crate) mod timers;
pub(crate) mod trace;
pub(crate) mod windowed;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::BuildHasher;
use core::net::SocketAddr;

use dpdk_net_packet::gso::Checksums;

use crate::config::{Config, TcpConfig};
use crate::error::Error;
use crate::event::{Event, ListenerId, Readiness, TcpId};
use crate::interfaces::Interfaces;
use crate::large::TxMemory;
use crate::limit::RateLimit;
use crate::link::{Link, Queue};
use crate::random::HashKey;
use crate::stats::{TcpCounters, TcpDistributions};
use crate::steer::{Steered, Workers};
use crate::time::{Duration, Instant, duration_nanos};
use crate::wheel::Wheel;

use cookie::Cookies;
use flow::{FlowFlags, Wait};
use flows::Flows;
use listener::{HalfId, Listeners, SynQueue};
use pool::Pool;
use ports::PortPicker;
use receive::Arrived;
use report::Waiting;
use segment::Control;
pub(crate) use settings::{Nanos, Settings};
use sockopt::TcpOptions;
use table::{FlowKey, FlowRef, FlowTable, Keys, RECENT, Recent};
use time_wait::{TimeWaitId, TimeWaits};
use trace::{CloseReason, TraceData, Traces};

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
    /// What connections that are accepted from it have.
    pub options: TcpOptions,
}

impl ListenOptions {
    /// A backlog of 1024, both families for the unspecified IPv6 address.
    pub fn new(local: SocketAddr) -> Self {
        ListenOptions {
            local,
            backlog: 1024,
            only_v6: false,
            options: TcpOptions::default(),
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

/// Whose timer it is.
#[derive(Debug, Clone, Copy)]
enum TimerKey {
    Flow(TcpId),
    Half(HalfId),
    TimeWait(TimeWaitId),
}

/// All of TCP. Nothing here is ever searched from end to end on the way of a packet: flows are found through the
/// table, those that want to send are in `dirty`, those with a deadline on the wheel, those to be told of in `events`.
#[derive(Debug)]
pub(crate) struct Tcp {
    settings: Settings,
    /// What of segments' checksums is made here.
    checksums: Checksums,
    /// Whether the sink gets several segments in one.
    gso: bool,
    pub(crate) flows: Flows,
    pub(crate) table: FlowTable,
    listeners: Listeners,
    syn_queue: SynQueue,
    cookies: Cookies,
    time_waits: TimeWaits,
    wheel: Wheel<TimerKey>,
    dirty: VecDeque<TcpId>,
    events: VecDeque<TcpId>,
    listener_events: VecDeque<ListenerId>,
    ports: PortPicker,
    isn_key: HashKey,
    challenges: RateLimit,
    resets: RateLimit,
    orphans: usize,
    refuse_new: bool,
    pool: Pool,
    /// Connections of segments that came lately, to be found without hashing: by the version of our addresses by which the local
    /// address is one of them and the remote one is not.
    recent: Box<[Recent; RECENT]>,
    vetted: u64,
    /// The payload of the segment that is being dealt with, where it can be kept in the buffer that it came in.
    pub(crate) arrived: Option<Arrived>,
    /// Payload bytes of each of the segments that were coalesced into it, if the NIC told.
    pub(crate) lro_segment: u16,
    steered: Option<Steered>,
    /// Whether segments may be given to other workers now, and to whom the present one is to be given.
    pub(crate) may_stray: bool,
    pub(crate) strayed: Workers,
    traces: Traces,
    reports: Waiting,
    pub(crate) stats: TcpCounters,
    pub(crate) distributions: TcpDistributions,
}

/// The keys of all that the table leads to.
struct AllKeys<'a> {
    flows: &'a Flows,
    syn_queue: &'a SynQueue,
    time_waits: &'a TimeWaits,
}

impl Keys for AllKeys<'_> {
    #[inline(always)]
    fn key_of(&self, flow: FlowRef) -> Option<&FlowKey> {
        match flow {
            FlowRef::Conn(id) => self.flows.get(id).map(|flow| &flow.key),
            FlowRef::Half(id) => self.syn_queue.entries.get(id).map(|half| &half.key),
            FlowRef::TimeWait(id) => self.time_waits.entries.get(id).map(|entry| &entry.key),
        }
    }
}

/// Queues may hold this many stale ids before they are cleared of them. Live ones are in a queue once at most, as their
/// flags tell, so only the end of a flow or listener makes an id stale.
const STALE: usize = 1024;

impl Tcp {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let (seed, own_seed) = (&config.seed, config.worker_seed());
        let tcp = &config.tcp;
        let nanos = Nanos {
            min_rto: duration_nanos(tcp.min_rto),
            max_rto: duration_nanos(tcp.max_rto),
            peer_ack_delay: duration_nanos(tcp.peer_ack_delay),
            ack_delay: duration_nanos(tcp.ack_delay),
        };
        let mut table_key = [0; 16];
        let key = HashKey::derive(seed, "flow table");
        table_key[..8].copy_from_slice(&key.hash_one(1u8).to_ne_bytes());
        table_key[8..].copy_from_slice(&key.hash_one(2u8).to_ne_bytes());
        Tcp {
            settings: Settings {
                tcp: tcp.clone(),
                nanos,
                mtu: config.mtu,
                smaller: config
                    .vlans
                    .iter()
                    .filter_map(|vlan| Some((vlan.id, [vlan.mtu?; 2])))
                    .collect(),
            },
            checksums: config.tx_checksum_offload.of_tcp(),
            gso: config.gso,
            flows: Flows::new(nanos),
            table: FlowTable::new(&table_key),
            listeners: Listeners::new(seed),
            syn_queue: SynQueue::new(tcp.syn_queue),
            cookies: Cookies::new(seed),
            time_waits: TimeWaits::new(tcp.max_time_wait),
            wheel: Wheel::new(now),
            dirty: VecDeque::new(),
            events: VecDeque::new(),
            listener_events: VecDeque::new(),
            ports: PortPicker::new(&own_seed, tcp.ephemeral_first, tcp.ephemeral_last),
            isn_key: HashKey::derive(seed, "initial sequence numbers"),
            challenges: RateLimit::new(tcp.challenge_acks_per_second, &own_seed, "challenge ACKs"),
            resets: RateLimit::new(tcp.resets_per_second, &own_seed, "resets"),
            orphans: 0,
            refuse_new: false,
            pool: Pool::new(tcp.buffer_growth),
            recent: Box::new([Recent::default(); RECENT]),
            vetted: 0,
            arrived: None,
            lro_segment: 0,
            steered: None,
            may_stray: false,
            strayed: Workers::NONE,
            traces: Traces::default(),
            reports: Waiting::default(),
            stats: TcpCounters::default(),
            distributions: TcpDistributions::default(),
        }
    }

    /// The settings that hold now.
    pub(crate) fn config(&self) -> &TcpConfig {
        &self.settings.tcp
    }

    /// Takes other settings, which differ only in what [`TcpConfig::fixed`] lets differ.
    pub(crate) fn reconfigure(&mut self, tcp: &TcpConfig) {
        self.challenges.set(tcp.challenge_acks_per_second);
        self.resets.set(tcp.resets_per_second);
        self.settings.tcp.clone_from(tcp);
    }

    /// Interfaces have other MTUs: what is offered from now on follows.
    pub(crate) fn set_mtus(&mut self, ifaces: &Interfaces) {
        let port = self.settings.mtu;
        let mtus = ifaces.iter().map(|(_, interface)| {
            // None is larger than the port's.
            let own = |mtu: usize| u16::try_from(mtu).unwrap_or(port);
            (
                interface.vlan,
                [own(interface.mtu_v4), own(interface.mtu_v6)],
            )
        });
        self.settings.smaller = mtus.filter(|(_, own)| *own != [port; 2]).collect();
    }

    /// RFC 6528: a clock of 4 microseconds and a keyed hash of the 4-tuple.
    fn initial_sequence(&self, now: Instant, key: &FlowKey) -> u32 {
        let clock = (now.as_nanos() / 4_000) as u32;
        clock.wrapping_add(self.isn_key.hash_one((key.local(), key.remote())) as u32)
    }

    /// What is added to the clock to make the timestamps of a connection (RFC 7323 section 5.4): the same for the next
    /// connection of the same 4-tuple, so that its SYN can follow TIME-WAIT.
    fn timestamp_offset(&self, key: &FlowKey) -> u32 {
        (self.isn_key.hash_one((key.local(), key.remote())) >> 32) as u32
    }

    /// Forgets who was recent by other addresses than there are now. To be called before any of them is looked for.
    #[inline(always)]
    pub(crate) fn vet_recent(&mut self, ifaces: &Interfaces) {
        if self.vetted != ifaces.version() {
            self.forget_recent(ifaces.version());
        }
    }

    #[cold]
    fn forget_recent(&mut self, version: u64) {
        self.recent.fill(Recent::default());
        self.vetted = version;
    }

    /// The connection that a segment with this key is of, if one of the same has come lately and all is as it was.
    #[inline(always)]
    pub(crate) fn recent_connection(&self, key: &FlowKey) -> Option<TcpId> {
        let recent = &self.recent[key.recent_at()];
        if recent.ports == key.ports()
            && recent.remote == key.remote_bits() as u32
            && let Some(flow) = self.flows.get(recent.id)
            && flow.key == *key
            && flow.state != TcpState::Closed
        {
            return Some(recent.id);
        }
        None
    }

    /// The connection that a segment is of whose key was found to stand for it, if the local address is one of ours and the
    /// remote one is not.
    #[inline(always)]
    pub(crate) fn connection(
        &mut self,
        found: Option<FlowRef>,
        key: &FlowKey,
        ifaces: &Interfaces,
    ) -> Option<TcpId> {
        let Some(FlowRef::Conn(id)) = found else {
            return None;
        };
        let is_ours = |addr| ifaces.is_ours_bits(key.scope(), addr);
        if !is_ours(key.local_bits()) || is_ours(key.remote_bits()) {
            return None;
        }
        self.recent[key.recent_at()] = Recent {
            id,
            ports: key.ports(),
            remote: key.remote_bits() as u32,
        };
        Some(id)
    }

    /// What a 4-tuple stands for.
    pub(crate) fn lookup(&self, key: &FlowKey) -> Option<FlowRef> {
        self.find(self.table.hash(key), key)
    }

    /// As [`lookup`](Self::lookup), where the key's hash is known.
    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &FlowKey) -> Option<FlowRef> {
        let keys = AllKeys {
            flows: &self.flows,
            syn_queue: &self.syn_queue,
            time_waits: &self.time_waits,
        };
        self.table.find(hash, key, &keys)
    }

    /// Puts a flow into the table, in place of what the 4-tuple stood for.
    fn enter(&mut self, key: &FlowKey, flow: FlowRef) {
        let keys = AllKeys {
            flows: &self.flows,
            syn_queue: &self.syn_queue,
            time_waits: &self.time_waits,
        };
        self.table.insert(key, flow, &keys);
    }

    /// Has bulk be written where the sink can read it.
    pub(crate) fn set_tx_memory(&mut self, memory: Box<dyn TxMemory>) {
        self.pool.memory = Some(memory);
    }

    /// Changes what of segments' checksums is made here.
    pub(crate) fn set_checksums(&mut self, checksums: Checksums) {
        self.checksums = checksums;
    }

    /// Sends a segment without data.
    fn send_control(
        &mut self,
        now: Instant,
        link: &mut Link,
        control: &Control,
    ) -> Result<(), Error> {
        let (len, bytes) = control.bytes();
        link.output(now, Queue::Replies, &control.meta(), len, |buf| {
            buf.copy_from_slice(&bytes[..len])
        })?;
        self.stats.tx_segments += 1;
        Ok(())
    }

    /// Puts a flow into the list of those that are asked for segments.
    fn mark_dirty(&mut self, id: TcpId) {
        if let Some(flow) = self.flows.as_it_is(id) {
            flow.mark_dirty(id, &mut self.dirty);
        }
    }

    /// Tells the application of readiness, once until it takes the event.
    fn notify(&mut self, id: TcpId, ready: Readiness) {
        if let Some(flow) = self.flows.as_it_is(id) {
            flow.notify(id, ready, &mut self.events);
        }
    }

    /// Clears the queues of ids that stand for nothing any more, if there are many.
    fn drop_stale(&mut self) {
        let (flows, listeners) = (&self.flows, &self.listeners.map);
        if self.dirty.len() > 2 * flows.len() + STALE {
            self.dirty.retain(|id| flows.contains_key(*id));
        }
        if self.events.len() > 2 * flows.len() + STALE {
            self.events.retain(|id| flows.contains_key(*id));
        }
        if self.listener_events.len() > 2 * listeners.len() + STALE {
            self.listener_events
                .retain(|id| listeners.contains_key(*id));
        }
    }

    /// The next event of a connection.
    #[inline(always)]
    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        while let Some(id) = self.events.pop_front() {
            let Some(flow) = self.flows.as_it_is(id) else {
                continue;
            };
            flow.flags.remove(FlowFlags::EVENT);
            let ready = core::mem::take(&mut flow.pending);
            if !ready.is_empty() && !flow.has(FlowFlags::ORPHAN) {
                return Some(Event::Tcp(id, ready));
            }
        }
        None
    }

    /// The next event of a listener.
    pub(crate) fn poll_listener_event(&mut self) -> Option<Event> {
        while let Some(id) = self.listener_events.pop_front() {
            if let Some(listener) = self.listeners.map.get_mut(id) {
                listener.event = false;
                return Some(Event::Listener(id));
            }
        }
        None
    }

    /// Forgets a flow altogether.
    fn free(&mut self, id: TcpId) {
        let Some(mut flow) = self.flows.remove(id) else {
            return;
        };
        self.leave(&flow.key, FlowRef::Conn(id));
        self.wheel.remove(flow.timer);
        if let Some(busy) = flow.busy.take() {
            self.pool.put(busy);
        }
        self.pool.return_growth(&mut flow.grown);
        if flow.has(FlowFlags::ORPHAN) {
            self.orphans -= 1;
        }
        self.drop_stale();
    }

    /// The connection is over: its 4-tuple is free, and what was received stays until the application lets go.
    fn finish(&mut self, now: Instant, id: TcpId, reason: CloseReason, error: Option<Error>) {
        self.ends(now, id, reason, error.as_ref());
        let Some((key, state)) = self.flows.get(id).map(|flow| (flow.key, flow.state)) else {
            return;
        };
        match state {
            TcpState::SynSent | TcpState::SynReceived => self.stats.attempt_fails += 1,
            TcpState::Established | TcpState::CloseWait => self.stats.established_resets += 1,
            _ => {}
        }
        self.flows.moved(state, TcpState::Closed);
        self.leave(&key, FlowRef::Conn(id));
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        flow.state = TcpState::Closed;
        flow.flags |= FlowFlags::OVER;
        if flow.has(FlowFlags::ORPHAN) {
            if !flow.has(FlowFlags::RESET_OWED) {
                self.free(id);
            }
            return;
        }
        self.wheel.disarm(flow.timer);
        flow.timer_at = Instant::MAX;
        flow.expires = Instant::MAX;
        (flow.wait, flow.wait_until, flow.ack_at) = (Wait::Nothing, Instant::MAX, Instant::MAX);
        flow.sender = None;
        if let Some(busy) = &mut flow.busy {
            busy.send.clear();
            busy.sent.clear();
            busy.gaps = None;
        }
        flow.relax(&mut self.pool);
        if error.is_some() {
            flow.rare().error = error;
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
            let reset = flow.reset(now);
            self.stats.tx_resets += 1;
            self.record(now, id, |_| TraceData::Sent(reset.traced(0)));
            if self.send_control(now, link, &reset) == Err(Error::NoBufferSpace)
                && let Some(flow) = self.flows.get_mut(id)
            {
                flow.flags |= FlowFlags::RESET_OWED;
                self.mark_dirty(id);
            }
        }
        let reason = match error {
            Some(Error::TimedOut) => CloseReason::TimedOut,
            _ => CloseReason::Aborted,
        };
        self.finish(now, id, reason, error);
    }
}
