//! RFC 8200: Internet Protocol, Version 6 (IPv6) Specification
//!
//! Shown elsewhere:
//! - 4.5 MUST: fragments in any order make the packet whole | `fragments_in_any_order_make_the_packet_whole_in_both_families`
//! - 4.5 MUST: fragments that overlap are dropped with all that belongs to them | `overlapping_fragments_spoil_the_packet_and_what_still_comes_of_it`
//! - 4.5 -: time runs out, and the sender is told | `time_runs_out_and_the_first_fragment_is_told`
//! - 4.2 -: options that are not known are told of, to groups only where they ask for that | `an_unrecognised_option_is_told_to_senders_to_groups_only_if_it_asks_for_that`

use dpdk_net_packet::ethernet;

use crate::common::*;

/// 4.6 -: Destination options that are padding, or may be skipped, do not keep a segment out.
#[test]
fn s4_6_destination_options_are_passed_over() {
    let family = Family::V6;
    let (mut hand, id) = accepted(family);
    // PadN, and an option whose type says that it may be skipped.
    for options in [[6, 0, 1, 4, 0, 0, 0, 0], [6, 0, 0x1e, 4, 1, 2, 3, 4]] {
        let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, b"behind"));
        hand.seq += 6;
        let at = ethernet::HEADER_LEN + 40;
        let mut odd = plain[..at].to_vec();
        odd.extend(options);
        odd.extend(&plain[at..]);
        let len = (odd.len() - at) as u16;
        odd[ethernet::HEADER_LEN + 4..][..2].copy_from_slice(&len.to_be_bytes());
        odd[ethernet::HEADER_LEN + 6] = 60;
        hand.stack.ingest(hand.now, &[odd]);
        assert_eq!(read_all(&mut hand, id), b"behind");
    }
}

/// 8.1 MUST: A UDP datagram without a checksum is dropped.
#[test]
fn s8_1_must_udp_without_a_checksum_is_dropped() {
    let family = Family::V6;
    let mut hand = Hand::new(family);
    let socket = hand
        .stack
        .udp_bind(dpdk_net_stack::UdpOptions::new(family.any(53)))
        .unwrap();
    let plain = frame(family, 2, 1, &hand.seg(ACK, &[]));
    let at = ethernet::HEADER_LEN + 40;
    let mut datagram = plain[..at].to_vec();
    datagram.extend([0x13, 0x88, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
    datagram[ethernet::HEADER_LEN + 4..][..2].copy_from_slice(&12u16.to_be_bytes());
    datagram[ethernet::HEADER_LEN + 6] = 17;
    hand.stack.ingest(hand.now, &[datagram]);
    assert!(hand.stack.udp_recv(socket, &mut [0; 16]).is_err());
    assert_eq!(hand.stack.stats().frames.drop_udp_checksum, 1);
}
