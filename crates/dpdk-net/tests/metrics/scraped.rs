//! The server of figures: under load, asked badly or slowly, and over the application's own stack.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use dpdk_net::app::PrometheusConfig;
use dpdk_net::metrics::{Families, Kind, Metric, Unit};
use dpdk_net::net as ours;
use dpdk_net::{App, Context};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::{Netns, Veth, disable_tx_offloads, free_tcp_port};
use rustix::net::{AddressFamily, SocketType, socket, sockopt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::kernel::{OURS, app_facing_kernel, eal_facing_kernel, kernel_up};
use crate::exposition::{Exposition, read};

const PATIENCE: Duration = Duration::from_secs(30);

const CLIENTS: usize = 8;
const SCRAPERS: usize = 3;
/// Readings that differ, of each scraper.
const READINGS: usize = 12;

/// The path in the file of the application that is scraped over its stack.
const PATH: &str = "/figures";

/// An address of the loopback interface where nobody listens yet.
fn loopback() -> SocketAddr {
    let ip = Ipv4Addr::LOCALHOST.into();
    SocketAddr::new(ip, free_tcp_port(ip).unwrap())
}

/// Sends bytes and reads all that comes back.
fn ask(to: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Who is refused early is cut off early.
    let _ = stream.write_all(request.as_ref());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(to: SocketAddr, path: &str, fields: &str) -> (String, String) {
    let answer = ask(
        to,
        format!("GET {path} HTTP/1.1\r\nhost: x\r\n{fields}\r\n"),
    );
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_ascii_lowercase(), body.to_owned())
}

fn scrape(to: SocketAddr) -> Exposition {
    let (head, body) = get(to, "/metrics", "");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    read(&body, false)
}

/// Runs `work` on a thread in the namespace, and waits for it without holding the worker up.
async fn beside<T: Send + 'static>(netns: &Netns, work: impl FnOnce() -> T + Send + 'static) -> T {
    let thread = netns.spawn(work);
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    thread.join().unwrap()
}

async fn echo(listener: ours::TcpListener) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let mut buf = vec![0; 16_384];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                stream.write_all(&buf[..len]).await.unwrap();
            }
        });
    }
}

#[test]
fn scrapes_under_full_load_are_whole_and_lose_no_request() {
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = eal_facing_kernel("net_tap0,iface=tp0");
    kernel_up(&netns, "tp0");
    let listen = loopback();
    let app = app_facing_kernel(eal).prometheus(PrometheusConfig::new(listen));
    let (first, last, served) = app
        .run(async |_| {
            let listener = ours::TcpListener::bind("[::]:7").await.unwrap();
            tokio::spawn(echo(listener));
            let first = beside(&netns, move || scrape(listen)).await;
            let left = Arc::new(AtomicUsize::new(SCRAPERS));
            let scrapers: Vec<_> = (0..SCRAPERS)
                .map(|_| {
                    let left = left.clone();
                    netns.spawn(move || {
                        let mut before: BTreeMap<String, f64> = BTreeMap::new();
                        let (mut readings, mut uptime) = (0, 0.0);
                        while readings < READINGS {
                            let now = scrape(listen);
                            // What was read a moment ago is told again.
                            let told = now.series["dpdk_net_uptime_seconds"];
                            readings += usize::from(told != uptime);
                            uptime = told;
                            for (series, value) in &now.series {
                                let (name, _) = series.split_once('{').unwrap_or((series, ""));
                                let counts = ["_total", "_bucket", "_count", "_sum"];
                                if counts.iter().any(|end| name.ends_with(end)) {
                                    let before = before.insert(series.clone(), *value);
                                    assert!(
                                        before.is_none_or(|it| it <= *value),
                                        "{series} went back"
                                    );
                                }
                            }
                        }
                        left.fetch_sub(1, Ordering::Relaxed);
                    })
                })
                .collect();
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let left = left.clone();
                    netns.spawn(move || {
                        let family = Family::BOTH[client % 2];
                        let mut stream = TcpStream::connect(family.socket(OURS, 7)).unwrap();
                        stream.set_nodelay(true).unwrap();
                        stream.set_read_timeout(Some(PATIENCE)).unwrap();
                        let request = vec![client as u8; 700 * (client + 1)];
                        let mut back = vec![0; request.len()];
                        let mut served = 0_u64;
                        while left.load(Ordering::Relaxed) > 0 {
                            stream.write_all(&request).unwrap();
                            stream.read_exact(&mut back).unwrap();
                            assert_eq!(back, request);
                            served += request.len() as u64;
                        }
                        served
                    })
                })
                .collect();
            let done = || {
                scrapers.iter().all(|it| it.is_finished())
                    && clients.iter().all(|it| it.is_finished())
            };
            while !done() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            scrapers.into_iter().for_each(|it| it.join().unwrap());
            let served: u64 = clients.into_iter().map(|it| it.join().unwrap()).sum();
            // One that was read since.
            let age = Duration::from_millis(150);
            tokio::time::sleep(age).await;
            (first, beside(&netns, move || scrape(listen)).await, served)
        })
        .unwrap();
    assert_eq!(
        first.types, last.types,
        "all series are there from the beginning"
    );
    assert!(served > 0);
    for name in ["dpdk_net_tcp_rx_bytes_total", "dpdk_net_tcp_tx_bytes_total"] {
        assert_eq!(last.sum(name, &[]), served as f64, "{name}");
    }
    let accepted = last.sum("dpdk_net_tcp_passive_opens_total", &[]);
    assert_eq!(
        accepted, CLIENTS as f64,
        "scrapes do not come over the stack"
    );
    let turns = last.sum("dpdk_net_worker_turns_total", &[]);
    let timed = last.sum("dpdk_net_worker_busy_turn_seconds_count", &[])
        + last.sum("dpdk_net_worker_idle_turn_seconds_count", &[]);
    assert_eq!(turns, timed, "each turn but the one under way is timed");
    let bursts = last.sum("dpdk_net_worker_rx_bursts_total", &[]);
    assert_eq!(last.sum("dpdk_net_worker_rx_batch_count", &[]), bursts);
    let frames = last.sum("dpdk_net_worker_rx_frames_total", &[]);
    assert_eq!(last.sum("dpdk_net_worker_rx_batch_sum", &[]), frames);
    let sent = last.sum("dpdk_net_worker_tx_bursts_total", &[]);
    assert!(sent > 0.0);
    assert_eq!(last.sum("dpdk_net_worker_tx_batch_count", &[]), sent);
    let frames = last.sum("dpdk_net_worker_tx_frames_total", &[]);
    // What the NIC is to cut is one packet of several frames.
    let packets = last.sum("dpdk_net_worker_tx_batch_sum", &[]);
    assert!(
        sent <= packets && packets <= frames,
        "{sent} {packets} {frames}"
    );
    assert_eq!(
        turns,
        bursts + last.sum("dpdk_net_worker_empty_polls_total", &[])
    );
    assert!(last.sum("dpdk_net_worker_busy_cycles_total", &[]) > 0.0);
}

static GREETINGS: Metric = Metric {
    name: "greetings",
    help: "What was said, as \\ and\nin two lines.",
    unit: Unit::None,
    kind: Kind::Counter,
    linux: None,
};

#[test]
fn who_asks_badly_or_slowly_is_told_or_cut_off_and_hurts_nobody() {
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = eal_facing_kernel("net_tap0,iface=tp0");
    kernel_up(&netns, "tp0");
    let listen = loopback();
    let app = app_facing_kernel(eal)
        .prometheus(PrometheusConfig::new(listen))
        .collector(|families: &mut Families| {
            let word = [("word", "\"hi\"\n\\".to_owned())];
            families.add("shop", &GREETINGS, word.clone(), 3_u64);
            // What would keep readers from taking anything is left out.
            families.add("shop", &GREETINGS, word, 4_u64);
            families.add("shop", &GREETINGS, [("the word", "x".to_owned())], 5_u64);
            families.add("9 shops", &GREETINGS, [], 6_u64);
            assert_eq!(families.refused().len(), 3);
        });
    let asked = app.run(async |_| beside(&netns, move || ask_badly_and_slowly(listen)).await);
    asked.unwrap();
}

fn ask_badly_and_slowly(listen: SocketAddr) {
    // Both formats, and who gets which.
    let text = scrape(listen);
    let greetings = r#"shop_greetings_total{word="\"hi\"\n\\"}"#;
    assert_eq!(text.series[greetings], 3.0);
    let open =
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let (head, body) = get(listen, "/metrics", &format!("accept: {open}\r\n"));
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let open = read(&body, true);
    assert_eq!(open.types.len(), text.types.len());
    let (head, _) = get(
        listen,
        "/metrics",
        "accept: text/plain, application/openmetrics-text;q=0.2\r\n",
    );
    assert!(head.contains("content-type: text/plain; version=0.0.4"));

    // What is not to be had.
    let status = |answer: &str| answer.split(' ').nth(1).unwrap_or("nothing").to_owned();
    let (head, body) = get(listen, "/", "");
    assert_eq!(status(&head), "404");
    assert!(body.contains("/metrics"), "{body}");
    assert_eq!(status(&get(listen, "/metrics/", "").0), "404");
    let (head, body) = get(listen, "/healthz", "");
    assert_eq!((status(&head), body.as_str()), ("200".to_owned(), "ok\n"));
    let post = ask(
        listen,
        "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello",
    );
    assert_eq!(status(&post), "405");
    assert!(
        post.to_ascii_lowercase().contains("allow: get, head\r\n"),
        "{post}"
    );
    let head = ask(listen, "HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(status(&head), "200");
    assert!(head.ends_with("\r\n\r\n"), "no body: {head}");
    assert_eq!(status(&ask(listen, "no HTTP at all\r\n\r\n")), "400");
    let long = format!(
        "GET /metrics HTTP/1.1\r\nhost: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    assert!(["431", "nothing"].contains(&status(&ask(listen, long)).as_str()));
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(200));
    assert_eq!(status(&ask(listen, many)), "431");
    // One request a connection.
    let two = "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    assert_eq!(ask(listen, two).matches("200 OK").count(), 1);

    // More of those who never say what they want, and of those who read nothing, than may be at a time: all are let go of.
    let silent: Vec<TcpStream> = (0..40)
        .map(|_| TcpStream::connect(listen).unwrap())
        .collect();
    let deaf = (0..40).map(|_| {
        let mut stream = TcpStream::connect(listen).unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
            .unwrap();
        stream
    });
    let deaf: Vec<TcpStream> = deaf.collect();
    let begun = Instant::now();
    scrape(listen);
    assert!(begun.elapsed() < PATIENCE);
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // Closed, or reset: it ends.
        assert!(!matches!(stream.read(&mut [0]), Ok(1)));
    }
    for stream in deaf {
        let _ = stream.shutdown(Shutdown::Both);
    }
    scrape(listen);
}

/// Connections that are served at a time.
const PLACES: usize = 32;

/// Series, and bytes of each: together more than what sockets take which nobody reads from.
const LARGE: (usize, usize) = (512, 32 * 1024);

/// Asks and reads nothing, with little room for what comes.
fn deaf(to: SocketAddr) -> TcpStream {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4_096).unwrap();
    rustix::net::connect(&socket, &to).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n")
        .unwrap();
    stream
}

#[test]
fn scrapers_that_read_nothing_are_cut_off_and_cost_no_client_a_byte() {
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = eal_facing_kernel("net_tap0,iface=tp0");
    kernel_up(&netns, "tp0");
    let listen = loopback();
    let app = app_facing_kernel(eal)
        .prometheus(PrometheusConfig::new(listen))
        .collector(|families: &mut Families| {
            let (series, bytes) = LARGE;
            let filling = "x".repeat(bytes);
            for number in 0..series {
                let word = [("word", format!("{number} {filling}"))];
                families.add("shop", &GREETINGS, word, 1_u64);
            }
        });
    let asked = app.run(async |_| {
        let listener = ours::TcpListener::bind("[::]:7").await.unwrap();
        tokio::spawn(echo(listener));
        let over = Arc::new(AtomicUsize::new(0));
        let told = over.clone();
        let client = netns.spawn(move || {
            let mut stream = TcpStream::connect(Family::V4.socket(OURS, 7)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (request, mut back) = ([7; 3_000], [0; 3_000]);
            let mut served = 0;
            while told.load(Ordering::Relaxed) == 0 {
                stream.write_all(&request).unwrap();
                back.fill(0);
                stream.read_exact(&mut back).unwrap();
                assert_eq!(back, request);
                served += request.len();
            }
            served
        });
        let (scraped, lens) = beside(&netns, move || {
            let deaf: Vec<TcpStream> = (0..PLACES).map(|_| deaf(listen)).collect();
            // There is a place for this one once one of those is cut off.
            let scraped = scrape(listen);
            let len = |mut stream: TcpStream| {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                let mut answer = Vec::new();
                let _ = stream.read_to_end(&mut answer);
                answer.len()
            };
            (scraped, deaf.into_iter().map(len).collect::<Vec<_>>())
        })
        .await;
        over.store(1, Ordering::Relaxed);
        while !client.is_finished() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        (scraped, lens, client.join().unwrap())
    });
    let (scraped, lens, served) = asked.unwrap();
    let (series, bytes) = LARGE;
    assert_eq!(scraped.sum("shop_greetings_total", &[]), series as f64);
    let is_cut = |len: &usize| *len < series * bytes;
    assert!(lens.iter().any(is_cut), "{lens:?}");
    assert!(served > 0);
}

#[test]
fn the_stack_itself_serves_figures_of_all_queues_as_a_file_says() {
    let (ours, kernel) = (Netns::new().unwrap(), Netns::new().unwrap());
    let cable = Veth::new(Some(&ours), Some(&kernel)).unwrap();
    disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
    kernel_up(&kernel, cable.right());
    ours.enter().unwrap();
    let (v4, v6) = (Family::V4.host(OURS), Family::V6.host(OURS));
    let text = format!(
        "[dpdk]\nhugepages = false\nmemory = \"512 MiB\"\nshared_config = false\ntelemetry = false\n\
         file_prefix = \"dpdk-net-test-{}\"\n\
         [workers]\nlcores = \"0@0,1@1\"\nidle = \"yield\"\nidle_turns = 16\n\
         [metrics]\nlisten = \"{v4}:9464\"\ntransport = \"stack\"\npath = \"{PATH}\"\n\
         [[port]]\nname = \"wan\"\ninterface = \"{}\"\nqueues = 2\n\
         [port.network]\naddresses = [\"{v4}/16\", \"{v6}/64\"]\nduplicate_detection = false\n",
        std::process::id(),
        cable.left()
    );
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("app.toml");
    std::fs::write(&file, text).unwrap();
    let app = App::from_file(&file).unwrap();
    let kernel = Arc::new(kernel);
    let results = app.run(async |ctx: Context| {
        if ctx.queue() > 0 {
            return None;
        }
        let (netns, url) = (kernel.clone(), format!("http://{v4}:9464{PATH}"));
        let curl = std::thread::spawn(move || {
            let command = ["curl", "-sS", "--max-time", "20", &url];
            let told = netns.run(&command, PATIENCE).unwrap().text();
            let url = url.replace(PATH, "/metrics");
            let command = [
                "curl",
                "-sS",
                "--max-time",
                "20",
                "-o",
                "/dev/null",
                "-w",
                "%{http_code}",
                &url,
            ];
            (told, netns.run(&command, PATIENCE).unwrap().text())
        });
        while !curl.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (told, elsewhere) = curl.join().unwrap();
        assert_eq!(elsewhere, "404");
        Some(read(&told, false))
    });
    let results = results.unwrap().into_iter();
    let told = results.map(Result::unwrap).next().flatten().unwrap();
    for queue in ["0", "1"] {
        let of = [("port", "wan"), ("queue", queue)];
        assert!(told.sum("dpdk_net_worker_turns_total", &of) > 0.0);
        assert!(told.sum("dpdk_net_worker_tasks", &of) > 0.0);
    }
    // Whichever queue they came to: a SYN, an ACK, a request.
    let segments = told.sum("dpdk_net_tcp_rx_segments_total", &[("port", "wan")]);
    assert!(segments >= 3.0, "{segments}");
    // The connection that asks is one of those it is told of.
    assert_eq!(
        told.sum("dpdk_net_tcp_passive_opens_total", &[("port", "wan")]),
        1.0
    );
    assert_eq!(
        told.sum(
            "dpdk_net_tcp_connections",
            &[("port", "wan"), ("state", "established")]
        ),
        1.0
    );
    assert_eq!(
        told.sum("dpdk_net_steering_flows_refused_total", &[("port", "wan")]),
        0.0
    );
}
