//! A machine for tests: a directory with the files of /proc, /sys and /dev that matter.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

use super::Machine;

/// A tree of files, removed on drop.
pub(crate) struct Fake {
    root: TempDir,
}

impl Fake {
    /// Nothing at all.
    pub(crate) fn empty() -> Self {
        Self {
            root: tempfile::tempdir().unwrap(),
        }
    }

    /// A server with one NIC on vfio-pci, another at the kernel, and everything as it should be.
    pub(crate) fn good() -> Self {
        let fake = Self::empty();
        let pages = "/sys/devices/system/node/node0/hugepages/hugepages-2048kB";
        fake.hugepages(2048, 512, 512)
            .file(&format!("{pages}/nr_hugepages"), "512")
            .file(&format!("{pages}/free_hugepages"), "512")
            .file("/sys/devices/system/node/online", "0")
            .file("/sys/devices/system/node/node0/cpulist", "0-7")
            .file(
                "/proc/self/mounts",
                "hugetlbfs /dev/hugepages hugetlbfs rw,pagesize=2M 0 0\n",
            )
            .nic("0000:01:00.0", "vfio-pci", None)
            .nic("0000:00:03.0", "virtio-pci", Some("eth0"))
            .link(
                "/sys/bus/pci/devices/0000:01:00.0/iommu_group",
                "../../kernel/iommu_groups/7",
            )
            .directory("/sys/bus/pci/drivers/vfio-pci")
            .directory("/sys/kernel/iommu_groups/7")
            .file("/dev/vfio/vfio", "")
            .file("/dev/vfio/7", "")
            .file("/dev/net/tun", "")
            .file(
                "/proc/net/route",
                "Iface\tDestination\neth0\t00000000\t0100A8C0\n",
            )
            .file(
                "/proc/net/protocols",
                "protocol  size\nXDP  1088\nTCP  2304\n",
            )
            .file(
                "/proc/net/unix",
                "Num RefCount Protocol Flags Type St Inode Path\n",
            )
            .file("/proc/locks", "")
            .file("/proc/sys/kernel/osrelease", "6.1.0-28-amd64")
            .directory("/sys/module/veth")
            .process(0, u64::MAX, "0-7")
            .memlock("unlimited")
            .file("/sys/devices/system/cpu/isolated", "2-7")
            .file("/sys/devices/system/cpu/smt/active", "0")
            .file(
                "/sys/devices/system/cpu/cpu2/cpufreq/scaling_governor",
                "performance",
            )
            .file(
                "/sys/devices/system/clocksource/clocksource0/current_clocksource",
                "tsc",
            )
            .file(
                "/sys/devices/system/clocksource/clocksource0/available_clocksource",
                "tsc hpet",
            )
            .directory("/run/dpdk");
        for program in ["ip", "ethtool", "unshare"] {
            fake.file(&format!("/usr/bin/{program}"), "");
        }
        for plugin in [
            "bus_pci",
            "bus_vdev",
            "mempool_ring",
            "net_tap",
            "net_af_packet",
            "net_af_xdp",
            "net_ice",
        ] {
            fake.file(
                &format!("/usr/lib/dpdk/pmds-23.0/librte_{plugin}.so.23"),
                "",
            );
        }
        fake
    }

    /// The machine in this tree.
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            root: self.root.path().to_owned(),
            dpdk: "DPDK 22.11.11".into(),
            plugins: Some("/usr/lib/dpdk/pmds-23.0".into()),
            path: vec!["/usr/bin".into()],
            runtime: "/run/dpdk".into(),
        }
    }

    /// Where a path of the machine is.
    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn directory(&self, path: &str) -> &Self {
        fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    pub(crate) fn link(&self, path: &str, target: &str) -> &Self {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
        self
    }

    /// Takes a file or a directory away.
    pub(crate) fn without(&self, path: &str) -> &Self {
        let path = self.at(path);
        if path.is_dir() && !path.is_symlink() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        self
    }

    /// Hugepages of one size.
    pub(crate) fn hugepages(&self, kib: u64, reserved: u64, free: u64) -> &Self {
        let pages = format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB");
        self.file(&format!("{pages}/nr_hugepages"), &reserved.to_string())
            .file(&format!("{pages}/free_hugepages"), &free.to_string())
    }

    /// An Intel E810 on the PCI bus.
    pub(crate) fn nic(&self, address: &str, driver: &str, interface: Option<&str>) -> &Self {
        let device = format!("/sys/bus/pci/devices/{address}");
        self.file(&format!("{device}/class"), "0x020000")
            .file(&format!("{device}/vendor"), "0x8086")
            .file(&format!("{device}/device"), "0x1592")
            .file(&format!("{device}/numa_node"), "0");
        if !driver.is_empty() {
            self.link(
                &format!("{device}/driver"),
                &format!("../../drivers/{driver}"),
            );
        }
        if let Some(interface) = interface {
            self.directory(&format!("{device}/net/{interface}"));
        }
        self
    }

    /// The user, the effective capabilities and the CPUs of this process.
    pub(crate) fn process(&self, uid: u32, capabilities: u64, cpus: &str) -> &Self {
        self.file(
            "/proc/self/status",
            &format!("Name:\tx\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{capabilities:016x}\nCpus_allowed_list:\t{cpus}\n"),
        )
    }

    /// How much memory this process may lock.
    pub(crate) fn memlock(&self, bytes: &str) -> &Self {
        self.file(
            "/proc/self/limits",
            &format!("Limit                     Soft Limit           Hard Limit           Units\nMax locked memory         {bytes}            {bytes}              bytes\n"),
        )
    }
}
