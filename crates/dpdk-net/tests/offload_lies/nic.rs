//! A NIC in front of a port without offloads: it offers some, does what is asked of it, or breaks its word.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dpdk_net::rte::port::{TxCapabilities, TxOffloads};
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{Error, Mempool, TxBatch, TxMbuf};
use dpdk_net::{BURST, Transmit};
use dpdk_net_testkit::nic::frame;

/// How the driver breaks its word.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lie {
    /// Not at all.
    None,
    /// It refuses packets that ask for any of these, once it has sent so many of them.
    Refuses(TxOffloads, u64),
    /// It takes no packet that asks for any of these once it has sent so many of them, and says nothing.
    Ignores(TxOffloads, u64),
    /// It refuses packets at random, whatever they ask for.
    RefusesAtRandom,
    /// It takes one packet at a time: no lie.
    OneAtATime,
    /// It takes nothing for so long, each time that it has sent so many packets, three times: no lie.
    Pauses(Duration, u64),
}

/// What the NIC has done.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Report {
    /// Packets that were cut into TCP segments.
    pub(crate) cut: u64,
    /// Packets that were cut into datagrams.
    pub(crate) cut_udp: u64,
    /// Packets that asked for nothing but checksums, and got them.
    pub(crate) summed: u64,
    /// Packets that were refused.
    pub(crate) refused: u64,
    /// Frames on the wire with a checksum that is wrong.
    pub(crate) wrong_checksums: u64,
    /// Frames that were lost for want of an mbuf.
    pub(crate) lost: u64,
}

pub(crate) struct Nic {
    inner: Box<dyn Transmit>,
    /// Where frames are made that differ from what was handed in.
    pool: Mempool,
    lie: Lie,
    report: Arc<Mutex<Report>>,
    /// Frames for the wire, in order.
    ready: VecDeque<TxMbuf>,
    /// Packets taken, and of those the ones that asked for what is lied about.
    taken: u64,
    asking: u64,
    paused_until: Option<Instant>,
    pauses: u32,
    random: u64,
}

impl Nic {
    pub(crate) fn new(
        inner: Box<dyn Transmit>,
        pool: Mempool,
        lie: Lie,
        report: Arc<Mutex<Report>>,
    ) -> Self {
        Self {
            inner,
            pool,
            lie,
            report,
            ready: VecDeque::new(),
            taken: 0,
            asking: 0,
            paused_until: None,
            pauses: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// Sends what is ready, as far as there is room.
    fn flush(&mut self) {
        let mut batch = TxBatch::<BURST>::new();
        loop {
            while !batch.is_full()
                && let Some(frame) = self.ready.pop_front()
            {
                batch.push(frame).unwrap();
            }
            if batch.is_empty() {
                return;
            }
            self.inner.burst(&mut batch);
            if !batch.is_empty() {
                while let Some(frame) = batch.pop() {
                    self.ready.push_front(frame);
                }
                return;
            }
        }
    }

    /// Whether the lie is about this packet, from how many of its kind on.
    fn lied_about(&self, packet: &TxMbuf) -> Option<u64> {
        match self.lie {
            Lie::Refuses(what, after) | Lie::Ignores(what, after) => {
                let asked = packet.as_mbuf().asked_offloads();
                asked.intersects(what).then_some(after)
            }
            _ => None,
        }
    }

    fn is_paused(&mut self) -> bool {
        let Lie::Pauses(long, every) = self.lie else {
            return false;
        };
        if self.pauses < 3 && self.taken >= every * u64::from(self.pauses + 1) {
            self.pauses += 1;
            self.paused_until = Some(Instant::now() + long);
        }
        self.paused_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Does what the packet asks for.
    fn finish(&mut self, packet: TxMbuf) {
        let mbuf = packet.as_mbuf();
        let (asked, tag, segment) = (
            mbuf.asked_offloads(),
            mbuf.asked_vlan(),
            mbuf.asked_segment(),
        );
        let mut bytes = vec![0; packet.pkt_len()];
        packet.copy_to(&mut bytes);
        let mut report = self.report.lock().unwrap();
        let mut frames = if segment > 0 {
            if asked.contains(TxOffloads::UDP_TSO) {
                report.cut_udp += 1;
            } else {
                report.cut += 1;
            }
            frame::cut(&bytes, segment.into())
        } else {
            if asked.contains(TxOffloads::IPV4_CHECKSUM) {
                frame::fill_ip_checksum(&mut bytes);
            }
            if asked.intersects(TxOffloads::TCP_CHECKSUM | TxOffloads::UDP_CHECKSUM) {
                frame::fill_l4_checksum(&mut bytes);
                report.summed += 1;
            }
            vec![bytes]
        };
        for frame in &mut frames {
            if let Some(tci) = tag {
                frame::insert_tag(frame, tci);
            }
            let (ip, l4) = frame::verify(frame);
            report.wrong_checksums += u64::from(ip == Some(false) || l4 == Some(false));
        }
        if asked.is_empty() && packet.nb_segs() == 1 {
            self.ready.push_back(packet);
            return;
        }
        for frame in frames {
            match self.pool.alloc() {
                Some(mut mbuf) => {
                    mbuf.append_slice(&frame).unwrap();
                    self.ready.push_back(mbuf.into());
                }
                None => report.lost += 1,
            }
        }
    }

    fn roll(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.is_multiple_of(one_in)
    }
}

impl Transmit for Nic {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        self.flush();
        let mut taken = 0;
        while self.ready.is_empty()
            && !self.is_paused()
            && let Some(front) = batch.as_slice().first()
        {
            let after = self.lied_about(front);
            let ignored = matches!(self.lie, Lie::Ignores(..))
                && after.is_some_and(|after| self.asking >= after);
            if ignored || taken == 1 && matches!(self.lie, Lie::OneAtATime) {
                break;
            }
            self.asking += u64::from(after.is_some());
            if let Some(packet) = batch.remove(0) {
                self.finish(packet);
            }
            self.flush();
            self.taken += 1;
            taken += 1;
        }
        taken
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        let mut ahead = self.asking;
        for index in 0..batch.len() {
            let packet = &batch.as_slice()[index];
            let after = self.lied_about(packet);
            let refused = match self.lie {
                Lie::Refuses(..) => after.is_some_and(|after| ahead >= after),
                Lie::RefusesAtRandom => self.roll(40),
                _ => false,
            };
            ahead += u64::from(after.is_some());
            if refused {
                self.report.lock().unwrap().refused += 1;
                return Err(TxPrepareError {
                    index,
                    error: Error::InvalidArgument {
                        what: "a packet".to_owned(),
                        problem: "this driver does not like it".to_owned(),
                    },
                });
            }
        }
        Ok(())
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities {
            offloads: TxOffloads::CHECKSUM
                | TxOffloads::TCP_TSO
                | TxOffloads::UDP_TSO
                | TxOffloads::VLAN_INSERT
                | TxOffloads::MULTI_SEGS,
            segments_ipv6: true,
            most_segments: 64,
            most_mbufs: 40,
            most_mbufs_plain: 8,
            counts_link_header: false,
            sums_mbufs_apart: false,
        }
    }
}
