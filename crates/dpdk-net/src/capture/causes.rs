//! Why the stack dropped a frame: the counter that grew while it took it in.
//!
//! The stack counts and keeps no list, so that nothing is added to the way of a frame. Who watches gives it frames one by one
//! and compares.

use dpdk_net_stack::Stats;

use crate::drops::{TAKEN_IN, taken_in};

/// What had been counted at a moment.
pub(super) struct Causes([u64; TAKEN_IN.len()]);

impl Causes {
    pub(super) fn of(stats: &Stats) -> Self {
        Self(taken_in(stats))
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

    /// What it is called, as everywhere.
    pub(super) fn name(self) -> &'static str {
        let name = TAKEN_IN.get(usize::from(self.0));
        name.copied().unwrap_or("unknown")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
