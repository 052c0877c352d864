//! QUIC: quinn over our sockets, with itself over rings, and with quinn on the kernel's sockets over a TAP device and over a cable that
//! loses frames. What has the kernel in it needs root.
#![cfg(feature = "quinn")]

mod common;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use common::kernel::{KERNEL, OURS, app_facing_kernel, eal_facing_kernel, kernel_up};
use common::{FAMILIES, Net, SERVER_V4, SERVER_V6, at, pattern, run, run_with};
use dpdk_net::net::{MtuDiscovery, UdpSocket};
use dpdk_net::quic;
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::{Netns, RelayedBed};
use dpdk_net_testkit::relay::Relay;
use dpdk_net_testkit::sim::LinkConfig;
use quinn::{
    ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, ServerConfig,
    TransportConfig, VarInt,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::RootCertStore;
use rustls_pki_types::PrivateKeyDer;
use sha2::{Digest, Sha256};

const PORT: u16 = 4433;
/// Whom the certificate names.
const NAME: &str = "server.test";
/// What goes over a stream, each way.
const BULK: usize = 10_000_000;

/// What both ends are told; the idle timeout is the smaller of theirs.
fn transport(idle: Duration) -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::try_from(idle).unwrap()))
        .max_concurrent_bidi_streams(VarInt::from_u32(50));
    Arc::new(transport)
}

/// A server's configuration and that of a client who trusts it.
fn configs(idle: Duration) -> (ServerConfig, ClientConfig) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let mut server = ServerConfig::with_single_cert(vec![cert.der().clone()], key).unwrap();
    server.transport_config(transport(idle));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let mut client = ClientConfig::with_root_certificates(Arc::new(roots)).unwrap();
    client.transport_config(transport(idle));
    (server, client)
}

const PATIENT: Duration = Duration::from_secs(20);

/// Serves connections until the endpoint is closed.
async fn echo(endpoint: Endpoint) {
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move { answer(&incoming.await.unwrap()).await });
    }
}

/// Sends streams and datagrams back until the connection ends.
async fn answer(connection: &Connection) {
    let datagrams = async {
        while let Ok(datagram) = connection.read_datagram().await {
            let _ = connection.send_datagram(datagram);
        }
    };
    let streams = async {
        while let Ok((mut send, mut recv)) = connection.accept_bi().await {
            tokio::spawn(async move {
                let copied = tokio::io::copy(&mut recv, &mut send).await;
                let _ = copied.map(|_| send.finish());
            });
        }
    };
    tokio::join!(datagrams, streams);
}

/// Sends bytes over a stream of its own; the digest of what comes back.
async fn echoed(connection: &Connection, bytes: &[u8]) -> Vec<u8> {
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let sender = async {
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
    };
    let receiver = async {
        let mut digest = Sha256::new();
        while let Some(chunk) = recv.read_chunk(usize::MAX, true).await.unwrap() {
            digest.update(&chunk.bytes);
        }
        digest.finalize().to_vec()
    };
    tokio::join!(sender, receiver).1
}

/// A large stream, many small ones at once, and datagrams, of which some may be lost on the way.
async fn exercise(connection: &Connection) {
    let bulk = pattern(BULK);
    assert!(echoed(connection, &bulk).await == Sha256::digest(&bulk).to_vec());
    // More than may be open at a time.
    let streams = (0..200).map(|n| async move {
        let bytes = pattern(n * 37);
        assert!(echoed(connection, &bytes).await == Sha256::digest(&bytes).to_vec());
    });
    futures_util::future::join_all(streams).await;
    let datagram = pattern(1_000);
    loop {
        connection.send_datagram(datagram.clone().into()).unwrap();
        let answer = connection.read_datagram();
        if let Ok(came) = tokio::time::timeout(Duration::from_millis(200), answer).await {
            assert!(came.unwrap() == datagram);
            return;
        }
    }
}

async fn bound(addr: SocketAddr) -> UdpSocket {
    UdpSocket::bind(addr).await.unwrap()
}

/// An endpoint of the client's shard that is bound to all addresses.
async fn client(net: &Net, config: ClientConfig) -> Endpoint {
    let socket = net.client.scope(bound(at("::", 0))).await;
    let mut endpoint = quic::client(socket).unwrap();
    endpoint.set_default_client_config(config);
    endpoint
}

async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Connection {
    endpoint.connect(to, NAME).unwrap().await.unwrap()
}

#[test]
fn streams_and_datagrams_come_back_whole_in_both_families() {
    run(|net| async move {
        let (server, config) = configs(PATIENT);
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        tokio::spawn(echo(server.clone()));
        let client = client(&net, config).await;
        for (server_ip, _) in FAMILIES {
            let connection = connect(&client, at(server_ip, PORT)).await;
            exercise(&connection).await;
            // Probes came through, and nothing was in fragments.
            assert_eq!(connection.stats().path.current_mtu, 1_452, "{server_ip}");
            connection.close(VarInt::from_u32(7), b"done");
        }
        client.wait_idle().await;
        for shard in [&net.server, &net.client] {
            let stats = shard.stats().stack;
            assert!(
                stats.udp.sent_segmented > BULK as u64 / 1_452,
                "batches go out"
            );
            assert!(stats.udp.received_coalesced > 1_000, "batches come in");
            assert_eq!(stats.link.fragments_sent, 0);
        }
    });
}

#[test]
fn both_ends_are_told_why_a_connection_ends() {
    run(|net| async move {
        let (server, config) = configs(PATIENT);
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        let client = client(&net, config).await;
        let (ours, theirs) = tokio::join!(connect(&client, at(SERVER_V4, PORT)), async {
            server.accept().await.unwrap().await.unwrap()
        });
        ours.close(VarInt::from_u32(7), b"done");
        let ConnectionError::ApplicationClosed(close) = theirs.closed().await else {
            panic!("another end");
        };
        assert_eq!(
            (close.error_code.into_inner(), &close.reason[..]),
            (7, &b"done"[..])
        );

        // Refused, before anything was agreed on.
        let (refused, ()) =
            tokio::join!(client.connect(at(SERVER_V6, PORT), NAME).unwrap(), async {
                server.accept().await.unwrap().refuse();
            });
        let Err(ConnectionError::ConnectionClosed(close)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(
            u64::from(close.error_code),
            2,
            "CONNECTION_REFUSED, RFC 9000 section 20.1"
        );
    });
}

#[test]
fn silence_ends_a_connection_and_an_attempt() {
    run(|net| async move {
        let (server, config) = configs(Duration::from_millis(300));
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        tokio::spawn(echo(server.clone()));
        let client = client(&net, config).await;
        let connection = connect(&client, at(SERVER_V4, PORT)).await;
        assert!(echoed(&connection, b"hello").await == Sha256::digest(b"hello").to_vec());
        assert!(matches!(
            connection.closed().await,
            ConnectionError::TimedOut
        ));
        // Nobody is there: ICMP says so, which a peer that isn't on the way could say too.
        let nobody = client.connect(at(SERVER_V6, PORT + 1), NAME).unwrap().await;
        assert!(
            matches!(nobody, Err(ConnectionError::TimedOut)),
            "{nobody:?}"
        );
        // The endpoint goes on, also that of a socket which is told of it.
        let socket = net
            .client
            .scope(UdpSocket::connected(at(SERVER_V4, PORT + 1)))
            .await
            .unwrap();
        let (_, config) = configs(Duration::from_millis(300));
        let mut single = quic::client(socket).unwrap();
        single.set_default_client_config(config);
        for _ in 0..2 {
            let nobody = single.connect(at(SERVER_V4, PORT + 1), NAME).unwrap().await;
            assert!(
                matches!(nobody, Err(ConnectionError::TimedOut)),
                "{nobody:?}"
            );
        }
        connect(&client, at(SERVER_V4, PORT)).await;
    });
}

#[test]
fn a_server_answers_from_the_address_that_was_asked() {
    let second = ["198.18.0.11", "fd00::11"];
    let tune = |config: &mut dpdk_net::stack::Config| {
        if config
            .addresses
            .iter()
            .any(|own| own.addr.to_string() == SERVER_V4)
        {
            config.addresses.push("198.18.0.11/24".parse().unwrap());
            config.addresses.push("fd00::11/64".parse().unwrap());
        }
    };
    run_with(tune, |net| async move {
        let (server, config) = configs(PATIENT);
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        let client = client(&net, config).await;
        for ip in [SERVER_V4, SERVER_V6].into_iter().chain(second) {
            let accept = async {
                let incoming = server.accept().await.unwrap();
                (incoming.local_ip(), incoming.await.unwrap())
            };
            let (connection, (local, _other)) =
                tokio::join!(connect(&client, at(ip, PORT)), accept);
            let asked = at(ip, 0).ip();
            assert_eq!(local.map(|local| local.to_canonical()), Some(asked));
            connection.close(VarInt::from_u32(0), b"");
        }
    });
}

#[test]
fn a_connection_goes_on_when_its_endpoint_takes_another_socket() {
    run(|net| async move {
        let (server, config) = configs(PATIENT);
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        tokio::spawn(echo(server));
        let client = client(&net, config).await;
        let connection = connect(&client, at(SERVER_V6, PORT)).await;
        let before = client.local_addr().unwrap();
        let bulk = pattern(1_000_000);
        for _ in 0..3 {
            let socket = net.client.scope(bound(at("::", 0))).await;
            client
                .rebind_abstract(quic::socket(socket).unwrap())
                .unwrap();
            assert_ne!(client.local_addr().unwrap(), before);
            assert!(echoed(&connection, &bulk).await == Sha256::digest(&bulk).to_vec());
        }
        let kernel = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let refused = client.rebind(kernel).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::Unsupported);
    });
}

#[test]
fn a_full_queue_makes_senders_wait_and_loses_nothing() {
    run_with(
        |config| config.limits.reply_queue = 16,
        |net| async move {
            let (server, config) = configs(PATIENT);
            let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
            tokio::spawn(echo(server));
            let client = client(&net, config).await;
            let connections = (0..8).map(|_| connect(&client, at(SERVER_V4, PORT)));
            let connections = futures_util::future::join_all(connections).await;
            let bulk = pattern(1_000_000);
            let all = connections.iter().map(|connection| async {
                assert!(echoed(connection, &bulk).await == Sha256::digest(&bulk).to_vec());
            });
            futures_util::future::join_all(all).await;
            let waited =
                [&net.server, &net.client].map(|shard| shard.stats().stack.udp.send_blocked);
            assert!(waited.iter().sum::<u64>() > 0, "the queue was full");
        },
    );
}

#[test]
fn connections_are_used_from_another_thread_and_stay_on_their_worker() {
    run(|net| async move {
        let (server, config) = configs(PATIENT);
        let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
        tokio::spawn(echo(server));
        let client = client(&net, config).await;
        let elsewhere = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            runtime.block_on(async {
                let connection = connect(&client, at(SERVER_V4, PORT)).await;
                let bulk = pattern(300_000);
                echoed(&connection, &bulk).await == Sha256::digest(&bulk).to_vec()
            })
        });
        assert!(finished(elsewhere).await);
    });
}

#[test]
fn a_socket_is_told_what_quic_needs_of_it() {
    run(|_net| async move {
        let socket = bound(at(SERVER_V4, PORT)).await;
        assert_eq!(socket.mtu_discovery().unwrap(), MtuDiscovery::Fragment);
        let socket = quic::socket(socket).unwrap();
        assert!(!socket.may_fragment());
        assert_eq!(
            (
                socket.max_transmit_segments(),
                socket.max_receive_segments()
            ),
            (64, 64)
        );
        assert_eq!(socket.local_addr().unwrap(), at(SERVER_V4, PORT));
    });
    // Without a runtime it can't be.
    assert!(quic::Runtime::current().is_err());
}

async fn finished<T>(thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    thread.join().unwrap()
}

/// Runs quinn on the kernel's sockets, on a thread in that namespace.
fn on_kernel<F>(netns: &Netns, work: impl FnOnce() -> F + Send + 'static) -> JoinHandle<()>
where
    F: Future<Output = ()>,
{
    netns.spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work());
    })
}

/// Both ends are servers and clients, of both families.
async fn with_kernel(netns: &Netns) {
    let (server, config) = configs(PATIENT);
    let (their_server, their_config) = (server.clone(), config.clone());
    let (tell, told) = tokio::sync::oneshot::channel();
    let peer = on_kernel(netns, move || async move {
        let any = at("::", PORT);
        let endpoint = Endpoint::server(their_server, any).unwrap();
        tell.send(()).unwrap();
        // Until the other end closes its last connection.
        for _ in Family::BOTH {
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            answer(&connection).await;
        }
        let mut endpoint = Endpoint::client(at("::", 0)).unwrap();
        endpoint.set_default_client_config(their_config);
        for family in Family::BOTH {
            let connection = connect(&endpoint, family.socket(OURS, PORT)).await;
            exercise(&connection).await;
            connection.close(VarInt::from_u32(0), b"");
        }
        endpoint.wait_idle().await;
    });
    told.await.unwrap();
    let server = quic::server(server, bound(at("::", PORT)).await).unwrap();
    tokio::spawn(echo(server.clone()));
    let mut client = quic::client(bound(at("::", 0)).await).unwrap();
    client.set_default_client_config(config);
    for family in Family::BOTH {
        let connection = connect(&client, family.socket(KERNEL, PORT)).await;
        exercise(&connection).await;
        connection.close(VarInt::from_u32(0), b"");
    }
    client.wait_idle().await;
    finished(peer).await;
}

#[test]
fn quinn_on_the_kernel_and_on_ours_speak_with_each_other_both_ways() {
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let app = app_facing_kernel(eal_facing_kernel("net_tap0,iface=tp0"));
    kernel_up(&netns, "tp0");
    app.run(|_| with_kernel(&netns)).unwrap();
}

#[test]
fn quinn_on_the_kernel_and_on_ours_speak_where_one_frame_in_a_hundred_is_lost() {
    let bed = RelayedBed::new().unwrap();
    let kernel = bed.kernel_host(KERNEL).unwrap();
    bed.netns().enter().unwrap();
    let cable = bed.cable().unwrap();
    let eal = eal_facing_kernel(&format!("net_af_packet0,iface={}", cable.left()));
    let link = LinkConfig::delay(Duration::from_micros(200)).with_loss(0.01);
    let relay = Relay::new(bed.end(cable.right()), kernel.end())
        .both(link)
        .seed(11)
        .start()
        .unwrap();
    app_facing_kernel(eal)
        .run(|_| with_kernel(kernel.netns()))
        .unwrap();
    let stats = relay.stop().unwrap();
    for direction in [stats.there, stats.back] {
        assert!(direction.link.lost > 0, "{stats:?}");
    }
}
