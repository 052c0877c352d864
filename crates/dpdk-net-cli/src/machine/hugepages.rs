//! Hugepages: how many of each size are reserved and free, on which NUMA node, and where hugetlbfs is mounted.

use super::Machine;

/// The pages of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hugepages {
    /// The size of a page in KiB.
    pub(crate) kib: u64,
    /// Pages in the pool.
    pub(crate) reserved: u64,
    /// Pages that nobody has taken.
    pub(crate) free: u64,
}

impl Hugepages {
    /// The sizes that this kernel has, smallest first.
    pub(crate) fn all(machine: &Machine) -> Vec<Self> {
        Self::below(machine, "/sys/kernel/mm/hugepages")
    }

    /// The same of one NUMA node.
    pub(crate) fn of_node(machine: &Machine, node: u32) -> Vec<Self> {
        let directory = format!("/sys/devices/system/node/node{node}/hugepages");
        Self::below(machine, &directory)
    }

    fn below(machine: &Machine, directory: &str) -> Vec<Self> {
        let size = |name: &str| {
            let kib = name.strip_prefix("hugepages-")?.strip_suffix("kB")?;
            kib.parse().ok()
        };
        let mut all: Vec<Self> = machine
            .names(directory)
            .iter()
            .filter_map(|name| {
                let count = |file| machine.number(format!("{directory}/{name}/{file}"));
                Some(Self {
                    kib: size(name)?,
                    reserved: count("nr_hugepages")?,
                    free: count("free_hugepages")?,
                })
            })
            .collect();
        all.sort_by_key(|pages| pages.kib);
        all
    }

    /// Bytes in free pages.
    pub(crate) fn free_bytes(&self) -> u64 {
        self.free.saturating_mul(self.kib).saturating_mul(1024)
    }

    /// The size of a page in words, such as `2 MiB`.
    pub(crate) fn size(&self) -> String {
        match self.kib {
            kib if kib >= 1 << 20 => format!("{} GiB", kib >> 20),
            kib if kib >= 1 << 10 => format!("{} MiB", kib >> 10),
            kib => format!("{kib} KiB"),
        }
    }
}

/// What keeps `bytes` from being taken from hugepages of one size, if anything.
pub(crate) fn shortage(pages: &[Hugepages], bytes: u64) -> Option<String> {
    let most = pages.iter().map(Hugepages::free_bytes).max().unwrap_or(0);
    if most >= bytes {
        return None;
    }
    Some(if pages.iter().all(|pages| pages.reserved == 0) {
        "hugepages are asked for, and this machine has none reserved".to_owned()
    } else {
        format!(
            "{} MiB of hugepages are asked for, and {} MiB are free",
            bytes >> 20,
            most >> 20
        )
    })
}

/// The command, for root, that reserves what a program of `bytes` needs in pages of the usual size.
pub(crate) fn reserve(bytes: u64) -> String {
    format!("sysctl -w vm.nr_hugepages={}", bytes.div_ceil(2 << 20) + 64)
}

/// Where hugetlbfs is mounted.
pub(crate) fn mounts(machine: &Machine) -> Vec<String> {
    let mounts = machine.text("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, directory, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (kind == "hugetlbfs").then(|| directory.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn they_are_counted_by_size() {
        let fake = Fake::empty();
        let shortage = |mib: u64| super::shortage(&Hugepages::all(&fake.machine()), mib << 20);
        assert!(shortage(64).unwrap().contains("none reserved"));
        fake.hugepages(1 << 20, 0, 0).hugepages(2048, 64, 32);
        assert_eq!(shortage(64), None);
        assert_eq!(
            shortage(128).unwrap(),
            "128 MiB of hugepages are asked for, and 64 MiB are free"
        );
        assert_eq!(reserve(128 << 20), "sysctl -w vm.nr_hugepages=128");
        let sizes: Vec<String> = Hugepages::all(&fake.machine())
            .iter()
            .map(Hugepages::size)
            .collect();
        assert_eq!(sizes, ["2 MiB", "1 GiB"]);
    }

    #[test]
    fn hugetlbfs_is_found_among_the_mounts() {
        let fake = Fake::empty();
        assert!(mounts(&fake.machine()).is_empty());
        fake.file(
            "/proc/self/mounts",
            "proc /proc proc rw 0 0\nnone /mnt/huge hugetlbfs rw 0 0\n",
        );
        assert_eq!(mounts(&fake.machine()), ["/mnt/huge"]);
    }
}
