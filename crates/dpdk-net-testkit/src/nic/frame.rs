//! What a NIC does to the bytes of one frame: checksums, cutting, tags.
//!
//! Written from the RFCs and from what DPDK says that hardware wants to find in a packet (`RTE_MBUF_F_TX_TCP_SEG` and its
//! kin), slow and plain. It shares no line with the code of the stack that does the same in software: one is to find the
//! mistakes of the other.
//!
//! What does not live here: when any of it is done ([`super`]).

/// `RTE_ETHER_TYPE_VLAN`, and those of IP.
const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Protocol numbers of the transports.
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Flags of TCP (RFC 9293 section 3.1).
const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Where things are in a frame with a TCP or UDP packet that is whole, not a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Whether it is IPv6.
    pub v6: bool,
    /// Whether it is UDP.
    pub udp: bool,
    /// The first byte of the IP header.
    pub ip: usize,
    /// The first byte of the transport header.
    pub l4: usize,
    /// The first byte of the payload.
    pub payload: usize,
    /// The first byte behind the packet; padding may follow.
    pub end: usize,
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

fn put(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

impl Layout {
    /// `None` where the frame is no such packet, or its lengths are wrong.
    pub fn of(frame: &[u8]) -> Option<Self> {
        let ip = if tag_of(frame).is_some() { 18 } else { 14 };
        let (v6, l4, protocol, end) = match (word(frame, ip - 2)?, frame.get(ip)? >> 4) {
            (IPV4, 4) => {
                let fragment = word(frame, ip + 6)? & 0x3fff;
                if fragment != 0 {
                    return None;
                }
                let header = usize::from(frame[ip] & 15) * 4;
                let end = ip + usize::from(word(frame, ip + 2)?);
                (false, ip + header, *frame.get(ip + 9)?, end)
            }
            (IPV6, 6) => {
                let end = ip + 40 + usize::from(word(frame, ip + 4)?);
                (true, ip + 40, *frame.get(ip + 6)?, end)
            }
            _ => return None,
        };
        let payload = match protocol {
            TCP => l4 + usize::from(frame.get(l4 + 12)? >> 4) * 4,
            UDP => l4 + 8,
            _ => return None,
        };
        (payload <= end && end <= frame.len()).then_some(Self {
            v6,
            udp: protocol == UDP,
            ip,
            l4,
            payload,
            end,
        })
    }

    /// Where the transport's checksum is.
    fn checksum_at(self) -> usize {
        self.l4 + if self.udp { 6 } else { 16 }
    }

    /// The sum of the pseudo-header (RFC 9293 section 3.1, RFC 8200 section 8.1) of a transport packet of `len` bytes.
    fn pseudo_header(self, frame: &[u8], len: usize) -> u16 {
        let addresses = if self.v6 {
            self.ip + 8..self.ip + 40
        } else {
            self.ip + 12..self.ip + 20
        };
        let protocol = if self.udp { UDP } else { TCP };
        let mut bytes = frame[addresses].to_vec();
        bytes.extend_from_slice(&(len as u32).to_be_bytes());
        bytes.extend_from_slice(&[0, protocol]);
        sum(&bytes)
    }
}

/// The ones' complement sum of 16-bit words (RFC 1071 section 1), not complemented.
pub fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

fn add(a: u16, b: u16) -> u16 {
    let sum = u32::from(a) + u32::from(b);
    (sum + (sum >> 16)) as u16
}

/// The tag control information of a frame with a VLAN tag (IEEE 802.1Q).
pub fn tag_of(frame: &[u8]) -> Option<u16> {
    (word(frame, 12)? == VLAN).then(|| word(frame, 14))?
}

/// Puts a VLAN tag into a frame.
pub fn insert_tag(frame: &mut Vec<u8>, tci: u16) {
    let [a, b] = VLAN.to_be_bytes();
    let [c, d] = tci.to_be_bytes();
    frame.splice(12..12, [a, b, c, d]);
}

/// Takes the VLAN tag out of a frame, if there is one.
pub fn strip_tag(frame: &mut Vec<u8>) -> Option<u16> {
    let tci = tag_of(frame)?;
    frame.drain(12..16);
    Some(tci)
}

/// Fills an IPv4 header's checksum in. As with hardware, what its field held goes into it: that has to be zero.
pub fn fill_ip_checksum(frame: &mut [u8]) {
    let Some(at) = Layout::of(frame).filter(|at| !at.v6) else {
        return;
    };
    let sum = !sum(&frame[at.ip..at.l4]);
    put(frame, at.ip + 10, sum);
}

/// Fills the transport's checksum in. As with hardware, what its field held goes into it: that has to be the sum of the
/// pseudo-header.
pub fn fill_l4_checksum(frame: &mut [u8]) {
    let Some(at) = Layout::of(frame) else {
        return;
    };
    let sum = match !sum(&frame[at.l4..at.end]) {
        0 if at.udp => 0xffff,
        sum => sum,
    };
    put(frame, at.checksum_at(), sum);
}

/// What a driver does to a packet that is to be cut before its NIC gets it (`rte_eth_tx_prepare`): the transport's field
/// becomes the sum of the pseudo-header without the length.
pub fn prepare_to_cut(frame: &mut [u8]) {
    if let Some(at) = Layout::of(frame) {
        let pseudo = at.pseudo_header(frame, 0);
        put(frame, at.checksum_at(), pseudo);
    }
}

/// Cuts a packet into frames of `segment` bytes of payload, checksums included; the transport's field holds the sum of the
/// pseudo-header without the length. A packet that is none to be cut comes back as it is.
pub fn cut(frame: &[u8], segment: usize) -> Vec<Vec<u8>> {
    let Some(at) = Layout::of(frame).filter(|_| segment > 0) else {
        return vec![frame.to_vec()];
    };
    let (headers, payload) = (&frame[..at.payload], &frame[at.payload..at.end]);
    let count = payload.len().div_ceil(segment);
    payload
        .chunks(segment)
        .enumerate()
        .map(|(i, data)| {
            let mut out = headers.to_vec();
            out.extend_from_slice(data);
            let transport = out.len() - at.l4;
            if at.v6 {
                put(&mut out, at.ip + 4, transport as u16);
            } else {
                put(&mut out, at.ip + 2, (transport + at.l4 - at.ip) as u16);
                let id = u16::from_be_bytes([headers[at.ip + 4], headers[at.ip + 5]]);
                put(&mut out, at.ip + 4, id.wrapping_add(i as u16));
                put(&mut out, at.ip + 10, 0);
                let sum = !sum(&out[at.ip..at.l4]);
                put(&mut out, at.ip + 10, sum);
            }
            if at.udp {
                put(&mut out, at.l4 + 4, transport as u16);
            } else {
                let seq = headers[at.l4 + 4..].first_chunk::<4>();
                let seq = u32::from_be_bytes(*seq.unwrap_or(&[0; 4]));
                let seq = seq.wrapping_add((i * segment) as u32);
                out[at.l4 + 4..at.l4 + 8].copy_from_slice(&seq.to_be_bytes());
                if i + 1 < count {
                    out[at.l4 + 13] &= !(FIN | PSH);
                }
                if i > 0 {
                    out[at.l4 + 13] &= !CWR;
                }
            }
            // The length is what the pseudo-header lacks.
            let sum = add(sum(&out[at.l4..]), transport as u16);
            let sum = if !sum == 0 && at.udp { 0xffff } else { !sum };
            put(&mut out, at.checksum_at(), sum);
            out
        })
        .collect()
}

/// Whether the checksums of a frame are right: of an IPv4 header, and of TCP or UDP. `None` where there is none.
pub fn verify(frame: &[u8]) -> (Option<bool>, Option<bool>) {
    let ip = if tag_of(frame).is_some() { 18 } else { 14 };
    let header = match (word(frame, ip - 2), frame.get(ip)) {
        (Some(IPV4), Some(first)) if first >> 4 == 4 => {
            Some(frame.get(ip..ip + usize::from(first & 15) * 4))
        }
        _ => None,
    };
    let ip_ok = header.map(|header| header.is_some_and(|header| sum(header) == 0xffff));
    let l4_ok = Layout::of(frame).and_then(|at| {
        let none = at.udp && word(frame, at.checksum_at()) == Some(0);
        if none {
            // No checksum over IPv4 (RFC 768), none allowed over IPv6 (RFC 8200 section 8.1).
            return at.v6.then_some(false);
        }
        let pseudo = at.pseudo_header(frame, at.end - at.l4);
        Some(add(pseudo, sum(&frame[at.l4..at.end])) == 0xffff)
    });
    (ip_ok, l4_ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Family;
    use crate::frames::{Path, Segment, flags};

    fn payload(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|i| (i * 7) as u8).collect()
    }

    /// Frames of both families and transports with so many bytes; their checksums are made by other code.
    fn whole(bytes: usize) -> Vec<Vec<u8>> {
        let payload = payload(bytes);
        Family::BOTH
            .into_iter()
            .flat_map(|family| {
                let path = Path::new(family, 1, 2);
                let segment = Segment {
                    seq: u32::MAX - 1_000,
                    flags: flags::ACK | flags::PSH | flags::FIN | flags::CWR,
                    options: vec![1; 12],
                    payload: payload.clone(),
                    ..Segment::default()
                };
                [path.tcp(&segment), path.udp(1, 2, &payload)]
            })
            .collect()
    }

    #[test]
    fn sums_are_those_of_the_example_in_rfc_1071() {
        // Section 3: the bytes 00 01 f2 03 f4 f5 f6 f7 have the sum ddf2.
        assert_eq!(
            sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0xddf2
        );
        assert_eq!(sum(&[1]), 0x0100);
    }

    #[test]
    fn a_flipped_bit_is_found_and_a_good_frame_is_good() {
        for frame in whole(1_001) {
            let v4 = frame[12] == 8;
            assert_eq!(verify(&frame), (v4.then_some(true), Some(true)));
            let mut bad = frame.clone();
            *bad.last_mut().unwrap() ^= 1;
            assert_eq!(verify(&bad).1, Some(false));
            if v4 {
                // Time to live.
                bad[22] ^= 1;
                assert_eq!(verify(&bad).0, Some(false));
            }
        }
    }

    #[test]
    fn filling_makes_the_checksum_that_was_there_before() {
        for frame in whole(333) {
            let at = Layout::of(&frame).unwrap();
            let mut left = frame.clone();
            let pseudo = at.pseudo_header(&frame, at.end - at.l4);
            put(&mut left, at.checksum_at(), pseudo);
            if !at.v6 {
                put(&mut left, at.ip + 10, 0);
            }
            assert_ne!(left, frame);
            fill_ip_checksum(&mut left);
            fill_l4_checksum(&mut left);
            assert_eq!(left, frame);
            // What the field held goes in, as with hardware.
            put(&mut left, at.checksum_at(), pseudo.wrapping_add(1));
            fill_l4_checksum(&mut left);
            assert_eq!(verify(&left).1, Some(false));
        }
    }

    #[test]
    fn pieces_are_valid_and_have_the_payload_in_order() {
        for mut frame in whole(10_000) {
            prepare_to_cut(&mut frame);
            let pieces = cut(&frame, 1_448);
            assert_eq!(pieces.len(), 7);
            let mut bytes = Vec::new();
            for (i, piece) in pieces.iter().enumerate() {
                let at = Layout::of(piece).unwrap();
                assert_eq!(verify(piece), ((!at.v6).then_some(true), Some(true)));
                if !at.v6 {
                    assert_eq!(word(piece, at.ip + 4), Some(i as u16));
                }
                if !at.udp {
                    let seq = (u32::MAX - 1_000).wrapping_add(i as u32 * 1_448);
                    assert_eq!(piece[at.l4 + 4..at.l4 + 8], seq.to_be_bytes());
                    let last = if i == 6 { FIN | PSH } else { 0 };
                    let first = if i == 0 { CWR } else { 0 };
                    assert_eq!(piece[at.l4 + 13], flags::ACK | last | first);
                }
                bytes.extend_from_slice(&piece[at.payload..at.end]);
            }
            assert_eq!(bytes, payload(10_000));
        }
    }

    #[test]
    fn tags_go_in_and_come_out_and_hide_nothing() {
        for frame in whole(99) {
            let mut tagged = frame.clone();
            insert_tag(&mut tagged, 0xa123);
            assert_eq!(tagged.len(), frame.len() + 4);
            assert_eq!(verify(&tagged), verify(&frame));
            assert_eq!(strip_tag(&mut tagged), Some(0xa123));
            assert_eq!(tagged, frame);
            assert_eq!(strip_tag(&mut tagged), None);
        }
    }
}
