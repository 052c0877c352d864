//! When a NIC received a packet: a dynamic field of the mbuf, which is there once somebody asks for it
//! (`rte_mbuf_dyn_rx_timestamp_register`).
//!
//! What holds: `OFFSET` is written before `FLAG`, and both by DPDK's word, which does not change in a process.
//!
//! What does not live here: what a tick is. Drivers differ, and some say it (`rte_eth_read_clock`).

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use dpdk_net_sys as sys;

use super::RawMbuf;
use crate::Error;

/// Where in an mbuf the field is.
static OFFSET: AtomicUsize = AtomicUsize::new(0);

/// The bit of `ol_flags` that says that it was filled in; 0 before somebody asked.
static FLAG: AtomicU64 = AtomicU64::new(0);

/// Makes room for the field in every mbuf. The EAL is initialised.
pub(crate) fn register() -> Result<(), Error> {
    let (mut offset, mut flag) = (0, 0);
    // SAFETY: the EAL is initialised; both are written before they are read.
    let rc = unsafe { sys::rte_mbuf_dyn_rx_timestamp_register(&mut offset, &mut flag) };
    let place = usize::try_from(offset).ok();
    match place.filter(|place| rc == 0 && place + size_of::<u64>() <= sys::DN_MBUF_SIZE) {
        Some(place) => {
            OFFSET.store(place, Ordering::Relaxed);
            FLAG.store(flag, Ordering::Release);
            Ok(())
        }
        None => Err(Error::last(
            "rte_mbuf_dyn_rx_timestamp_register",
            "receive timestamps",
        )
        .with_remedy(
            "Other libraries have taken the room that mbufs have for dynamic fields: do without RxOffloads::TIMESTAMP",
        )),
    }
}

/// The timestamp of a received packet, if it has one.
///
/// # Safety
/// The mbuf is alive.
#[inline]
pub(super) unsafe fn read(mbuf: RawMbuf) -> Option<u64> {
    let flag = FLAG.load(Ordering::Acquire);
    // SAFETY: the mbuf is alive; where there is a flag, DPDK keeps a u64 for it at this offset of every mbuf, all of
    // which were written once.
    unsafe {
        (mbuf.ol_flags() & flag != 0).then(|| {
            mbuf.as_ptr()
                .byte_add(OFFSET.load(Ordering::Relaxed))
                .cast::<u64>()
                .read_unaligned()
        })
    }
}

#[cfg(test)]
/// Where the field is and what its flag is, for tests that play the driver.
pub(crate) fn place() -> (usize, u64) {
    (OFFSET.load(Ordering::Relaxed), FLAG.load(Ordering::Relaxed))
}
