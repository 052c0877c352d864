//! What is told of connections: events for a log, and traces on demand.

mod common;

use std::fmt::Write;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::stack::{CloseReason, TraceData, TraceEnd};
use dpdk_net::trace::{ConnectionTracer, TraceOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Keeps what is told to `dpdk_net::`, a line each: the target's last part, the message, the fields.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " [{value:?}]"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let told = ["dpdk_net::tcp", "dpdk_net::udp", "dpdk_net::neighbor"];
        *metadata.level() <= Level::DEBUG && told.contains(&metadata.target())
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut line = Line(format!("span {}", span.metadata().name()));
        span.record(&mut line);
        self.0.lock().unwrap().push(line.0);
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let target = event.metadata().target().trim_start_matches("dpdk_net::");
        let mut line = Line(target.to_owned());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Log {
    /// Waits for a line with all of these.
    async fn wait_for(&self, parts: &[&str]) -> String {
        loop {
            {
                let lines = self.0.lock().unwrap();
                let found = lines
                    .iter()
                    .find(|line| parts.iter().all(|part| line.contains(part)));
                if let Some(line) = found {
                    return line.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[test]
fn connections_are_told_of_from_their_beginning_to_their_end() {
    let log = Log::default();
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        log.wait_for(&["tcp [listening]", "local=198.18.0.1:80", "backlog=1024"])
            .await;
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(at(SERVER_V4, 80))),
            listener.accept()
        );
        let (mut client, (mut server, peer)) = (client.unwrap(), accepted.unwrap());
        let ours = format!("local={peer}");
        log.wait_for(&["tcp [established]", &ours, "passive=false", "queue=0"])
            .await;
        log.wait_for(&["tcp [established]", "local=198.18.0.1:80", "passive=true"])
            .await;
        server.span();
        log.wait_for(&[
            "span connection",
            "local=198.18.0.1:80",
            &format!("peer={peer}"),
        ])
        .await;

        client.write_all(&[7; 1_000]).await.unwrap();
        server.read_exact(&mut [0; 1_000]).await.unwrap();
        drop(client);
        assert_eq!(server.read(&mut [0]).await.unwrap(), 0);
        drop(server);
        log.wait_for(&[
            "tcp [closed]",
            &ours,
            "reason=\"fin\"",
            "bytes_sent=1001",
            "retransmits=0",
        ])
        .await;
        log.wait_for(&["tcp [closed]", "local=198.18.0.1:80", "bytes_received=1000"])
            .await;

        // Reset from one side.
        let (client, accepted) = tokio::join!(
            net.client.scope(TcpStream::connect(at(SERVER_V4, 80))),
            listener.accept()
        );
        client.unwrap().set_linger(Some(Duration::ZERO)).unwrap();
        log.wait_for(&["tcp [closed]", "reason=\"aborted\""]).await;
        log.wait_for(&[
            "tcp [closed]",
            "reason=\"reset_by_peer\"",
            "local=198.18.0.1:80",
        ])
        .await;
        drop(accepted);

        let refused = net.client.scope(TcpStream::connect(at(SERVER_V4, 9))).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let line = log
            .wait_for(&["tcp [connect failed]", "peer=198.18.0.1:9"])
            .await;
        assert!(line.contains("connection refused by the peer"), "{line}");

        let socket = UdpSocket::bind(at(SERVER_V4, 53)).await.unwrap();
        drop(socket);
        log.wait_for(&["udp [bound]", "local=198.18.0.1:53"]).await;
        log.wait_for(&["udp [closed]", "local=198.18.0.1:53"]).await;
        drop(listener);
        log.wait_for(&["tcp [listener closed]", "local=198.18.0.1:80"])
            .await;

        let nobody = net
            .client
            .scope(TcpStream::connect(at("198.18.0.77", 80)))
            .await;
        assert_eq!(nobody.unwrap_err().kind(), ErrorKind::HostUnreachable);
        log.wait_for(&["neighbor [does not answer]", "neighbor=198.18.0.77"])
            .await;
    });
}

#[test]
fn with_nobody_who_listens_nothing_is_kept() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let connect = net.client.scope(TcpStream::connect(at(SERVER_V4, 80)));
        let (client, _accepted) = tokio::join!(connect, listener.accept());
        assert!(client.unwrap().span().is_none());
    });
}

/// Takes until the connections have ended.
async fn to_the_end(mut tracer: ConnectionTracer) -> Vec<(usize, TraceData)> {
    let mut all = Vec::new();
    while tracer.take(|connection, event| all.push((connection.number(), event.data.clone()))) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    all
}

fn sent_bytes(events: &[(usize, TraceData)]) -> u32 {
    let sent = events.iter().map(|(_, data)| match data {
        TraceData::Sent(segment) if !segment.again => segment.len,
        _ => 0,
    });
    sent.sum()
}

#[test]
fn a_stream_is_traced_from_there_and_the_next_of_a_listener_from_their_beginning() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let next = listener.trace_next(1).unwrap();
        let connect = || net.client.scope(TcpStream::connect(at(SERVER_V4, 80)));
        let (client, accepted) = tokio::join!(connect(), listener.accept());
        let (mut client, (mut server, peer)) = (client.unwrap(), accepted.unwrap());
        let (other, _also_accepted) = tokio::join!(connect(), listener.accept());
        let own = client.trace().unwrap();
        let twice = client.trace().unwrap_err();
        assert_eq!(twice.kind(), ErrorKind::AddrInUse);

        let serve = async {
            let mut all = Vec::new();
            server.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), 200_000);
            server.write_all(b"done").await.unwrap();
            server.shutdown().await.unwrap();
            server
        };
        let ask = async {
            client.write_all(&[1; 200_000]).await.unwrap();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut Vec::new()).await.unwrap();
        };
        let (server, ()) = tokio::join!(serve, ask);
        drop((client, server));
        let (own, next) = tokio::join!(to_the_end(own), to_the_end(next));
        assert_eq!((sent_bytes(&own), sent_bytes(&next)), (200_000, 4));
        for events in [&own, &next] {
            let TraceData::Started(_) = events[0].1 else {
                panic!("{:?}", events[0]);
            };
            let end = TraceData::Ended(TraceEnd::Closed(CloseReason::Fin));
            assert_eq!(events.last().unwrap().1, end);
            assert!(events.iter().all(|(number, _)| *number == 0));
        }
        drop(other);
        assert_ne!(peer.port(), 0);
    });
}

#[test]
fn a_worker_s_connections_come_as_qlog_and_stop_when_nobody_asks() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V6, 80)).await.unwrap();
        let connect = || net.client.scope(TcpStream::connect(at(SERVER_V6, 80)));
        let (client, accepted) = tokio::join!(connect(), listener.accept());
        let (first, _first) = (client.unwrap(), accepted.unwrap());
        let mut options = TraceOptions::default();
        options.filter.peer_port = Some(80);
        let mut tracer = net.client.trace(&options).unwrap();
        assert_eq!(tracer.connections(), 1, "the one that there is");
        let (client, accepted) = tokio::join!(connect(), listener.accept());
        let (_second, _accepted) = (client.unwrap(), accepted.unwrap());
        let mut text = tracer.qlog_header();
        assert!(tracer.take_qlog(&mut text));
        assert_eq!(tracer.connections(), 2);
        let records: Vec<serde_json::Value> = text
            .split_terminator('\n')
            .map(|line| serde_json::from_str(line.strip_prefix('\u{1e}').unwrap()).unwrap())
            .collect();
        assert_eq!(
            records[0]["serialization_format"],
            "application/qlog+json-seq"
        );
        let began =
            records[0]["trace"]["common_fields"]["reference_time"]["wall_clock_time"].as_str();
        assert!(began.unwrap().starts_with("20"));
        let local = first.local_addr().unwrap();
        let started = &records[1];
        assert_eq!(started["name"], "tcp:connection_started");
        assert_eq!(started["group_id"], format!("0:{local}-[fd00::1]:80"));
        assert_eq!(started["data"]["local"]["port"], local.port());
        assert_eq!(started["data"]["state"], "established");
        let of_second = |record: &&serde_json::Value| {
            record["group_id"]
                .as_str()
                .is_some_and(|group| group.starts_with("1:"))
        };
        let syn = records
            .iter()
            .filter(of_second)
            .find(|it| it["name"] == "tcp:segment_sent");
        assert_eq!(syn.unwrap()["data"]["flags"], serde_json::json!(["syn"]));

        // As long as it is there the connection can't be traced by others.
        assert!(first.trace().is_err());
        drop(tracer);
        assert!(first.trace().is_ok());
        for wrong in [0, 257] {
            options.connections = wrong;
            let refused = net.client.trace(&options).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        }
        (options.connections, options.events) = (256, 65_536);
        assert!(net.client.trace(&options).is_err(), "too much memory");
        // Orders that are given up make room for others.
        options.events = 1;
        for _ in 0..100 {
            net.client.trace(&options).unwrap();
        }
    });
}

#[test]
fn what_was_recorded_before_a_trace_is_stopped_is_still_there() {
    run(|net| async move {
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let connect = || net.client.scope(TcpStream::connect(at(SERVER_V4, 80)));
        let (client, accepted) = tokio::join!(connect(), listener.accept());
        let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
        let mut tracer = net.client.trace(&TraceOptions::default()).unwrap();
        client.write_all(&[1; 10_000]).await.unwrap();
        server.read_exact(&mut [0; 10_000]).await.unwrap();
        // Nobody has asked for this one yet.
        let (other, _accepted) = tokio::join!(connect(), listener.accept());
        let other = other.unwrap();
        tracer.stop();
        client.write_all(&[1; 1_000]).await.unwrap();
        server.read_exact(&mut [0; 1_000]).await.unwrap();
        assert_eq!(tracer.connections(), 2);
        let events = to_the_end(tracer).await;
        assert_eq!(sent_bytes(&events), 10_000);
        for number in 0..2 {
            let mine = events.iter().filter(|(it, _)| *it == number);
            let mine: Vec<_> = mine.map(|(_, data)| data).collect();
            assert!(matches!(mine[0], TraceData::Started(_)), "{mine:?}");
            let end = TraceData::Ended(TraceEnd::Stopped);
            assert_eq!(
                mine.iter().position(|data| **data == end),
                Some(mine.len() - 1)
            );
        }
        // They may be traced anew.
        assert!(client.trace().is_ok() && other.trace().is_ok());
    });
}

#[test]
fn traces_take_no_more_memory_together_than_they_may() {
    run(|net| async move {
        let mut options = TraceOptions::default();
        (options.connections, options.events) = (64, 65_536);
        // 320 MiB each.
        let three: Vec<_> = (0..3)
            .map(|_| net.client.trace(&options).unwrap())
            .collect();
        let refused = net.client.trace(&options).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OutOfMemory);
        let why = refused.to_string();
        assert!(why.contains("can take 320 MiB, 64 of 1024 MiB"), "{why}");
        let small = net.client.trace(&TraceOptions::default());
        assert!(small.is_ok(), "{small:?}");
        drop(three);
        assert!(net.client.trace(&options).is_ok());
    });
}

#[test]
fn all_workers_of_a_trace_tell_the_time_by_one_clock() {
    let eal = eal("0");
    let rings = dpdk_net::rte::ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ids = rings.ids();
    let (_server_port, server) = side(&eal, ids[0], stack(1));
    let (_client_port, client) = side(&eal, ids[1], stack(2));
    let worker = dpdk_net::Worker::new(server).unwrap();
    // The clocks of workers of different ports begin with them.
    std::thread::sleep(Duration::from_millis(100));
    let client = dpdk_net::Reactor::new(client).unwrap();
    let handles = [worker.handle().clone(), client.handle()];
    let reactor = worker.spawn_local(client);
    worker.block_on(async {
        let mut tracer = ConnectionTracer::of_handles(&handles, &TraceOptions::default()).unwrap();
        let mut text = tracer.qlog_header();
        let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
        let connect = handles[1].scope(TcpStream::connect(at(SERVER_V4, 80)));
        let (client, accepted) = tokio::join!(connect, listener.accept());
        let (mut client, (mut server, _)) = (client.unwrap(), accepted.unwrap());
        for _ in 0..10 {
            client.write_all(b"there").await.unwrap();
            server.read_exact(&mut [0; 5]).await.unwrap();
            server.write_all(b"back").await.unwrap();
            client.read_exact(&mut [0; 4]).await.unwrap();
        }
        tracer.stop();
        while tracer.take_qlog(&mut text) {}
        // Segments by what they are, with the time at which they left and that at which they came.
        let mut times: std::collections::BTreeMap<String, [Vec<f64>; 2]> = Default::default();
        for line in text.lines().skip(1) {
            let record: serde_json::Value =
                serde_json::from_str(line.trim_start_matches('\u{1e}')).unwrap();
            let which = match record["name"].as_str().unwrap() {
                "tcp:segment_sent" => 0,
                "tcp:segment_received" => 1,
                _ => continue,
            };
            let data = &record["data"];
            let key = format!(
                "{} {} {} {}",
                data["seq"], data["length"], data["ack"], data["flags"]
            );
            times.entry(key).or_default()[which].push(record["time"].as_f64().unwrap());
        }
        let mut pairs = 0;
        for (segment, [left, came]) in times {
            // What was under way at the end has not come.
            for (left, came) in left.iter().zip(&came) {
                // Each clock is read to the nanosecond.
                let way = came - left;
                assert!((-1e-5..50.0).contains(&way), "{segment}: {way} ms");
                pairs += 1;
            }
        }
        assert!(pairs >= 20, "{pairs}");
    });
    reactor.abort();
}
