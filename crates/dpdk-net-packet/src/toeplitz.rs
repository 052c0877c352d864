//! The Toeplitz hash by which NICs spread packets over queues, and which queue that makes of a flow.
//!
//! The hash is that of Microsoft's "RSS hashing functions" (Windows driver documentation, "RSS Hashing Functions" and
//! "Verifying the RSS Hash Calculation"): source address, destination address and, where ports are hashed, source and
//! destination port, as they stand in the packet. Each bit of that input that is set adds (XOR) the 32 bits of the key
//! that start at its place. So the hash is linear: that of an input is the XOR of those of its bytes, each of which is
//! looked up in a table that is made once from the key ([`Toeplitz`]).
//!
//! The NIC takes the hash modulo the size of its redirection table (RETA), whose entry is the queue ([`Spread`]).
//!
//! What does not live here: which packets a port hashes, and its key and table (`dpdk-net-rte`).

use core::fmt;
use core::net::{IpAddr, SocketAddr};

/// Bytes that are hashed at most: two IPv6 addresses and two ports.
const INPUT: usize = 36;

/// The key of Microsoft's specification, which its verification suite and most drivers use.
pub const MICROSOFT_KEY: [u8; Toeplitz::SHORTEST_KEY] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
    0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
    0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A byte of the symmetric key: 0x6d5a over and over, so that both directions of a flow have the same hash (Woo and
/// Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling", 2012).
///
/// The price is entropy: both halves of such a hash are the same 16 bits.
pub const fn symmetric_key_byte(index: usize) -> u8 {
    if index.is_multiple_of(2) { 0x6d } else { 0x5a }
}

/// [`symmetric_key_byte`]s of a key of this length.
pub const fn symmetric_key<const N: usize>() -> [u8; N] {
    let mut key = [0; N];
    let mut index = 0;
    while index < N {
        key[index] = symmetric_key_byte(index);
        index += 1;
    }
    key
}

/// A key with fewer than [`Toeplitz::SHORTEST_KEY`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an RSS key of {length} bytes is too short: hashing IPv6 with ports takes {} or more",
    Toeplitz::SHORTEST_KEY
)]
pub struct ShortKey {
    /// Bytes that it has.
    pub length: usize,
}

/// The hash under one key, as a table for each byte of the input: 36 KiB, made once and shared.
///
/// ```
/// use dpdk_net_packet::toeplitz::{MICROSOFT_KEY, Toeplitz};
///
/// let hash = Toeplitz::new(&MICROSOFT_KEY)?;
/// let (src, dst) = ("66.9.149.187:2794".parse()?, "161.142.100.80:1766".parse()?);
/// assert_eq!(hash.ports(src, dst), Some(0x51cc_c178));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Toeplitz {
    tables: [[u32; 256]; INPUT],
}

impl fmt::Debug for Toeplitz {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toeplitz").finish_non_exhaustive()
    }
}

impl Toeplitz {
    /// Bytes of key that the longest input needs. What a key has beyond them (52 on some NICs) has no effect on the
    /// hash of addresses and ports.
    pub const SHORTEST_KEY: usize = INPUT + 4;

    /// The hash under this key.
    ///
    /// # Errors
    /// [`ShortKey`].
    pub const fn new(key: &[u8]) -> Result<Self, ShortKey> {
        let Some(key) = key.first_chunk::<{ Self::SHORTEST_KEY }>() else {
            return Err(ShortKey { length: key.len() });
        };
        let mut tables = [[0; 256]; INPUT];
        let mut at = 0;
        while at < INPUT {
            let window = u64::from_be_bytes([
                0,
                0,
                0,
                key[at],
                key[at + 1],
                key[at + 2],
                key[at + 3],
                key[at + 4],
            ]);
            let mut value = 1_usize;
            while value < 256 {
                // The lowest bit that is set, and the others, which were done before.
                let bit = value.trailing_zeros();
                let others = value & (value - 1);
                tables[at][value] = tables[at][others] ^ (window >> (bit + 1)) as u32;
                value += 1;
            }
            at += 1;
        }
        Ok(Self { tables })
    }

    /// The hash of a packet of which the addresses alone are hashed: 8 lookups, or 32. None for two families.
    #[inline]
    pub fn addresses(&self, src: IpAddr, dst: IpAddr) -> Option<u32> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                Some(self.at(0, &src.octets()) ^ self.at(4, &dst.octets()))
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Some(self.at(0, &src.octets()) ^ self.at(16, &dst.octets()))
            }
            _ => None,
        }
    }

    /// The hash of a packet of which the ports are hashed too: 12 lookups, or 36. None for two families.
    #[inline]
    pub fn ports(&self, src: SocketAddr, dst: SocketAddr) -> Option<u32> {
        let ports = port_offset(src.ip());
        Some(
            self.addresses(src.ip(), dst.ip())?
                ^ self.at(ports, &src.port().to_be_bytes())
                ^ self.at(ports + 2, &dst.port().to_be_bytes()),
        )
    }

    /// What these bytes add to the hash at this offset of the input; those beyond the longest input add nothing.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize, bytes: &[u8; N]) -> u32 {
        self.tables
            .iter()
            .skip(offset)
            .zip(bytes)
            .fold(0, |hash, (table, byte)| hash ^ table[usize::from(*byte)])
    }
}

/// Where the ports start in the input.
#[inline(always)]
const fn port_offset(address: IpAddr) -> usize {
    match address {
        IpAddr::V4(_) => 8,
        IpAddr::V6(_) => 32,
    }
}

/// The hash of any input, bit by bit as it is defined: for checking, [`Toeplitz`] is many times as fast.
///
/// # Errors
/// [`ShortKey`] where the key has fewer than 4 bytes more than the input.
pub fn bitwise(key: &[u8], input: &[u8]) -> Result<u32, ShortKey> {
    let mut hash = 0;
    if input.is_empty() {
        return Ok(hash);
    }
    let mut rest = key.iter();
    let mut window = 0_u64;
    let mut shift_in = |window: u64| match rest.next() {
        Some(byte) => Ok(window << 8 | u64::from(*byte)),
        None => Err(ShortKey { length: key.len() }),
    };
    for _ in 0..4 {
        window = shift_in(window)?;
    }
    for byte in input {
        // Of 40 bits, the 32 that start at the bit.
        window = shift_in(window)? & 0xff_ffff_ffff;
        for bit in 0..8 {
            if byte & 0x80 >> bit != 0 {
                hash ^= (window >> (8 - bit)) as u32;
            }
        }
    }
    Ok(hash)
}

/// Which queue a flow's packets arrive at: a hash and a redirection table.
///
/// It borrows both, so that it costs nothing to make one.
#[derive(Clone, Copy, Debug)]
pub struct Spread<'a> {
    hash: &'a Toeplitz,
    reta: &'a [u16],
}

impl<'a> Spread<'a> {
    /// `reta` has a queue for each value of the hash modulo its length. None if it is empty.
    pub const fn new(hash: &'a Toeplitz, reta: &'a [u16]) -> Option<Self> {
        if reta.is_empty() {
            return None;
        }
        Some(Self { hash, reta })
    }

    /// The entry of the table that a hash picks.
    #[inline]
    pub const fn entry_of(&self, hash: u32) -> usize {
        let (hash, len) = (hash as usize, self.reta.len());
        // Nearly all tables: a mask is much cheaper than a division.
        if len.is_power_of_two() {
            hash & (len - 1)
        } else {
            hash % len
        }
    }

    /// The queue that a hash picks.
    #[inline]
    pub fn queue_of(&self, hash: u32) -> u16 {
        // The entry is less than the length, which is not 0.
        self.reta.get(self.entry_of(hash)).copied().unwrap_or(0)
    }

    /// The queue of packets from `src` to `dst` of which the addresses alone are hashed. None for two families.
    #[inline]
    pub fn queue_of_addresses(&self, src: IpAddr, dst: IpAddr) -> Option<u16> {
        Some(self.queue_of(self.hash.addresses(src, dst)?))
    }

    /// The queue of packets from `src` to `dst` of which the ports are hashed too. None for two families.
    #[inline]
    pub fn queue_of_ports(&self, src: SocketAddr, dst: SocketAddr) -> Option<u16> {
        Some(self.queue_of(self.hash.ports(src, dst)?))
    }

    /// The queues of the replies of `remote` to ports of `local`: what a client chooses its source port by. None for
    /// two families.
    pub fn replies(&self, remote: SocketAddr, local: IpAddr) -> Option<Replies<'a>> {
        let ports = port_offset(local);
        let tables = self.hash.tables.get(ports + 2..ports + 4)?;
        let [high, low] = tables else { return None };
        Some(Replies {
            spread: *self,
            fixed: self.hash.ports(remote, SocketAddr::new(local, 0))?,
            high,
            low,
        })
    }
}

/// The queues of the replies of one remote address and port, by local port: two lookups and two XORs each, as the hash
/// is linear.
#[derive(Clone, Copy)]
pub struct Replies<'a> {
    spread: Spread<'a>,
    /// The hash for local port 0.
    fixed: u32,
    /// Of the local port's bytes.
    high: &'a [u32; 256],
    low: &'a [u32; 256],
}

impl<'a> Replies<'a> {
    /// The hash of replies to this local port.
    #[inline(always)]
    pub const fn hash(&self, port: u16) -> u32 {
        let [high, low] = port.to_be_bytes();
        self.fixed ^ self.high[high as usize] ^ self.low[low as usize]
    }

    /// The queue of replies to this local port.
    #[inline(always)]
    pub fn queue(&self, port: u16) -> u16 {
        self.spread.queue_of(self.hash(port))
    }

    /// Those of the ports whose replies arrive at this queue, in the order given.
    pub fn at_queue<P: IntoIterator<Item = u16>>(
        self,
        queue: u16,
        ports: P,
    ) -> impl Iterator<Item = u16> + use<'a, P> {
        ports
            .into_iter()
            .filter(move |port| self.queue(*port) == queue)
    }
}

impl fmt::Debug for Replies<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies")
            .field("fixed", &self.fixed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
