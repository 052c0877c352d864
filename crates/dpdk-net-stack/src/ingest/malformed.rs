//! Frames that something is wrong with: counted by cause, and a few of them answered.

use core::net::IpAddr;

use dpdk_net_packet::{ParseError, RxMeta, ethernet};

use crate::interfaces::IfIndex;
use crate::stack::Stack;
use crate::time::Instant;

impl Stack {
    /// Counts a malformed frame, and answers those that are to be answered (RFC 8200, RFC 1122 section 3.2.2.5).
    #[cold]
    pub(crate) fn malformed(
        &mut self,
        now: Instant,
        frame: &[u8],
        meta: &RxMeta,
        error: ParseError,
    ) {
        self.count_malformed(error);
        if let ParseError::TcpTruncated | ParseError::TcpBadHeaderLength = error
            && self.is_for_us(frame, meta)
        {
            self.tcp.count_in_error();
        }
        if let ParseError::Ipv6ParameterProblem { .. } | ParseError::Ipv4BadOption { .. } = error
            && let Ok(link) = ethernet::Frame::parse(frame)
            && (link.dst == self.link.ifaces.mac() || link.dst.is_multicast())
            && let Some(at) = self.came_tagged(frame, meta)
        {
            self.icmp.on_parse_error(
                now,
                &mut self.link,
                at,
                link.payload,
                link.dst.is_multicast(),
                error,
            );
        }
    }

    /// Counts a packet that came in by `at` whose transport's checksum is wrong.
    #[cold]
    pub(super) fn damaged(&mut self, at: IfIndex, dst: IpAddr, error: ParseError) {
        self.count_malformed(error);
        if error == ParseError::TcpBadChecksum && self.link.ifaces.is_ours(at, dst) {
            self.tcp.count_in_error();
        }
    }

    /// Whether the packet in a frame, its IP header being sound, was for this host.
    fn is_for_us(&self, frame: &[u8], meta: &RxMeta) -> bool {
        let (Ok(link), Some(at)) = (ethernet::Frame::parse(frame), self.came_tagged(frame, meta))
        else {
            return false;
        };
        let ip = link.payload;
        let dst: Option<IpAddr> = match ip.first().map(|first| first >> 4) {
            Some(4) => ip
                .get(16..20)
                .and_then(<[u8]>::first_chunk::<4>)
                .map(|dst| (*dst).into()),
            Some(6) => ip
                .get(24..40)
                .and_then(<[u8]>::first_chunk::<16>)
                .map(|dst| (*dst).into()),
            _ => None,
        };
        link.dst == self.link.ifaces.mac()
            && dst.is_some_and(|dst| self.link.ifaces.is_ours(at, dst))
    }

    #[cold]
    pub(super) fn count_malformed(&mut self, error: ParseError) {
        use ParseError as P;
        let frames = &mut self.frames;
        let counter = match error {
            P::EthernetTruncated | P::TooManyVlanTags => &mut frames.drop_ethernet_malformed,
            P::ArpTruncated | P::ArpUnsupported => &mut frames.drop_arp_malformed,
            P::Ipv4BadChecksum => &mut frames.drop_ipv4_checksum,
            P::Ipv4BadAddress | P::Ipv6BadAddress => &mut frames.drop_ip_bad_address,
            P::BadIpVersion => &mut frames.drop_ip_bad_version,
            P::Ipv4Truncated
            | P::Ipv4BadHeaderLength
            | P::Ipv4BadTotalLength
            | P::Ipv4BadFragment
            | P::Ipv4SourceRoute
            | P::Ipv4BadOption { .. } => &mut frames.drop_ipv4_malformed,
            P::TcpTruncated | P::TcpBadHeaderLength => &mut frames.drop_tcp_malformed,
            P::TcpBadChecksum => &mut frames.drop_tcp_checksum,
            P::UdpTruncated | P::UdpBadLength => &mut frames.drop_udp_malformed,
            P::UdpBadChecksum | P::UdpNoChecksum => &mut frames.drop_udp_checksum,
            P::PortZero => &mut frames.drop_port_zero,
            P::IcmpBadChecksum | P::Icmpv6BadChecksum => &mut frames.drop_icmp_checksum,
            P::IcmpTruncated | P::Icmpv6Truncated | P::NdpBadOption => {
                &mut frames.drop_icmp_malformed
            }
            // Whatever else there is, is of IPv6.
            _ => &mut frames.drop_ipv6_malformed,
        };
        *counter += 1;
    }
}
