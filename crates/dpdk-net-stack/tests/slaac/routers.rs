//! Routers: asked for, chosen among, followed by all workers; and what they say of the link.

use super::*;

#[test]
fn the_mtu_is_taken_within_bounds_and_for_its_family_alone() {
    let mut stack = Stack::new(
        bare(|config| config.addresses = vec!["198.18.0.1/24".parse().unwrap()]),
        NOW,
    )
    .unwrap();
    stack
        .set_neighbor(Neighbor::new(ip("198.18.0.2"), mac(2)))
        .unwrap();
    stack
        .set_neighbor(Neighbor::new(ip("fd00:7::2"), mac(2)))
        .unwrap();
    let fragments = |stack: &mut Stack, to: &str| {
        let to = std::net::SocketAddr::new(ip(to), 9);
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let id = stack.udp_bind(UdpOptions::new(family.any(0))).unwrap();
        stack.udp_send(NOW, id, &[0; 1_400], Some(to)).unwrap();
        stack.udp_close(id);
        sent(stack, NOW)
            .iter()
            .filter(|frame| frame.len() > 100)
            .count()
    };
    let prefix = |mtu| ra(ROUTER).prefix("fd00:7::/64", 7_200, 3_600).mtu(mtu);
    stack.set_ipv4_mtu(0, Some(9_000)).unwrap();
    assert_eq!(fragments(&mut stack, "198.18.0.2"), 1);
    stack.set_ipv4_mtu(0, Some(1_000)).unwrap();
    assert_eq!(fragments(&mut stack, "198.18.0.2"), 2);
    stack.set_ipv4_mtu(0, Some(100)).unwrap();
    for (mtu, expected) in [(9_000, 1), (1_279, 1), (0, 1), (1_280, 2), (u32::MAX, 1)] {
        hear(&mut stack, NOW, &prefix(mtu));
        sent(&mut stack, NOW);
        assert_eq!(fragments(&mut stack, "fd00:7::2"), expected, "{mtu}");
        assert_eq!(fragments(&mut stack, "198.18.0.2"), 1);
    }
}

#[test]
fn routers_are_asked_for_ever_more_rarely_until_one_answers() {
    let mut config = bare(|_| {});
    config.dad = true;
    let mut stack = Stack::new(config, NOW).unwrap();
    let asked = solicitations(&run(&mut stack, secs(4 * 3_600)));
    // The first before the link-local address may be used.
    assert_eq!((asked[0].1, asked[0].2), (ip("::"), 8));
    assert!(asked[0].0 < NOW + Duration::from_millis(100));
    assert_eq!((asked[1].1, asked[1].2), (ip("fe80::ff:fe00:1"), 16));
    let mut expected = 4.0;
    for pair in asked.windows(2) {
        let wait = pair[1].0.saturating_duration_since(pair[0].0).as_secs_f64();
        assert!(
            (expected * 0.9..=expected * 1.1).contains(&wait),
            "{wait} for {expected}"
        );
        expected = (expected * 2.0).min(3_600.0);
    }
    assert!(asked.len() >= 12);
    let now = secs(4 * 3_600);
    // One that is no default router answers nothing.
    hear(
        &mut stack,
        now,
        &Ra {
            lifetime: 0,
            ..ra(ROUTER)
        },
    );
    let more = solicitations(&run(&mut stack, now + Duration::from_secs(4_000)));
    assert_eq!(more.len(), 1);
    let now = now + Duration::from_secs(4_000);
    hear(&mut stack, now, &ra(ROUTER));
    assert_eq!(
        solicitations(&run(&mut stack, now + Duration::from_secs(1_799))),
        []
    );
    // Its time is over: all begins anew.
    let again = solicitations(&run(&mut stack, now + Duration::from_secs(1_810)));
    assert_eq!(again.len(), 2);
}

#[test]
fn of_several_routers_the_preferred_one_that_answers_is_taken() {
    let mut stack = stack();
    let low = Ra {
        flags: 0x18,
        ..ra("fe80::1").own_mac()
    };
    let medium = ra("fe80::2").own_mac();
    let high = Ra {
        flags: 0x08,
        ..ra("fe80::3").own_mac()
    };
    hear(
        &mut stack,
        NOW,
        &low.clone().prefix("fd00:7::/64", 86_400, 86_400),
    );
    for (ra, best) in [(&low, &low), (&high, &high), (&medium, &high)] {
        hear(&mut stack, NOW, ra);
        assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(best.mac));
    }
    // The one in use does not answer any more: it is asked whether it is there, in vain.
    let mut now = NOW;
    for _ in 0..20 {
        now += Duration::from_secs(1);
        run(&mut stack, now);
        way_to(&mut stack, now, "2001:db8::1");
    }
    let third = way_to(&mut stack, now, "2001:db8::1");
    assert!(third != Some(high.mac));
    // Until it speaks again.
    hear(&mut stack, now, &high);
    assert_eq!(way_to(&mut stack, now, "2001:db8::1"), Some(high.mac));
    // One that says that it is none is none.
    hear(
        &mut stack,
        now,
        &Ra {
            lifetime: 0,
            ..high.clone()
        },
    );
    assert!(
        !stack
            .advertised(0)
            .unwrap()
            .routers
            .contains(&v6("fe80::3"))
    );
}

#[test]
fn a_router_that_says_it_is_a_host_is_none() {
    let mut stack = stack();
    let ra = ra(ROUTER).own_mac().prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &ra);
    let says = |router: bool| {
        let mut message = vec![136, 0, 0, 0, if router { 0xa0 } else { 0x20 }, 0, 0, 0];
        message.extend(v6(ROUTER).octets());
        message.extend([2, 1]);
        message.extend(ra.mac.0);
        frame_of(ra.mac, (v6(ROUTER), v6(ALL_NODES)), 255, message)
    };
    stack.ingest(NOW, &[says(true)]);
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(ROUTER)]);
    stack.ingest(NOW, &[says(false)]);
    assert!(stack.advertised(0).unwrap().routers.is_empty());
    assert_eq!(made(&stack).len(), 1, "its prefix is what it was");
}

#[test]
fn segments_are_offered_to_be_as_large_as_the_link_is_said_to_take() {
    let mut stack = Stack::new(
        bare(|config| config.addresses = vec!["198.18.0.1/24".parse().unwrap()]),
        NOW,
    )
    .unwrap();
    let offered = |stack: &mut Stack, to: &str| {
        stack.tcp_connect(NOW, None, to.parse().unwrap()).unwrap();
        let frames = sent(stack, NOW);
        let mss = frames
            .iter()
            .find_map(|frame| match parse(frame).unwrap().network {
                // The first option of a SYN.
                Network::Ip(ip, Transport::Tcp(_)) => {
                    let option = ip.payload().get(20..24)?;
                    assert_eq!(option[..2], [2, 4]);
                    Some(u16::from_be_bytes([option[2], option[3]]))
                }
                _ => None,
            });
        mss.expect("a SYN")
    };
    for neighbor in ["198.18.0.2", "fd00:7::2"] {
        stack
            .set_neighbor(Neighbor::new(ip(neighbor), mac(2)))
            .unwrap();
    }
    let ra = ra(ROUTER).prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &ra);
    assert_eq!(offered(&mut stack, "[fd00:7::2]:80"), 1_440);
    hear(&mut stack, NOW, &ra.mtu(1_300));
    assert_eq!(offered(&mut stack, "[fd00:7::2]:81"), 1_240);
    assert_eq!(offered(&mut stack, "198.18.0.2:80"), 1_460);
    stack.set_ipv4_mtu(0, Some(1_000)).unwrap();
    assert_eq!(offered(&mut stack, "198.18.0.2:81"), 960);
    stack.set_ipv4_mtu(0, None).unwrap();
    assert_eq!(offered(&mut stack, "198.18.0.2:82"), 1_460);
}

#[test]
fn routes_of_routers_are_taken() {
    let mut stack = stack();
    let mut route = vec![24, 2, 32, 0, 0, 0, 0, 60, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0];
    let default = ra("fe80::1")
        .own_mac()
        .prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &default);
    let other = Ra {
        lifetime: 0,
        ..ra("fe80::2").own_mac().with(&route)
    };
    hear(&mut stack, NOW, &other);
    assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(other.mac));
    assert_eq!(way_to(&mut stack, NOW, "2001:db9::1"), Some(default.mac));
    // Taken back.
    route[7] = 0;
    hear(
        &mut stack,
        NOW,
        &Ra {
            lifetime: 0,
            ..ra("fe80::2").with(&route)
        },
    );
    assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(default.mac));
}

#[test]
fn interfaces_listen_each_for_themselves() {
    let config = bare(|config| {
        config.slaac = false;
        config.vlans = vec![Vlan::new(5).with_slaac(), Vlan::new(6)];
    });
    let mut stack = Stack::new(config, NOW).unwrap();
    let ra = ra(ROUTER).own_mac().prefix("fd00:7::/64", 7_200, 3_600);
    hear(&mut stack, NOW, &ra);
    assert_eq!(made(&stack), []);
    let tagged = |vlan: u8| {
        let mut frame = ra.frame();
        frame.splice(12..12, [0x81, 0, 0, vlan]);
        frame
    };
    stack.ingest(NOW, &[tagged(6)]);
    assert_eq!(made(&stack), []);
    stack.ingest(NOW, &[tagged(5)]);
    assert_eq!(made(&stack).len(), 1);
    assert_eq!(stack.vlan_of(ip(MADE)), Some(5));
    assert_eq!(stack.routes().last().unwrap().route.vlan, Some(5));
}

#[test]
fn all_workers_follow_what_comes_to_one() {
    let steering = Arc::new(SteeringTable::new(&[9; 32], 64, 64));
    let stack = |worker: u16| {
        let config = bare(|config| (config.worker, config.group_reports) = (worker, worker == 0));
        Stack::with_steering(config, steering.clone(), NOW).unwrap()
    };
    let mut workers: Vec<Stack> = (0..3).map(stack).collect();
    let asked: Vec<usize> = workers
        .iter_mut()
        .map(|stack| solicitations(&run(stack, secs(10))).len())
        .collect();
    assert!(
        asked[0] > 0 && asked[1..] == [0, 0],
        "one asks for all: {asked:?}"
    );
    hear(
        &mut workers[2],
        secs(10),
        &ra(ROUTER)
            .own_mac()
            .prefix("fd00:7::/64", 7_200, 3_600)
            .resolver("fd00:7::53", 60),
    );
    while let Some(news) = workers[2].poll_neighbor_news() {
        for worker in &mut workers[..2] {
            worker.apply_neighbor_news(secs(10), &news);
            assert_eq!(worker.poll_neighbor_news(), None, "news of news make none");
        }
    }
    for worker in &mut workers {
        assert_eq!(made(worker), [(ip(MADE), AddressState::Preferred)]);
        assert_eq!(worker.advertised(0).unwrap().resolvers, [v6("fd00:7::53")]);
        assert_eq!(way_to(worker, secs(10), "2001:db8::1"), Some(mac(101)));
        assert_eq!(solicitations(&run(worker, secs(100))), []);
    }
}

#[test]
fn after_the_link_was_down_routers_are_asked_for_anew() {
    let vlan = |id| {
        let mut vlan = Vlan::new(id);
        vlan.slaac = id == 7;
        vlan
    };
    let config = bare(|config| config.vlans = vec![vlan(7), vlan(8)]);
    let mut stack = Stack::new(config.clone(), NOW).unwrap();
    run(&mut stack, secs(1));
    hear(&mut stack, secs(1), &ra(ROUTER));
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(ROUTER)]);
    // On the one link a router is known, on the other they are asked for rarely by now.
    run(&mut stack, secs(1_001));
    stack.link_changed(secs(1_001));
    let until = secs(1_001) + Duration::from_millis(100);
    assert_eq!(solicitations(&run(&mut stack, until)).len(), 2);
    // Until one answers, as at the start.
    assert!(solicitations(&run(&mut stack, secs(1_011))).len() >= 2);
    hear(&mut stack, secs(1_011), &ra(ROUTER));
    let asked = solicitations(&run(&mut stack, secs(1_050)));
    assert!((1..=3).contains(&asked.len()), "{asked:?}");

    // Of several workers one asks.
    let mut other = config;
    other.group_reports = false;
    let mut stack = Stack::new(other, NOW).unwrap();
    stack.link_changed(secs(1));
    assert!(solicitations(&run(&mut stack, secs(10))).is_empty());
}
