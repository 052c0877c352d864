//! What is listed beside connections: handshakes that are not complete, TIME-WAIT, and which timer runs.

use core::net::SocketAddr;

use super::flow::{Flow, Wait};
use super::listener::HalfId;
use super::table::FlowKey;
use super::time_wait::TimeWaitId;
use super::{Settings, Tcp, TcpState};
use crate::listing::{ListPage, ListPlace};
use crate::time::{Duration, Instant};
use crate::wheel::TimerId;

/// What a timer waits for, in Linux' words (`tcpi_timer`, ss(8) `-o`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TcpTimerKind {
    /// Something is sent again: the retransmission timeout, or one of RACK-TLP's.
    On,
    /// The peer is asked whether it is still there.
    Keepalive,
    /// The end of TIME-WAIT.
    TimeWait,
    /// The peer's window is probed.
    Persist,
}

/// A timer that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpTimer {
    /// What for.
    pub kind: TcpTimerKind,
    /// When it runs out, from now; zero if it is due.
    pub expires: Duration,
    /// How often it has run out in a row.
    pub retransmits: u8,
}

impl TcpTimer {
    fn new(kind: TcpTimerKind, now: Instant, at: Instant, retransmits: u8) -> Self {
        let expires = Duration::from_nanos(at.as_nanos().saturating_sub(now.as_nanos()));
        TcpTimer {
            kind,
            expires,
            retransmits,
        }
    }
}

/// A connection of which little is kept: a handshake that is not complete (`SynReceived`), or `TimeWait` without a socket. What ss(8)
/// calls a minisocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpMinisocket {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// What it waits for.
    pub timer: Option<TcpTimer>,
}

impl Flow {
    /// The timer that ss(8) would show; others, such as that of delayed ACKs, may run too.
    pub(crate) fn timer(&self, now: Instant, config: &Settings) -> Option<TcpTimer> {
        if self.state() == TcpState::TimeWait {
            return Some(TcpTimer::new(TcpTimerKind::TimeWait, now, self.expires, 0));
        }
        let (wait, at) = if self.is_calm() {
            self.calm_wait(&config.nanos)
        } else {
            (self.wait, self.wait_until)
        };
        let kind = match wait {
            Wait::Retransmit | Wait::Probe | Wait::Reorder => TcpTimerKind::On,
            Wait::Persist => TcpTimerKind::Persist,
            Wait::Nothing => {
                let keepalive = self.rare.as_ref()?.keepalive?;
                let (config, probes) = (keepalive.config, keepalive.probes);
                let at = self.heard + config.idle + config.interval * u32::from(probes);
                let runs = self.state().is_synchronized();
                return runs.then(|| TcpTimer::new(TcpTimerKind::Keepalive, now, at, probes));
            }
        };
        Some(TcpTimer::new(kind, now, at, self.backoff))
    }
}

impl Tcp {
    /// Some of the handshakes that are not complete, from a place on.
    pub(crate) fn halves(
        &self,
        now: Instant,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(HalfId, TcpMinisocket)> {
        self.syn_queue.entries.page(from, most, |_, half| {
            let kind = (TcpTimerKind::On, half.retries);
            self.minisocket(now, TcpState::SynReceived, &half.key, half.timer, kind)
        })
    }

    /// Some of the connections in TIME-WAIT that the application has let go of, from a place on.
    pub(crate) fn time_waits(
        &self,
        now: Instant,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(TimeWaitId, TcpMinisocket)> {
        self.time_waits.entries.page(from, most, |_, entry| {
            let kind = (TcpTimerKind::TimeWait, 0);
            self.minisocket(now, TcpState::TimeWait, &entry.key, entry.timer, kind)
        })
    }

    fn minisocket(
        &self,
        now: Instant,
        state: TcpState,
        key: &FlowKey,
        timer: TimerId,
        (kind, retransmits): (TcpTimerKind, u8),
    ) -> TcpMinisocket {
        let at = self.wheel.deadline(timer);
        TcpMinisocket {
            local: key.local(),
            peer: key.remote(),
            state,
            timer: at.map(|at| TcpTimer::new(kind, now, at, retransmits)),
        }
    }
}
