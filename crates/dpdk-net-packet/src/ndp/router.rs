//! Router solicitations and advertisements (RFC 4861 sections 4.1 and 4.2) with their options: prefixes, the MTU,
//! routes (RFC 4191), DNS servers and search lists (RFC 8106).

use core::net::Ipv6Addr;

use super::{LINK_OPTION_LEN, OPTION_SOURCE_LINK, Options};
use crate::icmp::{self, v6};
use crate::{MacAddr, ParseError};

/// The length of an advertisement without options.
const ADVERTISEMENT_LEN: usize = 16;

const OPTION_PREFIX: u8 = 3;
const OPTION_MTU: u8 = 5;
const OPTION_ROUTE: u8 = 24;
const OPTION_RESOLVERS: u8 = 25;
const OPTION_SEARCH: u8 = 31;

/// How much a router wishes to be used (RFC 4191 section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preference {
    /// Rather not.
    Low,
    /// As any.
    Medium,
    /// Rather than others.
    High,
}

impl Preference {
    /// Of the two bits; `None` for the reserved value.
    fn read(bits: u8) -> Option<Self> {
        match bits & 3 {
            0 => Some(Self::Medium),
            1 => Some(Self::High),
            3 => Some(Self::Low),
            _ => None,
        }
    }
}

/// A router tells about itself and the link; its options have been checked for their lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    fixed: [u8; ADVERTISEMENT_LEN],
    options: &'a [u8],
}

impl<'a> RouterAdvertisement<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (fixed, options) = bytes
            .split_first_chunk::<ADVERTISEMENT_LEN>()
            .ok_or(ParseError::Icmpv6Truncated)?;
        for option in Options(options) {
            option?;
        }
        Ok(Self {
            fixed: *fixed,
            options,
        })
    }

    /// Hop limit to use, 0 for none given.
    pub fn hop_limit(&self) -> u8 {
        self.fixed[4]
    }

    /// Whether addresses are to be had by DHCPv6 (the M flag).
    pub fn managed(&self) -> bool {
        self.fixed[5] & 0x80 != 0
    }

    /// Whether other configuration is to be had by DHCPv6 (the O flag).
    pub fn other(&self) -> bool {
        self.fixed[5] & 0x40 != 0
    }

    /// How much it wishes to be a default router; the reserved value means medium (RFC 4191 section 2.2).
    pub fn preference(&self) -> Preference {
        Preference::read(self.fixed[5] >> 3).unwrap_or(Preference::Medium)
    }

    /// For how many seconds it is a default router, 0 for not.
    pub fn lifetime_secs(&self) -> u16 {
        u16::from_be_bytes([self.fixed[6], self.fixed[7]])
    }

    /// The options that mean something here. Those of other kinds and those that are malformed are left out (RFC 4861
    /// section 6.1.2).
    pub fn options(&self) -> impl Iterator<Item = RouterOption<'a>> + use<'a> {
        Options(self.options).filter_map(|option| RouterOption::read(option.ok()?))
    }
}

/// A prefix of the link (RFC 4861 section 4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixInformation {
    /// The prefix; bits behind it may be anything.
    pub prefix: Ipv6Addr,
    /// Its length in bits, at most 128.
    pub prefix_len: u8,
    /// Whether what has it is on the link.
    pub on_link: bool,
    /// Whether addresses may be made of it.
    pub autonomous: bool,
    /// For how many seconds it is valid; all ones is for ever.
    pub valid_secs: u32,
    /// For how many seconds addresses made of it are preferred; all ones is for ever.
    pub preferred_secs: u32,
}

/// An option of a router advertisement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RouterOption<'a> {
    /// The router's link-layer address.
    SourceLink(MacAddr),
    /// The MTU of the link in bytes.
    Mtu(u32),
    /// A prefix of the link.
    Prefix(PrefixInformation),
    /// Something is reached by way of this router (RFC 4191 section 2.3).
    Route {
        /// The destination; bits behind the prefix may be anything.
        dest: Ipv6Addr,
        /// The length of its prefix in bits, at most 128.
        prefix_len: u8,
        /// How much the router wishes to be used for it.
        preference: Preference,
        /// For how many seconds; all ones is for ever, 0 is no longer.
        lifetime_secs: u32,
    },
    /// Recursive DNS servers (RFC 8106 section 5.1).
    Resolvers {
        /// For how many seconds; all ones is for ever, 0 is no longer.
        lifetime_secs: u32,
        /// Their addresses.
        addresses: Resolvers<'a>,
    },
    /// The DNS search list (RFC 8106 section 5.2).
    Search {
        /// For how many seconds; all ones is for ever, 0 is no longer.
        lifetime_secs: u32,
        /// Its names.
        names: SearchNames<'a>,
    },
}

impl<'a> RouterOption<'a> {
    /// Reads one whose length is right; `None` if that is too short for its kind, or what it says can't be.
    fn read(option: &'a [u8]) -> Option<Self> {
        let byte = |at: usize| option.get(at).copied();
        let word = |at: usize| {
            let bytes = option.get(at..at + 4)?;
            Some(u32::from_be_bytes(bytes.try_into().ok()?))
        };
        match byte(0)? {
            OPTION_SOURCE_LINK => MacAddr::from_slice(option.get(2..)?).map(Self::SourceLink),
            OPTION_MTU => word(4).map(Self::Mtu),
            OPTION_PREFIX => {
                let (prefix_len, flags) = (byte(2)?, byte(3)?);
                let (valid_secs, preferred_secs) = (word(4)?, word(8)?);
                let prefix = <[u8; 16]>::try_from(option.get(16..32)?).ok()?;
                (prefix_len <= 128).then_some(Self::Prefix(PrefixInformation {
                    prefix: prefix.into(),
                    prefix_len,
                    on_link: flags & 0x80 != 0,
                    autonomous: flags & 0x40 != 0,
                    valid_secs,
                    preferred_secs,
                }))
            }
            OPTION_ROUTE => {
                let prefix_len = byte(2)?;
                let mut dest = [0; 16];
                let given = option.get(8..)?;
                if usize::from(prefix_len) > given.len() * 8 || given.len() > dest.len() {
                    return None;
                }
                dest.get_mut(..given.len())?.copy_from_slice(given);
                Some(Self::Route {
                    dest: dest.into(),
                    prefix_len,
                    // RFC 4191 section 2.3: with the reserved value the option is ignored.
                    preference: Preference::read(byte(3)? >> 3)?,
                    lifetime_secs: word(4)?,
                })
            }
            OPTION_RESOLVERS => Some(Self::Resolvers {
                lifetime_secs: word(4)?,
                addresses: Resolvers(option.get(8..)?),
            }),
            OPTION_SEARCH => Some(Self::Search {
                lifetime_secs: word(4)?,
                names: SearchNames(option.get(8..)?),
            }),
            _ => None,
        }
    }
}

/// Addresses of DNS servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolvers<'a>(&'a [u8]);

impl Iterator for Resolvers<'_> {
    type Item = Ipv6Addr;

    fn next(&mut self) -> Option<Ipv6Addr> {
        let (address, rest) = self.0.split_first_chunk::<16>()?;
        self.0 = rest;
        Some((*address).into())
    }
}

/// Domain names, each as its labels (RFC 1035 section 3.1), uncompressed. Padding and what follows a malformed name is
/// left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SearchNames<'a>(&'a [u8]);

impl<'a> Iterator for SearchNames<'a> {
    type Item = Labels<'a>;

    fn next(&mut self) -> Option<Labels<'a>> {
        /// The longest name, its terminating zero left out.
        const MAX_NAME: usize = 254;
        let mut at = 0;
        loop {
            match usize::from(*self.0.get(at)?) {
                0 => break,
                len @ 1..=63 => at += 1 + len,
                _ => return None,
            }
        }
        if at == 0 || at > MAX_NAME {
            return None;
        }
        let (name, rest) = self.0.split_at_checked(at)?;
        self.0 = rest.get(1..)?;
        Some(Labels(name))
    }
}

/// The labels of a domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Labels<'a>(&'a [u8]);

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.0.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(*len))?;
        self.0 = rest;
        Some(label)
    }
}

/// Writes a router solicitation, with a source link-layer address option if `source_link` is given, into `buf` without
/// its checksum, and returns its length: 16 bytes with the option, 8 without. Returns 0 if `buf` is too short.
pub fn write_router_solicitation(buf: &mut [u8], source_link: Option<MacAddr>) -> usize {
    let len = icmp::HEADER_LEN + source_link.map_or(0, |_| LINK_OPTION_LEN);
    let Some(buf) = buf.get_mut(..len) else {
        return 0;
    };
    icmp::write_header(buf, v6::ROUTER_SOLICITATION, 0, 0);
    if let Some(link) = source_link {
        buf[8] = OPTION_SOURCE_LINK;
        buf[9] = 1;
        buf[10..16].copy_from_slice(&link.0);
    }
    len
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::String;
    use std::vec::Vec;

    use super::*;

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut bytes = std::vec![134, 0, 0, 0, 64, 0xc8, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(options);
        bytes
    }

    fn options(bytes: &[u8]) -> Vec<RouterOption<'_>> {
        RouterAdvertisement::parse(bytes)
            .unwrap()
            .options()
            .collect()
    }

    #[test]
    fn the_fixed_part_is_read() {
        let bytes = advertisement(&[]);
        let read = RouterAdvertisement::parse(&bytes).unwrap();
        assert_eq!((read.hop_limit(), read.lifetime_secs()), (64, 1800));
        assert!(read.managed() && read.other());
        assert_eq!(read.preference(), Preference::High);
        assert!(RouterAdvertisement::parse(&bytes[..15]).is_err());
    }

    #[test]
    fn options_are_read_and_those_that_cannot_be_are_left_out() {
        let mut bytes = std::vec![5, 1, 0, 0, 0, 0, 5, 220];
        // A route of 16 bits in one unit of 8, then one that claims more bits than it has.
        bytes.extend([24, 2, 16, 0x18, 0, 0, 0, 9, 0xfd, 7, 0, 0, 0, 0, 0, 0]);
        bytes.extend([24, 2, 65, 0, 0, 0, 0, 9, 0xfd, 7, 0, 0, 0, 0, 0, 0]);
        // The reserved preference; a kind that nobody knows; a prefix option that is too short.
        bytes.extend([24, 1, 0, 0x10, 0, 0, 0, 9]);
        bytes.extend([200, 1, 1, 2, 3, 4, 5, 6]);
        bytes.extend([3, 1, 64, 0xc0, 0, 0, 0, 9]);
        let bytes = advertisement(&bytes);
        assert_eq!(
            options(&bytes),
            [
                RouterOption::Mtu(1500),
                RouterOption::Route {
                    dest: "fd07::".parse().unwrap(),
                    prefix_len: 16,
                    preference: Preference::Low,
                    lifetime_secs: 9
                }
            ]
        );
        for bad in [&[5, 0, 0, 0, 0, 0, 0, 0][..], &[5, 2, 0, 0, 0, 0, 5, 220]] {
            let bytes = advertisement(bad);
            let error = RouterAdvertisement::parse(&bytes).unwrap_err();
            assert_eq!(error, ParseError::NdpBadOption);
        }
    }

    #[test]
    fn names_of_the_search_list_are_read_up_to_the_padding() {
        let mut bytes = std::vec![31, 4, 0, 0, 0, 0, 0, 60];
        bytes.extend(b"\x03lab\x07example\x00\x04corp\x00\x00\x00\x00\x00\x00");
        let bytes = advertisement(&bytes);
        let [RouterOption::Search { names, .. }] = options(&bytes)[..] else {
            panic!("{:?}", options(&bytes))
        };
        let text = |labels: Labels<'_>| {
            let labels: Vec<String> = labels
                .map(|label| String::from_utf8_lossy(label).into_owned())
                .collect();
            labels.join(".")
        };
        let names: Vec<String> = names.map(text).collect();
        assert_eq!(names, ["lab.example", "corp"]);
        // A pointer, as if it were compressed, and a label that goes past the end.
        for bad in [&b"\xc0\x00\x00\x00\x00\x00\x00\x00"[..], b"\x09toolong"] {
            assert_eq!(SearchNames(bad).count(), 0);
        }
    }

    #[test]
    fn a_solicitation_has_the_option_or_not() {
        let mut buf = [0xff; 16];
        assert_eq!(write_router_solicitation(&mut buf, None), 8);
        assert_eq!(buf[..8], [133, 0, 0, 0, 0, 0, 0, 0]);
        let mac = MacAddr([2, 0, 0, 0, 0, 7]);
        assert_eq!(write_router_solicitation(&mut buf, Some(mac)), 16);
        assert_eq!(buf[8..], [1, 1, 2, 0, 0, 0, 0, 7]);
        assert_eq!(write_router_solicitation(&mut buf[..15], Some(mac)), 0);
    }
}
