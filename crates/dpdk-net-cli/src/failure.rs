//! The one kind of error this program ends with: what is wrong, and what to do about it.

use std::fmt;

/// Why the program stops. Shown as `error: WHAT` and, indented below, the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    remedy: String,
    usage: bool,
}

pub(crate) type Result<T = (), E = Failure> = std::result::Result<T, E>;

impl Failure {
    /// The machine lacks or refuses something: exit code 1.
    pub(crate) fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
            usage: false,
        }
    }

    /// The command line asks for what cannot be: exit code 2, as for an unknown option.
    pub(crate) fn usage(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            usage: true,
            ..Self::new(what, remedy)
        }
    }

    /// What is wrong, without the remedy.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    /// What is wrong was told already.
    pub(crate) fn told() -> Self {
        Self::new("", "")
    }

    /// Whether there is nothing left to tell.
    pub(crate) fn was_told(&self) -> bool {
        self.what.is_empty()
    }

    /// The exit code that goes with it.
    pub(crate) fn exit_code(&self) -> u8 {
        if self.usage { 2 } else { 1 }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        for line in self.remedy.lines() {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_indented_below_what_is_wrong() {
        let failure = Failure::usage("no such device", "try tap\nor veth");
        assert_eq!(failure.to_string(), "no such device\n  try tap\n  or veth");
        assert_eq!(failure.exit_code(), 2);
        assert_eq!(Failure::new("x", "").exit_code(), 1);
    }
}
