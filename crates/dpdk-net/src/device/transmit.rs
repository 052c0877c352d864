//! Offering frames to the driver, and going on in software where it turns out not to do what it said.
//!
//! A driver may refuse a packet that asks for an offload (`rte_eth_tx_prepare`), or never take it while it takes others. Then
//! what was asked of it is done here, for this packet and from then on; nothing is lost, and the order stays.

use std::collections::VecDeque;
use std::time::Duration;

use dpdk_net_packet::gso::{Checksums, L4, Large, MAX_HEADERS};
use dpdk_net_packet::{ethernet, ipv4, ipv6};
use dpdk_net_rte::port::TxOffloads;
use dpdk_net_rte::queue::TxPrepareError;
use dpdk_net_rte::{Mbuf, TxBatch, TxMbuf, TxQueue};

use super::BURST;
use super::abilities::VLAN_TAG;
use super::output::{Output, finish};

/// What sends frames: the TX queue of a port, or something in front of one that looks at them, counts, or breaks things to see
/// what happens.
pub trait Transmit: Send {
    /// Takes frames off the front of the batch, as many as there is room for, and tells how many: see
    /// [`TxQueue::tx_burst`]. Those it does not take stay, in order.
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize;

    /// Looks at frames that ask for offloads before they are sent: see [`TxQueue::tx_prepare`].
    ///
    /// # Errors
    /// The first frame that can't be sent as it is, and why.
    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError>;
}

impl Transmit for TxQueue {
    #[inline]
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        self.tx_burst(batch)
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.tx_prepare(batch)
    }
}

/// How long a frame that asks for an offload may wait at the front of the ring's queue before it is tried without.
const PATIENCE: Duration = Duration::from_millis(200);

/// A TX queue, and what has to be sent before anything else.
pub(super) struct Sender {
    tx: Box<dyn Transmit>,
    /// Frames made in software of ones that the driver did not take: before all others.
    redone: VecDeque<TxMbuf>,
    redoing: TxBatch<BURST>,
    /// Since when the frame at the front has waited, in the worker's time.
    waits_since: Option<u64>,
    /// What the frames in `redone` did without, until one of them was taken: then the driver is to blame, not the ring.
    suspect: Option<TxOffloads>,
    /// How many frames of the batch have been looked at by the driver.
    prepared: usize,
}

impl Sender {
    pub(super) fn new(tx: Box<dyn Transmit>) -> Self {
        Sender {
            tx,
            redone: VecDeque::new(),
            redoing: TxBatch::new(),
            waits_since: None,
            suspect: None,
            prepared: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.redone.is_empty() && self.redoing.is_empty()
    }

    /// Offers what is waiting to the driver; tells how many frames it took.
    #[inline]
    pub(super) fn transmit(&mut self, output: &mut Output, nanos: u64) -> usize {
        if output.unsent.is_empty() && self.is_empty() {
            return 0;
        }
        let mut sent = 0;
        if !self.is_empty() {
            sent += self.send_redone(output);
            if !self.is_empty() {
                output.counts.ring_full += 1;
                return sent;
            }
        }
        if output.asks {
            self.prepare(output);
            if !self.is_empty() {
                // What comes before the one that was refused goes first.
                return sent + self.burst_front(output);
            }
        }
        let taken = self.tx.burst(&mut output.unsent);
        self.prepared = self.prepared.saturating_sub(taken);
        if output.unsent.is_empty() {
            output.asks = false;
            self.waits_since = None;
        } else {
            output.counts.ring_full += 1;
            self.wait(output, taken, nanos);
        }
        sent + taken
    }

    /// Lets the driver look at what it has not seen. A frame that it refuses is made in software.
    #[inline(never)]
    fn prepare(&mut self, output: &mut Output) {
        if self.prepared >= output.unsent.len() {
            return;
        }
        let Err(refused) = self.tx.prepare(&mut output.unsent) else {
            self.prepared = output.unsent.len();
            return;
        };
        let index = refused.index.min(output.unsent.len().saturating_sub(1));
        let Some(packet) = output.unsent.remove(index) else {
            return;
        };
        self.prepared = index;
        let asked = asked(&packet);
        self.redo(output, packet);
        // It said so: there is nothing to wait for.
        give_up(output, asked, &refused.error.to_string());
    }

    /// Sends the frames before the place where one was taken out; those behind it wait for what is made of it.
    fn burst_front(&mut self, output: &mut Output) -> usize {
        let mut front = TxBatch::<BURST>::new();
        let mut behind = TxBatch::<BURST>::new();
        for (index, packet) in output.unsent.drain().enumerate() {
            let to = if index < self.prepared {
                &mut front
            } else {
                &mut behind
            };
            // Each has room for all.
            let _ = to.push(packet);
        }
        let mut sent = self.tx.burst(&mut front);
        if front.is_empty() {
            sent += self.send_redone(output);
        }
        let left = front.len();
        if left > 0 {
            // They are ready, and go before what was made of the refused one.
            for packet in front.drain().collect::<Vec<_>>().into_iter().rev() {
                self.redone.push_front(packet);
            }
        }
        self.prepared = 0;
        output.unsent = behind;
        sent
    }

    /// Sends frames that were made in software.
    #[inline(never)]
    fn send_redone(&mut self, output: &mut Output) -> usize {
        let mut sent = 0;
        loop {
            while !self.redoing.is_full()
                && let Some(packet) = self.redone.pop_front()
            {
                // There is room.
                let _ = self.redoing.push(packet);
            }
            if self.redoing.is_empty() {
                self.waits_since = None;
                return sent;
            }
            let taken = self.tx.burst(&mut self.redoing);
            sent += taken;
            if taken > 0
                && let Some(asked) = self.suspect.take()
            {
                give_up(
                    output,
                    asked,
                    "the driver never took a packet that asked for it, and takes others",
                );
            }
            if !self.redoing.is_empty() {
                return sent;
            }
        }
    }

    /// The ring did not take all.
    #[inline(never)]
    fn wait(&mut self, output: &mut Output, taken: usize, nanos: u64) {
        if taken > 0 {
            self.waits_since = None;
        }
        let since = *self.waits_since.get_or_insert(nanos);
        if nanos.saturating_sub(since) < PATIENCE.as_nanos() as u64 {
            return;
        }
        self.waits_since = Some(nanos);
        let asked = output.unsent.as_slice().first().map(asked);
        if let Some(asked) = asked.filter(|asked| !asked.is_empty())
            && let Some(packet) = output.unsent.remove(0)
        {
            self.prepared = self.prepared.saturating_sub(1);
            self.redo(output, packet);
            // If it is the ring that stands still, these do not leave either.
            self.suspect = Some(asked);
        }
    }

    /// Makes in software what a packet asks of the NIC.
    #[cold]
    fn redo(&mut self, output: &mut Output, packet: TxMbuf) {
        output.counts.redone += 1;
        match in_software(output, packet) {
            Some(frames) => self.redone.extend(frames),
            None => output.counts.oversize += 1,
        }
    }
}

/// What a packet asks of the NIC.
fn asked(packet: &TxMbuf) -> TxOffloads {
    packet.as_mbuf().asked_offloads()
}

/// Does without offloads from now on, and says so once.
#[cold]
fn give_up(output: &mut Output, asked: TxOffloads, why: &str) {
    // Cutting includes checksums, and it is the rarer ability.
    let cutting = TxOffloads::TCP_TSO | TxOffloads::UDP_TSO;
    let blamed = if asked.intersects(cutting) {
        asked.intersection(cutting)
    } else {
        asked
    };
    let given_up = output.abilities.give_up(blamed);
    if !given_up.is_empty() {
        output.counts.given_up |= given_up.bits();
        tracing::warn!(
            offloads = ?given_up,
            why,
            "the port does not do what it offered: this queue goes on in software"
        );
    }
}

/// The frames that a NIC would have made of a packet. `None` if it is none that was made here.
fn in_software(output: &mut Output, packet: TxMbuf) -> Option<Vec<TxMbuf>> {
    let tag = packet.as_mbuf().asked_vlan();
    let segment = packet.as_mbuf().asked_segment();
    let (l4, tagged) = kind_of(packet.data())?;
    if segment == 0 {
        let mut mbuf = contiguous(output, packet)?;
        mbuf.clear_tx_offload();
        finish(&mut mbuf, l4, tagged);
        return Some(vec![with_tag(mbuf, tag)?.into()]);
    }
    let link = if tagged { VLAN_TAG } else { 0 };
    let mut whole = vec![0; packet.pkt_len()];
    packet.copy_to(&mut whole);
    let written = tagged
        .then(|| [whole[14], whole[15]])
        .map(u16::from_be_bytes);
    if tagged {
        // As if there were no tag in it.
        whole.copy_within(..12, link);
        whole.drain(..link);
    }
    let transport = if l4.is_udp() {
        8
    } else {
        usize::from(*whole.get(l4.offset() + 12)? >> 4) * 4
    };
    let at = (l4.offset() + transport).min(MAX_HEADERS);
    let (headers, payload) = whole.split_at_checked(at)?;
    let large = Large::new(headers, l4, segment, payload.len())?;
    let mut frames = Vec::with_capacity(large.count());
    for index in 0..large.count() {
        let mut mbuf = output.take_spare()?;
        let frame = mbuf.append(large.frame_len(index)).ok()?;
        large.write(index, frame, Checksums::ALL, |out| {
            out.copy_from_slice(&payload[large.payload_range(index)]);
        });
        frames.push(with_tag(mbuf, written.or(tag))?.into());
    }
    Some(frames)
}

/// The kind of a frame that this device made, and whether a tag is in it.
fn kind_of(frame: &[u8]) -> Option<(L4, bool)> {
    let type_at = |at: usize| Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]));
    let tagged = type_at(12)? == ethernet::TYPE_VLAN;
    let link = ethernet::HEADER_LEN + if tagged { VLAN_TAG } else { 0 };
    let ip = frame.get(link..)?;
    let l4 = match (type_at(link - 2)?, ip.len()) {
        (ethernet::TYPE_IPV4, ipv4::HEADER_LEN..) => match ip[9] {
            6 => L4::TcpV4,
            17 => L4::UdpV4,
            _ => return None,
        },
        (ethernet::TYPE_IPV6, ipv6::HEADER_LEN..) => match ip[6] {
            6 => L4::TcpV6,
            17 => L4::UdpV6,
            _ => return None,
        },
        _ => return None,
    };
    Some((l4, tagged))
}

/// The packet in one mbuf.
fn contiguous(output: &mut Output, packet: TxMbuf) -> Option<Mbuf> {
    let len = packet.pkt_len();
    match packet.try_into_mbuf() {
        Ok(mbuf) if mbuf.is_contiguous() => Some(mbuf),
        Ok(packet) => copied(output, &packet.into(), len),
        Err(packet) => copied(output, &packet, len),
    }
}

fn copied(output: &mut Output, packet: &TxMbuf, len: usize) -> Option<Mbuf> {
    let mut mbuf = output.take_spare()?;
    packet.copy_to(mbuf.append(len).ok()?);
    Some(mbuf)
}

/// Puts a tag in that the NIC was asked to insert.
fn with_tag(mut mbuf: Mbuf, tag: Option<u16>) -> Option<Mbuf> {
    if let Some(tci) = tag {
        mbuf.prepend(VLAN_TAG).ok()?;
        super::output::write_tag(mbuf.data_mut(), tci);
    }
    Some(mbuf)
}
