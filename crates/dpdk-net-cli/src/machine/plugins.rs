//! The drivers that DPDK loads: a shared object each, in its plug-in directory.

use super::Machine;

/// Their names, such as `net_tap` or `bus_pci`, sorted; `None` where DPDK has no such directory.
pub(crate) fn plugins(machine: &Machine) -> Option<Vec<String>> {
    let directory = machine.plugins.as_ref()?;
    let mut plugins: Vec<String> = machine
        .names(directory)
        .iter()
        .filter_map(|file| {
            Some(
                file.strip_prefix("librte_")?
                    .split_once(".so")?
                    .0
                    .to_owned(),
            )
        })
        .collect();
    // librte_net_tap.so, librte_net_tap.so.23, librte_net_tap.so.23.0
    plugins.dedup();
    Some(plugins)
}
