//! RFC 7112: Implications of Oversized IPv6 Header Chains

use crate::common::*;
use crate::support::*;

/// 5 SHOULD: A packet whose first fragment has not all headers up to the upper layer's is dropped, and its sender told.
#[test]
fn s5_should_first_fragments_have_all_headers() {
    let family = Family::V6;
    let (mut hand, id) = accepted(family);
    let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, &[b'x'; 60]));
    let mut give = |number: u32, pieces: &[(usize, usize)]| {
        hand.stack
            .ingest(hand.now, &fragments(&plain, number, pieces));
        let mut sent: Vec<Vec<u8>> = Vec::new();
        hand.stack.poll_transmit(hand.now, &mut sent);
        (sent, read_all(&mut hand, id))
    };
    // The TCP header has 20 bytes.
    let (sent, data) = give(1, &[(0, 16), (16, 80)]);
    assert_eq!((sent.len(), data.len()), (1, 0));
    // Parameter Problem, an incomplete header chain.
    assert_eq!(sent[0][54..56], [4, 3]);
    let (sent, data) = give(2, &[(0, 24), (24, 80)]);
    assert_eq!((sent.len(), data.len()), (0, 60));
}
