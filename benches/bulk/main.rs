//! Bulk throughput between two processes, one or several streams: ours over a virtio-user and a vhost port with offloads on and
//! off, and the kernel's TCP over a veth pair with its own offloads.
//!
//! Each end is a process of its own, on a core of its own. Needs root, for the kernel's namespaces.
#![forbid(unsafe_code)]

mod kernel;
mod ours;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use dpdk_net_bench::{Report, median};
use dpdk_net_testkit::bed::Netns;

/// Bulk throughput between two processes: ours over virtio-user and vhost, the kernel's over veth.
#[derive(Debug, Parser)]
#[command(name = "bulk")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How long a run is measured, in seconds
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Connections at once
    #[arg(long, value_delimiter = ',', default_values = ["1", "8"])]
    streams: Vec<usize>,
    /// IP MTUs
    #[arg(long, value_delimiter = ',', default_values = ["1500", "9000"])]
    mtu: Vec<u16>,
    /// Sets of offloads
    #[arg(long, value_delimiter = ',', default_values = ["off", "software", "checksum", "all"])]
    offloads: Vec<Offloads>,
    /// Which end of the pair sends: `virtio` has TSO, `vhost` none
    #[arg(long, value_delimiter = ',', default_values = ["virtio", "vhost"])]
    sender: Vec<Device>,
    /// Be one end: DEVICE:ROLE:STREAMS:MTU:OFFLOADS:SECONDS:SOCKET
    #[arg(long, hide = true)]
    end: Option<End>,
    /// Be one end of the kernel's
    #[arg(long, hide = true)]
    kernel_end: Option<End>,
}

/// What is turned on at our ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Offloads {
    /// Nothing: a frame at a time, in and out.
    Off,
    /// Segments are cut and merged in software (GSO, GRO), checksums too are made there.
    Software,
    /// And checksums are the port's business.
    Checksum,
    /// And so is cutting (TSO); payload is sent by reference.
    All,
}

/// Which device an end has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Virtio,
    Vhost,
}

/// What an end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Send,
    Receive,
}

/// Names of the values of these.
macro_rules! names {
    ($type:ty, $($value:path = $name:literal),*) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $($value => $name),* })
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok($value),)*
                    other => Err(format!("`{other}` is none of {}", [$($name),*].join(", "))),
                }
            }
        }
    };
}
names!(
    Offloads,
    Offloads::Off = "off",
    Offloads::Software = "software",
    Offloads::Checksum = "checksum",
    Offloads::All = "all"
);
names!(Device, Device::Virtio = "virtio", Device::Vhost = "vhost");
names!(Role, Role::Send = "send", Role::Receive = "receive");

/// One end of a measurement.
#[derive(Clone, Debug)]
struct End {
    device: Device,
    role: Role,
    streams: usize,
    mtu: u16,
    offloads: Offloads,
    seconds: f64,
    socket: String,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            device,
            role,
            streams,
            mtu,
            offloads,
            seconds,
            socket,
        } = self;
        write!(
            f,
            "{device}:{role}:{streams}:{mtu}:{offloads}:{seconds}:{socket}"
        )
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("an end is DEVICE:ROLE:STREAMS:MTU:OFFLOADS:SECONDS:SOCKET, not {text:?}");
        let parts: Vec<&str> = text.splitn(7, ':').collect();
        let [device, role, streams, mtu, offloads, seconds, socket] = parts[..] else {
            return Err(wrong());
        };
        Ok(Self {
            device: device.parse()?,
            role: role.parse()?,
            streams: streams.parse().map_err(|_| wrong())?,
            mtu: mtu.parse().map_err(|_| wrong())?,
            offloads: offloads.parse()?,
            seconds: seconds.parse().map_err(|_| wrong())?,
            socket: socket.into(),
        })
    }
}

impl End {
    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

/// The port that the receiving end listens on.
const PORT: u16 = 5_001;
/// Bytes that an application writes and reads at a time.
const CHUNK: usize = 256 * 1024;
/// What an end takes to come up and to go down, at most.
const GRACE: Duration = Duration::from_secs(30);

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(end) = &args.end {
        return ours::run(end);
    }
    if let Some(end) = &args.kernel_end {
        return kernel::run(end);
    }
    let report = Report::new("bulk", args.json);
    for &mtu in &args.mtu {
        for &streams in &args.streams {
            let mut kernel = Vec::new();
            let cases: Vec<(Device, Offloads)> = args
                .sender
                .iter()
                .flat_map(|&sender| {
                    args.offloads
                        .iter()
                        .map(move |&offloads| (sender, offloads))
                })
                .collect();
            let mut ours = vec![Vec::new(); cases.len()];
            // By turns: what else the machine does is the same for all.
            for _ in 0..args.runs {
                kernel.push(kernel_run(streams, mtu, args.seconds)?);
                for (&(sender, offloads), figures) in cases.iter().zip(&mut ours) {
                    figures.push(our_run(sender, streams, mtu, offloads, args.seconds)?);
                }
            }
            let kernel = median(kernel);
            for ((sender, offloads), figures) in cases.iter().zip(ours) {
                let row = format!("{sender} sends, {streams} streams, MTU {mtu}, {offloads}");
                let vs = "the kernel over veth";
                report.versus(row, median(figures), "Mbit/s", vs, kernel);
            }
        }
    }
    Ok(())
}

/// Throughput in Mbit/s between our two ends, as the receiving application saw it.
fn our_run(
    sender: Device,
    streams: usize,
    mtu: u16,
    offloads: Offloads,
    seconds: f64,
) -> anyhow::Result<f64> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("vhost");
    let end = |device: Device| End {
        device,
        role: if device == sender {
            Role::Send
        } else {
            Role::Receive
        },
        streams,
        mtu,
        offloads,
        seconds,
        socket: socket.to_string_lossy().into_owned(),
    };
    let (vhost, virtio) = (end(Device::Vhost), end(Device::Virtio));
    // The vhost end makes the socket, the virtio end connects to it.
    let mut first = start("--end", &vhost, None)?;
    wait_for(&mut first, "up")?;
    let mut second = start("--end", &virtio, None)?;
    let (mut receiver, mut other) = if vhost.role == Role::Receive {
        (first, second)
    } else {
        std::mem::swap(&mut first, &mut second);
        (first, second)
    };
    let figure = wait_for(&mut receiver, "Mbit/s").and_then(|text| Ok(text.parse()?));
    for ended in [&mut receiver, &mut other] {
        let _ = ended.child.kill();
        let _ = ended.child.wait();
    }
    figure.with_context(|| format!("our ends, {vhost}"))
}

/// Throughput of the kernel's TCP between two namespaces.
fn kernel_run(streams: usize, mtu: u16, seconds: f64) -> anyhow::Result<f64> {
    let (sender, receiver) = (Netns::new()?, Netns::new()?);
    let (a, b) = (
        format!("bka{}", std::process::id()),
        format!("bkb{}", std::process::id()),
    );
    sender.ip(&[
        "link",
        "add",
        &a,
        "mtu",
        &mtu.to_string(),
        "type",
        "veth",
        "peer",
        "name",
        &b,
        "mtu",
        &mtu.to_string(),
        "netns",
        receiver.name(),
    ])?;
    sender.add_address(&a, "198.18.0.1/24")?;
    receiver.add_address(&b, "198.18.0.2/24")?;
    sender.up(&a)?;
    receiver.up(&b)?;
    let end = |role| End {
        device: Device::Virtio,
        role,
        streams,
        mtu,
        offloads: Offloads::All,
        seconds,
        socket: String::new(),
    };
    let mut receiving = start("--kernel-end", &end(Role::Receive), Some(&receiver))?;
    wait_for(&mut receiving, "up")?;
    let mut sending = start("--kernel-end", &end(Role::Send), Some(&sender))?;
    let figure = wait_for(&mut receiving, "Mbit/s").and_then(|text| Ok(text.parse()?));
    for ended in [&mut receiving, &mut sending] {
        let _ = ended.child.kill();
        let _ = ended.child.wait();
    }
    figure.context("the kernel's ends")
}

/// An end that runs.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

fn start(option: &str, end: &End, netns: Option<&Netns>) -> anyhow::Result<Running> {
    let program = std::env::current_exe()?;
    let mut command = match netns {
        Some(netns) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", netns.name()]).arg(program);
            command
        }
        None => Command::new(program),
    };
    let mut child = command
        .args([option, &end.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .context("starting an end")?;
    let lines = BufReader::new(child.stdout.take().context("an end has no output")?);
    Ok(Running { child, lines })
}

/// Reads lines until one ends with `what`; returns what is in front of it.
fn wait_for(end: &mut Running, what: &str) -> anyhow::Result<String> {
    let mut line = String::new();
    loop {
        line.clear();
        if end.lines.read_line(&mut line)? == 0 {
            anyhow::bail!("it ended before it said `{what}`");
        }
        if let Some(before) = line.trim_end().strip_suffix(what) {
            return Ok(before.trim().to_owned());
        }
    }
}

/// Tells the parent.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

fn megabits(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64()
}
