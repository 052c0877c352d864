//! Receive side scaling: what is asked of a port whose packets go to several queues.
//!
//! DPDK's part is `rte_eth_conf.rx_adv_conf.rss_conf`: which packets are hashed ([`RssTypes`]) and the key
//! ([`RssKey`]); the hash picks an entry of the redirection table ([`Reta`]), which is a queue. What comes of the
//! request is a [`RssPlan`]. What the driver answers when it is asked later is believed over what it was told.
//!
//! What does not live here: the hash itself ([`dpdk_net_packet::toeplitz`]).

mod driver;
mod plan;
mod reta;

use dpdk_net_packet::toeplitz::{MICROSOFT_KEY, Toeplitz, symmetric_key};
use dpdk_net_sys as sys;

pub(super) use self::driver::RssControl;
pub use self::plan::{RssPlan, RssScope, Spreader, Traffic};
pub use self::reta::Reta;
use super::PortInfo;
use crate::Error;

bitflags::bitflags! {
    /// Which packets are hashed for RSS (`RTE_ETH_RSS_*`), each by what tells its flows apart. The others that DPDK
    /// knows, tunnels and IPv6 by home addresses among them, are never asked for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct RssTypes: u64 {
        /// IPv4, by addresses.
        const IPV4 = sys::DN_ETH_RSS_IPV4;
        /// Fragments of IPv4, by addresses: only the first one has ports.
        const FRAGMENT_IPV4 = sys::DN_ETH_RSS_FRAG_IPV4;
        /// TCP over IPv4, by addresses and ports.
        const TCP_IPV4 = sys::DN_ETH_RSS_NONFRAG_IPV4_TCP;
        /// UDP over IPv4, by addresses and ports.
        const UDP_IPV4 = sys::DN_ETH_RSS_NONFRAG_IPV4_UDP;
        /// Other protocols over IPv4, by addresses.
        const OTHER_IPV4 = sys::DN_ETH_RSS_NONFRAG_IPV4_OTHER;
        /// IPv6, by addresses.
        const IPV6 = sys::DN_ETH_RSS_IPV6;
        /// Fragments of IPv6, by addresses.
        const FRAGMENT_IPV6 = sys::DN_ETH_RSS_FRAG_IPV6;
        /// TCP over IPv6, by addresses and ports.
        const TCP_IPV6 = sys::DN_ETH_RSS_NONFRAG_IPV6_TCP;
        /// UDP over IPv6, by addresses and ports.
        const UDP_IPV6 = sys::DN_ETH_RSS_NONFRAG_IPV6_UDP;
        /// Other protocols over IPv6, by addresses.
        const OTHER_IPV6 = sys::DN_ETH_RSS_NONFRAG_IPV6_OTHER;
    }
}

impl Default for RssTypes {
    fn default() -> Self {
        Self::all()
    }
}

/// The key that packets are hashed with.
///
/// Whoever knows it can choose flows that all arrive at one queue: where strangers may want to, take random bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RssKey {
    /// The driver's own.
    #[default]
    Driver,
    /// That of Microsoft's specification ([`MICROSOFT_KEY`]).
    Microsoft,
    /// One by which both directions of a flow arrive at the same queue ([`symmetric_key`]).
    Symmetric,
    /// These bytes, at least 40. The port's key may be shorter or longer: what is beyond it is left out, what is
    /// missing is taken from the start again. Neither changes how addresses and ports are hashed.
    Bytes(Vec<u8>),
}

impl RssKey {
    /// As many bytes of it as the port's key has; none for the driver's own.
    pub(crate) fn for_port(&self, port: &PortInfo) -> Option<Vec<u8>> {
        let bytes: &[u8] = match self {
            Self::Driver => return None,
            Self::Microsoft => &MICROSOFT_KEY,
            Self::Symmetric => &symmetric_key::<{ Toeplitz::SHORTEST_KEY }>(),
            Self::Bytes(bytes) => bytes,
        };
        Some(bytes.iter().copied().cycle().take(key_len(port)).collect())
    }
}

/// Bytes of the port's key; 40 where the driver does not say (`rte_eth_dev_info.hash_key_size`).
fn key_len(port: &PortInfo) -> usize {
    match port.rss_key_size {
        0 => Toeplitz::SHORTEST_KEY,
        size => usize::from(size),
    }
}

/// How received packets are to be spread over several queues. It is of no effect on a port with one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RssRequest {
    /// What to hash, as far as the port can. Default: all. None of them turns RSS off.
    pub types: RssTypes,
    /// The key.
    pub key: RssKey,
}

impl RssRequest {
    /// What of it the port can hash.
    pub(super) fn hashed_by(&self, port: &PortInfo) -> RssTypes {
        self.types & port.rss_types
    }

    /// What the driver is told to hash, and with which key.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a key that is too short.
    pub(super) fn plan(
        &self,
        port: &PortInfo,
        queues: u16,
        wants_hash: bool,
    ) -> Result<RssPlan, Error> {
        if let RssKey::Bytes(bytes) = &self.key {
            Toeplitz::new(bytes).map_err(|error| Error::InvalidArgument {
                what: format!("rss.key of {} ({})", port.id, port.name),
                problem: error.to_string(),
            })?;
        }
        let types = if queues > 1 || wants_hash {
            self.hashed_by(port)
        } else {
            RssTypes::empty()
        };
        let key = (!types.is_empty())
            .then(|| self.key.for_port(port))
            .flatten();
        Ok(RssPlan::new(port, queues, self.types, types, key))
    }
}

#[cfg(test)]
mod tests;
