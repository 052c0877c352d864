//! Virtual devices that DPDK can make, by the drivers that are installed.

use serde::Serialize;

use crate::machine::Machine;
use crate::machine::plugins::plugins;

/// A kind of virtual device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Virtual {
    /// What EAL's --vdev takes, with an example's arguments.
    pub(super) vdev: &'static str,
    /// Who is at the other end.
    pub(super) what: &'static str,
    #[serde(skip)]
    plugin: &'static str,
}

const ALL: [Virtual; 8] = [
    Virtual {
        vdev: "net_tap0,iface=dpdk0",
        what: "a TAP interface: the kernel is the other end",
        plugin: "net_tap",
    },
    Virtual {
        vdev: "net_af_packet0,iface=eth1",
        what: "an interface of the kernel, through packet sockets",
        plugin: "net_af_packet",
    },
    Virtual {
        vdev: "net_af_xdp0,iface=eth1,start_queue=0",
        what: "an interface of the kernel, through AF_XDP",
        plugin: "net_af_xdp",
    },
    Virtual {
        vdev: "net_memif0,role=server,socket=/run/dpdk.memif,socket-abstract=no",
        what: "another DPDK program on this machine, by shared memory",
        plugin: "net_memif",
    },
    Virtual {
        vdev: "net_vhost0,iface=/run/dpdk.vhost",
        what: "a virtual machine, or a DPDK program with virtio-user",
        plugin: "net_vhost",
    },
    Virtual {
        vdev: "net_virtio_user0,path=/run/dpdk.vhost",
        what: "a DPDK program with vhost",
        plugin: "net_virtio",
    },
    Virtual {
        vdev: "net_pcap0,iface=eth1",
        what: "an interface of the kernel or a capture, through libpcap",
        plugin: "net_pcap",
    },
    Virtual {
        vdev: "net_null0",
        what: "nobody: it swallows what is sent",
        plugin: "net_null",
    },
];

/// Those whose driver is installed; all where that cannot be told.
pub(super) fn all(machine: &Machine) -> Vec<Virtual> {
    let installed = plugins(machine);
    let has = |plugin: &str| match &installed {
        Some(installed) => installed.iter().any(|name| name == plugin),
        None => true,
    };
    ALL.into_iter()
        .filter(|device| has(device.plugin))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    #[test]
    fn only_those_whose_driver_is_installed_are_offered() {
        let fake = Fake::good();
        let plugins = |machine: &Machine| -> Vec<&str> {
            all(machine).iter().map(|device| device.plugin).collect()
        };
        assert_eq!(
            plugins(&fake.machine()),
            ["net_tap", "net_af_packet", "net_af_xdp"]
        );
        let mut unknown = fake.machine();
        unknown.plugins = None;
        assert_eq!(plugins(&unknown).len(), ALL.len());
    }
}
