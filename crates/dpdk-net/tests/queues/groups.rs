//! Groups that one worker has joined and another one reports.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dpdk_net::net::UdpSocket;
use dpdk_net::rte::port::TxCapabilities;
use dpdk_net::rte::queue::TxPrepareError;
use dpdk_net::rte::{TxBatch, ring};
use dpdk_net::{BURST, Handle, Reactor, Transmit};

use super::bed::side;
use super::common::eal;
use super::wire::Spreading;

/// Notes what is sent, and keeps it.
struct Recorder(Arc<Mutex<Vec<Vec<u8>>>>);

impl Transmit for Recorder {
    fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        let mut sent = 0;
        for packet in batch.drain() {
            let frame = packet.segments().flatten().copied().collect();
            self.0.lock().unwrap().push(frame);
            sent += 1;
        }
        sent
    }

    fn prepare(&mut self, _: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        Ok(())
    }

    fn capabilities(&self) -> TxCapabilities {
        TxCapabilities::NONE
    }
}

fn group(n: u16) -> Ipv4Addr {
    let [high, low] = n.to_be_bytes();
    Ipv4Addr::new(239, 7, high, low)
}

/// A socket of a worker that has joined these groups.
async fn member(handle: &Handle, groups: std::ops::Range<u16>) -> UdpSocket {
    let any = (Ipv4Addr::UNSPECIFIED, 0);
    let socket = handle.scope(UdpSocket::bind(any)).await.unwrap();
    for n in groups {
        socket
            .join_multicast_v4(group(n), Ipv4Addr::UNSPECIFIED)
            .unwrap();
    }
    socket
}

#[test]
fn more_groups_than_a_mailbox_holds_are_all_reported_in_the_end() {
    const GROUPS: u16 = 960;
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["ours", "theirs"], 2, 8_192).unwrap();
    let ours = side(&eal, rings.ids()[0], 1, 2, Spreading::Rss);
    let sent = Arc::new(Mutex::new(Vec::new()));
    let reactors = ours.workers.into_iter().map(|config| {
        let sent = sent.clone();
        Reactor::new(config.interpose(move |_| Box::new(Recorder(sent)))).unwrap()
    });
    let [mut reports, mut joins] = <[Reactor; 2]>::try_from(Vec::from_iter(reactors)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let handle = joins.handle();
    // The one that reports stands still meanwhile.
    let last = runtime.block_on(async {
        let mut members = Vec::new();
        for first in (0..GROUPS).step_by(60) {
            members.push(member(&handle, first..first + 60).await);
        }
        joins.turn();
        drop(members);
        joins.turn();
        let last = member(&handle, 60_000..60_001).await;
        joins.turn();
        last
    });
    let mentions = |n: u16| {
        let octets = group(n).octets();
        let sent = sent.lock().unwrap();
        sent.iter()
            .any(|frame| frame.windows(4).any(|it| it == octets))
    };
    let end = Instant::now() + Duration::from_secs(60);
    while !mentions(60_000) {
        assert!(Instant::now() < end, "the last group is never reported");
        reports.turn();
        joins.turn();
    }
    // That the others were left was told before.
    assert!((0..GROUPS).all(mentions));
    let dropped = [&reports, &joins].map(|it| it.handle().stats().worker.news_dropped);
    assert_eq!(dropped, [0, 0]);
    drop((last, reports, joins));
    ours.wire.queues.lock().unwrap().clear();
}
