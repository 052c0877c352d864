//! Nothing of DPDK can be had without an EAL that was started.
use dpdk_net_rte::{Eal, Lcore, ThreadRegistration};

fn eal() -> Eal {
    Eal::default()
}

fn lcore() -> Lcore {
    Lcore::main()
}

fn registration() -> ThreadRegistration {
    ThreadRegistration::default()
}

fn main() {}
