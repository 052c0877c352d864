//! The stack of this project as a simulated host.
//!
//! Only the glue lives here: ids, a sink of vectors, and what must hold for every stack between any two events.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use dpdk_net_stack::{
    Config, Error, Event, IfAddr, Keepalive, LargeFrame, ListenOptions, ListenerId, Stack, TcpId,
    TcpState, TxMeta, TxSink,
};

use crate::Instant;
use crate::addr;
use crate::nic::{Nic, Offloads};
use crate::sim::{ConnId, Host, ListenId, TcpHost};

/// Connections up to which each is asked for its deadline after every event; more would make long runs quadratic.
const CHECKED_CONNECTIONS: usize = 64;
/// What a frame's buffer holds before the stack writes it: a byte that is left out shows.
const JUNK: u8 = 0xa5;

/// A [`Stack`] on the simulated segment.
///
/// Applications are polled only when the stack told of an event, so an event that is missing stalls the simulation. After
/// every event it is checked that a connection with bytes under way has a deadline and that queues are within their bounds.
pub struct StackHost {
    stack: Stack,
    conns: BTreeMap<u64, TcpId>,
    listeners: BTreeMap<u64, ListenerId>,
    next_id: u64,
    backlog: u32,
    keepalive: Option<Keepalive>,
    bounds: Bounds,
    nic: Nic,
    /// The sink was filled to the brim: what is left waits for room and not for a deadline.
    sink_full: bool,
}

/// What the configuration allows.
#[derive(Clone, Copy)]
struct Bounds {
    half_open: usize,
    time_waits: usize,
    orphans: usize,
    connections: usize,
}

impl fmt::Debug for StackHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHost")
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

impl StackHost {
    /// Host number `n` of the address plan ([`crate::addr`]) with its IPv4 and IPv6 address, usable at once. `seed` decides its
    /// hash keys, initial sequence numbers and ports.
    ///
    /// # Panics
    /// If the stack refuses its configuration.
    pub fn new(n: u16, seed: u64) -> Self {
        Self::with_config(Self::config(n, seed))
    }

    /// The configuration that [`new`](Self::new) gives host `n`, to be changed.
    pub fn config(n: u16, seed: u64) -> Config {
        let address = |addr, prefix_len| IfAddr { addr, prefix_len };
        let mut config = Config::new(addr::mac(n))
            .with_address(address(addr::ipv4(n).into(), addr::IPV4_PREFIX_LEN))
            .with_address(address(addr::ipv6(n).into(), addr::IPV6_PREFIX_LEN));
        config.dad = false;
        config.seed[..8].copy_from_slice(&seed.to_le_bytes());
        config
    }

    /// A host with this configuration.
    ///
    /// # Panics
    /// If the stack refuses its configuration.
    pub fn with_config(config: Config) -> Self {
        Self::behind_nic(config, Offloads::NONE)
    }

    /// A host with this configuration behind a NIC that does these offloads. What the stack leaves to it is set by them.
    ///
    /// # Panics
    /// If the stack refuses its configuration.
    pub fn behind_nic(mut config: Config, offloads: Offloads) -> Self {
        let nic = Nic::new(offloads);
        nic.configure(&mut config);
        let bounds = Bounds {
            half_open: config.tcp.syn_queue,
            time_waits: config.tcp.max_time_wait,
            orphans: config.tcp.max_orphans,
            connections: config.tcp.max_connections,
        };
        let stack = Stack::new(config, Instant::ZERO).unwrap_or_else(|error| panic!("{error}"));
        Self {
            stack,
            conns: BTreeMap::new(),
            listeners: BTreeMap::new(),
            next_id: 0,
            backlog: 1024,
            keepalive: None,
            bounds,
            nic,
            sink_full: false,
        }
    }

    /// Sets the backlog of listeners opened from now on (1,024 without).
    pub fn set_backlog(&mut self, backlog: u32) {
        self.backlog = backlog;
    }

    /// Sets keep-alive for connections opened or accepted from now on (off without).
    pub fn set_keepalive(&mut self, keepalive: Option<Keepalive>) {
        self.keepalive = keepalive;
    }

    /// The stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The stack, to be used directly. Its events are taken by the simulation.
    pub fn stack_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The NIC.
    pub fn nic(&self) -> &Nic {
        &self.nic
    }

    /// The stack's own id of a connection.
    pub fn tcp_id(&self, conn: ConnId) -> Option<TcpId> {
        self.conns.get(&conn.0).copied()
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn keep(&mut self, conn: TcpId) -> Result<ConnId, Error> {
        if let Some(keepalive) = self.keepalive {
            self.stack.tcp_set_keepalive_times(conn, keepalive)?;
        }
        let id = self.new_id();
        self.conns.insert(id, conn);
        Ok(ConnId(id))
    }

    fn id(&self, conn: ConnId) -> Result<TcpId, Error> {
        self.tcp_id(conn).ok_or(Error::UnknownSocket)
    }
}

/// A sink with so much room, in front of a NIC.
pub(crate) struct Sink<'a> {
    pub(crate) room: usize,
    pub(crate) frames: &'a mut Vec<Vec<u8>>,
    pub(crate) nic: &'a mut Nic,
}

impl Sink<'_> {
    fn take(&mut self, frames: usize) {
        assert!(
            self.room >= frames,
            "the stack sends more frames than the sink has room for"
        );
        self.room -= frames;
    }
}

impl TxSink for Sink<'_> {
    fn capacity(&mut self) -> usize {
        self.room
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.take(1);
        let mut frame = vec![JUNK; len];
        let result = fill(&mut frame);
        self.frames.push(self.nic.send(frame, meta));
        result
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        if let Some(pieces) = self.nic.send_large(large) {
            self.take(pieces.len());
            self.frames.extend(pieces);
            return;
        }
        let meta = large.segment_meta();
        for index in 0..large.gso().count() {
            self.send(large.gso().frame_len(index), meta, |frame| {
                large.write_segment(index, frame);
            });
        }
    }
}

impl Host for StackHost {
    fn ingest(&mut self, now: Instant, frames: &[Vec<u8>]) {
        if self.nic.passes_on() {
            self.stack.ingest(now, frames);
        } else {
            let received = self.nic.receive(frames);
            self.stack.ingest(now, &received);
        }
    }

    fn transmit(&mut self, now: Instant, room: usize, out: &mut Vec<Vec<u8>>) {
        let before = out.len();
        let mut sink = Sink {
            room,
            frames: out,
            nic: &mut self.nic,
        };
        let sent = self.stack.poll_transmit(now, &mut sink);
        assert_eq!(
            sent,
            out.len() - before,
            "poll_transmit() miscounts the frames it handed over"
        );
        self.sink_full = sent == room;
    }

    fn next_timeout(&mut self, _now: Instant) -> Option<Instant> {
        self.stack.next_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.stack.handle_timeout(now);
    }

    fn take_wake(&mut self) -> bool {
        let mut woken = false;
        while let Some(event) = self.stack.poll_event() {
            woken |= matches!(event, Event::Tcp(..) | Event::Listener(_) | Event::Udp(..));
        }
        woken
    }

    fn check(&mut self, _now: Instant) -> Result<(), String> {
        let (stack, bounds) = (&self.stack, self.bounds);
        for (what, count, most) in [
            (
                "half-open connections",
                stack.tcp_half_open(),
                bounds.half_open,
            ),
            (
                "connections in TIME-WAIT",
                stack.tcp_time_waits(),
                bounds.time_waits,
            ),
            ("orphans", stack.tcp_orphans(), bounds.orphans),
            (
                "connections",
                stack.tcp_count(),
                bounds.connections + bounds.orphans + bounds.time_waits,
            ),
        ] {
            if count > most {
                return Err(format!(
                    "{count} {what}, but {most} are the most there may be"
                ));
            }
        }
        if self.sink_full || self.stack.next_timeout().is_some() {
            return Ok(());
        }
        let over = |id: &TcpId| self.stack.tcp_state(*id) == TcpState::Closed;
        let waits = |id: &&TcpId| !over(id) && !self.stack.is_send_drained(**id);
        match self.conns.values().take(CHECKED_CONNECTIONS).find(waits) {
            None => Ok(()),
            Some(id) => {
                let info = self.stack.tcp_connections();
                Err(format!(
                    "{id:?} has bytes under way and no deadline; connections: {info:?}"
                ))
            }
        }
    }

    fn tcp(&mut self) -> Option<&mut dyn TcpHost> {
        Some(self)
    }
}

impl TcpHost for StackHost {
    fn listen(&mut self, _now: Instant, local: SocketAddr) -> Result<ListenId, Error> {
        let mut options = ListenOptions::new(local);
        options.backlog = self.backlog;
        let listener = self.stack.tcp_listen(options)?;
        let id = self.new_id();
        self.listeners.insert(id, listener);
        Ok(ListenId(id))
    }

    fn accept(&mut self, _now: Instant, listener: ListenId) -> Result<(ConnId, SocketAddr), Error> {
        let listener = *self
            .listeners
            .get(&listener.0)
            .ok_or(Error::UnknownSocket)?;
        let (conn, peer) = self.stack.tcp_accept(listener)?;
        Ok((self.keep(conn)?, peer))
    }

    fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnId, Error> {
        let conn = self.stack.tcp_connect(now, None, remote)?;
        self.keep(conn)
    }

    fn send(&mut self, _now: Instant, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        self.stack.tcp_send(self.id(conn)?, bytes)
    }

    fn recv(&mut self, _now: Instant, conn: ConnId, bytes: &mut [u8]) -> Result<usize, Error> {
        self.stack.tcp_recv(self.id(conn)?, bytes)
    }

    fn shutdown_write(&mut self, _now: Instant, conn: ConnId) -> Result<(), Error> {
        let id = self.id(conn)?;
        if self.stack.tcp_state(id) == TcpState::SynSent {
            // As with a kernel's socket it is an error before the connection is there; applications here are to wait.
            return Err(Error::WouldBlock);
        }
        self.stack.tcp_shutdown_write(id)
    }

    fn close(&mut self, now: Instant, conn: ConnId) {
        if let Some(id) = self.conns.remove(&conn.0) {
            self.stack.tcp_close(now, id);
        }
    }

    fn abort(&mut self, _now: Instant, conn: ConnId) {
        if let Some(id) = self.conns.remove(&conn.0) {
            self.stack.tcp_abort(id);
        }
    }
}
