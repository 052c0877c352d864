//! What goes over a connection, the same whosever socket it is: so many bytes each way at once, each of them compared.

use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes each way of a connection.
pub(crate) const BYTES: usize = 1_000_003;

/// Which end of a connection sends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum From {
    Client,
    Server,
}

/// What an end sends on the connection of this number.
fn data(number: u8, from: From) -> Vec<u8> {
    let salt = usize::from(number) * 2 + usize::from(from == From::Server);
    let byte = |at: usize| (at * 31 + (at >> 8) * 7 + (at >> 16) + salt * 101) as u8;
    (0..BYTES).map(byte).collect()
}

/// The end that connected.
pub(crate) async fn as_client<S: AsyncRead + AsyncWrite>(stream: S, number: u8) {
    let (rx, mut tx) = tokio::io::split(stream);
    tx.write_u8(number).await.unwrap();
    both_ways(rx, tx, number, From::Client).await;
}

/// The end that accepted.
pub(crate) async fn as_server<S: AsyncRead + AsyncWrite>(stream: S) {
    let (mut rx, tx) = tokio::io::split(stream);
    let number = rx.read_u8().await.unwrap();
    both_ways(rx, tx, number, From::Server).await;
}

async fn both_ways(
    mut rx: impl AsyncRead + Unpin,
    mut tx: impl AsyncWrite + Unpin,
    number: u8,
    from: From,
) {
    let (other, mine) = match from {
        From::Client => (From::Server, From::Client),
        From::Server => (From::Client, From::Server),
    };
    let sending = async {
        let data = data(number, mine);
        // Of an odd length, and gone before the rest is written: from here on payload lies at odd offsets of its memory.
        let (first, rest) = data.split_at(777);
        tx.write_all(first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
        tx.write_all(rest).await.unwrap();
        tx.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut got = Vec::with_capacity(BYTES);
        rx.read_to_end(&mut got).await.unwrap();
        assert!(got == data(number, other), "to {mine:?} {number}");
    };
    tokio::join!(sending, receiving);
}

/// Lengths of datagrams that an MTU of 1500 takes in both families, odd ones among them.
pub(crate) fn datagrams() -> impl Iterator<Item = Vec<u8>> {
    let lengths = [0, 1, 7, 64, 511, 1_000, 1_001, 1_452];
    (0..).zip(lengths).map(|(n, length)| vec![n ^ 0x5a; length])
}

/// `future`'s output; a panic if it takes longer than a transfer may.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(Duration::from_secs(60), future);
    done.await.expect("it ends in time")
}
