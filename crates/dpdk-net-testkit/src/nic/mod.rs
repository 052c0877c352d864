//! A model of a NIC with offloads, for simulated hosts and for what stands in for a port.
//!
//! What holds: a [`Nic`] asks nothing of a stack that its switches do not say, and checks nothing: what the stack hands over
//! wrongly is wrong on the wire. It shares no code with the software that does the same without a NIC.
//!
//! What does not live here: drivers of real NICs, queues and interrupts.

pub mod frame;
mod lro;
mod received;

pub use received::Received;

use std::fmt;

use dpdk_net_packet::{ChecksumVerdict, RxMeta};
use dpdk_net_stack::{ChecksumOffload, Config, LargeFrame, TxMeta};

use crate::frames;
use lro::Lro;

/// What a [`Nic`] does. Each is a switch; the default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offloads {
    /// Fills checksums of IPv4 headers in.
    pub tx_ipv4_checksum: bool,
    /// Fills checksums of TCP in.
    pub tx_tcp_checksum: bool,
    /// Fills checksums of UDP in.
    pub tx_udp_checksum: bool,
    /// Cuts TCP over IPv4.
    pub tso_v4: bool,
    /// Cuts TCP over IPv6.
    pub tso_v6: bool,
    /// Cuts UDP.
    pub udp_segmentation: bool,
    /// Puts VLAN tags in; otherwise the host does.
    pub vlan_insert: bool,
    /// Says whether checksums are right.
    pub rx_checksum: bool,
    /// Takes VLAN tags out.
    pub vlan_strip: bool,
    /// Makes one large frame of TCP segments that follow one another, in several pieces.
    pub lro: bool,
}

impl Offloads {
    /// None.
    pub const NONE: Self = Self {
        tx_ipv4_checksum: false,
        tx_tcp_checksum: false,
        tx_udp_checksum: false,
        tso_v4: false,
        tso_v6: false,
        udp_segmentation: false,
        vlan_insert: false,
        rx_checksum: false,
        vlan_strip: false,
        lro: false,
    };
    /// All.
    pub const ALL: Self = Self {
        tx_ipv4_checksum: true,
        tx_tcp_checksum: true,
        tx_udp_checksum: true,
        tso_v4: true,
        tso_v6: true,
        udp_segmentation: true,
        vlan_insert: true,
        rx_checksum: true,
        vlan_strip: true,
        lro: true,
    };

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self {
            tx_ipv4_checksum: self.tx_ipv4_checksum || other.tx_ipv4_checksum,
            tx_tcp_checksum: self.tx_tcp_checksum || other.tx_tcp_checksum,
            tx_udp_checksum: self.tx_udp_checksum || other.tx_udp_checksum,
            tso_v4: self.tso_v4 || other.tso_v4,
            tso_v6: self.tso_v6 || other.tso_v6,
            udp_segmentation: self.udp_segmentation || other.udp_segmentation,
            vlan_insert: self.vlan_insert || other.vlan_insert,
            rx_checksum: self.rx_checksum || other.rx_checksum,
            vlan_strip: self.vlan_strip || other.vlan_strip,
            lro: self.lro || other.lro,
        }
    }

    /// Each by itself, by name.
    pub const EACH: [(&'static str, Self); 10] = [
        (
            "tx_ipv4_checksum",
            Self {
                tx_ipv4_checksum: true,
                ..Self::NONE
            },
        ),
        (
            "tx_tcp_checksum",
            Self {
                tx_tcp_checksum: true,
                ..Self::NONE
            },
        ),
        (
            "tx_udp_checksum",
            Self {
                tx_udp_checksum: true,
                ..Self::NONE
            },
        ),
        (
            "tso_v4",
            Self {
                tso_v4: true,
                ..Self::NONE
            },
        ),
        (
            "tso_v6",
            Self {
                tso_v6: true,
                ..Self::NONE
            },
        ),
        (
            "udp_segmentation",
            Self {
                udp_segmentation: true,
                ..Self::NONE
            },
        ),
        (
            "vlan_insert",
            Self {
                vlan_insert: true,
                ..Self::NONE
            },
        ),
        (
            "rx_checksum",
            Self {
                rx_checksum: true,
                ..Self::NONE
            },
        ),
        (
            "vlan_strip",
            Self {
                vlan_strip: true,
                ..Self::NONE
            },
        ),
        (
            "lro",
            Self {
                lro: true,
                ..Self::NONE
            },
        ),
    ];
}

/// What a [`Nic`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NicStats {
    /// Packets cut, and the frames made of them.
    pub cut: u64,
    /// See [`cut`](Self::cut).
    pub pieces: u64,
    /// Frames in which a checksum was filled in.
    pub summed: u64,
    /// Tags put in.
    pub tagged: u64,
    /// Tags taken out.
    pub stripped: u64,
    /// Received frames about which a verdict was given.
    pub verified: u64,
    /// Received frames that became part of a larger one, and the larger ones.
    pub coalesced: u64,
    /// See [`coalesced`](Self::coalesced).
    pub large: u64,
}

/// A NIC. See the [module](self).
#[derive(Default)]
pub struct Nic {
    offloads: Offloads,
    lro: Lro,
    stats: NicStats,
}

impl fmt::Debug for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nic")
            .field("offloads", &self.offloads)
            .finish_non_exhaustive()
    }
}

impl Nic {
    /// A NIC with these offloads.
    pub fn new(offloads: Offloads) -> Self {
        Self {
            offloads,
            ..Self::default()
        }
    }

    /// Has a stack leave to the NIC what it does.
    pub fn configure(&self, config: &mut Config) {
        config.tx_checksum_offload = ChecksumOffload {
            ipv4: self.offloads.tx_ipv4_checksum,
            tcp: self.offloads.tx_tcp_checksum,
            udp: self.offloads.tx_udp_checksum,
        };
    }

    /// What it has done.
    pub fn stats(&self) -> NicStats {
        self.stats
    }

    /// Sends one frame as the stack left it; what goes out on the wire.
    pub fn send(&mut self, mut frame: Vec<u8>, meta: TxMeta) -> Vec<u8> {
        self.tag_in_software(&mut frame, meta);
        if let Some(kind) = meta.checksum {
            let transport = if kind.is_udp() {
                self.offloads.tx_udp_checksum
            } else {
                self.offloads.tx_tcp_checksum
            };
            // A checksum that is not left to the NIC is there already.
            if self.offloads.tx_ipv4_checksum && transport {
                frame::fill_ip_checksum(&mut frame);
            }
            if transport {
                frame::fill_l4_checksum(&mut frame);
                self.stats.summed += 1;
            }
        }
        self.tag(&mut frame, meta);
        frame
    }

    /// Cuts a packet; what goes out on the wire. `None` where it does not cut such.
    pub fn send_large(&mut self, large: &LargeFrame<'_>) -> Option<Vec<Vec<u8>>> {
        let gso = large.gso();
        let cuts = match (gso.l4().is_udp(), gso.l4().is_v6()) {
            (true, _) => self.offloads.udp_segmentation,
            (false, false) => self.offloads.tso_v4,
            (false, true) => self.offloads.tso_v6,
        };
        if !cuts {
            return None;
        }
        let headers = gso.headers();
        let mut packet = headers.to_vec();
        packet.resize(headers.len() + gso.payload_len(), 0);
        large.copy_to(0, &mut packet[headers.len()..]);
        self.tag_in_software(&mut packet, large.meta());
        frame::prepare_to_cut(&mut packet);
        let mut pieces = frame::cut(&packet, gso.segment().into());
        self.stats.cut += 1;
        self.stats.pieces += pieces.len() as u64;
        for piece in &mut pieces {
            self.tag(piece, large.meta());
        }
        Some(pieces)
    }

    /// Where the NIC puts no tags in, the host does.
    fn tag_in_software(&self, frame: &mut Vec<u8>, meta: TxMeta) {
        if let Some(tci) = meta.vlan_tci
            && !self.offloads.vlan_insert
        {
            *frame = frames::tagged(frame, tci);
        }
    }

    fn tag(&mut self, frame: &mut Vec<u8>, meta: TxMeta) {
        if let Some(tci) = meta.vlan_tci
            && self.offloads.vlan_insert
        {
            frame::insert_tag(frame, tci);
            self.stats.tagged += 1;
        }
    }

    /// Whether received frames are handed over as they came, with nothing said about them.
    pub fn passes_on(&self) -> bool {
        !(self.offloads.rx_checksum || self.offloads.vlan_strip || self.offloads.lro)
    }

    /// What becomes of frames that came off the wire together.
    pub fn receive(&mut self, frames: &[Vec<u8>]) -> Vec<Received> {
        let mut received: Vec<Received> =
            frames.iter().map(|frame| self.receive_one(frame)).collect();
        if self.offloads.lro {
            let before = received.len();
            let large = self.lro.coalesce(&mut received);
            self.stats.large += large;
            self.stats.coalesced += (before - received.len()) as u64 + large;
        }
        received
    }

    fn receive_one(&mut self, frame: &[u8]) -> Received {
        let mut frame = frame.to_vec();
        let mut meta = RxMeta::default();
        if self.offloads.vlan_strip {
            meta.vlan_tci = frame::strip_tag(&mut frame);
            self.stats.stripped += u64::from(meta.vlan_tci.is_some());
        }
        if self.offloads.rx_checksum {
            let verdict = |right| match right {
                None => ChecksumVerdict::Unknown,
                Some(true) => ChecksumVerdict::Good,
                Some(false) => ChecksumVerdict::Bad,
            };
            let (ip, l4) = frame::verify(&frame);
            (meta.ip_checksum, meta.l4_checksum) = (verdict(ip), verdict(l4));
            self.stats.verified += u64::from(ip.or(l4).is_some());
        }
        Received::new(frame, meta)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Family;
    use crate::frames::{Path, Segment, flags};
    use dpdk_net_packet::FrameBuf;

    /// Segments of so many bytes each, one behind the other.
    fn segments(family: Family, sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut segment = Segment {
            seq: u32::MAX - 3_000,
            flags: flags::SYN,
            ..Segment::default()
        };
        let path = Path::new(family, 1, 2);
        let mut frames = vec![path.tcp(&segment)];
        segment.seq = segment.seq.wrapping_add(1);
        segment.flags = flags::ACK;
        for (i, &size) in sizes.iter().enumerate() {
            segment.payload = vec![i as u8; size];
            frames.push(path.tcp(&segment));
            segment.seq = segment.seq.wrapping_add(size as u32);
        }
        frames
    }

    fn lro() -> Nic {
        Nic::new(Offloads {
            lro: true,
            ..Offloads::NONE
        })
    }

    #[test]
    fn a_large_frame_has_the_length_of_all_and_the_pieces_in_order() {
        for family in Family::BOTH {
            let received = lro().receive(&segments(family, &[1_400, 1_400, 1_400, 600]));
            let [_, large] = received.as_slice() else {
                panic!("{received:?}");
            };
            assert_eq!(large.segment_count(), 4);
            assert_eq!(large.rx_meta().lro_segment, 1_400);
            let whole: Vec<u8> = large.pieces.concat();
            let at = frame::Layout::of(&whole).unwrap();
            assert_eq!((at.end, at.end - at.payload), (whole.len(), 4_800));
            assert!(whole[at.payload + 1_400..][..1_400] == [1; 1_400]);
            assert_eq!(frame::verify(&whole).0, (!at.v6).then_some(true));
        }
    }

    #[test]
    fn what_is_out_of_order_wrong_or_of_another_size_stays_by_itself() {
        for family in Family::BOTH {
            let good = segments(family, &[1_000, 1_000, 1_000, 1_000]);
            let mut gap = good.clone();
            gap.remove(2);
            assert_eq!(lro().receive(&gap).len(), 4);
            let mut wrong = good.clone();
            *wrong[2].last_mut().unwrap() ^= 1;
            assert_eq!(lro().receive(&wrong).len(), 5);
            let grows = segments(family, &[1_000, 1_200, 1_200]);
            assert_eq!(lro().receive(&grows).len(), 3);
            // A short one ends it; what follows begins another one.
            let short = segments(family, &[1_000, 400, 1_000, 1_000]);
            let received = lro().receive(&short);
            let pieces: Vec<_> = received.iter().map(FrameBuf::segment_count).collect();
            assert_eq!(pieces, [1, 2, 2]);
            assert_eq!(lro().receive(&good).len(), 2);
        }
    }

    #[test]
    fn a_tag_is_told_of_and_taken_out_and_checksums_are_judged() {
        let mut nic = Nic::new(Offloads::ALL);
        for family in Family::BOTH {
            let mut frame = segments(family, &[100]).remove(1);
            let plain = frame.clone();
            frame::insert_tag(&mut frame, 0x2005);
            let received = nic.receive(&[frame]).remove(0);
            assert_eq!(received.rx_meta().vlan_tci, Some(0x2005));
            assert_eq!(received.bytes(), plain);
            assert_eq!(received.rx_meta().l4_checksum, ChecksumVerdict::Good);
            let mut bad = plain;
            *bad.last_mut().unwrap() ^= 1;
            let received = nic.receive(&[bad]).remove(0);
            assert_eq!(received.rx_meta().l4_checksum, ChecksumVerdict::Bad);
        }
        assert_eq!(nic.stats().stripped, 2);
    }
}
