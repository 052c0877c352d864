//! The directory that DPDK makes for each file prefix, with its sockets and lock files.
//!
//! DPDK leaves it behind. Where nothing is in it (`no_shconf`, `in_memory`), it is removed when the process exits: not
//! at cleanup, because DPDK takes its telemetry socket out of it no earlier, in an exit handler of its own. Files of
//! the shared configuration are DPDK's to reuse at the next start, and stay.

use std::ffi::{CStr, CString};
use std::sync::OnceLock;

use dpdk_net_sys as sys;

static PATH: OnceLock<CString> = OnceLock::new();

/// The directory of the EAL; empty if its initialisation did not get that far.
pub(super) fn path() -> &'static CStr {
    // SAFETY: returns a static buffer, which is written during initialisation only; both callers come after that.
    unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) }
}

/// Called before DPDK starts: exit handlers run in reverse order, so this one runs after DPDK's.
pub(super) fn remove_at_exit() {
    // SAFETY: `remove` is a function of this program and touches nothing but a static.
    if unsafe { libc::atexit(remove) } != 0 {
        tracing::debug!(target: "dpdk", "no memory for an exit handler: DPDK's runtime directory stays");
    }
}

/// Called when DPDK has started, or failed to.
pub(super) fn remember() {
    let _ = PATH.set(path().to_owned());
}

extern "C" fn remove() {
    if let Some(path) = PATH.get() {
        // SAFETY: the path is NUL-terminated. Of a directory that is not empty nothing is removed.
        unsafe { libc::rmdir(path.as_ptr()) };
    }
}
