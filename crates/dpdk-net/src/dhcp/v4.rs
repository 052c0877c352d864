//! The DHCPv4 client: RFC 2131, with RFC 2132's options, RFC 3442's routes and RFC 6842.
//!
//! It takes the first offer that it can use. An address is told to be [`Event::Offered`] when a server has granted it,
//! and is to be probed then (RFC 5227): the owner says what came of it by [`Client::confirmed`], [`Client::taken`] or
//! [`Client::unusable`].

mod message;

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use dhcproto::v4::MessageType;
use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{Duration, Instant};

use self::message::{Incoming, Kind, Outgoing};
use super::{Entropy, earlier};

/// The port of clients.
pub const CLIENT_PORT: u16 = 68;
/// The port of servers.
pub const SERVER_PORT: u16 = 67;

/// Between the first two messages, and the most between any (RFC 2131 section 4.1); each is varied by a second.
const FIRST_RETRY: Duration = Duration::from_secs(4);
const LAST_RETRY: Duration = Duration::from_secs(64);
const SPREAD: Duration = Duration::from_secs(1);
/// How often a server is asked for what it has offered.
const REQUESTS: u32 = 4;
/// After a lease was declined (RFC 2131 section 3.1 (5)), or given back as it is of no use.
const DECLINE_WAIT: Duration = Duration::from_secs(10);
/// How soon it begins anew at the earliest, once that has led to nothing; it doubles.
const FAILED_WAIT: Duration = Duration::from_secs(1);
/// Between attempts to renew at the least (RFC 2131 section 4.4.5).
const RENEW_LEAST: Duration = Duration::from_secs(60);
/// Messages and events that wait to be taken; more are lost, and messages sent again in time.
const QUEUE: usize = 8;

/// What a client is told at its start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The MAC address of the interface. `AppBuilder` sets it.
    pub mac: MacAddr,
    /// The client identifier, where the server tells clients apart by it (RFC 2132 section 9.14; RFC 4361 has the
    /// format). Default none: the MAC address does.
    pub client_id: Option<Vec<u8>>,
    /// A name that the server may enter into DNS (RFC 2132 section 3.14). Default none.
    pub hostname: Option<String>,
}

impl Config {
    /// Neither identifier nor name.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a client identifier: 2 to 255 bytes, the first of which tells its kind.
    #[must_use]
    pub fn client_id(mut self, id: impl Into<Vec<u8>>) -> Self {
        self.client_id = Some(id.into());
        self
    }

    /// With a host name, 1 to 63 bytes or several such with dots between.
    #[must_use]
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.hostname = Some(name.into());
        self
    }

    /// Whether it can be sent.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if let Some(id) = &self.client_id
            && !(2..=255).contains(&id.len())
        {
            return Err("a client identifier has 2 to 255 bytes");
        }
        if let Some(name) = &self.hostname
            && super::names::checked(name).is_none()
        {
            return Err("a host name has letters, digits and hyphens, with dots between its parts");
        }
        Ok(())
    }
}

/// A route that came with a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The destination network.
    pub dest: Ipv4Addr,
    /// The length of its prefix in bits.
    pub prefix_len: u8,
    /// The next hop; `None` is on the link.
    pub gateway: Option<Ipv4Addr>,
}

/// What a server has granted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The length of the prefix of its subnet in bits.
    pub prefix_len: u8,
    /// The server.
    pub server: Ipv4Addr,
    /// For how long, from when it was asked for; [`Duration::MAX`] is for ever.
    pub valid: Duration,
    /// When it is renewed at its server, from when it was asked for (T1).
    pub t1: Duration,
    /// When it is renewed at whatever server answers (T2).
    pub t2: Duration,
    /// Routes, the default route among them.
    pub routes: Vec<Route>,
    /// The MTU of the link in bytes.
    pub mtu: Option<u16>,
    /// DNS servers.
    pub resolvers: Vec<Ipv4Addr>,
    /// The DNS search list, or the domain.
    pub search: Vec<String>,
    /// What the host is called.
    pub hostname: Option<String>,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum To {
    /// To all, from no address.
    Unconfigured,
    /// To all, from the address of the lease.
    Broadcast(Ipv4Addr),
    /// To the server, from the address of the lease.
    Server {
        /// The address of the lease.
        from: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
    },
}

/// A message to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// To whom, and from where.
    pub to: To,
    /// The payload of the datagram, from the client's port to the server's.
    pub bytes: Vec<u8>,
}

/// What has become of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An address is ours, if nobody has it: to be probed. The time is when it was asked for.
    Offered(Lease, Instant),
    /// The lease goes on, with these terms. The time is when it was asked for.
    Renewed(Lease, Instant),
    /// The address is to be given up at once.
    Lost(Ipv4Addr, Loss),
}

/// Why a lease has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loss {
    /// No server has renewed it.
    Expired,
    /// A server has said no.
    Refused,
    /// Somebody else has the address.
    Taken,
    /// A server has granted another address in its place.
    Replaced,
    /// It can't be used here.
    Unusable,
}

/// When a message is sent again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
    sent: u32,
}

impl Retry {
    fn now(now: Instant) -> Self {
        Self {
            at: now,
            wait: FIRST_RETRY,
            sent: 0,
        }
    }

    /// One more was sent.
    fn sent(&mut self, now: Instant, entropy: &mut Entropy) {
        self.at = now + entropy.around(self.wait, SPREAD);
        self.wait = (self.wait * 2).min(LAST_RETRY);
        self.sent += 1;
    }
}

/// A lease, and since when.
#[derive(Debug, Clone)]
struct Held {
    lease: Lease,
    /// When it was asked for.
    since: Instant,
}

impl Held {
    fn until(&self, time: Duration) -> Instant {
        self.since + time
    }
}

#[derive(Debug)]
enum State {
    /// Begins then.
    Init(Instant),
    /// Offers are waited for.
    Selecting(Retry),
    /// What was offered is asked for.
    Requesting { offer: Lease, retry: Retry },
    /// What was granted is being probed.
    Probing(Held),
    /// What was granted is ours. `next` is when something is sent.
    Bound { held: Held, next: Instant },
    /// Any server is asked whether what was granted still holds.
    Rebooting { held: Held, retry: Retry },
    /// It is over.
    Stopped,
}

/// A client of one interface.
#[derive(Debug)]
pub struct Client {
    config: Config,
    entropy: Entropy,
    state: State,
    xid: u32,
    /// When it began.
    since: Instant,
    /// When what is under way was first asked for: from there a lease counts.
    asked: Instant,
    /// The address that it had.
    wanted: Option<Ipv4Addr>,
    /// Times in a row that it has begun in vain.
    failed: u32,
    messages: VecDeque<Message>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that begins at once.
    pub fn new(config: Config, seed: u64, now: Instant) -> Self {
        Self {
            config,
            entropy: Entropy::new(seed),
            state: State::Init(now),
            xid: 0,
            since: now,
            asked: now,
            wanted: None,
            failed: 0,
            messages: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The next message to be sent.
    pub fn poll_transmit(&mut self) -> Option<Message> {
        self.messages.pop_front()
    }

    /// What has become of the lease.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Init(at) => Some(*at),
            State::Selecting(retry) | State::Requesting { retry, .. } => Some(retry.at),
            State::Probing(held) => Some(held.until(held.lease.valid)),
            State::Rebooting { held, retry } => Some(retry.at.min(held.until(held.lease.valid))),
            State::Bound { held, next } => {
                let end = held.until(held.lease.valid);
                earlier(Some(*next), Some(end)).filter(|at| *at != Instant::MAX)
            }
            State::Stopped => None,
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| at > now) {
            return;
        }
        match &mut self.state {
            State::Init(_) => {
                (self.since, self.asked) = (now, now);
                self.xid = self.entropy.next_u64() as u32;
                self.state = State::Selecting(Retry::now(now));
                self.handle_timeout(now);
            }
            State::Selecting(retry) => {
                retry.sent(now, &mut self.entropy);
                let wanted = self.wanted;
                self.say(now, MessageType::Discover, To::Unconfigured, wanted, None);
            }
            State::Requesting { retry, .. } if retry.sent >= REQUESTS => self.begin_anew(now),
            State::Requesting { offer, retry } => {
                retry.sent(now, &mut self.entropy);
                let (address, server) = (Some(offer.address), Some(offer.server));
                self.say(now, MessageType::Request, To::Unconfigured, address, server);
            }
            State::Probing(_) => self.lose(now, Loss::Expired),
            State::Bound { held, .. } | State::Rebooting { held, .. }
                if held.until(held.lease.valid) <= now =>
            {
                self.lose(now, Loss::Expired);
            }
            // RFC 2131 section 3.2 (3): nobody says anything to the contrary.
            State::Rebooting { held, retry } if retry.sent >= REQUESTS => {
                let held = held.clone();
                let next = held.until(held.lease.t1);
                self.state = State::Bound { held, next };
            }
            State::Rebooting { held, retry } => {
                retry.sent(now, &mut self.entropy);
                let address = Some(held.lease.address);
                self.say(now, MessageType::Request, To::Unconfigured, address, None);
            }
            State::Bound { held, next } => {
                let (from, server) = (held.lease.address, held.lease.server);
                let (t1, t2) = (held.until(held.lease.t1), held.until(held.lease.t2));
                let end = held.until(held.lease.valid);
                let is_first = *next == t1 || *next == t2;
                // RFC 2131 section 4.4.5: half of what is left to the next step, a minute at the least.
                let (to, step) = if now < t2 {
                    (To::Server { from, server }, t2)
                } else {
                    (To::Broadcast(from), end)
                };
                let half = step.saturating_duration_since(now) / 2;
                *next = step.min(now + half.max(RENEW_LEAST));
                if is_first {
                    self.since = now;
                }
                // The lease counts from the message that is answered: each has an id of its own.
                self.xid = self.entropy.next_u64() as u32;
                self.asked = now;
                self.say(now, MessageType::Request, to, None, None);
            }
            State::Stopped => {}
        }
    }

    /// Takes in a message that came to the client's port.
    pub fn receive(&mut self, now: Instant, bytes: &[u8]) {
        let Some(heard) = Incoming::read(bytes, &self.config).filter(|heard| heard.xid == self.xid)
        else {
            return;
        };
        match (&self.state, heard.kind) {
            (State::Selecting(_), Kind::Offer(offer)) => {
                self.asked = now;
                let retry = Retry::now(now);
                self.state = State::Requesting { offer, retry };
                self.handle_timeout(now);
            }
            (State::Requesting { offer, .. }, Kind::Ack(lease))
                if offer.server == heard.server && offer.address == lease.address =>
            {
                let since = self.asked;
                let held = Held {
                    lease: lease.clone(),
                    since,
                };
                self.state = State::Probing(held);
                self.tell(Event::Offered(lease, since));
            }
            (State::Requesting { offer, .. }, Kind::Nak) if offer.server == heard.server => {
                self.wanted = None;
                self.begin_anew(now);
            }
            (State::Rebooting { held, .. }, Kind::Ack(lease))
                if lease.address == held.lease.address =>
            {
                self.renew(lease);
            }
            (State::Rebooting { .. }, Kind::Nak) => self.lose(now, Loss::Refused),
            (State::Bound { held, .. }, kind) if now >= held.until(held.lease.t1) => {
                let is_heard =
                    held.lease.server == heard.server || now >= held.until(held.lease.t2);
                match kind {
                    Kind::Ack(lease) if is_heard && lease.address == held.lease.address => {
                        self.renew(lease);
                    }
                    // A server that knows better: RFC 2131 section 4.4.5 says to take it.
                    Kind::Ack(_) if is_heard => self.lose(now, Loss::Replaced),
                    Kind::Nak if is_heard => self.lose(now, Loss::Refused),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The address of the lease has been probed, and nobody has it.
    pub fn confirmed(&mut self) {
        if let State::Probing(held) = &self.state {
            let held = held.clone();
            self.wanted = Some(held.lease.address);
            self.failed = 0;
            let next = held.until(held.lease.t1);
            self.state = State::Bound { held, next };
        }
    }

    /// Whether an answer is waited for.
    pub fn listens(&self) -> bool {
        match &self.state {
            State::Selecting(_) | State::Requesting { .. } | State::Rebooting { .. } => true,
            State::Bound { held, next } => *next != held.until(held.lease.t1),
            State::Init(_) | State::Probing(_) | State::Stopped => false,
        }
    }

    /// The link was down and is up again: it may be another one (RFC 2131 section 3.2, section 4.4.2).
    pub fn link_changed(&mut self, now: Instant) {
        match &self.state {
            State::Bound { held, .. } | State::Rebooting { held, .. } => {
                let held = held.clone();
                (self.since, self.asked) = (now, now);
                self.xid = self.entropy.next_u64() as u32;
                let retry = Retry::now(now);
                self.state = State::Rebooting { held, retry };
            }
            // Who did not hear us before, and what was offered elsewhere, is not waited for.
            State::Selecting(_) | State::Requesting { .. } => self.state = State::Init(now),
            State::Init(_) | State::Probing(_) | State::Stopped => {}
        }
    }

    /// Somebody else has the address of the lease.
    pub fn taken(&mut self, now: Instant) {
        let (State::Probing(held) | State::Bound { held, .. }) = &self.state else {
            return;
        };
        let (address, server) = (held.lease.address, held.lease.server);
        self.say(
            now,
            MessageType::Decline,
            To::Unconfigured,
            Some(address),
            Some(server),
        );
        self.tell(Event::Lost(address, Loss::Taken));
        self.begin_after_decline(now);
    }

    fn begin_after_decline(&mut self, now: Instant) {
        self.wanted = None;
        self.failed = self.failed.saturating_add(1);
        let wait = DECLINE_WAIT.max(self.failed_wait());
        self.state = State::Init(now + wait);
    }

    /// The address of the lease can't be used here, though nobody else has it: it is given back, for to decline it would
    /// take it from everybody (RFC 2131 section 4.3.3), and something else is asked for later.
    pub fn unusable(&mut self, now: Instant) {
        let (State::Probing(held) | State::Bound { held, .. } | State::Rebooting { held, .. }) =
            &self.state
        else {
            return;
        };
        let (address, server) = (held.lease.address, held.lease.server);
        // Nothing can be sent from the address.
        self.give_back(now, To::Unconfigured, address, server);
        self.tell(Event::Lost(address, Loss::Unusable));
        self.begin_after_decline(now);
    }

    /// Gives the lease back, and ends.
    pub fn release(&mut self, now: Instant) {
        if let State::Bound { held, .. } | State::Rebooting { held, .. } = &self.state {
            let (from, server) = (held.lease.address, held.lease.server);
            self.give_back(now, To::Server { from, server }, from, server);
        }
        self.state = State::Stopped;
    }

    fn give_back(&mut self, now: Instant, to: To, address: Ipv4Addr, server: Ipv4Addr) {
        self.xid = self.entropy.next_u64() as u32;
        let message = Outgoing {
            kind: MessageType::Release,
            xid: self.xid,
            secs: self.secs(now),
            ciaddr: address,
            requested: None,
            server: Some(server),
        };
        self.queue(to, &message);
    }

    fn renew(&mut self, lease: Lease) {
        let since = self.asked;
        let held = Held {
            lease: lease.clone(),
            since,
        };
        let next = held.until(held.lease.t1);
        self.state = State::Bound { held, next };
        self.tell(Event::Renewed(lease, since));
    }

    fn lose(&mut self, now: Instant, loss: Loss) {
        if let State::Probing(held) | State::Bound { held, .. } | State::Rebooting { held, .. } =
            &self.state
        {
            let address = held.lease.address;
            self.tell(Event::Lost(address, loss));
        }
        if loss != Loss::Expired {
            self.wanted = None;
        }
        self.begin_anew(now);
    }

    /// At once the first time, later each time.
    fn begin_anew(&mut self, now: Instant) {
        let wait = match self.failed {
            0 => Duration::ZERO,
            _ => self.failed_wait(),
        };
        self.failed = self.failed.saturating_add(1);
        self.state = State::Init(now + wait);
    }

    fn failed_wait(&mut self) -> Duration {
        let wait = FAILED_WAIT * (1 << self.failed.min(6));
        self.entropy.around(wait, FAILED_WAIT / 2)
    }

    fn tell(&mut self, event: Event) {
        if self.events.len() < QUEUE {
            self.events.push_back(event);
        }
    }

    fn say(
        &mut self,
        now: Instant,
        kind: MessageType,
        to: To,
        requested: Option<Ipv4Addr>,
        server: Option<Ipv4Addr>,
    ) {
        let ciaddr = match to {
            To::Unconfigured => Ipv4Addr::UNSPECIFIED,
            To::Broadcast(from) | To::Server { from, .. } => from,
        };
        let message = Outgoing {
            kind,
            xid: self.xid,
            secs: self.secs(now),
            ciaddr,
            requested,
            server,
        };
        self.queue(to, &message);
    }

    /// Since it began.
    fn secs(&self, now: Instant) -> u16 {
        let secs = now.saturating_duration_since(self.since).as_secs();
        u16::try_from(secs).unwrap_or(u16::MAX)
    }

    fn queue(&mut self, to: To, message: &Outgoing) {
        if self.messages.len() < QUEUE {
            let bytes = message.encode(&self.config);
            self.messages.push_back(Message { to, bytes });
        }
    }
}

#[cfg(test)]
mod tests;
