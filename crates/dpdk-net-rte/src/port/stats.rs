//! What a port counted: basic figures and extended ones from the driver, per-queue ones from our queues.
//!
//! Per-queue figures are counted by [`RxQueue`](crate::RxQueue) and [`TxQueue`](crate::TxQueue) themselves:
//! DPDK 25.11 has none in `rte_eth_stats` any more, and what drivers call them among the extended ones
//! differs. Bytes are those of the frames handed over, without the frame check sequence.

use std::ffi::c_char;

use dpdk_net_sys as sys;

use super::PortControl;
use super::info::text;
use super::inner::{Baseline, Slot};
use crate::Error;

/// What the driver counted since the port was opened or the statistics were reset (`rte_eth_stats_get`).
/// Virtual devices leave some at 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortStats {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Packets that the NIC dropped as no descriptor was free: the application was too slow.
    pub rx_missed: u64,
    /// Packets received in error.
    pub rx_errors: u64,
    /// Packets that could not be sent.
    pub tx_errors: u64,
    /// Receptions that found no mbuf: the mempool is too small.
    pub rx_no_mbuf: u64,
}

/// What one queue each way counted since the port was configured or the statistics were reset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueStats {
    /// Packets that `rx_burst` delivered.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Packets among them that the driver shared with others and that were copied therefore.
    pub rx_copied: u64,
    /// Packets dropped as there was no mbuf for that copy.
    pub rx_dropped: u64,
    /// Packets dropped because a broken driver delivered several segments that do not add up to the packet.
    pub rx_malformed: u64,
    /// Packets that `tx_burst` handed to the driver.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Packets of several segments that were copied into one, for a driver that takes no others.
    pub tx_copied: u64,
    /// Packets that can't be sent and were dropped: empty, or too long to copy into one segment.
    pub tx_dropped: u64,
}

fn values(slot: &Slot) -> [u64; 5] {
    [
        slot.packets.get(),
        slot.bytes.get(),
        slot.copied.get(),
        slot.dropped.get(),
        slot.malformed.get(),
    ]
}

impl PortControl {
    /// What the driver counted.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn stats(&self) -> Result<PortStats, Error> {
        let inner = self.inner();
        let _control = inner.lock();
        let mut raw = sys::dn_port_stats::default();
        // SAFETY: the port is open and ours under the lock; `raw` is written before it is read.
        let rc = unsafe { sys::dn_eth_port_stats(inner.id.get(), &mut raw) };
        inner.check("rte_eth_stats_get", rc)?;
        Ok(PortStats {
            rx_packets: raw.rx_packets,
            tx_packets: raw.tx_packets,
            rx_bytes: raw.rx_bytes,
            tx_bytes: raw.tx_bytes,
            rx_missed: raw.rx_missed,
            rx_errors: raw.rx_errors,
            tx_errors: raw.tx_errors,
            rx_no_mbuf: raw.rx_no_mbuf,
        })
    }

    /// What receive queue and transmit queue `queue` counted; a port that has only one of the two gives
    /// zeros for the other.
    ///
    /// # Errors
    /// [`Error::NoSuchQueue`] where the port has neither.
    pub fn queue_stats(&self, queue: u16) -> Result<QueueStats, Error> {
        let inner = self.inner();
        let control = inner.lock();
        let index = usize::from(queue);
        let (rx, tx) = (&control.setup.rx, &control.setup.tx);
        if index >= rx.len().max(tx.len()) {
            return Err(Error::NoSuchQueue {
                port: inner.subject(),
                queue,
                direction: "receive or transmit",
                count: rx.len().max(tx.len()),
            });
        }
        let since = |slots: &[std::sync::Arc<Slot>], baseline: &[[u64; 5]]| {
            let now = slots
                .get(index)
                .map(|slot| values(slot))
                .unwrap_or_default();
            let then = baseline.get(index).copied().unwrap_or_default();
            core::array::from_fn::<u64, 5, _>(|n| now[n].wrapping_sub(then[n]))
        };
        let [rx_packets, rx_bytes, rx_copied, rx_dropped, rx_malformed] =
            since(rx, &control.baseline.rx);
        let [tx_packets, tx_bytes, tx_copied, tx_dropped, _] = since(tx, &control.baseline.tx);
        Ok(QueueStats {
            rx_packets,
            rx_bytes,
            rx_copied,
            rx_dropped,
            rx_malformed,
            tx_packets,
            tx_bytes,
            tx_copied,
            tx_dropped,
        })
    }

    /// Everything that the driver counts, by the names it gives (`rte_eth_xstats_get`).
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver fails.
    pub fn xstats(&self) -> Result<Vec<(String, u64)>, Error> {
        let inner = self.inner();
        let _control = inner.lock();
        let port = inner.id.get();
        // SAFETY: the port is open and ours under the lock; without room, the number is returned.
        let rc = unsafe { sys::rte_eth_xstats_get_names(port, core::ptr::null_mut(), 0) };
        inner.check("rte_eth_xstats_get_names", rc)?;
        let mut names = vec![
            sys::rte_eth_xstat_name {
                name: [0 as c_char; sys::RTE_ETH_XSTATS_NAME_SIZE as usize]
            };
            rc as usize
        ];
        // SAFETY: as above, with room for as many as is said.
        let rc =
            unsafe { sys::rte_eth_xstats_get_names(port, names.as_mut_ptr(), names.len() as u32) };
        inner.check("rte_eth_xstats_get_names", rc)?;
        names.truncate(rc as usize);
        let mut figures = vec![sys::rte_eth_xstat { id: 0, value: 0 }; names.len()];
        // SAFETY: as above.
        let rc =
            unsafe { sys::rte_eth_xstats_get(port, figures.as_mut_ptr(), figures.len() as u32) };
        inner.check("rte_eth_xstats_get", rc)?;
        figures.truncate(rc as usize);
        Ok(figures
            .iter()
            .filter_map(|figure| {
                let name = names.get(usize::try_from(figure.id).ok()?)?;
                Some((text(&name.name), figure.value))
            })
            .collect())
    }

    /// Sets all statistics to zero.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver can't; the queues' figures are reset all the same.
    pub fn reset_stats(&self) -> Result<(), Error> {
        let inner = self.inner();
        let mut control = inner.lock();
        // The queues go on counting meanwhile: what they have now is subtracted from now on.
        let now = |slots: &[std::sync::Arc<Slot>]| slots.iter().map(|slot| values(slot)).collect();
        control.baseline = Baseline {
            rx: now(&control.setup.rx),
            tx: now(&control.setup.tx),
        };
        // SAFETY: the port is open and ours under the lock.
        let (basic, extended) = unsafe {
            (
                sys::rte_eth_stats_reset(inner.id.get()),
                sys::rte_eth_xstats_reset(inner.id.get()),
            )
        };
        inner.check("rte_eth_stats_reset", basic)?;
        if extended == -libc::ENOTSUP {
            return Ok(());
        }
        inner.check("rte_eth_xstats_reset", extended)
    }
}
