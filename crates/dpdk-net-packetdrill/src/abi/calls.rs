//! All calls but those that read and write.

use core::ffi::{c_int, c_long, c_uint, c_ulong, c_void};
use core::{mem, slice};

use dpdk_net_stack::Duration;
use libc::{off64_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval};

use super::call;
use super::pointers::{address, bytes, family, put, put_address};
use crate::bench::Received;
use crate::errno::Errno;
use crate::host::{Call, EpollEvent, Outcome, PollFd, Watch};

fn none(result: Result<(), Errno>) -> Result<c_int, Errno> {
    result.map(|()| 0)
}

pub(super) unsafe extern "C" fn socket(
    userdata: *mut c_void,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    call(userdata, |bench| {
        bench.with(|host| host.socket(domain, kind, protocol))
    })
}

pub(super) unsafe extern "C" fn bind(
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

pub(super) unsafe extern "C" fn listen(userdata: *mut c_void, fd: c_int, backlog: c_int) -> c_int {
    call(userdata, |bench| {
        none(bench.with(|host| host.listen(fd, backlog)))
    })
}

pub(super) unsafe extern "C" fn accept(
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

pub(super) unsafe extern "C" fn connect(
    userdata: *mut c_void,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    call(userdata, |bench| {
        // SAFETY: the contract of the interface.
        if unsafe { family(addr, len) } == Some(libc::AF_UNSPEC) {
            return none(bench.with(|host| host.disconnect(fd)));
        }
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

pub(super) unsafe extern "C" fn fcntl(
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

pub(super) unsafe extern "C" fn ioctl(
    userdata: *mut c_void,
    fd: c_int,
    request: c_ulong,
    argument: *mut c_void,
) -> c_int {
    call(userdata, |bench| {
        // packetdrill hands over an `int`, whose sign fills the rest; the kernel looks at 32 bits.
        let value = match c_ulong::from(request as u32) {
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

pub(super) unsafe extern "C" fn close(userdata: *mut c_void, fd: c_int) -> c_int {
    call(userdata, |bench| none(bench.with(|host| host.close(fd))))
}

pub(super) unsafe extern "C" fn shutdown(userdata: *mut c_void, fd: c_int, how: c_int) -> c_int {
    call(userdata, |bench| {
        none(bench.with(|host| host.shutdown(fd, how)))
    })
}

pub(super) unsafe extern "C" fn getsockopt(
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

pub(super) unsafe extern "C" fn setsockopt(
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

pub(super) unsafe extern "C" fn poll(
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

pub(super) unsafe extern "C" fn netdev_send(
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

pub(super) unsafe extern "C" fn netdev_receive(
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

pub(super) unsafe extern "C" fn usleep(userdata: *mut c_void, micros: c_uint) -> c_int {
    call(userdata, |bench| {
        bench.usleep(Duration::from_micros(micros.into()));
        Ok(0)
    })
}

pub(super) unsafe extern "C" fn gettimeofday(
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

pub(super) unsafe extern "C" fn epoll_create(userdata: *mut c_void, size: c_int) -> c_int {
    call(userdata, |bench| {
        if size <= 0 {
            return Err(Errno(libc::EINVAL));
        }
        bench.with(|host| host.epoll_create())
    })
}

pub(super) unsafe extern "C" fn epoll_ctl(
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

pub(super) unsafe extern "C" fn epoll_wait(
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

pub(super) unsafe extern "C" fn pipe(userdata: *mut c_void, _fds: *mut c_int) -> c_int {
    call(userdata, |_| Err(Errno(libc::ENOSYS)))
}

pub(super) unsafe extern "C" fn splice(
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
