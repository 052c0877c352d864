//! Packets that refer to payload elsewhere: what arrives, what goes back, and who keeps what alive.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_rte::mbuf::{IpVersion, L4Offload, TxOffload};
use dpdk_net_rte::port::{Started, TxOffloads};
use dpdk_net_rte::{
    Eal, Mbuf, MbufBatch, Mempool, NoReference, Port, PortConfig, QueuePair, TxBatch, TxBuf,
    TxMbuf, ring,
};

/// Pools as an application has them, and a port that receives what it sends.
struct Bed {
    eal: Eal,
    /// Headers, and what is received.
    packets: Mempool,
    /// Payload.
    buffers: Mempool,
    /// References.
    references: Mempool,
    stock: MbufBatch<64>,
    port: Port<Started>,
    queue: QueuePair,
}

/// A bed; the port takes packets of several segments or not.
fn bed(multi_segs: bool) -> Bed {
    let eal = eal_with_vdevs(&[]);
    let packets = pool(&eal, "packets");
    let buffers = Mempool::builder(&eal, "buffers")
        .capacity(63)
        .data_room(16 << 10)
        .cache_size(0)
        .build()
        .unwrap();
    let references = Mempool::builder(&eal, "references")
        .capacity(1023)
        .data_room(0)
        .build()
        .unwrap();
    let ports = ring::looped_port(&eal, "loop", 1, 255).unwrap();
    let config = PortConfig {
        tx_offloads: if multi_segs {
            TxOffloads::MULTI_SEGS
        } else {
            TxOffloads::empty()
        },
        mtu: Some(9000),
        ..PortConfig::default()
    };
    let rx = Mempool::builder(&eal, "rx")
        .capacity(255)
        .data_room(10_000)
        .build()
        .unwrap();
    let port = Port::open(&eal, ports.ids()[0])
        .unwrap()
        .configure(&config, &[rx])
        .unwrap()
        .start()
        .unwrap();
    let queue = port.take_queues().unwrap().remove(0);
    let mut stock = MbufBatch::new();
    references.alloc_bulk(&mut stock, 64).unwrap();
    Bed {
        eal,
        packets,
        buffers,
        references,
        stock,
        port,
        queue,
    }
}

impl Bed {
    fn header(&self, bytes: &[u8]) -> TxMbuf {
        let mut mbuf = self.packets.alloc().unwrap();
        mbuf.append_slice(bytes).unwrap();
        mbuf.into()
    }

    fn filled(&self, bytes: &[u8]) -> TxBuf {
        let mut buf = TxBuf::alloc(&self.buffers).unwrap();
        assert_eq!(buf.append(bytes), bytes.len());
        buf
    }

    /// Sends it and receives it again.
    fn over(&mut self, packet: TxMbuf) -> Option<Mbuf> {
        let mut batch: TxBatch<4> = TxBatch::new();
        batch.push(packet).unwrap();
        self.queue.tx.tx_burst(&mut batch);
        assert!(batch.is_empty());
        let mut received: MbufBatch<32> = MbufBatch::new();
        self.queue.rx.rx_burst(&mut received);
        assert!(received.len() <= 1);
        received.pop()
    }

    /// That nothing is out any more but the stock.
    fn all_is_back(&mut self) {
        self.stock.clear();
        let in_use = [&self.packets, &self.buffers, &self.references].map(Mempool::in_use);
        assert_eq!(in_use, [0, 0, 0]);
    }
}

fn bytes(mbuf: &Mbuf) -> Vec<u8> {
    let mut all = vec![0; mbuf.pkt_len()];
    assert_eq!(mbuf.copy_to(&mut all), all.len());
    all
}

#[test]
fn what_is_referred_to_arrives_and_every_mbuf_goes_back() {
    let mut bed = bed(true);
    let one = bed.filled(b"0123456789");
    let two = bed.filled(b"abcdefghij");
    let mut packet = bed.header(b"head:");
    packet.chain(&one, 2..5, &mut bed.stock).unwrap();
    packet.chain(&two, 0..10, &mut bed.stock).unwrap();
    packet.chain(&one, 9..10, &mut bed.stock).unwrap();
    packet.chain(&one, 3..3, &mut bed.stock).unwrap();
    assert_eq!((packet.nb_segs(), packet.pkt_len()), (4, 19));
    assert_eq!(
        packet.segments().collect::<Vec<_>>(),
        [&b"head:"[..], b"234", b"abcdefghij", b"9"]
    );
    // Referred to, not copied.
    assert_eq!(
        packet.segments().nth(1).unwrap().as_ptr(),
        one.as_slice()[2..].as_ptr()
    );
    assert_eq!((one.references(), two.references()), (2, 1));
    let received = bed.over(packet).unwrap();
    assert_eq!(bytes(&received), b"head:234abcdefghij9");
    assert_eq!((one.references(), two.references()), (0, 0));
    let stats = bed.port.queue_stats(0).unwrap();
    assert_eq!(
        (stats.tx_packets, stats.tx_bytes, stats.tx_copied),
        (1, 19, 0)
    );
    drop((received, one, two));
    bed.all_is_back();
}

#[test]
fn payload_is_sent_again_and_again_while_more_is_appended() {
    let mut bed = bed(true);
    let mut buf = TxBuf::alloc(&bed.buffers).unwrap();
    assert_eq!((buf.capacity(), buf.room()), (16 << 10, 16 << 10));
    let mut sent: TxBatch<64> = TxBatch::new();
    for n in 0..50_usize {
        assert_eq!(buf.append(&[n as u8; 100]), 100);
        let mut packet = bed.header(&[n as u8]);
        packet
            .chain(&buf, (n / 2) * 100..(n + 1) * 100, &mut bed.stock)
            .unwrap();
        sent.push(packet).unwrap();
    }
    assert_eq!(buf.references(), 50);
    assert_eq!(bed.queue.tx.tx_burst(&mut sent), 50);
    let mut received: MbufBatch<64> = MbufBatch::new();
    while received.len() < 50 {
        bed.queue.rx.rx_burst(&mut received);
    }
    for (n, packet) in received.iter().enumerate() {
        let mut expected = vec![n as u8];
        (n / 2..n + 1).for_each(|part| expected.extend([part as u8; 100]));
        assert_eq!(bytes(packet), expected);
    }
    assert_eq!((buf.references(), buf.len()), (0, 5000));
    drop((buf, received));
    bed.all_is_back();
}

#[test]
fn a_full_buffer_takes_what_fits_and_says_how_much() {
    let mut bed = bed(true);
    let mut buf = TxBuf::alloc(&bed.buffers).unwrap();
    assert_eq!(buf.append(&vec![1; 16_000]), 16_000);
    assert_eq!(buf.append(&[2; 1000]), 384);
    assert_eq!((buf.append(&[3]), buf.room()), (0, 0));
    assert_eq!(buf.as_slice()[15_999..16_001], [1, 2]);
    assert_eq!(buf.len(), 16 << 10);
    assert!(buf.held_bytes() >= 128 + (16 << 10));
    drop(buf);
    bed.all_is_back();
}

#[test]
fn a_port_that_takes_one_segment_gets_a_copy_of_what_fits() {
    let mut bed = bed(false);
    let buf = bed.filled(&[7; 5000]);
    let mut packet = bed.header(&[1; 54]);
    packet.chain(&buf, 0..1000, &mut bed.stock).unwrap();
    packet.chain(&buf, 1000..1460, &mut bed.stock).unwrap();
    let received = bed.over(packet).unwrap();
    assert_eq!(received.nb_segs(), 1);
    assert_eq!(bytes(&received), [vec![1; 54], vec![7; 1460]].concat());
    // The header's mbuf has room for 2048 in all.
    let mut packet = bed.header(&[1; 54]);
    packet.chain(&buf, 0..1995, &mut bed.stock).unwrap();
    assert!(bed.over(packet).is_none());
    let stats = bed.port.queue_stats(0).unwrap();
    assert_eq!(
        (stats.tx_packets, stats.tx_copied, stats.tx_dropped),
        (1, 1, 1)
    );
    assert_eq!(buf.references(), 0);
    drop((received, buf));
    bed.all_is_back();
}

#[test]
fn which_packets_a_burst_drops_is_known_until_the_next_that_drops_some() {
    let mut bed = bed(false);
    let buf = bed.filled(&[7; 5000]);
    assert_eq!(bed.queue.tx.weeded(), []);
    // Of more than one mbuf, and too long for one.
    let bad = |bed: &mut Bed| {
        let mut packet = bed.header(&[1; 54]);
        packet.chain(&buf, 0..1995, &mut bed.stock).unwrap();
        packet
    };
    for (drops, told) in [
        (vec![0], vec![0]),
        (vec![1, 3], vec![1, 3]),
        (vec![], vec![1, 3]),
        (vec![4], vec![4]),
    ] {
        let mut batch: TxBatch<8> = TxBatch::new();
        for index in 0..5 {
            let packet = match drops.contains(&index) {
                true => bad(&mut bed),
                false => bed.header(&[index as u8; 60]),
            };
            batch.push(packet).unwrap();
        }
        assert_eq!(bed.queue.tx.tx_burst(&mut batch), 5 - drops.len());
        assert!(batch.is_empty());
        assert_eq!(bed.queue.tx.weeded(), told);
        let mut received: MbufBatch<32> = MbufBatch::new();
        bed.queue.rx.rx_burst(&mut received);
        let got: Vec<usize> = received.iter().map(|it| it.data()[0].into()).collect();
        let kept: Vec<usize> = (0..5).filter(|index| !drops.contains(index)).collect();
        assert_eq!(got, kept);
    }
    drop(buf);
    bed.all_is_back();
}

#[test]
fn plain_packets_and_packets_with_references_go_in_one_burst_in_order() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let mut batch: TxBatch<64> = TxBatch::new();
    for n in 0..40_u8 {
        let mut packet = bed.header(&[n]);
        if n % 3 == 0 {
            packet.chain(&buf, 0..7, &mut bed.stock).unwrap();
        }
        batch.push(packet).unwrap();
    }
    assert_eq!(bed.queue.tx.tx_burst(&mut batch), 40);
    let mut received: MbufBatch<64> = MbufBatch::new();
    while received.len() < 40 {
        bed.queue.rx.rx_burst(&mut received);
    }
    for (n, packet) in received.iter().enumerate() {
        let tail: &[u8] = if n % 3 == 0 { b"payload" } else { b"" };
        assert_eq!(bytes(packet), [&[n as u8], tail].concat());
    }
    drop((received, buf));
    bed.all_is_back();
}

#[test]
fn a_full_ring_leaves_packets_with_references_in_the_batch() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let (mut batch, mut taken): (TxBatch<64>, usize) = (TxBatch::new(), 0);
    // The ring holds 255.
    for _ in 0..5 {
        let room = bed.stock.room();
        bed.references.alloc_bulk(&mut bed.stock, room).unwrap();
        while !batch.is_full() {
            let mut packet = bed.header(b"head:");
            packet.chain(&buf, 0..7, &mut bed.stock).unwrap();
            batch.push(packet).unwrap();
        }
        taken += bed.queue.tx.tx_burst(&mut batch);
    }
    assert_eq!((taken, batch.len()), (255, 64));
    assert_eq!(buf.references(), 255 + 64);
    batch.clear();
    assert_eq!(buf.references(), 255);
    let mut received: MbufBatch<64> = MbufBatch::new();
    while taken > 0 {
        taken -= bed.queue.rx.rx_burst(&mut received);
        assert!(
            received
                .iter()
                .all(|packet| bytes(packet) == b"head:payload")
        );
        received.clear();
    }
    drop(buf);
    bed.all_is_back();
}

#[test]
fn a_packet_under_way_keeps_the_pool_of_what_it_refers_to() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let mut packets = [bed.header(b"one:"), bed.header(b"two:")];
    for packet in &mut packets {
        packet.chain(&buf, 0..7, &mut bed.stock).unwrap();
    }
    let Bed {
        eal,
        buffers,
        references,
        stock,
        port,
        mut queue,
        packets: headers,
    } = bed;
    drop((buf, buffers, references, stock, headers));
    let taken = |name: &str| Mempool::builder(&eal, name).capacity(7).build().is_err();
    let [one, two] = packets;
    assert_eq!(
        two.segments().collect::<Vec<_>>(),
        [&b"two:"[..], b"payload"]
    );
    assert!(taken("buffers") && taken("references"), "in hand");
    drop(two);
    let mut batch: TxBatch<4> = TxBatch::new();
    batch.push(one).unwrap();
    assert_eq!(queue.tx.tx_burst(&mut batch), 1);
    assert!(taken("buffers") && taken("references"), "with the driver");
    let mut received: MbufBatch<32> = MbufBatch::new();
    assert_eq!(queue.rx.rx_burst(&mut received), 1);
    assert_eq!(bytes(&received.as_slice()[0]), b"one:payload");
    drop((received, queue, port));
    // The port's keeper was the last to hold them.
    assert!(!taken("buffers") && !taken("references") && !taken("packets"));
}

#[test]
fn packets_left_in_a_ring_that_is_closed_let_go_of_what_they_refer_to() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let mut batch: TxBatch<4> = TxBatch::new();
    let mut packet = bed.header(b"head:");
    packet.chain(&buf, 0..7, &mut bed.stock).unwrap();
    batch.push(packet).unwrap();
    assert_eq!(bed.queue.tx.tx_burst(&mut batch), 1);
    assert_eq!(buf.references(), 1);
    let Bed {
        buffers,
        port,
        queue,
        ..
    } = bed;
    drop((queue, port));
    assert_eq!((buf.references(), buffers.in_use()), (0, 1));
    drop(buf);
    assert_eq!(buffers.in_use(), 0);
}

#[test]
fn a_reference_that_cannot_be_made_leaves_everything_as_it_was() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let mut packet = bed.header(b"head:");
    #[allow(clippy::reversed_empty_ranges)]
    for (start, end) in [(0, 8), (8, 8), (3, 2), (usize::MAX, usize::MAX)] {
        let refused = packet.chain(&buf, start..end, &mut bed.stock);
        let written = 7;
        let expected = NoReference::OutOfRange {
            start,
            end,
            written,
        };
        assert_eq!(refused, Err(expected));
    }
    let mut empty: MbufBatch<4> = MbufBatch::new();
    assert_eq!(
        packet.chain(&buf, 0..7, &mut empty),
        Err(NoReference::StockEmpty)
    );
    assert_eq!(bed.stock.len(), 64);
    assert_eq!((packet.nb_segs(), packet.pkt_len()), (1, 5));
    assert_eq!(buf.references(), 0);
    drop((packet, buf));
    bed.all_is_back();
}

#[test]
fn no_more_than_its_count_holds_refer_to_a_buffer() {
    let eal = eal_with_vdevs(&[]);
    let packets = pool(&eal, "packets");
    let mut buf = TxBuf::from(packets.alloc().unwrap());
    assert_eq!(buf.append(b"x"), 1);
    let references = Mempool::builder(&eal, "references")
        .capacity(32_800)
        .data_room(0)
        .cache_size(0)
        .build()
        .unwrap();
    let mut stock: MbufBatch<64> = MbufBatch::new();
    let mut packet = TxMbuf::from(packets.alloc().unwrap());
    let (mut full, mut made) = (Vec::new(), 0);
    let refused = loop {
        if stock.is_empty() {
            references.alloc_bulk(&mut stock, 1).unwrap();
        }
        // Each packet a few: a long chain is slow to lengthen.
        if packet.nb_segs() > 200 {
            let next = TxMbuf::from(packets.alloc().unwrap());
            full.push(std::mem::replace(&mut packet, next));
        }
        match packet.chain(&buf, 0..1, &mut stock) {
            Ok(()) => made += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!(
        (refused, made),
        (NoReference::TooManyReferences, (1 << 15) - 1)
    );
    assert_eq!((buf.references(), stock.len()), (made, 1));
    drop(full.pop());
    assert_eq!(buf.references(), made - 200);
    packet.chain(&buf, 0..1, &mut stock).unwrap();
    drop((packet, full));
    assert_eq!(buf.references(), 0);
}

#[test]
fn many_threads_refer_to_one_buffer() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let (packets, references) = (&bed.packets, &bed.references);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut stock: MbufBatch<4> = MbufBatch::new();
                for _ in 0..10_000 {
                    references.alloc_bulk(&mut stock, 1).unwrap();
                    let mut packet = TxMbuf::from(packets.alloc().unwrap());
                    packet.chain(&buf, 1..3, &mut stock).unwrap();
                    assert_eq!(packet.segments().nth(1), Some(&b"ay"[..]));
                }
            });
        }
    });
    assert_eq!(buf.references(), 0);
    drop(buf);
    bed.all_is_back();
}

#[test]
fn stock_and_buffers_are_made_of_mbufs_whatever_is_in_them() {
    let mut bed = bed(true);
    let mut used = bed.packets.alloc().unwrap();
    used.append_slice(b"was used").unwrap();
    used.chain(bed.packets.alloc().unwrap()).unwrap();
    let mut again = bed.packets.alloc().unwrap();
    again.append_slice(b"was used too").unwrap();
    again.chain(bed.packets.alloc().unwrap()).unwrap();
    let mut buf = TxBuf::from(again);
    assert_eq!((buf.len(), bed.packets.in_use()), (0, 3));
    buf.append(b"payload");
    let mut stock: MbufBatch<4> = MbufBatch::new();
    stock.push(used).unwrap();
    let mut packet = bed.header(b"head:");
    packet.chain(&buf, 3..7, &mut stock).unwrap();
    assert_eq!(bed.packets.in_use(), 3);
    assert_eq!(bytes(&bed.over(packet).unwrap()), b"head:load");
    drop(buf);
    bed.all_is_back();
}

#[test]
fn only_a_packet_without_references_can_be_changed_again() {
    let mut bed = bed(true);
    let buf = bed.filled(b"payload");
    let mut plain = bed.header(b"head:");
    plain.data_mut()[0] = b'H';
    let mut tail = bed.packets.alloc().unwrap();
    tail.append_slice(b"tail").unwrap();
    let mut mbuf = plain.try_into_mbuf().unwrap();
    mbuf.chain(tail).unwrap();
    let mut packet = TxMbuf::from(mbuf)
        .try_into_mbuf()
        .map(TxMbuf::from)
        .unwrap();
    packet.chain(&buf, 0..7, &mut bed.stock).unwrap();
    let packet = packet.try_into_mbuf().unwrap_err();
    assert_eq!(bytes(packet.as_mbuf()), b"Head:tailpayload");
    drop((packet, buf));
    bed.all_is_back();
}

#[test]
fn a_batch_of_mbufs_can_become_one_of_packets_to_send() {
    let mut bed = bed(true);
    let mut mbufs: MbufBatch<4> = MbufBatch::new();
    bed.packets.alloc_bulk(&mut mbufs, 3).unwrap();
    for (n, mbuf) in (0..).zip(&mut mbufs) {
        mbuf.append_slice(&[n]).unwrap();
    }
    let mut batch = TxBatch::from(mbufs);
    assert_eq!(batch.remove(1).unwrap().data(), [1]);
    assert_eq!(bed.queue.tx.tx_burst(&mut batch), 2);
    let mut received: MbufBatch<32> = MbufBatch::new();
    assert_eq!(bed.queue.rx.rx_burst(&mut received), 2);
    assert_eq!(
        received.iter().map(Mbuf::data).collect::<Vec<_>>(),
        [[0], [2]]
    );
    drop(received);
    bed.all_is_back();
}

#[test]
fn a_packet_of_more_segments_than_a_driver_may_be_given_is_made_one_or_dropped() {
    let mut bed = bed(true);
    let buf = bed.filled(&[5; 16 << 10]);
    for (bytes_each, delivered) in [(4, true), (40, false)] {
        let mut packet = bed.header(b"head");
        for n in 0..256 {
            if bed.stock.is_empty() {
                bed.references.alloc_bulk(&mut bed.stock, 64).unwrap();
            }
            packet
                .chain(&buf, n * bytes_each..(n + 1) * bytes_each, &mut bed.stock)
                .unwrap();
        }
        assert_eq!(packet.nb_segs(), 257);
        let received = bed.over(packet);
        assert_eq!(received.is_some(), delivered);
        if let Some(received) = received {
            assert_eq!(bytes(&received)[4..], [5; 1024]);
        }
    }
    let stats = bed.port.queue_stats(0).unwrap();
    assert_eq!((stats.tx_copied, stats.tx_dropped), (1, 1));
    drop(buf);
    bed.all_is_back();
}

#[test]
fn preparing_names_the_packet_that_cannot_be_sent_and_says_why() {
    let mut bed = bed(true);
    let buf = bed.filled(&[0; 16 << 10]);
    let offload = TxOffload {
        l2_len: 14,
        l3_len: 20,
        ip: IpVersion::V4 {
            header_checksum: false,
        },
        l4: L4Offload::TcpSegmentation {
            segment_size: 1448,
            header_len: 32,
        },
    };
    let mut tso = bed.header(&[0; 66]);
    tso.set_tx_offload(offload).unwrap();
    let mut tagged = bed.header(&[0; 66]);
    tagged.set_tx_vlan(5);
    let mut long = bed.header(&[0; 66]);
    long.chain(&buf, 0..9000, &mut bed.stock).unwrap();
    let mut good = bed.header(&[0; 66]);
    good.chain(&buf, 0..1000, &mut bed.stock).unwrap();
    let empty = TxMbuf::from(bed.packets.alloc().unwrap());
    for (packet, expected) in [
        (tso, "asks for TxOffloads(TCP_CHECKSUM | TCP_TSO)"),
        (tagged, "asks for TxOffloads(VLAN_INSERT)"),
        (long, "it has 9066 bytes, a frame of the port's MTU has 901"),
        (empty, "it has no data"),
    ] {
        let mut batch: TxBatch<4> = TxBatch::new();
        batch.push(bed.header(b"fine")).unwrap();
        batch.push(packet).unwrap();
        let error = bed.queue.tx.tx_prepare(&mut batch).unwrap_err();
        assert_eq!(error.index, 1);
        assert!(error.to_string().contains(expected), "{error}");
        batch.remove(1);
        bed.queue.tx.tx_prepare(&mut batch).unwrap();
    }
    let mut batch: TxBatch<4> = TxBatch::new();
    batch.push(good).unwrap();
    bed.queue.tx.tx_prepare(&mut batch).unwrap();
    drop((batch, buf));
    bed.all_is_back();
}
