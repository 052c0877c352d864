//! What a DHCPv6 client is told at its start.

use dpdk_net_packet::MacAddr;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mode {
    /// Addresses, and settings with them.
    #[default]
    Stateful,
    /// Settings alone: DNS servers and the search list (RFC 8415 section 6.1).
    Stateless,
    /// What routers say is to be had: addresses (the M flag of RFC 4861 section 4.2), settings alone (O), or nothing.
    /// The first router that says one of both decides.
    AsRouters,
}

/// What a client is told at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The MAC address of the interface. `AppBuilder` sets it.
    pub mac: MacAddr,
    /// What is asked for. Default: addresses.
    pub mode: Mode,
    /// The identifier of this host (DUID, RFC 8415 section 11): 3 to 130 bytes. Default: one of the MAC address
    /// (DUID-LL).
    pub duid: Option<Vec<u8>>,
}

impl Config {
    /// Asks for addresses, by an identifier made of the MAC address.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for that.
    #[must_use]
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether addresses are asked for, whatever routers say.
    pub(crate) fn asks_addresses(&self) -> bool {
        self.mode == Mode::Stateful
    }

    /// With this identifier.
    #[must_use]
    pub fn duid(mut self, duid: impl Into<Vec<u8>>) -> Self {
        self.duid = Some(duid.into());
        self
    }

    /// Whether it can be sent.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        match &self.duid {
            Some(duid) if !(3..=130).contains(&duid.len()) => Err("a DUID has 3 to 130 bytes"),
            _ => Ok(()),
        }
    }

    pub(super) fn client_id(&self) -> Vec<u8> {
        // DUID-LL (RFC 8415 section 11.4): its type, Ethernet's number, the address.
        let of_mac = || [0, 3, 0, 1].into_iter().chain(self.mac.octets()).collect();
        self.duid.clone().unwrap_or_else(of_mac)
    }

    /// RFC 8415 section 12: the same for the same interface, from start to start.
    pub(super) fn association(&self) -> u32 {
        let [_, _, a, b, c, d] = self.mac.octets();
        u32::from_be_bytes([a, b, c, d])
    }
}
