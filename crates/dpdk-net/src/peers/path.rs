//! Which queue packets of a flow come to, as far as that can be told; and how many come to each entry of the redirection table.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
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

/// The counts as they are kept now: new ones where what is hashed, or the number of entries, has changed.
#[derive(Default)]
pub(super) struct CurrentLoads {
    loads: RwLock<Option<Arc<Loads>>>,
    /// Goes up with each change, so that workers need not look at the others.
    version: AtomicU64,
}

impl CurrentLoads {
    /// Counts by this from now on, or no more.
    pub(super) fn set(&self, rss: Option<&Rss>, workers: usize) {
        let mut loads = self.loads.write();
        let goes_on = match (&*loads, rss) {
            (Some(loads), Some(rss)) => loads.counts_by(rss),
            (None, None) => true,
            _ => false,
        };
        if !goes_on {
            *loads = rss.map(|rss| Arc::new(Loads::new(rss, workers)));
            self.version.fetch_add(1, Ordering::Release);
        }
    }

    pub(super) fn get(&self) -> Option<Arc<Loads>> {
        self.loads.read().clone()
    }

    #[inline]
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
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

    /// Whether packets come by the same entries with this, whatever queues those lead to.
    fn counts_by(&self, rss: &Rss) -> bool {
        self.rss.hash == rss.hash
            && self.rss.plan == rss.plan
            && self.entries.len() == rss.reta.queues().len()
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

#[cfg(test)]
mod tests {
    use super::*;
    use dpdk_net_packet::toeplitz::MICROSOFT_KEY;

    const OTHER_KEY: [u8; 40] = [0x5a; 40];

    fn rss(key: &[u8], entries: u16, queues: u16) -> Rss {
        Rss {
            hash: Toeplitz::new(key).unwrap(),
            plan: None,
            reta: Reta::uniform(entries, queues).unwrap(),
        }
    }

    #[test]
    fn what_was_counted_stays_until_packets_come_by_other_entries() {
        let loads = CurrentLoads::default();
        let mut versions = vec![loads.version()];
        let mut set = |rss: Option<Rss>| {
            loads.set(rss.as_ref(), 2);
            versions.push(loads.version());
            loads.get()
        };
        let first = set(Some(rss(&MICROSOFT_KEY, 128, 2))).unwrap();
        let same = set(Some(rss(&MICROSOFT_KEY, 128, 1))).unwrap();
        assert!(Arc::ptr_eq(&first, &same), "only the queues are others");
        let key = set(Some(rss(&OTHER_KEY, 128, 2))).unwrap();
        assert!(!Arc::ptr_eq(&first, &key));
        let flow = FiveTuple {
            protocol: Protocol::Tcp,
            src: "198.18.0.2:4242".parse().unwrap(),
            dst: "198.18.0.1:80".parse().unwrap(),
        };
        assert_ne!(key.entry_of(&flow), first.entry_of(&flow));
        let size = set(Some(rss(&OTHER_KEY, 512, 2))).unwrap();
        assert_eq!(size.totals().len(), 512);
        assert!(set(None).is_none());
        assert_eq!(versions, [0, 1, 1, 2, 3, 4]);
    }
}
