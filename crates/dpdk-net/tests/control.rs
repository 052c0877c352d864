//! The control socket of an application that talks to itself: its own address loops back inside the stack, so no peer is needed.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dpdk_net::control::{Client, ControlError};
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
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
            let _udp = UdpSocket::bind(format!("{OURS}:53")).await.unwrap();
            let connected = UdpSocket::bind(format!("{OURS}:54")).await.unwrap();
            connected.connect("198.18.0.1:55").await.unwrap();
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
fn listeners_and_udp_sockets_are_listed_too() {
    asked(0, |socket| {
        let mut client = Client::connect(socket).unwrap();
        let mut of = |question: Value| sockets(&mut client, &question);
        let listeners = of(json!({ "command": "ss", "sockets": "listen" }));
        assert_eq!(listeners.len(), 1);
        assert_eq!(listeners[0]["local"], format!("{OURS}:80"));
        assert_eq!(
            (&listeners[0]["state"], &listeners[0]["recv_queue"]),
            (&json!("listening"), &json!(0))
        );
        assert!(listeners[0]["send_queue"].as_u64().unwrap() > 0);
        let udp = of(json!({ "command": "ss", "sockets": "udp", "limit": 1 }));
        let of_states = |state: &str| {
            let all = udp.iter().filter(|it| it["state"] == state);
            all.map(|it| (it["local"].clone(), it["peer"].clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(udp.len(), 2);
        assert_eq!(
            of_states("closed"),
            [(json!(format!("{OURS}:53")), Value::Null)]
        );
        assert_eq!(
            of_states("established"),
            [(json!(format!("{OURS}:54")), json!("198.18.0.1:55"))]
        );
        let one = of(json!({ "command": "ss", "sockets": "udp", "local": ":53" }));
        assert_eq!(one.len(), 1);
        assert_eq!(
            of(json!({ "command": "ss", "sockets": "listen", "local": ":81" })).len(),
            0
        );
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

/// Questions and answers of the documentation.
fn examples() -> Vec<(String, Value)> {
    let text = include_str!("../../../docs/control.md");
    let blocks = text.split("```control\n").skip(1);
    let blocks = blocks.filter_map(|block| block.split("```").next());
    let example = |block: &str| {
        let (question, answer) = block.split_once("\n< ").unwrap();
        let question = question.strip_prefix("> ").unwrap();
        let answer = serde_json::from_str(answer).unwrap_or_else(|why| panic!("{question}: {why}"));
        (question.to_owned(), answer)
    };
    blocks.map(example).collect()
}

/// Where an answer has other members than the documentation says, or of another type.
fn differs(documented: &Value, told: &Value, path: &str) -> Option<String> {
    match (documented, told) {
        // What is in there is up to the application.
        _ if [".drops", ".settings", ".labels"]
            .iter()
            .any(|free| path.ends_with(free)) =>
        {
            None
        }
        (Value::Object(documented), Value::Object(told)) => {
            let keys =
                |of: &serde_json::Map<String, Value>| of.keys().cloned().collect::<BTreeSet<_>>();
            if keys(documented) != keys(told) {
                return Some(format!(
                    "{path}: {:?}",
                    keys(documented).symmetric_difference(&keys(told))
                ));
            }
            let mut both = documented.iter().zip(told.values());
            both.find_map(|((key, documented), _)| {
                differs(documented, &told[key], &format!("{path}.{key}"))
            })
        }
        (Value::Array(documented), Value::Array(told)) => {
            match (documented.first(), told.first()) {
                (Some(documented), Some(told)) => differs(documented, told, &format!("{path}[0]")),
                (None, None) => None,
                _ => Some(format!("{path}: {} entries", told.len())),
            }
        }
        (Value::Null, _) | (_, Value::Null) => None,
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => None,
        (Value::String(_), Value::String(_)) if !path.ends_with(".error") => None,
        (one, other) => (one != other).then(|| format!("{path}: {other}")),
    }
}

#[test]
fn each_example_of_the_documentation_is_answered_as_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docs.sock");
    let text = format!(
        "[dpdk]\nhugepages = false\nmemory = \"256 MiB\"\nshared_config = false\ntelemetry = false\n\
         file_prefix = \"dpdk-net-docs-{}\"\n[workers]\nlcores = \"0\"\n\
         [[port]]\nvdev = \"net_null0\"\n\
         [network]\naddresses = [\"{OURS}/24\"]\nduplicate_detection = false\n\
         neighbors = [{{ address = \"198.18.0.77\", mac = \"02:00:5e:10:00:77\" }}]\n\
         [control]\nsocket = \"{}\"\n",
        std::process::id(),
        socket.display()
    );
    let file = directory.path().join("docs.toml");
    std::fs::write(&file, text).unwrap();
    let path = socket.clone();
    let outcome = App::from_file(&file).unwrap().run(async |ctx| {
        let _udp = UdpSocket::bind(format!("{OURS}:53")).await.unwrap();
        let listener = TcpListener::bind(format!("{OURS}:80")).await.unwrap();
        let to = listener.local_addr().unwrap();
        let _ends = tokio::join!(TcpStream::connect(to), listener.accept());
        let path = path.clone();
        let asking = move || {
            let stream = UnixStream::connect(&path).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answers = std::io::BufReader::new(stream.try_clone().unwrap());
            let (mut asked, mut commands) = (BTreeSet::new(), Vec::new());
            for (text, documented) in examples() {
                let question: Value = serde_json::from_str(&text).unwrap();
                let command = question["command"].as_str().unwrap().to_owned();
                // What follows the answer of these is on their connection.
                let streams = ["capture", "trace"].contains(&command.as_str());
                let answer = if streams {
                    let (answer, _rest) =
                        Client::connect(&path).unwrap().stream(&question).unwrap();
                    json!({ "version": 1, "ok": true, "result": answer })
                } else {
                    (&stream).write_all(format!("{text}\n").as_bytes()).unwrap();
                    let mut answer = String::new();
                    std::io::BufRead::read_line(&mut answers, &mut answer).unwrap();
                    serde_json::from_str(&answer).unwrap()
                };
                assert_eq!(
                    differs(&documented, &answer, ""),
                    None,
                    "{text}: {answer:#}"
                );
                if command == "help" {
                    let all = answer["result"].as_array().unwrap().iter();
                    commands = all
                        .map(|it| it["command"].as_str().unwrap().to_owned())
                        .collect();
                }
                asked.insert(command);
            }
            commands.retain(|name| !asked.contains(name));
            assert_eq!(
                commands,
                Vec::<String>::new(),
                "commands without an example"
            );
            assert!(asked.contains("shutdown"));
        };
        tokio::task::spawn_blocking(asking).await.unwrap();
        // Told to by the last example.
        ctx.shutdown().await;
    });
    outcome.unwrap().remove(0).unwrap();
}
