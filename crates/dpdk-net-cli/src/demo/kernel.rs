//! The kernel's end of a virtual device: the interface, its addresses, and that nothing of it stays behind.
//!
//! Everything goes through `ip` of iproute2, whose JSON tells what the current network namespace has; sysfs
//! would show the namespace that it was mounted in. A TAP disappears with the process that holds it. A veth
//! pair does not: it is removed on drop, and one that a killed demo left behind is recognised by its alias.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;

use serde::Deserialize;

use super::cidr::Cidr;
use super::device::port_end;
use crate::failure::{Failure, Result};

/// Starts the alias of a veth pair that is ours; the process id follows.
const ALIAS: &str = "dpdk-net demo, process ";

/// An interface of this network namespace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Interface {
    #[serde(rename = "ifname")]
    pub(crate) name: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default, rename = "ifalias")]
    alias: Option<String>,
    #[serde(default, rename = "addr_info")]
    addresses: Vec<InterfaceAddress>,
    /// The interface that this one goes with, if that is in the same namespace: the other end of a veth pair.
    #[serde(default)]
    link: Option<String>,
    #[serde(default, rename = "linkinfo")]
    info: LinkInfo,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct LinkInfo {
    #[serde(default, rename = "info_kind")]
    kind: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct InterfaceAddress {
    local: Option<IpAddr>,
    prefixlen: Option<u8>,
}

impl Interface {
    /// Every interface here, with its addresses.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let output = ip(&["-json", "-details", "address", "show"])?;
        Self::parse(&output).map_err(|error| {
            Failure::new(
                format!("`ip -json -details address show` wrote what cannot be read: {error}"),
                "iproute2 4.19 or later is needed: update the package iproute2",
            )
        })
    }

    /// Reads the JSON of `ip -json -details address show`. It has empty objects for what a filter left out.
    pub(crate) fn parse(json: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        let entries: Vec<serde_json::Value> = serde_json::from_slice(json)?;
        entries
            .into_iter()
            .filter(|entry| entry.get("ifname").is_some())
            .map(serde_json::from_value)
            .collect()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    /// The unicast addresses with their prefixes; loopback's and the like are left out.
    pub(crate) fn networks(&self) -> impl Iterator<Item = Cidr> {
        self.addresses
            .iter()
            .filter_map(|a| Cidr::new(a.local?, a.prefixlen?).ok())
    }

    /// Every address.
    pub(crate) fn has(&self, addr: IpAddr) -> bool {
        self.addresses.iter().any(|a| a.local == Some(addr))
    }

    /// The other end of the veth pair that `name` is one end of, if it is in this namespace.
    pub(crate) fn veth_peer<'a>(name: &str, interfaces: &'a [Self]) -> Option<&'a str> {
        let interface = interfaces.iter().find(|interface| interface.name == name)?;
        (interface.info.kind.as_deref() == Some("veth"))
            .then_some(interface.link.as_deref())
            .flatten()
    }

    /// The process of a demo that made this interface.
    fn made_by(&self) -> Option<u32> {
        self.alias.as_deref()?.strip_prefix(ALIAS)?.parse().ok()
    }
}

/// How many queues the interface receives on; `None` where neither ethtool nor the driver tells.
pub(crate) fn rx_queues(interface: &str) -> Option<u32> {
    let output = run(
        Command::new("ethtool").args(["--show-channels", interface]),
        "ethtool",
    );
    rx_queues_of(&String::from_utf8_lossy(&output.ok()?.stdout))
}

/// The queues now in use, after the maxima: those for reception alone and those for both directions.
fn rx_queues_of(channels: &str) -> Option<u32> {
    let (_, now) = channels.split_once("Current hardware settings:")?;
    let count = |name: &str| {
        let line = now.lines().find_map(|line| line.strip_prefix(name));
        // `n/a` where the driver has none of the kind.
        line.and_then(|value| value.trim().parse::<u32>().ok())
    };
    match (count("RX:"), count("Combined:")) {
        (None, None) => None,
        (rx, combined) => Some(rx.unwrap_or(0).saturating_add(combined.unwrap_or(0))),
    }
}

/// Whether the interface leaves the checksums of what it sends to hardware.
pub(crate) fn leaves_checksums(interface: &str) -> bool {
    let output = run(
        Command::new("ethtool").args(["--show-features", interface]),
        "ethtool",
    );
    output.is_ok_and(|output| {
        String::from_utf8_lossy(&output.stdout).contains("\ntx-checksumming: on")
    })
}

/// Removes the veth pair called `name` if a demo that is no more left it behind.
pub(crate) fn remove_leftover(name: &str) -> Result {
    let left = Interface::all()?
        .into_iter()
        .find(|i| i.name == name)
        .and_then(|i| i.made_by());
    match left {
        Some(process) if !is_demo(process) => {
            tracing::info!(
                interface = name,
                process,
                "removing what a killed demo left behind"
            );
            ip(&["link", "delete", "dev", name]).map(drop)
        }
        _ => Ok(()),
    }
}

/// Whether `process` runs, and runs this program.
fn is_demo(process: u32) -> bool {
    std::fs::read(format!("/proc/{process}/cmdline"))
        .is_ok_and(|line| line.windows(8).any(|window| window == b"dpdk-net"))
}

/// A veth pair of ours; removed on drop.
#[derive(Debug)]
pub(crate) struct VethPair {
    interface: String,
}

impl VethPair {
    /// Makes the pair `interface` (the kernel's) and [`port_end`] (the port's), both up.
    pub(crate) fn create(interface: &str) -> Result<Self> {
        let port = port_end(interface);
        ip(&[
            "link", "add", "name", interface, "type", "veth", "peer", "name", &port,
        ])?;
        let pair = Self {
            interface: interface.to_owned(),
        };
        ip_batch(&[
            format!(
                "link set dev {interface} alias \"{ALIAS}{}\"",
                std::process::id()
            ),
            // The kernel sees the port's frames too; it must not answer them.
            format!("link set dev {port} arp off"),
            format!("link set dev {port} addrgenmode none"),
            format!("link set dev {port} up"),
            format!("link set dev {interface} up"),
        ])?;
        // The kernel leaves checksums to the far end of a veth pair, and hands it frames of up to 64 KiB.
        run(
            Command::new("ethtool").args(["--offload", interface, "tx", "off"]),
            "ethtool",
        )?;
        Ok(pair)
    }
}

impl Drop for VethPair {
    fn drop(&mut self) {
        if let Err(failure) = ip(&["link", "delete", "dev", &self.interface]) {
            tracing::warn!("{failure}");
        }
    }
}

/// Gives the kernel's end its addresses and brings it up. It must exist: for a TAP, EAL makes it.
pub(crate) fn configure(interface: &str, addresses: &[Cidr], private_namespace: bool) -> Result {
    let mut lines = Vec::new();
    if private_namespace {
        lines.push("link set dev lo up".to_owned());
    }
    lines.push(format!("link set dev {interface} up"));
    for address in addresses {
        // Nobody else is on this link: waiting a second for duplicates would only delay the first ping.
        let nodad = if address.addr().is_ipv6() {
            " nodad"
        } else {
            ""
        };
        lines.push(format!("address add {address} dev {interface}{nodad}"));
    }
    ip_batch(&lines)
}

/// Runs work beside the polling core: on a thread that was started before DPDK pinned its own, since threads
/// and processes inherit the pinning.
#[derive(Debug)]
pub(crate) struct Aside {
    jobs: mpsc::Sender<Job>,
}

type Job = Box<dyn FnOnce() + Send>;

impl Aside {
    pub(crate) fn start() -> Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("kernel-side".into())
            .spawn(move || queue.into_iter().for_each(|job| job()))
            .map_err(|error| {
                Failure::new(
                    format!("cannot start a thread: {error}"),
                    "check the limits of this user",
                )
            })?;
        Ok(Self { jobs })
    }

    /// Runs `work` there and waits for its result without blocking the caller's thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let gone = || Failure::new("the helper thread has ended", "");
        let (done, result) = tokio::sync::oneshot::channel();
        let job = move || drop(done.send(work()));
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }
}

fn ip(args: &[&str]) -> Result<Vec<u8>> {
    run(Command::new("ip").args(args), "iproute2").map(|output| output.stdout)
}

/// Several commands in one process; it stops at the first that fails.
fn ip_batch(lines: &[String]) -> Result {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let failed = |error| not_run("ip", "iproute2", &error);
    let mut child = command.spawn().map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If `ip` has gone already, its exit code and message say why.
        drop(stdin.write_all((lines.join("\n") + "\n").as_bytes()));
    }
    let output = child.wait_with_output().map_err(failed)?;
    let at = |line: &str| {
        line.strip_prefix("Command failed -:")?
            .parse::<usize>()
            .ok()
    };
    let stderr = String::from_utf8_lossy(&output.stderr);
    let line = stderr
        .lines()
        .find_map(at)
        .and_then(|number| lines.get(number.checked_sub(1)?));
    let shown = line.map_or_else(|| lines.join("; ip "), Clone::clone);
    check(&format!("ip {shown}"), &output)
}

fn run(command: &mut Command, package: &str) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    let words: Vec<_> = command
        .get_args()
        .map(|arg| arg.to_string_lossy().into_owned())
        .collect();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| not_run(&program, package, &error))?;
    check(&format!("{program} {}", words.join(" ")), &output)?;
    Ok(output)
}

fn check(shown: &str, output: &Output) -> Result {
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let reason = stderr
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it gave no reason")
        .trim();
    Err(Failure::new(
        format!("`{shown}` failed: {reason}"),
        "it sets up the kernel's end of the device; that takes root, or a namespace of one's own",
    ))
}

fn not_run(program: &str, package: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        format!("cannot run `{program}`, which sets up the kernel's end of the device: {error}"),
        format!("install it: apt-get install {package}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESSES: &str = r#"[{},
        {"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"addr_info":[
            {"family":"inet","local":"127.0.0.1","prefixlen":8},{"family":"inet6","local":"::1","prefixlen":128}]},
        {"ifname":"dpdk-net0","flags":["BROADCAST"],"ifalias":"dpdk-net demo, process 4294967295","addr_info":[
            {"family":"inet","local":"198.18.0.1","prefixlen":24},{"family":"inet6","local":"fd00::1","prefixlen":64}]},
        {"ifname":"sit0","addr_info":[{}]}]"#;

    #[test]
    fn interfaces_are_read_with_addresses_state_and_maker() {
        let all = Interface::parse(ADDRESSES.as_bytes()).unwrap();
        assert_eq!(
            all.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(),
            ["lo", "dpdk-net0", "sit0"]
        );
        assert!(all[0].is_up() && !all[1].is_up());
        assert!(all[0].has("127.0.0.1".parse().unwrap()));
        assert_eq!(all[0].networks().count(), 0, "loopback is no network");
        assert_eq!(all[1].networks().count(), 2);
        assert_eq!((all[0].made_by(), all[1].made_by()), (None, Some(u32::MAX)));
    }

    #[test]
    fn the_other_end_of_a_veth_pair_is_found_where_it_is_here() {
        let all = Interface::parse(
            br#"[{"ifname":"p0","link":"k0","linkinfo":{"info_kind":"veth"}},
                {"ifname":"p1","link_index":7,"linkinfo":{"info_kind":"veth"}},
                {"ifname":"eth0.5","link":"eth0","linkinfo":{"info_kind":"vlan"}},{"ifname":"eth0"}]"#,
        )
        .unwrap();
        for (name, peer) in [
            ("p0", Some("k0")),
            ("p1", None),
            ("eth0.5", None),
            ("eth0", None),
        ] {
            assert_eq!(Interface::veth_peer(name, &all), peer, "{name}");
        }
    }

    #[test]
    fn the_queues_in_use_are_counted_not_those_that_could_be() {
        let channels = |rx, combined| {
            format!(
                "Channel parameters for x:\nPre-set maximums:\nRX:\t\t8\nCombined:\t8\n\
                 Current hardware settings:\nRX:\t\t{rx}\nTX:\t\t1\nCombined:\t{combined}\n"
            )
        };
        assert_eq!(rx_queues_of(&channels("1", "n/a")), Some(1));
        assert_eq!(rx_queues_of(&channels("n/a", "4")), Some(4));
        assert_eq!(rx_queues_of(&channels("0", "2")), Some(2));
        assert_eq!(rx_queues_of(&channels("n/a", "n/a")), None);
        assert_eq!(rx_queues_of("netlink error: Operation not supported"), None);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        assert!(Interface::parse(b"Object \"address\" is unknown").is_err());
        assert!(Interface::parse(b"{}").is_err());
    }

    #[test]
    fn a_program_that_is_missing_names_its_package() {
        let failure = run(&mut Command::new("/nonexistent/ip"), "iproute2").unwrap_err();
        assert!(
            failure.to_string().contains("apt-get install iproute2"),
            "{failure}"
        );
    }

    #[test]
    fn a_failed_command_is_shown_with_its_reason() {
        let failure = run(
            Command::new("sh").args(["-c", "echo no luck >&2; exit 3"]),
            "sh",
        )
        .unwrap_err();
        assert!(failure.to_string().contains("failed: no luck"), "{failure}");
    }

    #[test]
    fn only_a_living_process_of_this_program_is_a_demo() {
        assert!(!is_demo(u32::MAX));
        assert!(!is_demo(1));
    }

    #[tokio::test]
    async fn work_set_aside_runs_on_its_own_thread() {
        let aside = Aside::start().unwrap();
        let name = aside
            .run(|| Ok(thread::current().name().map(str::to_owned)))
            .await
            .unwrap();
        assert_eq!(name.as_deref(), Some("kernel-side"));
    }
}
