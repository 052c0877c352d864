//! Names of PCI vendors and devices, from the list that pciutils and hwdata bring.

use super::Machine;

/// Where distributions have it.
const LISTS: [&str; 3] = [
    "/usr/share/misc/pci.ids",
    "/usr/share/hwdata/pci.ids",
    "/usr/share/pci.ids",
];

/// The list, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Names(String);

impl Names {
    pub(crate) fn read(machine: &Machine) -> Self {
        Self(
            LISTS
                .iter()
                .find_map(|list| machine.text(list))
                .unwrap_or_default(),
        )
    }

    /// `Intel Corporation Ethernet Controller E810-C for QSFP`, or as much of it as is known.
    pub(crate) fn of(&self, vendor: u16, device: u16) -> Option<String> {
        let (vendor, device) = (format!("{vendor:04x}  "), format!("\t{device:04x}  "));
        let mut lines = self.0.lines().skip_while(|line| !line.starts_with(&vendor));
        let maker = lines.next()?.strip_prefix(&vendor)?;
        // Its devices follow, indented by one tab; subsystems have two.
        let model = lines
            .take_while(|line| line.starts_with(['\t', '#']))
            .find_map(|line| line.strip_prefix(&device));
        Some(match model {
            Some(model) => format!("{maker} {model}"),
            None => maker.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn vendors_and_devices_are_found_in_the_list() {
        let fake = Fake::empty();
        assert_eq!(Names::read(&fake.machine()).of(0x8086, 0x1592), None);
        fake.file(
            "/usr/share/hwdata/pci.ids",
            "# comment\n15b3  Mellanox\n\t1592  Wrong\n8086  Intel\n# more\n\t1591  One\n\t1592  E810\n\t\t8086 0001  Sub\nC 02  Network\n",
        );
        let names = Names::read(&fake.machine());
        assert_eq!(names.of(0x8086, 0x1592).as_deref(), Some("Intel E810"));
        assert_eq!(names.of(0x8086, 1).as_deref(), Some("Intel"));
        assert_eq!(names.of(0x1234, 1), None);
    }
}
