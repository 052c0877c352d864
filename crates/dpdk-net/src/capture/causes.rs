//! Why the stack dropped a frame: the counter that grew while it took it in.
//!
//! The stack counts and keeps no list, so that nothing is added to the way of a frame. Who watches gives it frames one by one
//! and compares.

use dpdk_net_stack::Stats;

macro_rules! causes {
    ($($group:ident: $prefix:literal { $($counter:ident,)* })*) => {
        /// The counters' names, as they are told.
        const NAMES: &[&str] = &[$($(concat!($prefix, stringify!($counter)),)*)*];

        /// The counters. Of what is not asked for here no copy is made.
        #[inline]
        fn values(stats: &Stats) -> [u64; NAMES.len()] {
            [$($(stats.$group.$counter,)*)*]
        }
    };
}

causes! {
    frames: "" {
        drop_ethernet_malformed,
        drop_ethernet_not_for_us,
        drop_ethernet_unknown_type,
        drop_vlan,
        drop_arp_malformed,
        drop_ip_bad_version,
        drop_ipv4_malformed,
        drop_ipv4_checksum,
        drop_ipv6_malformed,
        drop_ip_bad_address,
        drop_ip_not_for_us,
        drop_ip_unknown_protocol,
        drop_tcp_malformed,
        drop_tcp_checksum,
        drop_udp_malformed,
        drop_udp_checksum,
        drop_port_zero,
        drop_icmp_malformed,
        drop_icmp_checksum,
    }
    tcp: "tcp_" {
        no_connection,
        strays_dropped,
        accept_overflows,
        too_many,
        paws_drops,
        rx_ack_out_of_place,
        rx_out_of_window,
        out_of_order_dropped,
    }
    udp: "udp_" {
        no_socket,
        queue_full,
    }
    icmp: "icmp_" {
        echo_ignored,
        errors_unusable,
        ignored,
    }
    neighbors: "neighbors_" {
        arp_invalid,
        ndp_invalid,
        ndp_malformed,
        router_messages_ignored,
        igmp_invalid,
    }
    reassembly: "reassembly_" {
        overlapping,
        inconsistent,
        too_long,
        too_many_fragments,
        ecn_mixed,
        duplicates,
        too_late,
    }
}

/// What had been counted at a moment.
pub(super) struct Causes([u64; NAMES.len()]);

impl Causes {
    pub(super) fn of(stats: &Stats) -> Self {
        Self(values(stats))
    }

    /// The first counter that has grown since.
    pub(super) fn grown(&self, later: &Self) -> Option<Cause> {
        // As a rule none has.
        if self.0 == later.0 {
            return None;
        }
        let grown = self
            .0
            .iter()
            .zip(&later.0)
            .position(|(before, after)| before != after)?;
        Some(Cause(grown as u16))
    }
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cause(u16);

impl Cause {
    /// Its number, none being 0.
    pub(super) fn encode(cause: Option<Self>) -> u16 {
        cause.map_or(0, |cause| cause.0 + 1)
    }

    pub(super) fn decode(number: u16) -> Option<Self> {
        number.checked_sub(1).map(Self)
    }

    /// The counter's name.
    pub(super) fn name(self) -> &'static str {
        NAMES.get(usize::from(self.0)).copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_of_drops_is_a_cause() {
        let drops = Stats::default().frames;
        let drops = drops.iter().map(|(name, _)| name);
        for name in drops.filter(|name| name.starts_with("drop_")) {
            assert!(NAMES.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_cause_is_the_counter_that_grew() {
        let mut stats = Stats::default();
        let before = Causes::of(&stats);
        assert_eq!(before.grown(&before), None);
        stats.udp.no_socket = 1;
        let cause = before.grown(&Causes::of(&stats));
        assert_eq!(cause.map(Cause::name), Some("udp_no_socket"));
        for cause in [None, cause] {
            assert_eq!(Cause::decode(Cause::encode(cause)), cause);
        }
    }
}
