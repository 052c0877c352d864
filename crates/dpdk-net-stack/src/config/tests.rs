use super::*;
use alloc::format;
use alloc::string::{String, ToString};

const MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 1]);

#[test]
fn an_interface_address_is_read_and_printed() {
    for text in ["198.18.0.2/24", "fd00::2/64", "10.0.0.1/32", "::1/128"] {
        assert_eq!(text.parse::<IfAddr>().unwrap().to_string(), text);
    }
}

#[test]
fn a_malformed_interface_address_says_what_is_expected() {
    for text in [
        "",
        "198.18.0.2",
        "198.18.0.2/",
        "198.18.0.2/x",
        "198.18.0/24",
        "fd00::2/-1",
        "a/b",
    ] {
        let error = text.parse::<IfAddr>().unwrap_err().to_string();
        assert!(error.contains("198.18.0.2/24"), "{error}");
    }
    let error = "198.18.0.2/33".parse::<IfAddr>().unwrap_err().to_string();
    assert!(error.contains("at most 32"), "{error}");
}

#[test]
fn prefixes_are_compared_bit_by_bit() {
    let v4: IfAddr = "198.18.0.130/25".parse().unwrap();
    assert!(v4.contains("198.18.0.129".parse().unwrap()));
    assert!(!v4.contains("198.18.0.127".parse().unwrap()));
    assert!(!v4.contains("fd00::1".parse().unwrap()));
    let v6: IfAddr = "fd00::2/64".parse().unwrap();
    assert!(v6.contains("fd00::ffff".parse().unwrap()));
    assert!(!v6.contains("fd00:0:0:1::1".parse().unwrap()));
    let all: IfAddr = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains("1.2.3.4".parse().unwrap()));
    let one: IfAddr = "fd00::2/128".parse().unwrap();
    assert!(one.contains("fd00::2".parse().unwrap()) && !one.contains("fd00::3".parse().unwrap()));
}

#[test]
fn what_cannot_work_is_told_before_a_packet_moves() {
    let good = Config::new(MAC).with_address("198.18.0.2/24".parse().unwrap());
    assert_eq!(good.validate(), Ok(()));
    let mut bad = good.clone();
    bad.mtu = 1279;
    assert_eq!(bad.validate(), Err(ConfigError::BadMtu(1279)));
    let mut bad = good.clone();
    bad.mac = MacAddr::BROADCAST;
    assert_eq!(bad.validate(), Err(ConfigError::BadMac(MacAddr::BROADCAST)));
    let bad = good.clone().with_address("198.18.0.2/16".parse().unwrap());
    assert!(matches!(
        bad.validate(),
        Err(ConfigError::DuplicateAddress(_))
    ));
    let bad = good.clone().with_address("224.0.0.1/4".parse().unwrap());
    assert!(matches!(bad.validate(), Err(ConfigError::NotUnicast(_))));
    let mut route = Route::default_via("198.18.0.1".parse().unwrap());
    assert_eq!(good.clone().with_route(route).validate(), Ok(()));
    route.gateway = Some("fd00::1".parse().unwrap());
    assert!(matches!(
        good.clone().with_route(route).validate(),
        Err(ConfigError::BadGateway { .. })
    ));
    let mut bad = good;
    bad.tcp.ephemeral_last = 1;
    assert!(matches!(
        bad.validate(),
        Err(ConfigError::OutOfRange {
            name: "tcp.ephemeral_last",
            ..
        })
    ));
}

/// A size as the table of the documentation has it.
fn bytes(size: usize) -> String {
    match size {
        0x10_0000.. => format!("{} MiB", size >> 20),
        _ => format!("{} KiB", size >> 10),
    }
}

/// A number with its thousands apart.
fn number(value: impl Into<u64>) -> String {
    let value: u64 = value.into();
    match value {
        0..1_000 => value.to_string(),
        _ => format!("{},{:03}", number(value / 1_000), value % 1_000),
    }
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        millis if millis % 3_600_000 == 0 => format!("{} h", millis / 3_600_000),
        millis if millis % 1_000 == 0 => format!("{} s", millis / 1_000),
        millis => format!("{millis} ms"),
    }
}

fn switch(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}

/// A field that is new does not compile here until it has its place in the table.
#[test]
fn the_documentation_has_each_setting_of_tcp_with_its_default() {
    let TcpConfig {
        recv_buffer,
        recv_window,
        send_buffer,
        send_room,
        buffer_growth,
        congestion,
        ecn,
        sack,
        timestamps,
        nodelay,
        initial_rto,
        min_rto,
        max_rto,
        peer_ack_delay,
        syn_retries,
        syn_queue,
        syn_ack_retries,
        connect_timeout,
        user_timeout,
        orphan_timeout,
        fin_wait2_timeout,
        time_wait,
        max_time_wait,
        max_connections,
        max_orphans,
        challenge_acks_per_second,
        resets_per_second,
        ack_delay,
        keepalive,
        ephemeral_first,
        ephemeral_last,
    } = TcpConfig::default();
    assert_eq!(sack, timestamps);
    let page = include_str!("../../../../docs/tcp.md");
    for row in [
        format!(
            "`recv_buffer`, `recv_window` | {} at most, {} at first",
            bytes(recv_buffer),
            bytes(recv_window)
        ),
        format!(
            "`send_buffer`, `send_room` | {} at most, {} at first",
            bytes(send_buffer),
            bytes(send_room)
        ),
        format!("`buffer_growth` | {}", bytes(buffer_growth)),
        format!("`congestion` | {}", congestion.name().to_uppercase()),
        format!("`ecn` | {}", format!("{ecn:?}").to_lowercase()),
        format!("`sack`, `timestamps` | {}", switch(sack)),
        format!("`nodelay` | {}", switch(nodelay)),
        format!(
            "`initial_rto`, `min_rto`, `max_rto` | {}, {}, {}",
            time(initial_rto),
            time(min_rto),
            time(max_rto)
        ),
        format!("`peer_ack_delay` | {}", time(peer_ack_delay)),
        format!("`ack_delay` | {}", time(ack_delay)),
        format!(
            "`syn_queue`, `syn_retries`, `syn_ack_retries` | {}, {syn_retries}, {syn_ack_retries}",
            number(syn_queue as u64)
        ),
        format!(
            "`connect_timeout`, `user_timeout` | {}, {}",
            time(connect_timeout),
            time(user_timeout)
        ),
        format!(
            "`orphan_timeout`, `max_orphans`, `fin_wait2_timeout` | {}, {}, {}",
            time(orphan_timeout),
            number(max_orphans as u64),
            time(fin_wait2_timeout)
        ),
        format!(
            "`time_wait`, `max_time_wait` | {}, {}",
            time(time_wait),
            number(max_time_wait as u64)
        ),
        format!("`max_connections` | {}", number(max_connections as u64)),
        format!(
            "`keepalive` | {}, {}, {} probes",
            time(keepalive.idle),
            time(keepalive.interval),
            keepalive.count
        ),
        format!(
            "`ephemeral_first`, `ephemeral_last` | {} to {}",
            number(ephemeral_first),
            number(ephemeral_last)
        ),
        format!(
            "`challenge_acks_per_second`, `resets_per_second` | {}, {}",
            number(challenge_acks_per_second),
            number(resets_per_second)
        ),
    ] {
        let found = page
            .lines()
            .find_map(|line| line.strip_prefix("| ")?.strip_prefix(&row));
        // What follows is a word of explanation or the end of the cell, not another digit.
        let whole = found.is_some_and(|rest| rest.starts_with([' ', ':', ';']));
        assert!(whole, "docs/tcp.md has no row '| {row} |'");
    }
}

#[test]
fn vlans_that_cannot_be_are_told_before_a_packet_moves() {
    let addr = |text: &str| text.parse::<IfAddr>().unwrap();
    let good = Config::new(MAC)
        .with_address(addr("198.18.0.2/24"))
        .with_vlan(Vlan::new(1).with_address(addr("198.18.1.2/24")))
        .with_vlan(Vlan::new(4094).with_priority(7).with_mtu(1280))
        .with_route(Route::default_via("fe80::1".parse().unwrap()).on_vlan(4094));
    assert_eq!(good.validate(), Ok(()));
    let with = |vlan: Vlan| good.clone().with_vlan(vlan).validate();
    for id in [0, 4095, u16::MAX] {
        assert_eq!(with(Vlan::new(id)), Err(ConfigError::BadVlanId(id)));
    }
    assert_eq!(with(Vlan::new(1)), Err(ConfigError::DuplicateVlan(1)));
    assert_eq!(
        with(Vlan::new(2).with_priority(8)),
        Err(ConfigError::BadVlanPriority {
            vlan: 2,
            priority: 8
        })
    );
    for mtu in [1279, 1501] {
        assert_eq!(
            with(Vlan::new(2).with_mtu(mtu)),
            Err(ConfigError::BadVlanMtu {
                vlan: 2,
                mtu,
                most: 1500
            })
        );
    }
    let twice: IpAddr = "198.18.1.2".parse().unwrap();
    assert_eq!(
        with(Vlan::new(2).with_address(addr("198.18.1.2/16"))),
        Err(ConfigError::DuplicateAddress(twice))
    );
    let group: IpAddr = "ff02::1".parse().unwrap();
    assert_eq!(
        with(Vlan::new(2).with_address(addr("ff02::1/64"))),
        Err(ConfigError::NotUnicast(group))
    );
    let mut stray = good.clone();
    stray.routes[0].vlan = Some(7);
    let error = stray.validate().unwrap_err();
    assert!(error.to_string().contains("VLAN 7"), "{error}");
    let crowd = (1..=MAX_VLANS as u16 + 1).fold(Config::new(MAC), |config, id| {
        config.with_vlan(Vlan::new(id))
    });
    assert_eq!(
        crowd.validate(),
        Err(ConfigError::TooManyVlans {
            given: MAX_VLANS + 1,
            most: MAX_VLANS
        })
    );
}

#[test]
fn a_link_local_address_may_be_the_same_on_each_link_but_not_twice_on_one() {
    let addr: IfAddr = "fe80::7/64".parse().unwrap();
    let each = Config::new(MAC)
        .with_address(addr)
        .with_vlan(Vlan::new(5).with_address(addr));
    assert_eq!(each.validate(), Ok(()));
    let twice = each.with_vlan(Vlan::new(6).with_address(addr).with_address(addr));
    assert_eq!(
        twice.validate(),
        Err(ConfigError::DuplicateAddress(addr.addr))
    );
}
