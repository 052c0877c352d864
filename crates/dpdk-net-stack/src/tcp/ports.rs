//! Which local port an outgoing connection gets: RFC 6056 section 3.3.4, double-hash port randomization.
//!
//! The start depends on addresses and remote port under a secret key, and a table of counters moves it on, so that
//! ports of one destination are not told by those of another and none is used again soon. All of the range is tried,
//! so 64,512 connections to one peer address and port are possible with the default range.

use alloc::boxed::Box;
use core::hash::BuildHasher;
use core::net::{IpAddr, SocketAddr};

use crate::addr;
use crate::random::{HashKey, Random};

const COUNTERS: usize = 256;

/// Chooses ports.
#[derive(Debug)]
pub(crate) struct PortPicker {
    first: u16,
    count: u32,
    offset_key: HashKey,
    table_key: HashKey,
    counters: Box<[u32; COUNTERS]>,
}

impl PortPicker {
    pub(crate) fn new(seed: &[u8; 32], first: u16, last: u16) -> Self {
        let mut random = Random::new(seed, "port counters");
        PortPicker {
            first,
            count: u32::from(last.saturating_sub(first)) + 1,
            offset_key: HashKey::derive(seed, "port offset"),
            table_key: HashKey::derive(seed, "port table"),
            counters: Box::new(core::array::from_fn(|_| random.next_u64() as u32)),
        }
    }

    /// A port for which `is_free`; `None` if there is none.
    pub(crate) fn pick(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        self.pick_within(usize::MAX, local, remote, is_free)
    }

    /// As [`pick`](Self::pick), with so many tries at most.
    pub(crate) fn pick_within(
        &mut self,
        tries: usize,
        local: IpAddr,
        remote: SocketAddr,
        mut is_free: impl FnMut(u16) -> bool,
    ) -> Option<u16> {
        let tuple = (
            addr::to_bits(local),
            addr::to_bits(remote.ip()),
            remote.port(),
        );
        let offset = self.offset_key.hash_one(tuple) as u32;
        let index = self.table_key.hash_one(tuple) as usize % COUNTERS;
        for _ in 0..tries.min(self.count as usize) {
            let counter = self.counters[index];
            self.counters[index] = counter.wrapping_add(1);
            let port = self.first + (offset.wrapping_add(counter) % self.count) as u16;
            if is_free(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;

    #[test]
    fn every_port_of_the_range_is_found_before_it_is_exhausted() {
        let mut picker = PortPicker::new(&[3; 32], 40_000, 41_023);
        let local = "198.18.0.1".parse().unwrap();
        let remote = "198.18.0.2:80".parse().unwrap();
        let mut used = BTreeSet::new();
        for _ in 0..1_024 {
            let port = picker
                .pick(local, remote, |port| !used.contains(&port))
                .unwrap();
            assert!((40_000..=41_023).contains(&port) && used.insert(port));
        }
        assert_eq!(
            picker.pick(local, remote, |port| !used.contains(&port)),
            None
        );
        // The wrap of a counter must not leave ports out either.
        used.remove(&40_500);
        assert_eq!(
            picker.pick(local, remote, |port| !used.contains(&port)),
            Some(40_500)
        );
    }

    #[test]
    fn ports_of_one_destination_do_not_tell_those_of_another() {
        let mut picker = PortPicker::new(&[3; 32], 32_768, 60_999);
        let local = "fd00::1".parse().unwrap();
        let first = picker
            .pick(local, "[fd00::2]:80".parse().unwrap(), |_| true)
            .unwrap();
        let other = picker
            .pick(local, "[fd00::3]:80".parse().unwrap(), |_| true)
            .unwrap();
        assert!(first.abs_diff(other) > 1);
    }
}
