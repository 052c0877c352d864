//! An application of ours with the kernel at the other end of its device: hosts [`OURS`] and [`KERNEL`] of the test network.

use dpdk_net::rte::Eal;
use dpdk_net::{App, AppBuilder, IdlePolicy};
use dpdk_net_testkit::addr::{Family, IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use dpdk_net_testkit::bed::Netns;

pub(crate) const KERNEL: u16 = 1;
pub(crate) const OURS: u16 = 2;

/// The addresses of a host, with the lengths of their prefixes.
fn addresses(host: u16) -> [String; 2] {
    [(Family::V4, IPV4_PREFIX_LEN), (Family::V6, IPV6_PREFIX_LEN)]
        .map(|(family, len)| format!("{}/{len}", family.host(host)))
}

/// EAL with the device. The kernel's threads come from this one: they need the other cores.
pub(crate) fn eal_facing_kernel(vdev: &str) -> Eal {
    let builder = super::eal_builder().keep_affinity().vdev(vdev);
    builder.init().expect("EAL starts")
}

/// The kernel's interface, with its addresses.
pub(crate) fn kernel_up(netns: &Netns, interface: &str) {
    netns.up(interface).unwrap();
    for address in addresses(KERNEL) {
        netns.add_address(interface, &address).unwrap();
    }
}

/// An application whose addresses can be used at once.
pub(crate) fn app_facing_kernel(eal: Eal) -> AppBuilder {
    let app = App::builder()
        .with_eal(eal)
        .stack(|stack| stack.dad = false)
        .idle(IdlePolicy::Yield { after: 16 });
    addresses(OURS).into_iter().fold(app, AppBuilder::address)
}
