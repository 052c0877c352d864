//! Ethernet II framing and VLAN tags (IEEE 802.3, 802.1Q).

use crate::{MacAddr, ParseError};

/// The length of an Ethernet header without tags.
pub const HEADER_LEN: usize = 14;
/// The length of one VLAN tag.
pub const VLAN_TAG_LEN: usize = 4;
/// The shortest payload that a frame on the wire has; shorter ones are padded by the sender.
pub const MIN_PAYLOAD: usize = 46;

/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86dd;
/// Tag protocol identifier of a customer VLAN tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// Tag protocol identifier of a service VLAN tag.
pub const TYPE_QINQ: u16 = 0x88a8;

/// A received frame's link header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Whom it is for.
    pub dst: MacAddr,
    /// Who sent it.
    pub src: MacAddr,
    /// The outermost VLAN tag's control information (priority, DEI, VLAN id), if there is a tag in the frame.
    pub vlan_tci: Option<u16>,
    /// The EtherType after any tags.
    pub ether_type: u16,
    /// What follows, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header of `frame` and up to two VLAN tags.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ParseError> {
        let mut link = Self::parse_untagged(frame)?;
        let mut tags = 0;
        while link.is_tagged() {
            let Some(([c0, c1, t0, t1], rest)) = link.payload.split_first_chunk::<VLAN_TAG_LEN>()
            else {
                return Err(ParseError::EthernetTruncated);
            };
            tags += 1;
            if tags > 2 {
                return Err(ParseError::TooManyVlanTags);
            }
            link.vlan_tci = link.vlan_tci.or(Some(u16::from_be_bytes([*c0, *c1])));
            link.ether_type = u16::from_be_bytes([*t0, *t1]);
            link.payload = rest;
        }
        Ok(link)
    }

    /// Reads the header of `frame`; a tag, if there is one, is left in the payload.
    #[inline(always)]
    pub(crate) fn parse_untagged(frame: &'a [u8]) -> Result<Self, ParseError> {
        let Some((header, payload)) = frame.split_first_chunk::<HEADER_LEN>() else {
            return Err(ParseError::EthernetTruncated);
        };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        Ok(Self {
            dst: MacAddr([d0, d1, d2, d3, d4, d5]),
            src: MacAddr([s0, s1, s2, s3, s4, s5]),
            vlan_tci: None,
            ether_type: u16::from_be_bytes([t0, t1]),
            payload,
        })
    }

    /// Whether the EtherType is that of a tag.
    #[inline(always)]
    pub(crate) const fn is_tagged(&self) -> bool {
        matches!(self.ether_type, TYPE_VLAN | TYPE_QINQ)
    }
}

/// Writes an untagged header into the first [`HEADER_LEN`] bytes of `frame`; does nothing if it is shorter.
#[inline]
pub fn write_header(frame: &mut [u8], dst: MacAddr, src: MacAddr, ether_type: u16) {
    if let Some(header) = frame.first_chunk_mut::<HEADER_LEN>() {
        header[..6].copy_from_slice(&dst.0);
        header[6..12].copy_from_slice(&src.0);
        header[12..].copy_from_slice(&ether_type.to_be_bytes());
    }
}
