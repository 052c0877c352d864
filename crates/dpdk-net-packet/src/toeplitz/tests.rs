use core::net::{Ipv4Addr, Ipv6Addr};
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// "Verifying the RSS Hash Calculation": destination, source, hash of the addresses, hash with TCP's ports.
const VECTORS: [(&str, &str, u32, u32); 8] = [
    (
        "161.142.100.80:1766",
        "66.9.149.187:2794",
        0x323e_8fc2,
        0x51cc_c178,
    ),
    (
        "65.69.140.83:4739",
        "199.92.111.2:14230",
        0xd718_262a,
        0xc626_b0ea,
    ),
    (
        "12.22.207.184:38024",
        "24.19.198.95:12898",
        0xd2d0_a5de,
        0x5c2b_394a,
    ),
    (
        "209.142.163.6:2217",
        "38.27.205.30:48228",
        0x8298_9176,
        0xafc7_327f,
    ),
    (
        "202.188.127.2:1303",
        "153.39.163.191:44251",
        0x5d18_09c5,
        0x10e8_28a2,
    ),
    (
        "[3ffe:2501:200:3::1]:1766",
        "[3ffe:2501:200:1fff::7]:2794",
        0x2cc1_8cd5,
        0x4020_7d3d,
    ),
    (
        "[ff02::1]:4739",
        "[3ffe:501:8::260:97ff:fe40:efab]:14230",
        0x0f0c_461c,
        0xdde5_1bbf,
    ),
    (
        "[fe80::200:f8ff:fe21:67cf]:38024",
        "[3ffe:1900:4545:3:200:f8ff:fe21:67cf]:44251",
        0x4b61_e985,
        0x02d1_feef,
    ),
];

#[test]
fn the_verification_suite_of_the_specification_comes_out() {
    let hash = Toeplitz::new(&MICROSOFT_KEY).unwrap();
    for (dst, src, addresses, ports) in VECTORS {
        let (dst, src): (SocketAddr, SocketAddr) = (dst.parse().unwrap(), src.parse().unwrap());
        assert_eq!(
            hash.addresses(src.ip(), dst.ip()),
            Some(addresses),
            "{src} {dst}"
        );
        assert_eq!(hash.ports(src, dst), Some(ports), "{src} {dst}");
        assert_eq!(
            bitwise(&MICROSOFT_KEY, &input(src, dst)),
            Ok(ports),
            "{src} {dst}"
        );
    }
}

#[test]
fn a_table_can_be_made_by_the_compiler() {
    static HASH: Toeplitz = match Toeplitz::new(&MICROSOFT_KEY) {
        Ok(hash) => hash,
        Err(_) => panic!("the key is long enough"),
    };
    let (dst, src, _, ports) = VECTORS[0];
    assert_eq!(
        HASH.ports(src.parse().unwrap(), dst.parse().unwrap()),
        Some(ports)
    );
}

#[test]
fn a_short_key_is_refused_and_a_longer_one_hashes_by_its_first_forty_bytes() {
    for length in [0, 4, 39] {
        let error = Toeplitz::new(&MICROSOFT_KEY[..length]).unwrap_err();
        assert_eq!(error, ShortKey { length });
        assert!(std::format!("{error}").contains("40 or more"), "{error}");
    }
    let mut longer = [0x5a; 52];
    longer[..40].copy_from_slice(&MICROSOFT_KEY);
    assert_eq!(Toeplitz::new(&longer), Toeplitz::new(&MICROSOFT_KEY));
    assert_eq!(bitwise(&[], &[]), Ok(0));
    assert_eq!(bitwise(&[1; 4], &[0]), Err(ShortKey { length: 4 }));
    assert_eq!(bitwise(&[1, 2, 3, 4, 0], &[0x80]), Ok(0x0102_0304));
}

#[test]
fn addresses_of_two_families_have_no_hash() {
    let hash = Toeplitz::new(&MICROSOFT_KEY).unwrap();
    let (v4, v6) = (
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    );
    let spread = Spread::new(&hash, &[0, 1]).unwrap();
    for (src, dst) in [(v4, v6), (v6, v4)] {
        assert_eq!(hash.addresses(src, dst), None);
        assert_eq!(
            spread.queue_of_ports(SocketAddr::new(src, 1), SocketAddr::new(dst, 2)),
            None
        );
        assert!(spread.replies(SocketAddr::new(src, 1), dst).is_none());
    }
    assert!(Spread::new(&hash, &[]).is_none());
}

/// The bytes that are hashed, from the specification.
fn input(src: SocketAddr, dst: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::new();
    for address in [src.ip(), dst.ip()] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(src.port().to_be_bytes());
    bytes.extend(dst.port().to_be_bytes());
    bytes
}

/// Two ends of one family.
fn ends() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<[([u8; 4], u16); 2]>()
        .prop_map(|ends| ends.map(|(address, port)| SocketAddr::new(address.into(), port)));
    let v6 = any::<[([u8; 16], u16); 2]>()
        .prop_map(|ends| ends.map(|(address, port)| SocketAddr::new(address.into(), port)));
    prop_oneof![v4, v6].prop_map(|[src, dst]| (src, dst))
}

proptest! {
    #[test]
    fn tables_hash_as_the_definition_does(key in proptest::collection::vec(any::<u8>(), 40..64), (src, dst) in ends()) {
        let hash = Toeplitz::new(&key).unwrap();
        let input = input(src, dst);
        prop_assert_eq!(hash.ports(src, dst).ok_or(ShortKey { length: 0 }), bitwise(&key, &input));
        prop_assert_eq!(
            hash.addresses(src.ip(), dst.ip()).ok_or(ShortKey { length: 0 }),
            bitwise(&key, &input[..input.len() - 4])
        );
    }

    #[test]
    fn the_symmetric_key_hashes_both_directions_alike((src, dst) in ends()) {
        let hash = Toeplitz::new(&symmetric_key::<40>()).unwrap();
        prop_assert_eq!(hash.ports(src, dst), hash.ports(dst, src));
        prop_assert_eq!(hash.addresses(src.ip(), dst.ip()), hash.addresses(dst.ip(), src.ip()));
    }

    #[test]
    fn a_port_chosen_for_a_queue_brings_the_replies_to_it(
        key: [u8; 40],
        (remote, local) in ends(),
        // A table of 128, and of a size that is no power of two.
        entries in prop_oneof![Just(128_usize), Just(100)],
    ) {
        let hash = Toeplitz::new(&key).unwrap();
        let reta: Vec<u16> = (0..entries).map(|entry| (entry % 4) as u16).collect();
        let spread = Spread::new(&hash, &reta).unwrap();
        let replies = spread.replies(remote, local.ip()).unwrap();
        let mut ports = 0;
        for queue in 0..4 {
            for port in replies.at_queue(queue, 49_152..50_176) {
                let local = SocketAddr::new(local.ip(), port);
                let hash = bitwise(&key, &input(remote, local)).unwrap();
                prop_assert_eq!(reta[hash as usize % entries], queue);
                prop_assert_eq!(spread.queue_of_ports(remote, local), Some(queue));
                ports += 1;
            }
        }
        prop_assert_eq!(ports, 1024, "each port has one queue");
    }
}
