//! What takes part in a simulation: a host (a whole TCP/IP stack on one Ethernet port) and an application on it.
//!
//! Only traits and ids live here. `hosts` implements them for the stack of this project and for smoltcp; `apps` has the
//! applications.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::net::SocketAddr;

use dpdk_net_stack::Error;

use crate::Instant;

/// A host on the simulated segment: frames in, frames out, deadlines. It never sees a real clock.
pub trait Host: Any {
    /// Frames that arrived now, in the order of their arrival.
    fn ingest(&mut self, now: Instant, frames: &[Vec<u8>]);

    /// Appends frames to send now to `out`, at most `room`. What does not fit stays with the host, which is asked again.
    fn transmit(&mut self, now: Instant, room: usize, out: &mut Vec<Vec<u8>>);

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest.
    fn next_timeout(&mut self, now: Instant) -> Option<Instant>;

    /// Time has passed.
    fn handle_timeout(&mut self, now: Instant);

    /// Whether an application could do something since the last call. Applications are polled only after this said yes, so
    /// a host that forgets to tell of readiness stalls the simulation, which fails the test.
    fn take_wake(&mut self) -> bool {
        true
    }

    /// Checks what must hold between any two events (bounded queues, deadlines); an error ends the simulation.
    fn check(&mut self, _now: Instant) -> Result<(), String> {
        Ok(())
    }

    /// The host's TCP, where it has one.
    fn tcp(&mut self) -> Option<&mut dyn TcpHost> {
        None
    }
}

/// A listener on a [`TcpHost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenId(pub(crate) u64);

/// A connection on a [`TcpHost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId(pub(crate) u64);

/// TCP as applications see it, the same for every kind of host. Nothing blocks: [`Error::WouldBlock`].
pub trait TcpHost {
    /// Opens a listener.
    fn listen(&mut self, now: Instant, local: SocketAddr) -> Result<ListenId, Error>;
    /// Takes an established connection and its peer's address off a listener.
    fn accept(&mut self, now: Instant, listener: ListenId) -> Result<(ConnId, SocketAddr), Error>;
    /// Starts to connect.
    fn connect(&mut self, now: Instant, remote: SocketAddr) -> Result<ConnId, Error>;
    /// Queues bytes to send; the number that found room.
    fn send(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) -> Result<usize, Error>;
    /// Takes received bytes; `Ok(0)` is the end of the stream.
    fn recv(&mut self, now: Instant, conn: ConnId, bytes: &mut [u8]) -> Result<usize, Error>;
    /// Ends the sending direction once everything queued has been sent.
    fn shutdown_write(&mut self, now: Instant, conn: ConnId) -> Result<(), Error>;
    /// Lets go of a connection; it finishes by itself.
    fn close(&mut self, now: Instant, conn: ConnId);
    /// Resets a connection.
    fn abort(&mut self, now: Instant, conn: ConnId);
}

/// An application on a simulated host.
pub trait App: Any {
    /// Does all that can be done now, until every operation would block. True if anything was done.
    fn poll(&mut self, now: Instant, host: &mut dyn TcpHost) -> bool;

    /// When the application wants to be polled though nothing happened on the network.
    fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Whether the application has ended, well or badly. A server that waits for more says yes.
    fn finished(&self) -> bool;

    /// How it went; an error says what went wrong and where. Only asked when finished.
    fn outcome(&self) -> Result<(), AppError>;
}

/// Why an application failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AppError {
    /// A received byte is not the one that was sent at this place in the stream.
    WrongByte {
        /// Offset in the stream, in bytes.
        offset: u64,
        /// The byte that was sent there.
        expected: u8,
        /// The byte that was received.
        got: u8,
    },
    /// More bytes came than were sent.
    TooManyBytes {
        /// Number of bytes that should have come.
        expected: u64,
    },
    /// The stream ended early.
    UnexpectedEof {
        /// Number of bytes that came.
        received: u64,
        /// Number of bytes that should have come.
        expected: u64,
    },
    /// The stack reported an error.
    Tcp(Error),
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongByte {
                offset,
                expected,
                got,
            } => {
                write!(
                    f,
                    "byte {offset} of the stream is {got:#04x}, sent was {expected:#04x}"
                )
            }
            Self::TooManyBytes { expected } => {
                write!(f, "more than the {expected} bytes that were sent arrived")
            }
            Self::UnexpectedEof { received, expected } => {
                write!(f, "the stream ended after {received} of {expected} bytes")
            }
            Self::Tcp(error) => write!(f, "the stack reported: {error}"),
        }
    }
}

impl std::error::Error for AppError {}

impl From<Error> for AppError {
    fn from(error: Error) -> Self {
        Self::Tcp(error)
    }
}

/// A host of a simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub(crate) usize);

/// An application of type `A` in a simulation.
pub struct AppId<A> {
    pub(crate) host: usize,
    pub(crate) index: usize,
    pub(crate) of: PhantomData<fn() -> A>,
}

impl<A> Clone for AppId<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for AppId<A> {}

impl<A> fmt::Debug for AppId<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppId")
            .field("host", &self.host)
            .field("index", &self.index)
            .finish()
    }
}
