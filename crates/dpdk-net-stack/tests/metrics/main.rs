//! What is declared of figures, and that they tell what there is.

#[path = "../common/mod.rs"]
mod common;
#[cfg(feature = "metrics")]
mod counted;
mod declared;
#[cfg(feature = "metrics")]
mod dropped;
#[cfg(feature = "metrics")]
mod histograms;
mod read;
