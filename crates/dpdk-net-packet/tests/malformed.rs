//! Each way of being malformed has its own cause.

use dpdk_net_packet::{
    ChecksumVerdict, Network, ParseError, Protocol, RxMeta, Transport, checksum, ipv4, ipv6, parse,
    parse_checked,
};

const SRC4: [u8; 4] = [198, 18, 0, 1];
const DST4: [u8; 4] = [198, 18, 0, 2];

fn v4_frame(protocol: Protocol, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + 20 + payload.len()];
    frame[12..14].copy_from_slice(&[8, 0]);
    ipv4::Header::new(SRC4.into(), DST4.into(), protocol, payload.len()).write(&mut frame[14..]);
    frame[34..].copy_from_slice(payload);
    frame
}

fn v6_frame(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 14 + 40 + payload.len()];
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    let header = ipv6::Header {
        next_header,
        ..ipv6::Header::new(
            "fd00::1".parse().unwrap(),
            "fd00::2".parse().unwrap(),
            Protocol::Tcp,
            payload.len(),
        )
    };
    header.write(&mut frame[14..]);
    frame[54..].copy_from_slice(payload);
    frame
}

/// Changes a byte of the IPv4 header and makes its checksum right again.
fn with_v4(mut frame: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    frame[14 + at] = value;
    frame[24..26].fill(0);
    let len = usize::from(frame[14] & 15) * 4;
    let sum = checksum::data(&frame[14..(14 + len).min(frame.len())]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn tcp() -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0, 80, 0x80, 0]);
    segment[12] = 5 << 4;
    segment
}

fn udp(payload: usize) -> Vec<u8> {
    let mut datagram = vec![0; 8 + payload];
    dpdk_net_packet::udp::write_header(&mut datagram, 1000, 53, payload);
    datagram
}

fn error(frame: &[u8]) -> ParseError {
    parse(frame).unwrap_err()
}

#[test]
fn ethernet() {
    assert_eq!(error(&[0; 13]), ParseError::EthernetTruncated);
    let mut tagged = vec![0; 16];
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    assert_eq!(error(&tagged), ParseError::EthernetTruncated);
    let tags: Vec<u8> = [0x81, 0, 0, 1].repeat(4);
    assert_eq!(
        error(&[&[0; 12][..], &tags].concat()),
        ParseError::TooManyVlanTags
    );
}

#[test]
fn a_stripped_tag_counts_like_one_in_the_frame() {
    let frame = v4_frame(Protocol::Udp, &udp(0));
    let meta = RxMeta {
        vlan_tci: Some(7),
        ..RxMeta::default()
    };
    assert_eq!(parse_checked(&frame, &meta).unwrap().vlan_tci, Some(7));
}

#[test]
fn arp() {
    let mut frame = vec![0; 14 + 28];
    frame[12..14].copy_from_slice(&[8, 6]);
    assert_eq!(error(&frame), ParseError::ArpUnsupported);
    assert_eq!(error(&frame[..41]), ParseError::ArpTruncated);
}

#[test]
fn ipv4_header() {
    let good = v4_frame(Protocol::Udp, &udp(4));
    assert!(parse(&good).is_ok());
    assert_eq!(error(&good[..33]), ParseError::Ipv4Truncated);
    assert_eq!(
        error(&with_v4(good.clone(), 0, 0x65)),
        ParseError::BadIpVersion
    );
    assert_eq!(
        error(&with_v4(good.clone(), 0, 0x44)),
        ParseError::Ipv4BadHeaderLength
    );
    assert_eq!(
        error(&with_v4(good.clone(), 0, 0x4f)),
        ParseError::Ipv4Truncated
    );
    assert_eq!(
        error(&with_v4(good.clone(), 3, 19)),
        ParseError::Ipv4BadTotalLength
    );
    assert_eq!(
        error(&with_v4(good.clone(), 3, 33)),
        ParseError::Ipv4BadTotalLength
    );
    let mut bad_sum = good.clone();
    bad_sum[24] ^= 1;
    assert_eq!(error(&bad_sum), ParseError::Ipv4BadChecksum);
    assert_eq!(
        error(&with_v4(good.clone(), 12, 224)),
        ParseError::Ipv4BadAddress
    );
    assert_eq!(
        error(&with_v4(good.clone(), 12, 127)),
        ParseError::Ipv4BadAddress
    );
    assert_eq!(
        error(&with_v4(good.clone(), 12, 0)),
        ParseError::Ipv4BadAddress
    );
    assert_eq!(
        error(&with_v4(good.clone(), 16, 127)),
        ParseError::Ipv4BadAddress
    );
    // 12 bytes with more to come are no multiple of 8; the last fragment at the top ends beyond 65,535.
    assert_eq!(
        error(&with_v4(good.clone(), 6, 0x20)),
        ParseError::Ipv4BadFragment
    );
    let top = with_v4(with_v4(good, 6, 0x1f), 7, 0xff);
    assert_eq!(error(&top), ParseError::Ipv4BadFragment);
}

#[test]
fn ipv4_options() {
    let with_options = |options: [u8; 4]| {
        let mut payload = options.to_vec();
        payload.extend(udp(0));
        with_v4(v4_frame(Protocol::Udp, &payload), 0, 0x46)
    };
    assert!(parse(&with_options([1, 1, 1, 0])).is_ok());
    assert!(parse(&with_options([0x94, 4, 0, 0])).is_ok());
    assert_eq!(
        error(&with_options([131, 3, 4, 0])),
        ParseError::Ipv4SourceRoute
    );
    assert_eq!(
        error(&with_options([1, 7, 9, 0])),
        ParseError::Ipv4BadOption { pointer: 21 }
    );
    assert_eq!(
        error(&with_options([7, 0, 0, 0])),
        ParseError::Ipv4BadOption { pointer: 20 }
    );
}

#[test]
fn what_the_nic_said_of_a_checksum_is_taken() {
    let mut frame = v4_frame(Protocol::Tcp, &tcp());
    frame[24] ^= 1;
    let meta = |ip_checksum| RxMeta {
        ip_checksum,
        ..RxMeta::default()
    };
    assert!(parse_checked(&frame, &meta(ChecksumVerdict::Good)).is_ok());
    assert!(parse_checked(&frame, &meta(ChecksumVerdict::None)).is_ok());
    assert_eq!(
        parse_checked(&frame, &meta(ChecksumVerdict::Unknown)),
        Err(ParseError::Ipv4BadChecksum)
    );
    frame[24] ^= 1;
    assert_eq!(
        parse_checked(&frame, &meta(ChecksumVerdict::Bad)),
        Err(ParseError::Ipv4BadChecksum)
    );
    let Network::Ip(ip, transport) = parse(&frame).unwrap().network else {
        panic!()
    };
    assert_eq!(
        transport.verify(&ip, ChecksumVerdict::Unknown),
        Err(ParseError::TcpBadChecksum)
    );
    assert_eq!(
        transport.verify(&ip, ChecksumVerdict::Bad),
        Err(ParseError::TcpBadChecksum)
    );
    assert_eq!(transport.verify(&ip, ChecksumVerdict::None), Ok(()));
}

#[test]
fn ipv6_header() {
    let good = v6_frame(17, &udp(4));
    assert!(parse(&good).is_ok());
    assert_eq!(error(&good[..53]), ParseError::Ipv6Truncated);
    assert_eq!(error(&good[..65]), ParseError::Ipv6BadPayloadLength);
    let with = |at: usize, value: u8| {
        let mut frame = good.clone();
        frame[14 + at] = value;
        error(&frame)
    };
    assert_eq!(with(0, 0x40), ParseError::BadIpVersion);
    assert_eq!(with(8, 0xff), ParseError::Ipv6BadAddress);
    for at in [22, 38] {
        let mut mapped = good.clone();
        mapped[at..at + 12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(error(&mapped), ParseError::Ipv6BadAddress);
    }
    let mut unspecified = good.clone();
    unspecified[38..54].fill(0);
    assert_eq!(error(&unspecified), ParseError::Ipv6BadAddress);
}

#[test]
fn ipv6_extension_headers() {
    let after = |next: u8, extension: &[u8]| v6_frame(next, &[extension, &udp(0)].concat());
    // Padding, router alert, and an unknown option to be skipped.
    assert!(parse(&after(0, &[17, 0, 5, 2, 0, 0, 1, 0])).is_ok());
    assert!(parse(&after(60, &[17, 0, 0x1e, 4, 1, 2, 3, 4])).is_ok());
    assert_eq!(
        error(&after(60, &[17, 0, 0x5e, 4, 1, 2, 3, 4])),
        ParseError::Ipv6OptionDrop
    );
    let problem = |code, pointer, even_multicast| ParseError::Ipv6ParameterProblem {
        code,
        pointer,
        even_multicast,
    };
    assert_eq!(
        error(&after(60, &[17, 0, 0x9e, 4, 1, 2, 3, 4])),
        problem(2, 42, true)
    );
    assert_eq!(
        error(&after(60, &[17, 0, 0xde, 4, 1, 2, 3, 4])),
        problem(2, 42, false)
    );
    // An option, and a header, that run over.
    assert_eq!(
        error(&after(60, &[17, 0, 0x1e, 9, 1, 2, 3, 4])),
        ParseError::Ipv6BadExtension
    );
    assert_eq!(
        error(&after(60, &[17, 9, 1, 4, 0, 0, 0, 0])),
        ParseError::Ipv6BadExtension
    );
    // Hop-by-hop options anywhere but first.
    assert_eq!(
        error(&after(
            60,
            &[0, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0]
        )),
        problem(1, 40, false)
    );
    // Routing headers with and without segments left.
    assert_eq!(
        error(&after(43, &[17, 0, 0, 1, 0, 0, 0, 0])),
        problem(0, 42, true)
    );
    assert!(parse(&after(43, &[17, 0, 0, 0, 0, 0, 0, 0])).is_ok());
    // More than are walked.
    let many: Vec<u8> = [60, 0, 1, 4, 0, 0, 0, 0].repeat(ipv6::MAX_EXTENSIONS + 2);
    assert_eq!(error(&after(60, &many)), ParseError::Ipv6TooManyExtensions);
    let mut options = vec![17, 3];
    options.extend([0x1e, 0].repeat(15));
    assert_eq!(
        error(&after(60, &options)),
        ParseError::Ipv6TooManyExtensions
    );
}

#[test]
fn ipv6_fragments() {
    let fragment = |word: u16, len: usize| {
        let mut payload = vec![17, 0];
        payload.extend(word.to_be_bytes());
        payload.extend([0, 0, 0, 9]);
        payload.extend(vec![0; len]);
        v6_frame(44, &payload)
    };
    let frame = fragment(1, 16);
    let Network::Ip(ip, Transport::Fragment) = parse(&frame).unwrap().network else {
        panic!()
    };
    let info = ip.fragment().unwrap();
    assert_eq!(
        (
            info.id,
            info.offset,
            info.more,
            ip.payload().len(),
            ip.protocol()
        ),
        (9, 0, true, 16, Protocol::Udp)
    );
    let problem = |pointer| ParseError::Ipv6ParameterProblem {
        code: 0,
        pointer,
        even_multicast: false,
    };
    assert_eq!(error(&fragment(1, 15)), problem(4));
    assert_eq!(error(&fragment(0xfff8, 16)), problem(42));
    assert_eq!(error(&fragment(8, 0)), ParseError::Ipv6BadFragment);
    // RFC 6946: neither offset nor more to come is a whole packet.
    let mut payload = vec![17, 0, 0, 0, 0, 0, 0, 9];
    payload.extend(udp(3));
    let atomic = v6_frame(44, &payload);
    let Network::Ip(ip, Transport::Udp(datagram)) = parse(&atomic).unwrap().network else {
        panic!()
    };
    assert!(ip.fragment().is_none());
    assert_eq!(datagram.payload().len(), 3);
}

#[test]
fn tcp_header() {
    assert_eq!(
        error(&v4_frame(Protocol::Tcp, &tcp()[..19])),
        ParseError::TcpTruncated
    );
    let with = |at: usize, value: u8| {
        let mut segment = tcp();
        segment[at] = value;
        error(&v4_frame(Protocol::Tcp, &segment))
    };
    assert_eq!(with(12, 4 << 4), ParseError::TcpBadHeaderLength);
    assert_eq!(with(12, 6 << 4), ParseError::TcpTruncated);
    assert_eq!(with(1, 0), ParseError::PortZero);
    assert_eq!(with(2, 0), ParseError::PortZero);
}

#[test]
fn tcp_options_end_at_the_first_malformed_one() {
    use dpdk_net_packet::tcp::{Segment, TcpOption};
    let options = |bytes: [u8; 8]| {
        let mut segment = tcp();
        segment[12] = 7 << 4;
        segment.extend(bytes);
        let segment = Segment::parse(&segment).unwrap();
        segment
            .options()
            .map(|o| format!("{o:?}"))
            .collect::<Vec<_>>()
    };
    let mss = format!("{:?}", TcpOption::MaxSegmentSize(1460));
    assert_eq!(options([2, 4, 5, 0xb4, 8, 10, 1, 2]), [&mss[..]]);
    assert_eq!(options([2, 4, 5, 0xb4, 3, 0, 7, 1]), [&mss[..]]);
    assert_eq!(options([2, 4, 5, 0xb4, 0, 3, 3, 7]), [&mss[..]]);
    assert_eq!(options([1, 1, 1, 1, 2, 4, 5, 0xb4]), [&mss[..]]);
    assert_eq!(
        options([2, 3, 5, 0, 0, 0, 0, 0]),
        [r"Unknown { kind: 2, data: [5] }"]
    );
}

#[test]
fn udp_header() {
    assert_eq!(
        error(&v4_frame(Protocol::Udp, &udp(0)[..7])),
        ParseError::UdpTruncated
    );
    let with = |at: usize, value: u8| {
        let mut datagram = udp(4);
        datagram[at] = value;
        parse(&v4_frame(Protocol::Udp, &datagram)).map(|_| ())
    };
    assert_eq!(with(5, 7), Err(ParseError::UdpBadLength));
    assert_eq!(with(5, 13), Err(ParseError::UdpBadLength));
    assert_eq!(with(3, 0), Err(ParseError::PortZero));
    // Shorter than the IP payload is allowed.
    assert_eq!(with(5, 8), Ok(()));
    let verify = |frame: &[u8]| {
        let Network::Ip(ip, transport) = parse(frame).unwrap().network else {
            panic!()
        };
        transport.verify(&ip, ChecksumVerdict::Unknown)
    };
    assert_eq!(verify(&v4_frame(Protocol::Udp, &udp(4))), Ok(()));
    assert_eq!(
        verify(&v6_frame(17, &udp(4))),
        Err(ParseError::UdpNoChecksum)
    );
    let mut wrong = udp(4);
    wrong[6] = 1;
    assert_eq!(
        verify(&v4_frame(Protocol::Udp, &wrong)),
        Err(ParseError::UdpBadChecksum)
    );
}

#[test]
fn icmp() {
    assert_eq!(
        error(&v4_frame(Protocol::Icmp, &[8, 0, 0, 0, 0, 0, 0])),
        ParseError::IcmpTruncated
    );
    assert_eq!(
        error(&v6_frame(58, &[128, 0, 0, 0, 0, 0, 0])),
        ParseError::Icmpv6Truncated
    );
    let verify = |frame: &[u8]| {
        let Network::Ip(ip, transport) = parse(frame).unwrap().network else {
            panic!()
        };
        transport.verify(&ip, ChecksumVerdict::Good)
    };
    assert_eq!(
        verify(&v4_frame(Protocol::Icmp, &[8, 0, 0, 0, 0, 0, 0, 0])),
        Err(ParseError::IcmpBadChecksum)
    );
    assert_eq!(
        verify(&v6_frame(58, &[128, 0, 0, 0, 0, 0, 0, 0])),
        Err(ParseError::Icmpv6BadChecksum)
    );
    // ICMPv6 in IPv4 is just another protocol.
    let frame = v4_frame(Protocol::Icmpv6, &[0; 8]);
    let Network::Ip(_, transport) = parse(&frame).unwrap().network else {
        panic!()
    };
    assert_eq!(transport, Transport::Other(Protocol::Icmpv6));
}

#[test]
fn neighbour_discovery_options() {
    use dpdk_net_packet::{icmp::Message, ndp};
    let mut solicitation = [0u8; 40];
    let len = ndp::write_solicitation(&mut solicitation, "fd00::1".parse().unwrap(), None);
    assert_eq!(len, 24);
    fn parse(bytes: &[u8]) -> Result<ndp::Message<'_>, ParseError> {
        ndp::Message::parse(Message::parse(bytes).unwrap())
    }
    assert!(parse(&solicitation[..24]).is_ok());
    // An option of length zero, one that runs over, and a target cut off.
    assert_eq!(parse(&solicitation[..32]), Err(ParseError::NdpBadOption));
    solicitation[24..26].copy_from_slice(&[1, 2]);
    assert_eq!(parse(&solicitation[..32]), Err(ParseError::NdpBadOption));
    assert_eq!(parse(&solicitation[..23]), Err(ParseError::Icmpv6Truncated));
}
