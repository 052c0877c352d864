//! The checks, a file a subject. Each finding has a test on a made-up machine.

mod cpu;
mod dpdk;
mod kernel;
mod leftovers;
mod memory;
mod nic;
mod rights;

use super::finding::Finding;
use crate::machine::Machine;

/// What the demo takes of memory unless told otherwise, in bytes.
const MEMORY: u64 = 256 << 20;

/// All findings, in the order in which they are shown.
pub(super) fn all(machine: &Machine) -> Vec<Finding> {
    [
        dpdk::check,
        kernel::check,
        rights::check,
        memory::check,
        nic::check,
        cpu::check,
        leftovers::check,
    ]
    .iter()
    .flat_map(|check| check(machine))
    .collect()
}

#[cfg(test)]
mod expect {
    use super::super::finding::{Finding, Level, Use, Verdict};
    use crate::machine::fake::Fake;

    /// The findings of one check, level as for a use: `error: what`, and the command.
    pub(super) fn found(fake: &Fake, check: &str, wanted: Use) -> Vec<(Level, Finding)> {
        super::all(&fake.machine())
            .into_iter()
            .filter(|finding| finding.check == check)
            .map(|finding| (finding.level_for(wanted), finding))
            .collect()
    }

    /// Fails unless one finding of `check` is of this level for `wanted`, and says `what` and mends with `command`.
    pub(super) fn expect(
        fake: &Fake,
        check: &str,
        wanted: Use,
        level: Level,
        what: &str,
        command: &str,
    ) {
        let found = found(fake, check, wanted);
        let fits = |(found, finding): &(Level, Finding)| {
            *found == level
                && finding.what.contains(what)
                && finding.command.as_deref().unwrap_or("").contains(command)
        };
        assert!(
            found.iter().any(fits),
            "{level:?}, {what:?}, {command:?} for {wanted:?} in {found:#?}"
        );
    }

    #[test]
    fn on_a_good_machine_all_is_well() {
        let findings = super::all(&Fake::good().machine());
        for wanted in Use::ALL {
            let verdict = Verdict::of(&findings, wanted);
            assert_eq!((verdict.errors, verdict.warnings), (0, 0), "{findings:#?}");
        }
        for finding in &findings {
            assert!(finding.level_for(Use::Nic) <= Level::Note, "{finding:?}");
        }
    }

    #[test]
    fn on_an_empty_machine_nothing_panics_and_every_error_says_what_to_do() {
        let findings = super::all(&Fake::empty().machine());
        assert!(!Verdict::of(&findings, Use::Tap).ready);
        for finding in findings {
            let is_explained = finding.command.is_some() || finding.meaning.is_some();
            assert!(
                finding.level_for(Use::Nic) < Level::Warning || is_explained,
                "{finding:?}"
            );
        }
    }
}
