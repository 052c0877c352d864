//! Two stacks on a wire in virtual time.

use std::collections::VecDeque;

use dpdk_net_stack::{
    Config, Duration, Error, Event, Instant, ListenOptions, ListenerId, Readiness, Stack, TcpId,
};

use super::{Family, PORT, Sink, config};

/// Whether a frame gets through to this host.
pub type Filter = Box<dyn FnMut(usize, &[u8]) -> bool>;

/// Two stacks, host 1 (the server) and host 2 (the client), and the wire between.
pub struct Pair {
    pub stacks: [Stack; 2],
    pub now: Instant,
    pub latency: Duration,
    /// Room in each host's TX ring at each look; `usize::MAX` is no limit.
    pub room: [usize; 2],
    wire: VecDeque<(Instant, usize, Vec<u8>)>,
    /// Decides which frames get through.
    pub filter: Filter,
    pub events: [Vec<Event>; 2],
}

pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;

impl Pair {
    pub fn new() -> Self {
        Self::with(config(1), config(2))
    }

    pub fn with(server: Config, client: Config) -> Self {
        let now = Instant::from_secs(1_000);
        Pair {
            stacks: [
                Stack::new(server, now).unwrap(),
                Stack::new(client, now).unwrap(),
            ],
            now,
            latency: Duration::from_micros(50),
            room: [usize::MAX; 2],
            wire: VecDeque::new(),
            filter: Box::new(|_, _| true),
            events: [Vec::new(), Vec::new()],
        }
    }

    pub fn server(&mut self) -> &mut Stack {
        &mut self.stacks[SERVER]
    }

    pub fn client(&mut self) -> &mut Stack {
        &mut self.stacks[CLIENT]
    }

    /// Lets everything happen that happens now; tells whether anything did.
    fn settle(&mut self) -> bool {
        let mut busy = false;
        for host in [SERVER, CLIENT] {
            let mut batch = Vec::new();
            let mut i = 0;
            while i < self.wire.len() {
                if self.wire[i].1 == host && self.wire[i].0 <= self.now {
                    batch.extend(self.wire.remove(i).map(|(_, _, frame)| frame));
                } else {
                    i += 1;
                }
            }
            busy |= !batch.is_empty();
            let stack = &mut self.stacks[host];
            stack.ingest(self.now, &batch);
            if stack.next_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
            let mut out = Vec::new();
            let sent = stack.poll_transmit(
                self.now,
                &mut Sink {
                    room: self.room[host],
                    frames: &mut out,
                },
            );
            assert_eq!(sent, out.len());
            busy |= sent > 0;
            while let Some(event) = stack.poll_event() {
                busy = true;
                self.events[host].push(event);
            }
            let to = 1 - host;
            for frame in out {
                if (self.filter)(to, &frame) {
                    self.wire.push_back((self.now + self.latency, to, frame));
                }
            }
        }
        busy
    }

    /// Jumps to the next thing that happens, `limit` at most; `false` if that was reached.
    fn jump(&mut self, limit: Instant) -> bool {
        // In debug builds gauges check that what is kept by state is what there is.
        for stack in &self.stacks {
            let _ = stack.gauges();
        }
        let arrivals = self.wire.iter().map(|(at, _, _)| *at).min();
        let timers = self.stacks.iter().filter_map(Stack::next_timeout).min();
        let next = arrivals
            .into_iter()
            .chain(timers)
            .min()
            .unwrap_or(Instant::MAX)
            .max(self.now);
        if next > limit {
            self.now = limit;
            return false;
        }
        // A timer may be due already, but its work wait for room: time has to pass all the same.
        self.now = next.max(self.now + Duration::from_micros(1));
        true
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        loop {
            while self.settle() {}
            if !self.jump(limit) {
                while self.settle() {}
                return;
            }
        }
    }

    /// Runs until `done`, or panics after so long.
    pub fn run_until(
        &mut self,
        time: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) {
        let limit = self.now + time;
        loop {
            loop {
                while self.settle() {}
                if done(self) {
                    return;
                }
                // What `done` did may have something to send.
                if !self.settle() {
                    break;
                }
            }
            assert!(self.jump(limit), "not within {time:?}: {what}");
        }
    }

    pub fn listen(&mut self, family: Family) -> ListenerId {
        self.server()
            .tcp_listen(ListenOptions::new(family.any(PORT)))
            .unwrap()
    }

    pub fn connect(&mut self, family: Family) -> TcpId {
        let now = self.now;
        self.client()
            .tcp_connect(now, None, family.at(1, PORT))
            .unwrap()
    }

    /// A listener and an established connection: the client's id and the server's.
    pub fn establish(&mut self, family: Family) -> (TcpId, TcpId) {
        let listener = self.listen(family);
        let client = self.connect(family);
        let mut server = None;
        self.run_until(Duration::from_secs(10), "accept", |pair| {
            server = server.or_else(|| pair.server().tcp_accept(listener).ok().map(|(id, _)| id));
            server.is_some()
        });
        assert!(
            self.client()
                .tcp_readiness(client)
                .contains(Readiness::CONNECTED)
        );
        (client, server.unwrap())
    }

    /// Sends `data` from `from` of host `host` to `to` of the other host and checks what arrives.
    pub fn transfer(&mut self, host: usize, from: TcpId, to: TcpId, data: &[u8], time: Duration) {
        let (mut sent, mut received) = (0, Vec::new());
        let mut buf = vec![0; 16 * 1024];
        self.run_until(time, "transfer", |pair| {
            while sent < data.len() {
                match pair.stacks[host].tcp_send(from, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("send: {error}"),
                }
            }
            loop {
                match pair.stacks[1 - host].tcp_recv(to, &mut buf) {
                    Ok(0) => panic!("end of stream after {} bytes", received.len()),
                    Ok(n) => received.extend_from_slice(&buf[..n]),
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("receive: {error}"),
                }
            }
            received.len() >= data.len()
        });
        assert!(received == data, "what arrived is not what was sent");
    }
}
