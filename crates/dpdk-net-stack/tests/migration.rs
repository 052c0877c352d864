//! Connections that move between workers in the midst of everything: every byte arrives, in its order.

mod common;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::workers::Service;
use common::*;
use dpdk_net_packet::{FiveTuple, Network, Protocol, Transport, parse};
use dpdk_net_stack::{
    Duration, Error, Event, Keepalive, ListPlace, ListenOptions, Readiness, Stack, Steering,
    SteeringTable, TcpId, TcpOption, TcpParcel, TcpState, TraceBudget, TraceData, TraceEnd,
    TraceFilter, TxBuffer, TxMemory,
};
use proptest::prelude::*;

fn flow_of(frame: &[u8]) -> Option<FiveTuple> {
    let Network::Ip(ip, Transport::Tcp(segment)) = parse(frame).ok()?.network else {
        return None;
    };
    Some(FiveTuple {
        protocol: Protocol::Tcp,
        src: (ip.src(), segment.src_port()).into(),
        dst: (ip.dst(), segment.dst_port()).into(),
    })
}

fn random(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Two workers behind a switch that sends frames to the owner of their flow, but errs so often in a hundred.
fn service(errs: u64, loss: u64, seed: u64) -> Service {
    let mut service = Service::with(2, SteeringTable::new(&[9; 32], 64, 16), |config| {
        config.tcp.time_wait = Duration::from_secs(1);
    });
    let steering = service.steering.clone();
    let mut state = seed;
    service.rss = Box::new(move |frame| {
        let owner = flow_of(frame).and_then(|flow| steering.owner(&flow));
        let errs = random(&mut state) % 100 < errs;
        usize::from(owner.unwrap_or(0)) ^ usize::from(errs)
    });
    let mut state = seed ^ 0x5555;
    service.loss = Box::new(move |_, _| random(&mut state) % 100 >= loss);
    service
}

/// A connection of the peer to worker 0.
fn establish(service: &mut Service, family: Family) -> (TcpId, TcpId) {
    let options = ListenOptions::new(family.any(PORT));
    let listener = service.workers[0].tcp_listen(options).unwrap();
    let (now, to) = (service.now, family.at(1, PORT));
    let peer = service.peer.tcp_connect(now, None, to).unwrap();
    let mut accepted = None;
    service.run_until(Duration::from_secs(30), "accept", |service| {
        accepted = service.workers[0].tcp_accept(listener).ok();
        accepted.is_some()
    });
    (peer, accepted.unwrap().0)
}

fn export(service: &mut Service, from: usize, id: TcpId) -> Box<TcpParcel> {
    let to = 1 - from as u16;
    let parcel = service.workers[from]
        .tcp_export(service.now, id, to)
        .unwrap();
    assert_eq!(service.workers[from].tcp_state(id), TcpState::Closed);
    parcel
}

fn import(service: &mut Service, to: usize, parcel: Box<TcpParcel>) -> TcpId {
    service.workers[to].tcp_import(service.now, parcel).unwrap()
}

/// One end: what it writes, and what it has read.
#[derive(Default)]
struct End {
    data: Vec<u8>,
    sent: usize,
    shut: bool,
    got: Vec<u8>,
    ended: bool,
}

impl End {
    fn new(data: Vec<u8>) -> Self {
        End {
            data,
            ..End::default()
        }
    }

    /// Writes and reads a little, so that there is something in all buffers for many moves.
    fn poll(&mut self, stack: &mut Stack, id: TcpId) {
        let next = &self.data[self.sent..self.data.len().min(self.sent + 4_000)];
        if !next.is_empty() {
            match stack.tcp_send(id, next) {
                Ok(n) => self.sent += n,
                Err(Error::WouldBlock) => {}
                Err(error) => panic!("send: {error}"),
            }
        }
        if self.sent == self.data.len() && !self.shut {
            stack.tcp_shutdown_write(id).unwrap();
            self.shut = true;
        }
        let mut buf = [0; 4_000];
        match stack.tcp_recv(id, &mut buf) {
            Ok(0) => self.ended = true,
            Ok(n) => self.got.extend_from_slice(&buf[..n]),
            Err(Error::WouldBlock) => {}
            Err(error) => panic!("receive after {} bytes: {error}", self.got.len()),
        }
    }
}

#[derive(Debug)]
struct Case {
    family: Family,
    errs: u64,
    loss: u64,
    seed: u64,
    /// Time between moves, and that a parcel is under way, in microseconds.
    every: u64,
    under_way: u64,
    lens: [usize; 2],
}

/// Both ends send, and the worker's end moves from one to the other and back all the time.
fn transfer(case: &Case) -> (Service, usize) {
    let mut service = service(case.errs, case.loss, case.seed);
    let (peer, mut id) = establish(&mut service, case.family);
    let mut worker = 0;
    let mut ends = case.lens.map(|len| End::new(pattern(len)));
    let mut parcel: Option<Box<TcpParcel>> = None;
    let mut next = service.now + Duration::from_micros(case.every);
    let mut moves = 0;
    let limit = service.now + Duration::from_secs(600);
    loop {
        let now = service.now;
        if now >= next {
            let state = service.workers[worker].tcp_state(id);
            if let Some(arrived) = parcel.take() {
                id = import(&mut service, worker, arrived);
                next = now + Duration::from_micros(case.every);
            } else if !matches!(state, TcpState::TimeWait | TcpState::Closed) {
                let sent = export(&mut service, worker, id);
                (worker, moves) = (1 - worker, moves + 1);
                if case.under_way == 0 {
                    id = import(&mut service, worker, sent);
                    next = now + Duration::from_micros(case.every);
                } else {
                    parcel = Some(sent);
                    next = now + Duration::from_micros(case.under_way);
                }
            }
        }
        ends[0].poll(&mut service.peer, peer);
        if parcel.is_none() {
            ends[1].poll(&mut service.workers[worker], id);
        }
        if ends.iter().all(|end| end.ended) {
            break;
        }
        assert!(
            now < limit,
            "{case:?}: {} and {} bytes came",
            ends[0].got.len(),
            ends[1].got.len()
        );
        service.run(Duration::from_micros(100));
    }
    assert!(
        ends[0].got == ends[1].data && ends[1].got == ends[0].data,
        "not what was sent"
    );
    if let Some(parcel) = parcel {
        id = import(&mut service, worker, parcel);
    }
    service.workers[worker].tcp_close(service.now, id);
    let now = service.now;
    service.peer.tcp_close(now, peer);
    service.run(Duration::from_secs(120));
    assert_eq!(service.steering.flows(), 0);
    let of_workers = |of: fn(&Stack) -> u64| service.workers.iter().map(of).sum::<u64>();
    // A worker whose connection is over resets what still comes of it, to no effect.
    assert_eq!(of_workers(|stack| stack.stats().tcp.rx_resets), 0);
    assert_eq!(service.peer.stats().tcp.rx_resets, 0);
    let exported = of_workers(|stack| stack.stats().tcp.exported);
    assert_eq!(exported, of_workers(|stack| stack.stats().tcp.imported));
    assert!(service.workers.iter().all(|stack| stack.tcp_count() == 0));
    (service, moves)
}

both_families! {
    fn a_connection_moves_back_and_forth_and_every_byte_arrives(family) {
        let case = Case {
            family, errs: 0, loss: 1, seed: 7, every: 3_000, under_way: 200, lens: [3_000_000; 2],
        };
        let (service, moves) = transfer(&case);
        assert!(moves > 20, "{moves}");
        assert!(service.handed < 500, "{}", service.handed);
    }

    fn the_same_behind_a_switch_that_errs_every_other_time(family) {
        let case = Case {
            family, errs: 50, loss: 1, seed: 8, every: 3_000, under_way: 200, lens: [3_000_000; 2],
        };
        let (service, moves) = transfer(&case);
        assert!(moves > 20, "{moves}");
        assert!(service.handed > 1_000, "{}", service.handed);
    }

    fn a_move_that_takes_no_time_costs_no_segment(family) {
        let case = Case {
            family, errs: 0, loss: 0, seed: 9, every: 100, under_way: 0, lens: [2_000_000; 2],
        };
        let (service, moves) = transfer(&case);
        assert!(moves > 10, "{moves}");
        let stats = service.workers.iter().chain([&service.peer]).map(Stack::stats);
        let again: Vec<_> = stats.map(|stats| stats.tcp.retransmits).collect();
        assert_eq!(again, [0; 3]);
    }

    fn nothing_is_sent_while_it_is_under_way_and_its_deadlines_go_on(family) {
        let mut service = service(0, 0, 1);
        let (peer, id) = establish(&mut service, family);
        let times = Keepalive {
            idle: Duration::from_secs(10),
            interval: Duration::from_secs(1),
            count: 3,
        };
        service.workers[0].tcp_set_option(id, TcpOption::Keepalive(Some(times))).unwrap();
        service.workers[0].tcp_set_option(id, TcpOption::Ttl(33)).unwrap();
        service.workers[0].tcp_send(id, b"before").unwrap();
        let parcel = export(&mut service, 0, id);
        assert_eq!((parcel.worker(), parcel.local()), (1, Some(family.at(1, PORT))));
        service.sent.clear();
        let now = service.now;
        service.peer.tcp_send(peer, b"meanwhile").unwrap();
        service.run(Duration::from_secs(1));
        let segments = service.sent.iter().filter(|(_, frame)| flow_of(frame).is_some());
        assert_eq!(segments.count(), 0);
        assert_eq!(service.peer.tcp_recv(peer, &mut [0; 9]), Err(Error::WouldBlock));
        let dropped: u64 = service.workers.iter().map(|stack| stack.stats().tcp.strays_dropped).sum();
        assert!(dropped > 0);
        let id = import(&mut service, 1, parcel);
        let options = service.workers[1].tcp_options(id).unwrap();
        assert_eq!((options.keepalive, options.ttl), (Some(times), Some(33)));
        service.run(Duration::from_secs(2));
        let mut buf = [0; 9];
        assert_eq!(service.peer.tcp_recv(peer, &mut buf), Ok(6));
        assert_eq!(service.workers[1].tcp_recv(id, &mut buf), Ok(9));
        assert_eq!(&buf, b"meanwhile");
        // The peer falls silent: what keeps it alive moves along.
        service.loss = Box::new(|_, _| false);
        service.run_until(Duration::from_secs(9), "move", |service| service.now - now > Duration::from_secs(8));
        let parcel = export(&mut service, 1, id);
        let id = import(&mut service, 0, parcel);
        service.run(Duration::from_secs(10));
        assert_eq!(service.workers[0].tcp_take_error(id), Some(Error::TimedOut));
        assert_eq!(service.steering.flows(), 0);
    }

    fn what_can_not_move_says_why_and_stays(family) {
        let mut service = service(0, 0, 1);
        let (peer, id) = establish(&mut service, family);
        let now = service.now;
        let to_nobody = service.workers[0].tcp_export(now, id, 128);
        assert!(matches!(to_nobody, Err(Error::InvalidInput(_))));
        let connecting = service.workers[1].tcp_connect(now, None, family.at(2, 9)).unwrap();
        let refused = service.workers[1].tcp_export(now, connecting, 0);
        assert!(matches!(refused, Err(Error::InvalidInput(_))));
        service.run(Duration::from_millis(10));
        let over = service.workers[1].tcp_export(now, connecting, 0);
        assert!(matches!(over, Err(Error::NotConnected)));
        // Another's address, and a tuple that is taken.
        let stale = id;
        let parcel = export(&mut service, 0, id);
        let refused = service.peer.tcp_import(now, parcel).unwrap_err();
        assert_eq!(refused.error, Error::AddrNotAvailable);
        assert!(refused.to_string().contains("local address"));
        let id = import(&mut service, 0, refused.parcel);
        // Closing ones can, up to TIME-WAIT.
        service.workers[0].tcp_shutdown_write(id).unwrap();
        let parcel = export(&mut service, 0, id);
        let id = import(&mut service, 1, parcel);
        service.run(Duration::from_millis(10));
        assert_eq!(service.workers[1].tcp_state(id), TcpState::FinWait2);
        let parcel = export(&mut service, 1, id);
        let id = import(&mut service, 0, parcel);
        let now = service.now;
        service.peer.tcp_close(now, peer);
        service.run(Duration::from_millis(10));
        assert_eq!(service.workers[0].tcp_state(id), TcpState::TimeWait);
        let refused = service.workers[0].tcp_export(service.now, id, 1);
        assert!(matches!(refused, Err(Error::InvalidInput(_))));
        let gone = service.workers[0].tcp_export(now, stale, 1);
        assert!(matches!(gone, Err(Error::UnknownSocket)));
        let now = service.now;
        service.workers[0].tcp_close(now, id);
        service.run(Duration::from_secs(2));
        assert_eq!(service.steering.flows(), 0);
    }

    fn limits_hold_and_a_parcel_that_is_dropped_leaves_nothing(family) {
        let mut service = Service::with(2, SteeringTable::new(&[9; 32], 64, 16), |config| {
            if config.mac == mac(1) {
                config.tcp.max_connections = 2;
            }
        });
        let listener = service.peer.tcp_listen(ListenOptions::new(family.any(PORT))).unwrap();
        let (now, to) = (service.now, family.at(2, PORT));
        let mut connect = |worker: usize| service.workers[worker].tcp_connect(now, None, to).unwrap();
        let ids = [connect(1), connect(1), connect(0)];
        service.run(Duration::from_secs(1));
        let parcel = service.workers[0].tcp_export(now, ids[2], 1).unwrap();
        let refused = service.workers[1].tcp_import(now, parcel).unwrap_err();
        assert_eq!(refused.error, Error::NoBufferSpace);
        service.workers[1].tcp_abort(ids[0]);
        let id = service.workers[1].tcp_import(now, refused.parcel).unwrap();
        assert_eq!(service.steering.flows(), 2);
        let parcel = service.workers[1].tcp_export(now, id, 0).unwrap();
        let flows = service.steering.flows();
        drop(parcel);
        assert_eq!((flows, service.steering.flows()), (2, 1));
        // The peer learns of it when it sends something, as it learns that the other one was aborted.
        let peers: Vec<_> = std::iter::from_fn(|| service.peer.tcp_accept(listener).ok()).collect();
        for (peer, _) in &peers {
            service.peer.tcp_send(*peer, b"x").unwrap();
        }
        service.run(Duration::from_secs(1));
        let errors = peers.iter().filter_map(|(id, _)| service.peer.tcp_take_error(*id));
        assert!(errors.eq([Error::ConnectionReset, Error::ConnectionReset]));
    }

    fn readiness_is_told_by_the_stack_that_it_has_come_to(family) {
        let mut service = service(0, 0, 1);
        let (peer, id) = establish(&mut service, family);
        service.peer.tcp_send(peer, b"x").unwrap();
        service.run(Duration::from_millis(10));
        let parcel = export(&mut service, 0, id);
        let id = import(&mut service, 1, parcel);
        let mut ready = Readiness::empty();
        while let Some(event) = service.workers[1].poll_event() {
            match event {
                Event::Tcp(of, more) if of == id => ready |= more,
                other => panic!("{other:?}"),
            }
        }
        assert!(ready.contains(Readiness::READABLE | Readiness::WRITABLE));
    }
}

/// Memory of a sink that counts its buffers.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

#[derive(Debug)]
struct Buffer(Vec<u8>, Arc<AtomicUsize>);

impl TxMemory for Counted {
    fn alloc(&mut self) -> Option<Box<dyn TxBuffer>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Box::new(Buffer(Vec::new(), self.0.clone())))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl TxBuffer for Buffer {
    fn as_slice(&self) -> &[u8] {
        &self.0
    }
    fn room(&self) -> usize {
        2_000 - self.0.len()
    }
    fn append(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.room());
        self.0.extend_from_slice(&data[..n]);
        n
    }
    fn held_bytes(&self) -> usize {
        2_000
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[test]
fn memory_of_the_old_stack_s_sink_stays_with_it() {
    let mut service = service(0, 0, 1);
    let (peer, id) = establish(&mut service, Family::V4);
    let buffers = Arc::new(AtomicUsize::new(0));
    service.workers[0].set_tx_memory(Box::new(Counted(buffers.clone())));
    let data = pattern(50_000);
    assert_eq!(service.workers[0].tcp_send(id, &data), Ok(data.len()));
    // Some of it is acknowledged, in the midst of a buffer.
    service.run_until(Duration::from_secs(1), "some", |service| {
        service.peer.tcp_recv_queue(peer) > 5_000
    });
    assert!(buffers.load(Ordering::Relaxed) > 5);
    let parcel = export(&mut service, 0, id);
    assert_eq!(buffers.load(Ordering::Relaxed), 0);
    let id = import(&mut service, 1, parcel);
    let more = pattern(30_000);
    let mut sent = 0;
    let mut got = Vec::new();
    service.run_until(Duration::from_secs(10), "all", |service| {
        if let Ok(n) = service.workers[1].tcp_send(id, &more[sent..]) {
            sent += n;
        }
        let mut buf = [0; 4_096];
        while let Ok(n) = service.peer.tcp_recv(peer, &mut buf) {
            got.extend_from_slice(&buf[..n]);
        }
        got.len() == data.len() + more.len()
    });
    assert!(got == [data, more].concat());
}

proptest! {
    // Made smaller a case takes as long again, and says no more.
    #![proptest_config(ProptestConfig {
        cases: 24,
        max_shrink_iters: 0,
        ..ProptestConfig::default()
    })]
    #[test]
    fn every_byte_arrives_however_it_moves(
        v6: bool,
        errs in prop_oneof![Just(0u64), Just(50), 0u64..100],
        loss in 0u64..5,
        seed: u64,
        every in 300u64..4_000,
        under_way in prop_oneof![Just(0u64), 0u64..25],
        a in 1usize..400_000,
        b in 1usize..400_000,
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        // What comes while it is under way is lost: were it so most of the time, timeouts would rule.
        let under_way = every * under_way / 100;
        let (_, moves) = transfer(&Case { family, errs, loss, seed, every, under_way, lens: [a, b] });
        prop_assert!(moves as u64 >= a.max(b) as u64 / 4_000 * 100 / (every + under_way + 400));
    }
}

#[test]
fn a_trace_ends_where_its_connection_leaves_and_another_begins_where_it_is_waited_for() {
    let mut service = service(0, 0, 1);
    let (_, id) = establish(&mut service, Family::V4);
    let budget = TraceBudget::new(2);
    let watch = service.workers[1]
        .tcp_trace_new(TraceFilter::any(), budget.clone(), 100)
        .unwrap();
    let (any, looks) = (TraceFilter::any(), 100);
    let present = service.workers[0].tcp_trace_present(&any, &budget, 100, ListPlace::START, looks);
    let old = present.begun[0];
    let ends = service.workers[0].tcp_trace_ends(old).unwrap();
    let parcel = export(&mut service, 0, id);
    let id = import(&mut service, 1, parcel);
    let mut events = Vec::new();
    assert!(
        !service.workers[0].tcp_trace_take(old, &mut events),
        "it is over"
    );
    let last = events.pop().unwrap().data;
    assert_eq!(last, TraceData::Ended(TraceEnd::Migrated(1)));

    let new = service.workers[1].tcp_trace_begun(watch).unwrap();
    assert_eq!(service.workers[1].tcp_trace_ends(new), Some(ends));
    assert!(matches!(
        service.workers[1].tcp_trace(id, 100),
        Err(Error::AddrInUse)
    ));
    assert!(service.workers[1].tcp_trace_take(new, &mut events));
    assert!(matches!(events[0].data, TraceData::Started(_)));
    assert_eq!(budget.left(), 0);
    assert!(service.workers[1].tcp_trace_take(new, &mut events) && events.is_empty());
    let rest = service.workers[1].tcp_trace_stop(new);
    assert_eq!(rest.len(), 1, "{rest:?}");
    assert_eq!(rest[0].data, TraceData::Ended(TraceEnd::Stopped));
    assert!(
        service.workers[1].tcp_trace(id, 100).is_ok(),
        "there is none any more"
    );
}

#[test]
fn a_worker_has_so_many_orders_for_traces_and_no_more() {
    let mut service = service(0, 0, 1);
    let (_, id) = establish(&mut service, Family::V6);
    let stack = &mut service.workers[0];
    let order = |stack: &mut Stack| stack.tcp_trace_new(TraceFilter::any(), TraceBudget::new(1), 1);
    let orders: Vec<_> = (0..16).map(|_| order(stack).unwrap()).collect();
    assert_eq!(order(stack), Err(Error::NoBufferSpace));
    for it in orders {
        assert!(stack.tcp_trace_watch_stop(it).is_empty());
    }
    assert!(order(stack).is_ok());
    assert!(stack.tcp_trace(id, 1).is_ok());
    assert_eq!(stack.tcp_trace(id, 1), Err(Error::AddrInUse));
    assert_eq!(
        stack.tcp_trace(TcpId::default(), 1),
        Err(Error::UnknownSocket)
    );
}
