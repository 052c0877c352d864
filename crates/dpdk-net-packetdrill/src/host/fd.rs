//! File descriptors: what the numbers of [`number`](super::number) stand for.

use core::net::SocketAddr;
use std::collections::BTreeMap;

use dpdk_net_stack::{Duration, Keepalive, ListenerId, TcpId, TcpOptions, UdpId};

use super::epoll::Epoll;
use super::number::{Number, Numbers};
use crate::errno::Errno;

/// Descriptors at most (`RLIMIT_NOFILE`).
const MAX_DESCRIPTORS: usize = 65_536;

/// What a descriptor stands for.
#[derive(Debug)]
pub enum Kind {
    /// A TCP socket neither listening nor connected.
    TcpNew {
        /// The address it was bound to.
        local: Option<SocketAddr>,
    },
    /// A listener.
    Listener(ListenerId),
    /// A connection, or one being made.
    Tcp {
        /// Its name in the stack.
        id: TcpId,
        /// Whether `connect` is still to tell how the connection came out.
        connecting: bool,
    },
    /// A UDP socket, in the stack from its first use on.
    Udp {
        /// Its name in the stack.
        id: Option<UdpId>,
    },
    /// An epoll instance.
    Epoll(Epoll),
}

/// Socket options, which an accepted socket has from its listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// Those that are TCP's.
    pub tcp: TcpOptions,
    /// `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, kept while `SO_KEEPALIVE` is off.
    pub keepalive_times: Keepalive,
    /// `SO_BROADCAST`.
    pub broadcast: bool,
    /// `IPV6_V6ONLY`.
    pub only_v6: bool,
    /// `SO_RCVTIMEO`.
    pub recv_timeout: Option<Duration>,
    /// `SO_SNDTIMEO`.
    pub send_timeout: Option<Duration>,
}

/// An open file.
#[derive(Debug)]
pub struct Descriptor {
    /// What it is.
    pub kind: Kind,
    /// Whether it is an IPv6 socket, which tells IPv4 addresses as IPv4-mapped ones.
    pub v6: bool,
    /// `O_NONBLOCK`.
    pub nonblocking: bool,
    /// Socket options.
    pub settings: Settings,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    map: BTreeMap<i32, (Descriptor, Number)>,
    /// From the first descriptor on.
    numbers: Option<Numbers>,
}

impl Descriptors {
    pub(crate) fn get(&self, fd: i32) -> Result<&Descriptor, Errno> {
        let found = self.map.get(&fd).ok_or(Errno(libc::EBADF));
        found.map(|(descriptor, _)| descriptor)
    }

    pub(crate) fn get_mut(&mut self, fd: i32) -> Result<&mut Descriptor, Errno> {
        let found = self.map.get_mut(&fd).ok_or(Errno(libc::EBADF));
        found.map(|(descriptor, _)| descriptor)
    }

    pub(crate) fn open(&mut self, descriptor: Descriptor) -> Result<i32, Errno> {
        if self.map.len() >= MAX_DESCRIPTORS {
            return Err(Errno(libc::EMFILE));
        }
        let numbers = match self.numbers.take() {
            Some(numbers) => numbers,
            None => Numbers::new()?,
        };
        let number = self.numbers.insert(numbers).take()?;
        let fd = number.get();
        if let Some((_, closed)) = self.map.insert(fd, (descriptor, number)) {
            closed.forget();
        }
        Ok(fd)
    }

    pub(crate) fn close(&mut self, fd: i32) -> Result<Descriptor, Errno> {
        let (closed, _) = self.map.remove(&fd).ok_or(Errno(libc::EBADF))?;
        for (descriptor, _) in self.map.values_mut() {
            if let Kind::Epoll(epoll) = &mut descriptor.kind {
                epoll.forget(fd);
            }
        }
        Ok(closed)
    }

    pub(crate) fn all(&self) -> Vec<i32> {
        self.map.keys().copied().collect()
    }

    /// Whether any socket is known to the stack.
    pub(crate) fn any_in_stack(&self) -> bool {
        self.map.values().any(|(descriptor, _)| {
            !matches!(
                descriptor.kind,
                Kind::TcpNew { .. } | Kind::Udp { id: None } | Kind::Epoll(_)
            )
        })
    }
}
