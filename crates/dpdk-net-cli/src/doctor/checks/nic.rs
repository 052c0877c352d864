//! NICs, the driver each is bound to, vfio and the IOMMU.

use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::pci::{Nic, Owner};

const NIC: &[Use] = &[Use::Nic];

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    let nics = Nic::all(machine);
    let mut findings = devices(machine, &nics);
    // A NIC that DPDK drives through uio or its kernel driver needs no vfio.
    let needs_vfio = !nics
        .iter()
        .any(|nic| nic.is_ready() && nic.driver.as_deref() != Some("vfio-pci"));
    findings.push(vfio(machine, needs_vfio));
    findings.push(iommu(machine, needs_vfio));
    findings.extend(groups(machine, &nics));
    findings
}

fn devices(machine: &Machine, nics: &[Nic]) -> Vec<Finding> {
    const CHECK: &str = "nic";
    if nics.is_empty() {
        return vec![
            Finding::error(CHECK, NIC, "no network device on the PCI bus")
                .means("tap, af_packet, af_xdp and memif do without one."),
        ];
    }
    let any_ready = nics.iter().any(Nic::is_ready);
    // The one to hand over: not the one that this machine is reached by.
    let spare = nics
        .iter()
        .find(|nic| nic.default_route(machine).is_none())
        .map(|nic| nic.address.as_str());
    nics.iter()
        .map(|nic| {
            let driver = nic.driver.as_deref().unwrap_or("no driver");
            let on = if nic.interfaces.is_empty() {
                String::new()
            } else {
                format!(", {}", nic.interfaces.join(", "))
            };
            let what = format!("{} is bound to {driver}{on}", nic.address);
            match (nic.owner(), nic.default_route(machine)) {
                (Owner::Dpdk, _) => Finding::ok(CHECK, what),
                (Owner::Shared, _) => {
                    Finding::ok(CHECK, what).means("DPDK drives it beside the kernel.")
                }
                (_, Some(interface)) => {
                    let finding = if any_ready || spare.is_some() {
                        Finding::note(CHECK, what)
                    } else {
                        Finding::error(CHECK, NIC, what)
                    };
                    finding.means(format!(
                        "The default route goes by {interface}: handed to DPDK, this machine could no longer be reached by it."
                    ))
                }
                _ => {
                    let finding = if any_ready || spare != Some(nic.address.as_str()) {
                        Finding::note(CHECK, what)
                    } else {
                        Finding::error(CHECK, NIC, what)
                    };
                    finding
                        .means("DPDK can have it once it is bound to vfio-pci; the kernel then no longer has it.")
                        .mend(nic.bind())
                }
            }
        })
        .collect()
}

fn vfio(machine: &Machine, needed: bool) -> Finding {
    const CHECK: &str = "vfio";
    let loaded = |driver: &str| machine.exists(format!("/sys/bus/pci/drivers/{driver}"));
    let uio = ["uio_pci_generic", "igb_uio"]
        .into_iter()
        .find(|driver| loaded(driver));
    if loaded("vfio-pci") {
        return Finding::ok(CHECK, "vfio-pci is loaded");
    }
    let finding = if needed {
        Finding::error(CHECK, NIC, "vfio-pci is not loaded")
    } else {
        Finding::note(CHECK, "vfio-pci is not loaded")
    };
    match uio {
        Some(driver) => finding.means(format!(
            "{driver} is, and works without the IOMMU's protection: a NIC can then write anywhere in memory."
        )),
        None => finding.means("It is the driver by which DPDK gets a NIC."),
    }
    .mend("modprobe vfio-pci")
}

fn iommu(machine: &Machine, needed: bool) -> Finding {
    const CHECK: &str = "iommu";
    let groups = machine.names("/sys/kernel/iommu_groups").len();
    if groups > 0 {
        return Finding::ok(CHECK, format!("on, {groups} groups"));
    }
    let switch = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    if machine.text(switch).as_deref() == Some("Y") {
        return Finding::warning(CHECK, NIC, "off, and vfio allowed without it").means(
            "A NIC can write anywhere in memory: for machines on which that does not matter.",
        );
    }
    let finding = if needed {
        Finding::error(CHECK, NIC, "off")
    } else {
        Finding::note(CHECK, "off")
    };
    finding
        .means(
            "vfio-pci takes it. Switch it on in the firmware (VT-d, AMD-Vi) and boot with intel_iommu=on iommu=pt. \
             A virtual machine without one can do unprotected:",
        )
        .mend(format!("modprobe vfio && echo 1 > {switch}"))
}

/// The device files by which vfio hands over what is bound to it.
fn groups(machine: &Machine, nics: &[Nic]) -> Vec<Finding> {
    const CHECK: &str = "vfio";
    let bound = nics
        .iter()
        .filter(|nic| nic.driver.as_deref() == Some("vfio-pci"));
    bound
        .filter_map(|nic| {
            let name = nic.group?.to_string();
            let file = [&name, &format!("noiommu-{name}")]
                .map(|name| format!("/dev/vfio/{name}"))
                .into_iter()
                .find(|file| machine.exists(file));
            let Some(file) = file else {
                return Some(
                    Finding::error(CHECK, NIC, format!("/dev/vfio/{name} of {} is missing", nic.address))
                        .means(format!("In a container: start it with --device /dev/vfio/vfio --device /dev/vfio/{name}.")),
                );
            };
            // Not opened: a group can be open once, and its owner may be running.
            let access = rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK;
            rustix::fs::access(machine.at(&file), access).err().map(|error| {
                Finding::error(CHECK, NIC, format!("{file} of {} cannot be opened: {error}", nic.address))
                    .means("Run as root, or give the file to your user.")
                    .mend(format!("chown $USER {file}"))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::expect::{expect, found};
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    const SPARE: &str = "/sys/bus/pci/devices/0000:01:00.0";

    #[test]
    fn a_spare_nic_of_the_kernels_is_to_be_bound_and_the_default_routes_is_not() {
        let fake = Fake::good();
        expect(
            &fake,
            "nic",
            Use::Nic,
            Level::Ok,
            "0000:01:00.0 is bound to vfio-pci",
            "",
        );
        fake.without(SPARE).nic("0000:01:00.0", "ice", Some("eth1"));
        let command = "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci 0000:01:00.0";
        expect(
            &fake,
            "nic",
            Use::Nic,
            Level::Error,
            "bound to ice, eth1",
            command,
        );
        expect(
            &fake,
            "nic",
            Use::Nic,
            Level::Note,
            "0000:00:03.0 is bound to virtio-pci, eth0",
            "",
        );
        let by_route = &found(&fake, "nic", Use::Nic)[0].1;
        assert_eq!(
            by_route.command, None,
            "nobody is told to saw the branch off"
        );
        fake.without(SPARE);
        expect(&fake, "nic", Use::Nic, Level::Error, "eth0", "");
        fake.without("/sys/bus/pci/devices");
        expect(
            &fake,
            "nic",
            Use::Nic,
            Level::Error,
            "no network device",
            "",
        );
        expect(&fake, "nic", Use::Tap, Level::Note, "no network device", "");
    }

    #[test]
    fn a_nic_that_is_shared_needs_no_vfio() {
        let fake = Fake::good();
        fake.without(SPARE)
            .without("/sys/bus/pci/drivers/vfio-pci")
            .without("/sys/kernel/iommu_groups")
            .nic("0000:01:00.0", "mlx5_core", Some("eth1"));
        expect(&fake, "nic", Use::Nic, Level::Ok, "mlx5_core, eth1", "");
        expect(
            &fake,
            "vfio",
            Use::Nic,
            Level::Note,
            "not loaded",
            "modprobe vfio-pci",
        );
        expect(&fake, "iommu", Use::Nic, Level::Note, "off", "");
    }

    #[test]
    fn vfio_must_be_loaded_and_have_an_iommu() {
        let fake = Fake::good();
        fake.without("/sys/bus/pci/drivers/vfio-pci")
            .without("/sys/kernel/iommu_groups");
        expect(
            &fake,
            "vfio",
            Use::Nic,
            Level::Error,
            "not loaded",
            "modprobe vfio-pci",
        );
        expect(
            &fake,
            "iommu",
            Use::Nic,
            Level::Error,
            "off",
            "enable_unsafe_noiommu_mode",
        );
        fake.file(
            "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode",
            "Y\n",
        );
        expect(
            &fake,
            "iommu",
            Use::Nic,
            Level::Warning,
            "allowed without it",
            "",
        );
    }

    #[test]
    fn with_uio_alone_its_danger_is_named() {
        let fake = Fake::good();
        fake.without(SPARE)
            .without("/sys/bus/pci/drivers/vfio-pci")
            .directory("/sys/bus/pci/drivers/igb_uio")
            .nic("0000:01:00.0", "igb_uio", None);
        let found = found(&fake, "vfio", Use::Nic);
        assert_eq!(found[0].0, Level::Note);
        assert!(found[0].1.meaning.as_ref().unwrap().contains("igb_uio"));
    }

    #[test]
    fn the_group_of_a_bound_nic_must_be_there() {
        let fake = Fake::good();
        fake.without("/dev/vfio/7");
        expect(
            &fake,
            "vfio",
            Use::Nic,
            Level::Error,
            "/dev/vfio/7 of 0000:01:00.0 is missing",
            "",
        );
    }
}
