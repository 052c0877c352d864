//! The client against servers of all kinds, in virtual time.

use super::*;
use dhcproto::v4::{self, DhcpOption, MessageType, Opcode, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};

mod hostile;

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
fn a_lease_is_renewed_at_its_server_then_at_any_then_lost() {
    let mut client = bound();
    let (to, request) = said(&mut client, secs(1_800), MessageType::Request);
    let at_server = To::Server {
        from: ADDRESS,
        server: SERVER,
    };
    assert_eq!((to, request.ciaddr()), (at_server, ADDRESS));
    assert_eq!((requested(&request), server_of(&request)), (None, None));
    assert!(!request.flags().broadcast());
    // At half of what is left each, until T2.
    let mut count = 0;
    while client.next_timeout().unwrap() < secs(3_150) {
        let now = client.next_timeout().unwrap();
        assert_eq!(said(&mut client, now, MessageType::Request).0, at_server);
        count += 1;
    }
    assert!((3..6).contains(&count), "{count}");
    let (to, request) = said(&mut client, secs(3_150), MessageType::Request);
    assert_eq!((to, request.ciaddr()), (To::Broadcast(ADDRESS), ADDRESS));
    while client.next_timeout().unwrap() < secs(3_600) {
        let now = client.next_timeout().unwrap();
        said(&mut client, now, MessageType::Request);
    }
    // It ends to the second, and the client begins anew, asking for the same address.
    client.handle_timeout(secs(3_600));
    assert_eq!(
        client.poll_event(),
        Some(Event::Lost(ADDRESS, Loss::Expired))
    );
    let (to, discover) = said(&mut client, secs(3_600), MessageType::Discover);
    assert_eq!(
        (to, requested(&discover)),
        (To::Unconfigured, Some(ADDRESS))
    );
}

#[test]
fn a_renewed_lease_counts_from_when_that_was_asked() {
    let mut client = bound();
    let (_, request) = said(&mut client, secs(1_800), MessageType::Request);
    // Another server has no say before T2.
    hear(
        &mut client,
        secs(1_801),
        &answer(&request, MessageType::Nak, OTHER),
    );
    hear(
        &mut client,
        secs(1_801),
        &answer(&request, MessageType::Ack, SERVER),
    );
    let Some(Event::Renewed(lease, since)) = client.poll_event() else {
        panic!()
    };
    assert_eq!((lease.address, since), (ADDRESS, secs(1_800)));
    assert_eq!(client.next_timeout(), Some(secs(3_600)));
    // By another one, after T2.
    while client.next_timeout().unwrap() < secs(1_800 + 3_150) {
        let now = client.next_timeout().unwrap();
        sent(&mut client, now);
    }
    let (_, request) = said(&mut client, secs(1_800 + 3_150), MessageType::Request);
    hear(
        &mut client,
        secs(5_000),
        &answer(&request, MessageType::Ack, OTHER),
    );
    let Some(Event::Renewed(lease, _)) = client.poll_event() else {
        panic!()
    };
    assert_eq!(lease.server, OTHER);
}

#[test]
fn a_refused_renewal_ends_the_lease_at_once() {
    let mut client = bound();
    let (_, request) = said(&mut client, secs(1_800), MessageType::Request);
    hear(
        &mut client,
        secs(1_801),
        &answer(&request, MessageType::Nak, SERVER),
    );
    assert_eq!(
        client.poll_event(),
        Some(Event::Lost(ADDRESS, Loss::Refused))
    );
    let (_, discover) = said(&mut client, secs(1_801), MessageType::Discover);
    assert_eq!(requested(&discover), None);
    // So does another address in its place.
    let mut client = bound();
    let (_, request) = said(&mut client, secs(1_800), MessageType::Request);
    let mut other = answer(&request, MessageType::Ack, SERVER);
    other.set_yiaddr(Ipv4Addr::new(198, 18, 0, 51));
    hear(&mut client, secs(1_801), &other);
    assert_eq!(
        client.poll_event(),
        Some(Event::Lost(ADDRESS, Loss::Replaced))
    );
}

#[test]
fn nobody_can_take_a_lease_that_is_not_being_renewed() {
    let mut client = bound();
    let (_, request) = said(&mut client, secs(1_800), MessageType::Request);
    hear(
        &mut client,
        secs(1_800),
        &answer(&request, MessageType::Ack, SERVER),
    );
    client.poll_event();
    hear(
        &mut client,
        secs(1_900),
        &answer(&request, MessageType::Nak, SERVER),
    );
    assert_eq!(client.poll_event(), None);
}

#[test]
fn after_the_link_was_down_any_server_is_asked_whether_the_lease_holds() {
    for (kind, event) in [
        (Some(MessageType::Ack), None),
        (
            Some(MessageType::Nak),
            Some(Event::Lost(ADDRESS, Loss::Refused)),
        ),
        (None, None),
    ] {
        let mut client = bound();
        assert!(!client.listens());
        client.link_changed(secs(60));
        let (to, request) = said(&mut client, secs(60), MessageType::Request);
        assert_eq!(
            (to, request.ciaddr()),
            (To::Unconfigured, Ipv4Addr::UNSPECIFIED)
        );
        assert_eq!(
            (requested(&request), server_of(&request)),
            (Some(ADDRESS), None)
        );
        assert!(client.listens());
        match kind {
            Some(kind) => hear(&mut client, secs(61), &answer(&request, kind, OTHER)),
            None => {
                while client.listens() {
                    let now = client.next_timeout().unwrap();
                    sent(&mut client, now);
                }
            }
        }
        match (client.poll_event(), event) {
            (Some(Event::Renewed(lease, since)), None) => {
                assert_eq!((lease.server, since), (OTHER, secs(60)));
            }
            (told, expected) => assert_eq!(told, expected),
        }
        if kind.is_none() {
            assert_eq!(
                client.next_timeout(),
                Some(secs(1_800)),
                "it holds as it did"
            );
        }
    }
    // A link that comes up before there is a lease changes nothing.
    let mut client = client();
    said(&mut client, NOW, MessageType::Discover);
    client.link_changed(secs(1));
    assert!(sent(&mut client, secs(1)).is_empty());
}

#[test]
fn an_address_that_somebody_has_is_declined() {
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
        &answer(&request, MessageType::Ack, SERVER),
    );
    offered(&mut client);
    client.taken(secs(1));
    assert_eq!(client.poll_event(), Some(Event::Lost(ADDRESS, Loss::Taken)));
    let (to, decline) = said(&mut client, secs(1), MessageType::Decline);
    assert_eq!(to, To::Unconfigured);
    assert_eq!(
        (requested(&decline), server_of(&decline)),
        (Some(ADDRESS), Some(SERVER))
    );
    assert!(client.next_timeout().unwrap() >= secs(11));
    let (_, discover) = said(&mut client, secs(12), MessageType::Discover);
    assert_eq!(requested(&discover), None);
}

#[test]
fn a_lease_is_given_back_at_the_end() {
    let mut client = bound();
    client.release(secs(100));
    let (to, release) = said(&mut client, secs(100), MessageType::Release);
    assert_eq!(
        to,
        To::Server {
            from: ADDRESS,
            server: SERVER
        }
    );
    assert_eq!(
        (release.ciaddr(), server_of(&release)),
        (ADDRESS, Some(SERVER))
    );
    assert_eq!(client.next_timeout(), None);
    // Without a lease there is nothing to give back.
    let mut client = self::client();
    sent(&mut client, NOW);
    client.release(secs(1));
    assert!(sent(&mut client, secs(1)).is_empty());
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
