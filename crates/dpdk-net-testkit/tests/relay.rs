//! The relay between two kernels: each of its settings is seen to act, what it should leave alone it does, and the program says
//! what is wrong with its arguments. Needs root.
#![cfg(feature = "vdev")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::Pattern;
use dpdk_net_testkit::bed::{KernelHost, Process, RelayedBed, run};
use dpdk_net_testkit::relay::{Relay, RelayStats, Running};
use dpdk_net_testkit::sim::LinkConfig;

const TIMEOUT: Duration = Duration::from_secs(60);
const RELAY: &str = env!("CARGO_BIN_EXE_dpdk-net-relay");

/// Two kernels and the place between them.
struct Kernels {
    left: KernelHost,
    right: KernelHost,
    _bed: RelayedBed,
}

impl Kernels {
    fn new() -> Self {
        let bed = RelayedBed::new().unwrap();
        Self {
            left: bed.kernel_host(1).unwrap(),
            right: bed.kernel_host(2).unwrap(),
            _bed: bed,
        }
    }

    /// Starts a relay, and makes the kernels learn each other's MAC addresses before the link gets bad.
    fn relay(&self, there: LinkConfig, back: LinkConfig) -> Running {
        let relay = Relay::new(self.left.end(), self.right.end())
            .start()
            .unwrap();
        for family in Family::BOTH {
            self.ping(family, 1, &[]);
        }
        relay.configure(there, back);
        relay
    }

    fn ping(&self, family: Family, count: u32, args: &[&str]) -> Pings {
        let (count, to) = (count.to_string(), self.right.address(family).to_string());
        // One that hears nothing fails: its output is looked at all the same.
        let line = format!(
            "ping -n -c {count} -i 0.01 -W 1 {} {to}; true",
            args.join(" ")
        );
        let text = self
            .left
            .netns()
            .run(&["sh", "-c", &line], TIMEOUT)
            .unwrap()
            .text();
        Pings { text }
    }

    /// What a counter of the right kernel's IP stack says.
    fn right_counter(&self, name: &str) -> u64 {
        let all = ["nstat", "-asz", name];
        let text = self.right.netns().run(&all, TIMEOUT).unwrap().text();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `len` bytes of a pattern by TCP each way at once, every byte checked.
    fn exchange(&self, family: Family, len: u64) -> Duration {
        let at = SocketAddr::new(self.right.address(family), 5_000);
        let listener = self
            .right
            .netns()
            .spawn(move || TcpListener::bind(at).unwrap())
            .join()
            .unwrap();
        let server = std::thread::spawn(move || both_ways(listener.accept().unwrap().0, 2, 1, len));
        let started = Instant::now();
        let client = self
            .left
            .netns()
            .spawn(move || both_ways(TcpStream::connect(at).unwrap(), 1, 2, len));
        client.join().unwrap();
        server.join().unwrap();
        started.elapsed()
    }
}

/// Sends one pattern and expects another.
fn both_ways(stream: TcpStream, sent: u64, expected: u64, len: u64) {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut writing = stream.try_clone().unwrap();
    let writer: JoinHandle<()> = std::thread::spawn(move || {
        let mut bytes = vec![0; len as usize];
        Pattern::new(sent).fill(0, &mut bytes);
        writing.write_all(&bytes).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let mut bytes = Vec::new();
    (&stream).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, len);
    Pattern::new(expected).check(0, &bytes).unwrap();
    writer.join().unwrap();
}

/// What `ping` printed.
struct Pings {
    text: String,
}

impl Pings {
    /// Sequence numbers in the order of the replies.
    fn sequence(&self) -> Vec<u32> {
        self.values("icmp_seq=")
            .map(|value| value.parse().unwrap())
            .collect()
    }

    /// Round trips in milliseconds.
    fn times(&self) -> Vec<f64> {
        self.values("time=")
            .map(|value| value.parse().unwrap())
            .collect()
    }

    fn values(&self, key: &'static str) -> impl Iterator<Item = &str> {
        let replies = self.text.lines().filter(|line| line.contains("bytes from"));
        replies.map(move |line| line.split_once(key).unwrap().1.split(' ').next().unwrap())
    }

    fn distinct(&self) -> usize {
        let mut sequence = self.sequence();
        sequence.sort_unstable();
        sequence.dedup();
        sequence.len()
    }
}

fn perfect() -> LinkConfig {
    LinkConfig::perfect()
}

fn stats(relay: Running) -> RelayStats {
    relay.stop().unwrap()
}

#[test]
fn nothing_is_changed_unless_it_is_asked_for() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect(), perfect());
    for family in Family::BOTH {
        assert_eq!(
            kernels.ping(family, 50, &[]).sequence(),
            Vec::from_iter(1..=50)
        );
        kernels.exchange(family, 3_000_000);
    }
    let stats = stats(relay);
    for direction in [stats.there, stats.back] {
        let link = direction.link;
        assert_eq!((direction.sent, direction.send_failed), (link.offered, 0));
        assert_eq!(
            (direction.unfinished, direction.oversize),
            (0, 0),
            "{stats:?}"
        );
    }
}

#[test]
fn delay_is_added_in_each_direction_and_jitter_varies_it() {
    let kernels = Kernels::new();
    let relay = kernels.relay(
        LinkConfig::delay(Duration::from_millis(30)),
        LinkConfig::delay(Duration::from_millis(10)),
    );
    for family in Family::BOTH {
        let times = kernels.ping(family, 5, &[]).times();
        assert_eq!(times.len(), 5);
        let least = times.iter().copied().fold(f64::MAX, f64::min);
        assert!((40.0..60.0).contains(&least), "{times:?}");
    }
    let jitter = LinkConfig::delay(Duration::from_millis(5)).with_jitter(Duration::from_millis(40));
    relay.configure(jitter, perfect());
    let pings = kernels.ping(Family::V4, 100, &[]);
    let (mut least, mut most) = (f64::MAX, 0f64);
    for time in pings.times() {
        (least, most) = (least.min(time), most.max(time));
    }
    assert!(least >= 5.0 && most - least > 15.0, "{least} to {most} ms");
    assert!(pings.sequence().is_sorted(), "jitter keeps the order");
}

#[test]
fn every_frame_that_is_missing_is_one_that_the_relay_counts_as_lost() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect().with_loss(0.2), perfect().with_loss(0.1));
    let answered = kernels.ping(Family::V4, 300, &[]).distinct() as u64;
    let stats = stats(relay);
    let lost = stats.there.link.lost + stats.back.link.lost;
    // A neighbour's address is asked for again now and then: that may be lost as well.
    assert!(
        (300 - answered..300 - answered + 8).contains(&lost),
        "{answered} answered, {lost} lost"
    );
    assert!((30..90).contains(&stats.there.link.lost), "{stats:?}");
}

#[test]
fn duplicates_and_overtaken_frames_arrive() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect().with_duplication(0.3), perfect());
    let pings = kernels.ping(Family::V6, 100, &[]);
    assert_eq!(pings.distinct(), 100);
    let copies = relay.stats().there.link.duplicated;
    assert!((10..60).contains(&copies), "{copies} copies");
    assert!(pings.text.contains("DUP!"), "{}", pings.text);
    relay.configure(
        perfect().with_reordering(0.2, Duration::from_millis(60)),
        perfect(),
    );
    let pings = kernels.ping(Family::V4, 100, &[]);
    assert_eq!(pings.distinct(), 100);
    assert!(!pings.sequence().is_sorted(), "{}", pings.text);
}

#[test]
fn corrupted_frames_are_refused_by_their_checksum_and_the_stream_is_intact() {
    let kernels = Kernels::new();
    let bad = perfect().with_corruption(0.02);
    let relay = kernels.relay(bad.clone(), bad);
    for family in Family::BOTH {
        kernels.exchange(family, 1_000_000);
    }
    assert!(kernels.right_counter("TcpInCsumErrors") > 0);
    let stats = stats(relay);
    assert!(
        stats.there.link.corrupted > 5 && stats.back.link.corrupted > 5,
        "{stats:?}"
    );
}

#[test]
fn a_stream_survives_everything_at_once() {
    let kernels = Kernels::new();
    let bad = LinkConfig::delay(Duration::from_millis(1))
        .with_jitter(Duration::from_millis(1))
        .with_loss(0.02)
        .with_reordering(0.02, Duration::from_millis(3))
        .with_duplication(0.02)
        .with_corruption(0.01)
        .with_rate(100_000_000, 100);
    let relay = kernels.relay(bad.clone(), bad);
    kernels.exchange(Family::V4, 2_000_000);
    let link = stats(relay).there.link;
    assert!(
        link.lost > 0 && link.reordered > 0 && link.duplicated > 0 && link.corrupted > 0,
        "{link:?}"
    );
}

#[test]
fn a_rate_takes_its_time_and_its_queue_has_an_end() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect().with_rate(4_000_000, 1_000), perfect());
    let took = kernels.exchange(Family::V4, 500_000);
    assert!(took >= Duration::from_millis(1_000), "4 Mbit in {took:?}");
    relay.configure(perfect().with_rate(1_000_000, 10), perfect());
    let at = SocketAddr::new(kernels.right.address(Family::V4), 5_001);
    let receiver = kernels
        .right
        .netns()
        .spawn(move || UdpSocket::bind(at).unwrap())
        .join()
        .unwrap();
    let sender = kernels
        .left
        .netns()
        .spawn(|| UdpSocket::bind("0.0.0.0:0").unwrap())
        .join()
        .unwrap();
    for _ in 0..60 {
        sender.send_to(&[7; 1_000], at).unwrap();
    }
    receiver
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let received = std::iter::from_fn(|| receiver.recv(&mut [0; 2_000]).ok()).count() as u64;
    let full = stats(relay).there.link.queue_full;
    assert!(
        received >= 11 && full > 0,
        "{received} received, {full} found the queue full"
    );
    assert_eq!(received + full, 60);
}

#[test]
fn frames_longer_than_the_limit_vanish() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect().with_max_frame(1_000), perfect());
    assert_eq!(kernels.ping(Family::V4, 3, &["-s", "900"]).distinct(), 3);
    assert_eq!(kernels.ping(Family::V4, 3, &["-s", "1000"]).distinct(), 0);
    assert_eq!(stats(relay).there.link.too_long, 3);
}

#[test]
fn a_relay_whose_interface_is_deleted_ends_with_its_name() {
    let kernels = Kernels::new();
    let relay = kernels.relay(perfect(), perfect());
    let interface = kernels.right.end().interface;
    kernels
        .right
        .netns()
        .ip(&["link", "del", kernels.right.interface()])
        .unwrap();
    let end = Instant::now() + TIMEOUT;
    while !relay.has_failed() {
        assert!(Instant::now() < end, "the relay did not notice");
        kernels.ping(Family::V4, 1, &[]);
    }
    let error = relay.stop().unwrap_err().to_string();
    assert!(
        error.contains("lost its interface") && error.contains(&interface),
        "{error}"
    );
}

/// The arguments for a relay between two kernels, by the names that `ip netns` has.
fn sides(kernels: &Kernels) -> [String; 2] {
    [&kernels.left, &kernels.right].map(|host| {
        let end = host.end();
        format!("{}/{}", end.netns.unwrap(), end.interface)
    })
}

#[test]
fn the_program_relays_until_it_is_told_to_end_and_prints_what_it_counted() {
    for signal in ["TERM", "INT"] {
        let kernels = Kernels::new();
        let [left, right] = sides(&kernels);
        let options = ["--loss", "50%,0%", "--seed", "7", "--delay", "1ms"];
        let mut relay = Process::start(&[&[RELAY, &left, &right], &options[..]].concat()).unwrap();
        relay.wait_for("relaying", TIMEOUT).unwrap();
        kernels.ping(Family::V4, 40, &[]);
        relay.signal(signal).unwrap();
        let status = relay.wait(TIMEOUT).unwrap().unwrap();
        let text = relay.stdout();
        assert!(status.success(), "{status}: {}", relay.stderr());
        let lost = text.lines().find(|line| line.starts_with("lost")).unwrap();
        let counts: Vec<u64> = lost
            .split_whitespace()
            .skip(1)
            .map(|n| n.parse().unwrap())
            .collect();
        // While the question for the neighbour gets lost, few frames come: of these the seed loses some.
        assert!(counts[0] > 0 && counts[1] == 0, "{text}");
    }
}

#[test]
fn the_program_warns_of_frames_that_the_kernel_did_not_finish() {
    let kernels = Kernels::new();
    let interface = kernels.left.interface();
    let offloads = [
        "ethtool", "-K", interface, "tx", "on", "tso", "on", "gso", "on",
    ];
    kernels.left.netns().run(&offloads, TIMEOUT).unwrap();
    let [left, right] = sides(&kernels);
    let mut relay = Process::start(&[RELAY, &left, &right]).unwrap();
    relay.wait_for("relaying", TIMEOUT).unwrap();
    let to = SocketAddr::new(kernels.right.address(Family::V4), 9);
    kernels
        .left
        .netns()
        .spawn(move || {
            UdpSocket::bind("0.0.0.0:0")
                .unwrap()
                .send_to(&[1; 100], to)
                .unwrap()
        })
        .join()
        .unwrap();
    relay.wait_for("ethtool -K", TIMEOUT).unwrap();
}

#[test]
fn the_program_says_what_is_wrong_with_its_arguments() {
    let kernels = Kernels::new();
    let [left, right] = sides(&kernels);
    for (args, words) in [
        (
            vec![left.as_str(), "no-such-if"],
            "there is no interface no-such-if",
        ),
        (
            vec!["no-such-netns/eth0", right.as_str()],
            "no network namespace",
        ),
        (vec![left.as_str(), left.as_str()], "needs two"),
        (
            vec![left.as_str(), right.as_str(), "--loss", "200%"],
            "from 0% to 100%",
        ),
        (vec![left.as_str()], "RIGHT"),
    ] {
        let error = run(&[&[RELAY], &args[..]].concat(), TIMEOUT)
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{args:?}: {error}");
    }
    let unprivileged = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"];
    let error = run(
        &[&unprivileged[..], &[RELAY, "lo", "lo0"]].concat(),
        TIMEOUT,
    )
    .unwrap_err();
    assert!(error.to_string().contains("needs root"), "{error}");
}

#[test]
fn the_help_teaches_units_offloads_and_a_whole_example() {
    let help = run(&[RELAY, "--help"], TIMEOUT).unwrap().text();
    for words in [
        "0.1%",
        "500us",
        "100M",
        "ethtool -K",
        "NETNS/INTERFACE",
        "ip netns add",
    ] {
        assert!(help.contains(words), "{words} is not in:\n{help}");
    }
}
