//! Sockets, and what is made of them.

use std::cell::Cell;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream, UdpSocket, lookup_host};
use dpdk_net::runtime::{Runtime, spawn_local};
use dpdk_net::time::{sleep, timeout};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{run, run_then};
use crate::common::*;

/// Echoes whatever comes to `at`, a task a connection.
pub(crate) async fn serve(at: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(at).await.unwrap();
    let local = listener.local_addr().unwrap();
    spawn_local(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            spawn_local(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            })
            .unwrap();
        }
    })
    .unwrap();
    local
}

pub(crate) async fn ask(net: &Net, to: SocketAddr, what: Vec<u8>) {
    let mut stream = net.client.scope(TcpStream::connect(to)).await.unwrap();
    let mut back = vec![0; what.len()];
    let (mut read, mut write) = stream.split();
    let (wrote, got) = tokio::join!(write.write_all(&what), read.read_exact(&mut back));
    wrote.unwrap();
    got.unwrap();
    assert_eq!(back, what);
    write.shutdown().await.unwrap();
    assert_eq!(read.read(&mut [0; 1]).await.unwrap(), 0);
}

pub(crate) fn what_is_sent_comes_back_over_tcp_and_udp_in_both_families<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        for (server, client) in FAMILIES {
            let to = serve(at(server, 0)).await;
            ask(&net, to, pattern(300_000)).await;

            let ours = UdpSocket::bind(at(server, 7)).await.unwrap();
            spawn_local(async move {
                let mut buf = [0; 2048];
                loop {
                    let (len, from) = ours.recv_from(&mut buf).await.unwrap();
                    ours.send_to(&buf[..len], from).await.unwrap();
                }
            })
            .unwrap();
            let theirs = net.client.scope(UdpSocket::bind(at(client, 0)));
            let theirs = theirs.await.unwrap();
            for len in [0, 1, 1000] {
                theirs.send_to(&pattern(len), at(server, 7)).await.unwrap();
                let mut buf = [0; 2048];
                let (got, from) = theirs.recv_from(&mut buf).await.unwrap();
                assert_eq!((&buf[..got], from), (&*pattern(len), at(server, 7)));
            }
        }
    });
}

pub(crate) fn two_hundred_connections_are_served_at_once<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let to = serve(at(SERVER_V4, 0)).await;
        let mut open = Vec::new();
        for _ in 0..200 {
            let stream = net.client.scope(TcpStream::connect(to)).await.unwrap();
            open.push(stream);
        }
        // The last one's handshake may be on its way.
        let all = async {
            while net.server.connection_count() < 200 {
                sleep(Duration::from_millis(1)).await;
            }
        };
        let all = timeout(Duration::from_secs(20), all).await;
        all.expect("all are there at once");
        let tasks = open.into_iter().enumerate().map(|(number, mut stream)| {
            spawn_local(async move {
                for round in 0..5 {
                    let what = pattern(100 + number + round);
                    let mut back = vec![0; what.len()];
                    stream.write_all(&what).await.unwrap();
                    stream.read_exact(&mut back).await.unwrap();
                    assert_eq!(back, what);
                }
            })
            .unwrap()
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    });
}

pub(crate) fn who_does_not_listen_refuses_and_who_does_not_answer_times_out<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        for (server, _) in FAMILIES {
            let refused = net.client.scope(TcpStream::connect(at(server, 9))).await;
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
        // Nobody has this address.
        let nobody = net.client.scope(TcpStream::connect(at("198.18.0.99", 9)));
        let late = timeout(Duration::from_millis(50), nobody).await;
        assert!(late.is_err());
    });
}

/// Answers questions for IPv4 addresses with this one.
pub(crate) async fn answer_names(at: SocketAddr, address: [u8; 4]) {
    let socket = UdpSocket::bind(at).await.unwrap();
    spawn_local(async move {
        let mut buf = [0; 1500];
        loop {
            let (len, from) = socket.recv_from(&mut buf).await.unwrap();
            // The name ends with an empty label; type and class follow (RFC 1035 section 4.1.2).
            let question = &buf[12..len];
            let end = question.iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_v4 = question[end - 4..end - 2] == [0, 1];
            let mut reply = buf[..2].to_vec();
            reply.extend([0x81, 0x80, 0, 1, 0, u8::from(is_v4), 0, 0, 0, 0]);
            reply.extend(&question[..end]);
            if is_v4 {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
                reply.extend(address);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    })
    .unwrap();
}

pub(crate) fn names_are_looked_up_over_our_own_sockets<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        answer_names(at(SERVER_V4, 53), [198, 18, 0, 1]).await;
        net.client
            .dns()
            .change(|config| config.servers = vec![at(SERVER_V4, 53)])
            .unwrap();
        let found = net.client.scope(lookup_host("www.example.org:80")).await;
        let found: Vec<_> = found.unwrap().collect();
        assert_eq!(found, [at(SERVER_V4, 80)]);
        // Nobody answers there: a timer of the worker's ends it.
        net.client
            .dns()
            .change(|config| {
                config.servers = vec![at("198.18.0.99", 53)];
                config.timeout = Duration::from_millis(100);
                config.attempts = 1;
            })
            .unwrap();
        let late = net.client.scope(lookup_host("other.example.org:80")).await;
        assert_eq!(late.map(drop).unwrap_err().kind(), ErrorKind::TimedOut);
    });
}

pub(crate) fn a_socket_that_is_always_ready_starves_nobody<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let sent = Rc::new(Cell::new(0u64));
        let counted = sent.clone();
        // What is asked for is there at once, each time: it never waits by itself.
        let socket = UdpSocket::bind(at(SERVER_V4, 0)).await.unwrap();
        let busy = spawn_local(async move {
            loop {
                socket.writable().await.unwrap();
                counted.set(counted.get() + 1);
            }
        })
        .unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(sent.get() > 0, "it runs");
        let before = (sent.get(), net.server.stats().worker.turns);
        let to = serve(at(SERVER_V6, 0)).await;
        ask(&net, to, pattern(10_000)).await;
        let after = (sent.get(), net.server.stats().worker.turns);
        busy.abort();
        assert!(busy.await.unwrap_err().is_cancelled());
        let (sent, turns) = (after.0 - before.0, after.1 - before.1);
        // A budget's worth between two looks at the device, and one more poll of tasks in between on tokio.
        assert!(sent <= (turns + 1) * 128 * 8, "{sent} in {turns} turns");
    });
}

pub(crate) fn a_worker_that_ends_drops_its_tasks_and_delivers_what_was_written<R: Runtime>() {
    struct Told(Rc<Cell<bool>>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let dropped = Rc::new(Cell::new(false));
    let told = Told(dropped.clone());
    run_then::<R, _, _, _>(
        |net| async move {
            let (client, mut server) = connected(&net, SERVER_V4).await;
            server.write_all(&pattern(5_000)).await.unwrap();
            let waits = spawn_local(async move {
                let _told = told;
                let _kept = server;
                std::future::pending::<()>().await;
            })
            .unwrap();
            // Its other end goes with the worker too: what it is sent is answered until then.
            let other = spawn_local(async move {
                let mut client = client;
                client.read_exact(&mut [0; 5_000]).await.unwrap();
                client
            })
            .unwrap();
            drop(other.await.unwrap());
            // In a tuple: a handle that an `async` block returns looks like one that was forgotten.
            (waits,)
        },
        |worker, (waits,)| {
            assert!(!waits.is_finished());
            let drained = worker.shutdown(Duration::from_millis(200));
            assert!(drained.flushed, "{drained:?}");
            assert!(waits.is_finished());
        },
    );
    assert!(dropped.get());
}
