//! Captures as files: pcapng, written a block at a time, and blocks told apart.
//!
//! What holds
//! - what is written is in little-endian order, a section of interfaces with Ethernet frames, times in nanoseconds;
//! - each function appends one whole block. A section begins with [`section`], then come its [`interface`]s, numbered from 0 in
//!   their order, then [`packet`]s and, at the end, [`statistics`].
//!
//! What does not live here: reading what others write ([`Block`] knows kind and length only).
//!
//! draft-ietf-opsawg-pcapng.

use alloc::vec::Vec;

/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;

/// `if_tsresol`: units of 10^-9 s.
const NANOSECONDS: u8 = 9;

/// Kinds of blocks.
pub mod kind {
    /// Section Header Block: a capture begins.
    pub const SECTION: u32 = 0x0a0d_0d0a;
    /// Interface Description Block.
    pub const INTERFACE: u32 = 1;
    /// Interface Statistics Block.
    pub const STATISTICS: u32 = 5;
    /// Enhanced Packet Block.
    pub const PACKET: u32 = 6;
}

/// Which way a frame went, as bits 0 and 1 of `epb_flags` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// It was received.
    In,
    /// It was sent.
    Out,
}

/// What is said of an interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is, for people.
    pub description: &'a str,
    /// How many bytes of a frame are kept at most; 0 where there is no limit.
    pub snaplen: u32,
    /// The filter in tcpdump's language, if there is one.
    pub filter: Option<&'a str>,
}

/// A frame, or the first bytes of one.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface in the section.
    pub interface: u32,
    /// Nanoseconds since 1970 UTC.
    pub nanos: u64,
    /// Bytes that it had.
    pub original_len: u32,
    /// What was captured of it, from the destination address on.
    pub data: &'a [u8],
    /// Which way it went.
    pub direction: Direction,
    /// The queue that it came by or left by.
    pub queue: u32,
    /// Frames that were lost since the one before.
    pub lost: u64,
    /// What is to be said of it.
    pub comment: Option<&'a str>,
}

/// What became of an interface's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Nanoseconds since 1970 UTC at the begin of the capture.
    pub started: u64,
    /// The same at its end.
    pub ended: u64,
    /// Frames that came or went.
    pub received: u64,
    /// Frames that the filter let through.
    pub accepted: u64,
    /// Of these, those that there was no room for.
    pub lost: u64,
    /// Frames that are in the file.
    pub delivered: u64,
}

/// Begins a section.
pub fn section(out: &mut Vec<u8>, hardware: &str, os: &str, application: &str) {
    block(out, kind::SECTION, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes());
        // Version 1.0, of unknown length.
        out.extend([1, 0, 0, 0]);
        out.extend(u64::MAX.to_le_bytes());
        for (code, text) in [(2, hardware), (3, os), (4, application)] {
            text_option(out, code, text);
        }
        end_of_options(out);
    });
}

/// Describes an interface.
pub fn interface(out: &mut Vec<u8>, interface: &Interface<'_>) {
    block(out, kind::INTERFACE, |out| {
        out.extend(ETHERNET.to_le_bytes());
        out.extend([0, 0]);
        out.extend(interface.snaplen.to_le_bytes());
        text_option(out, 2, interface.name);
        text_option(out, 3, interface.description);
        option(out, 9, &[&[NANOSECONDS]]);
        if let Some(filter) = interface.filter {
            // 0: a string for libpcap.
            option(out, 11, &[&[0], filter.as_bytes()]);
        }
        end_of_options(out);
    });
}

/// Writes a frame down.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    block(out, kind::PACKET, |out| {
        out.extend(packet.interface.to_le_bytes());
        time(out, packet.nanos);
        let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        out.extend(captured.to_le_bytes());
        out.extend(packet.original_len.max(captured).to_le_bytes());
        out.extend(packet.data);
        pad(out, packet.data.len());
        option(out, 2, &[&flags(packet).to_le_bytes()]);
        if packet.lost > 0 {
            option(out, 4, &[&packet.lost.to_le_bytes()]);
        }
        option(out, 6, &[&packet.queue.to_le_bytes()]);
        if let Some(comment) = packet.comment {
            text_option(out, 1, comment);
        }
        end_of_options(out);
    });
}

/// Tells what became of an interface's frames.
pub fn statistics(out: &mut Vec<u8>, interface: u32, statistics: &Statistics) {
    block(out, kind::STATISTICS, |out| {
        out.extend(interface.to_le_bytes());
        time(out, statistics.ended);
        for (code, at) in [(2, statistics.started), (3, statistics.ended)] {
            let [high, low] = halves(at);
            option(out, code, &[&high, &low]);
        }
        for (code, count) in [
            (4, statistics.received),
            (5, statistics.lost),
            (6, statistics.accepted),
            (8, statistics.delivered),
        ] {
            option(out, code, &[&count.to_le_bytes()]);
        }
        end_of_options(out);
    });
}

/// Direction in bits 0 and 1, kind of destination in bits 2 to 4.
fn flags(packet: &Packet<'_>) -> u32 {
    let direction = match packet.direction {
        Direction::In => 1,
        Direction::Out => 2,
    };
    let reception = match packet.data.get(..6) {
        Some([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]) => 3,
        Some([first, ..]) if first & 1 == 1 => 2,
        Some(_) => 1,
        None => 0,
    };
    direction | reception << 2
}

/// A block of this kind, with its length before and behind what `fill` writes.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    fill(out);
    let len = u32::try_from(out.len() - start + 4).unwrap_or(u32::MAX);
    let len = len.to_le_bytes();
    if let Some(place) = out.get_mut(start + 4..start + 8) {
        place.copy_from_slice(&len);
    }
    out.extend(len);
}

/// The high half first, each in the section's order.
fn halves(nanos: u64) -> [[u8; 4]; 2] {
    [(nanos >> 32) as u32, nanos as u32].map(u32::to_le_bytes)
}

fn time(out: &mut Vec<u8>, nanos: u64) {
    let [high, low] = halves(nanos);
    out.extend(high);
    out.extend(low);
}

/// Up to the next word.
fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend(core::iter::repeat_n(0, len.wrapping_neg() % 4));
}

/// An option of these parts. Left out where its length can't be told.
fn option(out: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let len = parts.iter().map(|part| part.len()).sum();
    let Ok(told) = u16::try_from(len) else {
        return;
    };
    out.extend(code.to_le_bytes());
    out.extend(told.to_le_bytes());
    parts.iter().for_each(|part| out.extend(*part));
    pad(out, len);
}

/// One that may be empty, and then is not there.
fn text_option(out: &mut Vec<u8>, code: u16, text: &str) {
    if !text.is_empty() {
        option(out, code, &[text.as_bytes()]);
    }
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// A block of a capture that this module has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Of which [`kind`] it is.
    pub kind: u32,
    /// All of it, lengths included.
    pub bytes: &'a [u8],
}

/// Bytes that are no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no pcapng of dpdk-net: a block of {0} bytes")]
pub struct NoBlock(u32);

/// Longest block that is one: far beyond a frame.
const LONGEST: u32 = 1 << 24;

impl<'a> Block<'a> {
    /// The block at the front; `None` while it is not all there.
    ///
    /// # Errors
    /// [`NoBlock`] where there can't be one, however many bytes follow.
    pub fn first(bytes: &'a [u8]) -> Result<Option<Self>, NoBlock> {
        let word = |at: usize| {
            let word = bytes.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*word))
        };
        let (Some(kind), Some(len)) = (word(0), word(4)) else {
            return Ok(None);
        };
        if !(12..=LONGEST).contains(&len) || !len.is_multiple_of(4) {
            return Err(NoBlock(len));
        }
        let Some(bytes) = bytes.get(..len as usize) else {
            return Ok(None);
        };
        match word(len as usize - 4) {
            Some(again) if again == len => Ok(Some(Self { kind, bytes })),
            _ => Err(NoBlock(len)),
        }
    }

    fn word(&self, at: usize) -> Option<u32> {
        let word = self.bytes.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*word))
    }

    /// Options of eight bytes, which begin here: code, and value in the section's order.
    fn numbers(&self, mut at: usize) -> impl Iterator<Item = (u32, u64)> + use<'a> {
        let block = *self;
        core::iter::from_fn(move || {
            loop {
                let head = block.word(at)?;
                let (code, len) = (head & 0xffff, head >> 16);
                if code == 0 {
                    return None;
                }
                let value = (block.word(at + 4), block.word(at + 8));
                at += 4 + (len as usize).next_multiple_of(4);
                if let (8, (Some(low), Some(high))) = (len, value) {
                    return Some((code, u64::from(high) << 32 | u64::from(low)));
                }
            }
        })
    }

    /// How many frames before a packet block's were lost; `None` for other blocks.
    pub fn lost_before(&self) -> Option<u64> {
        if self.kind != kind::PACKET {
            return None;
        }
        let captured = self.word(20)? as usize;
        let options = captured.checked_next_multiple_of(4)?.checked_add(28)?;
        let lost = self.numbers(options).find(|(code, _)| *code == 4);
        Some(lost.map_or(0, |(_, lost)| lost))
    }

    /// The number of the interface that a statistics block is of, and what it tells.
    pub fn as_statistics(&self) -> Option<(u32, Statistics)> {
        if self.kind != kind::STATISTICS {
            return None;
        }
        let mut told = Statistics::default();
        for (code, count) in self.numbers(20) {
            match code {
                2 => told.started = count.rotate_left(32),
                3 => told.ended = count.rotate_left(32),
                4 => told.received = count,
                5 => told.lost = count,
                6 => told.accepted = count,
                8 => told.delivered = count,
                _ => {}
            }
        }
        Some((self.word(8)?, told))
    }
}
