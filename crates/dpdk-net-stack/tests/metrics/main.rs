//! What is declared of figures, and that they tell what there is.

#[path = "../common/mod.rs"]
mod common;
mod declared;
mod histograms;
mod read;
