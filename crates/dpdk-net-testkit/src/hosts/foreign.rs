//! The foreign peer: smoltcp's own interface on Ethernet with its own ARP, NDP and TCP, unmodified.
//!
//! Only the glue lives here: a device of two queues, a pool of listening sockets per port (smoltcp has no listeners), and the
//! translation of ids, addresses and errors. What smoltcp's TCP does and does not do is left as it is.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dpdk_net_stack::Error;
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{
    ConnectError, ListenError, RecvError, SendError, Socket, SocketBuffer, State,
};
use smoltcp::time::{Duration as SmolDuration, Instant as SmolInstant};
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint,
};

use crate::Instant;
use crate::addr;
use crate::sim::{ConnId, Host, ListenId, TcpHost};

const ETHERNET_HEADER: usize = 14;
const EPHEMERAL_PORTS: std::ops::Range<u16> = 49_152..65_535;

/// Sizes and times of a [`Foreign`] host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ForeignConfig {
    /// IP MTU, in bytes.
    pub mtu: usize,
    /// Receive and send buffer of a connection, in bytes each.
    pub buffer: usize,
    /// Listening sockets per listener: handshakes that can be under way at once.
    pub backlog: usize,
    /// How long a connection may hear nothing from its peer before it is ended. smoltcp does not tell an idle connection from a
    /// dead one, so it must exceed every pause of the test.
    pub timeout: Option<Duration>,
    /// How long a connection may be silent before the peer is asked whether it is there.
    pub keep_alive: Option<Duration>,
}

impl Default for ForeignConfig {
    fn default() -> Self {
        Self {
            mtu: 1500,
            buffer: 128 * 1024,
            backlog: 16,
            timeout: Some(Duration::from_secs(600)),
            keep_alive: None,
        }
    }
}

#[derive(Debug, Default)]
struct Queues {
    rx: VecDeque<Vec<u8>>,
    tx: VecDeque<Vec<u8>>,
    /// Frames in `tx` at which sending of its own accord stops. Replies are bounded by what was received.
    tx_limit: usize,
    mtu: usize,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Rx, Tx<'_>)> {
        Some((Rx(self.rx.pop_front()?), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Tx<'_>> {
        (self.tx.len() < self.tx_limit).then_some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu + ETHERNET_HEADER;
        capabilities
    }
}

struct Listener {
    endpoint: IpListenEndpoint,
    sockets: Vec<SocketHandle>,
}

/// A host whose whole TCP/IP is smoltcp's.
pub struct Foreign {
    config: ForeignConfig,
    queues: Queues,
    iface: Interface,
    sockets: SocketSet<'static>,
    listeners: BTreeMap<u64, Listener>,
    conns: BTreeMap<u64, SocketHandle>,
    /// Let go of by the application, still finishing.
    closing: Vec<SocketHandle>,
    next_id: u64,
    next_port: u16,
}

impl fmt::Debug for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Foreign")
            .field("config", &self.config)
            .field("conns", &self.conns.len())
            .finish_non_exhaustive()
    }
}

impl Foreign {
    /// Host number `n` of the address plan ([`crate::addr`]) with its IPv4 and IPv6 address. `seed` decides its initial sequence
    /// numbers and ports.
    pub fn new(n: u16, seed: u64) -> Self {
        Self::with_config(n, seed, ForeignConfig::default())
    }

    /// The same with other sizes and times.
    pub fn with_config(n: u16, seed: u64, config: ForeignConfig) -> Self {
        let mut queues = Queues {
            mtu: config.mtu,
            ..Queues::default()
        };
        let mac = addr::mac(n);
        let mut smol = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        smol.random_seed = seed;
        let mut iface = Interface::new(smol, &mut queues, SmolInstant::ZERO);
        iface.update_ip_addrs(|addrs| {
            for (ip, len) in [
                (IpAddr::from(addr::ipv4(n)), addr::IPV4_PREFIX_LEN),
                (IpAddr::from(addr::ipv6(n)), addr::IPV6_PREFIX_LEN),
                (IpAddr::from(addr::link_local(n)), addr::IPV6_PREFIX_LEN),
            ] {
                addrs
                    .push(IpCidr::new(ip.into(), len))
                    .expect("smoltcp has room for three addresses");
            }
        });
        let ports = u64::from(EPHEMERAL_PORTS.end - EPHEMERAL_PORTS.start);
        Self {
            config,
            queues,
            iface,
            sockets: SocketSet::new(Vec::new()),
            listeners: BTreeMap::new(),
            conns: BTreeMap::new(),
            closing: Vec::new(),
            next_id: 0,
            next_port: EPHEMERAL_PORTS.start + (seed % ports) as u16,
        }
    }

    fn new_socket(&self) -> Socket<'static> {
        let buffer = || SocketBuffer::new(vec![0; self.config.buffer]);
        let mut socket = Socket::new(buffer(), buffer());
        let smol = |time: Duration| SmolDuration::from_micros(time.as_micros() as u64);
        socket.set_timeout(self.config.timeout.map(smol));
        socket.set_keep_alive(self.config.keep_alive.map(smol));
        socket.set_nagle_enabled(false);
        socket
    }

    fn add_listening(&mut self, endpoint: IpListenEndpoint) -> Result<SocketHandle, Error> {
        let mut socket = self.new_socket();
        socket.listen(endpoint).map_err(|error| match error {
            ListenError::InvalidState => Error::AlreadyConnected,
            ListenError::Unaddressable => Error::InvalidInput("port 0 has no listener in smoltcp"),
        })?;
        Ok(self.sockets.add(socket))
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn socket(&mut self, conn: ConnId) -> Result<&mut Socket<'static>, Error> {
        let handle = *self.conns.get(&conn.0).ok_or(Error::UnknownSocket)?;
        Ok(self.sockets.get_mut(handle))
    }

    /// Gives back the sockets that have finished.
    fn reap(&mut self) {
        let sockets = &mut self.sockets;
        self.closing.retain(|&handle| {
            let open = sockets.get::<Socket<'_>>(handle).is_open();
            if !open {
                sockets.remove(handle);
            }
            open
        });
    }
}

fn smol(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

impl Host for Foreign {
    fn ingest(&mut self, now: Instant, frames: &[Vec<u8>]) {
        self.queues.rx.extend(frames.iter().cloned());
        while self
            .iface
            .poll_ingress_single(smol(now), &mut self.queues, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
    }

    fn transmit(&mut self, now: Instant, room: usize, out: &mut Vec<Vec<u8>>) {
        self.queues.tx_limit = room;
        loop {
            let before = self.queues.tx.len();
            // smoltcp forgets a fast retransmit that meets a full ring: ask only with room in hand.
            if before >= room {
                break;
            }
            let result = self
                .iface
                .poll_egress(smol(now), &mut self.queues, &mut self.sockets);
            if result == PollResult::None && self.queues.tx.len() == before {
                break;
            }
        }
        out.extend(self.queues.tx.drain(..room.min(self.queues.tx.len())));
        self.reap();
    }

    fn next_timeout(&mut self, now: Instant) -> Option<Instant> {
        let at = self.iface.poll_at(smol(now), &self.sockets)?;
        Some(Instant::from_micros(
            u64::try_from(at.total_micros()).unwrap_or(0),
        ))
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.iface.poll_maintenance(smol(now));
    }

    fn tcp(&mut self) -> Option<&mut dyn TcpHost> {
        Some(self)
    }
}

impl TcpHost for Foreign {
    fn listen(&mut self, _now: Instant, local: SocketAddr) -> Result<ListenId, Error> {
        let addr = (!local.ip().is_unspecified()).then(|| IpAddress::from(local.ip()));
        let endpoint = IpListenEndpoint {
            addr,
            port: local.port(),
        };
        let sockets = (0..self.config.backlog)
            .map(|_| self.add_listening(endpoint))
            .collect::<Result<_, _>>()?;
        let id = self.new_id();
        self.listeners.insert(id, Listener { endpoint, sockets });
        Ok(ListenId(id))
    }

    fn accept(&mut self, _now: Instant, listener: ListenId) -> Result<(ConnId, SocketAddr), Error> {
        let Listener { endpoint, sockets } = self
            .listeners
            .get(&listener.0)
            .ok_or(Error::UnknownSocket)?;
        let endpoint = *endpoint;
        let state = |handle: &SocketHandle| self.sockets.get::<Socket<'_>>(*handle).state();
        let slot = sockets
            .iter()
            .position(|handle| !matches!(state(handle), State::Listen | State::SynReceived))
            .ok_or(Error::WouldBlock)?;
        let handle = sockets[slot];
        let fresh = self.add_listening(endpoint)?;
        if let Some(listener) = self.listeners.get_mut(&listener.0) {
            listener.sockets[slot] = fresh;
        }
        let Some(peer) = self.sockets.get::<Socket<'_>>(handle).remote_endpoint() else {
            // Reset before anybody took it.
            self.sockets.remove(handle);
            return self.accept(_now, listener);
        };
        let id = self.new_id();
        self.conns.insert(id, handle);
        Ok((ConnId(id), SocketAddr::new(peer.addr.into(), peer.port)))
    }

    fn connect(&mut self, _now: Instant, remote: SocketAddr) -> Result<ConnId, Error> {
        let mut socket = self.new_socket();
        let port = self.next_port;
        self.next_port = if port + 1 == EPHEMERAL_PORTS.end {
            EPHEMERAL_PORTS.start
        } else {
            port + 1
        };
        let remote = IpEndpoint {
            addr: remote.ip().into(),
            port: remote.port(),
        };
        socket
            .connect(self.iface.context(), remote, port)
            .map_err(|error| match error {
                ConnectError::InvalidState => Error::AlreadyConnected,
                ConnectError::Unaddressable => Error::AddrNotAvailable,
            })?;
        let handle = self.sockets.add(socket);
        let id = self.new_id();
        self.conns.insert(id, handle);
        Ok(ConnId(id))
    }

    fn send(&mut self, _now: Instant, conn: ConnId, bytes: &[u8]) -> Result<usize, Error> {
        let socket = self.socket(conn)?;
        match socket.send_slice(bytes) {
            Ok(0) if !bytes.is_empty() => Err(Error::WouldBlock),
            Ok(n) => Ok(n),
            Err(SendError::InvalidState) => match socket.state() {
                State::SynSent | State::SynReceived => Err(Error::WouldBlock),
                State::Closed => Err(Error::ConnectionReset),
                _ => Err(Error::BrokenPipe),
            },
        }
    }

    fn recv(&mut self, _now: Instant, conn: ConnId, bytes: &mut [u8]) -> Result<usize, Error> {
        let socket = self.socket(conn)?;
        match socket.recv_slice(bytes) {
            Ok(0) if !bytes.is_empty() => Err(Error::WouldBlock),
            Ok(n) => Ok(n),
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) => match socket.state() {
                State::SynSent | State::SynReceived => Err(Error::WouldBlock),
                // smoltcp does not tell a reset from a timeout.
                _ => Err(Error::ConnectionReset),
            },
        }
    }

    fn shutdown_write(&mut self, _now: Instant, conn: ConnId) -> Result<(), Error> {
        let socket = self.socket(conn)?;
        if socket.state() == State::SynSent {
            // close() would give the connection up.
            return Err(Error::WouldBlock);
        }
        socket.close();
        Ok(())
    }

    fn close(&mut self, _now: Instant, conn: ConnId) {
        if let Some(handle) = self.conns.remove(&conn.0) {
            self.sockets.get_mut::<Socket<'_>>(handle).close();
            self.closing.push(handle);
        }
    }

    fn abort(&mut self, _now: Instant, conn: ConnId) {
        if let Some(handle) = self.conns.remove(&conn.0) {
            self.sockets.get_mut::<Socket<'_>>(handle).abort();
            self.closing.push(handle);
        }
    }
}
