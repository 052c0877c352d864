//! RFC 9293: Transmission Control Protocol
//!
//! Not applicable:
//! - 3.8.5 MUST-62: the urgent pointer of segments sent points behind the urgent data. None are sent: new applications
//!   should not use the mechanism (SHLD-13, RFC 6093 section 5).
//! - 3.9.1.7 MAY-14: a call that flushes what is queued. There is none.
//! - 3.9.2 MAY-10, MAY-11: IPv4 timestamp and record route options. They are passed over.
//! - 3.9.2.1 MUST-51, MUST-52, MUST-53, SHLD-24: source routes. Packets that carry one are dropped for the sake of
//!   security, as RFC 7126 section 4.3 and 4.4 advise and all systems in use do.
//! - 3.8.4 MAY-6: a keep-alive with one byte of garbage. No peer in use needs it.
//! - 3.9.1.2 MAY-15: a flag of the send call that pushes. Every send pushes.
//! - 3.9.1.3 MAY-17: the receiver tells the application of PSH. Data is there as soon as it has come.
//! - A.1 -: security compartment and precedence. They are ignored, as RFC 2873 and this appendix say.
//!
//! Not met:
//! - 3.8.5 MUST-32, MUST-33: the application is told of urgent data, and how much. Urgent data is taken in line with the
//!   rest, which RFC 6093 section 6 recommends; that some of it is urgent is not told.
//! - 3.9.2.2 SHLD-26: hard ICMP errors abort. Only while connecting: on an established connection RFC 5927 section 5.2
//!   is followed, as by all systems in use, for a forged message would be enough to end it.
//! - 3.8.3 SHLD-9: the application is told between R1 and R2. There is no event for it; the counters tell of
//!   retransmissions.

mod header;
mod interface;
mod sending;
mod states;
mod windows;

use dpdk_net_packet::ethernet;
use dpdk_net_stack::{TcpId, TcpState};

use crate::common::*;
use crate::support::*;

/// An accepted connection in this state.
pub(crate) fn in_state(family: Family, state: TcpState) -> (Hand, TcpId) {
    let (mut hand, id) = accepted(family);
    match state {
        TcpState::Established => {}
        TcpState::CloseWait => {
            hand.send(FIN | ACK, &[]);
        }
        TcpState::LastAck => {
            hand.send(FIN | ACK, &[]);
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
        }
        TcpState::FinWait1 => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
        }
        TcpState::FinWait2 => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.acknowledge(1);
        }
        TcpState::Closing => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.send(FIN | ACK, &[]);
        }
        TcpState::TimeWait => {
            end(&mut hand, id);
        }
        other => panic!("{other:?} is not a state of an accepted connection"),
    }
    assert_eq!(hand.stack.tcp_state(id), state);
    (hand, id)
}

pub(crate) const SYNCHRONIZED: [TcpState; 7] = [
    TcpState::Established,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
];

/// The first TCP segment that goes out, from the IP header on.
pub(crate) fn first_packet(hand: &mut Hand) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut frames);
    frames.retain(|frame| read(frame).is_some());
    frames[0][ethernet::HEADER_LEN..].to_vec()
}
