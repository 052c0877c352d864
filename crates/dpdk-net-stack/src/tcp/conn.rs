//! The seam: one connection's TCP state machine, and nothing else.
//!
//! What stands behind it now is smoltcp's `tcp::Socket`, one `SocketSet` a connection, driven packet by packet through
//! an `Interface` that all connections share. The rest of the stack sees a [`Conn`] that takes a packet, gives a
//! segment, and says when it wants to run again. smoltcp's peculiarities that its surroundings have to guard against
//! are dealt with in [`flow`](super::flow) and [`input`](super::input); here only those of driving it.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use dpdk_net_packet::tcp::Flags;
use smoltcp::iface::{
    Config as InterfaceConfig, Interface, PollResult, SocketHandle, SocketSet, SocketStorage,
};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpEndpoint, IpListenEndpoint};

use super::TcpState;
use super::options::SynOptions;
use super::segment::Control;
use super::table::FlowKey;
use crate::config::TcpConfig;
use crate::emit;
use crate::time::Instant;

/// Takes the one segment that a connection gives.
pub(crate) trait Emit {
    /// Takes an IP packet of `len` bytes that `fill` writes.
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R;
}

/// Keeps the IP packet.
impl Emit for Vec<u8> {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.clear();
        self.resize(len, 0);
        fill(self)
    }
}

/// When a connection wants to run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It has a segment to give.
    Now,
    At(Instant),
    /// Not before something comes in.
    Never,
}

#[inline]
fn smol_time(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// A device that holds at most one received packet and always has room for one to send.
struct OnePacket<'a, E> {
    caps: &'a DeviceCapabilities,
    received: Option<&'a [u8]>,
    emit: &'a mut E,
}

struct Received<'a>(&'a [u8]);
struct Slot<'a, E>(&'a mut E);

impl RxToken for Received<'_> {
    #[inline]
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl<E: Emit> TxToken for Slot<'_, E> {
    #[inline]
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        self.0.emit(len, f)
    }
}

impl<E: Emit> Device for OnePacket<'_, E> {
    type RxToken<'t>
        = Received<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Slot<'t, E>
    where
        Self: 't;

    #[inline]
    fn receive(&mut self, _: SmolInstant) -> Option<(Received<'_>, Slot<'_, E>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Slot(self.emit)))
    }

    #[inline]
    fn transmit(&mut self, _: SmolInstant) -> Option<Slot<'_, E>> {
        Some(Slot(self.emit))
    }

    #[inline]
    fn capabilities(&self) -> DeviceCapabilities {
        self.caps.clone()
    }
}

/// What all connections with one path MTU share.
pub(crate) struct Engine {
    interface: Interface,
    caps: DeviceCapabilities,
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine")
            .field("mtu", &self.caps.max_transmission_unit)
            .finish_non_exhaustive()
    }
}

/// The multiplier and increment of smoltcp's generator, and the inverse of the multiplier modulo 2^64.
const RAND_MUL: u64 = 0xbb2e_fcec_3c39_611d;
const RAND_ADD: u64 = 0x7590_ef39;
const RAND_MUL_INVERSE: u64 = inverse(RAND_MUL);

/// Newton's iteration: doubles the number of right bits each time.
const fn inverse(n: u64) -> u64 {
    let mut x = n;
    let mut i = 0;
    while i < 6 {
        x = x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x)));
        i += 1;
    }
    x
}

/// The seed with which a new `Interface` will choose `isn` for its first connection.
///
/// smoltcp draws initial sequence numbers from a generator that anyone can predict; RFC 6528 wants a keyed hash and a
/// clock. Its `Interface::new` draws once, then the connection does: two steps back from a state whose output is `isn`.
/// What the first draw gives must not be zero in 16 bits (it would be repeated), hence the loop over the state's
/// low bits, which do not show in the output.
fn seed_for(isn: u32) -> u64 {
    let back = |state: u64| state.wrapping_sub(RAND_ADD).wrapping_mul(RAND_MUL_INVERSE);
    let mut state = u64::from(isn) << 29;
    loop {
        let before = back(state);
        let first = (before >> (29 - (before >> 61))) as u32;
        if (first ^ (first >> 16)) as u16 != 0 {
            return back(before);
        }
        state += 1;
    }
}

impl Engine {
    pub(crate) fn new(mtu: u16, now: Instant) -> Self {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = mtu.into();
        // Whatever gets here has been verified, and what leaves is finished by `watch`.
        caps.checksum.ipv4 = Checksum::None;
        caps.checksum.tcp = Checksum::None;
        Engine {
            interface: Self::interface(&caps, 0, now),
            caps,
        }
    }

    fn interface(caps: &DeviceCapabilities, seed: u64, now: Instant) -> Interface {
        let mut config = InterfaceConfig::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut device = OnePacket {
            caps,
            received: None,
            emit: &mut Vec::new(),
        };
        let mut interface = Interface::new(config, &mut device, smol_time(now));
        // Whose addresses are ours was decided before.
        interface.set_any_ip(true);
        interface
    }

    pub(crate) fn mtu(&self) -> u16 {
        self.caps.max_transmission_unit as u16
    }

    /// The MSS to offer: what the interface's MTU leaves for data (RFC 6691).
    pub(crate) fn mss(&self, v6: bool) -> u16 {
        self.mtu() - if v6 { 60 } else { 40 }
    }
}

/// One connection.
pub(crate) struct Conn {
    // Boxed in effect: the set holds its single socket in a vector.
    set: SocketSet<'static>,
    handle: SocketHandle,
    /// The largest segment that the peer takes, zero until it is known.
    peer_mss: u16,
    /// Closed, but the state machine is told only when all is acknowledged: in LAST-ACK it looks at no ACK of nothing new,
    /// so it would not see a window open.
    closing: bool,
}

impl core::fmt::Debug for Conn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Conn")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

fn endpoint(addr: SocketAddr) -> IpEndpoint {
    IpEndpoint {
        addr: addr.ip().into(),
        port: addr.port(),
    }
}

fn new_socket(config: &TcpConfig, ttl: u8) -> Socket<'static> {
    // Zeroed by the allocator: what a connection does not use is not resident when it is fresh.
    let buffer = |len| SocketBuffer::new(vec![0; len]);
    let mut socket = Socket::new(buffer(config.recv_buffer), buffer(config.send_buffer));
    socket.set_congestion_control(CongestionControl::Cubic);
    socket.set_ack_delay(Some(smoltcp::time::Duration::from_micros(
        config.ack_delay.as_micros() as u64,
    )));
    socket.set_hop_limit(Some(ttl.max(1)));
    socket
}

impl Conn {
    fn with(socket: Socket<'static>) -> Self {
        let mut set = SocketSet::new(vec![SocketStorage::EMPTY]);
        let handle = set.add(socket);
        Conn {
            set,
            handle,
            peer_mss: 0,
            closing: false,
        }
    }

    /// A connection in SYN-SENT with this initial sequence number; `None` if the addresses can't be connected.
    pub(crate) fn connect(
        engine: &Engine,
        config: &TcpConfig,
        key: &FlowKey,
        isn: u32,
        ttl: u8,
        now: Instant,
    ) -> Option<Self> {
        let mut socket = new_socket(config, ttl);
        let mut interface = Engine::interface(&engine.caps, seed_for(isn), now);
        let local = IpListenEndpoint::from(endpoint(key.local()));
        socket
            .connect(interface.context(), endpoint(key.remote()), local)
            .ok()?;
        Some(Conn::with(socket))
    }

    /// A connection whose SYN came with `irs` and `peer`, and was answered at `answered_at` with `isn`. It is in
    /// SYN-RECEIVED and wants the ACK.
    pub(crate) fn accept(
        engine: &Engine,
        config: &TcpConfig,
        key: &FlowKey,
        (isn, irs): (u32, u32),
        (peer, window): (SynOptions, u16),
        ttl: u8,
        answered_at: Instant,
    ) -> Option<Self> {
        let mut socket = new_socket(config, ttl);
        socket
            .listen(IpListenEndpoint::from(endpoint(key.local())))
            .ok()?;
        let mut conn = Conn::with(socket);
        conn.set_peer_mss(peer.mss);
        // The state machine sees the SYN only now, and its answer is thrown away: the peer has had it already.
        let mut interface = Engine::interface(&engine.caps, seed_for(isn), answered_at);
        let syn = syn_packet(key, irs, peer, window);
        let mut out = Vec::new();
        let now = smol_time(answered_at);
        let mut device = OnePacket {
            caps: &engine.caps,
            received: Some(&syn),
            emit: &mut out,
        };
        interface.poll_ingress_single(now, &mut device, &mut conn.set);
        interface.poll_egress(now, &mut device, &mut conn.set);
        let header = if key.is_v6() { 40 } else { 20 };
        let sent = out
            .get(header + 4..header + 8)
            .map(|seq| seq == isn.to_be_bytes());
        (conn.state() == TcpState::SynReceived && sent == Some(true)).then_some(conn)
    }

    #[inline]
    fn socket(&self) -> &Socket<'static> {
        self.set.get(self.handle)
    }

    #[inline]
    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.set.get_mut(self.handle)
    }

    /// Takes one IP packet that is of this connection; an answer that can't wait goes to `reply`.
    #[inline]
    pub(crate) fn ingress<E: Emit>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        packet: &[u8],
        reply: &mut E,
    ) {
        let mut device = OnePacket {
            caps: &engine.caps,
            received: Some(packet),
            emit: reply,
        };
        engine
            .interface
            .poll_ingress_single(smol_time(now), &mut device, &mut self.set);
        if self.closing && self.send_queue() == 0 {
            self.closing = false;
            self.socket_mut().close();
        }
    }

    /// Takes an ACK that is there as figures only, and must be one that needs no answer.
    pub(crate) fn ingress_ack(&mut self, engine: &mut Engine, now: Instant, ack: &Control) {
        let (len, segment) = ack.bytes(false);
        let packet = ip_packet(ack, &segment[..len]);
        self.ingress(engine, now, &packet, &mut Vec::new());
    }

    /// Gives at most one segment; tells whether it did. There must be room for it: a fast retransmit that can't be
    /// sent is forgotten.
    #[inline]
    pub(crate) fn egress<E: Emit>(
        &mut self,
        engine: &mut Engine,
        now: Instant,
        emit: &mut E,
    ) -> bool {
        let mut device = OnePacket {
            caps: &engine.caps,
            received: None,
            emit,
        };
        engine
            .interface
            .poll_egress(smol_time(now), &mut device, &mut self.set)
            == PollResult::SocketStateChanged
    }

    /// When it wants to run again.
    pub(crate) fn next_deadline(&self, engine: &mut Engine, now: Instant) -> Wish {
        let now = smol_time(now);
        match engine.interface.poll_at(now, &self.set) {
            None => Wish::Never,
            Some(at) if at <= now => Wish::Now,
            Some(at) => Wish::At(Instant::from_micros(at.total_micros() as u64)),
        }
    }

    #[inline]
    pub(crate) fn state(&self) -> TcpState {
        match self.socket().state() {
            // A listening socket exists only within `accept`.
            State::Closed | State::Listen => TcpState::Closed,
            State::SynSent => TcpState::SynSent,
            State::SynReceived => TcpState::SynReceived,
            State::Established => TcpState::Established,
            State::FinWait1 => TcpState::FinWait1,
            State::FinWait2 => TcpState::FinWait2,
            State::CloseWait if self.closing => TcpState::LastAck,
            State::CloseWait => TcpState::CloseWait,
            State::Closing => TcpState::Closing,
            State::LastAck => TcpState::LastAck,
            State::TimeWait => TcpState::TimeWait,
        }
    }

    /// Bytes received in order and not yet read.
    #[inline]
    pub(crate) fn recv_queue(&self) -> usize {
        self.socket().recv_queue()
    }

    /// Bytes written and not yet acknowledged.
    #[inline]
    pub(crate) fn send_queue(&self) -> usize {
        self.socket().send_queue()
    }

    #[inline]
    pub(crate) fn send_capacity(&self) -> usize {
        self.socket().send_capacity()
    }

    #[inline]
    pub(crate) fn recv_capacity(&self) -> usize {
        self.socket().recv_capacity()
    }

    /// Takes as much of `data` as there is room for; nothing in a state that can't send.
    pub(crate) fn send(&mut self, data: &[u8]) -> usize {
        if self.closing {
            return 0;
        }
        self.socket_mut().send_slice(data).unwrap_or(0)
    }

    /// Moves received bytes out.
    pub(crate) fn recv(&mut self, buf: &mut [u8]) -> usize {
        self.socket_mut().recv_slice(buf).unwrap_or(0)
    }

    /// Copies received bytes out.
    pub(crate) fn peek(&mut self, buf: &mut [u8]) -> usize {
        self.socket_mut().peek_slice(buf).unwrap_or(0)
    }

    /// No more will be sent: a FIN follows what is queued.
    pub(crate) fn close(&mut self) {
        if self.state() == TcpState::CloseWait && self.send_queue() > 0 {
            self.closing = true;
        } else if !self.closing {
            self.socket_mut().close();
        }
    }

    /// The MSS option of the peer's SYN. The state machine has no smaller one than 48, nor another default.
    pub(crate) fn set_peer_mss(&mut self, mss: Option<u16>) {
        self.peer_mss = match mss {
            None | Some(0) => 536,
            Some(mss) => mss.max(48),
        };
    }

    #[inline]
    pub(crate) fn peer_mss(&self) -> u16 {
        self.peer_mss
    }

    pub(crate) fn set_nodelay(&mut self, nodelay: bool) {
        self.socket_mut().set_nagle_enabled(!nodelay);
    }

    pub(crate) fn nodelay(&self) -> bool {
        !self.socket().nagle_enabled()
    }

    /// The hop limit must not be zero.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.socket_mut().set_hop_limit(Some(ttl.max(1)));
    }

    pub(crate) fn ttl(&self) -> u8 {
        self.socket().hop_limit().unwrap_or(64)
    }
}

/// The IP packet of a SYN that was kept as numbers only.
fn syn_packet(key: &FlowKey, irs: u32, options: SynOptions, window: u16) -> Box<[u8]> {
    // The packet came the other way.
    let key = FlowKey::new(key.remote(), key.local());
    let mut syn = Control::new(key, Flags::SYN, irs, 0);
    syn.window = window;
    syn.options = options;
    let (len, segment) = syn.bytes(false);
    ip_packet(&syn, &segment[..len])
}

fn ip_packet(control: &Control, segment: &[u8]) -> Box<[u8]> {
    let meta = control.meta();
    let mut frame = vec![0; 14 + meta.ip_header_len() + segment.len()];
    let at = emit::write_headers(
        &mut frame,
        Default::default(),
        Default::default(),
        &meta,
        0,
        segment.len(),
    );
    frame[at..].copy_from_slice(segment);
    frame.drain(..14);
    frame.into_boxed_slice()
}

/// Whether a state machine can be given packets between these.
pub(crate) fn can_connect(local: IpAddr, remote: IpAddr) -> bool {
    local.is_ipv4() == remote.is_ipv4() && !local.is_unspecified() && !remote.is_unspecified()
}
