//! What servers say when a lease is to be extended.

use super::*;

fn none_for(to: &v6::Message, server: &[u8]) -> v6::Message {
    let none = association([status(Status::NoBinding)]);
    answer_with(to, MessageType::Reply, server, [none])
}

/// A client that asks any server, and its message.
fn rebinding() -> (Client, Instant, v6::Message) {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(2_880);
    sent(&mut client, now);
    let rebind = said(&mut client, now, MessageType::Rebind);
    (client, now, rebind)
}

#[test]
fn the_last_address_that_is_withdrawn_goes_at_once() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    let gone = association([granted(address(), 0, 0)]);
    let reply = answer_with(&renew, MessageType::Reply, SERVER, [gone]);
    hear(&mut client, now, &reply);
    let lost = Event::Lost(vec![address()], Loss::Withdrawn);
    assert_eq!(client.poll_event(), Some(lost));
    said(&mut client, now, MessageType::Solicit);
}

#[test]
fn of_two_addresses_the_one_that_is_not_withdrawn_goes_on() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    let second: Ipv6Addr = "fd00:7::51".parse().unwrap();
    let both = [address(), second].map(|addr| granted(addr, 3_600, 7_200));
    let reply = answer_with(&renew, MessageType::Reply, SERVER, [association(both)]);
    hear(&mut client, now, &reply);
    assert!(matches!(client.poll_event(), Some(Event::Renewed(..))));

    let later = now + Duration::from_secs(1_800);
    let renew = said(&mut client, later, MessageType::Renew);
    let gone = association([granted(second, 0, 0)]);
    let reply = answer_with(&renew, MessageType::Reply, SERVER, [gone]);
    hear(&mut client, later, &reply);
    let Some(Event::Renewed(lease, asked)) = client.poll_event() else {
        panic!()
    };
    assert_eq!((lease.withdrawn, asked), (vec![second], now));
    assert_eq!(lease.addresses.len(), 1);
    // It is not renewed by that: it is asked for on.
    let next = client.next_timeout().unwrap();
    let renew = said(&mut client, next, MessageType::Renew);
    assert_eq!(named(&renew), [address()]);
}

#[test]
fn the_server_that_answers_for_another_is_asked_and_heard() {
    let (mut client, now, rebind) = rebinding();
    hear(&mut client, now, &none_for(&rebind, OTHER));
    let request = said(&mut client, now, MessageType::Request);
    assert_eq!(server_of(&request), Some(OTHER));
    let again = client.next_timeout().unwrap();
    let request = said(&mut client, again, MessageType::Request);
    assert_eq!(server_of(&request), Some(OTHER), "the same when sent again");
    hear(
        &mut client,
        again,
        &answer(&request, MessageType::Reply, SERVER),
    );
    assert_eq!(client.poll_event(), None, "it was not asked");
    hear(
        &mut client,
        again,
        &answer(&request, MessageType::Reply, OTHER),
    );
    let Some(Event::Renewed(lease, _)) = client.poll_event() else {
        panic!()
    };
    assert_eq!(lease.server, OTHER);
}

#[test]
fn a_server_that_has_no_binding_is_not_asked_at_the_rate_of_its_answers() {
    let (mut client, mut now, rebind) = rebinding();
    hear(&mut client, now, &none_for(&rebind, OTHER));
    for _ in 0..10 {
        let request = said(&mut client, now, MessageType::Request);
        hear(&mut client, now, &none_for(&request, OTHER));
        assert!(sent(&mut client, now).is_empty());
        let next = client.next_timeout().unwrap();
        assert!(next >= now + Duration::from_millis(900));
        now = next;
    }
    // It is asked no more: any other may have a binding.
    said(&mut client, now, MessageType::Rebind);
}

#[test]
fn an_address_of_no_use_here_is_given_back_and_not_declined() {
    let (mut client, since) = bound();
    client.unusable(since, &["fd00::1".parse().unwrap()]);
    assert!(sent(&mut client, since).is_empty(), "none of ours");
    client.unusable(since, &[address()]);
    let release = said(&mut client, since, MessageType::Release);
    let about = (server_of(&release), named(&release));
    assert_eq!(about, (Some(SERVER), vec![address()]));
    let lost = Event::Lost(vec![address()], Loss::Unusable);
    assert_eq!(client.poll_event(), Some(lost));
    assert!(client.next_timeout().unwrap() > since + Duration::from_secs(1));
}

#[test]
fn an_address_of_no_use_here_leaves_the_others() {
    let (mut client, since) = bound();
    let now = since + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    let second: Ipv6Addr = "fd00:7::51".parse().unwrap();
    let both = [address(), second].map(|addr| granted(addr, 3_600, 7_200));
    let reply = answer_with(&renew, MessageType::Reply, SERVER, [association(both)]);
    hear(&mut client, now, &reply);
    assert!(matches!(client.poll_event(), Some(Event::Renewed(..))));
    client.unusable(now, &[second]);
    let release = said(&mut client, now, MessageType::Release);
    assert_eq!(named(&release), [second]);
    assert_eq!(client.poll_event(), None);
    let now = now + Duration::from_secs(1_800);
    let renew = said(&mut client, now, MessageType::Renew);
    assert_eq!(named(&renew), [address()]);
}

#[test]
fn after_the_link_was_down_the_addresses_are_confirmed() {
    for (answered, verdict) in [
        (true, Status::Success),
        (true, Status::NotOnLink),
        (false, Status::Success),
    ] {
        let (mut client, since) = bound();
        client.link_changed(since + Duration::from_secs(60));
        let now = client.next_timeout().unwrap();
        assert!(now < since + Duration::from_millis(60_100));
        let confirm = said(&mut client, now, MessageType::Confirm);
        assert_eq!(
            (server_of(&confirm), named(&confirm)),
            (None, vec![address()])
        );
        if answered {
            let reply = answer_with(&confirm, MessageType::Reply, OTHER, [status(verdict)]);
            hear(&mut client, now, &reply);
        } else {
            while client.next_timeout().unwrap() < now + CONFIRM_FOR {
                let now = client.next_timeout().unwrap();
                said(&mut client, now, MessageType::Confirm);
            }
            client.handle_timeout(now + CONFIRM_FOR);
        }
        if verdict == Status::NotOnLink {
            let lost = Event::Lost(vec![address()], Loss::NotOnLink);
            assert_eq!(client.poll_event(), Some(lost));
            said(&mut client, now, MessageType::Solicit);
        } else {
            assert_eq!(client.poll_event(), None);
            assert_eq!(
                client.next_timeout(),
                Some(since + Duration::from_secs(1_800))
            );
        }
    }
}

#[test]
fn where_nobody_has_answered_yet_another_link_is_asked_at_once() {
    let (mut client, mut now) = client_of(Config::new());
    for _ in 0..8 {
        said(&mut client, now, MessageType::Solicit);
        now = client.next_timeout().unwrap();
    }
    let up = now - Duration::from_secs(50);
    client.link_changed(up);
    let next = client.next_timeout().unwrap();
    assert!(next < up + FIRST_DELAY);
    said(&mut client, next, MessageType::Solicit);
    assert!(client.next_timeout().unwrap() < up + Duration::from_secs(2));
}
