//! What a state machine sends, seen and finished as it leaves: what it tells about the sender goes into the flow, an ACK
//! without data gets the right sequence number, and checksums are filled in.

use dpdk_net_packet::checksum::Sum;
use dpdk_net_packet::tcp::{Flags, HEADER_LEN};
use dpdk_net_packet::{ipv4, ipv6};

use super::conn::Emit;
use super::flow::Flow;
use super::seq;
use super::table::FlowKey;

/// What a segment told. Nothing is taken from a RST: it quotes the peer's numbers, not ours.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sent {
    /// Sequence number after the segment's last byte, SYN and FIN counted.
    end: Option<u32>,
    /// Acknowledgment number and window, if it has them and is no SYN.
    ack: Option<(u32, u16)>,
    /// Bytes of data.
    pub(crate) data: usize,
    /// Segments seen.
    pub(crate) count: u32,
}

impl Sent {
    /// Writes it into the flow.
    pub(crate) fn apply(&self, flow: &mut Flow) {
        if let Some(end) = self.end {
            flow.snd_max = seq::max(flow.snd_max, end);
        }
        if let Some((ack, window)) = self.ack {
            let edge = ack.wrapping_add(u32::from(window) << flow.rcv_shift);
            flow.rcv_edge = seq::max(flow.rcv_edge, edge);
            // The state machine does not keep in mind what it said with a window probe, which has one byte.
            let probe = self.data == 1 && seq::lt(flow.takes_to, edge);
            if !probe {
                flow.takes_to = edge;
            }
            (flow.acked, flow.ack_due) = (Some(ack), None);
        }
    }

    /// Whether the segment, which acknowledged all there was to acknowledge, was the last one that there is to send.
    pub(crate) fn was_last(&self, snd_max: u32, end_of_queue: u32) -> bool {
        self.ack.is_some() && self.end == Some(snd_max) && snd_max == end_of_queue
    }
}

/// Passes a segment on and finishes it.
pub(crate) struct Watched<'a, E> {
    pub(crate) to: E,
    pub(crate) sent: &'a mut Sent,
    pub(crate) key: FlowKey,
    /// The flow's highest sequence number sent so far.
    pub(crate) snd_max: u32,
    /// Whether checksums are filled in here and not by the NIC.
    pub(crate) checksum: bool,
}

impl<E: Emit> Emit for Watched<'_, E> {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let Watched {
            to,
            sent,
            key,
            snd_max,
            checksum,
        } = self;
        to.emit(len, |packet| {
            let result = fill(packet);
            finish(packet, key, *snd_max, *checksum, sent);
            result
        })
    }
}

impl<E: Emit> Emit for &mut E {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        (**self).emit(len, fill)
    }
}

/// The state machine writes IP headers without options or extensions.
fn finish(packet: &mut [u8], key: &FlowKey, snd_max: u32, fill_checksums: bool, sent: &mut Sent) {
    let header_len = if key.is_v6() {
        ipv6::HEADER_LEN
    } else {
        ipv4::HEADER_LEN
    };
    let Some((ip, segment)) = packet.split_at_mut_checked(header_len) else {
        return;
    };
    let len = segment.len();
    let Some(tcp) = segment.first_chunk_mut::<HEADER_LEN>() else {
        return;
    };
    sent.count += 1;
    let flags = Flags(tcp[13]);
    if !flags.rst() {
        let data = len.saturating_sub(usize::from(tcp[12] >> 4) * 4);
        let mut seq_number = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let control = u32::from(flags.syn()) + u32::from(flags.fin());
        // An ACK without data is numbered SND.NXT (RFC 9293 section 3.10.7.4). After a retransmission timeout the state
        // machine goes back to SND.UNA and numbers its ACKs from there. To a peer that has all the data such an ACK is
        // a duplicate, which it answers but does not look into: if both sides have gone back, neither ever learns what
        // has arrived.
        if data == 0 && control == 0 && flags.ack() && seq::lt(seq_number, snd_max) {
            seq_number = snd_max;
            tcp[4..8].copy_from_slice(&seq_number.to_be_bytes());
        }
        sent.end = Some(seq_number.wrapping_add(data as u32).wrapping_add(control));
        sent.data = data;
        sent.ack = (flags.ack() && !flags.syn()).then(|| {
            let ack = u32::from_be_bytes([tcp[8], tcp[9], tcp[10], tcp[11]]);
            (ack, u16::from_be_bytes([tcp[14], tcp[15]]))
        });
    }
    if fill_checksums {
        tcp[16..18].fill(0);
        let sum = key.pseudo_header(len).add_bytes(segment).finish();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        if let Some(ip) = ip.first_chunk_mut::<{ ipv4::HEADER_LEN }>()
            && !key.is_v6()
        {
            ip[10..12].fill(0);
            // Of a length known when compiled, the sum is a handful of additions.
            let sum = Sum::ZERO.add_bytes(ip).finish();
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
}
