//! Large receive offload: segments of one connection that follow one another become one frame in several pieces.
//!
//! A real NIC does so by rules of its own. This one groups as the stack's own coalescing does (GRO), so that what the two
//! lead to can be compared frame by frame: only what is next in the stream (the model keeps track of what has come, as the
//! receiver does), within the same 64 frames of a batch, and with no more to tell than that there is more of the same. It
//! wants segments of one size on top of that, as `tso_segsz` has to be told; and a packet is no longer than an IP header can say.
//!
//! What does not live here: the verdict on checksums. Only what is right is coalesced.

use std::collections::HashMap;

use dpdk_net_packet::ChecksumVerdict;

use super::Received;
use super::frame::{Layout, sum, tag_of, verify};

/// Frames that a stack looks at together.
const BATCH: usize = 64;
/// Payload of the segments that are made part of one frame, at most: what an IP header can say, without headers.
const MOST_BYTES: usize = 65_535 - 40 - 60;
/// Pieces of a frame at most.
const MOST_PIECES: usize = 64;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// The addresses, ports and VLAN of a connection, one direction.
type Key = Vec<u8>;

/// What has come of a connection, in sequence numbers.
#[derive(Debug, Default)]
struct Stream {
    /// All before has come.
    next: u32,
    /// Ranges that have come behind it.
    ahead: Vec<(u32, u32)>,
}

fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

impl Stream {
    /// Takes note of a range.
    fn came(&mut self, from: u32, to: u32) {
        self.ahead.push((from, to));
        while let Some(at) = self
            .ahead
            .iter()
            .position(|&(from, _)| !before(self.next, from))
        {
            let (_, to) = self.ahead.swap_remove(at);
            if before(self.next, to) {
                self.next = to;
            }
        }
    }
}

/// A TCP segment in a frame.
struct Segment {
    at: Layout,
    seq: u32,
    flags: u8,
}

impl Segment {
    fn of(frame: &[u8]) -> Option<Self> {
        let at = Layout::of(frame).filter(|at| !at.udp)?;
        Some(Self {
            at,
            seq: u32::from_be_bytes(*frame[at.l4 + 4..].first_chunk()?),
            flags: frame[at.l4 + 13],
        })
    }

    fn payload(&self) -> usize {
        self.at.end - self.at.payload
    }

    fn key(&self, frame: &[u8]) -> Key {
        let addresses = if self.at.v6 { 8..40 } else { 12..20 };
        let mut key = frame[self.at.ip..][addresses].to_vec();
        key.extend_from_slice(&frame[self.at.l4..self.at.l4 + 4]);
        key
    }

    /// What has to be the same in all segments that become one: headers without lengths, identification, checksums, sequence
    /// number and PSH.
    fn same(&self, frame: &[u8]) -> Vec<u8> {
        let mut headers = frame[..self.at.payload].to_vec();
        let (ip, l4) = (self.at.ip, self.at.l4);
        if self.at.v6 {
            headers[ip + 4..ip + 6].fill(0);
        } else {
            headers[ip + 2..ip + 6].fill(0);
            headers[ip + 10..ip + 12].fill(0);
        }
        headers[l4 + 4..l4 + 8].fill(0);
        headers[l4 + 13] &= !PSH;
        headers[l4 + 16..l4 + 18].fill(0);
        headers
    }
}

/// A frame that others may become part of.
struct Open {
    /// Its place among the frames that come out.
    index: usize,
    same: Vec<u8>,
    /// The sequence number of what would be next.
    next: u32,
    segment: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct Lro {
    streams: HashMap<Key, Stream>,
}

impl Lro {
    /// Coalesces what can be; tells how many large frames there are.
    pub(super) fn coalesce(&mut self, frames: &mut Vec<Received>) -> u64 {
        let mut out = Vec::with_capacity(frames.len());
        for batch in frames.chunks_mut(BATCH) {
            let mut open = HashMap::new();
            for frame in batch {
                self.take(std::mem::take(frame), &mut open, &mut out);
            }
        }
        let mut large = 0;
        for frame in &mut out {
            large += u64::from(close(frame));
        }
        *frames = out;
        large
    }

    fn take(&mut self, frame: Received, open: &mut HashMap<Key, Open>, out: &mut Vec<Received>) {
        let bytes = &frame.pieces[0];
        let right = verify(bytes).1 == Some(true) && verify(bytes).0 != Some(false);
        let Some(segment) = Segment::of(bytes).filter(|_| right && tag_of(bytes).is_none()) else {
            out.push(frame);
            return;
        };
        // A tag that was taken out belongs to it all the same.
        let mut key = segment.key(bytes);
        let tci = frame.meta.vlan_tci.map_or([0xff; 2], u16::to_be_bytes);
        key.extend_from_slice(&tci);
        let stream = self.streams.entry(key.clone()).or_default();
        let len = segment.payload() as u32;
        if segment.flags & SYN != 0 {
            *stream = Stream::default();
            stream.next = segment.seq.wrapping_add(1);
        }
        let is_next = segment.seq == stream.next;
        let fin = u32::from(segment.flags & FIN != 0);
        stream.came(segment.seq, segment.seq.wrapping_add(len + fin));
        let plain = segment.flags & !PSH == ACK && len > 0 && is_next;
        let same = segment.same(bytes);
        if plain
            && let Some(head) = open.get_mut(&key)
            && head.next == segment.seq
            && head.same == same
            && segment.payload() <= head.segment
            && head.bytes + segment.payload() <= MOST_BYTES
            && out[head.index].pieces.len() < MOST_PIECES
        {
            let payload = bytes[segment.at.payload..segment.at.end].to_vec();
            let large = &mut out[head.index];
            large.pieces[0][segment.at.l4 + 13] |= segment.flags & PSH;
            large.pieces.push(payload);
            large.meta.lro_segment = head.segment as u16;
            head.next = head.next.wrapping_add(len);
            head.bytes += segment.payload();
            // A short one or a PSH is the last.
            if segment.payload() < head.segment || segment.flags & PSH != 0 {
                open.remove(&key);
            }
            return;
        }
        open.remove(&key);
        if plain && segment.flags & PSH == 0 {
            let head = Open {
                index: out.len(),
                same,
                next: segment.seq.wrapping_add(len),
                segment: segment.payload(),
                bytes: segment.payload(),
            };
            open.insert(key, head);
        }
        out.push(frame);
    }
}

/// Makes the header of a large frame right: its length, the checksum of an IPv4 header, and the verdicts. That of TCP is
/// left as it was in the first segment, as NICs do: theirs is the word on it. Tells whether it is large.
fn close(frame: &mut Received) -> bool {
    if frame.pieces.len() < 2 {
        return false;
    }
    let more: usize = frame.pieces[1..].iter().map(Vec::len).sum();
    let head = &mut frame.pieces[0];
    let Some(at) = Layout::of(head) else {
        return false;
    };
    // What is behind the packet is padding: more of the packet follows now.
    head.truncate(at.end);
    let field = if at.v6 { at.ip + 4 } else { at.ip + 2 };
    let len = (at.end - if at.v6 { at.l4 } else { at.ip } + more) as u16;
    head[field..field + 2].copy_from_slice(&len.to_be_bytes());
    if !at.v6 {
        head[at.ip + 10..at.ip + 12].fill(0);
        let sum = !sum(&head[at.ip..at.l4]);
        head[at.ip + 10..at.ip + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame.meta.ip_checksum = ChecksumVerdict::Good;
    frame.meta.l4_checksum = ChecksumVerdict::Good;
    true
}
