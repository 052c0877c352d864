//! A [`Host`] between threads. packetdrill has two: one that walks through the script, moves packets and time, and one that
//! makes the calls that the script expects to block.
//!
//! Time moves where somebody has it move, never by itself:
//! - `usleep` moves it by so much;
//! - `netdev_receive` moves it to the next packet, but only if the call before found none either: a first call
//!   looks, and one that insists waits;
//! - reading the clock over and over moves it by a microsecond a time once it looks like a loop that waits;
//! - a call that blocks in the thread that set the bench up, for which no other could move time.
//!
//! A call that blocks in another thread is finished by whoever makes it possible, at that very moment, and the thread
//! that made the call reads that moment from the clock next, however late it gets to run. If the time at which it gives up
//! is near and nobody calls for a while, then everybody waits for it, as packetdrill does before some calls and at the end of
//! a script, and time goes on by itself.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use dpdk_net_stack::{Duration, Error, Instant};

use crate::errno::Errno;
use crate::flags::Flags;
use crate::host::{Call, Host, Outcome, Sent};

/// The clock at the start, in seconds since 1970. Any time would do.
pub const START: u64 = 1_700_000_000;
/// How often the clock can be read in a row, nothing else being called, before it is taken for waiting.
const FREE_READS: u32 = 8;
/// How far time moves at most for something to happen: past the longest timer, the keep-alive's two hours.
const HORIZON: Duration = Duration::from_secs(3 * 3_600);
/// Calls that may be blocked at a time.
const MAX_WAITING: usize = 1_024;

/// How long it must be quiet, in real time, until a blocked call moves time by itself: less than packetdrill's patience.
const QUIET: std::time::Duration = std::time::Duration::from_millis(500);
/// How far off its deadline may be then: packetdrill waits for a second.
const NEAR: Duration = Duration::from_secs(1);

/// What `netdev_receive` found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A packet that the host has sent.
    Packet(Sent),
    /// None at this time.
    NotYet,
    /// None, and none will come by itself.
    Never,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    call: Call,
    deadline: Option<Instant>,
    result: Option<Result<Outcome, Errno>>,
    finished: Instant,
}

#[derive(Debug)]
struct State {
    host: Host,
    waiting: Vec<Waiting>,
    tickets: u64,
    /// When the call ended that a thread was blocked in, until that thread has read the clock.
    ended: HashMap<ThreadId, Instant>,
    /// Times the clock was read in a row.
    reads: u32,
    /// Whether the last call was a `netdev_receive` that found nothing.
    dry: bool,
    /// Calls made, of all kinds.
    calls: u64,
}

/// A host that several threads may call.
#[derive(Debug)]
pub struct Bench {
    state: Mutex<State>,
    finished: Condvar,
    driver: ThreadId,
}

impl State {
    /// Any call but reading the clock or waiting for a packet.
    fn busy(&mut self) {
        self.calls += 1;
        self.reads = 0;
        self.dry = false;
    }

    /// Finishes blocked calls that can be finished, or whose time is up. Tells whether there were any.
    fn settle(&mut self) -> bool {
        let now = self.host.now();
        let mut any = false;
        let mut waiting = core::mem::take(&mut self.waiting);
        for entry in waiting.iter_mut().filter(|entry| entry.result.is_none()) {
            let mut result = self.host.attempt(&mut entry.call);
            if result.is_none() && entry.deadline.is_some_and(|deadline| deadline <= now) {
                result = Some(self.host.give_up(entry.call.clone()));
            }
            if result.is_some() {
                entry.result = result;
                entry.finished = now;
                any = true;
            }
        }
        self.waiting = waiting;
        any
    }

    /// Moves time towards `until`, to the next event or deadline at the most. Tells whether it is there.
    fn step(&mut self, until: Instant) -> bool {
        let deadline = self
            .waiting
            .iter()
            .filter(|entry| entry.result.is_none())
            .filter_map(|entry| entry.deadline)
            .fold(until, Instant::min);
        self.host.step(deadline);
        self.host.now() >= until
    }
}

impl Bench {
    /// A host at the start of time. The calling thread is the one that drives it.
    pub fn new(flags: Flags) -> Result<Self, Error> {
        Ok(Bench {
            state: Mutex::new(State {
                host: Host::new(flags, Instant::from_secs(START))?,
                waiting: Vec::new(),
                tickets: 0,
                ended: HashMap::new(),
                reads: 0,
                dry: false,
                calls: 0,
            }),
            finished: Condvar::new(),
            driver: thread::current().id(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, state: &mut State) {
        if state.settle() {
            self.finished.notify_all();
        }
    }

    /// A call that does not block.
    pub fn with<R>(&self, call: impl FnOnce(&mut Host) -> R) -> R {
        let mut state = self.lock();
        state.busy();
        let result = call(&mut state.host);
        state.host.run();
        self.settle(&mut state);
        result
    }

    /// A call that may block: for ever, unless `nonblocking`, or `timeout` says how long.
    pub fn call(
        &self,
        mut call: Call,
        nonblocking: bool,
        timeout: Option<Duration>,
    ) -> Result<Outcome, Errno> {
        let mut state = self.lock();
        state.busy();
        let first = state.host.attempt(&mut call);
        self.settle(&mut state);
        if let Some(result) = first {
            return result;
        }
        if nonblocking {
            return state.host.give_up(call);
        }
        let timeout = timeout.or_else(|| state.host.patience(&call));
        let deadline = timeout.map(|timeout| state.host.now() + timeout);
        if thread::current().id() == self.driver {
            return self.drive(&mut state, call, deadline);
        }
        self.wait(state, call, deadline)
    }

    /// Blocks in the thread that drives: time moves on until the call is finished.
    fn drive(
        &self,
        state: &mut State,
        mut call: Call,
        deadline: Option<Instant>,
    ) -> Result<Outcome, Errno> {
        let horizon = state.host.now() + HORIZON;
        let until = deadline.unwrap_or(horizon).min(horizon);
        loop {
            let there = state.step(until);
            self.settle(state);
            if let Some(result) = state.host.attempt(&mut call) {
                return result;
            }
            if there {
                // Nobody else could make it happen.
                return match deadline {
                    Some(_) => state.host.give_up(call),
                    None => Err(Errno(libc::EDEADLK)),
                };
            }
        }
    }

    /// Blocks in another thread, until the one that drives has finished the call.
    fn wait(
        &self,
        mut state: MutexGuard<'_, State>,
        call: Call,
        deadline: Option<Instant>,
    ) -> Result<Outcome, Errno> {
        if state.waiting.len() >= MAX_WAITING {
            return Err(Errno(libc::ENOMEM));
        }
        let ticket = state.tickets;
        state.tickets += 1;
        let finished = state.host.now();
        state.waiting.push(Waiting {
            ticket,
            call,
            deadline,
            result: None,
            finished,
        });
        loop {
            let mine = state
                .waiting
                .iter()
                .position(|entry| entry.ticket == ticket);
            let Some(index) = mine else {
                // The bench is being taken down.
                return Err(Errno(libc::EINTR));
            };
            if state.waiting[index].result.is_some() {
                let entry = state.waiting.swap_remove(index);
                state.ended.insert(thread::current().id(), entry.finished);
                return entry.result.unwrap_or(Err(Errno(libc::EINTR)));
            }
            let calls = state.calls;
            let waited = self.finished.wait_timeout(state, QUIET);
            let (guard, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() && state.calls == calls {
                self.give_up_soon(&mut state, deadline);
            }
        }
    }

    /// Moves time to the deadline of a call that everybody seems to wait for, if it is near.
    fn give_up_soon(&self, state: &mut State, deadline: Option<Instant>) {
        let near = state.host.now() + NEAR;
        if let Some(deadline) = deadline.filter(|deadline| *deadline <= near) {
            while !state.step(deadline) {
                self.settle(state);
            }
            self.settle(state);
        }
    }

    /// A packet arrives from the network.
    pub fn netdev_send(&self, packet: &[u8]) -> Result<(), Errno> {
        self.with(|host| host.receive(packet))
    }

    /// The next packet that the host sends.
    pub fn netdev_receive(&self) -> Received {
        let mut state = self.lock();
        (state.reads, state.calls) = (0, state.calls + 1);
        if let Some(sent) = state.host.take_sent() {
            state.dry = false;
            return Received::Packet(sent);
        }
        if !state.dry {
            state.dry = true;
            return Received::NotYet;
        }
        let horizon = state.host.now() + HORIZON;
        loop {
            // Without a timer there is nothing to wait for, and the clock stays where it is.
            let blocked = state.waiting.iter().any(|entry| entry.deadline.is_some());
            if state.host.next_timeout().is_none() && !blocked {
                return Received::Never;
            }
            let there = state.step(horizon);
            self.settle(&mut state);
            if let Some(sent) = state.host.take_sent() {
                state.dry = false;
                return Received::Packet(sent);
            }
            if there {
                return Received::Never;
            }
        }
    }

    /// Lets time pass.
    pub fn usleep(&self, time: Duration) {
        let mut state = self.lock();
        state.busy();
        let until = state.host.now() + time;
        loop {
            let there = state.step(until);
            self.settle(&mut state);
            if there {
                return;
            }
        }
    }

    /// The clock.
    pub fn gettimeofday(&self) -> Instant {
        let mut state = self.lock();
        state.calls += 1;
        if let Some(ended) = state.ended.remove(&thread::current().id()) {
            return ended;
        }
        state.dry = false;
        state.reads = state.reads.saturating_add(1);
        if state.reads > FREE_READS {
            let until = state.host.now() + Duration::from_micros(1);
            while !state.step(until) {
                self.settle(&mut state);
            }
            self.settle(&mut state);
        }
        state.host.now()
    }

    /// Whether `fd` is a descriptor of this host.
    pub fn has(&self, fd: i32) -> bool {
        self.lock().host.descriptor(fd).is_ok()
    }

    /// Ends what is blocked and closes all descriptors.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.host.close_all();
        state.waiting.clear();
        self.finished.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> Bench {
        Bench::new(Flags::default()).unwrap()
    }

    fn syn_sent(bench: &Bench) -> i32 {
        let fd = bench
            .with(|host| host.socket(libc::AF_INET, libc::SOCK_STREAM, 0))
            .unwrap();
        let to = "192.0.2.1:8080".parse().unwrap();
        let call = Call::Connect {
            fd,
            to,
            started: false,
        };
        assert_eq!(bench.call(call, true, None), Err(Errno(libc::EINPROGRESS)));
        fd
    }

    #[test]
    fn the_clock_moves_only_when_asked() {
        let bench = bench();
        let start = bench.gettimeofday();
        assert_eq!(start, Instant::from_secs(START));
        bench.usleep(Duration::from_micros(1_500));
        assert_eq!(bench.gettimeofday(), start + Duration::from_micros(1_500));
    }

    #[test]
    fn waiting_by_reading_the_clock_comes_to_an_end() {
        let bench = bench();
        let until = bench.gettimeofday() + Duration::from_micros(20);
        let mut reads = 0;
        while bench.gettimeofday() < until {
            reads += 1;
            assert!(reads < 100);
        }
        assert_eq!(bench.gettimeofday(), until + Duration::from_micros(1));
    }

    #[test]
    fn who_insists_on_a_packet_waits_for_it() {
        let bench = bench();
        let start = bench.gettimeofday();
        syn_sent(&bench);
        let at = |received| match received {
            Received::Packet(sent) => sent.at.saturating_duration_since(start),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(bench.netdev_receive()), Duration::ZERO);
        assert_eq!(bench.netdev_receive(), Received::NotYet);
        assert_eq!(bench.gettimeofday(), start);
        assert_eq!(bench.netdev_receive(), Received::NotYet);
        let again = at(bench.netdev_receive());
        assert!(again >= Duration::from_millis(900), "{again:?}");
    }

    #[test]
    fn where_nothing_can_come_it_is_said() {
        let bench = bench();
        assert_eq!(bench.netdev_receive(), Received::NotYet);
        assert_eq!(bench.netdev_receive(), Received::Never);
    }

    #[test]
    fn a_call_that_only_the_caller_could_finish_does_not_hang() {
        let bench = bench();
        let fd = bench
            .with(|host| {
                let fd = host.socket(libc::AF_INET, libc::SOCK_STREAM, 0)?;
                host.bind(fd, "192.168.3.4:80".parse().unwrap())?;
                host.listen(fd, 1)?;
                Ok::<_, Errno>(fd)
            })
            .unwrap();
        let accepted = bench.call(Call::Accept { fd }, false, None);
        assert_eq!(accepted, Err(Errno(libc::EDEADLK)));
    }

    #[test]
    fn a_connection_to_nobody_times_out_in_virtual_time() {
        let bench = bench();
        let start = bench.gettimeofday();
        let fd = bench
            .with(|host| host.socket(libc::AF_INET, libc::SOCK_STREAM, 0))
            .unwrap();
        let call = Call::Connect {
            fd,
            to: "192.0.2.1:8080".parse().unwrap(),
            started: false,
        };
        let result = bench.call(call, false, None);
        assert_eq!(result, Err(Errno(libc::ETIMEDOUT)));
        let took = bench.gettimeofday().saturating_duration_since(start);
        // RFC 1122 section 4.2.3.5: three minutes at least.
        assert!(took.as_secs() >= 180, "{took:?}");
    }

    #[test]
    fn a_blocked_thread_reads_the_time_at_which_it_was_woken() {
        let bench = bench();
        let start = bench.gettimeofday();
        let timeout = Duration::from_millis(70);
        let (found, at) = polled(&bench, timeout, || bench.usleep(Duration::from_secs(1)));
        assert_eq!((found, at), (0, start + timeout));
    }

    /// A thread blocked in `poll`, and what it finds and when once it is no more.
    fn polled(bench: &Bench, timeout: Duration, meanwhile: impl FnOnce()) -> (i16, Instant) {
        let fd = syn_sent(bench);
        thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let fds = vec![crate::host::PollFd {
                    fd,
                    events: libc::POLLOUT,
                    revents: 0,
                }];
                let polled = bench.call(Call::Poll { fds }, false, Some(timeout));
                (polled, bench.gettimeofday())
            });
            while bench.lock().waiting.is_empty() {
                thread::yield_now();
            }
            meanwhile();
            let (polled, at) = waiter.join().unwrap();
            match polled {
                Ok(Outcome::Polled(fds)) => (fds[0].revents, at),
                other => panic!("{other:?}"),
            }
        })
    }

    #[test]
    fn a_call_that_everybody_waits_for_gives_up_in_time() {
        let bench = bench();
        let start = bench.gettimeofday();
        let timeout = Duration::from_millis(70);
        let (found, at) = polled(&bench, timeout, || {});
        assert_eq!((found, at), (0, start + timeout));
    }

    #[test]
    fn time_stands_still_for_a_call_that_gives_up_much_later() {
        let bench = bench();
        let start = bench.gettimeofday();
        let timeout = Duration::from_millis(1_300);
        let (_, at) = polled(&bench, timeout, || {
            thread::sleep(QUIET * 2);
            assert_eq!(bench.gettimeofday(), start);
            bench.usleep(Duration::from_secs(2));
        });
        assert_eq!(at, start + timeout);
    }
}
