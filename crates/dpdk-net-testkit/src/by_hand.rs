//! A stack played frame by frame, without a network: what malformed-input tests and fuzzers need.
//!
//! [`ByHand`] owns a [`Stack`] with a TCP listener, a UDP socket and a clock. [`feed`](ByHand::feed) hands it frames and returns what
//! it sends; [`check_service`](ByHand::check_service) plays a well-behaved stranger through ARP or NDP, ping, UDP and a whole TCP
//! connection, and says what the stack failed to do.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dpdk_net_packet::{FrameBuf, MacAddr, Network, Transport, arp, icmp, parse};
use dpdk_net_stack::{Config, Error, ListenOptions, ListenerId, Stack, TcpId, UdpId, UdpOptions};

use crate::Instant;
use crate::addr::Family;
use crate::frames::{self, Path, Segment, flags};
use crate::hosts::{Sink, StackHost};
use crate::nic::Nic;

/// The number of the stack in the address plan.
pub const HOST: u16 = 1;
/// The port where it listens for TCP connections.
pub const TCP_PORT: u16 = 7000;
/// The port of its UDP socket.
pub const UDP_PORT: u16 = 7001;

/// The first peer that [`ByHand::check_service`] plays; tests take smaller numbers for theirs.
const FIRST_STRANGER: u16 = 40_000;
/// Longest time for which the stack's answer is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Deadlines that may come due within one call of [`ByHand::wait`].
const MOST_DEADLINES: u32 = 100_000;

/// A stack, its sockets and a clock. See the [module](self).
pub struct ByHand {
    stack: Stack,
    now: Instant,
    listener: ListenerId,
    udp: UdpId,
    next_stranger: u16,
    tci: Option<u16>,
}

impl fmt::Debug for ByHand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByHand")
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

impl Default for ByHand {
    fn default() -> Self {
        Self::new()
    }
}

impl ByHand {
    /// Host [`HOST`] of the address plan with the default configuration, listening on [`TCP_PORT`] and [`UDP_PORT`].
    pub fn new() -> Self {
        Self::with_config(StackHost::config(HOST, 1))
    }

    /// The same with another configuration.
    ///
    /// # Panics
    /// If the stack refuses it.
    pub fn with_config(config: Config) -> Self {
        let now = Instant::from_millis(1_000);
        let mut stack = Stack::new(config, now).unwrap_or_else(|error| panic!("{error}"));
        let any = |port| SocketAddr::new(IpAddr::from([0u16; 8]), port);
        let listener = stack
            .tcp_listen(ListenOptions::new(any(TCP_PORT)))
            .unwrap_or_else(|error| panic!("{error}"));
        let udp = stack
            .udp_bind(UdpOptions::new(any(UDP_PORT)))
            .unwrap_or_else(|error| panic!("{error}"));
        let mut by_hand = Self {
            stack,
            now,
            listener,
            udp,
            next_stranger: FIRST_STRANGER,
            tci: None,
        };
        // Group memberships are announced at the start.
        by_hand.take();
        by_hand
    }

    /// The stack.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// The stack, to be used directly.
    pub fn stack_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The clock.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The TCP listener.
    pub fn listener(&self) -> ListenerId {
        self.listener
    }

    /// The UDP socket.
    pub fn udp(&self) -> UdpId {
        self.udp
    }

    /// From now on whatever is handed to the stack gets this VLAN tag first, or none.
    pub fn set_tag(&mut self, tci: Option<u16>) {
        self.tci = tci;
    }

    /// Hands frames as a NIC makes them of what it received to the stack, in one batch; what it sends at once.
    pub fn feed_received<B: FrameBuf>(&mut self, frames: &[B]) -> Vec<Vec<u8>> {
        self.stack.ingest(self.now, frames);
        self.take()
    }

    /// Hands frames to the stack in one batch; what it sends at once.
    pub fn feed_batch(&mut self, frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
        match self.tci {
            None => self.stack.ingest(self.now, frames),
            Some(tci) => {
                let tagged = frames.iter().map(|frame| frames::tagged(frame, tci));
                self.stack.ingest(self.now, &tagged.collect::<Vec<_>>());
            }
        }
        self.take()
    }

    /// Hands one frame to the stack; what it sends at once.
    pub fn feed(&mut self, frame: impl Into<Vec<u8>>) -> Vec<Vec<u8>> {
        self.feed_batch(&[frame.into()])
    }

    /// What the stack has to send now.
    pub fn take(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let mut sink = Sink {
            room: usize::MAX,
            frames: &mut frames,
            nic: &mut Nic::default(),
        };
        self.stack.poll_transmit(self.now, &mut sink);
        frames
    }

    /// Lets time pass, deadline by deadline; what the stack sends meanwhile.
    ///
    /// # Panics
    /// If the stack has so many deadlines in this time that it must be spinning.
    pub fn wait(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = self.now + time;
        let mut sent = self.take();
        for round in 0.. {
            assert!(
                round < MOST_DEADLINES,
                "the stack asks to be called again and again at {:?}",
                self.now
            );
            match self.stack.next_timeout() {
                Some(at) if at <= end => self.now = self.now.max(at),
                _ => break,
            }
            self.stack.handle_timeout(self.now);
            sent.append(&mut self.take());
        }
        self.now = end;
        sent
    }

    /// Takes a connection off the listener, if one is there.
    pub fn accept(&mut self) -> Option<(TcpId, SocketAddr)> {
        self.stack.tcp_accept(self.listener).ok()
    }

    /// Hands a frame to the stack and waits until it sends one that `find` knows; the stack's questions for the MAC address of the
    /// frame's sender are answered meanwhile.
    pub fn ask<T>(
        &mut self,
        path: Path,
        frame: Vec<u8>,
        mut find: impl FnMut(&[u8]) -> Option<T>,
    ) -> Option<T> {
        let end = self.now + PATIENCE;
        let mut sent = self.feed(frame);
        loop {
            let mut answers = Vec::new();
            for frame in sent.drain(..) {
                if let Some(found) = find(&frame) {
                    return Some(found);
                }
                if asks_for(&frame, path.src) {
                    answers.push(path.i_have());
                }
            }
            if answers.is_empty() {
                let at = self.stack.next_timeout().filter(|&at| at <= end)?;
                sent = self.wait(at - self.now);
                if at <= self.now && sent.is_empty() {
                    // A deadline that is due already brought nothing: let the clock move on.
                    sent = self.wait(Duration::from_millis(1));
                }
            } else {
                sent = self.feed_batch(&answers);
            }
            if self.now >= end {
                return None;
            }
        }
    }

    /// Opens a connection to the listener as a peer whose next sequence number is `seq + 1`; the id of the accepted connection and
    /// the peer's view of it, ready to send from.
    pub fn open(&mut self, path: Path, port: u16, seq: u32) -> Result<(TcpId, Segment), String> {
        // An MSS of 1,400.
        self.open_with(path, port, seq, flags::SYN, vec![2, 4, 0x05, 0x78])
    }

    /// As [`open`](Self::open), by a SYN with these flags and options. What the options demand of later segments is the
    /// caller's business; the ACK of the handshake repeats the timestamp of the SYN, if that has one.
    pub fn open_with(
        &mut self,
        path: Path,
        port: u16,
        seq: u32,
        syn_flags: u8,
        options: Vec<u8>,
    ) -> Result<(TcpId, Segment), String> {
        let timestamp = options
            .windows(6)
            .find(|bytes| bytes[0] == 8 && bytes[1] == 10)
            .map(|bytes| [bytes[2], bytes[3], bytes[4], bytes[5]]);
        let syn = Segment {
            src_port: port,
            dst_port: TCP_PORT,
            seq,
            flags: syn_flags,
            window: 65_535,
            options,
            ..Segment::default()
        };
        let isn = self
            .ask(path, path.tcp(&syn), |frame| {
                let (segment, payload) = tcp_to(frame, port)?;
                (segment.flags & (flags::SYN | flags::ACK) == flags::SYN | flags::ACK
                    && segment.ack == seq.wrapping_add(1)
                    && payload.is_empty())
                .then_some(segment.seq)
            })
            .ok_or("the SYN was not answered by a SYN-ACK")?;
        let options = match timestamp {
            Some([a, b, c, d]) => vec![1, 1, 8, 10, a, b, c, d, 0, 0, 0, 0],
            None => Vec::new(),
        };
        let mut peer = Segment {
            seq: seq.wrapping_add(1),
            ack: isn.wrapping_add(1),
            flags: flags::ACK,
            options,
            ..syn
        };
        self.feed(path.tcp(&peer));
        let from = SocketAddr::new(path.src, port);
        // Others may wait to be accepted before it.
        while let Some((id, who)) = self.accept() {
            if who == from {
                peer.flags = flags::ACK | flags::PSH;
                return Ok((id, peer));
            }
            self.stack.tcp_abort(id);
        }
        Err("the connection was not accepted after the handshake".into())
    }

    /// Plays a stranger that finds the stack's MAC address, pings it, sends a datagram, and opens, uses and closes a connection, in both
    /// families; an error says what the stack did not do.
    pub fn check_service(&mut self) -> Result<(), String> {
        Family::BOTH.into_iter().try_for_each(|family| {
            let stranger = self.next_stranger;
            self.next_stranger = self.next_stranger.checked_add(1).unwrap_or(FIRST_STRANGER);
            let path = Path::new(family, stranger, HOST);
            self.check_family(path)
                .map_err(|what| format!("{family:?}: {what}"))
        })
    }

    fn check_family(&mut self, path: Path) -> Result<(), String> {
        let mac = self
            .ask(path, path.who_has(), |frame| tells_mac(frame, path.dst))
            .ok_or("the question for its MAC address was not answered")?;
        if mac != path.dst_mac {
            return Err(format!("it says that its MAC address is {mac}"));
        }
        self.ask(path, path.echo_request(7, 9, b"are you there?"), |frame| {
            is_echo_reply(frame, b"are you there?").then_some(())
        })
        .ok_or("the ping was not answered")?;
        self.check_udp(path)?;
        self.check_tcp(path)
    }

    fn check_udp(&mut self, path: Path) -> Result<(), String> {
        let mut buffer = [0; 64];
        // What came before is not of interest.
        while self.stack.udp_recv(self.udp, &mut buffer).is_ok() {}
        self.feed(path.udp(1_234, UDP_PORT, b"datagram"));
        let got = self
            .stack
            .udp_recv(self.udp, &mut buffer)
            .map_err(|error| format!("no datagram: {error}"))?;
        if buffer[..got.len] != *b"datagram" || got.from != SocketAddr::new(path.src, 1_234) {
            return Err(format!(
                "another datagram: {:?} from {}",
                &buffer[..got.len],
                got.from
            ));
        }
        Ok(())
    }

    fn check_tcp(&mut self, path: Path) -> Result<(), String> {
        let port = 50_000;
        let (id, mut peer) = self.open(path, port, 0xffff_fff0)?;
        peer.payload = b"request that crosses the wrap of sequence numbers".to_vec();
        let next = peer.seq.wrapping_add(peer.payload.len() as u32);
        self.ask(path, path.tcp(&peer), |frame| {
            tcp_to(frame, port)
                .filter(|(segment, _)| segment.ack == next)
                .map(drop)
        })
        .ok_or("the data was not acknowledged")?;
        let mut buffer = [0; 128];
        let n = self
            .stack
            .tcp_recv(id, &mut buffer)
            .map_err(|error| format!("no data: {error}"))?;
        if buffer[..n] != *peer.payload {
            return Err(format!("other data: {:?}", &buffer[..n]));
        }
        self.stack
            .tcp_send(id, b"response")
            .map_err(|error| format!("can't send: {error}"))?;
        self.stack
            .tcp_shutdown_write(id)
            .map_err(|error| format!("can't shut down: {error}"))?;
        // Acknowledges and ends its own stream; the answer is the stack's data and FIN, in one segment or two.
        (peer.seq, peer.payload) = (next, Vec::new());
        let sent = self.take();
        let response = sent
            .iter()
            .filter_map(|frame| tcp_to(frame, port))
            .find(|(_, payload)| !payload.is_empty());
        let Some((segment, payload)) = response else {
            return Err("the response was not sent".into());
        };
        if payload != b"response" || segment.seq != peer.ack {
            return Err(format!(
                "another response: {payload:?} at {} for {}",
                segment.seq, peer.ack
            ));
        }
        peer.ack = peer.ack.wrapping_add(b"response".len() as u32 + 1);
        peer.flags = flags::ACK | flags::FIN;
        self.ask(path, path.tcp(&peer), |frame| {
            tcp_to(frame, port)
                .filter(|(segment, _)| segment.ack == next.wrapping_add(1))
                .map(drop)
        })
        .ok_or("the FIN was not acknowledged")?;
        match self.stack.tcp_recv(id, &mut buffer) {
            Ok(0) => {}
            other => return Err(format!("no end of the stream, but {other:?}")),
        }
        self.stack.tcp_close(self.now, id);
        match self.stack.tcp_recv(id, &mut buffer) {
            Err(Error::UnknownSocket) => Ok(()),
            other => Err(format!(
                "the id of a closed connection still works: {other:?}"
            )),
        }
    }
}

/// The TCP segment in a frame, without its options, if it goes to `port`.
pub fn tcp_to(frame: &[u8], port: u16) -> Option<(Segment, Vec<u8>)> {
    let Ok(parsed) = parse(frame) else {
        return None;
    };
    let Network::Ip(_, Transport::Tcp(tcp)) = parsed.network else {
        return None;
    };
    let segment = Segment {
        src_port: tcp.src_port(),
        dst_port: tcp.dst_port(),
        seq: tcp.seq(),
        ack: tcp.ack(),
        flags: tcp.flags().0,
        window: tcp.window(),
        ..Segment::default()
    };
    (tcp.dst_port() == port).then(|| (segment, tcp.payload().to_vec()))
}

/// Whether the frame asks for the MAC address of `whom`.
fn asks_for(frame: &[u8], whom: IpAddr) -> bool {
    let Ok(parsed) = parse(frame) else {
        return false;
    };
    match parsed.network {
        Network::Arp(packet) => {
            packet.operation == arp::Operation::Request && IpAddr::V4(packet.target) == whom
        }
        Network::Ip(_, Transport::Icmpv6(message))
            if message.kind() == icmp::v6::NEIGHBOR_SOLICITATION =>
        {
            message.bytes().get(8..24) == Some(&octets(whom)[..])
        }
        _ => false,
    }
}

/// The MAC address that the frame tells for `whom`.
fn tells_mac(frame: &[u8], whom: IpAddr) -> Option<MacAddr> {
    let Ok(parsed) = parse(frame) else {
        return None;
    };
    match parsed.network {
        Network::Arp(packet)
            if packet.operation == arp::Operation::Reply && IpAddr::V4(packet.sender) == whom =>
        {
            Some(packet.sender_mac)
        }
        Network::Ip(_, Transport::Icmpv6(message))
            if message.kind() == icmp::v6::NEIGHBOR_ADVERTISEMENT =>
        {
            let bytes = message.bytes();
            // The target link-layer address option follows the target.
            (bytes.get(8..24) == Some(&octets(whom)[..]) && bytes.get(24..26) == Some(&[2, 1]))
                .then(|| MacAddr::from_slice(&bytes[26..]))
                .flatten()
        }
        _ => None,
    }
}

fn is_echo_reply(frame: &[u8], data: &[u8]) -> bool {
    let Ok(parsed) = parse(frame) else {
        return false;
    };
    let (message, kind) = match parsed.network {
        Network::Ip(_, Transport::Icmp(message)) => (message, icmp::v4::ECHO_REPLY),
        Network::Ip(_, Transport::Icmpv6(message)) => (message, icmp::v6::ECHO_REPLY),
        _ => return false,
    };
    message.kind() == kind && message.bytes().get(8..) == Some(data)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
