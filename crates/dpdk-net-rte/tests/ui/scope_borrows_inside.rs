//! A scoped closure may borrow from outside of the scope, not from inside: that is gone when the scope waits.
use dpdk_net_rte::{Eal, Error, Lcore};

fn count(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
    eal.scope(|scope| {
        let words = vec!["burst", "mbuf"];
        scope.launch(lcore, || words.len()).map(drop)
    })?
}

fn main() {}
