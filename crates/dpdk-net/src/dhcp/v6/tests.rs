//! The client against servers of all kinds, in virtual time.

use dhcproto::v6::{self, DhcpOption, IAAddr, IANA, OptionCode, Status, StatusCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use proptest::prelude::*;

use super::*;

mod extending;
mod times;

const MAC: dpdk_net_packet::MacAddr = dpdk_net_packet::MacAddr([2, 0, 0, 0, 0, 7]);
const NOW: Instant = Instant::from_secs(1_000);
const SERVER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
const OTHER: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 2];
/// From the MAC address.
const ASSOCIATION: u32 = 7;

fn address() -> Ipv6Addr {
    "fd00:7::50".parse().unwrap()
}

fn client_of(config: Config) -> (Client, Instant) {
    let client = Client::new(Config { mac: MAC, ..config }, 7, NOW);
    let begin = client.next_timeout().unwrap();
    assert!(begin < NOW + FIRST_DELAY);
    (client, begin)
}

fn sent(client: &mut Client, now: Instant) -> Vec<v6::Message> {
    client.handle_timeout(now);
    std::iter::from_fn(|| client.poll_transmit())
        .map(|bytes| v6::Message::decode(&mut Decoder::new(&bytes)).unwrap())
        .collect()
}

/// The one message that it has sent, which is of this kind.
fn said(client: &mut Client, now: Instant, kind: MessageType) -> v6::Message {
    let mut all = sent(client, now);
    assert_eq!(all.len(), 1, "{all:?}");
    let message = all.remove(0);
    assert_eq!(message.msg_type(), kind);
    let id = DhcpOption::ClientId(vec![0, 3, 0, 1, 2, 0, 0, 0, 0, 7]);
    assert_eq!(message.opts().get(OptionCode::ClientId), Some(&id));
    message
}

fn server_of(message: &v6::Message) -> Option<&[u8]> {
    match message.opts().get(OptionCode::ServerId) {
        Some(DhcpOption::ServerId(id)) => Some(id),
        _ => None,
    }
}

/// The addresses that a message names.
fn named(message: &v6::Message) -> Vec<Ipv6Addr> {
    let Some(DhcpOption::IANA(own)) = message.opts().get(OptionCode::IANA) else {
        return Vec::new();
    };
    assert_eq!(own.id, ASSOCIATION);
    let addresses = own.opts.iter().filter_map(|option| match option {
        DhcpOption::IAAddr(told) => Some(told.addr),
        _ => None,
    });
    addresses.collect()
}

fn status(status: Status) -> DhcpOption {
    DhcpOption::StatusCode(StatusCode {
        status,
        msg: String::new(),
    })
}

fn association(options: impl IntoIterator<Item = DhcpOption>) -> DhcpOption {
    DhcpOption::IANA(IANA {
        id: ASSOCIATION,
        t1: 1_800,
        t2: 2_880,
        opts: options.into_iter().collect(),
    })
}

fn granted(addr: Ipv6Addr, preferred: u32, valid: u32) -> DhcpOption {
    DhcpOption::IAAddr(IAAddr {
        addr,
        preferred_life: preferred,
        valid_life: valid,
        opts: v6::DhcpOptions::new(),
    })
}

/// What a server answers, with these options beside the identifiers.
fn answer_with(
    to: &v6::Message,
    kind: MessageType,
    server: &[u8],
    options: impl IntoIterator<Item = DhcpOption>,
) -> v6::Message {
    let mut message = v6::Message::new_with_id(kind, to.xid());
    let own = message.opts_mut();
    own.insert(to.opts().get(OptionCode::ClientId).unwrap().clone());
    own.insert(DhcpOption::ServerId(server.to_vec()));
    options.into_iter().for_each(|option| own.insert(option));
    message
}

/// An address for an hour and two.
fn answer(to: &v6::Message, kind: MessageType, server: &[u8]) -> v6::Message {
    let grant = granted(address(), 3_600, 7_200);
    answer_with(to, kind, server, [association([grant])])
}

fn bytes(message: &v6::Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes)).unwrap();
    bytes
}

fn hear(client: &mut Client, now: Instant, message: &v6::Message) {
    client.receive(now, &bytes(message));
}

/// A client with an address, and when it asked for that.
fn bound() -> (Client, Instant) {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    hear(
        &mut client,
        begin,
        &answer(&solicit, MessageType::Advertise, SERVER),
    );
    let now = client.next_timeout().unwrap();
    let request = said(&mut client, now, MessageType::Request);
    hear(
        &mut client,
        now,
        &answer(&request, MessageType::Reply, SERVER),
    );
    assert!(matches!(client.poll_event(), Some(Event::Offered(..))));
    client.confirmed();
    (client, now)
}

#[test]
fn an_address_is_had_in_four_messages_of_the_server_that_is_preferred() {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    assert!(solicit.opts().get(OptionCode::RapidCommit).is_some());
    hear(
        &mut client,
        begin,
        &answer(&solicit, MessageType::Advertise, OTHER),
    );
    let mut better = answer(&solicit, MessageType::Advertise, SERVER);
    better.opts_mut().insert(DhcpOption::Preference(9));
    hear(&mut client, begin, &better);
    hear(
        &mut client,
        begin,
        &answer(&solicit, MessageType::Advertise, OTHER),
    );
    // All have the first round to answer, which is a second and up to a tenth.
    let now = client.next_timeout().unwrap();
    let round = now.saturating_duration_since(begin).as_millis();
    assert!((1_000..=1_100).contains(&round), "{round}");
    assert!(sent(&mut client, begin).is_empty());
    let request = said(&mut client, now, MessageType::Request);
    assert_eq!(
        (server_of(&request), named(&request)),
        (Some(SERVER), vec![address()])
    );
    hear(
        &mut client,
        now,
        &answer(&request, MessageType::Reply, OTHER),
    );
    assert_eq!(client.poll_event(), None);
    hear(
        &mut client,
        now,
        &answer(&request, MessageType::Reply, SERVER),
    );
    let Some(Event::Offered(lease, since)) = client.poll_event() else {
        panic!()
    };
    let expected = Address {
        address: address(),
        preferred: Duration::from_secs(3_600),
        valid: Duration::from_secs(7_200),
    };
    assert_eq!((lease.addresses, since), (vec![expected], now));
    client.confirmed();
    assert_eq!(
        client.next_timeout(),
        Some(now + Duration::from_secs(1_800))
    );
}

#[test]
fn the_highest_preference_and_rapid_commit_are_taken_at_once() {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    let mut best = answer(&solicit, MessageType::Advertise, SERVER);
    best.opts_mut().insert(DhcpOption::Preference(255));
    hear(&mut client, begin, &best);
    said(&mut client, begin, MessageType::Request);

    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    let mut reply = answer(&solicit, MessageType::Reply, SERVER);
    hear(&mut client, begin, &reply);
    assert_eq!(client.poll_event(), None, "it has to say that it is one");
    reply.opts_mut().insert(DhcpOption::RapidCommit);
    hear(&mut client, begin, &reply);
    assert!(matches!(client.poll_event(), Some(Event::Offered(..))));
}

#[test]
fn what_has_nothing_to_give_is_passed_over() {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    let bad = |addr: &str, preferred, valid| {
        association([granted(addr.parse().unwrap(), preferred, valid)])
    };
    for option in [
        status(Status::NoAddrsAvail),
        association([status(Status::NoAddrsAvail)]),
        bad("ff02::1", 3_600, 7_200),
        bad("fe80::1", 3_600, 7_200),
        bad("::1", 3_600, 7_200),
        bad("fd00:7::50", 7_200, 3_600),
        bad("fd00:7::50", 5, 5),
        DhcpOption::IANA(IANA {
            id: ASSOCIATION + 1,
            t1: 0,
            t2: 0,
            opts: [granted(address(), 3_600, 7_200)].into_iter().collect(),
        }),
    ] {
        let message = answer_with(&solicit, MessageType::Advertise, SERVER, [option]);
        hear(&mut client, begin, &message);
    }
    let now = client.next_timeout().unwrap();
    let again = said(&mut client, now, MessageType::Solicit);
    assert_eq!(again.xid(), solicit.xid());
    // After the first round the first that serves is taken.
    hear(
        &mut client,
        now,
        &answer(&again, MessageType::Advertise, OTHER),
    );
    said(&mut client, now, MessageType::Request);
}

#[test]
fn servers_are_asked_for_ever_more_rarely_and_one_that_is_silent_ten_times() {
    let (mut client, mut now) = client_of(Config::new());
    let mut wait = 1.0;
    for _ in 0..16 {
        said(&mut client, now, MessageType::Solicit);
        let next = client.next_timeout().unwrap();
        let waited = next.saturating_duration_since(now).as_secs_f64();
        assert!(
            waited >= wait * 0.85 && waited <= 3_960.0,
            "{waited} after {wait}"
        );
        wait = (waited * 2.0).min(3_600.0);
        now = next;
    }
    assert!(wait >= 3_600.0);
    let solicit = said(&mut client, now, MessageType::Solicit);
    hear(
        &mut client,
        now,
        &answer(&solicit, MessageType::Advertise, SERVER),
    );
    for _ in 0..10 {
        said(&mut client, now, MessageType::Request);
        now = client.next_timeout().unwrap();
    }
    assert!(sent(&mut client, now).is_empty());
    said(&mut client, now, MessageType::Solicit);
}

#[test]
fn a_lease_is_renewed_then_rebound_then_lost() {
    let (mut client, since) = bound();
    let after = |secs| since + Duration::from_secs(secs);
    let renew = said(&mut client, after(1_800), MessageType::Renew);
    assert_eq!(
        (server_of(&renew), named(&renew)),
        (Some(SERVER), vec![address()])
    );
    while client.next_timeout().unwrap() < after(2_880) {
        let now = client.next_timeout().unwrap();
        said(&mut client, now, MessageType::Renew);
    }
    let rebind = said(&mut client, after(2_880), MessageType::Rebind);
    assert_eq!(
        (server_of(&rebind), named(&rebind)),
        (None, vec![address()])
    );
    while client.next_timeout().unwrap() < after(7_200) {
        let now = client.next_timeout().unwrap();
        said(&mut client, now, MessageType::Rebind);
    }
    client.handle_timeout(after(7_200));
    let lost = Event::Lost(vec![address()], Loss::Expired);
    assert_eq!(client.poll_event(), Some(lost));
    said(&mut client, after(7_200), MessageType::Solicit);
}

#[test]
fn a_renewed_lease_counts_from_when_that_was_asked() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    hear(&mut client, now, &answer(&renew, MessageType::Reply, OTHER));
    assert_eq!(client.poll_event(), None);
    hear(
        &mut client,
        now + Duration::from_secs(3),
        &answer(&renew, MessageType::Reply, SERVER),
    );
    let Some(Event::Renewed(_, asked)) = client.poll_event() else {
        panic!()
    };
    assert_eq!(asked, now);
    assert_eq!(
        client.next_timeout(),
        Some(now + Duration::from_secs(1_800))
    );
}

#[test]
fn a_server_that_renumbers_withdraws_an_address_and_grants_another() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    let new: Ipv6Addr = "fd00:8::50".parse().unwrap();
    let both = association([granted(address(), 0, 0), granted(new, 3_600, 7_200)]);
    let reply = answer_with(&renew, MessageType::Reply, SERVER, [both]);
    hear(&mut client, now, &reply);
    let Some(Event::Renewed(lease, _)) = client.poll_event() else {
        panic!()
    };
    assert_eq!(
        (lease.withdrawn, lease.addresses[0].address),
        (vec![address()], new)
    );
}

#[test]
fn a_server_that_has_forgotten_us_is_asked_again() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    let none = association([status(Status::NoBinding)]);
    hear(
        &mut client,
        now,
        &answer_with(&renew, MessageType::Reply, SERVER, [none]),
    );
    let request = said(&mut client, now, MessageType::Request);
    assert_eq!(
        (server_of(&request), named(&request)),
        (Some(SERVER), vec![address()])
    );
    hear(
        &mut client,
        now,
        &answer(&request, MessageType::Reply, SERVER),
    );
    assert!(matches!(client.poll_event(), Some(Event::Renewed(..))));
}

#[test]
fn an_address_that_somebody_has_is_declined() {
    let (mut client, since) = bound();
    client.taken(since, "fd00::1".parse().unwrap());
    assert_eq!(client.poll_event(), None, "none of ours");
    client.taken(since, address());
    let decline = said(&mut client, since, MessageType::Decline);
    assert_eq!(
        (server_of(&decline), named(&decline)),
        (Some(SERVER), vec![address()])
    );
    let lost = Event::Lost(vec![address()], Loss::Taken);
    assert_eq!(client.poll_event(), Some(lost));
    let now = client.next_timeout().unwrap();
    assert!(now > since + Duration::from_secs(1));
    said(&mut client, now, MessageType::Solicit);
}

#[test]
fn a_lease_is_given_back_at_the_end() {
    let (mut client, since) = bound();
    client.release(since);
    let release = said(&mut client, since, MessageType::Release);
    assert_eq!(
        (server_of(&release), named(&release)),
        (Some(SERVER), vec![address()])
    );
    assert_eq!(client.next_timeout(), None);
}

#[test]
fn settings_alone_are_asked_for_and_asked_for_anew() {
    let (mut client, begin) = client_of(Config::new().mode(Mode::Stateless));
    let asked = said(&mut client, begin, MessageType::InformationRequest);
    assert!(asked.opts().get(OptionCode::IANA).is_none());
    let resolver: Ipv6Addr = "fd00:7::53".parse().unwrap();
    let mut reply = answer_with(
        &asked,
        MessageType::Reply,
        SERVER,
        [
            DhcpOption::DomainNameServers(vec!["ff02::1".parse().unwrap(), resolver]),
            DhcpOption::DomainSearchList(vec!["Lab.example.".parse().unwrap()]),
        ],
    );
    hear(&mut client, begin, &reply);
    let settings = Settings {
        resolvers: vec![resolver],
        search: vec!["lab.example".to_owned()],
    };
    assert_eq!(client.poll_event(), Some(Event::Told(settings)));
    assert_eq!(
        client.next_timeout(),
        Some(begin + Duration::from_secs(86_400))
    );
    // As often as the server says, but for ten minutes not.
    let now = begin + Duration::from_secs(86_400);
    let again = said(&mut client, now, MessageType::InformationRequest);
    reply.set_xid(again.xid());
    let mut short = bytes(&reply);
    short.extend([0, 32, 0, 4, 0, 0, 0, 9]);
    client.receive(now, &short);
    assert!(client.poll_event().is_some());
    assert_eq!(client.next_timeout(), Some(now + Duration::from_secs(600)));
}

#[test]
fn what_is_for_another_client_is_not_heard() {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    let good = answer(&solicit, MessageType::Advertise, SERVER);
    let mut old = good.clone();
    old.set_xid([good.xid()[0] ^ 1, 0, 0]);
    let mut others = good.clone();
    others.opts_mut().remove(OptionCode::ClientId);
    let mut nobody = good.clone();
    nobody.opts_mut().remove(OptionCode::ServerId);
    let mut echo = good.clone();
    echo.set_msg_type(MessageType::Solicit);
    for bad in [old, others.clone(), nobody, echo] {
        hear(&mut client, begin, &bad);
    }
    others
        .opts_mut()
        .insert(DhcpOption::ClientId(vec![0, 3, 0, 1, 9]));
    hear(&mut client, begin, &others);
    client.receive(begin, &[]);
    client.receive(begin, &[2, 0]);
    let mut long = bytes(&good);
    long.resize(2_000, 0);
    client.receive(begin, &long);
    let now = client.next_timeout().unwrap();
    said(&mut client, now, MessageType::Solicit);
    assert!(Config::new().duid([1, 2]).check().is_err());
}

fn any_option() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![
        Just(1u16),
        Just(2),
        Just(3),
        Just(5),
        Just(7),
        Just(9),
        Just(13),
        Just(14),
        Just(17),
        Just(23),
        Just(24),
        Just(32),
        Just(56),
        any::<u16>()
    ];
    let value = proptest::collection::vec(any::<u8>(), 0..60);
    (code, value, -3i32..3).prop_map(|(code, value, off)| {
        let len = (value.len() as i32 + if off.abs() == 2 { off } else { 0 }).max(0) as u16;
        let mut option = code.to_be_bytes().to_vec();
        option.extend(len.to_be_bytes());
        option.extend(value);
        option
    })
}

proptest! {
    /// Whatever a server says: nothing breaks, and an address that is ours by that can be one.
    #[test]
    fn hostile_messages_do_no_harm(
        messages in proptest::collection::vec(
            (any::<bool>(), any::<bool>(), proptest::collection::vec(any_option(), 0..8), any::<[u8; 24]>()),
            1..8,
        )
    ) {
        let (mut client, mut now) = client_of(Config::new());
        for (reply, grants, options, told) in messages {
            now = client.next_timeout().map_or(now, |at| at.max(now));
            client.handle_timeout(now);
            let Some(asked) = client.poll_transmit() else {
                continue;
            };
            let asked = v6::Message::decode(&mut Decoder::new(&asked)).unwrap();
            let kind = if reply { MessageType::Reply } else { MessageType::Advertise };
            let mut bytes = self::bytes(&answer_with(&asked, kind, SERVER, []));
            for option in options {
                bytes.extend(option);
            }
            if grants {
                // An association, and in it an address: of any bytes.
                bytes.extend([0, 3, 0, 40, 0, 0, 0, ASSOCIATION as u8, 0, 0, 7, 8, 0, 0, 11, 64]);
                bytes.extend([0, 5, 0, 24]);
                bytes.extend(told);
            }
            client.receive(now, &bytes);
            while let Some(event) = client.poll_event() {
                if let Event::Offered(lease, _) | Event::Renewed(lease, _) = event {
                    prop_assert!(!lease.addresses.is_empty() && lease.addresses.len() <= 4);
                    prop_assert!(lease.t1 <= lease.t2 && lease.t1 >= Duration::from_secs(1));
                    for it in lease.addresses {
                        prop_assert!(!it.address.is_multicast() && !it.address.is_loopback());
                        prop_assert!(it.preferred <= it.valid);
                    }
                    client.confirmed();
                }
            }
        }
    }

    /// Options in options in options.
    #[test]
    fn nesting_does_no_harm(code in prop_oneof![Just(3u16), Just(5), Just(9), Just(17)], depth in 1usize..90) {
        let (mut client, begin) = client_of(Config::new());
        let solicit = said(&mut client, begin, MessageType::Solicit);
        let mut inner: Vec<u8> = Vec::new();
        for _ in 0..depth {
            let mut option = code.to_be_bytes().to_vec();
            option.extend((inner.len() as u16 + 12).to_be_bytes());
            option.extend([0, 0, 0, ASSOCIATION as u8, 0, 0, 7, 8, 0, 0, 11, 64]);
            option.extend(inner);
            inner = option;
        }
        let mut bytes = bytes(&answer_with(&solicit, MessageType::Advertise, SERVER, []));
        bytes.extend(inner);
        client.receive(begin, &bytes);
    }
}
