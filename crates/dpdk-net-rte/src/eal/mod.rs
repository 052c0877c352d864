//! The EAL: DPDK's runtime, started once in a process and cleaned up when nobody holds it any more.
//!
//! What lives here: the [`Eal`] handle and the cleanup; [`builder`](EalBuilder) collects options, `check` and `machine`
//! find what can't work before DPDK is asked, `explain` turns a failed start into an error with a remedy.
//!
//! What holds: `rte_eal_init` is called at most once in a process. An [`Eal`] exists only after it succeeded, and
//! `rte_eal_cleanup` runs when the last clone is dropped. So whoever has an `Eal` may call DPDK; every object of this
//! crate that DPDK knows about holds one.

mod args;
mod builder;
mod check;
mod explain;
mod lcore_list;
mod machine;
mod runtime_dir;

use std::ffi::CStr;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use dpdk_net_sys as sys;

pub use builder::{EalBuilder, IovaMode};

pub(crate) use args::Device;

use crate::Error;

/// What became of the EAL of this process.
static STATE: AtomicU8 = AtomicU8::new(NOT_STARTED);

const NOT_STARTED: u8 = 0;
const RUNNING: u8 = 1;
const FAILED: u8 = 2;
const CLEANED_UP: u8 = 3;

/// DPDK's runtime. Cheap to clone; when the last clone is gone, DPDK is cleaned up for good.
///
/// Ports, mempools, lcores and whatever else comes from DPDK hold a clone each, so dropping one's own never takes
/// DPDK away from under them.
#[derive(Clone)]
pub struct Eal {
    inner: Arc<Inner>,
}

struct Inner {
    program: String,
    arguments: Vec<String>,
}

impl Eal {
    /// Options for starting DPDK. `program` is the name that DPDK logs under, usually that of the executable.
    pub fn builder(program: impl Into<String>) -> EalBuilder {
        EalBuilder::new(program.into())
    }

    /// The release of DPDK in use, as in `DPDK 22.11.11`.
    pub fn dpdk_version() -> String {
        // SAFETY: returns a static string; needs no EAL.
        let version = unsafe { CStr::from_ptr(sys::rte_version()) };
        version.to_string_lossy().into_owned()
    }

    /// The directory that DPDK loads its drivers from when it starts (`RTE_EAL_PMD_PATH`), as it was built; `None`
    /// where none was set.
    pub fn plugin_dir() -> Option<std::path::PathBuf> {
        let path = CStr::from_bytes_until_nul(sys::RTE_EAL_PMD_PATH).ok()?;
        let path = path.to_str().ok()?;
        (!path.is_empty()).then(|| path.into())
    }

    /// The name that was given to [`Eal::builder`].
    pub fn program(&self) -> &str {
        &self.inner.program
    }

    /// The arguments that `rte_eal_init` was called with, without the program's name.
    pub fn arguments(&self) -> &[String] {
        &self.inner.arguments
    }

    /// Whether DPDK's memory is on huge pages.
    pub fn has_hugepages(&self) -> bool {
        // SAFETY: the EAL is initialised; reads its configuration.
        unsafe { sys::rte_eal_has_hugepages() != 0 }
    }

    /// Whether devices are given physical or virtual addresses.
    pub fn iova_mode(&self) -> Option<IovaMode> {
        // SAFETY: the EAL is initialised; reads its configuration.
        IovaMode::from_raw(unsafe { sys::rte_eal_iova_mode() })
    }

    /// The directory with this EAL's sockets and lock files (telemetry among them).
    pub fn runtime_dir(&self) -> std::path::PathBuf {
        use std::os::unix::ffi::OsStrExt;
        std::ffi::OsStr::from_bytes(runtime_dir::path().to_bytes()).into()
    }
}

impl fmt::Debug for Eal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eal")
            .field("program", &self.inner.program)
            .field("arguments", &self.inner.arguments)
            .finish()
    }
}

/// Takes the one start that a process has, or says what became of it.
fn claim_start() -> Result<(), Error> {
    match STATE.compare_exchange(NOT_STARTED, RUNNING, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(()),
        Err(state) => Err(Error::EalAlreadyStarted {
            state: match state {
                RUNNING => "it is running",
                FAILED => "that start failed",
                _ => "it was cleaned up since",
            },
        }),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !crate::lcore::current_is_worker() {
            cleanup();
            return;
        }
        // The last handle went with a function launched on this lcore. Cleanup takes DPDK's memory away and waits for
        // the lcores, this one too: that is for a thread outside of DPDK. If there can be none, DPDK stays up.
        let spawned = std::thread::Builder::new()
            .name("eal-cleanup".into())
            .spawn(cleanup);
        if let Err(error) = spawned {
            tracing::warn!(target: "dpdk", "no thread to clean DPDK up on: {error}");
        }
    }
}

fn cleanup() {
    // A launched function hands its result over shortly before its lcore is idle: wait for that.
    crate::lcore::wait_until_all_idle();
    // SAFETY: the EAL is initialised, and no handle to it is left: nothing of this crate calls DPDK from now on.
    let rc = unsafe { sys::rte_eal_cleanup() };
    if rc != 0 {
        let error = Error::from_rc("rte_eal_cleanup", "cleaning DPDK up", rc);
        tracing::warn!(target: "dpdk", "{error}");
    }
    crate::log::flush();
    STATE.store(CLEANED_UP, Ordering::Release);
}
