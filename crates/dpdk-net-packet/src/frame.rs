//! A received frame as the stack sees it: its bytes, in one segment or several, and what the NIC said about them.

/// What the NIC found out about a checksum, as `RTE_MBUF_F_RX_*_CKSUM_*` tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumVerdict {
    /// Nothing: software must verify.
    #[default]
    Unknown,
    /// It is wrong: the packet is to be counted and dropped.
    Bad,
    /// It is right.
    Good,
    /// The packet carries no checksum but its data is known to be intact (a virtual device): valid.
    None,
}

impl ChecksumVerdict {
    /// Whether software has to verify.
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::Unknown)
    }
}

/// What came with a frame besides its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RxMeta {
    /// The verdict on the IPv4 header checksum.
    pub ip_checksum: ChecksumVerdict,
    /// The verdict on the TCP, UDP or ICMP checksum.
    pub l4_checksum: ChecksumVerdict,
    /// The RSS hash, if the NIC delivered it.
    pub rss_hash: Option<u32>,
    /// The VLAN tag control information, if the NIC stripped a tag.
    pub vlan_tci: Option<u16>,
    /// Payload bytes of each of the TCP segments that were coalesced into this frame (LRO), the last one excepted; 0 where
    /// none were, or where the NIC does not tell.
    pub lro_segment: u16,
    /// When the NIC received the frame, in ticks of its own clock.
    pub timestamp: Option<u64>,
}

/// One received Ethernet frame, without the frame check sequence.
///
/// It lies in one segment of memory or in several, one behind the other. All headers are in the first one.
pub trait FrameBuf {
    /// The first segment, from the destination address on: all of the frame, where there is only one.
    fn bytes(&self) -> &[u8];

    /// How many segments there are, at least 1.
    #[inline]
    fn segment_count(&self) -> usize {
        1
    }

    /// The segments behind the first one, in order.
    #[inline]
    fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
        core::iter::empty::<&[u8]>()
    }

    /// Bytes of all segments together.
    #[inline]
    fn frame_len(&self) -> usize {
        let rest = self.rest().map(|segment| segment.bytes().len());
        self.bytes().len() + rest.sum::<usize>()
    }

    /// What the NIC said about it; by default nothing.
    fn rx_meta(&self) -> RxMeta {
        RxMeta::default()
    }

    /// Some bytes of the first segment, to be kept where they lie: as [`FrameSegment::share`].
    #[cfg(feature = "alloc")]
    fn share(&self, range: core::ops::Range<usize>) -> Option<(bytes::Bytes, usize)> {
        let _ = range;
        None
    }
}

/// One of the segments of memory that a frame lies in.
pub trait FrameSegment<'a> {
    /// What of the frame is in it.
    fn bytes(&self) -> &'a [u8];

    /// Some of its bytes, to be kept where they lie for as long as the returned buffer or a clone of it is there, and how many
    /// bytes of memory stay taken because of it. `None` where they can't be kept, or have been kept so often that they
    /// should be copied: by default.
    #[cfg(feature = "alloc")]
    fn share(&self, range: core::ops::Range<usize>) -> Option<(bytes::Bytes, usize)> {
        let _ = range;
        None
    }
}

impl<'a> FrameSegment<'a> for &'a [u8] {
    fn bytes(&self) -> &'a [u8] {
        self
    }
}

impl FrameBuf for [u8] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

impl<const N: usize> FrameBuf for [u8; N] {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// The methods of a frame behind a pointer: its own.
macro_rules! deref_forward_frame_buf {
    () => {
        fn bytes(&self) -> &[u8] {
            (**self).bytes()
        }

        #[inline]
        fn segment_count(&self) -> usize {
            (**self).segment_count()
        }

        #[inline]
        fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
            (**self).rest()
        }

        #[inline]
        fn frame_len(&self) -> usize {
            (**self).frame_len()
        }

        fn rx_meta(&self) -> RxMeta {
            (**self).rx_meta()
        }

        #[cfg(feature = "alloc")]
        fn share(&self, range: core::ops::Range<usize>) -> Option<(bytes::Bytes, usize)> {
            (**self).share(range)
        }
    };
}

impl<T: FrameBuf + ?Sized> FrameBuf for &T {
    deref_forward_frame_buf!();
}

#[cfg(feature = "alloc")]
impl FrameBuf for alloc::vec::Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

#[cfg(feature = "alloc")]
impl<T: FrameBuf + ?Sized> FrameBuf for alloc::boxed::Box<T> {
    deref_forward_frame_buf!();
}
