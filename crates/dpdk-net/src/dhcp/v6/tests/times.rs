//! When a lease is renewed, whatever servers say of it.

use super::*;

fn grant_with(
    to: &v6::Message,
    kind: MessageType,
    (t1, t2): (u32, u32),
    lifetimes: &[(u32, u32)],
) -> v6::Message {
    let addresses = lifetimes
        .iter()
        .zip(0x50..)
        .map(|((preferred, valid), at)| {
            let addr = Ipv6Addr::new(0xfd00, 7, 0, 0, 0, 0, 0, at);
            granted(addr, *preferred, *valid)
        });
    let own = DhcpOption::IANA(IANA {
        id: ASSOCIATION,
        t1,
        t2,
        opts: addresses.collect(),
    });
    answer_with(to, kind, SERVER, [own])
}

/// T1 and T2 of a lease with these times and lifetimes, in seconds; `None` if it is none.
fn times_of(told: (u32, u32), lifetimes: &[(u32, u32)]) -> Option<(Duration, Duration)> {
    let (mut client, begin) = client_of(Config::new());
    let solicit = said(&mut client, begin, MessageType::Solicit);
    let advertise = answer(&solicit, MessageType::Advertise, SERVER);
    hear(&mut client, begin, &advertise);
    let now = client.next_timeout().unwrap();
    let request = said(&mut client, now, MessageType::Request);
    let reply = grant_with(&request, MessageType::Reply, told, lifetimes);
    hear(&mut client, now, &reply);
    match client.poll_event() {
        Some(Event::Offered(lease, _)) => Some((lease.t1, lease.t2)),
        other => {
            assert_eq!(other, None);
            None
        }
    }
}

#[test]
fn what_the_server_tells_is_what_holds_and_zero_is_ours_to_choose() {
    const HOUR: &[(u32, u32)] = &[(3_600, 7_200)];
    const EVER: u32 = u32::MAX;
    for (told, lifetimes, expected) in [
        ((1_000, 2_000), HOUR, Some((1_000, 2_000))),
        // However short: a second is what is told.
        ((1, 1), HOUR, Some((1, 1))),
        ((0, 0), HOUR, Some((1_800, 2_880))),
        ((1_000, 0), HOUR, Some((1_000, 2_880))),
        ((3_000, 0), HOUR, Some((3_000, 3_000))),
        ((0, 1_000), HOUR, Some((1_000, 1_000))),
        ((0, 7_000), HOUR, Some((1_800, 7_000))),
        // It would end before.
        ((8_000, 9_000), HOUR, Some((1_800, 2_880))),
        // As if it were not there.
        ((2_000, 1_000), HOUR, None),
        // The shortest, but for one that is deprecated already.
        ((0, 0), &[(3_600, 7_200), (600, 7_200)], Some((300, 480))),
        ((0, 0), &[(3_600, 7_200), (0, 7_200)], Some((1_800, 2_880))),
        ((0, 0), &[(0, 7_200)], Some((3_600, 5_760))),
        // Never at once.
        ((0, 0), &[(1, 7_200)], Some((10, 10))),
        ((0, 0), &[(2, 12)], Some((6, 6))),
        ((0, 0), &[(EVER, EVER)], Some((u64::MAX, u64::MAX))),
    ] {
        let duration = |secs| match secs {
            u64::MAX => Duration::MAX,
            secs => Duration::from_secs(secs),
        };
        let expected = expected.map(|(t1, t2)| (duration(t1), duration(t2)));
        assert_eq!(
            times_of(told, lifetimes),
            expected,
            "{told:?} {lifetimes:?}"
        );
    }
}

#[test]
fn no_server_makes_a_storm() {
    let (mut client, since) = bound();
    let begin = since + Duration::from_secs(1_800);
    let mut now = begin;
    let mut said = 0;
    // It forgets us each time, and has us renew after a second.
    while now < begin + Duration::from_secs(100) {
        client.handle_timeout(now);
        while let Some(message) = client.poll_transmit() {
            said += 1;
            let message = v6::Message::decode(&mut Decoder::new(&message)).unwrap();
            let reply = match message.msg_type() {
                MessageType::Renew => {
                    let none = association([status(Status::NoBinding)]);
                    answer_with(&message, MessageType::Reply, SERVER, [none])
                }
                _ => grant_with(&message, MessageType::Reply, (1, 2), &[(3_600, 7_200)]),
            };
            hear(&mut client, now, &reply);
        }
        while let Some(event) = client.poll_event() {
            assert!(matches!(event, Event::Renewed(..)), "{event:?}");
        }
        now = client.next_timeout().unwrap().max(now);
    }
    assert!((80..=120).contains(&said), "{said}");
}
