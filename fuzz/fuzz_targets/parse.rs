//! Header parsing: no frame, whatever its bytes, makes the parser panic, and what it accepts can be read to the end.
#![no_main]

use dpdk_net_packet::{ChecksumVerdict, Network, Transport, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|frame: &[u8]| {
    let Ok(parsed) = parse(frame) else { return };
    let _ = (parsed.five_tuple(), parsed.addresses());
    let Network::Ip(ip, transport) = parsed.network else {
        return;
    };
    assert!(ip.header().len() + ip.payload().len() <= frame.len());
    let _ = transport.verify(&ip, ChecksumVerdict::Unknown);
    if let Transport::Tcp(segment) = transport {
        let length = segment.bytes().len();
        assert_eq!(segment.header_len() + segment.payload().len(), length);
        assert!(segment.options().count() <= length);
    }
});
