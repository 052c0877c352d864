//! The control socket of an application that talks to itself: its own address loops back inside the stack, so no peer is needed.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpdk_net::control::{Client, ControlError};
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::Eal;
use dpdk_net::{App, AppBuilder};
use serde_json::{Value, json};

const OURS: &str = "198.18.0.2";
/// No answer may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

fn builder(socket: &Path) -> AppBuilder {
    let eal = Eal::builder("dpdk-net-test")
        .no_huge()
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .memory_mb(256)
        .vdev("net_null0")
        .file_prefix(format_args!("dpdk-net-control-{}", std::process::id()));
    App::builder()
        .eal(eal)
        .address(format!("{OURS}/24"))
        .gateway("198.18.0.1".parse::<std::net::IpAddr>().unwrap())
        .stack(|stack| stack.dad = false)
        .control_socket(socket)
}

/// An application with so many connections to itself, and what is asked of it by its socket.
fn asked(connections: usize, ask: impl FnOnce(&Path) + Send + 'static) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("test.sock");
    let path: PathBuf = socket.clone();
    builder(&socket)
        .run(async move |_| {
            let listener = TcpListener::bind(format!("{OURS}:80")).await.unwrap();
            let mut open = Vec::new();
            for _ in 0..connections {
                let to = listener.local_addr().unwrap();
                let (here, there) = tokio::join!(TcpStream::connect(to), listener.accept());
                open.push((here.unwrap(), there.unwrap()));
            }
            tokio::task::spawn_blocking(move || ask(&path))
                .await
                .unwrap();
        })
        .unwrap();
    assert!(!socket.exists(), "it is gone with the application");
}

/// All pages of an answer.
fn sockets(client: &mut Client, question: &Value) -> Vec<Value> {
    let mut question = question.clone();
    let mut all = Vec::new();
    loop {
        let mut answer = client.ask(&question).unwrap();
        let page = answer["sockets"].as_array_mut().unwrap();
        all.append(page);
        match &answer["next"] {
            Value::Null => return all,
            next => question["after"] = next.clone(),
        }
    }
}

#[test]
fn each_connection_is_in_one_page_and_filters_choose() {
    const PAIRS: usize = 300;
    asked(PAIRS, |socket| {
        let mut client = Client::connect(socket).unwrap();
        let key = |it: &Value| format!("{} {}", it["local"], it["peer"]);
        for limit in [1, 7, 256, 1000] {
            let all = sockets(&mut client, &json!({ "command": "ss", "limit": limit }));
            assert_eq!(all.len(), 2 * PAIRS, "{limit} at a time");
            let keys: BTreeSet<_> = all.iter().map(key).collect();
            assert_eq!(keys.len(), 2 * PAIRS, "{limit} at a time");
        }
        let server = json!({ "command": "ss", "local": ":80", "states": ["established"], "info": true, "limit": 100 });
        let server = sockets(&mut client, &server);
        assert_eq!(server.len(), PAIRS);
        for it in &server {
            assert_eq!(it["local"], format!("{OURS}:80"));
            assert_eq!(it["state"], "established");
            assert_eq!(it["info"]["congestion"], "cubic");
        }
        let one = server[0]["peer"].as_str().unwrap();
        let ends = [
            json!({ "command": "ss", "peer": one }),
            json!({ "command": "ss", "local": one }),
        ];
        for question in ends {
            assert_eq!(sockets(&mut client, &question).len(), 1, "{question}");
        }
        for nothing in [
            json!({ "command": "ss", "states": ["time-wait", "syn-sent"] }),
            json!({ "command": "ss", "peer": "198.19.0.0/16" }),
            json!({ "command": "ss", "queue": 1 }),
        ] {
            assert_eq!(sockets(&mut client, &nothing).len(), 0, "{nothing}");
        }
        // One that has gone meanwhile, or never was: no error, and the end comes.
        let beyond = json!({ "command": "ss", "after": "9.1" });
        assert_eq!(sockets(&mut client, &beyond).len(), 0);
    });
}

#[test]
fn bad_input_is_told_and_nobody_else_suffers() {
    asked(1, |socket| {
        let patient = |stream: UnixStream| {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        };
        let raw = || patient(UnixStream::connect(socket).unwrap());
        let told = |mut stream: UnixStream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let answer: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(answer["ok"], false);
            answer["error"].as_str().unwrap().to_owned()
        };
        // Too long: told, and that connection is over.
        let mut long = raw();
        let _ = long.write_all(&vec![b' '; 64 * 1024]);
        assert!(told(long).contains("65536 bytes"));
        // What is refused leaves the connection as it is.
        let mut client = Client::connect(socket).unwrap();
        for (question, why) in [
            (
                json!({ "command": "queues", "verbose": 1 }),
                "unknown field `verbose`",
            ),
            (json!({ "command": "ss", "limit": 1001 }), "1 to 1000"),
            (
                json!({ "command": "ss", "port": "eth0" }),
                "no port \"eth0\"",
            ),
            (
                json!({ "command": "route", "port": "eth0" }),
                "no port \"eth0\"",
            ),
            (json!({ "command": "config" }), "not of a file"),
            (json!({ "command": "log" }), "the program's own"),
            (json!({ "command": "ss", "version": 3 }), "version 3"),
        ] {
            match client.ask(&question) {
                Err(ControlError::Refused(told)) => assert!(told.contains(why), "{told}"),
                other => panic!("{question}: {other:?}"),
            }
        }
        // One that asks and never reads.
        let mut deaf = raw();
        deaf.set_nonblocking(true).unwrap();
        let question = b"{\"command\":\"ss\",\"info\":true}\n".repeat(64);
        while deaf.write(&question).is_ok() {}
        assert!(client.ask(&json!({ "command": "queues" })).is_ok());
        drop(deaf);
        // A last line without an end is one too.
        let mut half = raw();
        half.write_all(b"{\"command\":").unwrap();
        half.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(told(half).contains("no JSON"));
    });
}

#[test]
fn one_connection_too_many_is_told_and_room_comes_back() {
    asked(0, |socket| {
        let version = json!({ "command": "version" });
        let mut all: Vec<Client> = (0..16).map(|_| Client::connect(socket).unwrap()).collect();
        // Those that are asked are served: the others are behind them in the queue.
        all.iter_mut()
            .for_each(|client| drop(client.ask(&version).unwrap()));
        match Client::connect(socket).unwrap().ask(&version) {
            Err(ControlError::Refused(told)) => assert!(told.contains("16 connections"), "{told}"),
            other => panic!("{other:?}"),
        }
        // Once its end has been seen.
        drop(all.pop());
        let again = || Client::connect(socket).unwrap().ask(&version).is_ok();
        while !again() {
            std::thread::yield_now();
        }
    });
}
