//! What is found, for people.

use super::found::{Found, KernelInterface, PciDevice};
use super::probe::{Descriptors, ProbedPort};
use crate::output::{Colour, Paint};

/// Headings, and below them a block for each device.
pub(super) fn text(found: &Found, paint: Paint) -> String {
    let mut page = Page {
        lines: Vec::new(),
        paint,
    };
    page.heading("PCI network devices");
    page.none_or(found.pci.is_empty());
    for device in &found.pci {
        page.pci(device);
    }
    page.heading("Interfaces of the kernel");
    page.none_or(found.interfaces.is_empty());
    for interface in &found.interfaces {
        page.interface(interface);
    }
    page.heading("Virtual devices that DPDK can make");
    page.none_or(found.virtuals.is_empty());
    for device in &found.virtuals {
        page.entry(device.what, &[]);
        page.config(&format!("[[port]]\nvdev = {:?}", device.vdev));
    }
    if let Some(ports) = &found.ports {
        page.heading("Ports of DPDK");
        page.none_or(ports.is_empty());
        for port in ports {
            page.port(port);
        }
    }
    page.lines.join("\n") + "\n"
}

struct Page {
    lines: Vec<String>,
    paint: Paint,
}

impl Page {
    fn heading(&mut self, text: &str) {
        if !self.lines.is_empty() {
            self.lines.push(String::new());
        }
        self.lines.push(self.paint.paint(Colour::Bold, text));
    }

    fn none_or(&mut self, none: bool) {
        if none {
            self.lines.push("  none".into());
        }
    }

    fn entry(&mut self, title: &str, about: &[String]) {
        self.lines.push(format!("  {title}"));
        self.lines
            .extend(about.iter().map(|line| format!("      {line}")));
    }

    fn config(&mut self, lines: &str) {
        let lines = lines
            .lines()
            .map(|line| format!("      {}", self.paint.paint(Colour::Cyan, line)));
        self.lines.extend(lines);
    }

    fn pci(&mut self, device: &PciDevice) {
        let name = device.name.as_deref().unwrap_or("unknown device");
        let mut facts = vec![format!(
            "driver {}",
            device.driver.as_deref().unwrap_or("none")
        )];
        facts.extend(device.numa_node.map(|node| format!("NUMA node {node}")));
        facts.extend(
            device
                .iommu_group
                .map(|group| format!("IOMMU group {group}")),
        );
        if !device.interfaces.is_empty() {
            facts.push(format!("interface {}", device.interfaces.join(", ")));
        }
        let colour = if device.ready {
            Colour::Green
        } else {
            Colour::Yellow
        };
        let mut about = vec![facts.join(", "), self.paint.paint(colour, device.state)];
        match (&device.bind, &device.default_route) {
            (_, Some(interface)) => about.push(format!(
                "the default route goes by {interface}: handed over, this machine could not be reached by it"
            )),
            (Some(bind), None) => about.push(format!("$ {bind}")),
            (None, None) => {}
        }
        self.entry(
            &format!("{}  {}  {name}", device.address, device.id),
            &about,
        );
        if device.default_route.is_none() {
            self.config(&device.config);
        }
    }

    fn interface(&mut self, interface: &KernelInterface) {
        let mut facts = vec![interface.kind.clone(), interface.state.clone()];
        facts.extend(interface.mtu.map(|mtu| format!("MTU {mtu}")));
        facts.extend(interface.mac.iter().map(|mac| format!("MAC {mac}")));
        facts.push(format!(
            "{} RX and {} TX queues",
            interface.rx_queues, interface.tx_queues
        ));
        facts.extend(
            interface
                .driver
                .iter()
                .map(|driver| format!("driver {driver}")),
        );
        facts.extend(interface.pci.iter().map(|pci| format!("PCI {pci}")));
        let mut about = vec![facts.join(", ")];
        if interface.default_route {
            about.push("the default route goes by it".into());
        }
        self.entry(&interface.name, &about);
        if let Some(config) = &interface.config {
            self.config(config);
        }
    }

    fn port(&mut self, port: &ProbedPort) {
        let list = |names: &[String]| {
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" ")
            }
        };
        let descriptors = |limits: &Descriptors| {
            format!(
                "{} to {} descriptors, in multiples of {}",
                limits.min,
                limits.max,
                limits.align.max(1)
            )
        };
        let node = port
            .numa_node
            .map_or("any".to_owned(), |node| node.to_string());
        let about = [
            format!(
                "MAC {}, NUMA node {node}, MTU {} to {}",
                port.mac, port.min_mtu, port.max_mtu
            ),
            format!(
                "RX: up to {} queues of {}",
                port.max_rx_queues,
                descriptors(&port.rx_descriptors)
            ),
            format!(
                "TX: up to {} queues of {}",
                port.max_tx_queues,
                descriptors(&port.tx_descriptors)
            ),
            format!("RX offloads: {}", list(&port.rx_offloads)),
            format!("TX offloads: {}", list(&port.tx_offloads)),
            format!(
                "RSS: {}; table of {}, key of {} bytes",
                list(&port.rss_types),
                port.reta_size,
                port.rss_key_size
            ),
        ];
        self.entry(
            &format!("{}: {}, driver {}", port.id, port.name, port.driver),
            &about,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    #[test]
    fn a_device_has_its_facts_its_command_and_its_lines() {
        let fake = Fake::good();
        fake.nic("0000:02:00.0", "ice", Some("eth1"));
        let page = text(&Found::read(&fake.machine()), Paint::off());
        let expected = "\
  0000:02:00.0  8086:1592  unknown device
      driver ice, NUMA node 0, interface eth1
      the kernel has it
      $ modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci 0000:02:00.0
      [[port]]
      pci = \"0000:02:00.0\"
";
        assert!(page.contains(expected), "{page}");
        assert!(
            !page.contains("--bind=vfio-pci 0000:00:03.0"),
            "the default route goes by it"
        );
        assert!(
            page.contains("Interfaces of the kernel\n  none\n"),
            "{page}"
        );
        assert!(!page.contains("Ports of DPDK"), "{page}");
    }
}
