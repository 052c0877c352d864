//! What a launched closure returns must own what it is made of.
use dpdk_net_rte::lcore::LaunchHandle;
use dpdk_net_rte::{Error, Lcore};

fn first<'a>(lcore: &Lcore, words: &'a [String]) -> Result<LaunchHandle<&'a String>, Error> {
    lcore.launch(move || &words[0])
}

fn main() {}
