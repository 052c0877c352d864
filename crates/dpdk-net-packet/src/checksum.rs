//! The Internet checksum (RFC 1071): sums, pseudo-headers, and filling and verifying whole segments.
//!
//! A [`Sum`] is a running ones'-complement sum that hasn't been folded yet. Parts may be added in any order, each at an
//! even offset of the data it stands for: only the last part may have an odd length.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Protocol;

/// A ones'-complement sum in the making. Holds up to 2^32 words before it could overflow, far more than any packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sum(
    // In the machine's byte order: the ones'-complement sum commutes with swapping bytes (RFC 1071 section 2 (B)).
    u64,
);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds `bytes` as big-endian 16-bit words; an odd last byte is padded with zero.
    #[inline]
    pub fn add_bytes(self, bytes: &[u8]) -> Self {
        // Eight bytes at a time, the carries apart: 2^64 counts as 1, as 2^16 does.
        let (mut low, mut carries) = (0u64, 0u64);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let carry;
            (low, carry) = low.overflowing_add(u64::from_ne_bytes(*word));
            carries += u64::from(carry);
        }
        let mut sum = self.0 + (low >> 32) + (low & 0xffff_ffff) + carries;
        let (words, rest) = rest.as_chunks::<4>();
        if let [word] = words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let (words, rest) = rest.as_chunks::<2>();
        if let [word] = words {
            sum += u64::from(u16::from_ne_bytes(*word));
        }
        if let [last] = rest {
            sum += u64::from(u16::from_ne_bytes([*last, 0]));
        }
        Self(sum)
    }

    /// Adds bytes that start at this offset of the data, which may be odd.
    pub fn add_at(self, offset: usize, bytes: &[u8]) -> Self {
        let sum = Self::ZERO.add_bytes(bytes);
        if offset.is_multiple_of(2) {
            return self.combine(sum);
        }
        // RFC 1071 section 2 (B): bytes swapped in all words swap in the sum.
        self.add_u16(sum.fold().swap_bytes())
    }

    /// Adds one 16-bit word.
    #[inline]
    pub const fn add_u16(self, word: u16) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// Adds one 32-bit word.
    #[inline]
    pub const fn add_u32(self, word: u32) -> Self {
        Self(self.0 + word.to_be() as u64)
    }

    /// The sum of both parts; the second one starts at an even offset.
    #[inline]
    pub const fn combine(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The 16-bit ones'-complement sum.
    #[inline]
    pub const fn fold(self) -> u16 {
        // Halves added with their carry brought around, twice.
        let (sum, carry) = (self.0 as u32).overflowing_add((self.0 >> 32) as u32);
        let sum = sum + carry as u32;
        let (sum, carry) = (sum as u16).overflowing_add((sum >> 16) as u16);
        u16::from_be(sum + carry as u16)
    }

    /// What goes into the checksum field: the complement of the folded sum.
    #[inline]
    pub const fn finish(self) -> u16 {
        !self.fold()
    }

    /// Whether data whose checksum field was included in the sum is intact.
    #[inline]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }
}

/// The checksum of `bytes` alone.
pub fn data(bytes: &[u8]) -> u16 {
    Sum::ZERO.add_bytes(bytes).finish()
}

/// Updates a checksum after one 16-bit word it covers changed (RFC 1624, equation 3).
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::ZERO
        .add_u16(!checksum)
        .add_u16(!old)
        .add_u16(new)
        .finish()
}

/// The pseudo-header of TCP and UDP over IPv4 (RFC 9293 section 3.1); `len` is that of the transport header and data.
#[inline]
pub fn pseudo_header_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: Protocol, len: u16) -> Sum {
    Sum::ZERO
        .add_u32(src.to_bits())
        .add_u32(dst.to_bits())
        .add_u16(u16::from(u8::from(protocol)))
        .add_u16(len)
}

/// The pseudo-header over IPv6 (RFC 8200 section 8.1); `len` is that of the upper-layer header and data.
#[inline]
pub fn pseudo_header_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: Protocol, len: u32) -> Sum {
    Sum::ZERO
        .add_bytes(&src.octets())
        .add_bytes(&dst.octets())
        .add_u32(len)
        .add_u32(u32::from(u8::from(protocol)))
}

/// The pseudo-header of whichever family both addresses have; `Sum::ZERO` if they differ.
#[inline]
pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: Protocol, len: usize) -> Sum {
    match (src, dst) {
        // No IP packet is longer than 65,535 bytes.
        (IpAddr::V4(src), IpAddr::V4(dst)) => pseudo_header_v4(src, dst, protocol, len as u16),
        (IpAddr::V6(src), IpAddr::V6(dst)) => pseudo_header_v6(src, dst, protocol, len as u32),
        _ => Sum::ZERO,
    }
}

/// Whether the checksum of a TCP segment, or of a UDP datagram that has one, is right. For ICMPv6 too.
#[inline(always)]
pub fn verify(src: IpAddr, dst: IpAddr, protocol: Protocol, segment: &[u8]) -> bool {
    pseudo_header(src, dst, protocol, segment.len())
        .add_bytes(segment)
        .is_valid()
}

/// Computes and stores the checksum of a TCP segment. Does nothing if it is shorter than its header.
pub fn fill_tcp(src: IpAddr, dst: IpAddr, segment: &mut [u8]) {
    fill(src, dst, Protocol::Tcp, segment, 16);
}

/// Computes and stores the checksum of a UDP datagram, a zero as 0xffff (RFC 768). Does nothing if it is shorter than
/// its header.
pub fn fill_udp(src: IpAddr, dst: IpAddr, datagram: &mut [u8]) {
    fill(src, dst, Protocol::Udp, datagram, 6);
    if let Some(field) = datagram.get_mut(6..8)
        && field == [0, 0]
    {
        field.copy_from_slice(&[0xff, 0xff]);
    }
}

/// Computes and stores the checksum of an ICMPv6 message. Does nothing if it is shorter than 4 bytes.
pub fn fill_icmpv6(src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
    fill(
        IpAddr::V6(src),
        IpAddr::V6(dst),
        Protocol::Icmpv6,
        message,
        2,
    );
}

/// Computes and stores the checksum of an ICMP (or IGMP) message, which has no pseudo-header. Does nothing if it is
/// shorter than 4 bytes.
pub fn fill_icmpv4(message: &mut [u8]) {
    if message.len() < 4 {
        return;
    }
    message[2..4].fill(0);
    let sum = data(message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

fn fill(src: IpAddr, dst: IpAddr, protocol: Protocol, segment: &mut [u8], at: usize) {
    if segment.len() < at + 2 {
        return;
    }
    segment[at..at + 2].fill(0);
    let sum = pseudo_header(src, dst, protocol, segment.len())
        .add_bytes(segment)
        .finish();
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_start_at_odd_offsets_add_up_to_the_whole() {
        let data: std::vec::Vec<u8> = (0..1_000u32).map(|i| (i * 31 + i / 7) as u8).collect();
        for (first, second) in [(0, 1), (1, 2), (3, 10), (333, 334), (7, 999)] {
            let sum = Sum::ZERO
                .add_at(0, &data[..first])
                .add_at(first, &data[first..second])
                .add_at(second, &data[second..]);
            assert_eq!(sum.finish(), super::data(&data), "{first} {second}");
        }
    }
    use proptest::prelude::*;
    use std::vec::Vec;

    /// RFC 1071 section 4.1, as slow and obvious as it stands there.
    fn reference(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let sum = Sum::ZERO.add_bytes(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
    }

    #[test]
    fn a_udp_checksum_of_zero_is_sent_as_ones() {
        let src = IpAddr::from([0, 0, 0, 0]);
        // The words of pseudo-header and datagram sum to 0xffff, whose complement is 0.
        let mut datagram = [0xff, 0xff - 17 - 8 - 8, 0, 0, 0, 8, 0, 0];
        fill_udp(src, src, &mut datagram);
        assert_eq!(datagram[6..8], [0xff, 0xff]);
        assert!(verify(src, src, Protocol::Udp, &datagram));
    }

    proptest! {
        #[test]
        fn any_bytes_sum_as_the_rfc_says(bytes: Vec<u8>) {
            prop_assert_eq!(data(&bytes), reference(&bytes));
        }

        #[test]
        fn parts_combine(bytes: Vec<u8>, at: proptest::sample::Index) {
            let at = if bytes.is_empty() { 0 } else { at.index(bytes.len()) & !1 };
            let whole = Sum::ZERO.add_bytes(&bytes[..at]).combine(Sum::ZERO.add_bytes(&bytes[at..]));
            prop_assert_eq!(whole.finish(), data(&bytes));
        }

        #[test]
        fn a_changed_word_updates(mut bytes in proptest::collection::vec(any::<u8>(), 4..64), new: u16) {
            // An all-zero sum has two representations; real headers never are all zero.
            bytes[3] = 1;
            let before = data(&bytes);
            let old = u16::from_be_bytes([bytes[0], bytes[1]]);
            bytes[..2].copy_from_slice(&new.to_be_bytes());
            prop_assert_eq!(update(before, old, new), data(&bytes));
        }

        #[test]
        fn any_flipped_bit_is_noticed(mut segment in proptest::collection::vec(any::<u8>(), 20..200), bit: proptest::sample::Index) {
            let (src, dst) = (IpAddr::from([198, 18, 0, 1]), IpAddr::from([198, 18, 0, 2]));
            fill_tcp(src, dst, &mut segment);
            prop_assert!(verify(src, dst, Protocol::Tcp, &segment));
            let bit = bit.index(segment.len() * 8);
            segment[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!verify(src, dst, Protocol::Tcp, &segment));
        }
    }
}
