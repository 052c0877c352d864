//! What this machine, or this process on it, lacks for the options given: huge pages, memory, privilege, devices.
//! Found before DPDK is asked, as its answers are numbers, and as a process has one start only.

use std::borrow::Cow;
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::args::{Args, Device};
use crate::Error;

/// `CAP_NET_ADMIN` of capabilities(7): create and configure network interfaces.
const CAP_NET_ADMIN: u32 = 12;
/// `CAP_NET_RAW`: packet and XDP sockets.
const CAP_NET_RAW: u32 = 13;

const HOW_TO_BE_ALLOWED: &str =
    "Run as root, or without root in a namespace of its own: `unshare -Urn PROGRAM`";
const HOW_TO_GET_HUGEPAGES: &str = "Reserve some, as root: `echo 512 > /proc/sys/vm/nr_hugepages` (512 of 2 MiB are \
     1 GiB); or do without them, slower: `no_huge()` and `memory_mb(n)` (`--no-huge -m n`)";

pub(super) fn check(arguments: &[String]) -> Result<(), Error> {
    let args = Args::parse(arguments);
    if !args.is_secondary() {
        if args.has("no-huge") {
            ordinary_memory(&args)?;
        } else {
            hugepages(&args)?;
        }
    }
    pci_devices(&args)?;
    args.vdevs().try_for_each(|device| match device.driver() {
        "net_tap" | "net_tun" => tap(&device),
        "net_af_packet" => interface_and_raw_sockets(&device),
        "net_af_xdp" => interface_and_raw_sockets(&device),
        "net_vhost" => vhost(&device),
        "net_virtio_user" => virtio_user(&device),
        _ => Ok(()),
    })
}

fn missing(missing: impl Into<String>, remedy: impl Into<Cow<'static, str>>) -> Error {
    Error::Environment {
        missing: missing.into(),
        remedy: remedy.into(),
    }
}

/// MiB that the options ask for.
fn wanted_mb(args: &Args<'_>) -> u64 {
    if let Some(whole) = args.get("m") {
        return whole.value.parse().unwrap_or(0);
    }
    let sockets = args.get("socket-mem").map_or("", |option| option.value);
    sockets.split(',').flat_map(str::parse::<u64>).sum()
}

fn ordinary_memory(args: &Args<'_>) -> Result<(), Error> {
    let wanted = wanted_mb(args);
    match meminfo("MemAvailable:") {
        Some(available) if wanted > available / 1024 => Err(missing(
            format!(
                "DPDK is to take {wanted} MiB of memory, and {} MiB are available",
                available / 1024
            ),
            "Ask for less with memory_mb",
        )),
        _ => Ok(()),
    }
}

/// A line of /proc/meminfo, in KiB or in pages.
fn meminfo(key: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line[key.len()..].split_whitespace().next()?.parse().ok()
}

fn hugepages(args: &Args<'_>) -> Result<(), Error> {
    let Some((total_kb, free_kb)) = hugepage_kb() else {
        // Without sysfs nothing can be told beforehand.
        return Ok(());
    };
    if total_kb == 0 {
        return Err(missing(
            "DPDK is to use huge pages, and this machine has none reserved",
            HOW_TO_GET_HUGEPAGES,
        ));
    }
    // With files, pages of an earlier run with the same prefix count as used until DPDK takes them over.
    let usable_mb = if args.has("in-memory") {
        free_kb
    } else {
        total_kb
    } / 1024;
    let wanted_mb = wanted_mb(args);
    if usable_mb == 0 || wanted_mb > usable_mb {
        return Err(missing(
            format!(
                "DPDK is to use {wanted_mb} MiB of huge pages, and {usable_mb} MiB of the {} MiB reserved can be had",
                total_kb / 1024
            ),
            HOW_TO_GET_HUGEPAGES,
        ));
    }
    if args.has("in-memory") {
        return Ok(());
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted: Vec<&str> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, dir, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "hugetlbfs").then_some(dir)
        })
        .collect();
    let remedy = "Mount one, as root: `mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages`; or keep \
                  no files: `in_memory()` (`--in-memory`)";
    if let Some(dir) = args.get("huge-dir") {
        let wanted = dir.value.trim_end_matches('/');
        if !mounted.contains(&wanted) {
            return Err(missing(
                format!("no hugetlbfs is mounted at {wanted}"),
                remedy,
            ));
        }
    } else if mounted.is_empty() && !mounts.is_empty() {
        return Err(missing("no hugetlbfs is mounted", remedy));
    }
    Ok(())
}

/// All huge pages and the free ones, of all sizes, in KiB.
fn hugepage_kb() -> Option<(u64, u64)> {
    let (mut total, mut free) = (0, 0);
    for entry in fs::read_dir("/sys/kernel/mm/hugepages").ok()?.flatten() {
        let name = entry.file_name();
        let size = name
            .to_str()?
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?;
        let size: u64 = size.parse().ok()?;
        let pages = |file: &str| -> Option<u64> {
            let text = fs::read_to_string(entry.path().join(file)).ok()?;
            text.trim().parse().ok()
        };
        total += size * pages("nr_hugepages")?;
        free += size * pages("free_hugepages")?;
    }
    Some((total, free))
}

fn pci_devices(args: &Args<'_>) -> Result<(), Error> {
    let devices = Path::new("/sys/bus/pci/devices");
    if !devices.exists() {
        return Ok(());
    }
    for option in args.all("allow") {
        let name = Device::parse(option.value).name;
        let Some(address) = pci_address(name) else {
            continue;
        };
        let device = devices.join(&address);
        if !device.exists() {
            return Err(missing(
                format!(
                    "{}: this machine has no PCI device {address}",
                    option.shown()
                ),
                "`dpdk-devbind.py --status-dev net` or `lspci -D` lists those there are",
            ));
        }
        if let Some(driver) = kernel_driver_of_nic(&device) {
            return Err(missing(
                format!("PCI device {address} belongs to the kernel's driver {driver}"),
                format!(
                    "Give it to DPDK, as root: `modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}`. The \
                     kernel's network interface on it goes away: not the one you are logged in over"
                ),
            ));
        }
    }
    Ok(())
}

/// The driver of a network card that the kernel uses itself and DPDK can't use at the same time. DPDK would pass over
/// the card without a word.
fn kernel_driver_of_nic(device: &Path) -> Option<String> {
    let class = fs::read_to_string(device.join("class")).ok()?;
    if !class.starts_with("0x02") {
        return None;
    }
    let driver = fs::read_link(device.join("driver")).ok()?;
    let driver = driver.file_name()?.to_str()?;
    // Drivers that hand the card to user space, and those that share it.
    let usable = driver.contains("vfio")
        || driver.contains("uio")
        || matches!(driver, "mlx4_core" | "mlx5_core" | "mana");
    (!usable).then(|| driver.to_owned())
}

/// `0000:01:00.0` or `01:00.0` in full; `None` if the text is something else, as an auxiliary device is.
fn pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, digits| {
        part.len() == digits && part.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let (domain, rest) = match text.matches(':').count() {
        1 => ("0000", text),
        2 => text.split_once(':')?,
        _ => return None,
    };
    let (bus, slot) = rest.split_once(':')?;
    let (device, function) = slot.split_once('.')?;
    (hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1))
        .then(|| format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

fn tap(device: &Device<'_>) -> Result<(), Error> {
    let tun = "/dev/net/tun";
    match fs::OpenOptions::new().read(true).write(true).open(tun) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(missing(
                format!("{}: there is no {tun}", device.name),
                "As root: `modprobe tun`, and if it is still missing `mkdir -p /dev/net && mknod /dev/net/tun c 10 \
                 200`; in a container, pass it in with `--device /dev/net/tun`",
            ));
        }
        Err(error) => {
            return Err(missing(
                format!("{}: {tun} can't be opened: {error}", device.name),
                HOW_TO_BE_ALLOWED,
            ));
        }
    }
    needs_capability(
        device,
        CAP_NET_ADMIN,
        "CAP_NET_ADMIN",
        "creates a network interface",
    )
}

fn interface_and_raw_sockets(device: &Device<'_>) -> Result<(), Error> {
    if let Some(interface) = device.argument("iface")
        && !interface_exists(interface)
    {
        return Err(missing(
            format!("{}: there is no network interface {interface}", device.name),
            "`ip link` lists those there are in this network namespace",
        ));
    }
    needs_capability(device, CAP_NET_RAW, "CAP_NET_RAW", "opens a raw socket")
}

fn vhost(device: &Device<'_>) -> Result<(), Error> {
    let Some(socket) = device.argument("iface") else {
        return Err(missing(
            format!("{}: it does not say where its socket is", device.name),
            "Add `iface=PATH`, as in `net_vhost0,iface=/tmp/vhost.sock`",
        ));
    };
    directory_of(device, socket)
}

fn virtio_user(device: &Device<'_>) -> Result<(), Error> {
    let Some(path) = device.argument("path") else {
        return Err(missing(
            format!("{}: it does not say where its socket is", device.name),
            "Add `path=PATH`, as in `net_virtio_user0,path=/tmp/vhost.sock`",
        ));
    };
    if device
        .argument("server")
        .is_some_and(|server| server != "0")
    {
        return directory_of(device, path);
    }
    if !Path::new(path).exists() {
        return Err(missing(
            format!("{}: there is nothing at {path}", device.name),
            "Start the vhost side first, or add `server=1` and let it connect here",
        ));
    }
    Ok(())
}

/// A socket is made in a directory that is there.
fn directory_of(device: &Device<'_>, socket: &str) -> Result<(), Error> {
    match Path::new(socket).parent() {
        Some(dir) if !dir.as_os_str().is_empty() && !dir.is_dir() => Err(missing(
            format!("{}: there is no directory {}", device.name, dir.display()),
            "Make it, or put the socket elsewhere",
        )),
        _ => Ok(()),
    }
}

/// In the network namespace of this process, which /sys need not show.
fn interface_exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    // SAFETY: `name` is a NUL-terminated string.
    unsafe { libc::if_nametoindex(name.as_ptr()) != 0 }
}

fn needs_capability(device: &Device<'_>, number: u32, name: &str, what: &str) -> Result<(), Error> {
    if effective_capabilities().is_some_and(|mask| mask & (1 << number) == 0) {
        return Err(missing(
            format!("{}: it {what}, and this process lacks {name}", device.name),
            HOW_TO_BE_ALLOWED,
        ));
    }
    Ok(())
}

/// The capabilities of this thread, which is the one that will start DPDK, in its user namespace. `None` without /proc.
fn effective_capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_all(arguments: &[&str]) -> Result<(), String> {
        let mut all = vec!["--no-huge".to_owned()];
        all.extend(arguments.iter().map(|&s| s.to_owned()));
        check(&all).map_err(|error| error.to_string())
    }

    #[test]
    fn pci_addresses_are_told_from_other_devices() {
        assert_eq!(pci_address("01:0A.0").as_deref(), Some("0000:01:0a.0"));
        assert_eq!(pci_address("0001:01:00.1").as_deref(), Some("0001:01:00.1"));
        assert_eq!(pci_address("auxiliary:mlx5_core.sf.1"), None);
        assert_eq!(pci_address("class=eth"), None);
    }

    #[test]
    fn a_pci_device_that_is_not_there_is_named() {
        if Path::new("/sys/bus/pci/devices").exists() {
            let error = check_all(&["-a", "ffff:fe:1f.7,arg=1"]).expect_err("there is none");
            assert!(error.contains("no PCI device ffff:fe:1f.7"), "{error}");
        }
    }

    #[test]
    fn a_nic_that_the_kernel_uses_is_told_from_one_for_dpdk() {
        let dir = tempfile::tempdir().expect("a directory");
        let device = dir.path().join("device");
        fs::create_dir(&device).expect("a device");
        let with = |class: &str, driver: &str| {
            fs::write(device.join("class"), class).expect("its class");
            let link = device.join("driver");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(Path::new("/drivers").join(driver), link).expect("a link");
            kernel_driver_of_nic(&device)
        };
        assert_eq!(with("0x020000\n", "ixgbe").as_deref(), Some("ixgbe"));
        for driver in ["vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core"] {
            assert_eq!(with("0x020000\n", driver), None, "{driver}");
        }
        // Not a network card: no business of this check.
        assert_eq!(with("0x010802\n", "nvme"), None);
    }

    #[test]
    fn more_memory_than_there_is_is_refused() {
        let error = check_all(&["-m", "4000000000"]).expect_err("no machine has that");
        assert!(error.contains("4000000000 MiB"), "{error}");
        assert_eq!(check_all(&["-m", "1"]), Ok(()));
    }

    #[test]
    fn an_interface_or_a_socket_that_is_not_there_is_named() {
        for (vdev, part) in [
            (
                "--vdev=net_af_packet0,iface=no-such-if",
                "no network interface no-such-if",
            ),
            ("--vdev=net_af_xdp0,iface=no-such-if", "`ip link`"),
            ("--vdev=net_vhost0", "iface=PATH"),
            (
                "--vdev=net_vhost0,iface=/no/such/dir/s",
                "no directory /no/such/dir",
            ),
            (
                "--vdev=net_virtio_user0,path=/no/such/socket",
                "Start the vhost side first",
            ),
            ("--vdev=net_virtio_user0", "path=PATH"),
        ] {
            let error = check_all(&[vdev]).expect_err(vdev);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn hugepages_are_asked_for_only_where_they_are_wanted() {
        let huge = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&s| s.to_owned()).collect();
            check(&arguments)
        };
        if hugepage_kb() == Some((0, 0)) {
            let error = huge(&[]).expect_err("there are none").to_string();
            assert!(error.contains("no_huge()"), "{error}");
            assert!(huge(&["--in-memory"]).is_err());
        }
        assert_eq!(huge(&["--no-huge"]), Ok(()));
        assert_eq!(huge(&["--proc-type=secondary"]), Ok(()));
    }
}
