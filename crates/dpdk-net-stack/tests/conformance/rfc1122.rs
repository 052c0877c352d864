//! RFC 1122: Requirements for Internet Hosts -- Communication Layers
//!
//! Shown elsewhere:
//! - 2.3.2.2 SHOULD: the first packet to an address that is not resolved waits | `the_first_packet_asks_at_once_and_leaves_when_the_answer_is_there`
//! - 3.2.1.3 MUST: what comes from an address that cannot be anybody's is dropped without a word | `s3_9_2_3_must_57_must_63_impossible_addresses_are_dropped`
//! - 3.2.2 MUST NOT: errors are sent about errors, groups, broadcasts and later fragments | `errors_are_never_sent_about_errors_groups_broadcasts_or_later_fragments`
//! - 3.2.2.1 SHOULD: a port where nobody is, is told of | `a_closed_port_is_told_with_the_packet_quoted`
//! - 3.2.2.6 MUST: an echo is what was asked | `echo_comes_back_with_the_same_data_in_both_families`
//! - 3.2.2.6 MAY: an echo request to a group or all is not answered | `echo_to_a_group_is_answered_over_ipv6_only_and_from_our_address`
//! - 3.3.2 MUST: fragments are put together | `fragments_in_any_order_make_the_packet_whole_in_both_families`
//! - 3.3.2 MUST: a packet whose fragments do not all come in time is told of | `time_runs_out_and_the_first_fragment_is_told`
//! - 4.2.2.3 MUST: the window is a number without sign | `s3_1_must_1_the_window_is_unsigned`
//! - 4.2.2.5 MUST: options that are not known are passed over, and those of an impossible length do no harm | `s3_2_must_7_impossible_option_lengths_do_no_harm`
//! - 4.2.2.10 MUST: SYNs that cross make one connection | `s3_5_must_10_syns_that_cross_make_one_connection`
//! - 4.2.2.11 MUST: SYN-RECEIVED knows where it came from | `s3_5_must_11_syn_received_knows_where_it_came_from`
//! - 4.2.2.12 SHOULD: a RST may carry data | `s3_5_3_shld_2_a_reset_may_carry_data`
//! - 4.2.2.13 SHOULD: a close with data unread, or data after it, is answered with a RST | `s3_6_1_shld_3_data_that_is_lost_is_told_with_a_reset`
//! - 4.2.2.13 MUST: TIME-WAIT lasts for two segment lifetimes | `s3_6_1_must_13_time_wait_lasts_two_segment_lifetimes`
//! - 4.2.2.15 MUST: congestion control | `s3_8_2_must_19_slow_start_doubles_the_window`
//! - 4.2.2.16 MUST: a window that shrinks does no harm | `s3_8_6_must_34_shld_15_shld_16_a_window_that_shrinks_does_no_harm`
//! - 4.2.2.17 MUST: a closed window is asked about, for as long as the peer answers | `s3_8_6_1_must_36_must_37_shld_29_shld_30_a_closed_window_is_asked_about`
//! - 4.2.2.20 SHOULD: what comes early is kept | `s3_10_7_4_shld_31_may_13_what_comes_early_is_kept`
//! - 4.2.2.20 MUST: a burst is dealt with before it is acknowledged | `s3_10_7_4_must_58_must_59_a_burst_is_acknowledged_once`
//! - 4.2.3.1 MUST: what was sent twice is not measured | `s3_8_1_must_18_what_was_sent_twice_is_not_measured`
//! - 4.2.3.2 SHOULD: acknowledgments wait, but less than half a second | `s3_8_6_3_shld_18_must_40_acks_wait_but_not_long`
//! - 4.2.3.3 MUST: the receiver offers no small windows | `s3_8_6_2_2_must_39_the_receiver_offers_no_small_windows`
//! - 4.2.3.4 SHOULD: Nagle's algorithm holds short segments back | `s3_7_4_shld_7_must_17_nagle_holds_short_segments_unless_switched_off`
//! - 4.2.3.5 MUST: silent peers are given up, after a time that can be set | `s3_8_3_must_21_the_user_timeout_can_be_set`
//! - 4.2.3.6 MAY: keep-alives, off by default | `s3_8_4_must_24_must_25_must_26_must_27_keepalives_are_off_and_can_be_asked_for`
//! - 4.2.3.9 MUST NOT: a soft ICMP error aborts a connection | `s3_9_2_2_must_56_soft_icmp_errors_abort_nothing`
//! - 4.2.3.10 MUST: SYNs from and to groups are dropped | `s3_9_2_3_must_57_must_63_impossible_addresses_are_dropped`
//! - 4.2.4.2 MUST: the service of a connection can be chosen | `s3_9_1_9_must_48_shld_21_shld_22_the_service_can_be_chosen`

use dpdk_net_packet::{checksum, ethernet};

use crate::common::*;

/// 3.2.2.5 SHOULD: A header that cannot be is told of by a Parameter Problem that points at the fault.
#[test]
fn s3_2_2_5_should_a_bad_option_is_told_of() {
    let family = Family::V4;
    let mut hand = Hand::new(family);
    hand.listen();
    let plain = frame(family, 2, 1, &hand.syn());
    let at = ethernet::HEADER_LEN + 20;
    // A no-operation, and an option that is longer than there is room.
    let mut odd = [&plain[..at], &[1, 158, 9, 0], &plain[at..]].concat();
    let ip = &mut odd[ethernet::HEADER_LEN..];
    ip[0] = 0x46;
    let total = ip.len() as u16;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[10..12].fill(0);
    let sum = checksum::data(&ip[..24]);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    hand.stack.ingest(hand.now, &[odd.clone()]);
    let mut sent: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut sent);
    assert_eq!(sent.len(), 1);
    let message = &sent[0][at..];
    // Parameter Problem, the pointer, and the packet.
    assert_eq!((message[0], message[1], message[4]), (12, 0, 21));
    assert_eq!(message[8..], odd[ethernet::HEADER_LEN..]);
}
