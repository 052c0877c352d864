//! A closure that is not `Send` stays on its thread, launched or scoped.
use std::rc::Rc;

use dpdk_net_rte::{Eal, Error, Lcore};

fn launched(lcore: &Lcore, count: Rc<u32>) -> Result<(), Error> {
    lcore.launch(move || drop(count))?.join()
}

fn scoped(eal: &Eal, lcore: &Lcore, count: &Rc<u32>) -> Result<(), Error> {
    eal.scope(|scope| scope.launch(lcore, || drop(count.clone())).map(drop))?
}

fn main() {}
