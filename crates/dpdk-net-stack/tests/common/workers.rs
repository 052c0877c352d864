//! Several workers of one service, each with a stack of the same addresses (host 1), behind a switch that decides whose queue a
//! frame comes to; and a peer (host 2) with a stack of its own. What strays is handed over.

use std::collections::VecDeque;
use std::sync::Arc;

use dpdk_net_stack::{Config, Duration, Error, Instant, Stack, SteeringTable, StrayFrame, TcpId};

use super::{Family, Sink, config, mac};

/// The queue that a frame comes to.
pub type Rss = Box<dyn FnMut(&[u8]) -> usize>;
/// Whether a frame gets through; the flag tells whether it is one for the service.
pub type Loss = Box<dyn FnMut(bool, &[u8]) -> bool>;

pub struct Service {
    pub workers: Vec<Stack>,
    pub peer: Stack,
    pub steering: Arc<SteeringTable>,
    pub now: Instant,
    pub rss: Rss,
    pub loss: Loss,
    /// Frames that were handed over, a copy for each worker, and those of them that were put together from fragments.
    pub handed: usize,
    pub made: usize,
    /// Whether frames of workers to the peer go through, and all that they have sent.
    pub sent: Vec<(usize, Vec<u8>)>,
    to_service: VecDeque<(Instant, Vec<u8>)>,
    to_peer: VecDeque<(Instant, Vec<u8>)>,
}

const LATENCY: Duration = Duration::from_micros(50);

impl Service {
    /// So many workers; frames come to the first one's queue.
    pub fn new(workers: usize) -> Self {
        Self::with(workers, SteeringTable::new(&[9; 32], 1_024, 64), |_| {})
    }

    pub fn with(workers: usize, steering: SteeringTable, change: impl Fn(&mut Config)) -> Self {
        let now = Instant::from_secs(1_000);
        let steering = Arc::new(steering);
        let stack = |worker: usize| {
            let mut config = config(1);
            config.worker = worker as u16;
            change(&mut config);
            let mut stack = Stack::with_steering(config, steering.clone(), now).unwrap();
            for family in [Family::V4, Family::V6] {
                stack.add_neighbor(family.host(2), mac(2));
            }
            stack
        };
        let workers = (0..workers).map(stack).collect();
        let mut config = config(2);
        change(&mut config);
        let mut peer = Stack::new(config, now).unwrap();
        for family in [Family::V4, Family::V6] {
            peer.add_neighbor(family.host(1), mac(1));
        }
        Service {
            workers,
            peer,
            steering,
            now,
            rss: Box::new(|_| 0),
            loss: Box::new(|_, _| true),
            handed: 0,
            made: 0,
            sent: Vec::new(),
            to_service: VecDeque::new(),
            to_peer: VecDeque::new(),
        }
    }

    /// Gives frames to the worker whose queue they come to, and what strays to whom it belongs.
    pub fn receive(&mut self, worker: usize, frames: &[Vec<u8>]) {
        self.workers[worker].ingest(self.now, frames);
        let strays: Vec<_> = self.workers[worker].strays().collect();
        let mut last = None;
        for stray in strays {
            let frame = match stray.frame {
                StrayFrame::Given(index) => {
                    assert!(last < Some(index), "out of order");
                    last = Some(index);
                    frames[index].clone()
                }
                StrayFrame::Made(frame) => {
                    self.made += 1;
                    frame
                }
            };
            assert!(!stray.workers.is_empty() && !stray.workers.contains(worker as u16));
            for to in stray.workers.iter() {
                self.handed += 1;
                let to = &mut self.workers[usize::from(to)];
                to.ingest_handed(self.now, &[&frame]);
                assert_eq!(to.strays().count(), 0, "nothing is handed over twice");
            }
        }
    }

    fn settle(&mut self) -> bool {
        let now = self.now;
        let mut busy = false;
        let mut queues = vec![Vec::new(); self.workers.len()];
        for frame in arrived(&mut self.to_service, now) {
            queues[(self.rss)(&frame)].push(frame);
        }
        for (worker, frames) in queues.iter().enumerate() {
            if !frames.is_empty() {
                busy = true;
                self.receive(worker, frames);
            }
        }
        let frames = arrived(&mut self.to_peer, now);
        busy |= !frames.is_empty();
        self.peer.ingest(now, &frames);
        let workers = self.workers.iter_mut().enumerate();
        let all = workers.map(|(at, stack)| (Some(at), stack));
        for (worker, stack) in all.chain([(None, &mut self.peer)]) {
            if stack.next_timeout().is_some_and(|at| at <= now) {
                stack.handle_timeout(now);
            }
            let (room, mut frames) = (usize::MAX, Vec::new());
            let frames_sent = &mut frames;
            stack.poll_transmit(
                now,
                &mut Sink {
                    room,
                    frames: frames_sent,
                },
            );
            while stack.poll_event().is_some() {}
            busy |= !frames.is_empty();
            for frame in frames {
                let through = (self.loss)(worker.is_none(), &frame);
                let wire = match worker {
                    Some(worker) => {
                        self.sent.push((worker, frame.clone()));
                        &mut self.to_peer
                    }
                    None => &mut self.to_service,
                };
                if through {
                    wire.push_back((now + LATENCY, frame));
                }
            }
        }
        busy
    }

    /// Runs until `done`; panics after so long.
    pub fn run_until(
        &mut self,
        time: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) {
        let limit = self.now + time;
        loop {
            while self.settle() {}
            if done(self) {
                return;
            }
            if self.settle() {
                continue;
            }
            let wires = [self.to_service.front(), self.to_peer.front()];
            let arrivals = wires.into_iter().flatten().map(|(at, _)| *at);
            let stacks = self.workers.iter().chain([&self.peer]);
            let next = arrivals.chain(stacks.filter_map(Stack::next_timeout)).min();
            let next = next
                .unwrap_or(limit)
                .max(self.now + Duration::from_micros(1));
            assert!(self.now < limit, "not within {time:?}: {what}");
            self.now = next.min(limit);
        }
    }

    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        self.run_until(time, "", |service| service.now >= limit);
    }

    /// Sends the peer's `data` to a worker's connection, or that one's to the peer.
    pub fn transfer(
        &mut self,
        (worker, id): (usize, TcpId),
        peer: TcpId,
        data: &[u8],
        to_peer: bool,
    ) {
        let (mut sent, mut got) = (0, Vec::new());
        self.run_until(Duration::from_secs(60), "transfer", |service| {
            let (from, to) = (&mut service.peer, &mut service.workers[worker]);
            let ((from, from_id), (to, to_id)) = match to_peer {
                false => ((from, peer), (to, id)),
                true => ((to, id), (from, peer)),
            };
            while sent < data.len() {
                match from.tcp_send(from_id, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("send: {error}"),
                }
            }
            let mut buf = vec![0; 65_536];
            while let Ok(n) = to.tcp_recv(to_id, &mut buf) {
                assert!(n > 0, "the end after {} bytes", got.len());
                got.extend_from_slice(&buf[..n]);
            }
            got.len() >= data.len()
        });
        assert!(got == data, "what arrived is not what was sent");
    }
}

/// The frames that have arrived by now.
fn arrived(wire: &mut VecDeque<(Instant, Vec<u8>)>, now: Instant) -> Vec<Vec<u8>> {
    let due = wire.partition_point(|(at, _)| *at <= now);
    wire.drain(..due).map(|(_, frame)| frame).collect()
}
