//! Packets that a driver shares with others, or takes from pools of its own: made here by hand, sent through
//! a ring, and received as any other. One process a test.

use core::ptr::NonNull;

use dpdk_net_sys as sys;

use crate::mbuf::RawMbuf;
use crate::mempool::is_ours;
use crate::port::Started;
use crate::test_eal::{eal, pool};
use crate::{
    Eal, Mbuf, MbufBatch, Mempool, Port, PortConfig, QueuePair, TxBatch, TxBuf, TxMbuf, ring,
};

struct Bed {
    pool: Mempool,
    port: Port<Started>,
    queue: QueuePair,
    eal: Eal,
}

fn bed() -> Bed {
    let eal = eal();
    let pool = pool(&eal, "pool");
    let ports = ring::looped_port(&eal, "loop", 1, 63).expect("a ring");
    let port = Port::open(&eal, ports.ids()[0]).expect("it opens");
    let port = port
        .configure(&PortConfig::default(), core::slice::from_ref(&pool))
        .expect("it configures")
        .start()
        .expect("it starts");
    let queue = port.take_queues().expect("one pair").remove(0);
    Bed {
        pool,
        port,
        queue,
        eal,
    }
}

fn filled(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut mbuf = pool.alloc().expect("an mbuf");
    mbuf.append_slice(bytes).expect("room");
    mbuf
}

/// Puts a packet that nobody counts into the ring, as a driver would.
fn inject(raw: RawMbuf) {
    let mut packet = raw.as_ptr();
    // SAFETY: the only port is started, and this thread has its queue.
    assert_eq!(unsafe { sys::dn_eth_tx_burst(0, 0, &mut packet, 1) }, 1);
}

#[test]
fn a_shared_mbuf_is_copied_so_that_each_owner_has_its_own() {
    let mut bed = bed();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    let mut original = filled(&bed.pool, b"shared");
    let raw = original.raw();
    // SAFETY: one further reference, which the ring gets: what a driver that broadcasts does.
    unsafe {
        sys::dn_mbuf_refcnt_update(raw.as_ptr(), 1);
    }
    inject(raw);
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 1);
    let copy = &mut batch.as_mut_slice()[0];
    assert_ne!(copy.data().as_ptr(), original.data().as_ptr());
    copy.data_mut().fill(b'x');
    assert_eq!(original.data(), b"shared");
    original.data_mut().fill(b'y');
    assert_eq!(copy.data(), b"xxxxxx");
    let stats = bed.port.queue_stats(0).expect("queue 0");
    assert_eq!(
        (stats.rx_packets, stats.rx_bytes, stats.rx_copied),
        (1, 6, 1)
    );
    drop(original);
    batch.clear();
    assert_eq!(bed.pool.in_use(), 0);
}

#[test]
fn an_indirect_mbuf_is_copied_and_lets_go_of_what_it_pointed_to() {
    let mut bed = bed();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    let direct = filled(&bed.pool, b"pointed to");
    // SAFETY: rte_pktmbuf_clone() makes an indirect mbuf, which the ring gets.
    let clone = unsafe { sys::rte_pktmbuf_clone(direct.raw().as_ptr(), bed.pool.raw().as_ptr()) };
    inject(RawMbuf::new(NonNull::new(clone).expect("an mbuf")));
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 1);
    assert_eq!(batch.as_slice()[0].data(), b"pointed to");
    // SAFETY: reads the count.
    assert_eq!(unsafe { direct.raw().refcnt() }, 1);
    assert_ne!(batch.as_slice()[0].data().as_ptr(), direct.data().as_ptr());
    drop((direct, batch));
    assert_eq!(bed.pool.in_use(), 0);
}

#[test]
fn an_mbuf_of_a_foreign_pool_is_copied_into_ours() {
    let mut bed = bed();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    // SAFETY: the EAL is initialised; a pool that this crate did not make.
    let foreign = unsafe {
        sys::rte_pktmbuf_pool_create(c"foreign".as_ptr(), 7, 0, 0, 2176, sys::DN_SOCKET_ID_ANY)
    };
    let foreign = NonNull::new(foreign).expect("a pool");
    // SAFETY: both are alive.
    unsafe {
        assert!(is_ours(bed.pool.raw()));
        assert!(!is_ours(foreign));
    }
    // SAFETY: a fresh mbuf of one segment, whose data is written before the ring gets it.
    unsafe {
        let raw = RawMbuf::new(NonNull::new(sys::dn_pktmbuf_alloc(foreign.as_ptr())).expect("one"));
        raw.data()
            .copy_from_nonoverlapping(NonNull::from(b"abroad").cast(), 6);
        raw.set_data_len(6);
        raw.set_pkt_len(6);
        inject(raw);
    }
    batch.push(filled(&bed.pool, b"home")).expect("room");
    assert_eq!(bed.queue.tx.tx_burst(&mut batch), 1);
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 2);
    assert_eq!(
        batch.iter().map(Mbuf::data).collect::<Vec<_>>(),
        [&b"abroad"[..], b"home"]
    );
    assert!(batch.iter().all(|mbuf| mbuf.mempool() == bed.pool));
    // SAFETY: the pool is alive.
    let in_use = unsafe { sys::rte_mempool_in_use_count(foreign.as_ptr()) };
    assert_eq!(in_use, 0);
    assert_eq!(bed.port.queue_stats(0).expect("queue 0").rx_copied, 1);
}

#[test]
fn a_shared_mbuf_that_cannot_be_copied_is_dropped_and_counted() {
    let mut bed = bed();
    let original = filled(&bed.pool, b"shared");
    // SAFETY: one further reference, which the ring gets.
    unsafe {
        sys::dn_mbuf_refcnt_update(original.raw().as_ptr(), 1);
    }
    inject(original.raw());
    let all: Vec<Mbuf> = core::iter::from_fn(|| bed.pool.alloc()).collect();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 0);
    let stats = bed.port.queue_stats(0).expect("queue 0");
    assert_eq!(
        (stats.rx_packets, stats.rx_copied, stats.rx_dropped),
        (0, 0, 1)
    );
    assert_eq!(original.data(), b"shared");
    drop((all, original));
    assert_eq!(bed.pool.in_use(), 0);
}

#[test]
fn offload_requests_are_written_as_drivers_read_them_and_taken_back() {
    use crate::mbuf::{IpVersion, L4Offload, TxOffload};
    let bed = bed();
    let mut mbuf = filled(&bed.pool, &[0; 100]);
    mbuf.set_tx_vlan(5);
    mbuf.set_tx_offload(TxOffload {
        l2_len: 14,
        l3_len: 40,
        ip: IpVersion::V6,
        l4: L4Offload::TcpSegmentation {
            segment_size: 1440,
            header_len: 32,
        },
    })
    .expect("it fits");
    // SAFETY: the mbuf is alive; `tx_offload` is a u64 of it.
    let (flags, packed) = unsafe {
        let at = mbuf
            .raw()
            .as_ptr()
            .byte_add(sys::DN_MBUF_OFF_TX_OFFLOAD)
            .cast::<u64>();
        (mbuf.raw().ol_flags(), at.read())
    };
    // rte_mbuf_core.h: l2_len:7, l3_len:9, l4_len:8, tso_segsz:16.
    assert_eq!(packed, 14 | 40 << 7 | 32 << 16 | 1440 << 24);
    let expected = sys::DN_MBUF_F_TX_IPV6
        | sys::DN_MBUF_F_TX_TCP_SEG
        | sys::DN_MBUF_F_TX_TCP_CKSUM
        | sys::DN_MBUF_F_TX_VLAN;
    assert_eq!(flags, expected);
    mbuf.adj(1).expect("there is data");
    // SAFETY: the mbuf is alive.
    let flags = unsafe { mbuf.raw().ol_flags() };
    assert_eq!(flags, 0, "a header moved: nothing is asked any more");
}

#[test]
fn each_kind_of_offload_is_encoded_as_drivers_read_it() {
    use crate::mbuf::{IpVersion, L4Offload, TxOffload};
    let bed = bed();
    let v4 = |header_checksum| IpVersion::V4 { header_checksum };
    let (ipv4, ipv6) = (sys::DN_MBUF_F_TX_IPV4, sys::DN_MBUF_F_TX_IPV6);
    let ip_sum = sys::DN_MBUF_F_TX_IP_CKSUM;
    let (tcp, udp) = (sys::DN_MBUF_F_TX_TCP_CKSUM, sys::DN_MBUF_F_TX_UDP_CKSUM);
    let tso = L4Offload::TcpSegmentation {
        segment_size: 1448,
        header_len: 32,
    };
    let uso = L4Offload::UdpSegmentation { segment_size: 1200 };
    let kinds = [
        (14, 20, v4(true), L4Offload::None, ipv4 | ip_sum, 0),
        (
            14,
            20,
            v4(true),
            L4Offload::TcpChecksum,
            ipv4 | ip_sum | tcp,
            20,
        ),
        (18, 20, v4(false), L4Offload::UdpChecksum, ipv4 | udp, 8),
        (
            14,
            40,
            IpVersion::V6,
            L4Offload::TcpChecksum,
            ipv6 | tcp,
            20,
        ),
        (18, 40, IpVersion::V6, L4Offload::UdpChecksum, ipv6 | udp, 8),
        (
            14,
            20,
            v4(true),
            tso,
            ipv4 | ip_sum | tcp | sys::DN_MBUF_F_TX_TCP_SEG,
            32 | 1448 << 8,
        ),
        (
            14,
            40,
            IpVersion::V6,
            uso,
            ipv6 | udp | sys::DN_MBUF_F_TX_UDP_SEG,
            8 | 1200 << 8,
        ),
    ];
    for (l2_len, l3_len, ip, l4, flags, behind) in kinds {
        let offload = TxOffload {
            l2_len,
            l3_len,
            ip,
            l4,
        };
        let mut mbuf = filled(&bed.pool, &[0; 100]);
        // What was asked before is replaced, but for the tag.
        mbuf.set_tx_vlan(1);
        mbuf.apply_offload(&TxOffload { l4: tso, ..offload }.prepare().expect("right"))
            .expect("it fits");
        mbuf.apply_offload(&offload.prepare().expect("right"))
            .expect("it fits");
        // SAFETY: the mbuf is alive.
        let (is, packed) = unsafe { (mbuf.raw().ol_flags(), mbuf.raw().tx_offload()) };
        assert_eq!(is, flags | sys::DN_MBUF_F_TX_VLAN, "{offload:?}");
        let expected = u64::from(l2_len) | u64::from(l3_len) << 7 | behind << 16;
        assert_eq!(packed, expected, "{offload:?}");
    }
}

#[test]
fn what_is_asked_of_the_nic_survives_being_made_one_segment() {
    use crate::mbuf::{IpVersion, L4Offload, TxOffload};
    let mut bed = bed();
    let mut packet = TxMbuf::from(filled(&bed.pool, &[0; 54]));
    let mut buf = TxBuf::alloc(&bed.pool).expect("one");
    assert_eq!(buf.append(b"payload"), 7);
    let mut stock: MbufBatch<1> = MbufBatch::new();
    stock.push(bed.pool.alloc().expect("one")).expect("room");
    packet.chain(&buf, 0..7, &mut stock).expect("a reference");
    packet
        .set_tx_offload(TxOffload {
            l2_len: 14,
            l3_len: 20,
            ip: IpVersion::V4 {
                header_checksum: true,
            },
            l4: L4Offload::TcpChecksum,
        })
        .expect("it fits");
    packet.set_tx_vlan(9);
    let asked = |mbuf: &Mbuf| (mbuf.tx_flags(), mbuf.tx_lengths());
    let before = asked(packet.as_mbuf());
    let mut batch: TxBatch<1> = TxBatch::new();
    batch.push(packet).expect("room");
    assert_eq!(bed.queue.tx.tx_burst(&mut batch), 1);
    let mut received: MbufBatch<8> = MbufBatch::new();
    assert_eq!(bed.queue.rx.rx_burst(&mut received), 1);
    let arrived = &received.as_slice()[0];
    // The ring hands the very mbuf over.
    assert_eq!((arrived.nb_segs(), asked(arrived)), (1, before));
    assert_eq!(bed.port.queue_stats(0).expect("queue 0").tx_copied, 1);
}

#[test]
fn verdicts_and_metadata_are_read_from_the_flags() {
    use dpdk_net_packet::{ChecksumVerdict, FrameBuf};
    let bed = bed();
    let mbuf = filled(&bed.pool, b"frame");
    let raw = mbuf.raw();
    let verdicts = [
        (
            sys::DN_MBUF_F_RX_IP_CKSUM_GOOD | sys::DN_MBUF_F_RX_L4_CKSUM_BAD,
            ChecksumVerdict::Good,
            ChecksumVerdict::Bad,
        ),
        (
            sys::DN_MBUF_F_RX_IP_CKSUM_BAD | sys::DN_MBUF_F_RX_L4_CKSUM_NONE,
            ChecksumVerdict::Bad,
            ChecksumVerdict::None,
        ),
        (
            sys::DN_MBUF_F_RX_IP_CKSUM_NONE | sys::DN_MBUF_F_RX_L4_CKSUM_GOOD,
            ChecksumVerdict::None,
            ChecksumVerdict::Good,
        ),
        (0, ChecksumVerdict::Unknown, ChecksumVerdict::Unknown),
    ];
    for (flags, ip, l4) in verdicts {
        // SAFETY: the mbuf is ours.
        unsafe { raw.set_ol_flags(flags) };
        assert_eq!((mbuf.ip_checksum(), mbuf.l4_checksum()), (ip, l4));
    }
    // SAFETY: as above.
    unsafe {
        raw.set_ol_flags(
            sys::DN_MBUF_F_RX_VLAN_STRIPPED | sys::DN_MBUF_F_RX_VLAN | sys::DN_MBUF_F_RX_LRO,
        );
        raw.set_vlan_tci(42);
    }
    assert_eq!(
        (mbuf.rx_meta().vlan_tci, mbuf.rx_meta().rss_hash),
        (Some(42), None)
    );
    assert!(mbuf.is_lro());
    // SAFETY: as above; l2_len:7, l3_len:9, l4_len:8, tso_segsz:16.
    unsafe { raw.set_tx_offload(1448 << 24 | 14) };
    assert_eq!(mbuf.rx_meta().lro_segment, 1448);
    // SAFETY: as above.
    unsafe { raw.set_ol_flags(sys::DN_MBUF_F_RX_RSS_HASH) };
    assert_eq!(mbuf.rx_meta().lro_segment, 0, "not coalesced");
    assert!(mbuf.rx_meta().rss_hash.is_some());
    drop(mbuf);
    assert!(!bed.eal.ports().is_empty());
}

#[test]
fn a_receive_timestamp_is_read_where_the_driver_says_it_wrote_one() {
    use dpdk_net_packet::FrameBuf;

    use crate::mbuf::timestamp;
    let bed = bed();
    let mbuf = filled(&bed.pool, b"frame");
    // SAFETY: the mbuf is ours.
    unsafe { mbuf.raw().set_ol_flags(!sys::DN_MBUF_F_INDIRECT) };
    assert_eq!(mbuf.timestamp(), None, "nobody asked for any yet");
    // SAFETY: the mbuf is ours.
    unsafe { mbuf.raw().set_ol_flags(0) };
    timestamp::register().expect("there is room");
    timestamp::register().expect("and it is the same for all ports");
    let (offset, flag) = timestamp::place();
    assert_eq!(flag.count_ones(), 1);
    // SAFETY: DPDK gave this place of every mbuf to the timestamp.
    unsafe {
        let field = mbuf.raw().as_ptr().byte_add(offset).cast::<u64>();
        field.write_unaligned(0x0123_4567_89ab_cdef);
    }
    assert_eq!(mbuf.rx_meta().timestamp, None, "the driver wrote none");
    // SAFETY: as above.
    unsafe { mbuf.raw().set_ol_flags(flag) };
    assert_eq!(mbuf.rx_meta().timestamp, Some(0x0123_4567_89ab_cdef));
}

/// A packet of three segments, 18 bytes in all, that nobody counts: as a driver has it.
fn three(pool: &Mempool) -> [RawMbuf; 3] {
    let parts = [&b"first:"[..], b"second", b":third"].map(|part| {
        // SAFETY: a fresh mbuf, whose data is written.
        unsafe {
            let raw = sys::dn_pktmbuf_alloc(pool.raw().as_ptr());
            let raw = RawMbuf::new(NonNull::new(raw).expect("one"));
            raw.data()
                .copy_from_nonoverlapping(NonNull::from(part).cast(), part.len());
            raw.set_data_len(part.len() as u16);
            raw.set_pkt_len(part.len() as u32);
            raw
        }
    });
    // SAFETY: the three are ours.
    unsafe {
        parts[0].set_next(Some(parts[1]));
        parts[1].set_next(Some(parts[2]));
        parts[0].set_nb_segs(3);
        parts[0].set_pkt_len(18);
    }
    parts
}

#[test]
fn chains_whose_lengths_contradict_each_other_are_dropped_and_counted() {
    let mut bed = bed();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    // Segments and bytes of the packet; length and start of the second segment's data. Right are 3, 18, 6 and 128.
    let lies = [
        (3, 17, 6, 128),
        (3, u32::MAX, 6, 128),
        (2, 18, 6, 128),
        (u16::MAX, 18, 6, 128),
        (1, 18, 6, 128),
        // Past the end of its buffer, though the sum is right.
        (3, 2212, 2200, 128),
        (3, 18, 6, u16::MAX),
    ];
    for (n, (segments, bytes, length, start)) in (1..).zip(lies) {
        let packet = three(&bed.pool);
        // SAFETY: the packet is ours until it is injected.
        unsafe {
            packet[0].set_nb_segs(segments);
            packet[0].set_pkt_len(bytes);
            packet[1].set_data_len(length);
            packet[1].set_data_off(start);
        }
        inject(packet[0]);
        // A good one goes with it.
        inject(three(&bed.pool)[0]);
        assert_eq!(bed.queue.rx.rx_burst(&mut batch), 1, "{n}");
        let mut bytes = [0; 18];
        assert_eq!(batch.as_slice()[0].copy_to(&mut bytes), 18);
        assert_eq!(&bytes, b"first:second:third");
        batch.clear();
        let stats = bed.port.queue_stats(0).expect("queue 0");
        assert_eq!((stats.rx_malformed, stats.rx_packets), (n, n));
        assert_eq!(bed.pool.in_use(), 0, "{n}");
    }
    assert_eq!(bed.port.queue_stats(0).expect("queue 0").rx_dropped, 0);
}

#[test]
fn a_chain_that_is_a_circle_is_not_followed_for_ever() {
    let mut bed = bed();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    let packet = three(&bed.pool);
    // SAFETY: the packet is ours.
    unsafe { packet[2].set_next(Some(packet[1])) };
    inject(packet[0]);
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 0);
    assert_eq!(bed.port.queue_stats(0).expect("queue 0").rx_malformed, 1);
    // Nobody can say what of it is whose: it is left alone.
    assert_eq!(bed.pool.in_use(), 3);
    // SAFETY: nobody else has it; with the circle cut it can be freed.
    unsafe {
        packet[2].set_next(None);
        sys::dn_pktmbuf_free(packet[0].as_ptr());
    }
}

#[test]
fn what_a_sender_asked_of_its_port_is_not_asked_of_the_next_with_a_copy() {
    use crate::mbuf::{IpVersion, L4Offload, TxOffload};
    let mut bed = bed();
    let mut original = filled(&bed.pool, &[0; 60]);
    original
        .set_tx_offload(TxOffload {
            l2_len: 14,
            l3_len: 20,
            ip: IpVersion::V4 {
                header_checksum: true,
            },
            l4: L4Offload::UdpChecksum,
        })
        .expect("it fits");
    // SAFETY: one further reference, which the ring gets.
    unsafe {
        sys::dn_mbuf_refcnt_update(original.raw().as_ptr(), 1);
    }
    inject(original.raw());
    let mut batch: MbufBatch<8> = MbufBatch::new();
    assert_eq!(bed.queue.rx.rx_burst(&mut batch), 1);
    assert_eq!(batch.as_slice()[0].tx_flags(), 0);
    assert_ne!(original.tx_flags(), 0);
}

#[test]
fn a_queue_whose_mbufs_are_freed_unseen_hands_over_single_ones_of_its_pool() {
    use crate::mbuf::{IpVersion, L4Offload, TxOffload};
    let bed = bed();
    let other = pool(&bed.eal, "other");
    let Bed {
        port, queue, pool, ..
    } = bed;
    let QueuePair { mut rx, tx } = queue;
    drop(tx);
    let inner = port.inner_for_tests();
    let rules = inner.lock().setup.tx_rules;
    let slot = inner.lock().setup.tx[0].clone();
    assert!(slot.take());
    // SAFETY: the slot was taken, of a started port, whose rules these are and whose keeper holds the pool.
    let mut tx = unsafe { super::TxQueue::new(inner, 0, slot, rules, Some(pool.clone())) };

    let mut buf = TxBuf::alloc(&other).expect("one");
    assert_eq!(buf.append(b"payload"), 7);
    let mut stock: MbufBatch<2> = MbufBatch::new();
    other.alloc_bulk(&mut stock, 2).expect("two");
    let offload = TxOffload {
        l2_len: 14,
        l3_len: 20,
        ip: IpVersion::V4 {
            header_checksum: true,
        },
        l4: L4Offload::TcpChecksum,
    };
    let plain = TxMbuf::from(filled(&pool, b"plain"));
    let mut foreign = filled(&other, &[1; 54]);
    foreign.set_tx_offload(offload).expect("it fits");
    foreign.set_tx_vlan(7);
    let asked = (foreign.tx_flags(), foreign.tx_lengths());
    let mut refers = TxMbuf::from(filled(&pool, b"head:"));
    refers.chain(&buf, 0..7, &mut stock).expect("a reference");
    let mut chained = filled(&pool, b"one,");
    chained.chain(filled(&pool, b"two")).expect("short");
    let mut batch: TxBatch<8> = TxBatch::new();
    for packet in [plain, foreign.into(), refers, chained.into()] {
        batch.push(packet).expect("room");
    }
    assert_eq!(tx.tx_burst(&mut batch), 4);
    assert_eq!((other.in_use(), buf.references()), (2, 0), "copied");
    let mut received: MbufBatch<8> = MbufBatch::new();
    assert_eq!(rx.rx_burst(&mut received), 4);
    for packet in &received {
        assert_eq!((packet.nb_segs(), packet.mempool()), (1, pool.clone()));
        // SAFETY: reads the count.
        assert_eq!(unsafe { packet.raw().refcnt() }, 1);
    }
    assert_eq!(received.as_slice()[0].data(), b"plain");
    assert_eq!(received.as_slice()[1].data(), [1; 54]);
    let copied = &received.as_slice()[1];
    assert_eq!((copied.tx_flags(), copied.tx_lengths()), asked);
    // SAFETY: the mbuf is alive.
    assert_eq!(unsafe { copied.raw().vlan_tci() }, 7);
    assert_eq!(received.as_slice()[2].data(), b"head:payload");
    assert_eq!(received.as_slice()[3].data(), b"one,two");
    received.clear();

    // Without an mbuf for the copy it is dropped and counted; what needs none goes on.
    let mut batch: TxBatch<8> = TxBatch::new();
    batch.push(filled(&other, b"foreign").into()).expect("room");
    batch.push(filled(&pool, b"plain").into()).expect("room");
    let all: Vec<Mbuf> = core::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(tx.tx_burst(&mut batch), 1);
    drop(all);
    assert_eq!(rx.rx_burst(&mut received), 1);
    let stats = port.queue_stats(0).expect("queue 0");
    assert_eq!(
        (stats.tx_packets, stats.tx_copied, stats.tx_dropped),
        (5, 3, 1)
    );
    // One too long for an mbuf of that pool.
    let mut long = TxMbuf::from(filled(&other, &[0; 1000]));
    let mut more = TxBuf::alloc(&other).expect("one");
    assert_eq!(more.append(&[0; 2000]), 2000);
    long.chain(&more, 0..2000, &mut stock).expect("a reference");
    batch.push(long).expect("room");
    assert_eq!(tx.tx_burst(&mut batch), 0);
    assert!(batch.is_empty());
    drop((received, stock, buf, more));
    assert_eq!((pool.in_use(), other.in_use()), (0, 0));
}
