//! The C interface as a test program calls it: through the table, with C structures.

use std::ffi::{CString, c_int, c_void};
use std::mem::{MaybeUninit, size_of};
use std::net::{IpAddr, SocketAddr};
use std::ptr;

use dpdk_net_packetdrill::abi::{Interface, packetdrill_interface_init};

/// A return value, with `errno` where it is -1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Returned {
    pub value: i64,
    pub errno: i32,
}

/// One stack behind the interface.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    table: Interface,
}

// SAFETY: the interface may be called from any thread; `userdata` is only handed back to it.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

fn returned(value: i64) -> Returned {
    let errno = if value == -1 {
        std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
    } else {
        0
    };
    Returned { value, errno }
}

/// The function that fills the table, of this crate or of a shared object.
pub type Init = unsafe extern "C" fn(*const std::ffi::c_char, *mut Interface);

fn sockaddr(addr: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    match addr.ip() {
        IpAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(addr.port().to_be_bytes());
            bytes.extend(v4.octets());
            bytes.extend([0; 8]);
        }
        IpAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(addr.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.octets());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

/// The address in a `struct sockaddr`.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = i32::from(u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    let ip = match family {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(bytes.get(4..8)?).ok()?),
        libc::AF_INET6 => IpAddr::from(<[u8; 16]>::try_from(bytes.get(8..24)?).ok()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

fn pieces_to_read(parts: &[Vec<u8>]) -> Vec<libc::iovec> {
    let piece = |part: &Vec<u8>| libc::iovec {
        iov_base: part.as_ptr().cast_mut().cast(),
        iov_len: part.len(),
    };
    parts.iter().map(piece).collect()
}

fn pieces_to_fill(parts: &mut [Vec<u8>]) -> Vec<libc::iovec> {
    let piece = |part: &mut Vec<u8>| libc::iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: part.len(),
    };
    parts.iter_mut().map(piece).collect()
}

fn message(name: &mut [u8], pieces: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: a structure of numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    if !name.is_empty() {
        message.msg_name = name.as_mut_ptr().cast();
    }
    message.msg_namelen = name.len() as u32;
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len();
    message
}

/// The parts of which so many bytes in all were filled.
fn cut(mut parts: Vec<Vec<u8>>, filled: i64) -> Vec<Vec<u8>> {
    let mut left = filled.max(0) as usize;
    for part in &mut parts {
        part.truncate(left);
        left -= part.len();
    }
    parts
}

impl Client {
    pub fn new(flags: &str) -> Client {
        Client::with(packetdrill_interface_init, flags)
    }

    pub fn with(init: Init, flags: &str) -> Client {
        let flags = CString::new(flags).expect("flags without a zero byte");
        let mut table = MaybeUninit::uninit();
        // SAFETY: a string and room for the table, which the function fills.
        let table = unsafe {
            init(flags.as_ptr(), table.as_mut_ptr());
            table.assume_init()
        };
        Client { table }
    }

    fn data(&self) -> *mut c_void {
        self.table.userdata
    }

    /// Frees the stack; nothing may be called afterwards.
    pub fn free(self) {
        // SAFETY: made by the interface, and this is the last call.
        unsafe { (self.table.free)(self.table.userdata) }
    }

    pub fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Returned {
        // SAFETY: plain numbers.
        returned(unsafe { (self.table.socket)(self.data(), domain, kind, protocol) }.into())
    }

    pub fn bind(&self, fd: i32, addr: SocketAddr) -> Returned {
        let addr = sockaddr(addr);
        // SAFETY: an address of the length told.
        returned(
            unsafe { (self.table.bind)(self.data(), fd, addr.as_ptr().cast(), addr.len() as u32) }
                .into(),
        )
    }

    pub fn listen(&self, fd: i32, backlog: i32) -> Returned {
        // SAFETY: plain numbers.
        returned(unsafe { (self.table.listen)(self.data(), fd, backlog) }.into())
    }

    pub fn accept(&self, fd: i32) -> Returned {
        let mut addr = [0u8; 28];
        let mut len = addr.len() as u32;
        // SAFETY: room for an address, and its length.
        returned(
            unsafe { (self.table.accept)(self.data(), fd, addr.as_mut_ptr().cast(), &mut len) }
                .into(),
        )
    }

    pub fn connect(&self, fd: i32, addr: SocketAddr) -> Returned {
        let addr = sockaddr(addr);
        // SAFETY: an address of the length told.
        returned(
            unsafe {
                (self.table.connect)(self.data(), fd, addr.as_ptr().cast(), addr.len() as u32)
            }
            .into(),
        )
    }

    /// `connect` to `AF_UNSPEC`, in as large an address as packetdrill hands over.
    pub fn disconnect(&self, fd: i32) -> Returned {
        let addr = [0u8; size_of::<libc::sockaddr_storage>()];
        // SAFETY: an address of the length told.
        returned(
            unsafe {
                (self.table.connect)(self.data(), fd, addr.as_ptr().cast(), addr.len() as u32)
            }
            .into(),
        )
    }

    /// `read` to nowhere.
    pub fn read_null(&self, fd: i32, len: usize) -> Returned {
        // SAFETY: null is refused.
        returned(unsafe { (self.table.read)(self.data(), fd, ptr::null_mut(), len) } as i64)
    }

    pub fn recv(&self, fd: i32, len: usize, flags: i32) -> (Returned, Vec<u8>) {
        let mut buf = vec![0u8; len];
        // SAFETY: a buffer of the length told.
        let result = returned(unsafe {
            (self.table.recv)(self.data(), fd, buf.as_mut_ptr().cast(), len, flags)
        } as i64);
        buf.truncate(result.value.max(0) as usize);
        (result, buf)
    }

    pub fn read(&self, fd: i32, len: usize) -> (Returned, Vec<u8>) {
        let mut buf = vec![0u8; len];
        // SAFETY: a buffer of the length told.
        let result =
            returned(
                unsafe { (self.table.read)(self.data(), fd, buf.as_mut_ptr().cast(), len) } as i64,
            );
        buf.truncate(result.value.max(0) as usize);
        (result, buf)
    }

    pub fn send(&self, fd: i32, data: &[u8], flags: i32) -> Returned {
        // SAFETY: a buffer of the length told.
        returned(unsafe {
            (self.table.send)(self.data(), fd, data.as_ptr().cast(), data.len(), flags)
        } as i64)
    }

    pub fn write(&self, fd: i32, data: &[u8]) -> Returned {
        // SAFETY: a buffer of the length told.
        returned(
            unsafe { (self.table.write)(self.data(), fd, data.as_ptr().cast(), data.len()) } as i64,
        )
    }

    /// What was read into buffers of these lengths.
    pub fn readv(&self, fd: i32, lens: &[usize]) -> (Returned, Vec<Vec<u8>>) {
        let mut parts: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
        let pieces = pieces_to_fill(&mut parts);
        // SAFETY: as many pieces as told, of buffers that outlive the call.
        let result = returned(unsafe {
            (self.table.readv)(self.data(), fd, pieces.as_ptr(), pieces.len() as c_int)
        } as i64);
        (result, cut(parts, result.value))
    }

    /// As [`readv`](Self::readv), with who sent it.
    pub fn recvmsg(
        &self,
        fd: i32,
        lens: &[usize],
        flags: i32,
    ) -> (Returned, Vec<Vec<u8>>, Option<SocketAddr>) {
        let (result, parts, from, _) = self.recvmsg_flags(fd, lens, flags);
        (result, parts, from)
    }

    /// And with the flags of the message.
    pub fn recvmsg_flags(
        &self,
        fd: i32,
        lens: &[usize],
        flags: i32,
    ) -> (Returned, Vec<Vec<u8>>, Option<SocketAddr>, i32) {
        let mut parts: Vec<Vec<u8>> = lens.iter().map(|len| vec![0; *len]).collect();
        let mut pieces = pieces_to_fill(&mut parts);
        let mut name = [0u8; 28];
        let mut message = message(&mut name, &mut pieces);
        // SAFETY: a message whose parts outlive the call.
        let result =
            returned(unsafe { (self.table.recvmsg)(self.data(), fd, &mut message, flags) } as i64);
        let from = address(&name[..message.msg_namelen as usize]);
        (result, cut(parts, result.value), from, message.msg_flags)
    }

    pub fn sendmsg(
        &self,
        fd: i32,
        parts: &[Vec<u8>],
        to: Option<SocketAddr>,
        flags: i32,
    ) -> Returned {
        let mut pieces = pieces_to_read(parts);
        let mut name = to.map_or(Vec::new(), sockaddr);
        let message = message(&mut name, &mut pieces);
        // SAFETY: a message whose parts outlive the call and are only read.
        returned(unsafe { (self.table.sendmsg)(self.data(), fd, &message, flags) } as i64)
    }

    pub fn recvfrom(
        &self,
        fd: i32,
        len: usize,
        flags: i32,
    ) -> (Returned, Vec<u8>, Option<SocketAddr>) {
        let (mut buf, mut name) = (vec![0u8; len], [0u8; 28]);
        let mut name_len = name.len() as u32;
        // SAFETY: a buffer and room for an address, both of the lengths told.
        let result = returned(unsafe {
            (self.table.recvfrom)(
                self.data(),
                fd,
                buf.as_mut_ptr().cast(),
                len,
                flags,
                name.as_mut_ptr().cast(),
                &mut name_len,
            )
        } as i64);
        buf.truncate(result.value.max(0) as usize);
        (result, buf, address(&name))
    }

    pub fn sendto(&self, fd: i32, data: &[u8], to: SocketAddr) -> Returned {
        let to = sockaddr(to);
        // SAFETY: a buffer and an address of the lengths told.
        returned(unsafe {
            (self.table.sendto)(
                self.data(),
                fd,
                data.as_ptr().cast(),
                data.len(),
                0,
                to.as_ptr().cast(),
                to.len() as u32,
            )
        } as i64)
    }

    pub fn epoll_create(&self) -> Returned {
        // SAFETY: plain numbers.
        returned(unsafe { (self.table.epoll_create)(self.data(), 1) }.into())
    }

    /// `event`: what for and what to say then.
    pub fn epoll_ctl(
        &self,
        epfd: i32,
        operation: i32,
        fd: i32,
        event: Option<(u32, u64)>,
    ) -> Returned {
        let mut event = event.map(|(events, u64)| libc::epoll_event { events, u64 });
        let event = event.as_mut().map_or(ptr::null_mut(), ptr::from_mut);
        // SAFETY: null, or an event that outlives the call.
        returned(unsafe { (self.table.epoll_ctl)(self.data(), epfd, operation, fd, event) }.into())
    }

    pub fn epoll_wait(&self, epfd: i32, max: usize, timeout: i32) -> (Returned, Vec<(u32, u64)>) {
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; max];
        // SAFETY: room for as many events as told.
        let result = returned(
            unsafe {
                (self.table.epoll_wait)(
                    self.data(),
                    epfd,
                    events.as_mut_ptr(),
                    max as c_int,
                    timeout,
                )
            }
            .into(),
        );
        events.truncate(result.value.max(0) as usize);
        let events = events.iter().map(|event| (event.events, event.u64));
        (result, events.collect())
    }

    pub fn writev(&self, fd: i32, parts: &[Vec<u8>]) -> Returned {
        let pieces = pieces_to_read(parts);
        // SAFETY: as many pieces as told, of buffers that outlive the call and are only read.
        returned(unsafe {
            (self.table.writev)(self.data(), fd, pieces.as_ptr(), pieces.len() as c_int)
        } as i64)
    }

    pub fn close(&self, fd: i32) -> Returned {
        // SAFETY: plain numbers.
        returned(unsafe { (self.table.close)(self.data(), fd) }.into())
    }

    pub fn shutdown(&self, fd: i32, how: i32) -> Returned {
        // SAFETY: plain numbers.
        returned(unsafe { (self.table.shutdown)(self.data(), fd, how) }.into())
    }

    /// `fcntl`, called as C calls it: as a variadic function.
    pub fn fcntl(&self, fd: i32, command: i32, argument: i32) -> Returned {
        type Fixed = unsafe extern "C" fn(*mut c_void, c_int, c_int, usize) -> c_int;
        type Variadic = unsafe extern "C" fn(*mut c_void, c_int, c_int, ...) -> c_int;
        // SAFETY: both are addresses of functions; this is how a C program that includes the header sees it.
        let call = unsafe { std::mem::transmute::<Fixed, Variadic>(self.table.fcntl) };
        // SAFETY: plain numbers.
        returned(unsafe { call(self.data(), fd, command, argument) }.into())
    }

    /// `ioctl` of a request that tells a number.
    pub fn ioctl(&self, fd: i32, request: u64) -> (Returned, i32) {
        type Fixed = unsafe extern "C" fn(*mut c_void, c_int, u64, *mut c_void) -> c_int;
        type Variadic = unsafe extern "C" fn(*mut c_void, c_int, u64, ...) -> c_int;
        let mut value: c_int = 0;
        // SAFETY: as in `fcntl`.
        let call = unsafe { std::mem::transmute::<Fixed, Variadic>(self.table.ioctl) };
        // SAFETY: the address of a number, which these requests want.
        let result =
            returned(unsafe { call(self.data(), fd, request, ptr::from_mut(&mut value)) }.into());
        (result, value)
    }

    pub fn getsockopt(&self, fd: i32, level: i32, name: i32, room: usize) -> (Returned, Vec<u8>) {
        let mut value = vec![0u8; room];
        let mut len = room as u32;
        // SAFETY: a buffer of the length told, and that length.
        let result = returned(
            unsafe {
                (self.table.getsockopt)(
                    self.data(),
                    fd,
                    level,
                    name,
                    value.as_mut_ptr().cast(),
                    &mut len,
                )
            }
            .into(),
        );
        value.truncate(len as usize);
        (result, value)
    }

    pub fn setsockopt(&self, fd: i32, level: i32, name: i32, value: &[u8]) -> Returned {
        // SAFETY: a buffer of the length told.
        returned(
            unsafe {
                (self.table.setsockopt)(
                    self.data(),
                    fd,
                    level,
                    name,
                    value.as_ptr().cast(),
                    value.len() as u32,
                )
            }
            .into(),
        )
    }

    pub fn poll(&self, fds: &mut [libc::pollfd], timeout: i32) -> Returned {
        // SAFETY: as many entries as told.
        returned(
            unsafe { (self.table.poll)(self.data(), fds.as_mut_ptr(), fds.len() as u64, timeout) }
                .into(),
        )
    }

    pub fn netdev_send(&self, packet: &[u8]) -> Returned {
        // SAFETY: a buffer of the length told.
        returned(
            unsafe { (self.table.netdev_send)(self.data(), packet.as_ptr().cast(), packet.len()) }
                .into(),
        )
    }

    /// The return value, the packet and its time in microseconds.
    pub fn netdev_receive(&self) -> (Returned, Vec<u8>, i64) {
        let mut packet = vec![0u8; 65_536];
        let mut len = packet.len();
        let mut at = 0;
        // SAFETY: a buffer of the length told, that length, and room for a time.
        let result = returned(
            unsafe {
                (self.table.netdev_receive)(
                    self.data(),
                    packet.as_mut_ptr().cast(),
                    &mut len,
                    &mut at,
                )
            }
            .into(),
        );
        packet.truncate(len);
        (result, packet, at)
    }

    pub fn usleep(&self, micros: u32) {
        // SAFETY: a plain number.
        unsafe { (self.table.usleep)(self.data(), micros) };
    }

    /// Microseconds.
    pub fn now(&self) -> i64 {
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        // SAFETY: room for a time.
        let result = unsafe { (self.table.gettimeofday)(self.data(), &mut time, ptr::null_mut()) };
        assert_eq!(result, 0, "the clock can't be read");
        time.tv_sec * 1_000_000 + time.tv_usec
    }
}

/// What the header makes of the structure: a pointer and 32 functions.
const _: () = assert!(size_of::<Interface>() == 33 * size_of::<usize>());
