//! `--device`: which port the demo drives, in DPDK's words and in the kernel's.
//!
//! Parsing only. What the machine must offer for a device is checked in `preflight`, what is set up at the
//! kernel's end is in `kernel`.

use std::fmt;
use std::str::FromStr;

/// The longest name of a network interface: IFNAMSIZ less the terminating zero.
const INTERFACE_NAME_MAX: usize = 15;

/// What a frame may have at most where XDP gives it one page (veth; many NICs are near it).
const XDP_MTU_MAX: u16 = 3498;

/// What `--device` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A TAP interface that DPDK makes; the kernel is the peer.
    Tap,
    /// A veth pair that the demo makes; DPDK reads and writes one end through AF_PACKET.
    Veth,
    /// An interface that exists, through AF_PACKET.
    AfPacket(String),
    /// An interface that exists, through AF_XDP.
    AfXdp(String),
    /// A memif socket: `SOCKET[,ARGS]`.
    Memif(String),
    /// A NIC on the PCI bus.
    Pci(String),
    /// Any virtual device, as given to EAL's `--vdev`.
    Vdev(String),
}

/// The rights that a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    /// `CAP_NET_ADMIN` over the network namespace, one of our own included.
    OwnNamespace,
    /// Root of the machine.
    Root,
    /// None in particular.
    User,
}

impl Device {
    /// The rights that driving it takes.
    pub(crate) fn rights(&self) -> Rights {
        match self {
            Self::Tap | Self::Veth => Rights::OwnNamespace,
            Self::AfPacket(_) | Self::AfXdp(_) | Self::Pci(_) => Rights::Root,
            Self::Memif(_) => Rights::User,
            Self::Vdev(raw) if raw.starts_with("net_tap") => Rights::OwnNamespace,
            Self::Vdev(raw) if raw.starts_with("net_af_") || raw.starts_with("net_pcap") => {
                Rights::Root
            }
            Self::Vdev(_) => Rights::User,
        }
    }

    /// Whether the demo makes the kernel's end and gives it addresses.
    pub(crate) fn has_kernel_end(&self) -> bool {
        matches!(self, Self::Tap | Self::Veth)
    }

    /// EAL's `--vdev`, where the port is a virtual one. `interface` is the kernel's end.
    pub(crate) fn vdev(&self, interface: &str) -> Option<String> {
        Some(match self {
            Self::Tap => format!("net_tap0,iface={interface}"),
            Self::Veth => format!("net_af_packet0,iface={}", port_end(interface)),
            Self::AfPacket(name) => format!("net_af_packet0,iface={name}"),
            Self::AfXdp(name) => format!("net_af_xdp0,iface={name},start_queue=0"),
            Self::Memif(spec) => {
                let (socket, rest) = spec
                    .split_once(',')
                    .map_or((spec.as_str(), ""), |(s, r)| (s, r));
                let role = if rest.contains("role=") {
                    ""
                } else {
                    ",role=server"
                };
                let comma = if rest.is_empty() { "" } else { "," };
                format!("net_memif0,socket={socket},socket-abstract=no{role}{comma}{rest}")
            }
            Self::Pci(_) => return None,
            Self::Vdev(raw) => raw.clone(),
        })
    }

    /// The path of the socket that we serve, where the other end of the device is another process.
    pub(crate) fn server_socket(&self) -> Option<&str> {
        match self {
            Self::Memif(spec) => {
                let (socket, rest) = spec.split_once(',').unwrap_or((spec, ""));
                let is_server = argument(rest, "role").is_none_or(|role| role != "client");
                let is_path = argument(rest, "socket-abstract").is_none_or(|value| value == "no");
                (is_server && is_path).then_some(socket)
            }
            Self::Vdev(raw) => {
                let (name, rest) = raw.split_once(',')?;
                let is_set = |key| argument(rest, key) == Some("1");
                if name.starts_with("net_vhost") && !is_set("client") {
                    argument(rest, "iface")
                } else if name.starts_with("net_virtio_user") && is_set("server") {
                    argument(rest, "path")
                } else {
                    None
                }
            }
            _ => None,
        }
    }

    /// What to look at when the port does not come up, beyond what the error says.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::AfXdp(name) => Some(format!(
                "AF_XDP wants queue 0 of {name} for itself: end other programs that use XDP on it, then\n\
                 ip link set dev {name} xdp off\n\
                 and an MTU of at most {XDP_MTU_MAX}, at the other end of a veth pair too"
            )),
            Self::Memif(spec) if self.server_socket().is_none() => Some(format!(
                "start the memif server first: it makes the socket {}",
                spec.split(',').next().unwrap_or(spec)
            )),
            _ => None,
        }
    }

    /// DPDK's name of the port.
    pub(crate) fn port_name(&self) -> String {
        match self {
            Self::Tap => "net_tap0".into(),
            Self::Veth | Self::AfPacket(_) => "net_af_packet0".into(),
            Self::AfXdp(_) => "net_af_xdp0".into(),
            Self::Memif(_) => "net_memif0".into(),
            Self::Pci(address) => address.clone(),
            Self::Vdev(raw) => raw.split(',').next().unwrap_or(raw).to_owned(),
        }
    }
}

/// The value of `key` among DPDK's device arguments, `KEY=VALUE,KEY=VALUE`.
fn argument<'a>(arguments: &'a str, key: &str) -> Option<&'a str> {
    arguments
        .split(',')
        .find_map(|argument| argument.strip_prefix(key)?.strip_prefix('='))
}

/// The end of our veth pair that DPDK drives; the kernel keeps the one called `interface`.
pub(crate) fn port_end(interface: &str) -> String {
    format!("{interface}p")
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text
            .split_once('=')
            .map_or((text, None), |(kind, value)| (kind, Some(value)));
        let value = value.filter(|value| !value.is_empty());
        let wants = |what: &str| format!("`{kind}` wants {what}");
        match (kind, value) {
            ("tap", None) => Ok(Self::Tap),
            ("veth", None) => Ok(Self::Veth),
            ("tap" | "veth", Some(_)) => Err(format!(
                "`{kind}` takes no value: the interface's name is given by --interface"
            )),
            ("af_packet", value) => {
                interface(value.ok_or_else(|| wants("an interface: af_packet=eth1"))?)
                    .map(Self::AfPacket)
            }
            ("af_xdp", value) => {
                interface(value.ok_or_else(|| wants("an interface: af_xdp=eth1"))?).map(Self::AfXdp)
            }
            ("memif", value) => {
                let spec = value.ok_or_else(|| wants("a socket: memif=/run/memif.sock"))?;
                Ok(Self::Memif(spec.into()))
            }
            ("pci", value) => {
                pci_address(value.ok_or_else(|| wants("an address: pci=0000:01:00.0"))?)
                    .map(Self::Pci)
            }
            ("vdev", value) => {
                let raw = value.ok_or_else(|| wants("what EAL's --vdev takes: vdev=net_null0"))?;
                Ok(Self::Vdev(raw.into()))
            }
            _ => Err(format!(
                "there is no device `{kind}`: give tap, veth, af_packet=IFACE, af_xdp=IFACE, memif=SOCKET, \
                 pci=ADDRESS or vdev=RAW"
            )),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tap => f.write_str("tap"),
            Self::Veth => f.write_str("veth"),
            Self::AfPacket(value) => write!(f, "af_packet={value}"),
            Self::AfXdp(value) => write!(f, "af_xdp={value}"),
            Self::Memif(value) => write!(f, "memif={value}"),
            Self::Pci(value) => write!(f, "pci={value}"),
            Self::Vdev(value) => write!(f, "vdev={value}"),
        }
    }
}

/// A name that the kernel takes for a network interface, and that needs no quoting anywhere.
pub(crate) fn interface(name: &str) -> Result<String, String> {
    if name.is_empty() || name.len() > INTERFACE_NAME_MAX {
        return Err(format!(
            "an interface name has 1 to {INTERFACE_NAME_MAX} characters, `{name}` has {}",
            name.len()
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if !name.chars().all(allowed) || name.starts_with(['-', '.']) {
        return Err(format!(
            "`{name}` cannot be the name of an interface: use letters, digits, `-`, `_` and `.`"
        ));
    }
    Ok(name.to_owned())
}

/// `[DOMAIN:]BUS:DEVICE.FUNCTION` in hexadecimal, with the domain filled in, as DPDK names the port.
fn pci_address(text: &str) -> Result<String, String> {
    let malformed = || {
        format!("`{text}` is no PCI address: give DOMAIN:BUS:DEVICE.FUNCTION, such as 0000:01:00.0")
    };
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.chars().all(|c| c.is_ascii_hexdigit())
    };
    let (rest, function) = text.rsplit_once('.').ok_or_else(malformed)?;
    let parts: Vec<&str> = rest.split(':').collect();
    let (domain, bus, device) = match parts[..] {
        [bus, device] => ("0000", bus, device),
        [domain, bus, device] => (domain, bus, device),
        _ => return Err(malformed()),
    };
    let function_ok = function.len() == 1 && function.chars().all(|c| ('0'..='7').contains(&c));
    if !(hex(domain, 4) && hex(bus, 2) && hex(device, 2) && function_ok) {
        return Err(malformed());
    }
    Ok(format!("{domain}:{bus}:{device}.{function}").to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_reads_back_as_it_was_written() {
        for text in [
            "tap",
            "veth",
            "af_packet=eth1",
            "af_xdp=eth1",
            "memif=/run/m,id=1",
            "pci=0000:01:00.0",
            "vdev=net_null0",
        ] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        assert_eq!(
            "pci=3B:00.1".parse(),
            Ok(Device::Pci("0000:3b:00.1".into()))
        );
    }

    #[test]
    fn a_bad_device_says_what_is_expected() {
        for (text, expected) in [
            ("tun", "there is no device `tun`"),
            ("", "there is no device ``"),
            ("tap=x", "--interface"),
            ("af_packet", "af_packet=eth1"),
            ("af_xdp=", "af_xdp=eth1"),
            ("af_packet=sixteencharacter", "1 to 15"),
            ("af_packet=a b", "letters, digits"),
            ("pci=01:00", "no PCI address"),
            ("pci=0000:01:00.9", "no PCI address"),
            ("pci=0000:0g:00.0", "no PCI address"),
            ("memif", "a socket"),
            ("vdev=", "--vdev"),
        ] {
            let error = text.parse::<Device>().unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_socket_that_we_serve_is_known_by_role() {
        for (text, socket) in [
            ("memif=/m", Some("/m")),
            ("memif=/m,id=1,role=server", Some("/m")),
            ("memif=/m,role=client,id=1", None),
            ("memif=m,socket-abstract=yes", None),
            ("vdev=net_vhost0,iface=/v,queues=1", Some("/v")),
            ("vdev=net_vhost0,iface=/v,client=1", None),
            ("vdev=net_virtio_user0,path=/v,server=1", Some("/v")),
            ("vdev=net_virtio_user0,path=/v", None),
            ("vdev=net_null0", None),
            ("tap", None),
        ] {
            let device: Device = text.parse().unwrap();
            assert_eq!(device.server_socket(), socket, "{text}");
        }
    }

    #[test]
    fn devices_become_dpdk_names_and_arguments() {
        let vdev = |text: &str| text.parse::<Device>().unwrap().vdev("dpdk-net0");
        assert_eq!(vdev("tap").unwrap(), "net_tap0,iface=dpdk-net0");
        assert_eq!(vdev("veth").unwrap(), "net_af_packet0,iface=dpdk-net0p");
        assert_eq!(
            vdev("memif=/m").unwrap(),
            "net_memif0,socket=/m,socket-abstract=no,role=server"
        );
        assert_eq!(
            vdev("memif=/m,role=client,zero-copy=yes").unwrap(),
            "net_memif0,socket=/m,socket-abstract=no,role=client,zero-copy=yes"
        );
        assert_eq!(vdev("pci=01:00.0"), None);
        assert_eq!(
            "vdev=net_ring7,x=y".parse::<Device>().unwrap().port_name(),
            "net_ring7"
        );
    }
}
