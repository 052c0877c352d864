//! IPv6 neighbour discovery messages (RFC 4861 section 4), read and written. Rules of validity that need to know the IP
//! header (a hop limit of 255, who may be source) live in the stack.

mod router;

use core::net::Ipv6Addr;

use crate::icmp::{self, v6};
use crate::{MacAddr, ParseError};

pub use router::{
    Labels, Preference, PrefixInformation, Resolvers, RouterAdvertisement, RouterOption,
    SearchNames, write_router_solicitation,
};

/// The length of a solicitation or advertisement without options.
pub const NEIGHBOR_LEN: usize = 24;
/// The length of a link-layer address option.
pub const LINK_OPTION_LEN: usize = 8;

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;

/// A neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message<'a> {
    /// Who has `target`?
    NeighborSolicitation {
        /// The address asked for.
        target: Ipv6Addr,
        /// The asker's link-layer address; none in a duplicate address probe.
        source_link: Option<MacAddr>,
    },
    /// The sender has `target`.
    NeighborAdvertisement {
        /// The address told about.
        target: Ipv6Addr,
        /// Its link-layer address.
        target_link: Option<MacAddr>,
        /// Whether the sender is a router.
        router: bool,
        /// Whether it answers a solicitation.
        solicited: bool,
        /// Whether it replaces what is known.
        override_: bool,
    },
    /// A router tells about itself and the link.
    RouterAdvertisement(RouterAdvertisement<'a>),
    /// A router is asked for.
    RouterSolicitation {
        /// The asker's link-layer address.
        source_link: Option<MacAddr>,
    },
    /// A better first hop; this stack takes none.
    Redirect,
}

impl<'a> Message<'a> {
    /// Reads a message, its options checked. The caller has found the type to be one of RFC 4861's.
    pub fn parse(message: icmp::Message<'a>) -> Result<Self, ParseError> {
        let b = message.bytes();
        let word = message.word();
        let target = || -> Result<Ipv6Addr, ParseError> {
            b.get(8..24)
                .and_then(|t| <[u8; 16]>::try_from(t).ok())
                .map(Ipv6Addr::from)
                .ok_or(ParseError::Icmpv6Truncated)
        };
        match message.kind() {
            v6::NEIGHBOR_SOLICITATION => Ok(Self::NeighborSolicitation {
                target: target()?,
                source_link: link_option(&b[NEIGHBOR_LEN..], OPTION_SOURCE_LINK)?,
            }),
            v6::NEIGHBOR_ADVERTISEMENT => Ok(Self::NeighborAdvertisement {
                target: target()?,
                target_link: link_option(&b[NEIGHBOR_LEN..], OPTION_TARGET_LINK)?,
                router: word & 1 << 31 != 0,
                solicited: word & 1 << 30 != 0,
                override_: word & 1 << 29 != 0,
            }),
            v6::ROUTER_ADVERTISEMENT => {
                RouterAdvertisement::parse(b).map(Self::RouterAdvertisement)
            }
            v6::ROUTER_SOLICITATION => Ok(Self::RouterSolicitation {
                source_link: link_option(&b[8..], OPTION_SOURCE_LINK)?,
            }),
            _ => {
                link_option(
                    b.get(40..).ok_or(ParseError::Icmpv6Truncated)?,
                    OPTION_TARGET_LINK,
                )?;
                Ok(Self::Redirect)
            }
        }
    }
}

/// Options, each with its type and length (RFC 4861 section 4.6).
#[derive(Clone, Copy)]
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<&'a [u8], ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let len = self.0.get(1).map_or(0, |units| usize::from(*units) * 8);
        let Some((option, rest)) = self.0.split_at_checked(len).filter(|_| len > 0) else {
            self.0 = &[];
            return Some(Err(ParseError::NdpBadOption));
        };
        self.0 = rest;
        Some(Ok(option))
    }
}

/// The link-layer address option of the kind wanted, all options having been checked.
fn link_option(options: &[u8], wanted: u8) -> Result<Option<MacAddr>, ParseError> {
    let mut found = None;
    for option in Options(options) {
        let option = option?;
        if option[0] == wanted && found.is_none() {
            found = MacAddr::from_slice(&option[2..]);
        }
    }
    Ok(found)
}

/// Writes a neighbour solicitation, with a source link-layer address option if `source_link` is given, into `buf`
/// without its checksum, and returns its length: 32 bytes with the option, 24 without. Returns 0 if `buf` is too short.
pub fn write_solicitation(buf: &mut [u8], target: Ipv6Addr, source_link: Option<MacAddr>) -> usize {
    write_neighbor(
        buf,
        v6::NEIGHBOR_SOLICITATION,
        0,
        target,
        OPTION_SOURCE_LINK,
        source_link,
    )
}

/// Writes a neighbour advertisement with a target link-layer address option into `buf` without its checksum, and
/// returns its length, 32 bytes. Returns 0 if `buf` is too short.
pub fn write_advertisement(
    buf: &mut [u8],
    target: Ipv6Addr,
    link: MacAddr,
    solicited: bool,
    override_: bool,
) -> usize {
    let flags = u32::from(solicited) << 30 | u32::from(override_) << 29;
    write_neighbor(
        buf,
        v6::NEIGHBOR_ADVERTISEMENT,
        flags,
        target,
        OPTION_TARGET_LINK,
        Some(link),
    )
}

fn write_neighbor(
    buf: &mut [u8],
    kind: u8,
    word: u32,
    target: Ipv6Addr,
    option: u8,
    link: Option<MacAddr>,
) -> usize {
    let len = NEIGHBOR_LEN + if link.is_some() { LINK_OPTION_LEN } else { 0 };
    let Some(buf) = buf.get_mut(..len) else {
        return 0;
    };
    icmp::write_header(buf, kind, 0, word);
    buf[8..24].copy_from_slice(&target.octets());
    if let Some(link) = link {
        buf[24] = option;
        buf[25] = 1;
        buf[26..32].copy_from_slice(&link.0);
    }
    len
}
