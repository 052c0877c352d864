//! One header field of a pattern: what it has to be.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;

use dpdk_net_packet::MacAddr;

/// What a header field has to be. The default is anything.
///
/// A value or an inclusive range turns into one: `443.into()`, `(8000..=8999).into()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Field<T> {
    /// Anything.
    #[default]
    Any,
    /// This value.
    Exact(T),
    /// A value that has these bits where the mask has ones.
    Masked {
        /// The bits.
        value: T,
        /// Which of them count.
        mask: T,
    },
    /// A value of `first` to `last`. Few NICs take ranges.
    Range {
        /// The smallest.
        first: T,
        /// The largest.
        last: T,
    },
}

impl<T> From<T> for Field<T> {
    fn from(value: T) -> Self {
        Self::Exact(value)
    }
}

impl<T> From<RangeInclusive<T>> for Field<T> {
    fn from(range: RangeInclusive<T>) -> Self {
        let (first, last) = range.into_inner();
        Self::Range { first, last }
    }
}

/// What a [`Field`] can hold: numbers and addresses, in network byte order in a packet.
pub trait FieldValue: Copy + sealed::Sealed {
    /// Bits that it has.
    const BITS: u32;

    /// The bits as a number.
    fn to_bits(self) -> u128;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! field_value {
    ($($type:ty: $bits:expr, $value:ident => $number:expr;)*) => {$(
        impl sealed::Sealed for $type {}
        impl FieldValue for $type {
            const BITS: u32 = $bits;

            fn to_bits(self) -> u128 {
                let $value = self;
                $number
            }
        }
    )*};
}

field_value! {
    u8: 8, value => value.into();
    u16: 16, value => value.into();
    u32: 32, value => value.into();
    Ipv4Addr: 32, value => Ipv4Addr::to_bits(value).into();
    Ipv6Addr: 128, value => Ipv6Addr::to_bits(value);
    MacAddr: 48, value => value.0.iter().fold(0, |bits, byte| bits << 8 | u128::from(*byte));
}

/// A field as `rte_flow_item` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bits {
    pub(super) spec: u128,
    pub(super) last: u128,
    pub(super) mask: u128,
}

impl<T: FieldValue> Field<T> {
    const ALL: u128 = u128::MAX >> (128 - T::BITS);

    /// Whether anything will do.
    pub fn is_any(&self) -> bool {
        self.bits().mask == 0
    }

    /// Whether a value is what the field has to be.
    pub fn matches(&self, value: T) -> bool {
        let Bits { spec, last, mask } = self.bits();
        (spec..=last).contains(&(value.to_bits() & mask))
    }

    /// Where `last` is `spec` there is no range.
    pub(super) fn bits(&self) -> Bits {
        let (spec, last, mask) = match *self {
            Self::Any => (0, 0, 0),
            Self::Exact(value) => (value.to_bits(), value.to_bits(), Self::ALL),
            Self::Masked { value, mask } => (value.to_bits(), value.to_bits(), mask.to_bits()),
            Self::Range { first, last } => (first.to_bits(), last.to_bits(), Self::ALL),
        };
        Bits {
            spec: spec & mask,
            last: last & mask,
            mask,
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        let Bits { spec, last, .. } = self.bits();
        (spec > last).then(|| {
            format!("a range that ends before it starts ({spec:#x} to {last:#x}): nothing is in it")
        })
    }
}

impl Field<Ipv4Addr> {
    /// The addresses of a network: those that have the first `len` bits of `address`. More than 32 are 32.
    pub fn prefix(address: Ipv4Addr, len: u8) -> Self {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(len.into()));
        Self::Masked {
            value: address,
            mask: Ipv4Addr::from_bits(mask.unwrap_or(0)),
        }
    }
}

impl Field<Ipv6Addr> {
    /// The addresses of a network: those that have the first `len` bits of `address`. More than 128 are 128.
    pub fn prefix(address: Ipv6Addr, len: u8) -> Self {
        let mask = u128::MAX.checked_shl(128_u32.saturating_sub(len.into()));
        Self::Masked {
            value: address,
            mask: Ipv6Addr::from_bits(mask.unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_matches_exactly_by_mask_and_by_range() {
        let exact = Field::<u16>::from(443);
        assert!(exact.matches(443) && !exact.matches(444) && !exact.is_any());
        let masked = Field::Masked {
            value: 0x1234_u16,
            mask: 0xff00,
        };
        assert!(masked.matches(0x12ff) && !masked.matches(0x1334));
        let range = Field::<u16>::from(8000..=8999);
        assert!(range.matches(8000) && range.matches(8999));
        assert!(!range.matches(7999) && !range.matches(9000));
        assert!(Field::<MacAddr>::Any.matches(MacAddr::BROADCAST));
        let nothing = Field::Masked {
            value: 1_u8,
            mask: 0,
        };
        assert!(nothing.is_any() && nothing.matches(7));
    }

    #[test]
    fn a_prefix_is_a_mask() {
        let address = Ipv4Addr::new(198, 18, 77, 1);
        let network = Field::<Ipv4Addr>::prefix(address, 15);
        assert!(network.matches(Ipv4Addr::new(198, 19, 255, 255)));
        assert!(!network.matches(Ipv4Addr::new(198, 20, 0, 0)));
        assert!(Field::<Ipv4Addr>::prefix(address, 0).is_any());
        assert!(Field::<Ipv4Addr>::prefix(address, 200).matches(address));
        let address: Ipv6Addr = "fd00:1::1".parse().unwrap();
        let network = Field::<Ipv6Addr>::prefix(address, 32);
        assert!(network.matches("fd00:1:2::".parse().unwrap()));
        assert!(!network.matches("fd00:2::".parse().unwrap()));
        assert!(!Field::<Ipv6Addr>::prefix(address, 128).matches("fd00:1::2".parse().unwrap()));
    }

    #[test]
    fn a_range_that_is_turned_round_is_a_problem() {
        assert_eq!(Field::<u16>::from(5..=5).problem(), None);
        #[allow(clippy::reversed_empty_ranges)]
        let problem = Field::<u16>::from(6..=5).problem().unwrap();
        assert!(problem.contains("0x6 to 0x5"), "{problem}");
    }
}
