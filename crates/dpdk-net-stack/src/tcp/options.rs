//! The options of a SYN: what the peer offers, and what is offered back.
//!
//! Timestamps are not offered: the state machine in use would gain nothing from them.

use core::ops::Range;

use dpdk_net_packet::tcp::{Segment, TcpOption};

/// The largest window scale there may be (RFC 7323 section 2.3).
const MAX_WSCALE: u8 = 14;

/// Room for all the options this stack puts into a SYN.
pub(crate) const MAX_LEN: usize = 12;

/// What a SYN says beside its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SynOptions {
    /// Maximum segment size; a zero counts as absent, as with Linux.
    pub(crate) mss: Option<u16>,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack: bool,
}

impl SynOptions {
    /// Reads the options of a segment. Unknown, truncated and malformed ones are passed over; of repeated ones the
    /// first counts.
    pub(crate) fn of(segment: &Segment<'_>) -> Self {
        let mut found = SynOptions::default();
        for option in segment.options() {
            match option {
                TcpOption::MaxSegmentSize(mss) if mss > 0 => found.mss = found.mss.or(Some(mss)),
                TcpOption::WindowScale(shift) => {
                    found.wscale = found.wscale.or(Some(shift.min(MAX_WSCALE)))
                }
                TcpOption::SackPermitted => found.sack = true,
                _ => {}
            }
        }
        found
    }

    /// Writes the options, padded to a multiple of four bytes, and tells their length.
    pub(crate) fn write(&self, buf: &mut [u8; MAX_LEN]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            buf[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            put(&[2, 4, a, b]);
        }
        if self.sack {
            put(&[1, 1, 4, 2]);
        }
        if let Some(shift) = self.wscale {
            put(&[1, 3, 3, shift]);
        }
        at
    }
}

/// The option that means nothing.
pub(crate) const NOP: u8 = 1;

/// The bytes of the first option that is not as its RFC says: of a known kind with another length, or running over the
/// end. Putting [`NOP`]s there leaves the others as they are.
pub(crate) fn first_odd(options: &[u8]) -> Option<Range<usize>> {
    let mut at = 0;
    while let Some(&kind) = options.get(at) {
        match kind {
            0 => return None,
            NOP => at += 1,
            _ => {
                let len = usize::from(options.get(at + 1).copied().unwrap_or(0));
                if len < 2 || at + len > options.len() {
                    return Some(at..options.len());
                }
                let as_it_should = match kind {
                    2 => len == 4,
                    3 => len == 3,
                    4 => len == 2,
                    5 => len >= 10 && (len - 2).is_multiple_of(8),
                    _ => true,
                };
                if !as_it_should {
                    return Some(at..at + len);
                }
                at += len;
            }
        }
    }
    None
}

/// The window scale with which a receive buffer of `capacity` bytes fits into 16 bits, as the state machine takes it.
pub(crate) fn window_scale_for(capacity: usize) -> u8 {
    let bits = (usize::BITS - capacity.leading_zeros()) as u8;
    bits.saturating_sub(16).min(MAX_WSCALE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use dpdk_net_packet::tcp::HEADER_LEN;

    fn segment_with(options: &[u8]) -> Vec<u8> {
        let mut bytes = alloc::vec![0; HEADER_LEN];
        bytes[1] = 1;
        bytes[3] = 1;
        bytes.extend_from_slice(options);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes[12] = ((bytes.len() / 4) << 4) as u8;
        bytes
    }

    #[test]
    fn options_are_read_back_as_written() {
        for options in [
            SynOptions {
                mss: Some(1460),
                wscale: Some(7),
                sack: true,
            },
            SynOptions {
                mss: Some(536),
                wscale: None,
                sack: false,
            },
            SynOptions::default(),
        ] {
            let mut buf = [0; MAX_LEN];
            let len = options.write(&mut buf);
            let bytes = segment_with(&buf[..len]);
            assert_eq!(SynOptions::of(&Segment::parse(&bytes).unwrap()), options);
        }
    }

    #[test]
    fn odd_options_never_hurt() {
        let parse =
            |options: &[u8]| SynOptions::of(&Segment::parse(&segment_with(options)).unwrap());
        assert_eq!(parse(&[3, 3, 200]).wscale, Some(14));
        assert_eq!(parse(&[2, 4, 0, 0]).mss, None);
        assert_eq!(parse(&[2, 4, 5, 180, 2, 4, 1, 1]).mss, Some(1460));
        assert_eq!(parse(&[2, 0, 1, 1]), SynOptions::default());
        assert_eq!(parse(&[2, 40, 1, 1]), SynOptions::default());
        assert!(parse(&[253, 4, 9, 9, 4, 2]).sack);
    }

    #[test]
    fn the_first_odd_option_is_found_and_no_good_one() {
        assert_eq!(first_odd(&[2, 4, 5, 180, 1, 3, 3, 7, 4, 2, 1, 1]), None);
        assert_eq!(first_odd(&[1, 1, 8, 10, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(first_odd(&[0, 2, 0, 9]), None);
        assert_eq!(first_odd(&[1, 2, 3, 9]), Some(1..4));
        assert_eq!(first_odd(&[1, 1, 9, 0]), Some(2..4));
        assert_eq!(first_odd(&[1, 1, 1, 9]), Some(3..4));
        assert_eq!(first_odd(&[5, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]), Some(0..9));
    }

    #[test]
    fn the_window_scale_lets_the_buffer_fit() {
        for capacity in [2_048, 65_535, 65_536, 1 << 20, (1 << 30) - 1] {
            assert!(capacity >> window_scale_for(capacity) <= 65_535);
        }
    }
}
