//! What the machine must offer, checked before DPDK starts: each refusal says what is wrong and what to do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use super::args::DemoArgs;
use super::cidr::Cidr;
use super::device::{Device, port_end};
use super::kernel::{self, Interface};
use crate::failure::{Failure, Result};
use crate::machine::hugepages::{self, Hugepages};
use crate::machine::pci::Nic;
use crate::machine::{Machine, tun};

/// Checks that need no rights: they come before a namespace is entered.
pub(crate) fn machine(args: &DemoArgs) -> Result {
    let here = Machine::here();
    if args.device == Device::Tap
        || matches!(&args.device, Device::Vdev(raw) if raw.starts_with("net_tap"))
    {
        tun::check(&here)?;
    }
    if let Device::Pci(address) = &args.device {
        pci(&here, address)?;
    }
    if args.wants_hugepages() {
        let bytes = u64::from(args.memory) << 20;
        if let Some(what) = hugepages::shortage(&Hugepages::all(&here), bytes) {
            return Err(Failure::new(
                what,
                format!(
                    "reserve them as root: {}\nor do without: leave out --hugepages (pci=ADDRESS needs them)",
                    hugepages::reserve(bytes)
                ),
            ));
        }
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

/// The NIC is there, and DPDK may have it.
fn pci(machine: &Machine, address: &str) -> Result {
    let Some(nic) = Nic::at(machine, address) else {
        return Err(Failure::new(
            format!("there is no PCI device {address}"),
            "`dpdk-net devices` lists the NICs",
        ));
    };
    if nic.is_ready() {
        return Ok(());
    }
    Err(Failure::new(
        format!(
            "PCI device {address} belongs to {}, not to DPDK",
            nic.driver
                .as_ref()
                .map_or("no driver".into(), |name| format!("the driver {name}"))
        ),
        format!(
            "{}\n(the kernel then no longer has this interface)",
            nic.bind()
        ),
    ))
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
    use crate::machine::fake::Fake;

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
        let machine = Fake::good().machine();
        let failure = pci(&machine, "ffff:ff:1f.7").unwrap_err();
        assert!(
            failure.to_string().contains("dpdk-net devices"),
            "{failure}"
        );
    }

    #[test]
    fn a_nic_is_had_once_it_is_bound() {
        let fake = Fake::good();
        assert_eq!(pci(&fake.machine(), "0000:01:00.0"), Ok(()));
        let failure = pci(&fake.machine(), "0000:00:03.0").unwrap_err();
        assert!(
            failure.to_string().contains("--bind=vfio-pci 0000:00:03.0"),
            "{failure}"
        );
    }
}
