//! A TCP socket that is neither connected nor listening yet: options first, then one or the other.
//!
//! It is only a set of choices: nothing exists in the stack until `connect` or `listen`.

use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dpdk_net_stack::{TcpOption, TcpOptions};

use super::addr::Family;
use super::{TcpListener, TcpStream};
use crate::error::io_error;
use crate::handle::Handle;
use crate::shard::Shard;

/// A TCP socket before `connect` or `listen`, as `tokio::net::TcpSocket`.
///
/// Where it differs from a kernel socket: `bind` checks that the address is the stack's own but reserves
/// nothing, so a port that is in use is reported by `listen` or `connect`, and port 0 is resolved there.
#[derive(Debug)]
pub struct TcpSocket {
    /// Of the worker that it was made in.
    shard: Arc<Shard>,
    family: Family,
    options: Mutex<Options>,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    local: Option<SocketAddr>,
    pub(crate) tcp: TcpOptions,
}

impl TcpSocket {
    /// A socket for IPv4.
    pub fn new_v4() -> io::Result<Self> {
        Self::new(Family::V4)
    }

    /// A socket for IPv6, which also takes IPv4 as IPv4-mapped addresses.
    pub fn new_v6() -> io::Result<Self> {
        Self::new(Family::V6)
    }

    fn new(family: Family) -> io::Result<Self> {
        Ok(Self {
            // A thread without a worker learns it here, as it would learn of a missing runtime.
            shard: Handle::current_shard()?,
            family,
            options: Mutex::new(Options::default()),
        })
    }

    fn get(&self) -> Options {
        *self.options.lock()
    }

    fn set(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options.lock());
    }

    /// Changes what the stack is told of the connection to be made.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut TcpOptions) -> Result<(), dpdk_net_stack::Error>,
    ) -> io::Result<()> {
        change(&mut self.options.lock().tcp).map_err(io_error)
    }

    pub(super) fn chosen(&self) -> TcpOptions {
        self.get().tcp
    }

    pub(super) fn with_defaults(&self) -> TcpOptions {
        let chosen = self.chosen();
        let v6 = self.family == Family::V6;
        self.shard.lock().stack.tcp_defaults(&chosen, v6)
    }

    pub(super) fn default_keepalive(&self) -> dpdk_net_stack::Keepalive {
        self.shard.lock().stack.tcp_default_keepalive()
    }

    /// Sets `SO_REUSEADDR`: a connection may be made from a local port whose last connection to the same peer is in
    /// TIME-WAIT, where timestamps tell the two apart (RFC 6191). A listener may always take an address of which
    /// connections in TIME-WAIT remain, and two listeners may never share one.
    pub fn set_reuseaddr(&self, reuseaddr: bool) -> io::Result<()> {
        self.option(TcpOption::ReuseAddr(reuseaddr))
    }

    /// What [`set_reuseaddr`](Self::set_reuseaddr) was given; `false` at first.
    pub fn reuseaddr(&self) -> io::Result<bool> {
        Ok(self.chosen().reuseaddr)
    }

    /// Refuses `true`: one listener has an address in a shard. Let several tasks accept from it instead.
    ///
    /// # Errors
    /// `Unsupported` for `true`.
    pub fn set_reuseport(&self, reuseport: bool) -> io::Result<()> {
        if reuseport {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "SO_REUSEPORT: one listener has an address in a shard; let several tasks accept from it",
            ));
        }
        Ok(())
    }

    /// Always `false`.
    pub fn reuseport(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Sets `TCP_NODELAY` of the connection to be made, or of those accepted.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.option(TcpOption::NoDelay(nodelay))
    }

    /// What [`set_nodelay`](Self::set_nodelay) was given; as the stack's configuration has it at first.
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.with_defaults().nodelay.unwrap_or_default())
    }

    /// Sets `SO_KEEPALIVE` of the connection to be made, or of those accepted.
    pub fn set_keepalive(&self, keepalive: bool) -> io::Result<()> {
        let times = self.chosen().keepalive.unwrap_or(self.default_keepalive());
        self.option(TcpOption::Keepalive(keepalive.then_some(times)))
    }

    /// What [`set_keepalive`](Self::set_keepalive) was given; `false` at first.
    pub fn keepalive(&self) -> io::Result<bool> {
        Ok(self.chosen().keepalive.is_some())
    }

    /// Sets `SO_LINGER` of the connection to be made, or of those accepted. See [`TcpStream::set_linger`].
    pub fn set_linger(&self, dur: Option<Duration>) -> io::Result<()> {
        self.option(TcpOption::Linger(dur))
    }

    /// Makes dropping the connection to be made reset it: [`set_linger`](Self::set_linger) with zero.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        self.set_linger(Some(Duration::ZERO))
    }

    /// What [`set_linger`](Self::set_linger) was given; `None` at first.
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.chosen().linger)
    }

    /// The address given to [`bind`](Self::bind), or the unspecified one.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.get().local.unwrap_or_else(|| self.unspecified()))
    }

    /// Always `None`: a socket in this state has nothing that could fail.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        Ok(None)
    }

    fn unspecified(&self) -> SocketAddr {
        match self.family {
            Family::V4 => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            Family::V6 => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        }
    }

    /// Chooses the local address.
    ///
    /// # Errors
    /// `InvalidInput` for an address of the other family or a second call, `AddrNotAvailable` for one that
    /// is not the stack's.
    pub fn bind(&self, addr: SocketAddr) -> io::Result<()> {
        self.check_family(addr)?;
        if self.get().local.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket is bound already",
            ));
        }
        let stack_addr = super::addr::to_stack(addr);
        if !stack_addr.ip().is_unspecified() {
            let ours = Handle::new(self.shard.clone()).addresses();
            if !ours.contains(&stack_addr.ip()) {
                return Err(io_error(dpdk_net_stack::Error::AddrNotAvailable));
            }
        }
        self.set(|o| o.local = Some(addr));
        Ok(())
    }

    fn check_family(&self, addr: SocketAddr) -> io::Result<()> {
        match (self.family, addr) {
            (Family::V4, SocketAddr::V6(_)) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an IPv6 address on an IPv4 socket: make it with TcpSocket::new_v6",
            )),
            (Family::V6, SocketAddr::V4(_)) => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "an IPv4 address on an IPv6 socket: make it with TcpSocket::new_v4",
            )),
            _ => Ok(()),
        }
    }

    /// Connects to `addr`. Errors and cancel safety as [`TcpStream::connect`].
    pub async fn connect(self, addr: SocketAddr) -> io::Result<TcpStream> {
        self.check_family(addr)?;
        let options = self.get();
        TcpStream::open(self.shard, options.local, addr, options).await
    }

    /// Listens; at most `backlog` connections wait to be accepted.
    ///
    /// # Errors
    /// As [`TcpListener::bind`]; without [`bind`](Self::bind), a free port on all addresses is taken.
    pub fn listen(self, backlog: u32) -> io::Result<TcpListener> {
        let options = self.get();
        let local = options.local.unwrap_or_else(|| self.unspecified());
        TcpListener::listen(self.shard, local, backlog, options)
    }
}
