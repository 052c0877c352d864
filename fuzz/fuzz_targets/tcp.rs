//! An open TCP connection fed arbitrary segments; see `dpdk_net_fuzz::tcp`.
#![no_main]

use dpdk_net_fuzz::tcp::{Run, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|plan: Run| run(&plan));
