//! Hugepages and where they are mounted.

use super::MEMORY;
use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::hugepages::{self, Hugepages};
use crate::machine::pci::Nic;

const NIC: &[Use] = &[Use::Nic];
const TWO_MIB: u64 = 2048;

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![pool(machine)];
    findings.extend(nodes(machine));
    findings.push(mounted(machine));
    findings
}

fn pool(machine: &Machine) -> Finding {
    const CHECK: &str = "hugepages";
    let all = Hugepages::all(machine);
    let reserved: Vec<String> = all
        .iter()
        .filter(|pages| pages.reserved > 0)
        .map(|pages| {
            format!(
                "{} of {}, {} free",
                pages.reserved,
                pages.size(),
                pages.free
            )
        })
        .collect();
    match hugepages::shortage(&all, MEMORY) {
        None => Finding::ok(CHECK, reserved.join("; ")),
        Some(_) => {
            let what = if reserved.is_empty() {
                "none reserved".to_owned()
            } else {
                format!("too few are free: {}", reserved.join("; "))
            };
            Finding::error(CHECK, NIC, what)
                .means(format!(
                    "A NIC's driver needs them, {} MiB of one size for the demo; tap and af_xdp run without.",
                    MEMORY >> 20
                ))
                .mend(hugepages::reserve(MEMORY))
        }
    }
}

/// Each NUMA node, where there are several: memory of another node is slower, and a device's rings want their own.
fn nodes(machine: &Machine) -> Option<Finding> {
    const CHECK: &str = "numa";
    let nodes = machine.list("/sys/devices/system/node/online");
    if nodes.len() < 2 {
        return Some(Finding::ok(CHECK, "one node"));
    }
    let free = |node: u32| -> u64 {
        let pages = Hugepages::of_node(machine, node);
        pages.iter().map(Hugepages::free_bytes).sum()
    };
    let listed: Vec<String> = nodes
        .iter()
        .map(|node| {
            let cpus = machine
                .text(format!("/sys/devices/system/node/node{node}/cpulist"))
                .unwrap_or_default();
            format!(
                "node {node}: CPUs {cpus}, {} MiB of hugepages free",
                free(*node) >> 20
            )
        })
        .collect();
    let bare = Nic::all(machine).into_iter().find_map(|nic| {
        let node = nic.node?;
        (nic.is_ready() && free(node) == 0).then_some((nic.address, node))
    });
    Some(match bare {
        Some((address, node)) => Finding::warning(CHECK, NIC, listed.join("; "))
            .means(format!(
                "{address} is on node {node}, where no hugepages are free: its packets would lie in memory of \
                 another node."
            ))
            .mend(format!(
                "echo {} > /sys/devices/system/node/node{node}/hugepages/hugepages-{TWO_MIB}kB/nr_hugepages",
                MEMORY / (TWO_MIB << 10) + 64
            )),
        None => Finding::ok(CHECK, listed.join("; "))
            .means("Poll a NIC's queues on CPUs of its own node."),
    })
}

fn mounted(machine: &Machine) -> Finding {
    const CHECK: &str = "hugetlbfs";
    let mounts = hugepages::mounts(machine);
    if mounts.is_empty() {
        Finding::note(CHECK, "not mounted")
            .means("Only programs that share hugepages with others need it: those without in_memory().")
            .mend("mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages")
    } else {
        Finding::ok(CHECK, format!("mounted at {}", mounts.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::super::expect::expect;
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    #[test]
    fn without_hugepages_a_nic_cannot_be_had_and_the_rest_can() {
        let fake = Fake::good();
        fake.hugepages(2048, 0, 0);
        let command = "sysctl -w vm.nr_hugepages=192";
        expect(
            &fake,
            "hugepages",
            Use::Nic,
            Level::Error,
            "none reserved",
            command,
        );
        expect(
            &fake,
            "hugepages",
            Use::Tap,
            Level::Note,
            "none reserved",
            command,
        );
        fake.hugepages(2048, 512, 5);
        expect(
            &fake,
            "hugepages",
            Use::Nic,
            Level::Error,
            "512 of 2 MiB, 5 free",
            command,
        );
        fake.hugepages(1 << 20, 1, 1);
        expect(
            &fake,
            "hugepages",
            Use::Nic,
            Level::Ok,
            "1 of 1 GiB, 1 free",
            "",
        );
    }

    #[test]
    fn a_nic_on_a_node_without_hugepages_is_warned_about() {
        let fake = Fake::good();
        fake.file("/sys/devices/system/node/online", "0-1")
            .file("/sys/devices/system/node/node1/cpulist", "8-15");
        expect(
            &fake,
            "numa",
            Use::Nic,
            Level::Ok,
            "node 1: CPUs 8-15, 0 MiB",
            "",
        );
        fake.file("/sys/bus/pci/devices/0000:01:00.0/numa_node", "1");
        let command = "/node1/hugepages/hugepages-2048kB/nr_hugepages";
        expect(
            &fake,
            "numa",
            Use::Nic,
            Level::Warning,
            "node 0: CPUs 0-7, 1024 MiB",
            command,
        );
    }

    #[test]
    fn a_missing_mount_is_a_note() {
        let fake = Fake::good();
        fake.without("/proc/self/mounts");
        expect(
            &fake,
            "hugetlbfs",
            Use::Nic,
            Level::Note,
            "not mounted",
            "mount -t hugetlbfs",
        );
    }
}
