//! TCP options: what the SYNs offer, and what other segments carry (RFC 9293 section 3.2, RFC 7323, RFC 2018).

use dpdk_net_packet::tcp::{HEADER_LEN, Segment, TcpOption};

use super::scoreboard::Blocks;

/// The largest window scale there may be (RFC 7323 section 2.3).
const MAX_WSCALE: u8 = 14;

/// Room for all the options this stack puts into a segment without data: those of a SYN.
pub(crate) const MAX_LEN: usize = 20;

/// Bytes of the timestamps option, aligned as RFC 7323 appendix A advises.
pub(crate) const TIMESTAMPS_LEN: usize = 12;

/// The timestamps option (RFC 7323 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timestamps {
    pub(crate) value: u32,
    pub(crate) echo: u32,
}

impl Timestamps {
    /// With two bytes of padding in front.
    #[inline]
    pub(crate) fn bytes(&self) -> [u8; TIMESTAMPS_LEN] {
        let [a, b, c, d] = self.value.to_be_bytes();
        let [e, f, g, h] = self.echo.to_be_bytes();
        [1, 1, 8, 10, a, b, c, d, e, f, g, h]
    }
}

/// What a SYN says beside its sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SynOptions {
    /// Maximum segment size; a zero counts as absent, as with Linux.
    pub(crate) mss: Option<u16>,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack: bool,
    pub(crate) timestamps: Option<Timestamps>,
}

impl SynOptions {
    /// Reads the options of a SYN. Unknown, truncated and malformed ones are passed over; of repeated ones the
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
                TcpOption::Timestamps { value, echo } => {
                    let timestamps = Timestamps { value, echo };
                    found.timestamps = found.timestamps.or(Some(timestamps));
                }
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
        match (self.sack, &self.timestamps) {
            (true, Some(timestamps)) => {
                put(&[4, 2]);
                put(&timestamps.bytes()[2..]);
            }
            (false, Some(timestamps)) => put(&timestamps.bytes()),
            (true, None) => put(&[1, 1, 4, 2]),
            (false, None) => {}
        }
        if let Some(shift) = self.wscale {
            put(&[1, 3, 3, shift]);
        }
        at
    }
}

/// The options of a segment that is no SYN.
#[derive(Debug, Clone, Default)]
pub(crate) struct SegmentOptions {
    pub(crate) timestamps: Option<Timestamps>,
    pub(crate) sack: Blocks,
}

impl SegmentOptions {
    /// Reads them. What is malformed is passed over.
    #[inline]
    pub(crate) fn of(segment: &Segment<'_>) -> Self {
        let bytes = &segment.bytes()[HEADER_LEN..segment.header_len()];
        match bytes {
            [] => SegmentOptions::default(),
            // Nearly all segments have just this (RFC 7323 appendix A).
            &[1, 1, 8, 10, a, b, c, d, e, f, g, h] => SegmentOptions {
                timestamps: Some(Timestamps {
                    value: u32::from_be_bytes([a, b, c, d]),
                    echo: u32::from_be_bytes([e, f, g, h]),
                }),
                sack: Blocks::new(),
            },
            _ => Self::any(segment),
        }
    }

    fn any(segment: &Segment<'_>) -> Self {
        let mut found = SegmentOptions::default();
        for option in segment.options() {
            match option {
                TcpOption::Timestamps { value, echo } => {
                    let timestamps = Timestamps { value, echo };
                    found.timestamps = found.timestamps.or(Some(timestamps));
                }
                TcpOption::Sack(bytes) if found.sack.is_empty() => {
                    for block in bytes.chunks_exact(8) {
                        let word = |at: usize| {
                            u32::from_be_bytes([
                                block[at],
                                block[at + 1],
                                block[at + 2],
                                block[at + 3],
                            ])
                        };
                        let _ = found.sack.try_push((word(0), word(4)));
                    }
                }
                _ => {}
            }
        }
        found
    }
}

/// The window scale with which a receive buffer of `capacity` bytes fits into 16 bits.
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
                timestamps: None,
            },
            SynOptions {
                mss: Some(536),
                wscale: None,
                sack: false,
                timestamps: Some(Timestamps { value: 7, echo: 9 }),
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
    fn options_of_other_segments_are_read_in_any_order_and_alignment() {
        let of =
            |options: &[u8]| SegmentOptions::of(&Segment::parse(&segment_with(options)).unwrap());
        let timestamps = Timestamps {
            value: 0x0102_0304,
            echo: 0x0506_0708,
        };
        assert_eq!(of(&timestamps.bytes()).timestamps, Some(timestamps));
        let mut all = alloc::vec![8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 5, 18];
        all.extend([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9]);
        let found = of(&all);
        assert_eq!(found.timestamps, Some(timestamps));
        assert_eq!(found.sack.as_slice(), [(1, 2), (5, 9)]);
        assert_eq!(of(&[5, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]).sack.len(), 0);
        assert_eq!(of(&[]).timestamps, None);
    }

    #[test]
    fn the_window_scale_lets_the_buffer_fit() {
        for capacity in [2_048, 65_535, 65_536, 1 << 20, (1 << 30) - 1] {
            assert!(capacity >> window_scale_for(capacity) <= 65_535);
        }
    }
}
