//! A pair of virtual Ethernet interfaces joined by a cable, each end in a namespace of choice.

use std::io;

use super::{COMMAND_TIMEOUT, Netns, require_root, run, unique_name};

/// A veth pair, deleted when dropped. Both ends are up.
#[derive(Debug)]
pub struct Veth {
    left: String,
    right: String,
    left_netns: Option<String>,
}

impl Veth {
    /// Makes a pair; `None` leaves an end in the namespace of this process.
    pub fn new(left: Option<&Netns>, right: Option<&Netns>) -> io::Result<Self> {
        require_root("a veth pair")?;
        let veth = Self {
            left: unique_name("vl"),
            right: unique_name("vr"),
            left_netns: left.map(|netns| netns.name().to_owned()),
        };
        let mut command = vec!["ip", "link", "add", &veth.left];
        command.extend(left.iter().flat_map(|netns| ["netns", netns.name()]));
        command.extend(["type", "veth", "peer", "name", &veth.right]);
        command.extend(right.iter().flat_map(|netns| ["netns", netns.name()]));
        run(&command, COMMAND_TIMEOUT)?;
        up(left, &veth.left)?;
        up(right, &veth.right)?;
        Ok(veth)
    }

    /// Name of the left end.
    pub fn left(&self) -> &str {
        &self.left
    }

    /// Name of the right end.
    pub fn right(&self) -> &str {
        &self.right
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let mut command = vec!["ip"];
        command.extend(self.left_netns.iter().flat_map(|name| ["-n", name]));
        command.extend(["link", "del", &self.left]);
        // One end takes the other with it; the namespace may have taken both already.
        let _ = run(&command, COMMAND_TIMEOUT);
    }
}

fn up(netns: Option<&Netns>, interface: &str) -> io::Result<()> {
    match netns {
        Some(netns) => netns.up(interface),
        None => run(&["ip", "link", "set", interface, "up"], COMMAND_TIMEOUT).map(drop),
    }
}

/// Switches off transmit checksum and segmentation offload of an interface. A veth end whose peer is read by af_packet or af_xdp needs
/// it: the kernel otherwise sends packets without checksums and larger than the MTU.
pub fn disable_tx_offloads(netns: Option<&Netns>, interface: &str) -> io::Result<()> {
    let command = ["ethtool", "-K", interface, "tx", "off"];
    match netns {
        Some(netns) => netns.run(&command, COMMAND_TIMEOUT),
        None => run(&command, COMMAND_TIMEOUT),
    }
    .map(drop)
}
