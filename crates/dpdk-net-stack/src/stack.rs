//! The stack of one queue: what its owner drives and what sockets call.
//!
//! The owner calls [`Stack::ingest`] with received frames, [`Stack::poll_transmit`] when there is room to send,
//! [`Stack::handle_timeout`] when [`Stack::next_timeout`] has come, and [`Stack::poll_event`] until it is empty. After any call
//! that may make something ready to be sent (ingest, a timeout, a call of a socket) `poll_transmit` is to be called.

mod interfaces;
mod udp_segments;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::config::{ChecksumOffload, Config};
use crate::error::Error;
use crate::event::{Event, ListenerId, Readiness, TcpId, UdpId};
use crate::icmp::{ErrorReport, Icmp, IcmpError};
use crate::large::{LargeFrame, TxMemory};
use crate::link::Link;
use crate::reassembly::Reassembler;
use crate::stats::{FrameStats, Stats};
use crate::steer::{Steered, Steering};
use crate::strays::Strays;
use crate::tcp::info::{TcpConnection, TcpInfo};
use crate::tcp::sockopt::{TcpOption, TcpOptions};
use crate::tcp::{Keepalive, ListenOptions, Tcp, TcpState};
use crate::time::{Duration, Instant};
use crate::tx::{FrameQueue, TxMeta, TxSink};
use crate::udp::{UdpOptions, UdpRecv, UdpTable};

/// The TCP/IP stack of one RX/TX queue pair.
#[derive(Debug)]
pub struct Stack {
    pub(crate) link: Link,
    pub(crate) icmp: Icmp,
    pub(crate) reassembler: Reassembler,
    pub(crate) udp: UdpTable,
    pub(crate) tcp: Tcp,
    pub(crate) frames: FrameStats,
    pub(crate) rx_checksum: bool,
    pub(crate) gro: bool,
    /// What it knows together with the other workers' stacks, if there are any.
    pub(crate) steered: Option<Steered>,
    pub(crate) strays: Strays,
    /// Frames to ourselves that are being taken in, while `link.loopback` gathers new ones.
    pub(crate) looping: FrameQueue,
    /// The time of the latest call that brought one.
    pub(crate) now: Instant,
    /// Whether datagrams go before segments this time.
    datagrams_first: bool,
    keepalive: Keepalive,
}

/// Frames to ourselves that one call takes in.
const LOOPED_AT_ONCE: usize = 1024;

impl Stack {
    /// A stack with this configuration. An IPv6 link-local address is added if there is none.
    ///
    /// Errors: `BadConfig` with what is wrong.
    pub fn new(config: Config, now: Instant) -> Result<Self, Error> {
        config.validate()?;
        Ok(Stack {
            link: Link::new(&config, now),
            icmp: Icmp::new(&config),
            reassembler: Reassembler::new(&config),
            udp: UdpTable::new(&config),
            tcp: Tcp::new(&config, now),
            frames: FrameStats::default(),
            rx_checksum: config.rx_checksum,
            gro: config.gro,
            steered: None,
            strays: Strays::default(),
            looping: FrameQueue::new(config.limits.reply_queue, config.limits.reply_queue_bytes),
            now,
            datagrams_first: false,
            keepalive: config.tcp.keepalive,
        })
    }

    /// One of several stacks with the same addresses, MAC address and seed, each of another worker
    /// ([`Config::worker`]) with a queue of its own. What they know together is in `steering`, which all of them are given.
    ///
    /// Errors: as [`new`](Self::new).
    pub fn with_steering(
        config: Config,
        steering: Arc<dyn Steering>,
        now: Instant,
    ) -> Result<Self, Error> {
        let worker = config.worker;
        let mut stack = Self::new(config, now)?;
        let steered = Steered { steering, worker };
        stack.tcp.set_steered(steered.clone());
        stack.udp.set_steered(steered.clone());
        stack.steered = Some(steered);
        stack.link.tell_news();
        Ok(stack)
    }

    /// Has bulk that sockets write from now on written into memory that the sink can send from by reference, while there is
    /// some.
    pub fn set_tx_memory(&mut self, memory: Box<dyn TxMemory>) {
        self.tcp.set_tx_memory(memory);
    }

    /// Changes which checksums are left to the sink, from the next frame on.
    pub fn set_tx_checksum_offload(&mut self, offload: ChecksumOffload) {
        self.tcp.set_checksums(offload.of_tcp());
        self.udp.set_checksums(offload.of_udp());
    }

    /// Hands frames to `sink` until it or the stack is empty, and tells how many. A sink that is full loses nothing:
    /// what is left is handed over by a later call.
    pub fn poll_transmit<S: TxSink>(&mut self, now: Instant, sink: &mut S) -> usize {
        self.advance(now);
        let mut counting = Counting {
            sink,
            frames: 0,
            bytes: 0,
        };
        let mut looped = 0;
        loop {
            self.link.replies.drain_into(&mut counting);
            // Neither kind may starve the other: they take turns in going first.
            self.datagrams_first = !self.datagrams_first;
            if self.datagrams_first {
                self.send_datagrams(&mut counting);
            }
            self.tcp.transmit(now, &mut self.link, &mut counting);
            if !self.datagrams_first {
                self.send_datagrams(&mut counting);
            }
            // Segments may have asked for neighbours, or owed something.
            self.link.replies.drain_into(&mut counting);
            if self.link.loopback.is_empty() || looped >= LOOPED_AT_ONCE {
                break;
            }
            looped += self.ingest_looped(now);
        }
        let Counting { frames, bytes, .. } = counting;
        self.frames.tx_frames += frames as u64;
        self.frames.tx_bytes += bytes;
        frames
    }

    fn send_datagrams<S: TxSink>(&mut self, sink: &mut S) {
        if !self.link.datagrams.is_empty() && self.link.datagrams.drain_into(sink) > 0 {
            self.udp.on_drained();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest; calling it before does no harm.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.link.loopback.is_empty() {
            return Some(self.now);
        }
        [
            self.tcp.next_timeout(),
            self.link.next_timeout(),
            self.reassembler.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has become due: retransmits, delayed ACKs, neighbours that do not answer, fragments that never became
    /// whole.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.tcp.handle_timeout(now, &mut self.link);
        let mut reports: Vec<ErrorReport> = Vec::new();
        self.link
            .handle_timeout(now, &mut |report| reports.push(report));
        for report in &reports {
            self.report(now, report);
        }
        let (icmp, link) = (&mut self.icmp, &mut self.link);
        self.reassembler.handle_timeout(now, &mut |at, first| {
            let error = IcmpError::ReassemblyTimeExceeded;
            icmp.send_error(now, link, at, first, false, error);
        });
    }

    /// The next event, until there is none. Events are hints: what they tell may have passed already.
    #[inline(always)]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.tcp.poll_event();
        if event.is_some() {
            event
        } else {
            self.poll_other_event()
        }
    }

    /// The next event that is not of a connection.
    #[inline(never)]
    fn poll_other_event(&mut self) -> Option<Event> {
        if let Some(event) = self.tcp.poll_listener_event() {
            return Some(event);
        }
        let (id, ready) = self.udp.poll_event()?;
        Some(Event::Udp(id, ready))
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Tells a socket of an ICMP error, or of a neighbour that does not answer.
    pub(crate) fn report(&mut self, now: Instant, report: &ErrorReport) {
        match report.protocol {
            dpdk_net_packet::Protocol::Tcp => self.tcp.on_error(now, &mut self.link, report),
            dpdk_net_packet::Protocol::Udp => self.udp.on_error(now, &mut self.link, report),
            _ => {}
        }
    }
}

/// Counts what a sink takes.
struct Counting<'a, S> {
    sink: &'a mut S,
    frames: usize,
    bytes: u64,
}

impl<S: TxSink> TxSink for Counting<'_, S> {
    #[inline]
    fn capacity(&mut self) -> usize {
        self.sink.capacity()
    }

    #[inline]
    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.frames += 1;
        self.bytes += len as u64;
        self.sink.send(len, meta, fill)
    }

    #[inline]
    fn large_segments(&mut self) -> usize {
        self.sink.large_segments()
    }

    fn references(&self) -> bool {
        self.sink.references()
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        // As many as there are on the wire.
        let (gso, count) = (large.gso(), large.gso().count());
        self.frames += count;
        self.bytes += (gso.headers().len() * count + gso.payload_len()) as u64;
        self.sink.send_large(large);
    }
}

/// TCP. Ids are those that [`tcp_listen`](Stack::tcp_listen), [`tcp_accept`](Stack::tcp_accept) and
/// [`tcp_connect`](Stack::tcp_connect) gave; any other is `UnknownSocket`.
impl Stack {
    /// Listens.
    ///
    /// Errors: `AddrInUse`, `AddrNotAvailable` if the address is not the stack's (or still being probed),
    /// `InvalidInput`.
    pub fn tcp_listen(&mut self, options: ListenOptions) -> Result<ListenerId, Error> {
        self.tcp.listen(&self.link, &options)
    }

    /// The address and port that a listener has.
    pub fn tcp_listener_local(&self, id: ListenerId) -> Option<SocketAddr> {
        self.tcp.listener_local(id)
    }

    /// Sets the time to live or hop limit of connections accepted from now on.
    pub fn tcp_listener_set_ttl(&mut self, id: ListenerId, ttl: u8) -> Result<(), Error> {
        self.tcp_listener_set_option(id, TcpOption::Ttl(ttl))
    }

    /// Changes an option of connections whose handshake is answered from now on.
    ///
    /// Errors: `UnknownSocket`, `InvalidInput`.
    pub fn tcp_listener_set_option(
        &mut self,
        id: ListenerId,
        option: TcpOption,
    ) -> Result<(), Error> {
        self.tcp.set_listener_option(id, option)
    }

    /// The time to live or hop limit of accepted connections.
    pub fn tcp_listener_ttl(&self, id: ListenerId) -> Result<u8, Error> {
        self.tcp.listener_ttl(id)
    }

    /// Takes the connection that has waited longest, and its peer's address. It may have been ended by the peer
    /// already, as with Linux.
    ///
    /// Errors: `WouldBlock`.
    pub fn tcp_accept(&mut self, id: ListenerId) -> Result<(TcpId, SocketAddr), Error> {
        self.tcp.accept(id)
    }

    /// Stops listening. Connections that were not accepted are reset.
    pub fn tcp_listener_close(&mut self, id: ListenerId) {
        self.tcp.listener_close(self.now, &mut self.link, id);
    }

    /// Starts to connect; an event with `CONNECTED` tells the end, [`tcp_take_error`](Self::tcp_take_error) whether it
    /// failed. Without a local address one is chosen, and a port if that is 0.
    ///
    /// Errors: `NetworkUnreachable`, `AddrNotAvailable` (also when no port is left), `AddrInUse`, `NoBufferSpace`,
    /// `InvalidInput`.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> Result<TcpId, Error> {
        self.tcp_connect_with(now, local, remote, &TcpOptions::default())
    }

    /// As [`tcp_connect`](Self::tcp_connect), with options that hold from the SYN on.
    ///
    /// Errors: as [`tcp_connect`](Self::tcp_connect), `InvalidInput` for an option with a value that it can't have too.
    pub fn tcp_connect_with(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        options: &TcpOptions,
    ) -> Result<TcpId, Error> {
        self.advance(now);
        self.tcp
            .connect(now, &mut self.link, local, remote, options)
    }

    /// Bytes received in order and not yet read.
    pub fn tcp_recv_queue(&self, id: TcpId) -> usize {
        self.tcp.recv_queue(id)
    }

    /// Reads; 0 is the end of the stream. Data that was received before an error is read before the error is told.
    ///
    /// Errors: `WouldBlock`, or once what ended the connection.
    pub fn tcp_recv(&mut self, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        self.tcp.recv(self.now, id, buf)
    }

    /// As [`tcp_recv`](Self::tcp_recv), into the buffer that `buf` gives when it is told how many bytes there are. Where
    /// there are none it is not asked.
    ///
    /// Errors: as [`tcp_recv`](Self::tcp_recv).
    #[inline]
    pub fn tcp_recv_into<'b>(
        &mut self,
        id: TcpId,
        buf: impl FnOnce(usize) -> &'b mut [u8],
    ) -> Result<usize, Error> {
        self.tcp.recv_into(self.now, id, buf)
    }

    /// As [`tcp_recv`](Self::tcp_recv), into several buffers.
    pub fn tcp_recv_vectored(&mut self, id: TcpId, bufs: &mut [&mut [u8]]) -> Result<usize, Error> {
        self.tcp.recv_vectored(self.now, id, bufs)
    }

    /// As [`tcp_recv`](Self::tcp_recv), but hands over at most `max` bytes as they lie, without copying them where they
    /// lie in one piece. An empty buffer is the end of the stream.
    pub fn tcp_recv_bytes(&mut self, id: TcpId, max: usize) -> Result<Bytes, Error> {
        self.tcp.recv_bytes(self.now, id, max)
    }

    /// As [`tcp_send`](Self::tcp_send), but takes the buffer as it is, without copying it (small ones are copied
    /// all the same). What there is no room for stays in `data`.
    pub fn tcp_send_bytes(&mut self, id: TcpId, data: &mut Bytes) -> Result<usize, Error> {
        self.tcp.send_bytes(self.now, id, data)
    }

    /// Takes all of the buffer as it is if there is room for any of it: its memory is taken already. So what is queued may
    /// exceed the send buffer by one such call.
    ///
    /// Errors: as [`tcp_send`](Self::tcp_send), and `InvalidInput` for more than 512 MiB at once.
    pub fn tcp_send_all_bytes(&mut self, id: TcpId, data: &Bytes) -> Result<(), Error> {
        self.tcp.send_all_bytes(self.now, id, data)
    }

    /// As [`tcp_recv`](Self::tcp_recv), but what is read stays.
    pub fn tcp_peek(&mut self, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        self.tcp.peek(id, buf)
    }

    /// Writes as much as there is room for.
    ///
    /// Errors: `WouldBlock`, `BrokenPipe`, or once what ended the connection.
    #[inline]
    pub fn tcp_send(&mut self, id: TcpId, data: &[u8]) -> Result<usize, Error> {
        self.tcp.send(self.now, id, data)
    }

    /// As [`tcp_send`](Self::tcp_send), from several buffers.
    pub fn tcp_send_vectored(&mut self, id: TcpId, data: &[&[u8]]) -> Result<usize, Error> {
        self.tcp.send_vectored(self.now, id, data)
    }

    /// Shuts the sending side: a FIN follows what was written.
    pub fn tcp_shutdown_write(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.shutdown_write(self.now, id)
    }

    /// Shuts the receiving side: reads end where there is no data.
    pub fn tcp_shutdown_read(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.shutdown_read(id)
    }

    /// The application lets go: the id is dead, and what was written is still delivered, by a connection that finishes by
    /// itself. It is reset at once if there is unread data, or with a linger of zero.
    pub fn tcp_close(&mut self, now: Instant, id: TcpId) {
        self.advance(now);
        self.tcp.close(now, &mut self.link, id);
    }

    /// Ends a connection with a RST; the id is dead.
    pub fn tcp_abort(&mut self, id: TcpId) {
        self.tcp.abort_by_application(self.now, &mut self.link, id);
    }

    /// The local address and port.
    pub fn tcp_local(&self, id: TcpId) -> Option<SocketAddr> {
        self.tcp.local(id)
    }

    /// The peer's address and port.
    pub fn tcp_peer(&self, id: TcpId) -> Option<SocketAddr> {
        self.tcp.peer(id)
    }

    /// The state; `Closed` for an unknown id.
    pub fn tcp_state(&self, id: TcpId) -> TcpState {
        self.tcp.state(id)
    }

    /// What would not block now; everything for an unknown id.
    pub fn tcp_readiness(&self, id: TcpId) -> Readiness {
        self.tcp.readiness(id)
    }

    /// The error that ended the connection, once.
    pub fn tcp_take_error(&mut self, id: TcpId) -> Option<Error> {
        self.tcp.take_error(id)
    }

    /// Whether [`tcp_take_error`](Self::tcp_take_error) would have one to tell (`POLLERR`).
    pub fn tcp_has_error(&self, id: TcpId) -> bool {
        self.tcp.has_error(id)
    }

    /// Changes an option of a connection.
    ///
    /// Errors: `InvalidInput` for a value that it can't have.
    pub fn tcp_set_option(&mut self, id: TcpId, option: TcpOption) -> Result<(), Error> {
        self.tcp.set_option(self.now, &self.link, id, option)
    }

    /// The options of a connection as they stand: buffer sizes and the largest segment are those in force, the congestion
    /// control is the one that it has.
    pub fn tcp_options(&self, id: TcpId) -> Result<TcpOptions, Error> {
        self.tcp.options(id)
    }

    /// What a connection to be made with these options would have: as [`tcp_options`](Self::tcp_options), where none is
    /// chosen the configuration's.
    pub fn tcp_defaults(&self, options: &TcpOptions, v6: bool) -> TcpOptions {
        self.tcp.defaults(options, v6)
    }

    /// The times of keep-alive of connections that only switch it on.
    pub fn tcp_default_keepalive(&self) -> Keepalive {
        self.keepalive
    }

    /// What a connection tells of itself: the kernel's `TCP_INFO`.
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, Error> {
        self.tcp.info(self.now, id)
    }

    /// Switches Nagle's algorithm off (`true`) or on.
    pub fn tcp_set_nodelay(&mut self, id: TcpId, nodelay: bool) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::NoDelay(nodelay))
    }

    /// Whether Nagle's algorithm is off.
    pub fn tcp_nodelay(&self, id: TcpId) -> Result<bool, Error> {
        Ok(self.tcp_options(id)?.nodelay.unwrap_or_default())
    }

    /// Sets the time to live or hop limit.
    pub fn tcp_set_ttl(&mut self, id: TcpId, ttl: u8) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Ttl(ttl))
    }

    /// The time to live or hop limit.
    pub fn tcp_ttl(&self, id: TcpId) -> Result<u8, Error> {
        Ok(self.tcp_options(id)?.hop_limit())
    }

    /// Sets `SO_LINGER`: with zero, closing resets. A longer time is kept, but closing never blocks here, so the connection
    /// finishes by itself as without.
    pub fn tcp_set_linger(&mut self, id: TcpId, linger: Option<Duration>) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Linger(linger))
    }

    /// What [`tcp_set_linger`](Self::tcp_set_linger) set.
    pub fn tcp_linger(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        Ok(self.tcp_options(id)?.linger)
    }

    /// Switches keep-alive on, with the configuration's times, or off.
    pub fn tcp_set_keepalive(&mut self, id: TcpId, on: bool) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Keepalive(on.then_some(self.keepalive)))
    }

    /// Switches keep-alive on with these times.
    pub fn tcp_set_keepalive_times(&mut self, id: TcpId, times: Keepalive) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Keepalive(Some(times)))
    }

    /// The times of keep-alive, if it is on.
    pub fn tcp_keepalive(&self, id: TcpId) -> Result<Option<Keepalive>, Error> {
        Ok(self.tcp_options(id)?.keepalive)
    }

    /// Whether all that was written has been acknowledged, the FIN too if there is one.
    pub fn is_send_drained(&self, id: TcpId) -> bool {
        self.tcp.is_send_drained(id)
    }

    /// Connections, those included that the application let go of and that finish by themselves.
    pub fn tcp_count(&self) -> usize {
        self.tcp.flows.len()
    }

    /// Connections that the application let go of and that finish by themselves, TIME-WAIT not counted.
    pub fn tcp_orphans(&self) -> usize {
        self.tcp.orphan_count()
    }

    /// Connections in TIME-WAIT that the application let go of.
    pub fn tcp_time_waits(&self) -> usize {
        self.tcp.time_wait_count()
    }

    /// Connections whose SYN has come and whose handshake is not complete.
    pub fn tcp_half_open(&self) -> usize {
        self.tcp.half_open_count()
    }

    /// Connections in the accept queues of all listeners.
    pub fn tcp_unaccepted(&self) -> usize {
        self.tcp.unaccepted_count()
    }

    /// All connections. Takes as long as there are many: for people, not for the packet path.
    pub fn tcp_connections(&self) -> Vec<TcpConnection> {
        self.tcp.connections()
    }

    /// As [`tcp_connections`](Self::tcp_connections), with their ids.
    pub fn tcp_connections_by_id(&self) -> Vec<(TcpId, TcpConnection)> {
        self.tcp.connections_by_id()
    }

    /// Resets every connection, accepted or not. For a shutdown whose deadline has passed.
    pub fn reset_all(&mut self, now: Instant) {
        self.advance(now);
        self.tcp.reset_all(now, &mut self.link);
    }

    /// Answers SYNs as if nobody listened (`true`), or takes them again.
    pub fn refuse_new(&mut self, refuse: bool) {
        self.tcp.refuse_new(refuse);
    }
}

/// UDP.
impl Stack {
    /// Binds a socket.
    ///
    /// Errors: `AddrInUse`, `AddrNotAvailable`, `NoBufferSpace`.
    pub fn udp_bind(&mut self, options: UdpOptions) -> Result<UdpId, Error> {
        self.udp.bind(&self.link.ifaces, &options)
    }

    /// Binds a socket and sets its peer at once. Where there are several workers a port that is chosen is one that brings what
    /// the peer sends to this one's queue, if such a one is found soon.
    ///
    /// Errors: as [`udp_bind`](Self::udp_bind) and [`udp_connect`](Self::udp_connect).
    pub fn udp_bind_toward(
        &mut self,
        options: UdpOptions,
        remote: SocketAddr,
    ) -> Result<UdpId, Error> {
        self.udp.bind_toward(&self.link.ifaces, &options, remote)
    }

    /// Sets the peer: sends go there, and only its datagrams are received.
    pub fn udp_connect(&mut self, id: UdpId, remote: SocketAddr) -> Result<(), Error> {
        self.udp.connect(&self.link.ifaces, id, remote)
    }

    /// Takes the peer away.
    pub fn udp_disconnect(&mut self, id: UdpId) -> Result<(), Error> {
        self.udp.disconnect(id)
    }

    /// Sends one datagram, to the peer if `to` is `None`.
    ///
    /// Errors: `WouldBlock`, `NotConnected`, `MessageTooLong`, `NetworkUnreachable`, `PermissionDenied` (broadcast), or
    /// once what ICMP told of an earlier one.
    pub fn udp_send(
        &mut self,
        now: Instant,
        id: UdpId,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Error> {
        self.advance(now);
        self.udp.send(now, &mut self.link, id, data, to)
    }

    /// Receives one datagram; what does not fit into `buf` is lost.
    ///
    /// Errors: `WouldBlock`, or once what ICMP told.
    pub fn udp_recv(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.udp.recv(id, buf)
    }

    /// As [`udp_recv`](Self::udp_recv), but the datagram stays.
    pub fn udp_peek(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.udp.peek(id, buf)
    }

    /// Closes a socket; the id is dead.
    pub fn udp_close(&mut self, id: UdpId) {
        self.tell_groups_left(id);
        // What can go wrong is that it was closed already.
        let _ = self.udp.close(self.now, &mut self.link.ifaces, id);
    }

    /// The address and port it is bound to.
    pub fn udp_local(&self, id: UdpId) -> Option<SocketAddr> {
        self.udp.local(id)
    }

    /// The peer, if one was set.
    pub fn udp_peer(&self, id: UdpId) -> Option<SocketAddr> {
        self.udp.peer(id)
    }

    /// What would not block now.
    pub fn udp_readiness(&self, id: UdpId) -> Readiness {
        self.udp.readiness(id)
    }

    /// What ICMP told, once.
    pub fn udp_take_error(&mut self, id: UdpId) -> Option<Error> {
        self.udp.take_error(id)
    }

    /// Sets the time to live or hop limit of unicast datagrams.
    pub fn udp_set_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.udp.set_ttl(id, ttl)
    }

    /// The time to live or hop limit of unicast datagrams.
    pub fn udp_ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.ttl(id).ok_or(Error::UnknownSocket)
    }

    /// Sets the time to live or hop limit of multicast datagrams.
    pub fn udp_set_multicast_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.udp.set_multicast_ttl(id, ttl)
    }

    /// The time to live or hop limit of multicast datagrams.
    pub fn udp_multicast_ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.multicast_ttl(id).ok_or(Error::UnknownSocket)
    }

    /// Allows sending to broadcast addresses, or not.
    pub fn udp_set_broadcast(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.udp.set_broadcast(id, on)
    }

    /// Whether sending to broadcast addresses is allowed.
    pub fn udp_broadcast(&self, id: UdpId) -> Result<bool, Error> {
        self.udp.broadcast(id).ok_or(Error::UnknownSocket)
    }

    /// UDP sockets.
    pub fn udp_count(&self) -> usize {
        self.udp.len()
    }
}

impl Stack {
    /// What has been counted.
    pub fn stats(&self) -> Stats {
        Stats {
            frames: self.frames,
            tcp: self.tcp.stats,
            udp: self.udp.stats,
            icmp: self.icmp.stats,
            neighbors: self.link.neighbors.stats,
            link: self.link.stats,
            reassembly: self.reassembler.stats,
        }
    }
}
