//! What connections are told, in the form that they need it.

use alloc::vec::Vec;

use super::flow::{Flow, FlowFlags};
use crate::config::TcpConfig;
use crate::time::Duration;

/// What all connections are told at the start.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) tcp: TcpConfig,
    /// Times of the configuration in nanoseconds, as it takes long to make them from what they are there.
    pub(crate) nanos: Nanos,
    /// The port's IP MTU.
    pub(crate) mtu: u16,
    /// The IP MTUs of IPv4 and IPv6 on those interfaces that have smaller ones, by the ids of their VLANs.
    pub(super) smaller: Vec<(u16, [u16; 2])>,
}

/// Fields of [`TcpConfig`] in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nanos {
    pub(crate) min_rto: u64,
    pub(crate) max_rto: u64,
    pub(crate) peer_ack_delay: u64,
    pub(crate) ack_delay: u64,
}

impl core::ops::Deref for Settings {
    type Target = TcpConfig;

    fn deref(&self) -> &TcpConfig {
        &self.tcp
    }
}

impl Settings {
    /// How long something of this connection may be unacknowledged.
    pub(super) fn patience(&self, flow: &Flow) -> Duration {
        let own = flow.rare.as_ref().and_then(|rare| rare.user_timeout);
        let patience = own.unwrap_or(self.user_timeout);
        if flow.has(FlowFlags::ORPHAN) {
            self.orphan_timeout.min(patience)
        } else {
            patience
        }
    }

    /// How long a SYN or its answer is waited for that was sent again so often (RFC 6298 sections 2 and 5.5).
    pub(super) fn syn_timeout(&self, retries: u8) -> Duration {
        (self.initial_rto * (1 << retries.min(6))).min(self.max_rto)
    }

    /// The send buffer that a window of `cwnd` bytes wants: it lets the window fill, and as much again be written
    /// meanwhile.
    #[inline]
    pub(crate) fn full_send(&self, cwnd: u32) -> u32 {
        cwnd.saturating_mul(2).min(self.send_buffer as u32)
    }

    /// What the port's MTU leaves for data: no segment has more.
    pub(crate) fn most_mss(&self, v6: bool) -> u16 {
        mss_of(self.mtu, v6)
    }

    /// The MSS to offer where segments come in with this tag, 0 for none: what the interface's MTU leaves for data (RFC
    /// 6691).
    pub(crate) fn offered_mss(&self, tci: u16, v6: bool) -> u16 {
        let vlan = tci & 0xfff;
        let own = self.smaller.iter().find(|(id, _)| *id == vlan);
        let own = own.map(|(_, [of_v4, of_v6])| if v6 { *of_v6 } else { *of_v4 });
        mss_of(own.unwrap_or(self.mtu), v6)
    }
}

fn mss_of(mtu: u16, v6: bool) -> u16 {
    mtu - if v6 { 60 } else { 40 }
}
