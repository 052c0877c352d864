//! What the RFCs require, requirement by requirement: a file for each RFC, and a test's name begins with the section.
//!
//! The first lines of each test's documentation name section and requirement and say in our words what is required;
//! `docs/conformance.md` is made of them by `cargo xtask conformance`. What does not apply, is not met, or is shown by a
//! test elsewhere stands at the head of its file.

#[path = "../common/mod.rs"]
mod common;

mod icmp;
mod rfc2018;
mod rfc2883;
mod rfc5681;
mod rfc5961;
mod rfc6298;
mod rfc7323;
mod rfc9293;
mod support;
