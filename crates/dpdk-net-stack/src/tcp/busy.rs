//! Buffers and records of a connection that has bytes on their way. They are lent by the [`Pool`](super::pool::Pool).

use alloc::boxed::Box;

use super::assembler::Assembler;
use super::recv_buf::RecvBuf;
use super::scoreboard::Scoreboard;
use super::send_buf::SendBuf;

/// What exists only while there are bytes: written and not acknowledged, or received and not read. It stays for a
/// while after the last of them ([`Pool`]).
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Busy {
    // First what every segment needs.
    pub(crate) send: SendBuf,
    pub(crate) recv: RecvBuf,
    pub(crate) gaps: Option<Box<Gaps>>,
    pub(crate) sent: Scoreboard,
}

impl Default for Busy {
    fn default() -> Self {
        Busy {
            send: SendBuf::new(),
            sent: Scoreboard::default(),
            recv: RecvBuf::new(),
            gaps: None,
        }
    }
}

/// What came out of order.
#[derive(Debug)]
pub(crate) struct Gaps {
    pub(crate) assembler: Assembler,
    /// The sequence number of a FIN that came before what is before it.
    pub(crate) fin: Option<u32>,
}
