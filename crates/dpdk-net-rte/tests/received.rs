//! Received packets whose memory is shared: references, bounds, ends.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_packet::{FrameBuf, FrameSegment};
use dpdk_net_rte::port::TxOffloads;
use dpdk_net_rte::{Mbuf, MbufBatch, Mempool, Port, PortConfig, RxBatch, RxMbuf, RxSegment, ring};

fn filled(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append_slice(bytes).unwrap();
    mbuf
}

#[test]
fn shared_bytes_stay_after_the_packet_is_dropped_and_give_it_back_when_they_are() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "shared");
    let packet = RxMbuf::from(filled(&pool, b"header, payload"));
    let payload = packet.share(8..15).unwrap();
    assert_eq!(payload.as_ptr(), packet.data()[8..].as_ptr(), "not copied");
    let clone = payload.clone();
    drop(packet);
    assert_eq!(
        (&payload[..], pool.in_use(), pool.shared()),
        (&b"payload"[..], 1, 1)
    );
    // What was given back may not be written over: nobody gets this mbuf.
    let others: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(others.len(), 1022);
    for mut other in others {
        other.append(15).unwrap().fill(0xee);
    }
    drop(payload);
    assert_eq!(&clone[..], b"payload");
    drop(clone);
    assert_eq!((pool.in_use(), pool.shared()), (0, 0));
}

#[test]
fn a_packet_can_be_changed_again_only_when_nobody_shares_it() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "again");
    let packet = RxMbuf::from(filled(&pool, b"some bytes"));
    let shared = packet.share(0..4).unwrap();
    let packet = packet.try_into_mbuf().unwrap_err();
    drop(shared);
    let mut mbuf = packet.try_into_mbuf().unwrap();
    mbuf.data_mut().fill(b'x');
    assert_eq!(mbuf.data(), b"xxxxxxxxxx");
}

#[test]
fn no_more_than_a_quarter_of_a_pool_is_shared() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "quarter");
    let mut shared = Vec::new();
    let mut refused = 0;
    for _ in 0..400 {
        let packet = RxMbuf::from(filled(&pool, b"payload"));
        match packet.share(0..7) {
            Some(bytes) => shared.push(bytes),
            None => refused += 1,
        }
    }
    assert_eq!((shared.len(), refused), (1023 / 4, 400 - 1023 / 4));
    assert_eq!(pool.in_use(), 1023 / 4, "what was refused is free");
    shared.truncate(10);
    let packet = RxMbuf::from(filled(&pool, b"payload"));
    assert!(packet.share(0..7).is_some(), "there is room again");
}

#[test]
fn ranges_outside_of_a_segment_are_not_shared() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "ranges");
    let packet = RxMbuf::from(filled(&pool, b"0123456789"));
    for range in [0..11, 11..11, usize::MAX - 1..usize::MAX, 10..usize::MAX] {
        assert!(packet.share(range.clone()).is_none(), "{range:?}");
    }
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 5..4;
    assert!(packet.share(backwards).is_none());
    assert_eq!(packet.share(10..10).unwrap().len(), 0);
    let mut chain = filled(&pool, b"first");
    chain.chain(filled(&pool, b"second")).unwrap();
    let chain = RxMbuf::from(chain);
    assert!(chain.share(0..6).is_none(), "that is the first segment's");
    assert!(chain.segments().nth(1).unwrap().share(0..7).is_none());
    assert!(chain.segments().nth(2).is_none());
    drop(chain);
    drop(packet);
    assert_eq!((pool.in_use(), pool.shared()), (0, 0));
}

#[test]
fn shared_bytes_outlive_every_handle_of_their_pool_and_go_on_another_thread() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "outlive");
    let packet = RxMbuf::from(filled(&pool, b"payload"));
    let (bytes, held) = FrameBuf::share(&packet, 0..7).unwrap();
    assert!(held >= 128 + 2048 + 128, "{held}: all of the mbuf");
    drop((packet, pool, eal));
    let bytes = std::thread::spawn(move || {
        assert_eq!(&bytes[..], b"payload");
        bytes
    })
    .join()
    .unwrap();
    assert_eq!(&bytes[..], b"payload");
}

#[test]
fn many_threads_share_and_drop_one_packet() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "threads");
    let packet = RxMbuf::from(filled(&pool, b"payload"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    if let Some(bytes) = packet.share(0..7) {
                        assert_eq!(&bytes[..], b"payload");
                    }
                }
            });
        }
    });
    assert_eq!(pool.shared(), 0);
    assert!(packet.try_into_mbuf().is_ok(), "the only reference again");
}

#[test]
fn a_burst_is_received_read_shared_and_freed_without_what_is_kept() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "burst");
    let rings = ring::looped_port(&eal, "looped", 1, 256).unwrap();
    let port = Port::open(&eal, rings.ids()[0])
        .unwrap()
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let mut queues = port.take_queues().unwrap().remove(0);
    let before = pool.in_use();
    let mut out = MbufBatch::<64>::new();
    for n in 0..10u8 {
        assert!(out.push(filled(&pool, &[n; 100])).is_ok());
    }
    // One in two segments.
    let mut chain = filled(&pool, &[10; 50]);
    chain.chain(filled(&pool, &[11; 50])).unwrap();
    assert!(out.push(chain).is_ok());
    assert_eq!(queues.tx.tx_burst(&mut out), 11);
    let mut received = RxBatch::<64>::new();
    let mut kept = Vec::new();
    while kept.len() < 11 {
        assert_eq!(received.receive_contiguous(&mut queues.rx).dropped, 0);
        for packet in received.as_slice() {
            assert_eq!(packet.data().len(), 100);
            kept.push(packet.share(40..60).unwrap());
        }
    }
    received.clear();
    for (n, bytes) in kept.iter().enumerate().take(10) {
        assert!(bytes.iter().all(|byte| usize::from(*byte) == n), "{n}");
    }
    assert_eq!(&kept[10][..], [[10; 10], [11; 10]].concat());
    assert_eq!(pool.in_use() - before, 11);
    drop(kept);
    assert_eq!(pool.in_use(), before);
}

#[test]
fn a_shared_segment_keeps_its_own_mbuf_and_none_of_the_others() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "segments");
    let mut chain = filled(&pool, b"one");
    for part in [&b"two"[..], b"three", b"four"] {
        chain.chain(filled(&pool, part)).unwrap();
    }
    let packet = RxMbuf::from(chain);
    assert_eq!(packet.segment_count(), 4);
    assert_eq!(packet.frame_len(), 15);
    let segments: Vec<RxSegment<'_>> = packet.segments().collect();
    assert_eq!(
        segments.iter().map(RxSegment::data).collect::<Vec<_>>(),
        [&b"one"[..], b"two", b"three", b"four"]
    );
    assert!(
        packet
            .rest()
            .map(|segment| segment.bytes())
            .eq([&b"two"[..], b"three", b"four"])
    );
    let whole = packet.held_bytes();
    let (three, held) = FrameSegment::share(&segments[2], 1..5).unwrap();
    assert_eq!(held * 4, whole);
    assert_eq!(
        three.as_ptr(),
        segments[2].data()[1..].as_ptr(),
        "not copied"
    );
    let one = packet.share(0..3).unwrap();
    assert_eq!(pool.in_use(), 4);
    drop(packet);
    assert_eq!((pool.in_use(), pool.shared()), (2, 2));
    // The freed ones may be used and written; the kept ones stay.
    let mut others: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    for other in &mut others {
        other.append(16).unwrap().fill(0xee);
    }
    drop(others);
    assert_eq!((&one[..], &three[..]), (&b"one"[..], &b"hree"[..]));
    drop(one);
    assert_eq!(pool.in_use(), 1);
    drop(three);
    assert_eq!((pool.in_use(), pool.shared()), (0, 0));
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert!(all.len() == 1023 && all.iter().all(Mbuf::is_contiguous));
}

#[test]
fn a_chain_can_be_changed_again_when_none_of_its_segments_is_shared() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "again");
    let mut chain = filled(&pool, b"first");
    chain.chain(filled(&pool, b"second")).unwrap();
    let packet = RxMbuf::from(chain);
    let shared = packet.segments().nth(1).unwrap().share(0..6).unwrap();
    let packet = packet.try_into_mbuf().unwrap_err();
    drop(shared);
    let mut mbuf = packet.try_into_mbuf().unwrap();
    mbuf.linearize().unwrap();
    assert_eq!(mbuf.data(), b"firstsecond");
}

#[test]
fn headers_are_pulled_into_the_first_segment_and_no_more() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "headers");
    let rings = ring::looped_port(&eal, "looped", 1, 256).unwrap();
    let config = PortConfig {
        tx_offloads: TxOffloads::MULTI_SEGS,
        ..PortConfig::default()
    };
    let port = Port::open(&eal, rings.ids()[0])
        .unwrap()
        .configure(&config, std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let mut queues = port.take_queues().unwrap().remove(0);
    let mut out = MbufBatch::<64>::new();
    // First segments that hold too little, all headers, and all of a short packet; one that has no room behind it.
    for lengths in [
        &[54, 3, 1000, 200][..],
        &[300, 900],
        &[50, 50],
        &[600],
        &[54, 1000],
    ] {
        let mut packet = filled(&pool, &vec![lengths.len() as u8; lengths[0]]);
        for (n, length) in (10..).zip(&lengths[1..]) {
            packet.chain(filled(&pool, &vec![n; *length])).unwrap();
        }
        out.push(packet).unwrap();
    }
    let mut no_room = filled(&pool, &[0; 2048]);
    no_room.adj(1900).unwrap();
    no_room.chain(filled(&pool, &[1; 200])).unwrap();
    out.push(no_room).unwrap();
    let sent: Vec<Vec<u8>> = out
        .iter()
        .map(|mbuf| mbuf.segments().collect::<Vec<_>>().concat())
        .collect();
    assert_eq!(queues.tx.tx_burst(&mut out), 6);
    let mut received = RxBatch::<64>::new();
    let got = received.receive(&mut queues.rx);
    assert_eq!((got.packets, got.dropped), (5, 1));
    let lengths: Vec<Vec<usize>> = received
        .as_slice()
        .iter()
        .map(|packet| packet.as_mbuf().segments().map(<[u8]>::len).collect())
        .collect();
    assert_eq!(
        lengths,
        [
            vec![256, 801, 200],
            vec![300, 900],
            vec![100],
            vec![600],
            vec![256, 798]
        ]
    );
    for (packet, sent) in received.as_slice().iter().zip(&sent) {
        let bytes = packet.as_mbuf().segments().collect::<Vec<_>>().concat();
        assert_eq!(&bytes, sent);
        assert_eq!(packet.as_mbuf().pkt_len(), sent.len());
    }
    received.clear();
    assert_eq!(pool.in_use(), 0);
}
