//! DHCPv6 messages: written, and read as far as they mean something here (RFC 8415 sections 8 and 21, RFC 3646).

use std::net::Ipv6Addr;

use dhcproto::v6::{self, DhcpOption, IAAddr, IANA, MessageType, OptionCode, Status};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use dpdk_net_stack::Duration;

use super::{Address, Lease, Settings};
use crate::dhcp::{names, seconds};

/// The largest message that is taken: what an Ethernet frame has room for.
const MAX_LEN: usize = 1_452;
/// The type and the transaction id.
const FIXED: usize = 4;
/// A type and a length precede each option.
const OPTION_HEADER: usize = 4;
/// The longest identifier of a server (RFC 8415 section 11.1).
const MAX_DUID: usize = 130;
/// Addresses and DNS servers that are kept.
const MAX_ADDRESSES: usize = 4;
const MAX_RESOLVERS: usize = 8;
/// A lease that is shorter would have us do little else than renew it.
const MIN_LEASE: Duration = Duration::from_secs(10);
/// The least T1 of our own choice (RFC 8415 section 14.2: no storms), where the lease is long enough; REN_TIMEOUT.
const MIN_T1: Duration = Duration::from_secs(10);
/// Default and least time to ask anew for settings alone (RFC 8415 section 21.23).
const REFRESH: Duration = Duration::from_secs(86_400);
const MIN_REFRESH: Duration = Duration::from_secs(600);

/// What a message to servers says.
#[derive(Debug, Clone)]
pub(super) struct Outgoing<'a> {
    pub(super) kind: MessageType,
    pub(super) xid: [u8; 3],
    pub(super) client: &'a [u8],
    pub(super) server: Option<&'a [u8]>,
    /// Since the first of this kind was sent.
    pub(super) elapsed: Duration,
    /// The identity association, if addresses are asked for, and those of it that are told.
    pub(super) association: Option<u32>,
    pub(super) addresses: &'a [Address],
}

impl Outgoing<'_> {
    /// The bytes of it.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = v6::Message::new_with_id(self.kind, self.xid);
        let options = message.opts_mut();
        options.insert(DhcpOption::ClientId(self.client.to_vec()));
        if let Some(server) = self.server {
            options.insert(DhcpOption::ServerId(server.to_vec()));
        }
        let hundredths = self.elapsed.as_millis() / 10;
        let elapsed = u16::try_from(hundredths).unwrap_or(u16::MAX);
        options.insert(DhcpOption::ElapsedTime(elapsed));
        if self.kind == MessageType::Solicit {
            options.insert(DhcpOption::RapidCommit);
        }
        let asks = !matches!(
            self.kind,
            MessageType::Confirm | MessageType::Release | MessageType::Decline
        );
        if asks {
            let mut wanted = vec![OptionCode::DomainNameServers, OptionCode::DomainSearchList];
            if self.kind == MessageType::InformationRequest {
                wanted.push(OptionCode::InformationRefreshTime);
            }
            options.insert(DhcpOption::ORO(v6::ORO { opts: wanted }));
        }
        if let Some(id) = self.association {
            let mut told = v6::DhcpOptions::new();
            for address in self.addresses {
                told.insert(DhcpOption::IAAddr(IAAddr {
                    addr: address.address,
                    // RFC 8415 section 18.2: a client leaves the times to the server.
                    preferred_life: 0,
                    valid_life: 0,
                    opts: v6::DhcpOptions::new(),
                }));
            }
            options.insert(DhcpOption::IANA(IANA {
                id,
                t1: 0,
                t2: 0,
                opts: told,
            }));
        }
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = message.encode(&mut Encoder::new(&mut bytes));
        bytes
    }
}

/// What a server says to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) kind: MessageType,
    pub(super) xid: [u8; 3],
    pub(super) server: Vec<u8>,
    pub(super) preference: u8,
    pub(super) rapid_commit: bool,
    /// Of the message as a whole, and of the identity association.
    pub(super) status: Verdict,
    pub(super) of_association: Verdict,
    /// What is granted; nothing if it has no addresses that can be.
    pub(super) lease: Option<Lease>,
    /// Addresses that are not to be used any more: their valid lifetime is 0 (RFC 8415 section 18.2.10.1).
    pub(super) withdrawn: Vec<Ipv6Addr>,
    pub(super) settings: Settings,
    /// When settings alone are to be asked for anew.
    pub(super) refresh: Duration,
}

/// What a status code comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Success,
    NoBinding,
    NotOnLink,
    Failure,
}

impl From<Status> for Verdict {
    fn from(status: Status) -> Self {
        match status {
            Status::Success => Self::Success,
            Status::NoBinding => Self::NoBinding,
            Status::NotOnLink => Self::NotOnLink,
            _ => Self::Failure,
        }
    }
}

/// Where options are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Message,
    Association,
    Address,
}

/// Whether an option is read where it is, may have this length, and where the options in it begin.
fn wanted(level: Level, code: OptionCode, len: usize) -> Option<(usize, Option<Level>)> {
    let (inner, level_in) = match (level, code) {
        (_, OptionCode::StatusCode) if len >= 2 => (len, None),
        (Level::Message, OptionCode::ClientId | OptionCode::ServerId)
            if (3..=MAX_DUID).contains(&len) =>
        {
            (len, None)
        }
        (Level::Message, OptionCode::Preference) if len == 1 => (len, None),
        (Level::Message, OptionCode::RapidCommit) if len == 0 => (len, None),
        (Level::Message, OptionCode::InformationRefreshTime) if len == 4 => (len, None),
        (Level::Message, OptionCode::DomainNameServers) if len > 0 && len.is_multiple_of(16) => {
            (len, None)
        }
        (Level::Message, OptionCode::DomainSearchList) if len > 0 => (len, None),
        (Level::Message, OptionCode::IANA) if len >= 12 => (12, Some(Level::Association)),
        (Level::Association, OptionCode::IAAddr) if len >= 24 => (24, Some(Level::Address)),
        _ => return None,
    };
    Some((inner, level_in))
}

/// Those options alone that are read, and in those that have some themselves the same.
fn sieve(level: Level, mut options: &[u8]) -> Vec<u8> {
    let mut sieved = Vec::new();
    while let Some((header, rest)) = options.split_first_chunk::<OPTION_HEADER>() {
        let code = u16::from_be_bytes([header[0], header[1]]);
        let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some((value, rest)) = rest.split_at_checked(len) else {
            break;
        };
        options = rest;
        let Some((at, inner)) = wanted(level, code.into(), len) else {
            continue;
        };
        let (fixed, within) = value.split_at(at);
        let within = inner.map_or(Vec::new(), |inner| sieve(inner, within));
        let len = (fixed.len() + within.len()) as u16;
        sieved.extend(code.to_be_bytes());
        sieved.extend(len.to_be_bytes());
        sieved.extend_from_slice(fixed);
        sieved.extend(within);
    }
    sieved
}

impl Incoming {
    /// Reads a message; `None` if it makes no sense, or is not to the client with this identifier.
    pub(super) fn read(bytes: &[u8], client: &[u8], association: u32) -> Option<Self> {
        if bytes.len() > MAX_LEN {
            return None;
        }
        let (fixed, options) = bytes.split_at_checked(FIXED)?;
        // Relays' messages have another form.
        if !matches!(fixed.first(), Some(2 | 7)) {
            return None;
        }
        let mut sieved = fixed.to_vec();
        sieved.extend(sieve(Level::Message, options));
        let message = v6::Message::decode(&mut Decoder::new(&sieved)).ok()?;
        let options = message.opts();
        let is_ours =
            |option: &DhcpOption| matches!(option, DhcpOption::ClientId(id) if id == client);
        if !options.get(OptionCode::ClientId).is_some_and(is_ours) {
            return None;
        }
        let Some(DhcpOption::ServerId(server)) = options.get(OptionCode::ServerId) else {
            return None;
        };
        let preference = match options.get(OptionCode::Preference) {
            Some(DhcpOption::Preference(preference)) => *preference,
            _ => 0,
        };
        let settings = Settings {
            resolvers: resolvers(options),
            search: match options.get(OptionCode::DomainSearchList) {
                Some(DhcpOption::DomainSearchList(all)) => names::search(all),
                _ => Vec::new(),
            },
        };
        let associations = options.get_all(OptionCode::IANA).unwrap_or(&[]);
        let own = associations.iter().find_map(|option| match option {
            // RFC 8415 section 21.4: one whose times are in the wrong order is as if it were not there.
            DhcpOption::IANA(own) if own.id == association => {
                (own.t2 == 0 || own.t1 <= own.t2).then_some(own)
            }
            _ => None,
        });
        let withdrawn = own.map_or(Vec::new(), withdrawn);
        Some(Self {
            kind: message.msg_type(),
            xid: message.xid(),
            server: server.clone(),
            preference,
            rapid_commit: options.get(OptionCode::RapidCommit).is_some(),
            status: verdict(options),
            of_association: own.map_or(Verdict::Success, |own| verdict(&own.opts)),
            lease: own.and_then(|own| lease(own, &withdrawn, server, &settings)),
            withdrawn,
            settings,
            refresh: refresh(options),
        })
    }
}

fn verdict(options: &v6::DhcpOptions) -> Verdict {
    match options.get(OptionCode::StatusCode) {
        Some(DhcpOption::StatusCode(code)) => code.status.into(),
        _ => Verdict::Success,
    }
}

fn resolvers(options: &v6::DhcpOptions) -> Vec<Ipv6Addr> {
    let Some(DhcpOption::DomainNameServers(all)) = options.get(OptionCode::DomainNameServers)
    else {
        return Vec::new();
    };
    let usable = all
        .iter()
        .copied()
        .filter(|addr| !(addr.is_unspecified() || addr.is_loopback() || addr.is_multicast()));
    usable.take(MAX_RESOLVERS).collect()
}

fn refresh(options: &v6::DhcpOptions) -> Duration {
    let told = match options.get(OptionCode::InformationRefreshTime) {
        Some(DhcpOption::InformationRefreshTime(secs)) => Some(*secs),
        Some(DhcpOption::Unknown(option)) => {
            let bytes = <[u8; 4]>::try_from(option.data()).ok();
            bytes.map(u32::from_be_bytes)
        }
        _ => None,
    };
    told.map_or(REFRESH, |secs| seconds(secs).max(MIN_REFRESH))
}

/// What an identity association takes back.
fn withdrawn(association: &IANA) -> Vec<Ipv6Addr> {
    let told = association.opts.get_all(OptionCode::IAAddr).unwrap_or(&[]);
    let ended = told.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(told) if told.valid_life == 0 => Some(told.addr),
        _ => None,
    });
    ended.take(MAX_ADDRESSES).collect()
}

/// What an identity association grants.
fn lease(
    association: &IANA,
    withdrawn: &[Ipv6Addr],
    server: &[u8],
    settings: &Settings,
) -> Option<Lease> {
    let told = association.opts.get_all(OptionCode::IAAddr).unwrap_or(&[]);
    let address = |option: &DhcpOption| {
        let DhcpOption::IAAddr(told) = option else {
            return None;
        };
        let addr = told.addr;
        let can_be = !(addr.is_unspecified()
            || addr.is_loopback()
            || addr.is_multicast()
            || addr.is_unicast_link_local()
            || addr.to_ipv4_mapped().is_some());
        let (preferred, valid) = (seconds(told.preferred_life), seconds(told.valid_life));
        let usable = can_be
            && preferred <= valid
            && valid >= MIN_LEASE
            && verdict(&told.opts) == Verdict::Success;
        usable.then_some(Address {
            address: addr,
            preferred,
            valid,
        })
    };
    let addresses: Vec<Address> = told
        .iter()
        .filter_map(address)
        .take(MAX_ADDRESSES)
        .collect();
    let valid = addresses.iter().map(|it| it.valid).max()?;
    let (t1, t2) = times(association, &addresses, valid);
    Some(Lease {
        addresses,
        withdrawn: withdrawn.to_vec(),
        server: server.to_vec(),
        t1,
        t2,
        settings: settings.clone(),
    })
}

/// T1 and T2 as they are told; zero leaves it to the client, and so does what would let the lease end before
/// (RFC 8415 sections 14.2 and 21.4).
fn times(association: &IANA, addresses: &[Address], valid: Duration) -> (Duration, Duration) {
    // What is deprecated already says nothing of how long the others are wanted.
    let preferred = addresses.iter().map(|it| it.preferred);
    let base = preferred.filter(|it| !it.is_zero()).min().unwrap_or(valid);
    let part = |numerator: u32, denominator: u32| match base {
        Duration::MAX => Duration::MAX,
        base => (base * numerator / denominator).max(MIN_T1.min(valid / 2)),
    };
    let told = |secs| Some(seconds(secs)).filter(|time| !time.is_zero() && *time <= valid);
    match (told(association.t1), told(association.t2)) {
        (Some(t1), Some(t2)) => (t1, t2),
        (Some(t1), None) => (t1, part(4, 5).max(t1)),
        (None, Some(t2)) => (part(1, 2).min(t2), t2),
        (None, None) => (part(1, 2), part(4, 5)),
    }
}
