//! The control handle: what may be asked of an open port from any thread, at any time, while others receive
//! and send.

use std::sync::Arc;

use dpdk_net_packet::MacAddr;
use dpdk_net_sys as sys;

use super::config::{check_buffers, check_mtu};
use super::inner::{Inner, Phase};
use super::rss::RssControl;
use super::{Offloads, PortId, PortInfo, Reta, RssPlan};
use crate::flow::isolate;
use crate::{Error, Mempool};

/// Controls an open port. Clones name the same port and keep it open. Calls from several threads take turns.
#[derive(Debug, Clone)]
pub struct PortControl {
    inner: Arc<Inner>,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStatus {
    /// Whether there is a link.
    pub up: bool,
    /// Its speed in Mbit/s, where the driver knows it.
    pub speed_mbps: Option<u32>,
    /// Whether both ends may send at once.
    pub full_duplex: bool,
    /// Whether speed and duplex were negotiated.
    pub autonegotiated: bool,
}

impl PortControl {
    pub(super) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The port's number.
    pub fn id(&self) -> PortId {
        self.inner.id
    }

    /// The name of its device.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What the port is and can do.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn info(&self) -> Result<PortInfo, Error> {
        let _control = self.inner.lock();
        self.inner.info()
    }

    /// Which offloads are on, and why others are not; nothing before the port is configured.
    pub fn offloads(&self) -> Offloads {
        self.inner.lock().setup.offloads.clone()
    }

    /// The mempools that packets are received into, each once: their levels are [`Mempool::available`] and
    /// [`Mempool::in_use`]. None before the port is configured.
    pub fn mempools(&self) -> Vec<Mempool> {
        let mut pools: Vec<Mempool> = Vec::new();
        for pool in &self.inner.lock().setup.pools {
            if !pools.contains(pool) {
                pools.push(pool.clone());
            }
        }
        pools
    }

    /// How received packets are spread over the queues: as planned once the port is configured, as the driver says once
    /// it is started.
    pub fn rss(&self) -> RssPlan {
        self.inner.lock().setup.rss.clone()
    }

    /// The key that packets are hashed with for RSS; none where none are, or where the driver does not say.
    pub fn rss_key(&self) -> Option<Vec<u8>> {
        self.rss().key().map(<[u8]>::to_vec)
    }

    /// The redirection table (`rte_eth_dev_rss_reta_query`); none where the port has none, or does not tell.
    ///
    /// # Errors
    /// [`Error::NotConfigured`], [`Error::Dpdk`] where the driver fails.
    pub fn reta(&self) -> Result<Option<Reta>, Error> {
        self.with_rss("its redirection table is read", |rss, _| rss.reta())
    }

    /// Changes the redirection table, those entries alone that differ (`rte_eth_dev_rss_reta_update`). Packets on their
    /// way still arrive by the old one.
    ///
    /// It holds until the port is stopped. Started again, the port has the driver's own table, or this one if it names
    /// each queue.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where the port has no table, or one of another size, or an entry names a queue that
    /// is not there; [`Error::NotConfigured`]; [`Error::Dpdk`] where the driver refuses, as where RSS is off.
    pub fn set_reta(&self, reta: &Reta) -> Result<(), Error> {
        self.with_rss("its redirection table changes", |rss, queues| {
            rss.set_reta(reta, queues)
        })
    }

    /// Calls `body` with the RSS of the configured port and the number of its receive queues, under the lock.
    fn with_rss<R>(
        &self,
        wanted: &'static str,
        body: impl FnOnce(&RssControl<'_>, u16) -> Result<R, Error>,
    ) -> Result<R, Error> {
        let control = self.inner.lock();
        if control.phase == Phase::Unconfigured {
            return Err(Error::NotConfigured {
                port: self.inner.subject(),
                wanted,
            });
        }
        let info = self.inner.info()?;
        // SAFETY: the port is open and configured, and its lock is held until `body` has returned.
        let rss = unsafe { RssControl::new(&info) };
        body(&rss, control.setup.rx.len() as u16)
    }

    /// How many receive and transmit queues were configured.
    pub fn queue_counts(&self) -> (u16, u16) {
        let control = self.inner.lock();
        (control.setup.rx.len() as u16, control.setup.tx.len() as u16)
    }

    /// Descriptors of each receive and of each transmit queue.
    pub fn descriptor_counts(&self) -> (u16, u16) {
        let control = self.inner.lock();
        (control.setup.rx_descriptors, control.setup.tx_descriptors)
    }

    /// Has only what flow rules say arrive from now on, or everything again (`rte_flow_isolate`). Best asked before the
    /// port is configured; some drivers can't go back.
    ///
    /// # Errors
    /// [`Error::FlowRule`] where the driver can't.
    pub fn isolate_flows(&self, on: bool) -> Result<(), Error> {
        let _control = self.inner.lock();
        // SAFETY: the port is open as we hold it, and its lock is held.
        unsafe { isolate(&self.inner, on) }
    }

    /// The Ethernet address.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn mac(&self) -> Result<MacAddr, Error> {
        self.info().map(|info| info.mac)
    }

    /// Changes the Ethernet address (`rte_eth_dev_default_mac_addr_set`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an address that no station can have, [`Error::Dpdk`] where the driver
    /// can't.
    pub fn set_mac(&self, mac: MacAddr) -> Result<(), Error> {
        let _control = self.inner.lock();
        if mac.is_multicast() || mac == MacAddr::ZERO {
            return Err(Error::InvalidArgument {
                what: format!("mac of {}", self.inner.subject()),
                problem: format!(
                    "{mac} is no station's address: its first byte must be even, and not all may be 0"
                ),
            });
        }
        let mut address = sys::rte_ether_addr { addr_bytes: mac.0 };
        // SAFETY: the port is open and ours under the lock; the address outlives the call.
        let rc =
            unsafe { sys::rte_eth_dev_default_mac_addr_set(self.inner.id.get(), &mut address) };
        self.supported(
            "rte_eth_dev_default_mac_addr_set",
            rc,
            "Keep the address that the device came with",
        )
    }

    /// The MTU: bytes of IP packet that a frame carries.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn mtu(&self) -> Result<u16, Error> {
        let _control = self.inner.lock();
        let mut mtu = 0;
        // SAFETY: the port is open and ours under the lock.
        let rc = unsafe { sys::rte_eth_dev_get_mtu(self.inner.id.get(), &mut mtu) };
        self.inner.check("rte_eth_dev_get_mtu", rc).map(|()| mtu)
    }

    /// Changes the MTU. Many drivers do that on a stopped port only.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where the driver does not take it or a frame would not fit the receive
    /// mempools' mbufs, [`Error::NotConfigured`] on a port that was not configured, [`Error::Dpdk`] where the
    /// driver refuses, as with `EBUSY` on a started port.
    pub fn set_mtu(&self, mtu: u16) -> Result<(), Error> {
        let control = self.inner.lock();
        if control.phase == Phase::Unconfigured {
            return Err(Error::NotConfigured {
                port: self.inner.subject(),
                wanted: "its MTU changes",
            });
        }
        let info = self.inner.info()?;
        check_mtu(&info, mtu)?;
        check_buffers(
            &info,
            mtu,
            control.setup.offloads.rx(),
            &control.setup.pools,
        )?;
        // SAFETY: the port is open, configured and ours under the lock.
        let rc = unsafe { sys::rte_eth_dev_set_mtu(self.inner.id.get(), mtu) };
        if rc == -libc::EBUSY {
            return self
                .inner
                .check("rte_eth_dev_set_mtu", rc)
                .map_err(|error| {
                    error.with_remedy(
                        "This driver changes the MTU of a stopped port only: stop it first",
                    )
                });
        }
        self.supported(
            "rte_eth_dev_set_mtu",
            rc,
            "Keep the MTU that the device came with",
        )?;
        self.inner.set_longest_frame(&info, mtu);
        Ok(())
    }

    /// Whether frames for any address are received.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn promiscuous(&self) -> Result<bool, Error> {
        let _control = self.inner.lock();
        // SAFETY: the port is open and ours under the lock.
        let rc = unsafe { sys::rte_eth_promiscuous_get(self.inner.id.get()) };
        self.inner
            .check("rte_eth_promiscuous_get", rc)
            .map(|()| rc == 1)
    }

    /// Receives frames for any address, or for ours only.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver can't.
    pub fn set_promiscuous(&self, on: bool) -> Result<(), Error> {
        let _control = self.inner.lock();
        let id = self.inner.id.get();
        // SAFETY: the port is open and ours under the lock.
        let (function, rc) = unsafe {
            if on {
                (
                    "rte_eth_promiscuous_enable",
                    sys::rte_eth_promiscuous_enable(id),
                )
            } else {
                (
                    "rte_eth_promiscuous_disable",
                    sys::rte_eth_promiscuous_disable(id),
                )
            }
        };
        self.supported(
            function,
            rc,
            "Leave promiscuous mode as it is: this device has no choice",
        )
    }

    /// Whether frames for any multicast address are received.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn allmulticast(&self) -> Result<bool, Error> {
        let _control = self.inner.lock();
        // SAFETY: the port is open and ours under the lock.
        let rc = unsafe { sys::rte_eth_allmulticast_get(self.inner.id.get()) };
        self.inner
            .check("rte_eth_allmulticast_get", rc)
            .map(|()| rc == 1)
    }

    /// Receives frames for any multicast address, or for registered ones only.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver can't.
    pub fn set_allmulticast(&self, on: bool) -> Result<(), Error> {
        let _control = self.inner.lock();
        let id = self.inner.id.get();
        // SAFETY: the port is open and ours under the lock.
        let (function, rc) = unsafe {
            if on {
                (
                    "rte_eth_allmulticast_enable",
                    sys::rte_eth_allmulticast_enable(id),
                )
            } else {
                (
                    "rte_eth_allmulticast_disable",
                    sys::rte_eth_allmulticast_disable(id),
                )
            }
        };
        self.supported(function, rc, "Use promiscuous mode to receive multicast")
    }

    /// The state of the link, without waiting for it (`rte_eth_link_get_nowait`).
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn link(&self) -> Result<LinkStatus, Error> {
        let _control = self.inner.lock();
        let mut raw = sys::dn_link::default();
        // SAFETY: the port is open and ours under the lock; `raw` is written before it is read.
        let rc = unsafe { sys::dn_eth_link_get_nowait(self.inner.id.get(), &mut raw) };
        self.inner.check("rte_eth_link_get_nowait", rc)?;
        Ok(LinkStatus {
            up: raw.up != 0,
            // RTE_ETH_SPEED_NUM_NONE and RTE_ETH_SPEED_NUM_UNKNOWN.
            speed_mbps: (!matches!(raw.speed_mbps, 0 | u32::MAX)).then_some(raw.speed_mbps),
            full_duplex: raw.full_duplex != 0,
            autonegotiated: raw.autoneg != 0,
        })
    }

    /// Brings the link up.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver can't.
    pub fn set_link_up(&self) -> Result<(), Error> {
        let _control = self.inner.lock();
        // SAFETY: the port is open and ours under the lock.
        let rc = unsafe { sys::rte_eth_dev_set_link_up(self.inner.id.get()) };
        self.supported(
            "rte_eth_dev_set_link_up",
            rc,
            "The link of this device follows its peer",
        )
    }

    /// Takes the link down.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver can't.
    pub fn set_link_down(&self) -> Result<(), Error> {
        let _control = self.inner.lock();
        // SAFETY: the port is open and ours under the lock.
        let rc = unsafe { sys::rte_eth_dev_set_link_down(self.inner.id.get()) };
        self.supported(
            "rte_eth_dev_set_link_down",
            rc,
            "The link of this device follows its peer",
        )
    }

    /// A return value as a result, with what to do where the driver lacks the function.
    fn supported(
        &self,
        function: &'static str,
        rc: i32,
        otherwise: &'static str,
    ) -> Result<(), Error> {
        self.inner.check(function, rc).map_err(|error| {
            if rc == -libc::ENOTSUP {
                error.with_remedy(otherwise)
            } else {
                error
            }
        })
    }
}
