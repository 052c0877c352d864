//! What a packet asks of the NIC when it is sent.
//!
//! Drivers trust the header lengths in an mbuf and read and write headers by them. So they are checked here
//! against the data that is there, once, when they are set; whatever shortens or shifts the data afterwards
//! takes the request back.

use dpdk_net_sys as sys;

use super::Mbuf;
use crate::Error;
use crate::port::TxOffloads;
use crate::port::tx_rules::asked_for;

/// The IP version of the packet, as far as offloads go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4; `header_checksum` asks the NIC to fill the checksum of its header in.
    V4 {
        /// Whether the NIC fills the header checksum in. The field itself must be zero.
        header_checksum: bool,
    },
    /// IPv6.
    V6,
}

/// What the NIC shall do about the transport layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum L4Offload {
    /// Nothing.
    None,
    /// Fill in the TCP checksum. The field must hold the sum of the pseudo-header, or
    /// [`TxQueue::tx_prepare`](crate::TxQueue::tx_prepare) puts it there.
    TcpChecksum,
    /// Fill in the UDP checksum; likewise.
    UdpChecksum,
    /// Cut the packet into TCP segments of at most this many bytes of payload, checksums included (TSO).
    TcpSegmentation {
        /// Payload bytes a segment, at least 1.
        segment_size: u16,
        /// Length of the TCP header in bytes, options included.
        header_len: u8,
    },
    /// Cut the packet into UDP datagrams of at most this many bytes of payload, each with a header of its own, checksums
    /// included (`RTE_MBUF_F_TX_UDP_SEG`).
    UdpSegmentation {
        /// Payload bytes a datagram, at least 1.
        segment_size: u16,
    },
}

/// The request. It takes effect on a port whose
/// [transmit offloads](crate::port::TxOffloads) include what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxOffload {
    /// Bytes in front of the IP header.
    pub l2_len: u8,
    /// Length of the IP header in bytes, options or extension headers included.
    pub l3_len: u16,
    /// Which IP it is.
    pub ip: IpVersion,
    /// What to do about the transport layer.
    pub l4: L4Offload,
}

/// What is wrong with a [`TxOffload`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadTxOffload {
    /// The link header is longer than an mbuf can say.
    #[error(
        "l2_len is {given}, an mbuf has {} bits for it",
        sys::DN_MBUF_L2_LEN_BITS
    )]
    LinkHeaderTooLong {
        /// Its length in bytes.
        given: u8,
    },
    /// The IP header is longer than an mbuf can say.
    #[error(
        "l3_len is {given}, an mbuf has {} bits for it",
        sys::DN_MBUF_L3_LEN_BITS
    )]
    IpHeaderTooLong {
        /// Its length in bytes.
        given: u16,
    },
    /// The IP header is shorter than any of its version.
    #[error("l3_len is {given}, this IP header has at least {least} bytes")]
    IpHeaderTooShort {
        /// Its length in bytes.
        given: u16,
        /// The least it can be.
        least: u16,
    },
    /// No TCP header has this length.
    #[error("a TCP header has 20 to 60 bytes, not {given}")]
    TcpHeader {
        /// Its length in bytes.
        given: u8,
    },
    /// Segments without payload.
    #[error("segment_size is 0: a segment has at least 1 byte")]
    EmptySegments,
}

/// A packet's first segment is too short for the headers that an offload request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("headers of {headers} bytes do not fit the {first_segment} bytes of the first segment")]
pub struct HeadersDoNotFit {
    /// Bytes of headers.
    pub headers: usize,
    /// Bytes of data in the first segment.
    pub first_segment: usize,
}

/// A [`TxOffload`] that was checked and encoded, to be applied to any number of packets whose headers have the same
/// lengths ([`Mbuf::apply_offload`]).
///
/// ```
/// use dpdk_net_rte::mbuf::{IpVersion, L4Offload, PreparedOffload, TxOffload};
///
/// const CHECKSUMS: PreparedOffload = match (TxOffload {
///     l2_len: 14,
///     l3_len: 20,
///     ip: IpVersion::V4 { header_checksum: true },
///     l4: L4Offload::TcpChecksum,
/// })
/// .prepare()
/// {
///     Ok(prepared) => prepared,
///     Err(_) => panic!("these lengths are right"),
/// };
/// assert_eq!(CHECKSUMS.headers(), 54);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedOffload {
    /// `ol_flags`.
    flags: u64,
    /// `tx_offload`.
    lengths: u64,
    /// Bytes that the first segment must hold.
    headers: u16,
}

impl PreparedOffload {
    /// Bytes of headers that a packet's first segment must hold.
    pub const fn headers(&self) -> usize {
        self.headers as usize
    }
}

impl TxOffload {
    /// Checks the request and encodes it.
    ///
    /// # Errors
    /// [`BadTxOffload`] says which length is out of its range.
    #[inline]
    pub const fn prepare(self) -> Result<PreparedOffload, BadTxOffload> {
        if self.l2_len as usize >> sys::DN_MBUF_L2_LEN_BITS != 0 {
            return Err(BadTxOffload::LinkHeaderTooLong { given: self.l2_len });
        }
        if self.l3_len as usize >> sys::DN_MBUF_L3_LEN_BITS != 0 {
            return Err(BadTxOffload::IpHeaderTooLong { given: self.l3_len });
        }
        let (least, ip) = match self.ip {
            IpVersion::V4 {
                header_checksum: true,
            } => (20, sys::DN_MBUF_F_TX_IPV4 | sys::DN_MBUF_F_TX_IP_CKSUM),
            IpVersion::V4 {
                header_checksum: false,
            } => (20, sys::DN_MBUF_F_TX_IPV4),
            IpVersion::V6 => (40, sys::DN_MBUF_F_TX_IPV6),
        };
        if self.l3_len < least {
            return Err(BadTxOffload::IpHeaderTooShort {
                given: self.l3_len,
                least,
            });
        }
        // The length of the transport header is for segmentation. net_tap before 22.11.4 wanted it for checksums
        // as well; that of a header without options does, as what follows counts as payload.
        let (flags, l4_len, segment_size) = match self.l4 {
            L4Offload::None => (0, 0, 0),
            L4Offload::TcpChecksum => (sys::DN_MBUF_F_TX_TCP_CKSUM, TCP_HEADER, 0),
            L4Offload::UdpChecksum => (sys::DN_MBUF_F_TX_UDP_CKSUM, UDP_HEADER, 0),
            L4Offload::TcpSegmentation {
                segment_size,
                header_len,
            } => {
                if header_len < TCP_HEADER || header_len > MAX_TCP_HEADER {
                    return Err(BadTxOffload::TcpHeader { given: header_len });
                }
                (
                    sys::DN_MBUF_F_TX_TCP_SEG | sys::DN_MBUF_F_TX_TCP_CKSUM,
                    header_len,
                    segment_size,
                )
            }
            L4Offload::UdpSegmentation { segment_size } => (
                sys::DN_MBUF_F_TX_UDP_SEG | sys::DN_MBUF_F_TX_UDP_CKSUM,
                UDP_HEADER,
                segment_size,
            ),
        };
        if flags & SEGMENTATION != 0 && segment_size == 0 {
            return Err(BadTxOffload::EmptySegments);
        }
        Ok(PreparedOffload {
            flags: ip | flags,
            lengths: self.l2_len as u64
                | (self.l3_len as u64) << L3_AT
                | (l4_len as u64) << L4_AT
                | (segment_size as u64) << SEGMENT_AT,
            headers: self.l2_len as u16 + self.l3_len + l4_len as u16,
        })
    }
}

/// Bytes of a TCP header, without and with all the options that fit (RFC 9293 section 3.1).
const TCP_HEADER: u8 = 20;
const MAX_TCP_HEADER: u8 = 60;
/// Bytes of a UDP header.
const UDP_HEADER: u8 = 8;

// rte_mbuf.tx_offload packs its fields from the low bit (little-endian): l2_len, l3_len, l4_len, tso_segsz.
const L3_AT: usize = sys::DN_MBUF_L2_LEN_BITS;
const L4_AT: usize = L3_AT + sys::DN_MBUF_L3_LEN_BITS;
const SEGMENT_AT: usize = L4_AT + sys::DN_MBUF_L4_LEN_BITS;

/// The flags by which a packet asks to be segmented.
pub(crate) const SEGMENTATION: u64 = sys::DN_MBUF_F_TX_TCP_SEG | sys::DN_MBUF_F_TX_UDP_SEG;

#[cfg(target_endian = "big")]
compile_error!(
    "rte_mbuf.tx_offload is packed from the high bit on big-endian machines: not supported"
);

impl Mbuf {
    /// Asks the NIC to fill checksums in or to segment. Set it last: [`trim`](Self::trim),
    /// [`adj`](Self::adj) and [`prepend`](Self::prepend) take it back.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where a length is out of its range or the first segment does not hold the
    /// headers.
    pub fn set_tx_offload(&mut self, offload: TxOffload) -> Result<(), Error> {
        let invalid = |problem| Error::InvalidArgument {
            what: "transmit offload of an mbuf".into(),
            problem,
        };
        let prepared = offload
            .prepare()
            .map_err(|error| invalid(error.to_string()))?;
        self.apply_offload(&prepared)
            .map_err(|error| invalid(error.to_string()))
    }

    /// Asks the NIC for what was checked before, and replaces what was asked but a VLAN tag. Set it last, as
    /// [`set_tx_offload`](Self::set_tx_offload).
    ///
    /// # Errors
    /// [`HeadersDoNotFit`] where the first segment does not hold the headers; nothing changes then.
    #[inline]
    pub fn apply_offload(&mut self, offload: &PreparedOffload) -> Result<(), HeadersDoNotFit> {
        let first_segment = self.data_len();
        if offload.headers() > first_segment {
            return Err(HeadersDoNotFit {
                headers: offload.headers(),
                first_segment,
            });
        }
        let raw = self.raw();
        // SAFETY: the mbuf is ours alone; the lengths lie within its data.
        unsafe {
            raw.set_tx_offload(offload.lengths);
            raw.set_ol_flags(raw.ol_flags() & !CHECKSUM_AND_TSO | offload.flags);
        }
        Ok(())
    }

    /// Asks the NIC to insert a VLAN tag; takes effect on a port with
    /// [`TxOffloads::VLAN_INSERT`](crate::port::TxOffloads::VLAN_INSERT).
    #[inline]
    pub fn set_tx_vlan(&mut self, tci: u16) {
        let raw = self.raw();
        // SAFETY: the mbuf is ours alone.
        unsafe {
            raw.set_vlan_tci(tci);
            raw.set_ol_flags(raw.ol_flags() | sys::DN_MBUF_F_TX_VLAN);
        }
    }

    /// What was asked of the NIC, as `RTE_MBUF_F_TX_*` flags.
    #[inline]
    pub(crate) fn tx_flags(&self) -> u64 {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw().ol_flags() & sys::DN_MBUF_F_TX_OFFLOAD_MASK }
    }

    /// What the packet asks of the NIC.
    pub fn asked_offloads(&self) -> TxOffloads {
        asked_for(self.tx_flags())
    }

    /// The VLAN tag that the NIC was asked to insert.
    pub fn asked_vlan(&self) -> Option<u16> {
        // SAFETY: the mbuf is alive.
        (self.tx_flags() & sys::DN_MBUF_F_TX_VLAN != 0).then(|| unsafe { self.raw().vlan_tci() })
    }

    /// Payload bytes of each segment that the packet is to be cut into; 0 if it is not to be cut.
    pub fn asked_segment(&self) -> u16 {
        if self.tx_flags() & SEGMENTATION == 0 {
            return 0;
        }
        self.tx_lengths().segment as u16
    }

    /// The lengths that came with it.
    pub(crate) fn tx_lengths(&self) -> TxLengths {
        // SAFETY: the mbuf is alive.
        let packed = unsafe { self.raw().tx_offload() };
        let field = |at: usize, bits: usize| (packed >> at & ((1 << bits) - 1)) as u32;
        TxLengths {
            l2: field(0, sys::DN_MBUF_L2_LEN_BITS),
            l3: field(L3_AT, sys::DN_MBUF_L3_LEN_BITS),
            l4: field(L4_AT, sys::DN_MBUF_L4_LEN_BITS),
            segment: field(SEGMENT_AT, sys::DN_MBUF_TSO_SEGSZ_BITS),
        }
    }

    /// Takes back all that was asked of the NIC.
    #[inline]
    pub fn clear_tx_offload(&mut self) {
        let raw = self.raw();
        // SAFETY: the mbuf is ours alone.
        unsafe {
            let flags = raw.ol_flags();
            if flags & sys::DN_MBUF_F_TX_OFFLOAD_MASK != 0 {
                raw.set_ol_flags(flags & !sys::DN_MBUF_F_TX_OFFLOAD_MASK);
                raw.set_tx_offload(0);
            }
        }
    }
}

/// What a packet to be sent says about its headers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TxLengths {
    pub(crate) l2: u32,
    pub(crate) l3: u32,
    pub(crate) l4: u32,
    /// Payload of a segment.
    pub(crate) segment: u32,
}

/// The flags that a [`TxOffload`] replaces.
const CHECKSUM_AND_TSO: u64 = sys::DN_MBUF_F_TX_OFFLOAD_MASK & !sys::DN_MBUF_F_TX_VLAN;
