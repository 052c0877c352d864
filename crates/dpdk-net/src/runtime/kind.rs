//! The runtimes that there are to choose from, by name.

use std::fmt;
use std::str::FromStr;

use super::{Local, Runtime, Tokio};
use crate::error::Error;

/// The runtimes that there are to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RuntimeKind {
    /// [`Tokio`].
    #[default]
    Tokio,
    /// [`Local`].
    Local,
    /// [`Smol`](super::Smol).
    #[cfg(feature = "smol")]
    Smol,
    /// [`Compio`](super::Compio).
    #[cfg(feature = "compio")]
    Compio,
}

impl RuntimeKind {
    /// All that this build has.
    pub const ALL: &[Self] = &[
        Self::Tokio,
        Self::Local,
        #[cfg(feature = "smol")]
        Self::Smol,
        #[cfg(feature = "compio")]
        Self::Compio,
    ];

    /// Its name in files and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tokio => Tokio::NAME,
            Self::Local => Local::NAME,
            #[cfg(feature = "smol")]
            Self::Smol => super::Smol::NAME,
            #[cfg(feature = "compio")]
            Self::Compio => super::Compio::NAME,
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for RuntimeKind {
    type Err = Error;

    /// # Errors
    /// [`Error::UnknownRuntime`], which says what there is.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut all = Self::ALL.iter().copied();
        all.find(|kind| kind.name() == text)
            .ok_or_else(|| Error::UnknownRuntime {
                given: text.to_owned(),
                known: Self::ALL
                    .iter()
                    .map(|kind| kind.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_is_known_by_its_name_and_no_other() {
        for kind in RuntimeKind::ALL {
            assert_eq!(kind.to_string().parse::<RuntimeKind>().unwrap(), *kind);
        }
        let error = "glommio".parse::<RuntimeKind>().unwrap_err().to_string();
        assert!(
            error.contains("glommio") && error.contains("tokio, local"),
            "{error}"
        );
    }
}
