//! RFC 5722: Handling of Overlapping IPv6 Fragments
//!
//! Shown elsewhere:
//! - 4 MUST: a packet of which fragments overlap is dropped, with what still comes of it, and nobody is told | `overlapping_fragments_spoil_the_packet_and_what_still_comes_of_it`

use crate::common::*;
use crate::support::*;

/// 4 MUST: A segment that one fragment would write over another of never reaches a connection, whichever comes first; one
/// whose fragments do not overlap does.
#[test]
fn s4_must_overlapping_fragments_do_not_reach_a_connection() {
    let family = Family::V6;
    let (mut hand, id) = accepted(family);
    let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, &[b'x'; 60]));
    for (number, pieces) in [(1, [(0, 40), (32, 80)]), (2, [(32, 80), (0, 40)])] {
        hand.stack
            .ingest(hand.now, &fragments(&plain, number, &pieces));
        assert_eq!(read_all(&mut hand, id), b"");
        assert_eq!(hand.out(), []);
    }
    assert_eq!(hand.stack.stats().reassembly.overlapping, 2);
    hand.stack
        .ingest(hand.now, &fragments(&plain, 3, &[(40, 80), (0, 40)]));
    assert_eq!(read_all(&mut hand, id), [b'x'; 60]);
}
