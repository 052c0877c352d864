//! What the tests of whole stacks share: two stacks on a wire in virtual time ([`Pair`]), one whose peer is made by hand
//! ([`Hand`]), several workers of one service ([`workers`]), and the hosts and frames that they have.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its part"
)]

mod hand;
mod pair;
mod segment;
pub mod workers;

use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{Config, TxMeta, TxSink};

pub use hand::{Hand, accepted, accepted_with, read_all};
pub use pair::{CLIENT, Filter, Pair, SERVER};
pub use segment::{ACK, CWR, ECE, FIN, PSH, RST, SYN, Seg, URG, frame, read};

/// The port that servers of these tests listen at.
pub const PORT: u16 = 80;

/// Both address families; every test runs for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// Runs a test once for each family.
#[macro_export]
macro_rules! both_families {
    ($($(#[$attr:meta])* fn $name:ident($family:ident) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;
            fn story($family: Family) $body
            $(#[$attr])*
            #[test]
            fn ipv4() { story(Family::V4) }
            $(#[$attr])*
            #[test]
            fn ipv6() { story(Family::V6) }
        }
    )*};
}

impl Family {
    /// Host `n` of the test network.
    pub fn host(self, n: u16) -> IpAddr {
        match self {
            Family::V4 => IpAddr::from([198, 18, (n >> 8) as u8, n as u8]),
            Family::V6 => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]),
        }
    }

    pub fn at(self, host: u16, port: u16) -> SocketAddr {
        SocketAddr::new(self.host(host), port)
    }

    pub fn any(self, port: u16) -> SocketAddr {
        match self {
            Family::V4 => SocketAddr::new([0, 0, 0, 0].into(), port),
            Family::V6 => SocketAddr::new([0u16; 8].into(), port),
        }
    }
}

pub fn mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, (n >> 8) as u8, n as u8])
}

/// The configuration of host `n`: both families, usable at once.
pub fn config(n: u16) -> Config {
    let mut config = Config::new(mac(n))
        .with_address(format!("{}/15", Family::V4.host(n)).parse().unwrap())
        .with_address(format!("{}/64", Family::V6.host(n)).parse().unwrap());
    config.dad = false;
    config.seed = [(n % 250) as u8 + 1; 32];
    config
}

/// A sink with so much room.
pub struct Sink<'a> {
    pub room: usize,
    pub frames: &'a mut Vec<Vec<u8>>,
}

impl TxSink for Sink<'_> {
    fn capacity(&mut self) -> usize {
        self.room
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(self.room > 0, "sent more than there is room for");
        self.room -= 1;
        let mut frame = vec![0xa5; len];
        let result = fill(&mut frame);
        self.frames.push(frame);
        result
    }
}

/// Bytes that tell where they belong.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect()
}
