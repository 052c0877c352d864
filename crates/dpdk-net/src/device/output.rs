//! The sending half of a device: frames of the stack become mbufs, with what is asked of the NIC.
//!
//! What holds
//! - the sink's capacity is the number of empty mbufs in hand that also have a place behind those still
//!   waiting for the TX ring: the stack never produces a frame that would have nowhere to go;
//! - a packet of several segments is cut by the NIC, or here; there is a place for each segment in either case, so that
//!   what the NIC turns out not to do can be done here;
//! - frames that the TX ring does not take stay here, in order, and are offered again on the next turn.
//!
//! What does not live here: offering frames to the driver, and what is done where that refuses (`transmit.rs`).

use dpdk_net_packet::checksum::Sum;
use dpdk_net_packet::ethernet;
use dpdk_net_packet::gso::{L4, MAX_HEADERS};
use dpdk_net_rte::mbuf::PreparedOffload;
use dpdk_net_rte::{Mbuf, MbufBatch, Mempool, TxBatch, TxBuf, TxMbuf};
use dpdk_net_stack::{ChecksumOffload, LargeFrame, TxMemory, TxMeta, TxSink};

use super::abilities::{Abilities, VLAN_TAG};
use super::memory::{Chunk, Chunks, SendMemory};
use super::{BURST, DeviceCounts};

/// Frames with nothing but checksums to make that a driver looks at before it is believed (`rte_eth_tx_prepare`).
const TRIAL: u32 = 1_024;

/// See the module's documentation.
pub(crate) struct Output {
    pool: Mempool,
    /// The pool for all, where the own one has none.
    fallback: Option<Mempool>,
    /// Empty mbufs for frames to come.
    spare: MbufBatch<BURST>,
    /// Filled mbufs that the TX ring has yet to take, in order.
    pub(super) unsent: TxBatch<BURST>,
    memory: Option<SendMemory>,
    /// Empty mbufs for references to come.
    references: MbufBatch<BURST>,
    pub(super) abilities: Abilities,
    /// Whether a frame in `unsent` asks for something that the driver has to look at: to be cut, or a tag.
    pub(super) asks: bool,
    /// Frames that ask for checksums only and are shown to the driver all the same.
    trial: u32,
    pub(super) counts: DeviceCounts,
}

impl Output {
    pub(super) fn new(
        (pool, fallback): (Mempool, Option<Mempool>),
        memory: Option<SendMemory>,
        abilities: Abilities,
    ) -> Self {
        Output {
            pool,
            fallback,
            spare: MbufBatch::new(),
            unsent: TxBatch::new(),
            memory: memory.filter(|_| abilities.chains()),
            references: MbufBatch::new(),
            abilities,
            asks: false,
            trial: TRIAL,
            counts: DeviceCounts::default(),
        }
    }

    /// Where the stack writes bulk that is to be sent by reference.
    pub(super) fn tx_memory(&self) -> Option<Box<dyn TxMemory>> {
        let memory = self.memory.as_ref()?;
        Some(Box::new(Chunks(memory.payload.clone())))
    }

    /// The checksums that the stack may leave out.
    pub(crate) fn checksum_offload(&self) -> ChecksumOffload {
        self.abilities.checksum_offload()
    }

    /// What was counted since the last call.
    #[inline]
    pub(crate) fn take_counts(&mut self) -> DeviceCounts {
        std::mem::take(&mut self.counts)
    }

    /// Gets a new stock of empty mbufs: all that fit, or what the pool still has.
    #[cold]
    fn restock(&mut self) {
        if fill(&mut self.spare, &self.pool) {
            return;
        }
        match &self.fallback {
            Some(pool) if fill(&mut self.spare, pool) => self.counts.fallbacks += 1,
            _ => self.counts.no_mbufs += 1,
        }
    }

    pub(super) fn pool(&self) -> &Mempool {
        &self.pool
    }

    /// A frame that no mbuf could take: written to memory and forgotten.
    #[cold]
    fn discard<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.counts.oversize += 1;
        fill(&mut vec![0; len])
    }

    /// An empty mbuf for a frame; there are as many as the capacity said.
    #[inline]
    pub(super) fn take_spare(&mut self) -> Option<Mbuf> {
        if self.spare.is_empty() {
            self.restock();
        }
        self.spare.pop()
    }

    fn push(&mut self, mbuf: TxMbuf) {
        if self.unsent.push(mbuf).is_err() {
            self.counts.oversize += 1;
        }
    }

    /// What a frame of this kind asks for; `None` where the stack has made its checksums.
    #[inline]
    fn checksum_request(&self, meta: TxMeta, tagged: bool) -> Option<&PreparedOffload> {
        self.abilities.checksums_of(meta.checksum?, tagged)
    }

    /// Asks for checksums, or makes them after all where the port does not any more.
    #[inline]
    fn ask_for_checksums(&mut self, mbuf: &mut Mbuf, meta: TxMeta, tagged: bool) {
        let Some(l4) = meta.checksum else {
            return;
        };
        match self.checksum_request(meta, tagged) {
            Some(request) if mbuf.apply_offload(request).is_ok() => {
                if self.abilities.may_lack_ipv4_checksum() {
                    finish_ip(mbuf, l4, tagged);
                }
                self.on_trial();
            }
            _ => finish(mbuf, l4, tagged),
        }
    }

    /// A frame asks for checksums: the driver looks at the first ones, and is believed after that.
    #[inline]
    fn on_trial(&mut self) {
        if self.trial > 0 {
            self.trial -= 1;
            self.asks = true;
        }
    }

    /// Whether a tag is to be written into the frame.
    #[inline]
    fn writes_tag(&self, meta: TxMeta) -> Option<u16> {
        meta.vlan_tci.filter(|_| !self.abilities.inserts_vlan())
    }

    /// A packet for the NIC to cut. `false`, and nothing is done, if it can't be made.
    fn send_cut(&mut self, large: &LargeFrame<'_>) -> bool {
        let gso = large.gso();
        let (l4, meta) = (gso.l4(), large.meta());
        let tag = self.writes_tag(meta);
        let transport = gso.headers().len() - l4.offset();
        let Some(request) = self.abilities.cut_of(
            l4,
            gso.segment(),
            transport,
            tag.is_some(),
            gso.payload_len(),
        ) else {
            return false;
        };
        let mut headers = [0; MAX_HEADERS];
        let Some(headers) = headers.get_mut(..gso.headers().len()) else {
            return false;
        };
        headers.copy_from_slice(gso.headers());
        prepare_to_cut(headers, l4, self.abilities.checksum_offload().ipv4);
        let Some(mut packet) = self.with_headers(headers, tag) else {
            return false;
        };
        let most = self.abilities.most_mbufs(true);
        if !self.refer_to(&mut packet, large, 0..gso.payload_len(), most) {
            return false;
        }
        if packet.apply_offload(&request).is_err() {
            return false;
        }
        if let (Some(tci), None) = (meta.vlan_tci, tag) {
            packet.set_tx_vlan(tci);
        }
        self.counts.cut_by_nic += 1;
        self.asks = true;
        self.push(packet);
        true
    }

    /// One segment of a packet, its payload by reference. `false`, and nothing is done, if it can't be made.
    fn send_referring(&mut self, large: &LargeFrame<'_>, index: usize) -> bool {
        let gso = large.gso();
        let (meta, checksums) = (large.segment_meta(), large.checksums());
        let range = gso.payload_range(index);
        let tag = self.writes_tag(meta);
        let mut headers = [0; MAX_HEADERS];
        let Some(headers) = headers.get_mut(..gso.headers().len()) else {
            return false;
        };
        let request = self.checksum_request(meta, tag.is_some()).copied();
        let in_software = checksums.transport || request.is_none();
        let sum = in_software.then(|| {
            let mut at = 0;
            large.pieces(range.clone()).fold(Sum::ZERO, |sum, piece| {
                let sum = sum.add_at(at, piece.bytes);
                at += piece.bytes.len();
                sum
            })
        });
        let ip = checksums.ip || in_software || self.abilities.may_lack_ipv4_checksum();
        gso.write_headers(index, headers, ip, sum);
        let Some(mut packet) = self.with_headers(headers, tag) else {
            return false;
        };
        let most = self.abilities.most_mbufs(false);
        if !self.refer_to(&mut packet, large, range, most) {
            return false;
        }
        if let Some(request) = request.filter(|_| !in_software) {
            if packet.apply_offload(&request).is_err() {
                return false;
            }
            self.on_trial();
        }
        if let (Some(tci), None) = (meta.vlan_tci, tag) {
            packet.set_tx_vlan(tci);
            self.asks = true;
        }
        self.push(packet);
        true
    }

    /// A packet of headers alone, with this tag in them.
    fn with_headers(&mut self, headers: &[u8], tag: Option<u16>) -> Option<TxMbuf> {
        let mut mbuf = self.take_spare()?;
        let extra = if tag.is_some() { VLAN_TAG } else { 0 };
        let out = mbuf.append(headers.len() + extra).ok()?;
        out.get_mut(extra..)?.copy_from_slice(headers);
        if let Some(tci) = tag {
            write_tag(out, tci);
        }
        Some(mbuf.into())
    }

    /// Chains references to payload behind headers; what does not lie in memory that can be referred to is copied there. At
    /// most `most` mbufs in all. `false` if that can't be done.
    fn refer_to(
        &mut self,
        packet: &mut TxMbuf,
        large: &LargeFrame<'_>,
        range: std::ops::Range<usize>,
        most: usize,
    ) -> bool {
        let Some(memory) = &self.memory else {
            return false;
        };
        if self.abilities.sums_mbufs_apart() && is_split_oddly(large, range.clone()) {
            return false;
        }
        let mut copy: Option<TxBuf> = None;
        for piece in large.pieces(range) {
            let chunk = piece
                .buffer
                .and_then(|(buffer, at)| Some((buffer.as_any().downcast_ref::<Chunk>()?, at)));
            if let Some((chunk, at)) = chunk {
                if packet.nb_segs() >= most
                    || !chain(
                        packet,
                        &chunk.0,
                        at..at + piece.bytes.len(),
                        &mut self.references,
                        &memory.references,
                    )
                {
                    return false;
                }
                continue;
            }
            let mut left = piece.bytes;
            while !left.is_empty() {
                if copy.as_ref().is_none_or(|buf| buf.room() == 0) {
                    copy = TxBuf::alloc(&memory.payload);
                }
                let Some(buf) = &mut copy else {
                    return false;
                };
                let start = buf.len();
                let n = buf.append(left);
                if packet.nb_segs() >= most
                    || !chain(
                        packet,
                        buf,
                        start..start + n,
                        &mut self.references,
                        &memory.references,
                    )
                {
                    return false;
                }
                left = &left[n..];
            }
        }
        true
    }
}

/// Whether a piece of payload that others follow has an odd length.
fn is_split_oddly(large: &LargeFrame<'_>, range: std::ops::Range<usize>) -> bool {
    let mut before = 0;
    large.pieces(range).any(|piece| {
        let odd = !usize::is_multiple_of(before, 2);
        before = piece.bytes.len();
        odd
    })
}

/// Refers to a range of a buffer. `false` where there is no mbuf for it.
fn chain(
    packet: &mut TxMbuf,
    buf: &TxBuf,
    range: std::ops::Range<usize>,
    stock: &mut MbufBatch<BURST>,
    pool: &Mempool,
) -> bool {
    if stock.is_empty() {
        fill(stock, pool);
    }
    packet.chain(buf, range, stock).is_ok()
}

/// Gets all mbufs that a stock has room for, or what the pool still has; tells whether that was any.
pub(super) fn fill(stock: &mut MbufBatch<BURST>, pool: &Mempool) -> bool {
    let mut want = BURST - stock.len();
    while want > 0 {
        if pool.alloc_bulk(stock, want).is_ok() {
            return true;
        }
        // Nearly exhausted: take less rather than nothing.
        want /= 2;
    }
    false
}

/// Makes the checksums that the stack left out.
#[cold]
pub(super) fn finish(mbuf: &mut Mbuf, l4: L4, tagged: bool) {
    if let Some(frame) = untagged(mbuf, tagged) {
        l4.fill_ip_checksum(frame);
        l4.fill_checksum(frame);
    }
}

/// Makes that of an IPv4 header.
#[cold]
fn finish_ip(mbuf: &mut Mbuf, l4: L4, tagged: bool) {
    if let Some(frame) = untagged(mbuf, tagged) {
        l4.fill_ip_checksum(frame);
    }
}

/// The kinds know nothing of tags: without its first bytes a frame with one is as if there were none.
fn untagged(mbuf: &mut Mbuf, tagged: bool) -> Option<&mut [u8]> {
    mbuf.data_mut().get_mut(if tagged { VLAN_TAG } else { 0 }..)
}

/// Puts a tag behind the addresses, for which the frame begins with room.
#[inline]
pub(super) fn write_tag(frame: &mut [u8], tci: u16) {
    const ADDRESSES: usize = 12;
    if frame.len() < ethernet::HEADER_LEN + VLAN_TAG {
        return;
    }
    frame.copy_within(VLAN_TAG..VLAN_TAG + ADDRESSES, 0);
    let [a, b] = ethernet::TYPE_VLAN.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    frame[ADDRESSES..ADDRESSES + VLAN_TAG].copy_from_slice(&[a, b, c, d]);
}

/// Sets a packet's checksum fields to what NICs that cut it want to find: an IPv4 header's is zero, or there where the port
/// makes none; the transport's is the sum of the pseudo-header without the length (`rte_ipv4_phdr_cksum`).
fn prepare_to_cut(headers: &mut [u8], l4: L4, ip_by_nic: bool) {
    if !ip_by_nic {
        l4.fill_ip_checksum(headers);
    } else if !l4.is_v6()
        && let Some(field) = headers.get_mut(ethernet::HEADER_LEN + 10..ethernet::HEADER_LEN + 12)
    {
        field.fill(0);
    }
    let at = l4.offset() + l4.checksum_at();
    let Some(pseudo) = l4.pseudo_header(headers, 0) else {
        return;
    };
    if let Some(field) = headers.get_mut(at..at + 2) {
        field.copy_from_slice(&pseudo.fold().to_be_bytes());
    }
}

impl TxSink for Output {
    #[inline]
    fn capacity(&mut self) -> usize {
        if self.spare.is_empty() {
            self.restock();
        }
        self.spare.len().min(BURST - self.unsent.len())
    }

    #[inline]
    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let Some(mut mbuf) = self.take_spare() else {
            return self.discard(len, fill);
        };
        let tag = self.writes_tag(meta);
        let result = match tag {
            None => {
                let Ok(frame) = mbuf.append(len) else {
                    return self.discard(len, fill);
                };
                fill(frame)
            }
            Some(tci) => {
                let Ok(frame) = mbuf.append(len + VLAN_TAG) else {
                    return self.discard(len, fill);
                };
                let result = fill(&mut frame[VLAN_TAG..]);
                write_tag(frame, tci);
                result
            }
        };
        self.ask_for_checksums(&mut mbuf, meta, tag.is_some());
        if let (Some(tci), None) = (meta.vlan_tci, tag) {
            mbuf.set_tx_vlan(tci);
            self.asks = true;
        }
        self.push(mbuf.into());
        result
    }

    /// A low stock would make large packets small.
    #[inline]
    fn large_segments(&mut self) -> usize {
        if self.spare.len() < BURST / 2 {
            self.restock();
        }
        self.capacity()
    }

    fn references(&self) -> bool {
        self.memory.is_some()
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        if large.gso().count() > 1 && self.send_cut(large) {
            return;
        }
        let meta = large.segment_meta();
        let mut refers = self.memory.is_some() && large.may_refer();
        for index in 0..large.gso().count() {
            refers = refers && self.send_referring(large, index);
            if !refers {
                self.send(large.gso().frame_len(index), meta, |frame| {
                    large.write_segment(index, frame);
                });
            }
        }
    }
}
