//! The rival: smoltcp as most use it, every socket of an end in one `SocketSet`.

use std::collections::VecDeque;
use std::time::Instant as Clock;

use anyhow::ensure;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{
    Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken,
};
use smoltcp::socket::tcp;
use smoltcp::time::Instant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

const BATCH: usize = 32;
const PORT: u16 = 7;
/// Connections of one client address.
const PER_ADDRESS: usize = 20_000;

/// One direction's frames, buffers reused.
#[derive(Default)]
struct Queue {
    full: VecDeque<Vec<u8>>,
    free: Vec<Vec<u8>>,
}

/// A device whose other end is `take`n by hand.
#[derive(Default)]
struct Wire {
    rx: Queue,
    tx: Queue,
}

struct Rx<'a>(Vec<u8>, &'a mut Vec<Vec<u8>>);
struct Tx<'a>(&'a mut Queue);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        let result = f(&self.0);
        self.1.push(self.0);
        result
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut buf = self.0.free.pop().unwrap_or_default();
        buf.resize(len, 0);
        let result = f(&mut buf);
        self.0.full.push_back(buf);
        result
    }
}

impl Device for Wire {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        let frame = self.rx.full.pop_front()?;
        Some((Rx(frame, &mut self.rx.free), Tx(&mut self.tx)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&mut self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ip;
        caps.max_transmission_unit = 1500;
        let mut checksum = ChecksumCapabilities::ignored();
        checksum.ipv4 = Checksum::None;
        caps.checksum = checksum;
        caps
    }
}

/// One end: its interface, device and sockets.
struct End {
    iface: Interface,
    wire: Wire,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
}

fn address(v6: bool, host: u8) -> IpAddress {
    if v6 {
        IpAddress::v6(0xfd00, 0, 0, 1, 0, 0, 0, host.into())
    } else {
        IpAddress::v4(198, 18, 0, host)
    }
}

fn end(v6: bool, host: u8, connections: usize) -> End {
    let mut wire = Wire::default();
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = host.into();
    let mut iface = Interface::new(config, &mut wire, Instant::ZERO);
    iface.update_ip_addrs(|addrs| {
        // The set holds at least two addresses: it cannot be full.
        let _ = addrs.push(IpCidr::new(address(v6, host), if v6 { 64 } else { 24 }));
    });
    let mut sockets = SocketSet::new(Vec::with_capacity(connections));
    let handles = (0..connections)
        .map(|_| {
            let buffer = || tcp::SocketBuffer::new(vec![0; 4096]);
            sockets.add(tcp::Socket::new(buffer(), buffer()))
        })
        .collect();
    End {
        iface,
        wire,
        sockets,
        handles,
    }
}

/// Polls both ends until no frame is on its way.
fn exchange(client: &mut End, server: &mut End, now: &mut i64) {
    loop {
        *now += 1;
        let at = Instant::from_micros(*now);
        client.iface.poll(at, &mut client.wire, &mut client.sockets);
        pass(&mut client.wire, &mut server.wire);
        let asked = server.wire.rx.full.len();
        server.iface.poll(at, &mut server.wire, &mut server.sockets);
        pass(&mut server.wire, &mut client.wire);
        if asked == 0 && client.wire.rx.full.is_empty() {
            return;
        }
    }
}

/// Moves what one device sent to the other.
fn pass(from: &mut Wire, to: &mut Wire) {
    std::mem::swap(&mut from.tx.full, &mut to.rx.full);
    from.tx.free.append(&mut to.rx.free);
}

/// Makes `connections`, has `active` of them do `requests` in all, and returns nanoseconds a request.
pub(crate) fn run(
    v6: bool,
    connections: usize,
    active: usize,
    requests: usize,
) -> anyhow::Result<f64> {
    ensure!(
        connections <= PER_ADDRESS,
        "the shared set is measured up to {PER_ADDRESS} connections"
    );
    let mut client = end(v6, 1, connections);
    let mut server = end(v6, 2, connections);
    let mut now = 0;
    for index in 0..connections {
        server
            .sockets
            .get_mut::<tcp::Socket<'_>>(server.handles[index])
            .listen(PORT)?;
        let socket = client
            .sockets
            .get_mut::<tcp::Socket<'_>>(client.handles[index]);
        let local = 20_000 + index as u16;
        socket.connect(client.iface.context(), (address(v6, 2), PORT), local)?;
        if index % 1024 == 1023 || index + 1 == connections {
            exchange(&mut client, &mut server, &mut now);
        }
    }
    // A listening socket takes whichever connection comes first: pair the ends up by port.
    let mut by_port = vec![None; connections];
    for &handle in &server.handles {
        let socket = server.sockets.get::<tcp::Socket<'_>>(handle);
        if let Some(remote) = socket.remote_endpoint() {
            by_port[usize::from(remote.port) - 20_000] = Some(handle);
        }
    }
    let stride = (connections / active).max(1);
    let busy: Vec<usize> = (0..connections).step_by(stride).take(active).collect();
    let mut rig = Rig {
        client,
        server,
        by_port,
        now,
    };
    let start = Clock::now();
    let answered = self::requests(&mut rig, &busy, requests)?;
    let elapsed = start.elapsed();
    ensure!(
        answered == requests,
        "{answered} of {requests} requests were answered"
    );
    Ok(elapsed.as_nanos() as f64 / requests as f64)
}

/// Both ends with their connections paired up.
struct Rig {
    client: End,
    server: End,
    /// The server's socket of each of the client's.
    by_port: Vec<Option<SocketHandle>>,
    now: i64,
}

/// What is measured: `requests` in all over the `busy` connections. Returns how many were answered.
#[inline(never)]
fn requests(rig: &mut Rig, busy: &[usize], requests: usize) -> anyhow::Result<usize> {
    let Rig {
        client,
        server,
        by_port,
        now,
    } = rig;
    let (mut next, mut asked, mut answered) = (0, 0, 0);
    let request = [b'x'; 64];
    let mut buf = [0; 64];
    while asked < requests {
        let group: Vec<usize> = (0..BATCH.min(busy.len()).min(requests - asked))
            .map(|offset| busy[(next + offset) % busy.len()])
            .collect();
        next = (next + group.len()) % busy.len();
        asked += group.len();
        for &index in &group {
            let handle = client.handles[index];
            client
                .sockets
                .get_mut::<tcp::Socket<'_>>(handle)
                .send_slice(&request)?;
        }
        exchange(client, server, now);
        for handle in group.iter().filter_map(|&index| by_port[index]) {
            let socket = server.sockets.get_mut::<tcp::Socket<'_>>(handle);
            let len = socket.recv_slice(&mut buf)?;
            socket.send_slice(&buf[..len])?;
        }
        exchange(client, server, now);
        for &index in &group {
            let socket = client
                .sockets
                .get_mut::<tcp::Socket<'_>>(client.handles[index]);
            answered += socket.recv_slice(&mut buf)? / request.len();
        }
    }
    Ok(answered)
}
