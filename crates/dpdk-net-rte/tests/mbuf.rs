//! Mbufs and batches: room, chains, offload requests, order.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_packet::{ChecksumVerdict, FrameBuf, RxMeta};
use dpdk_net_rte::mbuf::{BadTxOffload, IpVersion, L4Offload, TxOffload};
use dpdk_net_rte::{Error, Mbuf, MbufBatch, Mempool};

fn room(operation: &'static str, asked: usize, available: usize) -> Error {
    Error::MbufRoom {
        operation,
        asked,
        available,
    }
}

fn filled(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append_slice(bytes).unwrap();
    mbuf
}

#[test]
fn data_grows_and_shrinks_at_both_ends_within_the_buffer() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let mut mbuf = filled(&pool, b"payload");
    assert_eq!(
        (
            mbuf.data_len(),
            mbuf.pkt_len(),
            mbuf.headroom(),
            mbuf.tailroom()
        ),
        (7, 7, 128, 2041)
    );
    mbuf.prepend(4).unwrap().copy_from_slice(b"head");
    assert_eq!(mbuf.data(), b"headpayload");
    mbuf.adj(5).unwrap();
    mbuf.trim(3).unwrap();
    assert_eq!(mbuf.data(), b"ayl");
    mbuf.data_mut().reverse();
    assert_eq!(mbuf.data(), b"lya");
    assert_eq!(mbuf.append(2045).unwrap_err(), room("append", 2045, 2044));
    assert_eq!(mbuf.prepend(130).unwrap_err(), room("prepend", 130, 129));
    assert_eq!(mbuf.trim(4).unwrap_err(), room("trim", 4, 3));
    assert_eq!(mbuf.adj(4).unwrap_err(), room("adj", 4, 3));
    assert_eq!(
        mbuf.append(usize::MAX).unwrap_err(),
        room("append", usize::MAX, 2044)
    );
    assert_eq!(mbuf.data(), b"lya", "what was refused changed nothing");
    assert_eq!(mbuf.append(2044).unwrap().len(), 2044);
    assert_eq!((mbuf.tailroom(), mbuf.pkt_len()), (0, 2047));
}

#[test]
fn a_chain_is_one_packet_and_can_be_made_one_segment() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let mut packet = filled(&pool, b"one,");
    let mut tail = filled(&pool, b"two,");
    tail.chain(filled(&pool, b"three")).unwrap();
    packet.chain(tail).unwrap();
    assert_eq!(
        (packet.nb_segs(), packet.pkt_len(), packet.data_len()),
        (3, 13, 4)
    );
    assert!(!packet.is_contiguous());
    assert_eq!(packet.data(), b"one,");
    let mut copy = [0; 10];
    assert_eq!(packet.copy_to(&mut copy), 10);
    assert_eq!(&copy, b"one,two,th");
    packet.append_slice(b"!").unwrap();
    packet.trim(3).unwrap();
    assert_eq!(
        packet.segments().collect::<Vec<_>>(),
        [&b"one,"[..], b"two,", b"thr"]
    );
    assert_eq!(packet.trim(4).unwrap_err(), room("trim", 4, 3));
    packet.linearize().unwrap();
    assert_eq!((packet.nb_segs(), packet.data()), (1, &b"one,two,thr"[..]));
    packet.linearize().unwrap();
    assert_eq!(pool.in_use(), 1);
}

#[test]
fn a_chain_too_long_for_its_first_buffer_stays_as_it_is() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let mut packet = filled(&pool, &[1; 1500]);
    packet.chain(filled(&pool, &[2; 549])).unwrap();
    assert_eq!(packet.linearize().unwrap_err(), room("linearize", 549, 548));
    assert_eq!((packet.nb_segs(), packet.pkt_len()), (2, 2049));
    drop(packet);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_mbuf_is_a_frame_for_the_stack() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let mbuf = filled(&pool, b"frame");
    assert_eq!(mbuf.bytes(), b"frame");
    assert_eq!(mbuf.rx_meta(), RxMeta::default());
    assert_eq!(mbuf.l4_checksum(), ChecksumVerdict::Unknown);
    assert_eq!(
        (mbuf.port(), mbuf.rss_hash(), mbuf.vlan_tci()),
        (None, None, None)
    );
    assert_eq!((mbuf.is_lro(), mbuf.packet_type()), (false, 0));
    assert_eq!(mbuf.mempool(), pool);
}

#[test]
fn offload_requests_are_checked_against_the_data() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let good = TxOffload {
        l2_len: 14,
        l3_len: 20,
        ip: IpVersion::V4 {
            header_checksum: true,
        },
        l4: L4Offload::TcpSegmentation {
            segment_size: 1460,
            header_len: 20,
        },
    };
    let mut mbuf = filled(&pool, &[0; 54]);
    mbuf.set_tx_offload(good).unwrap();
    mbuf.set_tx_vlan(7);
    mbuf.clear_tx_offload();
    let wrong = [
        (
            TxOffload { l3_len: 21, ..good },
            "55 bytes do not fit the 54",
        ),
        (
            TxOffload {
                l2_len: 128,
                ..good
            },
            "7 bits",
        ),
        (
            TxOffload {
                l3_len: 512,
                ..good
            },
            "9 bits",
        ),
        (TxOffload { l3_len: 19, ..good }, "at least 20"),
        (
            TxOffload {
                ip: IpVersion::V6,
                ..good
            },
            "at least 40",
        ),
        (
            TxOffload {
                l4: L4Offload::TcpSegmentation {
                    segment_size: 0,
                    header_len: 20,
                },
                ..good
            },
            "at least 1 byte",
        ),
        (
            TxOffload {
                l4: L4Offload::TcpSegmentation {
                    segment_size: 1,
                    header_len: 19,
                },
                ..good
            },
            "20 to 60",
        ),
        (
            TxOffload {
                l2_len: 27,
                l4: L4Offload::UdpChecksum,
                ..good
            },
            "55 bytes do not fit the 54",
        ),
    ];
    for (offload, expected) in wrong {
        let error = mbuf.set_tx_offload(offload).unwrap_err().to_string();
        assert!(error.contains(expected), "{offload:?}: {error}");
    }
}

#[test]
fn an_offload_prepared_once_is_applied_to_packets_that_hold_its_headers() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let prepared = TxOffload {
        l2_len: 18,
        l3_len: 40,
        ip: IpVersion::V6,
        l4: L4Offload::UdpSegmentation { segment_size: 1200 },
    }
    .prepare()
    .unwrap();
    assert_eq!(prepared.headers(), 66);
    filled(&pool, &[0; 66]).apply_offload(&prepared).unwrap();
    let error = filled(&pool, &[0; 65]).apply_offload(&prepared);
    assert_eq!(
        error.unwrap_err().to_string(),
        "headers of 66 bytes do not fit the 65 bytes of the first segment"
    );
    let empty = TxOffload {
        l2_len: 14,
        l3_len: 40,
        ip: IpVersion::V6,
        l4: L4Offload::UdpSegmentation { segment_size: 0 },
    };
    assert_eq!(empty.prepare(), Err(BadTxOffload::EmptySegments));
}

#[test]
fn a_batch_keeps_order_and_gives_back_what_does_not_fit() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "mbufs");
    let numbers =
        |batch: &MbufBatch<4>| batch.iter().map(|mbuf| mbuf.data()[0]).collect::<Vec<_>>();
    let mut batch: MbufBatch<4> = MbufBatch::new();
    for number in 0..4 {
        batch.push(filled(&pool, &[number])).unwrap();
    }
    let back = batch.push(filled(&pool, &[9])).unwrap_err();
    assert_eq!(back.data(), [9]);
    drop(back);
    assert!(batch.is_full() && batch.room() == 0);
    assert_eq!(batch.remove(1).unwrap().data(), [1]);
    assert!(batch.remove(3).is_none());
    assert_eq!(numbers(&batch), [0, 2, 3]);
    assert_eq!(batch.pop().unwrap().data(), [3]);
    for mbuf in &mut batch {
        mbuf.data_mut()[0] += 10;
    }
    let mut other: MbufBatch<3> = MbufBatch::new();
    for number in 20..23 {
        other.push(filled(&pool, &[number])).unwrap();
    }
    assert_eq!(batch.append(&mut other), 2);
    assert_eq!(numbers(&batch), [10, 12, 20, 21]);
    assert_eq!(other.as_slice()[0].data(), [22]);
    batch.truncate(3);
    assert_eq!(pool.in_use(), 4);
    assert_eq!(batch.drain().next().unwrap().data(), [10]);
    assert!(batch.is_empty(), "what was not drained is freed");
    assert_eq!(pool.in_use(), 1);
    other.clear();
    assert!(other.pop().is_none());
    assert_eq!(pool.in_use(), 0);
}
