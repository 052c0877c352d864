//! RFC 5722: Handling of Overlapping IPv6 Fragments
//!
//! Shown elsewhere:
//! - 4 MUST: a packet of which fragments overlap is dropped, with what still comes of it, and nobody is told | `overlapping_fragments_spoil_the_packet_and_what_still_comes_of_it`

use dpdk_net_packet::ethernet;

use crate::common::*;
use crate::support::*;

/// 4 MUST: A segment that one fragment would write over another of never reaches a connection, whichever comes first; one
/// whose fragments do not overlap does.
#[test]
fn s4_must_overlapping_fragments_do_not_reach_a_connection() {
    let family = Family::V6;
    let (mut hand, id) = accepted(family);
    let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, &[b'x'; 60]));
    let at = ethernet::HEADER_LEN + 40;
    let mut number = 0u32;
    let mut fragments = |pieces: &[(usize, usize)]| -> Vec<Vec<u8>> {
        number += 1;
        let tcp = &plain[at..];
        let fragment = |&(from, to): &(usize, usize)| {
            let mut frame = plain[..at].to_vec();
            let more = u16::from(to < tcp.len());
            frame.extend([6, 0]);
            frame.extend((from as u16 | more).to_be_bytes());
            frame.extend(number.to_be_bytes());
            frame.extend(&tcp[from..to]);
            let len = (frame.len() - at) as u16;
            frame[ethernet::HEADER_LEN + 4..][..2].copy_from_slice(&len.to_be_bytes());
            frame[ethernet::HEADER_LEN + 6] = 44;
            frame
        };
        pieces.iter().map(fragment).collect()
    };
    for pieces in [[(0, 40), (32, 80)], [(32, 80), (0, 40)]] {
        hand.stack.ingest(hand.now, &fragments(&pieces));
        assert_eq!(read_all(&mut hand, id), b"");
        assert_eq!(hand.out(), []);
    }
    assert_eq!(hand.stack.stats().reassembly.overlapping, 2);
    hand.stack
        .ingest(hand.now, &fragments(&[(40, 80), (0, 40)]));
    assert_eq!(read_all(&mut hand, id), [b'x'; 60]);
}
