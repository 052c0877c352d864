//! All that an IP packet passes on its way out: the routes, the neighbour cache, fragmentation, and the queues of frames
//! that wait for the sink.
//!
//! TCP asks [`Link::lookup`] for a MAC address and writes its segments into the sink itself; everything else goes
//! through [`Link::output`]. Nothing received is handled here but ARP ([`arp`](crate::arp)) and neighbour discovery
//! ([`ndp`](crate::ndp)), whose handlers extend [`Link`].

mod segments;

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::gso::L4;
use dpdk_net_packet::{MacAddr, arp, checksum, ethernet, ndp};
use hashbrown::HashMap;

use crate::config::Config;
use crate::counters;
use crate::emit::{self, Ends, IpMeta};
use crate::error::Error;
use crate::fragment::{self, IdSource};
use crate::icmp::ErrorReport;
use crate::iface::{Interface, solicited_node};
use crate::interfaces::{Hop, IfIndex, Interfaces, NextHop, Way};
use crate::listing::ListPlace;
use crate::metrics::Count;
use crate::neighbor::{Due, Found, NeighborCache, NeighborInfo};
use crate::news::{Decision, News, NewsQueue};
use crate::random::HashKey;
use crate::time::{Duration, Instant};
use crate::tx::{FrameQueue, TxMeta};

pub(crate) use self::segments::Segments;

/// Paths whose MTU is smaller than the link's that are remembered.
const MAX_PATHS: usize = 1024;
/// How long a path's MTU is remembered (RFC 8201 section 4).
const PATH_MTU_LIFETIME: Duration = Duration::from_secs(600);

counters! {
    /// What was sent, or could not be.
    pub struct LinkStats, LinkCounters {
        /// Packets for which there is no route.
        no_route = "IpOutNoRoutes",
        /// Packets dropped because the queue of frames to send was full.
        queue_full,
        /// Packets sent as fragments.
        fragmented = "IpFragOKs",
        /// Fragments sent.
        fragments_sent = "IpFragCreates",
        /// Packets too large to be sent and not to be fragmented.
        too_big = "IpFragFails",
        /// Packets sent to one of our own addresses.
        looped,
    }
}

/// Where a packet goes, looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Onto the link of this interface, to this MAC address.
    Ready(IfIndex, MacAddr),
    /// To this neighbour, which is being asked for: see [`Link::queue_pending`].
    Pending(Hop),
    /// To ourselves, as if it came in by this interface: into [`Link::loopback`].
    Local(IfIndex),
    /// Nowhere.
    NoRoute,
}

/// Which queue a packet waits in for the sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// What protocols answer by themselves; drained first.
    Replies,
    /// What sockets send; a full queue pushes back on them.
    Datagrams,
}

/// Neighbours that did not answer of which it can be told at a time.
const MOST_SILENT: usize = 64;

/// The way out.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) ifaces: Interfaces,
    pub(crate) neighbors: NeighborCache,
    /// Frames that protocols send by themselves.
    pub(crate) replies: FrameQueue,
    /// Frames that UDP sockets send.
    pub(crate) datagrams: FrameQueue,
    /// Frames to ourselves, to be ingested again.
    pub(crate) loopback: FrameQueue,
    /// By destination, and by the interface that leads there.
    path_mtus: HashMap<Hop, (usize, Instant), HashKey>,
    ids: IdSource,
    pub(crate) news: NewsQueue,
    /// Neighbours that did not answer, and the ids of their VLANs, where somebody wants to be told.
    pub(crate) silent: Vec<(IpAddr, u16)>,
    pub(crate) tells_silent: bool,
    pub(crate) stats: LinkCounters,
}

impl Link {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let queue = || FrameQueue::new(config.limits.reply_queue, config.limits.reply_queue_bytes);
        let mut link = Self {
            ifaces: Interfaces::new(config, now),
            neighbors: NeighborCache::new(config),
            replies: queue(),
            datagrams: queue(),
            loopback: queue(),
            path_mtus: HashMap::with_hasher(HashKey::derive(&config.seed, "paths")),
            ids: IdSource::new(&config.worker_seed()),
            news: NewsQueue::default(),
            silent: Vec::new(),
            tells_silent: false,
            stats: LinkCounters::default(),
        };
        for neighbor in &config.neighbors {
            if let Some(at) = link.ifaces.by_vlan(neighbor.vlan) {
                let addr = neighbor.addr;
                link.add_neighbor(now, Hop { at, addr }, neighbor.mac);
            }
        }
        link
    }

    /// Where a packet of a connection goes now; starts resolution or probing where that is due.
    #[inline]
    pub(crate) fn lookup(&mut self, now: Instant, way: &Way) -> Lookup {
        // A connection whose address was taken away waits for it to come back, or for its own timeouts, as on Linux.
        if !(way.src.is_unspecified() || self.ifaces.is_bindable(way.src, way.scope)) {
            return Lookup::NoRoute;
        }
        let next = self.ifaces.next_hop(way);
        self.resolve(now, next)
    }

    #[inline]
    fn resolve(&mut self, now: Instant, next: NextHop) -> Lookup {
        let hop = match next {
            NextHop::Neighbor(hop) => hop,
            NextHop::Link(at, mac) => return Lookup::Ready(at, mac),
            NextHop::Local(at) => return Lookup::Local(at),
            NextHop::NoRoute => return Lookup::NoRoute,
        };
        match self.neighbors.lookup(now, hop) {
            Found::Ready(mac) => Lookup::Ready(hop.at, mac),
            Found::Waiting => Lookup::Pending(hop),
            Found::Ask => {
                self.ask(hop, None);
                Lookup::Pending(hop)
            }
        }
    }

    /// Keeps a whole Ethernet frame until `hop`, which [`lookup`](Self::lookup) found pending, is resolved; its
    /// destination MAC address is filled in then.
    pub(crate) fn queue_pending(&mut self, hop: Hop, frame: Vec<u8>) {
        self.neighbors.queue(hop, frame);
    }

    /// An upper layer knows that what was sent this way arrived (RFC 4861 section 7.3.1). Once a second for a
    /// connection is enough.
    pub(crate) fn confirm(&mut self, now: Instant, way: &Way) {
        if let NextHop::Neighbor(hop) = self.ifaces.next_hop(way) {
            self.neighbors.confirm(now, hop);
        }
    }

    /// Enters a neighbour by hand. `false` if the cache has no room.
    pub(crate) fn add_neighbor(&mut self, now: Instant, hop: Hop, mac: MacAddr) -> bool {
        let tci = self.ifaces.get(hop.at).tci;
        let replies = &mut self.replies;
        self.neighbors
            .add_static(now, hop, mac, |frame| push_frame(replies, tci, frame))
    }

    /// Some neighbours, in no order, and where the list goes on.
    pub(crate) fn neighbors(
        &self,
        now: Instant,
        from: ListPlace,
    ) -> (impl Iterator<Item = NeighborInfo>, Option<ListPlace>) {
        self.neighbors
            .some(now, from, |at| self.ifaces.get(at).vlan)
    }

    /// The largest IP packet that goes this way, in bytes.
    #[inline]
    pub(crate) fn path_mtu(&self, now: Instant, way: &Way) -> usize {
        self.path_mtu_by(now, self.out_by(way), way.dst)
    }

    /// The interface that leads this way. Without VLANs nothing is looked up.
    #[inline]
    fn out_by(&self, way: &Way) -> IfIndex {
        if self.ifaces.has_vlans() {
            self.ifaces.next_hop(way).at()
        } else {
            IfIndex::PORT
        }
    }

    /// The tag of what goes this way, 0 for none.
    pub(crate) fn tci(&self, way: &Way) -> u16 {
        self.ifaces.get(self.out_by(way)).tci
    }

    #[inline]
    fn path_mtu_by(&self, now: Instant, at: IfIndex, addr: IpAddr) -> usize {
        let mtu = self.ifaces.get(at).mtu_for(addr);
        if self.path_mtus.is_empty() {
            return mtu;
        }
        match self.path_mtus.get(&Hop { at, addr }) {
            Some((path, until)) if *until > now => *path,
            _ => mtu,
        }
    }

    /// The largest packet of this kind that is sent by an interface.
    #[inline]
    fn mtu_by(&self, now: Instant, at: IfIndex, meta: &IpMeta) -> usize {
        if meta.probes_path {
            return self.ifaces.get(at).mtu_for(meta.dst);
        }
        self.path_mtu_by(now, at, meta.dst)
    }

    /// A router says that `mtu` is the largest packet that can go this way, and quoted a packet that we did send.
    /// Only ever lowers it, and never below 576 bytes for IPv4, which every host takes (RFC 1122 section 3.3.2); less than
    /// 1280 for IPv6 is not believed.
    pub(crate) fn note_path_mtu(&mut self, now: Instant, way: &Way, mtu: usize) {
        let addr = way.dst;
        if addr.is_ipv6() && mtu < 1280 {
            // RFC 8201 section 4: there is no such link, so the message means something else.
            return;
        }
        let mtu = if addr.is_ipv4() { mtu.max(576) } else { mtu };
        let path = Hop {
            at: self.out_by(way),
            addr,
        };
        // No interface's is larger than 16 bits can tell.
        if let Ok(told) = u16::try_from(mtu)
            && self.lower_path_mtu(now, path, mtu)
        {
            self.tell(path.at, News::PathMtu { addr, mtu: told });
        }
    }

    /// Remembers that a path takes no more than `mtu`, in place of any other one if there are too many. Whether that is less than
    /// was known.
    pub(crate) fn lower_path_mtu(&mut self, now: Instant, path: Hop, mtu: usize) -> bool {
        if mtu >= self.path_mtu_by(now, path.at, path.addr) {
            return false;
        }
        if self.path_mtus.len() >= MAX_PATHS
            && !self.path_mtus.contains_key(&path)
            && let Some(any) = self.path_mtus.keys().next().copied()
        {
            self.path_mtus.remove(&any);
        }
        self.path_mtus.insert(path, (mtu, now + PATH_MTU_LIFETIME));
        true
    }

    /// Sends an IP packet whose payload of `len` bytes `fill` writes, checksums included. It is fragmented if larger than
    /// the path's MTU, and waits for the neighbour if that has to be asked for.
    ///
    /// Errors: `NetworkUnreachable`, `MessageTooLong`, and `NoBufferSpace` if the queue is full; nothing was queued
    /// then.
    pub(crate) fn output(
        &mut self,
        now: Instant,
        queue: Queue,
        meta: &IpMeta,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), Error> {
        let header = meta.ip_header_len();
        let max_payload = if meta.dst.is_ipv4() {
            65_535 - header
        } else {
            65_535
        };
        let next = self.ifaces.next_hop(&meta.way());
        let mtu = self.mtu_by(now, next.at(), meta);
        if len > max_payload || (meta.dont_fragment && header + len > mtu) {
            self.stats.too_big += 1;
            return Err(Error::MessageTooLong);
        }
        let to = self.resolve(now, next);
        // Nothing limits the size of a frame to ourselves but the queue.
        if to == Lookup::NoRoute {
            self.stats.no_route += 1;
            return Err(Error::NetworkUnreachable);
        }
        if header + len <= mtu {
            let id = self.ids.next_v4(meta);
            let frame_len = ethernet::HEADER_LEN + header + len;
            return self.hand_over(queue, to, meta, frame_len, |frame, macs| {
                let at = emit::write_headers(frame, macs, meta, id, len);
                fill(&mut frame[at..]);
            });
        }
        let mut payload = vec![0; len];
        fill(&mut payload);
        if meta.udp.is_some() {
            checksum::fill_udp(meta.src, meta.dst, &mut payload);
        }
        let whole = IpMeta { udp: None, ..*meta };
        let id = self.ids.next(meta);
        let before = self.queue_of(queue, to).map(|queue| queue.len());
        for piece in fragment::pieces(meta, len, mtu) {
            let frame_len = piece.frame_len(meta);
            let sent = self.hand_over(queue, to, &whole, frame_len, |frame, macs| {
                piece.write(frame, macs, meta, id, &payload);
            });
            if let Err(error) = sent {
                // Some fragments are worth nothing.
                if let (Some(queue), Some(before)) = (self.queue_of(queue, to), before) {
                    queue.truncate(before);
                }
                return Err(error);
            }
        }
        self.stats.fragmented += 1;
        self.stats.fragments_sent += fragment::pieces(meta, len, mtu).count() as u64;
        Ok(())
    }

    /// The queue that takes a frame, unless it waits for a neighbour or has nowhere to go.
    fn queue_of(&mut self, queue: Queue, to: Lookup) -> Option<&mut FrameQueue> {
        match (to, queue) {
            (Lookup::Ready(..), Queue::Replies) => Some(&mut self.replies),
            (Lookup::Ready(..), Queue::Datagrams) => Some(&mut self.datagrams),
            (Lookup::Local(_), _) => Some(&mut self.loopback),
            (Lookup::Pending(_) | Lookup::NoRoute, _) => None,
        }
    }

    /// Puts one frame of `len` bytes where it belongs.
    fn hand_over(
        &mut self,
        queue: Queue,
        to: Lookup,
        meta: &IpMeta,
        len: usize,
        write: impl FnOnce(&mut [u8], (MacAddr, MacAddr)),
    ) -> Result<(), Error> {
        let mac = self.ifaces.mac();
        let l4 = if meta.dst.is_ipv6() {
            L4::UdpV6
        } else {
            L4::UdpV4
        };
        let ends = match to {
            Lookup::Ready(at, dst) => self.ifaces.get(at).ends(dst),
            Lookup::Local(at) => self.ifaces.get(at).ends(mac),
            Lookup::Pending(hop) => {
                let mut frame = vec![0; len];
                write(&mut frame, (mac, MacAddr::ZERO));
                if meta.udp.is_some() {
                    l4.fill_checksum(&mut frame);
                }
                self.neighbors.queue(hop, frame);
                return Ok(());
            }
            Lookup::NoRoute => return Err(Error::NetworkUnreachable),
        };
        let Some(queue) = self.queue_of(queue, to) else {
            return Err(Error::NetworkUnreachable);
        };
        let Ends { src, dst, tci } = ends;
        let left = meta.udp.is_some_and(|udp| !udp.transport);
        let tx = TxMeta {
            checksum: left.then_some(l4),
            ..TxMeta::tagged(tci)
        };
        let queued = queue.push_with(len, tx, |frame| {
            write(frame, (src, dst));
            if let Some(checksums) = meta.udp {
                l4.finish(frame, checksums);
            }
        });
        if queued.is_none() {
            self.stats.queue_full += 1;
            return Err(Error::NoBufferSpace);
        }
        if let Lookup::Local(_) = to {
            self.stats.looped += 1;
        }
        Ok(())
    }

    /// Asks all on the link, or the one given, for `hop`.
    pub(crate) fn ask(&mut self, hop: Hop, unicast: Option<MacAddr>) {
        let (ifaces, sent) = (&self.ifaces, &mut self.neighbors.stats.requests_sent);
        ask(ifaces, sent, &mut self.replies, hop, unicast);
    }

    /// Somebody else was seen to use, or to probe for, our address `own`.
    pub(crate) fn on_conflict(&mut self, now: Instant, own: Hop) {
        self.neighbors.stats.address_conflicts += 1;
        let given_up = self.ifaces.on_conflict(now, own, &mut self.replies);
        if given_up {
            self.tell_decision(own.at, Decision::GivenUp(own.addr));
        } else {
            self.tell(own.at, News::Conflict);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [self.neighbors.next_timeout(), self.ifaces.next_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Asks neighbours again, probes and announces addresses, reports groups. Packets given up because their neighbour
    /// does not answer are told to `report`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, report: &mut dyn FnMut(ErrorReport)) {
        let due = self.ifaces.next_timeout().is_some_and(|at| at <= now);
        if due {
            self.ifaces.end_lifetimes(now);
            self.ifaces.handle_slaac_timeout(now, &mut self.replies);
        }
        if due && self.ifaces.handle_dad_timeout(now, &mut self.replies) {
            // What was looked up before there was an address to ask from.
            self.neighbors.ask_anew(now);
        }
        let (ifaces, replies) = (&self.ifaces, &mut self.replies);
        let mut asked = Count::default();
        let mut silent = Vec::new();
        self.neighbors.handle_timeout(now, |due| match due {
            Due::Silent(hop) => silent.push(hop),
            Due::Ask { hop, unicast } => ask(ifaces, &mut asked, replies, hop, unicast),
            Due::GiveUp { hop, frame } => {
                let scope = ifaces.get(hop.at).vlan;
                if let Some(error) = ErrorReport::host_unreachable(&frame, scope) {
                    report(error);
                }
            }
        });
        self.neighbors.stats.requests_sent += asked.get();
        for Hop { at, addr } in silent {
            self.ifaces.note_silent(at, addr);
            if self.tells_silent && self.silent.len() < MOST_SILENT {
                self.silent.push((addr, self.ifaces.get(at).vlan));
            }
        }
        if due {
            self.report_groups(now);
        }
    }

    fn report_groups(&mut self, now: Instant) {
        let is_due = |interface: &Interface| {
            let at = interface.groups.next_timeout();
            at.is_some_and(|at| at <= now)
        };
        let due = self
            .ifaces
            .iter()
            .filter(|(_, interface)| is_due(interface));
        let due: Vec<IfIndex> = due.map(|(at, _)| at).collect();
        for at in due {
            let replies = &mut self.replies;
            self.ifaces.change(at, |interface| {
                let (sources, ends) = (report_sources(interface), interface.ends(MacAddr::ZERO));
                interface.groups.handle_timeout(now, ends, sources, replies);
            });
        }
    }
}

/// What membership reports are sent from: RFC 9776 section 4.2.13, and a link-local address for RFC 9777.
fn report_sources(interface: &Interface) -> (Ipv4Addr, Ipv6Addr) {
    let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
    let v6 = match interface.own_source(IpAddr::V6(all_routers)) {
        Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() => v6,
        _ => Ipv6Addr::UNSPECIFIED,
    };
    let v4 = match interface.own_source(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22))) {
        Some(IpAddr::V4(v4)) => v4,
        _ => Ipv4Addr::UNSPECIFIED,
    };
    (v4, v6)
}

/// Appends a frame that is whole but for its tag.
pub(crate) fn push_frame(queue: &mut FrameQueue, tci: u16, frame: &[u8]) -> bool {
    queue
        .push_with(frame.len(), TxMeta::tagged(tci), |buf| {
            buf.copy_from_slice(frame)
        })
        .is_some()
}

/// An ARP request or neighbour solicitation. Without an address to ask from, none is sent: the tries that remain follow.
fn ask(
    ifaces: &Interfaces,
    sent: &mut Count,
    queue: &mut FrameQueue,
    hop: Hop,
    unicast: Option<MacAddr>,
) {
    let interface = ifaces.get(hop.at);
    // IPv4 may be spoken by an interface that has no address of its own.
    let borrowed = || {
        let target = hop.addr.is_ipv4().then_some(hop.addr)?;
        ifaces.source_for(&Way::to(target, interface.vlan))
    };
    let done = match (hop.addr, interface.own_source(hop.addr).or_else(borrowed)) {
        (IpAddr::V4(target), Some(IpAddr::V4(sender))) => {
            let packet = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: interface.mac,
                sender,
                target_mac: MacAddr::ZERO,
                target,
            };
            let ends = interface.ends(unicast.unwrap_or(MacAddr::BROADCAST));
            emit::push_arp(queue, ends, &packet)
        }
        (IpAddr::V6(target), Some(IpAddr::V6(src))) => {
            let (dst, dst_mac) = match unicast {
                Some(known) => (target, known),
                None => {
                    let group = solicited_node(target);
                    (group, MacAddr::from_ipv6_multicast(group))
                }
            };
            emit::push_ndp(queue, interface.ends(dst_mac), (src, dst), |buf| {
                ndp::write_solicitation(buf, target, Some(interface.mac))
            })
        }
        _ => false,
    };
    *sent += u64::from(done);
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vlan_tests;
