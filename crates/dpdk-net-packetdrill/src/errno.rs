//! Errors as the C interface tells them: a number of `errno`.

use core::fmt;

use dpdk_net_stack::Error;

/// A value of `errno`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", std::io::Error::from_raw_os_error(self.0))
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        Errno(match error {
            Error::WouldBlock => libc::EAGAIN,
            Error::AddrInUse => libc::EADDRINUSE,
            Error::AddrNotAvailable => libc::EADDRNOTAVAIL,
            Error::ConnectionRefused => libc::ECONNREFUSED,
            Error::ConnectionReset => libc::ECONNRESET,
            Error::ConnectionAborted => libc::ECONNABORTED,
            Error::TimedOut => libc::ETIMEDOUT,
            Error::HostUnreachable => libc::EHOSTUNREACH,
            Error::NetworkUnreachable => libc::ENETUNREACH,
            Error::NotConnected => libc::ENOTCONN,
            Error::AlreadyConnected => libc::EISCONN,
            Error::BrokenPipe => libc::EPIPE,
            Error::MessageTooLong => libc::EMSGSIZE,
            Error::NoBufferSpace => libc::ENOBUFS,
            Error::PermissionDenied => libc::EACCES,
            Error::UnknownSocket => libc::EBADF,
            _ => libc::EINVAL,
        })
    }
}
