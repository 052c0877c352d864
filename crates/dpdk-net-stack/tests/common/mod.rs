//! Two stacks on a wire in virtual time, and a peer whose segments are made by hand.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod workers;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::tcp::{Flags, Segment, TcpOption};
use dpdk_net_packet::{
    MacAddr, Network, Protocol, Transport, checksum, ethernet, ipv4, ipv6, parse,
};
use dpdk_net_stack::{
    Config, Duration, Error, Event, Instant, ListenOptions, ListenerId, Readiness, Stack, TcpId,
    TxMeta, TxSink,
};

/// Both address families; every test runs for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Runs a test once for each family.
#[macro_export]
macro_rules! both_families {
    ($($(#[$attr:meta])* fn $name:ident($family:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn story($family: Family) $body
            $(#[$attr])*
            #[test]
            fn ipv4() { story(Family::V4) }
            $(#[$attr])*
            #[test]
            fn ipv6() { story(Family::V6) }
        }
    )*};
}

impl Family {
    /// Host `n` of the test network.
    pub fn host(self, n: u16) -> IpAddr {
        match self {
            Family::V4 => IpAddr::from([198, 18, (n >> 8) as u8, n as u8]),
            Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]),
        }
    }

    pub fn at(self, host: u16, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(host), port)
    }

    pub fn any(self, port: u16) -> SocketAddr {
        match self {
            Family::V4 => SocketAddr::new([0, 0, 0, 0].into(), port),
            Family::V6 => SocketAddr::new([0u16; 8].into(), port),
        }
    }
}

pub fn mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8])
}

/// The configuration of host `n`: both families, usable at once.
pub fn config(n: u16) -> Config {
    let mut config = Config::new(mac(n))
        .with_address(format!("{}/15", Family::V4.host(n)).parse().unwrap())
        .with_address(format!("{}/64", Family::V6.host(n)).parse().unwrap());
    config.dad = false;
    config.seed = [(n % 250) as u8 + 1; 32];
    config
}

/// A sink with so much room.
pub struct Sink<'a> {
    pub room: usize,
    pub frames: &'a mut Vec<Vec<u8>>,
}

impl TxSink for Sink<'_> {
    fn capacity(&mut self) -> usize {
        self.room
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.room > 0, "sent more than there is room for");
        self.room -= 1;
        let mut frame = vec![0xa5; len];
        let result = fill(&mut frame);
        self.frames.push(frame);
        result
    }
}

/// Whether a frame gets through to this host.
pub type Filter = Box<dyn FnMut(usize, &[u8]) -> bool>;

/// Two stacks, host 1 (the server) and host 2 (the client), and the wire between.
pub struct Pair {
    pub stacks: [Stack; 2],
    pub now: Instant,
    pub latency: Duration,
    /// Room in each host's TX ring at each look; `usize::MAX` is no limit.
    pub room: [usize; 2],
    wire: VecDeque<(Instant, usize, Vec<u8>)>,
    /// Decides which frames get through.
    pub filter: Filter,
    pub events: [Vec<Event>; 2],
}

pub const SERVER: usize = 0;
pub const CLIENT: usize = 1;
pub const PORT: u16 = 80;

impl Pair {
    pub fn new() -> Self {
        Self::with(config(1), config(2))
    }

    pub fn with(server: Config, client: Config) -> Self {
        let now = Instant::from_secs(1_000);
        Pair {
            stacks: [
                Stack::new(server, now).unwrap(),
                Stack::new(client, now).unwrap(),
            ],
            now,
            latency: Duration::from_micros(50),
            room: [usize::MAX; 2],
            wire: VecDeque::new(),
            filter: Box::new(|_, _| true),
            events: [Vec::new(), Vec::new()],
        }
    }

    pub fn server(&mut self) -> &mut Stack {
        &mut self.stacks[SERVER]
    }

    pub fn client(&mut self) -> &mut Stack {
        &mut self.stacks[CLIENT]
    }

    /// Lets everything happen that happens now; tells whether anything did.
    fn settle(&mut self) -> bool {
        let mut busy = false;
        for host in [SERVER, CLIENT] {
            let mut batch = Vec::new();
            let mut i = 0;
            while i < self.wire.len() {
                if self.wire[i].1 == host && self.wire[i].0 <= self.now {
                    batch.extend(self.wire.remove(i).map(|(_, _, frame)| frame));
                } else {
                    i += 1;
                }
            }
            busy |= !batch.is_empty();
            let stack = &mut self.stacks[host];
            stack.ingest(self.now, &batch);
            if stack.next_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
            let mut out = Vec::new();
            let sent = stack.poll_transmit(
                self.now,
                &mut Sink {
                    room: self.room[host],
                    frames: &mut out,
                },
            );
            assert_eq!(sent, out.len());
            busy |= sent > 0;
            while let Some(event) = stack.poll_event() {
                busy = true;
                self.events[host].push(event);
            }
            let to = 1 - host;
            for frame in out {
                if (self.filter)(to, &frame) {
                    self.wire.push_back((self.now + self.latency, to, frame));
                }
            }
        }
        busy
    }

    /// Jumps to the next thing that happens, `limit` at most; `false` if that was reached.
    fn jump(&mut self, limit: Instant) -> bool {
        let arrivals = self.wire.iter().map(|(at, _, _)| *at).min();
        let timers = self.stacks.iter().filter_map(Stack::next_timeout).min();
        let next = arrivals
            .into_iter()
            .chain(timers)
            .min()
            .unwrap_or(Instant::MAX)
            .max(self.now);
        if next > limit {
            self.now = limit;
            return false;
        }
        // A timer may be due already, but its work wait for room: time has to pass all the same.
        self.now = next.max(self.now + Duration::from_micros(1));
        true
    }

    /// Runs for so long.
    pub fn run(&mut self, time: Duration) {
        let limit = self.now + time;
        loop {
            while self.settle() {}
            if !self.jump(limit) {
                while self.settle() {}
                return;
            }
        }
    }

    /// Runs until `done`, or panics after so long.
    pub fn run_until(
        &mut self,
        time: Duration,
        what: &str,
        mut done: impl FnMut(&mut Self) -> bool,
    ) {
        let limit = self.now + time;
        loop {
            loop {
                while self.settle() {}
                if done(self) {
                    return;
                }
                // What `done` did may have something to send.
                if !self.settle() {
                    break;
                }
            }
            assert!(self.jump(limit), "not within {time:?}: {what}");
        }
    }

    pub fn listen(&mut self, family: Family) -> ListenerId {
        self.server()
            .tcp_listen(ListenOptions::new(family.any(PORT)))
            .unwrap()
    }

    pub fn connect(&mut self, family: Family) -> TcpId {
        let now = self.now;
        self.client()
            .tcp_connect(now, None, family.at(1, PORT))
            .unwrap()
    }

    /// A listener and an established connection: the client's id and the server's.
    pub fn establish(&mut self, family: Family) -> (TcpId, TcpId) {
        let listener = self.listen(family);
        let client = self.connect(family);
        let mut server = None;
        self.run_until(Duration::from_secs(10), "accept", |pair| {
            server = server.or_else(|| pair.server().tcp_accept(listener).ok().map(|(id, _)| id));
            server.is_some()
        });
        assert!(
            self.client()
                .tcp_readiness(client)
                .contains(Readiness::CONNECTED)
        );
        (client, server.unwrap())
    }

    /// Sends `data` from `from` of host `host` to `to` of the other host and checks what arrives.
    pub fn transfer(&mut self, host: usize, from: TcpId, to: TcpId, data: &[u8], time: Duration) {
        let (mut sent, mut received) = (0, Vec::new());
        let mut buf = vec![0; 16 * 1024];
        self.run_until(time, "transfer", |pair| {
            while sent < data.len() {
                match pair.stacks[host].tcp_send(from, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("send: {error}"),
                }
            }
            loop {
                match pair.stacks[1 - host].tcp_recv(to, &mut buf) {
                    Ok(0) => panic!("end of stream after {} bytes", received.len()),
                    Ok(n) => received.extend_from_slice(&buf[..n]),
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("receive: {error}"),
                }
            }
            received.len() >= data.len()
        });
        assert!(received == data, "what arrived is not what was sent");
    }
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}

/// A TCP segment made by hand or read off the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seg {
    pub from: u16,
    pub to: u16,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    pub window: u16,
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_ok: bool,
    /// Value and echo.
    pub timestamps: Option<(u32, u32)>,
    pub sack: Vec<(u32, u32)>,
    /// Options byte by byte, behind the others; only of those made by hand.
    pub options: Vec<u8>,
    pub urgent: u16,
    /// The ECN field of the IP header.
    pub ecn: u8,
    pub payload: Vec<u8>,
}

pub const SYN: u8 = Flags::SYN.0;
pub const ACK: u8 = Flags::ACK.0;
pub const RST: u8 = Flags::RST.0;
pub const FIN: u8 = Flags::FIN.0;
pub const PSH: u8 = Flags::PSH.0;
pub const URG: u8 = Flags::URG.0;
pub const ECE: u8 = Flags::ECE.0;
pub const CWR: u8 = Flags::CWR.0;

/// The frame of a segment from one test host to another.
pub fn frame(family: Family, from_host: u16, to_host: u16, seg: &Seg) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    if let Some(mss) = seg.mss {
        tcp.extend([2, 4]);
        tcp.extend(mss.to_be_bytes());
    }
    if let Some(shift) = seg.wscale {
        tcp.extend([1, 3, 3, shift]);
    }
    if seg.sack_ok {
        tcp.extend([1, 1, 4, 2]);
    }
    if let Some((value, echo)) = seg.timestamps {
        tcp.extend([1, 1, 8, 10]);
        tcp.extend(value.to_be_bytes());
        tcp.extend(echo.to_be_bytes());
    }
    if !seg.sack.is_empty() {
        tcp.extend([1, 1, 5, 2 + 8 * seg.sack.len() as u8]);
        for (start, end) in &seg.sack {
            tcp.extend(start.to_be_bytes());
            tcp.extend(end.to_be_bytes());
        }
    }
    tcp.extend(&seg.options);
    tcp.resize(tcp.len().next_multiple_of(4), 0);
    tcp[0..2].copy_from_slice(&seg.from.to_be_bytes());
    tcp[2..4].copy_from_slice(&seg.to.to_be_bytes());
    tcp[4..8].copy_from_slice(&seg.seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&seg.ack.to_be_bytes());
    tcp[12] = ((tcp.len() / 4) << 4) as u8;
    tcp[13] = seg.flags;
    tcp[14..16].copy_from_slice(&seg.window.to_be_bytes());
    tcp[18..20].copy_from_slice(&seg.urgent.to_be_bytes());
    tcp.extend_from_slice(&seg.payload);
    let (src, dst) = (family.host(from_host), family.host(to_host));
    checksum::fill_tcp(src, dst, &mut tcp);
    let (ether_type, header) = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut header = vec![0; ipv4::HEADER_LEN];
            let ip = ipv4::Header {
                traffic_class: seg.ecn,
                ..ipv4::Header::new(src, dst, Protocol::Tcp, tcp.len())
            };
            ip.write(&mut header);
            (ethernet::TYPE_IPV4, header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut header = vec![0; ipv6::HEADER_LEN];
            let ip = ipv6::Header {
                traffic_class: seg.ecn,
                ..ipv6::Header::new(src, dst, Protocol::Tcp, tcp.len())
            };
            ip.write(&mut header);
            (ethernet::TYPE_IPV6, header)
        }
        _ => unreachable!("one family"),
    };
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut frame, mac(to_host), mac(from_host), ether_type);
    frame.extend(header);
    frame.extend(tcp);
    frame
}

/// The segment in a frame, its checksum verified.
pub fn read(frame: &[u8]) -> Option<Seg> {
    let parsed = parse(frame).expect("the stack sends only what can be parsed");
    let Network::Ip(ip, Transport::Tcp(tcp)) = parsed.network else {
        return None;
    };
    assert!(
        checksum::verify(ip.src(), ip.dst(), Protocol::Tcp, tcp.bytes()),
        "checksum of {tcp:?}"
    );
    let mut seg = seg_of(&tcp);
    seg.ecn = ip.ecn();
    for option in tcp.options() {
        match option {
            TcpOption::MaxSegmentSize(mss) => seg.mss = Some(mss),
            TcpOption::WindowScale(shift) => seg.wscale = Some(shift),
            TcpOption::SackPermitted => seg.sack_ok = true,
            TcpOption::Timestamps { value, echo } => seg.timestamps = Some((value, echo)),
            TcpOption::Sack(bytes) => {
                let word = |at: &[u8]| u32::from_be_bytes(at.try_into().unwrap());
                let blocks = bytes.chunks_exact(8);
                seg.sack = blocks
                    .map(|block| (word(&block[..4]), word(&block[4..])))
                    .collect();
            }
            _ => {}
        }
    }
    Some(seg)
}

fn seg_of(tcp: &Segment<'_>) -> Seg {
    Seg {
        from: tcp.src_port(),
        to: tcp.dst_port(),
        seq: tcp.seq(),
        ack: tcp.ack(),
        flags: tcp.flags().0,
        window: tcp.window(),
        urgent: tcp.urgent(),
        payload: tcp.payload().to_vec(),
        ..Seg::default()
    }
}

/// One stack, host 1, and a peer, host 2, whose segments are made by hand.
pub struct Hand {
    pub family: Family,
    pub stack: Stack,
    pub now: Instant,
    /// The peer's port, what it sends next and what it has acknowledged.
    pub port: u16,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    /// The stack's port.
    pub local_port: u16,
    /// What the peer offers in its SYN.
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_ok: bool,
    /// Value and echo in each of its segments.
    pub timestamps: Option<(u32, u32)>,
}

impl Hand {
    pub fn new(family: Family) -> Self {
        Self::with(family, config(1))
    }

    pub fn with(family: Family, config: Config) -> Self {
        let now = Instant::from_secs(1_000);
        let mut stack = Stack::new(config, now).unwrap();
        stack.add_neighbor(family.host(2), mac(2));
        let mut hand = Hand {
            family,
            stack,
            now,
            port: 5_000,
            seq: 1_000_000,
            ack: 0,
            window: 65_535,
            local_port: PORT,
            mss: Some(1_400),
            wscale: None,
            sack_ok: false,
            timestamps: None,
        };
        hand.out();
        hand
    }

    /// The segments that the stack sends now.
    pub fn out(&mut self) -> Vec<Seg> {
        let mut frames = Vec::new();
        self.stack.poll_transmit(self.now, &mut frames);
        frames.iter().filter_map(|frame| read(frame)).collect()
    }

    /// Gives a segment to the stack and tells what it sends.
    pub fn give(&mut self, seg: &Seg) -> Vec<Seg> {
        self.stack
            .ingest(self.now, &[frame(self.family, 2, 1, seg)]);
        self.out()
    }

    /// A segment of the peer in its present state.
    pub fn seg(&self, flags: u8, payload: &[u8]) -> Seg {
        Seg {
            from: self.port,
            to: self.local_port,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            timestamps: self.timestamps,
            payload: payload.to_vec(),
            ..Seg::default()
        }
    }

    pub fn syn(&self) -> Seg {
        Seg {
            ack: 0,
            mss: self.mss,
            wscale: self.wscale,
            sack_ok: self.sack_ok,
            ..self.seg(SYN, &[])
        }
    }

    /// Gives a segment in sequence, and takes what it occupies for sent.
    pub fn send(&mut self, flags: u8, payload: &[u8]) -> Vec<Seg> {
        let seg = self.seg(flags, payload);
        let space = payload.len() as u32 + u32::from(flags & FIN != 0);
        self.seq = self.seq.wrapping_add(space);
        self.give(&seg)
    }

    /// Acknowledges so many bytes more.
    pub fn acknowledge(&mut self, bytes: u32) -> Vec<Seg> {
        self.ack = self.ack.wrapping_add(bytes);
        self.give(&self.seg(ACK, &[]))
    }

    /// Opens a connection from the stack to the peer and tells its SYN.
    pub fn start_connect(&mut self) -> (TcpId, Seg) {
        let remote = self.family.at(2, self.port);
        let id = self.stack.tcp_connect(self.now, None, remote).unwrap();
        let mut sent = self.out();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].flags & !(ECE | CWR), SYN);
        self.local_port = sent[0].from;
        self.ack = sent[0].seq.wrapping_add(1);
        (id, sent.remove(0))
    }

    /// The peer's answer to a SYN.
    pub fn syn_ack(&self) -> Seg {
        Seg {
            flags: SYN | ACK,
            ack: self.ack,
            ..self.syn()
        }
    }

    /// A connection opened by the stack.
    pub fn connect(&mut self) -> TcpId {
        let (id, _) = self.start_connect();
        let answers = self.give(&self.syn_ack());
        assert_eq!(answers.len(), 1, "{answers:?}");
        self.seq = self.seq.wrapping_add(1);
        id
    }

    /// Lets time pass, timers run, and gathers what is sent.
    pub fn pass(&mut self, time: Duration) -> Vec<Seg> {
        let until = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.stack.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_nanos(1);
            self.stack.handle_timeout(self.now);
            sent.extend(self.out());
        }
        self.now = until;
        sent.extend(self.out());
        sent
    }

    /// The peer's side of the handshake up to the SYN-ACK, which is returned.
    pub fn half_open(&mut self) -> Seg {
        let answers = self.give(&self.syn());
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].flags, SYN | ACK);
        assert_eq!(answers[0].ack, self.seq.wrapping_add(1));
        self.seq = self.seq.wrapping_add(1);
        self.ack = answers[0].seq.wrapping_add(1);
        answers[0].clone()
    }

    /// A connection accepted by the stack.
    pub fn establish(&mut self, listener: ListenerId) -> TcpId {
        self.half_open();
        let answers = self.give(&self.seg(ACK, &[]));
        assert_eq!(answers, []);
        let (id, peer) = self.stack.tcp_accept(listener).unwrap();
        assert_eq!(peer, self.family.at(2, self.port));
        id
    }

    pub fn listen(&mut self) -> ListenerId {
        self.stack
            .tcp_listen(ListenOptions::new(self.family.any(PORT)))
            .unwrap()
    }
}
