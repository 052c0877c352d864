//! Stateless address autoconfiguration of one interface: what its routers advertise (RFC 4861 section 6.3, RFC 4191,
//! RFC 8106), how they are asked for (RFC 7559), and the addresses that follow (RFC 4862 section 5.5).
//!
//! What a router says is read and bounded in [`advertisement`], and told to the other workers' stacks as it is, for it
//! comes to one queue. An address is made of a prefix and an identifier ([`identifier`]). What becomes of it all when the link
//! was down is in [`moved`].
//!
//! Anybody on the link can advertise: that is the trust which SLAAC has (RFC 6104). What is kept is bounded, so is how
//! often advertisements are acted upon, and what was there first stays when there is no more room.

pub(crate) mod advertisement;
mod identifier;
mod moved;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr};

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::ndp::{self, Preference};

use self::advertisement::{Advertisement, Prefix, seconds};
pub(crate) use self::identifier::Identifiers;
use self::moved::Doubt;
use crate::config::{Config, IfAddr, MIN_MTU, prefix_contains};
use crate::emit;
use crate::iface::{AddressState, Interface, Origin};
use crate::interfaces::{IfIndex, Interfaces};
use crate::lifetime::Lifetime;
use crate::limit::RateLimit;
use crate::random::Random;
use crate::routes::Routed;
use crate::time::{Duration, Instant};
use crate::tx::FrameQueue;

/// Routers that are known at most; RFC 4861 section 6.3.4 wants two at least.
const MAX_ROUTERS: usize = 8;
/// Prefixes on the link, prefixes that addresses are made of, and routes, each at most.
const MAX_PREFIXES: usize = 16;
/// DNS servers, and names of the search list, each at most; RFC 8106 section 5.3.1 wants three at least.
const MAX_DNS: usize = 8;
/// Advertisements that are acted upon in a second: refreshing is not free.
const PER_SECOND: u32 = 50;

/// Longest wait before the first solicitation. RFC 4861 section 6.3.7 has a second; the same tenth as for probes.
const FIRST_SOLICITATION: Duration = Duration::from_millis(100);
/// Initial and largest interval of solicitations (RFC 7559 section 2).
const SOLICITATION_INTERVAL: Duration = Duration::from_secs(4);
const SOLICITATION_INTERVAL_MAX: Duration = Duration::from_secs(3_600);
/// When a solicitation finds no room it is tried again after this.
const RETRY: Duration = Duration::from_millis(50);

/// What an address can't be shortened to by an advertisement (RFC 4862 section 5.5.3 (e)).
const TWO_HOURS: Duration = Duration::from_secs(2 * 3_600);
/// The length of an interface identifier, and so of a prefix that an address is made of, in bits.
const IDENTIFIER_BITS: u8 = 64;
/// New identifiers that are tried when somebody else has an address (RFC 7217 section 6).
const IDENTIFIER_TRIES: u8 = 3;

/// Ranks of what is advertised, behind those of what is configured: see [`Routed::rank`].
const RANK_ON_LINK: u32 = 2;
const RANK_ROUTE: u32 = 3;

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// What the routers of one interface say beyond addresses and routes, as told by `Stack::advertised`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Advertised {
    /// The default routers, by their link-local addresses.
    pub routers: Vec<Ipv6Addr>,
    /// Whether addresses are to be had by DHCPv6 (the M flag).
    pub managed: bool,
    /// Whether other configuration is to be had by DHCPv6 (the O flag).
    pub other: bool,
    /// DNS servers (RFC 8106); where one is link-local, it is of this interface.
    pub resolvers: Vec<Ipv6Addr>,
    /// The DNS search list.
    pub search: Vec<Arc<str>>,
}

/// Something that is known until then.
#[derive(Debug, Clone)]
struct Until<T> {
    what: T,
    until: Instant,
    /// When it was advertised last.
    heard: Instant,
}

/// A route by way of a router; a default route if the prefix has no bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Via {
    dest: Ipv6Addr,
    prefix_len: u8,
    router: Ipv6Addr,
    preference: Preference,
}

/// When routers are asked for.
#[derive(Debug, Clone, Copy)]
struct Soliciting {
    next: Instant,
    /// Between the one sent and the next.
    interval: Duration,
}

/// What is known of an interface's routers.
#[derive(Debug)]
pub(crate) struct Autoconf {
    identifiers: Identifiers,
    /// Whether this stack is the one of several that asks.
    solicits: bool,
    soliciting: Option<Soliciting>,
    defaults: Vec<Until<Via>>,
    routes: Vec<Until<Via>>,
    on_link: Vec<Until<(Ipv6Addr, u8)>>,
    resolvers: Vec<Until<Ipv6Addr>>,
    search: Vec<Until<Arc<str>>>,
    /// Routers that do not answer, the one that was found so last at the end.
    silent: Vec<Ipv6Addr>,
    managed: bool,
    other: bool,
    /// When a router told the MTU last.
    mtu_heard: Option<Instant>,
    /// Since the link was down, and until it is known to be the same.
    doubt: Option<Doubt>,
    limit: RateLimit,
    random: Random,
}

impl Autoconf {
    /// Of the interface of this VLAN.
    pub(crate) fn new(config: &Config, vlan: u16, seed: &[u8; 32], now: Instant) -> Self {
        let mut random = Random::new(seed, "router solicitations");
        let wait = random.below(FIRST_SOLICITATION.as_nanos() as u64);
        let solicits = config.group_reports;
        Self {
            identifiers: Identifiers::new(config, vlan),
            solicits,
            soliciting: solicits.then_some(Soliciting {
                next: now + Duration::from_nanos(wait),
                interval: Duration::ZERO,
            }),
            defaults: Vec::new(),
            routes: Vec::new(),
            on_link: Vec::new(),
            resolvers: Vec::new(),
            search: Vec::new(),
            silent: Vec::new(),
            managed: false,
            other: false,
            mtu_heard: None,
            doubt: None,
            limit: RateLimit::new(PER_SECOND, seed, "router advertisements"),
            random,
        }
    }

    /// Routers are asked for soon, as at the start.
    fn solicit(&mut self, now: Instant) {
        if self.solicits {
            let wait = self.random.below(FIRST_SOLICITATION.as_nanos() as u64);
            self.soliciting = Some(Soliciting {
                next: now + Duration::from_nanos(wait),
                interval: Duration::ZERO,
            });
        }
    }

    /// When something is to be done.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let via = self.defaults.iter().chain(&self.routes).map(|it| it.until);
        let on_link = self.on_link.iter().map(|it| it.until);
        let resolvers = self.resolvers.iter().map(|it| it.until);
        let search = self.search.iter().map(|it| it.until);
        let ends = via.chain(on_link).chain(resolvers).chain(search);
        let ends = ends.filter(|at| *at != Instant::MAX);
        let doubt = self.doubt.as_ref().and_then(Doubt::next_timeout);
        let asks = self.soliciting.map(|it| it.next);
        ends.chain(asks).chain(doubt).min()
    }

    fn advertised(&self) -> Advertised {
        Advertised {
            routers: self.defaults.iter().map(|it| it.what.router).collect(),
            managed: self.managed,
            other: self.other,
            resolvers: self.resolvers.iter().map(|it| it.what).collect(),
            search: self.search.iter().map(|it| it.what.clone()).collect(),
        }
    }

    /// Takes in all but the addresses and the MTU.
    fn note(&mut self, now: Instant, heard: &Advertisement) {
        let router = heard.router;
        // Who speaks may be asked again.
        self.silent.retain(|silent| *silent != router);
        (self.managed, self.other) = (heard.managed, heard.other);
        let default = Via {
            dest: Ipv6Addr::UNSPECIFIED,
            prefix_len: 0,
            router,
            preference: heard.preference,
        };
        let lifetime = Duration::from_secs(heard.lifetime_secs.into());
        enter(
            &mut self.defaults,
            MAX_ROUTERS,
            now,
            default,
            lifetime,
            Via::is_same,
        );
        if heard.lifetime_secs > 0 {
            self.soliciting = None;
        }
        for &(dest, prefix_len, preference, lifetime_secs) in &heard.routes {
            let via = Via {
                dest,
                prefix_len,
                router,
                preference,
            };
            let lifetime = seconds(lifetime_secs);
            enter(
                &mut self.routes,
                MAX_PREFIXES,
                now,
                via,
                lifetime,
                Via::is_same,
            );
        }
        for prefix in heard.prefixes.iter().filter(|prefix| prefix.on_link) {
            let what = (prefix.prefix, prefix.prefix_len);
            let valid = seconds(prefix.valid_secs);
            enter(
                &mut self.on_link,
                MAX_PREFIXES,
                now,
                what,
                valid,
                PartialEq::eq,
            );
        }
        for (resolver, lifetime_secs) in &heard.resolvers {
            let lifetime = seconds(*lifetime_secs);
            enter(
                &mut self.resolvers,
                MAX_DNS,
                now,
                *resolver,
                lifetime,
                PartialEq::eq,
            );
        }
        for (name, lifetime_secs) in &heard.search {
            let lifetime = seconds(*lifetime_secs);
            enter(
                &mut self.search,
                MAX_DNS,
                now,
                name.clone(),
                lifetime,
                PartialEq::eq,
            );
        }
    }

    /// Forgets what is over. Whether there was anything.
    fn end_lifetimes(&mut self, now: Instant) -> bool {
        let had_router = !self.defaults.is_empty();
        let ended = [
            end(&mut self.defaults, now),
            end(&mut self.routes, now),
            end(&mut self.on_link, now),
            end(&mut self.resolvers, now),
            end(&mut self.search, now),
        ];
        if had_router && self.defaults.is_empty() && self.solicits {
            self.soliciting = Some(Soliciting {
                next: now,
                interval: Duration::ZERO,
            });
        }
        ended.contains(&true)
    }

    /// The routes that follow, out by the interface `at`.
    pub(crate) fn routed(&self, at: IfIndex) -> impl Iterator<Item = Routed> + '_ {
        let on_link = self.on_link.iter().map(move |it| Routed {
            dest: it.what.0.into(),
            prefix_len: it.what.1,
            gateway: None,
            at,
            origin: Origin::Advertised,
            rank: RANK_ON_LINK,
            until: it.until,
        });
        let via = self.defaults.iter().chain(&self.routes);
        on_link.chain(via.map(move |it| Routed {
            dest: it.what.dest.into(),
            prefix_len: it.what.prefix_len,
            gateway: Some(it.what.router.into()),
            at,
            origin: Origin::Advertised,
            rank: self.rank(&it.what),
            until: it.until,
        }))
    }

    /// Those that answer before those that do not, and of those the one first that was found so first: each gets its
    /// turn (RFC 4861 section 6.3.6). Then by preference (RFC 4191 section 3.2).
    fn rank(&self, via: &Via) -> u32 {
        let silent = self.silent.iter().position(|router| *router == via.router);
        let silent = silent.map_or(0, |at| at as u32 + 1);
        let preference = match via.preference {
            Preference::High => 0,
            Preference::Medium => 1,
            Preference::Low => 2,
        };
        RANK_ROUTE + silent * 3 + preference
    }

    /// A router does not answer. Whether that changes anything.
    fn note_silent(&mut self, router: Ipv6Addr) -> bool {
        let mut all = self.defaults.iter().chain(&self.routes);
        if !all.any(|it| it.what.router == router) {
            return false;
        }
        self.silent.retain(|silent| *silent != router);
        if self.silent.len() >= MAX_ROUTERS + MAX_PREFIXES {
            self.silent.remove(0);
        }
        self.silent.push(router);
        true
    }
}

impl Via {
    /// Whether the one takes the other's place.
    fn is_same(&self, other: &Self) -> bool {
        (self.dest, self.prefix_len, self.router) == (other.dest, other.prefix_len, other.router)
    }
}

/// Notes something for so long, or forgets it where that is 0; what is new finds its place only while there is room.
fn enter<T>(
    list: &mut Vec<Until<T>>,
    most: usize,
    now: Instant,
    what: T,
    lifetime: Duration,
    is_same: impl Fn(&T, &T) -> bool,
) {
    let entry = Until {
        what,
        until: now + lifetime,
        heard: now,
    };
    let known = list.iter().position(|it| is_same(&it.what, &entry.what));
    match known {
        Some(at) if lifetime.is_zero() => {
            list.remove(at);
        }
        Some(at) => {
            if let Some(known) = list.get_mut(at) {
                *known = entry;
            }
        }
        None if !lifetime.is_zero() && list.len() < most => list.push(entry),
        None => {}
    }
}

fn end<T>(list: &mut Vec<Until<T>>, now: Instant) -> bool {
    let before = list.len();
    list.retain(|it| it.until > now);
    list.len() < before
}

impl Interface {
    /// Takes in what a router advertises.
    fn on_advertisement(&mut self, now: Instant, heard: &Advertisement) {
        self.allay(now, heard);
        let Some(autoconf) = &mut self.autoconf else {
            return;
        };
        autoconf.note(now, heard);
        // RFC 4861 section 6.3.4: no more than the link takes anyway, and no less than IPv6 demands.
        if let Some(mtu) = heard.mtu.and_then(|mtu| usize::try_from(mtu).ok())
            && mtu >= usize::from(MIN_MTU)
        {
            self.mtu_v6 = mtu.min(self.mtu);
            autoconf.mtu_heard = Some(now);
        }
        for prefix in heard.prefixes.iter().filter(|it| it.is_for_addresses()) {
            self.apply_prefix(now, prefix);
        }
        self.refresh();
    }

    /// RFC 4862 section 5.5.3 (d) and (e).
    fn apply_prefix(&mut self, now: Instant, prefix: &Prefix) {
        let advertised = Lifetime {
            preferred_until: now + seconds(prefix.preferred_secs),
            valid_until: now + seconds(prefix.valid_secs),
        };
        let has_prefix =
            |addr: IpAddr| prefix_contains(prefix.prefix.into(), IDENTIFIER_BITS, addr);
        let mut made = 0;
        let mut known = None;
        for address in &mut self.addresses {
            if address.origin == Origin::Advertised {
                made += 1;
                if has_prefix(address.addr.addr) {
                    known = Some(address);
                }
            }
        }
        if let Some(known) = known {
            let left = known.lifetime.valid_until;
            known.lifetime.preferred_until = advertised.preferred_until;
            if advertised.valid_until > left || advertised.valid_until > now + TWO_HOURS {
                known.lifetime.valid_until = advertised.valid_until;
            } else if left > now + TWO_HOURS {
                known.lifetime.valid_until = now + TWO_HOURS;
            }
            let lifetime = &mut known.lifetime;
            lifetime.preferred_until = lifetime.preferred_until.min(lifetime.valid_until);
            if known.state.is_usable() {
                known.take_into_use(now);
            }
            return;
        }
        if prefix.valid_secs == 0 || made >= MAX_PREFIXES {
            return;
        }
        self.make_address(now, prefix.prefix, 0, advertised);
    }

    /// Adds the address that a prefix and the identifier for it make, after so many identifiers that were somebody
    /// else's.
    fn make_address(&mut self, now: Instant, prefix: Ipv6Addr, tries: u8, lifetime: Lifetime) {
        let Some(autoconf) = &self.autoconf else {
            return;
        };
        let addr = autoconf.identifiers.address(prefix, tries).into();
        // One that was configured stays what it is.
        if self.state_of(addr).is_some() {
            return;
        }
        let prefix_len = IDENTIFIER_BITS;
        let addr = IfAddr { addr, prefix_len };
        let added = self.add_address(now, addr, Origin::Advertised, lifetime);
        if added.is_ok()
            && let Some(address) = self.address_mut(addr.addr)
        {
            address.tries = tries;
        }
    }

    /// Our address was found to be somebody else's: where it was made of a prefix, another identifier may be nobody's.
    pub(crate) fn replace_duplicate(&mut self, now: Instant, addr: IpAddr) {
        let Some(autoconf) = &self.autoconf else {
            return;
        };
        let is_opaque = autoconf.identifiers.are_opaque();
        let Some(address) = self.addresses.iter().find(|a| a.addr.addr == addr) else {
            return;
        };
        let (tries, lifetime) = (address.tries + 1, address.lifetime);
        if address.state != AddressState::Duplicate
            || address.origin != Origin::Advertised
            || !is_opaque
            || tries > IDENTIFIER_TRIES
        {
            return;
        }
        if let IpAddr::V6(prefix) = addr {
            self.remove_address(now, addr);
            self.make_address(now, prefix, tries, lifetime);
        }
    }

    /// Forgets what routers no longer advertise, and asks for routers where that is due. Whether anything has changed.
    fn handle_slaac_timeout(&mut self, now: Instant, queue: &mut FrameQueue) -> bool {
        let changed = self.handle_doubt(now);
        let source = self.usable_link_local();
        let mac = self.mac;
        let group = MacAddr::from_ipv6_multicast(ALL_ROUTERS);
        let ends = self.ends(group);
        let Some(autoconf) = &mut self.autoconf else {
            return false;
        };
        let ended = changed | autoconf.end_lifetimes(now);
        let Some(soliciting) = autoconf.soliciting.as_mut().filter(|it| it.next <= now) else {
            return ended;
        };
        // RFC 4861 section 4.1: without an address that may be used it is sent from none.
        let src = source.unwrap_or(Ipv6Addr::UNSPECIFIED);
        let sent = emit::push_ndp(queue, ends, (src, ALL_ROUTERS), |buf| {
            ndp::write_router_solicitation(buf, source.map(|_| mac))
        });
        if !sent {
            soliciting.next = now + RETRY;
            return ended;
        }
        // RFC 7559 section 2, RFC 8415 section 15: it doubles up to its bound, each varied by up to a tenth.
        let interval = match soliciting.interval {
            Duration::ZERO => SOLICITATION_INTERVAL,
            before => (before * 2).min(SOLICITATION_INTERVAL_MAX),
        };
        let fifth = autoconf.random.below((interval / 5).as_nanos() as u64);
        soliciting.interval = interval;
        soliciting.next = now + (interval - interval / 10) + Duration::from_nanos(fifth);
        ended
    }
}

impl Interfaces {
    /// Whether an advertisement that came in by an interface is to be acted upon: it listens, and has not heard too
    /// much of late.
    pub(crate) fn may_hear(&mut self, now: Instant, at: IfIndex) -> bool {
        self.change(at, |interface| {
            let autoconf = interface.autoconf.as_mut();
            autoconf.is_some_and(|autoconf| autoconf.limit.take(now))
        })
    }

    /// Takes in what a router advertises on an interface.
    pub(crate) fn on_advertisement(&mut self, now: Instant, at: IfIndex, heard: &Advertisement) {
        self.mtus_changed |= self.change(at, |interface| {
            let mtu = interface.mtu_v6;
            interface.on_advertisement(now, heard);
            interface.mtu_v6 != mtu
        });
        self.refresh();
    }

    /// A neighbour says that it is no router: if it was a default router, that is what it would advertise now.
    pub(crate) fn no_router(&self, at: IfIndex, neighbor: Ipv6Addr) -> Option<Advertisement> {
        let autoconf = self.get(at).autoconf.as_ref()?;
        let mut routers = autoconf.defaults.iter();
        let was_one = routers.any(|it| it.what.router == neighbor);
        was_one.then(|| Advertisement::withdrawn(neighbor, autoconf.managed, autoconf.other))
    }

    /// A neighbour does not answer: where it is a router, others come first.
    pub(crate) fn note_silent(&mut self, at: IfIndex, addr: IpAddr) {
        let IpAddr::V6(router) = addr else { return };
        let changed = self.change(at, |interface| {
            let autoconf = interface.autoconf.as_mut();
            autoconf.is_some_and(|autoconf| autoconf.note_silent(router))
        });
        if changed {
            self.refresh();
        }
    }

    /// What is due on all interfaces.
    pub(crate) fn handle_slaac_timeout(&mut self, now: Instant, queue: &mut FrameQueue) {
        let is_due = |interface: &Interface| {
            let autoconf = interface.autoconf.as_ref();
            let at = autoconf.and_then(|autoconf| autoconf.next_timeout());
            at.is_some_and(|at| at <= now)
        };
        let due = self.iter().filter(|(_, interface)| is_due(interface));
        let due: Vec<IfIndex> = due.map(|(at, _)| at).collect();
        let mut ended = false;
        for at in due {
            let mtu = self.get(at).mtu_v6;
            ended |= self.change(at, |interface| interface.handle_slaac_timeout(now, queue));
            self.mtus_changed |= self.get(at).mtu_v6 != mtu;
        }
        if ended {
            self.refresh();
        }
    }

    /// What the routers of an interface say; `None` if it does not listen.
    pub(crate) fn advertised(&self, at: IfIndex) -> Option<Advertised> {
        self.get(at).autoconf.as_ref().map(|it| it.advertised())
    }
}
