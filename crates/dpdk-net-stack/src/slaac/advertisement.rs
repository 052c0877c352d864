//! What a router advertises, read out of its message: as much of it as is ever kept.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv6Addr;

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::ndp::{Labels, Preference, RouterAdvertisement, RouterOption};

use super::{IDENTIFIER_BITS, MAX_DNS, MAX_PREFIXES};
use crate::time::Duration;

/// A lifetime of so many seconds as it stands in messages: all ones is for ever (RFC 4861 section 4.6.2).
pub(super) fn seconds(secs: u32) -> Duration {
    match secs {
        u32::MAX => Duration::MAX,
        secs => Duration::from_secs(secs.into()),
    }
}

/// A prefix of the link, without bits behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prefix {
    pub(super) prefix: Ipv6Addr,
    pub(super) prefix_len: u8,
    pub(super) on_link: bool,
    autonomous: bool,
    pub(super) valid_secs: u32,
    pub(super) preferred_secs: u32,
}

impl Prefix {
    /// RFC 4862 section 5.5.3 (a), (c) and (d).
    pub(super) fn is_for_addresses(&self) -> bool {
        self.autonomous
            && self.preferred_secs <= self.valid_secs
            && self.prefix_len + IDENTIFIER_BITS == 128
    }
}

/// What is kept of an advertisement. Shared by the stacks of all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advertisement {
    pub(crate) router: Ipv6Addr,
    pub(crate) link: Option<MacAddr>,
    pub(super) lifetime_secs: u16,
    pub(super) preference: Preference,
    pub(super) managed: bool,
    pub(super) other: bool,
    pub(super) mtu: Option<u32>,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) routes: Vec<(Ipv6Addr, u8, Preference, u32)>,
    pub(super) resolvers: Vec<(Ipv6Addr, u32)>,
    pub(super) search: Vec<(Arc<str>, u32)>,
}

impl Advertisement {
    /// Of one that is no default router, with these flags, and says nothing else.
    pub(super) fn withdrawn(router: Ipv6Addr, managed: bool, other: bool) -> Self {
        Self {
            router,
            link: None,
            lifetime_secs: 0,
            preference: Preference::Medium,
            managed,
            other,
            mtu: None,
            prefixes: Vec::new(),
            routes: Vec::new(),
            resolvers: Vec::new(),
            search: Vec::new(),
        }
    }

    /// What `router` says.
    pub(crate) fn read(router: Ipv6Addr, message: &RouterAdvertisement<'_>) -> Self {
        let mut heard = Self {
            lifetime_secs: message.lifetime_secs(),
            preference: message.preference(),
            ..Self::withdrawn(router, message.managed(), message.other())
        };
        for option in message.options() {
            match option {
                RouterOption::SourceLink(mac) if mac.is_unicast() => heard.link = Some(mac),
                RouterOption::Mtu(mtu) => heard.mtu = Some(mtu),
                RouterOption::Prefix(it) if heard.prefixes.len() < MAX_PREFIXES => {
                    let prefix = network(it.prefix, it.prefix_len);
                    // RFC 4861 section 6.3.4: the link-local prefix is what it is; a group has no prefix.
                    if !(prefix.is_unicast_link_local() || prefix.is_multicast()) {
                        heard.prefixes.push(Prefix {
                            prefix,
                            prefix_len: it.prefix_len,
                            on_link: it.on_link,
                            autonomous: it.autonomous,
                            valid_secs: it.valid_secs,
                            preferred_secs: it.preferred_secs,
                        });
                    }
                }
                RouterOption::Route {
                    dest,
                    prefix_len,
                    preference,
                    lifetime_secs,
                } => {
                    let dest = network(dest, prefix_len);
                    if prefix_len == 0 {
                        // RFC 4191 section 3.1: it says more of the default route than the header does.
                        heard.preference = preference;
                        heard.lifetime_secs = u16::try_from(lifetime_secs).unwrap_or(u16::MAX);
                    } else if heard.routes.len() < MAX_PREFIXES
                        && !(dest.is_unicast_link_local() || dest.is_multicast())
                    {
                        let route = (dest, prefix_len, preference, lifetime_secs);
                        heard.routes.push(route);
                    }
                }
                RouterOption::Resolvers {
                    lifetime_secs,
                    addresses,
                } => {
                    let usable = addresses.filter(|addr| {
                        !(addr.is_multicast() || addr.is_unspecified() || addr.is_loopback())
                    });
                    let room = MAX_DNS - heard.resolvers.len();
                    let resolvers = usable.take(room).map(|addr| (addr, lifetime_secs));
                    heard.resolvers.extend(resolvers);
                }
                RouterOption::Search {
                    lifetime_secs,
                    names,
                } => {
                    let room = MAX_DNS - heard.search.len();
                    let names = names.filter_map(name).take(room);
                    heard.search.extend(names.map(|name| (name, lifetime_secs)));
                }
                _ => {}
            }
        }
        heard
    }
}

/// The address without bits behind the prefix.
fn network(addr: Ipv6Addr, prefix_len: u8) -> Ipv6Addr {
    let behind = u128::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    Ipv6Addr::from_bits(addr.to_bits() & !behind)
}

/// A domain name as text, if it is one of a host (RFC 1123 section 2.1): what else may be in it is not to reach a
/// resolver.
fn name(labels: Labels<'_>) -> Option<Arc<str>> {
    let mut text = String::new();
    for label in labels {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    (!text.is_empty()).then(|| text.into())
}
