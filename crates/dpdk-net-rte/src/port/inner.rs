//! The port behind its handles: opened once, stopped and closed when the last handle or queue is gone.
//!
//! What holds:
//!
//! 1. [`OPEN`] says which ports are open; a number is taken out of it after `rte_eth_dev_close`. So there is
//!    one [`Inner`] a port, and everything about the port goes through it.
//! 2. Everything but bursts happens under `control`, whose [`Phase`] says what the device is in.
//! 3. A [`Slot`] is taken by at most one queue. While one is taken the port is in [`Phase::Started`]: queues
//!    are only handed out there, and stopping is refused meanwhile.
//! 4. Pools whose mbufs the driver may hold are kept until it is closed: receive pools in `control`, the
//!    others in the [`Keeper`]. Drivers that pass mbufs on to other ports share one keeper.

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use dpdk_net_sys as sys;

use super::config::Plan;
use super::rss::{RssControl, RssPlan};
use super::tx_rules::{Frame, TxRules};
use super::{Offload, Offloads, PortConfig, PortId, PortInfo, RxOffloads};
use crate::flow::Flows;
use crate::mbuf::timestamp;
use crate::ring::Attachment;
use crate::{Eal, Error, Mempool, ring};

/// The ports that are open, by number.
static OPEN: Mutex<[bool; sys::RTE_MAX_ETHPORTS as usize]> =
    Mutex::new([false; sys::RTE_MAX_ETHPORTS as usize]);

/// The keeper of drivers that pass mbufs on by reference, as long as one of their ports is open.
static SHARED_KEEPER: Mutex<Weak<Keeper>> = Mutex::new(Weak::new());

/// Drivers whose mbufs come out of another port: what one port sent, another may hold when it is closed.
pub(super) const BY_REFERENCE: &[&str] = &[
    "net_ring",
    "net_bonding",
    "net_failsafe",
    "net_softnic",
    "net_pipe",
];

/// Nothing here leaves its data half written on a panic.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Pools whose mbufs are with a driver.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pools: Mutex<Vec<Mempool>>,
}

impl Keeper {
    /// The keeper for a port of this driver.
    pub(crate) fn for_driver(driver: &str) -> Arc<Self> {
        if !BY_REFERENCE.contains(&driver) {
            return Arc::default();
        }
        let mut shared = lock(&SHARED_KEEPER);
        shared.upgrade().unwrap_or_else(|| {
            let keeper = Arc::default();
            *shared = Arc::downgrade(&keeper);
            keeper
        })
    }

    /// Keeps a pool. There are at most as many as DPDK has memory zones for.
    ///
    /// # Safety
    /// `pool` is one of ours and alive.
    pub(crate) unsafe fn keep(&self, pool: NonNull<sys::rte_mempool>) {
        let mut pools = lock(&self.pools);
        if !pools.iter().any(|kept| kept.raw() == pool) {
            // SAFETY: the caller's promise.
            pools.push(unsafe { Mempool::from_alive(pool) });
        }
    }
}

/// What a queue counts. One writer, the queue; on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Slot {
    taken: AtomicBool,
    pub(crate) packets: Counter,
    pub(crate) bytes: Counter,
    pub(crate) copied: Counter,
    pub(crate) dropped: Counter,
    pub(crate) malformed: Counter,
}

impl Slot {
    /// Takes the slot for a queue; false where it is taken.
    pub(crate) fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::Acquire)
    }

    /// Gives it back.
    pub(crate) fn put(&self) {
        self.taken.store(false, Ordering::Release);
    }

    fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }
}

/// A counter with one writer: adding is a load and a store.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline(always)]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the device is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Unconfigured,
    Configured,
    Started,
}

/// What configuring set up.
#[derive(Debug, Default, Clone)]
pub(crate) struct Setup {
    /// One a receive queue.
    pub(crate) pools: Vec<Mempool>,
    pub(crate) rx: Vec<Arc<Slot>>,
    pub(crate) tx: Vec<Arc<Slot>>,
    pub(crate) offloads: Offloads,
    pub(crate) rss: RssPlan,
    pub(crate) rx_descriptors: u16,
    pub(crate) tx_descriptors: u16,
    pub(crate) tx_rules: TxRules,
}

impl Setup {
    /// The pool that all packets of a transmit queue must be of, where the driver frees them unseen.
    pub(crate) fn only_pool(&self, queue: u16) -> Option<Mempool> {
        if !self.offloads.is_on(Offload::FastFree) {
            return None;
        }
        // With more transmit queues there is one pool for all.
        let pool = self.pools.get(usize::from(queue)).or(self.pools.first());
        pool.cloned()
    }
}

/// A pool for each queue, of one for each or one for all.
fn one_each(pools: &[Mempool], queues: u16) -> Vec<Mempool> {
    (0..usize::from(queues))
        .map(|queue| pools[queue.min(pools.len() - 1)].clone())
        .collect()
}

#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) phase: Phase,
    pub(crate) setup: Setup,
    /// Empty unless the port is started.
    pub(crate) flows: Flows,
    /// What the queues had counted at the last reset, by queue.
    pub(crate) baseline: Baseline,
}

/// See [`Control::baseline`].
#[derive(Debug, Default)]
pub(crate) struct Baseline {
    pub(crate) rx: Vec<[u64; 5]>,
    pub(crate) tx: Vec<[u64; 5]>,
}

/// One open port.
pub(crate) struct Inner {
    pub(crate) id: PortId,
    pub(crate) name: String,
    pub(crate) control: Mutex<Control>,
    pub(crate) keeper: Arc<Keeper>,
    /// The MTU; 0 before one is set.
    mtu: AtomicU32,
    /// Bytes of the longest frame that fits it.
    longest_frame: AtomicU32,
    /// The rings that the device is made of, if we made it; freed after it is closed.
    _attachment: Option<Attachment>,
    pub(crate) eal: Eal,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Transmit offloads that tests have drivers refuse: none here offers what it does not take.
#[cfg(test)]
pub(super) static REFUSED: AtomicU64 = AtomicU64::new(0);

impl Inner {
    /// Opens a port that is there.
    pub(crate) fn open(eal: &Eal, id: PortId) -> Result<Arc<Self>, Error> {
        let mut open = lock(&OPEN);
        let info = PortInfo::query(eal, id)?;
        let slot = open
            .get_mut(usize::from(id.get()))
            .ok_or_else(|| Error::NoSuchPort {
                port: id.to_string(),
                known: String::new(),
            })?;
        if *slot {
            return Err(Error::PortAlreadyOpen {
                port: subject(id, &info.name),
            });
        }
        // Rings that are being freed take their ports with them.
        let attachment = ring::attach(id).map_err(|ring::Gone| Error::NoSuchPort {
            port: subject(id, &info.name),
            known: String::new(),
        })?;
        *slot = true;
        Ok(Arc::new(Self {
            id,
            keeper: Keeper::for_driver(&info.driver),
            name: info.name,
            control: Mutex::new(Control {
                phase: Phase::Unconfigured,
                setup: Setup::default(),
                flows: Flows::default(),
                baseline: Baseline::default(),
            }),
            mtu: AtomicU32::new(0),
            longest_frame: AtomicU32::new(0),
            _attachment: attachment,
            eal: eal.clone(),
        }))
    }

    /// The port in words, as errors name it.
    pub(crate) fn subject(&self) -> String {
        subject(self.id, &self.name)
    }

    pub(crate) fn info(&self) -> Result<PortInfo, Error> {
        PortInfo::query(&self.eal, self.id)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Control> {
        lock(&self.control)
    }

    /// Bytes of the longest frame that fits the MTU. Receive buffers were checked against it, and drivers rely
    /// on it when they copy what is sent.
    #[inline(always)]
    pub(crate) fn longest_frame(&self) -> u32 {
        self.longest_frame.load(Ordering::Relaxed)
    }

    /// The frames that fit the MTU.
    pub(crate) fn frame(&self) -> Frame {
        Frame {
            mtu: self.mtu.load(Ordering::Relaxed),
            longest: self.longest_frame(),
        }
    }

    /// Remembers the MTU that was set.
    pub(crate) fn set_longest_frame(&self, info: &PortInfo, mtu: u16) {
        self.mtu.store(u32::from(mtu), Ordering::Relaxed);
        self.longest_frame
            .store(u32::from(mtu) + info.frame_overhead, Ordering::Relaxed);
    }

    /// A DPDK function's return value as a result.
    pub(crate) fn check(&self, function: &'static str, rc: i32) -> Result<(), Error> {
        if rc >= 0 {
            Ok(())
        } else {
            Err(Error::from_rc(function, self.subject(), rc))
        }
    }

    /// Configures the device and its queues. A driver that refuses all offloads that are wished is asked again for
    /// those that are insisted on.
    pub(crate) fn configure(&self, config: &PortConfig, pools: &[Mempool]) -> Result<(), Error> {
        let mut control = self.lock();
        let info = self.info()?;
        let mut plan = config.plan(&info, pools)?;
        // A failure below leaves the device with half a configuration, which the next one replaces.
        control.phase = Phase::Unconfigured;
        let mut result = self.set_up_or_less(&mut plan, config, &info, pools);
        while let Err(error) = result {
            let Some(less) = plan.less_rss(&error) else {
                return Err(error);
            };
            tracing::warn!(%error, "the driver is asked again, with less of RSS");
            plan.rss = less;
            result = self.set_up(&plan, pools);
        }
        plan.offloads.warn();
        plan.rss.warn();
        if plan.set_mtu {
            // Drivers of virtual devices take the MTU by this call only; those that lack it took it above.
            // SAFETY: the port is open and ours under the lock.
            let rc = unsafe { sys::rte_eth_dev_set_mtu(self.id.get(), plan.mtu) };
            if rc != -libc::ENOTSUP {
                self.check("rte_eth_dev_set_mtu", rc)?;
            }
        }
        self.set_longest_frame(&info, plan.mtu);
        let slots = |n: u16| (0..n).map(|_| Arc::default()).collect::<Vec<Arc<Slot>>>();
        control.setup = Setup {
            pools: one_each(pools, plan.rx_queues),
            rx: slots(plan.rx_queues),
            tx: slots(plan.tx_queues),
            rx_descriptors: plan.rx_descriptors,
            tx_descriptors: plan.tx_descriptors,
            tx_rules: TxRules::new(
                &info,
                plan.offloads.tx(),
                plan.offloads.is_on(Offload::TsoIpv6),
            ),
            offloads: plan.offloads,
            rss: plan.rss,
        };
        control.baseline = Baseline::default();
        control.phase = Phase::Configured;
        Ok(())
    }

    /// Tells the driver, and where it refuses, with fewer offloads.
    fn set_up_or_less(
        &self,
        plan: &mut Plan,
        config: &PortConfig,
        info: &PortInfo,
        pools: &[Mempool],
    ) -> Result<(), Error> {
        let Err(error) = self.set_up(plan, pools) else {
            return Ok(());
        };
        *plan = plan
            .after_refusal(config, info, pools, &error)
            .ok_or(error)?;
        self.set_up(plan, pools)
    }

    /// Tells the driver; called under the lock.
    fn set_up(&self, plan: &Plan, pools: &[Mempool]) -> Result<(), Error> {
        let mut key = plan.rss.key().map(<[u8]>::to_vec).unwrap_or_default();
        let conf = sys::dn_port_conf {
            rx_queues: plan.rx_queues,
            tx_queues: plan.tx_queues,
            mtu: u32::from(plan.mtu),
            rx_offloads: plan.offloads.rx().bits(),
            tx_offloads: plan.offloads.tx().bits(),
            rss_types: plan.rss.types().bits(),
            rss_key: match key.len() {
                0 => core::ptr::null_mut(),
                _ => key.as_mut_ptr(),
            },
            rss_key_len: u8::try_from(key.len()).unwrap_or(u8::MAX),
        };
        if plan.offloads.rx().contains(RxOffloads::TIMESTAMP) {
            timestamp::register()?;
        }
        #[cfg(test)]
        if conf.tx_offloads & REFUSED.load(Ordering::Relaxed) != 0 {
            return self.check("rte_eth_dev_configure", -libc::EINVAL);
        }
        let id = self.id.get();
        // SAFETY: the port is open, stopped (only a stopped port's handle configures) and ours under the
        // lock; the configuration outlives the call.
        self.check("rte_eth_dev_configure", unsafe {
            sys::dn_eth_configure(id, &conf)
        })?;
        // The pools replaced here may still have mbufs with the driver until its queues are set up anew.
        let pools = one_each(pools, plan.rx_queues);
        for pool in &pools {
            // SAFETY: a handle of the pool is in hand.
            unsafe { self.keeper.keep(pool.raw()) };
        }
        for (queue, pool) in (0..).zip(&pools) {
            // SAFETY: as above; the keeper holds the pool until the port is closed.
            let rc = unsafe {
                sys::dn_eth_rx_queue_setup(id, queue, plan.rx_descriptors, pool.raw().as_ptr())
            };
            self.check("rte_eth_rx_queue_setup", rc).map_err(|error| {
                if rc != -libc::ENOMEM {
                    return error;
                }
                error.with_remedy(format!(
                    "A receive queue of {} descriptors takes as many mbufs, mempool {:?} has {} in all: \
                     make it larger (`capacity`) or ask for fewer (`rx_descriptors`)",
                    plan.rx_descriptors,
                    pool.name(),
                    pool.capacity()
                ))
            })?;
        }
        for queue in 0..plan.tx_queues {
            // SAFETY: as above.
            let rc = unsafe { sys::dn_eth_tx_queue_setup(id, queue, plan.tx_descriptors) };
            self.check("rte_eth_tx_queue_setup", rc)?;
        }
        Ok(())
    }

    pub(crate) fn start(&self) -> Result<(), Error> {
        let mut control = self.lock();
        // SAFETY: the port is open, configured (its handle's type says so) and ours under the lock.
        self.check("rte_eth_dev_start", unsafe {
            sys::rte_eth_dev_start(self.id.get())
        })?;
        control.phase = Phase::Started;
        if !control.setup.rss.types().is_empty()
            && let Ok(info) = self.info()
        {
            // SAFETY: the port is open, configured and ours under the lock.
            let rss = unsafe { RssControl::new(&info) };
            rss.learn(&mut control.setup.rss);
            rss.fill_reta(control.setup.rx.len() as u16);
        }
        Ok(())
    }

    pub(crate) fn stop(&self) -> Result<(), Error> {
        let mut control = self.lock();
        let out = |slots: &[Arc<Slot>]| slots.iter().filter(|slot| slot.is_taken()).count();
        let (rx, tx) = (out(&control.setup.rx), out(&control.setup.tx));
        if rx + tx > 0 {
            return Err(Error::QueuesInUse {
                port: self.subject(),
                rx,
                tx,
            });
        }
        // SAFETY: the rules are of this port, which is open, and its lock is held.
        unsafe { control.flows.end(self) };
        // SAFETY: the port is open and ours under the lock; no queue is out and none can be taken.
        self.check("rte_eth_dev_stop", unsafe {
            sys::rte_eth_dev_stop(self.id.get())
        })?;
        control.phase = Phase::Configured;
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let id = self.id.get();
        let mut open = lock(&OPEN);
        let phase = self
            .control
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .phase;
        if phase == Phase::Started {
            // SAFETY: the port is open; queues hold an Arc of this, so none is out.
            let rc = unsafe { sys::rte_eth_dev_stop(id) };
            if rc < 0 {
                let error = Error::from_rc("rte_eth_dev_stop", self.subject(), rc);
                tracing::warn!(%error, "stopping a port that nobody uses any more");
            }
        }
        // SAFETY: the port is open and nobody else has it. Closing gives the driver's mbufs back to pools
        // that the keeper and `control` hold until after this.
        let rc = unsafe { sys::rte_eth_dev_close(id) };
        if rc < 0 {
            let error = Error::from_rc("rte_eth_dev_close", self.subject(), rc);
            tracing::warn!(%error, "closing a port that nobody uses any more");
        }
        open[usize::from(id)] = false;
    }
}

/// Runs `body` while no port can be opened or closed; it is told which are open.
pub(crate) fn with_open_ports<R>(body: impl FnOnce(&dyn Fn(PortId) -> bool) -> R) -> R {
    let open = lock(&OPEN);
    body(&|id| open.get(usize::from(id.get())).copied().unwrap_or(false))
}

fn subject(id: PortId, name: &str) -> String {
    format!("{id} ({name})")
}
