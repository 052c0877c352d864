//! Options, extension headers and fragments.

use std::net::IpAddr;

use super::*;

const FRAGMENT: u8 = 44;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Puts headers before the payload of an IPv6 packet; each begins with a byte for the type of the next.
fn behind(headers: &[(u8, &[u8])], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut next = protocol;
    let mut bytes = payload.to_vec();
    for (kind, header) in headers.iter().rev() {
        let mut header = header.to_vec();
        header[0] = next;
        bytes = [header, bytes].concat();
        next = *kind;
    }
    v6().ip(next, &bytes)
}

#[test]
fn ipv6_extension_header_probes() {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const DESTINATION: u8 = 60;
    let padding = [0, 0, 1, 4, 0, 0, 0, 0];
    let option = |kind: u8| [0, 0, kind, 4, 0, 0, 0, 0];
    let routing = |kind: u8, left: u8| [0, 0, kind, left, 0, 0, 0, 0];
    let syn = v6().tcp_bytes(&segment(TCP_PORT, SYN));
    let with = |headers: &[(u8, &[u8])]| behind(headers, TCP, &syn);
    probe([
        (
            "hop-by-hop padding",
            with(&[(HOP_BY_HOP, &padding)]),
            Answer::SynAck,
        ),
        (
            "destination padding",
            with(&[(DESTINATION, &padding)]),
            Answer::SynAck,
        ),
        (
            "both",
            with(&[(HOP_BY_HOP, &padding), (DESTINATION, &padding)]),
            Answer::SynAck,
        ),
        (
            "an option to be passed over",
            with(&[(DESTINATION, &option(0x1e))]),
            Answer::SynAck,
        ),
        (
            "an option to be dropped",
            with(&[(DESTINATION, &option(0x5e))]),
            Answer::Nothing,
        ),
        (
            "an option to be told of",
            with(&[(DESTINATION, &option(0x9e))]),
            Answer::Icmp(4, 2, 42),
        ),
        (
            "an option to be told of unless to a group",
            with(&[(HOP_BY_HOP, &padding), (DESTINATION, &option(0xde))]),
            Answer::Icmp(4, 2, 50),
        ),
        (
            "hop-by-hop options that are not first",
            with(&[(DESTINATION, &padding), (HOP_BY_HOP, &padding)]),
            Answer::Icmp(4, 1, 40),
        ),
        (
            "a route that is used up",
            with(&[(ROUTING, &routing(0, 0))]),
            Answer::SynAck,
        ),
        (
            "a source route (RFC 5095)",
            with(&[(ROUTING, &routing(0, 1))]),
            Answer::Icmp(4, 0, 42),
        ),
        (
            "a route of an unknown kind",
            with(&[(ROUTING, &routing(9, 3))]),
            Answer::Icmp(4, 0, 42),
        ),
        (
            "an unknown header behind another",
            behind(&[(DESTINATION, &padding)], 253, &[0; 8]),
            Answer::Icmp(4, 1, 40),
        ),
        (
            "an atomic fragment (RFC 6946)",
            with(&[(FRAGMENT, &[0; 8])]),
            Answer::SynAck,
        ),
    ]);
}

/// A packet in pieces: each from an offset, with whether more follow.
fn fragments(path: Path, protocol: u8, id: u32, pieces: &[(usize, &[u8], bool)]) -> Vec<Vec<u8>> {
    let fragment = |&(offset, bytes, more): &(usize, &[u8], bool)| match path.dst {
        IpAddr::V4(_) => {
            let mut frame = path.ip(protocol, bytes);
            let word = (offset / 8) as u16 | u16::from(more) << 13;
            frame[IP + 4..IP + 6].copy_from_slice(&(id as u16).to_be_bytes());
            frame[IP + 6..IP + 8].copy_from_slice(&word.to_be_bytes());
            // Only the header's: that of the payload is over all of it.
            frame[IP + 10..IP + 12].fill(0);
            let sum = dpdk_net_packet::checksum::data(&frame[IP..IP + 20]);
            frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
            frame
        }
        IpAddr::V6(_) => {
            let mut header = vec![protocol, 0];
            header.extend((offset as u16 | u16::from(more)).to_be_bytes());
            header.extend(id.to_be_bytes());
            path.ip(FRAGMENT, &[&header[..], bytes].concat())
        }
    };
    pieces.iter().map(fragment).collect()
}

#[test]
fn fragment_probes() {
    for path in [v4(), v6()] {
        let mut lab = Lab::new();
        let mut id = 0;
        let mut feed = |protocol: u8, pieces: &[(usize, &[u8], bool)]| {
            id += 1;
            let mut answers = Vec::new();
            for fragment in fragments(path, protocol, id, pieces) {
                answers.extend(lab.by_hand.feed(fragment));
            }
            // Errors are no more than one a probe here, so none is held back.
            lab.by_hand.wait(std::time::Duration::from_secs(100));
            lab.by_hand.feed(path.who_has());
            read(&answers)
        };
        let syn = path.tcp_bytes(&Segment {
            options: vec![2, 4, 5, 0xb4],
            payload: vec![0; 40],
            ..segment(TCP_PORT, SYN)
        });
        let (first, second) = syn.split_at(24);
        assert_eq!(
            feed(TCP, &[(0, first, true), (24, second, false)]),
            Answer::SynAck
        );
        assert_eq!(
            feed(TCP, &[(24, second, false), (0, first, true)]),
            Answer::SynAck
        );
        // The flags in a fragment of their own, unseen by filters (RFC 1858 section 3): a whole segment all the same, but
        // IPv6 has all headers in the first fragment (RFC 7112 section 5).
        let tiny = [
            (0, &syn[..8], true),
            (8, &syn[8..24], true),
            (24, second, false),
        ];
        let answer = feed(TCP, &tiny);
        assert_eq!(
            answer,
            match path.dst {
                IpAddr::V4(_) => Answer::SynAck,
                IpAddr::V6(_) => Answer::Icmp(4, 3, 0),
            }
        );
        // A fragment that writes over another (RFC 1858 section 4, RFC 5722).
        let harmless = path.tcp_bytes(&segment(TCP_PORT, ACK));
        let overlapping = [(0, &harmless[..16], true), (8, &syn[8..], false)];
        assert_eq!(feed(UDP, &overlapping), Answer::Nothing);
        let whole = [
            (0, first, true),
            (0, first, true),
            (16, &syn[16..24], true),
            (24, second, false),
        ];
        assert_eq!(feed(TCP, &whole), Answer::Nothing);
        // Nothing but later fragments; the same again and again; an end before what came.
        assert_eq!(feed(TCP, &[(24, second, false)]), Answer::Nothing);
        let twice = [(0, first, true), (0, first, true), (24, second, false)];
        assert_eq!(feed(TCP, &twice), Answer::SynAck);
        assert_eq!(
            feed(TCP, &[(24, second, true), (0, first, false)]),
            Answer::Nothing
        );
        // Of a UDP datagram for nobody, whole, the error quotes what came first.
        let udp = path.udp_bytes(40_000, CLOSED, &[1; 40]);
        let unreachable = match path.dst {
            IpAddr::V4(_) => Answer::Icmp(3, 3, 0),
            IpAddr::V6(_) => Answer::Icmp(1, 4, 0),
        };
        assert_eq!(
            feed(UDP, &[(0, &udp[..24], true), (24, &udp[24..], false)]),
            unreachable
        );
        lab.still_serves();
    }
}

/// RFC 6980 section 5: who could hide them from filters in this way is not heard.
#[test]
fn neighbour_discovery_behind_a_fragment_header_is_ignored() {
    let mut lab = Lab::new();
    let plain = v6().who_has();
    assert_eq!(lab.by_hand.feed(plain.clone()).len(), 1, "an answer");
    let padding = [58, 0, 1, 4, 0, 0, 0, 0];
    let behind = |next: u8, headers: &[u8]| {
        let mut frame = [&plain[..V6_L4], headers, &plain[V6_L4..]].concat();
        frame[IP + 6] = next;
        fix_length(&mut frame);
        frame
    };
    assert_eq!(lab.by_hand.feed(behind(60, &padding)).len(), 1);
    let atomic = [58, 0, 0, 0, 0, 0, 0, 1];
    let (causes, sent) = lab.causes(&behind(FRAGMENT, &atomic));
    assert_eq!((causes, sent), (vec![], vec![]));
    let both = [[FRAGMENT, 0, 1, 4, 0, 0, 0, 0], atomic].concat();
    assert_eq!(lab.by_hand.feed(behind(60, &both)), Vec::<Vec<u8>>::new());
    assert_eq!(lab.by_hand.stack().stats().neighbors.ndp_invalid, 2);
    lab.still_serves();
}

#[test]
fn ipv4_option_probes() {
    let syn = v4().tcp(&segment(TCP_PORT, SYN));
    let with = |options: &[u8]| {
        let mut frame = [&syn[..V4_L4], options, &syn[V4_L4..]].concat();
        frame[IP] = 0x45 + (options.len() / 4) as u8;
        fix_length(&mut frame);
        frame
    };
    probe([
        ("nothing but padding", with(&[1, 1, 1, 0]), Answer::SynAck),
        (
            "a route to be recorded",
            with(&[7, 7, 4, 0, 0, 0, 0, 0]),
            Answer::SynAck,
        ),
        (
            "times to be recorded",
            with(&[68, 8, 5, 0, 0, 0, 0, 0]),
            Answer::SynAck,
        ),
        ("a router alert", with(&[148, 4, 0, 0]), Answer::SynAck),
        ("an unknown option", with(&[158, 4, 1, 2]), Answer::SynAck),
        (
            "a loose source route",
            with(&[131, 7, 4, 198, 18, 0, 9, 0]),
            Answer::Nothing,
        ),
        (
            "a strict source route",
            with(&[137, 7, 4, 198, 18, 0, 9, 0]),
            Answer::Nothing,
        ),
        (
            "a length of nothing",
            with(&[158, 0, 0, 0]),
            Answer::Icmp(12, 0, 20 << 24),
        ),
        (
            "a length beyond the header",
            with(&[1, 158, 4, 0]),
            Answer::Icmp(12, 0, 21 << 24),
        ),
    ]);
}
