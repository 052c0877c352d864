//! Reading and writing, of streams and of datagrams.

use core::net::SocketAddr;

use dpdk_net_stack::Error;

use super::Host;
use super::calls::{Attempt, Outcome, not_yet};
use super::fd::Kind;
use crate::errno::Errno;

/// What was read of a stream, all that there was.
fn all_of(got: &mut Vec<u8>) -> Attempt {
    let got = core::mem::take(got);
    let total = got.len();
    Some(Ok(Outcome::Data(got, total, None)))
}

impl Host {
    pub(super) fn recv(&mut self, fd: i32, len: usize, flags: i32, got: &mut Vec<u8>) -> Attempt {
        let peek = flags & libc::MSG_PEEK != 0;
        let id = match self.fds.get(fd).map(|descriptor| &descriptor.kind) {
            Ok(Kind::Tcp { id, .. }) => *id,
            Ok(Kind::Udp { .. }) => return self.recv_datagram(fd, len, flags),
            Ok(Kind::TcpNew { .. } | Kind::Listener(_)) => {
                return Some(Err(Errno(libc::ENOTCONN)));
            }
            Ok(Kind::Epoll(_)) => return Some(Err(Errno(libc::EINVAL))),
            Err(error) => return Some(Err(error)),
        };
        let queued = self.stack.tcp_recv_queue(id);
        let mut buf = vec![0; (len - got.len().min(len)).min(queued.max(1))];
        let result = if peek {
            self.stack.tcp_peek(id, &mut buf)
        } else {
            self.stack.tcp_recv(id, &mut buf)
        };
        match result {
            Ok(count) => {
                buf.truncate(count);
                got.append(&mut buf);
                let all = flags & libc::MSG_WAITALL != 0 && !peek;
                if all && count > 0 && got.len() < len {
                    return None;
                }
                all_of(got)
            }
            Err(Error::WouldBlock) => None,
            Err(_) if !got.is_empty() => all_of(got),
            Err(error) => Some(Err(error.into())),
        }
    }

    fn recv_datagram(&mut self, fd: i32, len: usize, flags: i32) -> Attempt {
        let id = match self.udp(fd) {
            Ok(id) => id,
            Err(error) => return Some(Err(error)),
        };
        let mut buf = vec![0; len.min(usize::from(u16::MAX))];
        let result = if flags & libc::MSG_PEEK != 0 {
            self.stack.udp_peek(id, &mut buf)
        } else {
            self.stack.udp_recv(id, &mut buf)
        };
        match result {
            Ok(received) => {
                buf.truncate(received.len);
                let total = if flags & libc::MSG_TRUNC != 0 {
                    received.datagram_len
                } else {
                    received.len
                };
                Some(Ok(Outcome::Data(buf, total, Some(received.from))))
            }
            Err(error) => not_yet(error),
        }
    }

    pub(super) fn send(
        &mut self,
        fd: i32,
        data: &[u8],
        to: Option<SocketAddr>,
        done: &mut usize,
        nonblocking: bool,
    ) -> Attempt {
        let id = match self.fds.get(fd) {
            Ok(descriptor) => match descriptor.kind {
                Kind::Tcp { id, .. } => id,
                Kind::Udp { .. } => return self.send_datagram(fd, data, to),
                Kind::TcpNew { .. } => return Some(Err(Errno(libc::EPIPE))),
                Kind::Listener(_) => return Some(Err(Errno(libc::EPIPE))),
                Kind::Epoll(_) => return Some(Err(Errno(libc::EINVAL))),
            },
            Err(error) => return Some(Err(error)),
        };
        loop {
            match self.stack.tcp_send(id, &data[*done..]) {
                Ok(count) => {
                    *done += count;
                    // A call that does not block takes what fits.
                    if *done >= data.len() || nonblocking && *done > 0 {
                        return Some(Ok(Outcome::Count(*done)));
                    }
                    if count == 0 {
                        return None;
                    }
                    self.run();
                }
                Err(Error::WouldBlock) => return None,
                Err(_) if *done > 0 => return Some(Ok(Outcome::Count(*done))),
                Err(error) => return Some(Err(error.into())),
            }
        }
    }

    fn send_datagram(&mut self, fd: i32, data: &[u8], to: Option<SocketAddr>) -> Attempt {
        if let Some(to) = to {
            self.know(to.ip());
        }
        let result = self
            .udp(fd)
            .and_then(|id| Ok(self.stack.udp_send(self.now, id, data, to)?));
        match result {
            Ok(count) => Some(Ok(Outcome::Count(count))),
            Err(Errno(libc::EAGAIN)) => None,
            // A datagram to nobody in particular, as Linux says it.
            Err(Errno(libc::ENOTCONN)) => Some(Err(Errno(libc::EDESTADDRREQ))),
            Err(error) => Some(Err(error)),
        }
    }
}
