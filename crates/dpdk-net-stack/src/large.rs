//! Packets of several segments on their way to the sink, and the memory that their payload lies in.
//!
//! Payload that an application wrote may lie in memory that a NIC can read ([`TxMemory`]): then it is sent by reference, as
//! often as need be, and was copied once. Whose memory that is, is the sink's business: here it is only passed on.

use alloc::boxed::Box;
use core::any::Any;
use core::fmt;
use core::ops::Range;

use dpdk_net_packet::gso::{Checksums, Large};

use crate::tcp::send_buf::SendBuf;
use crate::tx::TxMeta;

/// Where payload to be sent is written to.
pub trait TxMemory: fmt::Debug + Send {
    /// An empty buffer; `None` where there is none left: the stack takes ordinary memory then.
    fn alloc(&mut self) -> Option<Box<dyn TxBuffer>>;
}

/// A buffer that can be sent from by reference. What has been written to it never changes.
pub trait TxBuffer: fmt::Debug + Send + Sync {
    /// The bytes written so far.
    fn as_slice(&self) -> &[u8];

    /// Bytes that can still be appended.
    fn room(&self) -> usize;

    /// Appends as much of `data` as there is room for; tells how many bytes that was.
    fn append(&mut self, data: &[u8]) -> usize;

    /// Memory that is taken by it, in bytes.
    fn held_bytes(&self) -> usize;

    /// For the sink to find out whether it is one of its own.
    fn as_any(&self) -> &dyn Any;
}

/// A packet of several segments, or of one, as it is handed to a sink.
#[derive(Clone, Copy, Debug)]
pub struct LargeFrame<'a> {
    gso: Large<'a>,
    meta: TxMeta,
    checksums: Checksums,
    payload: Payload<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Payload<'a> {
    Bytes(&'a [u8]),
    Stream { buf: &'a SendBuf, seq: u32 },
}

/// Payload in one piece.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// The buffer that they lie in, from this byte of it on, where they may be sent by reference.
    pub buffer: Option<(&'a dyn TxBuffer, usize)>,
}

impl<'a> LargeFrame<'a> {
    /// `payload` is as long as `gso` says.
    pub(crate) fn of_bytes(
        gso: Large<'a>,
        meta: TxMeta,
        checksums: Checksums,
        payload: &'a [u8],
    ) -> Self {
        debug_assert_eq!(payload.len(), gso.payload_len());
        LargeFrame {
            gso,
            meta,
            checksums,
            payload: Payload::Bytes(payload),
        }
    }

    /// The payload is in `buf` from sequence number `seq` on.
    pub(crate) fn of_stream(
        gso: Large<'a>,
        meta: TxMeta,
        checksums: Checksums,
        buf: &'a SendBuf,
        seq: u32,
    ) -> Self {
        LargeFrame {
            gso,
            meta,
            checksums,
            payload: Payload::Stream { buf, seq },
        }
    }

    /// Headers and the sizes of segments. A packet for a NIC to cut is made of its headers as they are, with the checksums
    /// filled in that the NIC wants (`rte_eth_tx_prepare`), and all of the payload.
    pub fn gso(&self) -> &Large<'a> {
        &self.gso
    }

    /// What comes with it. The NIC has to make the checksums of segments that it makes, whatever this says.
    pub fn meta(&self) -> TxMeta {
        self.meta
    }

    /// What comes with each segment that [`write_segment`](Self::write_segment) wrote.
    pub fn segment_meta(&self) -> TxMeta {
        TxMeta {
            checksum: (!self.checksums.transport).then_some(self.gso.l4()),
            ..self.meta
        }
    }

    /// Writes the frame of a segment, of `gso().frame_len(index)` bytes, with the checksums that the stack makes.
    pub fn write_segment(&self, index: usize, frame: &mut [u8]) {
        self.gso.write(index, frame, self.checksums, |out| {
            self.copy_to(self.gso.payload_range(index).start, out);
        });
    }

    /// Whether payload of it may lie in memory that it may be sent from by reference.
    pub fn may_refer(&self) -> bool {
        matches!(self.payload, Payload::Stream { .. })
    }

    /// Which checksums the stack makes; the others are the sink's to make, or the NIC's.
    pub fn checksums(&self) -> Checksums {
        self.checksums
    }

    /// Copies payload from byte `at` on; what is not there is left as it was.
    pub fn copy_to(&self, at: usize, out: &mut [u8]) {
        match self.payload {
            Payload::Bytes(bytes) => {
                if let Some(bytes) = bytes.get(at..at.saturating_add(out.len())) {
                    out.copy_from_slice(bytes);
                }
            }
            Payload::Stream { buf, seq } => buf.copy_to(seq.wrapping_add(at as u32), out),
        }
    }

    /// The pieces that a range of the payload lies in, in order.
    pub fn pieces(&self, range: Range<usize>) -> Pieces<'a> {
        let end = range.end.min(self.gso.payload_len());
        Pieces {
            payload: self.payload,
            at: range.start.min(end),
            end,
        }
    }
}

/// See [`LargeFrame::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    payload: Payload<'a>,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.at >= self.end {
            return None;
        }
        let most = self.end - self.at;
        let mut piece = match self.payload {
            Payload::Bytes(bytes) => Piece {
                bytes: bytes.get(self.at..).unwrap_or_default(),
                buffer: None,
            },
            Payload::Stream { buf, seq } => buf.piece_at(seq.wrapping_add(self.at as u32)),
        };
        piece.bytes = &piece.bytes[..piece.bytes.len().min(most)];
        // Without bytes there would be no end; it does not happen.
        if piece.bytes.is_empty() {
            self.at = self.end;
            return None;
        }
        self.at += piece.bytes.len();
        Some(piece)
    }
}
