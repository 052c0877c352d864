//! UDP segmentation: several datagrams with one call.

mod common;

use std::net::SocketAddr;

use common::*;
use dpdk_net_packet::{Network, Transport, parse};
use dpdk_net_stack::{
    ChecksumOffload, Config, Duration, Error, Event, Instant, LargeFrame, Readiness, Stack, TxMeta,
    TxSink, UDP_MAX_SEGMENTS, UdpId, UdpOptions, Vlan,
};

const NOW: Instant = Instant::from_secs(1_000);

/// A sink with so much room, that takes so many segments at once and notes how it was given them.
#[derive(Default)]
struct Wire {
    room: usize,
    at_once: usize,
    frames: Vec<(Vec<u8>, TxMeta)>,
    large: Vec<usize>,
}

impl TxSink for Wire {
    fn capacity(&mut self) -> usize {
        self.room
    }

    fn large_segments(&mut self) -> usize {
        self.at_once.min(self.room)
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.room = self.room.checked_sub(1).expect("there is room");
        let mut frame = vec![0xa5; len];
        let result = fill(&mut frame);
        self.frames.push((frame, meta));
        result
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        let count = large.gso().count();
        assert!((2..=self.at_once).contains(&count));
        assert!(!large.may_refer());
        self.large.push(count);
        for index in 0..count {
            self.send(large.gso().frame_len(index), large.segment_meta(), |out| {
                large.write_segment(index, out);
            });
        }
    }
}

/// Host 1, which knows host 2, and a socket of it.
fn host(config: Config, family: Family) -> (Stack, UdpId) {
    let mut stack = Stack::new(config, NOW).unwrap();
    stack.add_neighbor(family.host(2), mac(2));
    let id = stack.udp_bind(UdpOptions::new(family.any(9))).unwrap();
    // What the stack says by itself is out of the way.
    stack.poll_transmit(NOW, &mut Vec::new());
    (stack, id)
}

fn wire(room: usize, at_once: usize) -> Wire {
    Wire {
        room,
        at_once,
        ..Wire::default()
    }
}

/// The data of the datagrams in frames, in order; other frames are left out.
fn datagrams(frames: &[(Vec<u8>, TxMeta)]) -> Vec<Vec<u8>> {
    let data = |frame: &[u8]| match parse(frame).unwrap().network {
        Network::Ip(_, Transport::Udp(datagram)) => Some(datagram.payload().to_vec()),
        _ => None,
    };
    frames.iter().filter_map(|(frame, _)| data(frame)).collect()
}

/// The longest datagram that fits an MTU of 1500.
fn longest(family: Family) -> usize {
    match family {
        Family::V4 => 1472,
        Family::V6 => 1452,
    }
}

both_families! {
    fn the_wire_sees_what_single_sends_would_give(family) {
        let longest = longest(family);
        let all = ChecksumOffload { ipv4: true, tcp: true, udp: true };
        let udp_only = ChecksumOffload { ipv4: false, ..all };
        for offload in [ChecksumOffload::default(), udp_only, all] {
            for (len, size) in [
                (0, 1), (1, 1), (64, 1), (999, 1_000), (1_000, 1_000), (1_001, 1_000), (3_000, 1_000),
                (5_432, 777), (20 * longest, longest), (43 * longest + 7, longest),
            ] {
                let data = pattern(len);
                let to = Some(family.at(2, 7));
                let (mut one, by_one) = host(config(1), family);
                let (mut all, at_once) = host(config(1), family);
                one.set_tx_checksum_offload(offload);
                all.set_tx_checksum_offload(offload);
                let mut count = 0;
                let empty = data.is_empty().then_some(&[][..]);
                for piece in empty.into_iter().chain(data.chunks(size)) {
                    one.udp_send(NOW, by_one, piece, to).unwrap();
                    count += 1;
                }
                assert_eq!(all.udp_send_segments(NOW, at_once, &data, size as u16, to), Ok(len));
                let mut expected = wire(100, 0);
                assert_eq!(one.poll_transmit(NOW, &mut expected), count);
                let mut got = wire(100, 100);
                assert_eq!(all.poll_transmit(NOW, &mut got), count);
                assert!(got.frames == expected.frames, "{len} by {size}, {offload:?}");
                assert_eq!(got.large, if count > 1 { vec![count] } else { vec![] });
                let (one, all) = (one.stats(), all.stats());
                assert_eq!(all.frames, one.frames);
                assert_eq!(all.udp.sent, one.udp.sent);
                assert_eq!(all.udp.sent_segmented, if count > 1 { count as u64 } else { 0 });
            }
        }
    }

    fn a_sink_with_little_room_gets_all_in_order(family) {
        let to = Some(family.at(2, 7));
        for at_once in [0, 1, 2, 3, 7, 100] {
            for room in [1, 2, 3, 5, 8, 13, 200] {
                let (mut stack, id) = host(config(1), family);
                let mut expected = Vec::new();
                for round in 0..4u8 {
                    let (single, data) = (vec![round; 10], pattern(100 * usize::from(round) + 950));
                    stack.udp_send(NOW, id, &single, to).unwrap();
                    expected.push(single);
                    stack.udp_send_segments(NOW, id, &data, 100, to).unwrap();
                    expected.extend(data.chunks(100).map(<[u8]>::to_vec));
                }
                let mut sink = wire(0, at_once);
                let mut ids = Vec::new();
                while sink.frames.len() < expected.len() {
                    sink.room = room;
                    let before = sink.frames.len();
                    let sent = stack.poll_transmit(NOW, &mut sink);
                    assert_eq!(sent, sink.frames.len() - before);
                    assert_eq!(sent, room.min(expected.len() - before), "all room is used");
                }
                assert_eq!(datagrams(&sink.frames), expected, "{at_once} of {room}");
                for (frame, _) in &sink.frames {
                    if family == Family::V4 {
                        ids.push(u16::from_be_bytes([frame[18], frame[19]]));
                    }
                }
                assert!(ids.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
                sink.room = 1;
                assert_eq!(stack.poll_transmit(NOW, &mut sink), 0, "nothing is left");
            }
        }
    }

    fn a_full_queue_takes_all_or_none_and_says_when_there_is_room(family) {
        let mut config = config(1);
        config.limits.reply_queue_bytes = 64 * 1024;
        let (mut stack, id) = host(config, family);
        let to = Some(family.at(2, 7));
        let data = pattern(10_000);
        let mut accepted = 0;
        let refused = loop {
            match stack.udp_send_segments(NOW, id, &data, 1_000, to) {
                Ok(10_000) => accepted += 1,
                result => break result,
            }
        };
        assert_eq!(refused, Err(Error::WouldBlock));
        assert_eq!(accepted, 6);
        assert_eq!(stack.stats().udp.send_blocked, 1);
        assert!(!stack.udp_readiness(id).contains(Readiness::WRITABLE));
        assert_eq!(stack.poll_event(), None);
        // Some of the segments do not make room yet.
        let mut sink = wire(7, 100);
        stack.poll_transmit(NOW, &mut sink);
        assert_eq!(stack.poll_event(), None);
        assert_eq!(stack.udp_send_segments(NOW, id, &data, 1_000, to), Err(Error::WouldBlock));
        sink.room = 3;
        stack.poll_transmit(NOW, &mut sink);
        assert_eq!(stack.poll_event(), Some(Event::Udp(id, Readiness::WRITABLE)));
        let less = &data[..9_000];
        assert_eq!(stack.udp_send_segments(NOW, id, less, 1_000, to), Ok(9_000));
        sink.room = 100;
        stack.poll_transmit(NOW, &mut sink);
        let first = (0..6).flat_map(|_| data.chunks(1_000));
        let expected: Vec<_> = first.chain(less.chunks(1_000)).collect();
        assert_eq!(datagrams(&sink.frames), expected);
        assert_eq!(stack.stats().udp.sent, 69);
    }

    fn what_cannot_be_sent_is_refused_and_nothing_is_queued(family) {
        let (mut stack, id) = host(config(1), family);
        let longest = longest(family);
        let to = Some(family.at(2, 7));
        let mut send = |len: usize, size: usize, to| {
            let data = vec![0; len];
            stack.udp_send_segments(NOW, id, &data, size as u16, to)
        };
        assert!(matches!(send(100, 0, to), Err(Error::InvalidInput(_))));
        assert!(matches!(send(0, 0, to), Err(Error::InvalidInput(_))));
        let most = 10 * UDP_MAX_SEGMENTS;
        assert!(matches!(send(most + 1, 10, to), Err(Error::InvalidInput(_))));
        assert_eq!(send(3_000, longest + 1, to), Err(Error::MessageTooLong));
        assert_eq!(send(longest + 1, 65_535, to), Err(Error::MessageTooLong));
        let too_much = if family == Family::V4 { 65_508 } else { 65_528 };
        assert_eq!(send(too_much, 1_400, to), Err(Error::MessageTooLong));
        assert_eq!(send(100, 10, None), Err(Error::NotConnected));
        assert!(matches!(send(100, 10, Some(family.at(2, 0))), Err(Error::InvalidInput(_))));
        let nowhere = "203.0.113.1:7".parse().unwrap();
        if family == Family::V4 {
            assert_eq!(send(100, 10, Some(nowhere)), Err(Error::NetworkUnreachable));
        }
        assert_eq!(stack.stats().link.too_big, 2);
        assert_eq!((stack.stats().udp.sent, stack.poll_transmit(NOW, &mut Vec::new())), (0, 0));
        // What is just possible.
        let mut send = |len: usize, size: usize| {
            stack.udp_send_segments(NOW, id, &vec![0; len], size as u16, to)
        };
        assert_eq!(send(most, 10), Ok(most));
        assert_eq!(send(too_much - 1, longest), Ok(too_much - 1));
        assert_eq!(send(longest, 65_535), Ok(longest), "one that fits, whatever the size");
        let frames = UDP_MAX_SEGMENTS + (too_much - 1).div_ceil(longest) + 1;
        assert_eq!(stack.poll_transmit(NOW, &mut Vec::new()), frames);
    }

    fn a_segment_size_of_the_socket_cuts_what_it_sends(family) {
        let (mut stack, id) = host(config(1), family);
        let to = Some(family.at(2, 7));
        let data = pattern(2_500);
        assert_eq!(stack.udp_segment(id), Ok(None));
        for wrong in [0, longest(family) as u16 + 21] {
            let result = stack.udp_set_segment(id, Some(wrong));
            assert!(matches!(result, Err(Error::InvalidInput(_))), "{wrong}: {result:?}");
        }
        stack.udp_set_segment(id, Some(1_000)).unwrap();
        assert_eq!(stack.udp_segment(id), Ok(Some(1_000)));
        let mut sink = wire(100, 100);
        stack.udp_send(NOW, id, &data, to).unwrap();
        // One call may say otherwise.
        stack.udp_send_segments(NOW, id, &data, 1_250, to).unwrap();
        stack.poll_transmit(NOW, &mut sink);
        let lens: Vec<_> = datagrams(&sink.frames).iter().map(Vec::len).collect();
        assert_eq!(lens, [1_000, 1_000, 500, 1_250, 1_250]);
        let over = stack.udp_send(NOW, id, &pattern(65_000), to);
        assert!(matches!(over, Err(Error::InvalidInput(_))), "{over:?}");
        stack.udp_set_segment(id, None).unwrap();
        stack.udp_send(NOW, id, &data, to).unwrap();
        assert_eq!(stack.poll_transmit(NOW, &mut Vec::new()), 2);
        assert_eq!(stack.stats().link.fragmented, 1, "one datagram again");
    }

    fn datagrams_wait_for_a_neighbour_that_is_asked_for(family) {
        let mut pair = Pair::new();
        let (now, data) = (pair.now, pattern(30_001));
        let to = pair.server().udp_bind(UdpOptions::new(family.at(1, 7))).unwrap();
        let from = pair.client().udp_bind(UdpOptions::new(family.at(2, 8))).unwrap();
        pair.client().udp_connect(from, family.at(1, 7)).unwrap();
        pair.client().udp_send_segments(now, from, &data, 1_000, None).unwrap();
        let mut got = Vec::new();
        pair.run_until(Duration::from_secs(1), "datagrams", |pair| {
            let mut buf = [0; 2_000];
            while let Ok(one) = pair.server().udp_recv(to, &mut buf) {
                assert_eq!((one.datagram_len, one.from), (one.len, family.at(2, 8)));
                got.push(buf[..one.len].to_vec());
            }
            got.len() == 31
        });
        assert_eq!(got, data.chunks(1_000).collect::<Vec<_>>());
        assert_eq!(pair.client().stats().neighbors.packets_queued, 31);
    }

    fn datagrams_to_ourselves_come_back_one_by_one_or_not_at_all(family) {
        let mut config = config(1);
        config.limits.reply_queue = 16;
        let (mut stack, id) = host(config, family);
        let to = Some(family.at(1, 9));
        let data = pattern(1_600);
        let over = stack.udp_send_segments(NOW, id, &pattern(1_601), 100, to);
        assert_eq!(over, Err(Error::NoBufferSpace));
        assert_eq!(stack.stats().link.looped, 0);
        assert_eq!(stack.udp_send_segments(NOW, id, &data, 100, to), Ok(1_600));
        assert_eq!(stack.poll_transmit(NOW, &mut Vec::new()), 0);
        let mut got = Vec::new();
        let mut buf = [0; 200];
        while let Ok(one) = stack.udp_recv(id, &mut buf) {
            got.push(buf[..one.len].to_vec());
        }
        assert_eq!(got, data.chunks(100).collect::<Vec<_>>());
        assert_eq!(stack.stats().link.looped, 16);
    }

    fn a_vlan_tags_each_datagram_and_its_mtu_is_the_limit(family) {
        let vlan = Vlan::new(5)
            .with_priority(3)
            .with_mtu(1_400)
            .with_address("198.51.100.1/24".parse().unwrap())
            .with_address("fd00:5::1/64".parse().unwrap());
        let to = match family {
            Family::V4 => "198.51.100.2:7",
            Family::V6 => "[fd00:5::2]:7",
        };
        let to: SocketAddr = to.parse().unwrap();
        let [(mut one, by_one), (mut all, at_once)] = [(); 2].map(|()| {
            let (mut stack, id) = host(config(1).with_vlan(vlan.clone()), family);
            stack.add_vlan_neighbor(5, to.ip(), mac(2));
            (stack, id)
        });
        let size = longest(family) - 100;
        let data = pattern(5 * size + 1);
        for piece in data.chunks(size) {
            one.udp_send(NOW, by_one, piece, Some(to)).unwrap();
        }
        let long = all.udp_send_segments(NOW, at_once, &data, size as u16 + 1, Some(to));
        assert_eq!(long, Err(Error::MessageTooLong));
        all.udp_send_segments(NOW, at_once, &data, size as u16, Some(to)).unwrap();
        let (mut expected, mut got) = (wire(100, 0), wire(100, 4));
        one.poll_transmit(NOW, &mut expected);
        all.poll_transmit(NOW, &mut got);
        assert!(got.frames == expected.frames);
        assert_eq!(got.large, [4, 2]);
        let tci = Some(3 << 13 | 5);
        assert!(got.frames.iter().all(|(_, meta)| meta.vlan_tci == tci));
    }
}
