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

use core::hint;
use core::net::IpAddr;

use arrayvec::ArrayVec;
use dpdk_net_packet::{
    ChecksumVerdict, FrameBuf, IpPacket, MacAddr, Network, ParseError, Parsed, Protocol, RxMeta,
    Transport, checksum::Sum, ethernet, icmp, ipv4, ipv6, parse_checked, tcp, tcp::Segment,
};

use crate::coalesce::Plain;
use crate::event::TcpId;
use crate::icmp::IcmpError;
use crate::iface::Destination;
use crate::stack::Stack;
use crate::tcp::flow::Flow;
use crate::tcp::segment::key_of;
use crate::tcp::table::{FlowKey, FlowRef};
use crate::time::Instant;
use crate::tx::FrameQueue;

/// Frames that are looked at together.
pub(crate) const BATCH: usize = 64;

/// A frame that has been parsed, and the TCP flow it was looked up to be of.
pub(crate) enum Staged<'a> {
    /// Nearly all are of this kind: a TCP segment of a connection, to one of our addresses and not from one, in an
    /// untagged frame to our MAC address.
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
    Other(Parsed<'a>, Option<Lookup>),
    /// In several segments of memory; its place in the batch.
    Chained(usize),
    /// Has been dealt with together with an earlier one.
    Merged,
}

/// What is known of a plain segment from its headers.
pub(crate) struct PlainHeaders<'a> {
    /// From the IP header on, up to the packet's end or as far as it goes.
    pub(crate) packet: &'a [u8],
    pub(crate) tcp_at: usize,
    /// Length of the whole IP packet.
    pub(crate) len: usize,
    pub(crate) key: FlowKey,
}

/// A 4-tuple, and what it was found to stand for.
pub(crate) struct Lookup {
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    pub(crate) found: Option<FlowRef>,
}

impl Stack {
    /// Takes in frames, in their order. Replies are queued inside, in bounds, until
    /// [`poll_transmit`](Stack::poll_transmit).
    pub fn ingest<B: FrameBuf>(&mut self, now: Instant, frames: &[B]) {
        self.advance(now);
        for batch in frames.chunks(BATCH) {
            let mut staged = ArrayVec::<Staged<'_>, BATCH>::new();
            let mut bytes_in = 0;
            let mut is_cold = false;
            for (index, frame) in batch.iter().enumerate() {
                let (bytes, meta) = (frame.bytes(), frame.rx_meta());
                bytes_in += bytes.len();
                if let Some((packet, tcp_at, key)) = self.plain_segment(bytes, &meta) {
                    // Made where it is to lie: moving it costs as much as all before.
                    if let Some(id) = self.tcp.recent_connection(&key, &self.link.iface) {
                        staged.push(Staged::Segment {
                            packet,
                            tcp_at,
                            id,
                            index,
                        });
                    } else {
                        is_cold = true;
                        staged.push(self.sought(packet, tcp_at, key, index));
                    }
                    continue;
                }
                if frame.segments() > 1 {
                    bytes_in += (1..frame.segments())
                        .map(|index| frame.segment(index).len())
                        .sum::<usize>();
                    staged.push(Staged::Chained(index));
                    continue;
                }
                // Looked at where it lies: moving it costs as much as parsing.
                let parsed = parse_checked(bytes, &meta);
                let parsed = match &parsed {
                    Ok(parsed) => parsed,
                    Err(error) => {
                        self.malformed(now, bytes, *error);
                        continue;
                    }
                };
                if self.is_wanted(parsed, meta.l4_checksum) {
                    let lookup = self.tcp_lookup(parsed);
                    is_cold |= lookup.is_some();
                    staged.push(Staged::Other(*parsed, lookup));
                }
            }
            self.frames.rx_frames += batch.len() as u64;
            self.frames.rx_bytes += bytes_in as u64;
            let version = self.tcp.table.version();
            let addresses = self.link.iface.version();
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
                        if self.tcp.table.version() == version
                            && self.link.iface.version() == addresses
                        {
                            self.tcp.stats.rx_segments += 1;
                            let segment = packet.get(*tcp_at..).unwrap_or_default();
                            if !self.tcp.expected(now, *id, segment) {
                                let head = Plain {
                                    packet,
                                    tcp_at: *tcp_at,
                                };
                                self.unexpected(now, *id, (head, *index), behind, batch);
                            }
                        } else {
                            self.other_segment(now, packet, None);
                        }
                    }
                    Staged::Sought { packet, lookup, .. } => {
                        if self.tcp.table.version() != version {
                            lookup.found = self.tcp.find(lookup.hash, &lookup.key);
                        }
                        self.other_segment(now, packet, Some(lookup));
                    }
                    Staged::Other(parsed, lookup) => {
                        if let Some(lookup) = lookup
                            && self.tcp.table.version() != version
                        {
                            lookup.found = self.tcp.find(lookup.hash, &lookup.key);
                        }
                        self.unforged(now, parsed, lookup.as_ref());
                    }
                    Staged::Chained(index) => {
                        if let Some(frame) = batch.get(*index) {
                            self.chained(now, frame);
                        }
                    }
                    Staged::Merged => {}
                }
                rest = behind;
            }
        }
    }

    /// Looks whether a frame is a TCP segment, to our MAC address, and nothing is wrong with it or unusual about it. Gives it from
    /// the IP header on, and where the TCP header begins.
    #[inline(always)]
    fn plain_segment<'a>(
        &self,
        bytes: &'a [u8],
        meta: &RxMeta,
    ) -> Option<(&'a [u8], usize, FlowKey)> {
        let PlainHeaders {
            packet,
            tcp_at,
            len,
            key,
        } = self.plain_headers(bytes, meta)?;
        if packet.len() != len {
            return None;
        }
        if self.rx_checksum {
            match meta.l4_checksum {
                ChecksumVerdict::Good | ChecksumVerdict::None => {}
                ChecksumVerdict::Bad => return None,
                ChecksumVerdict::Unknown => {
                    let segment = packet.get(tcp_at..)?;
                    if !key
                        .pseudo_header(segment.len())
                        .add_bytes(segment)
                        .is_valid()
                    {
                        return None;
                    }
                }
            }
        }
        Some((packet, tcp_at, key))
    }

    /// As [`plain_segment`](Self::plain_segment), of a packet that may go on elsewhere, its TCP checksum unseen.
    #[inline(always)]
    pub(crate) fn plain_headers<'a>(
        &self,
        bytes: &'a [u8],
        meta: &RxMeta,
    ) -> Option<PlainHeaders<'a>> {
        let (header, packet) = bytes.split_first_chunk::<{ ethernet::HEADER_LEN }>()?;
        if header[..6] != self.link.iface.mac.0 || meta.vlan_tci.is_some() {
            return None;
        }
        match u16::from_be_bytes([header[12], header[13]]) {
            ethernet::TYPE_IPV4 => {
                let (ip, tcp) = packet.split_first_chunk::<{ ipv4::HEADER_LEN }>()?;
                let tcp = tcp.first_chunk::<{ tcp::HEADER_LEN }>()?;
                let word =
                    |at: usize| u32::from_be_bytes([ip[at], ip[at + 1], ip[at + 2], ip[at + 3]]);
                let len = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
                let data_offset = usize::from(tcp[12] >> 4) * 4;
                // No options, no fragment but one that must not be one, TCP.
                if ip[0] != 0x45
                    || word(4) & 0xbfff != 0
                    || ip[9] != 6
                    || data_offset < tcp::HEADER_LEN
                    || len < ipv4::HEADER_LEN + data_offset
                    || meta.ip_checksum == ChecksumVerdict::Bad
                    || meta.ip_checksum.is_unknown() && !Sum::ZERO.add_bytes(ip).is_valid()
                {
                    return None;
                }
                let ports = u32::from_be_bytes([tcp[2], tcp[3], tcp[0], tcp[1]]);
                Some(PlainHeaders {
                    packet: packet.get(..len).unwrap_or(packet),
                    tcp_at: ipv4::HEADER_LEN,
                    len,
                    key: FlowKey::of_v4(word(16), word(12), ports),
                })
            }
            ethernet::TYPE_IPV6 => {
                let (ip, tcp) = packet.split_first_chunk::<{ ipv6::HEADER_LEN }>()?;
                let tcp = tcp.first_chunk::<{ tcp::HEADER_LEN }>()?;
                let (_, addrs) = ip.split_at(8);
                let (src, dst) = (addrs.first_chunk::<16>()?, addrs.last_chunk::<16>()?);
                let (src, dst) = (u128::from_be_bytes(*src), u128::from_be_bytes(*dst));
                let payload = usize::from(u16::from_be_bytes([ip[4], ip[5]]));
                let data_offset = usize::from(tcp[12] >> 4) * 4;
                // No extension headers.
                if ip[0] >> 4 != 6
                    || ip[6] != 6
                    || data_offset < tcp::HEADER_LEN
                    || payload < data_offset
                {
                    return None;
                }
                let len = ipv6::HEADER_LEN + payload;
                let ports = u32::from_be_bytes([tcp[2], tcp[3], tcp[0], tcp[1]]);
                Some(PlainHeaders {
                    packet: packet.get(..len).unwrap_or(packet),
                    tcp_at: ipv6::HEADER_LEN,
                    len,
                    key: FlowKey::of_v6(dst, src, ports)?,
                })
            }
            _ => None,
        }
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
                    if let Some(id) = self.tcp.connection(*found, key, &self.link.iface) {
                        ids.push(id);
                        *frame = Staged::Segment {
                            packet,
                            tcp_at: *tcp_at,
                            id,
                            index: *index,
                        };
                    }
                }
                Staged::Other(_, Some(lookup)) => {
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
    fn other_segment(&mut self, now: Instant, packet: &[u8], lookup: Option<&Lookup>) {
        match read_plain(packet) {
            Ok((ip, _)) if self.is_forged_source(ip.src()) => {
                self.frames.drop_ip_bad_address += 1;
            }
            Ok((ip, segment)) => {
                let destination = self.link.iface.classify(ip.dst());
                self.tcp_segment(now, destination, (&ip, &segment), lookup);
            }
            // Its addresses, or its ports.
            Err(error) => self.count_malformed(error),
        }
    }

    /// Handles a frame from the link, unless its source is forged.
    pub(crate) fn unforged(&mut self, now: Instant, parsed: &Parsed<'_>, lookup: Option<&Lookup>) {
        if self.is_forged(parsed) {
            self.frames.drop_ip_bad_address += 1;
        } else {
            self.handle(now, parsed, lookup);
        }
    }

    /// Takes in frames to ourselves; tells how many.
    pub(crate) fn ingest_looped(&mut self, now: Instant) -> usize {
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
            match parse_checked(frame, &meta) {
                Ok(parsed) if self.is_wanted(&parsed, meta.l4_checksum) => {
                    self.handle(now, &parsed, None);
                }
                Ok(_) => {}
                Err(error) => self.malformed(now, frame, error),
            }
            queue.pop();
        }
        self.looping = queue;
        count
    }

    /// Looks whom a frame is for and verifies its checksum; what is not to be handled is counted.
    #[inline]
    pub(crate) fn is_wanted(&mut self, parsed: &Parsed<'_>, l4_checksum: ChecksumVerdict) -> bool {
        let dst = parsed.dst_mac;
        if dst != self.link.iface.mac && !dst.is_multicast() {
            self.frames.drop_ethernet_not_for_us += 1;
            return false;
        }
        // A priority tag (VLAN 0) says nothing about whose frame it is (IEEE 802.1Q).
        if parsed.vlan_tci.is_some_and(|tci| tci & 0xfff != 0) {
            self.frames.drop_vlan += 1;
            return false;
        }
        if let Network::Ip(ip, transport) = &parsed.network
            && self.rx_checksum
            && let Err(error) = transport.verify(ip, l4_checksum)
        {
            self.count_malformed(error);
            return false;
        }
        true
    }

    /// Whether a frame from the link claims to come from ourselves (a "land" attack) or from everybody (RFC 1122
    /// section 3.2.1.3).
    fn is_forged(&self, parsed: &Parsed<'_>) -> bool {
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
            _ => self.is_forged_source(ip.src()),
        }
    }

    #[inline]
    fn is_forged_source(&self, src: IpAddr) -> bool {
        self.link.iface.is_ours(src) || self.link.iface.is_broadcast(src)
    }

    /// The flow of a TCP segment, to be looked up.
    #[inline]
    pub(crate) fn tcp_lookup(&self, parsed: &Parsed<'_>) -> Option<Lookup> {
        let Network::Ip(ip, Transport::Tcp(segment)) = &parsed.network else {
            return None;
        };
        let key = key_of(ip, segment);
        Some(Lookup {
            key,
            hash: self.tcp.table.hash(&key),
            found: None,
        })
    }

    fn handle(&mut self, now: Instant, parsed: &Parsed<'_>, lookup: Option<&Lookup>) {
        match &parsed.network {
            Network::Arp(packet) => self.link.on_arp(now, packet),
            Network::Ip(ip, transport) => {
                self.ip(now, (parsed.src_mac, parsed.dst_mac), ip, transport, lookup);
            }
            Network::Other(_) => self.frames.drop_ethernet_unknown_type += 1,
        }
    }

    fn ip(
        &mut self,
        now: Instant,
        (src_mac, dst_mac): (MacAddr, MacAddr),
        ip: &IpPacket<'_>,
        transport: &Transport<'_>,
        lookup: Option<&Lookup>,
    ) {
        let destination = self.link.iface.classify(ip.dst());
        // Neighbour discovery has to be heard before an address may be used.
        if let Transport::Icmpv6(message) = transport
            && self.link.on_ndp(now, src_mac, ip, *message)
        {
            return;
        }
        if destination == Destination::Foreign {
            self.frames.drop_ip_not_for_us += 1;
            return;
        }
        let to_group = dst_mac.is_multicast();
        match transport {
            Transport::Tcp(_) if to_group => self.frames.drop_ip_bad_address += 1,
            Transport::Tcp(segment) => self.tcp_segment(now, destination, (ip, segment), lookup),
            Transport::Udp(datagram) => {
                if !self.udp.ingress(&self.link.iface, ip, datagram)
                    && destination == Destination::Ours
                    && !to_group
                {
                    self.icmp.send_error(
                        now,
                        &mut self.link,
                        ip.bytes(),
                        to_group,
                        IcmpError::PortUnreachable,
                    );
                }
            }
            Transport::Icmp(message) | Transport::Icmpv6(message) => {
                if let Some(report) = self.icmp.ingress(now, &mut self.link, ip, *message) {
                    self.report(now, &report);
                }
            }
            Transport::Fragment => {
                let Some(whole) = self.reassembler.insert(now, ip) else {
                    return;
                };
                self.reassembled(now, (src_mac, dst_mac), &whole);
            }
            Transport::Other(Protocol::Igmp) if !ip.is_v6() => self.link.on_igmp(now, ip),
            Transport::Other(protocol) => {
                self.frames.drop_ip_unknown_protocol += 1;
                if destination == Destination::Ours && *protocol != Protocol::NoNext {
                    let error = IcmpError::ProtocolUnreachable {
                        pointer: ip.protocol_at(),
                    };
                    self.icmp
                        .send_error(now, &mut self.link, ip.bytes(), to_group, error);
                }
            }
        }
    }

    /// A TCP segment that was sent to nobody else's MAC address.
    fn tcp_segment(
        &mut self,
        now: Instant,
        destination: Destination,
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
                let key = key_of(ip, segment);
                (key, self.tcp.lookup(&key))
            }
        };
        self.tcp
            .segment(now, &mut self.link, (ip, segment), key, found);
    }

    /// A packet that was put together from fragments.
    fn reassembled(&mut self, now: Instant, macs: (MacAddr, MacAddr), packet: &[u8]) {
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
            Ok((ip, transport)) => self.ip(now, macs, &ip, &transport, None),
            Err(error) => self.count_malformed(error),
        }
    }
}

/// Reads the headers of a plain segment. What the first look verified is not verified again.
pub(crate) fn read_plain(packet: &[u8]) -> Result<(IpPacket<'_>, Segment<'_>), ParseError> {
    let ip = match packet.first() {
        Some(0x40..=0x4f) => ipv4::parse(packet, false)?,
        _ => ipv6::parse(packet)?,
    };
    let segment = Segment::parse(ip.payload())?;
    Ok((ip, segment))
}

#[cfg(test)]
mod tests;
