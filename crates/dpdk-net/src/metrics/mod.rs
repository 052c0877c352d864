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

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

pub use dpdk_net_stack::metrics::{Histogram, HistogramSnapshot, Kind, Metric, Unit};

#[cfg(feature = "metrics-facade")]
pub(crate) use self::facade::Publisher;
pub use self::family::{Families, Family, Sample, Value};
pub(crate) use self::gather::Source;
#[cfg(feature = "control")]
pub use self::json::to_json;
use self::table::{BUILD_INFO, PROCESS, UPTIME};
pub use self::table::{Entry, catalogue};
pub use self::text::{Format, to_text};

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

/// All figures of a running application: [`Context::metrics`](crate::Context::metrics). Cheap to clone; usable from any thread.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
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
    /// longer for its own, and nobody waits for that but the caller.
    pub fn gather(&self) -> Vec<Family> {
        let mut families = Families::default();
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
        families.into_vec()
    }

    /// As [`gather`](Self::gather), or what was read at most so long ago: for those who ask as often as they like.
    pub fn recent(&self, age: Duration) -> Arc<[Family]> {
        let mut recent = self.inner.recent.lock();
        match &*recent {
            Some((read, families)) if read.elapsed() <= age => families.clone(),
            _ => {
                let families: Arc<[Family]> = self.gather().into();
                *recent = Some((Instant::now(), families.clone()));
                families
            }
        }
    }
}
