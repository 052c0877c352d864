//! What happens rarely, or only in crowds: queues that are full at the wrong moment, options nobody combines, segments
//! nobody sends but scanners.

mod common;

use common::*;
use dpdk_net_stack::{Duration, Error, Event, Keepalive, Readiness, TcpId, TcpState};

both_families! {
    fn more_connections_to_ourselves_than_the_loop_holds_take_turns(family) {
        let mut config = config(1);
        config.limits.reply_queue = 16;
        let mut pair = Pair::with(config, common::config(2));
        let listener = pair.listen(family);
        let now = pair.now;
        let clients: Vec<TcpId> =
            (0..100).map(|_| pair.server().tcp_connect(now, None, family.at(1, PORT)).unwrap()).collect();
        pair.run(Duration::from_millis(50));
        for id in &clients {
            assert_eq!(pair.server().tcp_state(*id), TcpState::Established);
        }
        let accepted = std::iter::from_fn(|| pair.server().tcp_accept(listener).ok()).count();
        assert_eq!(accepted, 100);
    }

    fn keepalive_does_not_outlive_a_connection_in_time_wait(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let times = Keepalive {
            idle: Duration::from_secs(2),
            interval: Duration::from_secs(1),
            count: 3,
        };
        pair.client().tcp_set_keepalive_times(client, times).unwrap();
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.run(Duration::from_millis(10));
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        let before = pair.client().stats().tcp.tx_segments;
        pair.run(Duration::from_secs(55));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        assert_eq!(pair.client().stats().tcp.tx_segments, before);
        pair.run(Duration::from_secs(6));
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed);
        assert_eq!(pair.client().tcp_take_error(client), None);
    }

    fn connecting_ends_by_its_own_timeout_however_short_the_patience_with_data_is(family) {
        let mut config = config(2);
        config.tcp.user_timeout = Duration::from_secs(2);
        config.tcp.connect_timeout = Duration::from_secs(10);
        let mut pair = Pair::with(common::config(1), config);
        pair.filter = Box::new(|_, frame| read(frame).is_none());
        let id = pair.connect(family);
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.client().tcp_state(id), TcpState::SynSent);
        let next = pair.client().next_timeout().expect("a SYN has a deadline");
        assert!(next > pair.now, "nothing is due, again and again");
        pair.run(Duration::from_secs(6));
        assert_eq!(pair.client().tcp_take_error(id), Some(Error::TimedOut));
    }

    fn a_send_buffer_filled_to_the_last_byte_tells_when_there_is_room_again(family) {
        let mut config = config(2);
        config.tcp.send_buffer = 8_192;
        let mut pair = Pair::with(common::config(1), config);
        let (client, _) = pair.establish(family);
        pair.events[CLIENT].clear();
        assert_eq!(pair.client().tcp_send(client, &pattern(8_192)), Ok(8_192));
        // Who asks before sending is told to wait, so an event has to come.
        assert!(!pair.client().tcp_readiness(client).contains(Readiness::WRITABLE));
        pair.run(Duration::from_millis(50));
        assert!(pair.client().tcp_readiness(client).contains(Readiness::WRITABLE));
        let woken = |e: &Event| matches!(e, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::WRITABLE));
        assert!(pair.events[CLIENT].iter().any(woken));
    }

    fn the_end_of_both_directions_is_told_as_closed(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.run(Duration::from_millis(10));
        pair.events[CLIENT].clear();
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        let closed = |e: &Event| matches!(e, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::CLOSED));
        assert!(pair.events[CLIENT].iter().any(closed));
    }
}
