//! Sequence numbers: 32 bits that wrap (RFC 9293 section 3.4).

/// Whether `a` comes before `b`.
pub(crate) const fn lt(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// Whether `a` comes before `b` or is it.
pub(crate) const fn le(a: u32, b: u32) -> bool {
    !lt(b, a)
}

/// The later of both.
pub(crate) const fn max(a: u32, b: u32) -> u32 {
    if lt(a, b) { b } else { a }
}

/// The earlier of both.
pub(crate) const fn min(a: u32, b: u32) -> u32 {
    if lt(b, a) { b } else { a }
}

/// Whether `mark`, which was SND.NXT once, is acknowledged by now: what is not lies between SND.UNA and SND.NXT. However
/// long ago that was, where comparing would go wrong after half the sequence space.
pub(crate) const fn has_passed(mark: u32, snd_una: u32, snd_nxt: u32) -> bool {
    mark.wrapping_sub(snd_una).wrapping_sub(1) >= snd_nxt.wrapping_sub(snd_una)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        assert!(lt(u32::MAX, 0) && lt(5, 6) && !lt(6, 5) && !lt(7, 7) && le(7, 7));
        assert_eq!(max(u32::MAX - 1, 3), 3);
    }

    #[test]
    fn a_mark_has_passed_however_old_it_is() {
        let (una, nxt) = (u32::MAX - 10, 20);
        assert!(has_passed(una, una, nxt) && !has_passed(una.wrapping_add(1), una, nxt));
        assert!(!has_passed(nxt, una, nxt) && has_passed(nxt + 1, una, nxt));
        assert!(has_passed(una.wrapping_sub(1 << 31), una, nxt));
        assert!(has_passed(una.wrapping_sub(3 << 30), una, nxt));
        assert!(has_passed(7, 7, 7) && has_passed(8, 7, 7));
    }
}
