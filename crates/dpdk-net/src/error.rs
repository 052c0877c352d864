//! What can go wrong when a service is brought up and run, and how the stack's errors become
//! [`std::io::Error`]s.
//!
//! Bring-up (EAL, port, worker, application) reports [`Error`]; sockets report `std::io::Error` with
//! the kind, and where one exists the errno, that the kernel would give. Nothing here formats text on
//! the packet path: a kernel-like error is an errno, without allocation.

use std::io;

use dpdk_net_stack as stack;
use rustix::io::Errno;

/// Why a service could not be brought up or did not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// DPDK refused: EAL, mempool, port or queue. The text says which function, why and what to do.
    #[error(transparent)]
    Dpdk(#[from] dpdk_net_rte::Error),
    /// The stack refused its configuration.
    #[error("the stack's configuration was refused: {0}")]
    Stack(stack::Error),
    /// A worker, or an executor, was to run on a thread that runs one already.
    #[error(
        "this thread runs a worker already, which could not go on meanwhile: await the future in it, spawn it with dpdk_net::runtime::spawn_local, or run the other worker on a thread of its own"
    )]
    NestedRuntime,
    /// There is no runtime of this name, or not in this build.
    #[error(
        "there is no runtime {given:?}: this build has {known} (smol and compio are features of dpdk-net)"
    )]
    UnknownRuntime {
        /// The name as given.
        given: String,
        /// The names of those that there are.
        known: String,
    },
    /// EAL found no port at all.
    #[error(
        "EAL found no port: bind a NIC to vfio-pci (dpdk-devbind.py --bind=vfio-pci ADDRESS) and allow it, or add a virtual device with EalBuilder::vdev"
    )]
    NoPort,
    /// An address, prefix or gateway that was given as text is malformed.
    #[error("{what} {given:?} is malformed: {why}")]
    BadAddress {
        /// What it was given as.
        what: &'static str,
        /// The text as given.
        given: String,
        /// What is wrong with it and how it should look.
        why: String,
    },
    /// No address was given, so nobody could reach the service.
    #[error(
        "no address was given: add one with AppBuilder::address(\"198.18.0.2/24\"), or in a VLAN with AppBuilder::vlan"
    )]
    NoAddress,
    /// Servers and routers have brought no address in time (`AppBuilder::address_timeout`).
    #[error(
        "no address after {waited:?}, though asked for: {tried}. Look whether a server or a router is on this link, and with tcpdump whether it answers"
    )]
    NoLease {
        /// Which addresses are missing, and what was tried for each.
        tried: String,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// What a DHCP client is to send can't be sent.
    #[error("a DHCP client can't be started: {why}")]
    BadDhcp {
        /// What is wrong, and what would be right.
        why: &'static str,
    },
    /// Duplicate address detection (RFC 4862 section 5.4, RFC 5227) found somebody else with the address.
    #[error(
        "the address {address} is in use by another host on the link: give this port another one, or remove it there"
    )]
    AddressTaken {
        /// The address.
        address: std::net::IpAddr,
    },
    /// A value of the configuration is out of its range.
    #[error("{what} is {given}, but {expected}")]
    BadValue {
        /// The name of the setting.
        what: &'static str,
        /// The value as given.
        given: u64,
        /// The range and, where there is one, the remedy.
        expected: String,
    },
    /// A port has not so many queues.
    #[error("{port} ({driver}) can't have {given} queues: it has 1 to {most}")]
    BadQueues {
        /// What the application calls it.
        port: String,
        /// Its driver.
        driver: String,
        /// As many as were asked for.
        given: u16,
        /// As many as it has at most.
        most: u16,
    },
    /// What is to be pinned to a queue is nothing that a flow rule can tell.
    #[error("{target} can't be pinned to a queue: {why}")]
    BadTarget {
        /// What it was.
        target: String,
        /// Why not.
        why: String,
    },
    /// Queues can't be rebalanced.
    #[error("queues can't be rebalanced: {0}")]
    CannotRebalance(&'static str),
    /// The mempool's data room cannot hold a frame of the port's MTU.
    #[error(
        "mempool {pool:?} has room for {room} bytes behind the headroom, but a frame of MTU {mtu} needs {needed}: build the pool with a data room of at least {needed} plus headroom"
    )]
    DataRoom {
        /// The pool's name.
        pool: String,
        /// Bytes that one mbuf can hold behind its headroom.
        room: usize,
        /// The IP MTU that the stack was configured with, in bytes.
        mtu: u16,
        /// Bytes that a frame needs.
        needed: usize,
    },
    /// The async runtime could not be built.
    #[error("the async runtime could not be built: {0}")]
    Runtime(#[source] io::Error),
    /// Signal handlers could not be installed.
    #[error("SIGINT and SIGTERM could not be caught: {0}")]
    Signals(#[source] io::Error),
    /// No random seed could be had from the operating system.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// A socket that is to be listening at start could not be bound.
    #[error("{name} can't listen on {address}: {source}")]
    Listen {
        /// What the application calls it.
        name: String,
        /// Its address.
        address: std::net::SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A subsystem did not start.
    #[error("{name} did not start: {source}")]
    Subsystem {
        /// What it is called.
        name: String,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The configuration file can't be used, or the machine refuses what it asks for.
    #[cfg(feature = "config")]
    #[error("{0}")]
    Config(dpdk_net_config::Problems),
    /// The calling thread has no worker.
    #[error(
        "this thread has no dpdk-net worker: call this from a task of a worker's runtime, or enter one first with Handle::enter or Handle::scope"
    )]
    NoWorker,
    /// A name can't be looked up: there is nobody to ask.
    #[error(
        "{name:?} is not in /etc/hosts, and there are no DNS servers to ask: set some with AppBuilder::dns or Dns::change"
    )]
    NoNameServers {
        /// The name.
        name: String,
    },
    /// There is no such name, or it has no address of a family that is used here.
    #[error("{name:?} is not known: no DNS server and no line of /etc/hosts has an address for it")]
    UnknownName {
        /// The name.
        name: String,
    },
    /// No server has told the addresses of a name, nor that there are none.
    #[error("{name:?} could not be looked up: {why}")]
    NameNotResolved {
        /// The name.
        name: String,
        /// What the last server that was asked did instead.
        why: String,
        /// It did not answer.
        timed_out: bool,
    },
    /// A signal, or a request of the program's own, ended the service before the program's future returned.
    #[error("stopped by {signal} before the program's future returned")]
    Stopped {
        /// The signal's name: "SIGINT" or "SIGTERM"; "request_shutdown" without one.
        signal: &'static str,
    },
}

impl From<stack::Error> for Error {
    fn from(error: stack::Error) -> Self {
        Self::Stack(error)
    }
}

#[cfg(feature = "config")]
impl From<dpdk_net_config::Problems> for Error {
    fn from(problems: dpdk_net_config::Problems) -> Self {
        Self::Config(problems)
    }
}

#[cfg(feature = "config")]
impl From<dpdk_net_config::Problem> for Error {
    fn from(problem: dpdk_net_config::Problem) -> Self {
        Self::Config(problem.into())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::NoWorker => io::ErrorKind::NotConnected,
            Error::BadAddress { .. }
            | Error::BadQueues { .. }
            | Error::BadTarget { .. }
            | Error::BadValue { .. }
            | Error::BadDhcp { .. }
            | Error::NoAddress => io::ErrorKind::InvalidInput,
            Error::Stopped { .. } => io::ErrorKind::Interrupted,
            Error::NoNameServers { .. } => io::ErrorKind::HostUnreachable,
            Error::UnknownName { .. } => io::ErrorKind::NotFound,
            Error::NameNotResolved {
                timed_out: true, ..
            } => io::ErrorKind::TimedOut,
            Error::NoLease { .. } => io::ErrorKind::TimedOut,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The `std::io::Error` that the kernel would give in place of `error`.
///
/// Conditions that have an errno become one: no allocation, and `raw_os_error` is what programs that
/// look at it expect.
#[cold]
pub(crate) fn io_error(error: stack::Error) -> io::Error {
    use stack::Error as E;
    let errno = match error {
        E::WouldBlock => return io::ErrorKind::WouldBlock.into(),
        E::AddrInUse => Errno::ADDRINUSE,
        E::AddrNotAvailable => Errno::ADDRNOTAVAIL,
        E::ConnectionRefused => Errno::CONNREFUSED,
        E::ConnectionReset => Errno::CONNRESET,
        E::ConnectionAborted => Errno::CONNABORTED,
        E::TimedOut => Errno::TIMEDOUT,
        E::HostUnreachable => Errno::HOSTUNREACH,
        E::NetworkUnreachable => Errno::NETUNREACH,
        E::NotConnected => Errno::NOTCONN,
        E::AlreadyConnected => Errno::ISCONN,
        E::BrokenPipe => Errno::PIPE,
        E::PermissionDenied => Errno::ACCESS,
        E::MessageTooLong => Errno::MSGSIZE,
        E::NoBufferSpace => Errno::NOBUFS,
        E::InvalidInput(_) => return io::Error::new(io::ErrorKind::InvalidInput, error),
        E::UnknownSocket => Errno::BADF,
        other => return io::Error::other(other),
    };
    errno.into()
}

/// The error of an operation on a socket whose worker has ended.
#[cold]
pub(crate) fn worker_gone() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        "the dpdk-net worker that owns this socket has ended",
    )
}
