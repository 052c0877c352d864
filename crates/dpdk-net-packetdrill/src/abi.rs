//! The C structure that packetdrill fills through `packetdrill_interface_init`, and the functions in it: they turn pointers
//! into slices and results into return values and `errno`, nothing more.
//!
//! All of the crate's `unsafe` is here. What it rests on is the contract of the interface, which is that of the system calls of
//! the same names: pointers are null or valid for what is said to be behind them, for as long as the call lasts, and
//! `userdata` is what [`packetdrill_interface_init`] has put there until `free` has been called.

use core::ffi::{CStr, c_char, c_int, c_long, c_uint, c_ulong, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::{mem, ptr, slice};

use dpdk_net_stack::Duration;
use libc::{iovec, msghdr, off64_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};

use crate::bench::{Bench, Received};
use crate::errno::Errno;
use crate::flags;
use crate::host::{Call, EpollEvent, Outcome, PollFd, Watch};

/// `struct packetdrill_interface`: the order of the fields is the contract.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
#[allow(missing_docs, reason = "each field is the system call of its name")]
pub struct Interface {
    pub userdata: *mut c_void,
    pub free: unsafe extern "C" fn(*mut c_void),
    pub socket: unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int) -> c_int,
    pub bind: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub listen: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub accept: unsafe extern "C" fn(*mut c_void, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub connect: unsafe extern "C" fn(*mut c_void, c_int, *const sockaddr, socklen_t) -> c_int,
    pub read: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t) -> ssize_t,
    pub readv: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub recv: unsafe extern "C" fn(*mut c_void, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub recvfrom: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub recvmsg: unsafe extern "C" fn(*mut c_void, c_int, *mut msghdr, c_int) -> ssize_t,
    pub write: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t) -> ssize_t,
    pub writev: unsafe extern "C" fn(*mut c_void, c_int, *const iovec, c_int) -> ssize_t,
    pub send: unsafe extern "C" fn(*mut c_void, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub sendto: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub sendmsg: unsafe extern "C" fn(*mut c_void, c_int, *const msghdr, c_int) -> ssize_t,
    /// Variadic in C. The one argument that may follow is passed as a variadic one would be, in the next integer
    /// register, on the machines that DPDK's Linux ports run on.
    pub fcntl: unsafe extern "C" fn(*mut c_void, c_int, c_int, usize) -> c_int,
    /// As `fcntl`.
    pub ioctl: unsafe extern "C" fn(*mut c_void, c_int, c_ulong, *mut c_void) -> c_int,
    pub close: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub shutdown: unsafe extern "C" fn(*mut c_void, c_int, c_int) -> c_int,
    pub getsockopt: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        c_int,
        c_int,
        *mut c_void,
        *mut socklen_t,
    ) -> c_int,
    pub setsockopt:
        unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub poll: unsafe extern "C" fn(*mut c_void, *mut pollfd, c_ulong, c_int) -> c_int,
    /// An IP packet arrives. 0, or -1.
    pub netdev_send: unsafe extern "C" fn(*mut c_void, *const c_void, size_t) -> c_int,
    /// The next IP packet that leaves, and when in microseconds. 0, or -1 with a count of 0 where there is none yet.
    pub netdev_receive:
        unsafe extern "C" fn(*mut c_void, *mut c_void, *mut size_t, *mut i64) -> c_int,
    pub usleep: unsafe extern "C" fn(*mut c_void, c_uint) -> c_int,
    pub gettimeofday: unsafe extern "C" fn(*mut c_void, *mut timeval, *mut c_void) -> c_int,
    pub epoll_create: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    pub epoll_ctl:
        unsafe extern "C" fn(*mut c_void, c_int, c_int, c_int, *mut libc::epoll_event) -> c_int,
    pub epoll_wait:
        unsafe extern "C" fn(*mut c_void, c_int, *mut libc::epoll_event, c_int, c_int) -> c_int,
    pub pipe: unsafe extern "C" fn(*mut c_void, *mut c_int) -> c_int,
    pub splice: unsafe extern "C" fn(
        *mut c_void,
        c_int,
        *mut off64_t,
        c_int,
        *mut off64_t,
        size_t,
        c_uint,
    ) -> ssize_t,
}

/// Flags of `send` and `recv` that are understood; others are `EOPNOTSUPP`.
const SEND_FLAGS: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_CONFIRM;
const RECV_FLAGS: c_int = libc::MSG_DONTWAIT
    | libc::MSG_NOSIGNAL
    | libc::MSG_PEEK
    | libc::MSG_WAITALL
    | libc::MSG_TRUNC
    | libc::MSG_CMSG_CLOEXEC;
/// Bytes that one call reads or writes at most, as with Linux.
const MAX_COUNT: usize = 0x7fff_f000;
/// Pieces of one `readv` or `writev` at most (`IOV_MAX`).
const MAX_PIECES: usize = 1_024;

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
        Ok(bench) => Box::into_raw(Box::new(bench)).cast(),
        Err(error) => {
            eprintln!("dpdk-net-packetdrill: --so_flags: {error}");
            ptr::null_mut()
        }
    };
    let table = Interface {
        userdata,
        free,
        socket,
        bind,
        listen,
        accept,
        connect,
        read,
        readv,
        recv,
        recvfrom,
        recvmsg,
        write,
        writev,
        send,
        sendto,
        sendmsg,
        fcntl,
        ioctl,
        close,
        shutdown,
        getsockopt,
        setsockopt,
        poll,
        netdev_send,
        netdev_receive,
        usleep,
        gettimeofday,
        epoll_create,
        epoll_ctl,
        epoll_wait,
        pipe,
        splice,
    };
    // SAFETY: not null, so room for the structure, by the contract of this function.
    unsafe { interface.write(table) };
}

fn set_errno(error: Errno) {
    // SAFETY: the address of this thread's `errno`, which is always valid.
    unsafe { *libc::__errno_location() = error.0 };
}

/// The return value of a call: its result, or -1 and `errno`.
trait Return: Sized {
    fn of(result: Result<Self, Errno>) -> Self;
}

impl Return for c_int {
    fn of(result: Result<Self, Errno>) -> Self {
        result.unwrap_or_else(|error| {
            set_errno(error);
            -1
        })
    }
}

impl Return for ssize_t {
    fn of(result: Result<Self, Errno>) -> Self {
        result.unwrap_or_else(|error| {
            set_errno(error);
            -1
        })
    }
}

fn call<R: Return>(userdata: *mut c_void, call: impl FnOnce(&Bench) -> Result<R, Errno>) -> R {
    // SAFETY: null, or what `packetdrill_interface_init` made and `free` has not been called with. Only shared
    // references are ever made of it, from any thread; `Bench` is `Sync`.
    let bench: Option<&Bench> = unsafe { userdata.cast::<Bench>().as_ref() };
    R::of(bench.ok_or(Errno(libc::EINVAL)).and_then(call))
}

fn none(result: Result<(), Errno>) -> Result<c_int, Errno> {
    result.map(|()| 0)
}

unsafe extern "C" fn free(userdata: *mut c_void) {
    if userdata.is_null() {
        return;
    }
    // SAFETY: made by `Box::into_raw` in `packetdrill_interface_init`; whoever calls this calls nothing else any more, and
    // no thread is inside of another call.
    let bench = unsafe { Box::from_raw(userdata.cast::<Bench>()) };
    bench.shut_down();
}

/// The bytes that a C caller handed over to be read.
///
/// # Safety
///
/// `data` is null or valid for reads of `len` bytes while the result is in use.
unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Errno> {
    if len == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: not null, and valid by the contract of this function; `len` is bounded, so far below `isize::MAX`.
    Ok(unsafe { slice::from_raw_parts(data.cast(), len.min(MAX_COUNT)) })
}

/// Copies `data` to where a C caller wants it, `room` bytes at most, and tells how many.
///
/// # Safety
///
/// `to` is null or valid for writes of `room` bytes.
unsafe fn put(data: &[u8], to: *mut c_void, room: usize) -> Result<usize, Errno> {
    let len = data.len().min(room);
    if len == 0 {
        return Ok(0);
    }
    if to.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: not null and room for `len` bytes, by the contract of this function; `data` belongs to this side.
    unsafe { ptr::copy_nonoverlapping(data.as_ptr(), to.cast(), len) };
    Ok(len)
}

/// # Safety
///
/// `addr` is null or valid for reads of `len` bytes.
unsafe fn address(addr: *const sockaddr, len: socklen_t) -> Result<SocketAddr, Errno> {
    // SAFETY: the same contract.
    let bytes = unsafe { bytes(addr.cast(), len as usize)? };
    let invalid = Errno(libc::EINVAL);
    let half = |at: usize| -> Result<[u8; 2], Errno> {
        let bytes = bytes.get(at..at + 2).ok_or(invalid)?;
        Ok([bytes[0], bytes[1]])
    };
    let family = c_int::from(u16::from_ne_bytes(half(0)?));
    let port = u16::from_be_bytes(half(2)?);
    let ip: IpAddr = match family {
        libc::AF_INET => {
            let octets = bytes.get(4..8).ok_or(invalid)?;
            let octets: [u8; 4] = octets.try_into().map_err(|_| invalid)?;
            Ipv4Addr::from(octets).into()
        }
        libc::AF_INET6 => {
            let octets = bytes.get(8..24).ok_or(invalid)?;
            let octets: [u8; 16] = octets.try_into().map_err(|_| invalid)?;
            Ipv6Addr::from(octets).into()
        }
        _ => return Err(Errno(libc::EAFNOSUPPORT)),
    };
    Ok(SocketAddr::new(ip, port))
}

/// Tells an address: as an IPv6 socket has it (`v6`) or as it is.
///
/// # Safety
///
/// `len` is null or valid for reads and writes, and `to` is null or valid for writes of `*len` bytes.
unsafe fn put_address(
    addr: SocketAddr,
    v6: bool,
    to: *mut sockaddr,
    len: *mut socklen_t,
) -> Result<(), Errno> {
    if to.is_null() || len.is_null() {
        return Ok(());
    }
    let port = addr.port().to_be_bytes();
    let mut bytes = Vec::with_capacity(28);
    let ip = match (addr.ip(), v6) {
        (IpAddr::V4(v4), true) => IpAddr::V6(v4.to_ipv6_mapped()),
        (ip, _) => ip,
    };
    match ip {
        IpAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(port);
            bytes.extend(v4.octets());
            bytes.extend([0; 8]);
        }
        IpAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(port);
            bytes.extend([0; 4]);
            bytes.extend(v6.octets());
            bytes.extend([0; 4]);
        }
    }
    // SAFETY: `len` is not null; `to` has room for as many bytes as it says. Both by the contract of this function.
    unsafe {
        put(&bytes, to.cast(), *len as usize)?;
        *len = bytes.len() as socklen_t;
    }
    Ok(())
}

/// # Safety
///
/// `pieces` is null or points to `count` `iovec`s, each of a valid buffer or of length 0.
unsafe fn pieces<'a>(pieces: *const iovec, count: usize) -> Result<&'a [iovec], Errno> {
    if count > MAX_PIECES {
        return Err(Errno(libc::EINVAL));
    }
    if count == 0 {
        return Ok(&[]);
    }
    if pieces.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: not null and `count` entries, by the contract of this function.
    Ok(unsafe { slice::from_raw_parts(pieces, count) })
}

/// # Safety
///
/// Each piece is a valid buffer or of length 0.
unsafe fn gather(pieces: &[iovec]) -> Result<Vec<u8>, Errno> {
    let mut data = Vec::new();
    for piece in pieces {
        // SAFETY: the same contract.
        data.extend_from_slice(unsafe { bytes(piece.iov_base, piece.iov_len)? });
    }
    Ok(data)
}

/// # Safety
///
/// Each piece is a valid buffer or of length 0.
unsafe fn scatter(mut data: &[u8], pieces: &[iovec]) -> Result<(), Errno> {
    for piece in pieces {
        // SAFETY: the same contract.
        let len = unsafe { put(data, piece.iov_base, piece.iov_len)? };
        data = &data[len..];
    }
    Ok(())
}

fn room_of(pieces: &[iovec]) -> usize {
    pieces
        .iter()
        .fold(0usize, |sum, piece| sum.saturating_add(piece.iov_len))
        .min(MAX_COUNT)
}

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

unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    call(userdata, |bench| {
        bench.with(|host| host.socket(domain, kind, protocol))
    })
}

unsafe extern "C" fn bind(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let addr = unsafe { address(addr, len)? };
        none(bench.with(|host| host.bind(fd, addr)))
    })
}

unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    call(userdata, |bench| {
        none(bench.with(|host| host.listen(fd, backlog)))
    })
}

unsafe extern "C" fn accept(
    userdata: *mut c_void,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    call(userdata, |bench| {
        let nonblocking = bench.with(|host| host.is_nonblocking(fd));
        match bench.call(Call::Accept { fd }, nonblocking, None)? {
            Outcome::Accepted(new, peer) => {
                let v6 = bench.with(|host| host.descriptor(new).is_ok_and(|new| new.v6));
                // SAFETY: the contract of the interface.
                unsafe { put_address(peer, v6, addr, len)? };
                Ok(new)
            }
            _ => Err(Errno(libc::EIO)),
        }
    })
}

unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let to = unsafe { address(addr, len)? };
        let nonblocking = bench.with(|host| host.is_nonblocking(fd));
        let call = Call::Connect {
            fd,
            to,
            started: false,
        };
        bench.call(call, nonblocking, None).map(|_| 0)
    })
}

unsafe extern "C" fn read(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { recvfrom(userdata, fd, buf, len, 0, ptr::null_mut(), ptr::null_mut()) }
}

unsafe extern "C" fn readv(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: the contract of the interface.
        let pieces = unsafe { pieces(iov, count)? };
        let (data, _, _) = receive(bench, fd, room_of(pieces), 0)?;
        // SAFETY: the contract of the interface.
        unsafe { scatter(&data, pieces)? };
        Ok(data.len() as ssize_t)
    })
}

unsafe extern "C" fn recv(
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

unsafe extern "C" fn recvfrom(
    userdata: *mut c_void,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    call(userdata, |bench| {
        let (data, total, from) = receive(bench, fd, len, flags)?;
        // With MSG_TRUNC a stream's bytes are thrown away rather than copied, so the buffer may be null.
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

unsafe extern "C" fn recvmsg(
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
        let (data, total, from) = receive(bench, fd, room_of(pieces), flags)?;
        // SAFETY: the contract of the interface.
        unsafe { scatter(&data, pieces)? };
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
        message.msg_flags = 0;
        Ok(total as ssize_t)
    })
}

unsafe extern "C" fn write(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { sendto(userdata, fd, buf, len, 0, ptr::null(), 0) }
}

unsafe extern "C" fn writev(
    userdata: *mut c_void,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    call(userdata, |bench| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        // SAFETY: the contract of the interface.
        let data = unsafe { gather(pieces(iov, count)?)? };
        transmit(bench, fd, data, 0, None)
    })
}

unsafe extern "C" fn send(
    userdata: *mut c_void,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the contract of the interface.
    unsafe { sendto(userdata, fd, buf, len, flags, ptr::null(), 0) }
}

unsafe extern "C" fn sendto(
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
        let to = match addr.is_null() {
            true => None,
            // SAFETY: the contract of the interface.
            false => Some(unsafe { address(addr, addr_len)? }),
        };
        transmit(bench, fd, data, flags, to)
    })
}

unsafe extern "C" fn sendmsg(
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
        let name: *const sockaddr = message.msg_name.cast();
        let to = match name.is_null() {
            true => None,
            // SAFETY: the contract of the interface.
            false => Some(unsafe { address(name, message.msg_namelen)? }),
        };
        transmit(bench, fd, data, flags, to)
    })
}

unsafe extern "C" fn fcntl(
    userdata: *mut c_void,
    fd: c_int,
    command: c_int,
    argument: usize,
) -> c_int {
    call(userdata, |bench| {
        // What C passes is an `int`; the rest of the register is anything.
        let argument = argument as u32 as usize;
        bench.with(|host| host.fcntl(fd, command, argument))
    })
}

/// `SIOCOUTQNSD`: bytes written and not sent yet. The libc crate does not have it.
const SIOCOUTQNSD: c_ulong = 0x894b;

unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    call(userdata, |bench| {
        let value = match request {
            libc::FIONREAD => bench.with(|host| host.queues(fd))?.received,
            libc::TIOCOUTQ => bench.with(|host| host.queues(fd))?.unacknowledged,
            SIOCOUTQNSD => bench.with(|host| host.queues(fd))?.unsent,
            libc::FIONBIO => {
                // SAFETY: the contract of the interface: FIONBIO takes the address of an `int`.
                let on = unsafe { bytes(argument, size_of::<c_int>())? } != [0; 4];
                let flag = if on { libc::O_NONBLOCK as usize } else { 0 };
                return bench.with(|host| host.fcntl(fd, libc::F_SETFL, flag));
            }
            _ => return Err(Errno(libc::ENOTTY)),
        };
        let value = c_int::try_from(value).unwrap_or(c_int::MAX);
        // SAFETY: the contract of the interface: these requests take the address of an `int`.
        unsafe { put(&value.to_ne_bytes(), argument, size_of::<c_int>())? };
        Ok(0)
    })
}

unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    call(userdata, |bench| none(bench.with(|host| host.close(fd))))
}

unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    call(userdata, |bench| {
        none(bench.with(|host| host.shutdown(fd, how)))
    })
}

unsafe extern "C" fn getsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    call(userdata, |bench| {
        let found = bench.with(|host| host.option(fd, level, name))?;
        // SAFETY: the contract of the interface.
        let len = unsafe { len.as_mut() }.ok_or(Errno(libc::EFAULT))?;
        // SAFETY: the contract of the interface.
        *len = unsafe { put(&found, value, *len as usize)? } as socklen_t;
        Ok(0)
    })
}

unsafe extern "C" fn setsockopt(
    userdata: *mut c_void,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let value = unsafe { bytes(value, len as usize)? };
        none(bench.with(|host| host.set_option(fd, level, name, value)))
    })
}

/// A timeout in milliseconds: none at all if it is negative.
fn milliseconds(timeout: c_int) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

unsafe extern "C" fn poll(
    userdata: *mut c_void,
    fds: *mut pollfd,
    count: c_ulong,
    timeout: c_int,
) -> c_int {
    call(userdata, |bench| {
        let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
        if count > 65_536 {
            return Err(Errno(libc::EINVAL));
        }
        if fds.is_null() && count > 0 {
            return Err(Errno(libc::EFAULT));
        }
        let entries: &mut [pollfd] = if count == 0 {
            &mut []
        } else {
            // SAFETY: not null and `count` entries, by the contract of the interface.
            unsafe { slice::from_raw_parts_mut(fds, count) }
        };
        let asked = entries
            .iter()
            .map(|entry| PollFd {
                fd: entry.fd,
                events: entry.events,
                revents: 0,
            })
            .collect();
        let call = Call::Poll { fds: asked };
        match bench.call(call, timeout == 0, milliseconds(timeout))? {
            Outcome::Polled(found) => {
                let mut ready = 0;
                for (entry, found) in entries.iter_mut().zip(found) {
                    entry.revents = found.revents;
                    ready += c_int::from(found.revents != 0);
                }
                Ok(ready)
            }
            _ => Err(Errno(libc::EIO)),
        }
    })
}

unsafe extern "C" fn netdev_send(
    userdata: *mut c_void,
    packet: *const c_void,
    len: size_t,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let packet = unsafe { bytes(packet, len)? };
        none(bench.netdev_send(packet))
    })
}

unsafe extern "C" fn netdev_receive(
    userdata: *mut c_void,
    packet: *mut c_void,
    len: *mut size_t,
    micros: *mut i64,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        let len = unsafe { len.as_mut() }.ok_or(Errno(libc::EFAULT))?;
        let room = mem::take(len);
        match bench.netdev_receive() {
            Received::Packet(sent) => {
                // SAFETY: the contract of the interface.
                *len = unsafe { put(&sent.packet, packet, room)? };
                // SAFETY: the contract of the interface.
                if let Some(micros) = unsafe { micros.as_mut() } {
                    *micros = sent.at.as_micros() as i64;
                }
                Ok(0)
            }
            Received::NotYet => Err(Errno(libc::EAGAIN)),
            // Who asks until there is one would ask for ever: an empty packet ends that.
            Received::Never => Ok(0),
        }
    })
}

unsafe extern "C" fn usleep(userdata: *mut c_void, micros: c_uint) -> c_int {
    call(userdata, |bench| {
        bench.usleep(Duration::from_micros(micros.into()));
        Ok(0)
    })
}

unsafe extern "C" fn gettimeofday(
    userdata: *mut c_void,
    to: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    call(userdata, |bench| {
        let micros = bench.gettimeofday().as_micros();
        // SAFETY: the contract of the interface.
        let to = unsafe { to.as_mut() }.ok_or(Errno(libc::EFAULT))?;
        to.tv_sec = (micros / 1_000_000) as c_long;
        to.tv_usec = (micros % 1_000_000) as c_long;
        Ok(0)
    })
}

unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    call(userdata, |bench| {
        if size <= 0 {
            return Err(Errno(libc::EINVAL));
        }
        bench.with(|host| host.epoll_create())
    })
}

unsafe extern "C" fn epoll_ctl(
    userdata: *mut c_void,
    epfd: c_int,
    operation: c_int,
    fd: c_int,
    event: *mut libc::epoll_event,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface. The structure is packed on some machines: read where it lies.
        let event = (!event.is_null()).then(|| unsafe { event.read_unaligned() });
        let event = event.map(|event| EpollEvent {
            events: event.events,
            data: event.u64,
        });
        let watch = match (operation, event) {
            (libc::EPOLL_CTL_ADD, Some(event)) => Watch::Add(event),
            (libc::EPOLL_CTL_MOD, Some(event)) => Watch::Modify(event),
            (libc::EPOLL_CTL_DEL, _) => Watch::Remove,
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, None) => {
                return Err(Errno(libc::EFAULT));
            }
            _ => return Err(Errno(libc::EINVAL)),
        };
        none(bench.with(|host| host.epoll_ctl(epfd, fd, watch)))
    })
}

unsafe extern "C" fn epoll_wait(
    userdata: *mut c_void,
    epfd: c_int,
    events: *mut libc::epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    call(userdata, |bench| {
        let max = usize::try_from(max).map_err(|_| Errno(libc::EINVAL))?;
        if max == 0 || events.is_null() {
            return Err(Errno(libc::EINVAL));
        }
        let call = Call::EpollWait { fd: epfd, max };
        match bench.call(call, timeout == 0, milliseconds(timeout))? {
            Outcome::Events(found) => {
                for (at, event) in found.iter().enumerate() {
                    let event = libc::epoll_event {
                        events: event.events,
                        u64: event.data,
                    };
                    // SAFETY: there are at most `max` events, and room for as many by the contract of the interface.
                    unsafe { events.add(at).write_unaligned(event) };
                }
                Ok(found.len() as c_int)
            }
            _ => Err(Errno(libc::EIO)),
        }
    })
}

unsafe extern "C" fn pipe(userdata: *mut c_void, _fds: *mut c_int) -> c_int {
    call(userdata, |_| Err(Errno(libc::ENOSYS)))
}

unsafe extern "C" fn splice(
    userdata: *mut c_void,
    _from: c_int,
    _from_at: *mut off64_t,
    _to: c_int,
    _to_at: *mut off64_t,
    _len: size_t,
    _flags: c_uint,
) -> ssize_t {
    call(userdata, |_| Err(Errno(libc::ENOSYS)))
}
