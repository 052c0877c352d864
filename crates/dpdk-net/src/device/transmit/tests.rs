use std::sync::{Arc, Mutex};

use dpdk_net_packet::{MacAddr, gso};
use dpdk_net_rte::{Eal, Error, Mempool, Port, PortConfig, ring};
use dpdk_net_stack::{Config, TxMeta, TxSink, UdpOptions};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::frames::{Path, Segment, flags};
use dpdk_net_testkit::nic::frame;

use super::*;
use crate::device::abilities::Abilities;
use crate::{Reactor, WorkerConfig};

const MTU: u16 = 1500;
const TCI: u16 = 0x6007;
const ALL: TxOffloads = TxOffloads::CHECKSUM.union(TxOffloads::VLAN_INSERT);

/// What a port was asked to send: the bytes, and what was asked for.
type Sent = Arc<Mutex<Vec<(Vec<u8>, TxOffloads, Option<u16>)>>>;

/// A port that refuses, or never takes, what asks for some things.
struct Picky {
    offers: TxOffloads,
    refuses: TxOffloads,
    ignores: TxOffloads,
    /// Refuses the packet at this place of the next batch.
    refuses_at: Option<usize>,
    room: usize,
    sent: Sent,
}

impl Transmit for Picky {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut taken = 0;
        while taken < self.room
            && !batch.is_empty()
            && !asked_first(batch).intersects(self.ignores)
            && let Some(packet) = batch.remove(0)
        {
            let mut bytes = vec![0; packet.pkt_len()];
            packet.copy_to(&mut bytes);
            let asked = (asked(&packet), packet.as_mbuf().asked_vlan());
            self.sent.lock().unwrap().push((bytes, asked.0, asked.1));
            taken += 1;
        }
        taken
    }

    fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        let at_random = self.refuses_at.take();
        let refused = batch
            .iter()
            .position(|packet| asked(packet).intersects(self.refuses))
            .or(at_random);
        refused.map_or(Ok(()), |index| {
            Err(TxPrepareError {
                index,
                error: Error::InvalidArgument {
                    what: String::new(),
                    problem: String::new(),
                },
            })
        })
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities {
            offloads: self.offers,
            ..TxCapabilities::NONE
        }
    }
}

/// An output and the port behind it.
struct Bench {
    output: Output,
    sender: Sender,
    sent: Sent,
    pool: Mempool,
    nanos: u64,
}

impl Bench {
    fn new(eal: &Eal, change: impl FnOnce(&mut Picky)) -> Self {
        let pool = Mempool::builder(eal, "tx").capacity(511).build().unwrap();
        let sent = Sent::default();
        let mut port = Picky {
            offers: ALL,
            refuses: TxOffloads::empty(),
            ignores: TxOffloads::empty(),
            refuses_at: None,
            room: usize::MAX,
            sent: sent.clone(),
        };
        change(&mut port);
        let abilities = Abilities::new(port.capabilities(), MTU);
        Bench {
            output: Output::new((pool.clone(), None), None, abilities),
            sender: Sender::new(Box::new(port)),
            sent,
            pool,
            nanos: 0,
        }
    }

    /// Hands a complete frame in as the stack would, with what it leaves to the port left out.
    fn send(&mut self, complete: &[u8], tci: Option<u16>, l4: Option<gso::L4>) {
        let left = self.output.checksum_offload();
        let mut frame = complete.to_vec();
        if let Some(l4) = l4 {
            let transport = if l4.is_udp() { left.udp } else { left.tcp };
            l4.finish(
                &mut frame,
                gso::Checksums {
                    ip: !(left.ipv4 && transport),
                    transport: !transport,
                },
            );
        }
        assert!(self.output.capacity() > 0);
        let meta = TxMeta {
            vlan_tci: tci,
            checksum: l4.filter(|_| frame != complete),
        };
        self.output
            .send(frame.len(), meta, |out| out.copy_from_slice(&frame));
    }

    /// Turns until nothing is left, a millisecond each; what came out on the wire, offloads done.
    fn wire(&mut self) -> Vec<Vec<u8>> {
        for _ in 0..2_000 {
            self.sender.transmit(&mut self.output, self.nanos);
            self.nanos += 1_000_000;
        }
        assert!(self.output.unsent.is_empty() && self.sender.is_empty());
        let sent = std::mem::take(&mut *self.sent.lock().unwrap());
        sent.into_iter()
            .map(|(mut bytes, asked, tag)| {
                if asked.contains(TxOffloads::IPV4_CHECKSUM) {
                    frame::fill_ip_checksum(&mut bytes);
                }
                if asked.intersects(TxOffloads::CHECKSUM - TxOffloads::IPV4_CHECKSUM) {
                    frame::fill_l4_checksum(&mut bytes);
                }
                if let Some(tci) = tag {
                    frame::insert_tag(&mut bytes, tci);
                }
                bytes
            })
            .collect()
    }
}

fn eal() -> Eal {
    Eal::builder("dpdk-net-test")
        .lcores("0")
        .no_huge()
        .no_pci()
        .no_telemetry()
        .memory_mb(64)
        .file_prefix(format_args!("dpdk-net-test-{}", std::process::id()))
        .init()
        .expect("EAL starts")
}

/// Frames of all kinds, and what of their checksums may be left to a port.
fn frames() -> Vec<(Vec<u8>, Option<gso::L4>)> {
    let mut all = Vec::new();
    for family in Family::BOTH {
        let path = Path::new(family, 1, 2);
        let segment = Segment {
            flags: flags::ACK,
            payload: vec![7; 333],
            ..Segment::default()
        };
        let (tcp, udp) = match family {
            Family::V4 => (gso::L4::TcpV4, gso::L4::UdpV4),
            Family::V6 => (gso::L4::TcpV6, gso::L4::UdpV6),
        };
        all.push((path.tcp(&segment), Some(tcp)));
        all.push((path.udp(7, 9, &[3; 100]), Some(udp)));
        all.push((path.echo_request(1, 1, &[5; 56]), None));
    }
    let path = Path::new(Family::V4, 1, 2);
    all.push((path.who_has(), None));
    // The second fragment of a datagram: nothing in it is a header.
    let mut fragment = path.ip(17, &[9; 64]);
    fragment[20..22].copy_from_slice(&[0, 100]);
    fragment[24..26].fill(0);
    frame::fill_ip_checksum(&mut fragment);
    let header = dpdk_net_packet::checksum::data(&fragment[14..34]);
    fragment[24..26].copy_from_slice(&header.to_be_bytes());
    all.push((fragment, None));
    all
}

/// What should be on the wire: the complete frames, those tagged that were to be.
fn expected(tagged: impl Fn(usize) -> bool) -> Vec<Vec<u8>> {
    frames()
        .into_iter()
        .enumerate()
        .map(|(i, (mut bytes, _))| {
            if tagged(i) {
                frame::insert_tag(&mut bytes, TCI);
            }
            bytes
        })
        .collect()
}

/// Sends one frame of each kind, some of them tagged, and compares the wire; then once more.
#[track_caller]
fn comes_out_right(bench: &mut Bench, tagged: impl Fn(usize) -> bool + Copy) {
    for _ in 0..2 {
        for (i, (bytes, l4)) in frames().into_iter().enumerate() {
            bench.send(&bytes, tagged(i).then_some(TCI), l4);
        }
        assert_eq!(bench.wire(), expected(tagged));
    }
    assert_eq!(bench.output.counts.oversize, 0);
    // None is lost but for a stock of empty ones.
    assert!(bench.pool.in_use() <= BURST);
}

#[test]
fn every_kind_of_frame_comes_out_whole_and_in_order_whatever_is_refused_or_left() {
    let eal = eal();
    let every = |_| true;
    let some = |i| i % 2 == 0;
    for what in [TxOffloads::VLAN_INSERT, TxOffloads::CHECKSUM, ALL] {
        for mode in 0..3 {
            let mut bench = Bench::new(&eal, |port| match mode {
                0 => {}
                1 => port.refuses = what,
                _ => port.ignores = what,
            });
            comes_out_right(&mut bench, every);
            comes_out_right(&mut bench, some);
            let given_up = TxOffloads::from_bits_retain(bench.output.counts.given_up);
            let blamed = match mode {
                0 => TxOffloads::empty(),
                // All frames are tagged at first, and the tag is the first to be doubted.
                1 => what | TxOffloads::VLAN_INSERT,
                // Tags are taken with frames that ask for nothing else.
                _ => what,
            };
            assert_eq!(given_up, blamed);
            assert_eq!(bench.output.counts.redone > 0, mode != 0);
        }
    }
}

#[test]
fn a_frame_refused_for_no_reason_goes_out_in_its_place() {
    let eal = eal();
    for at in 0..frames().len() {
        for room in [1, usize::MAX] {
            let mut bench = Bench::new(&eal, |port| {
                port.refuses_at = Some(at);
                port.room = room;
            });
            comes_out_right(&mut bench, |i| i % 2 == 0);
            assert!(bench.output.counts.redone > 0);
        }
    }
}

#[test]
fn a_header_checksum_left_out_before_the_port_gave_it_up_is_made() {
    let eal = eal();
    let mut bench = Bench::new(&eal, |port| port.refuses = TxOffloads::TCP_CHECKSUM);
    let (udp, l4) = frames().swap_remove(1);
    assert_eq!(l4, Some(gso::L4::UdpV4));
    // The stack has made it, and does not know yet.
    let mut before = udp.clone();
    gso::L4::UdpV4.finish(
        &mut before,
        gso::Checksums {
            ip: false,
            transport: false,
        },
    );
    let (tcp, l4) = frames().swap_remove(0);
    bench.send(&tcp, None, l4);
    assert_eq!(bench.wire(), [tcp]);
    let meta = TxMeta {
        vlan_tci: None,
        checksum: Some(gso::L4::UdpV4),
    };
    bench
        .output
        .send(before.len(), meta, |out| out.copy_from_slice(&before));
    assert_eq!(bench.wire(), [udp]);
}

/// What the stack leaves to whoever sends its frames.
#[derive(Default)]
struct Left(Vec<TxMeta>);

impl TxSink for Left {
    fn capacity(&mut self) -> usize {
        usize::MAX
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.0.push(meta);
        fill(&mut vec![0; len])
    }
}

#[test]
fn the_stack_is_told_to_make_the_checksums_that_the_port_gave_up() {
    let eal = eal();
    let rings = ring::looped_port(&eal, "loop", 1, 64).unwrap();
    let pool = Mempool::builder(&eal, "pool")
        .capacity(511)
        .build()
        .unwrap();
    let port = Port::open(&eal, rings.ids()[0])
        .unwrap()
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let queues = port.take_queues().unwrap().remove(0);
    let mut stack = Config::new(MacAddr([2, 0, 0, 0, 0, 1]));
    stack.addresses = vec!["198.18.0.1/24".parse().unwrap()];
    stack.dad = false;
    let config = WorkerConfig::new(&eal, queues, pool, stack).interpose(|_| {
        Box::new(Picky {
            offers: ALL,
            refuses: TxOffloads::CHECKSUM,
            ignores: TxOffloads::empty(),
            refuses_at: None,
            room: usize::MAX,
            sent: Sent::default(),
        })
    });
    let mut reactor = Reactor::new(config).unwrap();
    let handle = reactor.handle();
    // Nobody has to be asked for the address of all.
    let everybody = "198.18.0.255:9".parse().unwrap();
    let socket = handle.with(|state| {
        let options = UdpOptions::new("198.18.0.1:9".parse().unwrap());
        let socket = state.stack.udp_bind(options).unwrap();
        state.stack.udp_set_broadcast(socket, true).unwrap();
        socket
    });
    let send = || {
        handle.with(|state| {
            let sent = state
                .stack
                .udp_send(state.now, socket, b"hello", Some(everybody));
            sent.unwrap();
        });
    };
    let left = || {
        send();
        let mut left = Left::default();
        handle.with(|state| state.stack.poll_transmit(state.now, &mut left));
        left.0.iter().any(|meta| meta.checksum.is_some())
    };
    assert!(left());
    send();
    for _ in 0..4 {
        reactor.turn();
    }
    assert_ne!(handle.stats().tx_offloads_given_up, 0);
    assert!(!left());
}

#[test]
fn an_interposed_sender_that_does_not_say_what_is_offered_gets_complete_frames() {
    struct Plain;
    impl Transmit for Plain {
        fn burst(&mut self, _: &mut TxBatch<BURST>) -> usize {
            0
        }
        fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
            Ok(())
        }
    }
    let abilities = Abilities::new(Plain.capabilities(), MTU);
    assert_eq!(
        abilities.checksum_offload(),
        dpdk_net_stack::ChecksumOffload::NONE
    );
    assert!(!abilities.chains() && !abilities.inserts_vlan());
    assert!(!abilities.cuts(gso::L4::TcpV4));
}
