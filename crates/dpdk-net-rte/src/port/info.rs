//! What a port is and can do, as its driver says (`rte_eth_dev_info_get`).

use core::fmt;
use core::ops::RangeInclusive;
use std::ffi::{CStr, CString, c_char};

use dpdk_net_packet::MacAddr;
use dpdk_net_sys as sys;

use super::inner::with_open_ports;
use super::{RssTypes, RxOffloads, TxOffloads};
use crate::{Eal, Error, SocketId};

/// A port's number. Any number can be named; whether there is such a port shows when it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(u16);

impl PortId {
    /// The port of this number.
    pub const fn new(id: u16) -> Self {
        Self(id)
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl From<u16> for PortId {
    fn from(id: u16) -> Self {
        Self(id)
    }
}

impl fmt::Display for PortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port {}", self.0)
    }
}

/// A port by number or by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortSelector<'a> {
    /// By number.
    Id(PortId),
    /// By the name of its device, as in `net_tap0` or `0000:01:00.0`.
    Name(&'a str),
}

impl From<PortId> for PortSelector<'_> {
    fn from(id: PortId) -> Self {
        Self::Id(id)
    }
}

impl From<u16> for PortSelector<'_> {
    fn from(id: u16) -> Self {
        Self::Id(PortId::new(id))
    }
}

impl<'a> From<&'a str> for PortSelector<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

impl<'a> From<&'a String> for PortSelector<'a> {
    fn from(name: &'a String) -> Self {
        Self::Name(name)
    }
}

/// How many descriptors a queue can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// At least so many.
    pub min: u16,
    /// At most so many.
    pub max: u16,
    /// A multiple of this.
    pub align: u16,
    /// What the driver recommends, if anything.
    pub recommended: Option<u16>,
}

impl DescriptorLimits {
    /// What to take where the user did not say: the recommendation or 1024, moved into the limits.
    pub(crate) fn choose(&self) -> u16 {
        let align = self.align.max(1);
        let wish = self.recommended.unwrap_or(1024).min(self.max).max(self.min);
        let down = wish / align * align;
        if down >= self.min && down > 0 {
            down
        } else {
            down.saturating_add(align)
        }
    }

    /// What is wrong with `descriptors`, if anything.
    pub(crate) fn problem(&self, descriptors: u16) -> Option<String> {
        let align = self.align.max(1);
        let fits = (self.min.max(1)..=self.max).contains(&descriptors);
        (!fits || !descriptors.is_multiple_of(align)).then(|| {
            format!(
                "{descriptors} descriptors: the driver takes {} to {}, in multiples of {align}",
                self.min.max(1),
                self.max
            )
        })
    }
}

/// What a port is and can do.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PortInfo {
    /// Its number.
    pub id: PortId,
    /// The name of its device.
    pub name: String,
    /// The driver (PMD).
    pub driver: String,
    /// Its Ethernet address.
    pub mac: MacAddr,
    /// The NUMA socket it is on.
    pub socket: SocketId,
    /// The kernel's interface behind it, by index, where there is one.
    pub interface_index: Option<u32>,
    /// Most receive queues.
    pub max_rx_queues: u16,
    /// Most transmit queues.
    pub max_tx_queues: u16,
    /// Limits of a receive queue.
    pub rx_descriptors: DescriptorLimits,
    /// Limits of a transmit queue.
    pub tx_descriptors: DescriptorLimits,
    /// Smallest MTU: bytes of IP packet, without the Ethernet header.
    pub min_mtu: u16,
    /// Largest MTU.
    pub max_mtu: u16,
    /// Smallest receive buffer in bytes, headroom not counted.
    pub min_rx_buffer: u32,
    /// Bytes that a frame has beyond the MTU: header, check sequence, and tags that the driver counts in.
    pub frame_overhead: u32,
    /// Most segments of a packet to send, if the driver says so.
    pub max_tx_segments: Option<u16>,
    /// Most segments of a packet that the port is to cut into TCP segments, likewise.
    pub max_tx_segments_tso: Option<u16>,
    /// Receive offloads on offer.
    pub rx_offloads: RxOffloads,
    /// Transmit offloads on offer.
    pub tx_offloads: TxOffloads,
    /// Entries of the RSS redirection table, 0 for none.
    pub reta_size: u16,
    /// Bytes of the RSS key, 0 for none.
    pub rss_key_size: u8,
    /// What RSS can hash (`flow_type_rss_offloads`), of what this crate asks for.
    pub rss_types: RssTypes,
    /// Most Ethernet addresses.
    pub max_mac_addresses: u32,
}

impl PortInfo {
    /// The MTUs that the driver takes.
    pub fn mtu_range(&self) -> RangeInclusive<u16> {
        self.min_mtu..=self.max_mtu
    }

    /// Asks DPDK. The port is open, or no port can be closed or removed meanwhile ([`with_open_ports`]): DPDK
    /// does not keep a driver from going while it is asked.
    pub(crate) fn query(_eal: &Eal, id: PortId) -> Result<Self, Error> {
        let mut raw = sys::dn_port_info::default();
        // SAFETY: the EAL is initialised; DPDK checks the port's number; `raw` is written before it is read.
        let rc = unsafe { sys::dn_eth_port_info(id.get(), &mut raw) };
        if rc < 0 {
            return Err(Error::from_rc("rte_eth_dev_info_get", id.to_string(), rc));
        }
        // eth_dev_get_overhead_len() of DPDK: what the driver adds to the MTU, or header and check sequence.
        let known = raw.max_mtu != u16::MAX && raw.max_rx_pktlen > u32::from(raw.max_mtu);
        let frame_overhead = if known {
            raw.max_rx_pktlen - u32::from(raw.max_mtu)
        } else {
            sys::RTE_ETHER_HDR_LEN + sys::RTE_ETHER_CRC_LEN
        };
        let limits = |min, max, align, recommended| DescriptorLimits {
            min,
            max,
            align,
            recommended: (recommended != 0).then_some(recommended),
        };
        // 0 where a driver leaves the field out, the maximum where DPDK filled it in.
        let told = |most| (!matches!(most, 0 | u16::MAX)).then_some(most);
        Ok(Self {
            id,
            name: text(&raw.name),
            driver: text(&raw.driver),
            mac: MacAddr(raw.mac),
            socket: SocketId::from_raw(raw.socket_id),
            interface_index: (raw.if_index != 0).then_some(raw.if_index),
            max_rx_queues: raw.max_rx_queues,
            max_tx_queues: raw.max_tx_queues,
            rx_descriptors: limits(
                raw.rx_desc_min,
                raw.rx_desc_max,
                raw.rx_desc_align,
                raw.rx_desc_default,
            ),
            tx_descriptors: limits(
                raw.tx_desc_min,
                raw.tx_desc_max,
                raw.tx_desc_align,
                raw.tx_desc_default,
            ),
            min_mtu: raw.min_mtu,
            max_mtu: raw.max_mtu,
            min_rx_buffer: raw.min_rx_bufsize,
            frame_overhead,
            max_tx_segments: told(raw.tx_segments_max),
            max_tx_segments_tso: told(raw.tx_segments_max_tso),
            rx_offloads: RxOffloads::from_bits_retain(raw.rx_offload_capa),
            tx_offloads: TxOffloads::from_bits_retain(raw.tx_offload_capa),
            reta_size: raw.reta_size,
            rss_key_size: raw.hash_key_size,
            rss_types: RssTypes::from_bits_truncate(raw.rss_types),
            max_mac_addresses: raw.max_mac_addrs,
        })
    }
}

/// A C string in an array.
pub(crate) fn text(bytes: &[c_char]) -> String {
    let bytes: Vec<u8> = bytes.iter().map(|byte| *byte as u8).collect();
    CStr::from_bytes_until_nul(&bytes)
        .map(|text| text.to_string_lossy().into_owned())
        .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into_owned())
}

/// The port that `selector` means, if there is one.
pub(super) fn find(_eal: &Eal, selector: PortSelector<'_>) -> Option<PortId> {
    match selector {
        PortSelector::Id(id) => {
            // SAFETY: the EAL is initialised; DPDK checks the number.
            let valid = unsafe { sys::rte_eth_dev_is_valid_port(id.get()) };
            (valid == 1).then_some(id)
        }
        PortSelector::Name(name) => {
            let name = CString::new(name).ok()?;
            let mut id = 0;
            // DPDK compares names in place: those of ports that are being closed must not go meanwhile.
            // SAFETY: the EAL is initialised; `name` is a C string that outlives the call.
            let rc = with_open_ports(|_| unsafe {
                sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id)
            });
            (rc == 0).then_some(PortId::new(id))
        }
    }
}

impl Eal {
    /// The ports that DPDK found or was given, open or not, by number.
    ///
    /// A port whose driver can't be asked any more (it is being removed) is left out.
    pub fn ports(&self) -> Vec<PortInfo> {
        // Drivers are asked about ports that are not ours: none may be closed or removed meanwhile.
        with_open_ports(|_| {
            let mut ports = Vec::new();
            let mut next = 0;
            loop {
                // SAFETY: the EAL is initialised.
                let id = unsafe { sys::dn_eth_next_port(next) };
                if u32::from(id) >= sys::RTE_MAX_ETHPORTS {
                    return ports;
                }
                ports.extend(PortInfo::query(self, PortId::new(id)));
                next = id + 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(min: u16, max: u16, align: u16, recommended: Option<u16>) -> DescriptorLimits {
        DescriptorLimits {
            min,
            max,
            align,
            recommended,
        }
    }

    #[test]
    fn chosen_descriptors_lie_within_the_limits() {
        assert_eq!(limits(0, u16::MAX, 1, None).choose(), 1024);
        assert_eq!(limits(64, 512, 32, None).choose(), 512);
        assert_eq!(limits(64, 4096, 32, Some(100)).choose(), 96);
        assert_eq!(limits(2000, 4096, 64, None).choose(), 2048);
        for chosen in [limits(1, 1, 1, None), limits(33, 100, 32, Some(1))] {
            assert_eq!(chosen.problem(chosen.choose()), None, "{chosen:?}");
        }
    }

    #[test]
    fn descriptors_out_of_range_or_misaligned_are_named_with_the_range() {
        let limits = limits(64, 512, 32, None);
        for wrong in [0, 32, 544, 65] {
            let problem = limits.problem(wrong).expect("refused");
            assert!(
                problem.contains("64 to 512, in multiples of 32"),
                "{problem}"
            );
        }
        assert_eq!(limits.problem(96), None);
    }
}
