//! The two ends on `dpdk_net_stack::Stack`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant as Clock};

use anyhow::{Context, ensure};
use dpdk_net_packet::{ChecksumVerdict, FrameBuf, MacAddr, RxMeta};
use dpdk_net_stack::{
    Config, Event, IfAddr, Instant, ListPlace, ListenOptions, MAX_TRACE_EVENTS, Readiness, Stack,
    TcpId, TraceBudget, TraceFilter, TxMeta, TxSink,
};

/// Connections of one client address: fewer than its ephemeral ports.
const PER_ADDRESS: usize = 20_000;
/// Requests on their way at a time, and frames in a batch.
const BATCH: usize = 32;
const PORT: u16 = 7;

/// One frame of a batch.
struct Frame {
    len: usize,
    bytes: Box<[u8]>,
}

impl FrameBuf for Frame {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// As a NIC with checksum offload: nobody computes, nobody verifies.
    fn rx_meta(&self) -> RxMeta {
        RxMeta {
            ip_checksum: ChecksumVerdict::Good,
            l4_checksum: ChecksumVerdict::Good,
            ..RxMeta::default()
        }
    }
}

/// A wire that holds a batch of frames, without an allocation per frame.
struct Wire {
    frames: Vec<Frame>,
    used: usize,
}

impl Wire {
    fn new() -> Self {
        let frame = || Frame {
            len: 0,
            bytes: vec![0; 2048].into(),
        };
        Self {
            frames: (0..2 * BATCH).map(|_| frame()).collect(),
            used: 0,
        }
    }

    fn batch(&self) -> &[Frame] {
        &self.frames[..self.used]
    }
}

impl TxSink for Wire {
    fn capacity(&mut self) -> usize {
        self.frames.len() - self.used
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let frame = &mut self.frames[self.used];
        self.used += 1;
        frame.len = len;
        fill(&mut frame.bytes[..len])
    }
}

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host.into()))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, host))
    }
}

fn stack(v6: bool, mac: MacAddr, hosts: &[u8]) -> anyhow::Result<Stack> {
    let mut config = Config::new(mac);
    let prefix_len = if v6 { 64 } else { 24 };
    config.addresses = hosts
        .iter()
        .map(|&host| IfAddr {
            addr: address(v6, host),
            prefix_len,
        })
        .collect();
    config.seed = [mac.0[5]; 32];
    config.dad = false;
    config.rx_checksum = false;
    config.tx_checksum_offload = dpdk_net_stack::ChecksumOffload::ALL;
    // 100,000 connections at both ends: what a request needs, and no more.
    config.tcp.recv_buffer = 4096;
    config.tcp.send_buffer = 4096;
    Ok(Stack::new(config, Instant::ZERO)?)
}

/// The two ends and the virtual clock.
struct Pair {
    client: Stack,
    server: Stack,
    wire: Wire,
    now: Instant,
}

impl Pair {
    /// Moves frames until neither end has any; the server echoes what it reads.
    fn exchange(&mut self, mut on_client: impl FnMut(&mut Stack, Event)) -> anyhow::Result<()> {
        loop {
            self.now += Duration::from_micros(1);
            self.wire.used = 0;
            let sent = self.client.poll_transmit(self.now, &mut self.wire);
            self.server.ingest(self.now, self.wire.batch());
            while let Some(event) = self.server.poll_event() {
                self.serve(event)?;
            }
            self.wire.used = 0;
            let answered = self.server.poll_transmit(self.now, &mut self.wire);
            self.client.ingest(self.now, self.wire.batch());
            while let Some(event) = self.client.poll_event() {
                on_client(&mut self.client, event);
            }
            if sent == 0 && answered == 0 {
                break;
            }
        }
        for stack in [&mut self.client, &mut self.server] {
            if stack.next_timeout().is_some_and(|at| at <= self.now) {
                stack.handle_timeout(self.now);
            }
        }
        Ok(())
    }

    fn serve(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Listener(listener) => while self.server.tcp_accept(listener).is_ok() {},
            Event::Tcp(id, ready) if ready.contains(Readiness::READABLE) => {
                let mut buf = [0; 64];
                if let Ok(len) = self.server.tcp_recv(id, &mut buf)
                    && len > 0
                {
                    let sent = self.server.tcp_send(id, &buf[..len]).context("the echo")?;
                    ensure!(
                        sent == len,
                        "the server's send buffer took {sent} of {len} bytes"
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Makes `connections`, has `active` of them do `requests` in all, traced at both ends or not, and returns nanoseconds a
/// request.
pub(crate) fn run(
    traced: bool,
    v6: bool,
    connections: usize,
    active: usize,
    requests: usize,
) -> anyhow::Result<f64> {
    let (client_mac, server_mac) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
    let clients: Vec<u8> = (10..=10 + (connections / PER_ADDRESS) as u8).collect();
    let mut pair = Pair {
        client: stack(v6, client_mac, &clients)?,
        server: stack(v6, server_mac, &[2])?,
        wire: Wire::new(),
        now: Instant::ZERO,
    };
    let server = address(v6, 2);
    pair.client.add_neighbor(server, server_mac);
    for &host in &clients {
        pair.server.add_neighbor(address(v6, host), client_mac);
    }
    let local = SocketAddr::new(server, PORT);
    pair.server.tcp_listen(ListenOptions::new(local))?;

    let mut ids: Vec<TcpId> = Vec::with_capacity(connections);
    for index in 0..connections {
        let from = SocketAddr::new(address(v6, clients[index / PER_ADDRESS]), 0);
        ids.push(pair.client.tcp_connect(pair.now, Some(from), local)?);
        if index % BATCH == BATCH - 1 || index + 1 == connections {
            pair.exchange(|_, _| {})?;
        }
    }
    ensure!(
        pair.server.tcp_count() == connections,
        "the server has {} of {connections} connections: {:?}",
        pair.server.tcp_count(),
        pair.server.stats()
    );

    // The busy ones lie apart, as they would in a service.
    let stride = connections / active;
    let busy: Vec<TcpId> = ids
        .iter()
        .copied()
        .step_by(stride.max(1))
        .take(active)
        .collect();
    // With the first request of each comes what it has as long as it is busy: that is not what is measured.
    warm_up(&mut pair, &busy)?;
    if traced {
        trace(&mut pair, &busy)?;
    }
    let start = Clock::now();
    let answered = self::requests(&mut pair, &busy, requests)?;
    let elapsed = start.elapsed();
    ensure!(
        answered == requests,
        "{answered} of {requests} requests were answered"
    );
    Ok(elapsed.as_nanos() as f64 / requests as f64)
}

/// Traces connections at both ends. Nobody takes what is recorded.
fn trace(pair: &mut Pair, busy: &[TcpId]) -> anyhow::Result<()> {
    for &id in busy {
        pair.client.tcp_trace(id, MAX_TRACE_EVENTS)?;
        let mut filter = TraceFilter::any();
        filter.peer_port = pair.client.tcp_local(id).map(|local| local.port());
        let budget = TraceBudget::new(1);
        let (mut from, looks) = (Some(ListPlace::START), usize::MAX);
        while let Some(place) = from {
            let events = MAX_TRACE_EVENTS;
            let page = (pair.server).tcp_trace_present(&filter, &budget, events, place, looks);
            from = page.next;
        }
        ensure!(budget.left() == 0, "the server's end is not traced");
    }
    Ok(())
}

/// What is measured: `requests` in all over the `busy` connections. Returns how many were answered.
#[inline(never)]
fn requests(pair: &mut Pair, busy: &[TcpId], requests: usize) -> anyhow::Result<usize> {
    converse(pair, busy, requests)
}

/// Two requests of each connection, in a function of its own for the sake of those who count.
#[inline(never)]
fn warm_up(pair: &mut Pair, busy: &[TcpId]) -> anyhow::Result<()> {
    let answered = converse(pair, busy, 2 * busy.len())?;
    ensure!(
        answered == 2 * busy.len(),
        "{answered} of {} requests were answered",
        2 * busy.len()
    );
    Ok(())
}

#[inline(always)]
fn converse(pair: &mut Pair, busy: &[TcpId], requests: usize) -> anyhow::Result<usize> {
    let request = [b'x'; 64];
    let (mut next, mut asked, mut answered) = (0, 0, 0);
    while asked < requests {
        for _ in 0..BATCH.min(busy.len()).min(requests - asked) {
            let sent = pair.client.tcp_send(busy[next], &request)?;
            ensure!(sent == request.len(), "the client's send buffer is full");
            next = (next + 1) % busy.len();
            asked += 1;
        }
        pair.exchange(|client, event| {
            if let Event::Tcp(id, ready) = event
                && ready.contains(Readiness::READABLE)
            {
                let mut buf = [0; 64];
                answered += client.tcp_recv(id, &mut buf).unwrap_or(0) / request.len();
            }
        })?;
    }
    Ok(answered)
}
