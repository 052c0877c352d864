//! What the machine must offer, checked before DPDK starts: each refusal says what is wrong and what to do.

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::args::DemoArgs;
use super::cidr::Cidr;
use super::device::{Device, port_end};
use super::kernel::{self, Interface};
use crate::failure::{Failure, Result};

const TUN: &str = "/dev/net/tun";

/// Checks that need no rights: they come before a namespace is entered.
pub(crate) fn machine(args: &DemoArgs) -> Result {
    if args.device == Device::Tap
        || matches!(&args.device, Device::Vdev(raw) if raw.starts_with("net_tap"))
    {
        tun(Path::new(TUN))?;
    }
    if let Device::Pci(address) = &args.device {
        pci(address)?;
    }
    if args.wants_hugepages() {
        hugepages(
            Path::new("/sys/kernel/mm/hugepages"),
            u64::from(args.memory) << 20,
        )?;
    }
    Ok(())
}

/// Checks of the network namespace that the demo runs in.
pub(crate) fn network(args: &DemoArgs) -> Result {
    match &args.device {
        Device::Tap => {
            let interfaces = Interface::all()?;
            name_is_free(&args.interface, &interfaces)?;
            addresses_are_free(args, &interfaces)
        }
        Device::Veth => {
            kernel::remove_leftover(&args.interface)?;
            let interfaces = Interface::all()?;
            name_is_free(&args.interface, &interfaces)?;
            name_is_free(&port_end(&args.interface), &interfaces)?;
            addresses_are_free(args, &interfaces)
        }
        Device::AfPacket(name) | Device::AfXdp(name) => {
            let interfaces = Interface::all()?;
            interface_is_up(name, &interfaces)?;
            addresses_are_free(args, &interfaces)?;
            if matches!(args.device, Device::AfXdp(_)) {
                say_which_queues_are_not_ours(name);
            }
            say_what_a_veth_leaves_out(name, &interfaces);
            Ok(())
        }
        Device::Memif(_) | Device::Vdev(_) => match args.device.server_socket() {
            Some(socket) => socket_is_free(Path::new(socket)),
            None => Ok(()),
        },
        Device::Pci(_) => Ok(()),
    }
}

/// The path for a server's socket: its directory exists, and nobody listens there. A socket that a killed
/// server left behind, on which nobody listens, is removed: drivers refuse to start on it.
fn socket_is_free(path: &Path) -> Result {
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    if !directory.is_dir() {
        return Err(Failure::new(
            format!(
                "there is no directory {} for the socket",
                directory.display()
            ),
            "make it, or put the socket elsewhere",
        ));
    }
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(Failure::new(
            format!("{} is there already, and no socket", path.display()),
            "give the socket another path",
        ));
    }
    // Of another type than any server's, so that none notices: it is refused for that, unless nobody listens.
    match UnixDatagram::unbound().and_then(|probe| probe.connect(path)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| {
                Failure::new(
                    format!(
                        "{}, left behind by a server that was killed, cannot be removed: {error}",
                        path.display()
                    ),
                    "remove it, or give the socket another path",
                )
            }),
        _ => Err(Failure::new(
            format!("another process serves the socket {}", path.display()),
            "end it, or give the socket another path",
        )),
    }
}

/// AF_XDP takes the packets of queue 0; those of the others go to the kernel, which drops what is for us.
fn say_which_queues_are_not_ours(name: &str) {
    if let Some(queues) = kernel::rx_queues(name)
        && queues > 1
    {
        tracing::warn!(
            "{name} has {queues} receive queues and AF_XDP takes the packets of queue 0 only: let all arrive \
             there (ethtool -L {name} combined 1, or rx 1 tx 1 on veth), or some connections get no answer"
        );
    }
}

/// The far end of a veth pair sends TCP and UDP without checksums unless told otherwise.
fn say_what_a_veth_leaves_out(name: &str, interfaces: &[Interface]) {
    if let Some(peer) = Interface::veth_peer(name, interfaces)
        && kernel::leaves_checksums(peer)
    {
        tracing::warn!(
            "{peer}, the other end of {name}, leaves out the checksums of TCP and UDP, and what comes without \
             is dropped: ethtool -K {peer} tx off"
        );
    }
}

fn tun(path: &Path) -> Result {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound)
                || error.raw_os_error() == Some(ENODEV) =>
        {
            Err(Failure::new(
                format!(
                    "{} is missing, so no TAP device can be made",
                    path.display()
                ),
                "load the driver: modprobe tun\n(in a container: start it with --device /dev/net/tun --cap-add NET_ADMIN)",
            ))
        }
        Err(error) => Err(Failure::new(
            format!("{} cannot be opened: {error}", path.display()),
            "run the demo as root, or let everybody open it, as is usual: chmod 0666 /dev/net/tun",
        )),
    }
}

/// The device node is there, its driver is not.
const ENODEV: i32 = rustix::io::Errno::NODEV.raw_os_error();

/// At least `bytes` must be free in hugepages of one size.
fn hugepages(directory: &Path, bytes: u64) -> Result {
    let number = |path: &Path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut most = 0;
    let mut reserved = 0;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let size = name.to_str().and_then(|n| {
            n.strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse::<u64>()
                .ok()
        });
        if let (Some(kib), Some(free)) = (size, number(&entry.path().join("free_hugepages"))) {
            most = most.max(free.saturating_mul(kib) << 10);
            reserved += number(&entry.path().join("nr_hugepages")).unwrap_or(0);
        }
    }
    if most >= bytes {
        return Ok(());
    }
    let what = if reserved == 0 {
        "hugepages are asked for, and this machine has none reserved".to_owned()
    } else {
        format!(
            "{} MiB of hugepages are asked for, and {} MiB are free",
            bytes >> 20,
            most >> 20
        )
    };
    Err(Failure::new(
        what,
        format!(
            "reserve them as root: sysctl -w vm.nr_hugepages={}\nor do without: leave out --hugepages (pci=ADDRESS needs them)",
            bytes.div_ceil(2 << 20) + 64
        ),
    ))
}

/// The drivers through which DPDK reaches a NIC: the generic ones, and those that share it with the kernel.
const PCI_DRIVERS: [&str; 6] = [
    "vfio-pci",
    "uio_pci_generic",
    "igb_uio",
    "mlx4_core",
    "mlx5_core",
    "mana",
];

fn pci(address: &str) -> Result {
    let device = Path::new("/sys/bus/pci/devices").join(address);
    if !device.exists() {
        return Err(Failure::new(
            format!("there is no PCI device {address}"),
            "dpdk-devbind.py --status-dev net lists the NICs",
        ));
    }
    let driver = fs::read_link(device.join("driver")).ok();
    let driver = driver
        .as_deref()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    match driver {
        Some(name) if PCI_DRIVERS.contains(&name) => Ok(()),
        other => Err(Failure::new(
            format!(
                "PCI device {address} belongs to {}, not to DPDK",
                other.map_or("no driver".into(), |n| format!("the driver {n}"))
            ),
            format!(
                "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}\n(the kernel then no longer has this interface)"
            ),
        )),
    }
}

fn name_is_free(name: &str, interfaces: &[Interface]) -> Result {
    if interfaces.iter().any(|interface| interface.name == name) {
        return Err(Failure::new(
            format!("there is an interface {name} already"),
            "another demo may be running; give this one another name: --interface NAME",
        ));
    }
    Ok(())
}

fn interface_is_up(name: &str, interfaces: &[Interface]) -> Result {
    let Some(interface) = interfaces.iter().find(|interface| interface.name == name) else {
        let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
        return Err(Failure::new(
            format!("there is no interface {name}"),
            format!("interfaces here: {}", names.join(", ")),
        ));
    };
    if !interface.is_up() {
        return Err(Failure::new(
            format!("the interface {name} is down"),
            format!("ip link set dev {name} up"),
        ));
    }
    Ok(())
}

/// No address may be the machine's own, and no other interface may lead to the networks of our link.
fn addresses_are_free(args: &DemoArgs, interfaces: &[Interface]) -> Result {
    let ours: Vec<Cidr> = args
        .addresses
        .iter()
        .chain(&args.peer_addresses)
        .copied()
        .collect();
    for cidr in &ours {
        if let Some(holder) = interfaces
            .iter()
            .find(|interface| interface.has(cidr.addr()))
        {
            return Err(Failure::new(
                format!(
                    "the address {} is taken: interface {} has it",
                    cidr.addr(),
                    holder.name
                ),
                "give other addresses with --address (and --peer-address)",
            ));
        }
    }
    // On an existing interface the machine's own network is where we want to be.
    if !args.device.has_kernel_end() {
        return Ok(());
    }
    for interface in interfaces {
        if let Some((cidr, network)) = interface
            .networks()
            .find_map(|n| Some((ours.iter().find(|c| c.overlaps(n))?, n)))
        {
            return Err(Failure::new(
                format!(
                    "the network of {cidr} is taken: interface {} has {network}",
                    interface.name
                ),
                "packets could go either way; give addresses of another network with --address",
            ));
        }
    }
    Ok(())
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

    fn demo(args: &[&str]) -> DemoArgs {
        Line::try_parse_from(std::iter::once(&"demo").chain(args))
            .unwrap()
            .demo
            .checked()
            .unwrap()
    }

    fn interfaces() -> Vec<Interface> {
        let json = r#"[
            {"ifname":"lo","flags":["UP"],"addr_info":[{"local":"127.0.0.1","prefixlen":8}]},
            {"ifname":"eth0","flags":["UP"],"addr_info":[{"local":"198.18.0.1","prefixlen":16}]},
            {"ifname":"eth1","flags":[],"addr_info":[{"local":"fd00:198:18::9","prefixlen":64}]}]"#;
        Interface::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn an_address_of_the_machine_is_refused_on_either_side() {
        for args in [
            &[
                "--address",
                "198.18.0.1/24",
                "--peer-address",
                "198.18.0.2/24",
            ][..],
            &["--address", "198.18.0.2/24"],
        ] {
            let failure = addresses_are_free(&demo(args), &interfaces()).unwrap_err();
            assert!(
                failure
                    .to_string()
                    .starts_with("the address 198.18.0.1 is taken: interface eth0"),
                "{failure}"
            );
        }
    }

    #[test]
    fn a_network_that_another_interface_leads_to_is_refused() {
        let failure =
            addresses_are_free(&demo(&["--address", "198.18.7.2/24"]), &interfaces()).unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("interface eth0 has 198.18.0.1/16"),
            "{failure}"
        );
        let failure = addresses_are_free(&demo(&["--address", "fd00:198:18::2/64"]), &interfaces())
            .unwrap_err();
        assert!(failure.to_string().contains("interface eth1"), "{failure}");
        assert_eq!(
            addresses_are_free(&demo(&["--address", "198.20.0.2/24"]), &interfaces()),
            Ok(())
        );
    }

    #[test]
    fn on_an_existing_interface_its_network_is_wanted_and_its_address_is_not() {
        let on_eth0 = |address| demo(&["--device", "af_packet=eth0", "--address", address]);
        assert_eq!(
            addresses_are_free(&on_eth0("198.18.0.7/16"), &interfaces()),
            Ok(())
        );
        assert!(addresses_are_free(&on_eth0("198.18.0.1/16"), &interfaces()).is_err());
    }

    #[test]
    fn interface_names_are_checked_both_ways() {
        assert!(
            name_is_free("eth0", &interfaces())
                .unwrap_err()
                .to_string()
                .contains("--interface NAME")
        );
        assert_eq!(name_is_free("eth9", &interfaces()), Ok(()));
        assert_eq!(interface_is_up("eth0", &interfaces()), Ok(()));
        let failure = interface_is_up("eth9", &interfaces()).unwrap_err();
        assert!(failure.to_string().contains("lo, eth0, eth1"), "{failure}");
        let failure = interface_is_up("eth1", &interfaces()).unwrap_err();
        assert!(
            failure.to_string().contains("ip link set dev eth1 up"),
            "{failure}"
        );
    }

    #[test]
    fn a_missing_tun_device_names_the_driver() {
        let failure = tun(Path::new("/nonexistent/net/tun")).unwrap_err();
        assert!(failure.to_string().contains("modprobe tun"), "{failure}");
    }

    #[test]
    fn hugepages_are_counted_by_size() {
        let root = tempfile::tempdir().unwrap();
        let failure = hugepages(root.path(), 64 << 20).unwrap_err();
        assert!(failure.to_string().contains("none reserved"), "{failure}");
        let pages = root.path().join("hugepages-2048kB");
        fs::create_dir(&pages).unwrap();
        fs::write(pages.join("nr_hugepages"), "64\n").unwrap();
        fs::write(pages.join("free_hugepages"), "32\n").unwrap();
        assert_eq!(hugepages(root.path(), 64 << 20), Ok(()));
        let failure = hugepages(root.path(), 128 << 20).unwrap_err();
        assert!(
            failure
                .to_string()
                .contains("128 MiB of hugepages are asked for, and 64 MiB are free"),
            "{failure}"
        );
        assert!(
            failure.to_string().contains("vm.nr_hugepages=128"),
            "{failure}"
        );
    }

    #[test]
    fn a_server_gets_its_socket_unless_somebody_listens_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        assert_eq!(socket_is_free(&path), Ok(()));

        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let failure = socket_is_free(&path).unwrap_err();
        assert!(
            failure.to_string().contains("another process serves"),
            "{failure}"
        );
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "the server noticed nothing"
        );

        // As after SIGKILL: the file stays.
        drop(listener);
        assert_eq!(socket_is_free(&path), Ok(()));
        assert!(!path.exists());

        fs::write(&path, "data").unwrap();
        let failure = socket_is_free(&path).unwrap_err();
        assert!(failure.to_string().contains("no socket"), "{failure}");
        assert!(path.exists(), "what is no socket of ours stays");
        let failure = socket_is_free(&directory.path().join("none/s")).unwrap_err();
        assert!(
            failure.to_string().contains("there is no directory"),
            "{failure}"
        );
    }

    #[test]
    fn an_absent_nic_is_refused() {
        let failure = pci("ffff:ff:1f.7").unwrap_err();
        assert!(failure.to_string().contains("dpdk-devbind.py"), "{failure}");
    }
}
