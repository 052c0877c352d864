//! The load: a bare stack on the other port, polled as a task of the server's runtime, that times itself; and the server's worker.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::Context;
use dpdk_net::runtime::Runtime;
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Eal, MbufBatch, Mempool, QueuePair};
use dpdk_net_stack::{
    Config, Event, Instant as StackInstant, Readiness, Stack, TcpId, TxMeta, TxSink,
};
use tokio::sync::Notify;

use crate::host::joined;

/// The function whose instructions are the client's, as callgrind names it.
pub const STEP: &str = "dpdk_net_bench::client::Client::step";
/// How long it may take: minutes under callgrind.
const LIMIT: Duration = Duration::from_secs(300);
/// Connections being opened at a time.
const OPENING: usize = 64;

/// Frames to send, in mbufs.
struct Output {
    pool: Mempool,
    spare: MbufBatch,
    unsent: MbufBatch,
}

impl TxSink for Output {
    fn capacity(&mut self) -> usize {
        let want = self.spare.capacity() - self.spare.len();
        // A dry pool is back-pressure: what is in hand is what can be sent.
        let _ = self.pool.alloc_bulk(&mut self.spare, want);
        self.spare
            .len()
            .min(self.unsent.capacity() - self.unsent.len())
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        match self.spare.pop() {
            Some(mut mbuf) if mbuf.tailroom() >= len => {
                let result = match mbuf.append(len) {
                    Ok(frame) => fill(frame),
                    Err(_) => fill(&mut vec![0; len]),
                };
                let _ = self.unsent.push(mbuf);
                result
            }
            _ => fill(&mut vec![0; len]),
        }
    }
}

/// Opens connections and keeps some of them busy with one request each at a time.
pub struct Client {
    stack: Stack,
    clock: TscClock,
    queues: QueuePair,
    received: MbufBatch,
    output: Output,
    server: SocketAddr,
    request: &'static [u8],
    /// What an answer ends with.
    answer_end: &'static [u8],
    to_open: usize,
    opening: usize,
    open: Vec<TcpId>,
    requests: usize,
    asked: usize,
    answered: usize,
    resting: bool,
    busy_time: Duration,
    finished_at: Instant,
    failure: Option<String>,
    /// Told when what was asked for is done, or failed.
    done: Rc<Notify>,
}

impl Client {
    /// A client over a port's queues that asks `server` for `request`, and knows an answer by its end.
    ///
    /// # Errors
    /// Those of the stack's configuration.
    pub fn new(
        eal: &Eal,
        queues: QueuePair,
        pool: Mempool,
        config: Config,
        server: SocketAddr,
        (request, answer_end): (&'static [u8], &'static [u8]),
    ) -> anyhow::Result<Self> {
        let clock = TscClock::new(eal);
        Ok(Self {
            stack: Stack::new(config, StackInstant::from_nanos(clock.nanos()))?,
            clock,
            queues,
            received: MbufBatch::new(),
            output: Output {
                pool,
                spare: MbufBatch::new(),
                unsent: MbufBatch::new(),
            },
            server,
            request,
            answer_end,
            to_open: 0,
            opening: 0,
            open: Vec::new(),
            requests: 0,
            asked: 0,
            answered: 0,
            resting: false,
            busy_time: Duration::ZERO,
            finished_at: Instant::now(),
            failure: None,
            done: Rc::default(),
        })
    }

    /// Has `connections` opened, a few at a time.
    pub fn open(&mut self, connections: usize) {
        self.to_open = connections;
    }

    /// Connections that are open.
    pub fn opened(&self) -> usize {
        self.open.len()
    }

    /// Has `busy` connections, evenly among the open ones, do `requests` in all.
    pub fn begin(&mut self, busy: usize, requests: usize) {
        self.requests = requests;
        self.busy_time = Duration::ZERO;
        let stride = (self.open.len() / busy).max(1);
        let ids: Vec<TcpId> = self
            .open
            .iter()
            .copied()
            .step_by(stride)
            .take(busy)
            .collect();
        for id in ids {
            self.ask(id);
        }
    }

    /// Requests that are answered.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// When the last answer came.
    pub fn finished_at(&self) -> Instant {
        self.finished_at
    }

    /// Time spent in the client since [`begin`](Self::begin).
    pub fn busy_time(&self) -> Duration {
        self.busy_time
    }

    /// Ends the client's part: from here the server's worker is alone.
    pub fn rest(&mut self) {
        self.resting = true;
    }

    /// Where it is told that all connections are open, all requests are answered, or something failed.
    fn done(&self) -> Rc<Notify> {
        self.done.clone()
    }

    fn fail(&mut self, failure: String) {
        self.failure = Some(failure);
        self.done.notify_one();
    }

    /// What went wrong, if anything did.
    fn check(&self) -> anyhow::Result<()> {
        match &self.failure {
            Some(failure) => anyhow::bail!("the client: {failure}"),
            None => Ok(()),
        }
    }

    fn ask(&mut self, id: TcpId) {
        if self.asked < self.requests {
            self.asked += 1;
            if let Err(error) = self.stack.tcp_send(id, self.request) {
                self.fail(error.to_string());
            }
        }
    }

    /// One turn: receive, answer what came with the next request, send.
    #[inline(never)]
    fn step(&mut self) {
        self.received.clear();
        self.queues.rx.rx_burst(&mut self.received);
        let now = StackInstant::from_nanos(self.clock.nanos());
        if !self.received.is_empty() {
            self.stack.ingest(now, self.received.as_slice());
        }
        if self.stack.next_timeout().is_some_and(|at| at <= now) {
            self.stack.handle_timeout(now);
        }
        while let Some(event) = self.stack.poll_event() {
            self.handle(event);
        }
        while self.opening < OPENING && self.open.len() + self.opening < self.to_open {
            match self.stack.tcp_connect(now, None, self.server) {
                Ok(_) => self.opening += 1,
                Err(error) => {
                    self.fail(error.to_string());
                    break;
                }
            }
        }
        self.stack.poll_transmit(now, &mut self.output);
        self.queues.tx.tx_burst(&mut self.output.unsent);
    }

    fn handle(&mut self, event: Event) {
        let Event::Tcp(id, readiness) = event else {
            return;
        };
        if readiness.contains(Readiness::CLOSED) {
            let error = self.stack.tcp_take_error(id);
            self.fail(format!("a connection ended: {error:?}"));
            return;
        }
        if readiness.contains(Readiness::CONNECTED) {
            self.opening -= 1;
            self.open.push(id);
            if self.open.len() == self.to_open {
                self.done.notify_one();
            }
        }
        if readiness.contains(Readiness::READABLE) {
            let mut buf = [0; 512];
            match self.stack.tcp_recv(id, &mut buf) {
                // Part of an answer, or another one, would make the figures wrong.
                Ok(len @ 1..)
                    if !buf
                        .get(..len)
                        .is_some_and(|got| got.ends_with(self.answer_end)) =>
                {
                    let got = String::from_utf8_lossy(&buf[..len]);
                    self.fail(format!("not a whole answer in one segment: {got:?}"));
                }
                Ok(1..) => {
                    self.answered += 1;
                    if self.answered == self.requests {
                        self.finished_at = Instant::now();
                        self.done.notify_one();
                    }
                    self.ask(id);
                }
                Ok(0) | Err(_) => {}
            }
        }
    }
}

/// A worker of any runtime over one end of a cable of rings, and a client over the other that is a task of it.
///
/// # Errors
/// Those of DPDK, the worker and the client.
pub fn facing<R: Runtime>(
    eal: &Eal,
    [server, client]: [Config; 2],
    local: SocketAddr,
    conversation: (&'static [u8], &'static [u8]),
) -> anyhow::Result<(Worker<R>, Rc<RefCell<Client>>)> {
    let [(queues, pool), (client_queues, client_pool)] = joined(eal)?;
    let worker = Worker::<R>::on(vec![WorkerConfig::new(eal, queues, pool, server)])?;
    let client = Client::new(eal, client_queues, client_pool, client, local, conversation)?;
    let client = Rc::new(RefCell::new(client));
    worker.spawn_local(drive(client.clone()));
    Ok((worker, client))
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("server", &self.server)
            .field("open", &self.opened())
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

/// Runs the client a step whenever the runtime gets to it, until it rests.
pub async fn drive(client: Rc<RefCell<Client>>) {
    poll_fn(|cx| {
        let mut client = client.borrow_mut();
        if client.resting {
            return Poll::Ready(());
        }
        let start = Instant::now();
        client.step();
        client.busy_time += start.elapsed();
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits until the client has what it was asked for.
///
/// # Errors
/// A connection ended, an answer is another one, or it takes minutes.
pub async fn done(client: &Rc<RefCell<Client>>) -> anyhow::Result<()> {
    let done = client.borrow().done();
    dpdk_net::time::timeout(LIMIT, done.notified())
        .await
        .with_context(|| {
            let client = client.borrow();
            let (open, answered) = (client.opened(), client.answered());
            format!("the client is not done within {LIMIT:?}: {open} open, {answered} answered")
        })?;
    client.borrow().check()
}
