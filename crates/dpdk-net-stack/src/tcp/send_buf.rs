//! Payload written by the application, kept until it is acknowledged.
//!
//! Bytes are known by their sequence numbers. Small writes are gathered in a tail of our own, bulk goes into memory that a
//! NIC can read ([`TxMemory`]) while there is some, large buffers can be handed over whole. Chunks are freed as soon as their last byte is acknowledged. Room is the caller's business, and
//! so is what was sent: this knows only what is there.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::chunk::{COPY_BELOW, Chunk, KEEP, KEEP_CHUNKS, capacity_for, recycle};
use super::seq;
use crate::large::{Piece, TxBuffer, TxMemory};

/// Where a NIC can read bytes that are sent, if there is such memory.
pub(crate) type Memory = Option<Box<dyn TxMemory>>;

/// A queue that holds less is no bulk: its bytes are copied twice, into little memory, rather than referenced.
const BULK: usize = 4_096;

#[derive(Debug)]
enum Data {
    Heap(Chunk),
    /// Memory of the sink's. The last of all chunks may still be written to.
    Sink(Box<dyn TxBuffer>),
}

impl Data {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Data::Heap(chunk) => chunk.as_slice(),
            Data::Sink(buffer) => buffer.as_slice(),
        }
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        match self {
            Data::Heap(chunk) => chunk.heap_bytes(),
            Data::Sink(buffer) => buffer.held_bytes(),
        }
    }
}

#[derive(Debug)]
struct Sealed {
    /// Sequence number after its last byte. Chunks are found by their ends, as the front one may begin before `base`.
    end: u32,
    data: Data,
}

/// Payload from the first unacknowledged byte on.
///
/// The bytes are those of `sealed` in order, then those of `tail`; of the front one, what lies before `base` is
/// acknowledged already. No chunk in `sealed` is empty or ends at or before `base`.
#[derive(Debug)]
pub(crate) struct SendBuf {
    base: u32,
    end: u32,
    tail: Vec<u8>,
    sealed: VecDeque<Sealed>,
    /// Memory of the chunks in `sealed`.
    sealed_bytes: usize,
}

impl SendBuf {
    /// An empty buffer that begins at sequence number 0. Allocates nothing.
    pub(crate) const fn new() -> Self {
        SendBuf {
            base: 0,
            end: 0,
            tail: Vec::new(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
        }
    }

    /// Empties the buffer; the next byte written has this sequence number.
    pub(crate) fn reset(&mut self, base: u32) {
        self.clear();
        self.base = base;
        self.end = base;
    }

    /// Bytes in the buffer.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.end.wrapping_sub(self.base) as usize
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.base == self.end
    }

    /// Sequence number of the first byte.
    #[inline]
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    /// Sequence number after the last byte.
    #[inline]
    pub(crate) fn end(&self) -> u32 {
        self.end
    }

    /// Appends a copy of `data`. The caller sees to it that less than 2^31 bytes are queued.
    #[inline]
    pub(crate) fn write(&mut self, data: &[u8], memory: &mut Memory) {
        debug_assert!(self.len() + data.len() < 1 << 31);
        if data.len() > self.tail.capacity() - self.tail.len() {
            return self.write_across(data, memory);
        }
        self.tail.extend_from_slice(data);
        self.end = self.end.wrapping_add(data.len() as u32);
    }

    /// A write that does not fit the tail.
    #[inline(never)]
    fn write_across(&mut self, mut data: &[u8], memory: &mut Memory) {
        let queued = self.len();
        self.end = self.end.wrapping_add(data.len() as u32);
        if self.sealed.is_empty() {
            // What is acknowledged makes room, if moving the rest is no more work than writing it was.
            let acknowledged = self.tail.len() - queued;
            if queued <= acknowledged && queued + data.len() <= self.tail.capacity() {
                self.tail.drain(..acknowledged);
                return self.tail.extend_from_slice(data);
            }
        }
        let expected = queued + data.len();
        if self.tail.is_empty() {
            data = self.write_open(data);
        }
        // Bulk goes on in memory of the sink's where a chunk that has been begun is full.
        let mut wanted = memory.is_some() && expected >= BULK;
        while !data.is_empty() {
            let before = self.end.wrapping_sub(data.len() as u32);
            let room = self.tail.capacity() - self.tail.len();
            if room > 0 && !(wanted && self.tail.is_empty()) {
                let (now, rest) = data.split_at(room.min(data.len()));
                self.tail.extend_from_slice(now);
                data = rest;
                continue;
            }
            self.seal(before);
            let buffer = match memory {
                Some(memory) if wanted => memory.alloc().filter(|new| new.room() > 0),
                _ => None,
            };
            wanted = buffer.is_some();
            match buffer {
                Some(buffer) => {
                    self.sealed_bytes += buffer.held_bytes();
                    self.sealed.push_back(Sealed {
                        end: before,
                        data: Data::Sink(buffer),
                    });
                    data = self.write_open(data);
                }
                None => self.tail = Vec::with_capacity(capacity_for(expected)),
            }
        }
    }

    /// Appends to the last chunk, if that is one to be appended to; returns what did not fit.
    fn write_open<'d>(&mut self, data: &'d [u8]) -> &'d [u8] {
        let Some(Sealed {
            end,
            data: Data::Sink(buffer),
        }) = self.sealed.back_mut()
        else {
            return data;
        };
        let n = buffer.append(data).min(data.len());
        *end = end.wrapping_add(n as u32);
        &data[n..]
    }

    /// Ends the tail, whose last byte is the one before `end`.
    fn seal(&mut self, end: u32) {
        // The tail may hold nothing but acknowledged bytes.
        let live = match self.sealed.back() {
            Some(back) => end.wrapping_sub(back.end),
            None => end.wrapping_sub(self.base),
        };
        if live == 0 {
            return recycle(&mut self.tail);
        }
        let data = Data::Heap(Chunk::Owned(mem::take(&mut self.tail)));
        self.sealed_bytes += data.heap_bytes();
        self.sealed.push_back(Sealed { end, data });
    }

    /// Appends `data` without copying it, unless it is so short that copying is cheaper than keeping it.
    pub(crate) fn push(&mut self, data: Bytes, memory: &mut Memory) {
        if data.len() < COPY_BELOW {
            return self.write(&data, memory);
        }
        debug_assert!(self.len() + data.len() < 1 << 31);
        self.seal(self.end);
        self.end = self.end.wrapping_add(data.len() as u32);
        let data = Data::Heap(Chunk::Shared {
            held: data.len(),
            data,
        });
        self.sealed_bytes += data.heap_bytes();
        self.sealed.push_back(Sealed {
            end: self.end,
            data,
        });
    }

    /// Fills `out` with the bytes from sequence number `seq` on, which the caller knows to be there. What is not there
    /// is left as it was.
    #[inline]
    pub(crate) fn copy_to(&self, seq: u32, out: &mut [u8]) {
        debug_assert!(seq.wrapping_sub(self.base) as usize + out.len() <= self.len());
        let back = self.end.wrapping_sub(seq) as usize;
        if let Some(from) = self.tail.len().checked_sub(back)
            && let Some(bytes) = self.tail[from..].get(..out.len())
        {
            return out.copy_from_slice(bytes);
        }
        self.copy_across(seq, out);
    }

    #[inline(never)]
    fn copy_across(&self, mut seq: u32, mut out: &mut [u8]) {
        while !out.is_empty() {
            let bytes = self.chunk_at(seq);
            if bytes.is_empty() {
                return;
            }
            let n = bytes.len().min(out.len());
            let (now, rest) = out.split_at_mut(n);
            now.copy_from_slice(&bytes[..n]);
            seq = seq.wrapping_add(n as u32);
            out = rest;
        }
    }

    /// The contiguous bytes from sequence number `seq` on: at least one, if that byte is in the buffer.
    pub(crate) fn chunk_at(&self, seq: u32) -> &[u8] {
        self.piece_at(seq).bytes
    }

    /// As [`chunk_at`](Self::chunk_at), with the buffer that they lie in if they may be sent by reference.
    pub(crate) fn piece_at(&self, seq: u32) -> Piece<'_> {
        let offset = seq.wrapping_sub(self.base);
        if offset as usize >= self.len() {
            return Piece {
                bytes: &[],
                buffer: None,
            };
        }
        let index = self
            .sealed
            .partition_point(|chunk| chunk.end.wrapping_sub(self.base) <= offset);
        let (bytes, end) = match self.sealed.get(index) {
            Some(chunk) => (chunk.data.as_slice(), chunk.end),
            None => (self.tail.as_slice(), self.end),
        };
        // By construction the chunk reaches back to `seq`.
        let from = bytes.len().saturating_sub(end.wrapping_sub(seq) as usize);
        let buffer = match self.sealed.get(index) {
            Some(Sealed {
                data: Data::Sink(buffer),
                ..
            }) => Some((&**buffer, from)),
            _ => None,
        };
        Piece {
            bytes: &bytes[from..],
            buffer,
        }
    }

    /// Drops the bytes before sequence number `to` and tells how many they were: 0 if `to` is not in the buffer.
    #[inline(always)]
    pub(crate) fn ack(&mut self, to: u32) -> usize {
        let n = to.wrapping_sub(self.base) as usize;
        if n > self.len() {
            return 0;
        }
        self.base = to;
        if !self.sealed.is_empty() {
            self.drop_sealed();
        }
        if self.base == self.end {
            recycle(&mut self.tail);
        }
        n
    }

    /// Drops the sealed chunks that end at or before `base`.
    #[inline(never)]
    fn drop_sealed(&mut self) {
        while let Some(front) = self.sealed.front()
            && seq::le(front.end, self.base)
        {
            let Some(front) = self.sealed.pop_front() else {
                return;
            };
            self.sealed_bytes -= front.data.heap_bytes();
            if let Data::Heap(Chunk::Owned(mut data)) = front.data
                && self.tail.capacity() == 0
                && data.capacity() <= KEEP
            {
                data.clear();
                self.tail = data;
            }
        }
        if self.sealed.is_empty() && self.sealed.capacity() > KEEP_CHUNKS {
            self.sealed = VecDeque::new();
        }
    }

    /// Copies what lies in memory of the sink's to the heap.
    pub(crate) fn detach(&mut self) {
        for Sealed { data, .. } in &mut self.sealed {
            if let Data::Sink(buffer) = data {
                self.sealed_bytes -= buffer.held_bytes();
                *data = Data::Heap(Chunk::Owned(buffer.as_slice().to_vec()));
                self.sealed_bytes += data.heap_bytes();
            }
        }
    }

    /// The memory that the buffer takes.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tail.capacity() + self.sealed_bytes + self.sealed.capacity() * mem::size_of::<Sealed>()
    }

    /// Empties the buffer and keeps no more memory than an idle connection should. The next byte written has the
    /// sequence number that it would have had.
    pub(crate) fn clear(&mut self) {
        self.base = self.end;
        self.sealed_bytes = 0;
        if self.sealed.capacity() > KEEP_CHUNKS {
            self.sealed = VecDeque::new();
        } else {
            self.sealed.clear();
        }
        recycle(&mut self.tail);
    }
}

#[cfg(test)]
mod tests;
