//! All figures of an application in one place: each with its name, unit, help and labels.
//!
//! A [`Registry`] reads them when it is asked: ports and their drivers' own counters, queues, workers, mempools, the stacks, and
//! what an application's own [`Collector`]s add. What is counted is counted elsewhere, in plain integers that belong to one worker;
//! here they are read, with each shard's lock taken once and briefly. [`catalogue`] has what there may be, without an application.
//!
//! `docs/metrics.md` has the table of all metrics and says how they leave the process.

#[cfg(feature = "metrics-facade")]
mod facade;
mod family;
#[cfg(any(feature = "metrics-facade", feature = "opentelemetry"))]
mod flat;
mod gather;
#[cfg(feature = "control")]
mod json;
#[cfg(feature = "opentelemetry")]
mod opentelemetry;
mod table;
mod text;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use dpdk_net_stack::metrics::{Histogram, HistogramSnapshot, Kind, Metric, Unit};

#[cfg(feature = "metrics-facade")]
pub(crate) use self::facade::Publisher;
pub use self::family::{Families, Family, Refused, RefusedWhy, Sample, Value};
pub(crate) use self::gather::Source;
#[cfg(feature = "control")]
pub use self::json::to_json;
use self::table::{BUILD_INFO, PROCESS, UPTIME};
pub use self::table::{Entry, catalogue};
pub use self::text::{Format, to_text};
pub use crate::drops::{DropCause, drop_causes};

/// Figures of an application's own, beside dpdk-net's.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use dpdk_net::metrics::{Families, Kind, Metric, Unit};
///
/// static SERVED: AtomicU64 = AtomicU64::new(0);
/// static REQUESTS: Metric = Metric {
///     name: "requests",
///     help: "Requests that were answered.",
///     unit: Unit::None,
///     kind: Kind::Counter,
///     linux: None,
/// };
///
/// // `shop_requests_total{site="main"}`
/// let app = dpdk_net::App::builder().collector(|families: &mut Families| {
///     let site = [("site", "main".to_owned())];
///     families.add("shop", &REQUESTS, site, SERVED.load(Ordering::Relaxed));
/// });
/// # drop(app);
/// ```
pub trait Collector: Send + Sync + 'static {
    /// Adds them. It is called for each reading, on the thread that reads, and must not read the registry itself.
    fn collect(&self, families: &mut Families);
}

impl<F: Fn(&mut Families) + Send + Sync + 'static> Collector for F {
    fn collect(&self, families: &mut Families) {
        self(families);
    }
}

/// A port of an application, which may have ended.
pub(crate) trait Reading: Send + Sync {
    /// Has its figures gathered, if it is still there.
    fn read(&self, gather: &mut dyn FnMut(&Source<'_>));
}

/// Samples that are left out of which the log says so.
const COMPLAINTS: usize = 256;

/// Kept by an application for as long as its figures are told.
pub(crate) struct Telling(Registry);

impl Telling {
    pub(crate) fn of(registry: &Registry) -> Self {
        Self(registry.clone())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.0.inner.ended.store(true, Ordering::Release);
        self.0.inner.recent.lock().take();
    }
}

/// All figures of a running application: [`Context::metrics`](crate::Context::metrics). Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    ended: AtomicBool,
    /// What has been said of samples that were left out.
    refused: Mutex<HashSet<Refused>>,
    #[cfg(feature = "metrics-facade")]
    published: Mutex<facade::Published>,
    ports: RwLock<Vec<Box<dyn Reading>>>,
    collectors: RwLock<Vec<Box<dyn Collector>>>,
    recent: Mutex<Option<(Instant, Arc<[Family]>)>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("ports", &self.inner.ports.read().len())
            .field("collectors", &self.inner.collectors.read().len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub(crate) fn new(collectors: Vec<Box<dyn Collector>>) -> Self {
        Self {
            inner: Arc::new(Inner {
                started: Instant::now(),
                ended: AtomicBool::new(false),
                refused: Mutex::default(),
                #[cfg(feature = "metrics-facade")]
                published: Mutex::default(),
                ports: RwLock::default(),
                collectors: RwLock::new(collectors),
                recent: Mutex::default(),
            }),
        }
    }

    pub(crate) fn add_port(&self, port: Box<dyn Reading>) {
        self.inner.ports.write().push(port);
    }

    /// Adds figures of the application's own. Their names should begin with something else than `dpdk_net`.
    pub fn register(&self, collector: impl Collector) {
        self.inner.collectors.write().push(Box::new(collector));
    }

    /// Reads all figures now. Each worker waits for as long as its counters are copied, about a microsecond; a driver may take
    /// longer for its own, and nobody waits for that but the caller. Nothing once the application has ended.
    pub fn gather(&self) -> Vec<Family> {
        let mut families = Families::default();
        if self.has_ended() {
            return families.into_vec();
        }
        let versions = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("dpdk", crate::rte::Eal::dpdk_version()),
        ];
        families.add(PROCESS, &BUILD_INFO, versions, 1_u64);
        let uptime = self.inner.started.elapsed().as_nanos();
        let uptime = u64::try_from(uptime).unwrap_or(u64::MAX);
        families.add(PROCESS, &UPTIME, [], uptime);
        for port in self.inner.ports.read().iter() {
            port.read(&mut |source| source.gather(&mut families));
        }
        #[cfg(feature = "tls")]
        self::gather::tls_figures(&mut families);
        for collector in self.inner.collectors.read().iter() {
            collector.collect(&mut families);
        }
        self.complain(families.refused());
        families.into_vec()
    }

    fn has_ended(&self) -> bool {
        self.inner.ended.load(Ordering::Acquire)
    }

    /// Says once what was left out.
    fn complain(&self, refused: &[Refused]) {
        if refused.is_empty() {
            return;
        }
        let mut known = self.inner.refused.lock();
        for refused in refused {
            // Labels may have as many values as there are; the log is not to be filled with them.
            if known.len() < COMPLAINTS && known.insert(refused.clone()) {
                tracing::error!(target: "dpdk_net::metrics", metric = refused.metric, why = %refused.why, "a sample is left out");
            }
        }
    }

    /// As [`gather`](Self::gather), or what was read at most so long ago: for those who ask as often as they like.
    pub fn recent(&self, age: Duration) -> Arc<[Family]> {
        let mut recent = self.inner.recent.lock();
        match &*recent {
            Some((read, families)) if read.elapsed() <= age && !self.has_ended() => {
                families.clone()
            }
            _ => {
                let families: Arc<[Family]> = self.gather().into();
                *recent = Some((Instant::now(), families.clone()));
                families
            }
        }
    }
}
