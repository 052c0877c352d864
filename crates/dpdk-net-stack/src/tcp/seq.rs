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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_across_the_wrap() {
        assert!(lt(u32::MAX, 0) && lt(5, 6) && !lt(6, 5) && !lt(7, 7) && le(7, 7));
        assert_eq!(max(u32::MAX - 1, 3), 3);
    }
}
