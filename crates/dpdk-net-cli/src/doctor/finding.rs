//! What the doctor finds: how bad it is, for which use, what it means and the command that mends it.

use clap::ValueEnum;
use serde::Serialize;

/// What the machine is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Use {
    /// A NIC through vfio-pci
    Nic,
    /// An interface of the kernel through AF_XDP
    AfXdp,
    /// A TAP interface, as the demo makes one
    Tap,
}

impl Use {
    /// Every use, in the order in which they are shown.
    pub(crate) const ALL: [Self; 3] = [Self::Tap, Self::AfXdp, Self::Nic];

    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nic => "nic",
            Self::AfXdp => "af_xdp",
            Self::Tap => "tap",
        }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Could be better, or concerns another use.
    Note,
    /// Works, and may not do so well or for long.
    Warning,
    /// Does not work.
    Error,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What was looked at, in one word.
    pub(crate) check: &'static str,
    level: Level,
    /// The uses that it concerns.
    pub(crate) uses: &'static [Use],
    /// What was found.
    pub(crate) what: String,
    /// What follows from it.
    pub(crate) meaning: Option<String>,
    /// What mends it, for a shell; root's unless it says otherwise.
    pub(crate) command: Option<String>,
}

impl Finding {
    fn new(
        level: Level,
        check: &'static str,
        uses: &'static [Use],
        what: impl Into<String>,
    ) -> Self {
        Self {
            check,
            level,
            uses,
            what: what.into(),
            meaning: None,
            command: None,
        }
    }

    /// All is well.
    pub(crate) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Ok, check, &Use::ALL, what)
    }

    /// Good to know.
    pub(crate) fn note(check: &'static str, what: impl Into<String>) -> Self {
        Self::new(Level::Note, check, &Use::ALL, what)
    }

    /// In the way of these uses, though not of all that can be done with them.
    pub(crate) fn warning(
        check: &'static str,
        uses: &'static [Use],
        what: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warning, check, uses, what)
    }

    /// These uses are impossible.
    pub(crate) fn error(
        check: &'static str,
        uses: &'static [Use],
        what: impl Into<String>,
    ) -> Self {
        Self::new(Level::Error, check, uses, what)
    }

    /// With what follows from it.
    pub(crate) fn means(mut self, meaning: impl Into<String>) -> Self {
        self.meaning = Some(meaning.into());
        self
    }

    /// With the command that mends it.
    pub(crate) fn mend(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// How bad it is for one use: what concerns others only is a note.
    pub(crate) fn level_for(&self, wanted: Use) -> Level {
        if self.uses.contains(&wanted) {
            self.level
        } else {
            self.level.min(Level::Note)
        }
    }
}

/// How many findings of each kind stand in the way of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// Whether the demo could run.
    pub(crate) ready: bool,
    /// What is in the way.
    pub(crate) errors: usize,
    /// What may be.
    pub(crate) warnings: usize,
}

impl Verdict {
    /// What the findings mean for one use.
    pub(crate) fn of(findings: &[Finding], wanted: Use) -> Self {
        let count = |level| {
            let levels = findings.iter().map(|finding| finding.level_for(wanted));
            levels.filter(|found| *found == level).count()
        };
        let errors = count(Level::Error);
        Self {
            ready: errors == 0,
            errors,
            warnings: count(Level::Warning),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_another_use_is_a_note_here() {
        let findings = [
            Finding::error("vfio", &[Use::Nic], "none"),
            Finding::warning("memlock", &[Use::Nic, Use::AfXdp], "little"),
            Finding::ok("dpdk", "there"),
        ];
        assert_eq!(findings[0].level_for(Use::Tap), Level::Note);
        assert_eq!(findings[2].level_for(Use::Tap), Level::Ok);
        let verdict = |wanted| {
            let verdict = Verdict::of(&findings, wanted);
            (verdict.ready, verdict.errors, verdict.warnings)
        };
        assert_eq!(verdict(Use::Tap), (true, 0, 0));
        assert_eq!(verdict(Use::AfXdp), (true, 0, 1));
        assert_eq!(verdict(Use::Nic), (false, 1, 1));
    }
}
