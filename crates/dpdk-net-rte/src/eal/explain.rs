//! A failed start, or a device that did not come up, with what to do about it. DPDK says what went wrong in its log and
//! in no other place, so this reads the last lines of it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::{CStr, CString};
use std::path::Path;

use dpdk_net_sys as sys;

use super::args::Args;
use crate::{Errno, Error};

/// Parts of DPDK's log lines and what to do. The first that is found counts.
const REMEDIES: &[(&str, &str)] = &[
    (
        "Is another primary process running",
        "Another DPDK process runs under this file prefix: give each its own with file_prefix, or stop the other",
    ),
    (
        "Cannot get hugepage information",
        "Reserve huge pages, as root: `echo 512 > /proc/sys/vm/nr_hugepages`; or do without: `no_huge()` and \
         `memory_mb(n)` (`--no-huge -m n`)",
    ),
    (
        "Not enough memory available",
        "Reserve more huge pages, ask for less memory, or do without huge pages: `no_huge()`",
    ),
    (
        "runtime dir",
        "DPDK makes its files in /run/dpdk as root, else in $XDG_RUNTIME_DIR/dpdk or /tmp/dpdk: see that it may, or \
         keep no files with `no_shconf()`",
    ),
    (
        "FATAL: Cannot set affinity",
        "The CPUs of the lcore list are not all open to this process (see its cpuset): choose others",
    ),
    (
        "cannot set affinity",
        "The CPUs of the lcore list are not all open to this process (see its cpuset): choose others",
    ),
    (
        "Cannot use IOVA as 'PA'",
        "Physical addresses need root: leave iova_mode out, or use IovaMode::Virtual",
    ),
    (
        "Set thread affinity failed",
        "The CPUs of the lcore list are not all open to this process (see its cpuset): choose others",
    ),
    (
        "Operation not permitted",
        "Run as root, or without root in a namespace of its own: `unshare -Urn PROGRAM`",
    ),
    (
        "Permission denied",
        "Run as root, or let this user use the device (for PCI: bind it to vfio-pci and give the user /dev/vfio/GROUP)",
    ),
    (
        "Device or resource busy",
        "Another program uses the interface or device: choose another, or stop the other",
    ),
    (
        "Could not open AF_PACKET socket",
        "Run as root, or without root in a namespace of its own: `unshare -Urn PROGRAM`",
    ),
    ("connect error", "Start the other side of the socket first"),
    (
        "No such file or directory",
        "Something that the device needs is missing: see the file named above",
    ),
];

const LAST_RESORT: &str = "What DPDK said last is above; `log_level(LogLevel::Debug)` makes it say more, to `tracing` with target `dpdk`";

pub(super) fn failed_start(arguments: &[String], errno: Errno, log: Vec<String>) -> Error {
    let args = Args::parse(arguments);
    let unknown = args
        .all("vdev")
        .chain(args.all("allow"))
        .find(|option| could_not_parse(&log, option.value));
    let remedy: Cow<'static, str> = match unknown {
        Some(option) if option.name == "vdev" => format!(
            "{}: no driver takes that name. {}",
            option.shown(),
            known_drivers()
        )
        .into(),
        Some(option) => format!(
            "{}: not the address of a device, as in `0000:01:00.0`",
            option.shown()
        )
        .into(),
        None => remedy_in(&log),
    };
    Error::EalInit { errno, log, remedy }
}

/// Whether DPDK said that it does not know the device.
fn could_not_parse(log: &[String], device: &str) -> bool {
    let name = device.split(',').next().unwrap_or(device);
    log.iter()
        .any(|line| line.contains("to parse device") && line.contains(name))
}

fn remedy_in(log: &[String]) -> Cow<'static, str> {
    REMEDIES
        .iter()
        .find(|(part, _)| log.iter().any(|line| line.contains(part)))
        .map_or(LAST_RESORT, |(_, remedy)| remedy)
        .into()
}

/// A virtual network device that was asked for and did not come up: `rte_eal_init` logs that and goes on without it.
pub(super) fn missing_device(arguments: &[String], log: &[String]) -> Option<Error> {
    let args = Args::parse(arguments);
    let device = args
        .vdevs()
        .find(|device| device.name.starts_with("net_") && !port_exists(device.name))?;
    let mut lines: Vec<String> = log.to_vec();
    // What is about other devices only, and by name, is not about this one.
    lines.retain(|line| {
        line.contains(device.name)
            || !line.starts_with("TELEMETRY:")
                && !args
                    .vdevs()
                    .any(|other| other.name != device.name && line.contains(other.name))
    });
    Some(Error::DeviceFailed {
        device: device.name.to_owned(),
        remedy: remedy_in(&lines),
        log: lines,
    })
}

fn port_exists(name: &str) -> bool {
    let Ok(name) = CString::new(name) else {
        return false;
    };
    let mut port = 0;
    // SAFETY: the EAL is initialised, `name` is NUL-terminated and `port` writable.
    unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut port) == 0 }
}

/// The network drivers that DPDK would load as plugins, to choose another name from.
fn known_drivers() -> String {
    let dir = CStr::from_bytes_until_nul(sys::RTE_EAL_PMD_PATH)
        .ok()
        .and_then(|dir| dir.to_str().ok())
        .unwrap_or_default();
    match drivers_in(Path::new(dir)) {
        drivers if drivers.is_empty() => {
            "Virtual devices of DPDK are net_tap, net_af_packet, net_af_xdp, net_memif, net_vhost, net_virtio_user, \
             net_ring and net_null"
                .into()
        }
        drivers => format!(
            "Virtual devices here: {}",
            drivers.into_iter().collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Those of DPDK's virtual drivers whose plugin is in `dir`.
fn drivers_in(dir: &Path) -> BTreeSet<&'static str> {
    const VIRTUAL: &[(&str, &str)] = &[
        ("af_packet", "net_af_packet"),
        ("af_xdp", "net_af_xdp"),
        ("bond", "net_bonding"),
        ("failsafe", "net_failsafe"),
        ("memif", "net_memif"),
        ("null", "net_null"),
        ("pcap", "net_pcap"),
        ("ring", "net_ring"),
        ("tap", "net_tap"),
        ("vhost", "net_vhost"),
        ("virtio", "net_virtio_user"),
    ];
    let Ok(entries) = std::fs::read_dir(dir) else {
        return BTreeSet::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let driver = name
                .to_str()?
                .strip_prefix("librte_net_")?
                .split('.')
                .next()?;
            VIRTUAL
                .iter()
                .find(|(file, _)| *file == driver)
                .map(|(_, name)| *name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    #[test]
    fn a_device_without_driver_is_named_and_others_offered() {
        let log = strings(&[
            "EAL: failed to parse device \"net_foo0\"",
            "EAL: Unable to parse device 'net_foo0,x=1'",
        ]);
        let arguments = strings(&["--vdev=net_null0", "--vdev=net_foo0,x=1"]);
        let error = failed_start(&arguments, Errno(libc::ENODEV), log).to_string();
        assert!(error.contains("--vdev=net_foo0,x=1: no driver"), "{error}");
        assert!(error.contains("net_tap"), "{error}");
    }

    #[test]
    fn a_line_of_the_log_leads_to_a_remedy() {
        let log =
            strings(&["EAL: Cannot create lock on '/run/x'. Is another primary process running?"]);
        let error = failed_start(&[], Errno(libc::EAGAIN), log).to_string();
        assert!(error.contains("file_prefix"), "{error}");
        let error = failed_start(&[], Errno(libc::EIO), strings(&["EAL: what?"])).to_string();
        assert!(
            error.contains("EAL: what?") && error.contains("log_level"),
            "{error}"
        );
    }
}
