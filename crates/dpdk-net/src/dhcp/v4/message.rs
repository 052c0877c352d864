//! DHCPv4 messages: written, and read as far as they mean something here (RFC 2131 section 2, RFC 2132).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::ops::Range;

use dhcproto::v4::{self, DhcpOption, Flags, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

use dpdk_net_packet::MacAddr;
use dpdk_net_stack::Duration;

use super::{Config, Lease, Route};
use crate::dhcp::{names, seconds};

/// Bytes before the options, the magic cookie included.
const FIXED: usize = 240;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// Where the names of a server and of a file are, which may have options instead (RFC 2131 section 4.1).
const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;
const PAD: u8 = 0;
const END: u8 = 255;
/// The largest message that is taken: what an Ethernet frame has room for.
const MAX_LEN: u16 = 1_472;
/// Servers pad to this; relays may demand it (RFC 1542 section 2.1).
const MIN_LEN: usize = 300;

/// A lease that is shorter would have us do little else than renew it.
const MIN_LEASE: Duration = Duration::from_secs(10);
/// A renewal that is sooner, likewise.
const MIN_RENEWAL: Duration = Duration::from_secs(5);
/// DNS servers and routes that are kept.
const MAX_RESOLVERS: usize = 8;
const MAX_ROUTES: usize = 64;
/// The least MTU that every host takes (RFC 791 section 3.1), which the option may tell.
const MIN_MTU: u16 = 68;

/// What is asked for.
const PARAMETERS: &[OptionCode] = &[
    OptionCode::SubnetMask,
    // RFC 3442: it is to come before the option that it replaces.
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::DomainSearch,
    OptionCode::InterfaceMtu,
    OptionCode::Hostname,
    OptionCode::AddressLeaseTime,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// What a message to servers says beyond what is the same in all.
#[derive(Debug, Clone)]
pub(super) struct Outgoing {
    pub(super) kind: MessageType,
    pub(super) xid: u32,
    /// Since the client began, in seconds.
    pub(super) secs: u16,
    /// The address that the client has and answers ARP for; unspecified where it has none.
    pub(super) ciaddr: Ipv4Addr,
    pub(super) requested: Option<Ipv4Addr>,
    pub(super) server: Option<Ipv4Addr>,
}

impl Outgoing {
    /// The bytes of it.
    pub(super) fn encode(&self, config: &Config) -> Vec<u8> {
        let none = Ipv4Addr::UNSPECIFIED;
        let mac = config.mac.octets();
        let mut message = v4::Message::new_with_id(self.xid, self.ciaddr, none, none, none, &mac);
        message.set_secs(self.secs);
        if self.ciaddr.is_unspecified() {
            // What is sent to an address that is not there yet may not get in.
            message.set_flags(Flags::default().set_broadcast());
        }
        let asks = matches!(self.kind, MessageType::Discover | MessageType::Request);
        let options = message.opts_mut();
        options.insert(DhcpOption::MessageType(self.kind));
        if let Some(id) = &config.client_id {
            options.insert(DhcpOption::ClientIdentifier(id.clone()));
        }
        if let Some(address) = self.requested {
            options.insert(DhcpOption::RequestedIpAddress(address));
        }
        if let Some(server) = self.server {
            options.insert(DhcpOption::ServerIdentifier(server));
        }
        if asks {
            options.insert(DhcpOption::ParameterRequestList(PARAMETERS.to_vec()));
            options.insert(DhcpOption::MaxMessageSize(MAX_LEN + 28));
            if let Some(name) = &config.hostname {
                options.insert(DhcpOption::Hostname(name.clone()));
            }
        }
        options.insert(DhcpOption::End);
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        let _ = message.encode(&mut Encoder::new(&mut bytes));
        bytes.resize(bytes.len().max(MIN_LEN), 0);
        bytes
    }
}

/// What a server says to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Incoming {
    pub(super) kind: Kind,
    pub(super) xid: u32,
    pub(super) server: Ipv4Addr,
}

/// Which message it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Offer(Lease),
    Ack(Lease),
    Nak,
}

/// Whether an option of this kind is read, and may have this length.
fn is_wanted(code: u8, len: usize) -> bool {
    match OptionCode::from(code) {
        OptionCode::MessageType => len == 1,
        OptionCode::InterfaceMtu => len == 2,
        OptionCode::SubnetMask
        | OptionCode::AddressLeaseTime
        | OptionCode::ServerIdentifier
        | OptionCode::Renewal
        | OptionCode::Rebinding => len == 4,
        OptionCode::Router | OptionCode::DomainNameServer => len > 0 && len.is_multiple_of(4),
        OptionCode::ClientIdentifier
        | OptionCode::Hostname
        | OptionCode::DomainName
        | OptionCode::DomainSearch
        | OptionCode::ClasslessStaticRoute => len > 0,
        _ => false,
    }
}

/// Adds options to those that were found before: instances of one are parts of it (RFC 3396 section 7). `None` if they
/// have no end.
fn gather(mut field: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Option<()> {
    loop {
        let (code, rest) = field.split_first()?;
        match *code {
            PAD => field = rest,
            END => return Some(()),
            code => {
                let (len, rest) = rest.split_first()?;
                let (value, rest) = rest.split_at_checked((*len).into())?;
                options.entry(code).or_default().extend_from_slice(value);
                field = rest;
            }
        }
    }
}

/// The message with those options alone that are read, each in one place; `None` if it is none.
fn sieve(bytes: &[u8]) -> Option<Vec<u8>> {
    let (fixed, field) = bytes.split_at_checked(FIXED)?;
    if fixed.get(FIXED - MAGIC.len()..)? != MAGIC {
        return None;
    }
    let mut options = BTreeMap::new();
    gather(field, &mut options)?;
    let overload = options.get(&u8::from(OptionCode::OptionOverload));
    let overload = overload.and_then(|value| value.first().copied());
    // RFC 3396 section 5 has the order.
    if matches!(overload, Some(1 | 3)) {
        gather(fixed.get(FILE)?, &mut options)?;
    }
    if matches!(overload, Some(2 | 3)) {
        gather(fixed.get(SNAME)?, &mut options)?;
    }
    let mut sieved = fixed.to_vec();
    sieved.get_mut(SNAME.start..FILE.end)?.fill(0);
    for (code, value) in options {
        if is_wanted(code, value.len()) {
            for part in value.chunks(u8::MAX.into()) {
                sieved.extend([code, part.len() as u8]);
                sieved.extend_from_slice(part);
            }
        }
    }
    sieved.push(END);
    Some(sieved)
}

impl Incoming {
    /// Reads a message; `None` if it makes no sense, or is not to the client that `config` is of.
    pub(super) fn read(bytes: &[u8], config: &Config) -> Option<Self> {
        if bytes.len() > MAX_LEN.into() {
            return None;
        }
        let sieved = sieve(bytes)?;
        let message = v4::Message::decode(&mut Decoder::new(&sieved)).ok()?;
        let hardware = message.chaddr();
        let is_ours = message.opcode() == Opcode::BootReply
            && hardware.get(..6).and_then(MacAddr::from_slice) == Some(config.mac);
        let options = message.opts();
        // RFC 6842: a server that sends it back sends back ours.
        let id = match options.get(OptionCode::ClientIdentifier) {
            Some(DhcpOption::ClientIdentifier(id)) => Some(id),
            _ => None,
        };
        if !is_ours || id.is_some_and(|id| config.client_id.as_ref() != Some(id)) {
            return None;
        }
        let Some(&DhcpOption::ServerIdentifier(server)) = options.get(OptionCode::ServerIdentifier)
        else {
            return None;
        };
        let kind = match options.msg_type()? {
            MessageType::Nak => Kind::Nak,
            MessageType::Offer => Kind::Offer(lease(&message, server)?),
            MessageType::Ack => Kind::Ack(lease(&message, server)?),
            _ => return None,
        };
        Some(Self {
            kind,
            xid: message.xid(),
            server,
        })
    }
}

/// Whether a host can have the address, or a server or router.
fn is_host(addr: Ipv4Addr) -> bool {
    let first = addr.octets()[0];
    !(first == 0 || first == 127 || first >= 224)
}

/// The lease that a message offers or grants; `None` if there can be no such one.
fn lease(message: &v4::Message, server: Ipv4Addr) -> Option<Lease> {
    let options = message.opts();
    let number = |code| match options.get(code) {
        Some(
            DhcpOption::AddressLeaseTime(secs)
            | DhcpOption::Renewal(secs)
            | DhcpOption::Rebinding(secs),
        ) => Some(seconds(*secs)),
        _ => None,
    };
    let address = message.yiaddr();
    let valid = number(OptionCode::AddressLeaseTime)?;
    if !is_host(address) || !is_host(server) || valid < MIN_LEASE {
        return None;
    }
    let prefix_len = match options.get(OptionCode::SubnetMask) {
        Some(DhcpOption::SubnetMask(mask)) => prefix_len(*mask)?,
        _ => classful(address),
    };
    let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    let host = address.to_bits() & host_bits;
    if prefix_len < 31 && (host == 0 || host == host_bits) {
        return None;
    }
    let (t1, t2) = renewal(
        valid,
        number(OptionCode::Renewal),
        number(OptionCode::Rebinding),
    );
    let resolvers = match options.get(OptionCode::DomainNameServer) {
        Some(DhcpOption::DomainNameServer(all)) => {
            let hosts = all.iter().copied().filter(|addr| is_host(*addr));
            hosts.take(MAX_RESOLVERS).collect()
        }
        _ => Vec::new(),
    };
    let mut search = match options.get(OptionCode::DomainSearch) {
        Some(DhcpOption::DomainSearch(all)) => names::search(all),
        _ => Vec::new(),
    };
    if search.is_empty()
        && let Some(DhcpOption::DomainName(name)) = options.get(OptionCode::DomainName)
    {
        search.extend(names::checked(name));
    }
    let hostname = match options.get(OptionCode::Hostname) {
        Some(DhcpOption::Hostname(name)) => names::checked(name),
        _ => None,
    };
    let mtu = match options.get(OptionCode::InterfaceMtu) {
        Some(DhcpOption::InterfaceMtu(mtu)) => Some(*mtu).filter(|mtu| *mtu >= MIN_MTU),
        _ => None,
    };
    Some(Lease {
        address,
        prefix_len,
        server,
        valid,
        t1,
        t2,
        routes: routes(options, address, prefix_len),
        mtu,
        resolvers,
        search,
        hostname,
    })
}

/// When a lease is to be renewed, and by whomever: as told where that makes sense, else at half and seven eighths of it
/// (RFC 2131 section 4.4.5). None is sooner than [`MIN_RENEWAL`], half of [`MIN_LEASE`].
fn renewal(valid: Duration, t1: Option<Duration>, t2: Option<Duration>) -> (Duration, Duration) {
    if valid == Duration::MAX {
        return (Duration::MAX, Duration::MAX);
    }
    let t2 = t2.filter(|t2| (MIN_RENEWAL..valid).contains(t2));
    let t2 = t2.unwrap_or(valid * 7 / 8);
    let t1 = t1.filter(|t1| (MIN_RENEWAL..t2).contains(t1));
    (t1.unwrap_or(valid / 2).min(t2), t2)
}

fn prefix_len(mask: Ipv4Addr) -> Option<u8> {
    let ones = mask.to_bits().leading_ones();
    let is_mask = mask.to_bits().count_ones() == ones && ones > 0;
    is_mask.then_some(ones as u8)
}

/// The prefix that an address had before there were masks.
fn classful(addr: Ipv4Addr) -> u8 {
    match addr.octets()[0] {
        0..128 => 8,
        128..192 => 16,
        _ => 24,
    }
}

/// The routes that a message tells: those of RFC 3442 if there are any, else one by way of the first router.
fn routes(options: &v4::DhcpOptions, address: Ipv4Addr, prefix_len: u8) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    match (
        options.get(OptionCode::ClasslessStaticRoute),
        options.get(OptionCode::Router),
    ) {
        (Some(DhcpOption::ClasslessStaticRoute(all)), _) => {
            let usable = all.iter().filter(|(dest, gateway)| {
                !dest.network().is_multicast() && (gateway.is_unspecified() || is_host(*gateway))
            });
            routes.extend(usable.take(MAX_ROUTES).map(|(dest, gateway)| Route {
                dest: dest.network(),
                prefix_len: dest.prefix_len(),
                // RFC 3442: 0.0.0.0 says that it is on the link.
                gateway: (!gateway.is_unspecified()).then_some(*gateway),
            }));
        }
        (_, Some(DhcpOption::Router(routers))) => {
            let router = routers.iter().copied().find(|router| is_host(*router));
            routes.extend(router.map(|router| Route {
                dest: Ipv4Addr::UNSPECIFIED,
                prefix_len: 0,
                gateway: Some(router),
            }));
        }
        _ => {}
    }
    // A gateway that is not on the subnet is on the link all the same: there is no other way to it.
    let host_bits = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    let is_near = |gateway: Ipv4Addr| (gateway.to_bits() ^ address.to_bits()) & !host_bits == 0;
    let gateways = routes.iter().filter_map(|route| route.gateway);
    let mut far: Vec<Ipv4Addr> = gateways.filter(|gateway| !is_near(*gateway)).collect();
    far.sort_unstable();
    far.dedup();
    routes.extend(far.into_iter().map(|gateway| Route {
        dest: gateway,
        prefix_len: 32,
        gateway: None,
    }));
    routes
}
