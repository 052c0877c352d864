//! A model of a NIC that cuts large packets (TSO) and makes checksums, in front of a port that does neither.

use std::collections::VecDeque;

use dpdk_net::rte::port::{TxCapabilities, TxOffloads};
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{Mempool, TxBatch, TxMbuf};
use dpdk_net::{BURST, Transmit};
use dpdk_net_testkit::nic::frame;

/// What is the model's and the driver's behind it, as callgrind names it.
pub(crate) const CUT: &str = "queues::cutter::Cutter::carry";

pub(crate) struct Cutter {
    inner: Box<dyn Transmit>,
    /// Where the segments are made.
    pool: Mempool,
    /// Frames for the wire, in order.
    ready: VecDeque<TxMbuf>,
}

impl Cutter {
    pub(crate) fn new(inner: Box<dyn Transmit>, pool: Mempool) -> Self {
        Self {
            inner,
            pool,
            ready: VecDeque::new(),
        }
    }

    /// Takes all of a batch, unless the wire stands still. What there is no mbuf for is lost.
    #[inline(never)]
    fn carry(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut taken = 0;
        self.flush();
        while self.ready.is_empty()
            && let Some(packet) = batch.remove(0)
        {
            self.finish(packet);
            self.flush();
            taken += 1;
        }
        taken
    }

    fn finish(&mut self, packet: TxMbuf) {
        let mbuf = packet.as_mbuf();
        let (asked, segment) = (mbuf.asked_offloads(), mbuf.asked_segment());
        if asked.is_empty() && packet.nb_segs() == 1 {
            self.ready.push_back(packet);
            return;
        }
        let mut bytes = vec![0; packet.pkt_len()];
        packet.copy_to(&mut bytes);
        let frames = match segment {
            0 => {
                frame::fill_ip_checksum(&mut bytes);
                frame::fill_l4_checksum(&mut bytes);
                vec![bytes]
            }
            segment => frame::cut(&bytes, segment.into()),
        };
        for frame in frames {
            if let Some(mut mbuf) = self.pool.alloc()
                && mbuf.append_slice(&frame).is_ok()
            {
                self.ready.push_back(mbuf.into());
            }
        }
    }

    fn flush(&mut self) {
        let mut batch = TxBatch::<BURST>::new();
        while !self.ready.is_empty() {
            while !batch.is_full()
                && let Some(frame) = self.ready.pop_front()
            {
                // There is room.
                let _ = batch.push(frame);
            }
            self.inner.burst(&mut batch);
            if batch.is_empty() {
                continue;
            }
            while let Some(frame) = batch.pop() {
                self.ready.push_front(frame);
            }
            return;
        }
    }
}

impl Transmit for Cutter {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        self.carry(batch)
    }

    fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        Ok(())
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities {
            offloads: TxOffloads::CHECKSUM | TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGS,
            segments_ipv6: true,
            most_segments: 64,
            most_mbufs: 40,
            most_mbufs_plain: 8,
            counts_link_header: false,
            sums_mbufs_apart: false,
        }
    }
}
