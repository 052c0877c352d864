//! Raw bindings to DPDK 22.11 to 25.11, made by bindgen at build time against the installed libdpdk,
//! and one C shim (`shim/`) for what bindgen cannot bind: inline functions, thread-locals, flags that
//! are macros with a cast, and field offsets of structures whose layout differs between releases.
//!
//! What does not live here: anything safe. `dpdk-net-rte` is the crate to use; it alone knows when
//! each of these functions may be called. The names, arguments and errors are DPDK's, documented at
//! <https://doc.dpdk.org/api/>; those that begin with `dn_` or `DN_` are the shim's, documented in
//! `shim/shim.h`.
//!
//! Building needs libdpdk with headers, pkg-config, a C compiler and libclang:
//! `sudo apt install libdpdk-dev pkg-config clang libclang-dev`.
#![no_std]
#![allow(
    missing_docs,
    missing_debug_implementations,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    rustdoc::all
)]

#[cfg(not(dpdk_net_docs))]
include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

// docs.rs has no DPDK: what bindgen made of 22.11 on x86-64, to read and never to link.
#[cfg(dpdk_net_docs)]
include!("bindings_docs.rs");
