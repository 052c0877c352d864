//! One function on many workers: choosing them, and the handles as one.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::launch::{Claim, LaunchHandle, spawn_claimed};
use super::{Lcore, LcoreId};
use crate::{Eal, Error, SocketId};

/// Chooses workers and launches a function on each.
///
/// ```no_run
/// # fn main() -> Result<(), dpdk_net_rte::Error> {
/// use dpdk_net_rte::{SocketId, lcore::LaunchBuilder};
/// # let eal = dpdk_net_rte::Eal::builder("doc").init()?;
/// let sums = LaunchBuilder::new(&eal)
///     .on_socket(SocketId::new(0))
///     .limit(2)
///     .launch(|lcore| lcore.id().index())?
///     .join()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `launch`"]
pub struct LaunchBuilder {
    eal: Eal,
    socket: SocketId,
    among: Option<BTreeSet<LcoreId>>,
    limit: usize,
    idle_only: bool,
}

impl LaunchBuilder {
    /// All workers.
    pub fn new(eal: &Eal) -> Self {
        Self {
            eal: eal.clone(),
            socket: SocketId::ANY,
            among: None,
            limit: usize::MAX,
            idle_only: false,
        }
    }

    /// Only workers whose CPU is on this NUMA socket.
    pub fn on_socket(mut self, socket: SocketId) -> Self {
        self.socket = socket;
        self
    }

    /// Only these lcores. One that is not a worker makes [`LaunchBuilder::launch`] fail.
    pub fn among(mut self, lcores: impl IntoIterator<Item = LcoreId>) -> Self {
        self.among = Some(lcores.into_iter().collect());
        self
    }

    /// At most this many, those with the lowest numbers.
    pub fn limit(mut self, count: usize) -> Self {
        self.limit = count;
        self
    }

    /// Passes over workers that run a function, instead of failing with [`Error::LcoreBusy`].
    pub fn idle_only(mut self) -> Self {
        self.idle_only = true;
        self
    }

    /// The workers that it would launch on now.
    ///
    /// # Errors
    ///
    /// [`Error::NotAWorker`] if [`LaunchBuilder::among`] names something else.
    pub fn lcores(&self) -> Result<Vec<Lcore>, Error> {
        if let Some(among) = &self.among
            && let Some(&lcore) = among.iter().find(|&&id| !super::is_worker(id))
        {
            return Err(Error::NotAWorker { lcore });
        }
        Ok(Lcore::workers(&self.eal)
            .filter(|lcore| {
                let id = lcore.id();
                self.among.as_ref().is_none_or(|among| among.contains(&id))
                    && (self.socket == SocketId::ANY || lcore.socket_id() == self.socket)
                    && !(self.idle_only && super::launch::is_busy(id))
            })
            .take(self.limit)
            .collect())
    }

    /// Runs `function` on each of the chosen workers, with that lcore as its argument, and returns at once.
    ///
    /// # Errors
    ///
    /// [`Error::NoWorkers`] if none matches, [`Error::LcoreBusy`] if one of them runs another function; then nothing
    /// was launched at all.
    pub fn launch<F, T>(&self, function: F) -> Result<LaunchGroup<T>, Error>
    where
        F: Fn(&Lcore) -> T + Send + Sync + 'static,
        T: Send + 'static,
    {
        let mut claims = Vec::new();
        for lcore in self.lcores()? {
            match Claim::new(&lcore) {
                Ok(claim) => claims.push((claim, lcore)),
                // Became busy since it was chosen.
                Err(Error::LcoreBusy { .. }) if self.idle_only => {}
                Err(error) => return Err(error),
            }
        }
        if claims.is_empty() {
            return Err(Error::NoWorkers {
                criteria: self.criteria(),
            });
        }
        let function = Arc::new(function);
        let handles = claims
            .into_iter()
            .map(|(claim, lcore)| {
                let function = Arc::clone(&function);
                let argument = lcore.clone();
                spawn_claimed(claim, &lcore, move || function(&argument))
            })
            .collect::<Result<_, _>>()?;
        Ok(LaunchGroup { handles })
    }

    /// What was looked for, in words.
    fn criteria(&self) -> String {
        let mut words = Vec::new();
        if self.socket != SocketId::ANY {
            words.push(format!("on {}", self.socket));
        }
        if let Some(among) = &self.among {
            let list: Vec<String> = among.iter().map(|id| id.index().to_string()).collect();
            words.push(format!("among {}", list.join(",")));
        }
        if self.limit == 0 {
            words.push("with a limit of 0".into());
        }
        words.push(if self.idle_only { "is idle" } else { "exists" }.into());
        words.join(" ")
    }
}

/// A function running on several workers.
#[must_use = "the results, or the panics, are in the handles"]
pub struct LaunchGroup<T> {
    handles: Vec<LaunchHandle<T>>,
}

impl<T> LaunchGroup<T> {
    /// How many lcores run it.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// Whether there are none; [`LaunchBuilder::launch`] returns at least one.
    pub fn is_empty(&self) -> bool {
        self.handles.is_empty()
    }

    /// Whether all have ended. Never blocks.
    pub fn is_finished(&self) -> bool {
        self.handles.iter().all(LaunchHandle::is_finished)
    }

    /// One handle for each lcore, by number.
    pub fn handles(&self) -> &[LaunchHandle<T>] {
        &self.handles
    }

    /// The handles themselves.
    pub fn into_handles(self) -> Vec<LaunchHandle<T>> {
        self.handles
    }

    /// Waits for all and returns the results by lcore number.
    ///
    /// # Errors
    ///
    /// The first of them that panicked, after all have ended.
    pub fn join(self) -> Result<Vec<T>, Error> {
        let results: Vec<_> = self.handles.into_iter().map(LaunchHandle::join).collect();
        results.into_iter().collect()
    }
}

impl<T> fmt::Debug for LaunchGroup<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.handles).finish()
    }
}
