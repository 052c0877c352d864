//! One end of a bulk transfer: sends a pattern, expects another one, or both at once, and checks every byte.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_stack::Error;

use super::{CHUNK, Pattern};
use crate::Instant;
use crate::sim::{App, AppError, ConnId, ListenId, TcpHost};

#[derive(Clone, Copy, Debug)]
enum Phase {
    Connect(SocketAddr),
    Listen(SocketAddr),
    Accept(ListenId),
    Open(ConnId),
    Over,
}

/// A reader that stops now and then.
#[derive(Clone, Copy, Debug)]
struct Rest {
    every: u64,
    long: Duration,
    /// The number of bytes received at which it stops next.
    next: u64,
    until: Option<Instant>,
}

/// One end of a bulk transfer over one connection.
///
/// Sends its bytes and then the end of its stream, receives the expected bytes and then the end of that stream, and closes.
/// It ends well only if all of this happened, byte for byte.
#[derive(Debug)]
pub struct Bulk {
    phase: Phase,
    sending: Pattern,
    to_send: u64,
    sent: u64,
    end_sent: bool,
    expecting: Pattern,
    to_receive: u64,
    received: u64,
    end_received: bool,
    rest: Option<Rest>,
    outcome: Result<(), AppError>,
    ended: Option<Instant>,
    buffer: Vec<u8>,
}

impl Bulk {
    /// An end that connects to `remote`.
    pub fn connect(remote: SocketAddr) -> Self {
        Self::new(Phase::Connect(remote))
    }

    /// An end that takes one connection on `local`.
    pub fn listen(local: SocketAddr) -> Self {
        Self::new(Phase::Listen(local))
    }

    fn new(phase: Phase) -> Self {
        Self {
            phase,
            sending: Pattern::new(0),
            to_send: 0,
            sent: 0,
            end_sent: false,
            expecting: Pattern::new(0),
            to_receive: 0,
            received: 0,
            end_received: false,
            rest: None,
            outcome: Ok(()),
            ended: None,
            buffer: vec![0; CHUNK],
        }
    }

    /// Sends the first `bytes` of `pattern`.
    pub fn sending(mut self, pattern: Pattern, bytes: u64) -> Self {
        (self.sending, self.to_send) = (pattern, bytes);
        self
    }

    /// Expects the first `bytes` of `pattern`, and nothing more.
    pub fn receiving(mut self, pattern: Pattern, bytes: u64) -> Self {
        (self.expecting, self.to_receive) = (pattern, bytes);
        self
    }

    /// Moves at most `bytes` with one call (at least 1), to exercise small reads and writes.
    pub fn in_chunks_of(mut self, bytes: usize) -> Self {
        self.buffer = vec![0; bytes.max(1)];
        self
    }

    /// Receives nothing for so `long` each time that it has received `every` bytes more (at least 1), so that the peer gets to see
    /// its window closed.
    pub fn resting(mut self, every: u64, long: Duration) -> Self {
        let every = every.max(1);
        self.rest = Some(Rest {
            every,
            long,
            next: every,
            until: None,
        });
        self
    }

    /// Bytes that the stack has taken.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes received and found right.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// When it ended, well or badly.
    pub fn ended(&self) -> Option<Instant> {
        self.ended
    }

    /// The connection, while there is one.
    pub fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Open(conn) => Some(conn),
            _ => None,
        }
    }

    /// The stack's error that ended it, if one did.
    pub fn tcp_error(&self) -> Option<&Error> {
        match &self.outcome {
            Err(AppError::Tcp(error)) => Some(error),
            _ => None,
        }
    }

    fn step(&mut self, now: Instant, host: &mut dyn TcpHost) -> Result<bool, AppError> {
        match self.phase {
            Phase::Connect(remote) => {
                self.phase = Phase::Open(host.connect(now, remote)?);
                Ok(true)
            }
            Phase::Listen(local) => {
                self.phase = Phase::Accept(host.listen(now, local)?);
                Ok(true)
            }
            Phase::Accept(listener) => match host.accept(now, listener) {
                Ok((conn, _peer)) => {
                    self.phase = Phase::Open(conn);
                    Ok(true)
                }
                Err(Error::WouldBlock) => Ok(false),
                Err(error) => Err(error.into()),
            },
            Phase::Open(conn) => self.transfer(now, host, conn),
            Phase::Over => Ok(false),
        }
    }

    fn transfer(
        &mut self,
        now: Instant,
        host: &mut dyn TcpHost,
        conn: ConnId,
    ) -> Result<bool, AppError> {
        let mut busy = self.receive(now, host, conn)?;
        busy |= self.send(now, host, conn)?;
        if self.end_sent && self.end_received {
            host.close(now, conn);
            self.phase = Phase::Over;
            self.ended = Some(now);
        }
        Ok(busy)
    }

    fn send(
        &mut self,
        now: Instant,
        host: &mut dyn TcpHost,
        conn: ConnId,
    ) -> Result<bool, AppError> {
        let mut busy = false;
        while self.sent < self.to_send {
            let len = (self.to_send - self.sent).min(self.buffer.len() as u64) as usize;
            self.sending.fill(self.sent, &mut self.buffer[..len]);
            match host.send(now, conn, &self.buffer[..len]) {
                Ok(0) | Err(Error::WouldBlock) => return Ok(busy),
                Ok(n) => self.sent += n as u64,
                Err(error) => return Err(error.into()),
            }
            busy = true;
        }
        if !self.end_sent {
            match host.shutdown_write(now, conn) {
                Ok(()) => self.end_sent = true,
                Err(Error::WouldBlock) => return Ok(busy),
                Err(error) => return Err(error.into()),
            }
            busy = true;
        }
        Ok(busy)
    }

    fn rests(&mut self, now: Instant) -> bool {
        let Some(rest) = &mut self.rest else {
            return false;
        };
        if rest.until.is_none() && self.received >= rest.next {
            rest.next = self.received + rest.every;
            rest.until = Some(now + rest.long);
        }
        if rest.until.is_some_and(|until| until <= now) {
            rest.until = None;
        }
        rest.until.is_some()
    }

    fn receive(
        &mut self,
        now: Instant,
        host: &mut dyn TcpHost,
        conn: ConnId,
    ) -> Result<bool, AppError> {
        let mut busy = false;
        while !self.end_received {
            if self.rests(now) {
                return Ok(busy);
            }
            match host.recv(now, conn, &mut self.buffer) {
                Ok(0) if self.received < self.to_receive => {
                    return Err(AppError::UnexpectedEof {
                        received: self.received,
                        expected: self.to_receive,
                    });
                }
                Ok(0) => self.end_received = true,
                Ok(n) => {
                    if self.received + n as u64 > self.to_receive {
                        return Err(AppError::TooManyBytes {
                            expected: self.to_receive,
                        });
                    }
                    self.expecting.check(self.received, &self.buffer[..n])?;
                    self.received += n as u64;
                }
                Err(Error::WouldBlock) => return Ok(busy),
                Err(error) => return Err(error.into()),
            }
            busy = true;
        }
        Ok(busy)
    }
}

impl App for Bulk {
    fn poll(&mut self, now: Instant, host: &mut dyn TcpHost) -> bool {
        let mut busy = false;
        loop {
            match self.step(now, host) {
                Ok(true) => busy = true,
                Ok(false) => return busy,
                Err(error) => {
                    if let Phase::Open(conn) = self.phase {
                        host.close(now, conn);
                    }
                    self.phase = Phase::Over;
                    self.ended = Some(now);
                    self.outcome = Err(error);
                    return true;
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Over => None,
            _ => self.rest.and_then(|rest| rest.until),
        }
    }

    fn finished(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn outcome(&self) -> Result<(), AppError> {
        self.outcome.clone()
    }
}
