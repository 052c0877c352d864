//! A thread's registration ends on that thread.
use dpdk_net_rte::ThreadRegistration;

fn elsewhere(registration: ThreadRegistration) {
    std::thread::spawn(move || drop(registration));
}

fn main() {}
