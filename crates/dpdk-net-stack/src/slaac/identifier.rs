//! Interface identifiers: the lower half of an address that is made here.

use core::hash::Hasher;
use core::net::Ipv6Addr;

use dpdk_net_packet::MacAddr;
use siphasher::sip::SipHasher24;

use crate::config::Config;
use crate::iface::link_local;

/// How identifiers of one interface are made.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Identifiers {
    /// Of the MAC address (RFC 4291 appendix A).
    Modified(MacAddr),
    /// Stable for a prefix, and telling nothing of the machine (RFC 7217).
    Opaque { secret: [u8; 16], vlan: u16 },
}

impl Identifiers {
    /// Those of the interface of this VLAN.
    pub(crate) fn new(config: &Config, vlan: u16) -> Self {
        match config.slaac_secret {
            Some(secret) => Self::Opaque { secret, vlan },
            None => Self::Modified(config.mac),
        }
    }

    /// Whether another one can be had where one is taken.
    pub(crate) fn are_opaque(&self) -> bool {
        matches!(self, Self::Opaque { .. })
    }

    /// The address with the first half of `prefix`, after so many others that were taken.
    pub(crate) fn address(&self, prefix: Ipv6Addr, tries: u8) -> Ipv6Addr {
        let half = prefix.to_bits() >> 64;
        let identifier = match *self {
            Self::Modified(mac) => link_local(mac).to_bits() as u64,
            Self::Opaque { secret, vlan } => {
                // Of some thousand million one is reserved.
                let all =
                    (0..=u8::MAX).map(|again| opaque(&secret, half as u64, vlan, [tries, again]));
                all.clone().find(|it| !is_reserved(*it)).unwrap_or(1)
            }
        };
        Ipv6Addr::from_bits(half << 64 | u128::from(identifier))
    }
}

/// RFC 7217 section 5, with SipHash-2-4 as the pseudorandom function. The interface is told by its VLAN: the MAC
/// address of a virtual device changes from start to start.
fn opaque(secret: &[u8; 16], prefix: u64, vlan: u16, counter: [u8; 2]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(&prefix.to_be_bytes());
    hasher.write(&vlan.to_be_bytes());
    hasher.write(&counter);
    hasher.finish()
}

/// RFC 5453: the subnet-router anycast address, what IANA has of Ethernet, and subnet anycast addresses.
fn is_reserved(identifier: u64) -> bool {
    identifier == 0
        || identifier >> 24 == 0x02_00_5e_ff_fe
        || (0xfdff_ffff_ffff_ff80..=0xfdff_ffff_ffff_ffff).contains(&identifier)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);

    fn of(secret: u8, vlan: u16) -> Identifiers {
        let mut config = Config::new(MAC);
        config.slaac_secret = Some([secret; 16]);
        Identifiers::new(&config, vlan)
    }

    #[test]
    fn without_a_secret_it_is_the_mac_address() {
        let made = Identifiers::new(&Config::new(MAC), 0).address("fd00:7::".parse().unwrap(), 0);
        assert_eq!(made, "fd00:7::ff:fe00:7".parse::<Ipv6Addr>().unwrap());
    }

    #[test]
    fn with_a_secret_it_is_stable_for_a_prefix_and_unlike_for_others() {
        let prefix: Ipv6Addr = "fd00:7::".parse().unwrap();
        let first = of(1, 0).address(prefix, 0);
        assert_eq!(first, of(1, 0).address(prefix, 0));
        assert_eq!(first.segments()[..4], prefix.segments()[..4]);
        let low = |addr: Ipv6Addr| addr.to_bits() as u64;
        let others = [
            of(2, 0).address(prefix, 0),
            of(1, 5).address(prefix, 0),
            of(1, 0).address(prefix, 1),
            of(1, 0).address("fd00:8::".parse().unwrap(), 0),
        ];
        assert!(others.iter().all(|other| low(*other) != low(first)));
    }

    #[test]
    fn reserved_identifiers_are_told() {
        for reserved in [
            0,
            0x0200_5eff_fe00_5213,
            0xfdff_ffff_ffff_ff80,
            0xfdff_ffff_ffff_ffff,
        ] {
            assert!(is_reserved(reserved), "{reserved:x}");
        }
        assert!(!is_reserved(1) && !is_reserved(0xfdff_ffff_ffff_ff7f));
    }
}
