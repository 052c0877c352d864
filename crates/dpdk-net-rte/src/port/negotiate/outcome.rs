//! What came of a request: which offloads are on, which not, and why.

use core::fmt;
use std::borrow::Cow;

use super::request::{Offload, Wish};
use crate::port::{RxOffloads, TxCapabilities, TxOffloads};

/// What became of one offload.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct OffloadEntry {
    /// Which one.
    pub offload: Offload,
    /// What was wished.
    pub wish: Wish,
    /// Whether the port offers it, and keeps what it offers as far as is known.
    pub offered: bool,
    /// Whether it is on.
    pub on: bool,
    /// Why it is as it is, or what is worth knowing of it; empty where there is nothing to say.
    pub why: Cow<'static, str>,
}

/// The offloads of a port that is configured: what was wished, what is offered, what is on.
///
/// It prints as a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Offloads {
    pub(super) port: String,
    pub(super) driver: String,
    pub(super) rx: RxOffloads,
    pub(super) tx: TxOffloads,
    pub(super) entries: Vec<OffloadEntry>,
    pub(super) capabilities: Option<TxCapabilities>,
    pub(super) refused: Option<String>,
}

impl Offloads {
    /// The receive offloads that are on, by flag.
    pub fn rx(&self) -> RxOffloads {
        self.rx
    }

    /// The transmit offloads that are on, by flag.
    pub fn tx(&self) -> TxOffloads {
        self.tx
    }

    /// Whether an offload is on.
    pub fn is_on(&self, offload: Offload) -> bool {
        self.entry(offload).is_some_and(|entry| entry.on)
    }

    /// What became of an offload; none before the port is configured.
    pub fn entry(&self, offload: Offload) -> Option<&OffloadEntry> {
        self.entries.iter().find(|entry| entry.offload == offload)
    }

    /// What became of each offload, in the order of [`Offload::ALL`].
    pub fn iter(&self) -> core::slice::Iter<'_, OffloadEntry> {
        self.entries.iter()
    }

    /// What the port does with packets to send, and what it takes; none before it is configured.
    pub fn capabilities(&self) -> Option<TxCapabilities> {
        self.capabilities
    }

    /// What the driver said when it refused all that was wished and took less, if it did.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

impl<'a> IntoIterator for &'a Offloads {
    type Item = &'a OffloadEntry;
    type IntoIter = core::slice::Iter<'a, OffloadEntry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.entries.is_empty() {
            return f.write_str("no offloads: the port is not configured yet");
        }
        writeln!(f, "offloads of {} (driver {})", self.port, self.driver)?;
        write!(f, "  {:17} {:6} {:7} state", "", "wanted", "offered")?;
        for entry in &self.entries {
            let offered = if entry.offered { "yes" } else { "no" };
            let state = if entry.on { "on" } else { "off" };
            write!(
                f,
                "\n  {:17} {:6} {offered:7} {state}",
                entry.offload, entry.wish
            )?;
            if !entry.why.is_empty() {
                // Behind the widest state, which is its heading.
                write!(f, "{:1$}", "", "state ".len() - state.len())?;
                f.write_str(&entry.why)?;
            }
        }
        if let Some(refused) = &self.refused {
            write!(f, "\n  the driver refused all that was wanted: {refused}")?;
        }
        Ok(())
    }
}
