use std::sync::Arc;

use dpdk_net_packet::bpf::{Instruction, Program};
use dpdk_net_rte::queue::TxPrepareError;
use dpdk_net_rte::{Eal, Mempool, TxMbuf};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::by_hand::{ByHand, HOST, TCP_PORT, UDP_PORT};
use dpdk_net_testkit::frames::{Path, Segment, ethernet, flags, tagged};

use super::super::tap::{TapReader, Wanted, tap};
use super::*;

/// A driver that takes so many frames at a time.
struct Takes(usize);

impl Transmit for Takes {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let taken = self.0.min(batch.len());
        (0..taken).for_each(|_| drop(batch.remove(0)));
        taken
    }

    fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        Ok(())
    }
}

/// A driver that drops frames of less than so many bytes, and takes so many of the others.
struct Weeds {
    least: usize,
    takes: usize,
    weeded: Vec<usize>,
}

impl Transmit for Weeds {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut left = TxBatch::new();
        self.weeded.clear();
        for (index, packet) in batch.drain().enumerate() {
            match packet.pkt_len() < self.least {
                true => self.weeded.push(index),
                false => left.push(packet).unwrap(),
            }
        }
        *batch = left;
        Takes(self.takes).burst(batch)
    }

    fn weeded(&self) -> &[usize] {
        &self.weeded
    }

    fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        Ok(())
    }
}

fn wanted(snaplen: usize) -> Wanted {
    Wanted {
        program: None,
        snaplen,
        received: true,
        sent: true,
        dropped: false,
    }
}

/// What is in the ring: length on the wire, and bytes.
fn read(reader: &mut TapReader) -> Vec<(u32, Vec<u8>)> {
    let pop = || {
        let mut bytes = Vec::new();
        let record = reader.pop(&mut bytes)?;
        assert_eq!(record.direction, Direction::Out);
        Some((record.original_len, bytes))
    };
    std::iter::from_fn(pop).collect()
}

fn eal() -> Eal {
    Eal::builder("capture")
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(64)
        .file_prefix(format_args!("capture-watch-{}", std::process::id()))
        .init()
        .unwrap()
}

#[test]
fn what_the_driver_takes_is_shown_once_whole_and_with_its_tag() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "frames")
        .capacity(63)
        .build()
        .unwrap();
    let mbuf = |bytes: &[u8]| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.append_slice(bytes).unwrap();
        mbuf
    };
    let frame: Vec<u8> = (0..100).collect();
    let mut tagged = mbuf(&frame[..40]);
    tagged.chain(mbuf(&frame[40..70])).unwrap();
    tagged.chain(mbuf(&frame[70..])).unwrap();
    tagged.set_tx_vlan(0x6007);
    let plain = mbuf(&frame);

    let mut watch = Watch::new(TscClock::new(&eal));
    let (whole, mut whole_reader) = tap(wanted(1_000), 10_000);
    let (short, mut short_reader) = tap(wanted(50), 10_000);
    assert!(watch.change(vec![whole, short]));
    let mut batch = TxBatch::<BURST>::new();
    for packet in [TxMbuf::from(tagged), plain.into()] {
        batch.push(packet).unwrap();
    }
    assert_eq!(watch.burst(&mut Takes(0), &mut batch), 0);
    assert_eq!(read(&mut whole_reader), []);
    assert_eq!(watch.burst(&mut Takes(1), &mut batch), 1);
    let with_tag = [&frame[..12], &[0x81, 0, 0x60, 0x07], &frame[12..]].concat();
    assert_eq!(read(&mut whole_reader), [(104, with_tag.clone())]);
    assert_eq!(read(&mut short_reader), [(104, with_tag[..50].to_vec())]);
    assert_eq!(watch.burst(&mut Takes(9), &mut batch), 1);
    assert_eq!(read(&mut whole_reader), [(100, frame.clone())]);
    assert_eq!(read(&mut short_reader), [(100, frame[..50].to_vec())]);
    assert_eq!(whole_reader.counts().seen, 2);

    whole_reader.finish();
    assert!(watch.change(Vec::new()));
    assert!(whole_reader.is_complete() && !short_reader.is_complete());
    drop(short_reader);
    assert!(!watch.change(Vec::new()), "nobody is left");
}

#[test]
fn what_can_not_be_sent_is_not_shown_and_hides_nothing_behind_it() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "frames")
        .capacity(63)
        .build()
        .unwrap();
    let of = |len: usize| {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.append_slice(&vec![len as u8; len]).unwrap();
        TxMbuf::from(mbuf)
    };
    let mut watch = Watch::new(TscClock::new(&eal));
    let (tap, mut reader) = tap(wanted(1_000), 10_000);
    assert!(watch.change(vec![tap]));
    let mut queue = Weeds {
        least: 20,
        takes: 2,
        weeded: Vec::new(),
    };
    let mut burst = |lens: &[usize]| {
        let mut batch = TxBatch::<BURST>::new();
        for len in lens {
            batch.push(of(*len)).unwrap();
        }
        let sent = watch.burst(&mut queue, &mut batch);
        assert_eq!(sent, 2);
        let shown = read(&mut reader);
        let lens = shown.iter().map(|(len, _)| *len as usize);
        lens.collect::<Vec<_>>()
    };
    assert_eq!(burst(&[1, 30, 40]), [30, 40]);
    assert_eq!(burst(&[30, 1, 2, 40, 50]), [30, 40]);
    assert_eq!(burst(&[30, 40, 3]), [30, 40]);
    assert_eq!(burst(&[1, 2, 30, 40, 50, 60]), [30, 40]);
    assert_eq!(burst(&[30, 40, 50]), [30, 40]);
    assert_eq!(reader.counts().seen, 10);
}

#[test]
fn time_does_not_go_back_by_a_little_and_follows_a_clock_that_is_set() {
    let mut time = TimeOfDay {
        clock: TscClock::new(&eal()),
        known: (1_000, 5_000_000_000),
        last: 0,
    };
    assert_eq!(time.at(2_000), 5_000_001_000);
    assert_eq!(time.at(900), 5_000_001_000);
    time.known.1 -= 3 * SLACK;
    assert_eq!(time.at(2_000), 4_997_001_000);
    let now = time.at(u64::MAX / 2);
    assert!(now > 1_000_000_000_000_000_000, "it has looked: {now}");
}

/// Takes frames of which this byte is so.
fn byte_is(at: u32, value: u32) -> Option<Arc<Program>> {
    let of = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let program = [
        of(0x30, 0, 0, at),
        of(0x15, 0, 1, value),
        of(6, 0, 0, 65_535),
        of(6, 0, 0, 0),
    ];
    Some(Arc::new(Program::new(&program).unwrap()))
}

#[test]
fn a_chain_is_copied_if_it_is_taken_and_as_far_as_it_is_kept() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "chains")
        .capacity(63)
        .build()
        .unwrap();
    let frame: Vec<u8> = (0..200).collect();
    let chain = |tag: Option<u16>| {
        let pieces = frame.chunks(80).map(|bytes| {
            let mut mbuf = pool.alloc().unwrap();
            mbuf.append_slice(bytes).unwrap();
            mbuf
        });
        let mut pieces: Vec<_> = pieces.collect();
        let mut first = pieces.remove(0);
        pieces
            .into_iter()
            .for_each(|piece| first.chain(piece).unwrap());
        if let Some(tci) = tag {
            first.set_tx_vlan(tci);
        }
        TxMbuf::from(first)
    };
    // What the filter asks for, whether that takes the frame, and whether the frame is put together for it.
    for (tag, at, value, taken, put_together) in [
        (None, 79, 79, true, false),
        (None, 79, 1, false, false),
        (None, 190, 190, true, true),
        (None, 190, 1, false, true),
        (None, 200, 0, false, true),
        (Some(7), 15, 7, true, false),
        (Some(7), 15, 8, false, false),
        (Some(7), 203, 199, true, false),
        (Some(7), 204, 0, false, false),
    ] {
        let mut watch = Watch::new(TscClock::new(&eal));
        let wanted = Wanted {
            program: byte_is(at, value),
            ..wanted(100)
        };
        let (tap, mut reader) = tap(wanted, 10_000);
        watch.change(vec![tap]);
        let mut batch = TxBatch::<BURST>::new();
        batch.push(chain(tag)).unwrap();
        assert_eq!(watch.burst(&mut Takes(1), &mut batch), 1);
        let got = read(&mut reader);
        let case = (tag, at, value);
        assert_eq!(!got.is_empty(), taken, "{case:?}");
        assert_eq!(!watch.whole.is_empty(), put_together, "{case:?}");
        assert_eq!(watch.bytes.len(), if taken { 100 } else { 0 }, "{case:?}");
        if taken {
            let on_the_wire = match tag {
                Some(tci) => tagged(&frame, tci),
                None => frame.clone(),
            };
            let whole = on_the_wire.len() as u32;
            assert_eq!(got, [(whole, on_the_wire[..100].to_vec())], "{case:?}");
        }
    }
}

/// Frames that the stack drops, by what it counts for them.
fn dropped() -> Vec<(&'static str, Vec<u8>)> {
    let to_us = |family| Path::new(family, HOST + 1, HOST);
    let (v4, v6) = (to_us(Family::V4), to_us(Family::V6));
    let udp = || v4.udp(9, UDP_PORT, b"a datagram");
    let segment = Segment {
        src_port: 9,
        dst_port: TCP_PORT,
        flags: flags::SYN,
        window: 1_000,
        ..Segment::default()
    };
    let cut = |mut frame: Vec<u8>, len| {
        frame.truncate(len);
        frame
    };
    let flip = |mut frame: Vec<u8>, at: usize| {
        frame[at] ^= 0x20;
        frame
    };
    let last = |frame: Vec<u8>| {
        let at = frame.len() - 1;
        flip(frame, at)
    };
    let from = |ip: &str| Path {
        src: ip.parse().unwrap(),
        ..v4
    };
    let elsewhere = Path {
        dst: Family::V4.host(HOST + 2),
        ..v4
    };
    let mut other_station = udp();
    other_station[5] ^= 0x40;
    vec![
        ("drop_ethernet_malformed", cut(udp(), 10)),
        ("drop_ethernet_not_for_us", other_station),
        (
            "drop_ethernet_unknown_type",
            [ethernet(v4.dst_mac, v4.src_mac, 0x1234), vec![0; 50]].concat(),
        ),
        ("drop_vlan", tagged(&udp(), 7)),
        ("drop_arp_malformed", cut(v4.who_has(), 30)),
        ("drop_ip_bad_version", flip(udp(), 14)),
        ("drop_ipv4_malformed", cut(udp(), 30)),
        ("drop_ipv4_checksum", flip(udp(), 24)),
        ("drop_ipv6_malformed", cut(v6.udp(9, 9, b""), 40)),
        ("drop_ip_bad_address", from("127.0.0.1").udp(9, 9, b"")),
        ("drop_ip_not_for_us", elsewhere.udp(9, 9, b"")),
        ("drop_ip_unknown_protocol", v4.ip(253, b"nobody")),
        ("drop_tcp_malformed", v4.ip(6, &[0; 8])),
        ("drop_tcp_checksum", last(v4.tcp(&segment))),
        ("drop_udp_malformed", v4.ip(17, &[0; 4])),
        ("drop_udp_checksum", last(udp())),
        ("drop_port_zero", v4.udp(9, 0, b"")),
        ("drop_icmp_malformed", v4.ip(1, &[8, 0])),
        ("drop_icmp_checksum", last(v4.echo_request(1, 1, b"who"))),
        ("no_socket", v4.udp(9, UDP_PORT + 1, b"nobody")),
        (
            "no_connection",
            v4.tcp(&Segment {
                dst_port: TCP_PORT + 1,
                ..segment
            }),
        ),
    ]
}

#[test]
fn each_frame_that_the_stack_drops_is_captured_with_its_cause_wherever_in_a_burst_it_is() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "frames")
        .capacity(255)
        .build()
        .unwrap();
    let dropped = dropped();
    let counters = ByHand::new().stack().stats().frames;
    for (name, _) in counters.iter() {
        let known = dropped.iter().any(|(counter, _)| *counter == name);
        assert!(known || !name.starts_with("drop_"), "no frame for {name}");
    }
    // One that is taken comes before and after each.
    let taken = Path::new(Family::V4, HOST + 1, HOST).udp(9, UDP_PORT, b"taken");
    let frames: Vec<_> = dropped
        .iter()
        .flat_map(|(counter, frame)| [("", &taken), (*counter, frame)])
        .collect();
    let all = |wanted: Wanted| {
        let mut host = ByHand::new();
        let now = host.now();
        let mut watch = Watch::new(TscClock::new(&eal));
        let (tap, mut reader) = tap(wanted, 100_000);
        watch.change(vec![tap]);
        for burst in frames.chunks(16) {
            let burst: Vec<RxMbuf> = burst
                .iter()
                .map(|(_, frame)| {
                    let mut mbuf = pool.alloc().unwrap();
                    mbuf.append_slice(frame).unwrap();
                    mbuf.into()
                })
                .collect();
            watch.ingest(host.stack_mut(), now, &burst, |_, _| ());
        }
        let mut got = Vec::new();
        loop {
            let mut bytes = Vec::new();
            let Some(record) = reader.pop(&mut bytes) else {
                break got;
            };
            got.push((record.cause.map_or("", Cause::name), bytes));
        }
    };
    let is = |wanted: &str, told: &str| match wanted {
        "" => told.is_empty(),
        wanted => told.contains(wanted.trim_start_matches("drop_")),
    };
    let got = all(wanted(1_000));
    assert_eq!(got.len(), frames.len());
    for ((told, bytes), (counter, frame)) in got.iter().zip(&frames) {
        assert!(is(counter, told) && bytes == *frame, "{counter}: {told}");
    }
    let only_dropped = Wanted {
        dropped: true,
        ..wanted(1_000)
    };
    let got = all(only_dropped);
    assert_eq!(got.len(), dropped.len());
    for ((told, bytes), (counter, frame)) in got.iter().zip(&dropped) {
        assert!(is(counter, told) && bytes == frame, "{counter}: {told}");
    }
    // Of those that are not captured none is blamed on one that is.
    let datagrams = Wanted {
        program: byte_is(23, 17),
        ..wanted(1_000)
    };
    for (told, bytes) in all(datagrams) {
        let (counter, _) = frames.iter().find(|(_, frame)| **frame == bytes).unwrap();
        assert!(is(counter, told), "{counter}: {told}");
    }
}

#[test]
fn what_was_taken_has_been_seen_whenever_somebody_asks() {
    let eal = eal();
    let pool = Mempool::builder(&eal, "frames")
        .capacity(63)
        .build()
        .unwrap();
    let mut host = ByHand::new();
    let now = host.now();
    let mut watch = Watch::new(TscClock::new(&eal));
    // Room for one frame of three.
    let (tap, mut reader) = tap(wanted(1_000), 100);
    watch.change(vec![tap]);
    let frame = Path::new(Family::V4, HOST + 1, HOST).udp(9, UDP_PORT, &[0; 30]);
    let burst: Vec<RxMbuf> = (0..3)
        .map(|_| {
            let mut mbuf = pool.alloc().unwrap();
            mbuf.append_slice(&frame).unwrap();
            mbuf.into()
        })
        .collect();
    let mut looks = Vec::new();
    watch.ingest(host.stack_mut(), now, &burst, |_, _| {
        looks.push(reader.counts());
    });
    looks.push(reader.counts());
    for counts in &looks {
        assert!(counts.seen >= counts.accepted, "{counts:?}");
        assert!(counts.accepted >= counts.lost, "{counts:?}");
    }
    let last = looks.pop().unwrap();
    assert_eq!((last.seen, last.accepted, last.lost), (3, 3, 2));
    assert!(reader.pop(&mut Vec::new()).is_some());
    assert!(reader.pop(&mut Vec::new()).is_none());
}
