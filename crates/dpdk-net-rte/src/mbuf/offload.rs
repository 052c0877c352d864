//! What a packet asks of the NIC when it is sent.
//!
//! Drivers trust the header lengths in an mbuf and read and write headers by them. So they are checked here
//! against the data that is there, once, when they are set; whatever shortens or shifts the data afterwards
//! takes the request back.

use dpdk_net_sys as sys;

use super::Mbuf;
use crate::Error;

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
    /// Cut the packet into TCP segments of at most this many bytes of payload, checksums included.
    TcpSegmentation {
        /// Payload bytes a segment, at least 1.
        segment_size: u16,
        /// Length of the TCP header in bytes, options included.
        header_len: u8,
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

impl TxOffload {
    /// Bytes of headers that the first segment must hold.
    fn headers(&self) -> usize {
        let l4 = match self.l4 {
            L4Offload::None => 0,
            L4Offload::TcpChecksum => 20,
            L4Offload::UdpChecksum => 8,
            L4Offload::TcpSegmentation { header_len, .. } => usize::from(header_len),
        };
        usize::from(self.l2_len) + usize::from(self.l3_len) + l4
    }

    /// `ol_flags` and `tx_offload`, or what is wrong.
    fn encode(&self) -> Result<(u64, u64), String> {
        let bits = |name: &str, value: u64, width: usize| {
            if value >> width == 0 {
                Ok(value)
            } else {
                Err(format!(
                    "{name} is {value}, an mbuf has {width} bits for it"
                ))
            }
        };
        let l2 = bits("l2_len", self.l2_len.into(), sys::DN_MBUF_L2_LEN_BITS)?;
        let l3 = bits("l3_len", self.l3_len.into(), sys::DN_MBUF_L3_LEN_BITS)?;
        let (least, mut flags) = match self.ip {
            IpVersion::V4 { header_checksum } => {
                let checksum = if header_checksum {
                    sys::DN_MBUF_F_TX_IP_CKSUM
                } else {
                    0
                };
                (20, sys::DN_MBUF_F_TX_IPV4 | checksum)
            }
            IpVersion::V6 => (40, sys::DN_MBUF_F_TX_IPV6),
        };
        if self.l3_len < least {
            return Err(format!(
                "l3_len is {}, this IP header has at least {least} bytes",
                self.l3_len
            ));
        }
        let (mut l4, mut segment) = (0, 0);
        match self.l4 {
            L4Offload::None => {}
            L4Offload::TcpChecksum => flags |= sys::DN_MBUF_F_TX_TCP_CKSUM,
            L4Offload::UdpChecksum => {
                flags |= sys::DN_MBUF_F_TX_UDP_CKSUM;
                l4 = 8;
            }
            L4Offload::TcpSegmentation {
                segment_size,
                header_len,
            } => {
                if segment_size == 0 {
                    return Err("segment_size is 0: a segment has at least 1 byte".into());
                }
                if !(20..=60).contains(&header_len) {
                    return Err(format!("a TCP header has 20 to 60 bytes, not {header_len}"));
                }
                flags |= sys::DN_MBUF_F_TX_TCP_SEG | sys::DN_MBUF_F_TX_TCP_CKSUM;
                l4 = u64::from(header_len);
                segment = u64::from(segment_size);
            }
        }
        // rte_mbuf.tx_offload packs its fields from the low bit (little-endian) in this order.
        let l3_at = sys::DN_MBUF_L2_LEN_BITS;
        let l4_at = l3_at + sys::DN_MBUF_L3_LEN_BITS;
        let segment_at = l4_at + sys::DN_MBUF_L4_LEN_BITS;
        Ok((
            flags,
            l2 | l3 << l3_at | l4 << l4_at | segment << segment_at,
        ))
    }
}

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
        let (flags, lengths) = offload.encode().map_err(invalid)?;
        if offload.headers() > self.data_len() {
            return Err(invalid(format!(
                "headers of {} bytes do not fit the {} bytes of the first segment",
                offload.headers(),
                self.data_len()
            )));
        }
        let raw = self.raw();
        // SAFETY: the mbuf is ours alone; the lengths lie within its data.
        unsafe {
            raw.set_tx_offload(lengths);
            raw.set_ol_flags(raw.ol_flags() & !CHECKSUM_AND_TSO | flags);
        }
        Ok(())
    }

    /// Asks the NIC to insert a VLAN tag; takes effect on a port with
    /// [`TxOffloads::VLAN_INSERT`](crate::port::TxOffloads::VLAN_INSERT).
    pub fn set_tx_vlan(&mut self, tci: u16) {
        let raw = self.raw();
        // SAFETY: the mbuf is ours alone.
        unsafe {
            raw.set_vlan_tci(tci);
            raw.set_ol_flags(raw.ol_flags() | sys::DN_MBUF_F_TX_VLAN);
        }
    }

    /// Whether the NIC was asked to cut the packet into segments.
    pub(crate) fn asks_for_segmentation(&self) -> bool {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw().ol_flags() & sys::DN_MBUF_F_TX_TCP_SEG != 0 }
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

/// The flags that a [`TxOffload`] replaces.
const CHECKSUM_AND_TSO: u64 = sys::DN_MBUF_F_TX_OFFLOAD_MASK & !sys::DN_MBUF_F_TX_VLAN;
