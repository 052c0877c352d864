//! A model of a NIC with offloads.
//!
//! What does not live here: the drivers of real ones, and what the stack does where a NIC has no offloads.

pub mod frame;
