//! All that an IP packet passes on its way out: the interface's routes, the neighbour cache, fragmentation, and the
//! queues of frames that wait for the sink.
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
use crate::emit::{self, IpMeta};
use crate::error::Error;
use crate::fragment::{self, IdSource};
use crate::icmp::ErrorReport;
use crate::iface::{Interface, NextHop, solicited_node};
use crate::neighbor::{Due, Found, NeighborCache, NeighborInfo};
use crate::random::HashKey;
use crate::time::{Duration, Instant};
use crate::tx::{FrameQueue, TxMeta};

pub(crate) use self::segments::Segments;

/// Paths whose MTU is smaller than the link's that are remembered.
const MAX_PATHS: usize = 1024;
/// How long a path's MTU is remembered (RFC 8201 section 4).
const PATH_MTU_LIFETIME: Duration = Duration::from_secs(600);

/// What was sent, or could not be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Packets for which there is no route.
    pub no_route: u64,
    /// Packets dropped because the queue of frames to send was full.
    pub queue_full: u64,
    /// Packets sent as fragments.
    pub fragmented: u64,
    /// Fragments sent.
    pub fragments_sent: u64,
    /// Packets too large to be sent and not to be fragmented.
    pub too_big: u64,
    /// Packets sent to one of our own addresses.
    pub looped: u64,
}

/// Where a packet goes, looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Onto the link, to this MAC address.
    Ready(MacAddr),
    /// To this neighbour, which is being asked for: see [`Link::queue_pending`].
    Pending(IpAddr),
    /// To ourselves: into [`Link::loopback`].
    Local,
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

/// The way out.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) iface: Interface,
    pub(crate) neighbors: NeighborCache,
    /// Frames that protocols send by themselves.
    pub(crate) replies: FrameQueue,
    /// Frames that UDP sockets send.
    pub(crate) datagrams: FrameQueue,
    /// Frames to ourselves, to be ingested again.
    pub(crate) loopback: FrameQueue,
    path_mtus: HashMap<IpAddr, (usize, Instant), HashKey>,
    ids: IdSource,
    pub(crate) stats: LinkStats,
}

impl Link {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        let queue = || FrameQueue::new(config.limits.reply_queue, config.limits.reply_queue_bytes);
        Self {
            iface: Interface::new(config, now),
            neighbors: NeighborCache::new(config),
            replies: queue(),
            datagrams: queue(),
            loopback: queue(),
            path_mtus: HashMap::with_hasher(HashKey::derive(&config.seed, "paths")),
            ids: IdSource::new(&config.seed),
            stats: LinkStats::default(),
        }
    }

    /// Where a packet to `dst` goes now; starts resolution or probing where that is due.
    #[inline]
    pub(crate) fn lookup(&mut self, now: Instant, dst: IpAddr) -> Lookup {
        let hop = match self.iface.next_hop(dst) {
            NextHop::Neighbor(hop) => hop,
            NextHop::Link(mac) => return Lookup::Ready(mac),
            NextHop::Local => return Lookup::Local,
            NextHop::NoRoute => return Lookup::NoRoute,
        };
        match self.neighbors.lookup(now, hop) {
            Found::Ready(mac) => Lookup::Ready(mac),
            Found::Waiting => Lookup::Pending(hop),
            Found::Ask => {
                self.ask(hop, None);
                Lookup::Pending(hop)
            }
        }
    }

    /// Keeps a whole Ethernet frame until `hop`, which [`lookup`](Self::lookup) found pending, is resolved; its
    /// destination MAC address is filled in then.
    pub(crate) fn queue_pending(&mut self, hop: IpAddr, frame: Vec<u8>) {
        self.neighbors.queue(hop, frame);
    }

    /// An upper layer knows that what was sent to `dst` arrived (RFC 4861 section 7.3.1). Once a second for a
    /// connection is enough.
    pub(crate) fn confirm(&mut self, now: Instant, dst: IpAddr) {
        if let NextHop::Neighbor(hop) = self.iface.next_hop(dst) {
            self.neighbors.confirm(now, hop);
        }
    }

    /// Enters a neighbour by hand. `false` if the cache has no room.
    pub(crate) fn add_neighbor(&mut self, now: Instant, addr: IpAddr, mac: MacAddr) -> bool {
        let replies = &mut self.replies;
        self.neighbors
            .add_static(now, addr, mac, |frame| push_frame(replies, frame))
    }

    /// All neighbours, in no order.
    pub(crate) fn neighbors(&self, now: Instant) -> impl Iterator<Item = NeighborInfo> + '_ {
        self.neighbors.iter(now)
    }

    /// The largest IP packet for `dst`, in bytes.
    #[inline]
    pub(crate) fn path_mtu(&self, now: Instant, dst: IpAddr) -> usize {
        if self.path_mtus.is_empty() {
            return self.iface.mtu;
        }
        match self.path_mtus.get(&dst) {
            Some((mtu, until)) if *until > now => *mtu,
            _ => self.iface.mtu,
        }
    }

    /// A router says that `mtu` is the largest packet on the way to `dst`, and quoted a packet that we did send.
    /// Only ever lowers it, and never below 576 bytes for IPv4, which every host takes (RFC 1122 section 3.3.2); less than
    /// 1280 for IPv6 is not believed.
    pub(crate) fn note_path_mtu(&mut self, now: Instant, dst: IpAddr, mtu: usize) {
        if dst.is_ipv6() && mtu < 1280 {
            // RFC 8201 section 4: there is no such link, so the message means something else.
            return;
        }
        let mtu = if dst.is_ipv4() { mtu.max(576) } else { mtu };
        if mtu >= self.path_mtu(now, dst) {
            return;
        }
        if self.path_mtus.len() >= MAX_PATHS
            && !self.path_mtus.contains_key(&dst)
            && let Some(any) = self.path_mtus.keys().next().copied()
        {
            self.path_mtus.remove(&any);
        }
        self.path_mtus.insert(dst, (mtu, now + PATH_MTU_LIFETIME));
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
        let mtu = self.path_mtu(now, meta.dst);
        if len > max_payload || (meta.dont_fragment && header + len > mtu) {
            self.stats.too_big += 1;
            return Err(Error::MessageTooLong);
        }
        let to = self.lookup(now, meta.dst);
        // Nothing limits the size of a frame to ourselves but the queue.
        if to == Lookup::NoRoute {
            self.stats.no_route += 1;
            return Err(Error::NetworkUnreachable);
        }
        if header + len <= mtu {
            let id = self.ids.next_v4(meta);
            let frame_len = ethernet::HEADER_LEN + header + len;
            return self.hand_over(queue, to, meta, frame_len, |frame, src, dst| {
                let at = emit::write_headers(frame, src, dst, meta, id, len);
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
            let sent = self.hand_over(queue, to, &whole, frame_len, |frame, src, dst| {
                piece.write(frame, (src, dst), meta, id, &payload);
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
            (Lookup::Ready(_), Queue::Replies) => Some(&mut self.replies),
            (Lookup::Ready(_), Queue::Datagrams) => Some(&mut self.datagrams),
            (Lookup::Local, _) => Some(&mut self.loopback),
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
        write: impl FnOnce(&mut [u8], MacAddr, MacAddr),
    ) -> Result<(), Error> {
        let mac = self.iface.mac;
        let l4 = if meta.dst.is_ipv6() {
            L4::UdpV6
        } else {
            L4::UdpV4
        };
        let dst = match to {
            Lookup::Ready(dst) => dst,
            Lookup::Local => mac,
            Lookup::Pending(hop) => {
                let mut frame = vec![0; len];
                write(&mut frame, mac, MacAddr::ZERO);
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
        let left = meta.udp.is_some_and(|udp| !udp.transport);
        let tx = TxMeta {
            vlan_tci: None,
            checksum: left.then_some(l4),
        };
        let queued = queue.push_with(len, tx, |frame| {
            write(frame, mac, dst);
            if let Some(checksums) = meta.udp {
                l4.finish(frame, checksums);
            }
        });
        if queued.is_none() {
            self.stats.queue_full += 1;
            return Err(Error::NoBufferSpace);
        }
        if to == Lookup::Local {
            self.stats.looped += 1;
        }
        Ok(())
    }

    /// Asks all on the link, or the one given, for `addr`.
    pub(crate) fn ask(&mut self, addr: IpAddr, unicast: Option<MacAddr>) {
        ask(
            &self.iface,
            &mut self.neighbors.stats.requests_sent,
            &mut self.replies,
            addr,
            unicast,
        );
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        [
            self.neighbors.next_timeout(),
            self.iface.dad_deadline,
            self.iface.groups.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Asks neighbours again, probes and announces addresses, reports groups. Packets given up because their neighbour
    /// does not answer are told to `report`.
    pub(crate) fn handle_timeout(&mut self, now: Instant, report: &mut dyn FnMut(ErrorReport)) {
        if self.iface.handle_dad_timeout(now, &mut self.replies) {
            // What was looked up before there was an address to ask from.
            self.neighbors.ask_anew(now);
        }
        let (iface, replies) = (&self.iface, &mut self.replies);
        let mut asked = 0;
        self.neighbors.handle_timeout(now, |due| match due {
            Due::Ask { addr, unicast } => ask(iface, &mut asked, replies, addr, unicast),
            Due::GiveUp { frame } => {
                if let Some(error) = ErrorReport::host_unreachable(&frame) {
                    report(error);
                }
            }
        });
        self.neighbors.stats.requests_sent += asked;
        if self.iface.groups.next_timeout().is_some_and(|at| at <= now) {
            let (mac, sources) = (self.iface.mac, self.report_sources());
            self.iface
                .groups
                .handle_timeout(now, mac, sources, &mut self.replies);
        }
    }

    /// What membership reports are sent from: RFC 9776 section 4.2.13, and a link-local address for RFC 9777.
    fn report_sources(&self) -> (Ipv4Addr, Ipv6Addr) {
        let all_routers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
        let v6 = match self.iface.source_for(IpAddr::V6(all_routers)) {
            Some(IpAddr::V6(v6)) if v6.is_unicast_link_local() => v6,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let v4 = match self
            .iface
            .source_for(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 22)))
        {
            Some(IpAddr::V4(v4)) => v4,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        (v4, v6)
    }
}

/// Appends a frame that is whole.
pub(crate) fn push_frame(queue: &mut FrameQueue, frame: &[u8]) -> bool {
    queue
        .push(frame.len(), |buf| buf.copy_from_slice(frame))
        .is_some()
}

/// An ARP request or neighbour solicitation. Without an address to ask from, none is sent: the tries that remain follow.
fn ask(
    iface: &Interface,
    sent: &mut u64,
    queue: &mut FrameQueue,
    addr: IpAddr,
    unicast: Option<MacAddr>,
) {
    let mac = iface.mac;
    let done = match (addr, iface.source_for(addr)) {
        (IpAddr::V4(target), Some(IpAddr::V4(sender))) => {
            let packet = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: mac,
                sender,
                target_mac: MacAddr::ZERO,
                target,
            };
            emit::push_arp(queue, mac, unicast.unwrap_or(MacAddr::BROADCAST), &packet)
        }
        (IpAddr::V6(target), Some(IpAddr::V6(src))) => {
            let (dst, dst_mac) = match unicast {
                Some(known) => (target, known),
                None => {
                    let group = solicited_node(target);
                    (group, MacAddr::from_ipv6_multicast(group))
                }
            };
            emit::push_ndp(queue, (mac, dst_mac), (src, dst), |buf| {
                ndp::write_solicitation(buf, target, Some(mac))
            })
        }
        _ => false,
    };
    *sent += u64::from(done);
}

#[cfg(test)]
mod tests;
