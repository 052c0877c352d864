//! Which queue packets of a flow come to, as far as that can be told; and how many come to each entry of the redirection table.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use dpdk_net_packet::toeplitz::{Spread, Toeplitz};
use dpdk_net_packet::{
    ChecksumVerdict, FiveTuple, FrameBuf, Network, Protocol, RxMeta, Transport, parse_checked,
};
use dpdk_net_rte::RxMbuf;
use dpdk_net_rte::port::{Reta, RssPlan};
use parking_lot::RwLock;

/// Whether packets of a flow, as they arrive, come to the queue of this number.
type Returns = Box<dyn Fn(u16, &FiveTuple) -> bool + Send + Sync>;

/// By what a port's RSS chooses queues.
#[derive(Debug, Clone)]
pub(super) struct Rss {
    pub(super) hash: Toeplitz,
    /// What is hashed of which packets; `None` for addresses and ports of all.
    pub(super) plan: Option<RssPlan>,
    pub(super) reta: Reta,
}

impl Rss {
    fn queue_in(&self, table: &[u16], flow: &FiveTuple) -> Option<u16> {
        let spread = Spread::new(&self.hash, table)?;
        match &self.plan {
            Some(plan) => plan.queue_of(&spread, *flow),
            None => spread.queue_of_ports(flow.src, flow.dst),
        }
    }

    pub(super) fn queue_of(&self, flow: &FiveTuple) -> Option<u16> {
        self.queue_in(self.reta.queues(), flow)
    }
}

/// What is known of it.
#[derive(Default)]
pub(super) enum Known {
    #[default]
    Nothing,
    Rss(Box<Rss>),
    Other(Returns),
}

/// Which queue replies come to.
#[derive(Default)]
pub(super) struct ReturnPath(RwLock<Known>);

impl ReturnPath {
    pub(super) fn set(&self, known: Known) {
        *self.0.write() = known;
    }

    /// Changes the redirection table, if it is known that there is one.
    pub(super) fn set_reta(&self, reta: &Reta) {
        if let Known::Rss(rss) = &mut *self.0.write() {
            rss.reta = reta.clone();
        }
    }

    /// Whether packets of a flow come to a worker's queue. Where it can't be told, any queue is as good.
    pub(super) fn returns(&self, worker: u16, flow: &FiveTuple) -> bool {
        match &*self.0.read() {
            Known::Nothing => true,
            Known::Rss(rss) => rss.queue_of(flow).is_none_or(|queue| queue == worker),
            Known::Other(returns) => returns(worker, flow),
        }
    }
}

/// Packets that came to each entry of the redirection table, by each worker's count.
pub(super) struct Loads {
    rss: Rss,
    /// A table whose entries are their own numbers: it tells the entry of a flow.
    entries: Vec<u16>,
    counts: Vec<Box<[AtomicU64]>>,
}

impl fmt::Debug for Loads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loads")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Loads {
    pub(super) fn new(rss: &Rss, workers: usize) -> Self {
        let entries = rss.reta.queues().len();
        let counts = (0..workers).map(|_| (0..entries).map(|_| AtomicU64::new(0)).collect());
        Self {
            rss: rss.clone(),
            entries: (0..=u16::MAX).take(entries).collect(),
            counts: counts.collect(),
        }
    }

    /// The entry that packets of a flow, as they arrive, come by.
    pub(super) fn entry_of(&self, flow: &FiveTuple) -> Option<usize> {
        self.rss.queue_in(&self.entries, flow).map(usize::from)
    }

    /// Counts what came to a worker's queue.
    pub(super) fn count(&self, worker: u16, frames: &[RxMbuf]) {
        let Some(counts) = self.counts.get(usize::from(worker)) else {
            return;
        };
        for frame in frames {
            let entry = match frame.rx_meta().rss_hash {
                Some(hash) => {
                    Spread::new(&self.rss.hash, &self.entries).map(|spread| spread.entry_of(hash))
                }
                None => flow_of(frame.bytes()).and_then(|flow| self.entry_of(&flow)),
            };
            if let Some(count) = entry.and_then(|entry| counts.get(entry)) {
                // Nobody else writes it.
                let packets = count.load(Ordering::Relaxed) + 1;
                count.store(packets, Ordering::Relaxed);
            }
        }
    }

    /// Packets that came to each entry since the start.
    pub(super) fn totals(&self) -> Vec<u64> {
        let mut totals = vec![0; self.entries.len()];
        for counts in &self.counts {
            for (total, count) in totals.iter_mut().zip(counts) {
                *total += count.load(Ordering::Relaxed);
            }
        }
        totals
    }
}

/// The flow that a frame is of, if it has ports.
fn flow_of(frame: &[u8]) -> Option<FiveTuple> {
    // Checksums are the stack's business.
    let meta = RxMeta {
        ip_checksum: ChecksumVerdict::Good,
        l4_checksum: ChecksumVerdict::Good,
        ..RxMeta::default()
    };
    let parsed = parse_checked(frame, &meta).ok()?;
    let Network::Ip(ip, transport) = &parsed.network else {
        return None;
    };
    let (protocol, from, to) = match transport {
        Transport::Tcp(tcp) => (Protocol::Tcp, tcp.src_port(), tcp.dst_port()),
        Transport::Udp(udp) => (Protocol::Udp, udp.src_port(), udp.dst_port()),
        _ => return None,
    };
    Some(FiveTuple {
        protocol,
        src: SocketAddr::new(ip.src(), from),
        dst: SocketAddr::new(ip.dst(), to),
    })
}
