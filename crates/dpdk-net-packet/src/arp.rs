//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::{MacAddr, ParseError};

/// The length of a packet, without the Ethernet header.
pub const LEN: usize = 28;

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
    /// Anything else.
    Other(u16),
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub operation: Operation,
    /// The sender's Ethernet address.
    pub sender_mac: MacAddr,
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227).
    pub sender: Ipv4Addr,
    /// The target's Ethernet address, not of meaning in a request.
    pub target_mac: MacAddr,
    /// The target's IPv4 address.
    pub target: Ipv4Addr,
}

impl Packet {
    /// Reads the packet at the start of an Ethernet payload.
    pub fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let Some(b) = payload.first_chunk::<LEN>() else {
            return Err(ParseError::ArpTruncated);
        };
        if b[..6] != [0, 1, 0x08, 0x00, 6, 4] {
            return Err(ParseError::ArpUnsupported);
        }
        Ok(Self {
            operation: match u16::from_be_bytes([b[6], b[7]]) {
                1 => Operation::Request,
                2 => Operation::Reply,
                other => Operation::Other(other),
            },
            sender_mac: MacAddr([b[8], b[9], b[10], b[11], b[12], b[13]]),
            sender: Ipv4Addr::new(b[14], b[15], b[16], b[17]),
            target_mac: MacAddr([b[18], b[19], b[20], b[21], b[22], b[23]]),
            target: Ipv4Addr::new(b[24], b[25], b[26], b[27]),
        })
    }

    /// The packet as bytes.
    pub fn to_bytes(&self) -> [u8; LEN] {
        let mut b = [0; LEN];
        b[..6].copy_from_slice(&[0, 1, 0x08, 0x00, 6, 4]);
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
            Operation::Other(other) => other,
        };
        b[6..8].copy_from_slice(&operation.to_be_bytes());
        b[8..14].copy_from_slice(&self.sender_mac.0);
        b[14..18].copy_from_slice(&self.sender.octets());
        b[18..24].copy_from_slice(&self.target_mac.0);
        b[24..28].copy_from_slice(&self.target.octets());
        b
    }
}
