//! System calls. Those that may block are a [`Call`] that is attempted until it is finished; the others are methods.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_stack::{
    Duration, Error, ListenOptions, Readiness, TcpId, TcpState, UdpId, UdpOptions,
};

use super::Host;
use super::epoll::EpollEvent;
use super::fd::{Descriptor, Kind, Settings};
use crate::errno::Errno;

/// One entry of `poll`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollFd {
    /// The descriptor; negative ones are passed over.
    pub fd: i32,
    /// What is asked for.
    pub events: i16,
    /// What there is.
    pub revents: i16,
}

/// A system call that may block.
#[derive(Debug, Clone)]
pub enum Call {
    /// `accept`.
    Accept {
        /// The listener.
        fd: i32,
    },
    /// `connect`.
    Connect {
        /// The socket.
        fd: i32,
        /// Where to.
        to: SocketAddr,
        /// Whether this call has started the handshake already.
        started: bool,
    },
    /// `read`, `recv`, `recvfrom`, `recvmsg`.
    Recv {
        /// The socket.
        fd: i32,
        /// Bytes at most.
        len: usize,
        /// `MSG_PEEK`, `MSG_WAITALL`, `MSG_TRUNC`.
        flags: i32,
        /// What `MSG_WAITALL` has so far.
        got: Vec<u8>,
    },
    /// `write`, `send`, `sendto`, `sendmsg`.
    Send {
        /// The socket.
        fd: i32,
        /// What to send.
        data: Vec<u8>,
        /// Where to, for a datagram.
        to: Option<SocketAddr>,
        /// Bytes taken by the socket so far.
        done: usize,
        /// Whether what fits is enough.
        nonblocking: bool,
    },
    /// `poll`.
    Poll {
        /// What is asked.
        fds: Vec<PollFd>,
    },
    /// `epoll_wait`.
    EpollWait {
        /// The instance.
        fd: i32,
        /// Events at most.
        max: usize,
    },
}

/// What a finished call gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but that it went well.
    Done,
    /// A new descriptor, and the peer's address.
    Accepted(i32, SocketAddr),
    /// Bytes read, how many there were in all, and who sent them.
    Data(Vec<u8>, usize, Option<SocketAddr>),
    /// Bytes taken.
    Count(usize),
    /// The entries, with what there is.
    Polled(Vec<PollFd>),
    /// Events.
    Events(Vec<EpollEvent>),
}

/// What waits in a socket's buffers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queues {
    /// Received and not read (`SIOCINQ`).
    pub received: u32,
    /// Written and not acknowledged (`SIOCOUTQ`).
    pub unacknowledged: u32,
    /// Written and not sent (`SIOCOUTQNSD`).
    pub unsent: u32,
}

/// `None`: not yet.
pub type Attempt = Option<Result<Outcome, Errno>>;

pub(super) fn not_yet(error: Error) -> Attempt {
    match error {
        Error::WouldBlock => None,
        error => Some(Err(error.into())),
    }
}

/// Any address and any port.
fn unspecified(v6: bool) -> SocketAddr {
    let any: IpAddr = match v6 {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(any, 0)
}

/// The bits of `poll` and `epoll` that TCP and UDP sockets have.
const IN: u32 = (libc::POLLIN | libc::POLLRDNORM) as u32;
const OUT: u32 = (libc::POLLOUT | libc::POLLWRNORM) as u32;
const ERR: u32 = libc::POLLERR as u32;
const HUP: u32 = libc::POLLHUP as u32;
const RDHUP: u32 = libc::POLLRDHUP as u32;

impl Host {
    /// `socket`.
    pub fn socket(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<i32, Errno> {
        let v6 = match domain {
            libc::AF_INET => false,
            libc::AF_INET6 => true,
            _ => return Err(Errno(libc::EAFNOSUPPORT)),
        };
        let nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        let kind = match (kind & !(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC), protocol) {
            (libc::SOCK_STREAM, 0 | libc::IPPROTO_TCP) => Kind::TcpNew { local: None },
            (libc::SOCK_DGRAM, 0 | libc::IPPROTO_UDP) => Kind::Udp { id: None },
            (libc::SOCK_STREAM | libc::SOCK_DGRAM, _) => {
                return Err(Errno(libc::EPROTONOSUPPORT));
            }
            _ => return Err(Errno(libc::ESOCKTNOSUPPORT)),
        };
        let mut settings = Settings::default();
        settings.tcp.quickack = self.flags.quickack;
        self.fds.open(Descriptor {
            kind,
            v6,
            nonblocking,
            settings,
        })
    }

    /// `epoll_create`.
    pub fn epoll_create(&mut self) -> Result<i32, Errno> {
        self.fds.open(Descriptor {
            kind: Kind::Epoll(Default::default()),
            v6: false,
            nonblocking: false,
            settings: Settings::default(),
        })
    }

    /// `bind`.
    pub fn bind(&mut self, fd: i32, addr: SocketAddr) -> Result<(), Errno> {
        let descriptor = self.fds.get(fd)?;
        if addr.is_ipv6() && !descriptor.v6 {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        match descriptor.kind {
            Kind::TcpNew { local: None } => {
                let any = addr.ip().to_canonical().is_unspecified();
                if !any && !self.use_local(addr.ip()) {
                    return Err(Errno(libc::EADDRNOTAVAIL));
                }
                self.fds.get_mut(fd)?.kind = Kind::TcpNew { local: Some(addr) };
                Ok(())
            }
            Kind::Udp { id: None } => {
                self.use_local(addr.ip());
                let id = self.udp_bind(fd, addr)?;
                self.fds.get_mut(fd)?.kind = Kind::Udp { id: Some(id) };
                Ok(())
            }
            Kind::Epoll(_) => Err(Errno(libc::ENOTSOCK)),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    fn udp_bind(&mut self, fd: i32, addr: SocketAddr) -> Result<UdpId, Errno> {
        let settings = self.fds.get(fd)?.settings.clone();
        let mut options = UdpOptions::new(addr);
        options.only_v6 = settings.only_v6;
        options.reuse_address = settings.tcp.reuseaddr;
        let id = self.stack.udp_bind(options)?;
        self.stack.udp_set_broadcast(id, settings.broadcast)?;
        if let Some(ttl) = settings.tcp.ttl {
            self.stack.udp_set_ttl(id, ttl)?;
        }
        Ok(id)
    }

    /// The UDP socket, bound to a port of its own if it was not yet.
    pub(super) fn udp(&mut self, fd: i32) -> Result<UdpId, Errno> {
        let descriptor = self.fds.get(fd)?;
        match descriptor.kind {
            Kind::Udp { id: Some(id) } => Ok(id),
            Kind::Udp { id: None } => {
                let id = self.udp_bind(fd, unspecified(descriptor.v6))?;
                self.fds.get_mut(fd)?.kind = Kind::Udp { id: Some(id) };
                Ok(id)
            }
            _ => Err(Errno(libc::EOPNOTSUPP)),
        }
    }

    /// `listen`.
    pub fn listen(&mut self, fd: i32, backlog: i32) -> Result<(), Errno> {
        let descriptor = self.fds.get(fd)?;
        match descriptor.kind {
            Kind::TcpNew { local } => {
                let mut options = ListenOptions::new(local.unwrap_or(unspecified(descriptor.v6)));
                options.backlog = backlog.max(0) as u32;
                options.only_v6 = descriptor.settings.only_v6;
                options.options = descriptor.settings.tcp;
                let id = self.stack.tcp_listen(options)?;
                self.fds.get_mut(fd)?.kind = Kind::Listener(id);
                Ok(())
            }
            Kind::Listener(_) => Ok(()),
            Kind::Udp { .. } => Err(Errno(libc::EOPNOTSUPP)),
            Kind::Tcp { .. } => Err(Errno(libc::EINVAL)),
            Kind::Epoll(_) => Err(Errno(libc::ENOTSOCK)),
        }
    }

    /// Tries to finish a call.
    pub fn attempt(&mut self, call: &mut Call) -> Attempt {
        let result = match call {
            Call::Accept { fd } => self.accept(*fd),
            Call::Connect { fd, to, started } => self.connect(*fd, *to, started),
            Call::Recv {
                fd,
                len,
                flags,
                got,
            } => self.recv(*fd, *len, *flags, got),
            Call::Send {
                fd,
                data,
                to,
                done,
                nonblocking,
            } => self.send(*fd, data, *to, done, *nonblocking),
            Call::Poll { fds } => self.poll(fds),
            Call::EpollWait { fd, max } => match self.epoll_ready(*fd, *max) {
                Ok(events) if events.is_empty() => None,
                Ok(events) => Some(Ok(Outcome::Events(events))),
                Err(error) => Some(Err(error)),
            },
        };
        self.run();
        result
    }

    /// What a call gives that may not or need not wait any longer.
    pub fn give_up(&mut self, call: Call) -> Result<Outcome, Errno> {
        match call {
            Call::Poll { fds } => Ok(Outcome::Polled(fds)),
            Call::EpollWait { .. } => Ok(Outcome::Events(Vec::new())),
            Call::Send { done, .. } if done > 0 => Ok(Outcome::Count(done)),
            Call::Recv { got, .. } if !got.is_empty() => {
                let len = got.len();
                Ok(Outcome::Data(got, len, None))
            }
            Call::Connect { started: true, .. } => Err(Errno(libc::EINPROGRESS)),
            Call::Connect { .. } => Err(Errno(libc::EALREADY)),
            _ => Err(Errno(libc::EAGAIN)),
        }
    }

    fn accept(&mut self, fd: i32) -> Attempt {
        let result = self.fds.get(fd).map(|descriptor| &descriptor.kind);
        let listener = match result {
            Ok(Kind::Listener(id)) => *id,
            Ok(Kind::Tcp { .. } | Kind::TcpNew { .. }) => return Some(Err(Errno(libc::EINVAL))),
            Ok(_) => return Some(Err(Errno(libc::EOPNOTSUPP))),
            Err(error) => return Some(Err(error)),
        };
        // If more wait, another event says so.
        self.acceptable.remove(&listener);
        match self.stack.tcp_accept(listener) {
            Ok((id, peer)) => Some(self.accepted(fd, id, peer)),
            Err(error) => not_yet(error),
        }
    }

    fn accepted(&mut self, fd: i32, id: TcpId, peer: SocketAddr) -> Result<Outcome, Errno> {
        let listener = self.fds.get(fd)?;
        let (v6, settings) = (listener.v6, listener.settings.clone());
        let fd = self.fds.open(Descriptor {
            kind: Kind::Tcp {
                id,
                connecting: false,
            },
            v6,
            nonblocking: false,
            settings,
        })?;
        Ok(Outcome::Accepted(fd, peer))
    }

    fn connect(&mut self, fd: i32, to: SocketAddr, started: &mut bool) -> Attempt {
        match self.fds.get(fd).map(|descriptor| &descriptor.kind) {
            Ok(&Kind::TcpNew { local }) => match self.start_connect(fd, local, to) {
                Ok(()) => *started = true,
                Err(error) => return Some(Err(error)),
            },
            Ok(Kind::Udp { .. }) => return Some(self.udp_connect(fd, to)),
            Ok(Kind::Tcp { .. }) => {}
            Ok(Kind::Listener(_)) => return Some(Err(Errno(libc::EISCONN))),
            Ok(Kind::Epoll(_)) => return Some(Err(Errno(libc::ENOTSOCK))),
            Err(error) => return Some(Err(error)),
        }
        let Ok(Descriptor {
            kind: Kind::Tcp { id, connecting },
            ..
        }) = self.fds.get_mut(fd)
        else {
            return None;
        };
        let id = *id;
        if !*connecting {
            return Some(Err(Errno(libc::EISCONN)));
        }
        let ready = self.stack.tcp_readiness(id);
        match self.stack.tcp_state(id) {
            TcpState::SynSent | TcpState::SynReceived if !ready.contains(Readiness::CLOSED) => None,
            _ => {
                *connecting = false;
                Some(match self.stack.tcp_take_error(id) {
                    Some(error) => Err(error.into()),
                    None => Ok(Outcome::Done),
                })
            }
        }
    }

    fn start_connect(
        &mut self,
        fd: i32,
        local: Option<SocketAddr>,
        to: SocketAddr,
    ) -> Result<(), Errno> {
        self.know(to.ip());
        let descriptor = self.fds.get_mut(fd)?;
        let options = &descriptor.settings.tcp;
        let id = self.stack.tcp_connect_with(self.now, local, to, options)?;
        descriptor.kind = Kind::Tcp {
            id,
            connecting: true,
        };
        Ok(())
    }

    fn udp_connect(&mut self, fd: i32, to: SocketAddr) -> Result<Outcome, Errno> {
        self.know(to.ip());
        let id = self.udp(fd)?;
        self.stack.udp_connect(id, to)?;
        Ok(Outcome::Done)
    }

    /// `connect` to no address (`AF_UNSPEC`): a connection is reset and a listener closed, and the socket is as new.
    pub fn disconnect(&mut self, fd: i32) -> Result<(), Errno> {
        let descriptor = self.fds.get_mut(fd)?;
        match descriptor.kind {
            Kind::Tcp { id, .. } => {
                self.stack.tcp_abort(id);
            }
            Kind::Listener(id) => {
                self.acceptable.remove(&id);
                self.stack.tcp_listener_close(id);
            }
            Kind::Udp { id: Some(id) } => return Ok(self.stack.udp_disconnect(id)?),
            Kind::TcpNew { .. } | Kind::Udp { id: None } => return Ok(()),
            Kind::Epoll(_) => return Err(Errno(libc::ENOTSOCK)),
        }
        descriptor.kind = Kind::TcpNew { local: None };
        self.run();
        Ok(())
    }

    /// Whether it is a TCP socket.
    pub fn is_stream(&self, fd: i32) -> bool {
        let kind = self.fds.get(fd).map(|descriptor| &descriptor.kind);
        matches!(
            kind,
            Ok(Kind::TcpNew { .. } | Kind::Listener(_) | Kind::Tcp { .. })
        )
    }

    fn poll(&mut self, fds: &mut [PollFd]) -> Attempt {
        let mut any = false;
        for entry in fds.iter_mut().filter(|entry| entry.fd >= 0) {
            entry.revents = match self.fds.get(entry.fd) {
                Err(_) => libc::POLLNVAL,
                Ok(_) => {
                    let always = libc::POLLERR | libc::POLLHUP;
                    self.ready(entry.fd) as i16 & (entry.events | always)
                }
            };
            any |= entry.revents != 0;
        }
        any.then(|| Ok(Outcome::Polled(fds.to_vec())))
    }

    /// What `poll` would tell of a descriptor, were it asked for everything.
    pub(super) fn ready(&self, fd: i32) -> u32 {
        let Ok(descriptor) = self.fds.get(fd) else {
            return 0;
        };
        match descriptor.kind {
            // As Linux has it for a socket that was never connected.
            Kind::TcpNew { .. } => OUT | HUP,
            Kind::Listener(id) if self.acceptable.contains(&id) => IN,
            Kind::Listener(_) => 0,
            Kind::Tcp { id, .. } => self.ready_tcp(id),
            Kind::Udp { id: None } => OUT,
            Kind::Udp { id: Some(id) } => {
                let ready = self.stack.udp_readiness(id);
                let mut bits = 0;
                if ready.contains(Readiness::READABLE) {
                    bits |= IN;
                }
                if ready.contains(Readiness::WRITABLE) {
                    bits |= OUT;
                }
                bits
            }
            Kind::Epoll(_) => 0,
        }
    }

    fn ready_tcp(&self, id: TcpId) -> u32 {
        let ready = self.stack.tcp_readiness(id);
        let state = self.stack.tcp_state(id);
        let mut bits = 0;
        if ready.contains(Readiness::READABLE) {
            bits |= IN;
        }
        if ready.contains(Readiness::WRITABLE) {
            bits |= OUT;
        }
        let ended = matches!(
            state,
            TcpState::CloseWait
                | TcpState::LastAck
                | TcpState::Closing
                | TcpState::TimeWait
                | TcpState::Closed
        );
        if ended {
            bits |= RDHUP | IN;
        }
        if state == TcpState::Closed {
            bits |= HUP | OUT;
        }
        if self.stack.tcp_has_error(id) {
            bits |= ERR;
        }
        bits
    }

    /// `shutdown`.
    pub fn shutdown(&mut self, fd: i32, how: i32) -> Result<(), Errno> {
        let (read, write) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        match self.fds.get(fd)?.kind {
            Kind::Tcp { id, .. } => {
                if self.stack.tcp_state(id) == TcpState::Closed {
                    return Err(Errno(libc::ENOTCONN));
                }
                if read {
                    self.stack.tcp_shutdown_read(id)?;
                }
                if write {
                    self.stack.tcp_shutdown_write(id)?;
                }
                self.run();
                Ok(())
            }
            Kind::TcpNew { .. } | Kind::Listener(_) => Err(Errno(libc::ENOTCONN)),
            Kind::Udp { .. } => Err(Errno(libc::EOPNOTSUPP)),
            Kind::Epoll(_) => Err(Errno(libc::ENOTSOCK)),
        }
    }

    /// `close`. It never waits: a linger time other than 0 is the connection's own affair.
    pub fn close(&mut self, fd: i32) -> Result<(), Errno> {
        let closed = self.fds.close(fd)?;
        match closed.kind {
            Kind::Tcp { id, .. } => self.stack.tcp_close(self.now, id),
            Kind::Listener(id) => {
                self.acceptable.remove(&id);
                self.stack.tcp_listener_close(id);
            }
            Kind::Udp { id: Some(id) } => self.stack.udp_close(id),
            Kind::TcpNew { .. } | Kind::Udp { id: None } | Kind::Epoll(_) => {}
        }
        self.run();
        Ok(())
    }

    /// Closes all descriptors.
    pub fn close_all(&mut self) {
        for fd in self.fds.all() {
            let _ = self.close(fd);
        }
    }

    /// `fcntl` with `F_GETFL`, `F_SETFL`, `F_GETFD`, `F_SETFD`.
    pub fn fcntl(&mut self, fd: i32, command: i32, argument: usize) -> Result<i32, Errno> {
        let descriptor = self.fds.get_mut(fd)?;
        match command {
            libc::F_GETFL if descriptor.nonblocking => Ok(libc::O_RDWR | libc::O_NONBLOCK),
            libc::F_GETFL => Ok(libc::O_RDWR),
            libc::F_SETFL => {
                descriptor.nonblocking = argument & libc::O_NONBLOCK as usize != 0;
                Ok(0)
            }
            libc::F_GETFD => Ok(0),
            // There is no program to be executed here, so nothing to close on it.
            libc::F_SETFD => Ok(0),
            _ => Err(Errno(libc::EINVAL)),
        }
    }

    /// What waits in a socket's buffers.
    pub fn queues(&self, fd: i32) -> Result<Queues, Errno> {
        match self.fds.get(fd)?.kind {
            // A connection that is over has nothing queued.
            Kind::Tcp { id, .. } => Ok(self.stack.tcp_info(id).map_or_else(
                |_| Queues::default(),
                |info| Queues {
                    received: info.recv_queue,
                    unacknowledged: info.send_queue,
                    unsent: info.notsent_bytes,
                },
            )),
            Kind::TcpNew { .. } | Kind::Udp { .. } => Ok(Queues::default()),
            Kind::Listener(_) => Err(Errno(libc::EINVAL)),
            Kind::Epoll(_) => Err(Errno(libc::ENOTTY)),
        }
    }

    /// How long a call may block, if there is a bound on it.
    pub fn patience(&self, call: &Call) -> Option<Duration> {
        let (fd, receives) = match call {
            Call::Accept { fd } | Call::Recv { fd, .. } => (fd, true),
            Call::Connect { fd, .. } | Call::Send { fd, .. } => (fd, false),
            Call::Poll { .. } | Call::EpollWait { .. } => return None,
        };
        let settings = &self.fds.get(*fd).ok()?.settings;
        if receives {
            settings.recv_timeout
        } else {
            settings.send_timeout
        }
    }

    /// Whether calls on this descriptor return rather than block.
    pub fn is_nonblocking(&self, fd: i32) -> bool {
        self.fds
            .get(fd)
            .is_ok_and(|descriptor| descriptor.nonblocking)
    }
}
