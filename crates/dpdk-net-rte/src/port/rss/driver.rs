//! What the driver is told of RSS, and what it answers.

use dpdk_net_sys as sys;

use super::{Reta, RssPlan, RssTypes, key_len};
use crate::Error;
use crate::port::PortInfo;

/// A port whose RSS is asked about or changed.
///
/// What holds: the port is open and configured, and its lock is held for as long as this lives.
pub(in crate::port) struct RssControl<'a> {
    info: &'a PortInfo,
}

/// What a driver that lacks a function returns; some mean "not with this configuration".
fn lacks(rc: i32) -> bool {
    matches!(-rc, libc::ENOTSUP | libc::ENOSYS)
}

impl<'a> RssControl<'a> {
    /// # Safety
    /// What is said above holds of the port.
    pub(in crate::port) unsafe fn new(info: &'a PortInfo) -> Self {
        Self { info }
    }

    fn error(&self, function: &'static str, rc: i32) -> Error {
        Error::from_rc(
            function,
            format!("{} ({})", self.info.id, self.info.name),
            rc,
        )
    }

    /// Asks the driver of a started port what it hashes, tells it once more where that is not what it was told, and
    /// keeps in `plan` what it answers then. A driver that can't be asked is believed to do what it was told.
    pub(in crate::port) fn learn(&self, plan: &mut RssPlan) {
        if plan.types.is_empty() {
            return;
        }
        let Some(mut answer) = self.answer() else {
            return;
        };
        let wanted = plan.key.clone();
        let as_told = |answer: &sys::dn_rss| {
            answer.types & plan.types.bits() == plan.types.bits()
                && wanted.as_ref().is_none_or(|key| key[..] == *key_of(answer))
        };
        if !as_told(&answer) {
            // Drivers that take nothing of this when they are configured take it now.
            let rc = self.update(plan.types, wanted.clone());
            if rc < 0 && !lacks(rc) {
                let error = self.error("rte_eth_dev_rss_hash_update", rc);
                tracing::warn!(%error, "the driver hashes otherwise than it was told");
            }
            answer = self.answer().unwrap_or(answer);
            if !as_told(&answer) {
                tracing::warn!(
                    port = %self.info.id,
                    wanted = ?plan.types,
                    hashed = ?RssTypes::from_bits_truncate(answer.types),
                    "the driver took other RSS types or another key than it was given: what it says counts"
                );
            }
        }
        plan.types &= RssTypes::from_bits_truncate(answer.types);
        // Zeros are what a driver leaves that does not tell.
        plan.key = Some(key_of(&answer).to_vec()).filter(|key| key.iter().any(|byte| *byte != 0));
        plan.toeplitz = answer.toeplitz != 0;
    }

    /// Fills the table of a started port if its driver left queues out of it.
    pub(in crate::port) fn fill_reta(&self, queues: u16) {
        if queues <= 1 || self.info.reta_size == 0 {
            return;
        }
        let result = self.reta().and_then(|reta| match reta {
            Some(reta) if !reta.is_spread_over(queues) => {
                self.set_reta(&Reta::uniform(self.info.reta_size, queues)?, queues)
            }
            _ => Ok(()),
        });
        if let Err(error) = result {
            tracing::warn!(%error, "the redirection table does not name each queue");
        }
    }

    fn answer(&self) -> Option<sys::dn_rss> {
        let mut answer = sys::dn_rss {
            types: 0,
            key: [0; 255],
            key_len: key_len(self.info).min(255) as u8,
            toeplitz: 0,
        };
        // SAFETY: the port is open, configured and ours under the lock; the key has room for the longest there is.
        let rc = unsafe { sys::dn_eth_rss_get(self.info.id.get(), &mut answer) };
        (rc >= 0).then_some(answer)
    }

    fn update(&self, types: RssTypes, key: Option<Vec<u8>>) -> i32 {
        let mut key = key.unwrap_or_default();
        let (pointer, len) = match key.len() {
            0 => (core::ptr::null_mut(), 0),
            len => (key.as_mut_ptr(), len.min(255) as u8),
        };
        // SAFETY: as in `answer`; the key outlives the call.
        unsafe { sys::dn_eth_rss_update(self.info.id.get(), types.bits(), pointer, len) }
    }

    /// The table; none where the port has none or does not tell.
    pub(in crate::port) fn reta(&self) -> Result<Option<Reta>, Error> {
        let size = self.info.reta_size;
        if size == 0 {
            return Ok(None);
        }
        let mut queues = vec![0; usize::from(size)];
        // SAFETY: as in `answer`; there is room for `size` entries.
        let rc = unsafe { sys::dn_eth_reta_query(self.info.id.get(), queues.as_mut_ptr(), size) };
        if lacks(rc) {
            return Ok(None);
        }
        if rc < 0 {
            return Err(self.error("rte_eth_dev_rss_reta_query", rc));
        }
        Reta::new(queues).map(Some)
    }

    /// Writes the entries that change.
    pub(in crate::port) fn set_reta(&self, reta: &Reta, queues: u16) -> Result<(), Error> {
        let (size, entries) = (self.info.reta_size, reta.queues());
        let invalid = |problem: String| Error::InvalidArgument {
            what: format!("redirection table of {} ({})", self.info.id, self.info.name),
            problem,
        };
        if size == 0 {
            return Err(invalid(format!(
                "driver {} has none: packets are spread without it",
                self.info.driver
            )));
        }
        if entries.len() != usize::from(size) {
            return Err(invalid(format!(
                "{} entries given, the port's has {size}",
                entries.len()
            )));
        }
        if let Some((entry, queue)) = entries
            .iter()
            .enumerate()
            .find(|(_, queue)| **queue >= queues)
        {
            return Err(invalid(format!(
                "entry {entry} is queue {queue}: the port was configured with {queues}, numbered from 0"
            )));
        }
        let old = self.reta()?;
        let old = old
            .as_ref()
            .map_or(core::ptr::null(), |old| old.queues().as_ptr());
        // SAFETY: as in `answer`; both tables have `size` entries.
        let rc =
            unsafe { sys::dn_eth_reta_update(self.info.id.get(), entries.as_ptr(), old, size) };
        if rc < 0 {
            return Err(self.error("rte_eth_dev_rss_reta_update", rc).with_remedy(
                "The table can be changed where RSS is on: configure more than one receive queue, and types to hash",
            ));
        }
        Ok(())
    }
}

fn key_of(answer: &sys::dn_rss) -> &[u8] {
    answer
        .key
        .get(..usize::from(answer.key_len))
        .unwrap_or_default()
}
