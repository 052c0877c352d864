//! The one error type of this crate. What is about a socket has the meaning of the errno of the same name.

use crate::config::ConfigError;

/// Why a call into the stack did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing to be had now; an event will tell when to try again (`EAGAIN`).
    #[error("the operation would block")]
    WouldBlock,
    /// Another socket holds this address and port (`EADDRINUSE`).
    #[error("the address and port are in use by another socket; close it or take another port")]
    AddrInUse,
    /// The local address is not one of the stack's, or its ports to this destination are used up (`EADDRNOTAVAIL`).
    #[error(
        "the local address is not one of this stack's addresses, or no local port is left for this destination"
    )]
    AddrNotAvailable,
    /// The peer has no listener there: it sent a RST, or an ICMP port unreachable came (`ECONNREFUSED`).
    #[error("connection refused by the peer")]
    ConnectionRefused,
    /// The peer reset the connection (`ECONNRESET`).
    #[error("connection reset by the peer")]
    ConnectionReset,
    /// The connection was ended on this side (`ECONNABORTED`).
    #[error("connection aborted on this side")]
    ConnectionAborted,
    /// The peer did not answer in time (`ETIMEDOUT`).
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The host can't be reached: it does not answer ARP or NDP, or a router says so (`EHOSTUNREACH`).
    #[error("the host is unreachable")]
    HostUnreachable,
    /// There is no route to that network (`ENETUNREACH`).
    #[error("no route to that network; add a route or a gateway")]
    NetworkUnreachable,
    /// The socket has no peer (`ENOTCONN`).
    #[error("the socket is not connected")]
    NotConnected,
    /// The socket has a peer already (`EISCONN`).
    #[error("the socket is connected already")]
    AlreadyConnected,
    /// The sending side was shut down, or the connection is over (`EPIPE`).
    #[error("the sending side of the connection is closed")]
    BrokenPipe,
    /// The datagram can't be sent as one (`EMSGSIZE`).
    #[error("the message is too long to be sent as one datagram")]
    MessageTooLong,
    /// A bounded queue or table of the stack is full (`ENOBUFS`).
    #[error("no buffer space: a bounded queue or table of the stack is full")]
    NoBufferSpace,
    /// Sending to a broadcast address needs `set_broadcast(true)` (`EACCES`).
    #[error("sending to a broadcast address needs set_broadcast(true)")]
    PermissionDenied,
    /// The argument makes no sense; the text says why (`EINVAL`).
    #[error("invalid input: {0}")]
    InvalidInput(&'static str),
    /// The configuration can't be used.
    #[error("bad configuration: {0}")]
    BadConfig(#[from] ConfigError),
    /// No such socket: it was closed, or never was (`EBADF`).
    #[error("unknown socket: it was closed, or it belongs to another stack")]
    UnknownSocket,
}

/// A scope id for which there is no interface.
pub(crate) const NO_SUCH_SCOPE: Error = Error::InvalidInput(
    "the scope id is that of no interface: 0 is the port itself, any other the id of a configured VLAN",
);
