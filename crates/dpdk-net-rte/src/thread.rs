//! Threads that DPDK did not make, registered so that they have an lcore number of their own: with it they use the
//! mempools' per-lcore caches, without it each allocation goes to the pool's ring.
//!
//! What holds: a registration belongs to its thread (it is not `Send`) and ends with its guard, before the EAL is
//! cleaned up.

use std::marker::PhantomData;

use dpdk_net_sys as sys;

use crate::{Eal, Error, Lcore, LcoreId};

/// The calling thread's registration as an lcore; ends when dropped. Made by [`Eal::register_thread`].
///
/// It can't go to another thread:
///
/// ```compile_fail,E0277
/// fn send(registration: dpdk_net_rte::ThreadRegistration) {
///     std::thread::spawn(move || drop(registration));
/// }
/// ```
#[derive(Debug)]
#[must_use = "the thread is registered as long as this lives"]
pub struct ThreadRegistration {
    lcore: Lcore,
    /// The number is in a thread-local of this thread, which only this thread can clear.
    not_send: PhantomData<*mut ()>,
}

impl ThreadRegistration {
    /// The lcore that the thread is now, of role [`NonEal`](crate::lcore::LcoreRole::NonEal).
    pub fn lcore(&self) -> &Lcore {
        &self.lcore
    }
}

impl Eal {
    /// Gives the calling thread an lcore number (`rte_thread_register`).
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyLcore`] on an lcore or a registered thread; [`Error::Dpdk`] if all `RTE_MAX_LCORE` numbers are
    /// in use.
    pub fn register_thread(&self) -> Result<ThreadRegistration, Error> {
        if let Some(lcore) = LcoreId::current() {
            return Err(Error::AlreadyLcore { lcore });
        }
        // SAFETY: the EAL is initialised, and this thread has no number yet.
        if unsafe { sys::rte_thread_register() } != 0 {
            return Err(
                Error::last("rte_thread_register", "registering this thread").with_remedy(format!(
                    "DPDK has {} lcore numbers: end some registrations",
                    LcoreId::LIMIT
                )),
            );
        }
        let Some(lcore) = Lcore::current(self) else {
            return Err(Error::last(
                "rte_thread_register",
                "registering this thread",
            ));
        };
        Ok(ThreadRegistration {
            lcore,
            not_send: PhantomData,
        })
    }
}

impl Drop for ThreadRegistration {
    fn drop(&mut self) {
        // SAFETY: the EAL is initialised, as `lcore` holds it. This is the thread that registered: the guard is not
        // `Send`. Objects that use the number (mempool caches) look it up anew at each call.
        unsafe { sys::rte_thread_unregister() };
    }
}
