//! Where frames go: the sink that the owner of the stack hands in, and the bounded queue of frames inside.
//!
//! Flows do not queue frames: a connection writes a segment straight into the sink when it is its turn. Only replies
//! that can't wait for a turn (ACKs of out-of-order segments, RSTs, ARP, NDP, ICMP) pass through a [`FrameQueue`].

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

use dpdk_net_packet::gso::{Checksums, L4, Large, MAX_HEADERS};
use dpdk_net_packet::udp;

use crate::large::LargeFrame;

/// What comes with a frame that is to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TxMeta {
    /// The VLAN tag that the sink, or the NIC for it, is to put into the frame, which is written without one.
    pub vlan_tci: Option<u16>,
    /// The checksums that are left to the sink are those of this kind of packet, as far as
    /// [`Config::tx_checksum_offload`](crate::Config::tx_checksum_offload) says: the transport's field holds the sum of the
    /// pseudo-header, an IPv4 header's is zero. `None`: the frame is complete.
    pub checksum: Option<L4>,
}

impl TxMeta {
    /// What comes with a complete frame with this tag, 0 being none.
    #[inline]
    pub(crate) fn tagged(tci: u16) -> Self {
        TxMeta {
            vlan_tci: (tci != 0).then_some(tci),
            checksum: None,
        }
    }
}

/// Takes frames off the stack's hands, as a TX ring does.
pub trait TxSink {
    /// Frames that [`send`](Self::send) will take before this is asked again. Zero is back-pressure: the stack keeps
    /// what it has and is to be asked again later.
    fn capacity(&mut self) -> usize;

    /// Takes one frame of exactly `len` bytes, Ethernet header included, which `fill` writes. What the buffer held
    /// before is arbitrary. The stack calls this at most [`capacity`](Self::capacity) times.
    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R;

    /// Segments that one [`send_large`](Self::send_large) may have, asked where there is capacity. Below 2 none is handed
    /// over. By default what there is room for one by one.
    fn large_segments(&mut self) -> usize {
        self.capacity()
    }

    /// Whether [`send_large`](Self::send_large) sends by reference what can be sent so: then it is given single segments
    /// too, unless they are short. By default not.
    fn references(&self) -> bool {
        false
    }

    /// Takes a packet of several segments, to be sent as such: by a NIC that cuts it (TSO), or cut here, which is the
    /// default. The result on the wire is the same.
    fn send_large(&mut self, large: &LargeFrame<'_>) {
        let meta = large.segment_meta();
        for index in 0..large.gso().count() {
            self.send(large.gso().frame_len(index), meta, |frame| {
                large.write_segment(index, frame);
            });
        }
    }
}

impl<S: TxSink + ?Sized> TxSink for &mut S {
    fn capacity(&mut self) -> usize {
        (**self).capacity()
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        (**self).send(len, meta, fill)
    }

    fn large_segments(&mut self) -> usize {
        (**self).large_segments()
    }

    fn references(&self) -> bool {
        (**self).references()
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        (**self).send_large(large);
    }
}

/// A sink without bounds, for tests and tools: each frame becomes a vector, whose VLAN tag is not put in.
impl TxSink for Vec<Vec<u8>> {
    fn capacity(&mut self) -> usize {
        usize::MAX
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.push(frame);
        result
    }
}

/// A first-in, first-out queue of frames, bounded in frames and bytes. It allocates only while it grows.
///
/// Frames lie one behind the other in one ring of bytes, each in one piece. A packet that is to be cut into segments is one
/// of them, with its headers once, until its last segment has gone.
#[derive(Debug)]
pub(crate) struct FrameQueue {
    ring: Vec<u8>,
    max_bytes: usize,
    max_frames: usize,
    /// The frames in `ring`, oldest first.
    frames: VecDeque<Place>,
}

/// Where in the ring a frame is, and what comes with it.
#[derive(Debug, Clone, Copy)]
struct Place {
    start: u32,
    len: u32,
    meta: TxMeta,
    cut: Option<Cut>,
}

/// How a packet in the ring is to be cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) l4: L4,
    /// Bytes of payload in a segment.
    pub(crate) segment: u16,
    pub(crate) checksums: Checksums,
    /// Segments that have gone.
    sent: u16,
}

impl Cut {
    /// Into segments of so many bytes.
    pub(crate) fn new(l4: L4, segment: u16, checksums: Checksums) -> Self {
        Cut {
            l4,
            segment,
            checksums,
            sent: 0,
        }
    }
}

/// The ring starts at this size and doubles up to its bound.
const FIRST_RING: usize = 16 * 1024;

impl FrameQueue {
    /// An empty queue that will never hold more than this.
    pub(crate) fn new(max_frames: usize, max_bytes: usize) -> Self {
        FrameQueue {
            ring: Vec::new(),
            max_bytes,
            max_frames,
            frames: VecDeque::new(),
        }
    }

    /// Frames inside.
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// Bytes of the ring that are taken, with what is left free at its end.
    pub(crate) fn bytes(&self) -> usize {
        let (Some(first), Some(last)) = (self.frames.front(), self.frames.back()) else {
            return 0;
        };
        let (head, tail) = (first.start as usize, (last.start + last.len) as usize);
        if tail > head {
            tail - head
        } else {
            self.ring.len() - head + tail
        }
    }

    /// Whether a frame of `len` bytes will be taken.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        // Growing moves all frames to the front.
        let used = || {
            self.frames
                .iter()
                .map(|place| place.len as usize)
                .sum::<usize>()
        };
        self.frames.len() < self.max_frames
            && (self.place(len, self.ring.len()).is_some()
                || self.ring.len() < self.max_bytes && used() + len <= self.max_bytes)
    }

    /// Where a frame of `len` bytes would go in a ring of `size` bytes.
    fn place(&self, len: usize, size: usize) -> Option<usize> {
        let (Some(first), Some(last)) = (self.frames.front(), self.frames.back()) else {
            return (len <= size).then_some(0);
        };
        let (head, tail) = (first.start as usize, (last.start + last.len) as usize);
        if tail > head {
            // In use: head..tail. Free: behind the tail, then before the head (never up to it: that would read empty).
            if tail + len <= size {
                Some(tail)
            } else {
                (len < head).then_some(0)
            }
        } else {
            (tail + len < head).then_some(tail)
        }
    }

    /// Appends a frame of `len` bytes that `fill` writes; `None`, and `fill` not called, if it does not fit.
    pub(crate) fn push<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        self.push_with(len, TxMeta::default(), fill)
    }

    /// As [`push`](Self::push), with what comes with the frame.
    pub(crate) fn push_with<R>(
        &mut self,
        len: usize,
        meta: TxMeta,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        self.push_place(len, meta, None, fill)
    }

    /// Appends a UDP packet of `len` bytes that `fill` writes, headers included, which is to be cut so.
    pub(crate) fn push_cut<R>(
        &mut self,
        len: usize,
        meta: TxMeta,
        cut: Cut,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        self.push_place(len, meta, Some(cut), fill)
    }

    fn push_place<R>(
        &mut self,
        len: usize,
        meta: TxMeta,
        cut: Option<Cut>,
        fill: impl FnOnce(&mut [u8]) -> R,
    ) -> Option<R> {
        if self.frames.len() >= self.max_frames || len == 0 {
            return None;
        }
        let at = loop {
            if let Some(at) = self.place(len, self.ring.len()) {
                break at;
            }
            if self.ring.len() >= self.max_bytes {
                return None;
            }
            self.grow(len);
        };
        self.frames.push_back(Place {
            start: at as u32,
            len: len as u32,
            meta,
            cut,
        });
        Some(fill(&mut self.ring[at..at + len]))
    }

    fn grow(&mut self, len: usize) {
        let size = (self.ring.len() * 2)
            .max(FIRST_RING)
            .max(len.next_power_of_two())
            .min(self.max_bytes);
        let mut ring = vec![0; size];
        let mut at = 0;
        for place in &mut self.frames {
            let (from, n) = (place.start as usize, place.len as usize);
            ring[at..at + n].copy_from_slice(&self.ring[from..from + n]);
            place.start = at as u32;
            at += n;
        }
        self.ring = ring;
    }

    /// The oldest frame.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        let place = self.frames.front()?;
        self.ring
            .get(place.start as usize..(place.start + place.len) as usize)
    }

    /// What comes with the oldest frame.
    pub(crate) fn front_meta(&self) -> TxMeta {
        self.frames
            .front()
            .map_or(TxMeta::default(), |place| place.meta)
    }

    /// Forgets the oldest frame.
    pub(crate) fn pop(&mut self) {
        self.frames.pop_front();
    }

    /// Takes back the newest frames, down to `frames` of them.
    pub(crate) fn truncate(&mut self, frames: usize) {
        self.frames.truncate(frames);
    }

    /// Hands frames to `sink` until it is full or the queue is empty; tells how many left the queue.
    pub(crate) fn drain_into<S: TxSink>(&mut self, sink: &mut S) -> usize {
        let mut gone = 0;
        while !self.frames.is_empty() && sink.capacity() > 0 {
            if let Some(frame) = self.front()
                && let Some(place) = self.frames.front()
            {
                let more = match &place.cut {
                    Some(cut) => send_cut(frame, place.meta, cut, sink),
                    None => {
                        sink.send(frame.len(), place.meta, |buf| buf.copy_from_slice(frame));
                        None
                    }
                };
                if let Some(sent) = more {
                    if let Some(cut) = self.frames.front_mut().and_then(|it| it.cut.as_mut()) {
                        cut.sent = sent;
                    }
                    continue;
                }
                gone += 1;
            }
            self.pop();
        }
        gone
    }
}

/// Hands segments of a packet to `sink`, which has room for one at least. `None` once all have gone, else how many have.
fn send_cut<S: TxSink>(frame: &[u8], meta: TxMeta, cut: &Cut, sink: &mut S) -> Option<u16> {
    let (headers, payload) = frame.split_at_checked(cut.l4.offset() + udp::HEADER_LEN)?;
    let whole = Large::new(headers, cut.l4, cut.segment, payload.len())?;
    let sent = usize::from(cut.sent);
    let left = whole.count().saturating_sub(sent);
    let now = sink.large_segments().clamp(1, left.max(1));
    if now > 1 {
        let mut headers = [0; MAX_HEADERS];
        let part = whole.part(sent, now, headers.get_mut(..whole.headers().len())?)?;
        let from = whole.payload_range(sent).start;
        let payload = payload.get(from..from + part.payload_len())?;
        sink.send_large(&LargeFrame::of_bytes(part, meta, cut.checksums, payload));
    } else {
        let large = LargeFrame::of_bytes(whole, meta, cut.checksums, payload);
        sink.send(whole.frame_len(sent), large.segment_meta(), |buf| {
            large.write_segment(sent, buf);
        });
    }
    (now < left).then_some((sent + now) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_and_in_order_at_any_fill() {
        let mut queue = FrameQueue::new(64, 64 * 1024);
        let (mut pushed, mut popped, mut state) = (0u32, 0u32, 1u32);
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let len = 4 + (state >> 8) as usize % 3_000;
            if state >> 31 == 0 || popped == pushed {
                let pushed_now = queue.push(len, |buf| {
                    buf.fill(pushed as u8);
                    buf[..4].copy_from_slice(&pushed.to_be_bytes());
                });
                if pushed_now.is_some() {
                    pushed += 1;
                }
            } else {
                let frame = queue.front().unwrap();
                assert_eq!(frame[..4], popped.to_be_bytes());
                assert!(frame[4..].iter().all(|&b| b == popped as u8));
                queue.pop();
                popped += 1;
            }
            assert_eq!(queue.len() as u32, pushed - popped);
        }
        assert!(pushed > 5_000);
    }

    #[test]
    fn a_full_queue_refuses_by_frames_and_by_bytes() {
        let mut queue = FrameQueue::new(2, 16 * 1024);
        assert!(queue.push(60, |_| ()).is_some() && queue.push(60, |_| ()).is_some());
        assert!(queue.push(60, |_| ()).is_none());
        let mut queue = FrameQueue::new(100, 16 * 1024);
        let taken = (0..100)
            .filter(|_| queue.push(1_500, |_| ()).is_some())
            .count();
        assert_eq!(taken, 10);
    }

    #[test]
    fn draining_stops_when_the_sink_is_full() {
        struct Two(usize);
        impl TxSink for Two {
            fn capacity(&mut self) -> usize {
                self.0
            }
            fn send<R>(
                &mut self,
                len: usize,
                _meta: TxMeta,
                fill: impl FnOnce(&mut [u8]) -> R,
            ) -> R {
                self.0 -= 1;
                fill(&mut vec![0; len])
            }
        }
        let mut queue = FrameQueue::new(8, 16 * 1024);
        for _ in 0..5 {
            queue.push(100, |buf| buf.fill(1)).unwrap();
        }
        assert_eq!(queue.drain_into(&mut Two(2)), 2);
        assert_eq!(queue.len(), 3);
    }
}
