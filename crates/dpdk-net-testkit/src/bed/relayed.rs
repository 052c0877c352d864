//! The place of a relay: a namespace for it, and cables from there to kernel hosts and to ports of DPDK.

use std::io;
use std::net::IpAddr;

use super::{Netns, Veth, disable_tx_offloads};
use crate::addr::{Family, IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use crate::relay::End;

/// A namespace in which a relay works. The kernel has no addresses in it and says nothing by itself.
#[derive(Debug)]
pub struct RelayedBed {
    netns: Netns,
}

/// A kernel of its own at the other end of a cable from the relay, with the addresses of its number in
/// [`addr`](crate::addr).
#[derive(Debug)]
pub struct KernelHost {
    number: u16,
    // Dropped first: the pair is deleted by way of the namespace.
    veth: Veth,
    netns: Netns,
    end: End,
}

impl RelayedBed {
    /// Makes the relay's namespace.
    pub fn new() -> io::Result<Self> {
        let netns = Netns::new()?;
        // No neighbour discovery, no listener reports: the cables carry what the hosts send and nothing else.
        netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        Ok(Self { netns })
    }

    /// The relay's namespace; devices that DPDK makes should be made in it.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Makes a kernel host with the addresses of `number`. It sends finished frames of at most the MTU.
    pub fn kernel_host(&self, number: u16) -> io::Result<KernelHost> {
        let netns = Netns::new()?;
        let veth = Veth::new(Some(&netns), Some(&self.netns))?;
        disable_tx_offloads(Some(&netns), veth.left())?;
        for (family, len) in [(Family::V4, IPV4_PREFIX_LEN), (Family::V6, IPV6_PREFIX_LEN)] {
            let address = format!("{}/{len}", family.host(number));
            netns.add_address(veth.left(), &address)?;
        }
        Ok(KernelHost {
            number,
            end: End::within(&self.netns, veth.right()),
            veth,
            netns,
        })
    }

    /// Makes a cable within the namespace: the left end is for a device of DPDK (`net_af_packet`), the right one for the relay.
    pub fn cable(&self) -> io::Result<Veth> {
        Veth::new(Some(&self.netns), Some(&self.netns))
    }

    /// An interface of this namespace as a side of a relay.
    pub fn end(&self, interface: &str) -> End {
        End::within(&self.netns, interface)
    }
}

impl KernelHost {
    /// Its namespace.
    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Its interface.
    pub fn interface(&self) -> &str {
        self.veth.left()
    }

    /// The relay's side of its cable.
    pub fn end(&self) -> End {
        self.end.clone()
    }

    /// Its address.
    pub fn address(&self, family: Family) -> IpAddr {
        family.host(self.number)
    }
}
