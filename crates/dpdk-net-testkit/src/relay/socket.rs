//! A raw packet socket on one interface, by which a relay takes and gives frames.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd};

use pnet_datalink::{Channel, Config, NetworkInterface};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, send,
    socket_with, sockopt,
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::End;

/// The kernel accounts a frame of 1,514 bytes with about 2,300: enough for 10,000 of them while the relay waits for a CPU.
const BUFFER: usize = 32 << 20;

/// A socket that receives every frame that arrives at an interface, and sends frames out of it.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
    end: End,
}

impl PacketSocket {
    /// Opens it. The calling thread is in the namespace of `end` for as long as that takes.
    pub(super) fn open(end: &End) -> io::Result<Self> {
        let Some(path) = &end.netns else {
            return Self::open_here(end);
        };
        let explain = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => io::Error::new(
                error.kind(),
                format!("there is no network namespace {path}: `ip netns` lists those that exist"),
            ),
            _ => needs_root(&format!("entering the network namespace {path}"), error),
        };
        let home = File::open("/proc/thread-self/ns/net")?;
        let there = File::open(path).map_err(explain)?;
        enter(&there).map_err(explain)?;
        let result = Self::open_here(end);
        enter(&home)?;
        result
    }

    fn open_here(end: &End) -> io::Result<Self> {
        let name = &end.interface;
        // Protocol 0: it receives nothing before it is bound to its interface, so no frame of another one.
        let fd = socket_with(
            AddressFamily::PACKET,
            SocketType::RAW,
            SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
            None,
        )
        .map_err(|errno| needs_root("a packet socket", errno.into()))?;
        let index = netdevice::name_to_index(&fd, name).map_err(|errno| match errno {
            Errno::NODEV | Errno::INVAL | Errno::NAMETOOLONG => io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "there is no interface {name}{}: `ip link` lists those that exist{}",
                    end.netns
                        .as_ref()
                        .map(|path| format!(" in {path}"))
                        .unwrap_or_default(),
                    if end.netns.is_some() {
                        ""
                    } else {
                        "; one in a namespace is written NETNS/INTERFACE"
                    },
                ),
            ),
            errno => errno.into(),
        })?;
        // Without CAP_NET_ADMIN the buffers stay as large as the system allows everybody.
        if sockopt::set_socket_recv_buffer_size_force(&fd, BUFFER).is_err() {
            sockopt::set_socket_recv_buffer_size(&fd, BUFFER)?;
        }
        if sockopt::set_socket_send_buffer_size_force(&fd, BUFFER).is_err() {
            sockopt::set_socket_send_buffer_size(&fd, BUFFER)?;
        }
        let interface = NetworkInterface {
            name: name.clone(),
            description: String::new(),
            index,
            mac: None,
            ips: Vec::new(),
            flags: 0,
        };
        // The channel is there to bind the socket and to make the interface promiscuous; frames go by the duplicate, whose
        // descriptor has the same socket behind it.
        let bound = fd.try_clone()?;
        let config = Config {
            socket_fd: Some(bound.into_raw_fd()),
            promiscuous: true,
            ..Config::default()
        };
        match pnet_datalink::channel(&interface, config) {
            Ok(Channel::Ethernet(..)) => {}
            Ok(_) => return Err(io::Error::other(format!("{end} is no Ethernet interface"))),
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("the packet socket can't be bound to {end}: {error}"),
                ));
            }
        }
        Ok(Self {
            fd,
            end: end.clone(),
        })
    }

    /// Takes the next frame, `None` if there is none.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        match recv(&self.fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((len, _)) => Ok(Some(len)),
            // Told once when the interface goes down; it may come up again.
            Err(Errno::AGAIN | Errno::INTR | Errno::NETDOWN) => Ok(None),
            Err(errno) => Err(self.gone(errno)),
        }
    }

    /// Sends a frame; whether the interface took it.
    pub(super) fn send(&self, frame: &[u8]) -> io::Result<bool> {
        match send(&self.fd, frame, SendFlags::DONTWAIT) {
            Ok(_) => Ok(true),
            Err(Errno::NXIO | Errno::NODEV) => Err(self.gone(Errno::NODEV)),
            // Down, full, or a frame that is longer than this side's MTU.
            Err(_) => Ok(false),
        }
    }

    fn gone(&self, errno: Errno) -> io::Error {
        let error = io::Error::from(errno);
        io::Error::new(
            error.kind(),
            format!("the relay lost its interface {}: {error}", self.end),
        )
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn enter(netns: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(
        netns.as_fd(),
        Some(LinkNameSpaceType::Network),
    )?)
}

fn needs_root(what: &str, error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::PermissionDenied {
        io::Error::new(
            error.kind(),
            format!(
                "needs root: {what} takes CAP_NET_RAW, and CAP_SYS_ADMIN where it is in another namespace; run with sudo, or \
                 within `unshare -Urnm`"
            ),
        )
    } else {
        io::Error::new(error.kind(), format!("{what}: {error}"))
    }
}
