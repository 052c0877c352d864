//! Captures of two shards joined by rings: what is written is what came and went.

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::time::Duration;

use common::{CLIENT_V4, Net, SERVER_V4, at, connected, pattern, run};
use dpdk_net::Handle;
use dpdk_net::capture::{
    Capture, CaptureConfig, CaptureError, Captured, Directions, Filter, Instruction, MOST, Program,
};
use dpdk_net::net::UdpSocket;
use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption};
use pcap_parser::{PcapBlockOwned, PcapError, PcapNGReader, traits::PcapReaderIterator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

/// A frame as a file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    sent: bool,
    nanos: u64,
    original_len: u32,
    data: Vec<u8>,
    lost: u64,
    queue: u64,
    comment: Option<String>,
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: u16) -> Option<&'a [u8]> {
    let option = options
        .iter()
        .find(|option| option.code == OptionCode(code))?;
    Some(&option.value()[..usize::from(option.len)])
}

fn number(options: &[PcapNGOption<'_>], code: u16) -> Option<u64> {
    Some(match option(options, code)? {
        [a, b, c, d] => u32::from_le_bytes([*a, *b, *c, *d]).into(),
        value => u64::from_le_bytes(value.try_into().unwrap()),
    })
}

/// The frames of a file, which is whole.
fn read(file: &[u8]) -> Vec<Frame> {
    let mut reader = PcapNGReader::new(1 << 20, file).unwrap();
    let (mut frames, mut ended) = (Vec::new(), false);
    loop {
        match reader.next() {
            Ok((consumed, PcapBlockOwned::NG(block))) => {
                match block {
                    Block::EnhancedPacket(packet) => frames.push(Frame {
                        sent: number(&packet.options, 2).unwrap() & 3 == 2,
                        nanos: u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low),
                        original_len: packet.origlen,
                        data: packet.data[..packet.caplen as usize].to_vec(),
                        lost: number(&packet.options, 4).unwrap_or(0),
                        queue: number(&packet.options, 6).unwrap(),
                        comment: option(&packet.options, 1)
                            .map(|text| String::from_utf8_lossy(text).into_owned()),
                    }),
                    Block::InterfaceStatistics(_) => ended = true,
                    _ => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(PcapError::Eof) => break,
            Err(error) => panic!("{error:?}"),
            Ok(_) => panic!("no pcapng"),
        }
    }
    assert!(ended, "the statistics are there");
    frames
}

/// Waits until a worker has taken over what it was told.
async fn turned(handle: &Handle) {
    let before = handle.stats().worker.turns;
    while handle.stats().worker.turns < before + 2 {
        tokio::task::yield_now().await;
    }
}

/// Waits until nothing is on its way.
async fn quiet(net: &Net) {
    let counts = || {
        let (server, client) = (net.server.stats().worker, net.client.stats().worker);
        [
            server.tx_frames,
            client.rx_frames,
            client.tx_frames,
            server.rx_frames,
        ]
    };
    loop {
        let before = counts();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let after = counts();
        if before == after && after[0] == after[1] && after[2] == after[3] {
            return;
        }
    }
}

/// What a capture of one side comes to while `traffic` runs.
async fn during<T>(
    net: &Net,
    side: &Handle,
    config: CaptureConfig,
    traffic: impl Future<Output = T>,
) -> (Vec<Frame>, Captured, T) {
    let capture = Capture::of_handles("port", std::slice::from_ref(side), config).unwrap();
    turned(side).await;
    let (end, ended) = oneshot::channel::<()>();
    let mut file = Vec::new();
    let until = async { drop(ended.await) };
    let traffic = async {
        let result = traffic.await;
        quiet(net).await;
        drop(end);
        result
    };
    let (captured, result) = tokio::join!(capture.write_to(&mut file, until), traffic);
    (read(&file), captured.unwrap(), result)
}

/// Bytes both ways over a connection, that are closed.
async fn exchange(net: &Net, bytes: usize) {
    let (mut client, mut server) = connected(net, SERVER_V4).await;
    let data = pattern(bytes);
    let (mut there, mut back) = (vec![0; bytes], vec![0; bytes]);
    let serve = async {
        server.read_exact(&mut there).await.unwrap();
        server.write_all(&there).await.unwrap();
        server.shutdown().await.unwrap();
    };
    let ask = async {
        client.write_all(&data).await.unwrap();
        client.shutdown().await.unwrap();
        client.read_exact(&mut back).await.unwrap();
    };
    tokio::join!(serve, ask);
    assert_eq!(back, data);
}

fn multiset<'a>(frames: impl Iterator<Item = &'a Frame>) -> BTreeMap<&'a [u8], usize> {
    frames.fold(BTreeMap::new(), |mut all, frame| {
        *all.entry(&frame.data[..]).or_default() += 1;
        all
    })
}

/// `ip proto` of this number.
fn protocol(number: u32) -> Filter {
    let of = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let program = [
        of(0x28, 0, 0, 12),
        of(0x15, 0, 3, 0x800),
        of(0x30, 0, 0, 23),
        of(0x15, 0, 1, number),
        of(6, 0, 0, 65_535),
        of(6, 0, 0, 0),
    ];
    Filter {
        text: format!("ip proto {number}"),
        program: Program::new(&program).unwrap(),
    }
}

fn ethertype(number: u32) -> Filter {
    let of = |code, jt, jf, k| Instruction { code, jt, jf, k };
    let program = [
        of(0x28, 0, 0, 12),
        of(0x15, 0, 1, number),
        of(6, 0, 0, 65_535),
        of(6, 0, 0, 0),
    ];
    Filter {
        text: format!("ether proto {number}"),
        program: Program::new(&program).unwrap(),
    }
}

#[test]
fn each_frame_of_one_end_is_one_of_the_other() {
    run(async |net: Net| {
        let started = std::time::SystemTime::now();
        // What is sent without being asked, of multicast, may come at any time.
        let all = || CaptureConfig {
            filter: Some(ethertype(0x800)),
            ..CaptureConfig::default()
        };
        let client = during(&net, &net.client, all(), exchange(&net, 500_000));
        let (server, counts, (client, ..)) = during(&net, &net.server, all(), client).await;
        for [from, to] in [[&server, &client], [&client, &server]] {
            let sent = multiset(from.iter().filter(|frame| frame.sent));
            let received = multiset(to.iter().filter(|frame| !frame.sent));
            let other = |frame: &&Frame| sent.get(&frame.data[..]) != received.get(&frame.data[..]);
            let differ: Vec<_> = from.iter().chain(to).filter(other).collect();
            let told: Vec<_> = differ
                .iter()
                .map(|frame| {
                    (
                        frame.sent,
                        frame.data.len(),
                        &frame.data[..frame.data.len().min(66)],
                    )
                })
                .collect();
            assert!(differ.is_empty(), "{told:?}");
        }
        let after = net.server.stats().worker;
        let captured = server.len() as u64;
        assert_eq!(
            (counts.accepted, counts.delivered, counts.lost),
            (captured, captured, 0)
        );
        assert_eq!((after.captured, after.capture_lost), (captured, 0));
        assert_eq!(after.capture_filtered, counts.seen - captured);
        let nanos: Vec<_> = server.iter().map(|frame| frame.nanos).collect();
        assert!(nanos.is_sorted());
        let began = started
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        let ended = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64;
        assert!((began - 1_000_000..=ended + 1_000_000).contains(&nanos[0]));
        assert!(
            server
                .iter()
                .all(|frame| frame.comment.is_none() && frame.lost == 0 && frame.queue == 0)
        );
        // What nobody captures any more costs nothing any more.
        exchange(&net, 1_000).await;
        assert_eq!(net.server.stats().worker.captured, after.captured);
    });
}

#[test]
fn filter_length_direction_and_count_choose() {
    run(async |net: Net| {
        let datagrams = async |count: usize| {
            let server = UdpSocket::bind(at(SERVER_V4, 7)).await.unwrap();
            let client = net
                .client
                .scope(UdpSocket::bind(at(CLIENT_V4, 0)))
                .await
                .unwrap();
            for _ in 0..count {
                client.send_to(&[7; 200], at(SERVER_V4, 7)).await.unwrap();
                let (len, from) = server.recv_from(&mut [0; 300]).await.unwrap();
                server.send_to(&[8; 200][..len], from).await.unwrap();
                client.recv_from(&mut [0; 300]).await.unwrap();
            }
        };
        let traffic = async || {
            exchange(&net, 10_000).await;
            datagrams(5).await;
        };
        let config = CaptureConfig {
            filter: Some(protocol(17)),
            snaplen: 60,
            ..CaptureConfig::default()
        };
        let (frames, counts, ()) = during(&net, &net.server, config.clone(), traffic()).await;
        assert_eq!(frames.len(), 10);
        assert!(frames.iter().all(|frame| frame.original_len == 242
            && frame.data.len() == 60
            && frame.data[23] == 17));
        assert!(counts.seen > counts.accepted && counts.accepted == 10);
        let worker = net.server.stats().worker;
        assert_eq!(
            (worker.captured, worker.capture_filtered),
            (10, counts.seen - 10)
        );

        for (directions, sent) in [(Directions::In, false), (Directions::Out, true)] {
            let config = CaptureConfig {
                directions,
                ..config.clone()
            };
            let (frames, ..) = during(&net, &net.server, config, traffic()).await;
            assert_eq!(
                (frames.len(), frames.iter().all(|frame| frame.sent == sent)),
                (5, true)
            );
        }
        let config = CaptureConfig {
            count: Some(3),
            ..config
        };
        let (frames, counts, ()) = during(&net, &net.server, config, traffic()).await;
        assert_eq!((frames.len(), counts.delivered), (3, 3));
    });
}

#[test]
fn a_frame_that_the_stack_drops_says_why() {
    run(async |net: Net| {
        let client = net
            .client
            .scope(UdpSocket::bind(at(CLIENT_V4, 0)))
            .await
            .unwrap();
        let stray = async {
            client.send_to(b"nobody", at(SERVER_V4, 9)).await.unwrap();
            exchange(&net, 1_000).await;
        };
        let (frames, ..) = during(&net, &net.server, CaptureConfig::default(), stray).await;
        let told: Vec<_> = frames
            .iter()
            .filter(|frame| frame.comment.is_some())
            .collect();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(
            told[0].comment.as_deref(),
            Some("queue 0, dropped: udp_no_socket")
        );
        assert!(told[0].data.ends_with(b"nobody"));

        let stray = async {
            exchange(&net, 1_000).await;
            client.send_to(b"nobody", at(SERVER_V4, 9)).await.unwrap();
        };
        let config = CaptureConfig {
            dropped_only: true,
            ..CaptureConfig::default()
        };
        let (frames, counts, ()) = during(&net, &net.server, config, stray).await;
        assert_eq!((frames.len(), counts.accepted), (1, 1));
        assert!(frames[0].data.ends_with(b"nobody"));
    });
}

#[test]
fn what_a_slow_reader_misses_is_counted_and_told_where() {
    run(async |net: Net| {
        let config = CaptureConfig {
            buffer: 64 * 1024,
            ..CaptureConfig::default()
        };
        let capture =
            Capture::of_handles("port", std::slice::from_ref(&net.server), config).unwrap();
        turned(&net.server).await;
        let (mut reader, writer) = tokio::io::duplex(1_000);
        let (end, ended) = oneshot::channel::<()>();
        let until = async { drop(ended.await) };
        let traffic = async {
            // Nobody reads meanwhile.
            exchange(&net, 2_000_000).await;
            quiet(&net).await;
            let full = net.server.stats().worker.captured;
            let mut file = vec![0; 30_000];
            reader.read_exact(&mut file).await.unwrap();
            // There is room again, for what tells how much was lost before.
            while net.server.stats().worker.captured == full {
                exchange(&net, 10).await;
                let mut some = [0; 1_000];
                let read = reader.read(&mut some).await.unwrap();
                file.extend(&some[..read]);
            }
            drop(end);
            reader.read_to_end(&mut file).await.unwrap();
            file
        };
        let (captured, file) = tokio::join!(capture.write_to(writer, until), traffic);
        let (captured, frames) = (captured.unwrap(), read(&file));
        assert!(captured.lost > 1_000, "{captured:?}");
        assert_eq!(captured.accepted, captured.delivered + captured.lost);
        assert_eq!(captured.delivered, frames.len() as u64);
        assert_eq!(
            frames.iter().map(|frame| frame.lost).sum::<u64>(),
            captured.lost
        );
        assert_eq!(net.server.stats().worker.capture_lost, captured.lost);
    });
}

#[test]
fn a_reader_that_takes_nothing_or_is_gone_ends_the_capture() {
    run(async |net: Net| {
        let begin = || {
            let patience = Duration::from_millis(100);
            let config = CaptureConfig {
                patience,
                ..CaptureConfig::default()
            };
            Capture::of_handles("port", std::slice::from_ref(&net.server), config).unwrap()
        };
        let (_stalled, writer) = tokio::io::duplex(300);
        let (captured, ()) = tokio::join!(
            begin().write_to(writer, std::future::pending()),
            exchange(&net, 10_000)
        );
        assert_eq!(captured.unwrap_err().kind(), ErrorKind::TimedOut);
        let (gone, writer) = tokio::io::duplex(300);
        drop(gone);
        let captured = begin().write_to(writer, std::future::pending()).await;
        assert_eq!(captured.unwrap_err().kind(), ErrorKind::BrokenPipe);
        turned(&net.server).await;
        let before = net.server.stats().worker.captured;
        exchange(&net, 1_000).await;
        assert_eq!(net.server.stats().worker.captured, before, "nobody watches");
        let all: Vec<_> = (0..MOST).map(|_| begin()).collect();
        let more = Capture::of_handles(
            "port",
            std::slice::from_ref(&net.server),
            CaptureConfig::default(),
        );
        assert_eq!(more.err(), Some(CaptureError::TooMany));
        drop(all);
        begin();
    });
}

#[test]
fn what_can_not_be_captured_is_refused() {
    run(async |net: Net| {
        let refused = |config| {
            Capture::of_handles("port", std::slice::from_ref(&net.server), config).unwrap_err()
        };
        let default = CaptureConfig::default;
        for (config, text) in [
            (
                CaptureConfig {
                    snaplen: 0,
                    ..default()
                },
                "the snap length is 0: 1 to 262144 can be",
            ),
            (
                CaptureConfig {
                    snaplen: 262_145,
                    ..default()
                },
                "the snap length is 262145",
            ),
            (
                CaptureConfig {
                    buffer: 1_000,
                    ..default()
                },
                "the buffer is 1000: 65536 to",
            ),
            (
                CaptureConfig {
                    ports: vec!["prot".into()],
                    ..default()
                },
                "there is no port \"prot\": port",
            ),
            (
                CaptureConfig {
                    queues: vec![0, 1],
                    ..default()
                },
                "there is no queue 1: the ports have 1",
            ),
            (
                CaptureConfig {
                    dropped_only: true,
                    directions: Directions::Out,
                    ..default()
                },
                "not dropped by the stack",
            ),
        ] {
            let error = refused(config).to_string();
            assert!(error.contains(text), "{error}");
        }
    });
}
