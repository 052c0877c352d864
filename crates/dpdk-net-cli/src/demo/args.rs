//! The command line of `dpdk-net demo`, and the checks that need nothing but itself.

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;

use super::cidr::Cidr;
use super::device::{self, Device, port_end};
use crate::failure::{Failure, Result};

/// Ports of echo (RFC 862), discard (RFC 863) and chargen (RFC 864).
pub(crate) const SMALL_SERVICE_PORTS: [u16; 3] = [7, 9, 19];

const AFTER_HELP: &str = "\
Examples:
  dpdk-net demo
      A web site on a TAP device: as root in the open, else in a namespace of its own.
      Prints the URLs and commands to try.
  dpdk-net demo --address 198.18.7.2/24 --address fd00:7::2/64 --http-port 8080
      Other addresses and port. The kernel's side gets the first other host of each
      network (198.18.7.1/24, fd00:7::1/64), unless --peer-address names another.
  dpdk-net demo --device veth
      The same over a veth pair and AF_PACKET.
  sudo dpdk-net demo --device af_packet=eth1 --address 192.168.1.50/24 --gateway 192.168.1.1
      On an existing interface, beside the kernel's own stack: give an address that no
      machine has yet.
  sudo dpdk-net demo --device af_xdp=eth1 --address 192.168.1.50/24
      The same through AF_XDP, which takes the packets of queue 0 away from the kernel.
  sudo dpdk-net demo --device pci=0000:01:00.0 --address 192.168.1.50/24 --lcore 3
      On a NIC bound to vfio-pci, with hugepages.
  dpdk-net demo --device memif=/tmp/demo.memif
      A memif server; another DPDK program connects as its client.

Exit code: 0 after Ctrl-C or SIGTERM, 1 when something fails, 2 for a mistake on the command line.";

/// Serve a web site, echo, discard and chargen from a TCP/IP stack in user space
///
/// DPDK drives the device, dpdk-net's own stack speaks TCP, UDP and ICMP on it, and an unmodified axum
/// application answers. On the default device, a TAP interface, the Linux kernel is the other end of the
/// wire: so curl, a browser, ping or wrk on this machine are clients, with no NIC and no hugepages.
///
/// Without root the demo runs in a user and network namespace of its own and prints the command that
/// reaches it. Ctrl-C ends it and leaves nothing behind.
#[derive(Args, Clone, Debug)]
#[command(after_long_help = AFTER_HELP)]
pub(crate) struct DemoArgs {
    /// The port to drive: tap, veth, af_packet=IFACE, af_xdp=IFACE, memif=SOCKET, pci=ADDRESS, or
    /// vdev=RAW, which is passed to EAL's --vdev as it is
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = "tap",
        help_heading = "Device"
    )]
    pub(crate) device: Device,

    /// Name of the interface at the kernel's end (tap and veth)
    #[arg(long, value_name = "NAME", default_value = "dpdk-net0", value_parser = device::interface)]
    #[arg(help_heading = "Device")]
    pub(crate) interface: String,

    /// IP MTU, 1280 to 9000 [default: the port's]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(1280..=9000))]
    #[arg(help_heading = "Device")]
    pub(crate) mtu: Option<u16>,

    /// An address of ours with its prefix length; repeat for several
    #[arg(long = "address", value_name = "ADDR/LEN", default_values = ["198.18.0.2/24", "fd00:198:18::2/64"])]
    #[arg(help_heading = "Addresses")]
    pub(crate) addresses: Vec<Cidr>,

    /// An address for the kernel's side (tap and veth); repeat for several [default: the first other host
    /// in the network of each --address]
    #[arg(
        long = "peer-address",
        value_name = "ADDR/LEN",
        help_heading = "Addresses"
    )]
    pub(crate) peer_addresses: Vec<Cidr>,

    /// The router for everything that is not on the link; one for each family
    #[arg(long = "gateway", value_name = "ADDR", help_heading = "Addresses")]
    pub(crate) gateways: Vec<IpAddr>,

    /// TCP port of the web site
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    #[arg(help_heading = "Services")]
    pub(crate) http_port: u16,

    /// Leave out echo (7), discard (9) and chargen (19), which also answer over UDP
    #[arg(long, help_heading = "Services")]
    pub(crate) no_small_services: bool,

    /// How long open connections may finish after Ctrl-C, in seconds; what is left then is reset
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 3,
        help_heading = "Services"
    )]
    #[arg(value_parser = clap::value_parser!(u64).range(..=3600))]
    pub(crate) drain: u64,

    /// The CPU whose core the demo polls on; it will be busy all the time [default: the last one that this
    /// process may use]
    #[arg(long, value_name = "CPU", help_heading = "DPDK")]
    pub(crate) lcore: Option<u16>,

    /// Memory for DPDK, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, help_heading = "DPDK")]
    #[arg(value_parser = clap::value_parser!(u32).range(64..=1_048_576))]
    pub(crate) memory: u32,

    /// Take DPDK's memory from hugepages; pci=ADDRESS always does
    #[arg(long, help_heading = "DPDK")]
    pub(crate) hugepages: bool,

    /// Name that keeps DPDK's files apart from those of another DPDK program
    #[arg(long, value_name = "NAME", default_value = "dpdk-net-demo", value_parser = file_prefix)]
    #[arg(help_heading = "DPDK")]
    pub(crate) file_prefix: String,

    /// What is logged to stderr: error, warn, info, debug, trace or a filter such as `info,dpdk_net=debug`.
    /// `dpdk` is DPDK's own log, left out unless asked for: it calls much an error that is none. A name stands
    /// for all that begin with it, and the longest counts
    #[arg(
        long,
        value_name = "FILTER",
        default_value = "warn,dpdk=off,dpdk_net=warn",
        env = "DPDK_NET_LOG"
    )]
    pub(crate) log_level: String,
}

impl DemoArgs {
    /// What clap cannot know: how the options fit together. Fills in the kernel side's addresses.
    pub(crate) fn checked(mut self) -> Result<Self> {
        self.check_device()?;
        self.check_addresses()?;
        if self.device.has_kernel_end() {
            add_peers(&self.addresses, &mut self.peer_addresses)?;
        }
        self.check_peers()?;
        if !self.no_small_services && SMALL_SERVICE_PORTS.contains(&self.http_port) {
            return Err(Failure::usage(
                format!(
                    "port {} is in use: it is one of the small services' (echo 7, discard 9, chargen 19)",
                    self.http_port
                ),
                "give another --http-port, or leave them out with --no-small-services",
            ));
        }
        Ok(self)
    }

    /// How long connections may drain.
    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    /// Whether DPDK's memory comes from hugepages.
    pub(crate) fn wants_hugepages(&self) -> bool {
        self.hugepages || matches!(self.device, Device::Pci(_))
    }

    fn check_device(&self) -> Result {
        if self.device == Device::Veth
            && let Err(error) = device::interface(&port_end(&self.interface))
        {
            return Err(Failure::usage(
                format!(
                    "the veth pair's other end would be called `{}`: {error}",
                    port_end(&self.interface)
                ),
                "give a shorter --interface",
            ));
        }
        if !self.device.has_kernel_end() && !self.peer_addresses.is_empty() {
            return Err(Failure::usage(
                format!(
                    "--peer-address makes no sense with --device {}",
                    self.device
                ),
                "the demo makes the kernel's end of tap and veth only; set up the other end of this device yourself",
            ));
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result {
        let all: Vec<Cidr> = self
            .addresses
            .iter()
            .chain(&self.peer_addresses)
            .copied()
            .collect();
        for (at, cidr) in all.iter().enumerate() {
            if all[..at]
                .iter()
                .any(|earlier| earlier.addr() == cidr.addr())
            {
                return Err(Failure::usage(
                    format!("the address {} is given twice", cidr.addr()),
                    "each side needs addresses of its own: check --address and --peer-address",
                ));
            }
        }
        for gateway in &self.gateways {
            if !self
                .addresses
                .iter()
                .any(|own| own.contains(*gateway) && own.addr() != *gateway)
            {
                return Err(Failure::usage(
                    format!("the gateway {gateway} is on no network of ours"),
                    "give a --gateway inside the network of an --address, other than that address",
                ));
            }
        }
        for (at, gateway) in self.gateways.iter().enumerate() {
            if self.gateways[..at]
                .iter()
                .any(|earlier| earlier.is_ipv4() == gateway.is_ipv4())
            {
                return Err(Failure::usage(
                    format!("{gateway} is a second gateway of its family"),
                    "give at most one --gateway for IPv4 and one for IPv6",
                ));
            }
        }
        Ok(())
    }

    /// Every address of ours must be reachable from the kernel's side.
    fn check_peers(&self) -> Result {
        if !self.device.has_kernel_end() {
            return Ok(());
        }
        for own in &self.addresses {
            if !self
                .peer_addresses
                .iter()
                .any(|peer| peer.contains(own.addr()) && own.contains(peer.addr()))
            {
                return Err(Failure::usage(
                    format!(
                        "no --peer-address is in the network of {own}, so the kernel could not reach it"
                    ),
                    match own.neighbour() {
                        Some(peer) => format!("add for example --peer-address {peer}"),
                        None => "give that --address a shorter prefix".into(),
                    },
                ));
            }
        }
        Ok(())
    }
}

/// In each of our networks where the kernel's side has no address yet, it gets the first host that we are not.
fn add_peers(own: &[Cidr], peers: &mut Vec<Cidr>) -> Result {
    for cidr in own {
        if peers.iter().any(|peer| peer.contains(cidr.addr())) {
            continue;
        }
        let peer = cidr.neighbour().ok_or_else(|| {
            Failure::usage(
                format!("the network of {cidr} has no room for the kernel's side"),
                "give a shorter prefix, such as /24 or /64",
            )
        })?;
        if own.iter().any(|other| other.addr() == peer.addr()) {
            return Err(Failure::usage(
                format!(
                    "{} is ours, and would also be the kernel side's",
                    peer.addr()
                ),
                format!(
                    "say which address the kernel's side of {cidr} gets: --peer-address ADDR/LEN"
                ),
            ));
        }
        peers.push(peer);
    }
    Ok(())
}

/// The prefix becomes the name of a directory.
fn file_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(allowed) {
        return Err("use 1 to 64 letters, digits, `-`, `_` and `.`".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        demo: DemoArgs,
    }

    fn parse(args: &[&str]) -> Result<DemoArgs> {
        let line =
            Line::try_parse_from(std::iter::once(&"demo").chain(args)).expect("clap takes these");
        line.demo.checked()
    }

    fn texts(cidrs: &[Cidr]) -> Vec<String> {
        cidrs.iter().map(Cidr::to_string).collect()
    }

    #[test]
    fn without_options_both_families_and_both_sides_have_addresses() {
        let args = parse(&[]).unwrap();
        assert_eq!(
            texts(&args.addresses),
            ["198.18.0.2/24", "fd00:198:18::2/64"]
        );
        assert_eq!(
            texts(&args.peer_addresses),
            ["198.18.0.1/24", "fd00:198:18::1/64"]
        );
        assert_eq!((args.device, args.http_port), (Device::Tap, 80));
    }

    #[test]
    fn one_peer_address_serves_two_of_ours_in_the_same_network() {
        let args = parse(&["--address", "198.18.3.2/24", "--address", "198.18.3.9/24"]).unwrap();
        assert_eq!(texts(&args.peer_addresses), ["198.18.3.1/24"]);
    }

    #[test]
    fn options_that_contradict_each_other_are_usage_errors_with_a_remedy() {
        for (args, reason) in [
            (&["--http-port", "7"][..], "small services"),
            (
                &["--device", "memif=/m", "--peer-address", "198.18.0.1/24"],
                "makes no sense",
            ),
            (&["--peer-address", "198.18.0.2/24"], "given twice"),
            (
                &["--address", "198.18.0.2/24", "--address", "198.18.0.2/16"],
                "given twice",
            ),
            (
                &[
                    "--address",
                    "198.18.0.2/24",
                    "--peer-address",
                    "198.18.5.1/16",
                ],
                "could not reach it",
            ),
            (&["--address", "198.18.0.2/32"], "no room"),
            (
                &["--address", "198.18.0.2/24", "--address", "198.18.0.1/24"],
                "is ours",
            ),
            (&["--gateway", "10.0.0.1"], "no network of ours"),
            (&["--gateway", "198.18.0.2"], "no network of ours"),
            (
                &["--gateway", "198.18.0.3", "--gateway", "198.18.0.4"],
                "second gateway",
            ),
            (
                &["--device", "veth", "--interface", "fifteen-charact"],
                "shorter --interface",
            ),
        ] {
            let failure = parse(args).unwrap_err();
            assert!(failure.to_string().contains(reason), "{args:?}: {failure}");
            assert_eq!(failure.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn the_small_services_ports_are_free_without_them() {
        assert!(parse(&["--http-port", "7", "--no-small-services"]).is_ok());
    }

    #[test]
    fn malformed_values_are_refused_by_clap() {
        for args in [
            ["--address", "198.18.0.2"],
            ["--device", "tun"],
            ["--http-port", "0"],
            ["--http-port", "65536"],
            ["--mtu", "1000"],
            ["--memory", "1"],
            ["--interface", "no/slash"],
            ["--file-prefix", "../x"],
            ["--gateway", "router"],
        ] {
            let error = Line::try_parse_from(std::iter::once("demo").chain(args)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}: {error}");
        }
    }
}
