//! The application: bring-up, signals, draining, and what is refused with which words.

mod common;

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use common::*;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::{Eal, ring};
use dpdk_net::{App, AppBuilder, Context, Error, Handle, IdlePolicy, Reactor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// An application on one end of a pair of rings, the reactor of a client on the other, and what both need.
fn bed() -> (AppBuilder, Reactor, impl Sized) {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (port, client) = side(&eal, rings.ids()[1], stack(2));
    let name = eal
        .ports()
        .into_iter()
        .find(|p| p.id == rings.ids()[0])
        .unwrap()
        .name;
    let app = App::builder()
        .with_eal(eal)
        .port(name)
        .address(format!("{SERVER_V4}/24"))
        .address(format!("{SERVER_V6}/64"))
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 100 })
        .link_timeout(Duration::ZERO);
    (app, Reactor::new(client).unwrap(), (port, rings))
}

/// The client's side runs on a thread of its own: it must go on while the application is taken down.
fn client<T: Send + 'static>(
    mut reactor: Reactor,
    work: impl AsyncFnOnce(Handle) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    std::thread::spawn(move || {
        let handle = reactor.handle();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let turning = async {
                loop {
                    reactor.turn();
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                result = work(handle) => result,
                () = turning => unreachable!(),
            }
        })
    })
}

async fn connect(client: &Handle, port: u16) -> TcpStream {
    loop {
        match client.scope(TcpStream::connect(at(SERVER_V4, port))).await {
            Ok(stream) => return stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

fn send_signal(signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::getpid(), signal).unwrap();
}

#[test]
fn an_application_serves_and_ends_with_its_closure() {
    let (app, reactor, _keep) = bed();
    let peer = client(reactor, async |client: Handle| {
        let mut stream = connect(&client, 80).await;
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        all
    });
    let served = app
        .run(|ctx: Context| async move {
            assert!(ctx.addresses().contains(&SERVER_V4.parse().unwrap()));
            assert!(ctx.port().link().unwrap().up);
            let listener = TcpListener::bind("[::]:80").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"served").await.unwrap();
            let stats = ctx.stats();
            assert_eq!(stats.connections.len(), 1);
            assert!(stats.worker.rx_frames > 0);
            assert!(stats.port.is_some());
            7
        })
        .unwrap();
    assert_eq!(served, 7);
    assert_eq!(
        peer.join().unwrap(),
        b"served",
        "what was written is delivered after the end"
    );
}

#[test]
fn a_signal_stops_accepting_and_lets_connections_finish() {
    let (app, reactor, _keep) = bed();
    let peer = client(reactor, async |client: Handle| {
        let mut stream = connect(&client, 80).await;
        stream.write_all(b"x").await.unwrap();
        // Sent by the server once it was told to end.
        assert_eq!(stream.read_u8().await.unwrap(), b'!');
        let late = client
            .scope(TcpStream::connect(at(SERVER_V4, 80)))
            .await
            .unwrap_err();
        stream.write_all(b"finish").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (late.kind(), rest)
    });
    let out = app
        .run(|ctx: Context| async move {
            let listener = TcpListener::bind("[::]:80").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            let shutdown = ctx.shutdown();
            assert!(!ctx.is_shutting_down());
            send_signal(rustix::process::Signal::INT);
            shutdown.await;
            assert!(ctx.is_shutting_down());
            tokio::spawn(async move {
                stream.write_all(b"!").await.unwrap();
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await.unwrap();
                stream.write_all(&rest).await.unwrap();
            });
            // Keeps listening: the stack refuses for it.
            (listener, "graceful")
        })
        .unwrap();
    assert_eq!(out.1, "graceful");
    let (late, rest) = peer.join().unwrap();
    assert_eq!(late, ErrorKind::ConnectionRefused);
    assert_eq!(rest, b"finish");
}

#[test]
fn a_connection_that_does_not_finish_is_reset_after_the_drain_timeout() {
    let (app, reactor, _keep) = bed();
    let peer = client(reactor, async |client: Handle| {
        let mut stream = connect(&client, 80).await;
        stream.write_all(b"x").await.unwrap();
        // Neither reads on nor closes: the server's task would wait for ever.
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0])).await;
        read.expect("told").map_err(|error| error.kind())
    });
    let started = Instant::now();
    let result = app
        .drain_timeout(Duration::from_millis(300))
        .run(|_ctx| async move {
            let listener = TcpListener::bind("[::]:80").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            send_signal(rustix::process::Signal::TERM);
            // Never asks for the shutdown: the connection alone is waited for.
            let _ = stream.read_u8().await;
        });
    assert!(
        matches!(result, Err(Error::Stopped { signal: "SIGTERM" })),
        "{result:?}"
    );
    assert!(started.elapsed() >= Duration::from_millis(300));
    assert!(started.elapsed() < Duration::from_secs(10));
    let told = peer.join().unwrap();
    assert!(
        matches!(told, Ok(0) | Err(ErrorKind::ConnectionReset)),
        "{told:?}"
    );
}

#[test]
fn a_second_signal_ends_at_once() {
    let (app, reactor, _keep) = bed();
    let peer = client(reactor, async |client: Handle| {
        let mut stream = connect(&client, 80).await;
        stream.write_all(b"x").await.unwrap();
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0])).await;
    });
    let started = Instant::now();
    let result = app
        .drain_timeout(Duration::from_secs(60))
        .run(|ctx: Context| async move {
            let listener = TcpListener::bind("[::]:80").await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            send_signal(rustix::process::Signal::INT);
            ctx.shutdown().await;
            send_signal(rustix::process::Signal::INT);
            std::future::pending::<()>().await;
        });
    assert!(
        matches!(result, Err(Error::Stopped { signal: "SIGINT" })),
        "{result:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    peer.join().unwrap();
}

#[test]
fn two_signals_while_a_task_holds_the_worker_are_two() {
    let (app, _, _keep) = bed();
    let started = Instant::now();
    let result = app
        .drain_timeout(Duration::from_secs(30))
        .run(|ctx: Context| async move {
            for _ in 0..2 {
                send_signal(rustix::process::Signal::INT);
                std::thread::sleep(Duration::from_millis(100));
            }
            ctx.shutdown().await;
            std::future::pending::<()>().await;
        });
    assert!(matches!(result, Err(Error::Stopped { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

/// Clients that connect, ask and are answered, over and over: how many were answered, and how many had a
/// connection and no answer.
async fn ask_until_refused(client: &Handle, clients: usize) -> (usize, usize) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let client = client.clone();
        tasks.spawn(async move {
            let patience = Duration::from_secs(3);
            let (mut answered, mut lost) = (0, 0);
            loop {
                let connect = client.scope(TcpStream::connect(at(SERVER_V4, 80)));
                match tokio::time::timeout(patience, connect).await {
                    Ok(Ok(mut stream)) => {
                        let exchange = async {
                            stream.write_all(b"?").await?;
                            stream.read_u8().await
                        };
                        match tokio::time::timeout(patience, exchange).await {
                            Ok(Ok(b'!')) => answered += 1,
                            _ => lost += 1,
                        }
                    }
                    Ok(Err(_)) if answered + lost == 0 => {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                    // Refused, or nobody is there any more.
                    _ => return (answered, lost),
                }
            }
        });
    }
    let each = tasks.join_all().await;
    each.into_iter()
        .fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
}

#[test]
fn a_signal_under_load_loses_no_connection_that_was_made() {
    let (app, reactor, _keep) = bed();
    let peer = client(reactor, async |client: Handle| {
        ask_until_refused(&client, 100).await
    });
    app.run(|ctx: Context| async move {
        let listener = TcpListener::bind("[::]:80").await.unwrap();
        let mut shutdown = std::pin::pin!(ctx.shutdown());
        let mut accepted = 0;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                connection = listener.accept() => {
                    let (mut stream, _) = connection.unwrap();
                    accepted += 1;
                    if accepted == 2_000 {
                        send_signal(rustix::process::Signal::TERM);
                    }
                    tokio::spawn(async move {
                        if stream.read_u8().await.is_ok() {
                            let _ = stream.write_u8(b'!').await;
                        }
                    });
                }
            }
        }
    })
    .unwrap();
    let (answered, lost) = peer.join().unwrap();
    assert!(answered >= 1_900, "{answered} answered");
    assert_eq!(lost, 0, "of {answered}");
}

#[test]
fn timeouts_may_be_for_ever() {
    let (app, _, _keep) = bed();
    let out = app
        .drain_timeout(Duration::MAX)
        .link_timeout(Duration::MAX)
        .run(|ctx: Context| async move {
            let shutdown = ctx.shutdown();
            ctx.request_shutdown();
            shutdown.await;
            5
        })
        .unwrap();
    assert_eq!(out, 5);
}

#[test]
fn a_program_that_does_not_return_after_its_own_request_is_stopped_by_it() {
    let (app, _, _keep) = bed();
    let result = app.run(|ctx: Context| async move {
        ctx.request_shutdown();
        std::future::pending::<()>().await;
    });
    let error = result.unwrap_err();
    assert!(error.to_string().contains("request_shutdown"), "{error}");
}

#[test]
fn a_pool_that_cannot_fill_the_rings_is_refused_with_the_number_it_needs() {
    let (app, _, _keep) = bed();
    let error = app
        .descriptors(512)
        .mbufs(512)
        .run(|_| async {})
        .unwrap_err();
    assert!(matches!(error, Error::BadValue { .. }), "{error}");
    assert!(error.to_string().contains("640"), "{error}");
}

#[test]
fn an_idle_program_that_never_asks_for_the_shutdown_ends_on_a_signal() {
    let (app, _, _keep) = bed();
    let started = Instant::now();
    let result = app.drain_timeout(Duration::from_secs(60)).run(|_| async {
        let listener = TcpListener::bind("[::]:80").await.unwrap();
        send_signal(rustix::process::Signal::TERM);
        loop {
            let _ = listener.accept().await;
        }
    });
    let result: Result<(), Error> = result;
    assert!(matches!(result, Err(Error::Stopped { .. })));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn an_address_that_another_host_has_is_refused() {
    let (app, reactor, _keep) = bed();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let peer = client(reactor, async |_| stopped.await);
    let error = app
        .stack(|stack| stack.dad = true)
        .address(format!("{CLIENT_V4}/24"))
        .run(|_| async {})
        .unwrap_err();
    assert!(
        matches!(error, Error::AddressTaken { address } if address.to_string() == CLIENT_V4),
        "{error}"
    );
    drop(stop);
    let _ = peer.join().unwrap();
}

#[test]
fn a_program_starts_when_its_probed_addresses_can_be_bound() {
    let (app, _, _keep) = bed();
    app.stack(|stack| stack.dad = true)
        .run(|_| async {
            for (ip, _) in FAMILIES {
                TcpListener::bind(at(ip, 80)).await.unwrap();
            }
        })
        .unwrap();
}

#[test]
fn a_program_may_end_itself_gracefully() {
    let (app, _, _keep) = bed();
    let out = app
        .run(|ctx: Context| async move {
            let asking = ctx.clone();
            tokio::spawn(async move { asking.request_shutdown() });
            ctx.shutdown().await;
            3
        })
        .unwrap();
    assert_eq!(out, 3);
}

#[test]
fn malformed_and_missing_addresses_are_refused_before_eal_starts() {
    let run = |app: AppBuilder| app.run(|_| async {}).unwrap_err();
    let error = run(App::builder().address("198.18.0.2"));
    assert!(matches!(error, Error::BadAddress { .. }));
    assert!(error.to_string().contains("198.18.0.2/24"), "{error}");
    let error = run(App::builder().address("198.18.0.2/33"));
    assert!(error.to_string().contains("at most 32"), "{error}");
    let error = run(App::builder());
    assert!(matches!(error, Error::NoAddress), "{error}");
    let error = run(App::builder().address("fd00::2/64").mtu(600));
    assert!(error.to_string().contains("1280 to 9000"), "{error}");
    let error = run(App::builder().vlan(100, ["198.18.0.2"]));
    assert!(matches!(error, Error::BadAddress { .. }));
    let error = run(App::builder().vlan(100, [""; 0]));
    assert!(matches!(error, Error::NoAddress), "{error}");
    let error = run(App::builder().vlan(4095, ["198.18.0.2/24"]));
    assert!(error.to_string().contains("1 to 4094"), "{error}");
    let twice = App::builder().address("198.18.0.2/24");
    let error = run(twice.vlan(100, ["198.18.0.2/24"]));
    assert!(error.to_string().contains("given twice"), "{error}");
    // Nothing was started, so it still can be.
    eal("0");
}

#[test]
fn an_unknown_port_is_refused_with_those_that_exist() {
    let (app, _, _keep) = bed();
    let error = app.port("net_tap9").run(|_| async {}).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("net_tap9") && text.contains("client"),
        "{text}"
    );
}

#[test]
fn a_port_in_use_is_refused() {
    let (app, _, _keep) = bed();
    let error = app.port("net_ring_client").run(|_| async {}).unwrap_err();
    assert!(error.to_string().contains("open"), "{error}");
}

#[test]
fn an_eal_without_ports_says_how_to_get_one() {
    let eal: Eal = eal("0");
    let error = App::builder()
        .with_eal(eal)
        .address("198.18.0.2/24")
        .run(|_| async {})
        .unwrap_err();
    assert!(matches!(error, Error::NoPort), "{error}");
    assert!(error.to_string().contains("vdev"), "{error}");
}
