//! A packet has one owner.
use dpdk_net_rte::Mbuf;

fn copy(mbuf: &Mbuf) -> Mbuf {
    mbuf.clone()
}

fn main() {}
