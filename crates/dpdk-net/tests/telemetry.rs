//! DPDK's telemetry socket of an application: our commands are on it, and gone with the application.

use std::os::fd::OwnedFd;

use dpdk_net::App;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::Eal;
use dpdk_net::rte::telemetry::{Answer, register};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, recv, send, socket,
};
use serde_json::Value;

/// A client, past the greeting.
fn client(directory: &std::path::Path) -> OwnedFd {
    let fd = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    let address = SocketAddrUnix::new(directory.join("dpdk_telemetry.v2")).unwrap();
    connect(&fd, &address).unwrap();
    let greeting = receive(&fd);
    assert!(greeting["version"].as_str().unwrap().starts_with("DPDK"));
    fd
}

fn receive(fd: &OwnedFd) -> Value {
    let mut buffer = vec![0; 32 * 1024];
    let (length, _) = recv(fd, &mut buffer[..], RecvFlags::empty()).unwrap();
    serde_json::from_slice(&buffer[..length]).unwrap()
}

fn ask(fd: &OwnedFd, command: &str) -> Value {
    send(fd, command.as_bytes(), SendFlags::empty()).unwrap();
    receive(fd)
}

#[test]
fn queues_and_their_figures_are_on_the_socket() {
    let eal = Eal::builder("dpdk-net-test")
        .no_huge()
        .no_pci()
        .no_shconf()
        .memory_mb(256)
        .vdev("net_null0")
        .file_prefix(format_args!("dpdk-net-telemetry-{}", std::process::id()))
        .init()
        .unwrap();
    let directory = eal.runtime_dir();
    let connected = App::builder()
        .with_eal(eal.clone())
        .address("198.18.0.2/24")
        .stack(|stack| stack.dad = false)
        .dpdk_telemetry()
        .run(async move |_| {
            let listener = TcpListener::bind("198.18.0.2:80").await.unwrap();
            let to = listener.local_addr().unwrap();
            let ends = tokio::join!(TcpStream::connect(to), listener.accept());
            let asking = move || {
                let fd = client(&directory);
                let commands = ask(&fd, "/");
                let commands = commands["/"].as_array().unwrap();
                for command in ["/dpdk_net/queues", "/dpdk_net/stats", "/ethdev/list"] {
                    assert!(commands.iter().any(|it| it == command), "{command}");
                }
                let help = ask(&fd, "/help,/dpdk_net/stats").to_string();
                assert!(help.contains("PORT,QUEUE"), "{help}");
                let queues = ask(&fd, "/dpdk_net/queues");
                assert_eq!(
                    queues["/dpdk_net/queues"],
                    serde_json::json!(["net_null0,0"])
                );
                for command in ["/dpdk_net/stats", "/dpdk_net/stats,net_null0,0"] {
                    let stats = ask(&fd, command);
                    let stats = &stats["/dpdk_net/stats"];
                    assert_eq!(stats["connections"], 2, "{command}: {stats}");
                    assert_eq!(stats["tcp_active_opens"], 1, "{command}: {stats}");
                }
                for unknown in ["/dpdk_net/stats,net_null0,1", "/dpdk_net/stats,,,"] {
                    let none = ask(&fd, unknown);
                    assert_eq!(none["/dpdk_net/stats"], Value::Null, "{unknown}");
                }
                fd
            };
            let fd = tokio::task::spawn_blocking(asking).await.unwrap();
            drop(ends);
            fd
        })
        .unwrap();
    // The application is gone, EAL is not: nobody answers any more, until somebody else does.
    assert_eq!(
        ask(&connected, "/dpdk_net/queues")["/dpdk_net/queues"],
        Value::Null
    );
    let figures = |_: &str| {
        Some(Answer::Figures(vec![
            ("ok".into(), 7),
            ("not ok".into(), 8),
        ]))
    };
    let registered = register("/dpdk_net/queues", "Others", figures).unwrap();
    assert_eq!(
        ask(&connected, "/dpdk_net/queues")["/dpdk_net/queues"],
        serde_json::json!({ "ok": 7 })
    );
    assert!(register("/dpdk_net/queues", "Twice", |_| None).is_err());
    drop(registered);
    for bad in ["stats", "/a b", "/\0", &"/x".repeat(40)] {
        assert!(register(bad, "", |_| None).is_err(), "{bad}");
    }
    let _panics = register("/test/panics", "", |_| panic!("it does")).unwrap();
    assert_eq!(ask(&connected, "/test/panics")["/test/panics"], Value::Null);
}
