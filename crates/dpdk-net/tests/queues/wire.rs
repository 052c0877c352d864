//! The model of a NIC between two ports: it gives each packet to a queue, by RSS or at random.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dpdk_net::packet::toeplitz::{MICROSOFT_KEY, Spread, Toeplitz};
use dpdk_net::packet::{ChecksumVerdict, FiveTuple, Network, RxMeta, Transport, parse_checked};
use dpdk_net::rte::TxBatch;
use dpdk_net::rte::port::{Reta, TxCapabilities};
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::{BURST, Transmit};

/// How the model of a NIC chooses the queue that a packet arrives at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spreading {
    /// By the Toeplitz hash of addresses and ports, ARP and the like to queue 0.
    Rss,
    /// Each packet by itself, whatever flow it is of.
    Random,
}

/// Entries of the model's redirection table.
pub(crate) const RETA: usize = 128;

/// The table that the model begins with.
pub(crate) fn reta(queues: u16) -> Reta {
    Reta::uniform(RETA as u16, queues).unwrap()
}

/// Which queue a flow's packets arrive at by RSS.
pub(crate) fn rss_queue(hash: &Toeplitz, reta: &Reta, flow: &FiveTuple) -> u16 {
    let spread = Spread::new(hash, reta.queues()).unwrap();
    spread.queue_of_ports(flow.src, flow.dst).unwrap()
}

/// The TX queues of a port, through which packets come to the peer's RX queues of the same numbers.
pub(crate) struct Wire {
    pub(crate) queues: Mutex<Vec<Box<dyn Transmit>>>,
    pub(crate) spreading: Spreading,
    pub(crate) hash: Toeplitz,
    pub(crate) reta: Mutex<Reta>,
    pub(crate) random: AtomicU64,
    /// ARP packets.
    pub(crate) asked: AtomicU64,
}

/// The end of it that one worker has.
pub(crate) struct End(pub(crate) Arc<Wire>);

impl Wire {
    pub(crate) fn new(spreading: Spreading, queues: u16) -> Arc<Self> {
        Arc::new(Wire {
            queues: Mutex::new(Vec::new()),
            spreading,
            hash: Toeplitz::new(&MICROSOFT_KEY).unwrap(),
            reta: Mutex::new(reta(queues)),
            random: AtomicU64::new(1),
            asked: AtomicU64::new(0),
        })
    }

    pub(crate) fn queue_of(&self, frame: &[u8], queues: u16) -> u16 {
        let meta = RxMeta {
            ip_checksum: ChecksumVerdict::Good,
            l4_checksum: ChecksumVerdict::Good,
            ..RxMeta::default()
        };
        let parsed = parse_checked(frame, &meta);
        let flow = match &parsed {
            Ok(parsed) => match &parsed.network {
                Network::Ip(ip, Transport::Tcp(tcp)) => {
                    Some((ip.src(), tcp.src_port(), ip.dst(), tcp.dst_port()))
                }
                Network::Ip(ip, Transport::Udp(udp)) => {
                    Some((ip.src(), udp.src_port(), ip.dst(), udp.dst_port()))
                }
                Network::Arp(_) => {
                    self.asked.fetch_add(1, Ordering::Relaxed);
                    None
                }
                _ => None,
            },
            Err(_) => None,
        };
        if self.spreading == Spreading::Random {
            let old = self.random.load(Ordering::Relaxed);
            let new = old
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.random.store(new, Ordering::Relaxed);
            return ((new >> 33) % u64::from(queues)) as u16;
        }
        flow.map_or(0, |(src, from, dst, to)| {
            let flow = FiveTuple {
                protocol: dpdk_net::packet::Protocol::Tcp,
                src: SocketAddr::new(src, from),
                dst: SocketAddr::new(dst, to),
            };
            rss_queue(&self.hash, &self.reta.lock().unwrap(), &flow)
        })
    }
}

impl Transmit for End {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut queues = self.0.queues.lock().unwrap();
        let mut sent = 0;
        for packet in batch.drain() {
            let frame: Vec<u8> = packet.segments().flatten().copied().collect();
            let queue = self.0.queue_of(&frame, queues.len() as u16);
            let mut one = TxBatch::new();
            one.push(packet).unwrap();
            // The rings are long enough for all that can be on its way.
            assert_eq!(
                queues[usize::from(queue)].burst(&mut one),
                1,
                "a ring is full"
            );
            sent += 1;
        }
        sent
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.0.queues.lock().unwrap()[0].prepare(batch)
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities::NONE
    }
}
