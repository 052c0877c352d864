//! Frames in: parsed and looked up by the batch, then handled one by one in the order they came.
//!
//! First every frame of a batch is parsed, then their flows are looked up, then the first frame is handled. So the cache
//! misses of many flows overlap instead of following one another, each of the loops in between being so short that the
//! processor is some frames ahead. What an earlier frame of the batch changes in the flow table or in our addresses is
//! noticed by their versions, and the lookup repeated.
//!
//! A segment of a connection goes straight to it: of all that is asked about addresses, only whether they are ours is
//! left open by the connection's being there.

mod malformed;
mod plain;
mod vlan;

use core::hint;
use core::net::IpAddr;

use arrayvec::ArrayVec;
use dpdk_net_packet::{
    ChecksumVerdict, FrameBuf, IpPacket, MacAddr, Network, Parsed, Protocol, RxMeta, Transport,
    ethernet, icmp, parse_checked, tcp::Segment,
};

use crate::coalesce::Plain;
use crate::event::TcpId;
use crate::icmp::IcmpError;
use crate::interfaces::{Destination, IfIndex};
use crate::stack::Stack;
use crate::tcp::flow::Flow;
use crate::tcp::segment::key_of;
use crate::tcp::table::{FlowKey, FlowRef};
use crate::time::Instant;
use crate::tx::FrameQueue;

pub(crate) use plain::{PlainHeaders, read_plain};

/// Frames that are looked at together.
pub(crate) const BATCH: usize = 64;

/// A frame that has been parsed, and the TCP flow it was looked up to be of.
pub(crate) enum Staged<'a> {
    /// Nearly all are of this kind: a TCP segment of a connection, to one of our addresses and not from one, in a frame to
    /// our MAC address, untagged or of one of our VLANs.
    Segment {
        /// From the IP header to the end of the segment, and where the TCP header begins.
        packet: &'a [u8],
        tcp_at: usize,
        id: TcpId,
        /// Its place in the batch.
        index: usize,
    },
    /// One of which it is not known yet whether it is of that kind, for none of the same flow has come lately.
    Sought {
        packet: &'a [u8],
        tcp_at: usize,
        lookup: Lookup,
        index: usize,
    },
    /// With the interface that it came in by, and its place in the batch.
    Other(Parsed<'a>, IfIndex, Option<Lookup>, usize),
    /// In several segments of memory; its place in the batch.
    Chained(usize),
    /// Has been dealt with together with an earlier one.
    Merged,
}

/// Whether a frame has a VLAN tag, or had one.
#[inline(always)]
fn is_tagged(bytes: &[u8], meta: &RxMeta) -> bool {
    let at = ethernet::HEADER_LEN - 2..ethernet::HEADER_LEN;
    meta.vlan_tci.is_some() || bytes.get(at) == Some(&ethernet::TYPE_VLAN.to_be_bytes())
}

/// A 4-tuple, and what it was found to stand for.
pub(crate) struct Lookup {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    pub(crate) found: Option<FlowRef>,
}

impl Stack {
    /// Takes in frames, in their order. How many bytes they have.
    #[inline]
    pub(crate) fn take_in<B: FrameBuf>(&mut self, now: Instant, frames: &[B]) -> u64 {
        self.advance(now);
        let mut bytes_in = 0;
        for batch in frames.chunks(BATCH) {
            self.tcp.vet_recent(&self.link.ifaces);
            let mut staged = ArrayVec::<Staged<'_>, BATCH>::new();
            let mut is_cold = false;
            for (index, frame) in batch.iter().enumerate() {
                let (bytes, meta) = (frame.bytes(), frame.rx_meta());
                bytes_in += bytes.len();
                if let Some((packet, tcp_at, key)) = self.plain_segment(bytes, &meta) {
                    // Made where it is to lie: moving it costs as much as all before.
                    if let Some(id) = self.tcp.recent_connection(&key) {
                        staged.push(Staged::Segment {
                            packet,
                            tcp_at,
                            id,
                            index,
                        });
                        continue;
                    }
                    if !key.is_mapped() {
                        is_cold = true;
                        staged.push(self.sought(packet, tcp_at, key, index));
                        continue;
                    }
                }
                if is_tagged(bytes, &meta)
                    && let Some((segment, is_recent)) = self.tagged_segment(bytes, &meta, index)
                {
                    is_cold |= !is_recent;
                    staged.push(segment);
                    continue;
                }
                if frame.segment_count() > 1 {
                    bytes_in += frame.frame_len().saturating_sub(bytes.len());
                    staged.push(Staged::Chained(index));
                    continue;
                }
                // Looked at where it lies: moving it costs as much as parsing.
                let parsed = parse_checked(bytes, &meta);
                let parsed = match &parsed {
                    Ok(parsed) => parsed,
                    Err(error) => {
                        self.malformed(now, bytes, &meta, *error);
                        continue;
                    }
                };
                if let Some(at) = self.is_wanted(parsed, bytes, &meta) {
                    let lookup = self.tcp_lookup(at, parsed);
                    is_cold |= lookup.is_some();
                    staged.push(Staged::Other(*parsed, at, lookup, index));
                }
            }
            self.strays.begun += batch.len() as u64;
            let version = self.tcp.table.version();
            let addresses = self.link.ifaces.version();
            // Nothing changes by segments that were expected.
            let mut is_unchanged = true;
            if is_cold {
                self.look_up(&mut staged);
            }
            let mut rest = &mut staged[..];
            while let Some((frame, behind)) = core::mem::take(&mut rest).split_first_mut() {
                match frame {
                    Staged::Segment {
                        packet,
                        tcp_at,
                        id,
                        index,
                    } => {
                        // What has changed meanwhile is looked up again.
                        if is_unchanged {
                            let segment = packet.get(*tcp_at..).unwrap_or_default();
                            if self.tcp.expected(now, *id, segment) {
                                self.tcp.stats.rx_segments += 1;
                                rest = behind;
                                continue;
                            }
                            let head = Plain {
                                packet,
                                tcp_at: *tcp_at,
                            };
                            self.unexpected(now, *id, (head, *index), behind, batch);
                        } else if let Some(frame) = batch.get(*index) {
                            let at = self.came_tagged(frame.bytes(), &frame.rx_meta());
                            self.other_segment(now, at, packet, None);
                            self.note_stray(*index, batch.len());
                        }
                    }
                    Staged::Sought {
                        packet,
                        lookup,
                        index,
                        ..
                    } => {
                        if self.tcp.table.version() != version {
                            lookup.found = self.tcp.find(lookup.hash, &lookup.key);
                        }
                        // The interface counts for what has a scope.
                        let at = self.link.ifaces.by_vlan(lookup.key.scope());
                        self.other_segment(now, at, packet, Some(lookup));
                        self.note_stray(*index, batch.len());
                    }
                    Staged::Other(parsed, at, lookup, index) => {
                        if let Some(lookup) = lookup
                            && self.tcp.table.version() != version
                        {
                            lookup.found = self.tcp.find(lookup.hash, &lookup.key);
                        }
                        self.unforged(now, *at, parsed, lookup.as_ref());
                        self.note_stray(*index, batch.len());
                    }
                    Staged::Chained(index) => {
                        if let Some(frame) = batch.get(*index) {
                            self.chained(now, frame);
                            self.note_stray(*index, batch.len());
                        }
                    }
                    Staged::Merged => {}
                }
                is_unchanged =
                    self.tcp.table.version() == version && self.link.ifaces.version() == addresses;
                rest = behind;
            }
        }
        bytes_in as u64
    }

    /// A plain segment in a frame with a tag, staged; and whether its connection is known.
    #[inline(never)]
    fn tagged_segment<'a>(
        &self,
        bytes: &'a [u8],
        meta: &RxMeta,
        index: usize,
    ) -> Option<(Staged<'a>, bool)> {
        let (packet, tcp_at, key) = self.plain_tagged(bytes, meta)?;
        let Some(id) = self.tcp.recent_connection(&key) else {
            let sought = || (self.sought(packet, tcp_at, key, index), false);
            return (!key.is_mapped()).then(sought);
        };
        let segment = Staged::Segment {
            packet,
            tcp_at,
            id,
            index,
        };
        Some((segment, true))
    }

    #[inline(never)]
    fn sought<'a>(
        &self,
        packet: &'a [u8],
        tcp_at: usize,
        key: FlowKey,
        index: usize,
    ) -> Staged<'a> {
        let hash = self.tcp.table.hash(&key);
        Staged::Sought {
            packet,
            tcp_at,
            lookup: Lookup {
                key,
                hash,
                found: None,
            },
            index,
        }
    }

    /// Looks up the flows of a batch, and brings what they need into the cache.
    #[inline(never)]
    fn look_up(&mut self, staged: &mut [Staged<'_>]) {
        let mut ids = ArrayVec::<TcpId, BATCH>::new();
        for frame in &mut *staged {
            match frame {
                Staged::Sought {
                    packet,
                    tcp_at,
                    lookup,
                    index,
                } => {
                    let Lookup { key, hash, found } = lookup;
                    *found = self.tcp.find(*hash, key);
                    if let Some(id) = self.tcp.connection(*found, key, &self.link.ifaces) {
                        ids.push(id);
                        *frame = Staged::Segment {
                            packet,
                            tcp_at: *tcp_at,
                            id,
                            index: *index,
                        };
                    }
                }
                Staged::Other(_, _, Some(lookup), _) => {
                    lookup.found = self.tcp.find(lookup.hash, &lookup.key);
                }
                _ => {}
            }
        }
        let flows = &self.tcp.flows;
        let warmth = |warm: fn(&Flow) -> u64| {
            let flows = ids.iter().filter_map(|id| flows.get(*id));
            flows.fold(0, |sum, flow| sum ^ warm(flow))
        };
        hint::black_box(warmth(Flow::warm));
        hint::black_box(warmth(Flow::warm_busy));
    }

    /// A plain segment that is not, or not any more, known to be of a connection: most often a SYN.
    #[inline(never)]
    fn other_segment(
        &mut self,
        now: Instant,
        at: Option<IfIndex>,
        packet: &[u8],
        lookup: Option<&Lookup>,
    ) {
        // Frames of VLANs that are not ours are not plain.
        let at = at.unwrap_or(IfIndex::PORT);
        match read_plain(packet) {
            Ok((ip, _)) if self.is_forged_source(at, ip.src()) => {
                self.frames.drop_ip_bad_address += 1;
            }
            Ok((ip, segment)) => {
                let destination = self.link.ifaces.classify(at, ip.dst());
                self.tcp_segment(now, (at, destination), (&ip, &segment), lookup);
            }
            // Its addresses, or its ports.
            Err(error) => self.count_malformed(error),
        }
    }

    /// Handles a frame from the link, unless its source is forged.
    pub(crate) fn unforged(
        &mut self,
        now: Instant,
        at: IfIndex,
        parsed: &Parsed<'_>,
        lookup: Option<&Lookup>,
    ) {
        if self.is_forged(at, parsed) {
            self.frames.drop_ip_bad_address += 1;
        } else {
            self.handle(now, at, parsed, lookup);
        }
    }

    /// Takes in frames to ourselves; tells how many.
    pub(crate) fn ingest_looped(&mut self, now: Instant) -> usize {
        self.close_strays();
        let mut queue: FrameQueue = core::mem::replace(&mut self.looping, FrameQueue::new(0, 0));
        core::mem::swap(&mut queue, &mut self.link.loopback);
        let count = queue.len();
        // Nothing has corrupted them, and their checksums may have been left to the NIC.
        let meta = RxMeta {
            ip_checksum: ChecksumVerdict::Good,
            l4_checksum: ChecksumVerdict::Good,
            ..RxMeta::default()
        };
        while let Some(frame) = queue.front() {
            self.frames.looped += 1;
            let meta = RxMeta {
                vlan_tci: queue.front_meta().vlan_tci,
                ..meta
            };
            match parse_checked(frame, &meta) {
                Ok(parsed) => {
                    if let Some(at) = self.is_wanted(&parsed, frame, &meta) {
                        self.handle(now, at, &parsed, None);
                    }
                }
                Err(error) => self.malformed(now, frame, &meta, error),
            }
            queue.pop();
        }
        self.looping = queue;
        count
    }

    /// Looks whom a frame is for and verifies its checksum; what is not to be handled is counted. The interface that it came
    /// in by.
    #[inline]
    pub(crate) fn is_wanted(
        &mut self,
        parsed: &Parsed<'_>,
        bytes: &[u8],
        meta: &RxMeta,
    ) -> Option<IfIndex> {
        let dst = parsed.dst_mac;
        if dst != self.link.ifaces.mac() && !dst.is_multicast() {
            self.frames.drop_ethernet_not_for_us += 1;
            return None;
        }
        let at = match parsed.vlan_tci {
            None => IfIndex::PORT,
            Some(_) => match self.came_tagged(bytes, meta) {
                Some(at) => at,
                None => {
                    self.frames.drop_vlan += 1;
                    return None;
                }
            },
        };
        if let Network::Ip(ip, transport) = &parsed.network
            && self.rx_checksum
            && let Err(error) = transport.verify(ip, meta.l4_checksum)
        {
            self.damaged(at, ip.dst(), error);
            return None;
        }
        Some(at)
    }

    /// The interface that a frame came in by, with a tag or without; `None` if it is of a VLAN that we are not a member of.
    #[inline(never)]
    fn came_tagged(&self, bytes: &[u8], meta: &RxMeta) -> Option<IfIndex> {
        self.link.ifaces.by_vlan(vlan::of(bytes, meta)?)
    }

    /// Whether a frame from the link claims to come from ourselves (a "land" attack) or from everybody (RFC 1122
    /// section 3.2.1.3).
    fn is_forged(&self, at: IfIndex, parsed: &Parsed<'_>) -> bool {
        let Network::Ip(ip, transport) = &parsed.network else {
            return false;
        };
        match transport {
            // How duplicate address detection hears that somebody else has our address.
            Transport::Icmpv6(message)
                if (icmp::v6::ROUTER_SOLICITATION..=icmp::v6::REDIRECT)
                    .contains(&message.kind()) =>
            {
                false
            }
            _ => self.is_forged_source(at, ip.src()),
        }
    }

    #[inline]
    fn is_forged_source(&self, at: IfIndex, src: IpAddr) -> bool {
        self.link.ifaces.is_ours(at, src) || self.link.ifaces.is_broadcast(src)
    }

    /// The flow of a TCP segment, to be looked up.
    #[inline]
    pub(crate) fn tcp_lookup(&self, at: IfIndex, parsed: &Parsed<'_>) -> Option<Lookup> {
        let Network::Ip(ip, Transport::Tcp(segment)) = &parsed.network else {
            return None;
        };
        let key = key_of(ip, segment, self.link.ifaces.get(at).vlan);
        Some(Lookup {
            key,
            hash: self.tcp.table.hash(&key),
            found: None,
        })
    }

    fn handle(&mut self, now: Instant, at: IfIndex, parsed: &Parsed<'_>, lookup: Option<&Lookup>) {
        match &parsed.network {
            Network::Arp(packet) => self.link.on_arp(now, at, packet),
            Network::Ip(ip, transport) => {
                let macs = (parsed.src_mac, parsed.dst_mac);
                self.ip(now, at, macs, ip, transport, lookup);
            }
            Network::Other(_) => self.frames.drop_ethernet_unknown_type += 1,
        }
        self.take_mtus();
    }

    fn ip(
        &mut self,
        now: Instant,
        at: IfIndex,
        (src_mac, dst_mac): (MacAddr, MacAddr),
        ip: &IpPacket<'_>,
        transport: &Transport<'_>,
        lookup: Option<&Lookup>,
    ) {
        let destination = self.link.ifaces.classify(at, ip.dst());
        // Neighbour discovery has to be heard before an address may be used.
        if let Transport::Icmpv6(message) = transport
            && self.link.on_ndp(now, (at, src_mac), ip, *message)
        {
            return;
        }
        if destination == Destination::Foreign && !self.is_for_others(at, ip, transport) {
            if self.is_for_unconfigured(at, dst_mac, ip, transport) {
                return;
            }
            self.frames.drop_ip_not_for_us += 1;
            return;
        }
        let to_group = dst_mac.is_multicast();
        match transport {
            Transport::Tcp(_) if to_group => self.frames.drop_ip_bad_address += 1,
            Transport::Tcp(segment) => {
                self.tcp_segment(now, (at, destination), (ip, segment), lookup);
            }
            Transport::Udp(datagram) => {
                let vlan = self.link.ifaces.get(at).vlan;
                let is_ours = destination == Destination::Ours;
                let strays = !is_ours && self.group_datagram_strays(at, ip, datagram);
                let is_here = destination != Destination::Foreign;
                if is_here && self.udp.ingress(vlan, destination, ip, datagram)
                    || strays
                    || is_ours && self.datagram_strays(at, ip, datagram)
                {
                    return;
                }
                self.udp.stats.no_socket += 1;
                if is_ours && !to_group {
                    self.icmp.send_error(
                        now,
                        &mut self.link,
                        at,
                        ip.bytes(),
                        to_group,
                        IcmpError::PortUnreachable,
                    );
                }
            }
            Transport::Icmp(message) | Transport::Icmpv6(message) => {
                if let Some(report) = self.icmp.ingress(now, &mut self.link, at, ip, *message)
                    && !self.error_strays(&report)
                {
                    self.report(now, &report);
                }
            }
            Transport::Fragment => {
                let Some(whole) = self.reassembler.insert(now, at, ip) else {
                    return;
                };
                self.reassembled(now, at, (src_mac, dst_mac), &whole);
                self.note_stray_packet(at, (src_mac, dst_mac), &whole);
            }
            Transport::Other(Protocol::Igmp) if !ip.is_v6() => self.link.on_igmp(now, at, ip),
            Transport::Other(protocol) => {
                self.frames.drop_ip_unknown_protocol += 1;
                if destination == Destination::Ours && *protocol != Protocol::NoNext {
                    let error = IcmpError::ProtocolUnreachable {
                        pointer: ip.protocol_at(),
                    };
                    self.icmp
                        .send_error(now, &mut self.link, at, ip.bytes(), to_group, error);
                }
            }
        }
    }

    /// A TCP segment that was sent to nobody else's MAC address.
    fn tcp_segment(
        &mut self,
        now: Instant,
        (at, destination): (IfIndex, Destination),
        (ip, segment): (&IpPacket<'_>, &Segment<'_>),
        lookup: Option<&Lookup>,
    ) {
        // RFC 9293 section 3.9.2.3 (MUST-57, MUST-63): no group may open a connection, nor be answered. Broadcast
        // sources have been dropped as forged.
        let bad_source = ip.src().is_multicast() || ip.src().is_unspecified();
        match destination {
            Destination::Ours if !bad_source => {}
            Destination::Foreign => {
                self.frames.drop_ip_not_for_us += 1;
                return;
            }
            _ => {
                self.frames.drop_ip_bad_address += 1;
                return;
            }
        }
        let (key, found) = match lookup {
            Some(lookup) => (lookup.key, lookup.found),
            None => {
                let key = key_of(ip, segment, self.link.ifaces.get(at).vlan);
                (key, self.tcp.lookup(&key))
            }
        };
        self.tcp
            .segment(now, &mut self.link, (ip, segment), key, found);
    }

    /// A packet that was put together from fragments.
    fn reassembled(&mut self, now: Instant, at: IfIndex, macs: (MacAddr, MacAddr), packet: &[u8]) {
        let parsed = IpPacket::parse(packet).and_then(|ip| {
            let transport = ip.transport()?;
            // No NIC verifies over fragments.
            if self.rx_checksum {
                transport.verify(&ip, ChecksumVerdict::Unknown)?;
            }
            Ok((ip, transport))
        });
        match parsed {
            // A fragment again: of an IPv6 packet with two fragment headers.
            Ok((_, Transport::Fragment)) => self.frames.drop_ipv6_malformed += 1,
            // RFC 6980 section 5: neighbour discovery never comes in fragments.
            Ok((_, Transport::Icmpv6(message)))
                if (icmp::v6::ROUTER_SOLICITATION..=icmp::v6::REDIRECT)
                    .contains(&message.kind()) =>
            {
                self.frames.drop_ipv6_malformed += 1;
            }
            Ok((ip, transport)) => self.ip(now, at, macs, &ip, &transport, None),
            Err(error) => self.count_malformed(error),
        }
    }
}

#[cfg(test)]
mod tests;
