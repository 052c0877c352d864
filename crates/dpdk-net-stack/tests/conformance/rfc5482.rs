//! RFC 5482: TCP User Timeout Option
//!
//! Not applicable:
//! - 3 MAY: the option itself. It is not sent, as by no system in use by default, and passed over when received: the
//!   timeout is what this side's application or configuration says.
//!
//! Shown elsewhere:
//! - 1 -: the timeout is how long transmitted data may stay unacknowledged, whatever else the peer says | `a_user_timeout_counts_from_when_the_oldest_byte_was_sent_whatever_else_is_heard`
//! - 3.1 -: the local user timeout ends a connection whose peer is silent | `a_user_timeout_ends_a_connection_whose_peer_is_silent`
//! - 4.2 -: the user timeout decides over keep-alive probes | `a_user_timeout_decides_over_keep_alive_probes`

use dpdk_net_stack::{Duration, TcpState};

use crate::both_families;
use crate::common::*;

both_families! {
    /// 3 -: The option of a peer is passed over, on a SYN and later, and changes nothing.
    fn s3_the_option_of_a_peer_changes_nothing(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        // A second.
        let option = vec![28, 4, 0, 1];
        let answers = hand.give(&Seg { options: option.clone(), ..hand.syn() });
        assert_eq!(answers[0].flags, SYN | ACK);
        hand.seq += 1;
        hand.ack = answers[0].seq.wrapping_add(1);
        hand.give(&Seg { options: option, ..hand.seg(ACK | PSH, b"hello") });
        hand.seq += 5;
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        assert_eq!(read_all(&mut hand, id), b"hello");
        hand.stack.tcp_send(id, b"anyone?").unwrap();
        hand.pass(Duration::from_secs(100));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
    }
}
