//! Connections by the ten thousand, all at the same time, over a device.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpListener, TcpStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Barrier, Semaphore};
use tokio::task::JoinSet;

/// How many connections there are, of 64,512 ports for two families each; 60,000 is what a release is tried with.
const CONNECTIONS_VAR: &str = "DPDK_NET_CONNECTIONS";
/// Handshakes under way at once: less than a listener's backlog.
const OPENING: usize = 500;

/// Memory that the process has, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Sends a number and reads it back.
async fn ask(stream: &mut TcpStream, number: u64) {
    stream.write_all(&number.to_be_bytes()).await.unwrap();
    assert_eq!(stream.read_u64().await.unwrap(), number);
}

#[test]
fn ten_thousand_connections_are_open_at_once_and_each_is_served() {
    let count: usize = std::env::var(CONNECTIONS_VAR).map_or(10_000, |text| {
        text.parse().expect("a number of connections")
    });
    // All close at the same time: no fewer may be on their way to the end than there are.
    let tune = |stack: &mut dpdk_net::stack::Config| stack.tcp.max_orphans = count;
    run_within(Duration::from_secs(170), tune, |net| async move {
        let listener = TcpListener::bind("[::]:80").await.unwrap();
        let server = tokio::spawn(async move {
            let mut served = JoinSet::new();
            for _ in 0..count {
                let (mut stream, _) = listener.accept().await.unwrap();
                served.spawn(async move {
                    let mut bytes = [0; 8];
                    let mut questions = 0;
                    while stream.read_exact(&mut bytes).await.is_ok() {
                        stream.write_all(&bytes).await.unwrap();
                        questions += 1;
                    }
                    assert_eq!(questions, 2);
                });
            }
            while let Some(done) = served.join_next().await {
                done.unwrap();
            }
        });
        let before = resident();
        let all_are_open = Arc::new(Barrier::new(count + 1));
        let opening = Arc::new(Semaphore::new(OPENING));
        let mut clients = JoinSet::new();
        for number in 0..count {
            let to = at(FAMILIES[number % 2].0, 80);
            let (all_are_open, opening) = (all_are_open.clone(), opening.clone());
            let client = async move {
                let permit = opening.acquire_owned().await.unwrap();
                let mut stream = TcpStream::connect(to).await.unwrap();
                ask(&mut stream, number as u64).await;
                drop(permit);
                all_are_open.wait().await;
                ask(&mut stream, !(number as u64)).await;
                stream.shutdown().await.unwrap();
                assert_eq!(stream.read(&mut [0; 8]).await.unwrap(), 0);
            };
            clients.spawn(net.client.scope(client));
        }
        all_are_open.wait().await;
        let (server_has, client_has) = (net.server.stats(), net.client.stats());
        assert_eq!(
            (server_has.tcp_connections, client_has.tcp_connections),
            (count, count)
        );
        eprintln!(
            "{count} connections: {} bytes for each, of both ends",
            (resident() - before) / count
        );
        while let Some(done) = clients.join_next().await {
            done.unwrap();
        }
        server.await.unwrap();
        // The last acknowledgments are on their way.
        tokio::time::sleep(Duration::from_millis(500)).await;
        for end in [&net.server, &net.client] {
            let stats = end.stats();
            assert_eq!(stats.tcp_connections, 0);
            assert_eq!(stats.stack.tcp.tx_resets, 0);
        }
    });
}
