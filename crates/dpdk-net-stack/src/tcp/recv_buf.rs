//! Payload received in order and not yet read.
//!
//! Segments are gathered in a tail of our own or kept by reference, and read by copying or as whole chunks. What
//! arrives out of order waits in the [`Assembler`](super::assembler::Assembler). The window is the caller's business.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::chunk::{COPY_BELOW, Chunk, KEEP, KEEP_CHUNKS, capacity_for, recycle};

/// Payload from the first unread byte on: the bytes of `sealed` in order, then those of `tail`, less the first `head`
/// ones of the front chunk, which are read. No chunk in `sealed` is without unread bytes.
#[derive(Debug)]
pub(crate) struct RecvBuf {
    len: usize,
    head: usize,
    tail: Vec<u8>,
    sealed: VecDeque<Chunk>,
    /// Memory of the chunks in `sealed`.
    sealed_bytes: usize,
}

impl RecvBuf {
    /// An empty buffer. Allocates nothing.
    pub(crate) const fn new() -> Self {
        RecvBuf {
            len: 0,
            head: 0,
            tail: Vec::new(),
            sealed: VecDeque::new(),
            sealed_bytes: 0,
        }
    }

    /// Bytes not yet read.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy of `data`.
    #[inline(always)]
    pub(crate) fn push_copy(&mut self, data: &[u8]) {
        if data.len() > self.tail.capacity() - self.tail.len() {
            return self.push_across(data);
        }
        self.tail.extend_from_slice(data);
        self.len += data.len();
    }

    /// Bytes that do not fit the tail.
    #[inline(never)]
    fn push_across(&mut self, mut data: &[u8]) {
        // What is read makes room, if moving the rest is no more work than receiving it was.
        if self.sealed.is_empty()
            && self.len <= self.head
            && self.len + data.len() <= self.tail.capacity()
        {
            self.tail.drain(..self.head);
            self.head = 0;
            self.tail.extend_from_slice(data);
            self.len += data.len();
            return;
        }
        let expected = self.len + data.len();
        self.len = expected;
        loop {
            let room = self.tail.capacity() - self.tail.len();
            let (now, rest) = data.split_at(room.min(data.len()));
            self.tail.extend_from_slice(now);
            if rest.is_empty() {
                return;
            }
            self.seal();
            self.tail = Vec::with_capacity(capacity_for(expected));
            data = rest;
        }
    }

    /// Ends the tail. A tail without bytes has none that are read either.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let tail = mem::take(&mut self.tail);
            self.append(Chunk::Owned(tail));
        }
    }

    fn append(&mut self, chunk: Chunk) {
        self.sealed_bytes += chunk.heap_bytes();
        self.sealed.push_back(chunk);
    }

    /// Appends `data`, which keeps `held` bytes of memory taken, without copying it unless it is short.
    pub(crate) fn push(&mut self, data: Bytes, held: usize) {
        self.push_chunk(Chunk::Shared { data, held });
    }

    /// Appends a chunk, short ones by copying.
    pub(crate) fn push_chunk(&mut self, chunk: Chunk) {
        if chunk.len() < COPY_BELOW {
            return self.push_copy(chunk.as_slice());
        }
        self.seal();
        self.len += chunk.len();
        self.append(chunk);
    }

    /// Moves bytes to `out` and tells how many.
    #[inline]
    pub(crate) fn read(&mut self, out: &mut [u8]) -> usize {
        if !self.sealed.is_empty() {
            return self.read_across(out);
        }
        let unread = &self.tail[self.head..];
        let n = out.len().min(unread.len());
        out[..n].copy_from_slice(&unread[..n]);
        self.head += n;
        self.len -= n;
        if self.len == 0 {
            self.head = 0;
            recycle(&mut self.tail);
        }
        n
    }

    #[inline(never)]
    fn read_across(&mut self, out: &mut [u8]) -> usize {
        let n = self.peek(out);
        self.skip(n);
        n
    }

    /// Drops the next `n` bytes, or all there are.
    fn skip(&mut self, n: usize) {
        let n = n.min(self.len);
        self.len -= n;
        self.head += n;
        while let Some(front) = self.sealed.front()
            && front.len() <= self.head
        {
            self.head -= front.len();
            if let Some(Chunk::Owned(mut data)) = self.pop_sealed()
                && self.tail.capacity() == 0
                && data.capacity() <= KEEP
            {
                data.clear();
                self.tail = data;
            }
        }
        if self.len == 0 {
            self.head = 0;
            recycle(&mut self.tail);
        }
    }

    fn pop_sealed(&mut self) -> Option<Chunk> {
        let front = self.sealed.pop_front()?;
        self.sealed_bytes -= front.heap_bytes();
        if self.sealed.is_empty() && self.sealed.capacity() > KEEP_CHUNKS {
            self.sealed = VecDeque::new();
        }
        Some(front)
    }

    /// Copies bytes to `out`, which stay, and tells how many.
    pub(crate) fn peek(&self, out: &mut [u8]) -> usize {
        self.peek_at(0, out)
    }

    /// Copies bytes from the `offset`th unread one on to `out`, which stay, and tells how many.
    pub(crate) fn peek_at(&self, offset: usize, out: &mut [u8]) -> usize {
        let mut skip = self.head.saturating_add(offset);
        let mut done = 0;
        let tail = core::iter::once(self.tail.as_slice());
        for bytes in self.sealed.iter().map(Chunk::as_slice).chain(tail) {
            let Some(bytes) = bytes.get(skip..) else {
                skip -= bytes.len();
                continue;
            };
            skip = 0;
            let n = bytes.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&bytes[..n]);
            done += n;
            if done == out.len() {
                break;
            }
        }
        done
    }

    /// Takes up to `max` bytes that are in one piece; `None` if there are none or `max` is 0. Nothing is copied, except
    /// for short pieces of a chunk of our own, so that the reader does not hold on to all of it.
    pub(crate) fn read_chunk(&mut self, max: usize) -> Option<Bytes> {
        let (front, owned) = match self.sealed.front() {
            Some(Chunk::Shared { data, .. }) => (data.as_ref(), false),
            Some(Chunk::Owned(data)) => (data.as_slice(), true),
            None => (self.tail.as_slice(), true),
        };
        let unread = &front[self.head..];
        let n = unread.len().min(max);
        if n == 0 {
            return None;
        }
        if owned && n < COPY_BELOW {
            let bytes = Bytes::copy_from_slice(&unread[..n]);
            self.skip(n);
            return Some(bytes);
        }
        let chunk = match self.pop_sealed() {
            Some(chunk) => chunk,
            None => Chunk::Owned(mem::take(&mut self.tail)),
        };
        let held = chunk.heap_bytes();
        let mut data = chunk.into_bytes(mem::take(&mut self.head));
        let bytes = data.split_to(n);
        self.len -= n;
        if !data.is_empty() {
            self.sealed_bytes += held;
            self.sealed.push_front(Chunk::Shared { data, held });
        }
        Some(bytes)
    }

    /// The memory that the buffer takes.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        self.tail.capacity() + self.sealed_bytes + self.sealed.capacity() * mem::size_of::<Chunk>()
    }

    /// Empties the buffer and keeps no more memory than an idle connection should.
    pub(crate) fn clear(&mut self) {
        self.len = 0;
        self.head = 0;
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
