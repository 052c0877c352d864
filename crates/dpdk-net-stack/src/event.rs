//! What the stack tells its owner: which socket has become ready for what.
//!
//! Events are coalesced per socket: a socket is in the queue at most once and gathers readiness until it is taken, so
//! the queue is bounded by the number of sockets. Events are hints: they may be spurious, never missing.

use slotmap::new_key_type;

new_key_type! {
    /// A TCP connection of one stack. An id is never used again after its connection is gone.
    pub struct TcpId;
    /// A TCP listener of one stack.
    pub struct ListenerId;
    /// A UDP socket of one stack.
    pub struct UdpId;
}

bitflags::bitflags! {
    /// What a socket is ready for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct Readiness: u8 {
        /// A receive will not block: there is data, the end of the stream, or an error.
        const READABLE = 1;
        /// A send will not block: there is room, or it will return an error.
        const WRITABLE = 2;
        /// The handshake of an outgoing connection has been completed.
        const CONNECTED = 4;
        /// The connection is over in both directions, in order or by an error.
        const CLOSED = 8;
    }
}

/// One event, from [`Stack::poll_event`](crate::Stack::poll_event).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A connection became ready for what the flags say.
    Tcp(TcpId, Readiness),
    /// A connection waits to be accepted.
    Listener(ListenerId),
    /// A UDP socket became ready for what the flags say.
    Udp(UdpId, Readiness),
}
