//! A device of ours with the kernel at its other end, in a namespace of its own.

use std::fs;

use dpdk_net::AppBuilder;
use dpdk_net::rte::Eal;
use dpdk_net_testkit::addr;
use dpdk_net_testkit::bed::{Netns, Veth, disable_tx_offloads};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};

use crate::common::kernel::{OURS, app_facing_kernel, eal_facing_kernel, kernel_up};

/// The VLAN of the port, which the kernel's end knows nothing of.
pub(crate) const VLAN: u16 = 7;

/// The device, and the kernel's end of it.
pub(crate) struct Bed {
    pub(crate) netns: Netns,
    /// The kernel's interface.
    pub(crate) interface: String,
    pub(crate) eal: Eal,
    /// What the device hangs on.
    _wire: Option<(Veth, Netns)>,
}

impl Bed {
    /// net_tap: this thread is in the kernel's namespace from now on.
    pub(crate) fn tap() -> Self {
        let netns = Netns::new().unwrap();
        netns.enter().unwrap();
        let eal = eal_facing_kernel("net_tap0,iface=tp0");
        Self::new(netns, "tp0".into(), eal, None)
    }

    /// net_af_packet on one end of a cable: this thread is in the namespace of that end from now on.
    pub(crate) fn af_packet() -> Self {
        let (netns, ours) = (Netns::new().unwrap(), Netns::new().unwrap());
        let wire = Veth::new(Some(&ours), Some(&netns)).unwrap();
        disable_tx_offloads(Some(&netns), wire.right()).unwrap();
        ours.enter().unwrap();
        let eal = eal_facing_kernel(&format!("net_af_packet0,iface={},qpairs=1", wire.left()));
        let interface = wire.right().to_owned();
        Self::new(netns, interface, eal, Some((wire, ours)))
    }

    fn new(netns: Netns, interface: String, eal: Eal, wire: Option<(Veth, Netns)>) -> Self {
        kernel_up(&netns, &interface);
        Self {
            netns,
            interface,
            eal,
            _wire: wire,
        }
    }

    /// An application with the addresses of host [`OURS`].
    pub(crate) fn app(&self) -> AppBuilder {
        app_facing_kernel(self.eal.clone()).mac(addr::mac(OURS))
    }

    /// Puts frames on the link, from the kernel's side.
    pub(crate) fn inject(&self, frames: Vec<Vec<u8>>) {
        let name = self.interface.clone();
        let sending = self.netns.spawn(move || {
            let (mut tx, _rx) = packet_socket(&name);
            for frame in frames {
                tx.send_to(&frame, None).unwrap().unwrap();
            }
        });
        sending.join().unwrap();
    }

    /// What the kernel counted of packets that were wrong, by name; that it counts at all is checked.
    pub(crate) fn kernel_errors(&self) -> Vec<(String, u64)> {
        let read = self.netns.spawn(|| {
            ["snmp", "snmp6", "netstat"]
                .map(|file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap())
        });
        let [snmp, snmp6, netstat] = read.join().unwrap();
        let mut counters = Vec::new();
        for table in [&snmp, &netstat] {
            let lines: Vec<_> = table.lines().collect();
            for pair in lines.chunks_exact(2) {
                let (protocol, names) = pair[0].split_once(": ").unwrap();
                let values = pair[1].split_whitespace().skip(1);
                for (name, value) in names.split_whitespace().zip(values) {
                    // Some are -1 where there is no limit.
                    let value = value.parse().unwrap_or(0);
                    counters.push((format!("{protocol}{name}"), value));
                }
            }
        }
        for line in snmp6.lines() {
            let (name, value) = line.split_once(char::is_whitespace).unwrap();
            counters.push((name.to_owned(), value.trim().parse().unwrap()));
        }
        for name in ["TcpInSegs", "UdpInDatagrams", "Udp6InDatagrams"] {
            assert!(counters.iter().any(|(n, count)| n == name && *count > 0));
        }
        let wrong = [
            "CsumErrors",
            "InHdrErrors",
            "InErrors",
            "InErrs",
            "InTruncatedPkts",
        ];
        counters.retain(|(name, _)| wrong.iter().any(|wrong| name.ends_with(wrong)));
        assert!(counters.len() >= 8, "{counters:?}");
        counters.retain(|(_, count)| *count > 0);
        counters
    }
}

/// A packet socket on an interface of the namespace that this thread is in.
pub(crate) fn packet_socket(name: &str) -> (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>) {
    let interface = pnet_datalink::interfaces()
        .into_iter()
        .find(|interface| interface.name == name)
        .expect("the interface is there");
    match pnet_datalink::channel(&interface, Config::default()).unwrap() {
        Channel::Ethernet(tx, rx) => (tx, rx),
        _ => panic!("{name} is no Ethernet interface"),
    }
}
