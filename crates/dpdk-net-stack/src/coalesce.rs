//! Several segments dealt with as one: those that NIC or peer coalesced (LRO), and those of a batch that go on where another
//! one ends (generic receive offload, in software).
//!
//! TCP sees one header with the payload of all behind it, piece by piece where it lies, and counts segments where the number
//! of them matters. What is merged has nothing to tell but its payload: flags, acknowledgment, window, options, traffic class
//! and hop limit are the same (as Linux' `tcp_gro_receive`). Nothing waits for a later batch.

use alloc::vec::Vec;

use bytes::Bytes;
use dpdk_net_packet::checksum::Sum;
use dpdk_net_packet::tcp::{Flags, HEADER_LEN, Segment};
use dpdk_net_packet::{
    ChecksumVerdict, FrameBuf, FrameSegment, Network, RxMeta, Transport, parse_checked,
};

use crate::event::TcpId;
use crate::ingest::{PlainHeaders, Staged};
use crate::stack::Stack;
use crate::tcp::chunk::COPY_BELOW;
use crate::tcp::receive::{Arrived, More, arrived};
use crate::time::Instant;

/// The longest frame that is put together from segments of memory: the largest IP packet, and what is in front of it.
const MAX_FRAME: usize = 65_535 + 40 + 18;

/// A plain segment: no IP options or extension headers. From the IP header on, and where the TCP header begins.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    pub(crate) packet: &'a [u8],
    pub(crate) tcp_at: usize,
}

impl<'a> Plain<'a> {
    /// The ECN field and the segment, of which the payload may go on elsewhere.
    fn read(&self) -> Option<(u8, Segment<'a>)> {
        let segment = Segment::parse(self.packet.get(self.tcp_at..)?).ok()?;
        let class = u16::from_be_bytes([*self.packet.first()?, *self.packet.get(1)?]);
        let ecn = match class >> 12 {
            4 => class,
            _ => class >> 4,
        };
        Some((ecn as u8 & 3, segment))
    }

    /// The payload, if this is what comes after `last`, which brought data, and has nothing more to tell.
    fn continues(&self, last: &Plain<'_>) -> Option<&'a [u8]> {
        if self.tcp_at != last.tcp_at {
            return None;
        }
        let (ip, tcp) = self.packet.split_at_checked(self.tcp_at)?;
        let (last_ip, last_tcp) = last.packet.split_at_checked(self.tcp_at)?;
        // Version, traffic class; and IPv4's time to live or IPv6's hop limit.
        let hops = if ip.first()? >> 4 == 4 { 8 } else { 7 };
        if ip.get(..2)? != last_ip.get(..2)? || ip.get(hops)? != last_ip.get(hops)? {
            return None;
        }
        let (header, last_header) = (
            tcp.first_chunk::<HEADER_LEN>()?,
            last_tcp.first_chunk::<HEADER_LEN>()?,
        );
        let word = |header: &[u8; HEADER_LEN], at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let data_offset = usize::from(header[12] >> 4) * 4;
        let (options, payload) = tcp
            .get(HEADER_LEN..)?
            .split_at_checked(data_offset.checked_sub(HEADER_LEN)?)?;
        let last_len = last_tcp.len().checked_sub(data_offset)? as u32;
        // Data offset, flags and window; a PSH ends what can be merged.
        let psh = u32::from(Flags::PSH.0) << 16;
        let control = word(header, 12);
        if (control & !psh) != word(last_header, 12)
            || control >> 16 & 0xff & !u32::from(Flags::PSH.0) != u32::from(Flags::ACK.0)
            || word(header, 8) != word(last_header, 8)
            || word(header, 4) != word(last_header, 4).wrapping_add(last_len)
            || payload.is_empty()
            || last_tcp.get(HEADER_LEN..data_offset)? != options
        {
            return None;
        }
        Some(payload)
    }
}

/// A frame that was put together.
struct Whole {
    bytes: Bytes,
    meta: RxMeta,
}

impl FrameBuf for Whole {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn rx_meta(&self) -> RxMeta {
        self.meta
    }

    fn share(&self, range: core::ops::Range<usize>) -> Option<(Bytes, usize)> {
        let fits = range.start <= range.end && range.end <= self.bytes.len();
        fits.then(|| (self.bytes.slice(range), self.bytes.len()))
    }
}

/// Payload in a frame's first segment of memory, if it can be kept there.
fn in_first<B: FrameBuf>(frame: &B, payload: &[u8]) -> Option<Arrived> {
    arrived(frame.bytes(), payload, |range| frame.share(range))
}

impl Stack {
    /// A segment of a connection that is not just what was expected. Segments of the batch that go on where it ends are dealt
    /// with together with it (GRO).
    #[inline(never)]
    pub(crate) fn unexpected<'f, B: FrameBuf>(
        &mut self,
        now: Instant,
        id: TcpId,
        (head, index): (Plain<'f>, usize),
        behind: &mut [Staged<'f>],
        batch: &'f [B],
    ) {
        let (Some((ecn, segment)), Some(frame)) = (head.read(), batch.get(index)) else {
            return;
        };
        let mut more = More::new();
        let len = segment.payload().len();
        if len >= COPY_BELOW {
            self.tcp.arrived = in_first(frame, segment.payload());
            if self.gro && self.tcp.takes_more(id, &segment) {
                self.merge(id, head, behind, batch, &mut more);
            }
        }
        self.tcp
            .flow_segment(now, &mut self.link, id, (ecn, &segment), &mut more);
        // What is another worker's is counted there.
        self.tcp.stats.rx_segments += u64::from(self.tcp.strayed.is_empty());
        self.note_stray_syn(index, batch.len());
    }

    /// Finds what goes on where a segment ends: in the same batch, with nothing more to tell than that.
    fn merge<'f, B: FrameBuf>(
        &mut self,
        id: TcpId,
        head: Plain<'f>,
        behind: &mut [Staged<'f>],
        batch: &'f [B],
        more: &mut More<'f>,
    ) {
        let mut last = head;
        for staged in behind {
            let Staged::Segment {
                packet,
                tcp_at,
                id: other,
                index,
            } = staged
            else {
                continue;
            };
            if *other != id {
                continue;
            }
            let next = Plain {
                packet,
                tcp_at: *tcp_at,
            };
            let Some(payload) = next.continues(&last) else {
                // What is behind it has to wait for it.
                return;
            };
            let kept = batch.get(*index).and_then(|frame| in_first(frame, payload));
            if more.try_push((payload, kept)).is_err() {
                return;
            }
            last = next;
            self.tcp.stats.rx_segments += 1;
            self.tcp.stats.rx_merged += 1;
            *staged = Staged::Merged;
        }
    }

    /// A frame in several segments of memory: a large one, as a rule, that NIC or peer made of many (LRO).
    #[inline(never)]
    pub(crate) fn chained<B: FrameBuf>(&mut self, now: Instant, frame: &B) {
        if self.chained_segment(now, frame) {
            return;
        }
        let len = frame.frame_len();
        if len > MAX_FRAME {
            self.frames.drop_ethernet_malformed += 1;
            return;
        }
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(frame.bytes());
        for segment in frame.rest() {
            whole.extend_from_slice(segment.bytes());
        }
        self.frames.linearized += 1;
        let whole = Whole {
            bytes: whole.into(),
            meta: frame.rx_meta(),
        };
        let parsed = match parse_checked(&whole.bytes, &whole.meta) {
            Ok(parsed) => parsed,
            Err(error) => return self.malformed(now, &whole.bytes, &whole.meta, error),
        };
        let Some(at) = self.is_wanted(&parsed, &whole.bytes, &whole.meta) else {
            return;
        };
        let mut lookup = self.tcp_lookup(at, &parsed);
        if let Some(lookup) = &mut lookup {
            lookup.found = self.tcp.find(lookup.hash, &lookup.key);
        }
        if let Network::Ip(_, Transport::Tcp(segment)) = &parsed.network
            && segment.payload().len() >= COPY_BELOW
        {
            self.tcp.arrived = in_first(&whole, segment.payload());
            self.tcp.lro_segment = whole.meta.lro_segment;
        }
        self.unforged(now, at, &parsed, lookup.as_ref());
        (self.tcp.arrived, self.tcp.lro_segment) = (None, 0);
    }

    /// Takes a chained frame piece by piece, if it is a plain segment of a connection and what comes next there. `false`, and
    /// nothing is done, if not.
    fn chained_segment<B: FrameBuf>(&mut self, now: Instant, frame: &B) -> bool {
        let meta = frame.rx_meta();
        let bytes = frame.bytes();
        let plain = self.plain_headers(bytes, &meta);
        let Some(plain) = plain.or_else(|| self.tagged_headers(bytes, &meta)) else {
            return false;
        };
        let PlainHeaders {
            packet,
            tcp_at,
            len,
            key,
        } = plain;
        let Some(mut left) = len.checked_sub(packet.len()) else {
            return false;
        };
        let mut more = More::new();
        let unverified = self.rx_checksum && meta.l4_checksum.is_unknown();
        // Where the NIC knows, the payload is not read for it.
        let mut sum = Sum::ZERO;
        if unverified {
            sum = key.pseudo_header(len - tcp_at).add_bytes(&packet[tcp_at..]);
        }
        let mut at = packet.len() - tcp_at;
        for segment in frame.rest() {
            let piece = segment.bytes();
            let piece = &piece[..piece.len().min(left)];
            if unverified {
                sum = sum.add_at(at, piece);
            }
            at += piece.len();
            left -= piece.len();
            if !piece.is_empty() && more.try_push((piece, None)).is_err() {
                return false;
            }
        }
        let wrong = unverified && !sum.is_valid()
            || self.rx_checksum && meta.l4_checksum == ChecksumVerdict::Bad;
        if left > 0 || wrong {
            return false;
        }
        let found = self.tcp.find(self.tcp.table.hash(&key), &key);
        let Some(id) = self.tcp.connection(found, &key, &self.link.ifaces) else {
            return false;
        };
        let Some((ecn, segment)) = (Plain { packet, tcp_at }).read() else {
            return false;
        };
        if !self.tcp.takes_more(id, &segment) {
            return false;
        }
        self.tcp.arrived = in_first(frame, segment.payload());
        let pieces = frame.rest().filter(|segment| !segment.bytes().is_empty());
        for (segment, (payload, kept)) in pieces.zip(&mut more) {
            *kept = arrived(segment.bytes(), payload, |range| segment.share(range));
        }
        self.tcp.lro_segment = meta.lro_segment;
        self.tcp.stats.rx_segments += 1;
        self.tcp.stats.rx_large += 1;
        self.tcp
            .flow_segment(now, &mut self.link, id, (ecn, &segment), &mut more);
        self.tcp.lro_segment = 0;
        true
    }
}
