//! RFC 4861: Neighbor Discovery for IP version 6 (IPv6)
//!
//! Shown elsewhere:
//! - 7.2.2 MUST: packets wait for the answer, and the first is delivered | `packets_wait_in_order_and_leave_with_the_address_filled_in`
//! - 7.2.2 MUST: after three tries packets are given up and the sender told | `three_tries_a_second_apart_then_every_packet_is_given_up`
//! - 7.3.1 -: progress of a connection confirms its neighbour | `traffic_confirms_and_spares_the_probe`
//! - 7.3.3 MUST: an entry that is in doubt is probed | `an_entry_in_use_is_probed_before_it_is_trusted_for_too_long`
//! - 7.2.5 SHOULD: answers nobody asked for create nothing | `answers_nobody_asked_for_update_but_never_create`
//! - 7.2.2 -: many neighbours at once are all resolved | `two_hundred_neighbours_at_once_are_all_resolved_within_a_second`
//! - 11 -: neighbours are bounded, and a scan pushes out none that has answered | `entries_are_bounded_and_those_that_answered_outlive_a_scan`
