//! The handle of a scoped function can't leave its scope, as the result it holds may borrow.
use dpdk_net_rte::lcore::ScopedLaunch;
use dpdk_net_rte::{Eal, Error, Lcore};

fn escape(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
    let mut kept: Option<ScopedLaunch<'_, usize>> = None;
    eal.scope(|scope| {
        kept = scope.launch(lcore, || 1).ok();
    })
}

fn main() {}
