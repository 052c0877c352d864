//! Frames that arbitrary bytes decode to: mostly valid ones, then damaged.

use arbitrary::Arbitrary;

use dpdk_net_testkit::addr::{Family, mac};
use dpdk_net_testkit::by_hand::{HOST, TCP_PORT, UDP_PORT};
use dpdk_net_testkit::frames::{Path, Segment, ethernet, fix_checksums};

/// What the frame is before it is damaged.
#[derive(Arbitrary, Clone, Debug)]
pub enum Kind {
    /// Nothing but bytes.
    Raw(Vec<u8>),
    /// An Ethernet header to the stack with any type and payload.
    Ethernet(u16, Vec<u8>),
    /// An IP packet of any protocol.
    Ip(u8, Vec<u8>),
    /// An IPv4 or IPv6 packet with these bytes behind the Ethernet header.
    Network(Vec<u8>),
    /// A TCP segment to the listener or another port.
    Tcp {
        other_port: bool,
        src_port: u8,
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        options: [u8; 8],
        payload: Vec<u8>,
    },
    /// A datagram to the UDP socket or another port.
    Udp { other_port: bool, payload: Vec<u8> },
    /// An ICMP or ICMPv6 message.
    Icmp { kind: u8, code: u8, rest: Vec<u8> },
    /// A question for the stack's MAC address.
    WhoHas,
    /// The answer to a question of the stack, asked or not.
    IHave,
}

/// A frame and what is done to it before it reaches the stack.
#[derive(Arbitrary, Clone, Debug)]
pub struct Frame {
    pub v6: bool,
    pub peer: u8,
    pub hop_limit_255: bool,
    pub to_group: bool,
    pub kind: Kind,
    /// Bytes to change: where, and with what they are combined by exclusive or.
    pub changes: Vec<(u16, u8)>,
    /// Bytes to cut off at the end.
    pub cut: u8,
    /// Whether checksums are made right after the changes.
    pub fix: bool,
}

impl Frame {
    /// The path that the frame claims to take.
    pub fn path(&self) -> Path {
        let family = if self.v6 { Family::V6 } else { Family::V4 };
        let mut path = Path::new(family, 2 + u16::from(self.peer % 8), HOST);
        if self.hop_limit_255 {
            path.hop_limit = 255;
        }
        path
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let path = self.path();
        let short = |bytes: &[u8]| bytes[..bytes.len().min(2_000)].to_vec();
        let mut frame = match &self.kind {
            Kind::Raw(bytes) => bytes.clone(),
            Kind::Ethernet(ether_type, payload) => {
                let mut frame = ethernet(mac(HOST), path.src_mac, *ether_type);
                frame.extend(payload);
                frame
            }
            Kind::Network(payload) => {
                let mut frame = ethernet(
                    mac(HOST),
                    path.src_mac,
                    if self.v6 { 0x86dd } else { 0x0800 },
                );
                frame.extend(payload);
                frame
            }
            Kind::Ip(protocol, payload) => path.ip(*protocol, &short(payload)),
            Kind::Tcp {
                other_port,
                src_port,
                seq,
                ack,
                flags,
                window,
                options,
                payload,
            } => path.tcp(&Segment {
                src_port: 1_000 + u16::from(*src_port),
                dst_port: TCP_PORT + u16::from(*other_port),
                seq: *seq,
                ack: *ack,
                flags: *flags,
                window: *window,
                options: options.to_vec(),
                payload: short(payload),
            }),
            Kind::Udp {
                other_port,
                payload,
            } => path.udp(
                1_000,
                UDP_PORT + 10 * u16::from(*other_port),
                &short(payload),
            ),
            Kind::Icmp { kind, code, rest } => path.icmp(*kind, *code, &short(rest)),
            Kind::WhoHas => path.who_has(),
            Kind::IHave => path.i_have(),
        };
        if self.to_group && !frame.is_empty() {
            frame[0] |= 1;
        }
        for (at, with) in &self.changes {
            if let Some(byte) = frame.get_mut(usize::from(*at)) {
                *byte ^= with;
            }
        }
        frame.truncate(frame.len().saturating_sub(self.cut.into()));
        if self.fix {
            fix_checksums(&mut frame);
        }
        frame
    }
}
