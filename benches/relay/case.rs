//! One measurement: the bed, the relay, a sender and a receiver.

use std::fmt;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::str::FromStr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use dpdk_net::{App, AppBuilder, Context, IdlePolicy};
use dpdk_net_rte::Eal;
use dpdk_net_stack::CongestionAlgorithm as Algorithm;
use dpdk_net_testkit::addr::{Family, IPV4_PREFIX_LEN};
use dpdk_net_testkit::bed::{KernelHost, Process, RelayedBed};
use dpdk_net_testkit::relay::{End, Relay};
use dpdk_net_testkit::sim::LinkConfig;
use rustix::net::sockopt::set_tcp_congestion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 5_000;
const CHUNK: usize = 64 * 1024;
/// How often a connection is looked at for a trace.
const TRACED: Duration = Duration::from_millis(50);
/// What a receiver waits for at most beyond the time that is measured.
const GRACE: Duration = Duration::from_secs(20);

/// Which ends are whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// The kernel sends to another kernel.
    Kernel,
    /// Our stack sends to the kernel.
    Sending,
    /// The kernel sends to our stack.
    Receiving,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kernel => "kernel",
            Self::Sending => "sending",
            Self::Receiving => "receiving",
        })
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Kernel, Self::Sending, Self::Receiving]
            .into_iter()
            .find(|who| who.to_string() == text)
            .ok_or_else(|| format!("`{text}` is neither `sending` nor `receiving`"))
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) who: Who,
    pub(crate) cc: String,
    pub(crate) delay_ms: u64,
    pub(crate) loss_percent: f64,
    pub(crate) rate_mbit: u64,
    pub(crate) seconds: f64,
    pub(crate) seed: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            who,
            cc,
            delay_ms,
            loss_percent,
            rate_mbit,
            seconds,
            seed,
        } = self;
        write!(
            f,
            "{who}:{cc}:{delay_ms}:{loss_percent}:{rate_mbit}:{seconds}:{seed}"
        )
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("a case is WHO:CC:DELAY_MS:LOSS_PERCENT:RATE_MBIT:SECONDS:SEED, not {text:?}")
        };
        let parts: Vec<&str> = text.split(':').collect();
        let [who, cc, delay_ms, loss_percent, rate_mbit, seconds, seed] = parts[..] else {
            return Err(wrong());
        };
        Ok(Self {
            who: who.parse()?,
            cc: cc.into(),
            delay_ms: delay_ms.parse().map_err(|_| wrong())?,
            loss_percent: loss_percent.parse().map_err(|_| wrong())?,
            rate_mbit: rate_mbit.parse().map_err(|_| wrong())?,
            seconds: seconds.parse().map_err(|_| wrong())?,
            seed: seed.parse().map_err(|_| wrong())?,
        })
    }
}

impl Case {
    /// The goodput in Mbit/s: what the receiver's application got, from the first byte on.
    pub(crate) fn run(&self, capture: Option<&Path>, trace: Option<&Path>) -> anyhow::Result<f64> {
        let bed = RelayedBed::new()?;
        match self.who {
            Who::Kernel => self.kernel_to_itself(&bed, capture),
            Who::Sending | Who::Receiving => self.with_ours(&bed, capture, trace),
        }
    }

    /// A link whose queue holds what is on its way in a round trip, 100 frames at least.
    fn link(&self) -> LinkConfig {
        let rate = self.rate_mbit * 1_000_000;
        let on_the_way = rate / 8 * 2 * self.delay_ms / 1_000 / 1_514;
        LinkConfig::delay(Duration::from_millis(self.delay_ms))
            .with_loss(self.loss_percent / 100.0)
            .with_rate(rate, on_the_way.max(100) as usize)
    }

    fn relay(&self, sender: End, receiver: End) -> Relay {
        Relay::new(sender, receiver)
            .both(self.link())
            .seed(self.seed)
    }

    fn kernel_to_itself(&self, bed: &RelayedBed, capture: Option<&Path>) -> anyhow::Result<f64> {
        let (sender, receiver) = (bed.kernel_host(1)?, bed.kernel_host(2)?);
        let receiving = self.kernel_receives(&receiver, Family::V4.socket(2, PORT))?;
        let _capture = start_capture(bed, &sender.end(), capture)?;
        let relay = self.relay(sender.end(), receiver.end()).start()?;
        let sending = kernel_sends(&sender, Family::V4.socket(2, PORT), &self.cc);
        let goodput = joined(receiving)??;
        joined(sending)??;
        relay.stop()?;
        Ok(goodput)
    }

    fn with_ours(
        &self,
        bed: &RelayedBed,
        capture: Option<&Path>,
        trace: Option<&Path>,
    ) -> anyhow::Result<f64> {
        let kernel = bed.kernel_host(1)?;
        let cable = bed.cable()?;
        let app = self.app(bed, cable.left())?;
        let ours = bed.end(cable.right());
        if self.who == Who::Sending {
            let to = Family::V4.socket(1, PORT);
            let receiving = self.kernel_receives(&kernel, to)?;
            let _capture = start_capture(bed, &ours, capture)?;
            let relay = self.relay(ours, kernel.end()).start()?;
            let trace = trace.map(File::create).transpose()?;
            app.run(|context| send(to, trace, context))??;
            let stats = relay.stop()?;
            eprintln!("{stats:#?}");
            joined(receiving)?
        } else {
            let _capture = start_capture(bed, &kernel.end(), capture)?;
            let relay = self.relay(kernel.end(), ours).start()?;
            let time = Duration::from_secs_f64(self.seconds);
            let goodput = app.run(|_| receive(&kernel, time, &self.cc))??;
            relay.stop()?;
            Ok(goodput)
        }
    }

    /// Our stack as host 2 on an AF_PACKET port at `interface`.
    fn app(&self, bed: &RelayedBed, interface: &str) -> anyhow::Result<AppBuilder> {
        let algorithm = match self.cc.as_str() {
            "reno" => Algorithm::NewReno,
            "cubic" => Algorithm::Cubic,
            "bbr" => Algorithm::Bbr,
            other => anyhow::bail!(
                "there is no congestion control {other}: cubic, reno and bbr are possible"
            ),
        };
        bed.netns().enter()?;
        let eal = Eal::builder("relay")
            .vdev(format!("net_af_packet0,iface={interface}"))
            .no_huge()
            .no_pci()
            .no_shconf()
            .no_telemetry()
            .memory_mb(256)
            .file_prefix(format!("bench-relay-{}", std::process::id()))
            .keep_affinity()
            .init()?;
        // A worker has a core of its own as a rule, and the kernel's TCP never waits for one: on a machine that does other
        // things too it should wait no longer than that.
        let _ = rustix::process::nice(-15);
        Ok(App::builder()
            .with_eal(eal)
            .address(format!("{}/{IPV4_PREFIX_LEN}", Family::V4.host(2)))
            .stack(move |stack| {
                stack.dad = false;
                stack.tcp.congestion = algorithm;
            })
            .idle(IdlePolicy::Yield { after: 16 })
            .drain_timeout(Duration::from_millis(100)))
    }

    fn kernel_receives(
        &self,
        host: &KernelHost,
        at: SocketAddr,
    ) -> anyhow::Result<JoinHandle<anyhow::Result<f64>>> {
        let time = Duration::from_secs_f64(self.seconds);
        let listener = joined(host.netns().spawn(move || TcpListener::bind(at)))??;
        Ok(std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_read_timeout(Some(GRACE))?;
            let mut buffer = vec![0; CHUNK];
            let mut bytes = stream.read(&mut buffer)?;
            let started = Instant::now();
            while started.elapsed() < time {
                bytes += stream
                    .read(&mut buffer)
                    .context("nothing arrives any more")?;
            }
            Ok(megabits(bytes, started.elapsed()))
        }))
    }
}

/// Writes until the other side has closed.
fn kernel_sends(host: &KernelHost, to: SocketAddr, cc: &str) -> JoinHandle<anyhow::Result<()>> {
    let cc = cc.to_owned();
    host.netns().spawn(move || {
        let mut stream = TcpStream::connect(to)?;
        // By the socket: the default of a namespace can be none that the system does not allow everybody.
        set_tcp_congestion(&stream, &cc)
            .with_context(|| format!("the kernel has no {cc}: modprobe tcp_{cc}"))?;
        while stream.write_all(&[0; CHUNK]).is_ok() {}
        Ok(())
    })
}

async fn send(to: SocketAddr, trace: Option<File>, context: Context) -> anyhow::Result<()> {
    let mut stream = dpdk_net::net::TcpStream::connect(to).await?;
    let Some(mut trace) = trace else {
        while stream.write_all(&[0; CHUNK]).await.is_ok() {}
        return Ok(());
    };
    let started = Instant::now();
    let mut tick = tokio::time::interval(TRACED);
    loop {
        tokio::select! {
            written = stream.write(&[0; CHUNK]) => if written.is_err() {
                break;
            },
            _ = tick.tick() => writeln!(trace, "{:?} {:?}", started.elapsed(), stream.tcp_info()?)?,
        }
    }
    writeln!(trace, "{:#?}", context.stats())?;
    Ok(())
}

async fn receive(kernel: &KernelHost, time: Duration, cc: &str) -> anyhow::Result<f64> {
    let at = Family::V4.socket(2, PORT);
    let listener = dpdk_net::net::TcpListener::bind(at).await?;
    let sending = kernel_sends(kernel, at, cc);
    let (mut stream, _) = listener.accept().await?;
    let mut buffer = vec![0; CHUNK];
    let mut bytes = stream.read(&mut buffer).await?;
    let started = Instant::now();
    while started.elapsed() < time {
        bytes += tokio::time::timeout(GRACE, stream.read(&mut buffer))
            .await
            .context("nothing arrives any more")??;
    }
    let goodput = megabits(bytes, started.elapsed());
    stream.set_zero_linger()?;
    drop(stream);
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    joined(sending)??;
    Ok(goodput)
}

fn megabits(bytes: usize, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64()
}

fn joined<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    thread
        .join()
        .map_err(|_| anyhow!("a thread of the bed panicked"))
}

/// A capture of headers at a side of the relay, until the guard is dropped.
fn start_capture(
    bed: &RelayedBed,
    end: &End,
    file: Option<&Path>,
) -> anyhow::Result<Option<Process>> {
    let Some(file) = file else { return Ok(None) };
    let file = file.to_str().context("the capture's name is not UTF-8")?;
    let interface = end.interface.as_str();
    let command = [
        "tcpdump", "-U", "-n", "-s", "120", "-Z", "root", "-i", interface, "-w", file,
    ];
    let mut process = bed.netns().start(&command)?;
    process.wait_for("listening on", GRACE)?;
    Ok(Some(process))
}
