//! `getsockopt` of the C library, for our descriptors too. packetdrill asks for `TCP_INFO`, `TCP_CC_INFO` and `SO_MEMINFO`, which
//! the assertions between `%{` and `}%` are about, not through the table but with the C library's function. So this object
//! has one of that name, which packetdrill finds first if the object is named in `LD_PRELOAD`; what is not ours it hands
//! on to the kernel.

use core::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use libc::socklen_t;

use crate::bench::Bench;

/// The benches that there are: packetdrill has one at a time.
static BENCHES: Mutex<Vec<Weak<Bench>>> = Mutex::new(Vec::new());

/// Lets the sockets of a bench be found until it is gone.
pub(super) fn enter(bench: &Arc<Bench>) {
    let mut benches = BENCHES.lock().unwrap_or_else(PoisonError::into_inner);
    benches.retain(|bench| bench.strong_count() > 0);
    benches.push(Arc::downgrade(bench));
}

fn owner(fd: c_int) -> Option<Arc<Bench>> {
    let benches = BENCHES.lock().unwrap_or_else(PoisonError::into_inner);
    let mut alive = benches.iter().filter_map(Weak::upgrade);
    alive.find(|bench| bench.has(fd))
}

/// `getsockopt(2)`.
///
/// # Safety
///
/// As that of the C library.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    match owner(fd) {
        Some(bench) => {
            let userdata = Arc::as_ptr(&bench).cast_mut().cast();
            // SAFETY: `userdata` as `packetdrill_interface_init` makes it, of a bench that is held here; the rest is the
            // contract of this function.
            unsafe { super::calls::getsockopt(userdata, fd, level, name, value, len) }
        }
        // SAFETY: the system call of this name with its arguments; the C library's `syscall` sets `errno`.
        None => unsafe {
            libc::syscall(libc::SYS_getsockopt, fd, level, name, value, len) as c_int
        },
    }
}
