//! A client of an echo server that waits for each reply before it sends the next request, on one or more connections.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_stack::Error;

use super::Pattern;
use crate::Instant;
use crate::sim::{App, AppError, ConnId, TcpHost};

#[derive(Debug)]
struct Session {
    conn: Option<ConnId>,
    pattern: Pattern,
    round: u32,
    sent: usize,
    received: usize,
    asked_at: Instant,
    ended: bool,
}

/// A client that sends requests of a fixed size over some connections at once and checks that each comes back as it was.
#[derive(Debug)]
pub struct RequestClient {
    remote: SocketAddr,
    size: usize,
    rounds: u32,
    sessions: Vec<Session>,
    slowest: Duration,
    outcome: Result<(), AppError>,
    buffer: Vec<u8>,
}

impl RequestClient {
    /// A client that opens `connections` to the echo server at `remote` and makes `rounds` requests of `size` bytes on each.
    pub fn new(remote: SocketAddr, connections: usize, rounds: u32, size: usize) -> Self {
        let session = |i: usize| Session {
            conn: None,
            pattern: Pattern::new(i as u64),
            round: 0,
            sent: 0,
            received: 0,
            asked_at: Instant::ZERO,
            ended: false,
        };
        Self {
            remote,
            size,
            rounds,
            sessions: (0..connections).map(session).collect(),
            slowest: Duration::ZERO,
            outcome: Ok(()),
            buffer: vec![0; size.max(1)],
        }
    }

    /// The longest time from a request to the end of its reply; the first of a connection includes the handshake.
    pub fn slowest(&self) -> Duration {
        self.slowest
    }

    /// Connections on which all rounds are done and that were closed.
    pub fn completed(&self) -> usize {
        self.sessions.iter().filter(|session| session.ended).count()
    }
}

struct Plan<'a> {
    remote: SocketAddr,
    size: usize,
    rounds: u32,
    slowest: &'a mut Duration,
    buffer: &'a mut Vec<u8>,
}

impl Session {
    fn run(
        &mut self,
        now: Instant,
        host: &mut dyn TcpHost,
        plan: &mut Plan<'_>,
    ) -> Result<bool, AppError> {
        let mut busy = false;
        let conn = match self.conn {
            Some(conn) => conn,
            None => {
                busy = true;
                self.asked_at = now;
                *self.conn.insert(host.connect(now, plan.remote)?)
            }
        };
        while self.round < plan.rounds {
            let offset = u64::from(self.round) * plan.size as u64;
            if self.sent < plan.size {
                let bytes = &mut plan.buffer[..plan.size - self.sent];
                self.pattern.fill(offset + self.sent as u64, bytes);
                match host.send(now, conn, bytes) {
                    Ok(0) | Err(Error::WouldBlock) => {}
                    Ok(n) => {
                        self.sent += n;
                        busy = true;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            match host.recv(now, conn, &mut plan.buffer[..plan.size - self.received]) {
                Ok(0) => {
                    let received = offset + self.received as u64;
                    return Err(AppError::UnexpectedEof {
                        received,
                        expected: offset + plan.size as u64,
                    });
                }
                Ok(n) => {
                    self.pattern
                        .check(offset + self.received as u64, &plan.buffer[..n])?;
                    self.received += n;
                    busy = true;
                }
                Err(Error::WouldBlock) => return Ok(busy),
                Err(error) => return Err(error.into()),
            }
            if self.received == plan.size {
                *plan.slowest = (*plan.slowest).max(now - self.asked_at);
                (self.round, self.sent, self.received, self.asked_at) = (self.round + 1, 0, 0, now);
            }
        }
        host.close(now, conn);
        self.ended = true;
        Ok(true)
    }
}

impl App for RequestClient {
    fn poll(&mut self, now: Instant, host: &mut dyn TcpHost) -> bool {
        if self.outcome.is_err() {
            return false;
        }
        let (slowest, buffer) = (&mut self.slowest, &mut self.buffer);
        let mut plan = Plan {
            remote: self.remote,
            size: self.size,
            rounds: self.rounds,
            slowest,
            buffer,
        };
        let mut busy = false;
        for session in self.sessions.iter_mut().filter(|session| !session.ended) {
            match session.run(now, host, &mut plan) {
                Ok(did) => busy |= did,
                Err(error) => {
                    self.outcome = Err(error);
                    return true;
                }
            }
        }
        busy
    }

    fn finished(&self) -> bool {
        self.outcome.is_err() || self.sessions.iter().all(|session| session.ended)
    }

    fn outcome(&self) -> Result<(), AppError> {
        self.outcome.clone()
    }
}
