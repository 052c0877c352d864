//! Fixtures around the kernel: network namespaces, veth pairs and the programs at the other end (feature `vdev`).
//!
//! Everything made here has a name of its own (process id and a counter), so tests run side by side, and is gone when its guard is
//! dropped, also when the test fails. Nothing here speaks DPDK. A fixture that lacks a privilege or a command fails with a text that
//! says what to do; it never skips.

mod netns;
mod process;
mod relayed;
mod veth;

pub use netns::Netns;
pub use process::{Output, Process, run};
pub use relayed::{KernelHost, RelayedBed};
pub use veth::{Veth, disable_tx_offloads};

use std::fs;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::process::id;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Time that a command which configures the kernel may take.
pub(crate) const COMMAND_TIMEOUT: Duration = Duration::from_secs(20);

const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// An error that begins with `needs root:` unless the process may make network namespaces and interfaces.
pub fn require_root(what_for: &str) -> io::Result<()> {
    let status = fs::read_to_string("/proc/self/status")?;
    let capabilities = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let needed = 1 << CAP_NET_ADMIN | 1 << CAP_SYS_ADMIN;
    if capabilities & needed == needed {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "needs root: {what_for} takes CAP_NET_ADMIN and CAP_SYS_ADMIN; run the tests with sudo, or within \
             `unshare -Urnm` and a /run/netns of your own"
        ),
    ))
}

/// A name that no other test of this machine has, at most 15 bytes long (what an interface name may have) for a prefix of up to 2.
pub fn unique_name(prefix: &str) -> String {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    format!(
        "{prefix}{}x{}",
        id(),
        COUNTER.fetch_add(1, Ordering::Relaxed)
    )
}

/// An EAL `--file-prefix` of this process's own.
pub fn file_prefix() -> String {
    unique_name("dn")
}

/// A TCP port that was free on `ip` a moment ago. Another process may take it first; bind port 0 where that is possible.
pub fn free_tcp_port(ip: IpAddr) -> io::Result<u16> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?.port())
}
