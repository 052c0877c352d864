//! UDP sockets (RFC 768): which socket a datagram is for, queues of received ones, and sending. Who is bound to what is decided in
//! `bind`.
//!
//! A datagram is found its socket by a keyed hash: the connected one first, then one bound to the address, then one
//! bound to all addresses. Groups and broadcasts go to all sockets that want them. IPv4 peers of a dual-stack socket are
//! told as IPv4 addresses. A receive queue is a ring of bytes with a bound: receiving allocates nothing once it has
//! grown. What a socket sends waits for the sink in [`Link::datagrams`].

mod bind;
mod gro;
mod groups;
mod segments;
mod send;
mod socket;
mod steered;
#[cfg(test)]
mod tests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use dpdk_net_packet::gso::Checksums;
use dpdk_net_packet::{IpPacket, udp};
use hashbrown::HashMap;

use crate::addr;
use crate::config::Config;
use crate::counters;
use crate::error::Error;
use crate::event::{Readiness, UdpId};
use crate::icmp::{ErrorKind, ErrorReport};
use crate::interfaces::{Destination, Way};
use crate::link::Link;
use crate::listing::{ListPage, ListPlace, Listed};
use crate::random::{HashKey, Random};
use crate::steer::{Steered, unspecified};
use crate::time::Instant;

pub use segments::UDP_MAX_SEGMENTS;
pub use send::{MtuDiscovery, UdpSend};
pub use socket::UdpSocketInfo;
use socket::{RECORD_HEADER, Record, Socket, decode, encode, way};

counters! {
    /// What happened in UDP.
    pub struct UdpStats, UdpCounters {
        /// Datagrams put into a socket's queue.
        delivered,
        /// Datagrams that applications have received.
        received = "UdpInDatagrams",
        /// Datagrams for a port that no socket has.
        no_socket = "UdpNoPorts",
        /// Datagrams dropped because the socket's queue was full.
        queue_full = "UdpRcvbufErrors",
        /// Datagrams handed to the link.
        sent = "UdpOutDatagrams",
        /// Datagrams among them that were handed over several at once (UDP segmentation).
        sent_segmented,
        /// Datagrams that the application received together with others before them (UDP GRO).
        received_coalesced,
        /// Sends refused because the link's queue was full.
        send_blocked = "UdpSndbufErrors",
        /// ICMP errors told to a connected socket.
        errors_delivered,
        /// ICMP errors that match no connected socket.
        errors_unmatched,
    }
}

/// How a UDP socket is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpOptions {
    /// The local address: one of the stack's, a group, or unspecified for all. Port 0 takes an ephemeral one. `[::]`
    /// takes IPv4 datagrams too. The scope id of a link-local address or a group is the VLAN of its interface; of a group, 0
    /// is any.
    pub local: SocketAddr,
    /// Whether `[::]` takes IPv6 datagrams alone (`IPV6_V6ONLY`).
    pub only_v6: bool,
    /// Whether the port may be shared with others that say the same (`SO_REUSEADDR`): groups and broadcasts go to all of
    /// them, other datagrams to the one connected to their sender or else to the one bound last.
    pub reuse_address: bool,
    /// Speaks by the interface of this VLAN, 0 being the port itself, before it has an address, as DHCP clients do.
    /// `local` is `0.0.0.0` then. It sends to 255.255.255.255 alone, from 0.0.0.0; it receives what comes in by that
    /// interface for all, or in a frame for us for an address that is not ours yet. Sockets that are bound otherwise
    /// don't stand in its way.
    pub unconfigured: Option<u16>,
}

impl UdpOptions {
    /// A socket of its own, dual-stack if `local` is `[::]`.
    pub const fn new(local: SocketAddr) -> Self {
        Self {
            local,
            only_v6: false,
            reuse_address: false,
            unconfigured: None,
        }
    }

    /// A socket that speaks by the interface of this VLAN before that has an address: see
    /// [`unconfigured`](Self::unconfigured).
    pub const fn unconfigured(vlan: u16, port: u16) -> Self {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self {
            unconfigured: Some(vlan),
            ..Self::new(SocketAddr::new(any, port))
        }
    }
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpRecv {
    /// Bytes copied to the caller.
    pub len: usize,
    /// Bytes that the datagram had, or those received at once had together; those that did not fit are gone.
    pub datagram_len: usize,
    /// Bytes of each datagram where several were received at once, of which the last may have fewer; else those of the one.
    pub segment_size: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// The local address it was sent to: one of the stack's, a group, or a broadcast address.
    pub to: IpAddr,
    /// The VLAN that it came in by, 0 for the untagged network.
    pub vlan: u16,
    /// The ECN field of its IP header (RFC 3168): 0 to 3. Of a fragmented one 3 if any of the fragments had that.
    pub ecn: u8,
}

/// All UDP sockets of a stack.
#[derive(Debug)]
pub(crate) struct UdpTable {
    sockets: Listed<UdpId, Socket>,
    /// All sockets of a port, in the order they were bound. Looked through for binding, closing and groups only.
    by_port: HashMap<u16, Vec<UdpId>, HashKey>,
    /// The unconnected socket that takes what is for an address and port; the unspecified address stands for all.
    bound: HashMap<SocketAddr, UdpId, HashKey>,
    /// Local and remote address.
    connected: HashMap<(SocketAddr, SocketAddr), UdpId, HashKey>,
    events: VecDeque<UdpId>,
    blocked: Vec<UdpId>,
    random: Random,
    max_sockets: usize,
    queue_bytes: usize,
    ports: (u16, u16),
    /// What of datagrams' checksums is made here.
    checksums: Checksums,
    steered: Option<Steered>,
    pub(crate) stats: UdpCounters,
}

impl UdpTable {
    pub(crate) fn new(config: &Config) -> Self {
        let key = HashKey::derive(&config.seed, "udp");
        Self {
            sockets: Listed::new(),
            by_port: HashMap::with_hasher(key),
            bound: HashMap::with_hasher(key),
            connected: HashMap::with_hasher(key),
            events: VecDeque::new(),
            blocked: Vec::new(),
            random: Random::new(&config.worker_seed(), "udp ports"),
            max_sockets: config.udp.max_sockets,
            queue_bytes: config.udp.recv_queue_bytes,
            ports: (config.udp.ephemeral_first, config.udp.ephemeral_last),
            checksums: config.tx_checksum_offload.of_udp(),
            steered: None,
            stats: UdpCounters::default(),
        }
    }

    /// Changes what of datagrams' checksums is made here.
    pub(crate) fn set_checksums(&mut self, checksums: Checksums) {
        self.checksums = checksums;
    }

    /// Sends a datagram to `to`, or to the peer. Returns its length. Errors: see [`send_with`](Self::send_with).
    pub(crate) fn send(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: UdpId,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Error> {
        let send = UdpSend {
            to,
            ..UdpSend::default()
        };
        self.send_with(now, link, id, data, &send)
    }

    /// Tells the sockets whose sends were refused that there is room again. To be called when frames of
    /// [`Link::datagrams`] have gone; costs nothing if none was refused.
    pub(crate) fn on_drained(&mut self) {
        while let Some(id) = self.blocked.pop() {
            if let Some(socket) = self.sockets.get_mut(id) {
                socket.blocked = false;
                notify(&mut self.events, id, socket, Readiness::WRITABLE);
            }
        }
    }

    /// Takes the oldest datagram; what does not fit `buf` is lost, and told by the length.
    ///
    /// Errors: `WouldBlock`, and an error that an ICMP message brought, once.
    pub(crate) fn recv(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        let received = self.peek(id, buf)?;
        self.stats.received += 1;
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.queue.pop();
        }
        Ok(received)
    }

    /// As [`recv`](Self::recv), and leaves the datagram where it is.
    pub(crate) fn peek(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::UnknownSocket)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let record = socket
            .queue
            .front()
            .and_then(|record| record.split_first_chunk::<RECORD_HEADER>());
        let Some((header, data)) = record else {
            return Err(Error::WouldBlock);
        };
        let (from, to, vlan, ecn) = decode(header);
        let len = data.len().min(buf.len());
        buf[..len].copy_from_slice(&data[..len]);
        Ok(UdpRecv {
            len,
            datagram_len: data.len(),
            segment_size: data.len(),
            from,
            to,
            vlan,
            ecn,
        })
    }

    /// Gives a datagram that came in by the interface of this VLAN, its checksum verified, to the sockets it is for. `false`
    /// if there are none: it is another worker's, or to be counted, and a Port Unreachable is due if it was to an address of
    /// ours.
    pub(crate) fn ingress(
        &mut self,
        vlan: u16,
        destination: Destination,
        ip: &IpPacket<'_>,
        datagram: &udp::Datagram<'_>,
    ) -> bool {
        let from = addr::socket_addr(ip.src(), datagram.src_port(), vlan);
        let to = addr::socket_addr(ip.dst(), datagram.dst_port(), vlan);
        let record = (from, to.ip(), vlan, ip.ecn());
        if destination != Destination::Ours {
            return self.ingress_group(to.port(), record, datagram.payload());
        }
        let found = self
            .connected
            .get(&(to, from))
            .or_else(|| self.bound.get(&to))
            .or_else(|| self.bound.get(&unspecified(to)));
        let Some(&id) = found else {
            return false;
        };
        self.deliver(id, record, datagram.payload());
        true
    }

    /// A datagram in a frame for us, to an address that is not ours: whether a socket takes it that has none yet.
    pub(crate) fn ingress_unconfigured(
        &mut self,
        vlan: u16,
        ip: &IpPacket<'_>,
        datagram: &udp::Datagram<'_>,
    ) -> bool {
        let ids = self.by_port.get(&datagram.dst_port()).into_iter().flatten();
        let speaks = |id: &UdpId| {
            let socket = self.sockets.get(*id);
            socket.is_some_and(|socket| socket.unconfigured == Some(vlan))
        };
        let Some(id) = ids.copied().find(speaks).filter(|_| !ip.is_v6()) else {
            return false;
        };
        let from = addr::socket_addr(ip.src(), datagram.src_port(), vlan);
        let record = (from, ip.dst(), vlan, ip.ecn());
        self.deliver(id, record, datagram.payload());
        true
    }

    /// A datagram to a group or broadcast goes to every socket that takes it.
    fn ingress_group(&mut self, port: u16, record: Record, data: &[u8]) -> bool {
        let (from, to, vlan, _) = record;
        let mut delivered = false;
        let mut at = 0;
        while let Some(&id) = self.by_port.get(&port).and_then(|ids| ids.get(at)) {
            at += 1;
            let wants = self.sockets.get(id).is_some_and(|socket| {
                socket.takes(to, vlan) && socket.remote.is_none_or(|remote| remote == from)
            });
            if wants {
                self.deliver(id, record, data);
                delivered = true;
            }
        }
        delivered
    }

    fn deliver(&mut self, id: UdpId, from: Record, data: &[u8]) {
        let Some(socket) = self.sockets.get_mut(id) else {
            return;
        };
        let queued = socket.queue.push(RECORD_HEADER + data.len(), |record| {
            let (header, payload) = record.split_at_mut(RECORD_HEADER);
            encode(header, from);
            payload.copy_from_slice(data);
        });
        match queued {
            Some(()) => {
                self.stats.delivered += 1;
                notify(&mut self.events, id, socket, Readiness::READABLE);
            }
            None => {
                socket.drops += 1;
                self.stats.queue_full += 1;
            }
        }
    }

    /// Tells a connected socket what became of what it sent (RFC 1122 section 4.1.3.3). Unconnected ones hear nothing,
    /// as on Linux: they could not tell which datagram was meant.
    pub(crate) fn on_error(&mut self, now: Instant, link: &mut Link, report: &ErrorReport) {
        let connected = self.connected.get(&(report.local, report.remote)).copied();
        if let ErrorKind::PacketTooBig { mtu } = report.kind {
            let sent_from_here = connected.is_some()
                || self.bound.contains_key(&report.local)
                || self.bound.contains_key(&unspecified(report.local));
            if sent_from_here && mtu > 0 {
                let way = Way {
                    src: report.local.ip(),
                    dst: report.remote.ip(),
                    scope: addr::scope(report.remote),
                };
                link.note_path_mtu(now, &way, mtu as usize);
            }
            return;
        }
        let Some((id, socket)) =
            connected.and_then(|id| self.sockets.get_mut(id).map(|socket| (id, socket)))
        else {
            self.stats.errors_unmatched += 1;
            return;
        };
        if let Some(error) = report.kind.to_error() {
            self.stats.errors_delivered += 1;
            socket.error = Some(error);
            notify(
                &mut self.events,
                id,
                socket,
                Readiness::READABLE | Readiness::WRITABLE,
            );
        }
    }

    /// The next socket that became ready, and for what.
    pub(crate) fn poll_event(&mut self) -> Option<(UdpId, Readiness)> {
        while let Some(id) = self.events.pop_front() {
            if let Some(socket) = self.sockets.get_mut(id) {
                return Some((id, core::mem::take(&mut socket.pending)));
            }
        }
        None
    }

    /// What the socket is ready for now.
    pub(crate) fn readiness(&self, id: UdpId) -> Readiness {
        let Some(socket) = self.sockets.get(id) else {
            return Readiness::CLOSED;
        };
        let mut readiness = Readiness::empty();
        readiness.set(
            Readiness::READABLE,
            !socket.queue.is_empty() || socket.error.is_some(),
        );
        readiness.set(
            Readiness::WRITABLE,
            !socket.blocked || socket.error.is_some(),
        );
        readiness
    }

    /// The local address; that of the way to the peer while connected.
    pub(crate) fn local(&self, id: UdpId) -> Option<SocketAddr> {
        self.sockets.get(id).map(|socket| socket.local)
    }

    /// The peer.
    pub(crate) fn peer(&self, id: UdpId) -> Option<SocketAddr> {
        self.sockets.get(id).and_then(|socket| socket.remote)
    }

    /// The error that waits, which is then gone.
    pub(crate) fn take_error(&mut self, id: UdpId) -> Option<Error> {
        self.sockets
            .get_mut(id)
            .and_then(|socket| socket.error.take())
    }

    fn socket_mut(&mut self, id: UdpId) -> Result<&mut Socket, Error> {
        self.sockets.get_mut(id).ok_or(Error::UnknownSocket)
    }

    /// Time to live or hop limit of what is sent to single hosts, 1 to 255; 64 at first.
    pub(crate) fn set_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        if ttl == 0 {
            return Err(Error::InvalidInput(
                "a time to live of 0 goes nowhere; 1 to 255 is possible",
            ));
        }
        self.socket_mut(id)?.ttl = ttl;
        Ok(())
    }

    /// See [`set_ttl`](Self::set_ttl).
    pub(crate) fn ttl(&self, id: UdpId) -> Option<u8> {
        self.sockets.get(id).map(|socket| socket.ttl)
    }

    /// Whether the socket may send to broadcast addresses; not at first (`SO_BROADCAST`).
    pub(crate) fn set_broadcast(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.socket_mut(id)?.broadcast = on;
        Ok(())
    }

    /// See [`set_broadcast`](Self::set_broadcast).
    pub(crate) fn broadcast(&self, id: UdpId) -> Option<bool> {
        self.sockets.get(id).map(|socket| socket.broadcast)
    }

    /// Sockets that there are.
    pub(crate) fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Some of them from a place on.
    pub(crate) fn infos(&self, from: ListPlace, most: usize) -> ListPage<(UdpId, UdpSocketInfo)> {
        self.sockets.page(from, most, |_, socket| socket.info())
    }
}

fn notify(events: &mut VecDeque<UdpId>, id: UdpId, socket: &mut Socket, readiness: Readiness) {
    if socket.pending.is_empty() {
        events.push_back(id);
    }
    socket.pending |= readiness;
}
