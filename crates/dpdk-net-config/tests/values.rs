//! Values as people write them.

use std::time::Duration;

use dpdk_net_config::{Cidr, Destination, File, Format, Lcores, PciAddress, RssKey, Size, Time};

#[test]
fn sizes_have_units_of_1024_and_of_1000() {
    for (text, bytes) in [
        ("0", 0),
        ("65536", 65_536),
        ("64 KiB", 65_536),
        ("64KiB", 65_536),
        ("64 kib", 65_536),
        ("1.5 GiB", 3 << 29),
        ("2MB", 2_000_000),
        ("2 kB", 2_000),
        ("1_000 bytes", 1_000),
        (" 7 B ", 7),
    ] {
        assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
    }
    for text in [
        "",
        "KiB",
        "1 M",
        "1.",
        ".5 B",
        "1e3",
        "-1",
        "1 KiB 2",
        "16777216 TiB",
        "1.0000000001 KiB",
    ] {
        assert!(text.parse::<Size>().is_err(), "{text}");
    }
}

#[test]
fn times_have_units_and_may_have_several() {
    for (text, nanos) in [
        ("0", 0),
        ("200 ms", 200_000_000),
        ("1.5s", 1_500_000_000),
        ("1h30m", 5_400_000_000_000),
        ("1 min 30 s", 90_000_000_000),
        ("5 µs", 5_000),
        ("5 μs", 5_000),
        ("2 hours", 7_200_000_000_000),
        ("1 day", 86_400_000_000_000),
        ("250 ns", 250),
    ] {
        assert_eq!(
            text.parse(),
            Ok(Time(Duration::from_nanos(nanos))),
            "{text}"
        );
    }
    for text in [
        "",
        "5",
        "s",
        "1 s 5",
        "1 fortnight",
        "-1 s",
        "1..5 s",
        "600000000 days",
    ] {
        assert!(text.parse::<Time>().is_err(), "{text}");
    }
}

#[test]
fn lists_of_lcores_are_those_of_people_and_of_eal() {
    let lcores: Lcores = "0-1, 4@6,(7,8)@(2-3)".parse().unwrap();
    assert_eq!(lcores.to_string(), "0,1,4@6,7@(2,3),8@(2,3)");
    assert_eq!(lcores.cpus(), [0, 1, 2, 3, 6]);
}

#[test]
fn a_prefix_contains_what_begins_like_it() {
    let contains = |cidr: &str, addr: &str| {
        let cidr: Cidr = cidr.parse().unwrap();
        cidr.contains(addr.parse().unwrap())
    };
    assert!(contains("198.18.0.2/24", "198.18.0.255"));
    assert!(!contains("198.18.0.2/24", "198.18.1.2"));
    assert!(contains("198.18.0.2/0", "10.0.0.1"));
    assert!(!contains("198.18.0.2/32", "198.18.0.3"));
    assert!(contains("fd00::/64", "fd00::1"));
    assert!(!contains("fd00::/128", "fd00::1"));
    assert!(contains("::/0", "fd00::1"));
    assert!(!contains("::/0", "10.0.0.1"));
}

#[test]
fn destinations_are_networks_or_all() {
    assert_eq!("default".parse(), Ok(Destination::Default));
    let network = "10.0.0.0/8".parse::<Destination>().unwrap();
    assert_eq!(network.to_string(), "10.0.0.0/8");
    for text in ["10.0.0.1/8", "fd00::1/64", "10.0.0.0", "any", "::"] {
        assert!(text.parse::<Destination>().is_err(), "{text}");
    }
}

#[test]
fn pci_addresses_are_shown_with_their_domain_in_lower_case() {
    for text in ["0000:0A:1f.7", "0a:1F.7"] {
        assert_eq!(text.parse::<PciAddress>().unwrap().as_str(), "0000:0a:1f.7");
    }
    for text in [
        "",
        ":",
        ".",
        "0a:20.0",
        "0a:1f.8",
        "00000:0a:1f.7",
        "0a:1f",
        "é:1f.7",
    ] {
        assert!(text.parse::<PciAddress>().is_err(), "{text}");
    }
}

#[test]
fn rss_keys_are_named_or_bytes() {
    assert_eq!("symmetric".parse(), Ok(RssKey::Symmetric));
    let bytes: RssKey = "6d:5a ".repeat(20).parse().unwrap();
    assert_eq!(bytes, RssKey::Bytes([0x6d, 0x5a].repeat(20)));
    assert_eq!(bytes.to_string(), "6d5a".repeat(20));
    for text in ["", "random", "6d5", &"00".repeat(39), &"00".repeat(257)] {
        assert!(text.parse::<RssKey>().is_err(), "{text}");
    }
}

#[test]
fn formats_are_told_by_the_name_or_else_by_a_brace() {
    assert_eq!(Format::of("a.TOML", "{"), Format::Toml);
    assert_eq!(Format::of("a.json", ""), Format::Json);
    assert_eq!(Format::of("a.conf", "\u{feff} {"), Format::Json);
    assert_eq!(Format::of("-", "[[port]]"), Format::Toml);
}

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeter {
    greeting: String,
    repeat: Option<u8>,
}

#[test]
fn the_applications_table_is_its_own_type_and_told_with_its_place() {
    let file = |app: &str| {
        let text = format!("[[port]]\nvdev = \"net_tap0\"\n[network]\ndhcp4 = true\n{app}");
        File::parse("a.toml", &text, Format::Toml, []).unwrap()
    };
    let none: Greeter = file("").app().unwrap();
    assert_eq!(none, Greeter::default());
    let read: Greeter = file("[app]\ngreeting = \"hello\"").app().unwrap();
    assert_eq!(read.greeting, "hello");
    let problems = file("[app]\ngreeting = \"hello\"\nrepeat = 300")
        .app::<Greeter>()
        .unwrap_err();
    let problem = problems.iter().next().unwrap();
    assert_eq!(
        (problem.path(), problem.kind()),
        ("app.repeat", "bad-value")
    );
    assert_eq!(problem.place().unwrap().to_string(), "a.toml:7:10");
}
