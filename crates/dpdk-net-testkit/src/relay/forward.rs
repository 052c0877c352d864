//! The loop of a relay: waits for frames, for the time of frames that wait, and for orders.

use std::io::{self, Read};
use std::num::NonZeroU64;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::direction::Direction;
use super::socket::PacketSocket;
use super::{End, RelayStats, Shared, lock};
use crate::Instant;

/// Longer than any frame: offloads make them up to 64 KiB and their headers.
const LONGEST: usize = 1 << 17;
/// Frames taken from a side before the other one's turn.
const BURST: usize = 64;
/// How often the counters are published.
const PUBLISH: Duration = Duration::from_millis(50);

pub(super) struct Forward {
    sockets: [PacketSocket; 2],
    /// What happens to frames that arrive at the socket of the same index.
    directions: [Direction; 2],
    woken: UnixStream,
    shared: Arc<Shared>,
    origin: std::time::Instant,
    buffer: Vec<u8>,
}

impl Forward {
    pub(super) fn open(
        left: &End,
        right: &End,
        directions: [Direction; 2],
        woken: UnixStream,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        if left == right {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("both sides of the relay are {left}: it needs two interfaces"),
            ));
        }
        Ok(Self {
            sockets: [PacketSocket::open(left)?, PacketSocket::open(right)?],
            directions,
            woken,
            shared,
            origin: std::time::Instant::now(),
            buffer: vec![0; LONGEST],
        })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// Forwards until told to stop, or until an interface is gone.
    pub(super) fn run(&mut self) -> io::Result<()> {
        // The kernel wakes a thread up to 50 us late by default: that would be jitter nobody asked for.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        // Nor should it wait behind the programs whose network it is; for this thread alone, where it is allowed.
        let _ = rustix::process::nice(-15);
        let mut publish_at = Instant::ZERO;
        let result = loop {
            let step = self.step(&mut publish_at);
            if !matches!(step, Ok(true)) {
                break step.map(drop);
            }
        };
        self.publish();
        result
    }

    /// One turn; `false` when told to stop.
    fn step(&mut self, publish_at: &mut Instant) -> io::Result<bool> {
        for side in 0..2 {
            self.send_due(side)?;
        }
        let now = self.now();
        if now >= *publish_at {
            self.publish();
            *publish_at = now + PUBLISH;
        }
        let next = self
            .directions
            .iter()
            .filter_map(Direction::next_due)
            .fold(*publish_at, Instant::min);
        let [left, right, orders] = self.wait(next.saturating_duration_since(self.now()))?;
        if orders && !self.take_orders() {
            return Ok(false);
        }
        if left {
            self.receive(0)?;
        }
        if right {
            self.receive(1)?;
        }
        Ok(true)
    }

    /// Waits for frames from the left, from the right, or for orders; tells which.
    fn wait(&self, timeout: Duration) -> io::Result<[bool; 3]> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let [left, right] = &self.sockets;
        let mut fds = [left.as_fd(), right.as_fd(), self.woken.as_fd()]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok(fds.map(|fd| !fd.revents().is_empty())),
            Err(Errno::INTR) => Ok([false; 3]),
            Err(errno) => Err(errno.into()),
        }
    }

    fn receive(&mut self, side: usize) -> io::Result<()> {
        for _ in 0..BURST {
            let Some(len) = self.sockets[side].receive(&mut self.buffer)? else {
                break;
            };
            let now = self.now();
            self.directions[side].offer(now, &self.buffer[..len]);
        }
        Ok(())
    }

    fn send_due(&mut self, side: usize) -> io::Result<()> {
        let now = self.now();
        let other = &self.sockets[1 - side];
        self.directions[side].release(now, |frame| other.send(frame))
    }

    /// Takes what was ordered; `false` to stop.
    fn take_orders(&mut self) -> bool {
        while matches!(self.woken.read(&mut [0; 64]), Ok(1..)) {}
        let mut order = lock(&self.shared.order);
        if let Some((there, back)) = order.links.take() {
            self.directions[0].configure(there);
            self.directions[1].configure(back);
        }
        !order.stop
    }

    fn publish(&self) {
        let [there, back] = &self.directions;
        *lock(&self.shared.stats) = RelayStats {
            there: there.stats(),
            back: back.stats(),
        };
    }
}
