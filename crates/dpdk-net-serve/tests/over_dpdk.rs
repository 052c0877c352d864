//! The same server on dpdk-net's sockets: the kernel is the client and the upstream, at the other end of a TAP device.
//! Needs root.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener as KernelListener, TcpStream as KernelStream};
use std::time::Duration;

use common::{pattern, request};
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::Eal;
use dpdk_net::{App, IdlePolicy};
use dpdk_net_serve::{Files, Limits, Proxy, RouteRule, Site, SiteService, Target, serve};
use dpdk_net_testkit::bed::{Netns, file_prefix};

const OURS: &str = "198.18.0.2:80";
const PATIENCE: Duration = Duration::from_secs(50);

/// Sends a request and reads to the end of the connection.
fn exchange(request: &[u8]) -> Vec<u8> {
    let mut stream = KernelStream::connect(OURS).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// An upstream for one connection: answers with the body of the request, whose length it is told.
fn echo(listener: &KernelListener, length: usize) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = Vec::new();
    let body = loop {
        let mut buffer = [0; 65_536];
        let read = match stream.read(&mut buffer) {
            // The TAP driver's signal, which comes to any thread.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.unwrap(),
        };
        assert!(read > 0, "the request broke off");
        got.extend_from_slice(&buffer[..read]);
        let head = got.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head
            && got.len() >= head + 4 + length
        {
            let told = String::from_utf8_lossy(&got[..head]).to_ascii_lowercase();
            assert!(told.contains("x-forwarded-for: 198.18.0.1"), "{told}");
            break got.split_off(head + 4);
        }
    };
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(&body).unwrap();
}

#[test]
fn files_and_a_proxy_are_served_from_user_space() {
    let directory = tempfile::tempdir().unwrap();
    let file = pattern(3 << 20);
    fs::write(directory.path().join("file.bin"), &file).unwrap();

    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = Eal::builder("serve")
        .file_prefix(file_prefix())
        .vdev("net_tap0,iface=tp0")
        .no_pci()
        .no_huge()
        .no_shconf()
        .no_telemetry()
        .memory_mb(128)
        .keep_affinity()
        .init()
        .unwrap();
    netns.up("tp0").unwrap();
    netns.add_address("tp0", "198.18.0.1/24").unwrap();

    let listener = netns.spawn(|| KernelListener::bind("198.18.0.1:8080").unwrap());
    let upstream = listener.join().unwrap();
    let mut proxy = Proxy::new([upstream.local_addr().unwrap()]);
    proxy.body_limit = None;
    let site = Site::new([
        RouteRule::new("/", Target::Files(Files::new(directory.path()))),
        RouteRule::new("/up", Target::Proxy(proxy)),
    ]);

    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = netns.spawn(move || {
        let whole = exchange(request("GET", "/file.bin", &[]).as_bytes());
        assert!(whole.starts_with(b"HTTP/1.1 200 OK\r\n") && whole.ends_with(&file));
        let part = exchange(request("GET", "/file.bin", &["Range: bytes=5-9"]).as_bytes());
        assert!(part.starts_with(b"HTTP/1.1 206 ") && part.ends_with(&file[5..10]));
        let body = pattern(1 << 20);
        let length = format!("Content-Length: {}", body.len());
        let mut post = request("POST", "/up", &[&length]).into_bytes();
        post.extend_from_slice(&body);
        let answer = exchange(&post);
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n") && answer.ends_with(&body));
        drop(stop);
    });
    let echoing = netns.spawn(move || echo(&upstream, 1 << 20));

    App::builder()
        .with_eal(eal)
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 16 })
        .address("198.18.0.2/24")
        .run(|_| async {
            let connect = |addr: SocketAddr| TcpStream::connect(addr);
            let service = SiteService::new(site, connect).unwrap();
            let listener = TcpListener::bind("0.0.0.0:80").await.unwrap();
            let shutdown = async { drop(stopped.await) };
            serve(listener, service, Limits::default(), shutdown).await;
        })
        .unwrap();
    client.join().unwrap();
    echoing.join().unwrap();
}
