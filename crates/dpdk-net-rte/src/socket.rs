//! A NUMA socket, as DPDK numbers them.

use core::fmt;

use dpdk_net_sys as sys;

/// A NUMA socket: where memory is taken from, or which one a core or a port is on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(i32);

impl SocketId {
    /// Any socket: DPDK chooses, and prefers that of the calling lcore.
    pub const ANY: Self = Self(sys::DN_SOCKET_ID_ANY);

    /// The socket of this number, from 0.
    pub const fn new(number: u16) -> Self {
        Self(number as i32)
    }

    /// What DPDK returned: negative (or `SOCKET_ID_ANY` cast to unsigned) means that it does not know.
    pub(crate) const fn from_raw(raw: i32) -> Self {
        if raw < 0 { Self::ANY } else { Self(raw) }
    }

    /// What DPDK takes.
    #[allow(dead_code)] // Only the modules that allocate memory need it.
    pub(crate) const fn raw(self) -> i32 {
        self.0
    }

    /// The number, or `None` for [`SocketId::ANY`].
    pub const fn number(self) -> Option<u16> {
        if self.0 < 0 {
            None
        } else {
            Some(self.0 as u16)
        }
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "NUMA socket {number}"),
            None => f.write_str("any NUMA socket"),
        }
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number() {
            Some(number) => write!(f, "SocketId({number})"),
            None => f.write_str("SocketId(ANY)"),
        }
    }
}
