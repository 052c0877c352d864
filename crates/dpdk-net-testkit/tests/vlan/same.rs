//! A connection over a VLAN is the same as one without, but for the tag.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_packet::{FrameBuf, Network, RxMeta, Transport, parse};
use dpdk_net_stack::{
    IfAddr, Instant, ListenOptions, ListenerId, Stack, TcpId, TxMeta, TxSink, Vlan,
};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::frames::{self, Path, Segment, flags};
use dpdk_net_testkit::hosts::StackHost;

const HOST: u16 = 1;
const PEER: u16 = 2;
const PORT: u16 = 80;
const VLAN: u16 = 100;

/// How frames come to the stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tagging {
    None,
    InFrame,
    /// By the NIC.
    Stripped,
    Priority,
    StrippedPriority,
}

impl Tagging {
    fn vlan(self) -> u16 {
        match self {
            Tagging::InFrame | Tagging::Stripped => VLAN,
            _ => 0,
        }
    }
}

struct Frame {
    bytes: Vec<u8>,
    stripped: Option<u16>,
}

impl FrameBuf for Frame {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn rx_meta(&self) -> RxMeta {
        RxMeta {
            vlan_tci: self.stripped,
            ..RxMeta::default()
        }
    }
}

#[derive(Default)]
struct Sent(Vec<(Option<u16>, Vec<u8>)>);

impl TxSink for Sent {
    fn capacity(&mut self) -> usize {
        usize::MAX
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push((meta.vlan_tci, frame));
        result
    }
}

struct Story {
    tagging: Tagging,
    stack: Stack,
    now: Instant,
    path: Path,
    listener: ListenerId,
    /// TCP segments that were sent, without tags.
    sent: Vec<Vec<u8>>,
}

impl Story {
    fn new(family: Family, tagging: Tagging) -> Self {
        let now = Instant::from_secs(1);
        let mut config = StackHost::config(HOST, 1);
        let vlan = tagging.vlan();
        if vlan != 0 {
            let own: Vec<IfAddr> = config.addresses.drain(..).collect();
            let vlan = own.into_iter().fold(Vlan::new(vlan), Vlan::with_address);
            config.vlans.push(vlan);
        }
        let mut stack = Stack::new(config, now).unwrap();
        let path = Path::new(family, PEER, HOST);
        assert!(stack.add_vlan_neighbor(vlan, path.src, path.src_mac));
        let any = SocketAddr::new([0u16; 8].into(), PORT);
        let listener = stack.tcp_listen(ListenOptions::new(any)).unwrap();
        Story {
            tagging,
            stack,
            now,
            path,
            listener,
            sent: Vec::new(),
        }
    }

    fn frame(&self, bytes: Vec<u8>) -> Frame {
        let tci = 3 << 13 | self.tagging.vlan();
        let (bytes, stripped) = match self.tagging {
            Tagging::None => (bytes, None),
            Tagging::InFrame | Tagging::Priority => (frames::tagged(&bytes, tci), None),
            Tagging::Stripped | Tagging::StrippedPriority => (bytes, Some(tci)),
        };
        Frame { bytes, stripped }
    }

    /// Hands over segments in one batch, and gathers what is sent.
    fn feed(&mut self, segments: &[Segment]) {
        self.now += Duration::from_millis(1);
        let frames = segments.iter().map(|s| self.frame(self.path.tcp(s)));
        let frames: Vec<_> = frames.collect();
        self.stack.ingest(self.now, &frames);
        self.gather();
    }

    fn gather(&mut self) {
        if self.stack.next_timeout().is_some_and(|at| at <= self.now) {
            self.stack.handle_timeout(self.now);
        }
        let mut sent = Sent::default();
        self.stack.poll_transmit(self.now, &mut sent);
        let vlan = self.tagging.vlan();
        for (tci, frame) in sent.0 {
            let parsed = parse(&frame).unwrap();
            if matches!(parsed.network, Network::Ip(_, Transport::Tcp(_))) {
                assert_eq!(tci, (vlan != 0).then_some(vlan));
                self.sent.push(frame);
            }
        }
    }

    /// The acknowledgment and timestamp that the peer knows of.
    fn known(&self) -> (u32, u32) {
        let frame = self.sent.last().expect("something was sent");
        let Network::Ip(_, Transport::Tcp(segment)) = parse(frame).unwrap().network else {
            unreachable!("only TCP is kept");
        };
        let stamp = segment.options().find_map(|option| match option {
            dpdk_net_packet::tcp::TcpOption::Timestamps { value, .. } => Some(value),
            _ => None,
        });
        let next = segment.seq().wrapping_add(segment.sequence_len());
        (next, stamp.unwrap_or(0))
    }
}

fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    let mut options = vec![1, 1, 8, 10];
    options.extend(value.to_be_bytes());
    options.extend(echo.to_be_bytes());
    options
}

/// A connection with some requests, one that comes in several segments and one out of order, and its end; what was sent.
fn tell(family: Family, tagging: Tagging) -> (Vec<Vec<u8>>, u64) {
    let mut story = Story::new(family, tagging);
    let mut seq = 1_000u32;
    let mut clock = 1;
    let segment = |story: &Story, seq, clock, flags, payload: &[u8]| {
        let (ack, echo) = match flags {
            flags::SYN => (0, 0),
            _ => story.known(),
        };
        Segment {
            src_port: 5_000,
            dst_port: PORT,
            seq,
            ack,
            flags,
            window: 60_000,
            options: timestamps(clock, echo),
            payload: payload.to_vec(),
        }
    };
    let syn = segment(&story, seq, clock, flags::SYN, b"");
    story.feed(&[syn]);
    seq += 1;
    let ack = segment(&story, seq, clock, flags::ACK, b"");
    story.feed(&[ack]);
    let (id, _): (TcpId, _) = story.stack.tcp_accept(story.listener).unwrap();
    let mut buf = [0; 8_192];
    for round in 0..20 {
        clock += 1;
        let request = vec![round as u8; 100];
        let mut parts = vec![segment(&story, seq, clock, flags::ACK, &request)];
        seq += 100;
        if round % 5 == 4 {
            parts.push(segment(&story, seq, clock, flags::ACK, &request));
            seq += 100;
        }
        if round % 7 == 6 {
            parts.reverse();
        }
        story.feed(&parts);
        let read = story.stack.tcp_recv(id, &mut buf).unwrap();
        assert_eq!(read, 100 * parts.len());
        story.stack.tcp_send(id, &vec![round as u8; 900]).unwrap();
        story.gather();
    }
    let fin = segment(&story, seq, clock, flags::ACK | flags::FIN, b"");
    story.feed(&[fin]);
    assert_eq!(story.stack.tcp_recv(id, &mut buf), Ok(0));
    story.stack.tcp_close(story.now, id);
    story.gather();
    // And a segment of no connection.
    let stray = segment(&story, 7, clock, flags::RST | flags::ACK, b"");
    let stray = Segment {
        src_port: 6_000,
        flags: flags::ACK,
        ..stray
    };
    story.feed(&[stray]);
    (story.sent, story.stack.stats().tcp.rx_segments)
}

#[test]
fn a_connection_over_a_vlan_is_the_same_but_for_the_tag() {
    for family in Family::BOTH {
        let plain = tell(family, Tagging::None);
        assert!(plain.0.len() > 20, "{}", plain.0.len());
        for tagging in [
            Tagging::InFrame,
            Tagging::Stripped,
            Tagging::Priority,
            Tagging::StrippedPriority,
        ] {
            let tagged = tell(family, tagging);
            assert!(tagged == plain, "{family:?} {tagging:?}");
        }
    }
}
