//! The client against servers of all kinds, in virtual time.

use super::*;
use dhcproto::v4::{self, DhcpOption, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

mod extending;
mod hostile;
mod options;

const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
const NOW: Instant = Instant::from_secs(1_000);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const OTHER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 50);

fn config() -> Config {
    Config {
        mac: MAC,
        ..Config::new()
    }
}

fn client() -> Client {
    Client::new(config(), 7, NOW)
}

fn secs(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

/// What the client has sent, the time being `now`.
fn sent(client: &mut Client, now: Instant) -> Vec<(To, v4::Message)> {
    client.handle_timeout(now);
    let read = |bytes: &[u8]| v4::Message::decode(&mut Decoder::new(bytes)).unwrap();
    std::iter::from_fn(|| client.poll_transmit())
        .map(|message| (message.to, read(&message.bytes)))
        .collect()
}

/// The one message that it has sent, which is of this kind.
fn said(client: &mut Client, now: Instant, kind: MessageType) -> (To, v4::Message) {
    let mut all = sent(client, now);
    assert_eq!(all.len(), 1, "{all:?}");
    let (to, message) = all.remove(0);
    assert_eq!(message.opts().msg_type(), Some(kind));
    assert_eq!(&message.chaddr()[..6], MAC.octets());
    (to, message)
}

fn server_of(message: &v4::Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::ServerIdentifier) {
        Some(DhcpOption::ServerIdentifier(server)) => Some(*server),
        _ => None,
    }
}

fn requested(message: &v4::Message) -> Option<Ipv4Addr> {
    match message.opts().get(OptionCode::RequestedIpAddress) {
        Some(DhcpOption::RequestedIpAddress(address)) => Some(*address),
        _ => None,
    }
}

/// What a server answers: a lease of an hour, with a router.
fn answer(to: &v4::Message, kind: MessageType, server: Ipv4Addr) -> v4::Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message = v4::Message::new_with_id(to.xid(), none, ADDRESS, none, none, &MAC.octets());
    message.set_opcode(Opcode::BootReply);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(kind));
    options.insert(DhcpOption::ServerIdentifier(server));
    if kind != MessageType::Nak {
        options.insert(DhcpOption::AddressLeaseTime(3_600));
        options.insert(DhcpOption::SubnetMask(Ipv4Addr::new(255, 255, 255, 0)));
        options.insert(DhcpOption::Router(vec![SERVER]));
    }
    message
}

fn bytes(message: &v4::Message) -> Vec<u8> {
    let mut message = message.clone();
    message.opts_mut().insert(DhcpOption::End);
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

/// The client gets what the server answers.
fn hear(client: &mut Client, now: Instant, message: &v4::Message) {
    client.receive(now, &bytes(message));
}

fn offered(client: &mut Client) -> Lease {
    match client.poll_event() {
        Some(Event::Offered(lease, _)) => lease,
        other => panic!("{other:?}"),
    }
}

/// A client with a lease, which `change` may have changed.
fn bound_with(change: impl Fn(&mut v4::Message)) -> (Client, Lease) {
    let mut client = client();
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    let mut offer = answer(&discover, MessageType::Offer, SERVER);
    change(&mut offer);
    hear(&mut client, NOW, &offer);
    let (_, request) = said(&mut client, NOW, MessageType::Request);
    let mut ack = answer(&request, MessageType::Ack, SERVER);
    change(&mut ack);
    hear(&mut client, NOW, &ack);
    let lease = offered(&mut client);
    client.confirmed();
    (client, lease)
}

fn bound() -> Client {
    bound_with(|_| {}).0
}

#[test]
fn a_lease_is_had_in_four_messages() {
    let mut client = client();
    let (to, discover) = said(&mut client, NOW, MessageType::Discover);
    assert_eq!(to, To::Unconfigured);
    assert!(discover.flags().broadcast() && discover.ciaddr().is_unspecified());
    hear(
        &mut client,
        secs(1),
        &answer(&discover, MessageType::Offer, SERVER),
    );
    let (to, request) = said(&mut client, secs(1), MessageType::Request);
    assert_eq!((to, request.xid()), (To::Unconfigured, discover.xid()));
    assert_eq!(
        (requested(&request), server_of(&request)),
        (Some(ADDRESS), Some(SERVER))
    );
    assert!(request.ciaddr().is_unspecified());
    hear(
        &mut client,
        secs(2),
        &answer(&request, MessageType::Ack, SERVER),
    );
    let Some(Event::Offered(lease, since)) = client.poll_event() else {
        panic!()
    };
    assert_eq!(since, secs(1), "it counts from when it was asked for");
    assert_eq!(
        (lease.address, lease.prefix_len, lease.server),
        (ADDRESS, 24, SERVER)
    );
    assert_eq!(
        (
            lease.valid.as_secs(),
            lease.t1.as_secs(),
            lease.t2.as_secs()
        ),
        (3_600, 1_800, 3_150)
    );
    let default = Route {
        dest: Ipv4Addr::UNSPECIFIED,
        prefix_len: 0,
        gateway: Some(SERVER),
    };
    assert_eq!(lease.routes, [default]);
    client.confirmed();
    assert_eq!(client.next_timeout(), Some(secs(1 + 1_800)));
    assert!(sent(&mut client, secs(1_800)).is_empty());
}

#[test]
fn servers_are_asked_for_ever_more_rarely() {
    let mut client = client();
    let mut now = NOW;
    let mut times = Vec::new();
    for _ in 0..8 {
        said(&mut client, now, MessageType::Discover);
        times.push(now);
        now = client.next_timeout().unwrap();
    }
    for (pair, expected) in times.windows(2).zip([4, 8, 16, 32, 64, 64, 64]) {
        let wait = pair[1].saturating_duration_since(pair[0]).as_secs_f64();
        assert!(
            (wait - f64::from(expected)).abs() <= 1.0,
            "{wait} for {expected}"
        );
    }
}

#[test]
fn the_first_offer_that_serves_is_taken_and_the_others_are_not_heard() {
    let mut client = client();
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    for (field, value) in [
        (DhcpOption::AddressLeaseTime(9), "too short"),
        (
            DhcpOption::SubnetMask(Ipv4Addr::new(255, 0, 255, 0)),
            "no mask",
        ),
        (
            DhcpOption::ServerIdentifier(Ipv4Addr::BROADCAST),
            "no server",
        ),
    ] {
        let mut bad = answer(&discover, MessageType::Offer, OTHER);
        bad.opts_mut().insert(field);
        hear(&mut client, NOW, &bad);
        assert!(sent(&mut client, NOW).is_empty(), "{value}");
    }
    hear(
        &mut client,
        NOW,
        &answer(&discover, MessageType::Offer, SERVER),
    );
    hear(
        &mut client,
        NOW,
        &answer(&discover, MessageType::Offer, OTHER),
    );
    let (_, request) = said(&mut client, NOW, MessageType::Request);
    assert_eq!(server_of(&request), Some(SERVER));
    // Nor is another server believed that grants, or refuses, what it was not asked for.
    hear(&mut client, NOW, &answer(&request, MessageType::Ack, OTHER));
    hear(&mut client, NOW, &answer(&request, MessageType::Nak, OTHER));
    assert_eq!(client.poll_event(), None);
    hear(
        &mut client,
        NOW,
        &answer(&request, MessageType::Ack, SERVER),
    );
    assert_eq!(offered(&mut client).server, SERVER);
}

#[test]
fn a_refusal_and_a_silence_begin_anew() {
    let mut client = client();
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    hear(
        &mut client,
        NOW,
        &answer(&discover, MessageType::Offer, SERVER),
    );
    let (_, request) = said(&mut client, NOW, MessageType::Request);
    hear(
        &mut client,
        NOW,
        &answer(&request, MessageType::Nak, SERVER),
    );
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    assert_ne!(discover.xid(), request.xid());
    hear(
        &mut client,
        NOW,
        &answer(&discover, MessageType::Offer, SERVER),
    );
    let mut now = NOW;
    for _ in 0..REQUESTS {
        said(&mut client, now, MessageType::Request);
        now = client.next_timeout().unwrap();
    }
    assert!(sent(&mut client, now).is_empty());
    // The second time in vain: it waits a little.
    let next = client.next_timeout().unwrap();
    assert!(next > now && next < now + Duration::from_secs(3));
    said(&mut client, next, MessageType::Discover);
}

#[test]
fn a_server_that_always_refuses_is_asked_ever_more_rarely() {
    let mut client = client();
    let mut now = NOW;
    for _ in 0..40 {
        now = client.next_timeout().unwrap().max(now);
        let (_, discover) = said(&mut client, now, MessageType::Discover);
        hear(
            &mut client,
            now,
            &answer(&discover, MessageType::Offer, SERVER),
        );
        let (_, request) = said(&mut client, now, MessageType::Request);
        hear(
            &mut client,
            now,
            &answer(&request, MessageType::Nak, SERVER),
        );
    }
    assert!(now > secs(30 * 60), "{now:?}");
}

#[test]
fn identifier_and_name_are_sent_and_the_identifier_has_to_come_back_as_it_was() {
    let config = config().client_id([0xff, 1, 2, 3]).hostname("edge-7");
    assert_eq!(config.check(), Ok(()));
    let mut client = Client::new(config, 7, NOW);
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    let id = DhcpOption::ClientIdentifier(vec![0xff, 1, 2, 3]);
    assert_eq!(discover.opts().get(OptionCode::ClientIdentifier), Some(&id));
    let name = DhcpOption::Hostname("edge-7".to_owned());
    assert_eq!(discover.opts().get(OptionCode::Hostname), Some(&name));
    let mut offer = answer(&discover, MessageType::Offer, SERVER);
    offer
        .opts_mut()
        .insert(DhcpOption::ClientIdentifier(vec![1, 2]));
    hear(&mut client, NOW, &offer);
    assert!(sent(&mut client, NOW).is_empty());
    offer.opts_mut().insert(id);
    hear(&mut client, NOW, &offer);
    said(&mut client, NOW, MessageType::Request);
    assert!(Config::new().client_id([1]).check().is_err());
    assert!(Config::new().hostname("a b").check().is_err());
}

#[test]
fn routes_are_those_of_rfc_3442_where_there_are_some() {
    let net = |text: &str| text.parse().unwrap();
    let near = Ipv4Addr::new(198, 18, 0, 9);
    let (_, lease) = bound_with(|message| {
        message
            .opts_mut()
            .insert(DhcpOption::ClasslessStaticRoute(vec![
                (net("192.0.2.0/24"), near),
                (net("203.0.113.0/24"), Ipv4Addr::UNSPECIFIED),
                (net("224.0.0.0/4"), near),
                (net("0.0.0.0/0"), Ipv4Addr::new(198, 51, 100, 1)),
            ]));
    });
    let route = |dest: &str, prefix_len, gateway: Option<Ipv4Addr>| Route {
        dest: dest.parse().unwrap(),
        prefix_len,
        gateway,
    };
    let far = Ipv4Addr::new(198, 51, 100, 1);
    assert_eq!(
        lease.routes,
        [
            route("192.0.2.0", 24, Some(near)),
            route("203.0.113.0", 24, None),
            route("0.0.0.0", 0, Some(far)),
            // The way to a gateway that is elsewhere.
            route("198.51.100.1", 32, None),
        ]
    );
}

#[test]
fn the_other_options_are_read() {
    let name = |text: &str| text.parse::<dhcproto::Name>().unwrap();
    let resolver = Ipv4Addr::new(198, 18, 0, 53);
    let (_, lease) = bound_with(|message| {
        let options = message.opts_mut();
        options.insert(DhcpOption::InterfaceMtu(1_400));
        options.insert(DhcpOption::DomainNameServer(vec![
            Ipv4Addr::BROADCAST,
            resolver,
        ]));
        options.insert(DhcpOption::DomainName("ignored.example".to_owned()));
        options.insert(DhcpOption::DomainSearch(vec![
            name("Lab.example."),
            name("corp."),
        ]));
        options.insert(DhcpOption::Hostname("edge-7".to_owned()));
        options.insert(DhcpOption::Renewal(600));
        options.insert(DhcpOption::Rebinding(1_200));
        options.insert(DhcpOption::NtpServers(vec![resolver]));
    });
    assert_eq!((lease.mtu, lease.resolvers), (Some(1_400), vec![resolver]));
    assert_eq!(lease.search, ["lab.example", "corp"]);
    assert_eq!(lease.hostname.as_deref(), Some("edge-7"));
    assert_eq!((lease.t1.as_secs(), lease.t2.as_secs()), (600, 1_200));
    // Times that make no sense, and no mask.
    let (client, lease) = bound_with(|message| {
        let options = message.opts_mut();
        options.remove(OptionCode::SubnetMask);
        options.insert(DhcpOption::Renewal(3_000));
        options.insert(DhcpOption::Rebinding(9_999));
        options.insert(DhcpOption::AddressLeaseTime(u32::MAX));
        options.insert(DhcpOption::InterfaceMtu(20));
    });
    assert_eq!((lease.prefix_len, lease.mtu), (24, None));
    assert_eq!(client.next_timeout(), None, "for ever");
}

#[test]
fn what_is_for_another_client_is_not_heard() {
    let mut client = client();
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    let offer = answer(&discover, MessageType::Offer, SERVER);
    let mut others = offer.clone();
    others.set_chaddr(&[2, 0, 0, 0, 0, 8]);
    let mut old = offer.clone();
    old.set_xid(offer.xid() ^ 1);
    let mut echo = offer.clone();
    echo.set_opcode(Opcode::BootRequest);
    let mut nobody = offer.clone();
    nobody.set_yiaddr(Ipv4Addr::new(127, 0, 0, 1));
    let mut broadcast = offer.clone();
    broadcast.set_yiaddr(Ipv4Addr::new(198, 18, 0, 255));
    for bad in [others, old, echo, nobody, broadcast] {
        hear(&mut client, NOW, &bad);
        assert!(sent(&mut client, NOW).is_empty(), "{bad}");
    }
    let mut cookie = bytes(&offer);
    cookie[239] = 0;
    client.receive(NOW, &cookie);
    client.receive(NOW, &bytes(&offer)[..200]);
    let mut long = bytes(&offer);
    long.resize(2_000, 0);
    client.receive(NOW, &long);
    assert!(sent(&mut client, NOW).is_empty());
}
