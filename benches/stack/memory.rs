//! Memory of idle connections: what the process's resident memory grows by while a server's stack takes so many.
//!
//! The peers are not there: their segments are made by hand, so that all that grows is the server's. Each measurement
//! is a process of its own.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, ensure};
use dpdk_net_packet::tcp::{Flags, Segment};
use dpdk_net_packet::{
    MacAddr, Network, Protocol, Transport, checksum, ethernet, ipv4, ipv6, parse,
};
use dpdk_net_stack::{Config, Duration, IfAddr, Instant, ListenOptions, Stack, TcpId};
use smoltcp::iface::SocketSet;
use smoltcp::socket::tcp;

use super::Engine;

const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const PEER: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const PORT: u16 = 7;
/// Connections of one peer address.
const PER_ADDRESS: usize = 50_000;
/// What each of smoltcp's two buffers of a connection holds.
const RIVAL_BUFFER: usize = 4_096;

/// Bytes of resident memory a connection, of `connections` that are idle. With `used` each has carried a request of 64
/// bytes and its response.
pub(crate) fn run(engine: Engine, v6: bool, connections: usize, used: bool) -> anyhow::Result<f64> {
    let grown = match engine {
        Engine::Ours | Engine::Traced => ours(v6, connections, used)?,
        Engine::SharedSet => rival(connections)?,
    };
    Ok(grown as f64 / connections as f64)
}

/// Resident memory in bytes.
fn resident() -> anyhow::Result<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").context("resident memory")?;
    let pages: usize = statm
        .split_whitespace()
        .nth(1)
        .context("/proc/self/statm has a second field")?
        .parse()?;
    Ok(pages * rustix::param::page_size())
}

/// Sockets as they are at rest: with buffers that have been written to once.
fn rival(connections: usize) -> anyhow::Result<usize> {
    let before = resident()?;
    let mut set = SocketSet::new(Vec::new());
    for _ in 0..connections {
        let buffer = || tcp::SocketBuffer::new(vec![1; RIVAL_BUFFER]);
        set.add(tcp::Socket::new(buffer(), buffer()));
    }
    let grown = resident()? - before;
    drop(set);
    Ok(grown)
}

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, host.into()])
    } else {
        IpAddr::from([198, 18, 0, host])
    }
}

/// The frame of a segment to the server.
fn frame(
    from: SocketAddr,
    to: SocketAddr,
    (seq, ack): (u32, u32),
    flags: Flags,
    data: &[u8],
) -> Vec<u8> {
    let mut tcp = vec![0; 20];
    if flags.syn() {
        // MSS 1,460, SACK-permitted, timestamps, window scale 7.
        tcp.extend([
            2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
        ]);
    } else {
        tcp.extend([1, 1, 8, 10, 0, 0, 0, 2, 0, 0, 0, 0]);
    }
    tcp[0..2].copy_from_slice(&from.port().to_be_bytes());
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&seq.to_be_bytes());
    tcp[8..12].copy_from_slice(&ack.to_be_bytes());
    tcp[12] = ((tcp.len() / 4) << 4) as u8;
    tcp[13] = flags.0;
    tcp[14..16].copy_from_slice(&512u16.to_be_bytes());
    tcp.extend_from_slice(data);
    checksum::fill_tcp(from.ip(), to.ip(), &mut tcp);
    let mut frame = vec![0; ethernet::HEADER_LEN];
    match (from.ip(), to.ip()) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ethernet::write_header(&mut frame, SERVER, PEER, ethernet::TYPE_IPV4);
            let mut header = [0; ipv4::HEADER_LEN];
            ipv4::Header::new(src, dst, Protocol::Tcp, tcp.len()).write(&mut header);
            frame.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ethernet::write_header(&mut frame, SERVER, PEER, ethernet::TYPE_IPV6);
            let mut header = [0; ipv6::HEADER_LEN];
            ipv6::Header::new(src, dst, Protocol::Tcp, tcp.len()).write(&mut header);
            frame.extend(header);
        }
        _ => {}
    }
    frame.extend(tcp);
    frame
}

/// What the server sends now: sequence number and length of the last segment.
fn sent(stack: &mut Stack, now: Instant) -> Option<(u32, u32)> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    stack.poll_transmit(now, &mut frames);
    let of = |segment: &Segment<'_>| (segment.seq(), segment.payload().len() as u32);
    match parse(frames.last()?).ok()?.network {
        Network::Ip(_, Transport::Tcp(segment)) => Some(of(&segment)),
        _ => None,
    }
}

fn ours(v6: bool, connections: usize, used: bool) -> anyhow::Result<usize> {
    let mut config = Config::new(SERVER);
    config.addresses = vec![IfAddr::new(address(v6, 1), if v6 { 64 } else { 24 })?];
    config.dad = false;
    config.seed = [7; 32];
    let mut now = Instant::from_secs(1);
    let mut stack = Stack::new(config, now)?;
    let server = SocketAddr::new(address(v6, 1), PORT);
    let listener = stack.tcp_listen(ListenOptions::new(server))?;
    for host in 0..connections.div_ceil(PER_ADDRESS) {
        stack.add_neighbor(address(v6, 2 + host as u8), PEER);
    }
    let before = resident()?;
    for n in 0..connections {
        let port = 1_024 + (n % PER_ADDRESS) as u16;
        let peer = SocketAddr::new(address(v6, 2 + (n / PER_ADDRESS) as u8), port);
        let seq = n as u32;
        // Slowly: buffers of those that have just been served are not what is measured.
        now += Duration::from_millis(1);
        if stack.next_timeout().is_some_and(|at| at <= now) {
            stack.handle_timeout(now);
        }
        stack.ingest(now, &[frame(peer, server, (seq, 0), Flags::SYN, &[])]);
        let (iss, _) = sent(&mut stack, now).context("a SYN is answered")?;
        let (seq, ack) = (seq + 1, iss.wrapping_add(1));
        stack.ingest(now, &[frame(peer, server, (seq, ack), Flags::ACK, &[])]);
        let (id, _) = stack.tcp_accept(listener)?;
        if used {
            request(&mut stack, now, id, (peer, server), (seq, ack))?;
        }
        while stack.poll_event().is_some() {}
    }
    // Connections that are silent let go of what they had for bytes.
    for _ in 0..10_000 {
        now += Duration::from_millis(1);
        if stack.next_timeout().is_some_and(|at| at <= now) {
            stack.handle_timeout(now);
        }
        sent(&mut stack, now);
    }
    ensure!(
        stack.tcp_count() == connections,
        "{} of {connections} connections are there",
        stack.tcp_count()
    );
    let grown = resident()?.saturating_sub(before);
    drop(stack);
    Ok(grown)
}

/// A request, its response, and the response's acknowledgment.
fn request(
    stack: &mut Stack,
    now: Instant,
    id: TcpId,
    (peer, server): (SocketAddr, SocketAddr),
    (seq, ack): (u32, u32),
) -> anyhow::Result<()> {
    let mut data = [5; 64];
    stack.ingest(now, &[frame(peer, server, (seq, ack), Flags::ACK, &data)]);
    ensure!(stack.tcp_recv(id, &mut data)? == 64, "the request is there");
    stack.tcp_send(id, &data)?;
    let (_, len) = sent(stack, now).context("the response is sent")?;
    ensure!(len == 64, "the response is whole");
    let numbers = (seq + 64, ack.wrapping_add(64));
    stack.ingest(now, &[frame(peer, server, numbers, Flags::ACK, &[])]);
    Ok(())
}
