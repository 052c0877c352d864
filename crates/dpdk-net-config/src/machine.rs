//! What of a machine decides whether it can do what a file asks for, read from `/sys` and `/proc`.

mod kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::check::port_name;
use crate::file::File;
use crate::problem::Problem;
use crate::sections::InterfaceDriver;
use crate::suggest::suggestion;
use crate::value::Size;

pub use kernel::KernelNet;

/// A NUMA node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NumaNode {
    /// Its CPUs.
    pub cpus: BTreeSet<u32>,
    /// Bytes of huge pages that nobody uses.
    pub free_hugepages: u64,
}

/// A PCI network device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PciDevice {
    /// The kernel's driver that has it.
    pub driver: Option<String>,
    /// Its NUMA node.
    pub node: Option<u32>,
}

/// What a machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    /// CPUs that this process may run on.
    pub cpus: BTreeSet<u32>,
    /// NUMA nodes by their numbers. One at least, also where the kernel tells of none.
    pub nodes: BTreeMap<u32, NumaNode>,
    /// Network devices on the PCI bus, by their addresses.
    pub pci: BTreeMap<String, PciDevice>,
    /// Interfaces of the kernel, in this network namespace.
    pub interfaces: BTreeSet<String>,
    /// The addresses of the PCI devices behind interfaces, where there are any.
    pub pci_of: BTreeMap<String, String>,
    /// What the kernel has on its interfaces.
    pub kernel: KernelNet,
}

/// Drivers by which DPDK gets at a device.
const DPDK_DRIVERS: [&str; 4] = ["vfio-pci", "uio_pci_generic", "igb_uio", "vfio_pci"];

/// Drivers that keep the device and share it with DPDK.
const SHARED_DRIVERS: [&str; 4] = ["mlx4_core", "mlx5_core", "mana", "nfp"];

impl Machine {
    /// This one.
    pub fn this() -> Self {
        Self::under(Path::new("/"))
    }

    /// The one whose `/sys` and `/proc` are below `root`.
    pub fn under(root: &Path) -> Self {
        let sys = root.join("sys");
        let mut nodes: BTreeMap<u32, NumaNode> = BTreeMap::new();
        for (name, path) in entries(&sys.join("devices/system/node")) {
            let Some(number) = name.strip_prefix("node").and_then(|n| n.parse().ok()) else {
                continue;
            };
            nodes.insert(
                number,
                NumaNode {
                    cpus: read(&path.join("cpulist"))
                        .map(|list| cpu_list(&list))
                        .unwrap_or_default(),
                    free_hugepages: free_hugepages(&path.join("hugepages")),
                },
            );
        }
        let allowed = read(&root.join("proc/self/status")).and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
            Some(cpu_list(line))
        });
        let online = || read(&sys.join("devices/system/cpu/online")).map(|list| cpu_list(&list));
        let cpus = allowed.or_else(online).unwrap_or_default();
        if nodes.is_empty() {
            nodes.insert(
                0,
                NumaNode {
                    cpus: cpus.clone(),
                    free_hugepages: free_hugepages(&sys.join("kernel/mm/hugepages")),
                },
            );
        }
        let mut pci = BTreeMap::new();
        for (address, path) in entries(&sys.join("bus/pci/devices")) {
            // Class 0x02: network controllers.
            if !read(&path.join("class")).is_some_and(|class| class.starts_with("0x02")) {
                continue;
            }
            pci.insert(
                address,
                PciDevice {
                    driver: link_name(&path.join("driver")),
                    node: read(&path.join("numa_node")).and_then(|node| node.parse().ok()),
                },
            );
        }
        let net = entries(&sys.join("class/net"));
        let behind = net.iter().filter_map(|(name, path)| {
            let address = link_name(&path.join("device"))?;
            pci.contains_key(&address).then(|| (name.clone(), address))
        });
        let pci_of = behind.collect();
        // sysfs is that of the network namespace in which it was mounted.
        let interfaces = match read(&root.join("proc/thread-self/net/dev")) {
            Some(table) => {
                let names = table.lines().filter_map(|line| line.split_once(':'));
                names.map(|(name, _)| name.trim().to_owned()).collect()
            }
            None => net.into_iter().map(|(name, _)| name).collect(),
        };
        Self {
            cpus,
            nodes,
            pci,
            interfaces,
            pci_of,
            kernel: KernelNet::under(root),
        }
    }

    /// Bytes of huge pages that nobody uses.
    pub fn free_hugepages(&self) -> u64 {
        let nodes = self.nodes.values().map(|node| node.free_hugepages);
        nodes.fold(0, u64::saturating_add)
    }

    /// Whether memory is to be huge pages: as the file says, or where there are any, or a NIC needs them.
    pub fn hugepages(&self, file: &File) -> bool {
        let config = file.config();
        let needed = config.port.iter().any(|port| port.pci.is_some())
            || config.dpdk.in_memory == Some(true);
        let enough = self.free_hugepages() >= LEAST_HUGEPAGES;
        config.dpdk.hugepages.unwrap_or(needed || enough)
    }

    /// Everything that a file asks for and this machine does not have.
    pub fn check(&self, file: &File) -> Vec<Problem> {
        let config = file.config();
        let mut problems = Vec::new();
        if let Some(lcores) = &config.workers.lcores {
            let cpus = lcores.cpus().into_iter();
            let others: Vec<u32> = cpus.filter(|cpu| !self.cpus.contains(cpu)).collect();
            if !others.is_empty() {
                let plural = if others.len() == 1 { "" } else { "s" };
                let message = format!(
                    "this process may not run on CPU{plural} {}, or there is none",
                    listed(&others)
                );
                let help = format!(
                    "it may on {}; several lcores may share one: \"0@0,1@0\"",
                    listed(&self.cpus)
                );
                problems.push(file.refuse("workers.lcores", message, help));
            }
        }
        if self.hugepages(file) {
            self.check_memory(file, &mut problems);
        }
        for (index, port) in config.port.iter().enumerate() {
            let name = port_name(port, index);
            if let Some(pci) = &port.pci {
                let path = format!("port[{index}].pci");
                match self.pci.get(pci.as_str()) {
                    None => {
                        let known: Vec<&str> = self.pci.keys().map(String::as_str).collect();
                        let help = match known.as_slice() {
                            [] => "there is no PCI network device here: take a `vdev` or an `interface`".to_owned(),
                            known => suggestion(pci.as_str(), known),
                        };
                        problems.push(file.refuse(
                            &path,
                            format!("there is no network device at {pci}"),
                            help,
                        ));
                    }
                    Some(device) => problems.extend(
                        bound(device, pci.as_str())
                            .map(|(what, help)| file.refuse(&path, what, help)),
                    ),
                }
            }
            if let Some(interface) = &port.interface {
                let path = format!("port[{index}].interface");
                problems.extend(self.check_interface(file, &path, interface, port.driver, &name));
            }
            if port.driver == Some(InterfaceDriver::AfXdp) && port.mtu.is_some_and(|mtu| mtu > 3498)
            {
                let path = format!("port[{index}].mtu");
                problems.push(file.refuse(
                    &path,
                    "AF_XDP has frames of at most a page",
                    "take an MTU of at most 3498, or driver = \"af_packet\"",
                ));
            }
        }
        for (index, route) in config.route.iter().enumerate() {
            if let Some(files) = &route.files
                && !files.root.is_dir()
            {
                let path = format!("route[{index}].files.root");
                problems.push(file.refuse(
                    &path,
                    format!("there is no directory {}", files.root.display()),
                    "make it, or name another",
                ));
            }
        }
        for (index, listener) in config.listener.iter().enumerate() {
            let Some(tls) = &listener.tls else { continue };
            let more = tls.more.iter().enumerate().flat_map(|(place, one)| {
                let at = |key| format!("more[{place}].{key}");
                [(at("certificate"), &one.certificate), (at("key"), &one.key)]
            });
            let own = [
                ("certificate".to_owned(), &tls.certificate),
                ("key".to_owned(), &tls.key),
            ];
            let ca = tls.client_ca.iter().map(|ca| ("client_ca".to_owned(), ca));
            for (key, named) in own.into_iter().chain(more).chain(ca) {
                if !named.is_file() {
                    let path = format!("listener[{index}].tls.{key}");
                    let message = format!("there is no file {}", named.display());
                    problems.push(file.refuse(&path, message, "name one in PEM"));
                }
            }
        }
        if let Some(socket) = &config.control.socket {
            let parent = socket
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            // The application makes a directory of that name.
            let parent = parent.map(|parent| match parent.parent() {
                Some(above) if parent.ends_with("dpdk-net") => above,
                _ => parent,
            });
            if parent.is_some_and(|parent| !parent.is_dir()) {
                let message = format!("there is no directory for {}", socket.display());
                problems.push(file.refuse("control.socket", message, "make it, or name another"));
            }
        }
        if let Some(log) = &config.log.file {
            let parent = log.parent().filter(|parent| !parent.as_os_str().is_empty());
            let log = log.display();
            let why = match parent {
                _ if config.log.file.as_ref().is_some_and(|log| log.is_dir()) => {
                    Some((format!("{log} is a directory"), "name a file in it"))
                }
                Some(parent) if !parent.is_dir() => Some((
                    format!(
                        "{log} can't be written: there is no directory {}",
                        parent.display()
                    ),
                    "make it, or name another",
                )),
                _ => None,
            };
            problems.extend(why.map(|(why, help)| file.refuse("log.file", why, help)));
        }
        problems
    }

    fn check_interface(
        &self,
        file: &File,
        path: &str,
        interface: &str,
        driver: Option<InterfaceDriver>,
        port: &str,
    ) -> Option<Problem> {
        if !self.interfaces.contains(interface) {
            let known: Vec<&str> = self.interfaces.iter().map(String::as_str).collect();
            let message = match port == interface {
                true => format!("there is no interface {interface}"),
                false => format!("there is no interface {interface} for {port}"),
            };
            return Some(file.refuse(path, message, suggestion(interface, &known)));
        }
        if driver != Some(InterfaceDriver::Pci) {
            return None;
        }
        let device = self.pci_of.get(interface);
        let known = device.and_then(|address| Some((address, self.pci.get(address)?)));
        let (what, help) = match known {
            Some((address, device)) => bound(device, address)?,
            None => (
                format!("there is no PCI device behind {interface}"),
                "take driver = \"af_packet\" or \"af_xdp\"".to_owned(),
            ),
        };
        Some(file.refuse(path, what, help))
    }

    fn check_memory(&self, file: &File, problems: &mut Vec<Problem>) {
        let dpdk = &file.config().dpdk;
        let free = self.free_hugepages();
        let nic = file
            .config()
            .port
            .iter()
            .position(|port| port.pci.is_some());
        // Who needs them can't do without.
        let or = match nic.is_none() && dpdk.in_memory != Some(true) {
            true => "; or set hugepages = false",
            false => "",
        };
        let remedy = format!(
            "reserve some, as root: echo 512 > /proc/sys/vm/nr_hugepages (of 2 MiB each){or}"
        );
        if free == 0 {
            let nic = file
                .config()
                .port
                .iter()
                .position(|port| port.pci.is_some());
            let path = match (dpdk.hugepages, dpdk.in_memory, nic) {
                (Some(_), ..) => "dpdk.hugepages".to_owned(),
                (_, Some(true), _) => "dpdk.in_memory".to_owned(),
                (.., Some(nic)) => format!("port[{nic}].pci"),
                _ => "dpdk".to_owned(),
            };
            problems.push(file.refuse(&path, "this machine has no free huge pages", remedy));
            return;
        }
        if let Some(memory) = dpdk.memory
            && memory.0 > free
        {
            let message = format!(
                "{memory} of memory are asked for, and {} of huge pages are free",
                Size(free)
            );
            problems.push(file.refuse("dpdk.memory", message, remedy.as_str()));
        }
        for (node, memory) in dpdk.socket_memory.iter().enumerate() {
            let path = format!("dpdk.socket_memory[{node}]");
            let own = u32::try_from(node)
                .ok()
                .and_then(|node| self.nodes.get(&node));
            match own {
                None if memory.0 > 0 => {
                    let message = format!("there is no NUMA node {node}");
                    problems.push(file.refuse(
                        &path,
                        message,
                        format!("known here: {}", listed(self.nodes.keys())),
                    ));
                }
                Some(own) if memory.0 > own.free_hugepages => {
                    let message = format!(
                        "{memory} are asked for on NUMA node {node}, where {} are free",
                        Size(own.free_hugepages)
                    );
                    problems.push(file.refuse(&path, message, remedy.as_str()));
                }
                _ => {}
            }
        }
    }
}

/// With less, EAL's own structures have no room.
const LEAST_HUGEPAGES: u64 = 128 << 20;

/// Numbers with commas between.
fn listed<'a>(numbers: impl IntoIterator<Item = &'a u32>) -> String {
    let texts: Vec<String> = numbers.into_iter().map(u32::to_string).collect();
    texts.join(", ")
}

/// Why DPDK can't have a device, and what to do.
fn bound(device: &PciDevice, address: &str) -> Option<(String, String)> {
    match device.driver.as_deref() {
        Some(driver) if DPDK_DRIVERS.contains(&driver) || SHARED_DRIVERS.contains(&driver) => None,
        Some(driver) => Some((
            format!("the kernel has {address}, by its driver {driver}"),
            format!("give it to DPDK, as root: dpdk-devbind.py --bind=vfio-pci {address}"),
        )),
        None => Some((
            format!("{address} has no driver by which DPDK gets at it"),
            format!("as root: modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {address}"),
        )),
    }
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| path.ends_with("status") || !text.is_empty())
}

/// Names and paths of what is in a directory, sorted.
fn entries(path: &Path) -> Vec<(String, PathBuf)> {
    let read = fs::read_dir(path).into_iter().flatten().flatten();
    let mut all: Vec<_> = read
        .map(|entry| {
            (
                entry.file_name().to_string_lossy().into_owned(),
                entry.path(),
            )
        })
        .collect();
    all.sort();
    all
}

fn link_name(path: &Path) -> Option<String> {
    Some(
        fs::read_link(path)
            .ok()?
            .file_name()?
            .to_string_lossy()
            .into_owned(),
    )
}

/// The largest that Linux can have (`CONFIG_NR_CPUS`).
const LAST_CPU: u32 = 8191;

/// The CPUs, or nodes, of a list such as `0-3,8` (cpuset(7), list format); what is malformed is left out, and what Linux can't have.
pub fn cpu_list(text: &str) -> BTreeSet<u32> {
    let part = |part: &str| -> Option<std::ops::RangeInclusive<u32>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let last: u32 = last.trim().parse().ok()?;
        Some(first.trim().parse().ok()?..=last.min(LAST_CPU))
    };
    text.split(',').filter_map(part).flatten().collect()
}

/// Over all sizes of pages below a directory.
fn free_hugepages(path: &Path) -> u64 {
    let size = |(name, path): (String, PathBuf)| {
        let kib: u64 = name
            .strip_prefix("hugepages-")?
            .strip_suffix("kB")?
            .parse()
            .ok()?;
        let free: u64 = read(&path.join("free_hugepages"))?.parse().ok()?;
        Some(kib.saturating_mul(1024).saturating_mul(free))
    };
    let sizes = entries(path).into_iter().filter_map(size);
    sizes.fold(0, u64::saturating_add)
}
