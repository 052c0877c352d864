//! The C structure that packetdrill fills through `packetdrill_interface_init`, and the functions in it: they turn pointers
//! into slices and results into return values and `errno`, nothing more.
//!
//! All of the crate's `unsafe` is here. What it rests on is the contract of the interface, which is that of the system calls of
//! the same names: pointers are null or valid for what is said to be behind them, for as long as the call lasts, and
//! `userdata` is what [`packetdrill_interface_init`] has put there until `free` has been called.

mod calls;
mod data;
mod pointers;
mod preload;

use core::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use core::ptr;
use std::sync::Arc;

use libc::{iovec, msghdr, off64_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};

use crate::bench::Bench;
use crate::errno::Errno;
use crate::flags;

/// Declares the structure, and how it is filled: each field is the function of its name in one of our modules.
macro_rules! interface {
    ($($(#[$doc:meta])* $module:ident::$name:ident($($argument:ty),*) -> $result:ty;)*) => {
        /// `struct packetdrill_interface`: the order of the fields is the contract.
        #[derive(Debug, Clone, Copy)]
        #[repr(C)]
        #[allow(missing_docs, reason = "each field is the system call of its name")]
        pub struct Interface {
            pub userdata: *mut c_void,
            pub free: unsafe extern "C" fn(*mut c_void),
            $($(#[$doc])* pub $name: unsafe extern "C" fn(*mut c_void, $($argument),*) -> $result,)*
        }

        impl Interface {
            fn new(userdata: *mut c_void) -> Self {
                Interface { userdata, free, $($name: $module::$name,)* }
            }
        }
    };
}

interface! {
    calls::socket(c_int, c_int, c_int) -> c_int;
    calls::bind(c_int, *const sockaddr, socklen_t) -> c_int;
    calls::listen(c_int, c_int) -> c_int;
    calls::accept(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    calls::connect(c_int, *const sockaddr, socklen_t) -> c_int;
    data::read(c_int, *mut c_void, size_t) -> ssize_t;
    data::readv(c_int, *const iovec, c_int) -> ssize_t;
    data::recv(c_int, *mut c_void, size_t, c_int) -> ssize_t;
    data::recvfrom(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
    data::recvmsg(c_int, *mut msghdr, c_int) -> ssize_t;
    data::write(c_int, *const c_void, size_t) -> ssize_t;
    data::writev(c_int, *const iovec, c_int) -> ssize_t;
    data::send(c_int, *const c_void, size_t, c_int) -> ssize_t;
    data::sendto(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    data::sendmsg(c_int, *const msghdr, c_int) -> ssize_t;
    /// Variadic in C. The one argument that may follow is passed as a variadic one would be, in the next integer
    /// register, on the machines that DPDK's Linux ports run on.
    calls::fcntl(c_int, c_int, usize) -> c_int;
    /// As `fcntl`.
    calls::ioctl(c_int, c_ulong, *mut c_void) -> c_int;
    calls::close(c_int) -> c_int;
    calls::shutdown(c_int, c_int) -> c_int;
    calls::getsockopt(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    calls::setsockopt(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
    calls::poll(*mut pollfd, c_ulong, c_int) -> c_int;
    /// An IP packet arrives. 0, or -1.
    calls::netdev_send(*const c_void, size_t) -> c_int;
    /// The next IP packet that leaves, and when in microseconds. 0, or -1 with a count of 0 where there is none yet.
    calls::netdev_receive(*mut c_void, *mut size_t, *mut i64) -> c_int;
    calls::usleep(c_uint) -> c_int;
    calls::gettimeofday(*mut timeval, *mut c_void) -> c_int;
    calls::epoll_create(c_int) -> c_int;
    calls::epoll_ctl(c_int, c_int, c_int, *mut libc::epoll_event) -> c_int;
    calls::epoll_wait(c_int, *mut libc::epoll_event, c_int, c_int) -> c_int;
    calls::pipe(*mut c_int) -> c_int;
    calls::splice(c_int, *mut off64_t, c_int, *mut off64_t, size_t, c_uint) -> ssize_t;
}

/// Called by packetdrill once before all else: fills `interface`. `flags` is what `--so_flags` said, or null; an error in it
/// is told on standard error, and then all calls fail with `EINVAL`.
///
/// # Safety
///
/// `flags` is null or a string; `interface` is null or points to a `struct packetdrill_interface`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut Interface,
) {
    if interface.is_null() {
        return;
    }
    let text = if flags.is_null() {
        c""
    } else {
        // SAFETY: not null, so a string that ends with a zero, by the contract of this function.
        unsafe { CStr::from_ptr(flags) }
    };
    let bench = flags::parse(&text.to_string_lossy())
        .and_then(|flags| Bench::new(flags).map_err(|error| error.to_string()));
    let userdata = match bench {
        Ok(bench) => {
            let bench = Arc::new(bench);
            preload::enter(&bench);
            Arc::into_raw(bench).cast_mut().cast()
        }
        Err(error) => {
            eprintln!("dpdk-net-packetdrill: --so_flags: {error}");
            ptr::null_mut()
        }
    };
    // SAFETY: not null, so room for the structure, by the contract of this function.
    unsafe { interface.write(Interface::new(userdata)) };
}

/// Makes a call on the bench behind `userdata` and turns what it gives into the return value: a result, or -1 and `errno`.
fn call<R: From<i8>>(userdata: *mut c_void, call: impl FnOnce(&Bench) -> Result<R, Errno>) -> R {
    let bench = (!userdata.is_null()).then(|| {
        let bench: *const Bench = userdata.cast();
        // SAFETY: not null, so what `packetdrill_interface_init` made and `free` has not been called with. One more
        // count, so that the bench outlives this call even if `free` is called meanwhile.
        unsafe {
            Arc::increment_strong_count(bench);
            Arc::from_raw(bench)
        }
    });
    let result = match &bench {
        Some(bench) => call(bench),
        None => Err(Errno(libc::EINVAL)),
    };
    result.unwrap_or_else(|error| {
        // SAFETY: the address of this thread's `errno`, which is always valid.
        unsafe { *libc::__errno_location() = error.0 };
        R::from(-1)
    })
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    if userdata.is_null() {
        return;
    }
    // SAFETY: made by `Arc::into_raw` in `packetdrill_interface_init`; whoever calls this calls nothing else any more.
    // Threads that are inside of another call hold counts of their own.
    let bench = unsafe { Arc::from_raw(userdata.cast_const().cast::<Bench>()) };
    bench.shut_down();
}
