//! A server that sends back what it receives, on any number of connections (RFC 862).

use std::net::SocketAddr;

use dpdk_net_stack::Error;

use super::CHUNK;
use crate::Instant;
use crate::sim::{App, AppError, ConnId, ListenId, TcpHost};

#[derive(Debug)]
struct Session {
    conn: ConnId,
    /// Received and not yet sent back; at most one chunk.
    held: Vec<u8>,
    end_received: bool,
}

/// An echo server. It ends its side of a connection when the peer has ended the other and all was sent back; a connection that
/// fails is dropped and counted.
#[derive(Debug)]
pub struct EchoServer {
    local: SocketAddr,
    listener: Option<ListenId>,
    sessions: Vec<Session>,
    accepted: u64,
    completed: u64,
    failed: u64,
    outcome: Result<(), AppError>,
}

impl EchoServer {
    /// A server on `local`.
    pub fn new(local: SocketAddr) -> Self {
        Self {
            local,
            listener: None,
            sessions: Vec::new(),
            accepted: 0,
            completed: 0,
            failed: 0,
            outcome: Ok(()),
        }
    }

    /// Connections accepted.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Connections that came to their end in order.
    pub fn completed(&self) -> u64 {
        self.completed
    }

    /// Connections that ended by an error.
    pub fn failed(&self) -> u64 {
        self.failed
    }

    /// Connections open.
    pub fn open(&self) -> usize {
        self.sessions.len()
    }

    fn accept(&mut self, now: Instant, host: &mut dyn TcpHost) -> Result<bool, Error> {
        let listener = match self.listener {
            Some(listener) => listener,
            None => *self.listener.insert(host.listen(now, self.local)?),
        };
        let mut busy = false;
        loop {
            match host.accept(now, listener) {
                Ok((conn, _peer)) => {
                    self.accepted += 1;
                    self.sessions.push(Session {
                        conn,
                        held: Vec::new(),
                        end_received: false,
                    });
                    busy = true;
                }
                Err(Error::WouldBlock) => return Ok(busy),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Session {
    /// Does what can be done; `Ok(true)` once the session has come to its end.
    fn serve(
        &mut self,
        now: Instant,
        host: &mut dyn TcpHost,
        busy: &mut bool,
    ) -> Result<bool, Error> {
        loop {
            while !self.held.is_empty() {
                match host.send(now, self.conn, &self.held) {
                    Ok(0) | Err(Error::WouldBlock) => return Ok(false),
                    Ok(n) => drop(self.held.drain(..n)),
                    Err(error) => return Err(error),
                }
                *busy = true;
            }
            if self.end_received {
                host.shutdown_write(now, self.conn)?;
                host.close(now, self.conn);
                return Ok(true);
            }
            self.held.resize(CHUNK, 0);
            let received = host.recv(now, self.conn, &mut self.held);
            self.held.truncate(*received.as_ref().unwrap_or(&0));
            match received {
                Ok(0) => self.end_received = true,
                Ok(_) => {}
                Err(Error::WouldBlock) => return Ok(false),
                Err(error) => return Err(error),
            }
            *busy = true;
        }
    }
}

impl App for EchoServer {
    fn poll(&mut self, now: Instant, host: &mut dyn TcpHost) -> bool {
        let mut busy = match self.accept(now, host) {
            Ok(busy) => busy,
            Err(error) => {
                self.outcome = Err(error.into());
                return false;
            }
        };
        let (completed, failed) = (&mut self.completed, &mut self.failed);
        self.sessions
            .retain_mut(|session| match session.serve(now, host, &mut busy) {
                Ok(ended) => {
                    *completed += u64::from(ended);
                    !ended
                }
                Err(_) => {
                    host.close(now, session.conn);
                    *failed += 1;
                    false
                }
            });
        busy
    }

    fn finished(&self) -> bool {
        true
    }

    fn outcome(&self) -> Result<(), AppError> {
        self.outcome.clone()
    }
}
