//! What C pointers stand for: bytes, addresses, lists of buffers. Null where there must be something is `EFAULT`.

use core::ffi::{c_int, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::{ptr, slice};

use libc::{iovec, sockaddr, socklen_t};

use crate::errno::Errno;

/// Bytes that one call reads or writes at most, as with Linux.
pub(super) const MAX_COUNT: usize = 0x7fff_f000;
/// Pieces of one `readv` or `writev` at most (`IOV_MAX`).
pub(super) const MAX_PIECES: usize = 1_024;

/// The bytes that a C caller handed over to be read.
///
/// # Safety
///
/// `data` is null or valid for reads of `len` bytes while the result is in use.
pub(super) unsafe fn bytes<'a>(data: *const c_void, len: usize) -> Result<&'a [u8], Errno> {
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
pub(super) unsafe fn put(data: &[u8], to: *mut c_void, room: usize) -> Result<usize, Errno> {
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

/// The family of an address, whatever follows.
///
/// # Safety
///
/// `addr` is null or valid for reads of `len` bytes.
pub(super) unsafe fn family(addr: *const sockaddr, len: socklen_t) -> Option<c_int> {
    // SAFETY: the same contract.
    let bytes = unsafe { bytes(addr.cast(), len as usize).ok()? };
    let family = *bytes.first_chunk::<2>()?;
    Some(c_int::from(u16::from_ne_bytes(family)))
}

/// # Safety
///
/// `addr` is null or valid for reads of `len` bytes.
pub(super) unsafe fn address(addr: *const sockaddr, len: socklen_t) -> Result<SocketAddr, Errno> {
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
pub(super) unsafe fn put_address(
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

/// As `readv` and `writev` have it: their count is a C `int`.
///
/// # Safety
///
/// As that of [`pieces`].
pub(super) unsafe fn vector<'a>(pieces: *const iovec, count: c_int) -> Result<&'a [iovec], Errno> {
    let count = usize::try_from(count).map_err(|_| Errno(libc::EINVAL))?;
    // SAFETY: the same contract.
    unsafe { self::pieces(pieces, count) }
}

/// # Safety
///
/// `pieces` is null or points to `count` `iovec`s, each of a valid buffer or of length 0.
pub(super) unsafe fn pieces<'a>(pieces: *const iovec, count: usize) -> Result<&'a [iovec], Errno> {
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
pub(super) unsafe fn gather(pieces: &[iovec]) -> Result<Vec<u8>, Errno> {
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
pub(super) unsafe fn scatter(mut data: &[u8], pieces: &[iovec]) -> Result<(), Errno> {
    for piece in pieces {
        // SAFETY: the same contract.
        let len = unsafe { put(data, piece.iov_base, piece.iov_len)? };
        data = &data[len..];
    }
    Ok(())
}

pub(super) fn room_of(pieces: &[iovec]) -> usize {
    pieces
        .iter()
        .fold(0usize, |sum, piece| sum.saturating_add(piece.iov_len))
        .min(MAX_COUNT)
}
