//! Frames that something is wrong with: counted by cause, and a few of them answered.

use dpdk_net_packet::{ParseError, RxMeta, ethernet};

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
