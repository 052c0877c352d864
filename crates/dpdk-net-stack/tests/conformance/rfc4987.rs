//! RFC 4987: TCP SYN Flooding Attacks and Common Mitigations
//!
//! Shown elsewhere:
//! - 3.6 -: a cookie is good for its own connection and for a minute or two | `a_cookie_is_good_for_its_own_connection_and_for_a_minute_or_two`
//! - 3.6 -: window scale, SACK and segment size survive in a cookie | `what_the_syn_offered_comes_back_and_never_as_more`

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 3.6 -: 100,000 SYNs a second from addresses that answer nothing keep a real client out for no moment, and take no
    /// more memory than the SYN queue has.
    fn s3_6_under_a_flood_a_real_client_connects(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let mut n = 0u32;
        let mut connected = 0;
        for ms in 0..200 {
            // A hundred a millisecond; a fifth of a second is enough to see that it stays so.
            let mut burst = Vec::new();
            for _ in 0..100 {
                n += 1;
                let src = match family {
                    Family::V4 => std::net::IpAddr::from([198, 19, (n >> 8) as u8, n as u8]),
                    Family::V6 => std::net::IpAddr::from([0xfd00, 0, 0, 0, 1, 0, (n >> 16) as u16, n as u16]),
                };
                let syn = Seg { from: 1_024 + (n % 60_000) as u16, seq: n.wrapping_mul(77), ..hand.syn() };
                burst.push(between(src, family.host(1), &syn));
            }
            hand.stack.ingest(hand.now, &burst);
            hand.now += Duration::from_millis(1);
            hand.stack.handle_timeout(hand.now);
            let mut frames: Vec<Vec<u8>> = Vec::new();
            hand.stack.poll_transmit(hand.now, &mut frames);
            assert!(hand.stack.tcp_half_open() <= 1_024);
            if ms % 20 == 19 {
                hand.port += 1;
                hand.seq = n;
                let syn = hand.syn();
                hand.stack.ingest(hand.now, &[frame(family, 2, 1, &syn)]);
                let mut frames: Vec<Vec<u8>> = Vec::new();
                hand.stack.poll_transmit(hand.now, &mut frames);
                let answer = frames.iter().filter_map(|frame| read(frame)).find(|seg| seg.to == hand.port).expect("an answer");
                hand.seq = hand.seq.wrapping_add(1);
                hand.ack = answer.seq.wrapping_add(1);
                hand.send(ACK | PSH, b"GET /");
                let (id, _) = hand.stack.tcp_accept(listener).unwrap();
                assert_eq!(read_all(&mut hand, id), b"GET /");
                connected += 1;
            }
        }
        assert_eq!(connected, 10);
        assert!(hand.stack.stats().tcp.syn_cookies_sent > 10_000);
    }

    /// 3.6 -: An ACK that answers no cookie opens nothing.
    fn s3_6_guessed_cookies_open_nothing(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        for n in 0..20_000u32 {
            hand.port = 1_024 + (n % 50_000) as u16;
            hand.ack = n.wrapping_mul(2_654_435_761);
            hand.give(&hand.seg(ACK, &[]));
        }
        assert_eq!(hand.stack.tcp_count(), 0);
        assert!(hand.stack.tcp_accept(listener).is_err());
    }
}
