//! RFC 6056: Recommendations for Transport-Protocol Port Randomization
//!
//! Shown elsewhere:
//! - 3.2 SHOULD: the whole range from 1,024 on is used | `every_port_of_the_range_can_be_used_to_one_destination`
//! - 3.3.3 -: ports of one destination do not tell those of another | `ports_of_one_destination_do_not_tell_those_of_another`

use crate::both_families;
use crate::common::*;

both_families! {
    /// 3.3.3 -: Ports of outgoing connections start at a secret place of the range for each destination (algorithm 3), and
    /// none is used twice to one destination.
    fn s3_3_3_ports_start_at_a_secret_place(family) {
        let mut firsts = Vec::new();
        for seed in 1..=8 {
            let mut config = config(1);
            config.seed = [seed; 32];
            let mut hand = Hand::with(family, config);
            for remote in 0..8 {
                let mut ports = Vec::new();
                for _ in 0..64 {
                    let id = hand.stack.tcp_connect(hand.now, None, family.at(2, 5_000 + remote)).unwrap();
                    ports.push(hand.stack.tcp_local(id).unwrap().port());
                }
                firsts.push(ports[0]);
                assert!(ports.iter().all(|port| *port >= 1_024));
                ports.sort_unstable();
                ports.dedup();
                assert_eq!(ports.len(), 64, "no port twice to one destination");
            }
        }
        firsts.sort_unstable();
        let close = firsts.windows(2).filter(|two| two[1] - two[0] < 16).count();
        assert!(close < 8, "{firsts:?}");
        assert!(firsts[0] < 15_000 && firsts[63] > 50_000, "{firsts:?}");
    }
}
