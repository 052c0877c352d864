//! Conversations on which nothing is amiss, and what happens when something is: the short way of a segment must lead to
//! what the long one would have led to.

mod common;

use std::cell::Cell;
use std::rc::Rc;

use common::*;
use dpdk_net_stack::{Duration, Error, TcpId, TcpOption};
use dpdk_net_testkit::Pieces;

const REQUEST: usize = 64;

/// The two ends of a conversation.
struct Talk {
    pair: Pair,
    client: TcpId,
    server: TcpId,
}

impl Talk {
    fn new(family: Family) -> Self {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        for (host, id) in [(CLIENT, client), (SERVER, server)] {
            pair.stacks[host]
                .tcp_set_option(id, TcpOption::NoDelay(true))
                .unwrap();
        }
        let mut talk = Talk {
            pair,
            client,
            server,
        };
        talk.exchange(5, Duration::from_millis(10));
        talk
    }

    /// So many requests, one after the other, each answered with its own bytes within `time`.
    fn exchange(&mut self, requests: usize, time: Duration) {
        let data = pattern(REQUEST);
        for _ in 0..requests {
            self.pair.client().tcp_send(self.client, &data).unwrap();
            self.answer(&data, time);
        }
    }

    /// The server answers with what it reads, until the client has read `expected`.
    fn answer(&mut self, expected: &[u8], time: Duration) {
        let (client, server) = (self.client, self.server);
        let mut answer = Vec::new();
        let mut buf = [0; 2_048];
        self.pair.run_until(time, "the answer", |pair| {
            match pair.server().tcp_recv(server, &mut buf) {
                Ok(len) => {
                    assert_eq!(pair.server().tcp_send(server, &buf[..len]), Ok(len));
                }
                Err(error) => assert_eq!(error, Error::WouldBlock),
            }
            if let Ok(len) = pair.client().tcp_recv(client, &mut buf) {
                answer.extend_from_slice(&buf[..len]);
            }
            answer.len() >= expected.len()
        });
        assert_eq!(answer, expected);
    }

    /// Loses the next so many frames with data to this host. Tells how many are still to be lost.
    fn lose(&mut self, host: usize, frames: usize) -> Rc<Cell<usize>> {
        let left = Rc::new(Cell::new(frames));
        let counter = Rc::clone(&left);
        self.pair.filter = Box::new(move |to, frame| {
            let lost = to == host && has_data(frame) && counter.get() > 0;
            if lost {
                counter.set(counter.get() - 1);
            }
            !lost
        });
        left
    }
}

fn has_data(frame: &[u8]) -> bool {
    read(frame).is_some_and(|seg| !seg.payload.is_empty())
}

both_families! {
    fn a_lost_request_is_sent_again_soon(family) {
        let mut talk = Talk::new(family);
        // By then no timer runs that was armed for something else.
        talk.pair.run(Duration::from_millis(80));
        let left = talk.lose(SERVER, 1);
        talk.exchange(1, Duration::from_millis(100));
        assert_eq!(left.get(), 0, "nothing was lost");
        let stats = talk.pair.client().stats().tcp;
        assert_eq!((stats.retransmits, stats.tail_loss_probes), (1, 1));
        talk.exchange(5, Duration::from_millis(10));
        assert_eq!(talk.pair.client().stats().tcp.retransmits, 1);
    }

    fn a_lost_answer_is_sent_again_soon(family) {
        let mut talk = Talk::new(family);
        let left = talk.lose(CLIENT, 1);
        talk.exchange(1, Duration::from_millis(100));
        assert_eq!(left.get(), 0, "nothing was lost");
        assert_eq!(talk.pair.server().stats().tcp.retransmits, 1);
        talk.exchange(5, Duration::from_millis(10));
    }

    fn a_request_that_is_lost_again_and_again_gets_there_in_the_end(family) {
        let mut talk = Talk::new(family);
        let left = talk.lose(SERVER, 5);
        talk.exchange(1, Duration::from_secs(5));
        assert_eq!(left.get(), 0);
        let stats = talk.pair.client().stats().tcp;
        assert!(stats.retransmission_timeouts >= 3, "{stats:?}");
        talk.exchange(5, Duration::from_secs(1));
    }

    fn of_two_segments_of_one_instant_the_lost_one_is_sent_again(family) {
        for lost in [1, 2] {
            let mut talk = Talk::new(family);
            let data = pattern(2 * REQUEST);
            let left = talk.lose(SERVER, lost);
            let mut out = Vec::new();
            for part in data.chunks(REQUEST) {
                talk.pair.client().tcp_send(talk.client, part).unwrap();
                let now = talk.pair.now;
                let room = usize::MAX;
                talk.pair.client().poll_transmit(now, &mut Sink { room, frames: &mut out });
            }
            assert_eq!(out.len(), 2, "one frame a part");
            for frame in out {
                if (talk.pair.filter)(SERVER, &frame) {
                    let now = talk.pair.now;
                    talk.pair.server().ingest(now, &[frame]);
                }
            }
            assert_eq!(left.get(), 0);
            talk.answer(&data, Duration::from_millis(500));
            talk.exchange(5, Duration::from_millis(10));
        }
    }

    fn a_conversation_is_counted_to_the_byte(family) {
        let mut talk = Talk::new(family);
        talk.exchange(95, Duration::from_millis(10));
        let (pair, id) = (&mut talk.pair, talk.client);
        let calm = pair.client().tcp_info(id).unwrap();
        assert_eq!(calm.bytes_sent, 100 * REQUEST as u64);
        assert_eq!(calm.bytes_acked, 100 * REQUEST as u64);
        assert_eq!(calm.bytes_received, 100 * REQUEST as u64);
        assert_eq!((calm.data_segs_out, calm.unacked, calm.total_retrans), (100, 0, 0));
        assert!(calm.busy_time >= pair.latency * 200, "{:?}", calm.busy_time);
        assert!(calm.busy_time <= pair.latency * 220, "{:?}", calm.busy_time);
        // Whatever ends the short way tells no other story.
        pair.client().tcp_set_option(id, TcpOption::NoDelay(true)).unwrap();
        assert_eq!(pair.client().tcp_info(id).unwrap(), calm);
        // Also with something on its way.
        pair.client().tcp_send(id, &pattern(REQUEST)).unwrap();
        pair.run(Duration::ZERO);
        let pair = &mut talk.pair;
        pair.client().tcp_set_option(id, TcpOption::NoDelay(true)).unwrap();
        let roused = pair.client().tcp_info(id).unwrap();
        assert_eq!((roused.unacked, roused.data_segs_out), (1, 101));
        assert_eq!(roused.send_queue as usize, REQUEST);
    }

    fn after_a_long_silence_the_window_is_the_initial_one_again(family) {
        let mut talk = Talk::new(family);
        let data = pattern(400_000);
        let (client, server) = (talk.client, talk.server);
        talk.pair.transfer(CLIENT, client, server, &data, Duration::from_secs(5));
        talk.exchange(5, Duration::from_millis(10));
        let before = talk.pair.client().tcp_info(client).unwrap();
        assert!(before.snd_cwnd > 20 * u32::from(before.snd_mss), "{before:?}");
        // Ten retransmission time-outs, and not so long that other things have to be looked at again.
        talk.pair.run(Duration::from_millis(50));
        talk.exchange(1, Duration::from_millis(10));
        let after = talk.pair.client().tcp_info(client).unwrap();
        assert!(after.snd_cwnd <= 11 * u32::from(after.snd_mss), "{after:?}");
    }

    fn a_conversation_goes_on_after_whatever_interrupts_it(family) {
        let mut talk = Talk::new(family);
        let (client, server) = (talk.client, talk.server);
        // Bulk one way, a repeated segment, a shut window, a silent minute with keep-alive.
        let data = pattern(200_000);
        talk.pair.transfer(SERVER, server, client, &data, Duration::from_secs(5));
        talk.exchange(3, Duration::from_millis(50));
        let keepalive = dpdk_net_stack::Keepalive {
            idle: Duration::from_secs(10),
            interval: Duration::from_secs(1),
            count: 3,
        };
        talk.pair.client().tcp_set_option(client, TcpOption::Keepalive(Some(keepalive))).unwrap();
        talk.exchange(3, Duration::from_millis(50));
        talk.pair.run(Duration::from_secs(60));
        talk.exchange(3, Duration::from_millis(50));
        // The peer is gone: the keep-alive of a calm connection finds out.
        talk.pair.filter = Box::new(|_, _| false);
        talk.pair.run(Duration::from_secs(15));
        assert_eq!(talk.pair.client().tcp_take_error(client), Some(Error::TimedOut));
    }

    fn what_was_counted_outlives_the_silence(family) {
        let mut talk = Talk::new(family);
        let (client, server) = (talk.client, talk.server);
        let tell = |talk: &mut Talk| {
            let info = talk.pair.client().tcp_info(client).unwrap();
            (info.bytes_sent, info.bytes_acked, info.data_segs_out, info.busy_time, info.segs_in)
        };
        let before = tell(&mut talk);
        assert_eq!(before.0, 5 * REQUEST as u64);
        talk.pair.run(Duration::from_secs(60));
        let info = talk.pair.client().tcp_info(client).unwrap();
        assert_eq!(tell(&mut talk), before);
        assert_eq!(info.last_data_sent.map(|at| at.as_secs()), Some(60));
        // Nothing but the totals is left of the sender.
        assert_eq!((info.congestion_phase, info.memory), ("", 0));
        talk.exchange(1, Duration::from_millis(10));
        assert_eq!(tell(&mut talk).0, 6 * REQUEST as u64);
        // Whoever has met a loss remembers it.
        let left = talk.lose(CLIENT, 1);
        let data = pattern(100_000);
        talk.pair.transfer(SERVER, server, client, &data, Duration::from_secs(5));
        assert_eq!(left.get(), 0);
        let threshold = talk.pair.server().tcp_info(server).unwrap().snd_ssthresh;
        assert!(threshold.is_some());
        talk.pair.run(Duration::from_secs(60));
        assert_eq!(talk.pair.server().tcp_info(server).unwrap().snd_ssthresh, threshold);
    }

    /// Buffers go from one connection to the next without what the first had out of order.
    fn what_was_out_of_order_is_not_read_by_who_has_the_buffers_next(family) {
        let mut hand = Hand::new(family);
        hand.seq = 1_000_000;
        let id = hand.connect();
        let mut seg = hand.seg(ACK, &[b'X'; 1_000]);
        seg.seq = hand.seq.wrapping_add(1_000);
        hand.give(&seg);
        hand.stack.tcp_abort(id);
        hand.out();
        hand.port = 5_001;
        hand.seq = 1_000_000;
        let id = hand.connect();
        hand.send(ACK, &[b'b'; 1_000]);
        hand.send(ACK, &[b'b'; 500]);
        let mut buf = [0; 4_000];
        let len = hand.stack.tcp_recv(id, &mut buf).unwrap();
        assert_eq!((len, buf[..len].contains(&b'X')), (1_500, false));
    }

    /// The payload of a segment that is refused is not taken for that of a later one.
    fn what_is_refused_is_never_read(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let pack = |hand: &Hand, seg: &Seg| Pieces::whole(bytes::Bytes::from(frame(hand.family, 2, 1, seg)));
        let old = hand.seg(ACK, &[b'X'; 1_400]);
        hand.stack.ingest(hand.now, &[pack(&hand, &old)]);
        hand.seq = hand.seq.wrapping_add(1_400);
        let mut buf = [0; 4_000];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(1_400));
        hand.out();
        // In one batch: a repeated segment, something that changes the table, data.
        hand.listen();
        let syn = Seg { from: 7_777, to: PORT, seq: 5, ack: 0, flags: SYN, window: 65_535, mss: Some(1_400), ..Seg::default() };
        let new = hand.seg(ACK, &[b'b'; 1_400]);
        let batch = [pack(&hand, &old), pack(&hand, &syn), pack(&hand, &new)];
        hand.stack.ingest(hand.now, &batch);
        let len = hand.stack.tcp_recv(id, &mut buf).unwrap();
        assert_eq!((len, buf[0]), (1_400, b'b'));
    }

    fn who_waits_for_a_neighbour_that_has_no_room_asks_again(family) {
        let mut client = config(2);
        client.limits.pending_per_neighbor = 1;
        let mut pair = Pair::with(config(1), client);
        let listener = pair.listen(family);
        let mut ids = Vec::new();
        for _ in 0..2 {
            let client = pair.connect(family);
            let mut server = None;
            pair.run_until(Duration::from_secs(10), "accept", |pair| {
                server = server.or_else(|| pair.server().tcp_accept(listener).ok().map(|(id, _)| id));
                server.is_some()
            });
            ids.push((client, server.unwrap()));
        }
        let data = pattern(REQUEST);
        for _ in 0..3 {
            for &(client, server) in &ids {
                pair.transfer(CLIENT, client, server, &data, Duration::from_millis(50));
            }
        }
        pair.run(Duration::from_millis(150));
        assert!(pair.client().remove_neighbor(family.host(1)));
        for &(client, _) in &ids {
            pair.client().tcp_send(client, &data).unwrap();
        }
        pair.run(Duration::from_secs(30));
        for &(_, server) in &ids {
            assert_eq!(pair.server().tcp_recv_queue(server), REQUEST);
        }
    }

    fn however_patient_with_late_acknowledgments_a_loss_is_found_out(family) {
        let mut client = config(2);
        client.tcp.peer_ack_delay = Duration::MAX;
        let mut pair = Pair::with(config(1), client);
        let (client, server) = pair.establish(family);
        let mut talk = Talk { pair, client, server };
        talk.exchange(5, Duration::from_millis(50));
        talk.pair.run(Duration::from_millis(30));
        let left = talk.lose(SERVER, 1);
        talk.exchange(1, Duration::from_secs(300));
        assert_eq!(left.get(), 0);
    }
}
