//! Two scoped functions can't both change one variable.
use dpdk_net_rte::{Eal, Error, Lcore};

fn race(eal: &Eal, first: &Lcore, second: &Lcore) -> Result<(), Error> {
    let mut count = 0;
    eal.scope(|scope| {
        let _first = scope.launch(first, || count += 1);
        let _second = scope.launch(second, || count += 1);
    })
}

fn main() {}
