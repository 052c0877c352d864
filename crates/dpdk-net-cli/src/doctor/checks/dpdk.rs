//! DPDK itself: its release, and the drivers that it can load.

use crate::doctor::finding::{Finding, Use};
use crate::machine::Machine;
use crate::machine::plugins::plugins;

/// The releases that dpdk-net was written for, oldest and newest.
const OLDEST: (u32, u32) = (22, 11);
const NEWEST: (u32, u32) = (25, 11);

const INSTALL: &str = "apt-get install libdpdk-dev";

/// Network drivers that need no NIC, in the order in which they are shown.
const VIRTUAL: [&str; 9] = [
    "tap",
    "af_packet",
    "af_xdp",
    "memif",
    "vhost",
    "virtio",
    "ring",
    "null",
    "pcap",
];

pub(super) fn check(machine: &Machine) -> Vec<Finding> {
    vec![release(machine), drivers(machine)]
}

fn release(machine: &Machine) -> Finding {
    const CHECK: &str = "dpdk";
    let name = machine.dpdk.as_str();
    let number = name.split(' ').next_back().unwrap_or_default();
    let mut parts = number.split(['.', '-', '~']).map(str::parse::<u32>);
    let known = format!("{}.{} to {}.{}", OLDEST.0, OLDEST.1, NEWEST.0, NEWEST.1);
    match (parts.next(), parts.next()) {
        (Some(Ok(year)), Some(Ok(month))) if (year, month) < OLDEST => {
            Finding::error(CHECK, &Use::ALL, format!("{name} is too old"))
                .means(format!("dpdk-net is for {known}."))
        }
        (Some(Ok(year)), Some(Ok(month))) if (year, month) <= NEWEST => Finding::ok(CHECK, name),
        _ => Finding::warning(CHECK, &Use::ALL, format!("{name} is not known")).means(format!(
            "dpdk-net was written for {known}: another may differ in what is not checked."
        )),
    }
}

fn drivers(machine: &Machine) -> Finding {
    const CHECK: &str = "drivers";
    let Some(directory) = &machine.plugins else {
        return Finding::note(
            CHECK,
            "DPDK has no plug-in directory: its drivers are linked in",
        );
    };
    let plugins = plugins(machine).unwrap_or_default();
    let has = |name: &str| plugins.iter().any(|plugin| plugin == name);
    let directory = directory.display();
    if !has("mempool_ring") {
        return Finding::error(
            CHECK,
            &Use::ALL,
            format!("no memory pool driver (mempool_ring) in {directory}"),
        )
        .means("DPDK makes no pool of packet buffers without it.")
        .mend(INSTALL);
    }
    let mut virtuals: Vec<&str> = Vec::new();
    let mut hardware: Vec<&str> = Vec::new();
    for plugin in &plugins {
        match plugin.strip_prefix("net_") {
            Some(name) if VIRTUAL.contains(&name) => virtuals.push(name),
            Some(name) => hardware.push(name),
            None => {}
        }
    }
    virtuals.sort_by_key(|name| VIRTUAL.iter().position(|known| known == name));
    let missing: [(&'static [Use], bool, &str); 3] = [
        (&[Use::Tap], has("net_tap") && has("bus_vdev"), "tap"),
        (
            &[Use::AfXdp],
            has("net_af_xdp") && has("bus_vdev"),
            "af_xdp",
        ),
        (
            &[Use::Nic],
            has("bus_pci") && !hardware.is_empty(),
            "any NIC",
        ),
    ];
    if let Some((uses, _, name)) = missing.into_iter().find(|(_, there, _)| !there) {
        return Finding::error(CHECK, uses, format!("no driver for {name} in {directory}"))
            .means(format!("There are: {}.", virtuals.join(", ")))
            .mend(INSTALL);
    }
    Finding::ok(
        CHECK,
        format!("{}, and {} for NICs", virtuals.join(", "), hardware.len()),
    )
}

#[cfg(test)]
mod tests {
    use super::super::all;
    use super::super::expect::expect;
    use crate::doctor::finding::{Level, Use};
    use crate::machine::fake::Fake;

    const PLUGINS: &str = "/usr/lib/dpdk/pmds-23.0";

    #[test]
    fn a_release_is_known_too_old_or_new() {
        for (release, level) in [
            ("DPDK 22.11.11", Level::Ok),
            ("DPDK 25.11.0-rc1", Level::Ok),
            ("DPDK 21.11.1", Level::Error),
            ("DPDK 26.3.0", Level::Warning),
            ("DPDK", Level::Warning),
        ] {
            let mut machine = Fake::good().machine();
            machine.dpdk = release.into();
            let findings = all(&machine);
            assert_eq!(findings[0].check, "dpdk");
            assert_eq!(findings[0].level_for(Use::Tap), level, "{release}");
        }
    }

    #[test]
    fn drivers_are_missed_by_the_use_that_needs_them() {
        let fake = Fake::good();
        expect(
            &fake,
            "drivers",
            Use::Tap,
            Level::Ok,
            "tap, af_packet, af_xdp, and 1 for NICs",
            "",
        );
        fake.without(&format!("{PLUGINS}/librte_net_af_xdp.so.23"));
        expect(
            &fake,
            "drivers",
            Use::AfXdp,
            Level::Error,
            "no driver for af_xdp",
            "libdpdk-dev",
        );
        expect(
            &fake,
            "drivers",
            Use::Tap,
            Level::Note,
            "no driver for af_xdp",
            "",
        );
        let fake = Fake::good();
        fake.without(&format!("{PLUGINS}/librte_net_ice.so.23"));
        expect(
            &fake,
            "drivers",
            Use::Nic,
            Level::Error,
            "no driver for any NIC",
            "",
        );
        let fake = Fake::good();
        fake.without(&format!("{PLUGINS}/librte_net_tap.so.23"));
        expect(
            &fake,
            "drivers",
            Use::Tap,
            Level::Error,
            "no driver for tap",
            "",
        );
        fake.without(PLUGINS);
        for wanted in Use::ALL {
            expect(
                &fake,
                "drivers",
                wanted,
                Level::Error,
                "mempool_ring",
                "libdpdk-dev",
            );
        }
    }
}
