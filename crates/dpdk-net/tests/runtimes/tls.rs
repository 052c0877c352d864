//! TLS: handshakes of either side, and their limits.

use std::io::{Error, ErrorKind};
use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::runtime::{Runtime, spawn_local};
use dpdk_net::tls::{HandshakeLimits, TlsConfig, TlsConnector, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::run;
use crate::common::*;

const NAME: &str = "ours.example";

/// A server's configuration, and who trusts it.
fn pair() -> (TlsConfig, TlsConnector) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
    let certificate = made.cert.pem();
    let config = TlsConfig::from_pem(&certificate, made.signing_key.serialize_pem());
    let connector = TlsConnector::builder().roots_pem(certificate).build();
    (config.unwrap(), connector.unwrap())
}

async fn connect(net: &Net, server: &str, port: u16) -> TcpStream {
    let connecting = net.client.scope(TcpStream::connect(at(server, port)));
    connecting.await.unwrap()
}

/// Echoes whatever comes to a listener, a task a connection.
fn serve(mut listener: TlsListener) {
    let serving = async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let echo = async move {
                let (mut read, mut write) = tokio::io::split(stream);
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            };
            spawn_local(echo).unwrap();
        }
    };
    drop(spawn_local(serving).unwrap());
}

async fn ask(connector: &TlsConnector, stream: TcpStream, what: &[u8]) {
    let stream = connector.handshake(NAME, stream).await.unwrap();
    let (mut read, mut write) = tokio::io::split(stream);
    let mut back = Vec::new();
    let sends = async {
        write.write_all(what).await?;
        write.shutdown().await
    };
    let (sent, got) = tokio::join!(sends, read.read_to_end(&mut back));
    sent.unwrap();
    got.unwrap();
    assert!(back == what, "{} bytes came back", back.len());
}

/// Reads until the peer has gone, one way or the other.
async fn is_let_go(mut stream: TcpStream) {
    match stream.read(&mut [0; 1]).await {
        Ok(read) => assert_eq!(read, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

pub(crate) fn both_ends_shake_hands_and_what_is_sent_comes_back<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let (config, connector) = pair();
        for (server, _) in FAMILIES {
            let listener = TlsListener::bind(at(server, 443), config.clone()).await;
            serve(listener.unwrap());
            for bytes in [1, 300_000] {
                let stream = connect(&net, server, 443).await;
                ask(&connector, stream, &pattern(bytes)).await;
            }
        }
    });
}

pub(crate) fn who_says_nothing_is_let_go_in_time_and_holds_up_nobody<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let (config, connector) = pair();
        let listener = TlsListener::bind(at(SERVER_V4, 443), config.clone()).await;
        let mut limits = HandshakeLimits::default();
        limits.timeout = Duration::from_millis(100);
        serve(listener.unwrap().limits(limits));
        let silent = connect(&net, SERVER_V4, 443).await;
        let stream = connect(&net, SERVER_V4, 443).await;
        ask(&connector, stream, b"meanwhile").await;
        is_let_go(silent).await;

        // With one place, the silent one gives way.
        let listener = TlsListener::bind(at(SERVER_V4, 444), config.clone()).await;
        let mut limits = HandshakeLimits::default();
        (limits.handshakes, limits.grace) = (1, Duration::from_millis(10));
        serve(listener.unwrap().limits(limits));
        let silent = connect(&net, SERVER_V4, 444).await;
        let stream = connect(&net, SERVER_V4, 444).await;
        ask(&connector, stream, b"instead").await;
        is_let_go(silent).await;

        // And a server that says nothing.
        let _silent = TcpListener::bind(at(SERVER_V4, 445)).await.unwrap();
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let hasty = TlsConnector::builder()
            .roots_pem(made.cert.pem())
            .handshake_timeout(Duration::from_millis(20))
            .build()
            .unwrap();
        let stream = connect(&net, SERVER_V4, 445).await;
        let late = hasty.handshake(NAME, stream).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    });
}

pub(crate) fn handshakes_that_have_begun_outlive_their_listener_if_it_is_wanted<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let (config, connector) = pair();
        for is_wanted in [true, false] {
            let listener = TlsListener::bind(at(SERVER_V6, 443), config.clone()).await;
            let mut listener = listener.unwrap();
            // It has connected first, so its handshake has begun when that of the other is done.
            let slow = connect(&net, SERVER_V6, 443).await;
            let quick = connect(&net, SERVER_V6, 443).await;
            let (from_slow, from_quick) = (slow.local_addr().unwrap(), quick.local_addr().unwrap());
            let (accepted, _quick) =
                tokio::join!(listener.accept(), connector.handshake(NAME, quick));
            assert_eq!(accepted.unwrap().1, from_quick);
            if is_wanted {
                let mut handshakes = listener.into_handshakes();
                let (accepted, _slow) =
                    tokio::join!(handshakes.next(), connector.handshake(NAME, slow));
                assert_eq!(accepted.unwrap().1, from_slow);
                assert!(handshakes.next().await.is_none(), "none is left");
            } else {
                drop(listener);
                is_let_go(slow).await;
            }
            let refused = net.client.scope(TcpStream::connect(at(SERVER_V6, 443)));
            let refused = refused.await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        }
    });
}

pub(crate) fn a_thread_without_a_runtime_accepts<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let (config, connector) = pair();
        let listener = TlsListener::bind(at(SERVER_V4, 443), config).await;
        let mut listener = listener.unwrap();
        let thread = std::thread::spawn(move || {
            async_io::block_on(async {
                let (mut stream, _) = listener.accept().await?;
                let mut got = [0; 5];
                stream.read_exact(&mut got).await?;
                stream.write_all(&got).await?;
                stream.shutdown().await?;
                // Until the client has gone: the thread's end is the connection's.
                while stream.read(&mut got).await? > 0 {}
                Ok::<_, Error>(())
            })
        });
        let stream = connect(&net, SERVER_V4, 443).await;
        ask(&connector, stream, b"hello").await;
        while !thread.is_finished() {
            dpdk_net::time::sleep(Duration::from_millis(1)).await;
        }
        thread.join().unwrap().unwrap();
    });
}
