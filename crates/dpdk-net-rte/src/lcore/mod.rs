//! Lcores: DPDK's threads, one for each entry of `--lcores`, and running functions on them.
use core::fmt;

use dpdk_net_sys as sys;

/// The number of an lcore, below `RTE_MAX_LCORE`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LcoreId(u32);

impl LcoreId {
    /// The lcore of this number. Whether there is one is for `Lcore::from_id` to say.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub const fn index(self) -> u32 {
        self.0
    }
}

impl fmt::Display for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lcore {}", self.0)
    }
}

impl fmt::Debug for LcoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LcoreId({})", self.0)
    }
}

/// Whether the calling thread is a worker lcore.
pub(crate) fn current_is_worker() -> bool {
    // SAFETY: reads a thread-local of the calling thread.
    let id = unsafe { sys::dn_lcore_id() };
    if id == sys::DN_LCORE_ID_ANY {
        return false;
    }
    // SAFETY: both read the configuration that initialisation wrote, for any number.
    unsafe { sys::rte_lcore_is_enabled(id) != 0 && id != sys::rte_get_main_lcore() }
}

/// Waits until no worker runs a function. Not for a worker to call.
pub(crate) fn wait_until_all_idle() {
    // SAFETY: the EAL is initialised; reads the state of each worker until it is waiting.
    unsafe { sys::rte_eal_mp_wait_lcore() }
}
