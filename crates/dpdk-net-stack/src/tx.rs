//! Where frames go: the sink that the owner of the stack hands in, and the bounded queue of frames inside.
//!
//! Flows do not queue frames: a connection writes a segment straight into the sink when it is its turn. Only replies
//! that can't wait for a turn (ACKs of out-of-order segments, RSTs, ARP, NDP, ICMP) pass through a [`FrameQueue`].

use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

/// Takes frames off the stack's hands, as a TX ring does.
pub trait TxSink {
    /// Frames that [`send`](Self::send) will take before this is asked again. Zero is back-pressure: the stack keeps
    /// what it has and is to be asked again later.
    fn capacity(&mut self) -> usize;

    /// Takes one frame of exactly `len` bytes, Ethernet header included, which `fill` writes. What the buffer held
    /// before is arbitrary. The stack calls this at most [`capacity`](Self::capacity) times.
    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R;
}

impl<S: TxSink + ?Sized> TxSink for &mut S {
    fn capacity(&mut self) -> usize {
        (**self).capacity()
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        (**self).send(len, fill)
    }
}

/// A sink without bounds, for tests and tools: each frame becomes a vector.
impl TxSink for Vec<Vec<u8>> {
    fn capacity(&mut self) -> usize {
        usize::MAX
    }

    fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.push(frame);
        result
    }
}

/// A first-in, first-out queue of frames, bounded in frames and bytes. It allocates only while it grows.
///
/// Frames lie one behind the other in one ring of bytes, each in one piece.
#[derive(Debug)]
pub(crate) struct FrameQueue {
    ring: Vec<u8>,
    max_bytes: usize,
    max_frames: usize,
    /// Start and length of each frame in `ring`, oldest first.
    frames: VecDeque<(u32, u32)>,
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

    /// Whether a frame of `len` bytes will be taken.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        // Growing moves all frames to the front.
        let used = || {
            self.frames
                .iter()
                .map(|(_, len)| *len as usize)
                .sum::<usize>()
        };
        self.frames.len() < self.max_frames
            && (self.place(len, self.ring.len()).is_some()
                || self.ring.len() < self.max_bytes && used() + len <= self.max_bytes)
    }

    /// Where a frame of `len` bytes would go in a ring of `size` bytes.
    fn place(&self, len: usize, size: usize) -> Option<usize> {
        let (Some(&(head, _)), Some(&(last, last_len))) = (self.frames.front(), self.frames.back())
        else {
            return (len <= size).then_some(0);
        };
        let (head, tail) = (head as usize, (last + last_len) as usize);
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
        self.frames.push_back((at as u32, len as u32));
        Some(fill(&mut self.ring[at..at + len]))
    }

    fn grow(&mut self, len: usize) {
        let size = (self.ring.len() * 2)
            .max(FIRST_RING)
            .max(len.next_power_of_two())
            .min(self.max_bytes);
        let mut ring = vec![0; size];
        let mut at = 0;
        for (start, len) in &mut self.frames {
            let (from, n) = (*start as usize, *len as usize);
            ring[at..at + n].copy_from_slice(&self.ring[from..from + n]);
            *start = at as u32;
            at += n;
        }
        self.ring = ring;
    }

    /// The oldest frame.
    pub(crate) fn front(&self) -> Option<&[u8]> {
        let &(start, len) = self.frames.front()?;
        self.ring.get(start as usize..(start + len) as usize)
    }

    /// Forgets the oldest frame.
    pub(crate) fn pop(&mut self) {
        self.frames.pop_front();
    }

    /// Takes back the newest frames, down to `frames` of them.
    pub(crate) fn truncate(&mut self, frames: usize) {
        self.frames.truncate(frames);
    }

    /// Hands frames to `sink` until it is full or the queue is empty; tells how many.
    pub(crate) fn drain_into<S: TxSink>(&mut self, sink: &mut S) -> usize {
        let mut sent = 0;
        while !self.frames.is_empty() && sink.capacity() > 0 {
            if let Some(frame) = self.front() {
                sink.send(frame.len(), |buf| buf.copy_from_slice(frame));
                sent += 1;
            }
            self.pop();
        }
        sent
    }
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
            fn send<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
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
