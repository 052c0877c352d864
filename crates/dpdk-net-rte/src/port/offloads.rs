//! What a NIC can do with packets on its own, as DPDK's offload flags.

use dpdk_net_sys as sys;

bitflags::bitflags! {
    /// Receive offloads (`RTE_ETH_RX_OFFLOAD_*`). Bits without a name here are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct RxOffloads: u64 {
        /// Strip VLAN tags: [`Mbuf::vlan_tci`](crate::Mbuf::vlan_tci).
        const VLAN_STRIP = sys::DN_ETH_RX_OFFLOAD_VLAN_STRIP;
        /// Verify IPv4 header checksums: [`Mbuf::ip_checksum`](crate::Mbuf::ip_checksum).
        const IPV4_CHECKSUM = sys::DN_ETH_RX_OFFLOAD_IPV4_CKSUM;
        /// Verify UDP checksums: [`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum).
        const UDP_CHECKSUM = sys::DN_ETH_RX_OFFLOAD_UDP_CKSUM;
        /// Verify TCP checksums: [`Mbuf::l4_checksum`](crate::Mbuf::l4_checksum).
        const TCP_CHECKSUM = sys::DN_ETH_RX_OFFLOAD_TCP_CKSUM;
        /// Coalesce TCP segments: [`Mbuf::is_lro`](crate::Mbuf::is_lro).
        const TCP_LRO = sys::DN_ETH_RX_OFFLOAD_TCP_LRO;
        /// Drop VLANs that were not asked for.
        const VLAN_FILTER = sys::DN_ETH_RX_OFFLOAD_VLAN_FILTER;
        /// Spread a frame over several mbufs where one is too small.
        const SCATTER = sys::DN_ETH_RX_OFFLOAD_SCATTER;
        /// Leave the frame check sequence at the frame's end.
        const KEEP_CRC = sys::DN_ETH_RX_OFFLOAD_KEEP_CRC;
        /// Deliver the RSS hash: [`Mbuf::rss_hash`](crate::Mbuf::rss_hash).
        const RSS_HASH = sys::DN_ETH_RX_OFFLOAD_RSS_HASH;
        /// Tell when a packet was received: [`Mbuf::timestamp`](crate::Mbuf::timestamp).
        const TIMESTAMP = sys::DN_ETH_RX_OFFLOAD_TIMESTAMP;
        /// All checksums that TCP and UDP over IP have.
        const CHECKSUM = Self::IPV4_CHECKSUM.bits() | Self::UDP_CHECKSUM.bits() | Self::TCP_CHECKSUM.bits();
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// Transmit offloads (`RTE_ETH_TX_OFFLOAD_*`). Bits without a name here are kept.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct TxOffloads: u64 {
        /// Insert VLAN tags: [`Mbuf::set_tx_vlan`](crate::Mbuf::set_tx_vlan).
        const VLAN_INSERT = sys::DN_ETH_TX_OFFLOAD_VLAN_INSERT;
        /// Fill IPv4 header checksums in.
        const IPV4_CHECKSUM = sys::DN_ETH_TX_OFFLOAD_IPV4_CKSUM;
        /// Fill UDP checksums in.
        const UDP_CHECKSUM = sys::DN_ETH_TX_OFFLOAD_UDP_CKSUM;
        /// Fill TCP checksums in.
        const TCP_CHECKSUM = sys::DN_ETH_TX_OFFLOAD_TCP_CKSUM;
        /// Cut large packets into TCP segments (TSO).
        const TCP_TSO = sys::DN_ETH_TX_OFFLOAD_TCP_TSO;
        /// Cut large packets into UDP datagrams.
        const UDP_TSO = sys::DN_ETH_TX_OFFLOAD_UDP_TSO;
        /// Send packets of several mbufs as they are. Without it they are copied into one.
        const MULTI_SEGS = sys::DN_ETH_TX_OFFLOAD_MULTI_SEGS;
        /// Free sent mbufs unseen: [`Offload::FastFree`](super::Offload::FastFree).
        const FAST_FREE = sys::DN_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
        /// All checksums that TCP and UDP over IP have.
        const CHECKSUM = Self::IPV4_CHECKSUM.bits() | Self::UDP_CHECKSUM.bits() | Self::TCP_CHECKSUM.bits();
        const _ = !0;
    }
}

impl TxOffloads {
    /// What this crate never turns on: queues have one owner, and are not locked.
    pub(crate) const FORBIDDEN: Self = Self::from_bits_retain(sys::DN_ETH_TX_OFFLOAD_MT_LOCKFREE);
}

impl RxOffloads {
    /// What this crate never turns on: packets split over pools it did not hand in.
    pub(crate) const FORBIDDEN: Self = Self::from_bits_retain(sys::DN_ETH_RX_OFFLOAD_BUFFER_SPLIT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offloads_are_shown_by_name() {
        let offloads = RxOffloads::TCP_CHECKSUM | RxOffloads::SCATTER;
        assert_eq!(
            format!("{offloads:?}"),
            "RxOffloads(TCP_CHECKSUM | SCATTER)"
        );
    }

    #[test]
    fn checksum_is_the_three_of_them() {
        assert_eq!(TxOffloads::CHECKSUM.bits().count_ones(), 3);
        assert!(TxOffloads::CHECKSUM.contains(TxOffloads::IPV4_CHECKSUM));
    }
}
