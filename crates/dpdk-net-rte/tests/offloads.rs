//! Offloads over devices that have them: vhost and virtio_user joined in one process, and net_tap, at whose other end a
//! packet socket reads what the kernel gets. TAP needs root and /dev/net/tun; its test says so and passes where they are
//! missing.

mod common;

use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::{Duration, Instant};

use common::{builder, eal_with_vdevs, kernel, pool};
use dpdk_net_packet::checksum;
use dpdk_net_packet::{ChecksumVerdict, FrameBuf, FrameSegment, Protocol};
use dpdk_net_rte::mbuf::{IpVersion, L4Offload, TxOffload};
use dpdk_net_rte::port::{Offload, OffloadRequest, Started, TxOffloads, Wish};
use dpdk_net_rte::{
    Eal, MbufBatch, Mempool, Port, PortConfig, QueuePair, RxBatch, TxBatch, TxBuf, TxMbuf,
};

/// How long a device may take: on a busy machine, long.
const PATIENCE: Duration = Duration::from_secs(30);

const SENDER: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 2);
const RECEIVER: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 1);

/// Ethernet, IPv4 and TCP headers of a packet with so many bytes of payload, without checksums.
fn headers(payload: usize) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 7, 2, 0, 0, 0, 0, 8, 8, 0];
    let length = (40 + payload) as u16;
    frame.extend([0x45, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(SENDER.octets());
    frame.extend(RECEIVER.octets());
    frame.extend(4000_u16.to_be_bytes());
    frame.extend(5000_u16.to_be_bytes());
    frame.extend(1_000_000_u32.to_be_bytes());
    frame.extend(1_u32.to_be_bytes());
    frame.extend([0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

/// Payload that shows where it is from.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn tso(segment_size: u16, header_checksum: bool) -> TxOffload {
    TxOffload {
        l2_len: 14,
        l3_len: 20,
        ip: IpVersion::V4 { header_checksum },
        l4: L4Offload::TcpSegmentation {
            segment_size,
            header_len: 20,
        },
    }
}

/// What a sender has beside its queues.
struct Sender {
    headers: Mempool,
    buffers: Mempool,
    references: Mempool,
}

impl Sender {
    fn new(eal: &Eal) -> Self {
        Self {
            headers: pool(eal, "headers"),
            buffers: Mempool::builder(eal, "buffers")
                .capacity(63)
                .data_room(16 << 10)
                .build()
                .unwrap(),
            references: Mempool::builder(eal, "references")
                .capacity(1023)
                .data_room(0)
                .build()
                .unwrap(),
        }
    }

    /// A packet of these headers, behind which the payload lies in buffers.
    fn packet(&self, headers: &[u8], payload: &[u8]) -> TxMbuf {
        let mut mbuf = self.headers.alloc().unwrap();
        mbuf.append_slice(headers).unwrap();
        let mut packet = TxMbuf::from(mbuf);
        let mut stock: MbufBatch<8> = MbufBatch::new();
        self.references.alloc_bulk(&mut stock, 8).unwrap();
        for part in payload.chunks(16 << 10) {
            let mut buf = TxBuf::alloc(&self.buffers).unwrap();
            assert_eq!(buf.append(part), part.len());
            packet.chain(&buf, 0..part.len(), &mut stock).unwrap();
        }
        packet
    }

    fn in_use(&self) -> [usize; 3] {
        [&self.headers, &self.buffers, &self.references].map(Mempool::in_use)
    }
}

/// A vhost port and a virtio_user port at its other end, both started.
struct Joined {
    vhost: Port<Started>,
    virtio: Port<Started>,
    _directory: tempfile::TempDir,
}

fn memory() -> Eal {
    builder().memory_mb(256).init().unwrap()
}

impl Joined {
    fn new(
        eal: Eal,
        vhost_args: &str,
        vhost: (&PortConfig, &Mempool),
        virtio: (&PortConfig, &Mempool),
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vhost");
        let arguments = format!("iface={}{vhost_args}", socket.display());
        eal.create_vdev("net_vhost0", &arguments).unwrap();
        // The socket is there once the port is configured.
        let vhost = start(&eal, "net_vhost0", vhost);
        let arguments = format!("path={},mac=02:00:00:00:00:07", socket.display());
        eal.create_vdev("net_virtio_user0", &arguments).unwrap();
        let virtio = start(&eal, "net_virtio_user0", virtio);
        let deadline = Instant::now() + PATIENCE;
        while !(vhost.link().unwrap().up && virtio.link().unwrap().up) {
            assert!(Instant::now() < deadline, "no link");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self {
            vhost,
            virtio,
            _directory: directory,
        }
    }

    fn queues(&self) -> (QueuePair, QueuePair) {
        let one = |port: &Port<Started>| port.take_queues().unwrap().remove(0);
        (one(&self.vhost), one(&self.virtio))
    }
}

fn start(eal: &Eal, name: &str, (config, pool): (&PortConfig, &Mempool)) -> Port<Started> {
    Port::open(eal, name)
        .unwrap()
        .configure(config, std::slice::from_ref(pool))
        .unwrap()
        .start()
        .unwrap()
}

fn asking(offloads: OffloadRequest) -> PortConfig {
    PortConfig {
        offloads,
        rx_descriptors: Some(256),
        tx_descriptors: Some(256),
        ..PortConfig::default()
    }
}

/// Sends a packet with one queue, after preparing it, and receives it with another.
fn over(from: &mut QueuePair, to: &mut QueuePair, packet: TxMbuf) -> RxBatch<32> {
    let mut batch: TxBatch<1> = TxBatch::new();
    batch.push(packet).unwrap();
    from.tx.tx_prepare(&mut batch).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut received: RxBatch<32> = RxBatch::new();
    loop {
        from.tx.tx_burst(&mut batch);
        let got = received.receive(&mut to.rx);
        assert_eq!(got.dropped, 0);
        if got.packets > 0 {
            assert!(batch.is_empty() && got.packets == 1);
            return received;
        }
        assert!(Instant::now() < deadline, "nothing came");
    }
}

fn bytes(frame: &impl FrameBuf) -> Vec<u8> {
    let mut all = frame.bytes().to_vec();
    for segment in frame.rest() {
        all.extend_from_slice(segment.bytes());
    }
    assert_eq!(all.len(), frame.frame_len());
    all
}

#[test]
fn a_large_packet_of_references_comes_as_one_coalesced_packet_whose_segments_can_be_kept() {
    let eal = memory();
    let sender = Sender::new(&eal);
    let (vhost_pool, virtio_pool) = (pool(&eal, "vhost"), pool(&eal, "virtio"));
    let auto = asking(OffloadRequest::default());
    let joined = Joined::new(eal, ",tso=1", (&auto, &vhost_pool), (&auto, &virtio_pool));
    let offloads = joined.virtio.offloads();
    assert!(
        offloads.is_on(Offload::Tso) && offloads.is_on(Offload::TsoIpv6),
        "{offloads}"
    );
    assert!(!offloads.is_on(Offload::TxIpv4Checksum));
    assert!(offloads.capabilities().unwrap().segments_ipv6);
    let (mut vhost, mut virtio) = joined.queues();
    let payload = pattern(64_000);
    let mut headers = headers(payload.len());
    // virtio fills no IPv4 header checksum in.
    let sum = checksum::data(&headers[14..34]);
    headers[24..26].copy_from_slice(&sum.to_be_bytes());
    let mut packet = sender.packet(&headers, &payload);
    packet.set_tx_offload(tso(1448, false)).unwrap();
    assert_eq!(packet.nb_segs(), 5);
    let received = over(&mut virtio, &mut vhost, packet);
    let frame = &received.as_slice()[0];
    assert_eq!(frame.as_mbuf().pkt_len(), 54 + payload.len());
    assert!(frame.segment_count() > 30);
    let meta = frame.rx_meta();
    assert_eq!(
        (meta.lro_segment, meta.l4_checksum),
        (1448, ChecksumVerdict::None)
    );
    assert_eq!(bytes(frame)[54..], payload);
    let kept: Vec<_> = frame
        .segments()
        .step_by(3)
        .map(|segment| {
            let data = segment.data();
            (data.to_vec(), segment.share(0..data.len()).unwrap())
        })
        .collect();
    let out = vhost_pool.in_use();
    let segments = frame.segment_count();
    drop(received);
    assert_eq!(vhost_pool.in_use(), out - segments + kept.len());
    assert!(kept.iter().all(|(was, is)| was == is));
    drop((kept, vhost, virtio));
    let Joined { vhost, virtio, .. } = joined;
    drop((vhost, virtio));
    assert_eq!(sender.in_use(), [0; 3]);
    assert_eq!((vhost_pool.in_use(), virtio_pool.in_use()), (0, 0));
}

#[test]
fn frames_of_9000_bytes_are_received_into_buffers_of_2048() {
    let eal = memory();
    let sender = Sender::new(&eal);
    let virtio_pool = pool(&eal, "virtio");
    let vhost_pool = Mempool::builder(&eal, "vhost")
        .capacity(511)
        .data_room(10_000)
        .build()
        .unwrap();
    let jumbo = PortConfig {
        mtu: Some(9000),
        ..asking(OffloadRequest::default())
    };
    let joined = Joined::new(eal, "", (&jumbo, &vhost_pool), (&jumbo, &virtio_pool));
    assert!(joined.virtio.offloads().is_on(Offload::Scatter));
    let (mut vhost, mut virtio) = joined.queues();
    let payload = pattern(9000 - 40);
    let mut headers = headers(payload.len());
    let sum = checksum::data(&headers[14..34]);
    headers[24..26].copy_from_slice(&sum.to_be_bytes());
    let frame = [&headers[..], &payload].concat();
    assert_eq!(frame.len(), 9014);
    let received = over(&mut vhost, &mut virtio, sender.packet(&headers, &payload));
    let packet = &received.as_slice()[0];
    assert!(packet.segment_count() > 4, "{packet:?}");
    assert_eq!(bytes(packet), frame);
    let received = over(&mut virtio, &mut vhost, sender.packet(&headers, &payload));
    assert_eq!(bytes(&received.as_slice()[0]), frame);
    drop(received);
    drop((vhost, virtio, joined));
    assert_eq!(sender.in_use(), [0; 3]);
}

#[test]
fn bytes_are_counted_of_packets_taken_also_where_the_driver_tags_those_that_it_leaves() {
    let eal = memory();
    let sender = Sender::new(&eal);
    let (vhost_pool, virtio_pool) = (pool(&eal, "vhost"), pool(&eal, "virtio"));
    let tags = asking(OffloadRequest::default().with(Offload::VlanInsert, Wish::On));
    let joined = Joined::new(eal, "", (&tags, &vhost_pool), (&tags, &virtio_pool));
    let (mut vhost, mut virtio) = joined.queues();
    let (mut taken, mut left) = (0, 0);
    // Alike, and of several pools: two ways through the queue.
    for payload in [&[][..], &[1; 46]] {
        // Nothing is received meanwhile: the ring fills, in the middle of a batch.
        for _ in 0..8 {
            let mut batch: TxBatch<48> = TxBatch::new();
            while !batch.is_full() {
                let mut headers = headers(46);
                headers.resize(100 - payload.len(), 1);
                let mut packet = sender.packet(&headers, payload);
                packet.set_tx_vlan(7);
                batch.push(packet).unwrap();
            }
            taken += vhost.tx.tx_burst(&mut batch) as u64;
            left += batch.len();
        }
        let mut received: RxBatch<64> = RxBatch::new();
        while received.receive(&mut virtio.rx).packets > 0 {
            received.clear();
        }
    }
    let stats = joined.vhost.queue_stats(0).unwrap();
    assert!(left > 0 && taken > 0);
    assert_eq!((stats.tx_packets, stats.tx_bytes), (taken, 100 * taken));
}

#[test]
fn what_a_device_lacks_is_said_when_it_is_insisted_on() {
    let eal = eal_with_vdevs(&["net_null0"]);
    let pool = pool(&eal, "pool");
    let port = Port::open(&eal, "net_null0").unwrap();
    assert_eq!(port.offloads().iter().len(), 0, "not configured yet");
    let refused = port
        .configure(
            &asking(OffloadRequest::NONE.with(Offload::Tso, Wish::On)),
            std::slice::from_ref(&pool),
        )
        .unwrap_err();
    let text = refused.to_string();
    for part in [
        "offload tso of port 0 (net_null0)",
        "net_null does not offer",
        "`auto`",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let auto = asking(OffloadRequest::default());
    let port = refused.port.configure(&auto, &[pool]).unwrap();
    assert_eq!(port.offloads().tx(), TxOffloads::empty());
}

/// What the kernel's end of an interface gets of IPv4.
fn packet_socket(interface: u32) -> std::fs::File {
    let ipv4 = (libc::ETH_P_IP as u16).to_be();
    // SAFETY: plain system calls on a new socket, which the file owns; the address is one of this family.
    unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(ipv4));
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        let file = std::fs::File::from_raw_fd(fd);
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ipv4;
        address.sll_ifindex = interface as i32;
        let rc = libc::bind(
            file.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        );
        assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
        let patience = libc::timeval {
            tv_sec: PATIENCE.as_secs() as i64,
            tv_usec: 0,
        };
        let rc = libc::setsockopt(
            file.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            (&raw const patience).cast(),
            size_of_val(&patience) as u32,
        );
        assert_eq!(rc, 0, "{}", std::io::Error::last_os_error());
        file
    }
}

/// The next frame between our two addresses.
fn next(socket: &mut std::fs::File) -> Vec<u8> {
    loop {
        let mut frame = vec![0; 4096];
        let n = socket.read(&mut frame).expect("a frame within the time");
        frame.truncate(n);
        if n >= 54 && frame[26..30] == SENDER.octets() {
            return frame;
        }
    }
}

/// The payload of a frame, whose checksums are right.
fn checked(frame: &[u8]) -> (u32, &[u8]) {
    assert_eq!(checksum::data(&frame[14..34]), 0, "IPv4 header checksum");
    let length = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let segment = &frame[34..14 + length];
    let right = checksum::verify(SENDER.into(), RECEIVER.into(), Protocol::Tcp, segment);
    assert!(right, "TCP checksum");
    let sequence = u32::from_be_bytes(segment[4..8].try_into().unwrap());
    (sequence, &segment[20..])
}

#[test]
fn net_tap_cuts_and_sums_what_is_referred_to_and_never_stops_at_what_it_cannot() {
    if !kernel::own_network() {
        return;
    }
    let eal = eal_with_vdevs(&["net_tap0,iface=dnoff0,mac=02:00:00:00:00:01"]);
    let sender = Sender::new(&eal);
    let rx = pool(&eal, "rx");
    let port = start(&eal, "net_tap0", (&asking(OffloadRequest::default()), &rx));
    let offloads = port.offloads();
    assert!(
        offloads.is_on(Offload::Tso) && !offloads.is_on(Offload::TsoIpv6),
        "{offloads}"
    );
    let most = offloads.capabilities().unwrap().most_segments;
    let mut queue = port.take_queues().unwrap().remove(0);
    let mut socket = packet_socket(port.info().unwrap().interface_index.unwrap());

    // Checksums of a packet that leaves as it is.
    let payload = pattern(1000);
    let mut packet = sender.packet(&headers(1000), &payload);
    packet
        .set_tx_offload(TxOffload {
            l4: L4Offload::TcpChecksum,
            ..tso(1, true)
        })
        .unwrap();
    let mut batch: TxBatch<8> = TxBatch::new();
    batch.push(packet).unwrap();
    queue.tx.tx_prepare(&mut batch).unwrap();
    assert_eq!(queue.tx.tx_burst(&mut batch), 1);
    let frame = next(&mut socket);
    assert_eq!(checked(&frame), (1_000_000, &payload[..]));

    // As many segments as it makes of one.
    let payload = pattern(most as usize * 500);
    let mut packet = sender.packet(&headers(payload.len()), &payload);
    packet.set_tx_offload(tso(500, true)).unwrap();
    batch.push(packet).unwrap();
    queue.tx.tx_prepare(&mut batch).unwrap();
    assert_eq!(queue.tx.tx_burst(&mut batch), 1);
    for (n, part) in (0..).zip(payload.chunks(500)) {
        let frame = next(&mut socket);
        assert_eq!(checked(&frame), (1_000_000 + n * 500, part), "segment {n}");
    }

    // One more, segments longer than its MTU, and IPv6: each would stay at the front for ever.
    let many = pattern(most as usize * 500 + 1);
    let mut too_many = sender.packet(&headers(many.len()), &many);
    too_many.set_tx_offload(tso(500, true)).unwrap();
    let mut too_long = sender.packet(&headers(3000), &pattern(3000));
    too_long.set_tx_offload(tso(1447, true)).unwrap();
    let mut short = sender.packet(&headers(100), &pattern(100));
    short.set_tx_offload(tso(1447, true)).unwrap();
    let mut ipv6 = sender.packet(&[0; 74], &pattern(3000));
    ipv6.set_tx_offload(TxOffload {
        l3_len: 40,
        ip: IpVersion::V6,
        ..tso(1000, true)
    })
    .unwrap();
    for (packet, expected) in [
        (too_many, "65 segments, this driver cuts into 64 at most"),
        (
            too_long,
            "its segments would have 1501 bytes, the port takes 1500",
        ),
        (
            short,
            "its segments would have 1501 bytes, the port takes 1500",
        ),
        (ipv6, "segments no IPv6"),
    ] {
        batch.push(packet).unwrap();
        let error = queue.tx.tx_prepare(&mut batch).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let good = sender.packet(&headers(4), b"last");
        batch.push(good).unwrap();
        assert_eq!(queue.tx.tx_burst(&mut batch), 1);
        assert!(batch.is_empty());
        assert_eq!(next(&mut socket)[54..58], *b"last");
    }
    assert_eq!(port.queue_stats(0).unwrap().tx_dropped, 4);
    drop((queue, port));
    assert_eq!(sender.in_use(), [0; 3]);
}
