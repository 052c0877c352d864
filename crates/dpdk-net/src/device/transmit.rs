//! Offering frames to the driver, and going on in software where it turns out not to do what it said.
//!
//! A driver may refuse a packet that asks for an offload (`rte_eth_tx_prepare`), or never take it while it takes others. Then
//! what was asked of it is done here, for this packet and from then on; while there are mbufs nothing is lost, and the order
//! stays. A ring that stands still for a while is no such driver.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::time::Duration;

use dpdk_net_packet::gso::{Checksums, L4, Large, MAX_HEADERS};
use dpdk_net_packet::{ethernet, ipv4, ipv6};
use dpdk_net_rte::port::{TxCapabilities, TxOffloads};
use dpdk_net_rte::queue::TxPrepareError;
use dpdk_net_rte::{Mbuf, TxBatch, TxMbuf, TxQueue};

use super::BURST;
use super::abilities::VLAN_TAG;
use super::output::{Output, finish};
use super::watched::Watched;

/// What sends frames: the TX queue of a port, or something in front of one that looks at them, counts, or breaks things to see
/// what happens.
pub trait Transmit: Send {
    /// Takes frames off the front of the batch, as many as there is room for, and tells how many: see
    /// [`TxQueue::tx_burst`]. Those it does not take stay, in order.
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize;

    /// Which frames the last burst that dropped some, as it could not send them, has dropped: see [`TxQueue::weeded`]. Asked where a
    /// batch became shorter by more frames than were told as taken, by who captures. By default none.
    fn weeded(&self) -> &[usize] {
        &[]
    }

    /// Looks at frames that ask for offloads before they are sent: see [`TxQueue::tx_prepare`].
    ///
    /// # Errors
    /// The first frame that can't be sent as it is, and why.
    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError>;

    /// What is done to frames behind it, and so may be asked for: see [`TxQueue::capabilities`]. Asked once, before the first
    /// frame. By default [nothing](TxCapabilities::NONE): frames come complete, in one mbuf each.
    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities::NONE
    }
}

impl Transmit for TxQueue {
    #[inline]
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        self.tx_burst(batch)
    }

    fn weeded(&self) -> &[usize] {
        TxQueue::weeded(self)
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.tx_prepare(batch)
    }

    fn capabilities(&self) -> TxCapabilities {
        TxQueue::capabilities(self)
    }
}

/// How long a frame that asks for an offload may wait at the front of the ring's queue before it is tried without.
const PATIENCE: Duration = Duration::from_millis(200);

/// Descriptors that a driver may want for a packet besides one for each mbuf.
const MORE_DESCRIPTORS: usize = 2;

/// A TX queue, and what has to be sent before anything else.
pub(super) struct Sender {
    pub(super) tx: Watched,
    /// What goes before the output's batch, in order: frames made in software of ones that the driver did not take, and what
    /// was in front of those.
    first: VecDeque<TxMbuf>,
    /// The front of `first`, as it is offered to the driver.
    offered: TxBatch<BURST>,
    /// Since when the frame at the front has waited, in the worker's time.
    waits_since: Option<u64>,
    evidence: Evidence,
    /// How many frames of the output's batch have been looked at by the driver.
    prepared: usize,
}

/// The offloads that a packet may ask for, the rarest first: where it is not known which one a driver does not do, that is
/// the first to be doubted. What it does not do either is found out with packets that do not ask for this one any more.
const DOUBTS: [TxOffloads; 3] = [
    TxOffloads::TCP_TSO.union(TxOffloads::UDP_TSO),
    TxOffloads::VLAN_INSERT,
    TxOffloads::CHECKSUM,
];

/// What speaks for it that the driver never takes packets that ask for an offload.
#[derive(Default)]
struct Evidence {
    /// For each of [`Self::OFFLOADS`], mbufs that the driver took at the very moment when it left a packet that asks for it,
    /// since it last took one that does.
    taken: [usize; Evidence::OFFLOADS.len()],
}

impl Evidence {
    const OFFLOADS: [TxOffloads; 6] = [
        TxOffloads::TCP_TSO,
        TxOffloads::UDP_TSO,
        TxOffloads::VLAN_INSERT,
        TxOffloads::IPV4_CHECKSUM,
        TxOffloads::TCP_CHECKSUM,
        TxOffloads::UDP_CHECKSUM,
    ];

    #[inline]
    fn is_empty(&self) -> bool {
        self.taken == [0; Self::OFFLOADS.len()]
    }

    /// The driver left a packet that asks for this, and took so many mbufs instead. Tells of which offloads it has now
    /// taken as many as that packet needed: want of room is no explanation any more.
    fn left(&mut self, asked: TxOffloads, needed: usize, taken: usize) -> TxOffloads {
        let mut guilty = TxOffloads::empty();
        for (offload, count) in Self::OFFLOADS.into_iter().zip(&mut self.taken) {
            if asked.contains(offload) {
                *count += taken;
                guilty.set(offload, *count >= needed);
            }
        }
        guilty
    }

    /// How many packets of a batch ask for each.
    fn askers(batch: &TxBatch<BURST>) -> [usize; Self::OFFLOADS.len()] {
        let mut askers = [0; Self::OFFLOADS.len()];
        for packet in batch {
            let asked = asked(packet);
            for (offload, count) in Self::OFFLOADS.into_iter().zip(&mut askers) {
                *count += usize::from(asked.contains(offload));
            }
        }
        askers
    }

    /// Offers frames to the driver. Taking one is evidence to the contrary.
    #[inline]
    fn burst(&mut self, tx: &mut Watched, batch: &mut TxBatch<BURST>) -> usize {
        if self.is_empty() {
            return tx.burst(batch);
        }
        let before = Self::askers(batch);
        let taken = tx.burst(batch);
        for (i, after) in Self::askers(batch).into_iter().enumerate() {
            if after < before[i] {
                self.taken[i] = 0;
            }
        }
        taken
    }
}

impl Sender {
    pub(super) fn new(tx: Box<dyn Transmit>) -> Self {
        Sender {
            tx: Watched::new(tx),
            first: VecDeque::new(),
            offered: TxBatch::new(),
            waits_since: None,
            evidence: Evidence::default(),
            prepared: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.offered.is_empty()
    }

    /// Offers what is waiting to the driver; tells how many frames it took.
    #[inline]
    pub(super) fn transmit(&mut self, output: &mut Output, nanos: u64) -> usize {
        if output.unsent.is_empty() && self.is_empty() {
            return 0;
        }
        let mut sent = 0;
        if !self.is_empty() {
            sent += self.send_first(output, nanos);
            if !self.is_empty() {
                return sent;
            }
        }
        if output.asks && !self.prepare(output) {
            return sent + self.send_first(output, nanos);
        }
        let taken = self.evidence.burst(&mut self.tx, &mut output.unsent);
        sent += taken;
        self.prepared = self.prepared.saturating_sub(taken);
        if output.unsent.is_empty() {
            output.asks = false;
            self.waits_since = None;
        } else {
            output.counts.ring_full += 1;
            let front = asked_first(&output.unsent);
            if !front.is_empty()
                && self.has_waited(taken, front, output, nanos)
                && let Some(packet) = output.unsent.remove(0)
            {
                self.prepared = self.prepared.saturating_sub(1);
                sent += self.try_without(output, packet);
            }
        }
        sent
    }

    /// Lets the driver look at what it has not seen. `false` where it refused a frame: that one is made in software, and goes
    /// first with those in front of it.
    #[inline(never)]
    fn prepare(&mut self, output: &mut Output) -> bool {
        if self.prepared >= output.unsent.len() {
            return true;
        }
        let Err(refused) = self.tx.prepare(&mut output.unsent) else {
            self.prepared = output.unsent.len();
            return true;
        };
        let index = refused.index.min(output.unsent.len().saturating_sub(1));
        let mut packet = None;
        let mut behind = TxBatch::new();
        for (at, other) in output.unsent.drain().enumerate() {
            match at.cmp(&index) {
                Ordering::Less => self.first.push_back(other),
                Ordering::Equal => packet = Some(other),
                // There is room for all.
                Ordering::Greater => drop(behind.push(other)),
            }
        }
        output.unsent = behind;
        self.prepared = 0;
        if let Some(packet) = packet {
            let asked = asked(&packet);
            let frames = redo(output, packet);
            self.first.extend(frames);
            // It said so: there is nothing to wait for.
            give_up(output, asked, &refused.error.to_string());
        }
        false
    }

    /// Sends what goes before the batch.
    #[inline(never)]
    fn send_first(&mut self, output: &mut Output, nanos: u64) -> usize {
        let mut sent = 0;
        loop {
            self.offer(BURST);
            if self.offered.is_empty() {
                self.waits_since = None;
                return sent;
            }
            let taken = self.evidence.burst(&mut self.tx, &mut self.offered);
            sent += taken;
            if !self.offered.is_empty() {
                output.counts.ring_full += 1;
                let front = asked_first(&self.offered);
                if !front.is_empty()
                    && self.has_waited(taken, front, output, nanos)
                    && let Some(packet) = self.offered.remove(0)
                {
                    sent += self.try_without(output, packet);
                }
                return sent;
            }
        }
    }

    /// Puts frames of `first` into `offered`, up to `most` in all.
    fn offer(&mut self, most: usize) {
        while self.offered.len() < most
            && let Some(packet) = self.first.pop_front()
        {
            // There is room.
            let _ = self.offered.push(packet);
        }
    }

    /// The driver took so many of what it was offered, and not all: whether the frame that is at the front now, and asks for
    /// this, has waited for too long.
    #[inline(never)]
    fn has_waited(&mut self, taken: usize, front: TxOffloads, output: &Output, nanos: u64) -> bool {
        if taken > 0 {
            self.waits_since = None;
        }
        let since = *self.waits_since.get_or_insert(nanos);
        // What is known not to be done is not waited for.
        let waited = nanos.saturating_sub(since) >= PATIENCE.as_nanos() as u64
            || !output.abilities.has(front);
        if waited {
            self.waits_since = Some(nanos);
        }
        waited
    }

    /// Makes in software what a packet asks of the NIC that was at the front and that the driver does not take, and offers
    /// it at once: if it is the ring that stands still, this does not leave either.
    #[cold]
    fn try_without(&mut self, output: &mut Output, packet: TxMbuf) -> usize {
        let (asked, mbufs) = (asked(&packet), packet.nb_segs());
        while let Some(behind) = self.offered.pop() {
            self.first.push_front(behind);
        }
        let frames = redo(output, packet);
        let made = frames.len();
        for frame in frames.into_iter().rev() {
            self.first.push_front(frame);
        }
        self.offer(made.min(BURST));
        let taken = self.tx.burst(&mut self.offered);
        if taken > 0 {
            self.waits_since = None;
        }
        // Otherwise it is known why it was left.
        if output.abilities.has(asked) {
            let guilty = self.evidence.left(asked, mbufs + MORE_DESCRIPTORS, taken);
            if !guilty.is_empty() {
                // That of the others was for this one's sake.
                self.evidence = Evidence::default();
                let why = "the driver never took a packet that asked for it, and takes others";
                give_up(output, guilty, why);
            }
        }
        taken
    }
}

/// What the packet at the front asks for.
fn asked_first(batch: &TxBatch<BURST>) -> TxOffloads {
    batch.as_slice().first().map_or(TxOffloads::empty(), asked)
}

/// What a packet asks of the NIC.
fn asked(packet: &TxMbuf) -> TxOffloads {
    packet.as_mbuf().asked_offloads()
}

/// Does without one of these from now on, and says so once.
#[cold]
fn give_up(output: &mut Output, asked: TxOffloads, why: &str) {
    let blamed = DOUBTS
        .into_iter()
        .map(|kind| asked.intersection(kind))
        .find(|blamed| !blamed.is_empty())
        .unwrap_or(TxOffloads::empty());
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

/// Makes in software what a packet asks of the NIC. Where that can't be done, it is dropped and counted.
#[cold]
fn redo(output: &mut Output, packet: TxMbuf) -> Vec<TxMbuf> {
    output.counts.redone += 1;
    in_software(output, packet).unwrap_or_else(|| {
        output.counts.oversize += 1;
        Vec::new()
    })
}

/// The frames that a NIC would have made of a packet. `None` if it is none that was made here, or mbufs are short.
fn in_software(output: &mut Output, packet: TxMbuf) -> Option<Vec<TxMbuf>> {
    let tag = packet.as_mbuf().asked_vlan();
    let segment = packet.as_mbuf().asked_segment();
    if segment > 0 {
        return cut(output, &packet, segment, tag);
    }
    let asked = asked(&packet);
    let mut mbuf = contiguous(output, packet)?;
    mbuf.clear_tx_offload();
    // Fragments, ARP and the like ask for a tag at most: there is nothing else to be made in them.
    if asked.intersects(TxOffloads::CHECKSUM) {
        let (l4, tagged) = kind_of(mbuf.data())?;
        finish(&mut mbuf, l4, tagged);
    }
    Some(vec![with_tag(mbuf, tag)?.into()])
}

/// The frames of a packet that asks to be cut.
fn cut(
    output: &mut Output,
    packet: &TxMbuf,
    segment: u16,
    tag: Option<u16>,
) -> Option<Vec<TxMbuf>> {
    let (l4, tagged) = kind_of(packet.data())?;
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

#[cfg(test)]
mod tests;
