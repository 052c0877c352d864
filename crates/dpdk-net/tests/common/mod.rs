//! Two shards joined by rings in one process: a server and a client, both on this thread, no root needed.
#![allow(dead_code)]

pub(crate) mod kernel;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dpdk_net::rte::port::Started;
use dpdk_net::rte::{Eal, EalBuilder, Mempool, Port, PortConfig, PortId, QueuePair, ring};
use dpdk_net::runtime::JoinHandle;
use dpdk_net::stack::Config;
use dpdk_net::{Handle, IdlePolicy, Reactor, Worker, WorkerConfig};

/// No test may take longer.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const SERVER_V4: &str = "198.18.0.1";
pub(crate) const SERVER_V6: &str = "fd00::1";
pub(crate) const CLIENT_V4: &str = "198.18.0.2";
pub(crate) const CLIENT_V6: &str = "fd00::2";

/// Both families: the server's address, then the client's.
pub(crate) const FAMILIES: [(&str, &str); 2] = [(SERVER_V4, CLIENT_V4), (SERVER_V6, CLIENT_V6)];

/// The two shards, as a test sees them. The server's is the thread's own.
#[derive(Clone)]
pub(crate) struct Net {
    pub(crate) server: Handle,
    pub(crate) client: Handle,
}

/// EAL without hugepages, PCI devices or traces of other tests; add lcores and devices.
pub(crate) fn eal_builder() -> EalBuilder {
    Eal::builder("dpdk-net-test")
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(256)
        .file_prefix(format_args!("dpdk-net-test-{}", std::process::id()))
}

/// EAL without devices.
pub(crate) fn eal(lcores: &str) -> Eal {
    eal_builder().lcores(lcores).init().expect("EAL starts")
}

pub(crate) fn stack(side: u8) -> Config {
    let mut config = Config::new(dpdk_net::packet::MacAddr([2, 0, 0, 0, 0, side]));
    config.addresses = vec![
        format!("198.18.0.{side}/24").parse().unwrap(),
        format!("fd00::{side}/64").parse().unwrap(),
    ];
    config.seed = [side; 32];
    config.dad = false;
    config
}

/// A started port, to be kept, its queues, and the pool of so many mbufs that it receives into.
pub(crate) fn open(eal: &Eal, id: PortId, mbufs: u32) -> (Port<Started>, QueuePair, Mempool) {
    let pool = Mempool::builder(eal, format!("test-{}", id.get()))
        .capacity(mbufs)
        .build()
        .unwrap();
    let port = Port::open(eal, id)
        .unwrap()
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let queues = port.take_queues().unwrap().remove(0);
    (port, queues, pool)
}

/// A started port and the configuration of a worker over it.
pub(crate) fn side(eal: &Eal, id: PortId, stack: Config) -> (Port<Started>, WorkerConfig) {
    let (port, queues, pool) = open(eal, id, 8191);
    let config = WorkerConfig::new(eal, queues, pool, stack).idle(IdlePolicy::Yield { after: 100 });
    (port, config)
}

/// A worker that is the server's shard, the task on it that is the client's, and both as a test sees them.
pub(crate) fn two_shards(
    server: WorkerConfig,
    client: WorkerConfig,
) -> (Worker, JoinHandle<()>, Net) {
    let worker = Worker::new(server).unwrap();
    let client = Reactor::new(client).unwrap();
    let net = Net {
        server: worker.handle().clone(),
        client: client.handle(),
    };
    let reactor = worker.spawn_local(client);
    (worker, reactor, net)
}

/// Runs `test` on the server's worker with the client's reactor beside it.
pub(crate) fn run<F, Fut>(test: F)
where
    F: FnOnce(Net) -> Fut,
    Fut: Future<Output = ()>,
{
    run_with(|_| (), test);
}

/// As [`run`], with both stacks' configurations changed first.
pub(crate) fn run_with<F, Fut>(tune: impl Fn(&mut Config), test: F)
where
    F: FnOnce(Net) -> Fut,
    Fut: Future<Output = ()>,
{
    run_within(LIMIT, tune, test);
}

/// As [`run_with`], for what may take so long.
pub(crate) fn run_within<F, Fut>(limit: Duration, tune: impl Fn(&mut Config), test: F)
where
    F: FnOnce(Net) -> Fut,
    Fut: Future<Output = ()>,
{
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ids = rings.ids();
    let config = |side| {
        let mut config = stack(side);
        tune(&mut config);
        config
    };
    let (_server_port, server) = side(&eal, ids[0], config(1));
    let (_client_port, client) = side(&eal, ids[1], config(2));
    let (worker, reactor, net) = two_shards(server, client);
    worker.block_on(async {
        tokio::time::timeout(limit, test(net))
            .await
            .expect("the test ends in time");
    });
    reactor.abort();
}

pub(crate) fn at(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// A connection: the client's end, the server's end.
pub(crate) async fn connected(
    net: &Net,
    server_ip: &str,
) -> (dpdk_net::net::TcpStream, dpdk_net::net::TcpStream) {
    let listener = dpdk_net::net::TcpListener::bind(at(server_ip, 0))
        .await
        .unwrap();
    let to = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(
        net.client.scope(dpdk_net::net::TcpStream::connect(to)),
        listener.accept()
    );
    (client.unwrap(), accepted.unwrap().0)
}

/// Bytes that differ from place to place.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + (i >> 8) * 7) as u8).collect()
}
