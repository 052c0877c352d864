//! The redirection table (RETA): which queue each value of the hash goes to, and how to change that by load.

use crate::Error;

/// A queue's load may exceed the mean by this part of it before anything is moved.
const TOLERANCE: u64 = 8;

/// A redirection table: the packet's hash modulo its length is the entry, the entry is the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reta {
    queues: Vec<u16>,
}

impl Reta {
    /// A table of these entries.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where there are none.
    pub fn new(queues: Vec<u16>) -> Result<Self, Error> {
        if queues.is_empty() {
            return Err(Error::InvalidArgument {
                what: "redirection table".into(),
                problem:
                    "it has no entry: as many are needed as the port's has (`PortInfo::reta_size`)"
                        .into(),
            });
        }
        Ok(Self { queues })
    }

    /// The queues in turn, as drivers fill the table.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for no entries or no queues.
    pub fn uniform(size: u16, queues: u16) -> Result<Self, Error> {
        if queues == 0 {
            return Err(Error::InvalidArgument {
                what: "redirection table".into(),
                problem: "it spreads over 0 queues: give 1 or more".into(),
            });
        }
        Self::new((0..queues).cycle().take(usize::from(size)).collect())
    }

    /// The queue of each entry.
    pub fn queues(&self) -> &[u16] {
        &self.queues
    }

    /// Whether it names queues below `queues` only, and as many of them as it has entries for.
    pub(super) fn is_spread_over(&self, queues: u16) -> bool {
        let mut used = vec![false; usize::from(queues)];
        let valid = self.queues.iter().all(|queue| {
            used.get_mut(usize::from(*queue))
                .is_some_and(|used| core::mem::replace(used, true) || *used)
        });
        let most = usize::from(queues).min(self.queues.len());
        valid && used.iter().filter(|used| **used).count() == most
    }

    /// A table under which the queues' loads are closer together, and which differs from this one in few entries.
    ///
    /// `loads` has what each entry brought lately (packets, bytes or cycles), and `may_move` says of an entry whether
    /// it may go to another queue. Those of queues that are no longer there go first, then those of the busiest queue,
    /// each to the one with the least load; it ends when no queue has more than 9/8 of the mean, or no single move
    /// makes the busiest less busy. An entry that brought nothing stays, unless its queue is gone.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where there is not one load an entry, or no queue.
    pub fn rebalance(
        &self,
        loads: &[u64],
        queues: u16,
        mut may_move: impl FnMut(usize) -> bool,
    ) -> Result<Self, Error> {
        let entries = self.queues.len();
        if loads.len() != entries || queues == 0 {
            return Err(Error::InvalidArgument {
                what: "rebalancing a redirection table".into(),
                problem: format!(
                    "{} loads and {queues} queues given for {entries} entries: give a load for each, and 1 queue or more",
                    loads.len()
                ),
            });
        }
        let mut table = self.clone();
        // What may still be moved. Each entry is moved once, so it ends.
        let mut free: Vec<bool> = (0..entries).map(&mut may_move).collect();
        // Sums of 65,535 loads: scaled down together where they could overflow.
        let shift = loads
            .iter()
            .max()
            .map_or(0, |most| 40_u32.saturating_sub(most.leading_zeros()));
        let loads: Vec<u64> = loads.iter().map(|load| load >> shift).collect();
        let mut totals = vec![0_u64; usize::from(queues)];
        let mut homeless = Vec::new();
        for (entry, queue) in self.queues.iter().enumerate() {
            match totals.get_mut(usize::from(*queue)) {
                Some(total) => *total += loads[entry],
                None if free[entry] => homeless.push(entry),
                None => {}
            }
        }
        homeless.sort_by_key(|entry| core::cmp::Reverse(loads[*entry]));
        for entry in homeless {
            let (queue, _) = least(&totals);
            table.queues[entry] = queue as u16;
            totals[queue] += loads[entry];
            free[entry] = false;
        }
        let mean = totals.iter().sum::<u64>() / u64::from(queues);
        loop {
            let (from, most) = most(&totals);
            let (to, fewest) = least(&totals);
            let gap = most - fewest;
            if most <= mean + mean / TOLERANCE {
                return Ok(table);
            }
            // Half the gap would make both alike; anything below the gap makes the larger smaller.
            let best = (0..entries)
                .filter(|entry| {
                    free[*entry]
                        && usize::from(table.queues[*entry]) == from
                        && (1..gap).contains(&loads[*entry])
                })
                .min_by_key(|entry| loads[*entry].abs_diff(gap - gap / 2));
            let Some(entry) = best else {
                return Ok(table);
            };
            table.queues[entry] = to as u16;
            free[entry] = false;
            totals[from] -= loads[entry];
            totals[to] += loads[entry];
        }
    }
}

/// The queue with the least load, and it; of several, the first.
fn least(totals: &[u64]) -> (usize, u64) {
    let mut totals = totals.iter().copied().enumerate();
    let first = totals.next().unwrap_or_default();
    totals.fold(
        first,
        |least, next| if next.1 < least.1 { next } else { least },
    )
}

/// The queue with the most load, likewise.
fn most(totals: &[u64]) -> (usize, u64) {
    let mut totals = totals.iter().copied().enumerate();
    let first = totals.next().unwrap_or_default();
    totals.fold(
        first,
        |most, next| if next.1 > most.1 { next } else { most },
    )
}
