//! What the RFCs require, requirement by requirement: a file for each RFC, and a test's name begins with the section.
//!
//! The first lines of each test's documentation name section and requirement and say in our words what is required;
//! `docs/conformance.md` is made of them by `cargo xtask conformance`. What does not apply, is not met, or is shown by a
//! test elsewhere stands at the head of its file.

#[path = "../common/mod.rs"]
mod common;

mod adversaries;
mod icmp;
mod rfc1122;
mod rfc1191;
mod rfc2018;
mod rfc2525;
mod rfc2883;
mod rfc3168;
mod rfc4015;
mod rfc4861;
mod rfc4862;
mod rfc4987;
mod rfc5482;
mod rfc5681;
mod rfc5682;
mod rfc5722;
mod rfc5927;
mod rfc5961;
mod rfc6056;
mod rfc6191;
mod rfc6298;
mod rfc6528;
mod rfc6582;
mod rfc6675;
mod rfc6928;
mod rfc6937;
mod rfc6980;
mod rfc7112;
mod rfc7323;
mod rfc7661;
mod rfc8200;
mod rfc8201;
mod rfc8899;
mod rfc8985;
mod rfc9293;
mod rfc9406;
mod rfc9438;
mod support;
