//! IPv6 neighbour discovery messages (RFC 4861 section 4), read and written. Rules of validity that need to know the IP
//! header (a hop limit of 255, who may be source) live in the stack.

use core::net::Ipv6Addr;

use crate::icmp::{self, v6};
use crate::{MacAddr, ParseError};

/// The length of a solicitation or advertisement without options.
pub const NEIGHBOR_LEN: usize = 24;
/// The length of a link-layer address option.
pub const LINK_OPTION_LEN: usize = 8;

const OPTION_SOURCE_LINK: u8 = 1;
const OPTION_TARGET_LINK: u8 = 2;

/// A neighbour discovery message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
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
    /// A router tells about itself.
    RouterAdvertisement {
        /// Hop limit to use, 0 for none given.
        hop_limit: u8,
        /// For how many seconds it is a default router, 0 for not.
        lifetime_secs: u16,
        /// Its link-layer address.
        source_link: Option<MacAddr>,
    },
    /// A router is asked for.
    RouterSolicitation {
        /// The asker's link-layer address.
        source_link: Option<MacAddr>,
    },
    /// A better first hop; this stack takes none.
    Redirect,
}

impl Message {
    /// Reads a message, its options checked. The caller has found the type to be one of RFC 4861's.
    pub fn parse(message: icmp::Message<'_>) -> Result<Self, ParseError> {
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
                let options = b.get(16..).ok_or(ParseError::Icmpv6Truncated)?;
                Ok(Self::RouterAdvertisement {
                    hop_limit: b[4],
                    lifetime_secs: u16::from_be_bytes([b[6], b[7]]),
                    source_link: link_option(options, OPTION_SOURCE_LINK)?,
                })
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

/// The link-layer address option of the kind wanted, all options having been checked (RFC 4861 section 4.6).
fn link_option(mut options: &[u8], wanted: u8) -> Result<Option<MacAddr>, ParseError> {
    let mut found = None;
    while !options.is_empty() {
        let len = options.get(1).map_or(0, |units| usize::from(*units) * 8);
        if len == 0 || len > options.len() {
            return Err(ParseError::NdpBadOption);
        }
        let (option, rest) = options.split_at(len);
        if option[0] == wanted && found.is_none() {
            found = MacAddr::from_slice(&option[2..]);
        }
        options = rest;
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
