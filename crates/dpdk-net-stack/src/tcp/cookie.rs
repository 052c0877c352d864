//! SYN cookies (RFC 4987 section 3.6): a half-open connection kept in the initial sequence number of its SYN-ACK and
//! nowhere else, for when the SYN queue is full.
//!
//! The upper 24 bits are a keyed hash of the 4-tuple, the peer's sequence number, the epoch and the lower 8 bits; those
//! hold the epoch's parity and what the peer's SYN offered, rounded down to a table's entry: an MSS or a window scale
//! that is taken for smaller than it is costs speed and nothing else. A cookie is good for the epoch that it was made
//! in and the next one.

use core::hash::BuildHasher;

use super::options::SynOptions;
use super::table::FlowKey;
use crate::random::HashKey;
use crate::time::{Duration, Instant};

/// A cookie is good for one to two of these.
const EPOCH: Duration = Duration::from_secs(64);
/// RFC 9293 section 3.7.1: what counts where the peer says nothing.
const DEFAULT_MSS: (u16, u16) = (536, 1_220);
const MSS: [u16; 8] = [48, 536, 1_220, 1_360, 1_400, 1_440, 1_460, 8_900];
/// Entry 0 is no window scaling at all.
const WSCALE: [u8; 8] = [0, 0, 1, 3, 5, 7, 9, 12];

/// Makes and reads cookies.
#[derive(Debug)]
pub(crate) struct Cookies {
    key: HashKey,
    /// When the last one that was made, here or by another worker, can't come back any more.
    pub(super) until: Instant,
}

fn epoch(now: Instant) -> u64 {
    now.as_nanos() / EPOCH.as_nanos() as u64
}

/// The last entry that is not larger; the first one if all are.
fn round_down<T: Copy + PartialOrd>(table: &[T; 8], value: T) -> u32 {
    table.iter().rposition(|entry| *entry <= value).unwrap_or(0) as u32
}

impl Cookies {
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        Cookies {
            key: HashKey::derive(seed, "SYN cookies"),
            until: Instant::ZERO,
        }
    }

    fn hash(&self, key: &FlowKey, irs: u32, epoch: u64, low: u32) -> u32 {
        self.key
            .hash_one((key.local(), key.remote(), irs, epoch, low)) as u32
            & !0xff
    }

    /// The initial sequence number that answers a SYN.
    pub(crate) fn make(&mut self, now: Instant, key: &FlowKey, irs: u32, peer: &SynOptions) -> u32 {
        let epoch = epoch(now);
        self.until = now + EPOCH * 2;
        let default = if key.is_v6() {
            DEFAULT_MSS.1
        } else {
            DEFAULT_MSS.0
        };
        let mss = round_down(&MSS, peer.mss.unwrap_or(default));
        let wscale = peer
            .wscale
            .map_or(0, |shift| round_down(&WSCALE, shift).max(1));
        let low = mss << 5 | wscale << 2 | u32::from(peer.sack) << 1 | (epoch & 1) as u32;
        self.hash(key, irs, epoch, low) | low
    }

    /// What the SYN offered that was answered with `isn`, if that is a cookie for it.
    pub(crate) fn read(
        &self,
        now: Instant,
        key: &FlowKey,
        irs: u32,
        isn: u32,
    ) -> Option<SynOptions> {
        // Where none was made lately, none is guessed.
        if now >= self.until {
            return None;
        }
        let low = isn & 0xff;
        let present = epoch(now);
        let made = if present & 1 == u64::from(low & 1) {
            present
        } else {
            present.checked_sub(1)?
        };
        if self.hash(key, irs, made, low) != isn & !0xff {
            return None;
        }
        let wscale = (low >> 2 & 7) as usize;
        Some(SynOptions {
            mss: Some(MSS[(low >> 5) as usize]),
            wscale: (wscale > 0).then(|| WSCALE[wscale]),
            sack: low & 2 != 0,
            timestamps: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(port: u16) -> FlowKey {
        FlowKey::new(
            "198.18.0.1:80".parse().unwrap(),
            core::net::SocketAddr::new([198, 18, 0, 2].into(), port),
        )
    }

    #[test]
    fn what_the_syn_offered_comes_back_and_never_as_more() {
        let mut cookies = Cookies::new(&[7; 32]);
        let now = Instant::from_secs(1_000);
        for mss in [
            None,
            Some(20),
            Some(536),
            Some(1_400),
            Some(1_459),
            Some(65_535),
        ] {
            for wscale in [None, Some(0), Some(2), Some(7), Some(14)] {
                for sack in [false, true] {
                    let peer = SynOptions {
                        mss,
                        wscale,
                        sack,
                        timestamps: None,
                    };
                    let isn = cookies.make(now, &key(5_000), 42, &peer);
                    let back = cookies.read(now, &key(5_000), 42, isn).unwrap();
                    assert!(back.mss.unwrap() <= mss.unwrap_or(536).max(48));
                    assert_eq!(back.wscale.is_some(), wscale.is_some());
                    assert!(back.wscale <= wscale);
                    assert_eq!(back.sack, sack);
                }
            }
        }
        let usual = SynOptions {
            mss: Some(1_460),
            wscale: Some(7),
            sack: true,
            timestamps: None,
        };
        let isn = cookies.make(now, &key(5_000), 42, &usual);
        assert_eq!(cookies.read(now, &key(5_000), 42, isn), Some(usual));
    }

    #[test]
    fn a_cookie_is_good_for_its_own_connection_and_for_a_minute_or_two() {
        let mut cookies = Cookies::new(&[7; 32]);
        let now = Instant::from_secs(1_000);
        let peer = SynOptions::default();
        let isn = cookies.make(now, &key(5_000), 42, &peer);
        assert!(cookies.read(now + EPOCH, &key(5_000), 42, isn).is_some());
        assert!(
            cookies
                .read(now + EPOCH * 2, &key(5_000), 42, isn)
                .is_none()
        );
        assert!(cookies.read(now, &key(5_001), 42, isn).is_none());
        assert!(cookies.read(now, &key(5_000), 43, isn).is_none());
        let guessed = (0..4_096u32)
            .map(|n| n.wrapping_mul(2_654_435_761))
            .filter(|guess| cookies.read(now, &key(5_000), 42, *guess).is_some());
        assert_eq!(guessed.count(), 0);
        // Where none was made, an ACK is not even looked at.
        assert!(
            Cookies::new(&[7; 32])
                .read(now, &key(5_000), 42, isn)
                .is_none()
        );
    }
}
