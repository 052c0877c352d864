//! Which packets a port can be given to send: what its driver and its configuration allow, and what a driver is known
//! to choke on.
//!
//! What does not live here: which offloads are turned on, and the MTU, which may change at any time
//! ([`super::inner`]).

use dpdk_net_sys as sys;

use super::{PortInfo, TxOffloads};
use crate::Mbuf;
use crate::mbuf::SEGMENTATION;

/// Mbufs of a packet to send, where the driver says nothing: some keep a list of them on the stack. A packet
/// of 64 KiB in mbufs of 2 KiB has 33.
const MOST_SEGMENTS: u16 = 256;

/// TCP segments that net_tap cuts a packet into at most (`MAX_GSO_MBUFS`).
const TAP_MOST_TCP_SEGMENTS: u16 = 64;

/// The most that the length field of an IP header can say, and what is in front of it.
const LONGEST_TO_SEGMENT: u32 = TxCapabilities::MOST_BYTES + u8::MAX as u32;

/// What may be sent by a port's queues.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct TxRules {
    /// Mbufs of a packet that leaves as it is.
    plain: u16,
    /// Mbufs of one that the port segments.
    segmented: u16,
    offloads: TxOffloads,
    segments_ipv6: bool,
    /// The flags by which a packet may ask for segmentation.
    segmentation: u64,
    /// See [`TxCapabilities::sums_mbufs_apart`].
    sums_mbufs_apart: bool,
    /// It is net_tap. A packet that it can't segment stays at the front of its queue for ever.
    tap: bool,
    /// Whether each packet must be looked at, also plain ones.
    pub(crate) every_packet: bool,
}

/// What a port does with packets to send, as it was configured: see [`TxQueue::capabilities`](crate::TxQueue::capabilities)
/// and [`Offloads::capabilities`](super::Offloads::capabilities).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxCapabilities {
    /// The offloads that are on.
    pub offloads: TxOffloads,
    /// Whether IPv6 packets are segmented too, if any are.
    pub segments_ipv6: bool,
    /// Segments that a packet may be cut into at most.
    pub most_segments: u32,
    /// Mbufs that a packet to be cut may have at most.
    pub most_mbufs: usize,
    /// Mbufs that another packet may have at most.
    pub most_mbufs_plain: usize,
    /// Whether the link header counts where a segment has to fit the MTU.
    pub counts_link_header: bool,
    /// Whether the TCP or UDP checksum of a packet is wrong in which an mbuf of an odd length is followed by another one: net_tap
    /// adds each up as if it began at an even offset, and `rte_raw_cksum_mbuf`, which net_vhost uses for peers that want whole
    /// checksums, cuts the sum of what begins at an odd one.
    pub sums_mbufs_apart: bool,
}

impl TxCapabilities {
    /// Bytes of an IP packet that is to be cut at most: its length field has 16 bits.
    pub const MOST_BYTES: u32 = u16::MAX as u32;

    /// Of what does nothing by itself: frames are sent as they are, in one mbuf each.
    pub const NONE: Self = Self {
        offloads: TxOffloads::empty(),
        segments_ipv6: false,
        most_segments: 1,
        most_mbufs: 1,
        most_mbufs_plain: 1,
        counts_link_header: false,
        sums_mbufs_apart: false,
    };
}

/// The frames that fit the MTU at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// Bytes of IP packet.
    pub(crate) mtu: u32,
    /// Bytes of the longest frame.
    pub(crate) longest: u32,
}

/// Why a packet can't be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TxProblem {
    #[error("it has no data")]
    Empty,
    #[error(
        "it has {length} bytes, a frame of the port's MTU has {longest}, and it is not one for the port to segment"
    )]
    TooLong { length: usize, longest: u32 },
    #[error(
        "its segments would have {length} bytes, the port takes {most}: lower the segment size"
    )]
    SegmentTooLong { length: u32, most: u32 },
    #[error("it would become {segments} segments, this driver cuts into {most} at most")]
    TooManySegments { segments: u32, most: u32 },
    #[error("this driver segments no IPv6")]
    Ipv6,
    #[error("it asks for {0:?}, which the port was not configured with")]
    NotOffloaded(TxOffloads),
    #[error(
        "it has {segments} mbufs, the port takes {most}, and its first has no room for all of it"
    )]
    TooManyMbufs { segments: usize, most: usize },
}

impl TxRules {
    pub(crate) fn new(info: &PortInfo, offloads: TxOffloads, segments_ipv6: bool) -> Self {
        let (plain, segmented) = if offloads.contains(TxOffloads::MULTI_SEGS) {
            let segmented = info
                .max_tx_segments_tso
                .map_or(MOST_SEGMENTS, |most| most.min(MOST_SEGMENTS));
            let plain = info
                .max_tx_segments
                .map_or(segmented, |most| most.min(segmented));
            (plain, segmented)
        } else {
            (1, 1)
        };
        let tap = info.driver == "net_tap";
        let asked_by = |offload, flag| {
            if offloads.contains(offload) { flag } else { 0 }
        };
        Self {
            plain,
            segmented,
            offloads,
            segments_ipv6,
            segmentation: asked_by(TxOffloads::TCP_TSO, sys::DN_MBUF_F_TX_TCP_SEG)
                | asked_by(TxOffloads::UDP_TSO, sys::DN_MBUF_F_TX_UDP_SEG),
            sums_mbufs_apart: tap || info.driver == "net_vhost",
            tap,
            every_packet: tap,
        }
    }

    /// For those who make packets.
    pub(crate) fn capabilities(&self) -> TxCapabilities {
        TxCapabilities {
            offloads: self.offloads,
            segments_ipv6: self.segments_ipv6,
            most_segments: if self.tap {
                u32::from(TAP_MOST_TCP_SEGMENTS)
            } else {
                u32::MAX
            },
            most_mbufs: usize::from(self.segmented),
            most_mbufs_plain: usize::from(self.plain),
            counts_link_header: self.tap,
            sums_mbufs_apart: self.sums_mbufs_apart,
        }
    }

    /// How many mbufs this packet may have.
    pub(crate) fn most_segments(&self, mbuf: &Mbuf) -> usize {
        usize::from(if mbuf.tx_flags() & SEGMENTATION != 0 {
            self.segmented
        } else {
            self.plain
        })
    }

    /// Why the packet must not be handed to the driver, if so. Of how many mbufs it is is not looked at.
    pub(crate) fn unsendable(&self, mbuf: &Mbuf, frame: Frame) -> Option<TxProblem> {
        let length = mbuf.pkt_len();
        if length == 0 {
            return Some(TxProblem::Empty);
        }
        let asked = mbuf.tx_flags() & SEGMENTATION;
        let longest = if asked & self.segmentation != 0 {
            LONGEST_TO_SEGMENT
        } else {
            frame.longest
        };
        if length > longest as usize {
            return Some(TxProblem::TooLong { length, longest });
        }
        if asked == 0 || !(self.tap || asked & self.segmentation != 0) {
            return None;
        }
        let lengths = mbuf.tx_lengths();
        // net_tap counts the link header in.
        let link = if self.tap { lengths.l2 } else { 0 };
        let segment = link + lengths.l3 + lengths.l4 + lengths.segment;
        if segment > frame.mtu {
            return Some(TxProblem::SegmentTooLong {
                length: segment,
                most: frame.mtu,
            });
        }
        if self.tap {
            if mbuf.tx_flags() & sys::DN_MBUF_F_TX_IPV6 != 0 {
                return Some(TxProblem::Ipv6);
            }
            let headers = lengths.l2 + lengths.l3 + lengths.l4;
            let payload = (length as u32).saturating_sub(headers);
            let segments = payload.div_ceil(lengths.segment.max(1));
            if segments > u32::from(TAP_MOST_TCP_SEGMENTS) {
                return Some(TxProblem::TooManySegments {
                    segments,
                    most: TAP_MOST_TCP_SEGMENTS.into(),
                });
            }
        }
        None
    }

    /// What is wrong with a packet, also what a driver would not notice.
    pub(crate) fn problem(&self, mbuf: &Mbuf, frame: Frame) -> Option<TxProblem> {
        let missing = asked_for(mbuf.tx_flags()).difference(self.offloads);
        if !missing.is_empty() {
            return Some(TxProblem::NotOffloaded(missing));
        }
        let problem = self.unsendable(mbuf, frame);
        if problem.is_some() {
            return problem;
        }
        let (segments, most) = (mbuf.nb_segs(), self.most_segments(mbuf));
        (segments > most && !mbuf.fits_first_segment())
            .then_some(TxProblem::TooManyMbufs { segments, most })
    }
}

/// What a packet's flags ask for, as the offloads that do it.
pub(crate) fn asked_for(flags: u64) -> TxOffloads {
    if flags == 0 {
        return TxOffloads::empty();
    }
    let mut asked = TxOffloads::empty();
    for (flag, offload) in [
        (sys::DN_MBUF_F_TX_VLAN, TxOffloads::VLAN_INSERT),
        (sys::DN_MBUF_F_TX_IP_CKSUM, TxOffloads::IPV4_CHECKSUM),
        (sys::DN_MBUF_F_TX_TCP_SEG, TxOffloads::TCP_TSO),
        (sys::DN_MBUF_F_TX_UDP_SEG, TxOffloads::UDP_TSO),
    ] {
        asked.set(offload, flags & flag != 0);
    }
    match flags & sys::DN_MBUF_F_TX_L4_MASK {
        sys::DN_MBUF_F_TX_TCP_CKSUM => asked |= TxOffloads::TCP_CHECKSUM,
        sys::DN_MBUF_F_TX_UDP_CKSUM => asked |= TxOffloads::UDP_CHECKSUM,
        _ => {}
    }
    asked
}
