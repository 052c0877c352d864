//! Traces of connections against the wire that they ran over: each segment with data is in one of them, and nothing else is.

use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_packet::{IpPacket, ethernet, tcp::Segment};
use dpdk_net_stack::{
    CloseReason, ListPlace, Stack, TcpInfo, TcpState, TraceBudget, TraceData, TraceEnd, TraceEvent,
    TraceFilter, TraceId, TraceMetrics, TraceTimer,
};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, Pattern};
use dpdk_net_testkit::hosts::StackHost;
use dpdk_net_testkit::sim::{Direction, HostId, LinkConfig, Pair, seeds};

const PORT: u16 = 7000;
const BYTES: u64 = 300_000;
const LIMIT: Duration = Duration::from_secs(3600);
const ALL: usize = 65_536;

/// A transfer from the client to the server, both traced; what the wire saw is kept.
struct Traced {
    net: Pair,
    client: Vec<TraceEvent>,
    server: Vec<TraceEvent>,
}

fn stack(net: &mut Pair, host: HostId) -> &mut Stack {
    net.host_mut::<StackHost>(host).stack_mut()
}

fn watch(stack: &mut Stack, events: usize) -> impl Fn(&mut Stack) -> Option<TraceId> + use<> {
    let watch = stack
        .tcp_trace_new(TraceFilter::any(), TraceBudget::new(1), events)
        .unwrap();
    move |stack| stack.tcp_trace_begun(watch)
}

fn wire() -> LinkConfig {
    LinkConfig::delay(Duration::from_millis(5)).with_rate(20_000_000, 64)
}

fn transfer(link: LinkConfig, seed: u64, bytes: u64, events: usize) -> Traced {
    let (client, server) = (StackHost::new(1, seed), StackHost::new(2, !seed));
    let back = link.clone();
    let mut net = Pair::new(seed, client, server, link, back);
    net.keep_trace(100_000);
    let hosts = [net.client, net.server];
    let begun = hosts.map(|host| watch(stack(&mut net, host), events));
    let pattern = Pattern::new(seed);
    let to = Family::V4.socket(2, PORT);
    let (from, into) = (net.client, net.server);
    net.spawn(into, Bulk::listen(to).receiving(pattern, bytes));
    net.spawn(from, Bulk::connect(to).sending(pattern, bytes));
    net.drive_apps(LIMIT).unwrap();
    net.drive_for(Duration::from_secs(5)).unwrap();
    let mut taken = hosts.iter().zip(begun).map(|(&host, begun)| {
        let stack = stack(&mut net, host);
        let trace = begun(stack).expect("it was traced");
        assert!(begun(stack).is_none());
        let mut events = Vec::new();
        assert!(!stack.tcp_trace_take(trace, &mut events), "it is over");
        assert!(!stack.tcp_trace_take(trace, &mut Vec::new()), "it is gone");
        events
    });
    let (client, server) = (taken.next().unwrap(), taken.next().unwrap());
    drop(taken);
    Traced {
        net,
        client,
        server,
    }
}

/// A segment with data, or a FIN: when, where it starts, bytes of data, flags.
type Seen = (u64, u32, usize, bool);

/// Those that a host has put on its link, or got from it.
fn on_the_wire(net: &Pair, host: HostId, direction: Direction) -> Vec<Seen> {
    let entries = net.trace().entries();
    let of_host = entries.filter(|entry| entry.host == host && entry.direction == direction);
    of_host
        .filter_map(|entry| {
            let (_, rest) = entry.frame.split_at(ethernet::HEADER_LEN);
            let ip = IpPacket::parse(rest).ok()?;
            let segment = Segment::parse(ip.payload()).ok()?;
            let (len, fin) = (segment.payload().len(), segment.flags().fin());
            (len > 0 || fin).then_some((entry.at.as_nanos(), segment.seq(), len, fin))
        })
        .collect()
}

fn sent(events: &[TraceEvent]) -> Vec<Seen> {
    let segments = events.iter().filter_map(|event| match &event.data {
        TraceData::Sent(segment) => Some((event.at.as_nanos(), segment)),
        _ => None,
    });
    let mut all = Vec::new();
    for (at, segment) in segments {
        let fin = segment.flags & 1 != 0;
        let each = segment.segment_len.map_or(segment.len, u32::from).max(1);
        let mut done = 0;
        while done < segment.len {
            let len = each.min(segment.len - done);
            let last = done + len == segment.len;
            all.push((
                at,
                segment.seq.wrapping_add(done),
                len as usize,
                fin && last,
            ));
            done += len;
        }
        if segment.len == 0 && fin {
            all.push((at, segment.seq, 0, true));
        }
    }
    all
}

fn metrics(events: &[TraceEvent]) -> impl Iterator<Item = TraceMetrics> + '_ {
    events.iter().filter_map(|event| match &event.data {
        TraceData::Metrics(metrics) => Some(*metrics),
        _ => None,
    })
}

fn count(events: &[TraceEvent], which: impl Fn(&TraceData) -> bool) -> usize {
    events.iter().filter(|event| which(&event.data)).count()
}

#[test]
fn each_segment_on_the_wire_is_a_sent_event_and_each_event_is_on_the_wire() {
    for seed in seeds(&[1, 2, 3]) {
        for link in [
            wire(),
            wire().with_loss(0.02),
            wire().with_reordering(0.02, Duration::from_millis(3)),
        ] {
            let traced = transfer(link, seed, BYTES, ALL);
            for (host, events) in [
                (traced.net.client, &traced.client),
                (traced.net.server, &traced.server),
            ] {
                let wire = on_the_wire(&traced.net, host, Direction::Sent);
                assert_eq!(sent(events), wire, "host {host:?}, seed {seed}");
            }
        }
    }
}

#[test]
fn what_was_sent_before_is_marked_so_and_was_told_as_lost_or_probed_for() {
    let mut losses = 0;
    for seed in seeds(&[1, 2, 3, 4]) {
        let traced = transfer(wire().with_loss(0.03), seed, BYTES, ALL);
        let mut seen = std::collections::BTreeSet::new();
        let mut lost: Vec<(u32, u32)> = Vec::new();
        let mut probing = false;
        for event in &traced.client {
            match &event.data {
                TraceData::Lost { start, end } => {
                    assert!(start < end);
                    lost.push((*start, *end));
                    losses += 1;
                }
                TraceData::Timer(timer) => probing |= *timer == TraceTimer::TailLossProbe,
                TraceData::Sent(segment) if segment.len > 0 => {
                    for (_, seq, _, _) in sent(std::slice::from_ref(event)) {
                        let known = !seen.insert(seq);
                        assert_eq!(segment.again, known, "{segment:?}, seed {seed}");
                    }
                    if segment.again && !std::mem::take(&mut probing) {
                        let told =
                            |&(start, end): &(u32, u32)| start <= segment.seq && segment.seq < end;
                        assert!(lost.iter().any(told), "{segment:?}, seed {seed}");
                    }
                }
                _ => {}
            }
        }
    }
    assert!(losses > 10, "the wire was too good");
}

#[test]
fn its_figures_are_those_that_the_connection_tells() {
    let link = wire().with_loss(0.02);
    let (client, server) = (StackHost::new(1, 7), StackHost::new(2, 8));
    let back = link.clone();
    let mut net = Pair::new(7, client, server, link, back);
    let host = net.client;
    let begun = watch(stack(&mut net, host), ALL);
    let pattern = Pattern::new(7);
    let to: SocketAddr = Family::V6.socket(2, PORT);
    let into = net.server;
    net.spawn(into, Bulk::listen(to).receiving(pattern, 1 << 20));
    net.spawn(host, Bulk::connect(to).sending(pattern, 1 << 20));
    net.drive_for(Duration::from_millis(100)).unwrap();
    let trace = begun(stack(&mut net, host)).unwrap();
    let (mut events, mut last) = (Vec::new(), None);
    let (mut bytes, mut again, mut acked, mut looks) = (0, 0, None, 0);
    for _ in 0..300 {
        net.drive_for(Duration::from_millis(10)).unwrap();
        let stack = stack(&mut net, host);
        let (id, _) = stack.tcp_connections_by_id()[0];
        // Until the application has let go of it.
        let Ok(info): Result<TcpInfo, _> = stack.tcp_info(id) else {
            break;
        };
        if !stack.tcp_trace_take(trace, &mut events) {
            break;
        }
        looks += 1;
        last = metrics(&events).last().or(last);
        for event in &events {
            match &event.data {
                TraceData::Sent(segment) => {
                    bytes += u64::from(segment.len);
                    again += if segment.again {
                        u64::from(segment.len)
                    } else {
                        0
                    };
                }
                TraceData::Received(segment) => acked = acked.max(Some(segment.ack)),
                _ => {}
            }
        }
        let last = last.unwrap();
        assert_eq!(
            (last.cwnd, last.snd_wnd, last.rcv_wnd),
            (info.snd_cwnd, info.snd_wnd, info.rcv_wnd)
        );
        assert_eq!(last.ssthresh, info.snd_ssthresh.unwrap_or(u32::MAX));
        assert_eq!(u128::from(last.srtt), info.rtt.as_micros());
        assert_eq!(u128::from(last.min_rtt), info.min_rtt.as_micros());
        assert_eq!((last.lost, last.unsent), (info.lost, info.notsent_bytes));
        assert_eq!((bytes, again), (info.bytes_sent, info.bytes_retrans));
    }
    assert!(looks > 20 && again > 0);
}

#[test]
fn it_begins_with_the_connection_and_ends_with_it() {
    let traced = transfer(wire(), 1, BYTES, ALL);
    for events in [&traced.client, &traced.server] {
        assert!(matches!(events[0].data, TraceData::Started(_)));
        let end = &events.last().unwrap().data;
        assert_eq!(*end, TraceData::Ended(TraceEnd::Closed(CloseReason::Fin)));
        assert_eq!(count(events, |data| matches!(data, TraceData::Ended(_))), 1);
        assert!(events.is_sorted_by_key(|event| event.at));
    }
    let is_syn = |data: &TraceData| matches!(data, TraceData::Sent(segment) if segment.flags == 2);
    assert_eq!(count(&traced.client, is_syn), 1);
}

#[test]
fn a_connection_that_the_peer_opens_is_traced_from_its_syn_on() {
    let traced = transfer(wire(), 1, BYTES, ALL);
    let syn_of = |events: &[TraceEvent]| {
        let syns = events.iter().filter_map(|event| match &event.data {
            TraceData::Sent(segment) if segment.flags & 2 != 0 => Some((event.at, segment.clone())),
            _ => None,
        });
        let [syn] = &syns.collect::<Vec<_>>()[..] else {
            panic!("one SYN");
        };
        syn.clone()
    };
    let (left, syn) = syn_of(&traced.client);
    let (answered, answer) = syn_of(&traced.server);
    let [started, came, sent, completed, ..] = &traced.server[..] else {
        panic!("{:?}", traced.server);
    };
    let TraceData::Started(started) = &started.data else {
        panic!("{started:?}");
    };
    assert_eq!(started.state, TcpState::SynReceived);
    assert_eq!((started.iss, started.irs), (answer.seq, syn.seq));
    let TraceData::Received(segment) = &came.data else {
        panic!("{came:?}");
    };
    assert_eq!(
        (segment.seq, segment.flags, segment.window),
        (syn.seq, syn.flags, syn.window)
    );
    assert_eq!(sent.data, TraceData::Sent(answer.clone()));
    assert_eq!(
        (answer.flags, answer.ack, answer.again),
        (0x12, syn.seq.wrapping_add(1), false)
    );
    // The wire has a delay of 5 ms, and more for the frame itself.
    let way = Duration::from_millis(5);
    assert_eq!(came.at, answered);
    assert!(answered >= left + way && completed.at >= answered + 2 * way);
    let TraceData::Received(segment) = &completed.data else {
        panic!("{completed:?}");
    };
    assert_eq!(segment.ack, answer.seq.wrapping_add(1));
    let established = |data: &TraceData| *data == TraceData::State(TcpState::Established);
    assert_eq!(count(&traced.server, established), 1);
}

#[test]
fn syns_that_are_sent_again_are_marked_so() {
    let (mut syns, mut answers) = (0, 0);
    for seed in 1..=40 {
        let traced = transfer(wire().with_loss(0.15), seed, 1_000, ALL);
        let marks = |events: &[TraceEvent]| -> Vec<bool> {
            let sent = events.iter().filter_map(|event| match &event.data {
                TraceData::Sent(segment) if segment.flags & 2 != 0 => Some(segment.again),
                _ => None,
            });
            sent.collect()
        };
        let (client, server) = (marks(&traced.client), marks(&traced.server));
        assert!(!client[0] && client[1..].iter().all(|again| *again));
        syns += client.len() - 1;
        // The last of them, which the peer has answered.
        assert_eq!(server.len(), 1, "seed {seed}");
        answers += usize::from(server[0]);
    }
    assert!(syns > 0 && answers > 0, "{syns} and {answers} were lost");
}

#[test]
fn connections_that_there_are_are_looked_at_a_page_at_a_time() {
    const CONNECTIONS: usize = 7;
    let mut net = Pair::new(
        1,
        StackHost::new(1, 1),
        StackHost::new(2, 2),
        wire(),
        wire(),
    );
    let (from, into) = (net.client, net.server);
    for number in 0..CONNECTIONS as u16 {
        let (to, pattern) = (Family::V4.socket(2, PORT + number), Pattern::new(1));
        net.spawn(into, Bulk::listen(to).receiving(pattern, 1 << 40));
        net.spawn(from, Bulk::connect(to).sending(pattern, 1 << 40));
    }
    net.drive_for(Duration::from_millis(100)).unwrap();
    let stack = stack(&mut net, from);
    let there = stack.tcp_connections_by_id().len();
    assert_eq!(there, CONNECTIONS);
    let any = TraceFilter::any();
    for looks in [1, 3, CONNECTIONS, CONNECTIONS + 1] {
        let budget = TraceBudget::new(CONNECTIONS - 1);
        let (mut begun, mut from, mut pages) = (Vec::new(), Some(ListPlace::START), 0);
        while let Some(place) = from {
            let page = stack.tcp_trace_present(&any, &budget, 10, place, looks);
            assert!(page.begun.len() <= looks);
            begun.extend(page.begun);
            pages += 1;
            from = page.next;
        }
        // No further than there may be traces.
        assert_eq!((begun.len(), budget.left()), (CONNECTIONS - 1, 0));
        assert!(pages <= CONNECTIONS.div_ceil(looks) + 1, "{looks}: {pages}");
        for trace in begun {
            let left = stack.tcp_trace_stop(trace);
            let last = left.last().map(|event| event.data.clone());
            assert_eq!(last, Some(TraceData::Ended(TraceEnd::Stopped)));
        }
    }
}

#[test]
fn what_there_is_no_room_for_is_counted_and_told() {
    let all = transfer(wire(), 1, BYTES, ALL).client.len() as u64;
    for room in [1, 10, 100] {
        let events = transfer(wire(), 1, BYTES, room).client;
        // What is told of its end and of what is missing has a place of its own.
        assert!(events.len() <= room + 2);
        let missed: u64 = events
            .iter()
            .map(|event| match event.data {
                TraceData::Missed(count) => count,
                _ => 0,
            })
            .sum();
        assert_eq!(missed + events.len() as u64 - 1, all);
        assert!(matches!(events.last().unwrap().data, TraceData::Ended(_)));
    }
}
