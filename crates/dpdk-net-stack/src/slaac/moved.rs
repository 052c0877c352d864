//! Whether the link is still the one on which routers were listened to, after it was down.
//!
//! Linux asks for no router then and keeps all for its time; those who manage networks for it drop all as soon as the link is lost.
//! Here it is found out, as by RFC 6059, whose probes are left to the neighbour cache. A router that was known, with a prefix that
//! was known, says that it is the same link. Others say that it is another one: what none of them has repeated in the time that all
//! have for their answer goes. If nobody says anything addresses stay, but are deprecated.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use super::advertisement::Advertisement;
use super::{Autoconf, IDENTIFIER_BITS, MAX_PREFIXES, Until};
use crate::config::prefix_contains;
use crate::iface::{AddressState, Interface, Origin};
use crate::interfaces::{IfIndex, Interfaces};
use crate::time::{Duration, Instant};

/// How long others have after the first router that has answered: a solicitation's answer may be held back for
/// MIN_DELAY_BETWEEN_RAS and MAX_RA_DELAY_TIME (RFC 4861 section 10), 3.5 s.
const OTHERS: Duration = Duration::from_secs(4);
/// After so long there is no router that answers (RFC 4861 section 6.3.7: MAX_RTR_SOLICITATIONS of RTR_SOLICITATION_INTERVAL).
const NOBODY: Duration = Duration::from_secs(12);

/// The link may be another one.
#[derive(Debug)]
pub(super) struct Doubt {
    /// When it came up.
    since: Instant,
    /// When addresses are deprecated, if nobody answers before.
    nobody: Option<Instant>,
    /// When what has not been advertised since goes. Nothing does before a router has answered.
    ends: Option<Instant>,
    /// Prefixes for addresses that have been advertised since.
    prefixes: Vec<Ipv6Addr>,
}

impl Doubt {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            nobody: Some(now + NOBODY),
            ends: None,
            prefixes: Vec::new(),
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.ends.or(self.nobody)
    }

    /// Takes in what a router of the link says.
    fn note(&mut self, now: Instant, heard: &Advertisement) {
        self.ends.get_or_insert(now + OTHERS);
        let prefixes = heard.prefixes.iter().filter(|it| it.is_for_addresses());
        for prefix in prefixes.filter(|it| it.valid_secs > 0) {
            if self.prefixes.len() < MAX_PREFIXES && !self.prefixes.contains(&prefix.prefix) {
                self.prefixes.push(prefix.prefix);
            }
        }
    }
}

impl Autoconf {
    /// Forgets what was not advertised since then.
    fn forget_before(&mut self, since: Instant) {
        fn keep<T>(list: &mut Vec<Until<T>>, since: Instant) {
            list.retain(|it| it.heard >= since);
        }
        keep(&mut self.defaults, since);
        keep(&mut self.routes, since);
        keep(&mut self.on_link, since);
        keep(&mut self.resolvers, since);
        keep(&mut self.search, since);
    }
}

impl Interface {
    /// To be called with what a router advertises before it is taken in.
    pub(super) fn allay(&mut self, now: Instant, heard: &Advertisement) {
        // One that has no more to say than that it is no router says nothing of the link.
        if heard.lifetime_secs == 0 && heard.prefixes.is_empty() {
            return;
        }
        let is_same = self.is_of_known_link(heard);
        let Some(autoconf) = &mut self.autoconf else {
            return;
        };
        if is_same {
            autoconf.doubt = None;
        } else if let Some(doubt) = &mut autoconf.doubt {
            doubt.note(now, heard);
        }
    }

    /// Whether it is from a router that was known, with a prefix that was. `fe80::1` alone is anywhere.
    fn is_of_known_link(&self, heard: &Advertisement) -> bool {
        let Some(autoconf) = &self.autoconf else {
            return false;
        };
        let mut routers = autoconf.defaults.iter().chain(&autoconf.routes);
        if !routers.any(|it| it.what.router == heard.router) {
            return false;
        }
        let has_none = heard.prefixes.is_empty() && autoconf.on_link.is_empty();
        let mut prefixes = heard.prefixes.iter();
        has_none
            || prefixes.any(|it| {
                let what = (it.prefix, it.prefix_len);
                let is_on_link = autoconf.on_link.iter().any(|known| known.what == what);
                is_on_link || it.is_for_addresses() && self.has_made(it.prefix)
            })
    }

    fn has_made(&self, prefix: Ipv6Addr) -> bool {
        self.addresses.iter().any(|own| {
            let is_made = own.origin == Origin::Advertised;
            is_made && prefix_contains(prefix.into(), IDENTIFIER_BITS, own.addr.addr)
        })
    }

    /// Does what is due where the link may be another one. Whether anything has changed.
    pub(super) fn handle_doubt(&mut self, now: Instant) -> bool {
        let Some(autoconf) = &mut self.autoconf else {
            return false;
        };
        let Some(doubt) = &mut autoconf.doubt else {
            return false;
        };
        if doubt.next_timeout().is_none_or(|at| at > now) {
            return false;
        }
        if doubt.ends.is_none() {
            doubt.nobody = None;
            self.deprecate_made(now);
            return true;
        }
        let (since, prefixes) = (doubt.since, core::mem::take(&mut doubt.prefixes));
        autoconf.doubt = None;
        autoconf.forget_before(since);
        if autoconf.mtu_heard.is_none_or(|heard| heard < since) {
            self.mtu_v6 = self.mtu;
        }
        let is_of = |addr: IpAddr, prefix: &Ipv6Addr| {
            prefix_contains((*prefix).into(), IDENTIFIER_BITS, addr)
        };
        let made = self
            .addresses
            .iter()
            .filter(|own| own.origin == Origin::Advertised);
        let made = made.map(|own| own.addr.addr);
        let gone = made.filter(|addr| !prefixes.iter().any(|prefix| is_of(*addr, prefix)));
        for addr in gone.collect::<Vec<IpAddr>>() {
            self.remove_address(now, addr);
        }
        true
    }

    fn deprecate_made(&mut self, now: Instant) {
        let made = self.addresses.iter_mut();
        for own in made.filter(|own| own.origin == Origin::Advertised) {
            own.lifetime.preferred_until = own.lifetime.preferred_until.min(now);
            if own.state == AddressState::Preferred {
                own.take_into_use(now);
            }
        }
        self.refresh();
    }
}

impl Interfaces {
    /// The link was down and is up again. Routers are asked for (RFC 4861 section 6.3.7), and groups are reported to whom there may
    /// be now.
    pub(crate) fn link_changed(&mut self, now: Instant) {
        let all: Vec<IfIndex> = self.iter().map(|(at, _)| at).collect();
        for at in all {
            self.change(at, |interface| {
                interface.groups.report_anew(now);
                if let Some(autoconf) = &mut interface.autoconf {
                    autoconf.doubt = Some(Doubt::new(now));
                    autoconf.solicit(now);
                }
            });
        }
    }
}
