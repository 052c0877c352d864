//! Reading and writing.

use core::ffi::{c_int, c_void};
use core::net::SocketAddr;
use core::ptr;

use libc::{iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::call;
use super::pointers::{
    MAX_COUNT, address, bytes, gather, pieces, put, put_address, room_of, scatter, vector,
};
use crate::bench::Bench;
use crate::errno::Errno;
use crate::host::{Call, Outcome};

/// Flags of `send` and `recv` that are understood; others are `EOPNOTSUPP`.
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_CONFIRM;
const RECV_FLAGS: c_int = libc::MSG_DONTWAIT
    | libc::MSG_NOSIGNAL
    | libc::MSG_PEEK
    | libc::MSG_WAITALL
    | libc::MSG_TRUNC
    | libc::MSG_CMSG_CLOEXEC;

fn receive(
    bench: &Bench,
    fd: c_int,
    len: usize,
    flags: c_int,
) -> Result<(Vec<u8>, usize, Option<SocketAddr>), Errno> {
    if flags & !RECV_FLAGS != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let nonblocking = flags & libc::MSG_DONTWAIT != 0 || bench.with(|host| host.is_nonblocking(fd));
    let call = Call::Recv {
        fd,
        len: len.min(MAX_COUNT),
        flags,
        got: Vec::new(),
    };
    match bench.call(call, nonblocking, None)? {
        Outcome::Data(data, total, from) => Ok((data, total, from)),
        _ => Err(Errno(libc::EIO)),
    }
}

fn transmit(
    bench: &Bench,
    fd: c_int,
    data: Vec<u8>,
    flags: c_int,
    to: Option<SocketAddr>,
) -> Result<ssize_t, Errno> {
    if flags & !SEND_FLAGS != 0 {
        return Err(Errno(libc::EOPNOTSUPP));
    }
    let nonblocking = flags & libc::MSG_DONTWAIT != 0 || bench.with(|host| host.is_nonblocking(fd));
    let call = Call::Send {
        fd,
        data,
        to,
        done: 0,
        nonblocking,
    };
    match bench.call(call, nonblocking, None)? {
        Outcome::Count(count) => Ok(count as ssize_t),
        _ => Err(Errno(libc::EIO)),
    }
}

/// Where a call wants to send to, if it says. A stream does not ask.
///
/// # Safety
///
/// `name` is null or valid for reads of `len` bytes.
unsafe fn destination(
    bench: &Bench,
    fd: c_int,
    name: *const sockaddr,
    len: socklen_t,
) -> Result<Option<SocketAddr>, Errno> {
    if name.is_null() || bench.with(|host| host.is_stream(fd)) {
        return Ok(None);
    }
    // SAFETY: the same contract.
    unsafe { address(name, len).map(Some) }
}

pub(super) unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { recvfrom(userdata, fd, buf, len, 0, ptr::null_mut(), ptr::null_mut()) }
}

pub(super) unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let pieces = unsafe { vector(iov, count)? };
        let (data, _, _) = receive(bench, fd, room_of(pieces), 0)?;
        // SAFETY: the contract of the interface.
        unsafe { scatter(&data, pieces)? };
        Ok(data.len() as ssize_t)
    })
}

pub(super) unsafe extern "C" fn recv(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe {
        recvfrom(
            userdata,
            fd,
            buf,
            len,
            flags,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    }
}

pub(super) unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    call(userdata, |bench| {
        // With MSG_TRUNC a stream's bytes are thrown away rather than copied, so the buffer may be null. Where it may not,
        // nothing is lost by it.
        let looks = match buf.is_null() && flags & libc::MSG_TRUNC == 0 {
            true => flags | libc::MSG_PEEK,
            false => flags,
        };
        let (data, total, from) = receive(bench, fd, len, looks)?;
        let discard = flags & libc::MSG_TRUNC != 0 && from.is_none();
        if !discard {
            // SAFETY: the contract of the interface.
            unsafe { put(&data, buf, len)? };
        }
        if let Some(from) = from {
            let v6 = bench.with(|host| host.descriptor(fd).is_ok_and(|own| own.v6));
            // SAFETY: the contract of the interface.
            unsafe { put_address(from, v6, addr, addr_len)? };
        }
        Ok(total as ssize_t)
    })
}

pub(super) unsafe extern "C" fn recvmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let message = unsafe { message.as_mut() }.ok_or(Errno(libc::EFAULT))?;
        // SAFETY: the contract of the interface.
        let pieces = unsafe { pieces(message.msg_iov, message.msg_iovlen)? };
        let (data, total, from) = receive(bench, fd, room_of(pieces), flags | libc::MSG_TRUNC)?;
        // SAFETY: the contract of the interface.
        unsafe { scatter(&data, pieces)? };
        let cut = total > data.len();
        let told = if flags & libc::MSG_TRUNC != 0 {
            total
        } else {
            data.len()
        };
        match from {
            Some(from) => {
                let v6 = bench.with(|host| host.descriptor(fd).is_ok_and(|own| own.v6));
                let name = message.msg_name.cast();
                // SAFETY: the contract of the interface.
                unsafe { put_address(from, v6, name, &mut message.msg_namelen)? };
            }
            None => message.msg_namelen = 0,
        }
        message.msg_controllen = 0;
        message.msg_flags = if cut { libc::MSG_TRUNC } else { 0 };
        Ok(told as ssize_t)
    })
}

pub(super) unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { sendto(userdata, fd, buf, len, 0, ptr::null(), 0) }
}

pub(super) unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let data = unsafe { gather(vector(iov, count)?)? };
        transmit(bench, fd, data, 0, None)
    })
}

pub(super) unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { sendto(userdata, fd, buf, len, flags, ptr::null(), 0) }
}

pub(super) unsafe extern "C" fn sendto(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let data = unsafe { bytes(buf, len)? }.to_vec();
        // SAFETY: the contract of the interface.
        let to = unsafe { destination(bench, fd, addr, addr_len)? };
        transmit(bench, fd, data, flags, to)
    })
}

pub(super) unsafe extern "C" fn sendmsg(
    userdata: *mut c_void,
    fd: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let message = unsafe { message.as_ref() }.ok_or(Errno(libc::EFAULT))?;
        // SAFETY: the contract of the interface.
        let data = unsafe { gather(pieces(message.msg_iov, message.msg_iovlen)?)? };
        // SAFETY: the contract of the interface.
        let to = unsafe { destination(bench, fd, message.msg_name.cast(), message.msg_namelen)? };
        transmit(bench, fd, data, flags, to)
    })
}
