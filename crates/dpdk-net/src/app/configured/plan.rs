//! What a file comes to on this machine, for people: defaults, devices, lcores and queues beside what the file says.

use std::fmt;

use dpdk_net_config::{File, InterfaceDriver, Machine, Network, Port};

use super::devices::Device;
use super::settings;

/// What an application of a file will be: EAL's arguments, ports, lcores, listeners. It prints as a text of several lines.
///
/// How many queues a port has is only known when DPDK has opened it: where the file does not say, it is as many as there are workers, as
/// far as the port has them.
#[derive(Debug)]
pub struct Plan<'a> {
    pub(super) file: &'a File,
    pub(super) machine: &'a Machine,
}

impl Plan<'_> {
    /// Lcores with the CPUs that they run on, the main one first.
    fn lcores(&self) -> Vec<(u32, Vec<u32>)> {
        let workers = &self.file.config().workers;
        let mut lcores: Vec<(u32, Vec<u32>)> = match &workers.lcores {
            Some(lcores) => lcores
                .0
                .iter()
                .map(|map| (map.lcore, map.cpus.clone()))
                .collect(),
            None => self
                .machine
                .cpus
                .iter()
                .map(|cpu| (*cpu, vec![*cpu]))
                .collect(),
        };
        lcores.sort_by_key(|(lcore, _)| (workers.main != Some(*lcore), *lcore));
        lcores
    }

    /// Workers, as far as the file decides it.
    fn workers(&self) -> usize {
        let count = self
            .file
            .config()
            .workers
            .count
            .map_or(usize::MAX, usize::from);
        let queues = self
            .file
            .config()
            .port
            .iter()
            .map(|port| port.queues.map(usize::from));
        let queues = queues.sum::<Option<usize>>().unwrap_or(usize::MAX);
        self.lcores().len().min(count).min(queues).max(1)
    }

    fn port(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: usize,
        port: &Port,
        network: &Network,
    ) -> fmt::Result {
        let config = self.file.config();
        let device = Device::of(port, config, self.machine);
        writeln!(f, "port {}", self.file.port_name(index))?;
        match &device {
            Device::Pci(address) => writeln!(f, "  device     PCI {address}")?,
            Device::Virtual(vdev) => writeln!(f, "  device     {vdev}")?,
        }
        if let (Some(interface), Some(InterfaceDriver::Pci)) = (&port.interface, port.driver) {
            writeln!(f, "             behind {interface}")?;
        }
        match port.queues {
            Some(queues) => writeln!(f, "  queues     {queues}")?,
            None => writeln!(
                f,
                "  queues     {}, as far as the port has them",
                self.workers()
            )?,
        }
        writeln!(f, "  MTU        {}", port.mtu.unwrap_or(1500))?;
        if let Some(mac) = port.mac {
            writeln!(f, "  MAC        {mac}")?;
        }
        let mut addresses = list(&network.addresses);
        let asked = [
            (network.dhcp4, "DHCP"),
            (network.dhcp6, "DHCPv6"),
            (network.slaac, "router advertisements"),
        ];
        for (_, source) in asked.iter().filter(|(asked, _)| *asked == Some(true)) {
            addresses.push(format!("by {source}"));
        }
        lines(f, "addresses", &addresses)?;
        for vlan in &network.vlans {
            lines(f, &format!("VLAN {}", vlan.id), &list(&vlan.addresses))?;
        }
        let gateways = network
            .gateways
            .iter()
            .map(|via| format!("default by {via}"));
        let routes = network.routes.iter().map(|route| {
            let via = route
                .via
                .map_or("on the link".to_owned(), |via| format!("by {via}"));
            format!("{} {via}", route.to)
        });
        lines(f, "routes", &gateways.chain(routes).collect::<Vec<_>>())?;
        let neighbors = network.neighbors.iter();
        let neighbors = neighbors.map(|one| format!("{} at {}", one.address, one.mac));
        lines(f, "neighbours", &neighbors.collect::<Vec<_>>())?;
        lines(f, "DNS", &list(&network.dns.servers))?;
        let wished = settings::offloads(&port.offloads).into_iter();
        let wished = wished.map(|(offload, wish)| format!("{offload:?} {wish:?}"));
        lines(f, "offloads", &wished.collect::<Vec<_>>())?;
        if !port.flow.is_empty() {
            writeln!(f, "  flow rules {}", port.flow.len())?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(all: &[T]) -> Vec<String> {
    all.iter().map(T::to_string).collect()
}

/// A line for each, the first with what they are.
fn lines(f: &mut fmt::Formatter<'_>, what: &str, all: &[String]) -> fmt::Result {
    all.iter().enumerate().try_for_each(|(index, one)| {
        let what = if index == 0 { what } else { "" };
        writeln!(f, "  {what:<10} {one}")
    })
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.file.config();
        let arguments = settings::eal(self.file, self.machine).arguments();
        writeln!(f, "EAL {}", arguments.join(" "))?;
        let lcores = self.lcores();
        for (index, (lcore, cpus)) in lcores.iter().enumerate() {
            let what = match index < self.workers() {
                true => "a worker",
                false => "idle",
            };
            let plural = if cpus.len() == 1 { "" } else { "s" };
            writeln!(
                f,
                "lcore {lcore} on CPU{plural} {}: {what}",
                list(cpus).join(", ")
            )?;
        }
        for (index, (_, port, network)) in config.networks().into_iter().enumerate() {
            self.port(f, index, port, network)?;
        }
        for listener in &config.listener {
            let protocol = match listener.protocol {
                Some(protocol) => protocol.to_string(),
                None => "tcp".to_owned(),
            };
            let on = listener
                .port
                .as_ref()
                .map_or(String::new(), |port| format!(" on {port}"));
            let tls = match &listener.tls {
                Some(tls) if tls.client_ca.is_some() => " with TLS, for clients with certificates",
                Some(_) => " with TLS",
                None => "",
            };
            writeln!(
                f,
                "listener {}: {protocol} {}{on}{tls}",
                listener.name, listener.address
            )?;
        }
        for route in &config.route {
            let path = route.path.as_deref().unwrap_or("/");
            let host = route.host.as_deref().unwrap_or("");
            let does = if let Some(files) = &route.files {
                format!("files of {}", files.root.display())
            } else if let Some(proxy) = &route.proxy {
                format!("passed on to {}", proxy.upstreams.join(", "))
            } else if let Some(redirect) = &route.redirect {
                format!("sent to {}", redirect.to)
            } else {
                format!("status {}", route.status.unwrap_or(404))
            };
            let at = route
                .listener
                .as_ref()
                .map_or(String::new(), |name| format!("{name}: "));
            writeln!(f, "route {at}{host}{path}: {does}")?;
        }
        Ok(())
    }
}
