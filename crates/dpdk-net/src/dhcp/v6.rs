//! The DHCPv6 client: RFC 8415, addresses of one identity association (IA_NA) or settings alone, with RFC 3646's
//! options.
//!
//! Addresses are told to be [`Event::Offered`] when a server has granted them, and are to be probed then (RFC 4862):
//! the owner says what came of it by [`Client::confirmed`] or [`Client::taken`].

mod config;
mod exchange;
mod message;

use std::collections::VecDeque;
use std::net::Ipv6Addr;

use dhcproto::v6::MessageType;
use dpdk_net_stack::{Duration, Instant};

pub use self::config::{Config, Mode};
use self::exchange::Exchange;
use self::message::{Incoming, Outgoing, Verdict};
use super::{Entropy, Rate, earlier};

/// The port of clients.
pub const CLIENT_PORT: u16 = 546;
/// The port of servers.
pub const SERVER_PORT: u16 = 547;
/// The group of all servers and relays of a link (RFC 8415 section 7.1).
pub const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Longest wait before the first message. RFC 8415 section 7.6 has a second (SOL_MAX_DELAY and its like), for links
/// where all hosts come up together; a tenth is what probes and solicitations wait here.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// How soon it begins anew once that has led to nothing; it doubles.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// Messages in as many seconds, whatever servers say of when to renew (RFC 8415 section 14.1).
const RATE: u32 = 20;
/// Messages and events that wait to be taken; more are lost, and messages sent again in time.
const QUEUE: usize = 8;

/// CNF_MAX_RD: for how long it is asked whether addresses still are of this link.
const CONFIRM_FOR: Duration = Duration::from_secs(10);

/// An address that a server has granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address. That it is granted says nothing of what else is on the link.
    pub address: Ipv6Addr,
    /// For how long it is preferred, from when it was asked for; [`Duration::MAX`] is for ever.
    pub preferred: Duration,
    /// For how long it is valid, from when it was asked for; [`Duration::MAX`] is for ever.
    pub valid: Duration,
}

/// What servers tell beside addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// DNS servers.
    pub resolvers: Vec<Ipv6Addr>,
    /// The DNS search list.
    pub search: Vec<String>,
}

/// What a server has granted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The addresses.
    pub addresses: Vec<Address>,
    /// Addresses that are not to be used any more (RFC 8415 section 18.2.10.1).
    pub withdrawn: Vec<Ipv6Addr>,
    /// The identifier of the server (DUID).
    pub server: Vec<u8>,
    /// When they are renewed at their server, from when they were asked for.
    pub t1: Duration,
    /// When they are renewed at whatever server answers.
    pub t2: Duration,
    /// What else was told.
    pub settings: Settings,
}

impl Lease {
    /// Until the last address is over.
    fn valid(&self) -> Duration {
        let valid = self.addresses.iter().map(|it| it.valid);
        valid.max().unwrap_or_default()
    }
}

/// What has become of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Addresses are ours, if nobody has them: to be probed. The time is when they were asked for.
    Offered(Lease, Instant),
    /// The lease goes on, with these terms; addresses that it does not name end in their time. The time is when it was
    /// asked for.
    Renewed(Lease, Instant),
    /// The addresses are to be given up at once.
    Lost(Vec<Ipv6Addr>, Loss),
    /// What servers tell beside addresses.
    Told(Settings),
}

/// Why a lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// No server has renewed it.
    Expired,
    /// A server says that the addresses are not of this link.
    NotOnLink,
    /// Somebody else has an address.
    Taken,
    /// The server has taken the last address back.
    Withdrawn,
    /// None can be used here.
    Unusable,
}

/// A lease, and since when.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    since: Instant,
}

impl Held {
    fn until(&self, time: Duration) -> Instant {
        self.since + time
    }

    fn addresses(&self) -> Vec<Ipv6Addr> {
        self.lease.addresses.iter().map(|it| it.address).collect()
    }
}

#[derive(Debug)]
enum State {
    /// Begins then.
    Init(Instant),
    /// Servers are looked for; the best that was heard of so far.
    Soliciting(Exchange, Option<Incoming>),
    /// A server is asked for what it has advertised.
    Requesting(Exchange, Incoming),
    /// What was granted is being probed.
    Probing(Held),
    /// What was granted is ours.
    Bound(Held),
    /// What is ours is being confirmed, renewed or asked for anew of any server.
    Extending(Exchange, Held),
    /// Settings are asked for.
    Informing(Exchange),
    /// Settings are known until then.
    Informed(Instant),
    /// It is over.
    Stopped,
}

/// A client of one interface.
#[derive(Debug)]
pub struct Client {
    config: Config,
    id: Vec<u8>,
    entropy: Entropy,
    rate: Rate,
    state: State,
    /// Times in a row that it has begun in vain.
    failed: u32,
    messages: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that begins in a moment.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        let mut entropy = Entropy::new(seed);
        let begin = now + entropy.below(FIRST_DELAY);
        Self {
            id: config.client_id(),
            config,
            entropy,
            rate: Rate::new(RATE),
            state: State::Init(begin),
            failed: 0,
            messages: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The next message to be sent to all servers.
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.messages.pop_front()
    }

    /// What has become of the lease.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let end = |held: &Held| held.until(held.lease.valid());
        let next = match &self.state {
            State::Init(at) | State::Informed(at) => Some(*at),
            State::Soliciting(exchange, _)
            | State::Requesting(exchange, _)
            | State::Informing(exchange) => Some(exchange.next),
            State::Probing(held) => Some(end(held)),
            State::Bound(held) => earlier(Some(held.until(held.lease.t1)), Some(end(held))),
            State::Extending(exchange, held) => {
                let step = match exchange.kind {
                    MessageType::Renew => held.until(held.lease.t2),
                    MessageType::Confirm => exchange.since + CONFIRM_FOR,
                    _ => Instant::MAX,
                };
                earlier(Some(exchange.next.min(step)), Some(end(held)))
            }
            State::Stopped => None,
        };
        next.filter(|at| *at != Instant::MAX)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Init(_) | State::Informed(_) if !self.config.asks_addresses() => {
                let exchange = self.begin(now, MessageType::InformationRequest, None);
                self.state = State::Informing(self.send(now, exchange, &[]));
            }
            State::Init(_) | State::Informed(_) => {
                let exchange = self.begin(now, MessageType::Solicit, None);
                self.state = State::Soliciting(self.send(now, exchange, &[]), None);
            }
            // The first round is over: the best of those that answered is asked.
            State::Soliciting(_, Some(best)) => self.request(now, best),
            State::Soliciting(exchange, None) => {
                self.state = State::Soliciting(self.send(now, exchange, &[]), None);
            }
            State::Requesting(exchange, _) if exchange.is_over() => self.begin_anew(now),
            State::Requesting(exchange, best) => {
                let addresses = best.lease.as_ref().map_or(&[][..], |it| &it.addresses);
                let exchange = self.send(now, exchange, addresses);
                self.state = State::Requesting(exchange, best);
            }
            State::Probing(held) | State::Bound(held) | State::Extending(_, held)
                if held.until(held.lease.valid()) <= now =>
            {
                self.lose(now, &held, Loss::Expired);
            }
            State::Probing(held) => self.state = State::Probing(held),
            State::Bound(held) => {
                let server = Some(held.lease.server.clone());
                self.extend(now, held, MessageType::Renew, server);
            }
            State::Extending(exchange, held) => match exchange.kind {
                MessageType::Renew if now >= held.until(held.lease.t2) => {
                    self.extend(now, held, MessageType::Rebind, None);
                }
                // The server that had forgotten us has nothing to say.
                MessageType::Request if exchange.is_over() => {
                    self.extend(now, held, MessageType::Rebind, None);
                }
                // RFC 8415 section 18.2.3: nobody says anything to the contrary.
                MessageType::Confirm if now >= exchange.since + CONFIRM_FOR => {
                    self.state = State::Bound(held);
                }
                _ => {
                    let exchange = self.send(now, exchange, &held.lease.addresses);
                    self.state = State::Extending(exchange, held);
                }
            },
            State::Informing(exchange) => {
                self.state = State::Informing(self.send(now, exchange, &[]));
            }
            State::Stopped => {}
        }
    }

    /// Takes in a message that came to the client's port.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(heard) = Incoming::read(bytes, &self.id, self.config.association()) else {
            return;
        };
        let (State::Soliciting(exchange, _)
        | State::Requesting(exchange, _)
        | State::Extending(exchange, _)
        | State::Informing(exchange)) = &self.state
        else {
            return;
        };
        if heard.xid != exchange.xid {
            return;
        }
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Soliciting(exchange, best) => self.on_found(now, exchange, best, heard),
            State::Requesting(exchange, _)
                if heard.kind == MessageType::Reply && exchange.is_with(&heard.server) =>
            {
                match (heard.status, heard.lease) {
                    (Verdict::Success, Some(lease)) => self.grant(lease, exchange.since),
                    // It has changed its mind, or never had one.
                    _ => self.begin_anew(now),
                }
            }
            State::Extending(exchange, held) if heard.kind == MessageType::Reply => {
                self.on_extended(now, exchange, held, heard);
            }
            State::Informing(_) if heard.kind == MessageType::Reply => {
                self.state = State::Informed(now + heard.refresh);
                self.tell(Event::Told(heard.settings));
            }
            other => self.state = other,
        }
    }

    /// RFC 8415 sections 18.2.9 and 18.2.1.
    fn on_found(
        &mut self,
        now: Instant,
        exchange: Exchange,
        best: Option<Incoming>,
        heard: Incoming,
    ) {
        let is_usable = heard.status == Verdict::Success && heard.lease.is_some();
        match heard.kind {
            MessageType::Reply if heard.rapid_commit && is_usable => {
                if let Some(lease) = heard.lease {
                    self.grant(lease, exchange.since);
                }
            }
            MessageType::Advertise if is_usable => {
                // The best there can be, or the first after the first round.
                if heard.preference == u8::MAX || exchange.sent > 1 {
                    return self.request(now, heard);
                }
                let best = match best {
                    Some(best) if best.preference >= heard.preference => best,
                    _ => heard,
                };
                self.state = State::Soliciting(exchange, Some(best));
            }
            _ => self.state = State::Soliciting(exchange, best),
        }
    }

    /// RFC 8415 section 18.2.10.1.
    fn on_extended(&mut self, now: Instant, exchange: Exchange, held: Held, heard: Incoming) {
        if !exchange.is_with(&heard.server) {
            self.state = State::Extending(exchange, held);
            return;
        }
        if heard.status == Verdict::NotOnLink && exchange.kind != MessageType::Renew {
            return self.lose(now, &held, Loss::NotOnLink);
        }
        if exchange.kind == MessageType::Confirm && heard.status == Verdict::Success {
            self.state = State::Bound(held);
            return;
        }
        let forgets = matches!(exchange.kind, MessageType::Renew | MessageType::Rebind);
        match (heard.of_association, heard.lease) {
            (Verdict::Success, Some(lease)) if heard.status == Verdict::Success => {
                let since = exchange.since;
                self.tell(Event::Renewed(lease.clone(), since));
                self.state = State::Bound(Held { lease, since });
            }
            (Verdict::Success, None) if heard.status == Verdict::Success => {
                self.on_withdrawn(now, exchange, held, heard.withdrawn);
            }
            // It has forgotten us: it may remember when asked. If it does not, another may.
            (Verdict::NoBinding, _) if forgets => {
                self.extend(now, held, MessageType::Request, Some(heard.server));
            }
            _ => self.state = State::Extending(exchange, held),
        }
    }

    /// Addresses are taken back, and nothing is granted: what was not named goes on as it was.
    fn on_withdrawn(
        &mut self,
        now: Instant,
        exchange: Exchange,
        mut held: Held,
        withdrawn: Vec<Ipv6Addr>,
    ) {
        let had = held.lease.addresses.len();
        let goes_on = |it: &Address| !withdrawn.contains(&it.address);
        if !held.lease.addresses.iter().any(goes_on) {
            return self.lose(now, &held, Loss::Withdrawn);
        }
        held.lease.addresses.retain(goes_on);
        if held.lease.addresses.len() < had {
            held.lease.withdrawn = withdrawn;
            self.tell(Event::Renewed(held.lease.clone(), held.since));
        }
        self.state = State::Extending(exchange, held);
    }

    /// The addresses of the lease have been probed, and nobody has them.
    pub fn confirmed(&mut self) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Probing(held) => {
                self.failed = 0;
                self.state = State::Bound(held);
            }
            other => self.state = other,
        }
    }

    /// Somebody else has an address of the lease.
    pub fn taken(&mut self, now: Instant, address: Ipv6Addr) {
        let (State::Probing(held) | State::Bound(held) | State::Extending(_, held)) = &self.state
        else {
            return;
        };
        let held = held.clone();
        let declined = held
            .lease
            .addresses
            .iter()
            .filter(|it| it.address == address);
        let declined: Vec<Address> = declined.copied().collect();
        if declined.is_empty() {
            return;
        }
        let server = Some(held.lease.server.clone());
        let exchange = self.begin(now, MessageType::Decline, server);
        self.send(now, exchange, &declined);
        self.failed = self.failed.max(1);
        self.lose(now, &held, Loss::Taken);
    }

    /// These addresses of the lease can't be used here, though nobody else has them: they are given back, and if no other
    /// is left something else is asked for later.
    pub fn unusable(&mut self, now: Instant, addresses: &[Ipv6Addr]) {
        let (State::Probing(held) | State::Bound(held) | State::Extending(_, held)) =
            &mut self.state
        else {
            return;
        };
        let is_refused = |it: &Address| addresses.contains(&it.address);
        let all = held.lease.addresses.iter().copied();
        let (refused, kept): (Vec<_>, Vec<_>) = all.partition(is_refused);
        if refused.is_empty() {
            return;
        }
        let before = held.clone();
        held.lease.addresses = kept;
        let server = Some(before.lease.server.clone());
        let exchange = self.begin(now, MessageType::Release, server);
        self.send(now, exchange, &refused);
        if refused.len() == before.lease.addresses.len() {
            self.failed = self.failed.max(1);
            self.lose(now, &before, Loss::Unusable);
        }
    }

    /// The link was down and is up again: it may be another one (RFC 8415 section 18.2.3).
    pub fn link_changed(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Bound(held) | State::Extending(_, held) => {
                // All hosts of a switch come up together: section 18.2.3.
                let at = now + self.entropy.below(FIRST_DELAY);
                let exchange = self.begin(at, MessageType::Confirm, None);
                self.state = State::Extending(exchange, held);
            }
            // Who did not hear us before, and what was offered elsewhere, is not waited for.
            State::Soliciting(..)
            | State::Requesting(..)
            | State::Informing(_)
            | State::Informed(_) => {
                self.state = State::Init(now + self.entropy.below(FIRST_DELAY));
            }
            other => self.state = other,
        }
    }

    /// Gives the lease back, and ends.
    pub fn release(&mut self, now: Instant) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Bound(held) | State::Extending(_, held) => {
                let server = Some(held.lease.server);
                let exchange = self.begin(now, MessageType::Release, server);
                self.send(now, exchange, &held.lease.addresses);
            }
            _ => {}
        }
    }

    fn request(&mut self, now: Instant, best: Incoming) {
        let server = Some(best.server.clone());
        let exchange = self.begin(now, MessageType::Request, server);
        let addresses = best.lease.as_ref().map_or(&[][..], |it| &it.addresses);
        let exchange = self.send(now, exchange, addresses);
        self.state = State::Requesting(exchange, best);
    }

    fn grant(&mut self, lease: Lease, since: Instant) {
        self.tell(Event::Offered(lease.clone(), since));
        self.state = State::Probing(Held { lease, since });
    }

    fn extend(&mut self, now: Instant, held: Held, kind: MessageType, server: Option<Vec<u8>>) {
        let exchange = self.begin(now, kind, server);
        let exchange = self.send(now, exchange, &held.lease.addresses);
        self.state = State::Extending(exchange, held);
    }

    fn lose(&mut self, now: Instant, held: &Held, loss: Loss) {
        self.tell(Event::Lost(held.addresses(), loss));
        self.begin_anew(now);
    }

    /// At once the first time, later each time.
    fn begin_anew(&mut self, now: Instant) {
        let wait = match self.failed {
            0 => Duration::ZERO,
            failed => {
                let wait = FAILED_WAIT * (1 << failed.min(6));
                self.entropy.around(wait, FAILED_WAIT / 2)
            }
        };
        self.failed = self.failed.saturating_add(1);
        self.state = State::Init(now + wait);
    }

    fn begin(&mut self, now: Instant, kind: MessageType, server: Option<Vec<u8>>) -> Exchange {
        let [a, b, c, ..] = self.entropy.next_u64().to_be_bytes();
        Exchange::new(now, kind, server, [a, b, c])
    }

    /// Sends the message of an exchange, once more, or has it wait until one may be sent.
    fn send(&mut self, now: Instant, mut exchange: Exchange, addresses: &[Address]) -> Exchange {
        // What is said once is the last for a while.
        let is_last = matches!(exchange.kind, MessageType::Release | MessageType::Decline);
        if let Err(later) = self.rate.take(now)
            && !is_last
        {
            exchange.next = later;
            return exchange;
        }
        let asks_addresses = exchange.kind != MessageType::InformationRequest;
        let message = Outgoing {
            kind: exchange.kind,
            xid: exchange.xid,
            client: &self.id,
            server: exchange.server.as_deref(),
            elapsed: now.saturating_duration_since(exchange.since),
            association: asks_addresses.then(|| self.config.association()),
            addresses,
        };
        let bytes = message.encode();
        if self.messages.len() < QUEUE {
            self.messages.push_back(bytes);
        }
        exchange.sent(now, &mut self.entropy);
        exchange
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < QUEUE {
            self.events.push_back(event);
        }
    }
}

#[cfg(test)]
mod tests;
