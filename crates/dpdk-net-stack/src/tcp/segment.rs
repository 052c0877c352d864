//! Segments without data that are made here and not by a connection's state machine: SYN-ACKs of the SYN queue,
//! challenge ACKs, RSTs, keep-alive probes, the ACKs of TIME-WAIT.

use dpdk_net_packet::tcp::{Flags, HEADER_LEN, Segment};
use dpdk_net_packet::{IpPacket, Protocol, checksum};

use super::options::{MAX_LEN, SynOptions};
use super::table::FlowKey;
use crate::emit::IpMeta;

/// A segment without data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Control {
    pub(crate) key: FlowKey,
    pub(crate) hop_limit: u8,
    /// The DSCP, in the upper six bits.
    pub(crate) tos: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) options: SynOptions,
}

impl Control {
    pub(crate) fn new(key: FlowKey, flags: Flags, seq: u32, ack: u32) -> Self {
        Control {
            key,
            hop_limit: 64,
            tos: 0,
            seq,
            ack,
            flags,
            window: 0,
            options: SynOptions::default(),
        }
    }

    /// The RST that answers a segment of no connection (RFC 9293 section 3.10.7.1), `None` if it must not be answered.
    pub(crate) fn reset_for(key: FlowKey, segment: &Segment<'_>) -> Option<Self> {
        let flags = segment.flags();
        if flags.rst() {
            return None;
        }
        Some(if flags.ack() {
            Control::new(key, Flags::RST, segment.ack(), 0)
        } else {
            let ack = segment.seq().wrapping_add(segment.sequence_len());
            Control::new(key, Flags::RST | Flags::ACK, 0, ack)
        })
    }

    pub(crate) fn meta(&self) -> IpMeta {
        IpMeta {
            hop_limit: self.hop_limit,
            traffic_class: self.tos,
            dont_fragment: true,
            scope: self.key.scope(),
            ..IpMeta::new(self.key.local_addr(), self.key.remote_addr(), Protocol::Tcp)
        }
    }

    /// The segment's bytes, checksum included: length and buffer.
    pub(crate) fn bytes(&self) -> (usize, [u8; HEADER_LEN + MAX_LEN]) {
        let mut bytes = [0; HEADER_LEN + MAX_LEN];
        let mut options = [0; MAX_LEN];
        let len = HEADER_LEN + self.options.write(&mut options);
        bytes[0..2].copy_from_slice(&self.key.local_port().to_be_bytes());
        bytes[2..4].copy_from_slice(&self.key.remote_port().to_be_bytes());
        bytes[4..8].copy_from_slice(&self.seq.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ack.to_be_bytes());
        bytes[12] = ((len / 4) << 4) as u8;
        bytes[13] = self.flags.0;
        bytes[14..16].copy_from_slice(&self.window.to_be_bytes());
        bytes[HEADER_LEN..].copy_from_slice(&options);
        checksum::fill_tcp(
            self.key.local_addr(),
            self.key.remote_addr(),
            &mut bytes[..len],
        );
        (len, bytes)
    }
}

/// The 4-tuple of a segment that came in by the interface of this VLAN, as seen from here.
#[inline]
pub(crate) fn key_of(ip: &IpPacket<'_>, segment: &Segment<'_>, vlan: u16) -> FlowKey {
    let key = FlowKey::new(
        (ip.dst(), segment.dst_port()).into(),
        (ip.src(), segment.src_port()).into(),
    );
    key.in_scope(vlan)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_segment_reads_back_with_a_valid_checksum() {
        for (local, remote) in [
            ("198.18.0.1:80", "198.18.0.2:5000"),
            ("[fd00::1]:80", "[fd00::2]:5000"),
        ] {
            let key = FlowKey::new(local.parse().unwrap(), remote.parse().unwrap());
            let mut control = Control::new(key, Flags::SYN | Flags::ACK, 1_000, 2_000);
            control.window = 777;
            control.options = SynOptions {
                mss: Some(1_440),
                wscale: Some(3),
                sack: true,
                timestamps: None,
            };
            let (len, bytes) = control.bytes();
            let segment = Segment::parse(&bytes[..len]).unwrap();
            assert_eq!((segment.src_port(), segment.dst_port()), (80, 5_000));
            assert_eq!(
                (segment.seq(), segment.ack(), segment.window()),
                (1_000, 2_000, 777)
            );
            assert_eq!(SynOptions::of(&segment), control.options);
            assert!(checksum::verify(
                key.local_addr(),
                key.remote_addr(),
                Protocol::Tcp,
                &bytes[..len]
            ));
        }
    }

    #[test]
    fn an_unknown_segment_is_reset_as_rfc_9293_says_and_a_rst_never() {
        let key = FlowKey::new(
            "198.18.0.1:80".parse().unwrap(),
            "198.18.0.2:5000".parse().unwrap(),
        );
        let make = |flags, seq, ack| {
            let (len, bytes) = Control::new(key, flags, seq, ack).bytes();
            bytes[..len].to_vec()
        };
        let syn = make(Flags::SYN, 100, 0);
        let reset = Control::reset_for(key, &Segment::parse(&syn).unwrap()).unwrap();
        assert_eq!(
            (reset.seq, reset.ack, reset.flags),
            (0, 101, Flags::RST | Flags::ACK)
        );
        let ack = make(Flags::ACK, 100, 4_711);
        let reset = Control::reset_for(key, &Segment::parse(&ack).unwrap()).unwrap();
        assert_eq!((reset.seq, reset.flags), (4_711, Flags::RST));
        let rst = make(Flags::RST, 100, 0);
        assert!(Control::reset_for(key, &Segment::parse(&rst).unwrap()).is_none());
    }
}
