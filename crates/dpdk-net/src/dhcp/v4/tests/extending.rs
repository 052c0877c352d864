//! A lease once it is had: renewed, confirmed, lost, declined and given back.

use super::*;

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
    // Where nobody has answered yet it is begun with anew, at once.
    let mut client = client();
    while client.next_timeout().unwrap() < secs(200) {
        let now = client.next_timeout().unwrap();
        said(&mut client, now, MessageType::Discover);
    }
    client.link_changed(secs(200));
    said(&mut client, secs(200), MessageType::Discover);
    assert!(client.next_timeout().unwrap() < secs(206));
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
fn no_server_has_it_renew_all_the_time() {
    for (valid, told) in [
        (10, None),
        (10, Some((0, 0))),
        (3_600, Some((0, 1))),
        (3_600, Some((1, 2))),
    ] {
        let (mut client, lease) = bound_with(|message| {
            let options = message.opts_mut();
            options.insert(DhcpOption::AddressLeaseTime(valid));
            if let Some((t1, t2)) = told {
                options.insert(DhcpOption::Renewal(t1));
                options.insert(DhcpOption::Rebinding(t2));
            }
        });
        let valid = Duration::from_secs(valid.into());
        assert_eq!((lease.t1, lease.t2), (valid / 2, valid * 7 / 8));
        assert!(client.next_timeout().unwrap() >= secs(5));
        said(&mut client, NOW + lease.t1, MessageType::Request);
    }
    // What is told is taken where it can be.
    let (_, lease) = bound_with(|message| {
        let options = message.opts_mut();
        options.insert(DhcpOption::Renewal(5));
        options.insert(DhcpOption::Rebinding(6));
    });
    assert_eq!(
        (lease.t1, lease.t2),
        (Duration::from_secs(5), Duration::from_secs(6))
    );
}

#[test]
fn an_address_of_no_use_here_is_given_back_and_not_declined() {
    let mut client = client();
    let mut now = NOW;
    for wait in [10, 10, 10, 15, 31, 63] {
        let (_, discover) = said(&mut client, now, MessageType::Discover);
        assert_eq!(requested(&discover), None);
        let offer = answer(&discover, MessageType::Offer, SERVER);
        hear(&mut client, now, &offer);
        let (_, request) = said(&mut client, now, MessageType::Request);
        let ack = answer(&request, MessageType::Ack, SERVER);
        hear(&mut client, now, &ack);
        offered(&mut client);
        client.unusable(now);
        let lost = Event::Lost(ADDRESS, Loss::Unusable);
        assert_eq!(client.poll_event(), Some(lost));
        let (to, release) = said(&mut client, now, MessageType::Release);
        // Nothing is sent from an address that the stack does not have.
        assert_eq!((to, release.ciaddr()), (To::Unconfigured, ADDRESS));
        let about = (requested(&release), server_of(&release));
        assert_eq!(about, (None, Some(SERVER)));
        let next = client.next_timeout().unwrap();
        assert!(next >= now + Duration::from_secs(wait), "{wait}");
        now = next;
    }
    // Without a lease there is nothing to give back.
    client.unusable(now);
    assert_eq!(client.poll_event(), None);
}
