//! The whole stack fed arbitrary frames; see `dpdk_net_fuzz::ingest`.
#![no_main]

use dpdk_net_fuzz::ingest::{Step, run};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: Vec<Step>| run(&steps));
