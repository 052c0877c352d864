//! A launched closure must own what it uses: the function may outlive the caller.
use dpdk_net_rte::{Error, Lcore};

fn count(lcore: &Lcore) -> Result<usize, Error> {
    let words = vec!["burst", "mbuf"];
    let handle = lcore.launch(|| words.len())?;
    handle.join()
}

fn main() {}
