//! `App::from_file`: applications that files describe, with the kernel as the peer (needs root).

mod common;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use common::kernel::{KERNEL, OURS, kernel_up};
use dpdk_net::app::{Application, Subsystem, SubsystemFuture};
use dpdk_net::config::Changes;
use dpdk_net::{App, Error};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::{Netns, Veth, disable_tx_offloads};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Our host on the second port's network.
const LAN: u16 = 3;

/// A file in a directory of its own.
struct Written {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Written {
    fn new(name: &str, text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Self { _dir: dir, path }
    }
}

/// What all files of these tests begin with: EAL as tests need it, four lcores on two CPUs.
fn head() -> String {
    format!(
        "[dpdk]\nhugepages = false\nmemory = \"512 MiB\"\nshared_config = false\ntelemetry = false\n\
         file_prefix = \"dpdk-net-test-{}\"\n\
         [workers]\nlcores = \"0@0,1@0,2@1,3@1\"\nidle = \"yield\"\nidle_turns = 16\ndrain_timeout = \"5 s\"\n",
        std::process::id()
    )
}

/// A kernel host and a cable to it, whose near end is in this thread's namespace.
fn wire(ours: &Netns) -> (Netns, Veth) {
    let kernel = Netns::new().unwrap();
    let cable = Veth::new(Some(ours), Some(&kernel)).unwrap();
    disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
    kernel_up(&kernel, cable.right());
    (kernel, cable)
}

/// Sends a line to an address of ours and reads it back, as soon as somebody listens.
fn echo_tcp(address: SocketAddr) {
    let end = Instant::now() + PATIENCE;
    let mut stream = loop {
        match std::net::TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
}

fn echo_udp(address: SocketAddr) {
    let local: SocketAddr = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    }
    .parse()
    .unwrap();
    let socket = std::net::UdpSocket::bind(local).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"hello", address).unwrap();
    let mut back = [0; 16];
    let (len, _) = socket.recv_from(&mut back).unwrap();
    assert_eq!(&back[..len], b"hello");
}

/// What happened to the subsystems, in order.
static STORY: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn story(what: impl Into<String>) {
    STORY.lock().unwrap().push(what.into());
}

/// A subsystem that tells what happens to it.
struct Told(&'static str, &'static [&'static str]);

impl Subsystem for Told {
    fn name(&self) -> &str {
        self.0
    }

    fn after(&self) -> &[&str] {
        self.1
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        story(format!("{} starts", self.0));
        assert_eq!(app.contexts().len(), 3, "queues of both ports");
        Box::pin(async { Ok(()) })
    }

    fn reload<'a>(&'a mut self, app: &'a Application, changes: &'a Changes) -> SubsystemFuture<'a> {
        let changed: Vec<&str> = changes
            .live
            .iter()
            .map(|change| change.path.as_str())
            .collect();
        let of_file = app
            .file()
            .unwrap()
            .config()
            .tcp
            .user_timeout
            .unwrap()
            .to_string();
        story(format!(
            "{} hears of {}: {of_file}",
            self.0,
            changed.join(", ")
        ));
        Box::pin(async { Ok(()) })
    }

    fn stop(&mut self) -> SubsystemFuture<'_> {
        story(format!("{} stops", self.0));
        Box::pin(async { Ok(()) })
    }
}

#[test]
fn two_ports_with_three_queues_listeners_and_subsystems_from_one_file() {
    let ours = Netns::new().unwrap();
    let (wan, lan) = (wire(&ours), wire(&ours));
    ours.enter().unwrap();
    let port = |name: &str, host: u16, cable: &Veth, queues: u16| {
        let [v4, v6] = Family::BOTH.map(|family| family.host(host));
        format!(
            "[[port]]\nname = \"{name}\"\ninterface = \"{}\"\nqueues = {queues}\n\
             [port.network]\naddresses = [\"{v4}/16\", \"{v6}/64\"]\nduplicate_detection = false\n",
            cable.left()
        )
    };
    let route = |to: u8| {
        format!(
            "routes = [{{ to = \"10.{to}.0.0/16\", via = \"{}\" }}]\n",
            Family::V4.host(KERNEL)
        )
    };
    let listeners = "[[listener]]\nname = \"echo\"\naddress = \":7\"\n\
                     [[listener]]\nname = \"lan only\"\naddress = \":8\"\nprotocol = \"udp\"\nport = \"lan\"\n\
                     [[listener]]\nname = \"once\"\naddress = \":9\"\naccept = \"first\"\nport = \"wan\"\n";
    let tcp = |user_timeout: &str| format!("[tcp]\nuser_timeout = \"{user_timeout}\"\n");
    let rest = format!(
        "{}@route@{}{listeners}",
        port("wan", OURS, &wan.1, 2),
        port("lan", LAN, &lan.1, 1)
    );
    let rest = |to: u8| rest.replace("@route@", &route(to));
    let file = Written::new("two.toml", &format!("{}{}{}", head(), tcp("1 s"), rest(8)));
    let app = App::from_file(&file.path).unwrap();
    // What the file does not say stays as the program has it, whatever changes in the file.
    let app = app.configure(|builder| builder.stack(|stack| stack.tcp.max_orphans = 7));
    let app = app
        .subsystem(Told("second", &["first"]))
        .subsystem(Told("first", &[]));

    let asks = [(&wan.0, OURS), (&lan.0, LAN)].map(|(kernel, host)| {
        kernel.spawn(move || {
            for family in Family::BOTH {
                for _ in 0..20 {
                    echo_tcp(family.socket(host, 7));
                }
                match host {
                    OURS => echo_tcp(family.socket(host, 9)),
                    _ => (0..5).for_each(|_| echo_udp(family.socket(host, 8))),
                }
            }
        })
    });
    let new = format!(
        "{}{}{}",
        head().replace("16\ndrain", "17\ndrain"),
        tcp("2 s"),
        rest(9)
    );
    let outcome = app.run(async |ctx| {
        story("program");
        let (port, queue) = (ctx.port_name().to_owned(), ctx.queue_id());
        let serve = |listener: dpdk_net::net::TcpListener| {
            tokio::task::spawn_local(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut line = [0; 5];
                        stream.read_exact(&mut line).await.unwrap();
                        stream.write_all(&line).await.unwrap();
                    });
                }
            })
        };
        serve(ctx.listener("echo").unwrap());
        assert!(ctx.listener("echo").is_err(), "it is taken");
        assert_eq!(
            ctx.listener("once").map(serve).is_ok(),
            port == "wan" && queue == 0
        );
        if port == "lan" {
            let wrong = ctx.listener("lan only").unwrap_err();
            assert_eq!(wrong.kind(), std::io::ErrorKind::InvalidInput, "{wrong}");
            let socket = ctx.udp_socket("lan only").unwrap();
            tokio::task::spawn_local(async move {
                let mut buf = [0; 64];
                while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                    socket.send_to(&buf[..len], from).await.unwrap();
                }
            });
        } else {
            assert!(ctx.udp_socket("lan only").is_err());
        }
        while !asks.iter().all(|asking| asking.is_finished()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if (port.as_str(), queue) == ("lan", 0) {
            std::fs::write(&file.path, &new).unwrap();
            let hangup = rustix::process::Signal::HUP;
            rustix::process::kill_process(rustix::process::getpid(), hangup).unwrap();
        }
        let heard = || {
            STORY
                .lock()
                .unwrap()
                .iter()
                .filter(|line| line.contains("hears"))
                .count()
        };
        while heard() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was heard of is so by now, on all queues of all ports.
        assert_eq!(ctx.limits().1.user_timeout, Duration::from_secs(2));
        assert_eq!(ctx.limits().1.max_orphans == 7, port == "wan");
        let routes: Vec<String> = ctx
            .handle()
            .routes()
            .iter()
            .map(|known| known.route.dest.to_string())
            .collect();
        assert_eq!(
            routes.contains(&"10.9.0.0".to_owned()),
            port == "wan",
            "{routes:?}"
        );
        assert!(!routes.contains(&"10.8.0.0".to_owned()), "{routes:?}");
        (port, queue)
    });
    for asking in asks {
        asking.join().unwrap();
    }
    let served: Vec<_> = outcome.unwrap().into_iter().map(Result::unwrap).collect();
    let served: Vec<_> = served
        .iter()
        .map(|(port, queue)| (port.as_str(), *queue))
        .collect();
    assert_eq!(served, [("wan", 0), ("wan", 1), ("lan", 0)]);
    assert_eq!(
        *STORY.lock().unwrap(),
        [
            "first starts",
            "second starts",
            "program",
            "program",
            "program",
            "first hears of port[0].network.routes, tcp.user_timeout: 2 s",
            "second hears of port[0].network.routes, tcp.user_timeout: 2 s",
            "second stops",
            "first stops",
        ]
    );
}

/// What is told of a file that can't be served.
fn refused(text: &str) -> String {
    let file = Written::new("refused.toml", text);
    let error = match App::from_file(&file.path) {
        Ok(app) => app.run(async |_| ()).map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    match error {
        Error::Config(problems) => problems.to_string(),
        other => panic!("{other}"),
    }
}

#[test]
fn what_a_port_does_not_have_is_told_with_the_line() {
    let text = format!(
        "{}[[port]]\nvdev = \"net_null0\"\nqueues = 1000\n[network]\naddresses = [\"198.18.0.2/24\"]\n",
        head()
    );
    let told = refused(&text);
    assert!(told.contains("can't have 1000 queues"), "{told}");
    assert!(told.contains("queues = 1000"), "{told}");
    assert!(told.contains("refused.toml:14:10"), "{told}");
}

#[test]
fn a_listener_that_can_not_be_bound_is_told_with_the_line() {
    let listener = |name: &str, address: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = \"{address}\"\n")
    };
    let text = format!(
        "{}[[port]]\nvdev = \"net_null0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\nduplicate_detection = false\n{}{}",
        head(),
        listener("one", "[::]:80"),
        listener("two", "0.0.0.0:80"),
    );
    let told = refused(&text);
    assert!(told.contains("two can't listen on 0.0.0.0:80"), "{told}");
    assert!(told.contains("address = \"0.0.0.0:80\""), "{told}");
}

#[test]
fn what_this_machine_lacks_is_told_before_anything_starts() {
    let text = "[workers]\nlcores = \"0@0,1@900\"\n[[port]]\ninterface = \"nonesuch\"\n\
                [[port]]\npci = \"0000:ff:1f.7\"\n[port.network]\nslaac = true\n";
    let text = text.replace(
        "\"nonesuch\"\n",
        "\"nonesuch\"\n[port.network]\naddresses = [\"10.0.0.1/8\"]\n",
    );
    let told = refused(&text);
    for part in [
        "CPU 900",
        "no interface nonesuch",
        "no network device at 0000:ff:1f.7",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
}

#[test]
fn a_subsystem_that_fails_keeps_the_programs_from_starting() {
    struct Failing;
    impl Subsystem for Failing {
        fn name(&self) -> &str {
            "failing"
        }

        fn start<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
            Box::pin(async { Err("no room".into()) })
        }
    }
    let text = format!(
        "{}[[port]]\nvdev = \"net_null0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\nduplicate_detection = false\n",
        head()
    );
    let file = Written::new("fails.toml", &text);
    let app = App::from_file(&file.path).unwrap().subsystem(Failing);
    let error = app.run(async |_| panic!("no program starts")).unwrap_err();
    assert_eq!(error.to_string(), "failing did not start: no room");
}

/// Asks the control socket, line by line, and reads an answer to each.
fn asked(path: &std::path::Path, questions: &[&str]) -> Vec<serde_json::Value> {
    use std::io::BufRead;
    let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = std::io::BufReader::new(stream.try_clone().unwrap());
    let ask = |question: &&str| {
        (&stream)
            .write_all(format!("{question}\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    questions.iter().map(ask).collect()
}

#[test]
fn who_runs_the_application_can_ask_it_and_end_it_by_its_socket() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    // One that a process has left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let text = format!(
        "{}[[port]]\nvdev = \"net_null0\"\nqueues = 2\n[network]\naddresses = [\"198.18.0.2/24\"]\nduplicate_detection = false\n\
         [control]\nsocket = \"{}\"\n",
        head(),
        socket.display()
    );
    let file = Written::new("control.toml", &text);
    let path = socket.clone();
    let asking = std::sync::Mutex::new(Some(move || {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let answers = asked(
            &path,
            &[
                r#"{"command":"version"}"#,
                r#"{"command":"stats","version":1}"#,
                r#"{"command":"ports"}"#,
                r#"{"command":"config"}"#,
                r#"{"command":"stats","version":2}"#,
                r#"{"command":"reboot"}"#,
                "stats",
                "[]",
            ],
        );
        let oks: Vec<bool> = answers
            .iter()
            .map(|answer| answer["ok"].as_bool().unwrap())
            .collect();
        assert_eq!(oks, [true, true, true, true, false, false, false, false]);
        assert_eq!(answers[0]["result"]["pid"], std::process::id());
        let frames = answers[1]["result"].as_array().unwrap();
        let frames = frames
            .iter()
            .find(|it| it["name"] == "dpdk_net_worker_turns_total");
        let samples = frames.unwrap()["samples"].as_array().unwrap();
        assert_eq!(samples.len(), 2, "a queue each");
        assert_eq!(answers[2]["result"][0]["addresses"][0], "198.18.0.2");
        assert_eq!(answers[3]["result"]["settings"]["port"][0]["queues"], 2);
        for (answer, why) in
            answers[4..]
                .iter()
                .zip(["version 2", "no command \"reboot\"", "no JSON", "no object"])
        {
            let told = answer["error"].as_str().unwrap();
            assert!(told.contains(why), "{told}");
        }
        let long = "x".repeat(64 * 1024);
        assert!(
            asked(&path, &[&long])[0]["error"]
                .as_str()
                .unwrap()
                .contains("65536 bytes")
        );
        asked(&path, &[r#"{"command":"shutdown"}"#]);
    }));
    let app = App::from_file(&file.path).unwrap();
    let outcome = app.run(async |ctx| {
        let asking = (ctx.queue() == 0)
            .then(|| asking.lock().unwrap().take())
            .flatten();
        if let Some(asking) = asking {
            tokio::task::spawn_blocking(asking).await.unwrap();
        }
        ctx.shutdown().await;
    });
    assert_eq!(outcome.unwrap().len(), 2);
    assert!(!socket.exists(), "it is gone with the application");
}

#[test]
fn a_socket_that_another_process_has_is_left_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("control.sock");
    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let text = format!(
        "{}[[port]]\nvdev = \"net_null0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\nduplicate_detection = false\n\
         [control]\nsocket = \"{}\"\n",
        head(),
        socket.display()
    );
    let file = Written::new("control.toml", &text);
    let error = App::from_file(&file.path)
        .unwrap()
        .run(async |_| ())
        .unwrap_err();
    assert!(
        error.to_string().contains("another process listens there"),
        "{error}"
    );
    assert!(socket.exists());
}
