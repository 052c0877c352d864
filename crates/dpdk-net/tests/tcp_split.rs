//! The halves of a connection.

mod common;

use std::time::Duration;

use common::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn borrowed_halves_work_at_the_same_time() {
    run(|net| async move {
        let (mut client, mut server) = connected(&net, SERVER_V4).await;
        server.write_all(b"down").await.unwrap();
        let (mut rx, mut tx) = client.split();
        let mut got = [0; 4];
        let (read, written) = tokio::join!(rx.read_exact(&mut got), tx.write_all(b"up"));
        read.unwrap();
        written.unwrap();
        assert_eq!(&got, b"down");
        assert_eq!(rx.peer_addr().unwrap(), tx.peer_addr().unwrap());
        let mut up = [0; 2];
        server.read_exact(&mut up).await.unwrap();
        assert_eq!(&up, b"up");
    });
}

#[test]
fn dropping_the_owned_write_half_ends_the_stream_and_forgetting_it_does_not() {
    run(|net| async move {
        let (client, mut server) = connected(&net, SERVER_V6).await;
        let (mut rx, tx) = client.into_split();
        drop(tx);
        assert_eq!(server.read(&mut [0; 1]).await.unwrap(), 0);
        server.write_all(b"still").await.unwrap();
        let mut got = [0; 5];
        rx.read_exact(&mut got).await.unwrap();

        let (client, mut server) = connected(&net, SERVER_V6).await;
        let (_rx, tx) = client.into_split();
        tx.forget();
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_millis(10), server.read(&mut byte));
        assert!(read.await.is_err(), "no end of stream");
    });
}

#[test]
fn owned_halves_are_reunited_with_their_own_kind_only() {
    run(|net| async move {
        let (first, mut first_peer) = connected(&net, SERVER_V4).await;
        let (second, _second_peer) = connected(&net, SERVER_V4).await;
        let (rx1, tx1) = first.into_split();
        let (rx2, tx2) = second.into_split();
        let error = rx1.reunite(tx2).unwrap_err();
        assert!(error.to_string().contains("not from the same stream"));
        let (rx1, _tx2) = (error.0, error.1);
        let _ = rx2;
        let mut stream = tx1.reunite(rx1).unwrap();
        stream.write_all(b"whole").await.unwrap();
        let mut got = [0; 5];
        first_peer.read_exact(&mut got).await.unwrap();
        let read = tokio::time::timeout(Duration::from_millis(5), first_peer.read_u8());
        assert!(
            read.await.is_err(),
            "reuniting did not shut down the write side"
        );
    });
}

#[test]
fn owned_halves_work_in_two_tasks_with_a_bulk_in_each_direction() {
    run(|net| async move {
        let (client, server) = connected(&net, SERVER_V6).await;
        let sent = pattern(2 << 20);
        let mut tasks = tokio::task::JoinSet::new();
        for stream in [client, server] {
            let (mut rx, mut tx) = stream.into_split();
            let data = sent.clone();
            tasks.spawn(async move {
                tx.write_all(&data).await.unwrap();
                Vec::new()
            });
            tasks.spawn(async move {
                let mut all = Vec::new();
                rx.read_to_end(&mut all).await.unwrap();
                all
            });
        }
        let results = tasks.join_all().await;
        assert_eq!(results.iter().filter(|all| **all == sent).count(), 2);
    });
}
